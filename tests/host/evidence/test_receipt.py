"""Receipts: they stand alone, and one that was altered is found (P6)."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import re
import tracemalloc
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import independent_verifier
from evidence_maker import BOARD, MINUTE, START_MS, MadeBoard, Story, at, key_of, shown
from hardmute.evidence import receipt
from hardmute.evidence.entries import (
    Entry,
    canonical,
    encoded,
    export_line,
    record_of,
    row_of,
    stored_entry,
)
from hardmute.evidence.proof import shown_json
from hardmute.evidence.receipt import check_receipt, embedded
from hardmute.model.clock import iso_time
from hardmute.model.errors import EvidenceError, NewerError, UsageError
from hardmute.model.words import NOTES
from hardmute.store import keys
from hardmute.store.log import Log
from hardmute.store.receipts import read_receipt
from muteboard import attest, journal


@pytest.fixture
def key(story: Story, tmp_path: Path) -> Path:
    return key_of(story, tmp_path)


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
    # 7 has no factor in common with the 8 bits of a byte.
    for bit in range(0, 8 * len(data), 7):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
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
def test_P6_a_receipt_rewritten_without_the_key_is_found(
    made: Path, key: Path, field: str, value: Any
) -> None:
    def change(content: dict[str, Any]) -> None:
        content[field] = value(content)

    try:
        checked = check_receipt(forged(made, change), keys.load_verify_keys([key]))
    except EvidenceError:
        return
    assert (checked.proof.exit_code, checked.proof.intervals) == (5, [])


def test_P6_a_deleted_doubled_or_swapped_receipt_entry_is_found(made: Path, key: Path) -> None:
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
    monkeypatch.setitem(NOTES, "one_sided", evil)
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


# Of which key it is.


@pytest.fixture
def late(story: Story) -> tuple[str, ...]:
    """A time so late that the evidence of it has no `pair` record."""
    story.pass_minutes(10)
    story.attest()
    return "--from", at(62), "--to", at(70)


def test_a_receipt_has_the_key_id_of_each_pairing(
    cli: Any, story: Story, late: tuple[str, ...], tmp_path: Path
) -> None:
    """From the log's `pair` record."""
    file = tmp_path / "receipt.json"
    assert cli("prove", *late, "--receipt", str(file)).code == 0
    content = read_receipt(file)
    assert not any(is_pair(entry._asdict()) for entry in content["entries"])
    assert content["key_ids"] == {"1": attest.key_id(story.board.secrets[BOARD, 1]).hex()}


def is_pair(fields: dict[str, Any]) -> bool:
    return fields["kind"] == "record" and (
        journal.Record(record_of(fields["body"])).event == journal.PAIR
    )


@pytest.mark.parametrize("signed", [True, False])
def test_P5_the_key_of_a_board_before_it_was_reflashed_is_told(
    cli: Any, story: Story, key: Path, late: tuple[str, ...], tmp_path: Path, signed: bool
) -> None:
    """The same pairing number, another secret; no `pair` record is in the receipt."""
    wrong, receipt = tmp_path / "wrong.json", tmp_path / "receipt.json"
    keys.save_verify_key(wrong, BOARD, 1, bytes(32))
    more = ("--key", str(key)) if signed else ()
    assert cli("prove", *late, "--receipt", str(receipt), *more).code == 0
    ids = [attest.key_id(secret).hex() for secret in (bytes(32), story.board.secrets[BOARD, 1])]
    for words in (("--check", str(receipt)), late):
        result = cli("prove", *words, "--key", str(wrong))
        assert (result.code, result.out) == (2, "")
        for key_id in ids:
            assert f"pairing 1 of board {BOARD} (key id {key_id})" in result.err
    secrets = {(BOARD, 1): bytes(32)}
    assert independent_verifier.judge(receipt.read_bytes(), secrets) == 2
    assert independent_verifier.judge(receipt.read_bytes(), story.board.secrets) == (
        0 if signed else 3
    )


def test_P5_after_a_reflash_evidence_is_of_the_new_pairing(
    cli: Any, story: Story, key: Path, late: tuple[str, ...], tmp_path: Path
) -> None:
    """Each part of the log is checked with its own key, and the other one is told."""
    new, files = MadeBoard(story.clock, BOARD, seed=1), [key, tmp_path / "new.json"]
    new.boot()
    new.pair()
    story.host.incident(new, "fork", 2, seq=1)
    start = story.now
    for _ in range(4):
        story.pass_minutes(5)
        new.note(journal.CONFIG)
        story.host.attest(new, 2)
    keys.save_verify_key(files[1], BOARD, 1, new.secrets[BOARD, 1])
    after = "--from", iso_time(start + 11 * MINUTE), "--to", iso_time(start + 14 * MINUTE)
    for span, fits in ((late, 0), (after, 1)):
        for index, file in enumerate(files):
            receipt = tmp_path / f"{fits}{index}.json"
            result = cli("prove", *span, "--key", str(file), "--receipt", str(receipt))
            assert result.code == (0 if index == fits else 2), result
            assert receipt.exists() == (index == fits)
    # Of the time of both: that of the key with which it begins.
    both = tmp_path / "both.json"
    assert cli("prove", "--from", late[1], "--to", after[3], "--receipt", str(both)).code == 3
    assert [cli("prove", "--check", both, "--key", file).code for file in files] == [3, 2]


# Versions.


@pytest.mark.parametrize(
    ("version", "code"), [(0, 5), (-1, 5), ("2", 5), (True, 5), (1, 3), (3, 3)]
)
def test_a_receipt_of_a_version_that_is_not_known_is_no_evidence(
    cli: Any, made: Path, tmp_path: Path, version: object, code: int
) -> None:
    file = tmp_path / "other.json"
    content = forged(made, lambda content: content.update(version=version))
    file.write_text(canonical(content) + "\n")
    result = cli("prove", "--check", str(file))
    assert (result.code, result.out) == (code, "")
    assert ("update hardmute" in result.err) == (version == 3)
    assert ("make a new receipt" in result.err) == ((version, code) == (1, 3))


# Title, label, and what a page says of them.


def test_a_receipt_says_what_it_is_for_and_of_which_board(
    cli: Any, story: Story, key: Path, tmp_path: Path
) -> None:
    story.host.log.set_label(BOARD, "Raum <2> 🎤")
    words = ["prove", "--from", at(2), "--to", at(30), "--key", str(key)]
    title = 'Works council \\u003c "2026"'
    for name in ("receipt.json", "receipt.html"):
        file = tmp_path / name
        assert cli(*words, "--receipt", str(file), "--title", title).code == 0
        content = read_receipt(file)
        assert (content["title"], content["label"]) == (title, "Raum <2> 🎤")
        told = cli("prove", "--check", str(file), "--key", str(key))
        assert told.code == 0
        assert f"title, as the receipt says: {title}" in told.out
    seen = Page(file.read_text(encoding="utf-8")).seen
    assert title in seen
    assert f"Raum <2> 🎤 ({BOARD})" in seen
    key_id = attest.key_id(story.board.secrets[BOARD, 1]).hex()
    assert f"Everybody who has the verify key of pairing 1 (key id {key_id})" in seen
    assert "not signed:" not in seen


@pytest.mark.parametrize("title", ["", " ", "x" * 81, "a\x1b[2Jb", "a\nb"])
def test_a_title_is_one_short_line(cli: Any, tmp_path: Path, title: str) -> None:
    more = ("--receipt", str(tmp_path / "receipt.json"), "--title", title)
    assert cli("prove", "--from", at(2), "--to", at(30), *more).code == 2


def test_a_page_has_no_empty_column(cli: Any, story: Story, tmp_path: Path) -> None:
    assert story.board.boots
    for name, span, columns in (
        ("muted.html", (2, 30), 5),
        # Nothing is known, so nothing is known to within a time.
        ("unknown.html", (0.5, 0.8), 4),
    ):
        words = ("prove", "--from", at(span[0]), "--to", at(span[1]), "--receipt")
        assert cli(*words, str(tmp_path / name)).code in (0, 3)
        text = (tmp_path / name).read_text(encoding="utf-8")
        rows = re.findall("<tr>(<td.*)</tr>", text)
        assert text.count("<th>") == columns
        cells = [re.findall("<td[^>]*>([^<]*)</td>", row) for row in rows]
        assert all(any(column) for column in zip(*cells, strict=True))


# Signed later.


@pytest.fixture
def unsigned(cli: Any, story: Story, tmp_path: Path) -> Path:
    assert story.board.boots
    file = tmp_path / "unsigned.json"
    words = ("--from", at(2), "--to", at(30), "--title", "Talk", "--receipt", str(file))
    result = cli("prove", *words)
    assert result.code == 0
    assert result.err.startswith("Without --key the receipt is not signed: a check of it shows")
    return file


def test_a_receipt_is_signed_later(cli: Any, unsigned: Path, key: Path, tmp_path: Path) -> None:
    signed = tmp_path / "signed.json"
    words = ("prove", "--sign", str(unsigned), "--key", str(key), "--receipt", str(signed))
    assert cli(*words).code == 0
    assert cli("prove", "--check", str(signed), "--key", str(key)).code == 0
    assert read_receipt(signed)["title"] == "Talk"
    assert cli(*words[:5], "--receipt", str(tmp_path / "page.html")).code == 0
    for more in (words, ("prove", "--sign", str(signed), *words[3:5], "--receipt", "x.json")):
        assert cli(*more).code == 2
    for lacks in (words[:3], words[:5], (*words[:3], *words[5:])):
        assert cli(*lacks).code == 2


def later(content: dict[str, Any]) -> None:
    """All times an hour later, and everything made to fit."""
    content["from_ms"] += 5 * MINUTE
    content["to_ms"] += 5 * MINUTE
    for interval in content["intervals"]:
        interval["start_ms"] += 5 * MINUTE
        interval["end_ms"] += 5 * MINUTE
    for entry in content["entries"]:
        if entry["kind"] == "attestation":
            entry["body"]["sent_ms"] += 5 * MINUTE
            entry["body"]["received_ms"] += 5 * MINUTE


def without_hash(content: dict[str, Any]) -> None:
    content["entries"][0]["hash"] = "00" * 32


def other_hashes(content: dict[str, Any]) -> None:
    content["hashes"] = {**content["hashes"], "3": "00" * 32}


@pytest.mark.parametrize("change", [later, without_hash, other_hashes])
def test_P6_nothing_is_signed_that_is_not_so_in_the_log(
    cli: Any, unsigned: Path, key: Path, tmp_path: Path, change: Any
) -> None:
    forgery, signed = tmp_path / "forged.json", tmp_path / "signed.json"
    forgery.write_text(canonical(forged(unsigned, change)) + "\n")
    assert cli("prove", "--check", str(forgery)).code == 3
    result = cli("prove", "--sign", str(forgery), "--key", str(key), "--receipt", str(signed))
    assert (result.code, result.out) == (5, "")
    assert "is not so in this host's log" in result.err
    assert not signed.exists()


def test_P6_a_receipt_that_leaves_out_a_live_time_is_not_signed(
    cli: Any, story: Story, key: Path, tmp_path: Path
) -> None:
    """Each entry is as in the log; an incident is left out, which makes all muted."""
    story.host.incident(story.board, "bad_mac", branch=1)
    story.pass_minutes(10)
    story.attest()
    unsigned, forgery = tmp_path / "unsigned.json", tmp_path / "forged.json"
    words = ("--from", at(61), "--to", at(65), "--receipt", str(unsigned))
    assert cli("prove", *words).code == 3

    def hide(content: dict[str, Any]) -> None:
        entries = [one for one in content["entries"] if one["kind"] != "incident"]
        found = [stored_entry(row_of(fields)) for fields in entries]
        hashes = {int(row): bytes.fromhex(said) for row, said in content["hashes"].items()}
        times = content["from_ms"], content["to_ms"]
        proof = shown(BOARD, found, times, {}, hashes.get, counts=lambda _: True)
        content.update(
            counted=list(proof.counted),
            entries=entries,
            intervals=[*map(shown_json, proof.intervals)],
            verdict=proof.verdict,
        )

    content = forged(unsigned, hide)
    assert content["verdict"] == "muted"
    forgery.write_text(canonical(content) + "\n")
    more = ("--key", str(key), "--receipt", str(tmp_path / "signed.json"))
    result = cli("prove", "--sign", str(forgery), *more)
    assert (result.code, result.out) == (5, "")
    assert "this host's log does not show that" in result.err


def test_a_receipt_whose_evidence_was_pruned_is_not_signed(
    cli: Any, story: Story, unsigned: Path, key: Path, tmp_path: Path
) -> None:
    assert story.host.log.prune(story.now) is not None
    more = ("--key", str(key), "--receipt", str(tmp_path / "signed.json"))
    result = cli("prove", "--sign", str(unsigned), *more)
    assert (result.code, result.out) == (2, "")
    assert "were pruned" in result.err


# Its size.

_FILLERS = {
    "lists": "[],",
    "nested": "[[[[[[[[[[[]]]]]]]]]]],",
    "objects": '{"a":1},',
    "digits": "123456,",
    "long numbers": "9" * 4000 + ",",
    "strings": '"a",',
    "escapes": '"\\u0000\\\\",',
    "wide": '"' + "x" * 90_000 + '\\ud83d\\ude00",',
    "names": '{"a":1},',
}


@contextlib.contextmanager
def traced() -> Iterator[list[int]]:
    """The peak of the memory that is taken in here, in bytes, as in a process of its own.

    Without the objects of the tests before: the more there are, the later garbage is collected.
    """
    peaks: list[int] = []
    gc.collect()
    gc.freeze()
    tracemalloc.start()
    try:
        yield peaks
        peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
        gc.unfreeze()


@pytest.mark.parametrize("filler", _FILLERS)
def test_what_is_dense_is_refused_at_a_bounded_cost(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filler: str
) -> None:
    """Whatever it is, and well in form: it takes no more memory than four times the file."""
    count = 500_000 // len(_FILLERS[filler])
    body = (_FILLERS[filler] * count)[:-1]
    if filler == "names":
        body = "{" + ",".join(f'"{number:07}":1' for number in range(count)) + "}"

    def change(content: dict[str, Any]) -> None:
        content["entries"] = "@"

    again = canonical(forged(made, change)).replace('"@"', f"[{body}]")
    file = tmp_path / "dense.json"
    file.write_text(again)
    size = file.stat().st_size
    del body, again
    monkeypatch.setattr(receipt, "LARGEST", size)
    with traced() as peaks, pytest.raises(EvidenceError):
        read_receipt(file)
    assert peaks[0] <= 4 * size


# Bodies of entries, each as short as it may be, whose memory is largest for its length.
_BODIES: dict[str, Callable[[int], dict[str, Any]]] = {
    "record": lambda _: {"branch": 1, "record": encoded(bytes(journal.SIZE))},
    "attestation": lambda row: {
        "anchor_us": 0,
        "branch": 1,
        "checked": True,
        "elapsed_us": 0,
        "host_boot": f"boot {row}",
        "journal_mac": f"{row:032x}",
        "log_row": 0,
        "mac": f"{row:032x}",
        "received_ms": START_MS,
        "salt": f"{row:032x}",
        "sent_ms": START_MS,
        "statement": {
            "board": BOARD,
            "boot": 1,
            "cause": "button",
            "command": "cut",
            "epoch": 0,
            "head": f"{row:032x}",
            "nonce": f"{row:032x}",
            "pairing": 1,
            "seq": 1,
            "sense": [0],
            "state": "muted",
            "uptime_ms": row,
        },
    },
    "incident": lambda row: {"branch": 1, "text": f"{row:020}", "what": ""},
    "listening": lambda row: {"a": f"{row:018}"},
}


@pytest.mark.parametrize("kind", _BODIES)
def test_entries_like_honest_ones_are_checked_at_a_bounded_cost(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """To read them and to check them takes no more memory than four times the file."""

    def line(row: int) -> str:
        return export_line(Entry(row, START_MS, kind, BOARD, _BODIES[kind](row), bytes(32)))

    # Enough for what does not grow with it to be little.
    count = min(6000, 1_600_000 // len(line(1)))

    def change(content: dict[str, Any]) -> None:
        content["entries"] = [json.loads(line(row)) for row in range(1, 1 + count)]

    file = tmp_path / "long.json"
    file.write_text(canonical(forged(made, change)))
    size = file.stat().st_size
    monkeypatch.setattr(receipt, "LARGEST", size)
    # What is imported only now is none of the file's.
    check_receipt(read_receipt(made), {})
    with traced() as peaks:
        content = read_receipt(file)
        with contextlib.suppress(EvidenceError):
            check_receipt(content, {})
    assert len(content["entries"]) == count
    assert peaks[0] <= 4 * size


def test_what_would_be_too_large_is_not_written(
    cli: Any, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receipt, "LARGEST", 4000)
    file = tmp_path / "large.html"
    result = cli("prove", "--from", at(2), "--to", at(30), "--receipt", str(file))
    assert result.code == 2
    assert "prove a shorter time" in result.err
    assert not file.exists()
    monkeypatch.setattr(receipt, "LARGEST", made.stat().st_size - 1)
    assert cli("prove", "--check", str(made)).code == 5


def test_the_receipt_of_a_whole_journal_is_not_too_large(
    cli: Any, key: Path, story: Story, tmp_path: Path
) -> None:
    """Of as many records as a board keeps, with an attestation after each, as a page as well."""
    start = story.now
    for _ in range(20):
        story.pass_minutes(1)
        story.board.go_live()
        story.attest()
        story.pass_minutes(1)
        story.board.mute()
        story.attest()
    file, end = tmp_path / "some.json", story.now
    words = "--from", iso_time(start), "--to", iso_time(end), "--key", key, "--receipt", file
    assert cli("prove", *map(str, words)).code == 1
    content = json.loads(file.read_text())
    entries, hashes, intervals = content["entries"], content["hashes"], content["intervals"]
    records = sum(entry["kind"] == "record" for entry in entries)
    assert 2 * records <= len(entries) <= 2 * len(hashes) + 2
    times, span = -(-journal.SEGMENT * journal.SEGMENTS // records), entries[-1]["row"]
    content["entries"] = [
        entry | {"row": number * span + entry["row"]}
        for number in range(times)
        for entry in entries
    ]
    content["hashes"] = {
        str(number * span + int(row)): found
        for number in range(times)
        for row, found in hashes.items()
    }
    content["intervals"] = intervals * times
    content["counted"] = list(range(len(hashes) * times))
    file.write_text(f"{canonical(content)}\n")
    # Nor is the same as a page, with its picture and its table.
    assert file.stat().st_size < 0.7 * receipt.LARGEST
    assert len(read_receipt(file)["entries"]) == times * len(entries)
