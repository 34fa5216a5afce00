"""Live, muted, live: by how many decibels is the microphone cut, and how sure is that?

Pure: arrays in, an `Outcome` out. While it is live the microphone teaches what the probe sounds
like to it; what is recorded while it is muted is compared with that, however deep in the noise.
docs/by-ear.md has the statistics.
"""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from hardmute.listen import live, signals
from hardmute.listen.leak import FAR_S, Leak, leaks
from hardmute.listen.live import Live
from hardmute.listen.outcome import Band, CannotTellError, Outcome, Phases
from hardmute.listen.path import Source, Window
from hardmute.listen.probe import HIGH_HZ, LOW_HZ, Samples
from hardmute.listen.signals import Real

# A leak need not sound as the live microphone does: one through stray capacitance rises by 6 dB
# an octave, and then matches the live response less well, by this much.
_MARGIN_DB = 0.5
# Thirds of an octave. One that leaks more than is allowed counts, however quiet the others are.
_BANDS_HZ = tuple(pairwise(LOW_HZ * 2 ** (third / 3) for third in range(7)))
assert math.isclose(_BANDS_HZ[-1][1], HIGH_HZ)
# What each phase must last at the least.
_LEAST_LIVE_S, _LEAST_MUTED_S = 1.0, 1.0
# Samples that equal the one before, of all: a converter's own noise moves it more often.
_STILL = 0.9
_FULL_SCALE = 0.999
# Samples at full scale that are no accident.
_CLIPPED = 4
# So long no converter stands still, in sound or in its own noise.
_GAP_S = 0.01
# How much softer all that is outside the band may be. A room has its rumble and a converter its
# noise: where there is less, the sound never was in the air.
_COPY_DB = -55.0
_BESIDE_HZ = 300.0
# So many lags are looked at: the width of the band times 90 ms.
_WAYS = 270


def judge(
    played: Samples,
    recorded: Samples,
    rate: int,
    phases: Phases,
    *,
    required_db: float = 60.0,
    confidence: float = 1e-6,
) -> Outcome:
    """The outcome of a recording, of which sample n was taken when sample n was ``played``.

    ``confidence``: how likely ``least_db`` may be more, and ``most_db`` less, than is true.
    """
    try:
        _check_samples(recorded, rate, phases)
        source = Source(played, rate)
        heard = signals.in_band(recorded, rate)
        factor = signals.decimation(rate)
        before, muted, after = (
            (math.ceil(start / factor), stop // factor) for start, stop in phases
        )
        known = live.listen(source, heard, before, after)
        _check_gaps(recorded[slice(*phases.muted)], rate)
    except CannotTellError as reason:
        return Outcome("inconclusive", reason.reason)
    start, stop = muted
    margin = round(FAR_S[1] * source.rate)
    expected = known.gain * known.response.expected(start - margin, stop + margin)
    whole, *parts = leaks(
        heard[start:stop], expected, source.rate, known.unsure_s, [(LOW_HZ, HIGH_HZ), *_BANDS_HZ]
    )
    outcome = _conclude(whole, parts, known, required_db, confidence / 2)
    loud = _levels(heard, (before, after), source.rate)
    soft = _levels(heard, (muted,), source.rate)
    timing = known.response.timing
    return outcome._replace(
        live_dbfs=_total(loud),
        muted_dbfs=_total(soft),
        delay_ms=1000 * (timing.delay + timing.drift * start) / source.rate,
        drift_ppm=1e6 * timing.drift,
        muted_s=(stop - start) / source.rate,
        bands=tuple(
            band._replace(live_dbfs=one, muted_dbfs=other)
            for band, one, other in zip(outcome.bands, loud, soft, strict=True)
        ),
    )


# What makes a recording useless, whatever is in it.


def _check_samples(recorded: Samples, rate: int, phases: Phases) -> None:
    for (start, stop), least_s in zip(
        phases, (_LEAST_LIVE_S, _LEAST_MUTED_S, _LEAST_LIVE_S), strict=True
    ):
        if start < 0 or stop > len(recorded) or stop - start < least_s * rate:
            raise CannotTellError("too_short")
    for start, stop in phases:
        part = recorded[start:stop]
        if np.mean(part[1:] == part[:-1]) >= _STILL:
            raise CannotTellError("digital_silence")
    for start, stop in (phases.before, phases.after):
        part = recorded[start:stop]
        if np.count_nonzero(np.abs(part) >= _FULL_SCALE) >= _CLIPPED:
            raise CannotTellError("clipped")
        if _longest_still(part) >= _GAP_S * rate:
            raise CannotTellError("processed")
        if _beside_db(part, rate) < _COPY_DB:
            raise CannotTellError("not_a_microphone")


def _check_gaps(muted: Samples, rate: int) -> None:
    """In a gap a leak would not be heard. Lost samples, which leave some too, are asked first."""
    if _longest_still(muted) >= _GAP_S * rate:
        raise CannotTellError("digital_silence")


def _beside_db(part: Samples, rate: int) -> float:
    """Power outside the probe's band, relative to that in it."""
    power, at = signals.power_spectrum(part.astype(np.float64))
    outside = (at * rate < LOW_HZ - _BESIDE_HZ) | (at * rate > HIGH_HZ + _BESIDE_HZ)
    inside = float(power[~outside].sum())
    return signals.decibels(math.sqrt(float(power[outside].sum()) / max(inside, 1e-300)))


def _longest_still(part: Samples) -> int:
    """How many samples in a row are the same."""
    moves = np.flatnonzero(np.diff(part, prepend=np.nan, append=np.nan))
    return int(np.max(np.diff(moves), initial=0))


def _conclude(
    whole: Leak, parts: list[Leak], known: Live, required_db: float, risk: float
) -> Outcome:
    """The verdict. ``risk``: how likely it may be wrong in either direction."""
    live_error = -NormalDist().inv_cdf(risk) * known.sigma
    least, most = _between_db(whole, risk, live_error)
    # Six bands are six chances to be wrong.
    bounds = [_between_db(part, risk / len(parts), live_error) for part in parts]
    # By another way than the live microphone's; there are many, and so many chances to err.
    other = whole._replace(gain=whole.elsewhere)
    elsewhere = _between_db(other, risk / _WAYS, live_error)
    # The loudest that stands out: over all, or where one band, or another way, gives it away.
    told = [whole] if math.isfinite(most) else []
    if most < required_db:
        verdict, reason = "live", None
    elif any(highest < required_db for _, highest in bounds):
        verdict, reason = "live", None
        told += [part for part, (_, high) in zip(parts, bounds, strict=True) if high < required_db]
    elif elsewhere[1] < required_db:
        verdict, reason = "live", None
        told.append(other)
    elif min(least, elsewhere[0]) >= required_db:
        verdict, reason = "muted", None
    else:
        verdict, reason = "inconclusive", "too_noisy"
    return Outcome(
        verdict,
        reason,
        least,
        min((-signals.decibels(leak.gain) for leak in told), default=None),
        most,
        bands=tuple(
            Band(low, high, 0.0, 0.0, lowest)
            for (low, high), (lowest, _) in zip(_BANDS_HZ, bounds, strict=True)
        ),
    )


def _between_db(leak: Leak, risk: float, live_error: float) -> tuple[float, float]:
    """By how much it is weaker than live, at least and at most."""
    smallest = leak.least(risk)
    return (
        signals.decibels((1 - live_error) / leak.bound(risk)) - _MARGIN_DB,
        signals.decibels((1 + live_error) / smallest) if smallest else math.inf,
    )


def _levels(heard: Real, windows: tuple[Window, ...], rate: float) -> list[float]:
    """Power in each third of an octave, in dB re full scale."""
    found: list[float] = []
    spectra = [signals.power_spectrum(heard[start:stop]) for start, stop in windows]
    # Of white noise of power 1 this says: its share of the spectrum.
    total = [np.mean(heard[start:stop] ** 2) for start, stop in windows]
    for low, high in _BANDS_HZ:
        power = [
            float(mean * spectrum[(at * rate >= low) & (at * rate < high)].sum() / spectrum.sum())
            for mean, (spectrum, at) in zip(total, spectra, strict=True)
        ]
        found.append(signals.decibels(math.sqrt(sum(power) / len(power))))
    return found


def _total(levels: list[float]) -> float:
    return signals.decibels(math.sqrt(sum(10 ** (level / 10) for level in levels)))
