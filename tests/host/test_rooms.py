"""The rooms of the host tool: which may import which, and what belongs into `cli` alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import hardmute

HOST = Path(hardmute.__file__).parent
# From the lowest on. Rooms of one row know nothing of each other.
ROOMS = (
    ("model",),
    ("evidence",),
    ("system",),
    ("store", "device"),
    ("sync", "render"),
    ("flash",),
    ("listen", "doctor", "sim"),
    ("monitor",),
    ("cli",),
)
LEVELS = {room: level for level, row in enumerate(ROOMS) for room in row}
# What users import: modules, and not rooms. They stand between `monitor` and `cli`.
FACE = ("__main__", "aio", "board")
FILES = [file for file in sorted(HOST.rglob("*.py")) if file != HOST / "__init__.py"]
MODULES = {
    ".".join(file.relative_to(HOST).with_suffix("").parts).removesuffix(".__init__"): file
    for file in FILES
}


def imports(file: Path) -> Iterator[str]:
    """The modules of ours that ``file`` imports, wherever in it."""
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "hardmute":
            base = (node.module or "").partition(".")[2]
            for alias in node.names:
                inner = f"{base}.{alias.name}".strip(".")
                yield inner if inner in MODULES else base
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("hardmute.") for alias in node.names), file


ARROWS = {module: sorted(set(imports(file))) for module, file in MODULES.items()}


def test_every_module_is_in_a_room() -> None:
    assert {module.split(".")[0] for module in MODULES} - set(FACE) == set(LEVELS)


def test_arrows_between_rooms_go_down_only() -> None:
    wrong: list[str] = []
    for module, others in ARROWS.items():
        room = module.split(".")[0]
        for other in others:
            down = other.split(".")[0]
            if room == down or module in FACE:
                continue
            if down not in LEVELS:
                # Only the command line knows the public face.
                if room != "cli":
                    wrong.append(f"{module} -> {other}")
            elif LEVELS[down] >= LEVELS[room]:
                wrong.append(f"{module} -> {other}")
    assert wrong == []


def test_no_module_imports_itself_by_others() -> None:
    done: set[str] = set()

    def follow(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in ARROWS[module]:
                follow(other, (*path, module))
            done.add(module)

    for module in MODULES:
        follow(module, ())
