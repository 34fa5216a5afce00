"""When a board's records happened, by the host's wall time, and how far that may be off.

A board knows its boot and uptime. Each attestation ties one uptime to two moments of the host: it
was given after the request was sent and before the answer was there. From there both clocks run
on, each on its own crystal.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

# Two crystals, each within 50 ppm of its nominal frequency over temperature and age. The Pico's is
# specified as 30 ppm (assumed from its parts list, not looked up); 50 is a common worst case.
TOLERANCE = 100e-6
# Uptimes are whole milliseconds, and so are the host's.
_RESOLUTION_MS = 1


class Bounds(NamedTuple):
    """A moment: not before ``earliest``, not after ``latest``; host time, ms since the epoch."""

    earliest: int
    latest: int

    @property
    def middle(self) -> int:
        return (self.earliest + self.latest) // 2

    @property
    def uncertainty_ms(self) -> int:
        """How far the middle may be off either way."""
        return (self.latest - self.earliest + 1) // 2


class Anchor(NamedTuple):
    """Uptime ``uptime_ms`` was between ``sent_ms`` and ``received_ms``, host time."""

    uptime_ms: int
    sent_ms: int
    received_ms: int
    # The host's clock that nobody sets, at ``received_ms``, in us, and the name of its run. An
    # anchor without them is for a time that proves nothing.
    run_us: int = 0
    run: str | None = None

    def at(self, uptime_ms: int) -> Bounds:
        """When another uptime of the same boot was, by this anchor alone."""
        apart = uptime_ms - self.uptime_ms
        drift = int(abs(apart) * TOLERANCE) + _RESOLUTION_MS
        return Bounds(self.sent_ms + apart - drift, self.received_ms + apart + drift)


class BootClock:
    """The wall time of one boot's uptimes, by its anchors."""

    def __init__(self, anchors: list[Anchor]) -> None:
        self._anchors = sorted(anchors, key=lambda anchor: anchor[:3])
        self._uptimes = [anchor.uptime_ms for anchor in self._anchors]

    def at(self, uptime_ms: int) -> Bounds:
        """When ``uptime_ms`` was. Between two anchors both count; by either, if the host's clock
        may have been set between them.
        """
        first = max(0, bisect_left(self._uptimes, uptime_ms) - 1)
        near = self._anchors[first : bisect_right(self._uptimes, uptime_ms) + 1]
        # What was at the very uptime of an anchor may have been before or after that.
        bounds = [_between(*two, uptime_ms) for two in pairwise(near)] or [near[0].at(uptime_ms)]
        return _hull(bounds)


def _hull(bounds: Iterable[Bounds]) -> Bounds:
    earliest, latest = zip(*bounds, strict=True)
    return Bounds(min(earliest), max(latest))


def _between(first: Anchor, second: Anchor, uptime_ms: int) -> Bounds:
    """When ``uptime_ms``, between the two, was. Rule T13."""
    one, other = first.at(uptime_ms), second.at(uptime_ms)
    set_ms = _set_between(first, second)
    if set_ms is not None:
        earliest = max(one.earliest, other.earliest - set_ms)
        latest = min(one.latest, other.latest - set_ms)
        if earliest <= latest:
            return Bounds(earliest + min(0, set_ms), latest + max(0, set_ms))
    return _hull((one, other))


def _set_between(first: Anchor, second: Anchor) -> int | None:
    """By how many ms the host's clock was set between the two; None if that is not known."""
    if first.run != second.run:
        return None
    if first.run is None:
        return 0
    ran_ms = (second.run_us - first.run_us) / 1000
    return round(second.received_ms - first.received_ms - ran_ms)
