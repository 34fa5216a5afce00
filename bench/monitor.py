"""How soon the monitor knows, what it takes, and what it costs to ask it."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
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
from muteboard import config

_BOARD = "5eed0001"
_TIMES = 30
_MANY = 16
_BUSY_S = 20.0


class _Board:
    """A simulated board in a thread. ``moved_s``: when its contact moved last."""

    def __init__(self) -> None:
        physics = Physics(1, Random(0))
        physics.on_contact = self._moved
        self.moved_s = 0.0
        settings = config.dump(config.DEFAULTS)
        board = SimulatedBoard(physics, bytes.fromhex(_BOARD), settings)
        self._simulator = Simulator(board, _BOARD, tcp_port=None)
        self._ended = False
        self._runs = threading.Event()
        self._runs.set()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _moved(self) -> None:
        self.moved_s = time.perf_counter()

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
        times["asyncio echo over a terminal"].append(await echo())
        board.act("press")
        await until(is_told("live"))
        board.act("press")
        await until(is_told("muted"))
        await until(is_logged("muted"))
        times["press that cuts -> log row"].append(time.perf_counter() - board.moved_s)
        board.act("unplug")
        times["unplugged -> unknown"].append(await until(is_told("unknown")))
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
        Figure(f"{name}, {what}", 1000 * value, "ms", aim if what == "worst" else None)
        for name, aim in _AIMS.items()
        for what, value in (
            ("median", statistics.median(times[name])),
            ("worst", max(times[name])),
        )
    ]


_AIMS = {
    "asyncio echo over a terminal": None,
    "press that cuts -> log row": "≤ control + 50",
    "unplugged -> unknown": "≤ control + 100",
    "plugged in again -> known": "≤ 1500",
    "board hangs -> unknown": "≤ 3500",
}


def monitor_costs() -> list[Figure]:
    """The monitor of 16 boards: CPU time, memory; and a status that is asked of it."""
    boards = [f"5eed{number:04x}" for number in range(_MANY)]
    named = [word for board in boards for word in ("-d", board)]
    with (
        own_home(),
        processes([["sim", "--id", board] for board in boards], lines=1),
        processes([["monitor", *named]], lines=_MANY) as (process,),
    ):
        # What the start costs is not meant; then a while of what it always does.
        time.sleep(5)
        before, begin = cpu_s(process.pid), time.perf_counter()
        time.sleep(_BUSY_S)
        each = 1000 * (cpu_s(process.pid) - before) / (time.perf_counter() - begin) / _MANY
        assert client.known(boards[0], "bench") is not None
        told = (START, "-d", boards[0], "status", "--json")
        return [
            Figure(f"monitor of {_MANY} boards, each", each, "ms CPU/s", "≤ 0.3"),
            Figure("  memory", memory_mb(process.pid), "MiB", "≤ 46"),
            *ratios({"hardmute status --json by the monitor": told}, "≤ 1.5"),
        ]


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
