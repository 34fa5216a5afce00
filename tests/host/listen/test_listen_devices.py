"""Which devices there are, without a sound server: names that are untrusted, and what is missing.

With one: tests/audio.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from listening_maker import PortAudio

from conftest import Sim
from hardmute.listen import devices
from hardmute.listen.devices import Device
from hardmute.model.errors import LocalError, UsageError


def device(kind: str, name: str, **fields: Any) -> Device:
    made = Device(kind, name, f"The {name}", 0, name, None, muted=False, default=False)
    return made._replace(**fields)


LISTED = [
    device("input", "usb.mic", default=True),
    device("input", "usb.mic.2"),
    device("input", "pci.monitor", virtual="monitor"),
    device("output", "usb.out"),
]


@pytest.fixture
def port_audio(monkeypatch: pytest.MonkeyPatch) -> Any:
    def install(*names: str, broken: bool = False) -> None:
        monkeypatch.setitem(sys.modules, "sounddevice", PortAudio([*names], broken))

    return install


def test_the_systems_devices(port_audio: Any) -> None:
    port_audio("Built-in Microphone", "Speakers", "BlackHole 2ch")
    found = devices.devices()
    assert [(one.kind, one.name, one.virtual, one.default) for one in found] == [
        ("input", "Built-in Microphone", None, True),
        ("input", "BlackHole 2ch", "virtual", False),
        ("output", "Speakers", None, True),
    ]
    assert found[0].title == "Core Audio"


def test_names_are_what_a_device_says_and_obey_nothing(port_audio: Any) -> None:
    port_audio("evil\x1b[2J\n" + "x" * 1000, "Speakers")
    name = devices.devices()[0].name
    assert name.isprintable()
    assert len(name) <= 120


def test_the_extra_is_missing(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    for words in (["verify", "--listen"], ["audio"]):
        told = cli(*words)
        assert told.code == 6
        assert "pip install -e '.[listen]'` in your clone" in told.err
        assert told.err.count("\n") == 1


def test_portaudio_is_missing(cli: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the library itself says it."""
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    told = cli("audio")
    assert told.code == 6
    assert "libportaudio2" in told.err


def test_portaudio_cannot_list(cli: Any, port_audio: Any) -> None:
    port_audio(broken=True)
    told = cli("audio")
    assert (told.code, "cannot be listed" in told.err) == (6, True)


def test_no_device_at_all(cli: Any, port_audio: Any, sim: Sim) -> None:
    port_audio()
    told = cli("audio")
    assert (told.code, "has no microphone and no speaker" in told.out) == (0, True)
    assert "plug in a sound card" in told.out
    for named in ((), ("--input", "usb.mic")):
        told = cli("-d", sim.board, "verify", "--listen", *named)
        assert (told.code, told.out, told.err.count("\n")) == (6, "", 1)
        assert "This computer has no microphone that you may use: plug in a sound card" in told.err
    port_audio("A microphone, and nothing to play with")
    told = cli("-d", sim.board, "verify", "--listen")
    assert (told.code, "This computer has no speaker" in told.err) == (6, True)


def test_a_device_is_chosen_by_name_by_a_part_or_as_usual() -> None:
    for named in (None, "usb.mic", "The usb.mic"):
        assert devices.choose(LISTED, "input", named).name == "usb.mic"
    assert devices.choose(LISTED, "input", "MIC.2").name == "usb.mic.2"
    assert devices.choose(LISTED, "output", "usb").name == "usb.out"


@pytest.mark.parametrize(
    ("kind", "named", "said"),
    [
        ("input", "usb", "may be 2 devices"),
        ("input", "usb.out", "is no input"),
        ("output", None, "no usual output"),
        ("input", "\x1b[2J", "�[2J"),
    ],
)
def test_a_device_is_never_guessed(kind: str, named: str | None, said: str) -> None:
    with pytest.raises(UsageError, match="hardmute audio") as caught:
        devices.choose(LISTED, kind, named)
    assert said in str(caught.value)


def test_the_choice_is_kept_by_board(home: Path) -> None:
    assert devices.remembered("5eed0001") == {}
    devices.remember("5eed0001", {"input": "usb.mic"})
    devices.remember("5eed0001", {"output": "usb.out"})
    devices.remember("5eed0002", {"input": "other"})
    assert devices.remembered("5eed0001") == {"input": "usb.mic", "output": "usb.out"}
    file = home / "audio.json"
    for damaged in ("", "[]", '{"5eed0001": 3}', '{"5eed0001": {"input": 3}}', "{"):
        file.write_text(damaged)
        assert devices.remembered("5eed0001") == {}
    devices.remember("5eed0001", {"input": "usb.mic"})
    assert devices.remembered("5eed0001") == {"input": "usb.mic"}


def test_a_choice_that_cannot_be_kept_is_told(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "file").touch()
    monkeypatch.setenv("HARDMUTE_HOME", str(home / "file"))
    with pytest.raises(LocalError, match="cannot be stored"):
        devices.remember("5eed0001", {"input": "usb.mic"})


def test_audio_lists_and_marks(cli: Any, port_audio: Any, sim: Sim) -> None:
    port_audio("Microphone", "Speakers", "Stereo Mix")
    shown = cli("audio").out
    assert "input   Microphone  (usual)" in shown
    assert "input   Stereo Mix  (no hardware: virtual)" in shown
    assert cli("audio", "--input", "Stereo").code == 2
    assert cli("-d", sim.board, "status").code == 0
    told = cli("-d", sim.board, "audio", "--input", "Stereo", "--json").json
    assert [one["name"] for one in told["devices"] if one["chosen"]] == ["Stereo Mix"]
    assert json.loads(json.dumps(told))["board"] == sim.board
    assert f"for board {sim.board}" in cli("-d", sim.board, "audio").out


@pytest.mark.parametrize(
    "words",
    [
        ["--min-db", "10"],
        ["--min-db", "nan"],
        ["--seconds", "0"],
        ["--seconds", "61"],
        ["--confidence", "0"],
        ["--confidence", "0.5"],
    ],
)
def test_what_cannot_be_asked_for(cli: Any, words: list[str]) -> None:
    assert cli("verify", "--listen", *words).code == 2
