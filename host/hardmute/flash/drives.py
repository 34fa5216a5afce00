"""Drives that a board shows: what is mounted, and writing so that an unplugged one is noticed."""

from __future__ import annotations

import errno
import os
import re
import string
import sys
from pathlib import Path

from hardmute.model import words
from hardmute.model.errors import LocalError

# Where Linux has links to volumes by their names, mounted or not.
_BY_LABEL = Path("/dev/disk/by-label")
# Names of volumes that boards show.
_LABELS = ("RPI-RP2", "CIRCUITPY")
_MAX_INFO = 4096


def mounted() -> list[Path]:
    """Where volumes are mounted that can be a board's. Each OS has its own way to tell."""
    if sys.platform == "win32":
        return [Path(f"{letter}:\\") for letter in string.ascii_uppercase]
    if sys.platform == "darwin":
        return sorted(Path("/Volumes").iterdir())
    return parse_mounts(Path("/proc/mounts").read_text())


def parse_mounts(mounts: str) -> list[Path]:
    """The FAT volumes in Linux's ``/proc/mounts``, which has spaces and such as ``\\040``."""
    found: list[Path] = []
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) > 2 and fields[2] in ("vfat", "msdos"):
            place = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[1])
            found.append(Path(place))
    return found


def unmounted() -> list[str]:
    """Names of boards' volumes that Linux sees and has not mounted."""
    names = {place.name for place in mounted()}
    return [name for name in _LABELS if name not in names and (_BY_LABEL / name).exists()]


def read_info(drive: Path, name: str) -> dict[str, str] | None:
    """``Key: value`` lines of a text file on a drive, and its first line as ``""``; None without.

    What is in it is the board's word, and printable.
    """
    try:
        with (drive / name).open("rb") as file:
            lines = file.read(_MAX_INFO).decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    info = {"": words.printable(lines[0]) if lines else ""}
    for line in lines:
        key, colon, value = line.partition(":")
        if colon:
            info[key.strip().casefold()] = words.printable(value.strip())
    return info


def write(file: Path, content: bytes) -> None:
    """Write ``content`` to the drive itself, not to what the OS remembers for it."""
    with file.open("wb", buffering=0) as out:
        view = memoryview(content)
        while view:
            view = view[out.write(view) :]
        os.fsync(out.fileno())


def lost(drive: Path, error: OSError, outcome: str) -> LocalError:
    """Why writing to ``drive`` ended, and with what ``outcome`` for the board."""
    if error.errno == errno.ENOSPC:
        return LocalError(f"{drive} is full. {outcome}")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return LocalError(f"{drive} cannot be written ({error.strerror}). {outcome}")
    return LocalError(
        f"{drive} went away while it was written ({error.strerror or error}). {outcome}"
    )
