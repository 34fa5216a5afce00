"""The time of an emulated chip, for the processes of this host that meet the chip.

An emulated chip runs behind the host's clocks where the host is too busy for it. By those its
answers would be late. By its own clock they are not, and what they tell is as true.

The simulator keeps the time in a file, which it has locked for as long as it runs. Nothing that
comes over a port tells of that file: the entry of a simulated board does (`simulators`).
"""

from __future__ import annotations

import mmap
import os
import struct
import threading

from hardmute.model.clock import HOST, HostClock
from hardmute.system.file_lock import try_lock

# The wall time in ms at the chip's time 0; the chip's time in us; a name for this run.
_FORM = struct.Struct("=qq16s")
_TIME = 1
# A chip whose time stands still for so long is not waited for: who waits then waits by the host's.
_STALLED_US = 10_000_000


class ClockFile:
    """Written by the simulator. Raises `OSError` where no file can be made or locked."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._fd = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        os.write(self._fd, _FORM.pack(HOST.wall_ms(), 0, os.urandom(16)))
        if not try_lock(self._fd):
            raise OSError(f"another process has locked {file}")
        self._map = mmap.mmap(self._fd, _FORM.size)
        # One aligned number, so that nobody reads half of it.
        self._numbers = memoryview(self._map).cast("q")

    def tell(self, now_us: int) -> None:
        """It is ``now_us`` on the chip's clock. To be told before what the chip says then."""
        self._numbers[_TIME] = now_us

    def close(self) -> None:
        self._numbers.release()
        self._map.close()
        os.close(self._fd)
        os.unlink(self.file)


def read(file: str) -> HostClock | None:
    """The clock in ``file``; None where no simulator keeps it."""
    try:
        fd = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if try_lock(fd):
            return None
        held = mmap.mmap(fd, _FORM.size, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    finally:
        os.close(fd)
    wall_ms, _, run = _FORM.unpack(held)
    running = _Running(memoryview(held).cast("q"))
    return HostClock(lambda: wall_ms + running.us() // 1000, running.us, run.hex)


class _Running:
    """Time that only goes forward, and that goes on where the chip stands still."""

    def __init__(self, numbers: memoryview) -> None:
        self._numbers = numbers
        self._lock = threading.Lock()
        self._seen_us = -1
        self._since_us = 0
        self._told_us = 0

    def us(self) -> int:
        here_us = HOST.run_us()
        with self._lock:
            chip_us: int = self._numbers[_TIME]
            if chip_us != self._seen_us:
                self._seen_us, self._since_us = chip_us, here_us
            over_us = max(0, here_us - self._since_us - _STALLED_US)
            self._told_us = max(self._told_us, chip_us + over_us)
            return self._told_us
