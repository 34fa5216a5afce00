"""`hardmute log FILE.jsonl` and `log plot`: what an export claims, and that it is a claim."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from test_commands import svg_text

from conftest import Cli
from evidence_maker import BOARD, Story, write_export
from hardmute.evidence.entries import Entry, canonical, entry_hash
from hardmute.model.clock import iso_time

CLAIM = "the export agrees with itself; nothing was checked"


@pytest.fixture
def export(story: Story, cli: Cli, tmp_path: Path) -> Path:
    """Of the log of `story`: an hour, with 10 s live in it, attested around that."""
    story.host.observe(story.board)
    file = tmp_path / "log.jsonl"
    assert cli("log", "export", file).code == 0
    return file


def states(told: Any) -> list[str]:
    (board,) = told.json["boards"]
    assert board["board"] == BOARD
    return [one["state"] for one in board["intervals"]]


def test_P5_an_export_is_shown_as_a_claim(story: Story, cli: Cli, export: Path) -> None:
    window = ("--since", iso_time(story.host.start_ms), "--until", iso_time(story.now + 1))
    own = cli("log", "--json", *window)
    told = cli("log", export, "--json", *window)
    assert told.code == 0
    assert states(told) == states(own)
    assert "live" in states(told)
    assert (told.json["export"], told.json["unchecked"]) == (str(export), CLAIM)
    assert {one["proof"] for one in own.json["boards"][0]["intervals"]} != {None}
    assert {one["proof"] for one in told.json["boards"][0]["intervals"]} == {None}

    shown = cli("log", export)
    assert shown.code == 0
    assert shown.out.splitlines()[0] == f"{BOARD}, as an export claims"
    assert "attested" not in shown.out
    assert CLAIM in shown.out
    assert "LIVE" in shown.out
    assert f"prove --log {export}" in " ".join(shown.out.split())


@pytest.mark.parametrize(
    "line", ["log {e} --json", "log --json {e}", "-d {b} log {e} --json", "log -d {b} --json {e}"]
)
def test_it_is_all_of_the_export_without_a_window(cli: Cli, export: Path, line: str) -> None:
    told = cli(*line.format(e=export, b=BOARD).split())
    assert told.code == 0
    assert "live" in states(told)


def test_a_window_may_stand_before_the_file(story: Story, cli: Cli, export: Path) -> None:
    until = iso_time(story.host.start_ms + 60_000)
    for words in (("--until", until, export), (export, "--until", until)):
        assert "live" not in states(cli("log", "--json", *words))


def test_P5_the_picture_of_an_export_says_so(cli: Cli, export: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.svg"
    told = cli("log", "plot", file, export)
    assert told.code == 0
    assert CLAIM in told.out
    assert f"{BOARD}, as an export claims" in svg_text(file)


def test_a_csv_of_an_export_has_no_proof(cli: Cli, export: Path, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    told = cli("log", export, "--csv", file)
    assert (told.code, CLAIM in told.out) == (0, True)
    assert "attested" not in file.read_text()


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["{e}", "-d", "kitchen"], 2),
        (["{e}", "--since", "2035-01-01"], 2),
        (["plot", "log.svg", "none.jsonl"], 6),
        (["none.jsonl"], 6),
        (["plto"], 2),
    ],
)
def test_what_means_nothing_is_one_sentence(
    cli: Cli, export: Path, words: list[str], code: int
) -> None:
    told = cli("log", *(word.format(e=export) for word in words))
    assert told.code == code
    assert "Traceback" not in told.err


def changed(export: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    """Change the entries of an export, and chain them again, as anybody can."""
    entries = [json.loads(line) for line in export.read_text().splitlines()[1:]]
    change(entries)
    made: list[Entry] = []
    before = bytes(32)
    for row, one in enumerate(entries, 1):
        text = canonical(one["body"])
        before = entry_hash(before, row, one["at_ms"], one["kind"], one["board"], text)
        made.append(Entry(row, one["at_ms"], one["kind"], one["board"], one["body"], before))
    write_export(export, made)


def test_an_export_that_was_altered_shows_nothing(cli: Cli, export: Path) -> None:
    export.write_text(export.read_text().replace('"unmute"', '"muted"').replace("live", "evil"))
    told = cli("log", export)
    assert (told.code, told.out) == (5, "")
    assert told.err.count("\n") == 1


OBSERVATION: dict[str, Any] = {
    "device": "x", "simulated": False, "source": "status", "verdict": "muted", "proof": "attested",
    "state": "muted", "since_ms": 1000, "uptime_ms": 1000, "boot": 1, "changes": 0, "live_ms": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "field",
    [
        {"since_ms": None},
        {"since_ms": "1"},
        {"since_ms": 1 << 70},
        {"uptime_ms": None},
        {"proof": "sworn"},
        {"proof": 7},
        {"verdict": ["muted"]},
        {"live_ms": 1.5},
        {"reason": {"a": 1}},
        {"sense": 3},
        {"faults": [1]},
        {"simulated": "no"},
        {"boot": True},
    ],
)
def test_P4_what_no_host_has_written_is_damage(
    cli: Cli, export: Path, field: dict[str, Any]
) -> None:
    def add(entries: list[dict[str, Any]]) -> None:
        body = {key: value for key, value in {**OBSERVATION, **field}.items() if value is not None}
        entries.append({**entries[-1], "kind": "observation", "board": BOARD, "body": body})

    changed(export, add)
    told = cli("log", export)
    assert (told.code, told.out) == (5, ""), told
    assert told.err.count("\n") == 1


def test_no_text_of_an_export_reaches_a_terminal(cli: Cli, export: Path, tmp_path: Path) -> None:
    evil = "\x1b]0;owned\x07 $\\frac{"

    def add(entries: list[dict[str, Any]]) -> None:
        body = {**OBSERVATION, "reason": evil, "cause": evil}
        last = entries[-1]
        entries.append({**last, "kind": "observation", "board": evil, "body": body})
        body = {"branch": 1, "what": evil, "text": evil}
        entries.append({**last, "kind": "incident", "board": evil, "body": body})

    changed(export, add)
    told = cli("log", export)
    assert told.code == 0, told
    assert "\x1b" not in told.out
    assert "\x07" not in told.out
    assert cli("log", "plot", tmp_path / "log.svg", export).code == 0
    assert "\x1b" not in svg_text(tmp_path / "log.svg")


def test_what_is_heard_is_as_hardmute_writes_it(cli: Cli, export: Path) -> None:
    changed(
        export, lambda entries: entries.append({**entries[-1], "kind": "listening", "body": {}})
    )
    told = cli("log", export)
    assert (told.code, told.out) == (5, "")


def test_an_empty_export(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "none.jsonl"
    assert cli("log", "export", file).code == 0
    told = cli("log", file)
    assert (told.code, "Nothing is logged" in told.out) == (0, True)
