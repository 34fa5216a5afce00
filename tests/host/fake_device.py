"""A scripted device on a pseudo-terminal or a TCP port: what a board could send, and what an
impostor might.

A script is a function from one received line to the bytes to send back (None: hang up; `Last`:
hang up after them). The default is a well-behaved muted board; `Board` makes variations of it.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from muteboard import wire

BOARD = "c0ffee0123456789"
HELLO: dict[str, Any] = {
    "product": wire.PRODUCT,
    "proto": [wire.PROTO_MAJOR, wire.PROTO_MINOR],
    "firmware": "0.1.0",
    "board": BOARD,
    "port": "fake",
    "contacts": 2,
    "simulated": False,
}
MUTED: dict[str, Any] = {
    "state": "muted",
    "command": "cut",
    "sense": [0, 0],
    "cause": "button",
    "since_ms": 4000,
    "uptime_ms": 60000,
    "boot": 3,
    "changes": 2,
    "live_ms": 1500,
    "remute_in_ms": None,
    "faults": [],
    "warnings": [],
    "service": "none",
    "simulated": False,
}
LIVE: dict[str, Any] = {
    **MUTED,
    "state": "live",
    "command": "connected",
    "sense": [1, 1],
    "remute_in_ms": 3596000,
}
# In the place of a field: the field is left out.
MISSING = object()
# What a terminal would obey.
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\n\x00"

Script = Callable[[bytes], "bytes | None"]


class Last(bytes):
    """The last bytes that a device ever sends."""


def changed(message: dict[str, Any], **changes: object) -> dict[str, Any]:
    """``message`` with some fields changed, or left out (`MISSING`)."""
    return {key: value for key, value in {**message, **changes}.items() if value is not MISSING}


def sealed(body: bytes) -> bytes:
    """Any bytes with the right checksum: what `wire.frame` would refuse to write."""
    return b"%s\t%08x\n" % (body, wire.crc32(body))


class Board:
    """A script that answers ``hello``, ``status``, ``watch``, ``mute`` as a board does.

    ``alter`` gets the request, the answer and its frame, and returns what is sent in its place.
    """

    def __init__(
        self,
        *,
        hello: dict[str, Any] = HELLO,
        status: dict[str, Any] = MUTED,
        alter: Callable[[dict[str, Any], dict[str, Any], bytes], bytes | None] | None = None,
    ) -> None:
        self.requests: list[dict[str, Any]] = []
        self.sent: list[bytes] = []
        self._hello = hello
        self._status = status
        self._alter = alter

    def __call__(self, line: bytes) -> bytes | None:
        if not line:
            return b""
        request = wire.unframe(line, need_crc=False)
        self.requests.append(request)
        body: dict[str, Any] = {"hello": self._hello, "status": self._status}.get(
            request["op"], {}
        )
        answer = {"id": request["id"], "ok": True, **body}
        frame = wire.frame(answer)
        sent = frame if self._alter is None else self._alter(request, answer, frame)
        if sent is not None:
            self.sent.append(sent)
        return sent


def on(op: str, data: Callable[[dict[str, Any], dict[str, Any], bytes], bytes | None]) -> Board:
    """A good board, but what it answers to ``op`` is ``data(request, answer, frame)``."""
    return Board(alter=lambda req, ans, frame: data(req, ans, frame) if req["op"] == op else frame)


class Device:
    """A device that runs a script in a thread until it is closed. ``address`` is its port."""

    def __init__(self, fd: int, address: str, script: Script) -> None:
        self.address = address
        self.closed = threading.Event()
        self.failure: BaseException | None = None
        self.fd = fd
        self._script = script
        self.wake, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="fake device", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        os.write(self._wake_write, b"x")
        self._thread.join(60)
        assert not self._thread.is_alive()
        for fd in (self.wake, self._wake_write):
            os.close(fd)
        self._hang_up()
        if self.failure is not None:
            raise self.failure

    def _accept(self) -> bool:
        """Wait for a host, where there is such a thing. False once the device is to stop."""
        return True

    def _run(self) -> None:
        try:
            while self._accept():
                if not self.talk():
                    return
        except BaseException as error:  # noqa: BLE001 (told by `stop`, in the test's own thread)
            self.failure = error

    def talk(self) -> bool:
        pending = b""
        while True:
            ready, _, _ = select.select([self.fd, self.wake], [], [])
            if self.wake in ready:
                return False
            try:
                data = os.read(self.fd, 4096)
            except OSError:
                data = b""
            if not data:
                return self.host_left()
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                answer = self._script(line)
                if answer is None:
                    self._hang_up()
                    return self.host_left()
                if not self._send(answer):
                    return self.host_left()
                if isinstance(answer, Last):
                    self._hang_up()
                    return self.host_left()

    def _send(self, data: bytes) -> bool:
        view = memoryview(data)
        while view:
            _, ready, _ = select.select([self.wake], [self.fd], [])
            woken, _, _ = select.select([self.wake], [], [], 0)
            if woken:
                return False
            if ready:
                try:
                    view = view[os.write(self.fd, view) :]
                except BlockingIOError:
                    continue
                except OSError:
                    return False
        return True

    def host_left(self) -> bool:
        return False

    def _hang_up(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        self.closed.set()


class Prompt(Device):
    """MicroPython's prompt: the friendly one, and the raw one that tools use (its manual,
    docs/reference/repl.rst). The script gets the code to be run, and returns what that prints.
    """

    board = BOARD

    def talk(self) -> bool:
        raw = False
        pending = b""
        while True:
            ready, _, _ = select.select([self.fd, self.wake], [], [])
            if self.wake in ready:
                return False
            pending += os.read(self.fd, 4096)
            while True:
                end = b"\x04" if raw else b"\n"
                if raw and pending.startswith(b"\x05A\x01"):
                    # Raw-paste mode, which it does not have.
                    pending, answer = pending[3:], b"R\0"
                elif not raw and b"\x01" in pending:
                    raw, pending = True, pending.partition(b"\x01")[2]
                    answer = b"raw REPL; CTRL-B to exit\r\n>"
                elif raw and pending.startswith(b"\r\x02"):
                    raw, pending, answer = False, pending[2:], b"\r\n>>> "
                elif end not in pending:
                    break
                else:
                    said, _, pending = pending.partition(end)
                    answer = self._run_code(said) if raw else self._echo(said)
                if not self._send(answer):
                    return False

    def _run_code(self, code: bytes) -> bytes:
        return b"OK" + (self._script(code) or b"") + b"\x04\x04>"

    def _echo(self, line: bytes) -> bytes:
        said = line.rstrip(b"\r") + b"\r\n"
        if line.startswith(b"print('hardmute'"):
            said += f"hardmute {self.board}\r\n".encode()
        return said + b">>> "


class TcpDevice(Device):
    """One host after the other."""

    def __init__(self, script: Script) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        super().__init__(-1, f"socket://127.0.0.1:{port}", script)

    def _accept(self) -> bool:
        ready, _, _ = select.select([self._listener, self.wake], [], [])
        if self.wake in ready:
            return False
        connection, _ = self._listener.accept()
        connection.setblocking(False)
        self.fd = connection.detach()
        return True

    def host_left(self) -> bool:
        self._hang_up()
        woken, _, _ = select.select([self.wake], [], [], 0)
        return not woken

    def stop(self) -> None:
        super().stop()
        self._listener.close()


@contextmanager
def pty_device(script: Script | None = None, kind: type[Device] = Device) -> Iterator[Device]:
    """A device on a pseudo-terminal. It keeps its own end open, so hosts may come and go."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    device = kind(master, os.ttyname(slave), script or Board())
    device.start()
    try:
        yield device
    finally:
        device.stop()
        os.close(slave)


@contextmanager
def tcp_device(script: Script | None = None) -> Iterator[Device]:
    """A device on a TCP port of the loopback interface."""
    device = TcpDevice(script or Board())
    device.start()
    try:
        yield device
    finally:
        device.stop()


@contextmanager
def closed_port() -> Iterator[int]:
    """A TCP port at which nobody listens, nor can until this ends."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def stable_name(folder: Path, device: Device) -> Path:
    """A link to the device, as udev makes them."""
    link = folder / "by-id"
    link.symlink_to(device.address)
    return link


class ScriptedPort:
    """An open port without an operating system behind it (`hardmute.device.client.Port`).

    ``script`` gets what the host writes and returns what arrives, each with the time that passes
    before it does. Time is `clock`; it moves while the host waits.
    """

    def __init__(self, script: Callable[[bytes], list[tuple[float, bytes]]]) -> None:
        self.timeout: float | None = None
        self.write_timeout: float | None = None
        self.now = 1000.0
        self.written: list[bytes] = []
        self._script = script
        self._coming: list[tuple[float, bytes]] = []

    def clock(self) -> float:
        return self.now

    @property
    def in_waiting(self) -> int:
        return len(self._coming[0][1]) if self._coming and self._coming[0][0] <= self.now else 0

    def read(self, size: int = 1, /) -> bytes:
        assert self.timeout is not None
        deadline = self.now + self.timeout
        if not self._coming or self._coming[0][0] > deadline:
            self.now = deadline
            return b""
        at, data = self._coming.pop(0)
        self.now = max(self.now, at)
        if data[size:]:
            self._coming.insert(0, (at, data[size:]))
        return data[:size]

    def write(self, b: bytes, /) -> int:
        self.written.append(b)
        at = self.now
        for line in b.split(b"\n"):
            for wait, data in self._script(line) if line else ():
                at += wait
                self._coming.append((at, data))
        return len(b)

    def reset_output_buffer(self) -> None:
        pass

    def close(self) -> None:
        pass
