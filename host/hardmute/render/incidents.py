"""Incidents, as text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hardmute.evidence.entries import Entry
from hardmute.model import words
from hardmute.model.clock import iso_time


def incident_lines(found: Iterable[Entry]) -> Iterator[str]:
    """Incidents for a person, those that say the same in one. They may be from an export."""
    times: dict[tuple[str, str], list[int]] = {}
    for entry in found:
        said = words.printable(str(entry.board)), words.printable(str(entry.body.get("text", "")))
        times.setdefault(said, []).append(entry.at_ms)
    for (board, said), at_ms in times.items():
        when = words.local_time(at_ms[0])
        if len(at_ms) > 1:
            when = f"{len(at_ms)} times from {when} to {words.local_time(at_ms[-1])}"
        yield f"incident at {when}, board {board}: {said}"


def incident_json(entry: Entry) -> dict[str, Any]:
    """An incident as `--json` prints it."""
    return {**entry.body, "row": entry.row, "at": iso_time(entry.at_ms), "board": entry.board}
