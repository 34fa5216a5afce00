"""Copies of a log for others, as `hardmute log export` writes them."""

from __future__ import annotations

from pathlib import Path

from hardmute.evidence.entries import (
    GENESIS,
    export_header,
    export_line,
    read_export,
    stored_entry,
)
from hardmute.evidence.proof import WITNESSES, unreadable
from hardmute.evidence.verifier import verified
from hardmute.model import errors
from hardmute.store.log import ExportedLog, Log
from hardmute.system.new_file import new_file


def exported(file: Path) -> ExportedLog:
    """The log in an export. Raises `EvidenceError` if it does not agree with itself."""
    rows = list(read_export(file))
    findings = verified(lambda: rows, {}).report().findings
    told = (stored_entry(row) for row in rows if row[2] in WITNESSES)
    first = next(iter(findings), None) or next(unreadable(told), None)
    if first is not None:
        raise errors.EvidenceError(
            f"Entry {first.row} of {file} {first.text}: the export does not hold, so nothing of it"
            " is shown."
        )
    return ExportedLog(file, rows)


def export_log(log: Log, file: Path) -> tuple[int, bytes]:
    """Write ``log`` to the new ``file``. Returns the last entry's row and hash.

    Raises as `new_file`.
    """
    row, head = 0, GENESIS
    with new_file(file) as stream:
        stream.write(f"{export_header()}\n".encode("ascii"))
        for entry in log.entries():
            stream.write(f"{export_line(entry)}\n".encode("ascii"))
            row, head = entry.row, entry.hash
    return row, head
