"""The rules that the records of one unbroken journal keep (docs/evidence.md, "The journal").

Pure. The MACs need a key: see `verifier`.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable
from hashlib import sha256
from itertools import accumulate
from operator import lt

from muteboard import attest, journal, wire

NO_MAC = bytes(attest.MAC)
# The low 4 bits of each byte.
_LOW = bytes(byte & 0x0F for byte in range(256))
_EMPTY = sha256()
# What a record is, whatever its place: pairing, epoch, event, cause, the low 4 bits of the state,
# and whether it has a MAC.
_Kind = tuple[int, int, int, int, int, bool]
# Boot; high and low part of the uptime.
_When = tuple[int, int, int]


class Fields:
    """The columns of some ``records``, which are 64 bytes each, one after the other.

    seq, boot: 4 bytes each; low and high part of the uptime: 4 and 2; pairing: 2; epoch, presses,
    data: 4 each; event, cause, state, sense: 1 each; link and MAC: 16 each.
    """

    def __init__(self, records: bytes) -> None:
        words, halves = array("I", records), array("H", records)
        if sys.byteorder == "big":
            words.byteswap()
            halves.byteswap()
        self.seqs, boots, lows, self.epochs = (words[at::16] for at in (0, 1, 2, 4))
        self.data = words[6::16]
        highs, self.pairings = halves[6::32], halves[7::32]
        self.events, causes, states = (records[at :: journal.SIZE] for at in (28, 29, 30))
        self.records, self.links, macs = (
            [records[at : at + size] for at in range(start, len(records), journal.SIZE)]
            for start, size in ((0, journal.SIZE), (32, attest.MAC), (48, attest.MAC))
        )
        self.heads = _heads(self.records)
        # In the order of time.
        self.whens: list[_When] = list(zip(boots, highs, lows, strict=True))
        self.kinds: list[_Kind] = list(
            zip(
                self.pairings,
                self.epochs,
                self.events,
                causes,
                states.translate(_LOW),
                [mac != NO_MAC for mac in macs],
                strict=True,
            )
        )


def _heads(records: Iterable[bytes]) -> list[bytes]:
    """`journal.head_of` of each, which has to do for every interpreter."""
    heads: list[bytes] = []
    for record in records:
        digest = _EMPTY.copy()
        digest.update(record)
        heads.append(digest.digest()[: attest.MAC])
    return heads


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
        self._kind: _Kind | None = None
        # Of the newest record.
        self._when: _When = (0, 0, 0)
        # The highest pairing so far.
        self._pairing = 0

    @property
    def kind(self) -> tuple[int, int, int]:
        """Pairing, epoch and event of the newest record; 0 each before there is one."""
        return (0, 0, 0) if self._kind is None else self._kind[:3]

    @property
    def last(self) -> journal.Record | None:
        """The newest record."""
        return None if self.data is None else journal.Record(self.data)

    def resume(self, data: bytes, count: int | None) -> None:
        """Start after the record ``data``, the ``count``-th of its epoch; None: not known."""
        self._go_on(Fields(data), data, count)

    def start_after(self, seq: int, head: bytes) -> None:
        """Start after record ``seq``, of which no more is known than the journal's ``head``."""
        self.seq = seq
        self.head = head

    def take(self, records: bytes) -> Fields | str:
        """Go on to these ``records``, as `Fields` has them: their fields; or what rule one of them
        breaks, in words.

        Then none is gone on to; and where it is not the only one, the words are of any.
        """
        taken = Fields(records)
        seqs, kinds, heads = taken.seqs, taken.kinds, taken.heads
        # R1
        if seqs[0] == 0:
            return "has the number 0"
        first = seqs[0] if self.head is None else self.seq + 1
        if seqs.tolist() != list(range(first, first + len(seqs))):
            return f"has the number {seqs[0]} after {self.seq}"
        if taken.links != [self.head or taken.links[0], *heads[:-1]]:
            return f"does not link to record {self.seq}"
        # R2
        if any(map(lt, taken.whens, [self._when, *taken.whens])):
            return _goes_back(self._when, taken.whens[0])
        # Records in a row are of few kinds.
        highest = accumulate(taken.pairings, max, initial=self._pairing)
        turns = set(zip(kinds, [self._kind, *kinds], highest, strict=False))
        for kind, last, most in turns:
            problem = _misfit(kind, last, most)
            if problem is not None:
                return problem
        # R5
        count, last = self.count, self._kind
        if seqs[0] > 1 and not any(_begins_or_ends(kind, before) for kind, before, _ in turns):
            count = None if count is None else count + len(kinds)
            seqs = array("I")
        for seq, kind, number in zip(seqs, kinds, taken.data, strict=False):
            if seq == 1 or kind[2] == journal.PAIR or (last and kind[:2] != last[:2]):
                count = 1
            elif count is not None:
                count += 1
            if kind[2] == journal.SEAL and count not in (None, number):
                return f"seals {number} records where its epoch has {count}"
            last = kind
        self._go_on(taken, taken.records[-1], count)
        return taken

    def _go_on(self, taken: Fields, data: bytes, count: int | None) -> None:
        self.data = data
        self.seq = taken.seqs[-1]
        self.head = taken.heads[-1]
        self.count = count
        self._kind = taken.kinds[-1]
        self._when = taken.whens[-1]
        self._pairing = max(self._pairing, *taken.pairings)


def _begins_or_ends(kind: _Kind, last: _Kind | None) -> bool:
    """Whether an epoch begins or ends with a record of ``kind``."""
    return kind[2] in (journal.PAIR, journal.SEAL) or (last is not None and kind[:2] != last[:2])


def _goes_back(before: _When, when: _When) -> str:
    if when[0] < before[0]:
        return f"is of boot {when[0]} after boot {before[0]}"
    now, then = (high << 32 | low for _, high, low in (when, before))
    return f"is of uptime {now} ms after {then} ms"


def _misfit(kind: _Kind, last: _Kind | None, highest: int) -> str | None:
    """What is wrong with a record of that ``kind``, whatever its place; None if nothing is.

    ``last``: that of the record before it, None if it is not known. ``highest``: the highest
    pairing so far.
    """
    pairing, epoch, event, cause, state, is_signed = kind
    # R7
    if cause >= len(wire.CAUSES) or state >= len(wire.STATES):
        return "has a cause or a state that there is not"
    # R3
    if pairing == 0:
        if epoch or is_signed:
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
