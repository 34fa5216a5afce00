"""The one place that joins a host's time and a board's uptime, and says how far that may be off.

A board knows its boot and uptime. Each answer ties one uptime to two moments of the host: it was
given after the request was sent and before the answer was there. From there both clocks run on,
each on its own crystal.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import pairwise

from hardmute.model.answers import Verdict
from hardmute.model.typed import NamedTuple

# Two crystals, each within 50 ppm of its nominal frequency over temperature and age. The Pico's is
# specified as 30 ppm (assumed from its parts list, not looked up); 50 is a common worst case.
TOLERANCE = 100e-6
# Uptimes are whole milliseconds, and so are the host's.
RESOLUTION_MS = 1
# A board reads its clock and its contacts at the beginning of a pass, and may write to its flash
# before it answers. So much older than the request what it says may be, or the host is busy. And a
# time daemon moves the wall clock by so much without a step (ntpd: by 128 ms), on any host, at any
# time; without this the time around that would be unknown. No "muted" rests on it: where the clock
# may have moved unseen, a change counts as of all times between the two that it may have been at
# (`hull`).
PASS_MS = 250
# A time daemon may move the wall clock by so much a second and leave no moment out: Linux slews a
# clock by at most 500 ppm (adjtimex(2)). A clock that moved by more was set.
SLEW = 500e-6


class Bounds(NamedTuple):
    """A moment: not before ``earliest``, not after ``latest``; host time, ms since the epoch."""

    earliest: int
    latest: int

    @property
    def middle(self) -> int:
        return (self.earliest + self.latest) // 2

    def edge(self, state: Verdict) -> int:
        """When ``state`` begins, which is muted only from when that is certain. One millisecond is
        how clocks are read, and is not taken off.
        """
        earliest, latest = self.earliest + RESOLUTION_MS, self.latest - RESOLUTION_MS
        if earliest > latest:
            return self.middle
        return latest if state == "muted" else earliest

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

    @property
    def took_ms(self) -> int:
        """What the answer took."""
        return self.received_ms - self.sent_ms

    def at(self, uptime_ms: int) -> Bounds:
        """When another uptime of the same boot was, by this anchor alone."""
        apart = uptime_ms - self.uptime_ms
        drift = int(abs(apart) * TOLERANCE) + RESOLUTION_MS
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
        return hull(bounds)


def hull(bounds: Iterable[Bounds]) -> Bounds:
    """What lies in any of ``bounds``, and between them."""
    earliest, latest = zip(*bounds, strict=True)
    return Bounds(min(earliest), max(latest))


def _between(first: Anchor, second: Anchor, uptime_ms: int) -> Bounds:
    """When ``uptime_ms``, between the two, was. Rule T13."""
    set_ms = _set_between(first, second)
    if set_ms is not None:
        by_both = within(first, second, set_ms, uptime_ms)
        if by_both is not None:
            earliest, latest = by_both
            return Bounds(earliest - max(0, set_ms), latest - min(0, set_ms))
    return hull((first.at(uptime_ms), second.at(uptime_ms)))


def _set_between(first: Anchor, second: Anchor) -> int | None:
    """By how many ms the host's clock was set between the two; None if that is not known."""
    if first.run is None and second.run is None:
        return 0
    return advance(first, second).set_ms


def within(first: Anchor, second: Anchor, set_ms: int, uptime_ms: int) -> Bounds | None:
    """When ``uptime_ms`` was by both, as the host's clock stood at ``second``, if it was set by
    ``set_ms`` between them. None where nothing fits both.
    """
    one, other = first.at(uptime_ms), second.at(uptime_ms)
    both = Bounds(
        max(one.earliest + set_ms, other.earliest), min(one.latest + set_ms, other.latest)
    )
    return both if both.earliest <= both.latest else None


class Advance(NamedTuple):
    """How far host and board have gone on from one anchor to a later one, in ms.

    ``passed_ms``: by the host's wall clock. ``ran_ms``: by its clock that nobody sets; None where
    the two are not of one run. ``board_ms``: by the board's uptime. ``first_ms`` and
    ``second_ms``: what the two answers took.
    """

    passed_ms: int
    ran_ms: float | None
    board_ms: int
    first_ms: int
    second_ms: int

    def board_agrees(self, host_ms: float) -> bool:
        """Whether the board has gone on as a clock of the host has that advanced by ``host_ms``:
        within 100 ppm, a pass of the board, and what the two answers took.
        """
        slack_ms = PASS_MS + abs(self.board_ms) * TOLERANCE
        return -self.second_ms - slack_ms <= self.board_ms - host_ms <= self.first_ms + slack_ms

    @property
    def set_ms(self) -> int | None:
        """By how many ms the host's wall clock was set, forward or back; None: nobody knows."""
        return None if self.ran_ms is None else round(self.passed_ms - self.ran_ms)

    @property
    def wall_agrees(self) -> bool:
        """Whether the wall clock was not set, by the host's other clock or else by the board's."""
        if self.ran_ms is None:
            return self.board_agrees(self.passed_ms)
        slack_ms = 2 * RESOLUTION_MS + abs(self.ran_ms) * SLEW
        return abs(self.passed_ms - self.ran_ms) <= slack_ms

    @property
    def agrees(self) -> bool:
        """Whether all clocks have gone on alike. No slewing counts: somebody may move times."""
        clocks = [self.passed_ms, *([] if self.ran_ms is None else [self.ran_ms])]
        return all(map(self.board_agrees, clocks))


def advance(first: Anchor, second: Anchor) -> Advance:
    """How far the clocks have gone on from ``first`` to ``second``, of one boot or of two."""
    ran_ms: float | None = None
    if first.run == second.run and first.run is not None:
        ran_ms = (second.run_us - first.run_us) / 1000
    return Advance(
        second.received_ms - first.received_ms,
        ran_ms,
        second.uptime_ms - first.uptime_ms,
        first.took_ms,
        second.took_ms,
    )
