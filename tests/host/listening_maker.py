"""What was heard: entries of a log, a recording by another device; and a sound library."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from hardmute.listen import evidence, signals, wav
from hardmute.listen.devices import Device
from hardmute.listen.evidence import When
from hardmute.listen.outcome import Band, Outcome

MUTED = Outcome(
    "muted",
    None,
    83.21,
    None,
    float("inf"),
    -40.0,
    -98.7,
    120.3,
    -31.2,
    5.0,
    tuple(Band(low, 1.26 * low, -48.0, -106.5, 75.5) for low in (1000.0, 2000.0)),
)
MICROPHONE = Device("input", "usb.mic", "A microphone", 0, "usb.mic", None, False, True)
SPEAKER = Device("output", "pci.speaker", "A speaker", 0, "pci.speaker", None, False, True)
# As the file is laid out: live, time to press, muted, time to press, live.
MUTED_S = (6.0, 11.4)


def body_of(outcome: Outcome, start_ms: int, **changes: Any) -> dict[str, Any]:
    """An entry that a microphone was listened to for 5 s, while its board said muted."""
    made = evidence.body(
        outcome,
        state="muted",
        when=When(start_ms, start_ms + 5000, 1, 0, 5000),
        required_db=60.0,
        confidence=1e-6,
        microphone=MICROPHONE,
        speaker=SPEAKER,
        rate=48_000,
        versions={"hardmute": "0.1.0"},
        simulated=False,
    )
    return made | changes


def record(
    probe: Path,
    file: Path,
    *,
    rate: int = 44_100,
    begin_s: float = 3.3,
    leak_db: float | None = None,
    level_db: float = -20.0,
) -> Path:
    """What another device makes of it: it began at another time, and has another clock."""
    played, its_rate = wav.read(probe)
    chance = np.random.default_rng(1)
    step = its_rate / rate * (1 + 50e-6)
    heard = signals.delayed(
        played, -begin_s * its_rate, step, round(len(played) / step + 8 * rate)
    )
    at = np.arange(len(heard)) / rate - begin_s
    cut = (at > MUTED_S[0]) & (at < MUTED_S[1])
    heard *= 10 ** (level_db / 20)
    heard += 1e-3 * chance.standard_normal(len(heard))
    heard[cut] *= 0.0 if leak_db is None else 10 ** (-leak_db / 20)
    heard += 3e-5 * chance.standard_normal(len(heard))
    wav.write(file, heard, rate)
    return file


class PortAudio(ModuleType):
    """The library, with devices of its own; only what lists them."""

    class PortAudioError(Exception):
        pass

    def __init__(self, names: list[str], broken: bool = False) -> None:
        super().__init__("sounddevice")
        self.__version__ = "0"
        self.default = type("default", (), {"device": (0, 1)})
        self._names = names
        self._broken = broken

    def query_devices(self) -> list[dict[str, Any]]:
        if self._broken:
            raise self.PortAudioError("no host API")
        return [
            {
                "name": name,
                "index": index,
                "hostapi": 0,
                "max_input_channels": 1 - index % 2,
                "max_output_channels": index % 2,
            }
            for index, name in enumerate(self._names)
        ]

    def query_hostapis(self, index: int) -> dict[str, str]:
        assert index == 0
        return {"name": "Core Audio"}
