"""Reading the part of this host's own log that tells of an interval (docs/evidence.md)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from itertools import pairwise

from hardmute.evidence import batches, verifier
from hardmute.evidence.entries import GENESIS, Row, columns_of, records_in
from hardmute.evidence.excerpt import Excerpt
from hardmute.evidence.reconstruction import AttestedState, clock_was_set, pieces
from hardmute.store.log import Log
from muteboard import journal

# What the log tells of an attestation without reading it, and of which type that is.
_MARK = [int, int, int, int, int, int, int, str]


def excerpt(log: Log, board: str, from_ms: int, to_ms: int) -> Excerpt:
    """The entries that may tell of ``board`` in [from, to), ms since the epoch.

    There are none where the board has attested nothing, or an attestation that was looked at is
    not in its place.
    """

    def pair_records(until_row: int) -> Iterable[tuple[int, journal.Record]]:
        return log.pair_records(board, until_row)

    with log.snapshot():
        marks, findings = _marks(log, board)
        findings += _unlinked(log, marks)
        if not marks or findings:
            return Excerpt(board, 0, GENESIS, None, (), findings, log.hash_at, pair_records)
        first, last, record = _rows(log, board, marks, from_ms, to_ms)
        row, before = _place_before(log, first, record)
        rows = list(log.rows(first, last))

    def hash_at(at: int) -> bytes | None:
        # Of what was pruned, a checkpoint knows the last one.
        return before if at == row else log.hash_at(at)

    return Excerpt(board, row, before, record, rows, findings, hash_at, pair_records)


def _marks(log: Log, board: str) -> tuple[list[AttestedState], list[verifier.Flaw]]:
    """When every attestation of ``board`` was, and those of which that cannot be told.

    No entry is read for it.
    """
    marks: list[AttestedState] = []
    findings: list[verifier.Flaw] = []
    for row, told in log.marks(board):
        said = json.loads(told or "[]")
        if [type(value) for value in said] != _MARK:
            findings.append(verifier.Flaw(row, "is no attestation as hardmute writes it"))
            continue
        branch, boot, uptime_ms, seq, *times = said
        # Its times are asked for, and not its state.
        marks.append(AttestedState(row, branch, boot, uptime_ms, seq, "unknown", None, *times))
    return marks, findings


def _unlinked(log: Log, marks: Iterable[AttestedState]) -> list[verifier.Flaw]:
    """What is wrong with the place of the two around each time that a clock was set. Rule T12."""
    ends = {mark.row for two in pairwise(marks) if clock_was_set(*two) for mark in two}
    found: list[verifier.Flaw] = []
    for end in sorted(ends):
        row, before = _place_before(log, end)
        problem = batches.unlinked(row, before, columns_of(log.rows(end, end)))
        if problem is not None:
            found.append(verifier.Flaw(end, problem))
    return found


def _rows(
    log: Log, board: str, marks: Sequence[AttestedState], from_ms: int, to_ms: int
) -> tuple[int, int, Row | None]:
    """From the last attestation that is certainly before [from, to) to the first one certainly
    after it; and the record before the former. Where there is none, from the log's first row, and
    to its last. Rule T11.
    """
    touched = [
        index
        for index, piece in enumerate(pieces(marks))
        if min(time.earliest for time in piece) < to_ms
        and max(time.latest for time in piece) > from_ms
    ]
    after = (mark.row for mark in marks[touched[-1] :] if mark.sent_ms >= to_ms)
    last = next(after, None) or log.head()[0]
    last = _with_heard(log, board, marks, from_ms, to_ms, last)
    for mark in reversed(marks[: touched[0]]):
        if mark.received_ms <= from_ms:
            record = _record_of(log, board, mark)
            if record is not None:
                return mark.row, last, record
    return log.first_row(), last, None


def _with_heard(
    log: Log, board: str, marks: Iterable[AttestedState], from_ms: int, to_ms: int, last: int
) -> int:
    """The row up to which the log tells what was heard in [from, to), if not up to ``last``: to
    the first attestation after that, which commits to it.
    """
    for row, told in log.heard(board):
        said = json.loads(told or "[]")
        is_apart = [type(at_ms) for at_ms in said] == [int, int] and (
            said[1] <= from_ms or to_ms <= said[0]
        )
        if not is_apart and row > last:
            last = next((mark.row for mark in marks if mark.row > row), log.head()[0])
    return last


def _record_of(log: Log, board: str, mark: AttestedState) -> Row | None:
    """The entry of the record that ``mark`` speaks of, if no other one is between them.

    Two programs may store theirs in another order than they asked.
    """
    row = log.record_before(board, mark.row)
    if row is None:
        return None
    (record,) = log.rows(row, row)
    try:
        branch, data = records_in([record[4]])
    except ValueError:
        return None
    is_it = (branch, journal.Record(data).seq) == (mark.branch, mark.seq)
    return record if is_it else None


def _place_before(log: Log, first: int, known_row: Row | None = None) -> tuple[int, bytes]:
    """Row and hash of what comes before row ``first``, as the log or its checkpoint has it.

    ``known_row``: a row that was read, and is not read again.
    """
    if first == 1:
        return 0, GENESIS
    if known_row is not None and known_row[0] == first - 1:
        return first - 1, known_row[5]
    known = log.hash_at(first - 1)
    if known is not None:
        return first - 1, known
    rows = log.rows(first, first)
    report = verifier.begin(next(rows, None), log.rows_of("checkpoint"), {}).report()
    return report.head_row, report.head
