"""From single contacts to intervals: what the line was, for how long, why, and what nobody knows.

Between two contacts the board's own counters decide. The same boot and the same number of state
changes: nothing happened. One change more: it happened when the board says. More, or a restart:
what lies between is unknown, and only the live time that the board counted is known.

What a board did not sign, though this host was paired with it, shows nothing as muted.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate, groupby
from typing import NamedTuple

from hardmute.evidence.anchors import Advance, Anchor, Bounds, advance, hull, within
from hardmute.evidence.interval import Interval, gravest
from hardmute.evidence.observation import Observation
from hardmute.model import words
from hardmute.model.answers import NOT_ATTESTED, Cause, Verdict, weakest
from hardmute.model.reasons import Note, in_words

_STARTED = "power-on or restart"
_RESTARTED = Note("off_or_restarted")
# What an answer takes at most: so far a contact's times may be off.
_ANSWER_MS = 2_000
# What was on its way for longer does not say how things stand.
_FRESH_MS = 1_000
_CLOCKS_DISAGREE = Note("clocks_disagree")
WENT_BACK = Note("clock_went_back")
WENT_FORWARD = Note("clock_went_forward")


class BoardTimeline(NamedTuple):
    """One board's intervals in a window. ``board`` is None for "no board could be found"."""

    board: str | None
    label: str | None
    simulated: bool
    intervals: list[Interval]
    # Out of an export, of which nothing was checked.
    claimed: bool = False

    @property
    def title(self) -> str:
        name = self.label or self.board or "no board found"
        name = f"{name} (simulated)" if self.simulated else name
        return f"{name}, as an export claims" if self.claimed else name


def intervals(observations: Iterable[Observation], since_ms: int, until_ms: int) -> list[Interval]:
    """The intervals of one board, in order and apart, clipped to [since, until).

    Where the host's clock was set between two contacts, only that is known which the board's own
    uptime covers. Of a time that occurred twice the gravest counts.
    """
    said = _Said()
    before: Observation | None = None
    # Since when the host has been unable to ask, if it has.
    lost: Observation | None = None
    last: Observation | None = None
    for now in _in_order(observations):
        if now.state is None:
            lost = lost or now
        else:
            said.contact(before, lost, now)
            before, lost = now, None
        last = now
    if lost is not None and last is not None:
        if before is not None:
            said.gap(before, lost, Note("not_asked"))
        said.gap(lost, last, _reason(lost))
    elif before is not None and _took(before) > _FRESH_MS:
        # It was so at some time while it was on its way; nothing tells what came then.
        said.draw(_gap(before.at_ms - _took(before), before.at_ms, _unreached("late"), 0))
    return _merge(clip(said.settled(), since_ms, until_ms))


def _in_order(observations: Iterable[Observation]) -> Iterator[Observation]:
    """As they were made, by the clock that nobody sets: rows may be written a little later."""
    for run, rows in groupby(observations, lambda one: None if one.run_us is None else one.run):
        if run is None:
            yield from rows
        else:
            yield from sorted(rows, key=lambda one: one.run_us or 0)


class _Said:
    """What contacts say of times, which may overlap where the host's clock was set."""

    def __init__(self) -> None:
        self._drawn: list[Interval] = []
        # For each: the number of the stretch in which the clock was not set.
        self._passes: list[int] = []
        self._pass = 0
        # By how much it was set last, and until when, by the clock since then.
        self._set = (0, -1)
        # Where the clock went back, and the newest piece that has no length.
        self._marks: list[Interval] = []
        self._last: Interval | None = None
        # When contacts were; and since when the clock may have stood further on, where nobody
        # knows how far it went back.
        self._times: list[int] = []
        self._ahead: list[int] = []

    def contact(
        self, before: Observation | None, lost: Observation | None, now: Observation
    ) -> None:
        """What is known of the time from ``before`` (None: for ever) to ``now``. ``lost``: since
        when the board could not be asked.
        """
        joint = None if before is None else _join(before, now)
        pieces = _fill(before, now, joint)
        if now.unsigned is not None:
            pieces = [_doubted(piece, _unreached(NOT_ATTESTED)) for piece in pieces]
        if lost is not None:
            lost_ms = _as_of(now, lost)
            if joint is not None and joint.start_ms is not None:
                lost_ms = max(lost_ms, joint.start_ms)
            pieces = _overlay(pieces, lost_ms, _reason(lost), now.at_ms)
        if before is not None and joint is not None:
            self._moved(before.at_ms - _took(before), now, joint, pieces)
        for piece in pieces:
            self.draw(piece)
        self._times.append(now.at_ms)

    def gap(self, start: Observation, end: Observation, why: Note) -> None:
        """Nothing is known from ``start`` to ``end``."""
        joint = _join(start, end)
        start_ms = end.at_ms if joint.start_ms is None else joint.start_ms - _took(start)
        pieces = [_gap(start_ms, end.at_ms, why, 0)]
        self._moved(start.at_ms - _took(start), end, joint, pieces)
        self.draw(pieces[0])

    def _moved(
        self, from_ms: int, now: Observation, joint: _Joint, pieces: list[Interval]
    ) -> None:
        """Where the clock was set: nobody knows when. What was not muted may have been at the
        time that it showed before.
        """
        set_ms = joint.set_ms
        if set_ms == 0:
            # What had waited, with more, until it was read: the clock was set in that time.
            self._echo(pieces, from_ms)
            return
        if set_ms is None:
            uptime_ms = now.uptime_ms or 0
            since_ms = max((at for at in self._times if at <= now.at_ms), default=now.at_ms)
            booted_ms = now.at_ms - uptime_ms
            self.draw(_gap(min(since_ms, booted_ms), booted_ms, WENT_BACK, 0))
            self._ahead.append(from_ms)
        else:
            self._set = (set_ms, now.at_ms)
            self._echo(pieces, from_ms + set_ms)
        if set_ms is not None and set_ms > 0:
            self.draw(_gap(from_ms, joint.start_ms or from_ms, WENT_FORWARD, 0))
        else:
            self._marks.append(_gap(now.at_ms, now.at_ms, WENT_BACK, 0))
        self._pass += 1

    def _echo(self, pieces: list[Interval], from_ms: int) -> None:
        """What was not muted from then on, until the clock was set, by the clock before."""
        set_ms, until_ms = self._set
        for piece in pieces:
            start_ms, end_ms = max(from_ms, piece.start_ms), min(piece.end_ms, until_ms)
            if piece.state != "muted" and start_ms < end_ms:
                self.draw(_gap(start_ms - set_ms, end_ms - set_ms, WENT_BACK, 0))

    def draw(self, piece: Interval) -> None:
        last = self._drawn[-1] if self._drawn else None
        if piece.length_ms <= 0:
            self._last = piece if piece.length_ms == 0 else None
            return
        self._last = None
        joined = None if last is None or self._passes[-1] != self._pass else _joined(last, piece)
        if joined is not None:
            self._drawn[-1] = joined
            return
        self._drawn.append(piece)
        self._passes.append(self._pass)

    def settled(self) -> list[Interval]:
        """The gravest of all that was said of each time."""
        for from_ms in self._ahead:
            until_ms = min((at for at in self._times if at >= from_ms), default=from_ms)
            self.draw(_gap(from_ms, until_ms, WENT_BACK, 0))
        found = [
            piece._replace(notes=(WENT_BACK,)) if twice and piece.state == "unknown" else piece
            for piece, twice in gravest(self._drawn, self._passes)
        ]
        if self._last is not None and (not found or found[-1].end_ms <= self._last.start_ms):
            found.append(self._last)
        marks = sorted(self._marks, key=_place)
        return sorted([*_without(found, marks), *marks], key=_place)


class _Joint(NamedTuple):
    """How two contacts are joined.

    ``same``: the board ran on between them. ``set_ms``: by how much the host's clock was set;
    None: it went back, nobody knows how far. ``start_ms``: the first contact by the clock as it
    stood at the second one; None: nobody knows. ``known_ms``: the board's uptime reaches back so
    far. ``fits``: the uptime is one that the board can have.
    """

    same: bool
    set_ms: int | None
    start_ms: int | None
    known_ms: int
    fits: bool


def _join(before: Observation, now: Observation) -> _Joint:
    first, second = before.anchor, now.anchor
    on = advance(first, second)
    elapsed_ms = on.passed_ms if on.ran_ms is None else on.ran_ms
    asked = before.state is not None and now.state is not None
    agrees = on.board_agrees(elapsed_ms)
    # What waited fits any start with its number.
    waited = max(_took(before), _took(now)) > _FRESH_MS
    is_told = not _uncounted(before, now) or (agrees and not waited)
    same = asked and _same_boot(before, now) and is_told
    set_ms: int | None = 0
    if not asked and on.ran_ms is None:
        set_ms = 0 if on.passed_ms >= 0 else None
    elif on.ran_ms is not None:
        set_ms = 0 if on.wall_agrees else on.set_ms
    elif same:
        set_ms = 0 if agrees else on.passed_ms - on.board_ms
    elif not _began_within(on, second, elapsed_ms):
        set_ms = None
    if set_ms is None:
        return _Joint(same, None, None, now.at_ms - second.uptime_ms, True)
    start_ms = before.at_ms + set_ms
    known_ms = start_ms
    if same and not agrees:
        known_ms = max(start_ms, now.at_ms - on.board_ms)
    fits = same or not asked or _began_within(on, second, elapsed_ms)
    return _Joint(same, set_ms, start_ms, known_ms, fits)


def _began_within(on: Advance, second: Anchor, elapsed_ms: float) -> bool:
    """Whether the board can have been started since the contact before."""
    booted = second.at(0)
    return booted.latest >= second.received_ms - elapsed_ms - on.first_ms


def _as_of(now: Observation, then: Observation) -> int:
    """When ``then`` was, by the host's clock as it stood at ``now``."""
    on = advance(then.anchor, now.anchor)
    return then.at_ms if on.ran_ms is None or on.wall_agrees else now.at_ms - round(on.ran_ms)


def _took(seen: Observation) -> int:
    """So long before its time it may have been asked for: what was muted then may have ended."""
    return seen.took_ms or 0


def _uncounted(*seen: Observation) -> bool:
    """Whether one of them is of a start that the board could not count: another has its number."""
    return any("boot_not_counted" in (one.warnings or ()) for one in seen)


def overlay_journal(found: list[Interval], journaled: list[Interval]) -> list[Interval]:
    """``found`` with what the journal says in its place wherever it says something.

    Both in order and apart. What a contact saw and is graver stays: the journal's times may be off
    a little. So does what is not known because the host's clock was set, unless the journal knows
    of a graver state. What the journal does not know for that reason hides what was muted.
    """
    kept: list[Interval] = []
    # What the journal tells of a time that occurred twice may be of its other occurrence.
    is_twice = any(WENT_BACK in one.notes for one in found)
    for state, graver in (("muted", ("live", "fault")), ("live", ("fault",)), ("fault", ())):
        known = [_widened(one) for one in journaled if one.state in graver]
        stay = _without_each([one for one in found if one.state in graver], known)
        # Of what the journal knows as well, it knows the length better.
        holes = [one for one, whole in stay if whole or is_twice or one.length_ms > _ANSWER_MS]
        holes += [
            one for one in found if _clock_was_set(one) and (state == "muted" or not one.length_ms)
        ]
        holes.sort(key=_place)
        kept += _without([one for one in journaled if one.state == state], holes)
    graver = [one for one in found if one.state in ("live", "fault")]
    kept += _without([one for one in journaled if one.state == "unknown"], graver)
    kept.sort(key=_place)
    # What the board had counted as live in it, the journal has told by now.
    rest = [
        piece if piece.state == "live" or whole else piece._replace(live_ms=0)
        for piece, whole in _without_each(found, kept)
    ]
    return _merge(_closed(sorted([*kept, *rest], key=_place)))


def _clock_was_set(interval: Interval) -> bool:
    """Whatever else is said of such a time, it is not known to have been muted."""
    return WENT_BACK in interval.notes or WENT_FORWARD in interval.notes


def _widened(interval: Interval) -> Interval:
    """By what its ends may be off, and what those of a contact may be."""
    by_ms = 2 * interval.plus_minus_ms
    return interval._replace(start_ms=interval.start_ms - by_ms, end_ms=interval.end_ms + by_ms)


def _place(interval: Interval) -> tuple[int, int]:
    return interval.start_ms, interval.end_ms


def _without(found: Iterable[Interval], holes: list[Interval]) -> list[Interval]:
    """``found`` without the times of ``holes``, which are in order."""
    return [piece for piece, _ in _without_each(found, holes)]


def _without_each(
    found: Iterable[Interval], holes: list[Interval]
) -> Iterator[tuple[Interval, bool]]:
    """As `_without`, and whether it is whole."""
    ends = list(accumulate((hole.end_ms for hole in holes), max))
    for interval in found:
        index = bisect_right(ends, interval.start_ms)
        at_ms = interval.start_ms
        whole = True
        while index < len(holes) and holes[index].start_ms < interval.end_ms:
            if holes[index].start_ms > at_ms:
                yield interval.cut(at_ms, holes[index].start_ms), False
            at_ms = max(at_ms, holes[index].end_ms)
            index += 1
            whole = False
        if at_ms < interval.end_ms or whole:
            yield interval.cut(at_ms, interval.end_ms), whole


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
            and not _clock_was_set(interval)
        ):
            closed[-1] = last.cut(last.start_ms, interval.end_ms)
        else:
            closed.append(interval)
    return closed


def total_live_ms(found: Iterable[Interval]) -> int:
    """The live time in ``found``, the part inside unknown intervals included."""
    return sum(interval.live_ms for interval in found)


def total_ms(found: Iterable[Interval], state: Verdict) -> int:
    """How long the line was ``state``, in ms."""
    return sum(interval.length_ms for interval in found if interval.state == state)


def _fill(before: Observation | None, now: Observation, joint: _Joint | None) -> list[Interval]:
    """What is known about the time from ``before`` (None: for ever) to ``now``, from those two, by
    the host's clock as it stands at ``now``.
    """
    assert now.uptime_ms is not None
    second = now.anchor
    if before is not None and joint is not None and joint.same:
        first = before.anchor if joint.known_ms == joint.start_ms else None
        found = _fill_same_boot(before, now, _Scale(first, second, joint))
        if joint.start_ms is not None and joint.start_ms < joint.known_ms:
            start_ms = joint.start_ms - _took(before)
            found.insert(0, _gap(start_ms, joint.known_ms, _CLOCKS_DISAGREE, 0))
        return found
    # Every boot starts with the word "muted" and no change; whether power or watchdog caused it is
    # only told until the next change.
    booted_ms = second.at(0).edge("muted")
    start_ms = None if joint is None else joint.start_ms
    if start_ms is not None:
        booted_ms = max(start_ms, booted_ms)
    at_boot = now._replace(
        verdict="muted", cause=None, reason=_STARTED, changes=0, live_ms=0, uptime_ms=0
    )
    scale = _Scale(None, second, _Joint(True, 0, booted_ms, booted_ms, True))
    found = _fill_same_boot(at_boot, now, scale)
    if joint is not None and not joint.fits:
        found = [_doubted(piece, _CLOCKS_DISAGREE) for piece in found]
    if before is None or start_ms is None:
        return found
    return [_gap(start_ms - _took(before), booted_ms, _RESTARTED, 0), *found]


class _Scale(NamedTuple):
    """Where uptimes lie on the host's clock as it stands at ``second``. ``first``: a contact
    before it in the same boot, by which they lie as well.
    """

    first: Anchor | None
    second: Anchor
    joint: _Joint

    def at(self, uptime_ms: int) -> Bounds:
        if self.first is None or self.joint.set_ms is None:
            return self.second.at(uptime_ms)
        if self.first.run != self.second.run:
            # The host was started again. A step of its clock that is smaller than what these may
            # be off shows nowhere: the clock stood as by the one, or as by the other.
            return hull((self.first.at(uptime_ms), self.second.at(uptime_ms)))
        by_both = within(self.first, self.second, self.joint.set_ms, uptime_ms)
        return by_both or self.second.at(uptime_ms)

    def edge(self, uptime_ms: int, state: Verdict) -> int:
        """When ``state`` began: not before the contact before was asked for."""
        answered_ms = 0 if self.first is None else self.first.took_ms
        return max(self.joint.known_ms - answered_ms, self.at(uptime_ms).edge(state))


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


def _fill_same_boot(before: Observation, now: Observation, scale: _Scale) -> list[Interval]:
    assert now.since_ms is not None
    assert now.uptime_ms is not None
    assert before.uptime_ms is not None
    start_ms, end_ms = scale.joint.known_ms, now.at_ms
    changes = (now.changes or 0) - (before.changes or 0)
    if changes == 0 and before.unsigned is None and before.state == now.state:
        known = _known(start_ms, end_ms, now, now.cause)
        return [known._replace(proof=weakest(before.proof, now.proof))]
    changed_up_ms = now.uptime_ms - now.since_ms
    changed_ms = scale.edge(changed_up_ms, now.verdict)
    current = _known(changed_ms, end_ms, now, now.cause)
    if changes <= 1:
        return [_known(start_ms, changed_ms, before, before.cause), current]
    live_ms = (now.live_ms or 0) - (before.live_ms or 0)
    if now.verdict == "live":
        live_ms -= min(now.since_ms, now.uptime_ms - before.uptime_ms)
    live_ms = max(0, live_ms)
    muted_ms = changed_up_ms - before.uptime_ms - live_ms
    if changes == 2 and live_ms > 0 and muted_ms >= 0 and before.verdict == "muted":
        # From muted the board can only have gone live: for as long as its live time grew.
        went_live_ms = scale.edge(changed_up_ms - live_ms, "live")
        return [
            _known(start_ms, went_live_ms, before, before.cause),
            Interval(
                went_live_ms,
                changed_ms,
                "live",
                "button",
                before.proof,
                live_ms=changed_ms - went_live_ms,
            ),
            current,
        ]
    why = Note("unseen_changes", facts=(changes - 1, live_ms))
    return [_gap(start_ms, changed_ms, why, min(live_ms, max(0, changed_ms - start_ms))), current]


def _known(start_ms: int, end_ms: int, seen: Observation, cause: Cause | None) -> Interval:
    if seen.reason == NOT_ATTESTED:
        return _gap(start_ms, end_ms, _reason(seen), 0)
    live_ms = end_ms - start_ms if seen.verdict == "live" else 0
    notes = (in_words(seen.reason),) if seen.reason else ()
    if seen.summary_of is not None:
        notes = (Note("changes_at_once", facts=(seen.summary_of, seen.reason)),)
    return Interval(start_ms, end_ms, seen.verdict, cause, seen.proof, notes, live_ms)


def _doubted(interval: Interval, why: Note) -> Interval:
    """What an answer that is in doubt tells of the time before it."""
    if interval.state != "muted":
        return interval
    return _gap(interval.start_ms, interval.end_ms, why, 0)


def _gap(start_ms: int, end_ms: int, why: Note, live_ms: int) -> Interval:
    return Interval(start_ms, end_ms, "unknown", notes=(why,), live_ms=live_ms)


def _reason(lost: Observation) -> Note:
    return _unreached(lost.reason or "")


def _unreached(reason: str) -> Note:
    # Of a reason that this version does not know, no more is to be said.
    return Note("unreached", facts=(reason if reason in words.REASONS else "",))


def _overlay(filled: list[Interval], lost_ms: int, why: Note, until_ms: int) -> list[Interval]:
    """While the host could not ask it did not know, whatever the board told afterwards."""
    kept: list[Interval] = []
    hidden_live_ms = 0
    for interval in filled:
        if interval.start_ms >= lost_ms:
            hidden_live_ms += interval.live_ms
            continue
        shown = interval.cut(interval.start_ms, min(interval.end_ms, lost_ms))
        hidden_live_ms += interval.live_ms - shown.live_ms
        kept.append(shown)
    kept.append(_gap(lost_ms, until_ms, why, hidden_live_ms))
    return kept


def clip(found: list[Interval], since_ms: int, until_ms: int) -> list[Interval]:
    """``found``, clipped to [since, until)."""
    clipped: list[Interval] = []
    for interval in found:
        start_ms, end_ms = max(interval.start_ms, since_ms), min(interval.end_ms, until_ms)
        if start_ms < end_ms or since_ms <= interval.start_ms == interval.end_ms < until_ms:
            clipped.append(interval.cut(start_ms, end_ms))
    return clipped


def _merge(found: list[Interval]) -> list[Interval]:
    """Join neighbours that are one interval seen twice; drop what has no length.

    The last one says how things stand: it stays, however short.
    """
    merged: list[Interval] = []
    for index, interval in enumerate(found):
        joined = _joined(merged[-1], interval) if merged else None
        if joined is not None:
            merged[-1] = joined
        elif interval.length_ms > 0 or index == len(found) - 1 or WENT_BACK in interval.notes:
            merged.append(interval)
    return merged


def _joined(last: Interval, interval: Interval) -> Interval | None:
    """The two in one, where they are one interval seen twice."""
    if (last.state, last.cause, last.end_ms) != (
        interval.state,
        interval.cause,
        interval.start_ms,
    ) or (last.notes != interval.notes and interval.state == "unknown"):
        return None
    return last._replace(
        end_ms=interval.end_ms,
        proof=weakest(last.proof, interval.proof),
        notes=interval.notes or last.notes,
        live_ms=last.live_ms + interval.live_ms,
        plus_minus_ms=max(last.plus_minus_ms, interval.plus_minus_ms),
    )
