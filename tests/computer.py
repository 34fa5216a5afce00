"""A host in virtual time: its clocks, its disk, one USB port, and hardmute processes on it.

A process is a thread in which the real command runs. Only one thread runs at a time. They change
over where a real process would wait; and, where the test says so, where it looks at a clock. So a
run is the same each time, and takes no longer than its work.

The board is the real firmware on a simulated chip, in the same time. It goes on while the host is
suspended.
"""

from __future__ import annotations

import errno
import io
import sqlite3
import sys
import threading
import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import serial
import serial.tools.list_ports
from serial.tools.list_ports_common import ListPortInfo

from conftest import VirtualBoard
from hardmute.cli.commands import watch
from hardmute.cli.main import main
from hardmute.device import client, holder
from hardmute.evidence.observation import Observation
from hardmute.sim import board as simulated
from hardmute.store import log
from hardmute.sync import visit

DEVICE = "/dev/ttyACM0"
# 2026-01-05 10:00 UTC, when the world's time is 0.
_EPOCH_MS = 1_767_607_200_000
_STEP_US = 5_000
# How often SQLite looks whether a lock is gone.
_BUSY_POLL_US = 50_000
# A thread that takes so long, in real time, hangs.
_HANGS_S = 60


class Killed(BaseException):
    """The process is killed: it does nothing more."""


class Span(NamedTuple):
    """From ``from_us`` to ``to_us`` of the world's time."""

    from_us: int
    to_us: int
    value: Any


class Process:
    """A hardmute command that runs on ``computer``. ``out``: its lines, as (when in us, line)."""

    def __init__(self, computer: Computer, run: Callable[[], int]) -> None:
        self.code: int | None = None
        self.failure: BaseException | None = None
        self.out: list[tuple[int, str]] = []
        self.complaints = io.StringIO()
        self.ended = False
        self.stopped = False
        self.killed = False
        self.interrupted = False
        # It goes on at this time of the world; or sooner, where it waits for `port` as well.
        self.wakes_us = computer.now_us
        self.port: Port | None = None
        # After so many looks at a clock it changes over; None: it goes on until it waits.
        self.looks: int | None = None
        self._computer = computer
        self._run = run
        # Both begin taken: a semaphore of Python's takes several of these.
        self._turn = threading.Lock()
        self._turn.acquire()
        self._line = ""
        self.ident: int | None = None
        self.thread = threading.Thread(target=self._main, daemon=True)
        self.thread.start()

    def _main(self) -> None:
        self.ident = threading.get_ident()
        self._turn.acquire()
        try:
            self._met_by_signals()
            self.code = self._run()
        except Killed:
            pass
        except KeyboardInterrupt:
            self.code = 130
        except BaseException as error:  # noqa: BLE001 (the test tells of it)
            self.failure = error
        finally:
            self.ended = True
            self._computer.back.release()

    def go_on(self) -> None:
        """Run until it waits again, or has ended."""
        self._computer.running = self
        self._turn.release()
        if not self._computer.back.acquire(timeout=_HANGS_S):
            raise AssertionError("A process neither waits nor ends.")

    def wait(self, wakes_us: int, port: Port | None = None) -> None:
        """To be called by the process itself."""
        self.wakes_us, self.port = wakes_us, port
        self._computer.back.release()
        self._turn.acquire()
        self._met_by_signals()

    def look(self) -> None:
        """It looks at a clock."""
        if self.looks is not None:
            self.looks -= 1
            if self.looks < 0:
                self.looks = None
                self.wait(self._computer.now_us)

    def _met_by_signals(self) -> None:
        if self.killed:
            raise Killed
        if self.interrupted:
            self.interrupted = False
            raise KeyboardInterrupt

    def write(self, said: str) -> int:
        *lines, self._line = (self._line + said).split("\n")
        self.out += [(self._computer.now_us, line) for line in lines]
        return len(said)

    def flush(self) -> None:
        pass


class Port:
    """The host's end of the cable (`hardmute.device.client.Port`)."""

    def __init__(self, computer: Computer) -> None:
        self.timeout: float | None = None
        self.write_timeout: float | None = None
        self.here = bytearray()
        self.is_lost = False
        self._computer = computer

    @property
    def in_waiting(self) -> int:
        self._check()
        return len(self.here)

    def read(self, size: int = 1, /) -> bytes:
        assert self.timeout is not None
        self._check()
        if not self.here:
            self._computer.wait(self.timeout, self)
            self._check()
        data = bytes(self.here[:size])
        del self.here[:size]
        return data

    def write(self, b: bytes, /) -> int:
        self._check()
        at = 0
        while at < len(b):
            room = self._computer.board.board.receive_space()
            self._computer.board.board.received += b[at : at + room]
            at += room
            if at < len(b):
                self._computer.wait(0.005)
                self._check()
        return len(b)

    def reset_output_buffer(self) -> None:
        pass

    def close(self) -> None:
        if self._computer.port is self:
            self._computer.port = None

    def _check(self) -> None:
        if self.is_lost:
            raise serial.SerialException(errno.EIO, "device disconnected")


class Computer:
    """See above. ``board``: the board at its port."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.board = VirtualBoard()
        self.back = threading.Lock()
        self.back.acquire()
        self.processes: list[Process] = []
        # The one that runs, or ran last.
        self.running: Process | None = None
        self.port: Port | None = None
        self.plugged = True
        self.log_is_locked = False
        self.disk_is_full = False
        self.asleep = False
        # Each since when, in us: by how much wall time differs, ms; how long it has slept, us;
        # whether the line was live.
        self._wall: list[tuple[int, int]] = [(0, 0)]
        self._slept_us = 0
        self._live: list[tuple[int, bool]] = [(0, False)]
        # Rows that were written, and when.
        self.acknowledged: list[tuple[int, Observation]] = []
        self.board.physics.on_contact = self._note
        self._patch(patch)

    # The world.

    @property
    def now_us(self) -> int:
        return self.board.physics.now_us

    def run_ms(self, ms: float) -> None:
        """Let time pass: at least ``ms``, in whole steps."""
        until_us = self.now_us + round(ms * 1000)
        while True:
            for process in [one for one in self.processes if not one.ended]:
                self._run(process)
            if self.now_us >= until_us:
                return
            self.board.board.advance(self._next_us(until_us))
            self._note()
            self._collect()

    def _next_us(self, until_us: int) -> int:
        """The next step in which something may happen, but no later than ``until_us``."""
        now_us, board = self.now_us, self.board.board
        if board.received or board._edges:
            return now_us + _STEP_US
        next_us = min(until_us, board._idle_until_us, self.board.physics.next_us or until_us)
        for process in self.processes:
            if not process.ended:
                next_us = min(next_us, process.wakes_us)
        steps = -(-(next_us - now_us) // _STEP_US)
        return now_us + _STEP_US * max(1, steps)

    def _run(self, process: Process) -> None:
        while not process.ended and not self.asleep and (not process.stopped or process.killed):
            is_due = process.wakes_us <= self.now_us or process.killed or process.interrupted
            heard = process.port is not None and (process.port.here or process.port.is_lost)
            if not is_due and not heard:
                return
            process.go_on()
        if process.failure is not None:
            raise process.failure

    def _note(self) -> None:
        live = self.board.physics.closed(0)
        if live != self._live[-1][1]:
            self._live.append((self.now_us, live))

    def _collect(self) -> None:
        if self.port is not None and not self.asleep:
            self.port.here += self.board.board.sending
            self.board.board.sending.clear()

    def was_live(self, from_us: int, to_us: int) -> list[Span]:
        """When the line was live between the two."""
        ends = [at_us for at_us, _ in self._live[1:]] + [self.now_us]
        return [
            Span(max(at_us, from_us), min(end_us, to_us), live)
            for (at_us, live), end_us in zip(self._live, ends, strict=True)
            if live and at_us < to_us and end_us > from_us
        ]

    # The host.

    def wall_ms(self, at_us: int | None = None) -> int:
        """Its wall time."""
        at_us = self.now_us if at_us is None else at_us
        index = bisect_right(self._wall, (at_us, 1 << 62)) - 1
        return _EPOCH_MS + at_us // 1000 + self._wall[index][1]

    def when(self, wall_ms: int) -> list[int]:
        """The moments, in us, at which its wall time was ``wall_ms``: none, one or several."""
        ends = [at_us for at_us, _ in self._wall[1:]] + [self.now_us + 1]
        found: list[int] = []
        for (from_us, by_ms), end_us in zip(self._wall, ends, strict=True):
            at_us = (wall_ms - _EPOCH_MS - by_ms) * 1000
            if from_us <= at_us < end_us:
                found.append(at_us)
        return found

    def spans(self, from_ms: int, to_ms: int) -> list[Span]:
        """When, in us, its wall time was between the two."""
        ends = [at_us for at_us, _ in self._wall[1:]] + [self.now_us]
        found: list[Span] = []
        for (since_us, by_ms), end_us in zip(self._wall, ends, strict=True):
            first = max(since_us, (from_ms - _EPOCH_MS - by_ms) * 1000)
            last = min(end_us, (to_ms - _EPOCH_MS - by_ms) * 1000)
            if first < last:
                found.append(Span(first, last, by_ms))
        return found

    def steps(self) -> list[tuple[int, int]]:
        """When its wall time was set, in us, and by how much, in ms."""
        return [
            (at_us, by_ms - before_ms)
            for (_, before_ms), (at_us, by_ms) in zip(self._wall, self._wall[1:], strict=False)
        ]

    def set_clock(self, by_ms: int) -> None:
        """Somebody sets its wall time on by ``by_ms``, or back."""
        self._wall.append((self.now_us, self._wall[-1][1] + by_ms))

    def suspend(self) -> None:
        assert not self.asleep
        self.asleep = True
        self._slept_since_us = self.now_us

    def resume(self) -> None:
        if self.asleep:
            self.asleep = False
            slept_us = self.now_us - self._slept_since_us
            self._slept_us += slept_us
            for process in self.processes:
                # Waiting is counted on the clock that stood still.
                process.wakes_us += slept_us
            self._collect()

    def lose_port(self) -> None:
        """The port goes, as when a hub fails. The board keeps its supply."""
        self.plugged = False
        if self.port is not None:
            self.port.is_lost = True
            self.port = None

    def find_port(self) -> None:
        self.plugged = True

    # Processes.

    def start(self, *words: object) -> Process:
        """Start `hardmute` with these words."""
        arguments = ["-d", DEVICE, *map(str, words)]
        return self._begin(lambda: main(arguments))

    def start_watch(self) -> Process:
        """Start `hardmute watch --json`."""
        # Without the signals, which only a main thread can ask for.
        return self._begin(lambda: watch.follow(DEVICE, 3.0, True, visit.SYSTEM))

    def _begin(self, run: Callable[[], int]) -> Process:
        self.processes.append(Process(self, run))
        return self.processes[-1]

    def end(self) -> None:
        """End all that runs, as a power cut would."""
        for process in self.processes:
            if not process.ended:
                process.killed = True
                process.go_on()
            process.thread.join(_HANGS_S)

    def wait(self, seconds: float, port: Port | None = None) -> None:
        """The process that runs waits."""
        # It takes some time, however little: who waits until a moment would wait for ever.
        self._current().wait(self.now_us + max(1, round(seconds * 1e6)), port)

    def _current(self) -> Process:
        process = self._this()
        assert process is not None, "The test itself cannot wait."
        return process

    def _this(self) -> Process | None:
        running = self.running
        is_it = running is not None and running.ident == threading.get_ident()
        return running if is_it else None

    # What the operating system and its libraries do.

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        real = time.monotonic

        def monotonic() -> float:
            process = self._this()
            if process is None:
                return real()
            process.look()
            return (self.now_us - self._slept_us) / 1e6

        def boot_ns(clock: int) -> int:
            process = self._this()
            if process is None:
                return real_clock(clock)
            process.look()
            slept_us = 0 if clock == time.CLOCK_BOOTTIME else self._slept_us
            return (self.now_us - slept_us) * 1000

        def wall_ns() -> int:
            process = self._this()
            if process is None:
                return real_wall()
            process.look()
            return self.wall_ms() * 1_000_000 + self.now_us % 1000 * 1000

        real_clock, real_wall, real_sleep = time.clock_gettime_ns, time.time_ns, time.sleep

        def sleep(seconds: float) -> None:
            if self._this() is None:
                real_sleep(seconds)
            else:
                self.wait(seconds)

        patch.setattr(time, "monotonic", monotonic)
        patch.setattr(time, "monotonic_ns", lambda: round(monotonic() * 1e9))
        patch.setattr(time, "clock_gettime_ns", boot_ns)
        patch.setattr(time, "time_ns", wall_ns)
        patch.setattr(time, "time", lambda: wall_ns() / 1e9)
        patch.setattr(time, "sleep", sleep)
        # A default that was taken before.
        of_holder = holder.PortHolder.__init__
        patch.setattr(of_holder, "__defaults__", (*of_holder.__defaults__[:-1], monotonic))
        patch.setattr(client, "_open", self._open)
        patch.setattr(serial.tools.list_ports, "comports", self._ports)
        patch.setattr(simulated, "_STEP_US", _STEP_US)
        computer = self

        class Database(_Database):
            host = computer

        def connect(*words: Any, timeout: float = 5.0, **more: Any) -> sqlite3.Connection:
            database = real_connect(*words, timeout=0, factory=Database, **more)
            database.patience_us = round(timeout * 1e6)
            return database

        real_connect = sqlite3.connect
        patch.setattr(sqlite3, "connect", connect)
        patch.setattr(sys, "stdout", _Output(self, "out", sys.stdout))
        patch.setattr(sys, "stderr", _Output(self, "err", sys.stderr))
        add = log.Log.add

        def acknowledged(store: log.Log, observation: Observation, **more: bool) -> None:
            before = store.head()
            add(store, observation, **more)
            if store.head() != before:
                self.acknowledged.append((self.now_us, observation))

        patch.setattr(log.Log, "add", acknowledged)

    def _open(self, device: str, timeout: float, *, shared: bool = False) -> Any:  # noqa: ARG002
        if not self.plugged or device != DEVICE:
            raise client.UnreachableError(f"{device} is not there.", "no_port")
        assert self.port is None, "Two processes have the port."
        self.port = Port(self)
        self.port.timeout = self.port.write_timeout = timeout
        self._collect()
        return self.port

    def _ports(self, include_links: bool = False) -> list[ListPortInfo]:  # noqa: ARG002
        if not self.plugged:
            return []
        info = ListPortInfo(DEVICE)
        info.vid, info.pid, info.serial_number = 0x239A, 0x80F4, None
        return [info]


class _Database(sqlite3.Connection):
    """A connection that waits in the computer's time, and whose disk can be full."""

    host: Computer
    patience_us = 0

    def execute(self, statement: str, *parameters: Any) -> sqlite3.Cursor:  # type: ignore[override]  # what differs is the names
        process = self.host._this()
        if process is None:
            return super().execute(statement, *parameters)
        if process.killed:
            raise Killed
        pragma, _, value = statement.partition("busy_timeout = ")
        if value:
            # SQLite would wait in real time.
            self.patience_us = int(value) * 1_000
            return super().execute(f"{pragma}busy_timeout = 0")
        writes = statement.startswith(("INSERT", "UPDATE"))
        if writes and self.host.disk_is_full:
            raise _trouble("database or disk is full", sqlite3.SQLITE_FULL)
        until_us = self.host.now_us + self.patience_us
        while True:
            if not (statement == "BEGIN IMMEDIATE" and self.host.log_is_locked):
                try:
                    return super().execute(statement, *parameters)
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                        raise
            if self.host.now_us >= until_us:
                raise _trouble("database is locked", sqlite3.SQLITE_BUSY)
            process.wait(self.host.now_us + _BUSY_POLL_US)


def _trouble(said: str, code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(said)
    error.sqlite_errorcode = code
    return error


class _Output:
    """Standard output or error: of the process that writes, or of the test."""

    encoding = "utf-8"
    closed = False

    def __init__(self, computer: Computer, which: str, real: Any) -> None:
        self._computer = computer
        self._which = which
        self._real = real

    def _target(self) -> Any:
        process = self._computer._this()
        if process is None:
            return self._real
        return process if self._which == "out" else process.complaints

    def write(self, said: str) -> int:
        return self._target().write(said)

    def flush(self) -> None:
        self._target().flush()

    def isatty(self) -> bool:
        return False
