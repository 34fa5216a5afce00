"""The one interval of time: what the line was, from when to when, why, and how well it is known.

The log's timeline, the journal and a proof are all lists of these.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

from hardmute.model import words
from hardmute.model.answers import Cause, ProofLevel, Verdict
from hardmute.model.clock import moment
from hardmute.model.reasons import Note

# From the gravest on: of what is said of one moment, the first counts.
GRAVEST = ("fault", "live", "unknown", "muted")


class Interval(NamedTuple):
    """The line was ``state`` (a verdict) in [start, end), host time in ms since the epoch.

    ``cause``: why it became so, where that is known. ``proof``: in a timeline, the weakest of its
    parts. ``notes``: what else is to be said of it, such as why it is unknown.
    ``live_ms``: in a timeline, live time known to lie inside; for an unknown interval the board's
    counter says it.
    ``plus_minus_ms``: how far each end may be off, where that was reckoned (0: it was not). What a
    proof says is muted is certain all the same: live and fault take the uncertain edges there.
    """

    start_ms: int
    end_ms: int
    state: Verdict
    cause: Cause | None = None
    proof: ProofLevel | None = None
    notes: tuple[Note, ...] = ()
    live_ms: int = 0
    plus_minus_ms: int = 0

    @property
    def start(self) -> datetime:
        """``start_ms``, in UTC."""
        return moment(self.start_ms)

    @property
    def end(self) -> datetime:
        """``end_ms``, in UTC."""
        return moment(self.end_ms)

    @property
    def note(self) -> str | None:
        """``notes`` in words, each once."""
        return "; ".join(dict.fromkeys(map(words.note, self.notes))) or None

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms

    def cut(self, start_ms: int, end_ms: int) -> Interval:
        """What lies from ``start_ms`` to ``end_ms``, which are in it."""
        length_ms = end_ms - start_ms
        live_ms = length_ms if self.state == "live" else min(self.live_ms, length_ms)
        return self._replace(start_ms=start_ms, end_ms=end_ms, live_ms=live_ms)


def gravest(
    said: Sequence[Interval], passes: Sequence[int] = ()
) -> Iterator[tuple[Interval, bool]]:
    """Of intervals that may overlap: the gravest at each time, and whether the time was twice.

    In order and apart; what nothing is said of is left out. ``passes``: for each, the number of
    the stretch in which the host's clock was not set; where there are two, the time was twice.
    """
    pending = sorted(
        (index for index, one in enumerate(said) if one.length_ms > 0),
        key=lambda index: said[index].start_ms,
        reverse=True,
    )
    points = sorted({point for index in pending for point in said[index][:2]})
    begun: list[tuple[int, int, int]] = []
    ends: list[tuple[int, int]] = []
    active: Counter[int] = Counter()
    last: tuple[int, int, int, bool] | None = None
    for start, end in pairwise(points):
        while pending and said[pending[-1]].start_ms <= start:
            index = pending.pop()
            # Of two that are as grave, the one that began later.
            heappush(begun, (GRAVEST.index(said[index].state), len(pending), index))
            number = passes[index] if passes else 0
            heappush(ends, (said[index].end_ms, number))
            active[number] += 1
        while begun and said[begun[0][2]].end_ms <= start:
            heappop(begun)
        while ends and ends[0][0] <= start:
            number = heappop(ends)[1]
            active[number] -= 1
            if not active[number]:
                del active[number]
        if not begun:
            continue
        which, twice = begun[0][2], len(active) > 1
        if last is not None:
            if last[1:] == (start, which, twice):
                last = (last[0], end, which, twice)
                continue
            yield said[last[2]].cut(*last[:2]), last[3]
        last = (start, end, which, twice)
    if last is not None:
        yield said[last[2]].cut(*last[:2]), last[3]
