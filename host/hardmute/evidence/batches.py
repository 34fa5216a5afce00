"""Entries in batches, with all work done that needs nothing of the entries before but a hash.

A `verifier.Verifier` takes them in order. Who reads them need not be in its process.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, islice
from operator import itemgetter, lt
from typing import NamedTuple

from hardmute.evidence import macs
from hardmute.evidence.chain import Piece, piece_of
from hardmute.evidence.entries import (
    GENESIS,
    Columns,
    Entry,
    Row,
    are_well_formed,
    columns_of,
    cut,
    entry_hashes,
    entry_of,
    records_in,
)
from muteboard import attest, journal

# Entries that are checked at a time.
CHUNK = 512


class Batch(NamedTuple):
    """Entries of one kind and board, or a single one, as they are by themselves.

    They were checked to come after entry ``after``, which has the hash ``before``.
    ``is_well_formed``: nothing else is known if they are not. ``numbers``: their rows. ``hashes``:
    32 bytes each. ``unlinked``: what is wrong with their place; ``problem``: with what they hold;
    of several, about any.

    Of records: the ``branch`` and the ``piece`` that they are, and for each of its stretches which
    MACs are wrong, None if there is no key for it. Of others: the ``entries``; of observations
    those alone that end a pairing.
    """

    after: int
    before: bytes
    size: int
    is_well_formed: bool = False
    numbers: Sequence[int] = ()
    kind: str = ""
    board: str | None = None
    hashes: bytes = b""
    unlinked: str | None = None
    problem: str | None = None
    branch: int = 0
    piece: Piece | None = None
    wrong: Sequence[Sequence[int] | None] = ()
    entries: Sequence[Entry] = ()

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong with it by itself, but for MACs."""
        problems = self.unlinked, self.problem, self.piece and self.piece.problem
        return self.is_well_formed and problems == (None, None, None)

    @property
    def end(self) -> tuple[int, bytes]:
        """Row and hash of the last one."""
        return self.numbers[-1], self.hashes[-len(GENESIS) :]


def chunks(rows: Iterable[Row]) -> Iterator[Columns]:
    """Rows, field by field, `CHUNK` at a time."""
    rest = iter(rows)
    while some := tuple(islice(rest, CHUNK)):
        yield columns_of(some)


def runs(chunks: Iterable[Columns]) -> Iterator[Columns]:
    """Entries, as many at a time as make a batch."""
    for columns in chunks:
        kinds, boards = columns.kinds, columns.boards
        if kinds.count("record") == boards.count(boards[0]) == len(boards):
            # Nearly all are so.
            yield columns
            continue
        for (kind, _), run in groupby(zip(*columns, strict=True), key=itemgetter(2, 3)):
            if kind in ("record", "observation"):
                yield columns_of(run)
            else:
                yield from (columns_of([row]) for row in run)


def batch_of(
    columns: Columns,
    after: int,
    before: bytes,
    keys: macs.EpochKeys,
    *,
    only: str | None = None,
    gapless: bool = True,
) -> Batch:
    """The batch of entries of one kind and board. ``only``: the board of which it is read what
    they hold; None: all. ``gapless``: as in `unlinked`.
    """
    size = len(columns.numbers)
    if not are_well_formed(columns):
        return Batch(after, before, size)
    kind, board = columns.kinds[0], columns.boards[0]
    place = unlinked(after, before, columns, gapless=gapless)
    is_next = gapless and place is None
    numbers = range(after + 1, after + 1 + size) if is_next else columns.numbers
    hashes = b"".join(columns.hashes)
    batch = Batch(after, before, size, True, numbers, kind, board, hashes, place)
    if only is not None and board != only:
        return batch
    try:
        if kind != "record":
            entries = tuple(map(entry_of, zip(*columns, strict=True)))
            if kind == "observation":
                entries = tuple(filter(_ends_pairing, entries))
            return batch._replace(entries=entries)
        branch, records = records_in(columns.bodies)
        piece = piece_of(records)
        wrong = wrong_macs(board, piece, records, keys)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return batch._replace(problem=f"is no {kind} as hardmute writes it")
    return batch._replace(branch=branch, piece=piece, wrong=wrong)


def _ends_pairing(observation: Entry) -> bool:
    return observation.body.get("source") == "unpair"


def wrong_macs(
    board: str | None, piece: Piece, records: bytes, keys: macs.EpochKeys
) -> list[Sequence[int] | None]:
    """For each stretch of a piece which MACs are wrong; None if there is no key for it."""
    found: list[Sequence[int] | None] = []
    signed, size = journal.SIZE - attest.MAC, len(records) // journal.SIZE
    messages = cut(records, f"{signed}s{attest.MAC}x", size)
    given = cut(records, f"{signed}x{attest.MAC}s", size)
    end = 0
    for stretch in piece.stretches:
        first, end = end, end + stretch.size
        pairing, epoch = stretch.first[:2]
        # Before each epoch but the first there is a record that ends the one before: no key is
        # derived for an epoch that cannot be.
        can_be = pairing and epoch < piece.seq + first
        try:
            sign = keys.signer(board or "", pairing, epoch) if can_be else None
        except ValueError:
            sign = None
        # R6
        found.append(sign and macs.wrong(sign, messages[first:end], given[first:end]))
    return found


def unlinked(after: int, before: bytes, columns: Columns, *, gapless: bool = True) -> str | None:
    """What is wrong with the place of entries in the log, all of one kind and board, if they come
    after that entry, which has the hash ``before``: a clause as in `verifier.Finding`; of several,
    about any. Rules E1 and E2.

    Where it is not ``gapless``, only that they come after it, for entries between are not here.
    """
    numbers = columns.numbers
    if not gapless:
        rises = all(map(lt, [after, *numbers], numbers))
        return None if rises else f"does not follow entry {after}"
    if numbers != tuple(range(after + 1, after + 1 + len(numbers))):
        return f"does not follow entry {after}"
    if columns.hashes != entry_hashes(before, columns):
        return "does not have the hash that its content and the one before give"
    return None
