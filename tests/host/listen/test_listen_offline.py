"""A microphone that no computer owns: the probe as a file, and a recording made elsewhere."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from listening_maker import record
from numpy.typing import NDArray

from hardmute.listen import wav

RATE = 48_000


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hardmute.cli.commands.recording import write_probe

    file = tmp_path_factory.mktemp("probe") / "probe.wav"
    write_probe(file, 2.0)
    return file


@pytest.mark.parametrize("rate", [16_000, 44_100])
def test_a_cut_microphone(cli: Any, probe: Path, tmp_path: Path, rate: int) -> None:
    recording = record(probe, tmp_path / "recording.wav", rate=rate)
    told = cli("verify", "--listen", "--recording", recording, "--probe", probe)
    assert told.code == 0
    assert told.out.startswith("PROVEN MUTED  ")
    # What it cannot tell is said each time.
    assert "cannot be told from a line that is cut" in told.out


def test_one_that_is_live(cli: Any, probe: Path, tmp_path: Path) -> None:
    """Nobody has asked a board: it is live, and no contradiction."""
    recording = record(probe, tmp_path / "recording.wav", leak_db=30.0)
    told = cli("verify", "--listen", "--recording", recording, "--probe", probe, "--json")
    assert (told.code, told.json["verdict"]) == (1, "live")
    assert told.json["leak_db"] == pytest.approx(30, abs=0.5)


def test_one_that_does_not_hear_it(cli: Any, probe: Path, tmp_path: Path) -> None:
    recording = record(probe, tmp_path / "recording.wav", level_db=-120.0)
    told = cli("verify", "--listen", "--recording", recording, "--probe", probe)
    assert told.code == 3
    assert told.out.startswith("INCONCLUSIVE  the probe cannot be heard")


def test_another_probe(cli: Any, probe: Path, tmp_path: Path) -> None:
    """Each is fresh: an old recording is none of a new one."""
    other = tmp_path / "other.wav"
    assert cli("audio", "probe", other, "--seconds", "2").code == 0
    assert other.read_bytes() != probe.read_bytes()
    recording = record(probe, tmp_path / "recording.wav")
    told = cli("verify", "--listen", "--recording", recording, "--probe", other)
    assert told.code == 3


def test_the_beeps_are_where_somebody_is_to_press(probe: Path) -> None:
    played, rate = wav.read(probe)
    blocks = played[: len(played) // 480 * 480].reshape(-1, 480)
    tone = np.abs(blocks @ np.exp(-2j * np.pi * 500 * np.arange(480) / rate))
    sounding = np.flatnonzero(tone > 0.5 * tone.max()) * 480 / rate
    first, second = sounding[sounding < 8], sounding[sounding > 8]
    assert first.min() == pytest.approx(5.05, abs=0.05)
    assert second.min() == pytest.approx(11.05, abs=0.05)
    assert len(played) / rate == pytest.approx(20)
    assert np.sqrt(np.mean(played**2)) <= 0.1


def test_a_picture_of_it(cli: Any, probe: Path, tmp_path: Path) -> None:
    recording, file = record(probe, tmp_path / "recording.wav"), tmp_path / "heard.svg"
    words = ("verify", "--listen", "--recording", recording, "--probe", probe, "--svg", file)
    assert cli(*words).code == 0
    drawn = file.read_text(encoding="utf-8")
    for word in ("<svg", "live", "muted", "no leak above", "proven muted"):
        assert word in drawn


@pytest.mark.parametrize("missing", ["--recording", "--probe"])
def test_both_files_are_needed(cli: Any, probe: Path, missing: str) -> None:
    other = {"--recording": "--probe", "--probe": "--recording"}[missing]
    told = cli("verify", "--listen", other, probe)
    assert told.code == 2
    assert missing in told.err


def test_what_is_no_recording(cli: Any, probe: Path, tmp_path: Path) -> None:
    stereo, noise, none = (tmp_path / name for name in ("stereo.wav", "noise.wav", "none.wav"))
    with wave.open(str(stereo), "wb") as out:
        out.setnchannels(2)
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(bytes(4000))
    noise.write_bytes(b"RIFFnothing of the kind")
    for file, said in ((stereo, "2 channels"), (noise, "no WAV file"), (none, "cannot be read")):
        told = cli("verify", "--listen", "--recording", file, "--probe", probe)
        assert told.code == 2
        assert said in told.err
    short = tmp_path / "short.wav"
    wav.write(short, np.zeros(RATE), RATE)
    assert cli("verify", "--listen", "--recording", short, "--probe", short).code == 2
    assert cli("verify", "--listen", "--recording", short, "--probe", probe).code == 3


def test_a_probe_is_written_over_nothing(cli: Any, probe: Path) -> None:
    before = probe.read_bytes()
    assert cli("audio", "probe", probe).code == 2
    assert probe.read_bytes() == before


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_samples_of_any_width(tmp_path: Path, width: int) -> None:
    whole = np.array([-1.0, -0.5, 0.0, 0.5])
    scaled = np.round(whole * 2 ** (8 * width - 1)).astype(np.int64)
    data = _bytes_of(scaled + 128 if width == 1 else scaled, width)
    file = tmp_path / "made.wav"
    with wave.open(str(file), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(width)
        out.setframerate(RATE)
        out.writeframes(data)
    samples, rate = wav.read(file)
    assert rate == RATE
    assert samples.tolist() == whole.tolist()


def _bytes_of(whole: NDArray[np.int64], width: int) -> bytes:
    return b"".join(int(one).to_bytes(width, "little", signed=width > 1) for one in whole)
