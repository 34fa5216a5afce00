"""The sound that is played: fresh noise in a band that every speaker and microphone has."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Untrained ears find noise less of a nuisance than tones, and no frequency goes untested.
# Ultrasound would be silent, but speakers, microphones, headsets at 16 kHz and noise suppression
# remove it.
LOW_HZ, HIGH_HZ = 1_000.0, 4_000.0
# Mean power relative to a full-scale peak of 1. Nothing louder is ever played.
LEVEL_DBFS = -20.0
# Peaks beyond 5 sigma, of which there is one in some minutes, are cut off.
_PEAK = 5.0
_FADE_S = 0.02

Samples = NDArray[np.floating[Any]]


def noise(seed: bytes, frames: int, rate: int) -> NDArray[np.float32]:
    """``frames`` samples of the probe at ``rate`` Hz; the same for the same ``seed``.

    Normally distributed and flat from `LOW_HZ` to `HIGH_HZ`, `LEVEL_DBFS` in power, faded in so
    that it begins without a click.
    """
    chance = np.random.default_rng(list(seed))
    spectrum = np.fft.rfft(chance.standard_normal(frames))
    hertz = np.fft.rfftfreq(frames, 1 / rate)
    spectrum[(hertz < LOW_HZ) | (hertz > HIGH_HZ)] = 0
    made = np.fft.irfft(spectrum, frames)
    sigma = 10 ** (LEVEL_DBFS / 20)
    made *= sigma / np.sqrt(np.mean(made**2))
    np.clip(made, -_PEAK * sigma, _PEAK * sigma, out=made)
    fade = min(frames, int(_FADE_S * rate))
    made[:fade] *= np.sin(np.linspace(0, np.pi / 2, fade)) ** 2
    return made.astype(np.float32)
