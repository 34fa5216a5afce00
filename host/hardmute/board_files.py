"""The firmware's files, out of this very installation: what is flashed, simulated and compared."""

from __future__ import annotations

from pathlib import Path

import muteboard

_PACKAGE = Path(muteboard.__file__).parent
# In a checkout they lie beside the package; in an installation, beside this file.
_ENTRY_POINTS = (_PACKAGE.parent, Path(__file__).parent / "entry_points")


def micropython() -> dict[str, bytes]:
    """Path on the board and content of each file that a MicroPython board gets."""
    files = {name: _entry_point(name) for name in ("boot.py", "main.py")}
    for path in sorted(_PACKAGE.rglob("*.py")):
        files[f"{_PACKAGE.name}/{path.relative_to(_PACKAGE).as_posix()}"] = path.read_bytes()
    return files


def _entry_point(name: str) -> bytes:
    for folder in _ENTRY_POINTS:
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise FileNotFoundError(f"This installation of hardmute lacks {name}: install it again.")
