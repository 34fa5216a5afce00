"""What the log keeps of a listening (docs/evidence.md): numbers and names, no sound."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from hardmute.listen.devices import Device
from hardmute.listen.outcome import Outcome


class When(NamedTuple):
    """The muted phase: host's wall time, and the board's uptime in ``boot``; ms."""

    from_ms: int
    to_ms: int
    boot: int
    uptime_from_ms: int
    uptime_to_ms: int


def body(
    outcome: Outcome,
    *,
    state: str | None,
    when: When | None,
    required_db: float,
    confidence: float,
    microphone: Device,
    speaker: Device,
    rate: int,
    versions: dict[str, str],
    simulated: bool,
) -> dict[str, Any]:
    """The body of a log's entry. ``state``: what the board said while it was to be muted."""
    return {
        "verdict": outcome.verdict,
        "reason": outcome.reason,
        "state": state,
        **(when or _NO_TIME)._asdict(),
        "required_cdb": _hundredths(required_db),
        "risk_ppb": round(confidence * 1e9),
        "least_cdb": _hundredths(outcome.least_db),
        "leak_cdb": _hundredths(outcome.leak_db),
        "most_cdb": _hundredths(outcome.most_db),
        "live_cdb": _hundredths(outcome.live_dbfs),
        "muted_cdb": _hundredths(outcome.muted_dbfs),
        "delay_us": None if outcome.delay_ms is None else round(1000 * outcome.delay_ms),
        "drift_ppb": None if outcome.drift_ppm is None else round(1000 * outcome.drift_ppm),
        "rate": rate,
        "bands": [
            [
                round(band.low_hz),
                round(band.high_hz),
                _hundredths(band.live_dbfs),
                _hundredths(band.muted_dbfs),
                _hundredths(band.least_db),
            ]
            for band in outcome.bands
        ],
        "input": microphone.name,
        "input_virtual": microphone.virtual,
        "output": speaker.name,
        "versions": versions,
        "simulated": simulated,
    }


_NO_TIME = When(0, 0, 0, 0, 0)


def _hundredths(db: float | None) -> int | None:
    """In hundredths of a decibel, as a log has no fractions; None for none, and for infinity."""
    return None if db is None or math.isinf(db) else round(100 * db)
