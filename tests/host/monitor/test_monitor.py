"""`hardmute monitor`: what it follows, and what other commands get from it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

import hardmute
from conftest import Cli, Result, Sim, StartSim, StartWatch, plug_in_real
from hardmute.model.answers import Verdict
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.monitor import client, server
from hardmute.monitor.client import Known
from hardmute.monitor.feed import Told
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.server import Server
from hardmute.store.log import Log
from hardmute.system import paths

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix sockets")
SOON_S = 15.0


def wait_for(is_so: Callable[[], object], seconds: float = SOON_S) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


class Process:
    """``hardmute monitor`` in a process of its own, which has told of each of its boards."""

    def __init__(self, *boards: str) -> None:
        self.boards = boards
        named = [word for board in boards for word in ("-d", board)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hardmute", "monitor", "--json", *named],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: all(self.knows(board) for board in boards))

    def knows(self, board: str) -> Known | None:
        return client.known(board, "test")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self, number: int = signal.SIGTERM) -> Result:
        self.send(signal.SIGCONT)
        self.send(number)
        out, err = self.process.communicate(timeout=SOON_S)
        return Result(self.process.returncode, out, err)


StartMonitor = Callable[..., Process]


@pytest.fixture
def monitor(home: Path) -> Iterator[StartMonitor]:  # noqa: ARG001 (for its effect)
    """Start ``hardmute monitor`` processes, which end with the test."""
    started: list[Process] = []

    def start(*boards: str) -> Process:
        started.append(Process(*boards))
        return started[-1]

    yield start
    for one in started:
        with one.process as process:
            process.kill()


class Inside:
    """A monitor in a thread of this process, on the ports that the test plugs in."""

    def __init__(self, *boards: str) -> None:
        self.told: list[Told] = []
        self._boards = boards
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._begun.wait(SOON_S)

    async def _run(self) -> None:
        self.monitor = Monitor(self._boards)
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        following = asyncio.create_task(self.monitor.run())
        reading = asyncio.create_task(self._read())
        async with Server(self.monitor, lambda: {"pid": os.getpid()}).listening():
            await self.monitor.is_ready.wait()
            self._begun.set()
            await self._end.wait()
        for task in (following, reading):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _read(self) -> None:
        async for told in self.monitor.feed.changes():
            self.told.append(told)

    def verdict(self, board: str) -> Verdict | None:
        told = self.monitor.feed.of(board)
        return None if told is None else told.observation.verdict

    def reason(self, board: str) -> str | None:
        told = self.monitor.feed.of(board)
        return None if told is None else told.observation.reason

    def mute(self, board: str) -> None:
        asyncio.run_coroutine_threadsafe(self.monitor.mute(board), self._loop).result(SOON_S)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


@pytest.fixture
def inside(home: Path) -> Iterator[Callable[..., Inside]]:  # noqa: ARG001 (for its effect)
    started: list[Inside] = []

    def start(*boards: str) -> Inside:
        started.append(Inside(*boards))
        return started[-1]

    yield start
    for one in started:
        one.close()


# What other commands get.


def test_P5_status_is_what_the_monitor_knows(sim: Sim, cli: Cli, monitor: StartMonitor) -> None:
    running = monitor(sim.board)
    for named in (sim.board, sim.device):
        told = cli("-d", named, "status", "--json")
        assert (told.code, told.json["verdict"], told.json["source"]) == (0, "muted", "status")
    sim.act("press")
    wait_for(lambda: cli("-d", sim.board, "status").code == 1)
    before = cli("-d", sim.board, "status", "--json").json
    wait_for(
        lambda: cli("-d", sim.board, "status", "--json").json["uptime_ms"] > before["uptime_ms"]
    )
    assert running.end().code == 0
    # Without it, the board itself is asked.
    assert cli("-d", sim.board, "status").code == 1


def test_each_command_gets_the_port_from_the_monitor(
    sim: Sim, cli: Cli, monitor: StartMonitor, home: Path
) -> None:
    running = monitor(sim.board)
    for words in (
        ("verify",),
        ("mute",),
        ("config",),
        ("list",),
        ("doctor",),
        ("prove", "--from", "1s", "-o", home / "receipt.json"),
    ):
        told = cli(*words, *(() if words[0] == "list" else ("-d", sim.board)))
        assert told.code != 6, told
        assert "held" not in told.out + told.err, told
        wait_for(
            lambda: (known := running.knows(sim.board)) and known.observation.verdict == "muted"
        )


def test_P5_a_monitor_that_is_stopped_is_unknown_and_named(
    sim: Sim, cli: Cli, monitor: StartMonitor
) -> None:
    running = monitor(sim.board)
    running.send(signal.SIGSTOP)
    begun = time.monotonic()
    told = cli("-d", sim.board, "status", "--json")
    assert (told.code, told.json["verdict"], told.json["reason"]) == (
        3,
        "unknown",
        "monitor_hangs",
    )
    assert f"process {running.process.pid}" in told.err
    assert time.monotonic() - begun >= client.FRESH_S


def test_P1_mute_cuts_beside_a_monitor_that_is_stopped(
    sim: Sim, cli: Cli, monitor: StartMonitor
) -> None:
    running = monitor(sim.board)
    sim.act("press")
    running.send(signal.SIGSTOP)
    told = cli("-d", sim.board, "mute")
    assert sim.look()["line"] == "cut"
    # It may have been stopped in the middle of a row, and then holds the log as well.
    assert told.code in (0, 6)
    assert f"Process {running.process.pid} (hardmute monitor" in told.err
    running.send(signal.SIGCONT)
    wait_for(lambda: (known := running.knows(sim.board)) and known.observation.verdict == "muted")


def test_P5_a_killed_monitor_leaves_nothing_behind(
    sim: Sim, cli: Cli, monitor: StartMonitor
) -> None:
    running = monitor(sim.board)
    running.process.kill()
    running.process.wait()
    assert cli("-d", sim.board, "status").code == 0
    assert monitor(sim.board).end().code == 0
    assert cli("log", "verify").code in (0, 3)


def test_a_second_monitor_says_which_one_runs(sim: Sim, cli: Cli, monitor: StartMonitor) -> None:
    running = monitor(sim.board)
    told = cli("monitor", "-d", sim.board)
    assert (told.code, told.out) == (6, "")
    assert told.err == (
        f"A monitor of yours runs already (process {running.process.pid}): end it first.\n"
    )


def test_P5_watch_goes_on_when_the_monitor_ends(
    sim: Sim, monitor: StartMonitor, watch: StartWatch
) -> None:
    running = monitor(sim.board)
    watching = watch(sim.board)
    assert watching.next()["verdict"] == "muted"
    sim.act("press")
    assert watching.next()["verdict"] == "live"
    running.end()
    # The board itself is followed now.
    assert watching.next()["verdict"] == "live"
    sim.act("press")
    assert watching.next()["verdict"] == "muted"


def test_P5_watch_shows_that_the_monitor_is_stopped(
    sim: Sim, monitor: StartMonitor, watch: StartWatch
) -> None:
    running = monitor(sim.board)
    watching = watch(sim.board)
    assert watching.next()["verdict"] == "muted"
    running.send(signal.SIGSTOP)
    assert watching.next()["verdict"] == "unknown"
    running.send(signal.SIGCONT)
    while (verdict := watching.next()["verdict"]) != "muted":
        assert verdict == "unknown"


def test_P5_what_was_heard_last_is_shown_for_3_s(sim: Sim, monitor: StartMonitor) -> None:
    running = monitor(sim.board)
    told = client.following(sim.board, "test")
    assert told is not None
    last = next(told).observation
    # Between two messages, so that the last one is not new any more.
    time.sleep(0.9)
    running.send(signal.SIGSTOP)
    while (seen := next(told).observation).verdict == "muted":
        last = seen
    assert seen.run_us is not None
    assert last.run_us is not None
    assert seen.run_us - last.run_us <= 3_500_000


# Who may ask, and what.


def test_nobody_else_may_ask_or_answer(
    sim: Sim, cli: Cli, inside: Callable[..., Inside], monkeypatch: pytest.MonkeyPatch
) -> None:
    inside(sim.board)
    file = Path(paths.runtime_dir("monitor"), "socket")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700

    def other(_: object) -> tuple[int, int]:
        return 1, os.getuid() + 1

    monkeypatch.setattr(server, "peer", other)
    # It is closed, and what was asked was not read.
    with closing(connected()) as plug, suppress(ConnectionError):
        plug.sendall(b'{"hardmute": 1, "op": "boards"}\n')
        assert plug.recv(100) == b""
    monkeypatch.setattr(client, "peer", other)
    told = cli("-d", sim.board, "status")
    assert (told.code, told.out) == (3, "")
    assert "Another user" in told.err


def connected() -> socket.socket:
    plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plug.settimeout(SOON_S)
    plug.connect(f"{paths.runtime_dir('monitor')}/socket")
    return plug


def ask(plug: socket.socket, said: bytes) -> dict[str, Any]:
    plug.sendall(said + b"\n")
    with plug.makefile("rb") as answers:
        return json.loads(answers.readline())


def test_requests_that_mean_nothing_get_an_answer(sim: Sim, inside: Callable[..., Inside]) -> None:
    inside(sim.board)
    for said in (
        b"",
        b"[]",
        b"nonsense",
        b'{"op": "board"}',
        b'{"hardmute": 2, "op": "board", "named": null}',
        b'{"hardmute": 1, "op": "board", "named": 5}',
        b"[" * 4000,
    ):
        with closing(connected()) as plug:
            assert ask(plug, said) == {"hardmute": 1, "ok": False, "error": "bad_request"}
    with closing(connected()) as plug:
        assert ask(plug, b'{"hardmute": 1, "op": "unmute"}')["error"] == "bad_op"
        answer = ask(plug, b'{"hardmute": 1, "op": "board", "named": "nowhere"}')
        assert answer["error"] == "not_followed"
        assert ask(plug, b'{"hardmute": 1, "op": "boards"}')["boards"][0]["label"] is None
        assert ask(plug, b'{"hardmute": 1, "op": "monitor"}')["monitor"]["pid"] == os.getpid()


@pytest.mark.parametrize(
    ("ahead_us", "run", "verdict"),
    [
        (0, None, "muted"),
        (3_100_000, None, "unknown"),
        (-5_000_000, None, "unknown"),
        (0, "another start of this host", "unknown"),
    ],
)
def test_P5_an_answer_counts_by_its_age(
    sim: Sim, inside: Callable[..., Inside], ahead_us: int, run: str | None, verdict: Verdict
) -> None:
    inside(sim.board)
    clock = HostClock(
        SYSTEM.wall_ms, lambda: SYSTEM.run_us() + ahead_us, lambda: run or SYSTEM.run()
    )
    known = client.known(sim.board, "test", clock)
    assert known is not None
    assert known.observation.verdict == verdict


# Which boards it follows.


def test_P5_the_only_board_is_the_only_one_that_may_be_there(
    start_sim: StartSim, cli: Cli, inside: Callable[..., Inside], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = start_sim(), start_sim()
    plug_in_real(monkeypatch, one.device)
    running = inside()
    wait_for(lambda: running.monitor.station(None) is not None)
    assert cli("status", "--json").json["board"] == one.board
    other.act("unplug")
    plug_in_real(monkeypatch, one.device, other.device)
    # A port with something that does not answer: the monitor cannot tell what is behind it.
    wait_for(lambda: running.monitor.station(None) is None)
    plug_in_real(monkeypatch, one.device)
    wait_for(lambda: running.monitor.station(None) is not None)


def test_P5_the_monitor_of_one_board_speaks_for_no_other(
    start_sim: StartSim, inside: Callable[..., Inside], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = start_sim(), start_sim()
    plug_in_real(monkeypatch, one.device, other.device)
    running = inside(one.board)
    assert running.monitor.station(None) is None


def test_P5_boards_that_come_and_go_are_followed(
    start_sim: StartSim, inside: Callable[..., Inside], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = start_sim(), start_sim()
    plug_in_real(monkeypatch, one.device)
    running = inside()
    assert running.verdict(one.board) == "muted"
    assert running.verdict(other.board) is None
    plug_in_real(monkeypatch, one.device, other.device)
    wait_for(lambda: running.verdict(other.board) == "muted")
    one.act("unplug")
    plug_in_real(monkeypatch, other.device)
    wait_for(lambda: running.verdict(one.board) == "unknown")
    one.act("replug", "press")
    plug_in_real(monkeypatch, one.device, other.device)
    wait_for(lambda: running.verdict(one.board) == "live")
    assert running.verdict(other.board) == "muted"


def test_P5_a_board_with_a_label_that_is_not_there_is_unknown(
    sim: Sim, cli: Cli, inside: Callable[..., Inside], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in_real(monkeypatch, sim.device)
    log = Log(home / "log.sqlite3")
    log.set_label("c0ffee01", "Meeting room 2")
    log.close()
    running = inside()
    assert running.verdict("c0ffee01") == "unknown"
    # At first the port of the other board may not be known as that.
    wait_for(lambda: running.reason("c0ffee01") == "not_connected")

    def is_told() -> bool:
        told = cli("-d", "Meeting room 2", "status", "--json")
        assert (told.code, told.json["verdict"]) == (3, "unknown")
        return told.json["reason"] == "not_connected"

    # The follower looks for it again and again, and may be asking just now.
    wait_for(is_told)


def test_P1_the_monitor_itself_can_cut_only(sim: Sim, inside: Callable[..., Inside]) -> None:
    running = inside(sim.board)
    sim.act("press")
    wait_for(lambda: running.verdict(sim.board) == "live")
    running.mute(sim.board)
    assert sim.look()["line"] == "cut"
    wait_for(lambda: running.verdict(sim.board) == "muted")


def test_P5_a_board_that_hangs_is_unknown_and_holds_up_no_other(
    start_sim: StartSim, inside: Callable[..., Inside]
) -> None:
    one, other = start_sim(), start_sim()
    running = inside(one.board, other.board)
    one.process.send_signal(signal.SIGSTOP)
    wait_for(lambda: running.verdict(one.board) == "unknown")
    other.act("press")
    wait_for(lambda: running.verdict(other.board) == "live")
    one.process.send_signal(signal.SIGCONT)
    wait_for(lambda: running.verdict(one.board) == "muted")


def test_P5_a_program_follows_a_board_by_the_monitor(sim: Sim, monitor: StartMonitor) -> None:
    """Neither takes the port from the other; and the program goes on without the monitor."""
    running = monitor(sim.board)
    seen = hardmute.open_board(sim.board).watch()
    assert next(seen).verdict == "muted"
    sim.act("press")
    assert next(seen).verdict == "live"
    known = running.knows(sim.board)
    assert known is not None
    assert known.observation.verdict == "live"
    running.send(signal.SIGSTOP)
    assert next(seen).verdict == "unknown"
    running.end()
    while next(seen).verdict != "live":
        pass
    sim.act("press")
    while next(seen).verdict != "muted":
        pass
