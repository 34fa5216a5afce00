"""Which samples belong to which phase, on a line and buffers that are reckoned exactly."""

from __future__ import annotations

import numpy as np
import pytest

from hardmute.listen import probe
from hardmute.listen.outcome import CannotTellError
from hardmute.listen.timing import HeardMoment, phases

RATE = 16_000
CUT_S, END_S, CONNECTED_S, STOP_S = 4.0, 7.5, 8.0, 11.0


@pytest.mark.parametrize("ahead_s", [0.0, 0.4])
@pytest.mark.parametrize("burst_s", [0.0, 0.3])
@pytest.mark.parametrize("arrives_s", [-0.002, 0.01, 0.5])
def test_P5_no_buffer_brings_a_live_sample_into_the_muted_phase(
    ahead_s: float, burst_s: float, arrives_s: float
) -> None:
    """``ahead_s``: how far ahead of the sound the probe is given; ``burst_s``: in blocks so
    long it passes the line at once (a sink of software); ``arrives_s``: how late what is recorded
    arrives; less than nothing where the first samples got lost.
    """
    played = probe.noise(bytes(16), round(12 * RATE), RATE)
    # When each sample of the probe is at the line, in seconds from when the first is given.
    passes = np.arange(len(played)) / RATE
    if burst_s:
        passes = np.floor(passes / burst_s) * burst_s
    connected = (passes < CUT_S) | (passes >= CONNECTED_S)
    # By number of the recorded sample: which of the probe it is.
    number = np.arange(round(STOP_S * RATE)) - round(arrives_s * RATE)
    live = (number >= 0) & connected[np.maximum(number, 0)]
    recorded = np.where(number < 0, 0, 0.1 * played[np.maximum(number, 0)] * live + 1e-4)

    def at(moment_s: float) -> HeardMoment:
        return HeardMoment(round((moment_s + ahead_s + burst_s) * RATE), round(moment_s * RATE))

    before, muted, after = phases(played, recorded, RATE, at(CUT_S), at(END_S), at(CONNECTED_S))
    assert live[slice(*before)].all()
    assert not live[slice(*muted)].any()
    assert live[slice(*after)].all()
    # And no more is left out than all that may be on its way.
    most_s = ahead_s + burst_s + arrives_s + 0.5
    assert before[1] - before[0] > (CUT_S - most_s) * RATE
    assert muted[1] - muted[0] > (END_S - CUT_S - most_s) * RATE
    assert after[1] - after[0] > (STOP_S - CONNECTED_S - most_s) * RATE


@pytest.mark.parametrize("seed", range(10))
def test_P5_a_delay_that_noise_makes_up_is_none(seed: int) -> None:
    """It would leave out as much of the phases as chance has it."""
    played = probe.noise(bytes([seed]) * 16, round(12 * RATE), RATE)
    recorded = np.random.default_rng(seed).standard_normal(round(STOP_S * RATE))
    at = [
        HeardMoment(round(time_s * RATE), round(time_s * RATE))
        for time_s in (CUT_S, END_S, STOP_S)
    ]
    with pytest.raises(CannotTellError) as told:
        phases(played, recorded.astype(np.float32), RATE, *at)
    assert told.value.reason == "inaudible"
