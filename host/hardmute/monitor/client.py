"""Asks the monitor of this user what it knows. It loads neither serial nor SQLite.

What the monitor says is trusted for 3 s, by a clock that goes on while the host sleeps. What it
says of a board whose age cannot be told is unknown. docs/monitor-protocol.md has the messages.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Generator, Iterator

from hardmute.evidence.observation import Observation, essence
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.errors import UnreachableError
from hardmute.model.typed import TYPE_CHECKING, Any, NamedTuple, cast
from hardmute.system import paths

if TYPE_CHECKING:
    import socket

VERSION = 1
# Seconds that what a monitor says stays true, and that it may take to say something.
FRESH_S = 3.0
# An answer: of 100 boards, 1 kB each.
_MAX_ANSWER = 1 << 20
# Three numbers of 32 bits: process, user and group (unix(7), SO_PEERCRED).
_CREDENTIALS = 12


class Known(NamedTuple):
    """What the monitor knows of a board.

    ``firmware``: the version, by the board's own word. ``exit_code``: what the health of the log
    and of the evidence asks for (`model.errors`).
    """

    observation: Observation
    label: str | None
    firmware: str | None
    incident: str | None
    exit_code: int


class HangsError(UnreachableError):
    """The monitor is there and does not answer."""

    def __init__(self, pid: int | None) -> None:
        process = "The monitor" if pid is None else f"The monitor (process {pid})"
        super().__init__(
            f"{process} does not answer, and it holds the board's port: end it, or press the"
            " button to mute.",
            "monitor_hangs",
        )
        self.pid = pid


class Connection:
    """A connection to the monitor. Each message is a line of JSON."""

    def __init__(self, plug: socket.socket, clock: HostClock = SYSTEM) -> None:
        self._plug = plug
        self._clock = clock
        self._heard = b""
        self.pid, uid = peer(plug)
        if uid is not None and uid != os.getuid():
            plug.close()
            raise UnreachableError(
                f"Another user (number {uid}) listens at the monitor's socket: do not trust it.",
                "not_hardmute",
            )

    def close(self) -> None:
        self._plug.close()

    def ask(self, op: str, **fields: object) -> dict[str, Any]:
        """The answer to one request. Raises `HangsError` after 3 s without one."""
        said = json.dumps({"hardmute": VERSION, "op": op, **fields}) + "\n"
        self._plug.settimeout(FRESH_S)
        try:
            self._plug.sendall(said.encode())
        except OSError as error:
            raise HangsError(self.pid) from error
        return self.next()

    def fresh_s(self, seen: Observation) -> float:
        """For how long ``seen`` stays true, in seconds; 3 s if it is unknown already."""
        if seen.verdict == "unknown":
            return FRESH_S
        return FRESH_S - self._clock.now_s() + (seen.run_us or 0) / 1e6

    def next(self, patience_s: float = FRESH_S) -> dict[str, Any]:
        """The next message. Raises `HangsError` after so many seconds without one."""
        until = self._clock.now_s() + patience_s
        while b"\n" not in self._heard:
            left = until - self._clock.now_s()
            if left <= 0 or len(self._heard) > _MAX_ANSWER:
                raise HangsError(self.pid)
            self._plug.settimeout(left)
            try:
                data = self._plug.recv(1 << 16)
            except OSError as error:
                raise HangsError(self.pid) from error
            if not data:
                raise UnreachableError("The monitor has ended.", "monitor_hangs")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        try:
            said = json.loads(line)
        except ValueError as error:
            raise HangsError(self.pid) from error
        if not isinstance(said, dict):
            raise HangsError(self.pid)
        return cast("dict[str, Any]", said)

    def entry(self, said: dict[str, Any], source: str) -> Known:
        """What an answer says of a board, as of now: too old, it is unknown."""
        fields = dict(said["observation"])
        del fields["at"]
        for key in ("sense", "faults", "warnings"):
            if fields[key] is not None:
                fields[key] = tuple(fields[key])
        seen = Observation(**fields)._replace(source=source)
        if seen.verdict != "unknown" and not self._is_fresh(seen):
            seen = late(seen, source, self._clock)
        return Known(seen, said["label"], said["firmware"], said["incident"], said["exit_code"])

    def _is_fresh(self, seen: Observation) -> bool:
        now = self._clock.now()
        return seen.run == now.run and 0 <= now.run_us - (seen.run_us or 0) <= FRESH_S * 1e6


def late(seen: Observation, source: str, clock: HostClock = SYSTEM) -> Observation:
    """That nothing is known of a board any more of which ``seen`` was said."""
    now = clock.now()
    return Observation(
        at_ms=now.wall_ms,
        board=seen.board,
        device=seen.device,
        simulated=seen.simulated,
        source=source,
        verdict="unknown",
        proof=None,
        reason="late",
        run_us=now.run_us,
        run=now.run,
    )


def connect(clock: HostClock = SYSTEM) -> Connection | None:
    """A connection to the monitor of this user; None if none runs.

    Raises `UnreachableError` if it is there and cannot be used.
    """
    if not os.path.lexists(os.path.join(paths.runtime_dir("monitor"), "socket")):
        return None
    import socket

    if not hasattr(socket, "AF_UNIX"):
        # On Windows commands get the ports from the monitor all the same.
        return None
    plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plug.settimeout(FRESH_S)
    try:
        with socket_address() as address:
            plug.connect(address)
    except TimeoutError:
        plug.close()
        raise HangsError(None) from None
    except BlockingIOError:
        # More wait at it already than the system keeps: it has not answered for long.
        plug.close()
        raise HangsError(None) from None
    except OSError:
        plug.close()
        return None
    try:
        return Connection(plug, clock)
    except OSError:
        plug.close()
        return None


def known(named: str | None, source: str, clock: HostClock = SYSTEM) -> Known | None:
    """What the monitor knows of the board that ``named`` means: id, label or port.

    None if no monitor runs, or if it does not follow that board. ``named`` None: the only real
    board. Raises `HangsError`.
    """
    connection = connect(clock)
    if connection is None:
        return None
    with contextlib.closing(connection):
        said = connection.ask("board", named=named)
        return connection.entry(said["board"], source) if said.get("ok") is True else None


def following(named: str | None, source: str, clock: HostClock = SYSTEM) -> Iterator[Known] | None:
    """What the monitor knows of a board, at each change, and at least each second.

    None as for `known`. The iterator gives "unknown" where the monitor says nothing for 3 s, and
    goes on where it does again. It raises `UnreachableError` where the monitor has ended.
    """
    connection = connect(clock)
    if connection is None:
        return None
    said = connection.ask("watch", named=named)
    if said.get("ok") is not True:
        connection.close()
        return None
    return _following(connection, said, source, clock)


def _following(
    connection: Connection, said: dict[str, Any], source: str, clock: HostClock
) -> Iterator[Known]:
    with contextlib.closing(connection):
        entry = connection.entry(said["board"], source)
        while True:
            yield entry
            try:
                said = connection.next(connection.fresh_s(entry.observation))
                if said.get("ok") is not True:
                    raise UnreachableError("The monitor has lost the board.", "not_connected")
                entry = connection.entry(said["board"], source)
            except HangsError:
                entry = entry._replace(observation=late(entry.observation, source, clock))


def is_news(before: Known | None, entry: Known) -> bool:
    """Whether ``entry`` is a change, and not only newer."""
    return before is None or _essence(before) != _essence(entry)


def _essence(entry: Known) -> tuple[object, ...]:
    return (*essence(entry.observation), entry.observation.reason, entry.label, entry.incident)


@contextlib.contextmanager
def socket_address() -> Generator[str]:
    """The address of the monitor's socket. It may be there or not.

    On Linux it is given by way of its open folder: a path may be longer than an address.
    """
    folder = paths.runtime_dir("monitor")
    if sys.platform != "linux":
        yield f"{folder}/socket"
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/socket"
    finally:
        os.close(fd)


def peer(plug: socket.socket) -> tuple[int | None, int | None]:
    """The process and the user at the other end; None where the system does not tell."""
    if sys.platform != "linux":
        return None, None
    import socket

    said = plug.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS)
    pid, uid = (int.from_bytes(said[at : at + 4], sys.byteorder) for at in (0, 4))
    return pid, uid
