"""The state of a board, for a person."""

from __future__ import annotations

from hardmute.cli import console
from hardmute.evidence.observation import Observation
from hardmute.model import words
from hardmute.model.answers import NOT_ATTESTED, warning_text
from hardmute.render.observations import why
from hardmute.store.log import Log


def label(log: Log | None, board: str | None) -> str:
    """What a person calls ``board``, and its id."""
    if board is None:
        return "unknown board"
    named = log.label(board) if log is not None else None
    return f"{named} ({board})" if named else f"board {board}"


def print_observation(log: Log | None, observation: Observation) -> None:
    """The verdict, and below it all that a person can do something with."""
    board = label(log, observation.board)
    if observation.state is None:
        console.headline(observation.verdict, f"{board}: {why(observation)}")
        return
    unsigned = observation.reason == NOT_ATTESTED
    claimed = f": {words.claimed(observation.unsigned)}" if unsigned else ""
    console.headline(observation.verdict, f"{board}{claimed}")
    if observation.simulated:
        console.detail("a simulated board: no real microphone is cut by it")
    if unsigned:
        console.detail(words.unsigned(observation.unsigned).advice)
        _print_warnings(observation)
        return
    since_ms = observation.since_ms or 0
    began = words.local_time(observation.at_ms - since_ms)
    cause = "" if observation.cause == "fault" else f", by {words.CAUSES[observation.cause or '']}"
    console.detail(f"since {began} ({words.duration(since_ms)}){cause}")
    if observation.reason:
        console.detail(f"{observation.reason}")
    _print_contacts(observation)
    if observation.remute_in_ms is not None:
        console.detail(f"mutes itself in {words.duration(observation.remute_in_ms)}")
    if observation.unsigned not in (None, "contradicted"):
        console.detail(f"not signed ({words.unsigned(observation.unsigned).word})")
    _print_warnings(observation)


def _print_warnings(observation: Observation) -> None:
    if observation.service not in (None, "none"):
        console.detail(
            f"in {observation.service}: the line stays cut until the power has been off"
        )
    for warning in observation.warnings or ():
        console.detail(f"warning: {warning_text(warning)}")


def _print_contacts(observation: Observation) -> None:
    sense = observation.sense or ()
    opened = [str(number) for number, bit in enumerate(sense, 1) if not bit]
    if sense:
        attested = ", attested" if observation.proof == "attested" else ""
        console.detail(f"{len(opened)} of {len(sense)} contacts sensed open{attested}")
    if observation.state != "fault":
        return
    if len(opened) == len(sense):
        console.detail("they agree with the command again: one press of the button ends the fault")
    elif opened:
        console.detail(f"the line is still cut by contact {' and '.join(opened)}")
    else:
        console.detail(
            "the microphone may still be connected: pull its plug, then `hardmute doctor`"
        )
