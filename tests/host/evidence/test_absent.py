"""What was seen of a USB device, in the log and in what is proven: proof level `absent`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import independent_verifier
from evidence_maker import BOARD, START_MS, Story, at
from hardmute.evidence import absence
from hardmute.evidence.entries import export_line

DEVICE = absence.UsbDevice(0x0D8C, 0x0014, "A1", "devices/pci", "1.4", "Sound Device", True)
Tell = Callable[..., Story]


@pytest.fixture
def tell(home: Path) -> Iterator[Tell]:
    """A story in the log of the command line: in minute 10 `verify` looked for the device, and the
    line is live for 10 s in minute 20.
    """
    stories: list[Story] = []

    def make(verdict: absence.Showed = "absent", *, late: bool = False, **changes: Any) -> Story:
        story = Story(home / "log.sqlite3")
        story.host.hold(story.board)
        stories.append(story)
        story.attest()
        story.pass_minutes(9)
        start_ms = story.now
        story.pass_minutes(0.1)
        if late:
            story.attest()
        body = absence.body(
            verdict, [DEVICE], state="muted", from_ms=start_ms, to_ms=story.now, back=True
        )
        story.host.log.append(absence.KIND, BOARD, body | changes)
        story.attest()
        story.pass_minutes(10)
        story.board.live_for(10_000)
        story.pass_minutes(1)
        story.attest()
        return story

    yield make
    for story in stories:
        story.host.log.close()


def test_it_bears_out_what_is_proven_muted(tell: Tell, cli: Any) -> None:
    tell()
    told = cli("prove", "--from", at(2), "--to", at(15), "--json")
    assert (told.code, told.json["verdict"]) == (0, "muted")
    (seen,) = told.json["absent"]
    assert (seen["verdict"], seen["devices"]) == ("absent", [DEVICE._asdict()])
    assert "absent, Sound Device (0d8c:0014)" in cli("prove", "--from", at(2), "--to", at(15)).out


def test_P5_it_counts_only_in_what_is_proven_muted(tell: Tell, cli: Any) -> None:
    """Somebody's invention, of a time before the board was first met."""
    tell(from_ms=START_MS, to_ms=START_MS + 5000)
    told = cli("prove", "--from", at(0), "--to", at(15), "--json")
    assert (told.code, told.json["absent"]) == (3, [])


@pytest.mark.parametrize("verdict", ["learned", "unknown", "back", "missing"])
def test_P5_no_other_verdict_is_absent(tell: Tell, cli: Any, verdict: absence.Showed) -> None:
    tell(verdict)
    told = cli("prove", "--from", at(2), "--to", at(15), "--json")
    assert (told.code, told.json["absent"]) == (0, [])


def test_P4_a_device_that_is_there_is_a_fault(tell: Tell, cli: Any) -> None:
    tell("present")
    told = cli("prove", "--from", at(2), "--to", at(15), "--json")
    assert (told.code, told.json["verdict"], told.json["absent"]) == (4, "fault", [])
    (fault,) = [one for one in told.json["intervals"] if one["state"] == "fault"]
    assert fault["end_ms"] - fault["start_ms"] == 6000
    assert "still on this computer's USB" in fault["note"]


@pytest.mark.parametrize("late", [False, True])
def test_P5_it_counts_if_the_board_attests_before_its_row(
    tell: Tell, cli: Any, late: bool
) -> None:
    tell("present", late=late)
    told = cli("prove", "--from", at(2), "--to", at(10.2), "--json")
    assert (told.code, told.json["verdict"]) == (4, "fault")


def test_the_log_shows_it(tell: Tell, cli: Any) -> None:
    tell("present")
    (board,) = cli("log", "--since", at(0), "--until", at(60), "--json").json["boards"]
    told = {(one["state"], one["proof"]) for one in board["intervals"]}
    assert ("fault", "absent") in told


@pytest.mark.parametrize("suffix", [".json", ".html"])
def test_a_receipt_carries_it(tell: Tell, cli: Any, tmp_path: Path, suffix: str) -> None:
    tell()
    file = tmp_path / f"receipt{suffix}"
    assert cli("prove", "--from", at(2), "--to", at(15), "--receipt", file).code == 0
    checked = cli("prove", "--check", file)
    assert checked.code == 3
    assert "claimed absent, Sound Device (0d8c:0014)" in checked.out


@pytest.mark.parametrize(
    "change",
    [
        *({"verdict": None}, {"verdict": "gone"}, {"state": 1}, {"from_ms": "1"}, {"back": None}),
        *({"devices": None}, {"devices": [DEVICE._asdict() | {"port": 4}]}, {"devices": [{}] * 9}),
        *({"devices": [DEVICE._asdict()] * 9}, {"devices": [DEVICE._asdict() | {"more": 1}]}),
    ],
)
def test_nothing_is_proven_from_one_that_is_none(
    tell: Tell, cli: Any, change: dict[str, Any]
) -> None:
    tell(**change)
    told = cli("prove", "--from", at(2), "--to", at(15))
    assert told.code == 5
    assert f"is no {absence.KIND} as hardmute writes it" in told.out


def test_P6_no_byte_of_it_can_be_changed(tell: Tell, cli: Any, tmp_path: Path) -> None:
    story = tell("present")
    assert cli("log", "verify").code == 0
    lines = [f"{export_line(entry)}\n".encode() for entry in story.host.log.entries()]
    seen = list(independent_verifier.verify(b"".join(lines), story.board.secrets))
    assert absence.KIND in seen
    forged = b"".join(lines).replace(b'"verdict":"present"', b'"verdict":"absent"')
    assert forged != b"".join(lines)
    export = tmp_path / "forged.jsonl"
    export.write_bytes(forged)
    assert cli("log", "verify", export).code == 5
    with pytest.raises(independent_verifier.BAD):
        list(independent_verifier.verify(forged, story.board.secrets))


def test_the_body_is_as_the_page_says() -> None:
    page = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text(encoding="utf-8")
    section = page.partition("### `usb`")[2].partition("\n## ")[0]
    body = absence.body("absent", [DEVICE], from_ms=0, to_ms=0, back=True)
    for field in (*body, *DEVICE._fields):
        assert f"`{field}`" in section, field
