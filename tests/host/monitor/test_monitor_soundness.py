"""P5: what the monitor tells is never muted while a line is connected, nor older than 3 s.

The monitor is a process. Its boards are simulated in the test's own, which records when each line
was connected. Boards are pressed, welded, unplugged and stopped; the monitor is stopped and
killed; the host's clock is set, the host sleeps, its disk is full. Each two of these meet.
"""

from __future__ import annotations

import itertools
import resource
import signal
import subprocess
import sys
import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple

import pytest
from monitor_process import Clocks

from conftest import Cli
from hardmute.model.errors import UnreachableError
from hardmute.monitor import client
from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics
from hardmute.sim.server import Simulator
from hardmute.sim.world import act
from muteboard import config

BOARDS = ("5eed0001", "5eed0002", "5eed0003")
# What happens to a board; and to the monitor, or to its host.
TO_BOARDS = ("press", "weld", "unplug", "pause")
TO_MONITOR = ("stop", "kill", "set", "sleep", "full")
KINDS = TO_BOARDS + TO_MONITOR
SEEDS = range(6)
STEPS = 84
# What happens within this time of something else meets it, in seconds.
MEETS_S = 1.0
# A board keeps its last word while its contacts settle: 10 ms, and two polls (docs/design.md).
SETTLING_MS = 15
# How long a state may take to be told, in seconds: a busy machine delays all of it.
SETTLES_S = 60.0


class Step(NamedTuple):
    """Something that happens, ``at_s`` after the start, and lasts for so long."""

    at_s: float
    kind: str
    board: int
    lasts_s: float


def plan(seed: int) -> list[Step]:
    chance = Random(seed)
    at_s = 0.0
    steps: list[Step] = []
    for _ in range(STEPS):
        at_s += chance.uniform(0.02, 0.4)
        kind = chance.choice(KINDS)
        # Now and then longer than what was heard stays true.
        lasts_s = 3.4 if chance.random() < 0.02 else chance.uniform(0.05, 0.8)
        steps.append(Step(at_s, kind, chance.randrange(len(BOARDS)), lasts_s))
    return steps


def test_P5_each_two_of_what_happens_meet() -> None:
    met: Counter[frozenset[str]] = Counter()
    for seed in SEEDS:
        for one, other in itertools.combinations(plan(seed), 2):
            if other.at_s - one.at_s <= MEETS_S:
                met[frozenset((one.kind, other.kind))] += 1
    pairs = [frozenset(pair) for pair in itertools.combinations(KINDS, 2)]
    assert min(met[pair] for pair in pairs) >= 3


class Board:
    """A simulated board in a thread, and the record of when its line was connected."""

    def __init__(self, board: str, clocks: Clocks) -> None:
        self.board = board
        self._clock = clocks.clock
        physics = Physics(1, Random(board))
        physics.on_contact = self._record
        self._physics = physics
        # By the board's own clock, which on a busy machine is not the host's.
        self._changes_us: list[int] = [0]
        self._connected: list[bool] = [False]
        # What the board's clock was, and when.
        self._board_us: list[int] = [0]
        self._host_us: list[int] = [0]
        self._simulator = Simulator(
            SimulatedBoard(physics, bytes.fromhex(board), config.dump(config.DEFAULTS)),
            board,
            tcp_port=None,
            clock=self._clock.now_s,
        )
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

    def _run(self) -> None:
        while not self._ended:
            self._runs.wait()
            self._simulator.step()
            self._board_us.append(self._physics.now_us)
            self._host_us.append(self._clock.run_us())

    def act(self, *words: str) -> None:
        """Have the world do this as soon as the board runs."""

        def submit() -> None:
            with suppress(UnreachableError):
                act(self._simulator.entry.world, [*words])

        threading.Thread(target=submit, daemon=True).start()

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

    def close(self) -> None:
        self._ended = True
        self._runs.set()
        self._thread.join()
        self._simulator.close()


class Host:
    """The monitor, and what happens to it and to its host."""

    def __init__(self, clocks: Clocks) -> None:
        self.clocks = clocks
        self.is_stopped = False
        self._start()

    def _start(self) -> None:
        program = Path(__file__).with_name("monitor_process.py")
        self.process = subprocess.Popen(
            # Without bytecode: Python leaves a part of a file, and fails with it later.
            [sys.executable, "-B", str(program), *BOARDS],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.is_stopped = False
        self._start()

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


@pytest.fixture
def clocks(home: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    monkeypatch.setenv("HARDMUTE_CLOCKS", str(home / "clocks"))
    return Clocks(home / "clocks")


@pytest.fixture
def boards(clocks: Clocks) -> Iterator[list[Board]]:
    started = [Board(board, clocks) for board in BOARDS]
    yield started
    for board in started:
        board.close()


@pytest.fixture
def host(clocks: Clocks, boards: list[Board]) -> Iterator[Host]:  # noqa: ARG001 (it follows them)
    started = Host(clocks)
    yield started
    if started.process.poll() is None:
        started.process.kill()
        started.process.wait()


@pytest.mark.skipif(sys.platform != "linux", reason="stops processes, and fills their disk")
@pytest.mark.parametrize("seed", SEEDS)
def test_P5_the_monitor_tells_muted_of_cut_lines_only(
    cli: Cli, boards: list[Board], host: Host, seed: int
) -> None:
    told: Counter[str] = Counter()

    def look() -> None:
        for board in boards:
            asked_us = host.clocks.clock.run_us()
            known = host.knows(board)
            if known is None:
                continue
            seen = known.observation
            told[seen.verdict] += 1
            if seen.verdict == "muted":
                assert seen.run_us is not None
                assert seen.took_ms is not None
                assert seen.run_us >= asked_us - 3_000_000
                assert board.was_cut(seen.run_us - 1000 * seen.took_ms, seen.run_us)

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
                host.clocks.put_on(set_us=round(1e6 * (step.lasts_s * 4 - 2)))
            case "sleep":
                host.clocks.put_on(slept_us=round(4e6 * step.lasts_s))
            case _:
                host.fill_disk(on=True)
                then = lambda: host.fill_disk(on=False)  # noqa: E731
        if then is not None:
            undo.append((now + step.lasts_s, then))

    begun = time.monotonic()
    steps = plan(seed)
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
    # In peace it tells what is so. Where a busy machine has told little until then, it tells more.
    until = time.monotonic() + SETTLES_S
    verdicts: list[str | None] = []
    while time.monotonic() < until:
        look()
        known = [host.knows(board) for board in boards]
        verdicts = [one and one.observation.verdict for one in known]
        # A fault stays until the next press.
        right = [("fault", "live" if board.is_connected else "muted") for board in boards]
        is_right = all(verdict in so for verdict, so in zip(verdicts, right, strict=True))
        if is_right and told["muted"] + told["live"] > 20:
            break
        time.sleep(0.1)
    else:
        pytest.fail(f"it tells {verdicts}, and has told {told}")
    assert host.end() == 0
    assert cli("log", "verify").code in (0, 3)
