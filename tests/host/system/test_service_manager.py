"""The service manager hears what sd_notify(3) says: at a real socket, of a real process."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import Sim
from hardmute.system.service_manager import ServiceManager

# 0.4 s: the service tells every 0.2 s that its event loop turns.
WATCHDOG_US = 400_000
SERVICE = """
import asyncio, sys
from hardmute.system.service_manager import ServiceManager

async def main():
    manager = ServiceManager()
    watchdog = asyncio.create_task(manager.watchdog())
    manager.ready("1 board")
    while word := await asyncio.to_thread(sys.stdin.readline):
        if word == "block\\n":
            print("blocked", flush=True)
            sys.stdin.readline()
        elif word == "reload\\n":
            manager.reloading()
            manager.ready("2 boards")
    manager.stopping()
    watchdog.cancel()

asyncio.run(main())
"""


class Referee:
    """A service manager: it has a socket, and hears with the time of arrival."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(60)

    def hear(self) -> str:
        return self.socket.recv(4096).decode()

    def hear_until(self, wanted: str) -> list[str]:
        """All that comes until a message that begins with ``wanted``, which is the last."""
        heard = [self.hear()]
        while not heard[-1].startswith(wanted):
            heard.append(self.hear())
        return heard

    def waiting(self) -> list[str]:
        """What has come until now."""
        heard: list[str] = []
        self.socket.setblocking(False)
        try:
            while True:
                heard.append(self.hear())
        except BlockingIOError:
            return heard
        finally:
            self.socket.settimeout(60)


def test_P5_the_monitor_tells_that_it_works_or_not(sim: Sim, tmp_path: Path) -> None:
    referee = Referee(str(tmp_path / "notify"))
    notify = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": str(WATCHDOG_US)}
    with (
        referee.socket,
        subprocess.Popen(
            [sys.executable, "-m", "hardmute", "monitor", "-d", sim.board],
            stdout=subprocess.DEVNULL,
            env={**os.environ, **notify},
        ) as monitor,
    ):
        killer = threading.Timer(100, monitor.kill)
        killer.start()
        try:
            referee.socket.settimeout(60)
            assert referee.hear() == "READY=1\nSTATUS=1 board"
            referee.hear_until("WATCHDOG=1")
            monitor.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, monitor.pid, os.WSTOPPED)
            referee.waiting()
            # Five times as long as between two of them.
            referee.socket.settimeout(1)
            with pytest.raises(TimeoutError):
                referee.hear()
            referee.socket.settimeout(60)
            monitor.send_signal(signal.SIGCONT)
            referee.hear_until("WATCHDOG=1")
            monitor.terminate()
            referee.hear_until("STOPPING=1")
            assert monitor.wait(60) == 0
        finally:
            killer.cancel()
            monitor.kill()


@pytest.fixture(params=["path", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "abstract":
        return f"@hardmute-test-{os.getpid()}-{tmp_path.name}"
    return str(tmp_path / "notify")


@pytest.fixture
def referee(address: str) -> Iterator[Referee]:
    referee = Referee(address)
    with referee.socket:
        yield referee


def test_each_word_as_systemd_reads_it(address: str, referee: Referee) -> None:
    environ = {"NOTIFY_SOCKET": address, "HOME": "/"}
    manager = ServiceManager(environ)
    assert manager.is_there
    # Nor do hooks tell the manager anything.
    assert environ == {"HOME": "/"}
    manager.ready("2 boards:\nmuted")
    manager.alive()
    manager.status("1 board: LIVE")
    before_us = time.monotonic_ns() // 1000
    manager.reloading()
    manager.stopping()
    assert referee.hear() == "READY=1\nSTATUS=2 boards: muted"
    assert referee.hear() == "WATCHDOG=1"
    assert referee.hear() == "STATUS=1 board: LIVE"
    reloading, _, at_us = referee.hear().partition("\nMONOTONIC_USEC=")
    assert reloading == "RELOADING=1"
    assert before_us <= int(at_us) <= time.monotonic_ns() // 1000
    assert referee.hear() == "STOPPING=1"


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"NOTIFY_SOCKET": "", "WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "1000"},
    ],
)
def test_without_a_manager_nothing_is_told(environ: dict[str, str]) -> None:
    manager = ServiceManager(environ)
    assert not manager.is_there
    manager.ready("1 board")
    # It ends, for nobody wants to be told.
    asyncio.run(asyncio.wait_for(manager.watchdog(), 60))
    assert environ == {}


def test_a_manager_that_has_gone_or_is_stuck_delays_nothing(tmp_path: Path) -> None:
    gone = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody"), "WATCHDOG_USEC": "1000"})
    gone.ready("")
    stuck = Referee(str(tmp_path / "stuck"))
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "stuck")})
    with stuck.socket:
        # More than its socket takes: one that waited would wait for ever.
        for _ in range(20):
            manager.alive()
        assert set(stuck.waiting()) == {"WATCHDOG=1"}


@pytest.mark.parametrize(
    "watchdog",
    [
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "-1000"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
    ],
)
def test_nobody_is_watched_who_need_not_be(
    address: str, referee: Referee, watchdog: dict[str, str]
) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": address, **watchdog})
    asyncio.run(asyncio.wait_for(manager.watchdog(), 60))
    assert referee.waiting() == []


def test_P5_a_blocked_event_loop_is_not_alive(address: str, referee: Referee) -> None:
    """A monitor whose loop hangs tells nothing, so that the manager starts it again."""
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(WATCHDOG_US)},
        text=True,
        bufsize=1,
    ) as service:
        killer = threading.Timer(100, service.kill)
        killer.start()
        try:
            assert service.stdin is not None
            assert service.stdout is not None
            referee.hear_until("READY=1\nSTATUS=1 board")
            referee.hear_until("WATCHDOG=1")
            service.stdin.write("block\n")
            assert service.stdout.readline() == "blocked\n"
            referee.waiting()
            # Five times as long as between two of them.
            referee.socket.settimeout(1)
            with pytest.raises(TimeoutError):
                referee.hear()
            referee.socket.settimeout(60)
            service.stdin.write("go on\n")
            referee.hear_until("WATCHDOG=1")
            service.stdin.write("reload\n")
            referee.hear_until("RELOADING=1")
            referee.hear_until("READY=1\nSTATUS=2 boards")
            service.stdin.close()
            referee.hear_until("STOPPING=1")
            assert service.wait(60) == 0
        finally:
            killer.cancel()
            service.kill()
