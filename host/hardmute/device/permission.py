"""Who may open a serial port on Linux, and how to become one of them."""

from __future__ import annotations

import contextlib
import stat
from pathlib import Path


def group_of(device: str) -> str | None:
    """The group whose members may open ``device``; None where joining one is no way."""
    import grp

    with contextlib.suppress(OSError, KeyError):
        found = Path(device).stat()
        # Joining group root, or one that may not write either, is no advice.
        if found.st_gid != 0 and found.st_mode & stat.S_IWGRP:
            return grp.getgrgid(found.st_gid).gr_name
    return None


def advice(group: str | None) -> str:
    """What to do about a port that only ``group`` may open, as the end of a sentence."""
    if group is None:
        return "install the udev rule that `hardmute doctor --udev-rule` prints."
    return f"join its group (sudo usermod -aG {group} $USER) and log in again."
