"""What a board was seen to be, in words."""

from __future__ import annotations

from hardmute.evidence.observation import Observation
from hardmute.model import words
from hardmute.model.answers import NOT_ATTESTED


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
