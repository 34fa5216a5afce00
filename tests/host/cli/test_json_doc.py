"""docs/json.md has every field that `--json` prints, with its type, and no other."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening_maker import MUTED, PortAudio, body_of, record

from conftest import Cli, Sim, StartWatch
from evidence_maker import BOARD, Story, at, key_of
from hardmute.cli import parser
from hardmute.cli.commands import listen
from hardmute.cli.commands.recording import write_probe
from hardmute.evidence import absence
from hardmute.evidence.entries import canonical
from hardmute.evidence.listening import KIND
from hardmute.listen.outcome import CannotTellError
from hardmute.store.log import Log

DOC = (Path(__file__).parents[3] / "docs" / "json.md").read_text("utf-8")
TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "object": (dict,),
    "list": (list,),
    "null": (),
}
# "All fields of", "As", "a line for each change": what the fields of a section begin with.
BASE = re.compile(r"(?m)(?:fields of|^As|change:) \[.*?\]\(#(.*?)\)(?: without `(\w+)`)?")
ROW = re.compile(r"(?m)^\| (`.*?`) \| (.*?) \| (.*) \|$")


class Field:
    """A row of a table: ``type``, without "or null"; ``of``: the table of what is in it."""

    def __init__(self, kind: str, meaning: str) -> None:
        kind, _, null = kind.partition(" or ")
        self.may_be_null = null == "null" or kind == "null"
        # Left out where it does not apply.
        self.only = meaning.startswith("Only ")
        link = re.search(r"\[.*\]\(#(.*)\)", kind)
        self.of = link[1] if link else None
        self.is_list = kind.startswith("list of ")
        self.type = kind.removeprefix("list of ")
        if self.is_list:
            self.type = self.type.removesuffix("s")


def anchor(title: str) -> str:
    return title.lower().replace(" ", "-")


def tables() -> Iterator[tuple[str, dict[str, Field]]]:
    """Of each section: its title and its fields, and those of the section that it builds on."""
    made: dict[str, dict[str, Field]] = {}
    for section in re.split(r"^##+ ", DOC, flags=re.MULTILINE)[1:]:
        title, text = section.split("\n", 1)
        fields: dict[str, Field] = {}
        base = BASE.search(text)
        if base:
            fields |= made[base[1]]
            fields.pop(base[2], None)
        for names, kind, meaning in ROW.findall(text):
            fields |= dict.fromkeys(re.findall(r"`([^`]+)`", names), Field(kind, meaning))
        made[anchor(title)] = fields
        yield title, fields


TABLES = dict(tables())
ANCHORS = {anchor(title): title for title in TABLES}
# What has a table of its own to be read into others.
PARTS = {
    "An observation",
    "An incident",
    "A finding",
    "A proven interval",
    "A listening",
    "A look",
    "A USB device",
}


class Seen:
    """Holds output against a table; ``names``: (table, field) of all that came."""

    def __init__(self) -> None:
        self.names: set[tuple[str, str]] = set()

    def take(self, title: str, told: dict[str, Any], prefix: str = "") -> None:
        fields = TABLES[title]
        there = {name for name in fields if re.fullmatch(re.escape(prefix) + r"\w+", name)}
        came = {prefix + name for name in told}
        if title == "An incident":
            # More by its kind, as the page says.
            came &= there
        assert came <= there, (title, came - there)
        assert {name for name in there - came if not fields[name].only} == set(), title
        for name in came:
            self.names.add((title, name))
            self._value(title, name, fields[name], told[name.removeprefix(prefix)])

    def _value(self, title: str, name: str, field: Field, value: Any) -> None:
        if value is None:
            assert field.may_be_null, (title, name)
            return
        if field.is_list:
            assert isinstance(value, list), (title, name)
        for one in value if field.is_list else [value]:
            if field.of is not None:
                self.take(ANCHORS[field.of], one)
                continue
            allowed = TYPES[field.type]
            assert isinstance(one, allowed), (title, name, one)
            assert bool in allowed or not isinstance(one, bool), (title, name)
            below = f"{name}[]." if field.is_list else f"{name}."
            if any(other.startswith(below) for other in TABLES[title]):
                self.take(title, one, below)

    def all_of(self, *titles: str) -> None:
        """Everything in these tables came."""
        wanted = {(title, name) for title in titles for name in TABLES[title]}
        assert wanted - self.names == set()


def holds(told: Iterable[dict[str, Any]], title: str, *parts: str) -> None:
    """``told``, of the command ``title``, and what the page says are the same."""
    seen = Seen()
    for one in told:
        seen.take(title, one)
    seen.all_of(title, *parts)


def commands() -> Iterator[str]:
    """The commands that have `--json`, as a person names them."""

    def walk(known: argparse.ArgumentParser, name: str) -> Iterator[str]:
        for action in known._actions:
            if isinstance(action, argparse._SubParsersAction):
                for word, inner in action.choices.items():
                    yield from walk(inner, f"{name} {word}")
            elif "--json" in action.option_strings:
                yield name.strip()

    yield from walk(parser.build_parser(), "")


def test_each_command_that_has_json_has_its_section() -> None:
    # `log FILE` is the view `of`; `get` and `set` print the same.
    short = {"log of": "log", "config get": "config", "config set": "config"}
    found = {short.get(name, name) for name in commands()}
    more = {
        "prove --check",
        "verify --listen",
        "verify --listen --recording",
        "status of a name that means nothing",
    }
    assert set(TABLES) == found | more | PARTS


def test_a_state(sim: Sim, cli: Cli, watch: StartWatch) -> None:
    for command in ("status", "mute", "verify"):
        told = cli("-d", sim.board, command, "--json").json
        holds([told], command)
        assert told["firmware_matches"] is True
    watching = watch(sim.device)
    holds([watching.next()], "watch")
    watching.close()
    sim.kill()
    # Nothing is there any more: most of it is null.
    gone = cli("-d", sim.board, "status", "--json")
    assert (gone.code, gone.json["state"], gone.json["firmware"]) == (3, None, None)
    holds([gone.json], "status")
    rows = cli("status", "-d", sim.board, "-d", "nobody", "--json").json
    holds(rows[:1], "status")
    holds(rows[1:], "status of a name that means nothing")


def test_list_config_and_doctor(sim: Sim, cli: Cli, start_sim: Any) -> None:
    dead = start_sim()
    dead.act("power-off")
    holds([cli("list", "--json", "--timeout", "3").json], "list")
    holds([cli("-d", sim.board, "config", "get", "--json").json], "config")
    holds([cli("-d", sim.board, "doctor", "--json").json], "doctor")


def test_pair_and_unpair(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    sim.open_setup()
    holds([cli("-d", sim.board, "pair", "--verify-key", tmp_path / "key", "--json").json], "pair")
    holds([cli("-d", sim.board, "unpair", "--json").json], "unpair")


_DEVICE = absence.UsbDevice(0x1209, 1, None, "devices/pci", "2", "Microphone", True)


@pytest.fixture
def listened(story: Story) -> Story:
    """`story`, in which the microphone was listened to, and an incident was noticed."""
    start_ms = story.now
    story.pass_minutes(1)
    story.host.log.append(KIND, BOARD, body_of(MUTED, start_ms))
    seen = absence.body(
        "absent", [_DEVICE], state="muted", from_ms=start_ms, to_ms=story.now, back=True
    )
    story.host.log.append(absence.KIND, BOARD, seen)
    story.attest()
    story.pass_minutes(1)
    story.attest()
    story.host.incident(story.board, "fork", 2, seq=3)
    return story


def altered(export: Path) -> Path:
    """The export with another time in one of its entries."""
    lines = export.read_text().splitlines()
    entry = json.loads(lines[3])
    lines[3] = canonical(entry | {"at_ms": entry["at_ms"] + 1})
    file = export.with_name("altered.jsonl")
    file.write_text("\n".join(lines) + "\n")
    return file


def test_log(listened: Story, cli: Cli, tmp_path: Path) -> None:
    export = tmp_path / "export.jsonl"
    assert cli("log", "export", export).code == 0
    window = ("--since", at(0), "--until", at(80))
    told = [cli("log", *window, "--json").json, cli("log", export, "--json").json]
    holds(told, "log", "An incident")
    assert listened.board.id == told[0]["boards"][0]["board"]
    files = [(), (export,), (altered(export),)]
    told = [cli("log", "verify", *file, "--json").json for file in files]
    assert [one["intact"] for one in told] == [True, None, False]
    holds(told, "log verify", "A finding", "An incident")


def test_prove(listened: Story, cli: Cli, tmp_path: Path) -> None:
    export, key = tmp_path / "export.jsonl", key_of(listened, tmp_path)
    assert cli("log", "export", export).code == 0
    span = ("prove", "--from", at(2), "--to", at(64), "--json")
    receipt = tmp_path / "receipt.json"
    told = [
        cli(*span).json,
        cli(*span, "--key", key, "--receipt", receipt).json,
        cli(*span, "--log", altered(export), "--key", key).json,
    ]
    holds(told, "prove", "A proven interval", "A listening", "A finding", "A look", "A USB device")
    checked = [
        cli("prove", "--check", receipt, "--json").json,
        cli("prove", "--check", receipt, "--key", key, "--json").json,
    ]
    assert ["claim" in one for one in checked] == [True, False]
    holds(checked, "prove --check")
    bare, signed = tmp_path / "bare.json", tmp_path / "signed.json"
    assert cli(*span, "--receipt", bare).json
    words = ("--sign", bare, "--key", key, "--receipt", signed)
    holds([cli("prove", *words, "--json").json], "prove")


def test_usb(sim: Sim, cli: Cli, home: Path) -> None:
    told = cli("-d", sim.board, "usb", "--json").json
    log = Log(home / "log.sqlite3")
    seen = absence.body("learned", [_DEVICE], from_ms=0, to_ms=0, back=True)
    log.append(absence.KIND, sim.board, seen)
    log.close()
    learned = cli("-d", sim.board, "usb", "--json").json
    assert (told["devices"], learned["devices"]) == ([], [_DEVICE._asdict()])
    holds([told, learned, cli("-d", sim.board, "usb", "--forget", "--json").json], "usb")


@pytest.fixture
def sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """A microphone and a speaker to choose; nothing plays or records."""

    class Silent:
        def __init__(self, *_of: object) -> None:
            self.played = np.zeros(0)

        def level_dbfs(self) -> float:
            return -90.0

        def __enter__(self) -> object:
            raise CannotTellError("too_short")

        def __exit__(self, *_error: object) -> None:
            pass

    library = PortAudio(["Microphone", "Speakers"])
    monkeypatch.setattr(library, "get_portaudio_version", lambda: (0, "none"), raising=False)
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    monkeypatch.setattr(listen, "Duplex", Silent)


@pytest.mark.usefixtures("sound")
def test_by_ear(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    holds([cli("audio", "--json").json], "audio")
    sim.act("press")
    told = cli("-d", sim.board, "verify", "--listen", "--json", "--seconds", "2").json
    assert (told["verdict"], told["now"]["verdict"]) == ("inconclusive", "muted")
    heard = told | body_of(MUTED, 0)
    holds([told, heard], "verify --listen", "An observation")
    probe = tmp_path / "probe.wav"
    write_probe(probe, 2.0)
    words = ("--recording", record(probe, tmp_path / "recording.wav"), "--probe", probe)
    told = cli("verify", "--listen", *words, "--json").json
    assert told["verdict"] == "muted"
    holds([told], "verify --listen --recording")
