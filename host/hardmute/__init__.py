"""hardmute: a microphone mute that its owner can prove.

`open_board` finds a board; a `Board` is read, followed and cut. `open_log` and `prove` tell what
was. docs/python.md has ten short programs, and what else there is: the commands of `hardmute` use
nothing else. Importing this loads nothing until it is used.
"""

from __future__ import annotations

from importlib import import_module

from muteboard import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hardmute.board import Board, boards, open_board
    from hardmute.device.discovery import known_board
    from hardmute.evidence.entries import FIRST_MS, Entry
    from hardmute.evidence.interval import Interval
    from hardmute.evidence.observation import Observation
    from hardmute.evidence.proof import Proof, counts_for_nothing
    from hardmute.evidence.receipt import check_receipt
    from hardmute.evidence.timeline import BoardTimeline
    from hardmute.evidence.verifier import Branch, Keys, Report
    from hardmute.host import Host, Listed, Question, forget
    from hardmute.model import clock, errors, notices, words
    from hardmute.model.answers import (
        NOT_ATTESTED,
        Identity,
        ProofLevel,
        is_board_id,
        warning_text,
    )
    from hardmute.model.clock import SYSTEM, HostClock
    from hardmute.model.errors import (
        EvidenceError,
        HardmuteError,
        LocalError,
        LogDamagedError,
        LogError,
        UnreachableError,
        UsageError,
    )
    from hardmute.model.settings import parse_settings
    from hardmute.monitor.client import Known, all_known, following, is_news, known
    from hardmute.monitor.follower import Follower
    from hardmute.pairing import EndedPairing, MadePairing, pair, unpair
    from hardmute.proofs import meet_to_prove, prove_export, prove_here, sign_receipt
    from hardmute.store.export import export_log
    from hardmute.store.keys import load_verify_keys
    from hardmute.store.log import Log
    from hardmute.store.receipts import read_receipt, require_name
    from hardmute.sync.check import LogOutcome, check_log
    from hardmute.sync.history import open_log, own_log, prove, timelines
    from hardmute.sync.service_mode import Look, Service
    from hardmute.sync.timelines import read_timelines
    from hardmute.sync.visit import VERIFY_PAUSE_S
    from hardmute.system.monitor_socket import HangsError
    from hardmute.system.new_file import new_file

__all__ = [
    "FIRST_MS",
    "NOT_ATTESTED",
    "SYSTEM",
    "VERIFY_PAUSE_S",
    "Board",
    "BoardTimeline",
    "Branch",
    "EndedPairing",
    "Entry",
    "EvidenceError",
    "Follower",
    "HangsError",
    "HardmuteError",
    "Host",
    "HostClock",
    "Identity",
    "Interval",
    "Keys",
    "Known",
    "Listed",
    "LocalError",
    "Log",
    "LogDamagedError",
    "LogError",
    "LogOutcome",
    "Look",
    "MadePairing",
    "Observation",
    "Proof",
    "ProofLevel",
    "Question",
    "Report",
    "Service",
    "UnreachableError",
    "UsageError",
    "__version__",
    "all_known",
    "boards",
    "check_log",
    "check_receipt",
    "clock",
    "counts_for_nothing",
    "errors",
    "export_log",
    "following",
    "forget",
    "is_board_id",
    "is_news",
    "known",
    "known_board",
    "load_verify_keys",
    "meet_to_prove",
    "new_file",
    "notices",
    "open_board",
    "open_log",
    "own_log",
    "pair",
    "parse_settings",
    "prove",
    "prove_export",
    "prove_here",
    "read_receipt",
    "read_timelines",
    "require_name",
    "sign_receipt",
    "timelines",
    "unpair",
    "warning_text",
    "words",
]

_HOMES = {
    "board": ("Board", "boards", "open_board"),
    "device.discovery": ("known_board",),
    "evidence.entries": ("FIRST_MS", "Entry"),
    "evidence.interval": ("Interval",),
    "evidence.observation": ("Observation",),
    "evidence.proof": ("Proof", "counts_for_nothing"),
    "evidence.receipt": ("check_receipt",),
    "evidence.timeline": ("BoardTimeline",),
    "evidence.verifier": ("Branch", "Keys", "Report"),
    "host": ("Host", "Listed", "Question", "forget"),
    "model.answers": ("NOT_ATTESTED", "Identity", "ProofLevel", "is_board_id", "warning_text"),
    "model.clock": ("SYSTEM", "HostClock"),
    "model.errors": (
        "EvidenceError",
        "HardmuteError",
        "LocalError",
        "LogDamagedError",
        "LogError",
        "UnreachableError",
        "UsageError",
    ),
    "model.settings": ("parse_settings",),
    "monitor.client": ("Known", "all_known", "following", "is_news", "known"),
    "monitor.follower": ("Follower",),
    "pairing": ("EndedPairing", "MadePairing", "pair", "unpair"),
    "proofs": ("meet_to_prove", "prove_export", "prove_here", "sign_receipt"),
    "store.export": ("export_log",),
    "store.keys": ("load_verify_keys",),
    "store.log": ("Log",),
    "store.receipts": ("read_receipt", "require_name"),
    "sync.check": ("LogOutcome", "check_log"),
    "sync.history": ("open_log", "own_log", "prove", "timelines"),
    "sync.service_mode": ("Look", "Service"),
    "sync.timelines": ("read_timelines",),
    "sync.visit": ("VERIFY_PAUSE_S",),
    "system.monitor_socket": ("HangsError",),
    "system.new_file": ("new_file",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_MODULES = {"clock", "errors", "notices", "words"}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        found = import_module(f"{__name__}.model.{name}")
    elif name in _HOME_OF:
        found = getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
