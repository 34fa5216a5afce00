"""The rules that the records of one unbroken journal keep (docs/evidence.md, 1 to 5). Pure.

Rule 6, the MACs, needs the verify key.
"""

from __future__ import annotations

from muteboard import attest, journal

_NO_MAC = bytes(attest.MAC)


class Chain:
    """Reads the records of a branch in order, from its first one or from any later one on."""

    def __init__(self) -> None:
        # The newest record and its head; None and what record 1 need not fit before there is one.
        self.last: journal.Record | None = None
        self.head = journal.NO_HEAD
        # The highest pairing so far, and the records of the newest epoch so far: None where the
        # reading began in the middle of it.
        self._pairing = 0
        self._count: int | None = None

    def resume(self, data: bytes, count: int) -> None:
        """Start after the record ``data``, which was the ``count``-th of its epoch."""
        self.last = journal.Record(data)
        self.head = journal.head_of(data)
        self._pairing = self.last.pairing
        self._count = count

    def take(self, data: bytes) -> str | None:
        """Go on to the record ``data``. What rule it breaks, in words, or None.

        A record that breaks one is not gone on to.
        """
        record = journal.Record(data)
        last = self.last
        problem = _stands_alone(record) if last is None else self._follows(record, last)
        if problem is not None:
            return problem
        new_epoch = record.event == journal.PAIR or last is None or _epoch(record) != _epoch(last)
        if not new_epoch:
            self._count = None if self._count is None else self._count + 1
        elif last is not None or record.seq == 1 or record.event == journal.PAIR:
            self._count = 1
        if record.event == journal.SEAL and self._count not in (None, record.data):
            return f"seals {record.data} records where its epoch has {self._count}"
        self.last = record
        self.head = journal.head_of(data)
        self._pairing = max(self._pairing, record.pairing)
        return None

    def _follows(self, record: journal.Record, last: journal.Record) -> str | None:
        if record.seq != last.seq + 1:
            return f"has the number {record.seq} after {last.seq}"
        if record.link != self.head:
            return f"does not link to record {last.seq}"
        if record.boot < last.boot:
            return f"is of boot {record.boot} after boot {last.boot}"
        if record.boot == last.boot and record.uptime_ms < last.uptime_ms:
            return f"is of uptime {record.uptime_ms} ms after {last.uptime_ms} ms"
        return _stands_alone(record) or self._pairing_follows(record, last)

    def _pairing_follows(self, record: journal.Record, last: journal.Record) -> str | None:
        if record.event == journal.PAIR:
            if record.pairing <= self._pairing:
                return f"begins pairing {record.pairing} after pairing {self._pairing}"
            if last.pairing and last.event not in (journal.SEAL, journal.UNPAIR):
                return f"begins a pairing before pairing {last.pairing} was sealed"
            return None
        if record.pairing == 0:
            return None
        if record.pairing != last.pairing or last.event == journal.UNPAIR:
            return f"is of pairing {record.pairing} without a record that begins it"
        if record.epoch != last.epoch + (1 if last.event == journal.SEAL else 0):
            return f"is of epoch {record.epoch} after epoch {last.epoch}"
        return None


def _stands_alone(record: journal.Record) -> str | None:
    """What is wrong with a record, whatever came before it."""
    if record.pairing == 0 and (record.epoch or record.mac != _NO_MAC):
        return "has an epoch or a MAC without a pairing"
    if record.event == journal.PAIR and (record.pairing == 0 or record.epoch):
        return f"begins pairing {record.pairing} with epoch {record.epoch}"
    return None


def _epoch(record: journal.Record) -> tuple[int, int]:
    return record.pairing, record.epoch
