"""Entries of the log, their hash chain, and exports (docs/evidence.md, "The log")."""

from __future__ import annotations

import json
import re
import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import sha256
from operator import add

from hardmute.model import strict_json
from hardmute.model.errors import EvidenceError, LocalError, NewerError
from hardmute.model.typed import TYPE_CHECKING, Any, NamedTuple, cast
from muteboard import journal

if TYPE_CHECKING:
    from _hashlib import HASH
    from pathlib import Path

# What entry 1 is chained to.
GENESIS = bytes(32)
# An entry as the log stores it: as `Entry`, the body as text.
Row = tuple[int, int, str, "str | None", str, bytes]


class Columns(NamedTuple):
    """Entries as the log stores them, field by field."""

    numbers: tuple[int, ...]
    times: tuple[int, ...]
    kinds: tuple[str, ...]
    boards: tuple[str | None, ...]
    bodies: tuple[str, ...]
    hashes: tuple[bytes, ...]


KINDS = (
    "observation",
    "record",
    "attestation",
    "incident",
    "checkpoint",
    "listening",
    "usb",
    "pairing",
)
EMPTY = sha256()
_EXPORT = "export"
_EXPORT_VERSION = 2
# Far beyond the longest entry of ours, an observation with text from the operating system.
_LONGEST_LINE = 1 << 20
# The years 1 to 9999, which every clock and calendar of ours can tell.
FIRST_MS, LAST_MS = -62_135_510_400_000, 253_402_214_400_000
_KINDS = set(KINDS)
_KEYS = {"row", "at_ms", "kind", "board", "body", "hash"}


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


@lru_cache(maxsize=256)
def _text_around_body(kind: str, board: str | None) -> tuple[str, str]:
    """Of the text that an entry's hash covers: what is between ``at_ms`` and the body, and between
    the body and ``row``.
    """
    return f',"board":{canonical(board)},"body":', f',"kind":{canonical(kind)},"row":'


def entry_hash(
    before: bytes, row: int, at_ms: int, kind: str, board: str | None, body: str
) -> bytes:
    """The hash of an entry that follows one with hash ``before``. ``body``: canonical JSON."""
    columns = columns_of([(row, at_ms, kind, board, body, b"")])
    return entry_hashes(before, columns)[0]


def entry_hashes(before: bytes, columns: Columns) -> tuple[bytes, ...]:
    """The hashes that entries of one kind and board must have, one after the other, each after the
    hash that the one before it has; the first one after ``before``.
    """
    middle, end = _text_around_body(columns.kinds[0], columns.boards[0])
    befores = before, *columns.hashes
    texts = [
        f'{{"at_ms":{at_ms}{middle}{body}{end}{row}}}'
        for row, at_ms, body in zip(columns.numbers, columns.times, columns.bodies, strict=True)
    ]
    return tuple(digests(EMPTY, map(add, befores, map(str.encode, texts))))


def digests(begun: HASH, messages: Iterable[bytes]) -> list[bytes]:
    """SHA-256 of each message, after what ``begun`` has taken already.

    To copy that takes less than to begin each time.
    """
    found: list[bytes] = []
    begin = begun.copy
    for message in messages:
        digest = begin()
        digest.update(message)
        found.append(digest.digest())
    return found


def nonce(log_hash: bytes, salt: bytes) -> bytes:
    """The nonce of an attestation that commits to a log whose newest entry has ``log_hash``."""
    return sha256(b"hardmute nonce" + log_hash + salt).digest()[:16]


def stored(entry: Entry) -> Row:
    """``entry`` as the log stores it."""
    return *entry[:4], canonical(entry.body), entry.hash


def stored_entry(row: Row) -> Entry:
    """The entry that the log stores as ``row``. Raises `ValueError`, `TypeError` or
    `RecursionError` if hardmute has not written it.
    """
    if not are_well_formed(columns_of([row])):
        raise ValueError
    return entry_of(row)


def entry_of(row: Row) -> Entry:
    """The same of a ``row`` whose fields are well-formed."""
    body = cast("dict[str, Any]", json.loads(row[4]))
    # Only one text stands for a body: no key twice, no other order.
    if type(body) is not dict or canonical(body) != row[4]:
        raise ValueError
    return Entry(*row[:4], body, row[5])


def export_line(entry: Entry) -> str:
    """``entry`` as a line of an export, without the newline."""
    return canonical({**entry._asdict(), "hash": entry.hash.hex()})


# What is around the record in the body of such an entry, as canonical JSON has it. 64 bytes take
# 86 digits in base64, which has two `=` after them.
_BEFORE_RECORD = r'\{"branch":([1-9][0-9]{0,18}),"record":"'
_AFTER_RECORD = b'=="}'
_DIGITS = 86
# Digits that stand for no bytes but these, where the two `=` were: all can be decoded as one.
_PADDING, _PADDED = b"AA", bytes(2)


def records_in(bodies: Sequence[str]) -> tuple[int, bytes]:
    """The one branch, and the records, one after the other, that the stored ``bodies`` of such
    entries have, if they have no more. Raises `ValueError` otherwise.
    """
    found = re.match(_BEFORE_RECORD, bodies[0])
    if found is None:
        raise ValueError
    begin = found.end()
    end = begin + _DIGITS
    if set(map(len, bodies)) != {end + len(_AFTER_RECORD)}:
        raise ValueError
    # Nothing else is around the digits of any.
    before, joined = found[0].encode(), "".join(bodies).encode("ascii")
    digits = cut(joined, f"{begin}x{_DIGITS}s{len(_AFTER_RECORD)}x", len(bodies))
    if before + (_AFTER_RECORD + before).join(digits) + _AFTER_RECORD != joined:
        raise ValueError
    padded = a2b_base64(_PADDING.join([*digits, b""]), strict_mode=True)
    each = journal.SIZE + len(_PADDED)
    # Not so where a digit is none of base64. And the last one has 4 bits over, which are zero.
    if (
        len(padded) != each * len(bodies)
        or any(padded[journal.SIZE :: each])
        or any(padded[journal.SIZE + 1 :: each])
    ):
        raise ValueError
    return int(found[1]), b"".join(cut(padded, f"{journal.SIZE}s{len(_PADDED)}x", len(bodies)))


@lru_cache(maxsize=16)
def _layout(unit: str, count: int) -> struct.Struct:
    return struct.Struct("<" + unit * count)


def cut(data: bytes, unit: str, count: int) -> tuple[bytes, ...]:
    """The parts of ``data`` that are ``count`` times those of ``unit``, as `struct` has it."""
    return _layout(unit, count).unpack(data)


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
    # Only one text stands for a record: what base64 leaves over at the end is zero.
    if len(data) != journal.SIZE or encoded(data) != text:
        raise ValueError
    return data


def encoded(record: bytes) -> str:
    """``record`` as the body of its entry has it."""
    return b2a_base64(record, newline=False).decode()


def export_header() -> str:
    """The first line of an export, without the newline."""
    return canonical({"hardmute": _EXPORT, "version": _EXPORT_VERSION})


def read_export(file: Path) -> Iterator[Row]:
    """The entries of an export, as a log stores them.

    Raises `EvidenceError` at the first line that is none of ours, and `NewerError` if a newer
    hardmute has written the export. An export without a header is of version 1.
    """
    try:
        with file.open("rb") as stream:
            number = 0
            while line := stream.readline(_LONGEST_LINE):
                number += 1
                try:
                    fields = _parse(line)
                    if number > 1 or not _is_header(file, fields):
                        entry = entry_in(fields)
                        yield *entry[:4], _body_of(entry, line), entry.hash
                except (ValueError, TypeError, RecursionError) as error:
                    raise EvidenceError(
                        f"Line {number} of {file} is not as hardmute wrote it: "
                        "the export was altered or cut short."
                    ) from error
    except OSError as error:
        raise LocalError(f"{file} cannot be read ({error.strerror or error}).") from error


def _parse(line: bytes) -> object:
    """The value on a line. Raises `ValueError` or `RecursionError` if it is not canonical JSON."""
    fields = strict_json.parse(line.decode("ascii"))
    # Only one text stands for an entry: no other order, no key twice, no 1.0 for 1.
    if f"{canonical(fields)}\n".encode() != line:
        raise ValueError
    return fields


def _is_header(file: Path, fields: object) -> bool:
    """Whether these are the fields of a header, of this version.

    Raises `NewerError` for a later version, and `ValueError` for one that never was.
    """
    known = cast("dict[str, Any]", fields) if isinstance(fields, dict) else {}
    if known.get("hardmute") != _EXPORT:
        return False
    version = known.get("version")
    if type(version) is int and version > _EXPORT_VERSION:
        raise NewerError(file, version)
    if canonical(known) != export_header():
        raise ValueError
    return True


def row_of(fields: object) -> Row:
    """The entry in an object of an export, as a log stores it. Raises as `entry_in`."""
    return stored(entry_in(fields))


def entry_in(fields: object) -> Entry:
    """The entry in an object of an export. Raises `ValueError` or `TypeError` if it is none."""
    if not isinstance(fields, dict) or set(cast("dict[str, Any]", fields)) != _KEYS:
        raise ValueError
    known = cast("dict[str, Any]", fields)
    digest = bytes.fromhex(known["hash"])
    row = known["row"], known["at_ms"], known["kind"], known["board"], "", digest
    if not are_well_formed(columns_of([row])) or digest.hex() != known["hash"]:
        raise ValueError
    if type(known["body"]) is not dict:
        raise ValueError
    return Entry(*row[:4], known["body"], digest)


def _body_of(entry: Entry, line: bytes) -> str:
    """The body of ``entry`` as it is in its ``line``, which is canonical JSON: it need not be made
    again.
    """
    middle, end = _text_around_body(entry.kind, entry.board)
    before = f'{{"at_ms":{entry.at_ms}{middle}'
    after = f',"hash":"{entry.hash.hex()}"{end}{entry.row}}}\n'
    return line[len(before) : -len(after)].decode()


def columns_of(rows: Iterable[Row]) -> Columns:
    return Columns(*zip(*rows, strict=True))


def are_well_formed(columns: Columns) -> bool:
    """Whether every field has the type that it must have, and the kind is one of ours, in entries
    of one kind and board. Rule E4.

    SQLite holds what somebody has put into the file, whatever the schema says.
    """
    numbers, times, kinds, boards, bodies, hashes = columns
    return (
        set(map(type, numbers)) == set(map(type, times)) == {int}
        and min(numbers) > 0
        and min(times) >= FIRST_MS
        and max(times) <= LAST_MS
        and type(kinds[0]) is str
        and kinds[0] in _KINDS
        and (boards[0] is None or type(boards[0]) is str)
        and set(map(type, bodies)) == {str}
        and set(map(type, hashes)) == {bytes}
        and set(map(len, hashes)) == {len(GENESIS)}
    )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_integer(value) and cast("int", value) > 0
