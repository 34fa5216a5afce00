"""What was heard of a microphone, for a person, and the exit code."""

from __future__ import annotations

from pathlib import Path

from hardmute import errors, new_file
from hardmute.cli import console
from hardmute.listen.outcome import REASONS, Outcome


def draw(outcome: Outcome, file: Path | None) -> None:
    """Draw ``outcome`` into ``file``, if one was asked for and there is something to draw."""
    if file is None or not outcome.bands:
        return
    from hardmute.listen.plot import write_svg

    with new_file(file) as stream:
        write_svg(outcome, stream)


def verdict_code(outcome: Outcome, state: str | None) -> int:
    """The exit code for what was heard while the board said ``state`` (None: not asked)."""
    if state == "fault":
        return errors.FAULT
    if outcome.verdict == "muted":
        # The microphone was heard to be cut, but nobody knows which board said that it was.
        return errors.UNKNOWN if state == "unknown" else errors.OK
    if outcome.verdict == "live":
        return errors.LIVE if state is None else errors.FAULT
    return errors.UNKNOWN


def print_outcome(outcome: Outcome, required_db: float, confidence: float) -> None:
    """The verdict for a person."""
    if outcome.verdict == "muted":
        console.headline(
            "muted",
            f"what the microphone hears is weaker by at least {outcome.least_db:.1f} dB"
            f" (asked for: {required_db:g}; wrong once in {1 / confidence:,.0f})",
            word="PROVEN MUTED",
        )
        if outcome.leak_db is not None:
            console.detail(f"a leak of -{outcome.leak_db:.1f} dB is there, and allowed")
        console.detail(
            "listened to from 1 to 4 kHz for "
            f"{outcome.muted_s:.1f} s; noise that software makes up in place of silence"
        )
        console.detail("cannot be told from a line that is cut")
    elif outcome.verdict == "live":
        console.headline(
            "live", f"leak of -{outcome.leak_db:.1f} dB: the microphone hears the noise"
        )
    else:
        why, advice = REASONS[outcome.reason or ""]
        console.headline("unknown", why, word="INCONCLUSIVE")
        if outcome.least_db is not None:
            console.detail(
                f"proven are {outcome.least_db:.1f} dB, and {required_db:g} were asked for"
            )
        console.detail(advice)
