"""From single contacts to intervals: what the line was, for how long, why, and what nobody knows.

Between two contacts the board's own counters decide. The same boot and the same number of state
changes: nothing happened. One change more: it happened when the board says. More, or a restart:
what lies between is unknown, and only the live time that the board counted is known.

What a board did not sign, though this host was paired with it, shows nothing as muted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from hardmute import text
from hardmute.log import Observation
from hardmute.report import NOT_ATTESTED, weakest

_STARTED = "power-on or restart"


class Interval(NamedTuple):
    """The line was ``state`` (a verdict) in [start, end), host time in ms since the epoch.

    ``cause``: why it became so, where that is known. ``proof``: the weakest of its parts.
    ``note``: for a person. ``live_ms``: live time known to lie inside; for an unknown interval the
    board's counter says it.
    ``plus_minus_ms``: how far each end may be off, where that was reckoned (0: it was not).
    """

    start_ms: int
    end_ms: int
    state: str
    cause: str | None
    proof: str | None
    note: str | None
    live_ms: int
    plus_minus_ms: int = 0

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.start_ms


def intervals(observations: Iterable[Observation], since_ms: int, until_ms: int) -> list[Interval]:
    """The intervals of one board, in order, clipped to [since, until)."""
    result: list[Interval] = []
    before: Observation | None = None
    # Since when the host has been unable to ask, if it has.
    lost: Observation | None = None
    last_ms: int | None = None
    for now in observations:
        if last_ms is not None and now.at_ms < last_ms:
            # The host's clock went back: nothing can be said about what lies between.
            before = lost = None
            result.append(
                Interval(
                    now.at_ms, now.at_ms, "unknown", None, None, "the host's clock went back", 0
                )
            )
        last_ms = now.at_ms
        if now.state is None:
            lost = lost or now
            continue
        filled = _fill(before, now)
        if now.unsigned is not None:
            filled = [_doubted(interval) for interval in filled]
        if lost is not None:
            filled = _overlay(filled, lost, now.at_ms)
        result += filled
        before, lost = now, None
    if lost is not None and last_ms is not None:
        start_ms = lost.at_ms if before is None else max(lost.at_ms, before.at_ms)
        if before is not None and start_ms > before.at_ms:
            result.append(_gap(before.at_ms, start_ms, "not asked", 0))
        result.append(_gap(start_ms, max(last_ms, start_ms), _reason(lost), 0))
    return _merge(clip(result, since_ms, until_ms))


def overlay_journal(found: list[Interval], journaled: list[Interval]) -> list[Interval]:
    """``found`` with what the journal says in its place wherever it says something.

    Both in order. Where the host's clock went back neither can be put into the other's place.
    """
    if not all(before.end_ms <= after.start_ms for before, after in pairwise(found)):
        return found
    result = list(journaled)
    ends = [interval.end_ms for interval in journaled]
    for interval in found:
        index = bisect_right(ends, interval.start_ms)
        at_ms = interval.start_ms
        pieces: list[Interval] = []
        while index < len(journaled) and journaled[index].start_ms < interval.end_ms:
            pieces.append(_clipped(interval, at_ms, max(at_ms, journaled[index].start_ms)))
            at_ms = min(interval.end_ms, journaled[index].end_ms)
            index += 1
        if not pieces:
            result.append(interval)
            continue
        pieces.append(_clipped(interval, at_ms, interval.end_ms))
        # What the board had counted as live in it, the journal has told by now.
        result += [
            piece if piece.state == "live" else piece._replace(live_ms=0)
            for piece in pieces
            if piece.length_ms > 0
        ]
    return _merge(_closed(sorted(result, key=lambda one: (one.start_ms, one.end_ms))))


def _closed(found: list[Interval]) -> list[Interval]:
    """``found`` without what only seems unknown, the interval before not being known so well."""
    closed: list[Interval] = []
    for interval in found:
        last = closed[-1] if closed else None
        if (
            last is not None
            and interval.state == "unknown"
            and last.end_ms == interval.start_ms
            and interval.length_ms <= last.plus_minus_ms
        ):
            closed[-1] = _clipped(last, last.start_ms, interval.end_ms)
        else:
            closed.append(interval)
    return closed


def total_live_ms(found: Iterable[Interval]) -> int:
    """The live time in ``found``, the part inside unknown intervals included."""
    return sum(interval.live_ms for interval in found)


def total_ms(found: Iterable[Interval], state: str) -> int:
    """How long the line was ``state``, in ms."""
    return sum(interval.length_ms for interval in found if interval.state == state)


def _fill(before: Observation | None, now: Observation) -> list[Interval]:
    """What is known about the time from ``before`` (None: for ever) to ``now``, from those two."""
    assert now.since_ms is not None
    assert now.uptime_ms is not None
    started_ms = now.at_ms - now.since_ms
    current = _known(started_ms, now.at_ms, now, now.cause)
    if before is not None and _same_boot(before, now):
        return _fill_same_boot(before, now, current)
    booted_ms = now.at_ms - now.uptime_ms
    if before is not None:
        booted_ms = max(before.at_ms, booted_ms)
    # Every boot starts with the word "muted" and no change; whether power or watchdog caused it is
    # only told until the next change.
    at_boot = now._replace(
        at_ms=booted_ms, verdict="muted", cause=None, reason=_STARTED, changes=0, live_ms=0
    )
    found = _fill_same_boot(at_boot, now, current)
    if before is None:
        return found
    return [_gap(before.at_ms, booted_ms, "the board was off or restarted", 0), *found]


def _same_boot(before: Observation, now: Observation) -> bool:
    """Whether the board ran on from one contact to the other.

    One that cannot count its boots restarts under the old number, but with all counters at zero.
    """
    if now.changes == before.changes and before.state != "live" and now.live_ms != before.live_ms:
        # Without a change nothing has become live.
        return False
    return now.boot == before.boot and all(
        (new or 0) >= (old or 0)
        for new, old in (
            (now.uptime_ms, before.uptime_ms),
            (now.changes, before.changes),
            (now.live_ms, before.live_ms),
        )
    )


def _fill_same_boot(before: Observation, now: Observation, current: Interval) -> list[Interval]:
    changes = (now.changes or 0) - (before.changes or 0)
    if changes == 0 and before.unsigned is None and before.state == now.state:
        known = _known(before.at_ms, now.at_ms, now, now.cause)
        return [known._replace(proof=weakest(before.proof, now.proof))]
    started_ms = min(max(before.at_ms, current.start_ms), now.at_ms)
    current = _known(started_ms, now.at_ms, now, now.cause)
    if changes <= 1:
        return [_known(before.at_ms, started_ms, before, before.cause), current]
    live_ms = max(0, (now.live_ms or 0) - (before.live_ms or 0) - current.live_ms)
    if changes == 2 and 0 < live_ms <= started_ms - before.at_ms and before.verdict == "muted":
        # From muted the board can only have gone live: for as long as its live time grew.
        went_live_ms = started_ms - live_ms
        return [
            _known(before.at_ms, went_live_ms, before, before.cause),
            Interval(went_live_ms, started_ms, "live", "button", before.proof, None, live_ms),
            current,
        ]
    unseen = "1 unseen change" if changes == 2 else f"{changes - 1} unseen changes"
    note = f"{unseen}, live for {text.duration(live_ms)} of it"
    return [_gap(before.at_ms, started_ms, note, live_ms), current]


def _known(start_ms: int, end_ms: int, seen: Observation, cause: str | None) -> Interval:
    if seen.reason == NOT_ATTESTED:
        return _gap(start_ms, end_ms, _reason(seen), 0)
    live_ms = end_ms - start_ms if seen.verdict == "live" else 0
    note = seen.reason
    if seen.summary_of is not None:
        note = f"{seen.summary_of} changes at once" + (f", {note}" if note else "")
    return Interval(start_ms, end_ms, seen.verdict, cause, seen.proof, note, live_ms)


def _doubted(interval: Interval) -> Interval:
    """What an answer that is not signed tells of the time before it."""
    if interval.state != "muted":
        return interval
    return _gap(interval.start_ms, interval.end_ms, text.REASONS[NOT_ATTESTED], 0)


def _gap(start_ms: int, end_ms: int, note: str, live_ms: int) -> Interval:
    return Interval(start_ms, end_ms, "unknown", None, None, note, live_ms)


def _reason(lost: Observation) -> str:
    return text.REASONS.get(lost.reason or "", "unreachable")


def _overlay(filled: list[Interval], lost: Observation, until_ms: int) -> list[Interval]:
    """While the host could not ask it did not know, whatever the board told afterwards."""
    kept: list[Interval] = []
    hidden_live_ms = 0
    for interval in filled:
        if interval.start_ms >= lost.at_ms:
            hidden_live_ms += interval.live_ms
            continue
        shown = _clipped(interval, interval.start_ms, min(interval.end_ms, lost.at_ms))
        hidden_live_ms += interval.live_ms - shown.live_ms
        kept.append(shown)
    kept.append(_gap(lost.at_ms, until_ms, _reason(lost), hidden_live_ms))
    return kept


def _clipped(interval: Interval, start_ms: int, end_ms: int) -> Interval:
    length_ms = end_ms - start_ms
    live_ms = length_ms if interval.state == "live" else min(interval.live_ms, length_ms)
    return interval._replace(start_ms=start_ms, end_ms=end_ms, live_ms=live_ms)


def clip(found: list[Interval], since_ms: int, until_ms: int) -> list[Interval]:
    """``found``, clipped to [since, until)."""
    clipped: list[Interval] = []
    for interval in found:
        start_ms, end_ms = max(interval.start_ms, since_ms), min(interval.end_ms, until_ms)
        if start_ms < end_ms or since_ms <= interval.start_ms == interval.end_ms < until_ms:
            clipped.append(_clipped(interval, start_ms, end_ms))
    return clipped


def _merge(found: list[Interval]) -> list[Interval]:
    """Join neighbours that are one interval seen twice; drop what has no length.

    The last one says how things stand: it stays, however short.
    """
    merged: list[Interval] = []
    for index, interval in enumerate(found):
        last = merged[-1] if merged else None
        if (
            last is not None
            and last.state == interval.state
            and last.cause == interval.cause
            and last.end_ms == interval.start_ms
            and (last.note == interval.note or interval.state != "unknown")
        ):
            merged[-1] = last._replace(
                end_ms=interval.end_ms,
                proof=weakest(last.proof, interval.proof),
                note=interval.note or last.note,
                live_ms=last.live_ms + interval.live_ms,
                plus_minus_ms=max(last.plus_minus_ms, interval.plus_minus_ms),
            )
        elif (
            interval.length_ms > 0
            or index == len(found) - 1
            or interval.note == "the host's clock went back"
        ):
            merged.append(interval)
    return merged
