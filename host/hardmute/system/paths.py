"""Where hardmute keeps things: the log, and what running processes tell each other.

``HARDMUTE_HOME`` puts everything below one folder; otherwise each OS's own places are used.
"""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

LOG_NAME = "log.sqlite3"
_MODE = 0o700


def data_dir() -> Path:
    """The folder of the log and the keys. It may not exist."""
    home = os.environ.get("HARDMUTE_HOME")
    if home:
        return Path(home)
    import platformdirs

    return Path(platformdirs.user_data_dir("hardmute", appauthor=False))


def config_dir() -> Path:
    """The folder of the settings. It may not exist."""
    home = os.environ.get("HARDMUTE_HOME")
    if home:
        return Path(home)
    import platformdirs

    return Path(platformdirs.user_config_dir("hardmute", appauthor=False))


def settings_file() -> Path:
    """The settings of `hardmute monitor` (TOML). It may not exist."""
    return config_dir() / "monitor.toml"


def log_file() -> Path:
    """The log (SQLite). The folder is made on demand, readable by its owner only."""
    return private(data_dir()) / LOG_NAME


def runtime_dir(name: str) -> Path:
    """A folder for files that mean nothing after the processes that wrote them have ended.

    Where it cannot be made, those who use it find nothing there and cannot write: no state of a
    microphone depends on it.
    """
    home = os.environ.get("HARDMUTE_HOME")
    if home:
        above = [Path(home), Path(home) / "run"]
    else:
        import platformdirs

        if sys.platform == "linux" and not os.environ.get("XDG_RUNTIME_DIR"):
            # platformdirs would warn and take a folder in /tmp, which anybody can make first.
            state = Path(platformdirs.user_state_dir("hardmute"))
            above = [state, state / "run"]
        else:
            above = [Path(platformdirs.user_runtime_dir("hardmute", appauthor=False))]
    folder = above[-1] / name
    with contextlib.suppress(OSError):
        for part in (*above, folder):
            private(part)
    return folder


def cache_dir(name: str) -> Path:
    """A folder for what can be had again, also when ``HARDMUTE_HOME`` is set. It may not exist."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("hardmute", appauthor=False)) / name


def private(folder: Path) -> Path:
    """``folder``, made if need be. What lies above it gets the default mode: it may be shared."""
    folder.mkdir(mode=_MODE, parents=True, exist_ok=True)
    return folder
