"""Logs of other hosts, as `hardmute log export` writes them."""

from __future__ import annotations

from pathlib import Path

from hardmute.evidence import listening
from hardmute.evidence.entries import read_export, stored_entry
from hardmute.evidence.proof import unreadable
from hardmute.evidence.verifier import verified
from hardmute.model import errors
from hardmute.store.log import ExportedLog


def exported(file: Path) -> ExportedLog:
    """The log in an export. Raises `EvidenceError` if it does not agree with itself."""
    rows = list(read_export(file))
    findings = verified(lambda: rows, {}).report().findings
    listened = (stored_entry(row) for row in rows if row[2] == listening.KIND)
    first = next(iter(findings), None) or next(unreadable(listened), None)
    if first is not None:
        raise errors.EvidenceError(
            f"Entry {first.row} of {file} {first.text}: the export does not hold, so nothing of it"
            " is shown."
        )
    return ExportedLog(file, rows)
