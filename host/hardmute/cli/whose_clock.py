"""By whose clock a command goes: this host's, or that of the emulated chip that a person names."""

from __future__ import annotations

import contextlib
from argparse import Namespace

import hardmute
from hardmute import clock


def clock_for(args: Namespace) -> contextlib.AbstractContextManager[None]:
    """In here the clock is the right one for the board that ``args`` name.

    That is the emulated chip's if a simulated board with that id or label runs here and says in
    its entry that it has a clock. A port or an address never selects that clock. Sound is
    recorded by the host's clock, and a monitor goes by the host's: then it counts.
    """
    named = args.device
    if named is None or getattr(args, "listen", False):
        return contextlib.nullcontext()
    from hardmute.device import simulators

    files = {entry.board: entry.clock for entry in simulators.running() if entry.clock}
    if not files:
        return contextlib.nullcontext()
    from hardmute.device import emulated_clock
    from hardmute.device.discovery import is_port
    from hardmute.system import monitor_socket

    if is_port(named) or monitor_socket.is_there():
        return contextlib.nullcontext()
    file = files.get(named) or files.get(_labelled(named) or "")
    found = emulated_clock.read(file) if file else None
    return contextlib.nullcontext() if found is None else clock.replaced(found)


def _labelled(label: str) -> str | None:
    """The board with this label."""
    # Without a log there are no labels, and whatever is wrong with it the command will say.
    with (
        contextlib.suppress(hardmute.HardmuteError),
        contextlib.closing(hardmute.own_log()) as log,
    ):
        return log.board_named(label)
    return None
