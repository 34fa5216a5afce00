"""The part of this host's own log that tells of an interval, with its place in the log checked.

Rules 9 and 10 of docs/evidence.md, "Proving an interval".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

from hardmute import verifier
from hardmute.entries import GENESIS, Entry, entry_hash
from hardmute.history import Attested, attested, pieces
from hardmute.log import Log


class Excerpt(NamedTuple):
    """Entries of one board, by row, and what is wrong with their place in the log."""

    entries: list[Entry]
    findings: list[verifier.Finding]


def excerpt(log: Log, board: str, kinds: Sequence[str], from_ms: int, to_ms: int) -> Excerpt:
    """All entries of ``kinds`` that may tell of [from, to), ms since the epoch; of ``board``.

    There are none where the board has attested nothing. Every entry between the first and the last
    one, of whatever kind and board, is checked for its place and its hash.
    """
    with log.snapshot():
        marks, findings = _marks(log, board)
        if not marks or findings:
            return Excerpt([], findings)
        first, last = _rows(log, board, marks, from_ms, to_ms)
        entries: list[Entry] = []
        row, before = _place_before(log, first)
        for stored in log.rows(first, last):
            expected = entry_hash(before, *stored[:5])
            findings += [
                verifier.Finding(stored[0], problem)
                for problem in verifier.unlinked(row, stored, expected)
            ]
            row, before = stored[0], stored[5]
            if stored[2] in kinds and stored[3] == board:
                entries.append(log.parsed(stored))
        return Excerpt(entries, findings)


def _marks(log: Log, board: str) -> tuple[list[Attested], list[verifier.Finding]]:
    """Every attestation of ``board``, and what is wrong with those that are wrong."""
    marks: list[Attested] = []
    findings: list[verifier.Finding] = []
    first = log.first_row()
    for stored, expected in log.attestations(board):
        if expected is None and stored[0] == first:
            # That of a log that was pruned: nothing is asked of it but its time.
            expected = stored[5]
        if expected is None:
            findings.append(verifier.Finding(stored[0], f"does not follow entry {stored[0] - 1}"))
            continue
        problems = list(verifier.unlinked(stored[0] - 1, stored, expected))
        findings += [verifier.Finding(stored[0], problem) for problem in problems]
        if not problems:
            marks.append(attested(Entry(*stored[:4], json.loads(stored[4]), stored[5])))
    return marks, findings


def _rows(
    log: Log, board: str, marks: Sequence[Attested], from_ms: int, to_ms: int
) -> tuple[int, int]:
    """From the last attestation that is certainly before [from, to) to the second one certainly
    after it. Where there is none, from the log's first row, and to its last.

    The record before the first one comes with it, for that may be of a press under way.
    """
    touched = [
        index
        for index, piece in enumerate(pieces(marks))
        if min(time.earliest for time in piece) < to_ms
        and max(time.latest for time in piece) > from_ms
    ]
    before = [mark.row for mark in marks[: touched[0]] if mark.received_ms <= from_ms]
    after = (
        index
        for index, mark in enumerate(marks[touched[-1] :], touched[-1])
        if mark.sent_ms >= to_ms
    )
    first, last = log.first_row(), log.head()[0]
    if before:
        first = log.record_before(board, before[-1]) or before[-1]
    second = next(after, len(marks)) + 1
    if second < len(marks):
        last = marks[second].row
    return first, last


def _place_before(log: Log, first: int) -> tuple[int, bytes]:
    """Row and hash of what comes before row ``first``, as the log or its checkpoint has it."""
    if first == 1:
        return 0, GENESIS
    known = log.hash_at(first - 1)
    if known is not None:
        return first - 1, known
    report = verifier.begin(
        next(log.entries(since_row=first), None), log.entries(kinds=("checkpoint",)), {}
    ).report()
    return report.head_row, report.head
