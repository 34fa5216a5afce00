"""Exports: their version, and what is newer than this program."""

from __future__ import annotations

import json
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

import independent_verifier
from evidence_maker import Story
from hardmute.evidence.entries import (
    GENESIS,
    Entry,
    canonical,
    encoded,
    export_header,
    export_line,
    read_export,
    stored_entry,
)
from hardmute.evidence.interval import Interval
from hardmute.evidence.proof import shown_json
from hardmute.model.errors import EvidenceError
from hardmute.model.strict_json import parse
from muteboard import journal

NEWER = '{"hardmute":"export","version":3}\n'


@pytest.fixture
def export(cli: Any, story: Story, tmp_path: Path) -> Path:
    assert story.board.boots
    file = tmp_path / "log.jsonl"
    assert cli("log", "export", str(file)).code == 0
    return file


def verified(cli: Any, file: Path, *words: str) -> Any:
    """How hardmute ends, and the other verifier does too."""
    result = cli("log", "verify", str(file), *words)
    try:
        theirs = independent_verifier.judge(file.read_bytes(), {})
    except independent_verifier.BAD:
        theirs = 5
    assert theirs == result.code
    return result


def test_an_export_begins_with_its_version(cli: Any, story: Story, export: Path) -> None:
    first, *lines = export.read_text().splitlines()
    assert first == '{"hardmute":"export","version":2}'
    entries = list(map(stored_entry, read_export(export)))
    assert entries == list(story.host.log.entries())
    assert verified(cli, export).code == 3
    # As before there were versions.
    export.write_text("".join(f"{line}\n" for line in lines))
    assert list(map(stored_entry, read_export(export))) == entries
    assert verified(cli, export).code == 3


@pytest.mark.parametrize("kind", ["record", "something_new"])
def test_an_export_of_a_newer_version_is_not_judged(cli: Any, export: Path, kind: str) -> None:
    text = export.read_text().replace('"kind":"record"', f'"kind":"{kind}"')
    export.write_text(text)
    assert verified(cli, export).code == (3 if kind == "record" else 5)
    export.write_text(text.replace(f"{export_header()}\n", NEWER))
    result = verified(cli, export)
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        f"{export} was written by a newer hardmute (version 3): update hardmute.\n"
    )


@pytest.mark.parametrize(
    "first",
    [
        '{"hardmute":"export","version":1}\n',
        '{"hardmute":"export","version":0}\n',
        '{"hardmute":"export","version":"3"}\n',
        '{"hardmute":"export","version":true}\n',
        '{"hardmute":"export", "version":3}\n',
        '{"hardmute":"export"}\n',
        '{"hardmute":"export","more":1,"version":2}\n',
        f"{export_header()}\n{export_header()}\n",
    ],
)
def test_P6_another_first_line_is_no_export(cli: Any, export: Path, first: str) -> None:
    export.write_text(export.read_text().replace(f"{export_header()}\n", first))
    assert verified(cli, export).code == 5


def test_a_log_of_a_newer_version_is_not_judged(cli: Any, story: Story, home: Path) -> None:
    story.host.log.close()
    database = sqlite3.connect(home / "log.sqlite3")
    database.execute("PRAGMA user_version = 3")
    database.close()
    result = cli("log", "verify")
    assert (result.code, result.out) == (3, "")
    assert "update hardmute" in result.err
    # Other commands lack the log, and say nothing about a board.
    assert cli("log").code == 6


def test_the_densest_that_hardmute_writes_is_read(tmp_path: Path) -> None:
    """Short numbers, a short board id, and no attestation; and a prune of many journals."""
    record = {"branch": 1, "record": encoded(bytes(journal.SIZE))}
    intervals = [Interval(2 * at, 2 * at + 1, "live") for at in range(5000)]
    evidence = [Entry(row, row, "record", "aaaaaaaa", record, GENESIS) for row in range(1, 5001)]
    receipt = {
        "entries": [json.loads(export_line(entry)) for entry in evidence],
        "intervals": [*map(shown_json, intervals)],
        "hashes": {str(row): GENESIS.hex() for row in range(1, 2000)},
    }
    assert parse(canonical(receipt)) == receipt
    ends = [["aaaaaaaa", branch, record["record"], 1] for branch in range(1, 5001)]
    body = {"row": 1, "hash": GENESIS.hex(), "ends": ends, "before_ms": 0, "paired": []}
    file = tmp_path / "log.jsonl"
    prune = Entry(2, 0, "checkpoint", None, body, GENESIS)
    file.write_text(f"{export_header()}\n{export_line(prune)}\n")
    assert list(map(stored_entry, read_export(file))) == [prune]


@pytest.mark.parametrize("filler", ["[],", '{"a":1},', "123456,", '"a",', '"\\u0000",'])
def test_a_line_that_is_dense_is_refused_at_a_bounded_cost(tmp_path: Path, filler: str) -> None:
    file = tmp_path / "dense.jsonl"
    file.write_text(canonical(["@"]).replace('"@"', (filler * (900_000 // len(filler)))[:-1]))
    size = file.stat().st_size
    tracemalloc.start()
    with pytest.raises(EvidenceError):
        list(read_export(file))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 4 * size


@pytest.mark.parametrize(
    "text", ["1.0", "1e3", "NaN", "Infinity", "1" * 21, '"é"', "[" * 5000, "", '{"a":1', "01"]
)
def test_what_hardmute_does_not_write_is_not_read(text: str) -> None:
    for padding in ("", " " * 9000):
        with pytest.raises((ValueError, RecursionError)):
            parse(text + padding)
