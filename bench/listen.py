"""Figures of listening: what is provable, how often it is wrong, what leaks it finds."""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure as Drawing
from tests.acoustic_room import Room, Take, take

from bench.figure import Figure
from hardmute.listen import signals
from hardmute.listen.detector import judge
from hardmute.listen.leak import FAR_S, Leak, leaks
from hardmute.listen.outcome import Outcome
from hardmute.listen.probe import HIGH_HZ, LOW_HZ

PLOT = Path("build") / "listen-calibration.svg"
# The detector that there was before this one, in the same room, in dB at 1e-6.
_BEFORE = {2.0: 80.1, 5.0: 84.1, 10.0: 87.1}
_RUNS = 5
_DRAWS = 2500
_RISKS = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005)
_RATE = 12_000
# Of a leak, in units of its own noise: where the bound decides.
_GAIN = 8.0


def provable() -> list[Figure]:
    """Decibels that are provable by ear at 1e-6, against the limit of any detector."""
    figures: list[Figure] = []
    for seconds, before in _BEFORE.items():
        room = Room(muted_s=seconds)
        found = [_run(room, seed) for seed in range(_RUNS)]
        proven = [outcome.least_db for outcome, _ in found]
        assert all(outcome.verdict == "muted" for outcome, _ in found)
        median = statistics.median(db for db in proven if db is not None)
        name = f"by ear, {seconds:g} s muted"
        figures += [
            Figure(f"{name}: provable, median of {_RUNS}", median, "dB", f"≥ {before}"),
            Figure(f"{name}: provable, worst", min(db for db in proven if db is not None), "dB"),
            Figure(f"{name}: limit of any detector", _limit_db(room), "dB"),
            Figure("  below the limit by", _limit_db(room) - median, "dB", "≤ 6"),
        ]
    figures.append(
        Figure("by ear, 10 s muted: time to judge", max(took for _, took in found), "s")
    )
    return figures


def detection() -> list[Figure]:
    """Leaks that are found by ear in 5 s."""
    figures: list[Figure] = []
    for leak_db in (40.0, 60.0, 80.0):
        # Required is more than can be proven: whatever stands out is called a leak.
        found = [
            judge(*_take(Room(leak_db=leak_db), 100 + seed), required_db=100)
            for seed in range(_RUNS)
        ]
        told = [one.leak_db for one in found if one.verdict == "live" and one.leak_db is not None]
        off = max((abs(db - leak_db) for db in told), default=None)
        figures += [
            Figure(f"leak of -{leak_db:g} dB: found", 100 * len(told) / _RUNS, "%", "100"),
            Figure("  measured wrong by, at most", off, "dB"),
        ]
    return figures


def calibration() -> list[Figure]:
    """How often "muted" is said of a leak as large as is just not allowed, against the promise."""
    chance = np.random.default_rng(1)
    found = [_draw(chance) for _ in range(_DRAWS)]
    figures: list[Figure] = []
    rates: list[float] = []
    for risk in _RISKS:
        rate = sum(leak.bound(risk) < true for leak, true in found) / _DRAWS
        rates.append(rate)
        figures.append(
            Figure(f"false muted, promised {100 * risk:g} %", 100 * rate, "%", f"≤ {100 * risk:g}")
        )
    _plot(rates)
    return figures


def _take(room: Room, seed: int) -> Take:
    chance = np.random.default_rng(seed)
    return take(
        room._replace(
            drift_ppm=float(chance.uniform(-100, 100)), delay_ms=float(chance.uniform(0, 300))
        ),
        seed,
    )


def _run(room: Room, seed: int) -> tuple[Outcome, float]:
    taken = _take(room, seed)
    start = time.perf_counter()
    return judge(*taken), time.perf_counter() - start


def _limit_db(room: Room) -> float:
    """A matched filter that knows the room, the clocks and the noise."""
    floor = 10 ** (room.floor_dbfs / 10) + (1 / 32767) ** 2 / 12
    in_band = 10 * math.log10(floor * (HIGH_HZ - LOW_HZ) / (room.rate / 2))
    numbers = 10 * math.log10(2 * (HIGH_HZ - LOW_HZ) * room.muted_s)
    return room.probe_dbfs - in_band + numbers - 20 * math.log10(4.753)


def _draw(chance: np.random.Generator) -> tuple[Leak, float]:
    """What is found of a leak in two seconds of white noise, and its true gain."""
    margin, count = round(FAR_S[1] * _RATE), 2 * _RATE
    expected = signals.in_band(chance.standard_normal(count + 2 * margin), _RATE)
    sigma = 1 / math.sqrt(2 * (HIGH_HZ - LOW_HZ) * 2)
    heard = signals.in_band(chance.standard_normal(count), _RATE)
    heard += _GAIN * sigma * expected[margin : margin + count]
    (found,) = leaks(heard, expected, _RATE, 0.0, [(LOW_HZ, HIGH_HZ)])
    return found, _GAIN * sigma


def _plot(rates: list[float]) -> None:
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hardmute"}):
        figure = Drawing(figsize=(5, 4), layout="constrained")
        axes = figure.add_subplot()
        axes.loglog(_RISKS, _RISKS, color="black", linewidth=0.8, label="as promised")
        shown = [max(rate, 0.5 / _DRAWS) for rate in rates]
        axes.loglog(_RISKS, shown, "o-", color="#0072b2", label="measured")
        axes.set_xlabel("promised: false “muted” at most so often")
        axes.set_ylabel(f"measured, of {_DRAWS}")
        axes.grid(linewidth=0.3)
        axes.legend(frameon=False)
        PLOT.parent.mkdir(exist_ok=True)
        figure.savefig(PLOT, format="svg", metadata={"Date": None})
