"""Bounds what one device can have this process read, however fast it sends."""

from __future__ import annotations

import time
from collections.abc import Callable

# Bytes that are read at once, and each second: ten times what the journal of a board takes that
# sends as fast as it can. A line, however short, counts as so many more.
_BURST = 256 * 1024
_A_SECOND = 64 * 1024
_LINE = 100
# One who wants the port waits no longer.
_SLICE_S = 0.25


class Pace:
    """How much is read of a device, and when. ``clock`` is in seconds."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._left = float(_BURST)
        self._at = clock()

    def rest(self, most_s: float) -> bool:
        """Whether no more is to be read now. It has then waited for ``most_s`` seconds or less."""
        now = self._clock()
        self._left = min(_BURST, self._left + _A_SECOND * (now - self._at))
        self._at = now
        if self._left >= 0:
            return False
        self._sleep(min(_SLICE_S, most_s, -self._left / _A_SECOND))
        return True

    def take(self, data: bytes) -> None:
        """``data`` was read."""
        self._left -= len(data) + _LINE * data.count(b"\n")
