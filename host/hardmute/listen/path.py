"""From speaker to recording while the microphone is live: delay, clock drift, response.

Everything is counted in samples that are left of `signals.in_band`, unless it says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from hardmute.listen import signals
from hardmute.listen.probe import Samples
from hardmute.listen.signals import Real

# From the probe's being handed over to its being recorded: two buffers, and with Bluetooth more.
LONGEST_DELAY_S = 1.5
# A sound server may swallow some of the first samples (PulseAudio: 0.7 ms); the rest then seems to
# be early where there is no other delay.
_SWALLOWED_S = 0.1
# The response that is reckoned with. It keeps 98 % of the power where sound dies away by 60 dB in
# 0.35 s; what comes later counts as noise.
_BEFORE_S, _AFTER_S = 0.005, 0.195
BLOCK_S = 0.25
# Two clocks, each 200 ppm off at the most. Sound cards are within 100.
_DRIFTS = np.arange(-400e-6, 401e-6, 20e-6)
SEARCH_S = 0.004
_ITERATIONS = 12
# What the response and the drift are learned from, next to the cut.
LEARN_S = 6.0
# How far off a clock model must be in units of its own error before the sound has slipped; and
# what is no slip however well it is known: half a sample at 48 kHz.
SLIP_SIGMAS = 6.0
SLIP_S = 10e-6
# How far a correlation must stand out from its median: of noise alone, one of 10,000 lags does so
# once in seven million times (Rayleigh's distribution).
_STANDS_OUT = 6.0
# Further off than this is no drift of any clock.
_LONG_SLIP_S = 1.0

Window = tuple[int, int]


class Timing(NamedTuple):
    """Recorded sample n is of the probe's position ``n - delay - drift * n``."""

    delay: float
    drift: float


class Source:
    """The probe as it was played, and the grid of what is left of the recording."""

    def __init__(self, played: Samples, rate: int) -> None:
        self._played = played
        self._factor = signals.decimation(rate)
        self._full_rate = rate
        self.rate = rate / self._factor

    def count(self, seconds: float) -> int:
        """``seconds`` in samples."""
        return round(seconds * self.rate)

    def stretched(self, timing: Timing, start: int, stop: int) -> Real:
        """What is played while samples [start, stop) are recorded, by ``timing``."""
        margin = self.count(signals.FILTER_S)
        first = (start - margin) * self._factor
        count = (stop - start + 2 * margin) * self._factor
        step = 1 - timing.drift
        at = first * step - timing.delay * self._factor
        full = signals.delayed(self._played, at, step, count)
        return signals.in_band(full, self._full_rate)[margin : margin + stop - start]


class Response:
    """A live microphone's answer to the probe: ``taps`` from `_BEFORE_S` before ``timing`` on."""

    def __init__(self, source: Source, timing: Timing, taps: Real) -> None:
        self._source = source
        self.timing = timing
        self._taps = taps

    def expected(self, start: int, stop: int) -> Real:
        """What samples [start, stop) of the recording hold if the microphone is live."""
        before, after = _extent(self._source)
        played = self._source.stretched(self.timing, start - after, stop + before)
        size = signals.fast_length(len(played) + len(self._taps))
        made = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(self._taps, size), size)
        return made[before + after : before + after + stop - start]

    def moved(self, timing: Timing) -> Response:
        """The same response at another timing."""
        return Response(self._source, timing, self._taps)


def _extent(source: Source) -> tuple[int, int]:
    return source.count(_BEFORE_S), source.count(_AFTER_S)


def learn(source: Source, heard: Real, windows: list[Window], timing: Timing) -> Response:
    """The response that explains ``windows`` of the recording best, by least squares.

    Conjugate gradients, ended early: what lies outside the band never comes into it.
    """
    before, after = _extent(source)
    length = before + after + 1
    pieces = [
        (
            source.stretched(timing, start - after, stop + before),
            heard[start:stop],
        )
        for start, stop in windows
    ]
    size = [signals.fast_length(len(played) + length) for played, _ in pieces]
    spectra = [np.fft.rfft(played, n) for (played, _), n in zip(pieces, size, strict=True)]

    def apply(taps: Real) -> list[Real]:
        return [
            np.fft.irfft(spectrum * np.fft.rfft(taps, n), n)[length - 1 : length - 1 + len(part)]
            for spectrum, n, (_, part) in zip(spectra, size, pieces, strict=True)
        ]

    def transposed(parts: list[Real]) -> Real:
        total = np.zeros(length)
        for spectrum, n, part in zip(spectra, size, parts, strict=True):
            padded = np.zeros(n)
            padded[length - 1 : length - 1 + len(part)] = part
            total += np.fft.irfft(np.conj(spectrum) * np.fft.rfft(padded), n)[:length]
        return total

    taps = np.zeros(length)
    residual = transposed([part for _, part in pieces])
    direction = residual.copy()
    power = float(residual @ residual)
    for _ in range(_ITERATIONS):
        if power == 0:
            break
        mapped = apply(direction)
        step = power / max(sum(float(part @ part) for part in mapped), 1e-300)
        taps += step * direction
        residual -= step * transposed(mapped)
        before_power, power = power, float(residual @ residual)
        direction = residual + power / before_power * direction
    return Response(source, timing, taps)


def find(source: Source, heard: Real, window: Window) -> Timing | None:
    """Delay and drift of the probe in ``window``, roughly; None if it is not there."""
    start, stop = window
    start = max(start, stop - source.count(LEARN_S))
    longest, swallowed = source.count(LONGEST_DELAY_S), source.count(_SWALLOWED_S)
    first = heard[start : min(stop, start + source.count(1.0))]
    played = source.stretched(Timing(0, 0), start - longest, start + len(first) + swallowed)
    size = signals.fast_length(len(played) + len(first))
    cross = np.fft.rfft(first, size) * np.conj(np.fft.rfft(played, size))
    found = np.abs(signals.analytic(cross, size))
    # `played` began `longest` early, so index -(longest - delay) fits.
    delays = found[np.arange(-swallowed, longest) - longest]
    at = int(np.argmax(delays))
    if delays[at] < _STANDS_OUT * np.median(delays):
        return None
    delay = at - swallowed
    search = source.count(SEARCH_S)
    blocks = list(_blocks(source, (start, stop)))
    rows = [
        _correlation(source.stretched(Timing(delay, 0), *widen(block, search)), heard, block)
        for block in blocks
    ]
    best = (-1.0, 0, 0.0)
    for drift in _DRIFTS:
        shifts = [round(drift * (begin - start)) for begin, _ in blocks]
        total = np.sum(
            [np.roll(np.abs(row), -shift) for row, shift in zip(rows, shifts, strict=True)], axis=0
        )
        at = int(np.argmax(total))
        best = max(best, (float(total[at]), at - search, float(drift)))
    _, offset, drift = best
    # The drift is reckoned from sample 0.
    return Timing(delay + offset - drift * start, drift)


def widen(block: Window, by: int) -> Window:
    return block[0] - by, block[1] + by


def _blocks(source: Source, window: Window) -> Iterator[Window]:
    length = source.count(BLOCK_S)
    for start in range(window[0], window[1] - length + 1, length):
        yield start, start + length


def blocks(source: Source, window: Window) -> list[Window]:
    """``window`` in pieces of `BLOCK_S`; what is left over at the end belongs to none."""
    return list(_blocks(source, window))


def _correlation(expected: Real, heard: Real, block: Window) -> signals.Complex:
    """Complex correlation by lag: ``expected`` is longer than the block by as much on each side.

    Index i: what is recorded comes ``i - longer`` later than expected.
    """
    part = heard[block[0] : block[1]]
    longer = (len(expected) - len(part)) // 2
    size = signals.fast_length(len(expected) + len(part))
    cross = np.conj(np.fft.rfft(expected, size)) * np.fft.rfft(part, size)
    found = signals.analytic(cross, size)
    return found[np.arange(-longer, longer + 1) - longer]


def lateness(response: Response, source: Source, heard: Real, block: Window) -> float | None:
    """By how many samples the block comes later than expected, found in the whole search range."""
    search = source.count(SEARCH_S)
    found = np.abs(_correlation(response.expected(*widen(block, search)), heard, block))
    at = int(np.argmax(found))
    if not 0 < at < len(found) - 1:
        return None
    left, top, right = found[at - 1 : at + 2]
    return at - search + (left - right) / (2 * (left - 2 * top + right))


def fine_lateness(response: Response, heard: Real, block: Window) -> float:
    """As `lateness`, for less than half a period: by the slope of what is expected."""
    start, stop = block
    expected = response.expected(start - 1, stop + 1)
    slope = (expected[2:] - expected[:-2]) / 2
    part, expected = heard[start:stop], expected[1:-1]
    gain = float(part @ expected) / max(float(expected @ expected), 1e-300)
    return -float(part @ slope) / (gain * float(slope @ slope)) if gain else 0.0


def slip(response: Response, source: Source, heard: Real, window: Window) -> int | None:
    """By how many samples all of ``window`` comes later than expected; None if it is not there."""
    search = source.count(_LONG_SLIP_S)
    block = window[0], min(window[1], window[0] + source.count(1.0))
    found = np.abs(_correlation(response.expected(*widen(block, search)), heard, block))
    at = int(np.argmax(found))
    if found[at] < _STANDS_OUT * np.median(found):
        return None
    return at - search
