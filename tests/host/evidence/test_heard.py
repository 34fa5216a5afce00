"""What was heard, in the log and in what is proven from it: proof level `heard`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from listening_maker import MUTED, body_of

import independent_verifier
from evidence_maker import BOARD, START_MS, Story, at
from hardmute.evidence.entries import export_line
from hardmute.evidence.listening import KIND
from hardmute.listen.outcome import Outcome

LEAK = Outcome("live", None, 39.5, 40.0, 40.5, -40.0, -80.0, 120.3, -31.2, 5.0, ())
Tell = Callable[..., Story]


@pytest.fixture
def tell(home: Path) -> Iterator[Tell]:
    """A story in the log of the command line: live for 10 s in minute 41, and in minute 10 and 40
    its microphone was listened to.
    """
    stories: list[Story] = []

    def make(
        at_10: Outcome = MUTED, at_40: Outcome = MUTED, *, late: bool = False, **changes: Any
    ) -> Story:
        story = Story(home / "log.sqlite3")
        story.host.hold(story.board)
        stories.append(story)
        story.attest()
        for outcome, minutes in ((at_10, 9), (at_40, 30)):
            story.pass_minutes(minutes)
            start_ms = story.now
            story.pass_minutes(0.1)
            if late:
                # The sounds have still to be gone through.
                story.attest()
            story.host.log.append(KIND, BOARD, body_of(outcome, start_ms, **changes))
            story.attest()
            story.pass_minutes(0.9)
            story.attest()
        story.board.live_for(10_000)
        story.pass_minutes(1)
        story.attest()
        return story

    yield make
    for story in stories:
        story.host.log.close()


def test_it_bears_out_what_is_proven_muted(tell: Tell, cli: Any) -> None:
    tell()
    told = cli("prove", "--from", at(2), "--to", at(30), "--json")
    assert (told.code, told.json["verdict"]) == (0, "muted")
    # Only what lies in the time that was asked for.
    (heard,) = told.json["heard"]
    assert (heard["least_cdb"], heard["start"][:-4]) == (8321, at(10)[:-4])
    shown = cli("prove", "--from", at(2), "--to", at(30))
    assert "heard, by ear at " in shown.out
    assert "weaker by at least 83.2 dB" in shown.out


def test_it_counts_only_in_what_is_proven_muted(tell: Tell, cli: Any) -> None:
    """Somebody's invention, from before the board was first met."""
    tell(from_ms=START_MS, to_ms=START_MS + 5000)
    told = cli("prove", "--from", at(0), "--to", at(30), "--json")
    assert (told.code, told.json["heard"]) == (3, [])


def test_a_heard_leak_is_a_fault_whatever_the_board_says(tell: Tell, cli: Any) -> None:
    tell(LEAK)
    told = cli("prove", "--from", at(2), "--to", at(30), "--json")
    assert (told.code, told.json["verdict"]) == (4, "fault")
    faults = [one for one in told.json["intervals"] if one["state"] == "fault"]
    assert [one["end_ms"] - one["start_ms"] for one in faults] == [5000]
    assert faults[0]["start"][:-4] == at(10)[:-4]
    assert "a leak of -40.0 dB" in faults[0]["note"]
    assert told.json["heard"] == []


@pytest.mark.parametrize("late", [False, True])
def test_P5_a_leak_counts_if_the_board_attests_before_its_row(
    tell: Tell, cli: Any, late: bool
) -> None:
    tell(LEAK, late=late)
    told = cli("prove", "--from", at(2), "--to", at(10.1), "--json")
    assert (told.code, told.json["verdict"]) == (4, "fault")


def test_the_log_shows_it(tell: Tell, cli: Any) -> None:
    tell(MUTED, LEAK)
    (board,) = cli("log", "--since", at(0), "--until", at(60), "--json").json["boards"]
    told = [
        (one["state"], one["proof"])
        for one in board["intervals"]
        if "by ear" in (one["note"] or "")
    ]
    assert ("fault", "heard") in told
    # It was listened to for a part of that interval.
    assert ("muted", "attested") in told


@pytest.mark.parametrize("suffix", [".json", ".html"])
def test_a_receipt_carries_it(tell: Tell, cli: Any, tmp_path: Path, suffix: str) -> None:
    tell()
    file = tmp_path / f"receipt{suffix}"
    assert cli("prove", "--from", at(2), "--to", at(30), "--receipt", file).code == 0
    assert "83.2 dB" in file.read_text(encoding="utf-8") or suffix == ".json"
    checked = cli("prove", "--check", file)
    assert checked.code == 3
    assert "claimed heard, by ear" in checked.out
    assert "weaker by at least 83.2 dB" in checked.out


@pytest.mark.parametrize("change", [{"verdict": None}, {"state": 1}, {"leak_cdb": "1"}])
def test_nothing_is_proven_from_one_that_is_none(
    tell: Tell, cli: Any, change: dict[str, Any]
) -> None:
    tell(**change)
    told = cli("prove", "--from", at(2), "--to", at(30))
    assert told.code == 5
    assert f"is no {KIND} as hardmute writes it" in told.out


def test_P6_the_log_verifies_with_it_and_not_without(tell: Tell, cli: Any, tmp_path: Path) -> None:
    story = tell()
    assert cli("log", "verify").code == 0
    lines = [f"{export_line(entry)}\n".encode() for entry in story.host.log.entries()]
    seen = list(independent_verifier.verify(b"".join(lines), story.board.secrets))
    assert KIND in seen
    # Another number in it, under no other hash.
    forged = [line.replace(b'"least_cdb":8321', b'"least_cdb":9321') for line in lines]
    assert forged != lines
    export = tmp_path / "forged.jsonl"
    export.write_bytes(b"".join(forged))
    assert cli("log", "verify", export).code == 5
    with pytest.raises(independent_verifier.BAD):
        list(independent_verifier.verify(export.read_bytes(), story.board.secrets))


def test_P6_the_attestation_after_it_commits_to_it(tell: Tell) -> None:
    """It cannot be put in later: the board's nonce covers it."""
    entries = list(tell().host.log.entries())
    heard = next(entry for entry in entries if entry.kind == KIND)
    attested = next(
        entry for entry in entries if entry.kind == "attestation" and entry.row > heard.row
    )
    assert attested.body["log_row"] >= heard.row


def test_the_body_is_as_the_page_says() -> None:
    """And of whole numbers, for two programs could write a fraction differently."""
    page = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text(encoding="utf-8")
    section = page.partition("### `listening`")[2].partition("\n## ")[0]
    body = body_of(MUTED, START_MS)
    for field in body:
        assert f"`{field}`" in section, field
    assert body["drift_ppb"] == -31_200
    assert body["most_cdb"] is None
    assert "." not in json.dumps({**body, "versions": {}, "input": "", "output": ""})
