"""This host's clocks: wall time, which somebody may set, and one that nobody does."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable, Generator

from hardmute.model.typed import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime


class Moment(NamedTuple):
    """One moment by the clocks of a `HostClock`."""

    wall_ms: int
    run_us: int
    run: str


class HostClock(NamedTuple):
    """``wall_ms``: ms since 1970-01-01 UTC. ``run_us``: us on a clock that only goes forward, also
    while the host sleeps. ``run``: a name for the run of that clock; times of two runs do not
    compare.
    """

    wall_ms: Callable[[], int]
    run_us: Callable[[], int]
    run: Callable[[], str]

    def now(self) -> Moment:
        """One moment by all of them: read again where something came between, on a busy host."""
        best: tuple[int, int, int] | None = None
        for _ in range(_READINGS):
            before = self.run_us()
            wall_ms = self.wall_ms()
            apart_us = self.run_us() - before
            if best is None or apart_us < best[0]:
                best = apart_us, wall_ms, before + apart_us // 2
            if apart_us <= _CLOSE_US:
                break
        assert best is not None
        return Moment(best[1], best[2], self.run())

    def now_s(self) -> float:
        """`run_us` in seconds."""
        return self.run_us() / 1e6


# The wall clock is whole milliseconds.
_CLOSE_US = 500
_READINGS = 5


# What stands for the host's clocks in this process.
_instead: HostClock | None = None


@contextlib.contextmanager
def replaced(clock: HostClock) -> Generator[None]:
    """In here `SYSTEM` and `now_ms` are ``clock``, in all of this process.

    For the clock of an emulated chip, which on a busy host runs behind the host's. Only the
    command line does this, for a board that a person names.
    """
    global _instead
    before, _instead = _instead, clock
    try:
        yield
    finally:
        _instead = before


def now_ms() -> int:
    """The host's wall time, in ms since the epoch."""
    return HOST.wall_ms() if _instead is None else _instead.wall_ms()


def moment(at_ms: int) -> datetime:
    """``at_ms``, in ms since 1970-01-01 UTC, with the time zone UTC."""
    from datetime import UTC, datetime

    return datetime.fromtimestamp(at_ms / 1000, UTC)


def iso_time(at_ms: int) -> str:
    """``at_ms`` as ISO 8601 in UTC, to the millisecond."""
    return moment(at_ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _run_us() -> int:
    return HOST.run_us() if _instead is None else _instead.run_us()


def _run() -> str:
    return HOST.run() if _instead is None else _instead.run()


def _host_ms() -> int:
    return time.time_ns() // 1_000_000


def _host_us() -> int:
    # The board goes on while the host is suspended; these clocks do so too.
    if sys.platform == "linux":
        # CLOCK_BOOTTIME without what a time daemon slews both of these by.
        slept_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
        return (time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW) + slept_ns) // 1000
    if sys.platform == "darwin":
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return time.monotonic_ns() // 1000


@functools.cache
def _host_run() -> str:
    with contextlib.suppress(OSError), open("/proc/sys/kernel/random/boot_id") as stream:
        return stream.read().strip()
    return _OF_THIS_PROCESS


# Where the system has no name for its start: then only this process compares its own times.
_OF_THIS_PROCESS = os.urandom(16).hex()
# The host's own clocks, whatever stands for them.
HOST = HostClock(_host_ms, _host_us, _host_run)
SYSTEM = HostClock(now_ms, _run_us, _run)
