"""docs/architecture.md names every room and every part of the firmware, and nothing else."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import hardmute

ROOT = Path(__file__).parents[2]
HOST = Path(hardmute.__file__).parent
FIRMWARE = ROOT / "firmware" / "muteboard"
DOC = (ROOT / "docs" / "architecture.md").read_text("utf-8")
# Below these a path on the page may begin.
BASES = (ROOT, HOST, FIRMWARE, FIRMWARE.parent, ROOT / "docs")
PATH = re.compile(
    r"(?<![\w./])(?:[\w.-]+/)*[\w-]+\.(?:py|md|json)\b|(?<![\w./])(?:[\w-]+/)+(?!\w)"
)


def first_column(title: str) -> list[tuple[str, ...]]:
    """The names of each row of the table under a heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert found, title
    rows = re.findall(r"^\| (`.*?`) \|", found[1], re.MULTILINE)
    return [tuple(re.findall(r"`([^`]+)`", row)) for row in rows]


def rooms_of_the_test() -> object:
    """`ROOMS` of tests/host/test_rooms.py, which holds the imports against it."""
    for node in ast.parse((ROOT / "tests/host/test_rooms.py").read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOMS":
            return ast.literal_eval(node.value)
    raise AssertionError("no ROOMS")


def test_the_rooms_are_those_of_the_rule_and_of_the_tree() -> None:
    rooms = first_column("The host tool")
    assert tuple(rooms) == rooms_of_the_test()
    folders = {file.parent.name for file in HOST.glob("*/__init__.py")}
    assert {room for row in rooms for room in row} == folders


def test_each_part_of_the_firmware_has_its_row() -> None:
    parts = {file.name for file in FIRMWARE.glob("*.py") if file.name != "__init__.py"}
    named = [name for (name,) in first_column("The firmware")]
    assert sorted(named) == sorted(parts | {"boards/"})


@pytest.mark.parametrize("path", sorted(set(PATH.findall(DOC))))
def test_what_is_named_is_there(path: str) -> None:
    bases = [base for base in BASES if (base / path).exists()]
    assert bases, path


def test_each_method_that_is_named_is_there() -> None:
    named = set(re.findall(r"`([A-Z]\w+\.\w+)`", DOC))
    files = [file for base in (HOST, FIRMWARE) for file in base.rglob("*.py")]
    there = {
        f"{node.name}.{part.name}"
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        for part in node.body
        if isinstance(part, ast.FunctionDef)
    }
    assert named
    assert named - there == set()
