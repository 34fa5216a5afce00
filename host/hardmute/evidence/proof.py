"""What the evidence of a board shows of an interval (docs/evidence.md, "Proving an interval")."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple, TypeVar

from hardmute.evidence import absence, listening, verifier
from hardmute.evidence.absence import Looked
from hardmute.evidence.entries import FIRST_MS, LAST_MS, Entry, Row, stored_entry
from hardmute.evidence.excerpt import Excerpt
from hardmute.evidence.interval import Interval, gravest
from hardmute.evidence.key_fit import require_fit, require_ids
from hardmute.evidence.listening import Heard
from hardmute.evidence.reconstruction import COARSE_MS, Part, Reading, read
from hardmute.model import errors, words
from hardmute.model.answers import Verdict
from hardmute.model.reasons import Note, in_words

# What else than the board tells of its microphone.
WITNESSES = {listening.KIND: listening.read, absence.KIND: absence.read}
EVIDENCE = ("record", "attestation", "incident", *WITNESSES)
_SEVERITY = {"muted": errors.OK, "live": errors.LIVE, "fault": errors.FAULT}


def shown_json(interval: Interval) -> dict[str, Any]:
    """An interval of a proof as receipts and `--json` have it. ``note``: for a person."""
    return {
        "start_ms": interval.start_ms,
        "end_ms": interval.end_ms,
        "state": interval.state,
        "cause": interval.cause,
        "plus_minus_ms": interval.plus_minus_ms,
        "note": interval.note,
    }


class Proof(NamedTuple):
    """What the evidence shows of ``board`` in [from, to)."""

    board: str
    from_ms: int
    to_ms: int
    intervals: list[Interval]
    # Signatures checked with the verify key; how many there were; what is wrong.
    signed: int
    signatures: int
    findings: list[verifier.Flaw]
    # Known to be no real board.
    simulated: bool = False
    # When, within what is proven muted, the microphone itself was heard to be cut.
    heard: list[Heard] = []  # noqa: RUF012 (a tuple's default; nobody changes it)
    # And when this host's USB had the device behind the board no more.
    absent: list[Looked] = []  # noqa: RUF012
    # Pairings under which something is signed: those that a key given fits, and the others.
    fitting: tuple[int, ...] = ()
    without_key: tuple[int, ...] = ()
    # Rows of the attestations that counted.
    counted: tuple[int, ...] = ()
    # It is of another host's log, and no key given fits.
    unchecked: bool = False

    @property
    def verdict(self) -> Verdict | Literal["tampered"]:
        """``muted``: throughout. Otherwise the gravest of what else there is."""
        if self.findings:
            return "tampered"
        states = {interval.state for interval in self.intervals}
        gravest_first: tuple[Verdict, ...] = ("fault", "unknown", "live", "muted")
        return next(state for state in gravest_first if state in states)

    @property
    def exit_code(self) -> int:
        if self.findings:
            return errors.TAMPERED
        return _SEVERITY.get(self.verdict, errors.UNKNOWN)


# Which attestations count.
Counts = Callable[[Entry], bool]
# What to say of a time from earliest to latest that is unknown.
_Note = tuple[int, int, Note]
_Witness = TypeVar("_Witness", Heard, Looked)


def examine(
    found: Excerpt,
    from_ms: int,
    to_ms: int,
    secrets: verifier.Keys,
    attest_keys: verifier.AttestKeys,
) -> Proof:
    """What an excerpt of this host's own log shows of [from, to), ms since the epoch.

    Attestations count that are signed, by a key given. Without any, those do whose MAC is right
    under an attest key of this host.
    Raises `UsageError` if the keys given are those of other pairings.
    """
    if secrets:
        ids = {(found.board, pairing): key_id for pairing, key_id in found.key_ids().items()}
        require_ids(secrets, ids, "the evidence of that time")
    check = found.checked(secrets, attest_keys)
    report = check.report()
    if any(branch.signatures for branch in report.branches) and not report.findings:
        ring = check.keyring
        require_fit(secrets, ring.ids, ring.fitting, "the evidence of that time")
    is_right = check.has_signed if secrets else check.has_recomputed
    entries = [] if found.findings or report.findings else found.entries(EVIDENCE)
    proof = shown_by(
        found.board,
        check,
        entries,
        from_ms,
        to_ms,
        lambda entry: is_right(entry.row),
        keyed=bool(secrets),
    )
    return proof._replace(findings=[*found.findings, *proof.findings])


def examine_export(
    check: verifier.Verifier,
    rows: Iterable[Row],
    board: str,
    from_ms: int,
    to_ms: int,
    secrets: verifier.Keys,
) -> Proof:
    """What an export from elsewhere shows of [from, to), whose ``rows`` are those ``check`` took.

    Rule T14: an entry counts only if an attestation after it, signed by a key given, commits to
    it. Whoever hands in the export could have moved the times of the others.
    Raises `UsageError` if the keys given are those of other pairings.
    """
    entries: list[Entry] = []
    if not check.report().findings:
        require_fit(secrets, check.keyring.ids, check.keyring.fitting, "the export")
        entries = [
            stored_entry(row)
            for row in rows
            if row[3] == board and row[2] in EVIDENCE and row[0] <= check.committed
        ]
    return shown_by(
        board,
        check,
        entries,
        from_ms,
        to_ms,
        lambda entry: check.has_signed(entry.row),
        keyed=bool(secrets),
    )


def shown_by(
    board: str,
    check: verifier.Verifier,
    entries: Sequence[Entry],
    from_ms: int,
    to_ms: int,
    counts: Counts,
    *,
    keyed: bool,
) -> Proof:
    """What ``entries`` show, which ``check`` has taken, if those attestations count.

    ``keyed``: that is by keys, and for others none was given.
    """
    report = check.report()
    branches = [branch for branch in report.branches if branch.board == board]
    findings = [*report.findings, *unreadable(entries)]
    intervals: list[Interval] = []
    listened: list[Heard] = []
    looked: list[Looked] = []
    counted: list[int] = []
    if not findings:
        # The others count nowhere, and have no reason that a receipt could repeat.
        marks = [
            entry
            for entry in entries
            if entry.kind == "attestation" and check.binds_time(entry.row)
        ]
        counted = [entry.row for entry in marks if counts(entry)]
        known = set(counted)
        trusted = [entry for entry in entries if entry.kind != "attestation" or entry.row in known]
        listened = listening.within(entries, from_ms, to_ms)
        looked = absence.within(entries, from_ms, to_ms)
        notes = _without_key(marks, counts) if keyed else ()
        intervals = cover(read(trusted), from_ms, to_ms, [*listened, *looked], notes)
    return Proof(
        board,
        from_ms,
        to_ms,
        intervals,
        sum(branch.macs for branch in branches),
        sum(branch.signatures for branch in branches),
        findings,
        heard=_borne_out(listened, intervals),
        absent=_borne_out(looked, intervals),
        fitting=numbers(owner for owner in check.keyring.fitting if owner[0] == board),
        without_key=tuple(
            sorted({one for branch in branches for one in branch.pairings_without_key})
        ),
        counted=tuple(counted),
    )


def unreadable(entries: Iterable[Entry]) -> Iterator[verifier.Flaw]:
    """What is wrong with those of ``entries`` that tell what else than the board has shown."""
    for entry in entries:
        read_one = WITNESSES.get(entry.kind)
        try:
            if read_one is not None:
                read_one(entry)
        except (KeyError, ValueError):
            yield verifier.Flaw(entry.row, f"is no {entry.kind} as hardmute writes it")


def numbers(pairings: Iterable[tuple[str, int]]) -> tuple[int, ...]:
    return tuple(sorted(pairing for _, pairing in pairings))


def _without_key(marks: Iterable[Entry], counts: Counts) -> Iterator[_Note]:
    """Of the times that attestations would bear out for which no key was given: that."""
    groups = [
        (pairing, list(found))
        for pairing, found in groupby(
            marks, lambda entry: None if counts(entry) else entry.body["statement"]["pairing"]
        )
    ]
    earliest = FIRST_MS
    for index, (pairing, found) in enumerate(groups):
        after = groups[index + 1][1][0].body["sent_ms"] if groups[index + 1 :] else LAST_MS
        if pairing is not None:
            yield earliest, after, Note("no_key", facts=(pairing,))
        earliest = found[-1].body["received_ms"]


def counts_for_nothing(proof: Proof) -> str:
    return f"{words.no_key(proof.without_key)}: what is signed under it counts for nothing"


def _borne_out(told: list[_Witness], intervals: list[Interval]) -> list[_Witness]:
    """What was heard to be cut, or seen to be gone, while it was proven to be muted: proof levels
    `heard` and `absent`.
    """
    return [
        one
        for one in told
        if one.bears_out
        and any(
            interval.state == "muted"
            and interval.start_ms <= one.from_ms
            and one.to_ms <= interval.end_ms
            for interval in intervals
        )
    ]


def cover(
    found: Reading,
    from_ms: int,
    to_ms: int,
    witnesses: Iterable[Heard | Looked] = (),
    reasons: Iterable[_Note] = (),
) -> list[Interval]:
    """The intervals that fill [from, to), unknown where nothing is proven, for these ``reasons``.

    A leak that was heard, or a device that was there, while the board said muted is a fault. Of
    what overlaps, where the host's clock went back, the gravest counts: rule T10.
    """
    drawn = [
        Interval(one.from_ms, one.to_ms, "fault", notes=(in_words(one.told),))
        for one in witnesses
        if one.is_leak
    ]
    notes: list[_Note] = list(reasons)
    for part in found.parts:
        interval = _interval(part)
        if interval is not None:
            drawn.append(interval)
        if interval is None or interval.state == "unknown":
            notes.append((part.start.earliest, part.end.latest, _told(part)))
    drawn += [Interval(time.earliest, time.latest, "unknown") for time in found.unproven]
    result: list[Interval] = []
    at = from_ms
    for interval, _ in gravest(drawn):
        start, end = max(interval.start_ms, from_ms), min(interval.end_ms, to_ms)
        if start >= end or interval.state == "unknown":
            continue
        if start > at:
            result.append(_unknown(at, start, notes))
        piece = interval.cut(start, end)
        if result and result[-1].cut(start, end) == piece:
            result[-1] = result[-1].cut(result[-1].start_ms, end)
        else:
            result.append(piece)
        at = end
    if at < to_ms:
        result.append(_unknown(at, to_ms, notes))
    return result


def _interval(part: Part) -> Interval | None:
    """The interval that a part shows; None if it shows none, and lies in a time unproven.

    Rule T6.
    """
    edge_ms = max(part.start.uncertainty_ms, part.end.uncertainty_ms)
    start_ms, end_ms, state = part.start.earliest, part.end.latest, part.state
    notes: tuple[Note, ...] = ()
    if part.bracketed and state == "muted":
        start_ms, end_ms = part.start.latest, part.end.earliest
    elif not part.bracketed:
        if state not in ("live", "fault") or edge_ms > COARSE_MS:
            return None
        notes = (Note("by_journal", part.doubt),)
    if state in ("live", "fault") and _is_vague(part):
        state, notes = "unknown", ()
    return Interval(start_ms, end_ms, state, part.cause, notes=notes, plus_minus_ms=edge_ms)


def _is_vague(part: Part) -> bool:
    """Whether an end of a part is less well known than the part is long. Rule T7."""
    return any(time.latest - time.earliest > part.length_ms for time in (part.start, part.end))


def _told(part: Part) -> Note:
    if part.state == "muted":
        return Note("muted_but", part.doubt)
    if part.state == "unknown":
        return Note(part.doubt or "not_borne_out")
    return Note("at_some_time", facts=(part.state, part.length_ms))


def _unknown(start_ms: int, end_ms: int, notes: list[_Note]) -> Interval:
    told = dict.fromkeys(
        note for earliest, latest, note in notes if earliest < end_ms and latest > start_ms
    )
    return Interval(start_ms, end_ms, "unknown", notes=(*told,) or (Note("one_sided"),))
