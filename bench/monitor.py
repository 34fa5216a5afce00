"""How soon the monitor knows, what it takes, and what it costs to ask it."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from random import Random

from bench.desktop import echo
from bench.figure import Figure
from bench.host import START, own_home, ratios
from hardmute.model.answers import Verdict
from hardmute.monitor import client
from hardmute.monitor.monitor import Monitor
from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics
from hardmute.sim.server import Simulator
from hardmute.sim.world import act
from hardmute.store.log import Log
from hardmute.system import paths
from muteboard import config, wire

_BOARD = "5eed0001"
# A hundred rounds take 9 minutes: `HARDMUTE_SOAK=1 make bench`.
_TIMES = 100 if os.environ.get("HARDMUTE_SOAK") == "1" else 20
_MANY = 64
_BUSY_S = 60.0
# Presses at a board beside one that floods.
_BESIDE = 30


class _Board:
    """A simulated board in a thread.

    ``moved_s``: when its contact moved last. ``unplugged_s``: when its cable was pulled last: the
    world does that once the finger of the press before has gone.
    """

    def __init__(self) -> None:
        physics = Physics(1, Random(0))
        physics.on_contact = self._moved
        self.moved_s = self.unplugged_s = 0.0
        settings = config.dump(config.DEFAULTS)
        board = SimulatedBoard(physics, bytes.fromhex(_BOARD), settings)
        board.unplug = self._unplugged
        self._simulator = Simulator(board, _BOARD, tcp_port=None)
        self._ended = False
        self._runs = threading.Event()
        self._runs.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _moved(self) -> None:
        self.moved_s = time.perf_counter()

    def _unplugged(self) -> None:
        self.unplugged_s = time.perf_counter()

    def _run(self) -> None:
        while not self._ended:
            self._runs.wait()
            self._simulator.step()

    def hang(self, *, on: bool) -> None:
        (self._runs.clear if on else self._runs.set)()

    def act(self, *words: str) -> None:
        """Have the world do this, without waiting for the end of it."""
        world = self._simulator.entry.world
        threading.Thread(target=act, args=(world, [*words]), daemon=True).start()

    def close(self) -> None:
        self._ended = True
        self._runs.set()
        self._thread.join()
        self._simulator.close()


def monitor() -> list[Figure]:
    """The monitor: from a press to its row, and from a plug that is pulled to "unknown"."""
    with own_home():
        board = _Board()
        try:
            return asyncio.run(_measured(board))
        finally:
            board.close()


async def _measured(board: _Board) -> list[Figure]:
    followed = Monitor([_BOARD])
    following = asyncio.create_task(followed.run())
    await followed.is_ready.wait()
    log = Log(paths.log_file())
    times: dict[str, list[float]] = {name: [] for name in _AIMS}

    def is_logged(verdict: Verdict) -> Callable[[], bool]:
        def holds() -> bool:
            rows = list(log.observations(_BOARD, 0, 1 << 52))
            return rows[-1].verdict == verdict

        return holds

    def is_told(verdict: Verdict) -> Callable[[], bool]:
        def holds() -> bool:
            told = followed.feed.of(_BOARD)
            return told is not None and told.observation.verdict == verdict

        return holds

    async def until(holds: Callable[[], bool], since_s: float | None = None) -> float:
        begin = time.perf_counter() if since_s is None else since_s
        while not holds():
            await asyncio.sleep(0.001)
        return time.perf_counter() - begin

    for number in range(_TIMES):
        for _ in range(3):
            times["asyncio echo over a terminal"].append(await echo())
        board.act("press")
        await until(is_told("live"))
        # Rows have their pace: two at once, and then one a second.
        await asyncio.sleep(2.2)
        board.act("press")
        await until(is_told("muted"))
        await until(is_logged("muted"))
        times["press that cuts -> log row"].append(time.perf_counter() - board.moved_s)
        board.act("unplug")
        await until(is_told("unknown"))
        times["unplugged -> unknown"].append(time.perf_counter() - board.unplugged_s)
        board.act("replug")
        times["plugged in again -> known"].append(await until(is_told("muted")))
        if number % 10 == 0:
            board.hang(on=True)
            times["board hangs -> unknown"].append(await until(is_told("unknown")))
            board.hang(on=False)
            await until(is_told("muted"))
        # Rows have their pace, and so have meetings.
        await asyncio.sleep(1.2)
    log.close()
    following.cancel()
    await asyncio.wait([following])
    return [
        Figure(f"{name}, {what}", 1000 * value, "ms", aim if what != "median" else None)
        for name, aim in _AIMS.items()
        for what, value in (
            ("median", statistics.median(times[name])),
            (worst_name(times[name]), p99(times[name])),
        )
    ]


def p99(times: list[float]) -> float:
    """The time that one of a hundred takes or exceeds; of fewer, the longest."""
    return sorted(times)[-1 - len(times) // 100]


def worst_name(times: list[float]) -> str:
    """What `p99` of so many is."""
    return "p99" if len(times) >= 100 else "longest"


_AIMS = {
    "asyncio echo over a terminal": None,
    "press that cuts -> log row": "≤ control + 50",
    "unplugged -> unknown": "≤ control + 100",
    "plugged in again -> known": "≤ 1500",
    "board hangs -> unknown": "≤ 3500",
}


def hostile() -> list[Figure]:
    """A board beside one that floods: from a press that cuts until the monitor tells of it."""
    figures: list[Figure] = []
    with own_home():
        board = _Board()
        master, other = os.openpty()
        for fd in (master, other):
            tty.setraw(fd)
        try:
            for name, ports in (("alone", ()), ("beside a flood", (os.ttyname(other),))):
                times = asyncio.run(_told_times(board, ports, master))
                aim = "≤ the above + 100" if ports else None
                figures.append(Figure(f"press -> told, {name}, p99", 1000 * p99(times), "ms", aim))
        finally:
            board.close()
            for fd in (master, other):
                os.close(fd)
    return figures


async def _told_times(board: _Board, others: Sequence[str], master: int) -> list[float]:
    followed = Monitor([_BOARD, *others])
    following = asyncio.create_task(followed.run())
    ended = threading.Event()
    flooding = threading.Thread(target=_flood, args=(master, ended))
    if others:
        flooding.start()

    async def until(verdict: Verdict) -> None:
        while (told := followed.feed.of(_BOARD)) is None or told.observation.verdict != verdict:
            await asyncio.sleep(0.001)

    times: list[float] = []
    await until("muted")
    for _ in range(_BESIDE):
        board.act("press")
        await until("live")
        board.act("press")
        await until("muted")
        times.append(time.perf_counter() - board.moved_s)
        await asyncio.sleep(1.2)
    following.cancel()
    await asyncio.wait([following])
    ended.set()
    if others:
        flooding.join()
    return times


def _flood(master: int, ended: threading.Event) -> None:
    """Send frames, which take longer to read than what is none, as fast as they are taken."""
    data = wire.frame({"event": "state", "watch": 1, "state": "muted"}) * 50
    os.set_blocking(master, False)
    while not ended.wait(0.001):
        for call in (lambda: os.read(master, 4096), lambda: os.write(master, data)):
            with suppress(BlockingIOError):
                call()


def monitor_costs() -> list[Figure]:
    """The monitor of 64 paired boards: CPU time, memory; and a status that is asked of it."""
    with own_home(), crowd_of_64() as (crowd, devices):
        named = [word for device in devices for word in ("-d", device)]
        with processes([["monitor", *named]], lines=_MANY) as (process,):
            # What the start costs is not meant; then a while of what it always does.
            time.sleep(8)
            before, theirs = cpu_s(process.pid), cpu_s(crowd.pid)
            begin = time.perf_counter()
            time.sleep(_BUSY_S)
            each = 1000 / (time.perf_counter() - begin) / _MANY
            took, bare = cpu_s(process.pid) - before, cpu_s(crowd.pid) - theirs
            known = client.known("5eed0000", "bench")
            assert known is not None
            assert known.observation.proof == "attested"
            told = (START, "-d", "5eed0000", "status", "--json")
            return [
                Figure("to be such a board, each", each * bare, "ms CPU/s"),
                Figure(f"monitor of {_MANY} boards, each", each * took, "ms CPU/s", "≤ 0.3"),
                Figure("  memory", memory_mb(process.pid), "MiB", "≤ 48"),
                *ratios({"hardmute status --json by the monitor": told}, "≤ 1.5"),
            ]


@contextmanager
def crowd_of_64() -> Generator[tuple[subprocess.Popen[str], list[str]]]:
    """Many boards (`bench.crowd`), and their ports."""
    command = [sys.executable, "-m", "bench.crowd", str(_MANY)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, [process.stdout.readline().strip() for _ in range(_MANY)]
        finally:
            process.terminate()


@contextmanager
def processes(commands: list[list[str]], lines: int) -> Generator[list[subprocess.Popen[str]]]:
    """hardmute processes, each of which has printed so many ``lines``."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "hardmute", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        for command in commands
    ]
    try:
        for process in started:
            assert process.stdout is not None
            for _ in range(lines):
                process.stdout.readline()
        yield started
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.communicate()


def cpu_s(pid: int) -> float:
    """The CPU time of a process until now, in seconds."""
    with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """The resident memory of a process, in MiB."""
    with open(f"/proc/{pid}/statm") as memory:  # noqa: PTH123
        return int(memory.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
