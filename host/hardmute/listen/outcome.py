"""What listening ends with."""

from __future__ import annotations

from typing import NamedTuple

from hardmute.listen.path import Window


class Phases(NamedTuple):
    """Which samples of the recording are of which phase: [start, stop)."""

    before: Window
    muted: Window
    after: Window


class Band(NamedTuple):
    """One band, ``low_hz`` to ``high_hz``: power of the recording, live and muted, in dB re a
    full-scale peak of 1, and by how much the probe is at least weaker in it while muted.
    """

    low_hz: float
    high_hz: float
    live_dbfs: float
    muted_dbfs: float
    least_db: float


class Outcome(NamedTuple):
    """``verdict``: ``muted``, ``live`` (a leak), or ``inconclusive`` for ``reason`` (`REASONS`).

    The microphone hears the probe by ``least_db`` to ``most_db`` less while it is muted; None
    where that was not reckoned, ``most_db`` infinite where no leak stands out. ``leak_db``: of the
    loudest leak that does, over all or in one band. Levels as in `Band`. ``delay_ms``: from
    handing over the probe until it is recorded; ``drift_ppm``: of one clock against the other.
    """

    verdict: str
    reason: str | None
    least_db: float | None = None
    leak_db: float | None = None
    most_db: float | None = None
    live_dbfs: float | None = None
    muted_dbfs: float | None = None
    delay_ms: float | None = None
    drift_ppm: float | None = None
    muted_s: float = 0.0
    bands: tuple[Band, ...] = ()


REASONS = {
    "too_short": "a phase was too short to tell anything",
    "lost_samples": "samples were lost or doubled on their way",
    "clipped": "the recording is overdriven",
    "inaudible": "the probe cannot be heard while the microphone is live",
    "digital_silence": "the recording stands still, which no converter does: a mute in software",
    "processed": "something changes the sound on its way: echo cancellation, noise suppression",
    "not_a_microphone": "what is recorded is what is played, without air in between",
    "changed": "the second live phase is not like the first",
    "too_noisy": "the noise hides leaks that are to be found",
}


class CannotTellError(Exception):
    """``reason``: of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
