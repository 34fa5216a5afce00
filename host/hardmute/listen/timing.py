"""Which samples of a recording belong to which phase."""

from __future__ import annotations

import numpy as np

from hardmute.listen import path, signals
from hardmute.listen.outcome import Phases
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


def phases(
    played: Samples, recorded: Samples, rate: int, cut: int, end: int, connected: int
) -> Phases:
    """The phases, where ``cut`` samples had arrived when the line was cut, ``connected`` when it
    was connected again, and ``end`` when the muted phase was over, if that was before.

    What arrives was recorded a while ago: no longer than from handing over the probe until it is
    recorded, which the recording itself tells.
    """
    edge, fill = round(EDGE_S * rate), round(FILL_S * rate)
    start = begun(recorded)
    factor = signals.decimation(rate)
    window = max(start, cut - round(_SEEN_S * rate)) // factor, (cut - edge) // factor
    late = 0
    if window[1] - window[0] >= rate / factor:
        heard = signals.in_band(recorded[:cut], rate)
        timing = path.find(Source(played, rate), heard, window)
        late = round(factor * (timing.delay + timing.drift * window[0]))
    return Phases(
        (max(start, late) + fill, cut - edge),
        (cut + late + edge, min(end, connected - fill)),
        (connected + late + fill, len(recorded)),
    )
