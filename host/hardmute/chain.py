"""The rules that the records of one unbroken journal keep (docs/evidence.md, "The journal").

Pure. The MACs need a key: see `verifier`.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from hashlib import sha256

from muteboard import attest, journal, wire

NO_MAC = bytes(attest.MAC)
# seq, boot; low and high part of the uptime; pairing, epoch; presses, data; event, cause, state,
# sense; link; MAC.
_FIELDS = struct.Struct("<IIIHHIIIBBBB16s16s")


class Chain:
    """Reads the records of a branch in order, from its first one or from any later one on."""

    def __init__(self) -> None:
        # The newest record, as its 64 bytes; None before there is one.
        self.data: bytes | None = None
        # Its number and its head. Before there is one: those that the next one must follow, or
        # None for the head if it may be any.
        self.seq = 0
        self.head: bytes | None = None
        # How many records the newest epoch has so far: None where the reading began within it.
        self.count: int | None = None
        # Its pairing, epoch and event.
        self._last: tuple[int, int, int] | None = None
        # Boot and uptime of the newest record, as one number.
        self._when = 0
        # The highest pairing so far.
        self._pairing = 0

    @property
    def last(self) -> journal.Record | None:
        """The newest record."""
        return None if self.data is None else journal.Record(self.data)

    @property
    def kind(self) -> tuple[int, int, int]:
        """Pairing, epoch and event of the newest record; 0 each before there is one."""
        return self._last or (0, 0, 0)

    def resume(self, data: bytes, count: int | None) -> None:
        """Start after the record ``data``, the ``count``-th of its epoch; None: not known."""
        seq, boot, low, high, pairing, epoch, _, _, event, *_ = _FIELDS.unpack(data)
        self._go_on(data, seq, boot << 48 | high << 32 | low, (pairing, epoch, event), count)

    def start_after(self, seq: int, head: bytes) -> None:
        """Start after record ``seq``, of which no more is known than the journal's ``head``."""
        self.seq = seq
        self.head = head

    def take(self, data: bytes) -> str | None:
        """Go on to the record ``data``. What rule it breaks, in words, or None.

        A record that breaks one is not gone on to.
        """
        seq, boot, low, high, pairing, epoch, _, number, event, cause, state, _, link, mac = (
            _FIELDS.unpack(data)
        )
        # R1
        if seq == 0:
            return "has the number 0"
        if self.head is not None:
            if seq != self.seq + 1:
                return f"has the number {seq} after {self.seq}"
            if link != self.head:
                return f"does not link to record {self.seq}"
        # R2
        when = boot << 48 | high << 32 | low
        if when < self._when:
            before = self._when
            if boot < before >> 48:
                return f"is of boot {boot} after boot {before >> 48}"
            return f"is of uptime {high << 32 | low} ms after {before & (1 << 48) - 1} ms"
        problem = _misfit(
            self._last, self._pairing, pairing, epoch, event, cause, state & 0x0F, mac != NO_MAC
        )
        if problem is not None:
            return problem
        # R5
        last = self._last
        if event == journal.PAIR or seq == 1:
            count = 1
        elif last is None:
            count = None
        elif pairing != last[0] or epoch != last[1]:
            count = 1
        else:
            count = None if self.count is None else self.count + 1
        if event == journal.SEAL and count not in (None, number):
            return f"seals {number} records where its epoch has {count}"
        self._go_on(data, seq, when, (pairing, epoch, event), count)
        return None

    def _go_on(
        self, data: bytes, seq: int, when: int, last: tuple[int, int, int], count: int | None
    ) -> None:
        self.data = data
        self.seq = seq
        # `journal.head_of`, which has to do for every interpreter.
        self.head = sha256(data).digest()[: attest.MAC]
        self.count = count
        self._when = when
        self._last = last
        self._pairing = max(self._pairing, last[0])


@lru_cache(maxsize=4096)
def _misfit(
    last: tuple[int, int, int] | None,
    highest: int,
    pairing: int,
    epoch: int,
    event: int,
    cause: int,
    state: int,
    signed: bool,
) -> str | None:
    """What is wrong with a record like that, whatever its place; None if nothing is.

    ``last``: pairing, epoch and event of the record before it, None if that is not known.
    ``highest``: the highest pairing so far. Records in a row are of few kinds.
    """
    # R7
    if cause >= len(wire.CAUSES) or state >= len(wire.STATES):
        return "has a cause or a state that there is not"
    # R3
    if pairing == 0:
        if epoch or signed:
            return "has an epoch or a MAC without a pairing"
        return None if event != journal.PAIR else "begins pairing 0 with epoch 0"
    if event == journal.PAIR:
        if epoch:
            return f"begins pairing {pairing} with epoch {epoch}"
        if last is None:
            return None
        if pairing <= highest:
            return f"begins pairing {pairing} after pairing {highest}"
        if last[0] and last[2] not in (journal.SEAL, journal.UNPAIR):
            return f"begins a pairing before pairing {last[0]} was sealed"
        return None
    if last is None:
        return None
    if pairing != last[0] or last[2] == journal.UNPAIR:
        return f"is of pairing {pairing} without a record that begins it"
    # R4
    if epoch != last[1] + (1 if last[2] == journal.SEAL else 0):
        return f"is of epoch {epoch} after epoch {last[1]}"
    return None
