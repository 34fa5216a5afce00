"""The detector on synthetic recordings: what it proves, what it hears, and when it cannot tell.

The same on a real audio server is in tests/audio, the full Monte Carlo in bench/listen.py.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from acoustic_room import Room
from acoustic_room import take as take_anew
from hardmute.listen import probe, signals
from hardmute.listen.detector import judge
from hardmute.listen.leak import FAR_S, Leak, leaks
from hardmute.listen.outcome import REASONS, Outcome, Phases
from hardmute.listen.probe import HIGH_HZ, LEVEL_DBFS, LOW_HZ

ROOM = Room(rate=16_000, muted_s=2.0, drift_ppm=60.0)
Change = Callable[[NDArray[np.float32]], object]
# Most tests begin with the same recording, and none changes it in place.
take = functools.cache(take_anew)


def outcome(room: Room, seed: int = 1, **options: float) -> Outcome:
    return judge(*take(room, seed), **options)


def changed(change: Change, room: Room = ROOM) -> Outcome:
    """What comes of a recording after ``change`` has had it."""
    taken = take(room, 1)
    recorded = taken.recorded.copy()
    change(recorded)
    return judge(*taken._replace(recorded=recorded))


def why_not(found: Outcome) -> str | None:
    """The reason of an outcome, which must not be a verdict."""
    assert found.verdict == "inconclusive"
    assert found.reason in REASONS
    return found.reason


def limit_db(room: Room) -> float:
    """What the best detector could prove at 1e-6: a matched filter that knows everything."""
    floor = 10 ** (room.floor_dbfs / 10) + (1 / 32767) ** 2 / 12
    in_band = 10 * math.log10(floor * (HIGH_HZ - LOW_HZ) / (room.rate / 2))
    numbers = 10 * math.log10(2 * (HIGH_HZ - LOW_HZ) * room.muted_s)
    return room.probe_dbfs - in_band + numbers - 20 * math.log10(4.753)


# A line that is cut.


@pytest.mark.parametrize("rate", [16_000, 44_100, 48_000])
def test_a_cut_line_is_proven_close_to_what_any_detector_could(rate: int) -> None:
    room = ROOM._replace(rate=rate)
    found = outcome(room)
    assert (found.verdict, found.reason, found.leak_db) == ("muted", None, None)
    assert found.least_db is not None
    assert limit_db(room) - 6 <= found.least_db <= limit_db(room)
    assert found.most_db == math.inf


def test_the_recording_is_described() -> None:
    found = outcome(ROOM._replace(delay_ms=250.0))
    assert found.delay_ms == pytest.approx(250, abs=1)
    assert found.drift_ppm == pytest.approx(60, abs=1)
    assert found.live_dbfs == pytest.approx(-40, abs=0.5)
    in_band = ROOM.floor_dbfs + 10 * math.log10((HIGH_HZ - LOW_HZ) / 8000)
    assert found.muted_dbfs == pytest.approx(in_band, abs=1)
    assert found.muted_s == pytest.approx(2, abs=0.01)
    assert [round(band.low_hz) for band in found.bands] == [1000, 1260, 1587, 2000, 2520, 3175]
    for band in found.bands:
        assert 50 < band.least_db < 90
        assert band.live_dbfs > band.muted_dbfs + 30


@pytest.mark.parametrize("drift_ppm", [-100.0, 0.0, 100.0])
def test_two_clocks_that_drift_apart_cost_nothing(drift_ppm: float) -> None:
    # A longer time between the live phases than the drift would be harmless in.
    found = outcome(ROOM._replace(drift_ppm=drift_ppm, muted_s=8.0))
    assert found.verdict == "muted"
    assert found.least_db is not None
    assert found.least_db >= limit_db(ROOM._replace(muted_s=8.0)) - 6


def test_hum_hides_no_leak() -> None:
    """Hum 40 dB over the noise costs next to nothing: it is whitened away."""
    quiet, hum = outcome(ROOM).least_db, outcome(ROOM._replace(hum_dbfs=-50.0)).least_db
    assert quiet is not None
    assert hum is not None
    assert hum > quiet - 3
    assert outcome(ROOM._replace(hum_dbfs=-50.0, leak_db=50.0)).verdict == "live"


def test_clicks_make_no_leak() -> None:
    assert outcome(ROOM._replace(clicks=10)).verdict == "muted"


@pytest.mark.parametrize("rt60_s", [0.02, 1.0])
def test_any_room_will_do(rt60_s: float) -> None:
    assert outcome(ROOM._replace(rt60_s=rt60_s)).verdict == "muted"


def test_a_longer_time_proves_more() -> None:
    short, long = outcome(ROOM), outcome(ROOM._replace(muted_s=8.0))
    assert short.least_db is not None
    assert long.least_db is not None
    assert long.least_db - short.least_db == pytest.approx(10 * math.log10(4), abs=1.5)


# A leak.


@pytest.mark.parametrize("leak_db", [0.0, 20.0, 40.0, 55.0])
def test_a_leak_is_heard_and_measured(leak_db: float) -> None:
    found = outcome(ROOM._replace(leak_db=leak_db))
    assert (found.verdict, found.reason) == ("live", None)
    assert found.leak_db == pytest.approx(leak_db, abs=0.5)
    assert found.least_db is not None
    assert found.most_db is not None
    assert found.least_db < leak_db < found.most_db


def test_a_leak_counts_exactly_above_what_is_required() -> None:
    room = ROOM._replace(leak_db=65.0)
    assert outcome(room, required_db=60).verdict == "muted"
    assert outcome(room, required_db=69).verdict == "live"


def test_what_cannot_be_told_either_way_is_not_told() -> None:
    room = ROOM._replace(leak_db=65.0)
    assert why_not(outcome(room, required_db=65)) == "too_noisy"


def test_a_leak_that_rises_with_frequency_is_heard() -> None:
    """Through stray capacitance: 6 dB an octave, and 90 degrees off."""
    taken = take(ROOM._replace(leak_db=0.0), 1)
    start, stop = taken.phases.muted
    recorded = taken.recorded.copy()
    spectrum = np.fft.rfft(recorded[start:stop])
    hertz = np.fft.rfftfreq(stop - start, 1 / ROOM.rate)
    recorded[start:stop] = np.fft.irfft(spectrum * 0.01j * hertz / 2500, stop - start)
    recorded[start:stop] += 3e-5 * np.random.default_rng(1).standard_normal(stop - start)
    found = judge(*taken._replace(recorded=recorded))
    assert found.verdict == "live"
    assert found.leak_db == pytest.approx(40, abs=4)


def test_a_leak_in_one_band_is_heard_though_the_whole_is_quiet() -> None:
    taken = take(ROOM._replace(leak_db=0.0), 1)
    start, stop = taken.phases.muted
    recorded = taken.recorded.copy()
    spectrum = np.fft.rfft(recorded[start:stop])
    hertz = np.fft.rfftfreq(stop - start, 1 / ROOM.rate)
    spectrum[(hertz < 1000) | (hertz > 1260)] = 0
    recorded[start:stop] = np.fft.irfft(0.005 * spectrum, stop - start)
    recorded[start:stop] += 3e-5 * np.random.default_rng(1).standard_normal(stop - start)
    found = judge(*taken._replace(recorded=recorded), required_db=55)
    assert found.verdict == "live"
    assert found.least_db is not None
    # Over the whole band it is weaker by as much as that is wider.
    assert found.most_db is not None
    assert found.most_db > 55
    assert found.leak_db == pytest.approx(46, abs=2)


@pytest.mark.parametrize("later_ms", [-4.0, 3.0, 20.0])
def test_a_leak_by_another_way_is_heard(later_ms: float) -> None:
    """Another microphone, elsewhere in the same room, in the place of the one that is cut."""
    taken = take(ROOM, 1)
    start, stop = taken.phases.muted
    through = take(ROOM._replace(leak_db=0.0, delay_ms=ROOM.delay_ms + later_ms), 1).recorded
    recorded = taken.recorded.copy()
    recorded[start:stop] += 0.01 * through[start:stop]
    found = judge(*taken._replace(recorded=recorded))
    assert found.verdict == "live"


# When it cannot tell.


def test_inaudible() -> None:
    assert why_not(outcome(ROOM._replace(probe_dbfs=-90.0))) == "inaudible"


def test_another_sound_is_not_the_probe() -> None:
    """A recording of another probe, as somebody might replay it."""
    taken = take(ROOM, 1)
    assert why_not(judge(*taken._replace(recorded=take(ROOM, 2).recorded))) == "inaudible"


def test_digital_silence_while_muted() -> None:
    start, stop = take(ROOM, 1).phases.muted

    def mute_in_software(recorded: NDArray[np.float32]) -> None:
        recorded[start:stop] = 0

    assert why_not(changed(mute_in_software)) == "digital_silence"


def test_a_gap_while_muted_hides_no_leak() -> None:
    """A gate that lets a part of a leak through: what is left must not count for the whole."""
    start, stop = take(ROOM, 1).phases.muted

    def close(recorded: NDArray[np.float32]) -> None:
        recorded[start + 2000 : stop - 8000] = 0.125

    assert why_not(changed(close)) == "digital_silence"


def test_digital_silence_while_live() -> None:
    start, stop = take(ROOM, 1).phases.before

    def mute_in_software(recorded: NDArray[np.float32]) -> None:
        recorded[start:stop] = 0.25

    assert why_not(changed(mute_in_software)) == "digital_silence"


def test_an_echo_canceller() -> None:
    """It takes the probe away within the first seconds of each live phase, as WebRTC's does."""
    phases = take(ROOM, 1).phases

    def cancel(recorded: NDArray[np.float32]) -> None:
        for start, stop in (phases.before, phases.after):
            down_db = np.minimum(40, 15 * np.arange(stop - start) / ROOM.rate)
            recorded[start:stop] *= 10 ** (-down_db / 20)

    assert why_not(changed(cancel)) == "processed"


def test_a_noise_gate() -> None:
    start, _ = take(ROOM, 1).phases.after

    def close(recorded: NDArray[np.float32]) -> None:
        recorded[start + 4000 : start + 4800] = 0

    assert why_not(changed(close)) == "processed"


@pytest.mark.parametrize("lost", [1, 7, 160, 3000])
def test_lost_samples(lost: int) -> None:
    start, stop = take(ROOM, 1).phases.muted
    middle = (start + stop) // 2

    def lose(recorded: NDArray[np.float32]) -> None:
        recorded[middle:-lost] = recorded[middle + lost :].copy()

    assert why_not(changed(lose)) == "lost_samples"


def test_clipped() -> None:
    assert why_not(changed(lambda recorded: np.clip(40 * recorded, -1, 1, out=recorded))) == (
        "clipped"
    )


@pytest.mark.parametrize("factor", [0.7, 1.5])
def test_another_volume_in_the_second_live_phase(factor: float) -> None:
    start, _ = take(ROOM, 1).phases.after

    def turn(recorded: NDArray[np.float32]) -> None:
        recorded[start - 1000 :] *= factor

    assert why_not(changed(turn)) == "changed"


def test_no_sound_in_the_second_live_phase() -> None:
    start, _ = take(ROOM, 1).phases.after
    chance = np.random.default_rng(1)

    def unplug(recorded: NDArray[np.float32]) -> None:
        recorded[start - 1000 :] = 1e-3 * chance.standard_normal(len(recorded) - start + 1000)

    assert why_not(changed(unplug)) == "changed"


def test_what_is_played_is_no_recording_of_it() -> None:
    """The monitor of a sound server: a perfect copy, later."""
    taken = take(ROOM, 1)
    copy = np.roll(np.round(taken.played * 32767) / 32767, 1000).astype(np.float32)
    assert why_not(judge(*taken._replace(recorded=copy))) == "not_a_microphone"


@pytest.mark.parametrize("phase", [0, 1, 2])
def test_too_short(phase: int) -> None:
    taken = take(ROOM, 1)
    phases = list(taken.phases)
    start, _ = phases[phase]
    phases[phase] = (start, start + ROOM.rate // 2)
    assert why_not(judge(*taken._replace(phases=Phases(*phases)))) == "too_short"


def test_phases_beyond_the_recording_are_too_short() -> None:
    taken = take(ROOM, 1)
    cut = taken.recorded[: taken.phases.after[1] - 1]
    assert why_not(judge(*taken._replace(recorded=cut))) == "too_short"


def test_too_noisy() -> None:
    found = outcome(ROOM._replace(probe_dbfs=-66.0))
    assert why_not(found) == "too_noisy"
    assert found.least_db is not None
    assert 40 < found.least_db < 60


@pytest.mark.parametrize("probe_dbfs", [-62.0, -66.0, -70.0, -74.0])
def test_a_faint_probe_makes_no_leak_look_smaller(probe_dbfs: float) -> None:
    """Noise that was learned as if it were the response must not count for the live level."""
    room = ROOM._replace(probe_dbfs=probe_dbfs, floor_dbfs=-105.0, leak_db=30.0)
    found = outcome(room)
    assert found.verdict in ("live", "inconclusive")
    if found.least_db is not None:
        assert found.least_db < 30


# The statistics.

DRAWN_S = 1.0


def _draw(chance: np.random.Generator, gain: float, rate: float) -> tuple[Leak, float]:
    """What is found of a leak of ``gain``, in sigmas, in white noise."""
    margin, count = round(FAR_S[1] * rate), round(DRAWN_S * rate)
    expected = signals.in_band(chance.standard_normal(count + 2 * margin), round(rate))
    noise = 30 * signals.in_band(chance.standard_normal(count), round(rate))
    known_sigma = 30 / math.sqrt(2 * (HIGH_HZ - LOW_HZ) * DRAWN_S)
    heard = noise + gain * known_sigma * expected[margin : margin + count]
    (found,) = leaks(heard, expected, rate, 0.0, [(LOW_HZ, HIGH_HZ)])
    return found, gain * known_sigma


def test_the_noise_is_known_as_well_as_is_said() -> None:
    chance = np.random.default_rng(1)
    found = [_draw(chance, 0.0, 12_000)[0] for _ in range(100)]
    known = 30 / math.sqrt(2 * (HIGH_HZ - LOW_HZ) * DRAWN_S)
    # Never less than a perfect whitening filter, made from no estimate, would leave.
    mean = float(np.mean([leak.sigma for leak in found]))
    assert known < mean < 1.25 * known
    spread = float(np.std([leak.sigma for leak in found])) / mean
    expected = 1 / math.sqrt(4 * float(np.mean([leak.numbers for leak in found])))
    assert spread < 2 * expected


@pytest.mark.parametrize(("gain", "draws"), [(2.0, 100), (10.0, 400)])
def test_a_bound_is_too_low_no_more_often_than_is_said(gain: float, draws: int) -> None:
    """At a risk that can be counted. 3.3 standard errors above what is predicted. (With no leak
    no bound is too low.)
    """
    risk = 0.05
    chance = np.random.default_rng(int(gain) + 1)
    found = [_draw(chance, gain, 12_000) for _ in range(draws)]
    wrong = sum(leak.bound(risk) < true for leak, true in found)
    assert wrong <= draws * risk + 3.3 * math.sqrt(draws * risk * (1 - risk))
    if gain == 10.0:
        # And it is no wider than it need be.
        assert wrong > 0


# The probe.


def test_the_probe_is_fresh_soft_and_in_its_band() -> None:
    made = probe.noise(b"one", 48_000, 48_000).astype(np.float64)
    assert not np.array_equal(made, probe.noise(b"two", 48_000, 48_000))
    assert np.array_equal(made, probe.noise(b"one", 48_000, 48_000))
    power = np.abs(np.fft.rfft(np.hanning(48_000) * made)) ** 2
    hertz = np.fft.rfftfreq(48_000, 1 / 48_000)
    inside = (hertz > LOW_HZ - 10) & (hertz < HIGH_HZ + 10)
    assert power[~inside].sum() < 1e-4 * power.sum()
    assert signals.decibels(np.sqrt(np.mean(made**2))) <= LEVEL_DBFS
    assert signals.decibels(np.sqrt(np.mean(made**2))) > LEVEL_DBFS - 0.5
    assert np.max(np.abs(made)) <= 10 ** ((LEVEL_DBFS + 14) / 20)
    assert abs(made[0]) < 1e-6
