"""What a board's journal says that the line was, when, and how that is borne out.

A *bracketed* part lies between two attestations of one boot whose clocks agree: there the records
are complete, and the board ran on all the time. Of any other part the journal says only what
happened, and roughly when: between two records the board may have been without power.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from math import ceil

from hardmute.evidence.anchors import PASS_MS, TOLERANCE, Anchor, BootClock, Bounds, advance
from hardmute.evidence.entries import FIRST_MS, LAST_MS, Entry, record_of
from hardmute.evidence.observation import observation_of
from hardmute.model.answers import Cause, State, Verdict, fault_text
from hardmute.model.reasons import Doubt
from hardmute.model.typed import Any, NamedTuple, cast
from muteboard import journal, wire

# A part that is not bracketed, whose ends are known less well than this, is told in words and not
# drawn as an interval.
COARSE_MS = 60_000
# By their number in a record.
_STATES = cast("tuple[State, ...]", wire.STATES)
_CAUSES = cast("tuple[Cause, ...]", wire.CAUSES)


class AttestedState(NamedTuple):
    """An attestation in the log."""

    row: int
    branch: int
    boot: int
    uptime_ms: int
    seq: int
    state: Verdict
    cause: Cause | None
    sent_ms: int
    received_ms: int
    anchor_us: int
    host_boot: str

    @property
    def anchor(self) -> Anchor:
        return Anchor(
            self.uptime_ms, self.sent_ms, self.received_ms, self.anchor_us, self.host_boot
        )


class Sighted(NamedTuple):
    """An answer of a board that signs nothing, for its clock alone."""

    boot: int
    uptime_ms: int
    anchor: Anchor


class Part(NamedTuple):
    """The line was ``state`` from ``start`` to ``end``, for ``length_ms`` by the board's clock.

    That is no `Interval` yet, which has an end at one time of the host: here both ends are
    bounds, and may overlap. `proof` makes an interval of what is certain, and
    `sync.journaled` one from the middle of the bounds.
    ``doubt``: why it is not bracketed (see above), or unknown; None if it is.
    ``faults``: for a person, which contacts contradicted the command.
    """

    state: Verdict
    cause: Cause | None
    start: Bounds
    end: Bounds
    length_ms: int
    doubt: Doubt | None
    faults: str | None = None

    @property
    def bracketed(self) -> bool:
        return self.doubt is None


class Reading(NamedTuple):
    """What entries tell of: ``parts`` from oldest to newest, and when else it may have been.

    ``unproven``: the times, by every clock that may be right, before the first attestation, after
    the last one, and between two that do not bracket the parts between them.
    """

    parts: list[Part]
    unproven: list[Bounds]


class _Event(NamedTuple):
    seq: int
    boot: int
    uptime_ms: int
    state: Verdict
    cause: Cause
    # Events before this one were lost.
    lost: bool
    faults: str | None


# Contacts that may date what is fetched after an incident: two each time that the clock was set.
_MOST_SEEN = 64
# What one branch tells, in order.
_Run = list[AttestedState | Sighted | _Event]


def attested(entry: Entry) -> AttestedState:
    """The attestation in an entry of that kind."""
    body = entry.body
    said: dict[str, Any] = body["statement"]
    state = _borne_out(said["state"], said["command"] == "connected", any(said["sense"]))
    return AttestedState(
        row=entry.row,
        branch=body["branch"],
        boot=said["boot"],
        uptime_ms=said["uptime_ms"],
        seq=said["seq"],
        state=state,
        cause=said["cause"],
        sent_ms=body["sent_ms"],
        received_ms=body["received_ms"],
        anchor_us=body["anchor_us"],
        host_boot=body["host_boot"],
    )


def checked_here(entry: Entry) -> bool:
    """Whether this host checked an attestation with its attest key when it came.

    For entries of this host's own log alone: anybody can write this into a file.
    """
    return entry.body["checked"] is True


def _sighted(entry: Entry) -> Sighted | None:
    """The answer in an observation; None where none was asked for, or given."""
    try:
        seen = observation_of(entry)
    except ValueError:
        return None
    told = (seen.boot, seen.uptime_ms, seen.took_ms, seen.anchor)
    match told:
        case (int(boot), int(uptime_ms), int(), Anchor() as anchor):
            return Sighted(boot, uptime_ms, anchor)
        case _:
            return None


def _borne_out(state: State, commanded: bool, sensed: bool) -> Verdict:
    """``muted`` only where the line is commanded cut and every contact reads open (P4). Rule T2.

    Until the contacts have settled, a board that has just been connected keeps its last word.
    """
    if state != "muted":
        return state
    if commanded:
        return "live"
    return "unknown" if sensed else "muted"


def clocks_agree(first: AttestedState, second: AttestedState) -> bool:
    """Whether the board's clock advanced between them as the host's clocks did. Rule T5."""
    return advance(first.anchor, second.anchor).agrees


def parts(entries: Iterable[Entry]) -> list[Part]:
    """The parts that one board's entries, in order, tell of; from oldest to newest.

    Observations only date the records of starts of which nothing was attested.
    """
    return read(entries).parts


def read(entries: Iterable[Entry]) -> Reading:
    """As `parts`, and the times that these leave unproven."""
    found: list[Part] = []
    marks: list[AttestedState] = []
    bracketed: set[tuple[int, int]] = set()
    for run in _runs(entries):
        for boot in _read(run):
            found += boot.parts
            marks += boot.marks
            bracketed |= boot.bracketed
    return Reading(found, list(_unproven(marks, bracketed)))


def _runs(entries: Iterable[Entry]) -> Iterator[_Run]:
    """The unbroken stretches of one branch."""
    run: _Run = []
    # Contacts before it.
    seen: list[Sighted] = []
    branch = None
    for entry in entries:
        kind = entry.kind
        begins = kind in ("record", "attestation") and entry.body["branch"] != branch
        # What lies before and after an incident does not join.
        if run and (begins or kind == "incident"):
            yield _dated(seen, run)
            seen = _thinned([*seen, *(item for item in run if isinstance(item, Sighted))])
            run = []
        if kind in ("record", "attestation"):
            branch = entry.body["branch"]
            run.append(attested(entry) if kind == "attestation" else _event(entry))
        elif kind == "observation":
            sighted = _sighted(entry)
            if sighted is not None:
                run.append(sighted)
    yield _dated(seen, run)


def _thinned(seen: Iterable[Sighted]) -> list[Sighted]:
    """The newest of these, and of those between which nobody has set the host's clock the ends."""
    kept: list[Sighted] = []
    for one in seen:
        if (
            {one.boot} == {before.boot for before in kept[-2:]}
            and kept[1:]
            and advance(kept[-2].anchor, one.anchor).wall_agrees
        ):
            kept[-1] = one
        else:
            kept.append(one)
    return kept[-_MOST_SEEN:]


def _dated(seen: Iterable[Sighted], run: _Run) -> _Run:
    """``run``, with those contacts before it that date it as well: of a boot that went on, by the
    host's clock that nobody sets. Its records may have been fetched later.
    """
    firsts: dict[int, Anchor] = {}
    for item in run:
        if not isinstance(item, _Event):
            firsts.setdefault(item.boot, item.anchor)
    dates = (one for one in seen if one.boot in firsts and _goes_on(one.anchor, firsts[one.boot]))
    return [*dates, *run]


def _goes_on(one: Anchor, later: Anchor) -> bool:
    """Whether the board ran from the one to the other, by the host's clock that nobody sets."""
    on = advance(one, later)
    return on.ran_ms is not None and on.board_agrees(on.ran_ms)


def _unproven(marks: list[AttestedState], bracketed: set[tuple[int, int]]) -> Iterator[Bounds]:
    for index, piece in enumerate(pieces(marks)):
        rows = marks[index - 1].row if index else 0, marks[index].row if marks[index:] else 0
        if rows not in bracketed:
            yield from piece


def pieces(marks: Sequence[AttestedState]) -> Iterator[list[Bounds]]:
    """When, by every clock that may be right, the time before each attestation was, from the one
    before it on; and the time after the last one. Rule T8.
    """
    if not marks:
        yield [Bounds(FIRST_MS, LAST_MS)]
        return
    yield [Bounds(FIRST_MS, marks[0].received_ms)]
    for index, (one, other) in enumerate(pairwise(marks)):
        ran_ms = _ran_ms(one, other)
        if ran_ms is not None:
            until = one.received_ms + ran_ms
            since = other.received_ms - ran_ms - one.anchor.took_ms
        else:
            # The clock went back, nobody knows by how much. It was right at the next attestation
            # that is later than all that, and at the last one that is earlier.
            until = next(
                (mark.sent_ms for mark in marks[index + 1 :] if mark.sent_ms >= one.received_ms),
                LAST_MS,
            )
            since = next(
                (
                    mark.received_ms
                    for mark in marks[index::-1]
                    if mark.received_ms <= other.sent_ms
                ),
                FIRST_MS,
            )
        yield [Bounds(one.sent_ms, until), Bounds(since, other.received_ms)]
    yield [Bounds(marks[-1].sent_ms, LAST_MS)]


def clock_was_set(one: AttestedState, other: AttestedState) -> bool:
    """Whether the host's clock was set between two attestations that were stored one after the
    other, as far as any other clock tells.
    """
    on = advance(one.anchor, other.anchor)
    if on.ran_ms is not None:
        ran_ms = on.ran_ms
    elif (one.branch, one.boot) == (other.branch, other.boot):
        ran_ms = on.board_ms
    else:
        return on.passed_ms < other.uptime_ms
    slack_ms = PASS_MS + abs(ran_ms) * TOLERANCE + on.first_ms + on.second_ms
    return abs(on.passed_ms - ran_ms) > slack_ms


def _ran_ms(one: AttestedState, other: AttestedState) -> int | None:
    """How long it was from ``one`` to ``other``, at most; None if no clock tells. Rule T9."""
    on = advance(one.anchor, other.anchor)
    if on.ran_ms is not None:
        return ceil(abs(on.ran_ms))
    if (one.branch, one.boot) == (other.branch, other.boot):
        apart_ms = abs(on.board_ms)
        return apart_ms + int(apart_ms * TOLERANCE) + on.first_ms + on.second_ms + 1
    # Host and board have both started again: their clocks tell no more than this.
    return on.passed_ms if on.passed_ms >= other.uptime_ms else None


def _event(entry: Entry) -> _Event:
    record = journal.Record(record_of(entry.body))
    return _Event(
        record.seq,
        record.boot,
        record.uptime_ms,
        _borne_out(
            _STATES[record.state & 0x0F],
            bool(record.state & journal.COMMANDED),
            bool(record.sense),
        ),
        _CAUSES[record.cause],
        record.event == journal.OVERRUN,
        _faults(record.data) if record.event == journal.FAULT else None,
    )


def _faults(data: int) -> str:
    """The contacts of a ``fault`` record (docs/evidence.md), as an answer's faults are told."""
    names = [f"closed:{bit + 1}" for bit in range(8) if data >> bit & 1]
    names += [f"open:{bit + 1}" for bit in range(8) if data >> bit + 8 & 1]
    return ", ".join(map(fault_text, names))


class _Boot(NamedTuple):
    """What was read of one boot, its attestations in order, and those next to each other between
    which all is known, by their rows.
    """

    parts: list[Part]
    marks: list[AttestedState]
    bracketed: set[tuple[int, int]]


def _read(run: _Run) -> Iterator[_Boot]:
    """The boots of an unbroken stretch of one branch. Rule T1: each is read by itself."""
    boots: dict[int, _Run] = {}
    for item in run:
        boots.setdefault(item.boot, []).append(item)
    clocks = _clocks(boots)
    last: Part | None = None
    for boot, items in boots.items():
        clock = clocks[boot]
        read_boot = _read_boot([item for item in items if not isinstance(item, Sighted)], clock)
        if last is not None:
            read_boot.parts.insert(0, _off(last.end, clock.at(0)))
        yield read_boot
        last = read_boot.parts[-1] if read_boot.parts else last


def _off(end: Bounds, start: Bounds) -> Part:
    return Part("unknown", None, end, start, 0, "off_or_restarted")


class _Clock:
    """`BootClock`, or for a boot without anchors what its neighbours leave."""

    def __init__(self, clock: BootClock | None, earliest: int, latest: int) -> None:
        self._clock = clock
        # When uptime 0 was.
        self._start = Bounds(earliest, latest)

    def at(self, uptime_ms: int) -> Bounds:
        if self._clock is not None:
            return self._clock.at(uptime_ms)
        return Bounds(self._start.earliest + uptime_ms, self._start.latest + uptime_ms)


def _clocks(boots: dict[int, _Run]) -> dict[int, _Clock]:
    anchored = {
        boot: BootClock(anchors) for boot, items in boots.items() if (anchors := _anchors(items))
    }
    order = list(boots)
    found: dict[int, _Clock] = {}
    for index, boot in enumerate(order):
        if boot in anchored:
            found[boot] = _Clock(anchored[boot], 0, 0)
            continue
        # It began after the last thing known before it, and was over before the next began.
        before = [b for b in order[:index] if b in anchored]
        after = [b for b in order[index + 1 :] if b in anchored]
        between = order[order.index(before[-1]) + 1 : index] if before else []
        until = order[index : order.index(after[0])] if after else []
        earliest = anchored[before[-1]].at(_last(boots[before[-1]])).earliest if before else 0
        earliest += sum(_last(boots[b]) for b in between)
        latest = anchored[after[0]].at(0).latest if after else 1 << 53
        latest -= sum(_last(boots[b]) for b in until)
        found[boot] = _Clock(None, earliest, max(earliest, latest))
    return found


def _anchors(items: _Run) -> list[Anchor]:
    """Those of a boot: attestations, and answers before the first and after the last of them if
    the board went on. Without attestations all answers.
    """
    marks = [item.anchor for item in items if isinstance(item, AttestedState)]
    answers = [item.anchor for item in items if isinstance(item, Sighted)]
    if not marks:
        return answers
    first, last = (end(marks, key=lambda mark: mark.uptime_ms) for end in (min, max))
    before = [one for one in answers if one.uptime_ms < first.uptime_ms and _goes_on(one, first)]
    after = [one for one in answers if one.uptime_ms > last.uptime_ms and _goes_on(last, one)]
    return [*before, *marks, *after]


def _last(items: Sequence[AttestedState | Sighted | _Event]) -> int:
    return max(item.uptime_ms for item in items)


def _said(item: AttestedState | _Event, recorded: _Event | None) -> AttestedState | _Event:
    """What says how the line was from ``item`` on; ``recorded``: the newest record up to it.

    Rule T3: each end is recorded, and a press may be about to connect.
    """
    if recorded is not None and recorded.state != "unknown" and item.state == "muted":
        return recorded
    return item


def _read_boot(items: list[AttestedState | _Event], clock: _Clock) -> _Boot:
    """What is read of one boot, from its first item to its last."""
    # By sequence: an attestation speaks of the records up to its `seq`, and comes after them.
    ordered = sorted(
        items, key=lambda item: (item.seq, isinstance(item, AttestedState), item.uptime_ms)
    )
    doubts = _doubts(ordered)
    found: list[Part] = []
    recorded: _Event | None = None
    for index, (item, after) in enumerate(pairwise(ordered)):
        start = clock.at(item.uptime_ms)
        end = clock.at(after.uptime_ms)
        if isinstance(item, AttestedState):
            # When the answer was there it was so for certain.
            start = Bounds(item.sent_ms, item.received_ms)
        else:
            recorded = item
        said = _said(item, recorded)
        if isinstance(after, AttestedState):
            end = Bounds(after.sent_ms, after.received_ms)
        part = Part(
            said.state,
            said.cause,
            start,
            end,
            max(0, after.uptime_ms - item.uptime_ms),
            "not_borne_out" if doubts[index] and said.state == "unknown" else doubts[index],
            recorded.faults if recorded is not None and said.state == "fault" else None,
        )
        last = found[-1] if found else None
        if last is not None and (last.state, last.cause, last.doubt) == (
            part.state,
            part.cause,
            part.doubt,
        ):
            part = part._replace(start=last.start, length_ms=last.length_ms + part.length_ms)
            found[-1] = part
        else:
            found.append(part)
    marks = [
        (item, doubts[at]) for at, item in enumerate(ordered) if isinstance(item, AttestedState)
    ]
    bracketed = {(one.row, two.row) for (one, doubt), (two, _) in pairwise(marks) if doubt is None}
    return _Boot(found, [mark for mark, _ in marks], bracketed)


def _doubts(ordered: Sequence[AttestedState | _Event]) -> list[Doubt | None]:
    """For each item: why what follows it is not bracketed; None if it is. Rule T4."""
    found: list[Doubt | None] = ["one_sided"] * len(ordered)
    for index, item in enumerate(ordered[1:]):
        if isinstance(item, _Event) and item.lost:
            found[index] = "records_lost"
    marks = [index for index, item in enumerate(ordered) if isinstance(item, AttestedState)]
    for first, second in pairwise(marks):
        one, other = ordered[first], ordered[second]
        assert isinstance(one, AttestedState)
        assert isinstance(other, AttestedState)
        between = [item for item in ordered[first + 1 : second] if isinstance(item, _Event)]
        doubt: Doubt | None = None
        if [item.seq for item in between] != list(range(one.seq + 1, other.seq + 1)):
            doubt = "records_missing"
        elif any(item.lost for item in between):
            doubt = "records_lost"
        elif not clocks_agree(one, other):
            doubt = "clocks_disagree"
        doubts: list[Doubt | None] = [doubt] * (second - first)
        found[first:second] = doubts
    return found
