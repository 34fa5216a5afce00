"""One process holds a port; the others are told which.

The operating system's file lock decides, so a holder that died leaves nothing behind; the file's
content only names the holder.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote

from hardmute import paths, text
from hardmute.errors import UnreachableError

_POLL_S = 0.05
# On Windows a lock hides the bytes that it covers: it covers one far behind the content.
_LOCK_BYTE = 1 << 20


class PortHolder:
    """Holds ``device`` for this process while entered. Waits up to ``timeout`` seconds for it."""

    def __init__(
        self, device: str, timeout: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._device = device
        self._timeout = timeout
        self._clock = clock
        self._file = _lock_file(device)
        self._fd = -1

    def __enter__(self) -> None:
        deadline = self._clock() + self._timeout
        self._fd = _open(self._file)
        if self._fd < 0:
            # The state matters more than the name of who else asks; pyserial's own lock on the
            # port still keeps two processes apart.
            return
        while not try_lock(self._fd):
            left = deadline - self._clock()
            if left <= 0:
                holder = _read_holder(self._fd)
                self._close()
                raise UnreachableError(
                    f"{self._device} is held by {holder}: end that, or ask again later.",
                    "port_held",
                )
            time.sleep(min(_POLL_S, left))
        note = {"pid": os.getpid(), "command": " ".join(["hardmute", *sys.argv[1:]])[:200]}
        # A full disk costs the note, not the lock.
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.write(self._fd, json.dumps(note).encode())

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
        os.close(self._fd)
        self._fd = -1


def holder_of(device: str) -> str | None:
    """The hardmute process that holds ``device``, in words; None if none does."""
    try:
        fd = os.open(_lock_file(device), os.O_RDWR | getattr(os, "O_NOFOLLOW", 0))
    except OSError:
        return None
    try:
        return None if try_lock(fd) else _read_holder(fd)
    finally:
        os.close(fd)


def _lock_file(device: str) -> Path:
    key = device if "://" in device else os.path.realpath(device)
    # Its end tells ports apart; a file name ends at 255 bytes.
    return paths.runtime_dir("ports") / f"{quote(os.fsencode(key), safe='')[-200:]}.lock"


def _open(file: Path) -> int:
    """The lock file, or -1 when there is no place for one that is ours alone."""
    try:
        # A link that somebody else laid there must not lead us into a file of the owner's.
        flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
        fd = os.open(file, flags, 0o600)
    except OSError:
        return -1
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:
        return fd
    os.close(fd)
    return -1


def _read_holder(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note: dict[str, Any] = json.loads(os.read(fd, 4096))
        return f"process {int(note['pid'])} ({text.printable(str(note['command']))})"
    return "another hardmute process"


def try_lock(fd: int) -> bool:
    """Take the lock on an open file if nobody has it. The system frees it with the file."""
    if sys.platform == "win32":
        import msvcrt

        os.lseek(fd, _LOCK_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        os.lseek(fd, 0, os.SEEK_SET)
        return True
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
