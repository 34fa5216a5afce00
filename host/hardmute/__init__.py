"""hardmute: a microphone mute that its owner can prove.

`open_board` finds a board; a `Board` is read, followed and cut. `open_log` and `prove` tell what
was.
docs/python.md has ten short programs. Importing this loads nothing else until it is used.
"""

from __future__ import annotations

from importlib import import_module

from muteboard import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hardmute.board import Board, boards, open_board
    from hardmute.evidence.interval import Interval
    from hardmute.evidence.observation import Observation
    from hardmute.evidence.proof import Proof
    from hardmute.evidence.timeline import BoardTimeline
    from hardmute.model.errors import (
        EvidenceError,
        HardmuteError,
        LocalError,
        LogDamagedError,
        LogError,
        UnreachableError,
        UsageError,
    )
    from hardmute.store.log import Log
    from hardmute.sync.history import open_log, prove, timelines

__all__ = [
    "Board",
    "BoardTimeline",
    "EvidenceError",
    "HardmuteError",
    "Interval",
    "LocalError",
    "Log",
    "LogDamagedError",
    "LogError",
    "Observation",
    "Proof",
    "UnreachableError",
    "UsageError",
    "__version__",
    "boards",
    "open_board",
    "open_log",
    "prove",
    "timelines",
]

_HOMES = {
    "board": ("Board", "boards", "open_board"),
    "evidence.observation": ("Observation",),
    "evidence.interval": ("Interval",),
    "evidence.proof": ("Proof",),
    "evidence.timeline": ("BoardTimeline",),
    "sync.history": ("open_log", "prove", "timelines"),
    "model.errors": (
        "EvidenceError",
        "HardmuteError",
        "LocalError",
        "LogDamagedError",
        "LogError",
        "UnreachableError",
        "UsageError",
    ),
    "store.log": ("Log",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
