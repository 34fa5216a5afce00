"""The rules that the records of one unbroken journal keep (docs/evidence.md, all but 6). Pure.

Rule 6, the MACs, needs the verify key.
"""

from __future__ import annotations

import struct

from muteboard import attest, journal, wire

NO_MAC = bytes(attest.MAC)
# The events with rules of their own, also for the record after them.
_TURNS = (journal.SEAL, journal.PAIR, journal.UNPAIR)
# Of a record: seq; boot; the low part of the uptime; its high part, pairing and epoch; event,
# cause and state; link; MAC.
PARTS = struct.Struct("<I4sI8s8x3sx16s16s")


class Chain:
    """Reads the records of a branch in order, from its first one or from any later one on."""

    def __init__(self) -> None:
        # The newest record, its bytes and its head; None, nothing, and what record 1 need not fit
        # before there is one.
        self.last: journal.Record | None = None
        self.data = b""
        self.head = journal.NO_HEAD
        # The records of the newest epoch so far: None where the reading began in the middle of it.
        self.count: int | None = None
        # Event, cause and state, as in `PARTS`, of each record so far that is no turn.
        self.usual: set[bytes] = set()
        # The highest pairing so far.
        self._pairing = 0

    def resume(self, data: bytes, count: int | None) -> None:
        """Start after the record ``data``, the ``count``-th of its epoch; None: not known."""
        self.last = journal.Record(data)
        self.data = data
        self.head = journal.head_of(data)
        self.count = count
        self._pairing = self.last.pairing

    def take(self, data: bytes) -> str | None:
        """Go on to the record ``data``. What rule it breaks, in words, or None.

        A record that breaks one is not gone on to.
        """
        record = journal.Record(data)
        last = self.last
        problem = _stands_alone(record) if last is None else self._follows(record, last)
        if problem is not None:
            return problem
        count = self._counted(record, last)
        if record.event == journal.SEAL and count not in (None, record.data):
            return f"seals {record.data} records where its epoch has {count}"
        self.count = count
        self.last = record
        self.data = data
        self.head = journal.head_of(data)
        self._pairing = max(self._pairing, record.pairing)
        if record.event not in _TURNS:
            self.usual.add(data[28:31])
        return None

    def skip(self, records: int, data: bytes, head: bytes) -> None:
        """Go on by so many ``records``, no turn among them, which `take` would find nothing wrong
        with: ``data`` is the last, ``head`` that after it.
        """
        self.last = journal.Record(data)
        self.data = data
        self.head = head
        if self.count is not None:
            self.count += records

    def _counted(self, record: journal.Record, last: journal.Record | None) -> int | None:
        """Which of its epoch ``record`` is; None: not known."""
        if record.event == journal.PAIR or record.seq == 1:
            return 1
        if last is None:
            return None
        if _epoch(record) != _epoch(last):
            return 1
        return None if self.count is None else self.count + 1

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
    if record.seq == 0:
        return "has the number 0"
    if record.pairing == 0 and (record.epoch or record.mac != NO_MAC):
        return "has an epoch or a MAC without a pairing"
    if record.event == journal.PAIR and (record.pairing == 0 or record.epoch):
        return f"begins pairing {record.pairing} with epoch {record.epoch}"
    if record.cause >= len(wire.CAUSES) or record.state & 0x0F >= len(wire.STATES):
        return "has a cause or a state that there is not"
    return None


def _epoch(record: journal.Record) -> tuple[int, int]:
    return record.pairing, record.epoch
