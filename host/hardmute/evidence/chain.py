"""The rules that the records of one unbroken journal keep (docs/evidence.md, "The journal").

Pure. The MACs need a key: see `verifier`.
"""

from __future__ import annotations

import re
import sys
from array import array
from collections.abc import Sequence
from itertools import accumulate, groupby, pairwise

from hardmute.evidence.entries import EMPTY, cut, digests
from hardmute.model.typed import NamedTuple
from muteboard import attest, journal, wire

_NO_MAC = bytes(attest.MAC)
_EVENT_AT = 28
_PAIRS, _SEALS = (re.compile(bytes([event])) for event in (journal.PAIR, journal.SEAL))
# What a record is, whatever its place: pairing, epoch, event, cause, the low 4 bits of the state,
# and whether it has a MAC.
_Kind = tuple[int, int, int, int, int, bool]
# Boot; high and low part of the uptime.
_When = tuple[int, int, int]


class Stretch(NamedTuple):
    """Records of one pairing and epoch, one after the other: what the first one and the last one
    are, and their field `data`. Only the first may be a ``pair`` record, and only the last a seal.
    """

    size: int
    first: _Kind
    last: _Kind
    first_data: int
    last_data: int


class Piece(NamedTuple):
    """Some records, one after the other: all that a `Chain` needs to go on to them.

    ``seq``, ``link``, ``begin``: of the first one; ``data``, ``end``: of the last one. ``heads``:
    those of the journal after each of them, 16 bytes each. ``problem``: in words, what rule one of
    them breaks, seen from the one before it in this piece; None if none does.
    """

    seq: int
    link: bytes
    begin: _When
    data: bytes
    end: _When
    heads: bytes
    stretches: Sequence[Stretch]
    problem: str | None


def piece_of(records: bytes) -> Piece:
    """The piece of these ``records``, 64 bytes each. What came before it need not be known."""
    words, halves = array("I", records), array("H", records)
    if sys.byteorder == "big":
        words.byteswap()
        halves.byteswap()
    boots, lows, epochs, numbers, whats = (words[at::16] for at in (1, 2, 4, 6, 7))
    seqs = words[::16].tolist()
    highs, pairings = halves[6::32], halves[7::32]
    size = len(seqs)
    links = b"".join(cut(records, "32x16s16x", size))
    heads = _heads(cut(records, "64s", size))
    # In the order of time.
    whens: list[_When] = list(zip(boots, highs, lows, strict=True))
    head = heads[: attest.MAC]
    follow = links[attest.MAC :], heads[attest.MAC : -attest.MAC]
    problem = _out_of_place(seqs[0], head, seqs[1:], *follow)
    problem = problem or _goes_back(*whens)
    stretches: list[Stretch] = []
    bounds = _bounds(pairings, epochs, records[_EVENT_AT :: journal.SIZE])
    for start, end in pairwise(bounds):
        pairing, epoch, of_these = pairings[start], epochs[start], whats[start:end].tolist()
        # Where there is a pairing they may.
        signed = pairing > 0 or _are_signed(records[start * journal.SIZE : end * journal.SIZE])
        # They are of few kinds.
        kinds = {what: _kind(pairing, epoch, what, signed) for what in set(of_these)}
        for last, what in set(pairwise(of_these)):
            problem = problem or _misfit(kinds[what], kinds[last], pairing)
        ends = kinds[of_these[0]], kinds[of_these[-1]]
        stretches.append(Stretch(end - start, *ends, numbers[start], numbers[end - 1]))
    around = seqs[0], links[: attest.MAC], whens[0], records[-journal.SIZE :], whens[-1]
    return Piece(*around, heads, stretches, problem)


def _are_signed(records: bytes) -> bool:
    return set(cut(records, "48x16s", len(records) // journal.SIZE)) != {_NO_MAC}


def _heads(records: Sequence[bytes]) -> bytes:
    """`journal.head_of` of each, which has to do for every interpreter."""
    hashes = b"".join(digests(EMPTY, records))
    return b"".join(cut(hashes, f"{attest.MAC}s{attest.MAC}x", len(records)))


def _bounds(pairings: array[int], epochs: array[int], events: bytes) -> list[int]:
    """Where the stretches begin and end in a piece that has these columns."""
    found = {0, len(events)}
    for column in pairings, epochs:
        if column[1:] != column[:-1]:
            found.update(accumulate(len(list(run)) for _, run in groupby(column)))
    found.update(pair.start() for pair in _PAIRS.finditer(events))
    found.update(seal.end() for seal in _SEALS.finditer(events))
    return sorted(found)


def _kind(pairing: int, epoch: int, what: int, is_signed: bool) -> _Kind:
    """``what``: event, cause, state and sense, from the lowest byte on."""
    return pairing, epoch, what & 0xFF, what >> 8 & 0xFF, what >> 16 & 0x0F, is_signed


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
        self._go_on(piece_of(data), count)

    def start_after(self, seq: int, head: bytes) -> None:
        """Start after record ``seq``, of which no more is known than the journal's ``head``."""
        self.seq = seq
        self.head = head

    def take(self, piece: Piece) -> str | None:
        """Go on to the records of ``piece``; or say what rule one of them breaks, in words.

        Then none is gone on to; and where it is not the only one, the words are of any.
        """
        problem = (
            piece.problem
            or _out_of_place(self.seq, self.head, [piece.seq], piece.link, b"")
            or _goes_back(self._when, piece.begin)
        )
        highest, last = self._pairing, self._kind
        number = 0 if piece.seq == 1 else self.count
        for stretch in piece.stretches:
            problem = problem or _misfit(stretch.first, last, highest)
            pairing, _, event = stretch.first[:3]
            # R5
            if event == journal.PAIR or (last and stretch.first[:2] != last[:2]):
                number = 0
            number = None if number is None else number + stretch.size
            if stretch.last[2] == journal.SEAL and number not in (None, stretch.last_data):
                told = f"seals {stretch.last_data} records where its epoch has {number}"
                problem = problem or told
            highest, last = max(highest, pairing), stretch.last
        if problem is None:
            self._go_on(piece, number)
        return problem

    def _go_on(self, piece: Piece, number: int | None) -> None:
        self.data = piece.data
        self.seq = piece.seq + len(piece.heads) // attest.MAC - 1
        self.head = piece.heads[-attest.MAC :]
        self.count = number
        self._kind = piece.stretches[-1].last
        self._when = piece.end
        self._pairing = max(self._pairing, *(stretch.first[0] for stretch in piece.stretches))


def _out_of_place(
    seq: int,
    head: bytes | None,
    seqs: list[int],
    links: bytes,
    heads: bytes,
) -> str | None:
    """What is wrong with the numbers and links of records that come after record ``seq``, after
    which the journal's head was ``head``, None if it may be any. ``links``: theirs, 16 bytes each;
    ``heads``: after each of them but the last.
    """
    if not seqs:
        return None
    # R1
    if seqs[0] == 0:
        return "has the number 0"
    first = seqs[0] if head is None else seq + 1
    if seqs != list(range(first, first + len(seqs))):
        return f"has the number {seqs[0]} after {seq}"
    if links != (head or links[: attest.MAC]) + heads:
        return f"does not link to record {seq}"
    return None


def _goes_back(before: _When, *whens: _When) -> str | None:
    """What is wrong with the times of records that come after one of that time."""
    # R2
    if not whens or sorted((before, *whens)) == [before, *whens]:
        return None
    when = whens[0]
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
