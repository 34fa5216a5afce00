"""`hardmute monitor`: what it follows, and what other commands get from it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import serial

import hardmute
from conftest import Cli, Result, Sim, StartSim, StartWatch, plug_in_real
from hardmute.device.borrow import borrow
from hardmute.device.holder import PortHolder, Turn
from hardmute.model.answers import Verdict
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.monitor import client, server
from hardmute.monitor.client import Known
from hardmute.monitor.feed import Told
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.server import Server
from hardmute.store.log import Log
from hardmute.system import monitor_socket, paths
from monitor_time import BOARD, Time, turns

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix sockets")
SOON_S = 60.0


def wait_for(is_so: Callable[[], object], seconds: float = SOON_S) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


class Process:
    """``hardmute monitor`` in a process of its own, which follows each of its boards."""

    def __init__(self, *boards: str) -> None:
        self.boards = boards
        named = [word for board in boards for word in ("-d", board)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hardmute", "monitor", "--json", *named],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: all(self.verdict(board) not in (None, "unknown") for board in boards))

    def knows(self, board: str) -> Known | None:
        # It may be too busy to answer.
        with suppress(monitor_socket.HangsError):
            return client.known(board, "test")
        return None

    def verdict(self, board: str) -> Verdict | None:
        known = self.knows(board)
        return None if known is None else known.observation.verdict

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """Returns once it runs no more."""
        self.send(signal.SIGSTOP)
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

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
            # A client that has just gone may not have been served yet: asyncio would leave its
            # connection open, and tell of it in another test.
            await turns()
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
        # The board may just now be silent for the monitor, on a busy machine.
        wait_for(lambda named=named: cli("-d", named, "status").code == 0)
        assert cli("-d", named, "status", "--json").json["source"] == "status"
    sim.act("press")
    wait_for(lambda: cli("-d", sim.board, "status").code == 1)
    before = cli("-d", sim.board, "status", "--json").json
    wait_for(
        lambda: cli("-d", sim.board, "status", "--json").json["uptime_ms"] > before["uptime_ms"]
    )
    assert running.end().code == 0
    # Without it, the board itself is asked.
    assert cli("-d", sim.board, "status").code == 1


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The open ports that a monitor in this process has passed to others."""
    passed: list[int] = []
    pass_on = server._pass

    def noting(plug: Any, said: dict[str, Any], fd: int) -> None:
        passed.append(fd)
        pass_on(plug, said, fd)

    monkeypatch.setattr(server, "_pass", noting)
    return passed


def test_P5_commands_borrow_the_port_by_the_socket(
    sim: Sim, cli: Cli, inside: Callable[..., Inside], lent: list[int]
) -> None:
    running = inside(sim.board)
    for words in (("verify",), ("mute",), ("config", "get"), ("list",), ("doctor",)):
        lent.clear()

        def is_lent(words: tuple[object, ...] = words) -> bool:
            told = cli(*words, *(() if words[0] == "list" else ("-d", sim.board)))
            assert told.code != 6, told
            assert "held" not in told.out + told.err, told
            return bool(lent)

        # While it looks for the board again it has no port to lend.
        wait_for(is_lent)
        wait_for(lambda: running.verdict(sim.board) == "muted")


def test_P5_a_board_is_paired_and_signs_through_the_monitor(
    sim: Sim, cli: Cli, inside: Callable[..., Inside], lent: list[int], home: Path
) -> None:
    sim.open_setup()
    running = inside(sim.board)
    wait_for(lambda: running.verdict(sim.board) == "muted")
    assert cli("-d", sim.board, "pair", "--verify-key", home / "key.json").code == 0
    lent.clear()

    def is_signed() -> bool:
        told = cli("-d", sim.board, "verify", "--require", "attested", "--json")
        return (told.code, told.json["proof"]) == (0, "attested") and bool(lent)

    wait_for(is_signed)
    lent.clear()

    def is_met() -> bool:
        assert "held" not in cli("-d", sim.board, "prove", "--from", "10s", "--json").err
        return bool(lent)

    wait_for(is_met)


def test_P1_commands_get_the_port_of_a_remote_board(
    start_sim: StartSim, cli: Cli, monitor: StartMonitor
) -> None:
    """The monitor ends its connection for them, and then follows the board again."""
    sim = start_sim("--tcp", 0)
    running = monitor(sim.device)
    sim.act("press")
    wait_for(lambda: running.verdict(sim.device) == "live")
    for words in (("mute",), ("verify",), ("config", "get")):
        told = cli("-d", sim.device, *words)
        assert (told.code, "held" in told.err) == (0, False), told
        wait_for(lambda: running.verdict(sim.device) == "muted")


def test_P5_a_flash_gets_the_port_and_nothing_is_known_meanwhile(
    sim: Sim, inside: Callable[..., Inside]
) -> None:
    running = inside(sim.board)
    wait_for(lambda: running.verdict(sim.board) == "muted")
    # As `flash` takes it: nobody else has it open.
    with PortHolder(sim.device, SOON_S), serial.Serial(str(sim.device), exclusive=True):
        wait_for(lambda: running.verdict(sim.board) == "unknown")
    wait_for(lambda: running.verdict(sim.board) == "muted")


def test_one_after_the_other_borrows_and_a_mute_goes_first(
    sim: Sim, inside: Callable[..., Inside]
) -> None:
    inside(sim.board)
    meets = borrow(sim.device, "meet", SOON_S)
    assert meets is not None
    assert not meets.is_wanted()
    order: list[str] = []

    def use(turn: Turn) -> None:
        borrowed = borrow(sim.device, turn, SOON_S)
        assert borrowed is not None
        order.append(turn)
        with closing(borrowed):
            pass

    threads = [threading.Thread(target=use, args=(turn,)) for turn in ("usual", "mute")]
    for thread in threads:
        thread.start()
    wait_for(meets.is_wanted)
    meets.close()
    for thread in threads:
        thread.join()
    assert order == ["mute", "usual"]


def test_P5_one_who_borrows_and_is_stopped_loses_the_port(
    sim: Sim, inside: Callable[..., Inside]
) -> None:
    running = inside(sim.board)
    connection = monitor_socket.connect()
    assert connection is not None
    said = connection.ask("port", named=sim.device, turn="usual", seconds=0.01)
    assert said["port"] is True
    wait_for(lambda: connection.has_news() and connection.has_ended)
    connection.close()
    sim.act("press")
    wait_for(lambda: running.verdict(sim.board) == "live")


def test_P5_a_monitor_that_is_stopped_is_unknown_and_named(
    sim: Sim, cli: Cli, monitor: StartMonitor
) -> None:
    running = monitor(sim.board)
    running.stop()
    begun = time.monotonic()
    told = cli("-d", sim.board, "status", "--json")
    assert (told.code, told.json["verdict"], told.json["reason"]) == (
        3,
        "unknown",
        "monitor_hangs",
    )
    assert f"process {running.process.pid}" in told.err
    assert time.monotonic() - begun >= monitor_socket.FRESH_S


def test_P1_mute_cuts_beside_a_monitor_that_is_stopped(
    sim: Sim, cli: Cli, monitor: StartMonitor
) -> None:
    running = monitor(sim.board)
    sim.act("press")
    # It has the port.
    wait_for(lambda: running.verdict(sim.board) == "live")
    running.stop()
    told = cli("-d", sim.board, "mute")
    assert sim.look()["line"] == "cut"
    # It may have been stopped in the middle of a row, and then holds the log as well.
    assert told.code in (0, 6)
    assert f"Process {running.process.pid} (hardmute monitor" in told.err
    running.send(signal.SIGCONT)
    wait_for(lambda: running.verdict(sim.board) == "muted")


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
    watching.until("muted")
    sim.act("press")
    watching.until("live")
    running.end()
    # The board itself is followed now.
    watching.until("live")
    sim.act("press")
    watching.until("muted")


def test_P5_watch_shows_that_the_monitor_is_stopped(
    sim: Sim, monitor: StartMonitor, watch: StartWatch
) -> None:
    running = monitor(sim.board)
    watching = watch(sim.board)
    watching.until("muted")
    running.stop()
    watching.until("unknown")
    running.send(signal.SIGCONT)
    watching.until("muted")


class Plug:
    """A socket at which a monitor has said this, each at its time, and nothing afterwards."""

    def __init__(self, time: Time, said: list[tuple[float, dict[str, Any]]]) -> None:
        self._time = time
        self._said = said
        self._patience_s = 0.0

    def getsockopt(self, *_: int) -> bytes:
        return struct.pack("3i", os.getpid(), os.getuid(), os.getgid())

    def settimeout(self, seconds: float) -> None:
        self._patience_s = seconds

    def sendall(self, _: bytes) -> None:
        pass

    def recvmsg(self, *_: int) -> tuple[bytes, list[Any], int, None]:
        until_s = self._time.passed_s + self._patience_s
        if not self._said or self._said[0][0] > until_s:
            self._time.passed_s = until_s
            raise TimeoutError
        at_s, answer = self._said.pop(0)
        self._time.passed_s = max(self._time.passed_s, at_s)
        return json.dumps(answer).encode() + b"\n", [], 0, None

    def close(self) -> None:
        pass


def test_P5_what_was_heard_last_is_shown_for_3_s(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(datetime(2026, 11, 30, 12))  # noqa: DTZ001 (local time)
    told = time.told("muted").observation
    more = {"label": None, "firmware": None, "incident": None, "exit_code": 0}

    def said(heard_s: float) -> dict[str, Any]:
        seen = told._replace(run=time.clock.run(), run_us=round(heard_s * 1e6))
        return {"ok": True, "board": {"observation": seen.as_json(), **more}}

    time.passed_s = 10.0
    plug: Any = Plug(time, [(10.0, said(9.9)), (11.0, said(10.9))])
    monkeypatch.setattr(client, "connect", lambda clock: client.Connection(plug, clock))
    following = client.following(BOARD, "test", time.clock)
    assert following is not None
    shown = [(next(following).observation.verdict, round(time.passed_s, 3)) for _ in range(3)]
    assert shown == [("muted", 10.0), ("muted", 11.0), ("unknown", 13.9)]


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
    monkeypatch.setattr(monitor_socket, "peer", other)
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
        b'{"hardmute": 1, "op": "port", "named": null, "turn": "usual", "seconds": 1}',
        b'{"hardmute": 1, "op": "port", "named": "/dev/x", "turn": "follow", "seconds": 1}',
        b'{"hardmute": 1, "op": "port", "named": "/dev/x", "turn": "usual", "seconds": "9"}',
        b'{"hardmute": 1, "op": "port", "named": "/dev/x", "turn": "usual", "seconds": 1e9}',
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

    def is_told() -> bool:
        known = client.known(sim.board, "test", clock)
        assert known is not None
        return known.observation.verdict == verdict

    # Where it is muted, a busy machine may have heard that too long ago.
    wait_for(is_told)


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
    wait_for(lambda: running.verdict(one.board) == "muted")
    assert running.verdict(other.board) is None
    plug_in_real(monkeypatch, one.device, other.device)
    wait_for(lambda: running.verdict(other.board) == "muted")
    one.act("unplug")
    plug_in_real(monkeypatch, other.device)
    wait_for(lambda: running.verdict(one.board) == "unknown")
    one.act("replug", "press")
    plug_in_real(monkeypatch, one.device, other.device)
    wait_for(lambda: running.verdict(one.board) == "live")
    wait_for(lambda: running.verdict(other.board) == "muted")


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

    def until(verdict: Verdict) -> None:
        while next(seen).verdict != verdict:
            pass

    until("muted")
    sim.act("press")
    until("live")
    wait_for(lambda: running.verdict(sim.board) == "live")
    running.stop()
    until("unknown")
    running.end()
    until("live")
    sim.act("press")
    until("muted")


def test_P5_other_boards_are_followed_on_sighup(
    start_sim: StartSim, monitor: StartMonitor, home: Path
) -> None:
    one, other = start_sim(), start_sim()
    settings = home / "monitor.toml"
    settings.write_text(f'boards = ["{one.board}"]')
    running = monitor()
    wait_for(lambda: running.knows(one.board))
    settings.write_text(f'boards = ["{other.board}"]')
    running.send(signal.SIGHUP)
    wait_for(lambda: running.knows(other.board))
    assert running.knows(one.board) is None
    # Its port is free.
    assert hardmute.open_board(one.board).read().verdict == "muted"
    assert running.end().code == 0


def test_a_board_that_is_forgotten_leaves(
    sim: Sim, cli: Cli, inside: Callable[..., Inside], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in_real(monkeypatch, sim.device)
    log = Log(home / "log.sqlite3")
    log.set_label("c0ffee01", "Meeting room 2")
    log.close()
    running = inside()
    assert running.verdict("c0ffee01") == "unknown"
    assert cli("forget", "c0ffee01").code == 0
    wait_for(lambda: running.verdict("c0ffee01") is None)
    wait_for(lambda: [told.board for told in running.told if told.is_gone] == ["c0ffee01"])
    assert running.verdict(sim.board) == "muted"
