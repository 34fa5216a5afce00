"""Guides a person to open a board's service mode, and waits until the board is in it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing
from typing import Literal

from hardmute.cli import console
from hardmute.device import client, discovery
from hardmute.model import errors, words
from hardmute.model.answers import Identity
from hardmute.model.clock import SYSTEM
from hardmute.sync.recorder import Recorder

# How often a board that is to come back is looked for, in seconds.
POLL_S = 0.3
# For how many minutes: while somebody is at the terminal, and where nobody may be at the board.
_MINUTES = 5
_MINUTES_ALONE = 2
# For how long the button is held (firmware/README.md, "Service modes"), in seconds: at least, and
# what a simulated finger takes.
_HOLDS = {"setup": (3, 3.3), "maintenance": (10, 10.5)}
_UNTIL = {
    "setup": ("until the lamp is blue", " (after 10 s it would be maintenance: then begin again)"),
    "maintenance": ("until the lamp flashes blue", ""),
}
LEAVE = "To leave {service}, unplug the board and plug it in again: until then its line stays cut."

# Given the board that is meant: the place where it is in the service now, or None.
Look = Callable[[Identity], str | None]


def wait_for(
    service: Literal["setup", "maintenance"],
    device: str | None,
    timeout: float,
    recorder: Recorder,
    look: Look | None = None,
) -> str:
    """Guide the person until the board that is meant is in ``service``. Returns where it is.

    ``device`` and ``timeout``: as for `discovery.open_board`. The board has to answer once, so
    that it is known which one is meant; with several and none named that is a `UsageError`.
    ``look`` finds a board that does not answer in ``service``; without one that is a board at
    MicroPython's prompt, told by its id, and its port is returned.

    Raises `UnreachableError` where there is no board to begin with, or patience ends: after five
    minutes, or two with nobody at a terminal.
    """
    meant: Identity | None = None
    port = ""
    told = ""
    minutes = _MINUTES if sys.stdin.isatty() else _MINUTES_ALONE
    # A hello and a prompt are two questions: a port may answer one of them.
    search, prompts = discovery.Search(), discovery.Search()
    deadline = SYSTEM.now_s() + 60 * minutes
    while True:
        by_port = device is not None and discovery.is_port(device)
        named = device if meant is None or by_port else meant.board
        try:
            with discovery.open_board(named, timeout, recorder.log, search=search) as (
                session,
                identity,
            ):
                prompts.met(session.device)
                if meant is not None and meant.board != identity.board:
                    seen = f"another board is there ({identity.board})"
                else:
                    meant, port = identity, session.device
                    at = session.status().service
                    if at == service == "setup":
                        return port
                    seen = "connected, " + (f"in {at}" if at != "none" else f"not in {service}")
        except errors.UnreachableError as error:
            if meant is None:
                raise
            if service == "maintenance":
                if look is not None:
                    found = look(meant)
                else:
                    places = discovery.places(meant.board, recorder.log, prompts)
                    found = _prompt_of(meant.board, port, places, timeout)
                if found is not None:
                    return found
            seen = words.REASONS.get(error.reason, error.reason)
        if not told:
            console.complain(
                f"This needs the board in {service}, which takes a hand at its button:\n"
                + _hands(service)
                + (_world_words(meant.board, service) if meant.simulated else "")
                + f"\nThis waits for {minutes} minutes. Ctrl-C ends it before that; nothing is"
                " changed then."
            )
        if seen != told:
            console.complain(f"Waiting for board {meant.board} in {service}: {seen} ...")
            told = seen
        if SYSTEM.now_s() >= deadline:
            raise errors.UnreachableError(
                f"Board {meant.board} was not in {service} within {minutes} minutes:"
                " nothing was changed.",
                "not_in_service",
            )
        time.sleep(POLL_S)


def _hands(service: str) -> str:
    """What the person does."""
    until, beware = _UNTIL[service]
    return (
        "  1. unplug the board\n"
        "  2. hold its button down while you plug it in again,\n"
        f"     for {_HOLDS[service][0]} s, {until}\n"
        f"  3. release the button{beware}"
    )


def _world_words(board: str, service: str) -> str:
    """What does the same to a simulated board."""
    return (
        "\nIt is a simulated board, so that hand is:\n"
        f"  hardmute world {board} power-off\n"
        f"  hardmute world {board} power-on --hold {_HOLDS[service][1]}"
    )


def _prompt_of(
    board: str, device: str, places: list[discovery.Port], timeout: float
) -> str | None:
    """The port where ``board`` is at MicroPython's prompt: where it was last, or in ``places``."""

    def ask(port: str, is_over: Callable[[], bool]) -> str | None:
        try:
            return port if client.board_at_prompt(port, timeout, is_over) == board else None
        except errors.UnreachableError:
            # Not plugged in yet, or somebody else's.
            return None

    ports = list(dict.fromkeys([device, *(place.device for place in places)]))
    with closing(discovery.at_once(ports, ask)) as found:
        return next(filter(None, found), None)
