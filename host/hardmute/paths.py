"""Where hardmute keeps things: the log, and what running processes tell each other.

``HARDMUTE_HOME`` puts everything below one folder; otherwise each OS's own places are used.
"""

from __future__ import annotations

import os
from pathlib import Path

_MODE = 0o700


def log_file() -> Path:
    """The log (SQLite). The folder is made on demand, readable by its owner only."""
    home = os.environ.get("HARDMUTE_HOME")
    if home:
        return _private(Path(home)) / "log.sqlite3"
    import platformdirs

    return _private(Path(platformdirs.user_data_dir("hardmute", appauthor=False))) / "log.sqlite3"


def runtime_dir(name: str) -> Path:
    """A folder for files that mean nothing after the processes that wrote them have ended."""
    home = os.environ.get("HARDMUTE_HOME")
    if home:
        return _private(Path(home) / "run" / name)
    import platformdirs

    return _private(Path(platformdirs.user_runtime_dir("hardmute", appauthor=False)) / name)


def _private(folder: Path) -> Path:
    folder.mkdir(mode=_MODE, parents=True, exist_ok=True)
    return folder
