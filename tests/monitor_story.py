"""What happens to a monitor and to its boards: a story, held against the world's record.

The monitor is a process (`monitor_process`). Its boards are in the test's own, which records when
each line was connected. Boards are pressed, welded, unplugged and stopped; the monitor is stopped
and killed; the host's clock is set, the host sleeps, its disk is full. What the monitor tells
meanwhile, and what its log says afterwards, is never muted of a moment at which a line was
connected.
"""

from __future__ import annotations

import contextlib
import io
import resource
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple, Self

from hardmute.cli.main import main
from hardmute.evidence.interval import Interval
from hardmute.model import errors
from hardmute.model.errors import UnreachableError
from hardmute.monitor import client
from hardmute.sim.engine import Engine
from hardmute.sim.server import Simulator
from hardmute.sim.world import act
from hardmute.store.log import Log
from hardmute.sync.timelines import read_timelines
from hardmute.system import paths
from monitor_process import Clocks

# What happens to a board; and to the monitor, or to its host.
TO_BOARDS = ("press", "weld", "unplug", "pause")
TO_MONITOR = ("stop", "kill", "set", "sleep", "full")
KINDS = TO_BOARDS + TO_MONITOR
STEPS = 84
# What happens within this time of something else meets it, in seconds.
MEETS_S = 1.0
# A board keeps its last word while its contacts settle: 10 ms, and two polls (docs/design.md).
SETTLING_MS = 15
# How long a state may take to be told, in seconds: a busy machine delays all of it.
SETTLES_S = 60.0
# By how much times of the log may be off: a pass of the board (docs/evidence.md, T5), which takes
# long where the machine is busy. And contacts bounce for 1 ms.
EDGE_MS = 250
BOUNCE_US = 2_000
# It says what time it is at least every second, or is asked.
ANCHOR_US = 2_000_000
_DAY_MS = 86_400_000


class Step(NamedTuple):
    """Something that happens, ``at_s`` after the start, and lasts for so long."""

    at_s: float
    kind: str
    board: int
    lasts_s: float


def plan(seed: int, boards: int) -> list[Step]:
    """What happens to so many boards, and to their monitor."""
    chance = Random(seed)
    at_s = 0.0
    steps: list[Step] = []
    for _ in range(STEPS):
        at_s += chance.uniform(0.02, 0.4)
        kind = chance.choice(KINDS)
        # Now and then longer than what was heard stays true.
        lasts_s = 3.4 if chance.random() < 0.02 else chance.uniform(0.05, 0.8)
        steps.append(Step(at_s, kind, chance.randrange(boards), lasts_s))
    return steps


class Board:
    """A board in a thread, and the record of when its line was connected."""

    def __init__(self, board: str, engine: Engine, clocks: Clocks) -> None:
        self.board = board
        self._clock = clocks.clock
        physics = engine.physics
        physics.on_contact = self._record
        self._physics = physics
        # By the board's own clock, which on a busy machine is not the host's.
        self._changes_us: list[int] = [0]
        self._connected: list[bool] = [False]
        # Not after when that was by the host's clock; and by how much the board then ran behind.
        self._change_us: list[int] = [0]
        self._behind_us: list[int] = []
        # What the board's clock was, and when.
        self._board_us: list[int] = [0]
        self._host_us: list[int] = [0]
        self._due_us = 0
        self._simulator = Simulator(engine, board, tcp_port=None, clock=self._clock.now_s)
        self._runs = threading.Event()
        self._runs.set()
        self._ended = False
        # What the world does to it: all in the one thread.
        self._todo: list[str] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _record(self) -> None:
        self._changes_us.append(self._physics.now_us)
        self._connected.append(self._physics.connected)
        self._change_us.append(self._due_us)

    def _run(self) -> None:
        while not self._ended:
            self._runs.wait()
            self._due_us = round(1e6 * self._simulator._due)
            self._simulator.step()
            self._board_us.append(self._physics.now_us)
            self._host_us.append(self._clock.run_us())
            self._behind_us.append(self._host_us[-1] - self._due_us)

    def act(self, *words: str) -> None:
        """Have the world do this as soon as the board runs."""

        def submit() -> None:
            with suppress(UnreachableError):
                act(self._simulator.entry.world, [*words])

        threading.Thread(target=submit, daemon=True).start()

    def run_s(self, seconds: float) -> None:
        """Wait until so much of the board's time has passed."""
        until_us = self._board_us[-1] + round(1e6 * seconds)
        while self._board_us[-1] < until_us:
            assert self._thread.is_alive()
            time.sleep(0.02)

    def pause(self, *, on: bool) -> None:
        (self._runs.clear if on else self._runs.set)()

    @property
    def is_connected(self) -> bool:
        return self._connected[-1]

    def was_cut(self, begin_us: int, end_us: int) -> bool:
        """Whether the line was cut at any moment of this time, or while it settled before."""
        before = max(0, bisect_right(self._host_us, begin_us) - 1)
        after = min(bisect_right(self._host_us, end_us), len(self._board_us) - 1)
        settles_us = self._board_us[before] - 1000 * SETTLING_MS
        first = max(0, bisect_right(self._changes_us, settles_us) - 1)
        last = bisect_right(self._changes_us, self._board_us[after]) - 1
        return not all(self._connected[first : last + 1])

    def was_live(self, begin_us: int, end_us: int) -> list[tuple[int, int]]:
        """When the line was certainly connected in this time, by the host's clock.

        A board that ran behind told the time late, and so when it was connected.
        """
        ends_us = [*self._change_us[1:], self._due_us]
        spans = [
            (max(since_us + self._behind(since_us), begin_us), min(until_us, end_us))
            for since_us, until_us, connected in zip(
                self._change_us, ends_us, self._connected, strict=True
            )
            if connected
        ]
        return [(since, until) for since, until in spans if until - since > BOUNCE_US]

    def _behind(self, at_us: int) -> int:
        first = bisect_right(self._host_us, at_us - ANCHOR_US)
        last = bisect_right(self._host_us, at_us + ANCHOR_US)
        return max(self._behind_us[max(0, first - 1) : last + 1], default=0)

    def close(self) -> None:
        self._ended = True
        self._runs.set()
        self._thread.join()
        self._simulator.close()


class Host:
    """The monitor of these ``boards``, and what happens to it and to its host."""

    def __init__(self, clocks: Clocks, boards: Sequence[str]) -> None:
        self.clocks = clocks
        self.is_stopped = False
        self.kills = 0
        self._boards = boards
        # Since when, in us of the clock that nobody sets, the wall clock was ahead by how much.
        self._sets: list[tuple[int, int]] = [(0, 0)]
        self._start()

    def _start(self) -> None:
        program = Path(__file__).with_name("monitor_process.py")
        self.process = subprocess.Popen(
            # Without bytecode: Python leaves a part of a file, and fails with it later.
            [sys.executable, "-B", str(program), *self._boards],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def kill(self) -> None:
        """Whatever it was at: its log verifies."""
        self.process.kill()
        self.process.wait()
        self.is_stopped = False
        self.kills += 1
        assert self.verifies()
        self._start()

    def verifies(self) -> bool:
        """Whether `hardmute log verify` finds nothing; of no log as well."""
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return main(["log", "verify"]) in (errors.OK, errors.UNKNOWN)

    def set_clock(self, by_us: int) -> None:
        self.clocks.put_on(set_us=by_us)
        self._sets.append((self.clocks.clock.run_us(), self._sets[-1][1] + by_us))

    def stop(self, *, on: bool) -> None:
        self.process.send_signal(signal.SIGSTOP if on else signal.SIGCONT)
        self.is_stopped = on

    def fill_disk(self, *, on: bool) -> None:
        full = resource.RLIM_INFINITY if not on else 4096
        with suppress(ProcessLookupError):
            resource.prlimit(
                self.process.pid, resource.RLIMIT_FSIZE, (full, resource.RLIM_INFINITY)
            )

    def knows(self, board: Board) -> client.Known | None:
        try:
            return client.known(board.board, "test", self.clocks.clock)
        except UnreachableError:
            return None

    def end(self) -> int:
        self.stop(on=False)
        self.process.terminate()
        return self.process.wait(60)

    def check_log(self, boards: Sequence[Board]) -> None:
        """What `hardmute log` says is held against what the lines were."""
        log = Log(Path(paths.log_file()))
        try:
            now_ms = self.clocks.clock.wall_ms()
            for board in boards:
                (timeline,) = read_timelines(log, board.board, now_ms - _DAY_MS, now_ms + _DAY_MS)
                rows = list(log.observations(board.board, 0, 1 << 62))
                asked = [row.run_us for row in rows if row.run_us is not None]
                assert {one.state for one in timeline.intervals} >= {"muted", "live"}
                for interval in timeline.intervals:
                    if interval.state == "muted":
                        self._check_muted(board, interval, asked)
        finally:
            log.close()

    def _check_muted(self, board: Board, interval: Interval, asked: list[int]) -> None:
        edge_ms = EDGE_MS + interval.plus_minus_ms
        for begin_us, end_us in self._spans(
            interval.start_ms + edge_ms, interval.end_ms - edge_ms, asked
        ):
            live = board.was_live(begin_us, end_us)
            assert not live, (board.board, interval, live, self._sets)

    def _spans(self, from_ms: int, to_ms: int, asked: list[int]) -> Iterator[tuple[int, int]]:
        """When, by the clock that nobody sets, the wall clock was between the two.

        Not where it was set, and set again, before anything was logged: no host can know of that.
        """
        clock = self.clocks.clock
        to_run_us = clock.run_us() - 1000 * clock.wall_ms() + self._sets[-1][1]
        for (at_us, by_us), (until_us, _) in pairwise([*self._sets, (1 << 62, 0)]):
            if not any(at_us <= run_us < until_us for run_us in asked):
                continue
            begin_us = max(at_us, 1000 * from_ms - by_us + to_run_us)
            end_us = min(until_us, 1000 * to_ms - by_us + to_run_us)
            if begin_us < end_us:
                yield begin_us, end_us


def tell(boards: Sequence[Board], host: Host, seed: int) -> None:
    """The story of ``seed``: what is told in it, and what is logged, is so."""

    def look() -> None:
        for board in boards:
            asked_us = host.clocks.clock.run_us()
            known = host.knows(board)
            if known is None or known.observation.verdict != "muted":
                continue
            seen = known.observation
            assert seen.run_us is not None
            assert seen.took_ms is not None
            assert seen.run_us >= asked_us - 3_000_000
            assert board.was_cut(seen.run_us - 1000 * seen.took_ms, seen.run_us), seen

    undo: list[tuple[float, Callable[[], object]]] = []

    def happen(step: Step, now: float) -> None:
        board = boards[step.board]
        then: Callable[[], object] | None = None
        match step.kind:
            case "press":
                board.act("press")
            case "weld":
                board.act("weld")
                then = lambda: board.act("unweld")  # noqa: E731
            case "unplug":
                board.act("unplug")
                then = lambda: board.act("replug")  # noqa: E731
            case "pause":
                board.pause(on=True)
                then = lambda: board.pause(on=False)  # noqa: E731
            case "stop":
                host.stop(on=True)
                then = lambda: host.stop(on=False)  # noqa: E731
            case "kill":
                host.kill()
            case "set":
                host.set_clock(round(1e6 * (step.lasts_s * 4 - 2)))
            case "sleep":
                host.clocks.put_on(slept_us=round(4e6 * step.lasts_s))
            case _:
                host.fill_disk(on=True)
                then = lambda: host.fill_disk(on=False)  # noqa: E731
        if then is not None:
            undo.append((now + step.lasts_s, then))

    begun = time.monotonic()
    steps = plan(seed, len(boards))
    while steps or undo:
        now = time.monotonic() - begun
        for due in [one for one in undo if one[0] <= now]:
            undo.remove(due)
            due[1]()
        if steps and steps[0].at_s <= now:
            happen(steps.pop(0), now)
        if not host.is_stopped:
            look()
        time.sleep(0.06)
    # In peace it tells what is so, of a cut line and of a connected one.
    told: list[set[str | None]] = [set() for _ in boards]
    while not all(seen >= {"muted", "live"} for seen in told):
        for seen, verdict in zip(told, _settled(boards, host, look), strict=True):
            seen.add(verdict)
        for board in boards:
            board.act("press")
        for board in boards:
            board.run_s(1.0)
    assert host.end() == errors.OK
    assert host.verifies()
    host.check_log(boards)


def _settled(boards: Sequence[Board], host: Host, look: Callable[[], None]) -> list[str | None]:
    """What is told of each board, as soon as that is right."""
    until = time.monotonic() + SETTLES_S
    while time.monotonic() < until:
        look()
        known = [host.knows(board) for board in boards]
        verdicts = [one and one.observation.verdict for one in known]
        # A fault stays until the next press.
        right = [("fault", "live" if board.is_connected else "muted") for board in boards]
        if all(verdict in so for verdict, so in zip(verdicts, right, strict=True)):
            return verdicts
        time.sleep(0.1)
    raise AssertionError(f"it tells {verdicts}, which should be {right}")
