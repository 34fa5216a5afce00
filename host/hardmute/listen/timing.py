"""Which samples of a recording belong to which phase."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hardmute.listen import path, signals
from hardmute.listen.outcome import CannotTellError, Phases
from hardmute.listen.path import Source
from hardmute.listen.probe import Samples

# What is left out around a change: the moments are known to some milliseconds, a relay takes as
# many, and a room is filled with sound after some tenths of a second.
EDGE_S = 0.1
FILL_S = 0.3
_SEEN_S = 2.5


def begun(recorded: Samples) -> int:
    """How many exact zeros a recording begins with, before a device delivers anything."""
    sounding = np.flatnonzero(recorded)
    return int(sounding[0]) if len(sounding) else len(recorded)


class HeardMoment(NamedTuple):
    """How many samples of the probe had been given to the speaker by then, and how many of the
    recording had arrived.
    """

    given: int
    arrived: int


def phases(
    played: Samples,
    recorded: Samples,
    rate: int,
    cut: HeardMoment,
    end: HeardMoment,
    connected: HeardMoment,
) -> Phases:
    """The phases, where the line was cut at ``cut`` and connected again at ``connected``, and the
    muted phase was over at ``end``, if that was before.

    Whatever the buffers in between: what had arrived at a moment was recorded before it, and the
    probe that was given later was recorded after it. Where in the recording that is, the recording
    itself tells: the delay from giving the probe. Raises `CannotTellError` if it does not.
    """
    edge, fill = round(EDGE_S * rate), round(FILL_S * rate)
    start = begun(recorded)
    factor = signals.decimation(rate)
    live = cut.arrived - edge
    window = max(start, cut.arrived - round(_SEEN_S * rate)) // factor, live // factor
    late = 0
    if window[1] - window[0] >= rate / factor:
        heard = signals.in_band(recorded[: cut.arrived], rate)
        timing = path.find(Source(played, rate), heard, window)
        if timing is None:
            raise CannotTellError("inaudible")
        late = round(factor * (timing.delay + timing.drift * window[0]))
    return Phases(
        (max(start, late) + fill, live),
        (cut.given + late + edge, min(end.arrived, connected.arrived - fill)),
        (connected.given + late + fill, len(recorded)),
    )
