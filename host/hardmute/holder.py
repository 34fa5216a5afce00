"""One process holds a port; the others are told which.

The operating system's file lock decides, so a holder that died leaves nothing behind; the file's
content only names the holder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from hardmute import paths
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
        key = device if "://" in device else os.path.realpath(device)
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._file: Path = paths.runtime_dir("ports") / f"{digest}.lock"
        self._fd = -1

    def __enter__(self) -> None:
        deadline = self._clock() + self._timeout
        self._fd = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        while not _try_lock(self._fd):
            if self._clock() >= deadline:
                holder = _read_holder(self._fd)
                os.close(self._fd)
                self._fd = -1
                raise UnreachableError(
                    f"{self._device} is held by {holder}: end that, or ask again later.",
                    "port_held",
                )
            time.sleep(_POLL_S)
        os.ftruncate(self._fd, 0)
        note = {"pid": os.getpid(), "command": " ".join(["hardmute", *sys.argv[1:]])[:200]}
        os.write(self._fd, json.dumps(note).encode())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
        self._fd = -1


def _read_holder(fd: int) -> str:
    os.lseek(fd, 0, os.SEEK_SET)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note: dict[str, Any] = json.loads(os.read(fd, 4096))
        return f"process {note['pid']} ({note['command']})"
    return "another hardmute process"


def _try_lock(fd: int) -> bool:
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
