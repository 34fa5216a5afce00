"""The part of this host's own log that tells of an interval (docs/evidence.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from hardmute.evidence import verifier
from hardmute.evidence.entries import Entry, Row, records_in, stored_entry
from muteboard import journal


class Excerpt(NamedTuple):
    """All ``rows`` of a log from the one after ``row`` on, which has the hash ``before``.

    ``record``: the entry of the record that the first of them, an attestation, speaks of; None if
    that is among them. ``findings``: what is wrong with attestations of ``board`` that are not.
    ``log_hash``: the hash of any entry of the log, None if it is not to be had. ``pair_records``:
    those up to a row, from the newest on, with their rows.
    """

    board: str
    row: int
    before: bytes
    record: Row | None
    rows: Sequence[Row]
    findings: Sequence[verifier.Flaw]
    log_hash: Callable[[int], bytes | None]
    pair_records: Callable[[int], Iterable[tuple[int, journal.Record]]]

    def _rows(self, kinds: Sequence[str]) -> list[Row]:
        begin = () if self.record is None else (self.record,)
        rows = (*begin, *self.rows)
        return [row for row in rows if row[2] in kinds and row[3] == self.board]

    def entries(self, kinds: Sequence[str]) -> list[Entry]:
        """Those of the board of these ``kinds``. Raises as `entries.stored_entry`."""
        return [stored_entry(row) for row in self._rows(kinds)]

    def key_ids(self) -> dict[int, str]:
        """By pairing under which something in it is signed: the key id that the log's newest
        ``pair`` record up to there has. None at all if an entry is not as hardmute writes it.

        A board that was reflashed may have had another pairing of that number since: the entries
        have the record of that, and tell it themselves.
        """
        begins: dict[int, int] = {}
        try:
            for row, _, kind, _, body, _ in self._rows(("record", "attestation")):
                if kind == "record":
                    pairing = journal.Record(records_in([body])[1]).pairing
                else:
                    pairing = json.loads(body)["statement"]["pairing"]
                begins.setdefault(pairing, row)
        except (ValueError, TypeError, KeyError, RecursionError):
            return {}
        found: dict[int, str] = {}
        for row, record in self.pair_records(max(begins.values(), default=0)):
            if row <= begins.get(record.pairing, 0):
                found.setdefault(record.pairing, record.data.to_bytes(4, "little").hex())
            if not begins.keys() - {0} - found.keys():
                break
        return found

    def checked(
        self, secrets: verifier.Keys, attest_keys: verifier.AttestKeys | None = None
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
        if self.record is not None:
            check.take_record(self.record)
        check.take(self.rows)
        return check
