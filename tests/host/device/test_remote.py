"""Boards at the far end of an address: RFC 2217 by pyserial's own server, and bad servers.

Debian's ser2net and socat are in `tests/peers`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

import pytest
import serial
from fake_device import LIVE, Board, closed_port, on, tcp_device
from serial import rfc2217

from conftest import Cli
from hardmute.device import client
from hardmute.model.errors import LIVE as LIVE_CODE
from hardmute.model.errors import OK, UNKNOWN, USAGE, UnreachableError

SETTINGS = (
    rfc2217.SERVER_SET_BAUDRATE,
    rfc2217.SERVER_SET_DATASIZE,
    rfc2217.SERVER_SET_PARITY,
    rfc2217.SERVER_SET_STOPSIZE,
)


class Listener(threading.Thread):
    """Takes one connection after the other on the loopback interface."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        super().__init__(daemon=True)
        self._serve = serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._over = False
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def run(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._over:
                connection.close()
                return
            with connection, contextlib.suppress(OSError):
                self._serve(connection)

    def stop(self) -> None:
        self._over = True
        host, port = self._listener.getsockname()
        socket.create_connection((host, port)).close()
        self.join(60)
        assert not self.is_alive()
        self._listener.close()


@contextmanager
def listening(serve: Callable[[socket.socket], None]) -> Generator[str]:
    """``HOST:PORT`` of a server that does as ``serve`` with each connection."""
    listener = Listener(serve)
    listener.start()
    try:
        yield listener.address
    finally:
        listener.stop()


class Manager(rfc2217.PortManager):  # pyright: ignore[reportMissingTypeArgument]
    """pyserial's server side of RFC 2217. ``told``: how often it has answered which request."""

    def __init__(self, port: Any, connection: Any, told: Counter[bytes]) -> None:
        self._told = told
        super().__init__(port, connection)

    def rfc2217_send_subnegotiation(self, option: bytes, value: bytes = b"") -> None:
        self._told[option] += 1
        super().rfc2217_send_subnegotiation(option, value)


class Connection:
    """What `Manager` writes to."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._lock:
            self._socket.sendall(data)


@contextmanager
def remote(script: Any = None) -> Generator[tuple[str, Counter[bytes]]]:
    """The address of a scripted board's port, and what its server has told."""
    told: Counter[bytes] = Counter()

    def serve(peer: socket.socket) -> None:
        with serial.serial_for_url(device.address, timeout=0.02) as port:
            connection = Connection(peer)
            manager = Manager(port, connection, told)

            over = threading.Event()

            def forward() -> None:
                try:
                    while not over.is_set():
                        data = port.read(port.in_waiting or 1)
                        connection.write(b"".join(manager.escape(data)))
                except OSError:
                    # The board has gone, and the server ends the connection.
                    peer.shutdown(socket.SHUT_RDWR)

            reader = threading.Thread(target=forward, daemon=True)
            reader.start()
            with contextlib.suppress(OSError):
                while data := peer.recv(1024):
                    port.write(b"".join(manager.filter(data)))
            over.set()
            reader.join(60)

    with tcp_device(script) as device, listening(serve) as address:
        yield f"rfc2217://{address}", told


# pyserial's own server.


@pytest.mark.parametrize("options", ["", "?timeout=2", "?ign_set_control", "?poll_modem"])
def test_a_board_behind_an_rfc_2217_server(options: str, cli: Cli) -> None:
    with remote() as (address, _):
        result = cli("-d", address + options, "status", "--json")
        assert (result.code, result.err) == (OK, "")
        assert result.json["verdict"] == "muted"
        assert result.json["device"] == address + options


def test_P5_live_behind_an_rfc_2217_server_is_live(cli: Cli) -> None:
    with remote(Board(status=LIVE)) as (address, _):
        assert cli("-d", address, "status").code == LIVE_CODE


def test_the_settings_of_a_remote_port_are_settled_once(home: Any) -> None:  # noqa: ARG001
    with remote() as (address, told), client.connect(address, 3) as (session, _):
        for _ in range(5):
            session.status()
        assert [told[option] for option in SETTINGS] == [1, 1, 1, 1]


def test_P5_a_remote_board_that_falls_silent_is_unknown(cli: Cli) -> None:
    with remote(on("status", lambda _r, _a, _f: b"")) as (address, _):
        result = cli("-d", address, "status", "--timeout", "3")
    assert result.code == UNKNOWN
    assert "did not answer" in result.err


def test_P5_a_server_that_goes_is_unknown(home: Any) -> None:  # noqa: ARG001
    with remote(on("status", lambda _r, _a, _f: None)) as (address, _):
        with client.connect(address, 3) as (session, _), pytest.raises(UnreachableError) as gone:
            session.status()
        assert gone.value.reason == "unplugged"


def test_a_byte_that_is_telnets_own_arrives_as_it_is(home: Any) -> None:  # noqa: ARG001
    def answer(_request: Any, _answer: Any, frame: bytes) -> bytes:
        return b"\xff\xff\xf0\n" + frame

    with remote(on("hello", answer)) as (address, _), client.connect(address, 3) as (_, identity):
        assert identity.contacts == 2


# What is no such server.


def mute_server(peer: socket.socket) -> None:
    while peer.recv(1024):
        pass


def echo_server(peer: socket.socket) -> None:
    while data := peer.recv(1024):
        peer.sendall(data)


def refusing_server(peer: socket.socket) -> None:
    peer.sendall(b"Port already in use\r\n")
    peer.shutdown(socket.SHUT_WR)
    mute_server(peer)


@pytest.mark.parametrize("server", [mute_server, echo_server, refusing_server])
def test_P5_what_is_no_rfc_2217_server_is_unknown(server: Any, cli: Cli) -> None:
    with listening(server) as address:
        result = cli("-d", f"rfc2217://{address}", "status", "--timeout", "0.3")
    assert result.code == UNKNOWN
    assert "does not answer as an RFC 2217 server, or its port cannot be opened" in result.err
    assert result.err.count("\n") == 1


def rejecting_server(peer: socket.socket) -> None:
    """Agrees to RFC 2217, and then to no setting."""
    yes = {rfc2217.DO: rfc2217.WILL, rfc2217.WILL: rfc2217.DO}
    peer.sendall(rfc2217.IAC + rfc2217.DO + rfc2217.BINARY)
    while data := peer.recv(1024):
        for at in range(len(data) - 2):
            if data[at : at + 1] == rfc2217.IAC and data[at + 1 : at + 2] in yes:
                peer.sendall(rfc2217.IAC + yes[data[at + 1 : at + 2]] + data[at + 2 : at + 3])
        if rfc2217.COM_PORT_OPTION + rfc2217.SET_BAUDRATE in data:
            no = rfc2217.COM_PORT_OPTION + rfc2217.SERVER_SET_BAUDRATE + b"\0\0\0\1"
            peer.sendall(rfc2217.IAC + rfc2217.SB + no + rfc2217.IAC + rfc2217.SE)


def test_P5_a_server_that_takes_no_settings_is_unknown(cli: Cli) -> None:
    with listening(rejecting_server) as address:
        result = cli("-d", f"rfc2217://{address}", "status", "--timeout", "0.3")
    assert result.code == UNKNOWN
    assert "its port cannot be opened" in result.err


# Addresses that mean nothing.


@pytest.mark.parametrize(
    "address",
    [
        "hwgrep://(",
        "hwgrep://board&n=x",
        "hwgrep://board&foo",
        "loop://?foo=1",
        "loop://?logging=loud",
        "spy:///dev/nowhere?foo=1",
        "alt:///dev/nowhere?class=Nothing",
        "socket://127.0.0.1:1?foo=1",
        "socket://[::1",
        "rfc2217://",
        "rfc2217://127.0.0.1",
        "rfc2217://127.0.0.1:port",
        "rfc2217://127.0.0.1:99999",
        "rfc2217://127.0.0.1:1?foo=1",
        "rfc2217://127.0.0.1:1?timeout=soon",
        "rfc2217://127.0.0.1:1?logging=loud",
        "rfc2217://[::1",
    ],
)
def test_an_address_that_means_nothing_is_a_usage_error(address: str, cli: Cli) -> None:
    result = cli("-d", address, "status")
    assert (result.code, result.out) == (USAGE, "")
    why = ("cannot be opened as an address: ", "is not a port that can be opened")
    assert result.err.startswith(tuple(f"{address} {one}" for one in why))
    assert result.err.count("\n") == 1
    assert result.err.endswith(".\n")


@pytest.mark.parametrize("address", ["rfc2217://127.0.0.1:{}", "socket://127.0.0.1:{}"])
def test_an_address_where_nobody_listens_is_unknown(address: str, cli: Cli) -> None:
    with closed_port() as closed:
        result = cli("-d", address.format(closed), "status")
    assert result.code == UNKNOWN
    assert "Nothing answers at" in result.err


def test_a_search_that_finds_no_port_is_unknown(cli: Cli) -> None:
    result = cli("-d", "hwgrep://nothing-like-that", "status")
    assert result.code == UNKNOWN
    assert "Nothing answers at" in result.err


def test_loop_is_a_port_that_is_no_board(cli: Cli) -> None:
    result = cli("-d", "loop://", "status", "--timeout", "0.2")
    assert result.code == UNKNOWN
