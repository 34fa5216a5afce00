"""A board's port from the monitor, which keeps it open meanwhile. POSIX only.

The monitor passes the open port itself (unix(7), SCM_RIGHTS) and leaves the board alone until the
connection ends. So each exchange is one between this process and the board.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from hardmute.device.holder import TELL_S, Turn
from hardmute.device.terminal import TerminalPort
from hardmute.model import notices
from hardmute.model.errors import PortHeldError
from hardmute.system import monitor_socket
from hardmute.system.monitor_socket import Connection

# A line that may be live does not wait for a monitor that hangs any longer.
_MUTE_WAITS_S = 1.0
# So many time-outs a contact takes at the most, and so long the rest of a command beside it.
_TIMEOUTS = 3
_REST_S = 30.0
_LONGEST_S = 600.0


class Borrowed:
    """A port that the monitor has lent. ``gives_way``: a `mute` that asks for it gets it."""

    def __init__(self, port: TerminalPort, connection: Connection, *, gives_way: bool) -> None:
        self.port = port
        self._connection = connection
        self._gives_way = gives_way

    def is_wanted(self) -> bool:
        """Whether somebody else is to have it."""
        # The monitor says so, or takes it back.
        news = self._connection.has_news()
        return self._connection.has_ended or (news and self._gives_way)

    def close(self) -> None:
        # First the port: it is the monitor's again when the connection ends.
        self.port.close()
        self._connection.close()


def borrow(
    device: str, turn: Turn, timeout: float, is_over: Callable[[], bool] | None = None
) -> Borrowed | None:
    """The port ``device`` from the monitor; None if none runs, or if it does not follow a board
    there.

    It waits up to ``timeout`` seconds for another command that has it, or until ``is_over``.
    Raises `monitor_socket.HangsError`, after 1 s if the ``turn`` is "mute"; `PortHeldError`.
    """
    patience_s = _MUTE_WAITS_S if turn == "mute" else monitor_socket.FRESH_S
    connection = monitor_socket.connect(patience_s=patience_s)
    if connection is None:
        return None
    borrowed: Borrowed | None = None
    try:
        said = connection.ask(
            "port",
            patience_s,
            named=device,
            turn=turn,
            seconds=min(_LONGEST_S, _TIMEOUTS * timeout + _REST_S),
        )
        begun, told = time.monotonic(), False
        while said.get("ok") is True and said.get("port") is not True:
            holder = f"process {said.get('pid')}"
            waited = time.monotonic() - begun
            if waited >= timeout or (is_over is not None and is_over()):
                now = "press the button to mute" if turn == "mute" else "ask again later"
                raise PortHeldError(f"{device} is held by {holder}: {now}.", device)
            if waited >= TELL_S and not told:
                now = ": press the button to mute now" if turn == "mute" else ""
                notices.tell(f"Waiting for {device}, which {holder} holds{now}.")
                told = True
            said = connection.next(patience_s)
        file = connection.take_file()
        if said.get("ok") is True and file is not None:
            borrowed = Borrowed(TerminalPort(file), connection, gives_way=turn == "meet")
        return borrowed
    finally:
        if borrowed is None:
            connection.close()
