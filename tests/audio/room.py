"""A room between the speaker and the microphone of a sound server, in a process of its own.

    python room.py CONTROL.json

What the server plays through the sink `speaker` is delayed, softened and mixed with noise, and
goes into the sink `micbus`, of which the source `mic` is the end. CONTROL.json is read again
whenever it changes; its keys are the fields of `Control`. Between room and microphone lies the
line that a simulated board cuts: its contacts are looked at a hundred times a second.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from hardmute.sim.world import act

RATE = 48_000
_BLOCK = 960
# What the room has in stock, so that a busy machine loses nothing: far more than comes at once.
_STOCK_MS, _CHUNK_MS = 450, 20
_LINE = RATE
_ECHOES = ((0, 1.0), (37, 0.5), (113, -0.4), (401, 0.3), (1009, -0.2), (2503, 0.1))


class Control(NamedTuple):
    """Levels in dB re full scale, or for ``gain_db`` from speaker to microphone.

    ``world``: of the board whose contacts are the line. ``tied``: the line follows them; if not,
    it is connected whatever they do. ``software``: while the line is cut there are zeros.
    """

    world: str = ""
    tied: bool = True
    gain_db: float = -20.0
    delay_ms: float = 20.0
    noise_dbfs: float = -60.0
    floor_dbfs: float = -90.0
    drift_ppm: float = 40.0
    leak_db: float | None = None
    software: bool = False


class Line:
    """Whether the contacts of the board in the control file are closed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read_ns = 0
        self.control = Control()
        self.connected = True
        self.look()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            time.sleep(0.01)
            self.look()

    def look(self) -> None:
        changed_ns = self._file.stat().st_mtime_ns
        if changed_ns != self._read_ns:
            self.control = Control(**json.loads(self._file.read_text()))
            self._read_ns = changed_ns
        if self.control.world:
            self.connected = act(self.control.world, ["look"])["line"] == "connected"


def main(file: Path) -> None:
    line = Line(file)
    chance = np.random.default_rng(1)
    options = ["--raw", f"--rate={RATE}", "--channels=1", "--format=float32le"]
    ear_options = [f"--latency-msec={_CHUNK_MS}", "-d", "speaker.monitor"]
    mouth_options = [f"--latency-msec={_STOCK_MS}", "-d", "micbus"]
    with (
        subprocess.Popen(["parec", *options, *ear_options], stdout=subprocess.PIPE) as ear,
        subprocess.Popen(["pacat", *options, *mouth_options], stdin=subprocess.PIPE) as mouth,
    ):
        assert ear.stdout is not None
        assert mouth.stdin is not None
        air = np.zeros(_LINE)
        passed = 0.0
        while raw := ear.stdout.read(4 * _BLOCK):
            played = np.frombuffer(raw, "<f4").astype(np.float64)
            air = np.concatenate([air[len(played) :], played])
            control = line.control
            late = control.delay_ms * RATE / 1000 + passed
            passed += len(played) * control.drift_ppm * 1e-6
            sound = heard(air, len(played), late) * 10 ** (control.gain_db / 20)
            sound += chance.standard_normal(len(played)) * 10 ** (control.noise_dbfs / 20)
            floor = chance.standard_normal(len(played)) * 10 ** (control.floor_dbfs / 20)
            recorded = through(line, sound) + floor
            if not connected(line) and control.software:
                recorded[:] = 0
            mouth.stdin.write(np.clip(recorded, -1, 1).astype("<f4").tobytes())
            mouth.stdin.flush()


def connected(line: Line) -> bool:
    return line.connected or not line.control.tied


def through(line: Line, sound: np.ndarray) -> np.ndarray:
    if connected(line):
        return sound
    leak_db = line.control.leak_db
    return sound * (0.0 if leak_db is None else 10 ** (-leak_db / 20))


def heard(air: np.ndarray, count: int, late: float) -> np.ndarray:
    """The newest ``count`` samples of the air, ``late`` samples later, with echoes."""
    at = np.arange(len(air) - count, len(air)) - late
    whole = np.floor(at).astype(int)
    part = at - whole
    total = np.zeros(count)
    for echo, gain in _ECHOES:
        total += gain * ((1 - part) * air[whole - echo] + part * air[whole - echo + 1])
    return total


if __name__ == "__main__":
    main(Path(sys.argv[1]))
