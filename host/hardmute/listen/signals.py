"""The few operations on sampled sound that the detector is made of, with numpy alone."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hardmute.listen.probe import HIGH_HZ, LOW_HZ, Samples

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]

# What leaves the band costs time only. The slowest rate that holds it with room to filter.
_LEAST_RATE = 12_000
# The band's filter: 20 ms long, and down by 100 dB from 360 Hz beyond the band on.
FILTER_S = 0.02
_BEYOND_HZ = 200.0
_KAISER = 10.0
_SEGMENT = 2048


def decimation(rate: int) -> int:
    """Of how many samples at ``rate`` Hz one is kept once there is only the band in them."""
    return max(1, rate // _LEAST_RATE)


def in_band(samples: Samples, rate: int) -> Real:
    """The band of the probe alone, one sample of `decimation`; not delayed."""
    taps = _band_filter(rate)
    size = fast_length(len(samples) + len(taps))
    made = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(taps, size), size)
    half = len(taps) // 2
    return made[half : half + len(samples) : decimation(rate)].copy()


@cache
def _band_filter(rate: int) -> Real:
    half = round(FILTER_S * rate / 2)
    at = np.arange(-half, half + 1)
    low, high = 2 * (LOW_HZ - _BEYOND_HZ) / rate, 2 * (HIGH_HZ + _BEYOND_HZ) / rate
    taps = high * np.sinc(high * at) - low * np.sinc(low * at)
    return taps * np.kaiser(len(at), _KAISER)


def fast_length(least: int) -> int:
    """A length from ``least`` on that an FFT is fast for."""
    power = 1 << (least - 1).bit_length()
    return next(size for size in (power * 5 // 8, power * 3 // 4, power) if size >= least)


def delayed(samples: Samples, start: float, step: float, count: int) -> Real:
    """``count`` samples from position ``start`` on, ``step`` apart, by cubic interpolation.

    The band ends below a tenth of 48 kHz: there the error is 0.2 % of the amplitude. Zero outside.
    """
    at = start + step * np.arange(count)
    whole = np.floor(at).astype(np.int64)
    part = at - whole
    inside = np.clip(whole, -2, len(samples)) + 2
    padded = np.concatenate([np.zeros(3), samples, np.zeros(4)])
    before, here, after, beyond = (padded[inside + offset] for offset in range(4))
    return (
        -before * part * (part - 1) * (part - 2) / 6
        + here * (part + 1) * (part - 1) * (part - 2) / 2
        - after * (part + 1) * part * (part - 2) / 2
        + beyond * (part + 1) * part * (part - 1) / 6
    )


def power_spectrum(samples: Real) -> tuple[Real, Real]:
    """Power per bin, and the bins' frequencies in cycles per sample.

    The median over segments: a click is in few of them. Only its shape counts.
    """
    size = min(_SEGMENT, 1 << (max(len(samples) // 4, 16).bit_length() - 1))
    starts = range(0, len(samples) - size + 1, size // 2)
    window = np.hanning(size)
    powers = [np.abs(np.fft.rfft(window * samples[at : at + size])) ** 2 for at in starts]
    return np.median(powers, axis=0), np.arange(size // 2 + 1) / size


def analytic(half: Complex, size: int) -> Complex:
    """The complex signal of ``size`` samples whose spectrum from zero up is ``half``."""
    full = np.zeros(size, dtype=np.complex128)
    full[: len(half)] = 2 * half
    return np.fft.ifft(full)


def tapered(samples: Real, edge: int) -> Real:
    """``samples`` that begin and end softly, over ``edge`` of them."""
    slope = np.sin(np.linspace(0, np.pi / 2, edge)) ** 2
    made = samples.copy()
    made[:edge] *= slope
    made[len(made) - edge :] *= slope[::-1]
    return made


def decibels(ratio: float | np.floating[Any]) -> float:
    """20 log10 of an amplitude ratio; -300 for nothing at all."""
    return 20 * float(np.log10(max(float(ratio), 1e-15)))
