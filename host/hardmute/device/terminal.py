"""A serial port by its open file: what a session needs of it, at the least cost. POSIX only.

pyserial opens ports and sets them up. It asks the system for all settings of a port each time that
a time-out changes, and waits with `select`, which knows no file from number 1024 on.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import math
import os
import select
import struct
import sys
import termios
import time
from _thread import allocate_lock
from collections.abc import Callable

import serial

_CHUNK = 4096


class TerminalPort:
    """Reads and writes the terminal ``fd``, which it closes at the end.

    ``timeout`` and ``write_timeout``: in seconds.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self.timeout: float | None = None
        self.write_timeout: float | None = None
        self._fd = fd
        self._here = b""
        self._wakes, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        self._can_read = _waiter(select.POLLIN, fd, self._wakes)
        self._can_write = _waiter(select.POLLOUT, fd)
        # Numbers of closed files become those of others. `threading` takes long to load.
        self._is_closing = allocate_lock()

    @property
    def fd(self) -> int:
        """The number of the open file."""
        return self._fd

    @property
    def in_waiting(self) -> int:
        """How many bytes have come, as far as one look tells."""
        if self._here:
            return len(self._here)
        there = fcntl.ioctl(self._fd, termios.FIONREAD, bytes(4))
        return struct.unpack("i", there)[0]

    def read(self, size: int = 1, /) -> bytes:
        """Up to ``size`` bytes; it waits for the first. Nothing after the time-out, or if woken.

        Raises `OSError` for a port that has gone.
        """
        if not self._here:
            self._here = self._arrived()
        data, self._here = self._here[:size], self._here[size:]
        return data

    def _arrived(self) -> bytes:
        ready = self._can_read(self.timeout)
        if self._wakes in ready:
            os.read(self._wakes, _CHUNK)
        if self._fd not in ready:
            return b""
        try:
            data = os.read(self._fd, _CHUNK)
        except BlockingIOError:
            return b""
        if not data:
            raise OSError(errno.EIO, "The port has gone.")
        return data

    def write(self, b: bytes, /) -> int:
        """Write all. Raises `OSError`: `serial.SerialTimeoutException` after `write_timeout`."""
        until = None if self.write_timeout is None else time.monotonic() + self.write_timeout
        at = 0
        while True:
            with contextlib.suppress(BlockingIOError):
                at += os.write(self._fd, b[at:])
            if at == len(b):
                return at
            left = None if until is None else until - time.monotonic()
            if left is not None and (left <= 0 or not self._can_write(left)):
                raise serial.SerialTimeoutException("Write timeout")

    def cancel_read(self) -> None:
        """Have a `read` return now; in any thread."""
        with self._is_closing:
            if self._wake >= 0:
                # It may be woken already, many times.
                with contextlib.suppress(BlockingIOError):
                    os.write(self._wake, b"w")

    def reset_output_buffer(self) -> None:
        """Drop what has not left yet."""
        termios.tcflush(self._fd, termios.TCOFLUSH)

    def close(self) -> None:
        with self._is_closing:
            for fd in (self._fd, self._wakes, self._wake):
                os.close(fd)
            self._wake = -1


def _waiter(what: int, *fds: int) -> Callable[[float | None], list[int]]:
    """Waits for one of ``fds`` for so many seconds. Gives those that are ready."""
    if sys.platform == "linux":
        poll = select.poll()
        for fd in fds:
            poll.register(fd, what)

        def wait(seconds: float | None) -> list[int]:
            ms = None if seconds is None else math.ceil(1000 * max(0.0, seconds))
            return [fd for fd, _ in poll.poll(ms)]

        return wait

    # On macOS `poll` does not work with terminals.
    def select_(seconds: float | None) -> list[int]:
        reading, writing = (fds, ()) if what == select.POLLIN else ((), fds)
        ready = select.select(reading, writing, (), seconds)
        return [*ready[0], *ready[1]]

    return select_
