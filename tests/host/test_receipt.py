"""Receipts: they stand alone, and one that was altered is found (P6)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from evidence_maker import BOARD, MINUTE, Story, at
from hardmute import keys
from hardmute.errors import EvidenceError, NewerError, UsageError
from hardmute.log import Log
from hardmute.receipt import check_receipt, read_receipt
from hardmute.receipt_page import embedded


@pytest.fixture
def key(story: Story, tmp_path: Path) -> Path:
    file = tmp_path / "verify-key.json"
    ((board, pairing), secret) = next(iter(story.board.secrets.items()))
    keys.save_verify_key(file, board, pairing, secret)
    return file


@pytest.fixture
def made(cli: Any, key: Path, tmp_path: Path) -> Path:
    """A receipt of half an hour muted, made with the key."""
    file = tmp_path / "receipt.json"
    words = ("prove", "--from", at(2), "--to", at(30), "--key", key, "--receipt", file)
    assert cli(*map(str, words)).code == 0
    return file


def test_P6_a_receipt_shows_the_same_without_the_log(
    cli: Any, home: Path, key: Path, made: Path
) -> None:
    for file in home.iterdir():
        if file.is_file():
            file.unlink()
    result = cli("prove", "--check", str(made), "--key", str(key))
    assert result.code == 0
    assert result.out.startswith("MUTED    throughout, ")
    assert "signatures of the board, all checked" in result.out
    assert "itself is signed" in result.out
    bare = cli("prove", "--check", str(made))
    assert bare.code == 3
    assert "the receipt agrees with itself; nothing was checked" in bare.out


def test_P6_any_bit_of_a_receipt_that_flips_is_found(made: Path, tmp_path: Path) -> None:
    data = made.read_bytes()
    file = tmp_path / "flipped.json"
    for position in range(len(data)):
        for bit in range(8):
            flipped = bytearray(data)
            flipped[position] ^= 1 << bit
            file.write_bytes(flipped)
            # A version that is not known says nothing either.
            with pytest.raises((EvidenceError, NewerError)):
                check_receipt(read_receipt(file), {})


def test_P6_a_receipt_that_was_cut_short_is_found(made: Path, tmp_path: Path) -> None:
    data = made.read_bytes()
    file = tmp_path / "short.json"
    for length in range(len(data) - 1):
        file.write_bytes(data[:length])
        with pytest.raises(EvidenceError):
            check_receipt(read_receipt(file), {})


def forged(made: Path, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """A receipt in which ``change`` was made, and its own hash to fit again."""
    content = json.loads(made.read_text())
    change(content)
    del content["sha256"]
    again = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    content["sha256"] = hashlib.sha256(again).hexdigest()
    return content


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("to_ms", lambda content: content["to_ms"] + 60 * MINUTE),
        ("from_ms", lambda content: content["from_ms"] - MINUTE),
        ("board", lambda _: "aaaaaaaaaaaaaaaa"),
        ("made_by", lambda _: "somebody else"),
        ("entries", lambda content: content["entries"][:1]),
        ("verdict", lambda _: "live"),
    ],
)
def test_P6_a_receipt_rewritten_by_somebody_without_the_key_is_found(
    made: Path, key: Path, field: str, value: Any
) -> None:
    def change(content: dict[str, Any]) -> None:
        content[field] = value(content)

    try:
        checked = check_receipt(forged(made, change), keys.load_verify_keys([key]))
    except EvidenceError:
        return
    assert (checked.proof.exit_code, checked.proof.intervals) == (5, [])


def test_P6_an_entry_of_a_receipt_deleted_doubled_or_swapped_is_found(
    made: Path, key: Path
) -> None:
    """Under a new hash, by somebody without the key."""
    secrets = keys.load_verify_keys([key])
    entries = json.loads(made.read_text())["entries"]
    assert check_receipt(forged(made, lambda _: None), secrets).proof.exit_code == 0

    others = [entries[:at] + entries[at + 1 :] for at in range(len(entries))]
    others += [entries[: at + 1] + entries[at:] for at in range(len(entries))]
    others += [
        [*entries[:at], entries[at + 1], entries[at], *entries[at + 2 :]]
        for at in range(len(entries) - 1)
    ]
    for other in others:
        try:
            checked = check_receipt(
                forged(made, lambda content, other=other: content.update(entries=other)), secrets
            )
        except EvidenceError:
            continue
        assert (checked.proof.exit_code, checked.proof.intervals) == (5, [])


def test_P5_a_receipt_claims_no_more_than_its_evidence(made: Path, key: Path) -> None:
    """Even from a forger who strips the signature."""

    def change(content: dict[str, Any]) -> None:
        content["to_ms"] += 60 * MINUTE
        content["intervals"][-1]["end_ms"] += 60 * MINUTE
        content["macs"] = {}

    with pytest.raises(EvidenceError, match="does not bear out"):
        check_receipt(forged(made, change), keys.load_verify_keys([key]))


def test_the_key_of_another_pairing_signs_nothing(
    cli: Any,
    made: Path,
    story: Story,
    tmp_path: Path,
) -> None:
    other = tmp_path / "other.json"
    keys.save_verify_key(other, BOARD, 2, bytes(32))
    result = cli("prove", "--check", str(made), "--key", str(other))
    assert (result.code, result.out) == (2, "")
    assert result.err == (
        f"The key given is of pairing 2 of board {BOARD}, but the receipt is of pairing 1 of board"
        f" {BOARD}: give the verify key of that pairing.\n"
    )
    assert story.board.journal.pairing == 1


class Page(HTMLParser):
    """What a reader gets to see, and what the page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen = ""
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "path", "use", "rect", "image"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and value and not value.startswith("#"):
                self.loads.append(value)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.seen += data


def test_a_page_for_a_person(cli: Any, key: Path, tmp_path: Path) -> None:
    file = tmp_path / "receipt.html"
    words = ("prove", "--from", at(2), "--to", at(60), "--key", key, "--receipt", file)
    assert cli(*map(str, words)).code == 1
    page = Page(file.read_text(encoding="utf-8"))
    assert page.open == []
    assert page.loads == [], "it needs nothing but itself"
    assert "Was the microphone off?" in page.seen
    assert "No: the microphone's line was connected for a part of the time." in page.seen
    assert BOARD in page.seen
    assert "<svg" in file.read_text(encoding="utf-8")
    result = cli("prove", "--check", str(file), "--key", str(key))
    assert result.code == 1
    assert "itself is signed" in result.out
    assert "what the page itself says to a reader is not signed" in result.out


def test_a_page_of_a_simulated_board_says_so_first(
    cli: Any, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert story.board.id == BOARD
    monkeypatch.setattr(Log, "real_boards", lambda _: [])
    file = tmp_path / "receipt.html"
    words = ("prove", "-d", BOARD, "--from", at(2), "--to", at(30), "--receipt", file)
    result = cli(*map(str, words))
    assert (result.code, f"receipt: {file}" in result.out) == (0, True)
    seen = Page(file.read_text(encoding="utf-8")).seen
    assert seen.count("simulated") == 1, "said once"
    assert seen.index("A simulated board, which cuts no real microphone.") < seen.index("Its line")
    for contradiction in ("microphone off", "microphone's line", "Whether yours"):
        assert contradiction not in seen


def test_P6_any_bit_of_a_page_that_flips_is_found(cli: Any, story: Story, tmp_path: Path) -> None:
    file = tmp_path / "receipt.html"
    assert story.board.journal.pairing == 1
    cli("prove", "--from", at(2), "--to", at(30), "--receipt", str(file))
    data = bytearray(file.read_bytes())
    embedded(bytes(data))
    for position in range(len(data)):
        for bit in range(8):
            data[position] ^= 1 << bit
            with pytest.raises(ValueError):  # noqa: PT011 (what it says is for `prove` to say)
                embedded(bytes(data))
            data[position] ^= 1 << bit


def test_a_page_takes_no_word_for_markup(
    cli: Any, story: Story, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of these can come from a board as it is; the page does not rest on that."""
    evil = "</script><script>alert(1)</script><img src=//x>"
    monkeypatch.setattr("muteboard.__version__", evil)
    monkeypatch.setattr("hardmute.history.ONE_SIDED", evil)
    file = tmp_path / "receipt.html"
    story.board.boot()
    story.pass_minutes(20)
    story.attest()
    cli("prove", "--from", at(2), "--to", at(70), "--receipt", str(file))
    said = file.read_text(encoding="utf-8")
    assert "<script>" not in said
    assert "<img" not in said
    assert said.count("</script>") == 1
    assert cli("prove", "--check", str(file)).code == 3


def test_P6_a_page_that_was_altered_is_found(cli: Any, made: Path, tmp_path: Path) -> None:
    del made
    file = tmp_path / "receipt.html"
    cli("prove", "--from", at(2), "--to", at(30), "--receipt", str(file))
    text = file.read_text(encoding="utf-8")
    for old, new in (("cut all", "on all"), ("<svg", "<sgv"), ('"muted"', '"live"')):
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")
        assert cli("prove", "--check", str(file)).code == 5


def test_a_receipt_never_replaces_a_file(cli: Any, made: Path) -> None:
    before = made.read_bytes()
    result = cli("prove", "--from", at(2), "--to", at(30), "--receipt", str(made))
    assert result.code == 2
    assert made.read_bytes() == before


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"hardmute":"receipt"}', "\xff"])
def test_what_is_no_receipt_is_no_evidence(cli: Any, tmp_path: Path, content: str) -> None:
    for name in ("x.json", "x.html"):
        file = tmp_path / name
        file.write_text(content, encoding="latin-1")
        result = cli("prove", "--check", str(file))
        assert result.code == 5
        assert result.out == ""


def test_another_key_for_that_pairing_is_told(made: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.json"
    keys.save_verify_key(wrong, BOARD, 1, bytes(32))
    with pytest.raises((EvidenceError, UsageError)):
        check_receipt(read_receipt(made), keys.load_verify_keys([wrong]))
