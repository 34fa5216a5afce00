"""Bounds what a device can make this host do, however fast it asks for it."""

from __future__ import annotations

from collections.abc import Callable


class Allowance:
    """So many at once, ``most``, and one more for each second since, up to ``most`` again.

    ``clock``: seconds, on a clock that only goes forward.
    """

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most = most
        self._clock = clock
        self._left = float(most)
        self._at = clock()

    def refill(self) -> None:
        """Add what has become free since the last time."""
        now = self._clock()
        self._left = min(self._most, self._left + now - self._at)
        self._at = now

    def has(self, count: int) -> bool:
        """Whether there are so many left."""
        return self._left >= count

    def take(self) -> bool:
        """Whether there was one left; it is taken."""
        if not self.has(1):
            return False
        self._left -= 1
        return True
