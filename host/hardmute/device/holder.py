"""One process holds a port; the others are told which.

The operating system's file lock decides, so a holder that died leaves nothing behind; the file's
content only names the holder.

A holder that only follows a board gives its port to a `mute` that asks for it, and to a `prove`
that is to meet the board; a `monitor` gives it to each command that asks. The request is a second
file beside the first. It counts for two seconds, and who asks renews it all the time: a process
that is stopped or dead asks for nothing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import stat
import sys
import time
from collections.abc import Callable
from types import TracebackType

from hardmute.model import notices
from hardmute.model.errors import PortHeldError
from hardmute.model.typed import Any, Literal, Self, cast
from hardmute.system import paths
from hardmute.system.file_lock import try_lock

_POLL_S = 0.02
# After so long a `mute` that waits for the port says for whom.
TELL_S = 1.0
# A watch shows what it heard last for up to 3 s, and boards speak each second: so long may a watch
# that gave its port away wait for it without a word.
_BACK_S = 2.0
# A `verify --listen` takes at most this long, once the button was pressed: a `prove` lets it end.
_LISTENS_S = 90.0
# So long may a monitor take to give a port to `mute`, which then opens it beside the monitor.
_HANGS_S = 1.0
# Half a second: who asks for a port looks for it as often, and takes it.
_LEFT_FREE_LOOKS = 25
# A request that was not renewed for so long counts for nothing.
_LAPSES_S = 2.0
# How the name of the file ends that the holder of a port has locked.
_LOCK = ".lock"
# Addresses of servers with one port each, and what names this host there.
_SERVERS = ("socket", "rfc2217")
_LOOPBACK = ("127.0.0.1", "::1")
# The bytes that stand for themselves in the name of a lock file.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-~")

# Why a process wants a port. ``mute``: to cut the line, which cannot wait. ``meet``: to have the
# board sign, for a `prove` or `verify`. ``follow``: to follow a board; ``back``: to go on with
# that afterwards. ``listen``: to follow it for a measurement, which would be lost. ``monitor``: to
# follow it whenever nobody else does anything. ``usual``: else.
Turn = Literal["mute", "meet", "back", "listen", "usual", "follow", "monitor"]
# These ask whoever holds the port for it, each in a file of its own; the first goes first.
_ASKING: tuple[Turn, ...] = ("mute", "meet", "back", "listen", "usual")
# Those that go first where one does not ask.
_BEFORE: dict[Turn, tuple[Turn, ...]] = {"follow": ("mute", "meet", "back"), "monitor": _ASKING}
# Those that get the port from one that holds it.
_GIVES_TO: dict[Turn, tuple[Turn, ...]] = {
    "meet": ("mute",),
    "listen": ("mute",),
    "follow": ("mute", "meet"),
    "back": ("mute", "meet"),
    "monitor": ("mute", "meet", "listen", "usual"),
}
# These exchanges are short: a monitor lends them the port and keeps it open.
BORROWS: tuple[Turn, ...] = ("mute", "meet", "usual")


class PortHolder:
    """Holds ``device`` for this process while entered. Waits up to ``timeout`` seconds for it.

    ``hangs``: the monitor is known to hang, so that a `mute` need not wait for it.
    """

    def __init__(
        self,
        device: str,
        timeout: float,
        turn: Turn = "usual",
        clock: Callable[[], float] = time.monotonic,
        *,
        hangs: bool = False,
    ) -> None:
        self._hangs_s = 0.0 if hangs else _HANGS_S
        self._device = device
        self._timeout = _BACK_S if turn in ("back", "monitor") else timeout
        self._turn: Turn = turn
        self._clock = clock
        self._file = _lock_file(device)
        self._fd = -1
        self._request = _Request(self._file_of(turn)) if turn in _ASKING else None
        first = _ASKING[: _ASKING.index(turn)] if turn in _ASKING else _BEFORE[turn]
        self._first = [self._file_of(other) for other in first]
        self._wanting = [self._file_of(other) for other in _GIVES_TO.get(turn, ())]
        # The requests that this one gives way to.
        self._yielded: set[bytes] = set()
        # Whether a process that hangs still has the port open.
        self.is_shared = False

    def __enter__(self) -> Self:
        self._fd = _open(self._file)
        if self._fd < 0:
            # The state matters more than the name of who else asks; pyserial's own lock on the
            # port still keeps two processes apart.
            return self
        try:
            self._wait()
        except OSError as error:
            # As where there is no place for the file.
            self._close()
            _complain_of_locks(os.path.dirname(self._file), error.strerror or str(error))
            return self
        except BaseException:
            self._close()
            raise
        finally:
            if self._request is not None:
                self._request.end()
        if self.is_shared:
            return self
        command = " ".join(["hardmute", *sys.argv[1:]])[:200]
        note = {"pid": os.getpid(), "command": command, "turn": self._turn}
        # A full disk costs the note, not the lock.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.write(self._fd, json.dumps(note).encode())
        return self

    def _wait(self) -> None:
        """Wait for the lock. Raises `OSError` where files cannot be locked."""
        begun = self._clock()
        told = self._turn not in ("mute", "meet")
        while not (self._is_our_turn() and try_lock(self._fd)):
            if self._request is not None:
                self._request.make()
            waited = self._clock() - begun
            if waited >= min(self._hangs_s, self._timeout) and self._holder_hangs():
                notices.tell(
                    f"{_read_holder(self._fd).capitalize()} holds {self._device} and hangs: the"
                    " board is asked beside it."
                )
                self.is_shared = True
                self._close()
                return
            if waited >= self._timeout and waited >= self._patience_s():
                if self._is_left_free():
                    return
                raise PortHeldError(self._refusal(), self._device)
            if waited >= TELL_S and not told:
                holder = _read_holder(self._fd)
                now = ": press the button to mute now" if self._turn == "mute" else ""
                notices.tell(f"Waiting for {self._device}, which {holder} holds{now}.")
                told = True
            time.sleep(_POLL_S)

    def _patience_s(self) -> float:
        """How long it waits: a `prove` lets a measurement end, and then meets the board."""
        listens = self._turn == "meet" and _note(self._fd).get("turn") == "listen"
        return max(self._timeout, _LISTENS_S) if listens else self._timeout

    def _is_left_free(self) -> bool:
        """Take a lock that those who go first do not take: they are stopped.

        One that was given up for them just now is theirs.
        """
        for _ in range(_LEFT_FREE_LOOKS):
            if not try_lock(self._fd):
                return False
            os.close(self._fd)
            time.sleep(_POLL_S)
            self._fd = _open(self._file)
            if self._fd < 0:
                return False
        self._is_our_turn()
        return try_lock(self._fd)

    def _holder_hangs(self) -> bool:
        """Whether a cut waits for a monitor, which gives a port at once while it runs."""
        return self._turn == "mute" and _note(self._fd).get("turn") == "monitor"

    def _is_our_turn(self) -> bool:
        """Whether nobody who goes first asks for the port."""
        self._yielded = {asked for file in self._first if (asked := _asked(file))}
        return not self._yielded

    @property
    def name(self) -> str:
        """What the port's files are called, without the ending."""
        return os.path.basename(self._file).removesuffix(_LOCK)

    @property
    def gives_way(self) -> bool:
        """Whether there is anybody to whom this one gives the port."""
        return bool(self._wanting)

    def is_wanted(self) -> bool:
        """Whether one to which this one gives the port asks for it, other than those that left it
        free.
        """
        return any(_asked(file) not in (b"", *self._yielded) for file in self._wanting)

    def _refusal(self) -> str:
        held = f"{self._device} is held by {_read_holder(self._fd)}"
        if self._turn == "mute":
            return f"{held}, which does not give it up: press the button to mute."
        return f"{held}: end that, or ask again later."

    def _file_of(self, turn: Turn) -> str:
        return f"{self._file.removesuffix(_LOCK)}.{turn}"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, 0)
            self._close()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


class _Request:
    """Asks in ``file`` for a port. Where several ask at once, the newest request is for all."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._made = False

    def make(self) -> None:
        """Ask, or go on asking: to be called more often than requests lapse."""
        fd = _open(self._file)
        if fd < 0:
            return
        with contextlib.suppress(OSError):
            asked = _read_request(fd)
            # No two requests are the same.
            token = asked if asked and self._made else os.urandom(8).hex().encode()
            self._made = True
            os.lseek(fd, 0, os.SEEK_SET)
            length = os.write(fd, b"%s %d" % (token, time.monotonic_ns()))
            os.ftruncate(fd, length)
        os.close(fd)

    def end(self) -> None:
        """Ask no longer. Who else asks will do so again."""
        if not self._made:
            return
        self._made = False
        fd = _open(self._file, os.O_RDWR)
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(fd, 0)
            os.close(fd)


def _asked(file: str) -> bytes:
    """What a process of this user asks with in ``file`` now; nothing where none asks."""
    fd = _open(file, os.O_RDWR)
    if fd < 0:
        return b""
    try:
        if sys.platform != "win32" and os.fstat(fd).st_uid != os.getuid():
            return b""
        return _read_request(fd)
    except OSError:
        return b""
    finally:
        os.close(fd)


def _read_request(fd: int) -> bytes:
    """The token of the request in an open file, unless it has lapsed. Raises `OSError`."""
    token, _, asked_ns = os.read(fd, 64).partition(b" ")
    try:
        age_s = (time.monotonic_ns() - int(asked_ns)) / 1e9
    except ValueError:
        return b""
    return token if 0 <= age_s < _LAPSES_S else b""


def folder() -> str:
    """Where the locks and the requests are."""
    return paths.runtime_dir("ports")


def asked_for(folder: str) -> set[str]:
    """The `PortHolder.name` of each port that somebody asks for; maybe in vain, or no longer."""
    names: set[str] = set()
    with contextlib.suppress(OSError), os.scandir(folder) as files:
        for file in files:
            name, _, turn = file.name.rpartition(".")
            if turn in _ASKING:
                with contextlib.suppress(OSError):
                    if file.stat(follow_symlinks=False).st_size:
                        names.add(name)
    return names


def holder_of(device: str) -> str | None:
    """The hardmute process that holds ``device``, in words; None if none does."""
    try:
        fd = os.open(_lock_file(device), os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        return None if try_lock(fd) else _read_holder(fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def port_key(device: str) -> str:
    """The same text for all names of a port that can be told without a network.

    Links are followed. Of a server's address, letter case, options and the name for this host
    make no difference; nor does the protocol, which speaks to the same port.
    """
    if "://" not in device:
        return os.path.realpath(device)
    import ipaddress
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(device)
        port = parts.port
    except ValueError:
        # It is no address, as whoever opens it is told.
        return device
    if parts.scheme not in _SERVERS or port is None:
        return device
    host = (parts.hostname or "").rstrip(".")
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        host = str(getattr(address, "ipv4_mapped", None) or address)
    return f"server://{'localhost' if host in _LOOPBACK else host}:{port}"


def _lock_file(device: str) -> str:
    key = os.fsencode(port_key(device))
    name = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in key)
    # Its end tells ports apart; a file name ends at 255 bytes.
    return os.path.join(folder(), name[-200:] + _LOCK)


def _open(file: str, flags: int = os.O_RDWR | os.O_CREAT) -> int:
    """The file, or -1 when there is no place for one that is ours alone."""
    try:
        # A link that somebody else laid there must not lead us into a file of the owner's.
        fd = os.open(file, flags | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError:
        return -1
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return fd
    os.close(fd)
    return -1


@functools.cache
def _complain_of_locks(folder: str, why: str) -> None:
    """Say once that nobody can be told who holds a port."""
    home = os.environ.get("HARDMUTE_HOME") or not sys.platform.startswith("linux")
    notices.tell(
        f"Files in {folder} cannot be locked ({why}), so `hardmute mute` gets no port from a"
        f" `hardmute watch`: set {'HARDMUTE_HOME' if home else 'XDG_RUNTIME_DIR'} to a folder on a"
        " local disk."
    )


def _note(fd: int) -> dict[str, Any]:
    """What the holder of an open lock file has written into it; empty if that cannot be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        os.lseek(fd, 0, os.SEEK_SET)
        note = json.loads(os.read(fd, 4096))
        if isinstance(note, dict):
            return cast("dict[str, Any]", note)
    return {}


def _read_holder(fd: int) -> str:
    from hardmute.model import words

    with contextlib.suppress(ValueError, KeyError, TypeError):
        note = _note(fd)
        return f"process {int(note['pid'])} ({words.printable(str(note['command']))})"
    return "another hardmute process"
