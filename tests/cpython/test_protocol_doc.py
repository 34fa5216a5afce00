"""docs/protocol.md says everything that the code does, and its examples are the golden vectors."""

import json
import re
from pathlib import Path

import pytest
from fakeboard import Bench, FakeBoard

from muteboard import config, lamp, wire

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
VECTORS = json.loads((ROOT / "tests" / "vectors" / "wire.json").read_text(encoding="utf-8"))


def blocks(kind: str) -> list[str]:
    """The lines of all fenced blocks of this kind."""
    found = re.findall(rf"^```{kind}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    return [line for block in found for line in block.splitlines()]


def section(title: str) -> str:
    """The text under a heading, up to the next heading of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def first_column(text: str) -> set[str]:
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


def every_word(text: str) -> set[str]:
    """All names in the first column, several in a row or one."""
    rows = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    return {word for row in rows for word in re.findall(r"`(\w+)`", row)}


def asked(op: str, **fields: object) -> set[str]:
    """The fields of a real board's answer, without those of every answer."""
    return set(paired().ask(op, **fields)) - {"id", "ok"}


def paired() -> Bench:
    """A board in setup that is paired."""
    bench = Bench(FakeBoard(held=True), run_ms=3500)
    assert bench.ask("pair", host="00" * 32)["ok"]
    return bench


def test_there_is_a_section_for_each_op():
    ops = re.findall(r"^### `(\w+)`$", DOC, re.MULTILINE)
    assert ops == ["hello", "status", "watch", "mute", "config", "attest", "journal", "pair"]
    fields = {"attest": {"nonce": "00" * 16}, "journal": {"from": 1}, "pair": {"end": True}}
    for op in ops:
        assert paired().ask(op, **fields.get(op, {}))["ok"]


def test_every_field_of_every_answer_is_in_its_table():
    warnings = {
        "config_missing",
        "config_invalid",
        "boot_not_counted",
        "crash_loop",
        "stays_cut",
        "stuck",
        "latch_clear",
        "journal_failed",
    }
    assert first_column(section("`hello`")) == asked("hello")
    assert first_column(section("`status`")) == asked("status") | warnings
    assert first_column(section("`mute`")) == asked("mute")
    assert first_column(section("`config`")) == {"set", "config", *config.DEFAULTS}
    assert every_word(section("`attest`")) == asked("attest", nonce="00" * 16)
    fields = asked("journal", **{"from": 1})
    assert first_column(section("`journal`")) == fields | {"gone"}
    fields = asked("pair", host="00" * 32)
    assert first_column(section("`pair`")) == fields | {"host", "end"}
    bench = Bench()
    bench.ask("watch")
    bench.run(1000)
    event = bench.heard()[-1]
    assert first_column(section("`watch`")) == set(event) - asked("status")


def test_every_error_is_in_the_table_in_the_order_of_the_code():
    rows = re.findall(r"^\| `(\w+)` \|", section("Errors"), re.MULTILINE)
    assert tuple(rows) == wire.ERRORS


@pytest.mark.parametrize(
    "words",
    [
        wire.STATES,
        wire.COMMANDS,
        wire.CAUSES,
        wire.SERVICES,
        lamp.PALETTES,
        ("toggle", "push_to_talk"),
    ],
)
def test_every_word_of_a_closed_list_is_there_in_order(words):
    assert ", ".join(f"`{word}`" for word in words) in DOC


def test_numbers_are_those_of_the_code():
    assert f"at most {wire.MAX_LINE} bytes" in DOC
    assert f"0 to {wire.ID_LIMIT - 1}" in DOC
    assert f"[{wire.PROTO_MAJOR}, {wire.PROTO_MINOR}]" in DOC
    assert f"always `{wire.PRODUCT}`" in DOC
    for key in ("max_live_s", "brightness"):
        row = re.search(rf"^\| `{key}` \|.*$", section("`config`"), re.MULTILINE)
        assert row
        assert config.allowed(key) in row[0]
        assert f"| {config.DEFAULTS[key]} |" in row[0]


def test_example_frames_are_valid_and_are_the_good_vectors():
    frames = blocks("frames")
    for line in frames:
        assert wire.frame(wire.unframe(line.encode(), True)) == line.encode() + b"\n"
    assert {line + "\n" for line in frames} == {vector["line"] for vector in VECTORS["good"]}


def test_every_accepted_vector_is_there():
    expected = [
        f"{need(vector)}  {json.dumps(vector['line'])}  {json.dumps(vector['message'])}"
        for vector in VECTORS["accepted"]
    ]
    assert blocks("accepted") == expected


def test_every_bad_vector_is_there():
    expected = [
        f"{vector['error']:9} {need(vector)}  {json.dumps(vector['line'])}"
        for vector in VECTORS["bad"]
    ]
    assert blocks("bad") == expected


def need(vector: dict) -> str:
    return "required" if vector["need_crc"] else "optional"
