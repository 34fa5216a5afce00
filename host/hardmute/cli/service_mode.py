"""Guides a person to open a board's service mode, and waits until the board is in it."""

from __future__ import annotations

import sys

from hardmute import Host, Identity, Look, Service
from hardmute.cli import console

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


def wait_for(
    service: Service, device: str | None, timeout: float, host: Host, look: Look | None = None
) -> str:
    """Guide the person until the board that is meant is in ``service``. Returns where it is.

    See `Host.wait_for`. Patience ends after five minutes, or two with nobody at a terminal.
    """
    minutes = _MINUTES if sys.stdin.isatty() else _MINUTES_ALONE
    told = ""

    def tell(meant: Identity, seen: str) -> None:
        nonlocal told
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

    return host.wait_for(service, device, timeout=timeout, minutes=minutes, tell=tell, look=look)


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
