"""A speaker, a room and a microphone that can be cut, in arrays: what the detector is tried on.

Levels in dB re a full-scale peak of 1. Everything comes from one seed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hardmute.listen import probe
from hardmute.listen.detector import Phases

Samples = NDArray[np.floating[Any]]


class Room(NamedTuple):
    """The conditions. ``leak_db``: how much of the live signal comes through a cut line."""

    rate: int = 48_000
    live_s: float = 2.0
    muted_s: float = 5.0
    probe_dbfs: float = -40.0
    room_dbfs: float = -60.0
    floor_dbfs: float = -90.0
    delay_ms: float = 120.0
    drift_ppm: float = 0.0
    rt60_s: float = 0.35
    leak_db: float | None = None
    hum_dbfs: float | None = None
    clicks: int = 0


class Take(NamedTuple):
    """What `judge` is given."""

    played: NDArray[np.float32]
    recorded: NDArray[np.float32]
    rate: int
    phases: Phases


GAP_S = 0.4


def take(room: Room, seed: int) -> Take:
    """A recording of live, muted, live."""
    chance = np.random.default_rng(seed)
    rate = room.rate
    start = 0.9
    cut = start + room.live_s
    back = cut + GAP_S + room.muted_s + 0.1
    total = round((back + GAP_S + room.live_s + 0.2) * rate)
    played = probe.noise(chance.bytes(16), total, rate)
    wet = _through_air(played, room, chance)
    wet *= 10 ** (room.probe_dbfs / 20) / np.sqrt(np.mean(wet[round(start * rate) :] ** 2))
    sound = wet + _pink(total, chance) * 10 ** (room.room_dbfs / 20)
    times = np.arange(total) / rate
    live = (times < cut) | (times >= back)
    through = 0.0 if room.leak_db is None else 10 ** (-room.leak_db / 20)
    recorded = sound * np.where(live, 1.0, through)
    recorded += chance.standard_normal(total) * 10 ** (room.floor_dbfs / 20)
    if room.hum_dbfs is not None:
        for harmonic in (1, 2, 3, 5, 21, 25, 33, 40):
            level = 10 ** (room.hum_dbfs / 20) / harmonic**0.5
            recorded += level * np.sin(2 * np.pi * 50.02 * harmonic * times + harmonic)
        # USB frames.
        recorded += 10 ** (room.hum_dbfs / 20) * np.sin(2 * np.pi * 2000.0 * times)
    for _ in range(room.clicks):
        at = int(chance.integers(total - 200))
        recorded[at : at + 100] += 0.02 * chance.standard_normal(100)
    whole = np.round(np.clip(recorded, -1, 1) * 32767) / 32767
    phases = Phases(
        _frames(rate, start, cut),
        _frames(rate, cut + GAP_S, cut + GAP_S + room.muted_s),
        _frames(rate, back + GAP_S, back + GAP_S + room.live_s),
    )
    return Take(played, whole.astype(np.float32), rate, phases)


def _frames(rate: int, start_s: float, stop_s: float) -> tuple[int, int]:
    return round(start_s * rate), round(stop_s * rate)


def _through_air(played: Samples, room: Room, chance: np.random.Generator) -> Samples:
    """Delayed, by a clock that drifts, and with its echoes."""
    length = max(1, round(room.rt60_s * room.rate))
    taps = chance.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    taps *= 0.7 / np.sqrt(np.sum(taps**2))
    taps[0] += 0.7
    size = 1 << (len(played) + length - 1).bit_length()
    wet = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(taps, size), size)[: len(played)]
    # In another way than the detector's: by the spectrum, at four times the rate.
    fine = np.fft.irfft(np.fft.rfft(wet, size), 4 * size) * 4
    at = np.arange(len(played)) * (1 - room.drift_ppm * 1e-6) - room.delay_ms * room.rate / 1000
    return np.interp(4 * at, np.arange(4 * len(wet)), fine[: 4 * len(wet)], left=0.0)


def _pink(count: int, chance: np.random.Generator) -> Samples:
    """Noise whose power falls by 3 dB an octave, of power 1, as rooms have it."""
    spectrum = np.fft.rfft(chance.standard_normal(count))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 20 * count / 48_000))
    made = np.fft.irfft(spectrum, count)
    return made / np.sqrt(np.mean(made**2))
