"""`hardmute verify --listen` on a real sound server, where a press silences the recording."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from conftest import BOARD, Listen, Person, Room, pactl
from hardmute.evidence.entries import canonical
from hardmute.evidence.listening import KIND
from hardmute.model.clock import iso_time
from hardmute.sim.world import act
from hardmute.store.log import Log

MUTE = "Press the button now"
AGAIN = "Press the button once more"


def hardmute(*words: str) -> subprocess.CompletedProcess[str]:
    """Another command."""
    command = [sys.executable, "-m", "hardmute", *words]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def why_not(result: Any) -> str:
    """The reason of an inconclusive end."""
    assert result.code == 3
    assert result.json["verdict"] == "inconclusive"
    assert result.json["now"]["verdict"] == "muted"
    return result.json["reason"]


def test_a_press_is_heard_to_cut_the_line(listen: Listen) -> None:
    result = listen("--seconds", "5")
    told = result.json
    assert (result.code, told["verdict"], told["state"]) == (0, "muted", "muted")
    # What the room leaves, for 4 s or more, less 6 dB.
    assert told["least_cdb"] > 8000
    assert told["leak_cdb"] is None
    assert abs(told["drift_ppb"] - 40_000) < 2_000
    assert 4_000 < told["to_ms"] - told["from_ms"] == told["uptime_to_ms"] - told["uptime_from_ms"]
    # The person is not left live.
    assert (told["now"]["verdict"], told["now"]["cause"]) == ("muted", "host")


def test_a_welded_contact_is_heard(listen: Listen, world: str) -> None:
    result = listen(also={MUTE: lambda _: act(world, ["weld"])})
    told = result.json
    assert (result.code, told["verdict"], told["state"]) == (4, "live", "fault")
    assert abs(told["leak_cdb"]) < 100


def test_a_line_that_its_board_does_not_cut_is_heard(listen: Listen, room: Room) -> None:
    """The sense contact opens, so the board says muted; the microphone's own contact does not."""
    room.change(tied=False)
    result = listen()
    told = result.json
    assert (result.code, told["verdict"], told["state"]) == (4, "live", "muted")
    assert abs(told["leak_cdb"]) < 100
    assert told["now"]["proof"] == "sensed"


@pytest.mark.parametrize("leak_db", [40.0, 55.0])
def test_a_leak_is_heard_and_measured(listen: Listen, room: Room, leak_db: float) -> None:
    room.change(leak_db=leak_db)
    result = listen()
    assert (result.code, result.json["verdict"]) == (4, "live")
    assert abs(result.json["leak_cdb"] - 100 * leak_db) < 100


def test_inaudible(listen: Listen, room: Room) -> None:
    room.change(gain_db=-90.0)
    assert why_not(listen()) == "inaudible"


def test_software_zeros(listen: Listen, room: Room) -> None:
    room.change(software=True)
    assert why_not(listen()) == "digital_silence"


def test_the_wrong_device(listen: Listen) -> None:
    assert why_not(listen("--input", "speaker.monitor")) == "not_a_microphone"


def test_a_stream_that_runs_dry(listen: Listen, room: Room) -> None:
    """In the middle of the muted phase, for longer than the room has sound in stock."""

    def stall(_: object) -> None:
        assert room.process is not None
        threading.Timer(1.5, room.process.send_signal, [signal.SIGSTOP]).start()
        threading.Timer(2.2, room.process.send_signal, [signal.SIGCONT]).start()

    assert why_not(listen("--seconds", "3", also={MUTE: stall})) == "lost_samples"


def test_clipping(listen: Listen, room: Room) -> None:
    room.change(gain_db=18.0)
    assert why_not(listen()) == "clipped"


def test_the_speaker_turned_down_in_between(listen: Listen) -> None:
    deeds: Person = {AGAIN: lambda _: pactl("set-sink-volume", "speaker", "70%")}
    assert why_not(listen(also=deeds)) == "changed"


def test_muted_for_too_short_a_time(listen: Listen, world: str) -> None:
    """Somebody presses twice at the word."""
    assert why_not(listen(also={MUTE: lambda _: act(world, ["press"])})) in (
        "too_short",
        "unsteady",
    )


def test_P5_a_board_that_goes_away_meanwhile_is_unknown(listen: Listen, world: str) -> None:
    result = listen(also={AGAIN: lambda _: act(world, ["unplug"])})
    assert (result.code, result.out) == (3, "")


def test_ctrl_c_leaves_nobody_live(listen: Listen, world: str) -> None:
    def interrupt(process: subprocess.Popen[str]) -> None:
        threading.Timer(1.5, process.send_signal, [signal.SIGINT]).start()

    assert listen(also={AGAIN: interrupt}).code == 130
    assert act(world, ["look"])["line"] == "cut"


@pytest.mark.usefixtures("own_server")
def test_an_echo_canceller_in_the_system(listen: Listen) -> None:
    """It also turns the microphone down, for whoever comes after it."""
    pactl(
        "load-module",
        "module-echo-cancel",
        "aec_method=webrtc",
        "source_master=mic",
        "sink_master=speaker",
        "source_name=cancelled",
        "sink_name=cancelling",
    )
    result = listen("--input", "cancelled", "--output", "cancelling")
    assert result.code == 3
    assert result.json["verdict"] == "inconclusive"
    assert result.json["input_virtual"] is not None


def test_a_mute_of_the_system_is_released_and_restored(listen: Listen) -> None:
    pactl("set-source-mute", "mic", "1")
    result = listen()
    assert "Mute: yes" in pactl("get-source-mute", "mic").stdout
    assert (result.code, result.json["verdict"]) == (0, "muted")


def test_no_sound_is_stored_sent_or_logged(
    listen: Listen, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten seconds of sound are a megabyte: nothing of that size is anywhere afterwards, and
    nothing is written but the log and what a command leaves behind anyway.
    """
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    events = tmp_path / "events"
    result = listen(program=(str(Path(__file__).with_name("audited.py")), str(events)))
    assert result.json["verdict"] == "muted"
    assert list(temporary.iterdir()) == []
    assert sum(file.stat().st_size for file in home.rglob("*") if file.is_file()) < 200_000
    told = [json.loads(line) for line in events.read_text().splitlines()]
    assert told
    for event, what in told:
        # Looking for a library leaves an empty file there for a moment.
        assert event == "open", what
        assert what.startswith((str(home), str(temporary), "/dev/")), what
    log = Log(home / "log.sqlite3")
    (heard,) = log.entries(BOARD, [KIND])
    log.close()
    # Numbers and names, in less than a page.
    assert len(canonical(heard.body)) < 1500


def test_what_is_heard_of_a_paired_board_is_proven_afterwards(
    listen: Listen, home: Path, world: str
) -> None:
    act(world, ["power-off", "power-on", "--hold", "5"])
    key = home / "verify-key.json"
    assert hardmute("-d", BOARD, "pair", "--verify-key", str(key)).returncode == 0
    act(world, ["power-off", "power-on"])
    told = listen().json
    assert told["now"]["proof"] == "attested"
    words = ["--from", iso_time(told["from_ms"]), "--to", iso_time(told["to_ms"])]
    # Until a second attestation is there.
    assert hardmute("-d", BOARD, "status").returncode == 0
    proof = hardmute("prove", "-d", BOARD, *words, "--key", str(key), "--json")
    proven = json.loads(proof.stdout)
    assert (proof.returncode, proven["verdict"]) == (0, "muted")
    assert [one["least_cdb"] for one in proven["heard"]] == [told["least_cdb"]]
    assert hardmute("log", "verify", "--key", str(key)).returncode == 0


def test_the_devices_are_listed_marked_and_remembered(listen: Listen, home: Path) -> None:
    listed = json.loads(hardmute("audio", "--json").stdout)["devices"]
    virtual = {(one["kind"], one["name"]): one["virtual"] for one in listed}
    assert virtual["input", "speaker.monitor"] == "monitor"
    assert virtual["input", "mic"] == "filter"
    assert virtual["output", "speaker"] == "virtual"
    assert hardmute("-d", BOARD, "status").returncode == 0
    chosen = hardmute("audio", "-d", BOARD, "--input", "speaker.mon", "--output", "speaker")
    assert chosen.returncode == 0
    assert f"speaker.monitor  (no hardware: monitor, for board {BOARD})" in chosen.stdout
    # It is taken from now on, and forgotten for another name.
    assert why_not(listen()) == "not_a_microphone"
    assert hardmute("audio", "-d", BOARD, "--input", "nothing").returncode == 2
    assert "speaker.monitor" in (home / "audio.json").read_text()
