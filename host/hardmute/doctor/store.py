"""What this host keeps: its clock, the log, the keys, and who can read them."""

from __future__ import annotations

import contextlib
import shlex
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from hardmute.doctor.finding import Finding, failed, passed, skipped, warned
from hardmute.doctor.machine import Machine
from hardmute.evidence.entries import Entry
from hardmute.model import errors, words
from hardmute.store.log import Log
from hardmute.system import paths

# When this was written: no clock that is right says an earlier time.
_NOT_BEFORE_MS = int(datetime(2026, 11, 25, tzinfo=UTC).timestamp() * 1000)
# An entry may have been made by another process a moment ago.
_SLACK_MS = 2_000
# An entry takes half a kilobyte or less, and a board's whole journal (10,000 records) 5 MB; both
# stand in the write-ahead log as well for a while.
_FULL_BYTES = 1 << 20
_LOW_BYTES = 64 << 20
_SET_CLOCK = "Set this host's clock (Linux: sudo timedatectl set-ntp true)."


def check(
    machine: Machine, folder: Path, log: Log | None, trouble: errors.HardmuteError | None
) -> Iterator[Finding]:
    """The checks of ``folder``. ``log``: the open log; ``trouble``: why there is none."""
    yield _clock(machine.now_ms(), log)
    yield _log(machine, folder, log, trouble)
    yield _disk(machine, folder)
    yield _modes(machine, folder)


def _clock(now_ms: int, log: Log | None) -> Finding:
    now = words.local_time(now_ms)
    if now_ms < _NOT_BEFORE_MS:
        return failed(
            "clock",
            f"this host's clock says {now}, before this hardmute was written: the log would date"
            " what happens wrongly",
            _SET_CLOCK,
            errors.LOCAL,
        )
    newest = _newest(log) if log is not None else None
    if newest is None:
        return passed("clock", f"this host's clock says {now}; there is no log to compare with")
    if now_ms < newest.at_ms - _SLACK_MS:
        return warned(
            "clock",
            f"this host's clock says {now}, and the log's newest entry is of"
            f" {words.local_time(newest.at_ms)}: it is wrong now, or was then",
            _SET_CLOCK,
        )
    return passed("clock", f"this host's clock says {now}, later than all that is in the log")


def _newest(log: Log) -> Entry | None:
    with contextlib.suppress(errors.HardmuteError):
        return next(log.entries(since_row=log.head()[0]), None)
    return None


def _log(
    machine: Machine, folder: Path, log: Log | None, trouble: errors.HardmuteError | None
) -> Finding:
    file = folder / paths.LOG_NAME
    if trouble is not None:
        todo = (
            "The next command that records sets it aside and begins a new one; where there is a"
            " copy of it, `hardmute log verify` says whether that one is whole."
            if isinstance(trouble, errors.LogDamagedError)
            else ""
        )
        return failed("log", str(trouble), todo, trouble.exit_code)
    existing = [path for path in (file, folder) if path.exists()] or [_nearest(folder)]
    for path in existing:
        if not machine.may_open(path):
            name = shlex.quote(str(path))
            return failed(
                "log",
                f"{path} cannot be written, so nothing is recorded",
                f"Make it yours again (sudo chown $USER {name}; chmod u+rw {name}), or have the"
                " log elsewhere with HARDMUTE_HOME.",
                errors.LOCAL,
            )
    if log is None:
        return passed("log", f"{file} is not there yet: the first contact with a board begins it")
    size = file.stat().st_size
    return passed(
        "log",
        f"{file} opens, and its {size / 1000:,.0f} kB are readable; `hardmute log verify` says"
        " whether they are as they were written",
    )


def _disk(machine: Machine, folder: Path) -> Finding:
    free = machine.free_bytes(_nearest(folder))
    said = f"{free / 1e6:,.0f} MB are free for the log"
    if free < _FULL_BYTES:
        return failed("disk", said, f"Free some space where {folder} is.", errors.LOCAL)
    if free < _LOW_BYTES:
        return warned("disk", said, f"Free some space where {folder} is.")
    return passed("disk", said)


def _modes(machine: Machine, folder: Path) -> Finding:
    """Keys and log tell others nothing, and others cannot change them."""
    if machine.system == "win32":
        return skipped("file_modes", "Windows has access lists, which this does not read")
    log = folder / paths.LOG_NAME
    files = [log, *(Path(f"{log}{suffix}") for suffix in ("-wal", "-shm"))]
    files += sorted((folder / "keys").glob("*.json")) if (folder / "keys").is_dir() else []
    open_files = [file for file in files if _open_to_others(file)]
    open_folders = [each for each in (folder, folder / "keys") if _open_to_others(each)]
    if open_files:
        names = shlex.join(map(str, open_files))
        todo = f"Run chmod 600 {names}"
        if any(file.suffix == ".json" for file in open_files):
            todo += ", and pair again: whoever has read a key can answer in the board's place"
        return failed("file_modes", f"others may read or change {names}", f"{todo}.", errors.LOCAL)
    if open_folders:
        names = shlex.join(map(str, open_folders))
        return warned("file_modes", f"others may look into {names}", f"Run chmod 700 {names}.")
    if not folder.is_dir():
        return skipped("file_modes", "nothing is kept yet")
    return passed("file_modes", "only you can read the log and the keys")


def _open_to_others(path: Path) -> bool:
    try:
        return bool(stat.S_IMODE(path.stat().st_mode) & 0o077)
    except OSError:
        return False


def _nearest(folder: Path) -> Path:
    """``folder``, or what of it is there."""
    return next(path for path in (folder, *folder.parents) if path.exists())
