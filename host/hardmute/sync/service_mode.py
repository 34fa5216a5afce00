"""Waits until a board is in a service mode, which takes a hand at its button."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from typing import Literal

from hardmute.device import client, discovery
from hardmute.model import errors, words
from hardmute.model.answers import Identity
from hardmute.model.clock import SYSTEM
from hardmute.sync.recorder import Recorder

# How often a board that is to come back is looked for, in seconds.
POLL_S = 0.3
Service = Literal["setup", "maintenance"]
# Given the board that is meant: the place where it is in the service now, or None.
Look = Callable[[Identity], str | None]
# Given the board that is meant, and how it was seen now, in a clause.
Tell = Callable[[Identity, str], None]


def wait_for(
    service: Service,
    device: str | None,
    timeout: float,
    recorder: Recorder,
    minutes: int,
    tell: Tell,
    look: Look | None = None,
) -> str:
    """Wait until the board that is meant is in ``service``. Returns where it is.

    ``device`` and ``timeout``: as for `discovery.open_board`. The board has to answer once, so
    that it is known which one is meant; with several and none named that is a `UsageError`.
    ``tell`` is called at each look. ``look`` finds a board that does not answer in ``service``;
    without one that is a board at MicroPython's prompt, told by its id, and its port is returned.

    Raises `UnreachableError` where there is no board to begin with, or after so many ``minutes``.
    """
    meant: Identity | None = None
    port = ""
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
        tell(meant, seen)
        if SYSTEM.now_s() >= deadline:
            raise errors.UnreachableError(
                f"Board {meant.board} was not in {service} within {minutes} minutes:"
                " nothing was changed.",
                "not_in_service",
            )
        time.sleep(POLL_S)


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
