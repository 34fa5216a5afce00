"""What a board was seen to be, in words."""

from __future__ import annotations

import muteboard
from hardmute.evidence.observation import Observation
from hardmute.model import words
from hardmute.model.answers import NOT_ATTESTED
from hardmute.model.typed import Any


def status_row(observation: Observation, firmware: str | None) -> dict[str, Any]:
    """What `hardmute status --json` prints. ``firmware``: None for a board that did not answer."""
    matches = None if firmware is None else firmware == muteboard.__version__
    return observation.as_json() | {"firmware": firmware, "firmware_matches": matches}


def why(observation: Observation) -> str:
    """What belongs to the verdict, in one line."""
    if observation.state is None:
        return words.REASONS.get(observation.reason or "", "")
    if observation.reason == NOT_ATTESTED:
        parts = [words.claimed(observation.unsigned)]
    else:
        parts = [words.CAUSES.get(observation.cause or "", ""), observation.reason or ""]
    if observation.service not in (None, "none"):
        parts.append(f"in {observation.service}")
    parts += [warning.replace("_", " ") for warning in observation.warnings or ()]
    if observation.simulated:
        parts.append("simulated")
    return ", ".join(filter(None, parts))
