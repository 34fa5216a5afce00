"""The part of this host's own log that tells of an interval (docs/evidence.md)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from hardmute import batches, verifier
from hardmute.entries import GENESIS, Entry, Row, columns_of, records_in, stored_entry
from hardmute.history import Attested, attested, pieces
from hardmute.log import Log
from hardmute.macs import Keys
from muteboard import journal


class Excerpt(NamedTuple):
    """All ``rows`` of a log from the one after ``row`` on, which has the hash ``before``.

    ``findings``: what is wrong with attestations of ``board`` that are not among them.
    ``log_hash``: the hash of any entry of the log, None if it is not to be had.
    """

    board: str
    row: int
    before: bytes
    rows: Sequence[Row]
    findings: Sequence[verifier.Finding]
    log_hash: Callable[[int], bytes | None]

    def entries(self, kinds: Sequence[str]) -> list[Entry]:
        """Those of the board of these ``kinds``. Raises as `entries.stored_entry`."""
        return [stored_entry(row) for row in self.rows if row[2] in kinds and row[3] == self.board]

    def checked(
        self, secrets: Keys, attest_keys: verifier.AttestKeys | None = None
    ) -> verifier.Verifier:
        """The verifier that has taken them: of other boards, their place in the log alone."""
        check = verifier.Verifier(
            secrets,
            self.row,
            self.before,
            log_hash=self.log_hash,
            board=self.board,
            is_part=True,
            attest_keys=attest_keys,
        )
        check.take(self.rows)
        return check


def excerpt(log: Log, board: str, from_ms: int, to_ms: int) -> Excerpt:
    """All entries that may tell of ``board`` in [from, to), ms since the epoch.

    There are none where the board has attested nothing, or one of its attestations is not in its
    place.
    """
    with log.snapshot():
        marks, findings = _marks(log, board)
        if not marks or findings:
            return Excerpt(board, 0, GENESIS, (), findings, log.hash_at)
        first, last = _rows(log, board, marks, from_ms, to_ms)
        row, before = _place_before(log, first)
        rows = list(log.rows(first, last))

    def hash_at(at: int) -> bytes | None:
        # Of what was pruned, a checkpoint knows the last one.
        return before if at == row else log.hash_at(at)

    return Excerpt(board, row, before, rows, findings, hash_at)


def _marks(log: Log, board: str) -> tuple[list[Attested], list[verifier.Finding]]:
    """Every attestation of ``board``, and what is wrong with those that are wrong. Rule T12."""
    marks: list[Attested] = []
    findings: list[verifier.Finding] = []
    first = log.first_row()
    for row, before in log.attestations(board):
        if before is None and row[0] != first:
            problem = f"does not follow entry {row[0] - 1}"
        elif before is None:
            # That of a log that was pruned: nothing is asked of it but its time.
            problem = None
        else:
            problem = batches.unlinked(row[0] - 1, before, columns_of([row]))
        try:
            marks.append(attested(stored_entry(row)))
        except (KeyError, TypeError, ValueError, RecursionError):
            problem = problem or "is no attestation as hardmute writes it"
        if problem is not None:
            findings.append(verifier.Finding(row[0], problem))
    return marks, findings


def _rows(
    log: Log, board: str, marks: Sequence[Attested], from_ms: int, to_ms: int
) -> tuple[int, int]:
    """From the last attestation that is certainly before [from, to) to the second one certainly
    after it. Where there is none, from the log's first row, and to its last. Rule T11.
    """
    touched = [
        index
        for index, piece in enumerate(pieces(marks))
        if min(time.earliest for time in piece) < to_ms
        and max(time.latest for time in piece) > from_ms
    ]
    before = [
        index for index, mark in enumerate(marks[: touched[0]]) if mark.received_ms <= from_ms
    ]
    after = (
        index
        for index, mark in enumerate(marks[touched[-1] :], touched[-1])
        if mark.sent_ms >= to_ms
    )
    first, last = log.first_row(), log.head()[0]
    second = next(after, len(marks)) + 1
    if second < len(marks):
        last = marks[second].row
    if before:
        first = _record_of(log, board, marks[before[-1] : second + 1])
    return first, last


def _record_of(log: Log, board: str, marks: Sequence[Attested]) -> int:
    """The row of the record that these attestations, from the first one on, speak of.

    Two programs may store theirs in another order than they asked: it is that of the earliest.
    """
    first = marks[0]
    least = min(mark.seq for mark in marks if mark.branch == first.branch)
    row = first.row
    while (before := log.record_before(board, row)) is not None:
        row = before
        try:
            ((*_, body, _),) = log.rows(row, row)
            branch, data = records_in([body])
        except ValueError:
            # It is read, and found.
            break
        if branch != first.branch or journal.Record(data).seq <= least:
            break
    return row


def _place_before(log: Log, first: int) -> tuple[int, bytes]:
    """Row and hash of what comes before row ``first``, as the log or its checkpoint has it."""
    if first == 1:
        return 0, GENESIS
    known = log.hash_at(first - 1)
    if known is not None:
        return first - 1, known
    rows = log.rows(first, first)
    report = verifier.begin(next(rows, None), log.rows_of("checkpoint"), {}).report()
    return report.head_row, report.head
