"""A CIRCUITPY drive: CircuitPython's file system, which is open in maintenance, or before the
firmware is there.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path

from hardmute.flash import board_files, drives, tree
from hardmute.model.errors import LocalError, MissingExtraError, UsageError
from muteboard import boards

INFO = "boot_out.txt"
_BANNER = re.compile(r"Adafruit CircuitPython (\d+)\.\d+\S* on [^;]*; (.+)")
_OLDEST = 9
# Adafruit's, in the order in which they need each other. Boards that have the second built in
# prefer that.
_LIBRARIES = ("neopixel", "adafruit_pixelbuf")
# What makes a program of the rest: removed first, written last.
_ENTRY_POINTS = ("code.py", "boot.py")
_NEW = ".new"
# Where the board keeps its settings, and the new ones while it writes them.
_SETTINGS = ("config.json", "config.new")
# FAT gives out space in clusters of at most this.
_CLUSTER = 4096
_OUTCOME = "The board runs no program of ours now, so its line is cut: run this again."


def find(places: list[Path]) -> list[Path]:
    """The CIRCUITPY drives among ``places``."""
    return [place for place in places if is_drive(place)]


def is_drive(place: Path) -> bool:
    """Whether CircuitPython's drive is mounted there."""
    info = drives.read_info(place, INFO)
    return info is not None and "CircuitPython" in info[""]


def describe(drive: Path) -> str:
    """The board, in CircuitPython's words. Raises `UsageError` for a board that is not supported,
    and for a release that is too old.
    """
    info = drives.read_info(drive, INFO) or {"": ""}
    banner = _BANNER.match(info[""])
    if banner is None:
        raise UsageError(f"{drive / INFO} does not say which CircuitPython that is.")
    board = info.get("board id", "")
    if board not in (*boards.PICOS, *boards.DEVKITS):
        raise UsageError(f"{drive} is {banner[2]} ({board}): {boards.CIRCUITPYTHON}.")
    if int(banner[1]) < _OLDEST:
        raise UsageError(
            f"{drive} is CircuitPython {banner[1]}: the firmware needs {_OLDEST} or later."
        )
    return banner[2]


def board_id(drive: Path) -> str | None:
    """The id that the firmware there will call its own."""
    info = drives.read_info(drive, INFO) or {}
    uid = info.get("uid", "").lower()
    return uid or None


def files() -> dict[str, bytes]:
    """What the drive gets. Raises `LocalError` where Adafruit's libraries are not installed."""
    found: dict[str, bytes] = {}
    for library in _LIBRARIES:
        spec = find_spec(library)
        if spec is None or spec.origin is None:
            raise MissingExtraError(
                f"Adafruit's library {library!r} is not installed", "circuitpython"
            )
        found[f"lib/{library}.py"] = Path(spec.origin).read_bytes()
    return {**found, **board_files.circuitpython()}


def install(
    drive: Path, content: Mapping[str, bytes], progress: Callable[[int, int], None]
) -> None:
    """Write ``content`` to the drive, and the default settings if it has none. All else stays.

    The entry points are removed first and written last, so that what is cut short is no program.
    Raises `LocalError`; for a drive without the room, before anything is changed.
    """
    if not any((drive / name).exists() for name in _SETTINGS):
        content = {**tree.fresh(None), **content}
    _check_room(drive, content)
    order = sorted(content, key=lambda path: (path in _ENTRY_POINTS, path == "boot.py", path))
    total = sum(map(len, content.values()))
    done = 0
    try:
        for name in _ENTRY_POINTS:
            (drive / name).unlink(missing_ok=True)
        for path in order:
            file = drive / path
            if path in _ENTRY_POINTS:
                _remove_strangers(drive, content)
            # Not `parents`: a mount point that is no longer there must not become a folder.
            for folder in reversed(list(Path(path).parents)[:-1]):
                (drive / folder).mkdir(exist_ok=True)
            new = file.with_name(file.name + _NEW)
            drives.write(new, content[path])
            new.replace(file)
            done += len(content[path])
            progress(done, total)
        if hasattr(os, "sync"):
            os.sync()
    except OSError as error:
        raise drives.lost(drive, error, _OUTCOME) from error


def differences(drive: Path, content: Mapping[str, bytes]) -> list[str]:
    """How the drive's files differ from ``content``, a line each."""
    lines: list[str] = []
    for path, expected in sorted(content.items()):
        try:
            held = (drive / path).read_bytes()
        except OSError:
            lines.append(f"{path} is missing")
            continue
        if held != expected:
            lines.append(f"{path} differs")
    return lines + [f"{path} is not ours" for path in _strangers(drive, content)]


def _strangers(drive: Path, content: Mapping[str, bytes]) -> list[str]:
    """Files that could run instead of ours, or as part of them."""
    held = [path for path in drive.rglob("*") if path.suffix in (".py", ".mpy")]
    paths = (path.relative_to(drive).as_posix() for path in held)
    return sorted(path for path in paths if path not in content)


def _remove_strangers(drive: Path, content: Mapping[str, bytes]) -> None:
    for path in _strangers(drive, content):
        if path.startswith("muteboard/"):
            with contextlib.suppress(FileNotFoundError):
                (drive / path).unlink()


def _check_room(drive: Path, content: Mapping[str, bytes]) -> None:
    try:
        free = shutil.disk_usage(drive).free
    except OSError as error:
        raise drives.lost(drive, error, "Nothing was changed.") from error
    needed = 2 * _CLUSTER + max(map(_clusters, map(len, content.values())))
    for path, new in content.items():
        with contextlib.suppress(OSError):
            needed -= _clusters((drive / path).stat().st_size)
        needed += _clusters(len(new))
    if needed > free:
        raise LocalError(
            f"{drive} is full: it has {free // 1024} KiB free, and {needed // 1024} KiB more are "
            "needed. Nothing was changed: remove what is not hardmute's."
        )


def _clusters(size: int) -> int:
    return -(-size // _CLUSTER) * _CLUSTER
