"""Where hardmute keeps things: the log, and what running processes tell each other.

``HARDMUTE_HOME`` puts everything below one folder; otherwise each OS's own places are used. What
each command needs is a text here: `pathlib` and `platformdirs` would take longer than all else.
"""

from __future__ import annotations

import contextlib
import os
import sys

from hardmute.model.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

LOG_NAME = "log.sqlite3"
_MODE = 0o700


def data_dir() -> str:
    """The folder of the log and the keys. It may not exist."""
    home = os.environ.get("HARDMUTE_HOME")
    if home:
        return home
    if sys.platform == "linux":
        return _xdg("XDG_DATA_HOME", "~/.local/share")
    import platformdirs

    return platformdirs.user_data_dir("hardmute", appauthor=False)


def config_dir() -> Path:
    """The folder of the settings. It may not exist."""
    from pathlib import Path

    home = os.environ.get("HARDMUTE_HOME")
    if home:
        return Path(home)
    import platformdirs

    return Path(platformdirs.user_config_dir("hardmute", appauthor=False))


def settings_file() -> Path:
    """The settings of `hardmute monitor` (TOML). It may not exist."""
    return config_dir() / "monitor.toml"


def log_place() -> str:
    """Where the log (SQLite) is, if there is one."""
    return os.path.join(data_dir(), LOG_NAME)


def log_file() -> str:
    """The log. The folder is made on demand, readable by its owner only."""
    private(data_dir())
    return log_place()


def runtime_dir(name: str) -> str:
    """A folder for files that mean nothing after the processes that wrote them have ended.

    Where it cannot be made, those who use it find nothing there and cannot write: no state of a
    microphone depends on it.
    """
    home = os.environ.get("HARDMUTE_HOME")
    if home:
        above = [home, os.path.join(home, "run")]
    elif sys.platform != "linux":
        import platformdirs

        above = [platformdirs.user_runtime_dir("hardmute", appauthor=False)]
    elif os.environ.get("XDG_RUNTIME_DIR", "").strip():
        above = [_xdg("XDG_RUNTIME_DIR", "")]
    else:
        # A folder in /tmp is one that anybody can make first.
        state = _xdg("XDG_STATE_HOME", "~/.local/state")
        above = [state, os.path.join(state, "run")]
    folder = os.path.join(above[-1], name)
    with contextlib.suppress(OSError):
        for part in (*above, folder):
            private(part)
    return folder


def _xdg(variable: str, otherwise: str) -> str:
    """Our folder in the one that the user has chosen (XDG Base Directory), or else by default."""
    chosen = os.environ.get(variable, "")
    return os.path.join(chosen if chosen.strip() else os.path.expanduser(otherwise), "hardmute")


def cache_dir(name: str) -> Path:
    """A folder for what can be had again, also when ``HARDMUTE_HOME`` is set. It may not exist."""
    from pathlib import Path

    import platformdirs

    return Path(platformdirs.user_cache_dir("hardmute", appauthor=False)) / name


def private(folder: str) -> str:
    """``folder``, made if need be. What lies above it gets the default mode: it may be shared."""
    try:
        os.mkdir(folder, _MODE)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        return private(folder)
    except FileExistsError:
        if not os.path.isdir(folder):
            raise
    return folder
