"""The computer as the checks see it; a test gives them another one."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hardmute.device import permission
from hardmute.model.clock import now_ms


class Machine(NamedTuple):
    """``system``: as `sys.platform`. ``root``: where /dev, /etc, /proc, /run and /sys begin."""

    system: str
    root: Path
    pid: int
    # Whether this user may read and write a device, file or folder.
    may_open: Callable[[str | Path], bool]
    # The group that may open a device (`hardmute.device.permission`).
    group_of: Callable[[str], str | None]
    # The groups that the user database has this user in. A session has those of its beginning.
    groups: frozenset[str]
    # Bytes left for this user where a folder is.
    free_bytes: Callable[[Path], int]
    # ms since the epoch.
    now_ms: Callable[[], int]

    @property
    def linux(self) -> bool:
        return self.system == "linux"

    def read(self, name: str) -> str:
        """The first 64 KiB of a file below the root, without a newline at its end; or nothing."""
        with contextlib.suppress(OSError), (self.root / name).open("rb") as stream:
            return stream.read(1 << 16).decode(errors="replace").rstrip("\n")
        return ""


def here() -> Machine:
    """This very computer."""
    return Machine(
        system=sys.platform,
        root=Path("/"),
        pid=os.getpid(),
        may_open=_may_open,
        group_of=permission.group_of,
        groups=_groups(),
        free_bytes=_free_bytes,
        now_ms=now_ms,
    )


def _may_open(path: str | Path) -> bool:
    return os.access(path, os.R_OK | os.W_OK)


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _groups() -> frozenset[str]:
    if sys.platform == "win32":
        return frozenset()
    import grp
    import pwd

    with contextlib.suppress(KeyError):
        user = pwd.getpwuid(os.getuid()).pw_name
        return frozenset(group.gr_name for group in grp.getgrall() if user in group.gr_mem)
    return frozenset()
