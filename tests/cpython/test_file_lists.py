"""What is frozen into the locked image, and what `mip` installs, is what those boards import.

So a file that is missing, misspelt or one too many fails here.
"""

from __future__ import annotations

import ast
import importlib.util
import json

import pytest

from frozen_files import FIRMWARE, frozen
from hardmute.flash import board_files

_CHECK_TYPES = FIRMWARE.parent / "tools" / "check_types.py"


def not_here(port: str) -> set[str]:
    """The other ports' files, as the type checker leaves them out."""
    spec = importlib.util.spec_from_file_location("check_types", _CHECK_TYPES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return set(module.NOT_HERE[port])


def imported(file: str) -> set[str]:
    """The files of ours that ``file`` imports, and their packages."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((FIRMWARE / file).read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert node.module is not None
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    found: set[str] = set()
    for name in names:
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            found.update(
                candidate
                for candidate in (f"{path}.py", f"{path}/__init__.py")
                if candidate.startswith("muteboard/") and (FIRMWARE / candidate).is_file()
            )
    return found


def needed(port: str, *entry_points: str) -> set[str]:
    """``entry_points`` and all that they import, directly or not, on ``port``."""
    found: set[str] = set()
    waiting = set(entry_points)
    while waiting:
        found |= waiting
        waiting = {name for file in waiting for name in imported(file)} - found - not_here(port)
    return found


def installed() -> list[tuple[str, str]]:
    """(name on the board, file below firmware/) of what package.json lists."""
    return [
        (on_board, url)
        for on_board, url in json.loads((FIRMWARE / "package.json").read_text())["urls"]
    ]


@pytest.mark.parametrize("listed", [frozen, installed])
def test_the_lists_name_each_file_once_and_it_is_there(listed) -> None:
    names = [name for name, _ in listed()]
    assert len(names) == len(set(names))
    assert [file for _, file in listed() if not (FIRMWARE / file).is_file()] == []


def test_the_locked_image_has_just_what_a_pico_imports() -> None:
    files = {file for _, file in frozen()}
    assert files == needed("rp2", "main.py", "locked/boot.py")
    # Where MicroPython and the imports look for them.
    assert {name for name, _ in frozen()} == files - {"locked/boot.py"} | {"boot.py"}


def test_mip_installs_just_what_a_micropython_board_imports() -> None:
    entry_points = ("main.py", "boot.py")
    files = [file for _, file in installed()]
    assert set(files) == needed("rp2", *entry_points) | needed("esp32", *entry_points)
    assert [name for name, _ in installed()] == files
    # Until it is there the board stays at the prompt, and can be installed anew.
    assert files[-1] == "main.py"


def test_flash_writes_just_what_mip_installs() -> None:
    assert set(board_files.micropython()) == {name for name, _ in installed()}


def test_every_file_is_some_board_s() -> None:
    tree = {file.relative_to(FIRMWARE).as_posix() for file in FIRMWARE.rglob("*.py")}
    theirs = (
        needed("rp2", "main.py", "boot.py", "locked/boot.py")
        | needed("esp32", "main.py", "boot.py")
        | needed("circuitpython", "boot.py", "code.py", "safemode.py")
    )
    assert tree - {"manifest.py"} == theirs
