"""A connection to the monitor of this user: lines of JSON, in both directions.

It loads neither serial nor SQLite; and `_socket`, as `socket` and `json` take longer to load than
all else that a status needs. docs/monitor-protocol.md has the messages.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Generator

from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.errors import UnreachableError
from hardmute.model.typed import TYPE_CHECKING, Any, cast
from hardmute.system import paths

if TYPE_CHECKING:
    import _socket
    import socket

VERSION = 1
# Seconds that what a monitor says stays true, and that it may take to say something.
FRESH_S = 3.0
# An answer: of 100 boards, 1 kB each.
_MAX_ANSWER = 1 << 20
# Three numbers of 32 bits: process, user and group (unix(7), SO_PEERCRED).
_CREDENTIALS = 12
# The number of an open file: an `int` of C.
_NUMBER = 4


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

    def __init__(self, plug: _socket.socket, clock: HostClock = SYSTEM) -> None:
        self._plug = plug
        self._clock = clock
        self._heard = b""
        self.has_ended = False
        # Open files that came with what was heard.
        self._files: list[int] = []
        self.pid, uid = peer(plug)
        if uid is not None and uid != os.getuid():
            plug.close()
            raise UnreachableError(
                f"Another user (number {uid}) listens at the monitor's socket: do not trust it.",
                "not_hardmute",
            )

    def close(self) -> None:
        self._plug.close()
        while self._files:
            os.close(self._files.pop())

    def ask(self, op: str, patience_s: float = FRESH_S, **fields: object) -> dict[str, Any]:
        """The answer to one request. Raises `HangsError` after so many seconds without one."""
        import json

        self.say(json.dumps({"hardmute": VERSION, "op": op, **fields}), patience_s)
        return self.next(patience_s)

    def next(self, patience_s: float = FRESH_S) -> dict[str, Any]:
        """The next message. Raises `HangsError` after so many seconds without one."""
        import json

        try:
            said = json.loads(self.line(patience_s))
        except ValueError as error:
            raise HangsError(self.pid) from error
        if not isinstance(said, dict):
            raise HangsError(self.pid)
        return cast("dict[str, Any]", said)

    def say(self, line: str, patience_s: float) -> None:
        """Say a line. Raises `HangsError`."""
        self._plug.settimeout(patience_s)
        try:
            self._plug.sendall(line.encode() + b"\n")
        except OSError as error:
            raise HangsError(self.pid) from error

    def line(self, patience_s: float) -> bytes:
        """The next line. Raises `HangsError` after so many seconds without one."""
        until = self._clock.now_s() + patience_s
        while b"\n" not in self._heard:
            left = until - self._clock.now_s()
            if left <= 0 or len(self._heard) > _MAX_ANSWER:
                raise HangsError(self.pid)
            self._plug.settimeout(left)
            try:
                data = self._receive()
            except OSError as error:
                raise HangsError(self.pid) from error
            if not data:
                raise UnreachableError("The monitor has ended.", "monitor_hangs")
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line

    def take_file(self) -> int | None:
        """The open file that came with what was heard last, now the caller's; None if none did."""
        return self._files.pop() if self._files else None

    def has_news(self) -> bool:
        """Whether the monitor has said more than was taken; or has ended, see `has_ended`."""
        self._plug.settimeout(0)
        try:
            data = self._receive()
        except BlockingIOError:
            return bool(self._heard)
        except OSError:
            data = b""
        self._heard += data
        self.has_ended = not data
        return True

    def _receive(self) -> bytes:
        import _socket

        data, passed, _, _ = self._plug.recvmsg(1 << 16, _socket.CMSG_SPACE(_NUMBER))
        for level, kind, numbers in passed:
            if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                for at in range(0, len(numbers) - _NUMBER + 1, _NUMBER):
                    file = int.from_bytes(numbers[at : at + _NUMBER], sys.byteorder)
                    os.set_inheritable(file, False)
                    self._files.append(file)
        return data


def is_there() -> bool:
    """Whether a monitor listens, as far as is seen without asking it."""
    return os.path.lexists(f"{paths.runtime_dir('monitor')}/socket")


def connect(clock: HostClock = SYSTEM, patience_s: float = FRESH_S) -> Connection | None:
    """A connection to the monitor of this user; None if none runs.

    Raises `UnreachableError` if it is there and cannot be used.
    """
    if not is_there():
        return None
    import _socket

    if not hasattr(_socket, "AF_UNIX"):
        # On Windows commands get the ports from the monitor all the same.
        return None
    plug = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    plug.settimeout(patience_s)
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


def peer(plug: socket.socket | _socket.socket) -> tuple[int | None, int | None]:
    """The process and the user at the other end; None where the system does not tell."""
    if sys.platform != "linux":
        return None, None
    import _socket

    said = plug.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, _CREDENTIALS)
    pid, uid = (int.from_bytes(said[at : at + 4], sys.byteorder) for at in (0, 4))
    return pid, uid
