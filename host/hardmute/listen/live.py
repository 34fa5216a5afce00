"""The live phases: what the microphone makes of the probe, and whether both are alike."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from hardmute.listen import path, signals
from hardmute.listen.outcome import CannotTellError
from hardmute.listen.path import Response, Source, Timing, Window
from hardmute.listen.probe import HIGH_HZ, LOW_HZ
from hardmute.listen.signals import Real

# The probe must stand out from the room so far, in sigmas, that its level is known.
LEAST_Z = 10.0
_MOST_CHANGE_DB = 1.5
# A delay that is known no better is that of noise.
_MOST_UNSURE_S = 0.005
_MOST_SPREAD_DB = 3.0


class Live(NamedTuple):
    response: Response
    # The live level, relative to what the response makes of the probe, and its standard error.
    gain: float
    sigma: float
    # How far the delay may be off in the muted phase.
    unsure_s: float


def listen(source: Source, heard: Real, before: Window, after: Window) -> Live:
    timing = path.find(source, heard, before)
    if timing is None:
        raise CannotTellError("inaudible")
    first, timing = _settle(source, heard, before, timing)
    blocks = path.blocks(source, _learned(source, before))
    # Whether it is there at all: told by what it has not been learned from.
    half = len(blocks) // 2
    ends = (blocks[0][0], blocks[half][0], blocks[-1][1])
    crossed = [
        path.learn(source, heard, [(ends[1], ends[2])], timing),
        path.learn(source, heard, [(ends[0], ends[1])], timing),
    ]
    for response, window in zip(crossed, pairwise(ends), strict=True):
        _, z = _level(source, response, heard, window)
        if z < LEAST_Z:
            raise CannotTellError("inaudible")
    timing, unsure = _follow(source, heard, first, before, after)
    if unsure > source.count(_MOST_UNSURE_S):
        raise CannotTellError("inaudible")
    windows = _learned(source, before), _first(source, after)
    # Each phase by what the other has taught. Noise that was learned as well makes both gains too
    # small by the same; a real change makes one larger.
    responses = [path.learn(source, heard, [window], timing) for window in windows[::-1]]
    levels = [
        _level(source, response, heard, window)
        for response, window in zip(responses, windows, strict=True)
    ]
    z = min(z for _, z in levels)
    if z < LEAST_Z:
        raise CannotTellError("changed")
    (one, _), (other, _) = levels
    if abs(signals.decibels(math.sqrt(other / one))) > _MOST_CHANGE_DB + _error_db(z):
        raise CannotTellError("changed")
    for response, window in zip(responses, (before, after), strict=True):
        if _spread_db(source, response, heard, window) > _MOST_SPREAD_DB:
            raise CannotTellError("processed")
    response = path.learn(source, heard, list(windows), timing)
    return Live(response, min(1.0, math.sqrt(one * other)), 1 / z, unsure / source.rate)


def _learned(source: Source, before: Window) -> Window:
    """The last seconds before the cut."""
    return max(before[0], before[1] - source.count(path.LEARN_S)), before[1]


def _first(source: Source, after: Window) -> Window:
    return after[0], min(after[1], after[0] + source.count(path.LEARN_S))


def _settle(
    source: Source, heard: Real, window: Window, timing: Timing
) -> tuple[Response, Timing]:
    """Response and exact timing, from rough timing, of one phase."""
    window = _learned(source, window)
    response = path.learn(source, heard, [window], timing)
    for measure in (_rough, _fine, _fine):
        late = [
            (block, measure(source, response, heard, block))
            for block in path.blocks(source, window)
        ]
        known = [(sum(block) / 2, by) for block, by in late if by is not None]
        if len(known) < 2:
            raise CannotTellError("inaudible")
        timing = _later(timing, *zip(*known, strict=True))
        response = path.learn(source, heard, [window], timing)
    return response, timing


def _rough(source: Source, response: Response, heard: Real, block: Window) -> float | None:
    return path.lateness(response, source, heard, block)


def _fine(_: Source, response: Response, heard: Real, block: Window) -> float:
    return path.fine_lateness(response, heard, block)


def _follow(
    source: Source, heard: Real, first: Response, before: Window, after: Window
) -> tuple[Timing, float]:
    """The timing of both live phases, and how far it may be off between them, in samples.

    The drift is known from either phase; where that does not lead from one to the other, the sound
    has slipped, and nobody knows when.
    """
    slip = path.slip(first, source, heard, _first(source, after))
    if slip is None:
        raise CannotTellError("changed")
    if abs(slip) > source.count(path.SEARCH_S):
        raise CannotTellError("lost_samples")
    timing = first.timing
    for measure in (_rough, _fine, _fine):
        response = first.moved(timing)
        at: list[list[float]] = [[], []]
        by: list[list[float]] = [[], []]
        for phase, window in enumerate((_learned(source, before), _first(source, after))):
            for block in path.blocks(source, window):
                late = measure(source, response, heard, block)
                if late is not None:
                    at[phase].append(sum(block) / 2)
                    by[phase].append(late)
        if min(map(len, at)) < 2:
            raise CannotTellError("changed")
        step, sigma = _step(at, by)
        if abs(step) > path.SLIP_SIGMAS * sigma + path.SLIP_S * source.rate:
            raise CannotTellError("lost_samples")
        timing = _later(timing, at[0] + at[1], by[0] + by[1])
    return timing, path.SLIP_SIGMAS * sigma


def _later(timing: Timing, at: Sequence[float], by: Sequence[float]) -> Timing:
    """``timing``, corrected by a line through the blocks at ``at``, each later by ``by``."""
    line = np.polynomial.Polynomial.fit(at, by, 1).convert()
    delay, drift = line.coef if len(line.coef) == 2 else (line.coef[0], 0.0)
    return Timing(timing.delay + float(delay), timing.drift + float(drift))


def _step(at: list[list[float]], by: list[list[float]]) -> tuple[float, float]:
    """By how much the second phase is later than the slopes within both lead to; its error."""
    times, lates = [np.array(one) for one in at], [np.array(one) for one in by]
    apart = [one - one.mean() for one in times]
    power = sum(float(one @ one) for one in apart)
    slope = sum(float(one @ late) for one, late in zip(apart, lates, strict=True)) / power
    left = [late - late.mean() - slope * one for one, late in zip(apart, lates, strict=True)]
    count = sum(map(len, left))
    variance = sum(float(one @ one) for one in left) / max(1, count - 3)
    lever = times[1].mean() - times[0].mean()
    step = lates[1].mean() - lates[0].mean() - slope * lever
    error = variance * (1 / len(left[0]) + 1 / len(left[1]) + lever**2 / power)
    return float(step), math.sqrt(error)


def _level(source: Source, response: Response, heard: Real, window: Window) -> tuple[float, float]:
    """Gain in ``window`` relative to ``response``, and in how many of its sigmas; 0 for none."""
    expected, part = response.expected(*window), heard[window[0] : window[1]]
    power, total = float(expected @ expected), float(part @ part)
    gain = float(part @ expected) / max(power, 1e-300)
    if gain <= 0:
        return 0.0, 0.0
    left = max(total - gain * gain * power, 1e-12 * total)
    # Of 2BT numbers, which is how many a band of that width and time holds.
    numbers = 2 * (HIGH_HZ - LOW_HZ) * len(part) / source.rate
    return gain, gain * math.sqrt(power / left * numbers)


def _error_db(z: float) -> float:
    """By how much a level that stands out by ``z`` sigmas may be off: four of them."""
    return signals.decibels(1 + 4 / z)


def _spread_db(source: Source, response: Response, heard: Real, window: Window) -> float:
    """How much the level moves from block to block, beyond what the noise makes of it."""
    levels = [_level(source, response, heard, block) for block in path.blocks(source, window)]
    loudest = max((signals.decibels(gain) - _error_db(z) for gain, z in levels if z), default=0.0)
    softest = min(
        signals.decibels(gain) + _error_db(z) if z else signals.decibels(0) for gain, z in levels
    )
    return loudest - softest
