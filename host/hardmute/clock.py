"""This host's clocks: wall time, which somebody may set, and one that nobody does."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hardmute.log import now_ms


class HostClock(NamedTuple):
    """``wall_ms``: ms since 1970-01-01 UTC. ``run_us``: us on a clock that only goes forward, also
    while the host sleeps. ``run``: a name for the run of that clock; times of two runs do not
    compare.
    """

    wall_ms: Callable[[], int]
    run_us: Callable[[], int]
    run: Callable[[], str]


def _run_us() -> int:
    # The board goes on while the host is suspended; these clocks do so too.
    if sys.platform == "linux":
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1000
    if sys.platform == "darwin":
        return time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    return time.monotonic_ns() // 1000


def _run() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return _OF_THIS_PROCESS


# Where the system has no name for its start: then only this process compares its own times.
_OF_THIS_PROCESS = os.urandom(16).hex()
SYSTEM = HostClock(now_ms, _run_us, _run)
