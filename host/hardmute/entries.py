"""Entries of the log, their hash chain, and exports (docs/evidence.md, "The log")."""

from __future__ import annotations

import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, cast

from hardmute.errors import EvidenceError, LocalError
from muteboard import journal

# What entry 1 is chained to.
GENESIS = bytes(32)
KINDS = ("observation", "record", "attestation", "incident", "checkpoint")
# Far beyond the longest entry of ours, an observation with text from the operating system.
_LONGEST_LINE = 1 << 20
# The years 1 to 9999, which every clock and calendar of ours can tell.
_FIRST_MS, _LAST_MS = -62_135_510_400_000, 253_402_214_400_000
_KEYS = {"row", "at_ms", "kind", "board", "body", "hash"}
# Characters of a record in base64.
_ENCODED = len(b2a_base64(bytes(journal.SIZE), newline=False))
# Most entries in a run: what fits the processor's cache is twice as fast as what does not.
_RUN = 128

# An entry as the log stores it: ``row``, ``at_ms``, ``kind``, ``board``, ``body``, ``hash``, with
# the body as text.
Row = tuple[int, int, str, "str | None", str, bytes]
_Some = TypeVar("_Some", "Entry", Row)


class Entry(NamedTuple):
    """One entry. ``at_ms``: host time, ms since the epoch, UTC. ``hash``: 32 bytes."""

    row: int
    at_ms: int
    kind: str
    board: str | None
    body: dict[str, Any]
    hash: bytes


_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical(value: object) -> str:
    """``value`` as canonical JSON: ASCII, keys sorted, no spaces."""
    return _ENCODER.encode(value)


class Run(NamedTuple):
    """Entries of kind ``record`` that follow each other, of one branch of one board's journal.

    Columns of the entries: each is well-formed, and no other text would stand for it.
    """

    board: str
    branch: int
    rows: tuple[int, ...]
    times: tuple[int, ...]
    bodies: tuple[str, ...]
    hashes: tuple[bytes, ...]
    # The records, `journal.SIZE` bytes each.
    records: list[bytes]

    def entry(self, at: int) -> Entry:
        """The entry at index ``at``."""
        body = {"branch": self.branch, "record": encoded(self.records[at])}
        return Entry(
            self.rows[at], self.times[at], "record", self.board, body, self.hashes[at]
        )

    def chained(self, before: bytes) -> tuple[bytes, ...]:
        """The hashes that they must have after an entry with hash ``before``."""
        entries = zip(self.rows, self.times, self.bodies, strict=True)
        return tuple(_chained(before, "record", self.board, entries))


def _chained(
    before: bytes, kind: str, board: str | None, entries: Iterable[tuple[int, int, str]]
) -> list[bytes]:
    """The hashes of entries of one kind and board: ``row``, ``at_ms``, and ``body`` as text."""
    middle = f',"board":{canonical(board)},"body":'
    end = f',"kind":{canonical(kind)},"row":'
    hashes: list[bytes] = []
    for row, at_ms, body in entries:
        text = f'{{"at_ms":{at_ms}{middle}{body}{end}{row}}}'
        before = sha256(before + text.encode()).digest()
        hashes.append(before)
    return hashes


def entry_hash(
    before: bytes, row: int, at_ms: int, kind: str, board: str | None, body: str
) -> bytes:
    """The hash of an entry that follows one with hash ``before``. ``body``: canonical JSON."""
    return _chained(before, kind, board, [(row, at_ms, body)])[0]


def hash_of(before: bytes, entry: Entry) -> bytes:
    """The hash that ``entry`` must have after one with hash ``before``."""
    return entry_hash(
        before, entry.row, entry.at_ms, entry.kind, entry.board, canonical(entry.body)
    )


def gather(
    entries: Iterable[_Some],
    run_of: Callable[[Sequence[_Some]], Run | None],
    entry_of: Callable[[_Some], Entry],
) -> Iterator[Entry | Run]:
    """``entries``, those of records in runs where they can be."""
    for (kind, _), group in groupby(entries, key=itemgetter(2, 3)):
        if kind != "record":
            yield from map(entry_of, group)
            continue
        while some := list(islice(group, _RUN)):
            run = run_of(some)
            if run is None:
                yield from map(entry_of, some)
            else:
                yield run


def run_of_entries(found: Sequence[Entry]) -> Run | None:
    """As `run_of_rows`."""
    return run_of_rows([(*entry[:4], canonical(entry.body), entry.hash) for entry in found])


def run_of_rows(found: Sequence[Row]) -> Run | None:
    """The run that these entries of records of one board are; None if they are none.

    Where one of them is not as hardmute writes it, or of another branch, they are none.
    """
    rows, times, _, _, bodies, hashes = zip(*found, strict=True)
    try:
        branch = json.loads(bodies[0])["branch"]
        before, after = f'{{"branch":{branch},"record":"', '"}'
        together = "".join(bodies)
        texts = together.removeprefix(before).removesuffix(after).split(after + before)
        records = [a2b_base64(text, strict_mode=True) for text in texts]
    except (ValueError, TypeError, LookupError, RecursionError):
        return None
    board, size = found[0][3], len(before) + _ENCODED + len(after)
    # SQLite holds what somebody may have put into the file, whatever the schema says.
    if (
        type(board) is str
        and type(branch) is int
        and len(records) == len(rows)
        and set(map(len, records)) == {journal.SIZE}
        and set(map(len, bodies)) == {size}
        # What base64 leaves over at the end is zero.
        and set(together[size - len(after) - 3 :: size]) <= set("AQgw")
        and set(map(type, rows)) == set(map(type, times)) == {int}
        and set(map(type, hashes)) == {bytes}
        and set(map(len, hashes)) == {len(GENESIS)}
        and rows == tuple(range(max(rows[0], 1), rows[0] + len(rows)))
        and min(times) >= _FIRST_MS
        and max(times) <= _LAST_MS
    ):
        return Run(board, branch, rows, times, bodies, hashes, records)
    return None


def nonce(log_hash: bytes, salt: bytes) -> bytes:
    """The nonce of an attestation that commits to a log whose newest entry has ``log_hash``."""
    return sha256(b"hardmute nonce" + log_hash + salt).digest()[:16]


def stored_entry(row: Row) -> Entry:
    """The entry that the log stores as ``row``. Raises `ValueError` or `RecursionError` if it is
    none as hardmute writes it.
    """
    entry = Entry(*row[:4], json.loads(row[4]), row[5])
    # Only one text stands for a body: no key twice, no other order.
    if not is_well_formed(entry) or canonical(entry.body) != row[4]:
        raise ValueError
    return entry


def export_line(entry: Entry) -> str:
    """``entry`` as a line of an export, without the newline."""
    return canonical({**entry._asdict(), "hash": entry.hash.hex()})


def record_of(body: dict[str, Any]) -> bytes:
    """The record in a body of that kind. Raises `ValueError`, `TypeError` or `KeyError`."""
    return _record(body["record"])


def ends_of(body: dict[str, Any]) -> dict[tuple[str, int], tuple[bytes, int | None]]:
    """By board and branch: the last record that a checkpoint's entry has seen removed, and which
    of its epoch it was, None if unknown. Raises as `record_of`.
    """
    ends: dict[tuple[str, int], tuple[bytes, int | None]] = {}
    for board, branch, record, count in body["ends"]:
        if not (
            isinstance(board, str) and _is_count(branch) and (count is None or _is_count(count))
        ):
            raise ValueError
        ends[board, branch] = _record(record), count
    return ends


def _record(text: str) -> bytes:
    data = a2b_base64(text, strict_mode=True)
    if len(data) != journal.SIZE or encoded(data) != text:
        raise ValueError
    return data


def encoded(record: bytes) -> str:
    """``record`` as the body of its entry has it."""
    return b2a_base64(record, newline=False).decode()


def read_export(file: Path) -> Iterator[Entry]:
    """The entries of an export. Raises `EvidenceError` at the first line that is none of ours."""
    try:
        with file.open("rb") as stream:
            number = 0
            while line := stream.readline(_LONGEST_LINE):
                number += 1
                entry = _parse(line)
                if entry is None:
                    raise EvidenceError(
                        f"Line {number} of {file} is not as hardmute wrote it: "
                        "the export was altered or cut short."
                    )
                yield entry
    except OSError as error:
        raise LocalError(f"{file} cannot be read ({error.strerror or error}).") from error


def _parse(line: bytes) -> Entry | None:
    try:
        fields = json.loads(line.decode("ascii"), parse_float=_no_fraction)
        entry = entry_of(fields)
        # Only one text stands for an entry: no other order, no key twice, no 1.0 for 1.
        return entry if f"{canonical(fields)}\n".encode() == line else None
    except (ValueError, TypeError, RecursionError):
        return None


def _no_fraction(_text: str) -> None:
    """There are none: two programs could write the same one differently."""
    raise ValueError


def entry_of(fields: object) -> Entry:
    """The entry in an object of an export. Raises `ValueError` or `TypeError` if it is none."""
    if not isinstance(fields, dict) or set(cast("dict[str, Any]", fields)) != _KEYS:
        raise ValueError
    known = cast("dict[str, Any]", fields)
    entry = Entry(
        known["row"],
        known["at_ms"],
        known["kind"],
        known["board"],
        known["body"],
        bytes.fromhex(known["hash"]),
    )
    if not is_well_formed(entry) or entry.hash.hex() != known["hash"]:
        raise ValueError
    return entry


def is_well_formed(entry: Entry) -> bool:
    """Whether every field has the type that it must have, and the kind is one of ours."""
    return (
        _is_count(entry.row)
        and _is_integer(entry.at_ms)
        and _FIRST_MS <= entry.at_ms <= _LAST_MS
        and entry.kind in KINDS
        and (entry.board is None or isinstance(entry.board, str))  # pyright: ignore[reportUnnecessaryIsInstance] - untrusted
        and isinstance(entry.body, dict)  # pyright: ignore[reportUnnecessaryIsInstance] - untrusted
        and len(entry.hash) == len(GENESIS)
    )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_integer(value) and cast("int", value) > 0
