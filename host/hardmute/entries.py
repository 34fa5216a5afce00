"""Entries of the log, their hash chain, and exports (docs/evidence.md, "The log")."""

from __future__ import annotations

import hashlib
import json
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from hardmute import strict_json
from hardmute.errors import EvidenceError, LocalError, NewerError
from muteboard import journal

# What entry 1 is chained to.
GENESIS = bytes(32)
# An entry as the log stores it: as `Entry`, the body as text.
Row = tuple[int, int, str, "str | None", str, bytes]
KINDS = ("observation", "record", "attestation", "incident", "checkpoint", "listening")
_EXPORT = "export"
_EXPORT_VERSION = 2
# Far beyond the longest entry of ours, an observation with text from the operating system.
_LONGEST_LINE = 1 << 20
# The years 1 to 9999, which every clock and calendar of ours can tell.
FIRST_MS, LAST_MS = -62_135_510_400_000, 253_402_214_400_000
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


def text_around(kind: str, board: str | None) -> tuple[str, str, str]:
    """Of the text that an entry's hash covers: what comes before ``at_ms``, between that and the
    body (canonical JSON already), and between the body and ``row``. A ``}`` ends it.
    """
    return '{"at_ms":', f',"board":{canonical(board)},"body":', f',"kind":{canonical(kind)},"row":'


def entry_hash(
    before: bytes, row: int, at_ms: int, kind: str, board: str | None, body: str
) -> bytes:
    """The hash of an entry that follows one with hash ``before``."""
    start, middle, end = text_around(kind, board)
    text = f"{start}{at_ms}{middle}{body}{end}{row}}}"
    return hashlib.sha256(before + text.encode()).digest()


def hash_of(before: bytes, entry: Entry) -> bytes:
    """The hash that ``entry`` must have after one with hash ``before``."""
    return entry_hash(
        before, entry.row, entry.at_ms, entry.kind, entry.board, canonical(entry.body)
    )


def nonce(log_hash: bytes, salt: bytes) -> bytes:
    """The nonce of an attestation that commits to a log whose newest entry has ``log_hash``."""
    return hashlib.sha256(b"hardmute nonce" + log_hash + salt).digest()[:16]


def stored_entry(row: Row) -> Entry:
    """The entry that the log stores as ``row``. Raises `ValueError`, `TypeError` or
    `RecursionError` if hardmute has not written it.
    """
    entry = Entry(*row[:4], json.loads(row[4]), row[5])
    # Only one text stands for a body: no key twice, no other order.
    if not is_well_formed(entry) or canonical(entry.body) != row[4]:
        raise ValueError
    return entry


def export_line(entry: Entry) -> str:
    """``entry`` as a line of an export, without the newline."""
    return canonical({**entry._asdict(), "hash": entry.hash.hex()})


def record_around(branch: int) -> tuple[str, str]:
    """What is around the record in the body of its entry."""
    before, after = canonical({"branch": branch, "record": "|"}).split("|")
    return before, after


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


def read_export(file: Path) -> Iterator[Entry]:
    """The entries of an export.

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
                        yield entry_of(fields)
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
        and FIRST_MS <= entry.at_ms <= LAST_MS
        and entry.kind in KINDS
        and (entry.board is None or isinstance(entry.board, str))  # pyright: ignore[reportUnnecessaryIsInstance] - untrusted
        and isinstance(entry.body, dict)  # pyright: ignore[reportUnnecessaryIsInstance] - untrusted
        and len(entry.hash) == len(GENESIS)
    )


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: object) -> bool:
    return _is_integer(value) and cast("int", value) > 0
