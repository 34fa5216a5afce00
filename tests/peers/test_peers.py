"""A board behind other people's programs that put its port on the network: ser2net and socat.

Both are Debian's (.ci/run installs them). Where one is missing these tests fail; they are not
skipped. The board is a simulated one; ser2net's port has no modem lines, for a terminal has none.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from hardmute.model.errors import INTERRUPTED, OK, UNKNOWN
from hardmute.sim.world import act

BOARD = "5eedbeef"
_END_S = 60.0

# A shell starts background jobs with Ctrl-C ignored, and whatever they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Command:
    """A running process. It is killed where it does not answer in time."""

    def __init__(self, *words: str) -> None:
        self.process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )

    def line(self) -> str:
        late = threading.Timer(_END_S, self.process.kill)
        late.start()
        assert self.process.stdout is not None
        try:
            return self.process.stdout.readline()
        finally:
            late.cancel()

    def until(self, verdict: str) -> dict[str, Any]:
        """The next line that tells this state. On a busy machine others may come before it."""
        while (told := json.loads(self.line()))["verdict"] != verdict:
            pass
        return told

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        try:
            self.process.communicate(timeout=_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        return self.process.returncode


def hardmute(*words: str) -> list[str]:
    return [sys.executable, "-m", "hardmute", *words]


class Rig(NamedTuple):
    """A simulated board at ``terminal``, and a folder for what its servers need."""

    terminal: str
    world: str
    folder: Path
    stack: ExitStack

    def act(self, *words: str) -> None:
        act(self.world, list(words))

    def start(self, *words: str) -> Command:
        command = Command(*words)
        self.stack.callback(command.end, signal.SIGKILL)
        return command


@pytest.fixture
def rig(monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    with ExitStack() as stack:
        # A short path: that of a Unix socket ends at about 100 bytes.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hm-")))
        monkeypatch.setenv("HARDMUTE_HOME", str(folder))
        sim = Command(*hardmute("sim", "--id", BOARD))
        stack.callback(sim.end)
        told = json.loads(sim.line())
        yield Rig(os.path.realpath(told["device"]), told["world"], folder, stack)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def await_listener(server: Command, port: int) -> None:
    """Wait until somebody listens, without a connection that the server would serve."""
    state = f"0100007F:{port:04X} 00000000:0000 0A"
    for _ in range(int(_END_S / 0.05)):
        if state in Path("/proc/net/tcp").read_text():
            return
        assert server.process.poll() is None, "the server has ended"
        threading.Event().wait(0.05)
    pytest.fail(f"nobody listens at {port}")


@contextmanager
def ser2net(rig: Rig, accepter: str = "telnet(rfc2217),tcp", port: int = 0) -> Generator[int]:
    """The port at which Debian's ser2net offers the board."""
    port = port or free_port()
    settings = rig.folder / "ser2net.yaml"
    settings.write_text(
        "connection: &board\n"
        f"  accepter: {accepter},127.0.0.1,{port}\n"
        f"  connector: serialdev,{rig.terminal},115200n81,local\n"
    )
    server = rig.start("ser2net", "-n", "-u", "-c", str(settings))
    await_listener(server, port)
    try:
        yield port
    finally:
        server.end()


@contextmanager
def socat(rig: Rig, port: int = 0) -> Generator[tuple[int, Command]]:
    """The port at which Debian's socat offers the board, and socat."""
    port = port or free_port()
    server = rig.start(
        "socat",
        f"TCP-LISTEN:{port},bind=127.0.0.1,reuseaddr",
        f"FILE:{rig.terminal},raw,echo=0,nonblock",
    )
    await_listener(server, port)
    try:
        yield port, server
    finally:
        server.end()


def asked(*words: str) -> tuple[int, str]:
    done = subprocess.run(
        hardmute(*words), capture_output=True, text=True, timeout=_END_S, check=False
    )
    return done.returncode, done.stdout + done.stderr


def check_followed(rig: Rig, address: str) -> None:
    """``watch`` shows each press, gives the port to a ``mute``, and takes it back."""
    watcher = rig.start(*hardmute("-d", address, "watch", "--json"))
    watcher.until("muted")
    rig.act("press")
    assert watcher.until("live")["cause"] == "button"
    code, said = asked("-d", address, "mute", "--json")
    assert code == OK, said
    assert json.loads(said)["cause"] == "host"
    muted = watcher.until("muted")
    assert (muted["cause"], muted["device"]) == ("host", address)
    assert watcher.end(signal.SIGINT) == INTERRUPTED


def test_P5_ser2net_with_rfc_2217(rig: Rig) -> None:
    with ser2net(rig) as port:
        address = f"rfc2217://127.0.0.1:{port}"
        code, said = asked("-d", address, "status")
        assert code == OK, said
        check_followed(rig, address)


def test_P5_ser2net_without_rfc_2217(rig: Rig) -> None:
    with ser2net(rig, "tcp") as port:
        check_followed(rig, f"socket://127.0.0.1:{port}")
        code, said = asked("-d", f"rfc2217://127.0.0.1:{port}", "status", "--timeout", "1")
        assert code == UNKNOWN
        assert "does not answer as an RFC 2217 server" in said


def test_P5_a_port_of_ser2net_that_somebody_else_uses_is_unknown(rig: Rig) -> None:
    with ser2net(rig) as port, socket.create_connection(("127.0.0.1", port), 10) as other:
        # It greets in telnet whom it serves.
        assert other.recv(1) == b"\xff"
        code, said = asked("-d", f"rfc2217://127.0.0.1:{port}", "status", "--timeout", "1")
        assert code == UNKNOWN
        assert "its port cannot be opened" in said


def test_P5_socat(rig: Rig) -> None:
    with socat(rig) as (port, _):
        code, said = asked("-d", f"socket://127.0.0.1:{port}", "status")
        assert code == OK, said
    code, said = asked("-d", f"socket://127.0.0.1:{port}", "status")
    assert code == UNKNOWN
    assert f"Nothing answers at socket://127.0.0.1:{port}" in said


@pytest.mark.parametrize("kind", ["rfc2217", "socket"])
def test_P5_a_server_that_stops_leaves_unknown_and_is_met_again(kind: str, rig: Rig) -> None:
    with ExitStack() as first:
        if kind == "rfc2217":
            port = first.enter_context(ser2net(rig))
        else:
            port, _ = first.enter_context(socat(rig))
        watcher = rig.start(*hardmute("-d", f"{kind}://127.0.0.1:{port}", "watch", "--json"))
        watcher.until("muted")
    assert watcher.until("unknown")["board"] == BOARD
    with ExitStack() as second:
        if kind == "rfc2217":
            second.enter_context(ser2net(rig, port=port))
        else:
            second.enter_context(socat(rig, port))
        watcher.until("muted")
        assert watcher.end(signal.SIGINT) == INTERRUPTED


def test_P5_a_server_that_is_stopped_is_silence(rig: Rig) -> None:
    with socat(rig) as (port, server):
        watcher = rig.start(*hardmute("-d", f"socket://127.0.0.1:{port}", "watch", "--json"))
        watcher.until("muted")
        server.process.send_signal(signal.SIGSTOP)
        assert watcher.until("unknown")["reason"] == "silent"
        watcher.end(signal.SIGKILL)
