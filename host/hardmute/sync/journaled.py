"""What a board's journal says that the line was, as intervals of the timeline.

Answers tie its records to wall time: attestations that this host has checked, or else whatever it
was told. Whether the log is intact is for `hardmute log verify`; what does not fit is left out.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate, pairwise

from hardmute.evidence import absence, listening
from hardmute.evidence.absence import Looked
from hardmute.evidence.entries import Entry, record_of, stored
from hardmute.evidence.interval import Interval, gravest
from hardmute.evidence.listening import Heard
from hardmute.evidence.observation import NO_ROW
from hardmute.evidence.proof import WITNESSES
from hardmute.evidence.reconstruction import COARSE_MS, Part, checked_here, parts
from hardmute.evidence.timeline import WENT_BACK, clip, overlay_journal
from hardmute.evidence.verifier import Verifier
from hardmute.model.answers import ProofLevel
from hardmute.model.reasons import in_words
from hardmute.store import keys
from hardmute.store.excerpt import excerpt
from hardmute.store.log import Log
from muteboard import journal

# While an answer was on its way nothing happened that is not recorded.
_ANSWER_MS = 5_000


def journaled(log: Log, board: str, since_ms: int, until_ms: int) -> list[Interval]:
    """The intervals that the journal of ``board`` tells of, in order, within [since, until)."""
    kinds = ("record", "attestation", "incident", "observation", *WITNESSES)
    if log.newest(board, "attestation") is not None:
        part = excerpt(log, board, since_ms, until_ms)
        check, entries = part.checked({}), part.entries(kinds)
        if part.findings:
            return []
    else:
        entries = list(log.entries(board, kinds, *log.contacts_around(board, since_ms, until_ms)))
        check = Verifier({}, log_hash=log.hash_at, board=board, is_part=True, gapless=False)
        check.take(map(stored, entries))
    if check.report().findings:
        return []
    trusted = [entry for entry in entries if entry.kind != "attestation" or checked_here(entry)]
    found: list[Interval] = []
    joins = False
    vouched = _vouched(log, board, trusted)
    for part in parts(trusted):
        muted_by_nobody = part.state == "muted" and vouched is not None and part not in vouched
        interval = None if muted_by_nobody else _interval(part)
        if interval is None:
            joins = False
            continue
        if (
            joins
            and found[-1].state == interval.state
            and 0 <= interval.start_ms - found[-1].end_ms < _ANSWER_MS
        ):
            interval = interval._replace(start_ms=found[-1].end_ms)
        found.append(interval)
        joins = True
    found += _may_have_been_twice(found)
    found = [piece for piece, _ in gravest(found)]
    told = [
        *listening.within(entries, since_ms, until_ms),
        *absence.within(entries, since_ms, until_ms),
    ]
    return clip(_with_told(found, told), since_ms, until_ms)


def _may_have_been_twice(found: list[Interval]) -> list[Interval]:
    """Of what was muted, the times that something graver may have been at as well: before or after
    the host's clock was set back, and nobody knows exactly when.
    """
    # In which stretch each is: the next begins where time goes back.
    steps = (after.start_ms < before.end_ms for before, after in pairwise(found))
    numbers = list(accumulate(steps, initial=0))
    doubted: list[Interval] = []
    for number in dict.fromkeys(numbers):
        here = [one for one, its in zip(found, numbers, strict=False) if its == number]
        muted = deque(one for one in here if one.state == "muted")
        graver = [
            (one.start_ms - one.plus_minus_ms, one.end_ms + one.plus_minus_ms)
            for one, its in zip(found, numbers, strict=False)
            if its != number and one.state != "muted"
        ]
        until_ms = 0
        for start_ms, end_ms in sorted(graver):
            # One of these may lie in another.
            from_ms, until_ms = max(start_ms, until_ms), max(end_ms, until_ms)
            while muted and muted[0].end_ms <= from_ms:
                muted.popleft()
            for one in muted:
                if one.start_ms >= until_ms:
                    break
                ends = max(from_ms, one.start_ms), min(until_ms, one.end_ms)
                doubted.append(Interval(*ends, "unknown", notes=(WENT_BACK,)))
    return doubted


def _vouched(log: Log, board: str, trusted: list[Entry]) -> set[Part] | None:
    """The parts that are shown by what the board has signed; None if ``trusted`` has nothing else.

    While this host is paired with the board, a record counts for "muted" only if a later head that
    was attested contains it, for anybody can make records that follow the last one.
    """
    first, until = log.paired(board) or (0, 0)
    if keys.held(board, lambda: log.is_paired(board), lambda: log.pairings(board)).paired:
        until = NO_ROW
    ends: dict[int, int] = {}
    for entry in trusted:
        if entry.kind == "attestation":
            branch, seq = entry.body["branch"], entry.body["statement"]["seq"]
            ends[branch] = max(seq, ends.get(branch, 0))

    def is_signed(entry: Entry) -> bool:
        if entry.kind == "record":
            return journal.Record(record_of(entry.body)).seq <= ends.get(entry.body["branch"], 0)
        return entry.kind != "observation" or entry.body.get("unsigned") is None

    signed = [entry for entry in trusted if not first < entry.row < until or is_signed(entry)]
    return None if len(signed) == len(trusted) else set(parts(signed))


def _with_told(found: list[Interval], told: list[Heard | Looked]) -> list[Interval]:
    """What was heard or seen is noted in the interval that it was in, or is a fault of its own."""
    marked = list(found)
    for one in told:
        for index, interval in enumerate(marked):
            within = interval.start_ms <= one.from_ms and one.to_ms <= interval.end_ms
            if within and interval.state == "muted" and one.bears_out:
                # Of the rest of it nothing was told, so its proof stays.
                marked[index] = interval._replace(notes=(in_words(one.told),))
    leaks = [
        Interval(one.from_ms, one.to_ms, "fault", None, one.proof, (in_words(one.told),))
        for one in sorted(told, key=lambda one: one.from_ms)
        if one.is_leak
    ]
    return overlay_journal(marked, leaks)


def _interval(part: Part) -> Interval | None:
    edge_ms = max(part.start.uncertainty_ms, part.end.uncertainty_ms)
    start_ms, end_ms = part.start.middle, part.end.middle
    if part.state == "unknown" or edge_ms > COARSE_MS or start_ms >= end_ms:
        return None
    if part.state == "muted" and part.doubt not in (None, "one_sided"):
        return None
    return Interval(
        start_ms,
        end_ms,
        part.state,
        part.cause,
        _proof(part),
        (in_words(part.faults),) if part.faults else (),
        end_ms - start_ms if part.state == "live" else 0,
        edge_ms,
    )


def _proof(part: Part) -> ProofLevel | None:
    if part.bracketed:
        return "attested"
    # As an answer that tells a fault has none.
    return None if part.state == "fault" else "sensed"
