"""From single contacts to intervals: what the line was, for how long, why, and what nobody knows.

Between two contacts the board's own counters decide. The same boot and the same number of state
changes: nothing happened. One change more: it happened when the board says. More, or a restart:
what lies between is unknown, and only the live time that the board counted is known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hardmute import text
from hardmute.history import Part
from hardmute.log import Observation

_STARTED = "power-on or restart"


class Interval(NamedTuple):
    """The line was ``state`` (a verdict) in [start, end), host time in ms since the epoch.

    ``cause``: why it became so, where that is known. ``note``: for a person. ``live_ms``: live
    time known to lie inside; for an unknown interval the board's counter says it.
    ``plus_minus_ms``: how far its ends may be off, by the clocks of board and host.
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
        if lost is not None:
            filled = _overlay(filled, lost, now.at_ms)
        result += filled
        before, lost = now, None
    if lost is not None and last_ms is not None:
        start_ms = lost.at_ms if before is None else max(lost.at_ms, before.at_ms)
        if before is not None and start_ms > before.at_ms:
            result.append(_gap(before.at_ms, start_ms, "not asked", 0))
        result.append(_gap(start_ms, max(last_ms, start_ms), _reason(lost), 0))
    return _merge(_clip(result, since_ms, until_ms))


def told_by_journal(found: list[Interval], told: Iterable[Part]) -> list[Interval]:
    """``found``, and where that is unknown what the board's journal tells of the time instead.

    ``told``: parts that lie between attestations, so that their times are known.
    """
    known = [_of_part(part) for part in told]
    result: list[Interval] = []
    for interval in found:
        if interval.state != "unknown":
            result.append(interval)
            continue
        at = interval.start_ms
        for part in known:
            clipped = _clipped(part, max(part.start_ms, at), min(part.end_ms, interval.end_ms))
            if clipped.length_ms > 0:
                if clipped.start_ms > at:
                    result.append(_gap(at, clipped.start_ms, interval.note or "", 0))
                result.append(clipped)
                at = clipped.end_ms
        if at == interval.start_ms:
            result.append(interval)
        elif at < interval.end_ms:
            result.append(_gap(at, interval.end_ms, interval.note or "", 0))
    return _merge(result)


def _of_part(part: Part) -> Interval:
    start_ms, end_ms = part.start.middle, part.end.middle
    return Interval(
        start_ms,
        end_ms,
        part.state,
        part.cause,
        "attested",
        "by the journal",
        part.length_ms if part.state == "live" else 0,
        max(part.start.uncertainty_ms, part.end.uncertainty_ms),
    )


def total_live_ms(found: Iterable[Interval]) -> int:
    """The live time in ``found``, the part inside unknown intervals included."""
    return sum(interval.live_ms for interval in found)


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
    if changes == 0:
        return [_known(before.at_ms, now.at_ms, now, now.cause)]
    started_ms = min(max(before.at_ms, current.start_ms), now.at_ms)
    current = _known(started_ms, now.at_ms, now, now.cause)
    if changes == 1:
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
    live_ms = end_ms - start_ms if seen.verdict == "live" else 0
    return Interval(start_ms, end_ms, seen.verdict, cause, seen.proof, seen.reason, live_ms)


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


def _clip(found: list[Interval], since_ms: int, until_ms: int) -> list[Interval]:
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
                proof=interval.proof,
                note=interval.note or last.note,
                live_ms=last.live_ms + interval.live_ms,
            )
        elif (
            interval.length_ms > 0
            or index == len(found) - 1
            or interval.note == "the host's clock went back"
        ):
            merged.append(interval)
    return merged
