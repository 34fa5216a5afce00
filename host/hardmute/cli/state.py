"""The state of a board, for a person."""

from __future__ import annotations

import json
from collections.abc import Callable

import muteboard
from hardmute import NOT_ATTESTED, Observation, errors, warning_text, words
from hardmute.cli import console
from hardmute.model.typed import Any
from hardmute.render.observations import status_row, why

# What `--json` prints of each board.
Rows = list[dict[str, Any]]


def name(board: str | None, label: str | None) -> str:
    """What a person reads for a board: its label, if it has one, and its id."""
    if board is None:
        return "unknown board"
    return f"{label} ({board})" if label else f"board {board}"


def print_observation(label: str | None, observation: Observation) -> None:
    """The verdict, and below it all that a person can do something with.

    ``label``: of the board.
    """
    board = name(observation.board, label)
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
        attested = ", attested" if observation.proof in ("attested", "absent") else ""
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


def print_state(
    observation: Observation,
    label: str | None,
    firmware: str | None,
    *,
    as_json: bool,
    short: bool = False,
    rows: Rows | None = None,
) -> None:
    """Print a state and the firmware's version; None for a board that did not answer.

    ``short``: in one line for `short_line`. ``rows``: what that or `--json` prints is put there
    instead.
    """
    if short:
        row = observation.as_json() | {"label": label}
        if rows is None:
            print(short_line([row]))
        else:
            rows.append(row)
        return
    if as_json:
        row = status_row(observation, firmware)
        if rows is None:
            print(json.dumps(row))
        else:
            rows.append(row)
        return
    print_observation(label, observation)
    ours = muteboard.__version__
    if firmware == ours:
        # By the board's own word: `hardmute flash --verify` reads it back.
        console.detail(f"firmware {firmware}, as this hardmute carries it")
    elif firmware is not None:
        console.detail(f"firmware {firmware}; this hardmute carries {ours}: update the older")


def short_line(rows: Rows) -> str:
    """What `--short` prints of boards."""
    from hardmute.render import bars

    return bars.line(
        "plain",
        [
            bars.shown_of(
                row.get("label") or row["board"] or row["device"] or "unknown board",
                row["verdict"],
                row["reason"],
                simulated=row.get("simulated", False),
            )
            for row in rows
        ],
    )


def told_code(tell: Callable[[], object]) -> int:
    """`errors.LOCAL` where ``tell`` cannot print: the exit code tells the state all the same."""
    try:
        tell()
    except OSError as error:
        console.complain_of_output(error)
        return errors.LOCAL
    return errors.OK
