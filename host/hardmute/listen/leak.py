"""The muted phase: what is left of the probe in it, however deep in the noise."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from hardmute.listen import signals
from hardmute.listen.probe import HIGH_HZ, LOW_HZ
from hardmute.listen.signals import Complex, Real

# Where a leak would be, around where the probe was heard; and where only noise can be.
_NEAR_S, _WIDE_S, FAR_S = 0.00025, 0.045, (0.05, 0.25)
# How softly each half begins and ends: a hum that is cut off hard would spread over the band.
_EDGE_S, _EDGE = 0.1, 0.1
_CLICK_SIGMAS = 5.0


class Leak(NamedTuple):
    """``gain``: of the probe while muted, relative to live; ``sigma`` of each of its two parts,
    known from so many independent ``numbers``. ``elsewhere``: as ``gain``, by any other way, up to
    `_WIDE_S` earlier or later.
    """

    gain: float
    sigma: float
    numbers: float
    elsewhere: float = 0.0

    def bound(self, risk: float) -> float:
        """What the true gain exceeds with a probability of ``risk`` at the most."""
        return self.gain + self._reach(risk)

    def least(self, risk: float) -> float:
        """What the true gain falls below with that probability at the most; 0 if it may be 0."""
        return max(0.0, self.gain - self._reach(risk))

    def _reach(self, risk: float) -> float:
        z = -NormalDist().inv_cdf(risk)
        # Student's distribution, for sigma is an estimate.
        return z * (1 + (z * z + 1) / (4 * self.numbers)) * self.sigma


def leaks(
    heard: Real, expected: Real, rate: float, unsure_s: float, bands: list[tuple[float, float]]
) -> list[Leak]:
    """What is left of the probe in ``heard``, in each of ``bands`` (Hz), at ``rate`` Hz.

    ``expected`` is what a live microphone would have heard, from `FAR_S` before until as much
    after. Each half of the record is weighed by the noise of the other: weighed by its own, a leak
    would count as noise.
    """
    margin = round(FAR_S[1] * rate)
    middle = len(heard) // 2
    halves = (0, middle), (middle, len(heard))
    size = signals.fast_length(middle + 1 + 2 * margin + len(heard) % 2)
    size = signals.fast_length(size + middle + 1)
    hertz = np.fft.rfftfreq(size, 1 / rate)
    cross = np.zeros(len(hertz), dtype=np.complex128)
    weight = np.zeros(len(hertz))
    for (start, stop), (other, end) in zip(halves, halves[::-1], strict=True):
        power, at = signals.power_spectrum(heard[other:end])
        flat = 1 / np.sqrt(np.interp(hertz / rate, at, power) + 1e-30 * power.max() + 1e-300)
        flat[(hertz < LOW_HZ) | (hertz > HIGH_HZ)] = 0
        edge = round(min(_EDGE_S * rate, _EDGE * (stop - start)))
        part = signals.tapered(heard[start:stop], edge)
        white = np.fft.irfft(np.fft.rfft(part, size) * flat, size)
        sigma = 1.4826 * float(np.median(np.abs(white[: len(part)])))
        np.clip(white, -_CLICK_SIGMAS * sigma, _CLICK_SIGMAS * sigma, out=white)
        longer = expected[start : stop + 2 * margin]
        cross += np.conj(np.fft.rfft(longer, size) * flat) * np.fft.rfft(white)
        within = signals.tapered(longer[margin : margin + len(part)], edge)
        weight += np.abs(np.fft.rfft(within, size) * flat) ** 2
    return [
        _leak(np.where(chosen, cross, 0), np.where(chosen, weight, 0), size, rate, unsure_s)
        for low, high in bands
        if (chosen := (hertz >= low) & (hertz <= high)).any()
    ]


def _leak(cross: Complex, weight: Real, size: int, rate: float, unsure_s: float) -> Leak:
    total = 2 * float(weight.sum()) / size
    found = np.abs(signals.analytic(cross, size)) / max(total, 1e-300)
    margin = round(FAR_S[1] * rate)
    near = math.ceil((_NEAR_S + unsure_s) * rate)
    # ``expected`` begins `margin` early: no lag is at -margin.
    wide = max(near, round(_WIDE_S * rate))
    gain, elsewhere = (
        float(np.max(found[np.arange(-reach, reach + 1) - margin])) for reach in (near, wide)
    )
    far = np.arange(round(FAR_S[0] * rate), margin)
    noise = np.concatenate([found[far - margin], found[-far - margin]])
    sigma = math.sqrt(float(np.mean(noise**2)) / 2)
    # How wide the band is that counts: as if it were flat.
    width = float(weight.sum()) ** 2 / max(float(np.sum(weight**2)), 1e-300) * rate / size
    return Leak(gain, sigma, max(4.0, width * len(noise) / rate), elsewhere)
