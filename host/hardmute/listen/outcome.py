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


# Why nothing can be told, and what to change.
REASONS = {
    "too_short": (
        "a phase was too short to tell anything",
        "wait for each word before you press, and do not press twice",
    ),
    "no_press": ("the button was not pressed in time", "begin again"),
    "unsteady": (
        "the board's state changed more often than it was asked to",
        "press once at each word; if you did, the button bounces or the board muted itself",
    ),
    "lost_samples": (
        "samples were lost or doubled on their way",
        "close what else uses the sound or the processor; avoid Bluetooth and hubs",
    ),
    "clipped": ("the recording is overdriven", "turn the microphone's gain or the speaker down"),
    "inaudible": (
        "the probe cannot be heard while the microphone is live",
        "turn the speaker up, unmute, turn echo cancellation off; see `hardmute audio`",
    ),
    "digital_silence": (
        "the recording stands still: a mute in software, or noise too low for its 16 bits",
        "unmute it in the system's sound settings and on the device; then turn its gain up",
    ),
    "processed": (
        "the level of the probe moves while it is live: something processes the sound",
        "turn off echo cancellation, noise suppression, automatic gain and 'enhancements'",
    ),
    "not_a_microphone": (
        "what is recorded is what is played, with no air in between: the wrong device",
        "choose the microphone itself with --input, not the monitor of a speaker",
    ),
    "changed": (
        "the second live phase does not sound like the first",
        "leave speaker, microphone and volume alone meanwhile",
    ),
    "too_noisy": (
        "noise hides leaks as small as were asked for",
        "listen longer (--seconds), turn the speaker up, or ask for less (--min-db)",
    ),
}


class CannotTellError(Exception):
    """``reason``: of `REASONS`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
