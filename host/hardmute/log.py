"""The log: what this host saw of its boards, in one SQLite file that is only ever appended to.

Every contact adds one row, "unknown" included. Wall time is the host's; the board's own uptime,
boot count and change count stand beside it, so that `hardmute.timeline` can tell what is proven
between two contacts and what is not.
"""

import contextlib
import json
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hardmute.errors import HardmuteError, LogDamagedError, LogError, UsageError
from hardmute.report import VERDICTS, Conclusion, Status

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE observation (
    row INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    board TEXT,
    device TEXT NOT NULL,
    simulated INTEGER NOT NULL,
    source TEXT NOT NULL,
    verdict TEXT NOT NULL,
    proof TEXT,
    reason TEXT,
    state TEXT,
    command TEXT,
    sense TEXT,
    cause TEXT,
    since_ms INTEGER,
    uptime_ms INTEGER,
    boot INTEGER,
    changes INTEGER,
    live_ms INTEGER,
    remute_in_ms INTEGER,
    faults TEXT,
    warnings TEXT,
    service TEXT
) STRICT;
CREATE INDEX observation_by_board ON observation (board, at_ms);
CREATE INDEX observation_by_time ON observation (at_ms);
CREATE TRIGGER observation_is_append_only_1 BEFORE UPDATE ON observation
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER observation_is_append_only_2 BEFORE DELETE ON observation
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
-- REPLACE deletes without asking the trigger above.
CREATE TRIGGER observation_is_append_only_3 BEFORE INSERT ON observation
WHEN EXISTS (SELECT 1 FROM observation WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER observation_is_append_only_4 AFTER INSERT ON observation
WHEN NEW.row < (SELECT max(row) FROM observation)
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
-- What the host calls a board and where it was last; not evidence.
CREATE TABLE board (
    board TEXT PRIMARY KEY,
    label TEXT UNIQUE,
    device TEXT,
    simulated INTEGER
) STRICT;
"""
_BUSY_TIMEOUT_S = 5.0
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCK_TIMEOUT_S = 5.0
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_WAL_HEADER = 32


class _Damage(Exception):  # noqa: N818 (never leaves this module)
    """Something in the file is not what this program writes."""


class Observation(NamedTuple):
    """One contact with a board, or one attempt. ``at_ms``: host time, ms since the epoch, UTC.

    From ``state`` on, the board's own words; all None when it could not be reached.
    """

    at_ms: int
    board: str | None
    device: str
    simulated: bool
    source: str
    verdict: str
    proof: str | None
    reason: str | None
    state: str | None = None
    command: str | None = None
    sense: tuple[int, ...] | None = None
    cause: str | None = None
    since_ms: int | None = None
    uptime_ms: int | None = None
    boot: int | None = None
    changes: int | None = None
    live_ms: int | None = None
    remute_in_ms: int | None = None
    faults: tuple[str, ...] | None = None
    warnings: tuple[str, ...] | None = None
    service: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The record as `--json` prints it."""
        fields = self._asdict()
        fields["at"] = iso_time(self.at_ms)
        return fields


_COLUMNS = Observation._fields
_INSERT = (
    f"INSERT INTO observation ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 (column names)
)


def iso_time(at_ms: int) -> str:
    """``at_ms`` as ISO 8601 in UTC, to the millisecond."""
    moment = datetime.fromtimestamp(at_ms / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def now_ms() -> int:
    """The host's wall time, in ms since the epoch."""
    return time.time_ns() // 1_000_000


def seen(
    status: Status, conclusion: Conclusion, *, board: str, device: str, source: str, at_ms: int
) -> Observation:
    """The observation that a board answered with ``status`` at ``at_ms``."""
    return Observation(
        at_ms=at_ms,
        board=board,
        device=device,
        simulated=status.simulated,
        source=source,
        verdict=conclusion.verdict,
        proof=conclusion.proof,
        reason=conclusion.reason,
        **{key: value for key, value in status._asdict().items() if key != "simulated"},
    )


def unseen(
    reason: str, *, board: str | None, device: str, simulated: bool, source: str, at_ms: int
) -> Observation:
    """The observation that no state could be had at ``at_ms``."""
    return Observation(
        at_ms=at_ms,
        board=board,
        device=device,
        simulated=simulated,
        source=source,
        verdict="unknown",
        proof=None,
        reason=reason,
    )


class Log:
    """An open log. Raises `LogError` when it cannot be used, `LogDamagedError` when it is not one.

    A damaged file is moved aside, never deleted, and a new log is begun in its place: by the next
    `Log`, or, when the damage shows later, in this one.
    """

    def __init__(self, file: Path, clock: Callable[[], int] = now_ms) -> None:
        self.file = file
        self._clock = clock
        # Which file is open: another process may set it aside.
        self._opened: tuple[int, int] | None = None
        self._database = self._open()

    def close(self) -> None:
        self._database.close()

    def __del__(self) -> None:
        # A connection is part of a cycle with its own cache of statements: left to itself it lives
        # until the garbage collector runs, and its write-ahead log stays behind.
        if hasattr(self, "_database"):
            self._database.close()

    def add(self, observation: Observation) -> None:
        """Append one observation, durably."""
        if self._file_id() != self._opened:
            # Another process has set the log aside, or somebody has removed it, since we began.
            self._database.close()
            self._database = self._open()
        values = [_to_column(value) for value in observation]
        with self._guarded(), self._database:
            self._database.execute(_INSERT, values)
            if observation.board is not None and observation.verdict != "unknown":
                device = _to_column(observation.device)
                self._database.execute(
                    "INSERT INTO board (board, device, simulated) VALUES (?, ?, ?)"
                    " ON CONFLICT (board) DO UPDATE"
                    " SET device = excluded.device, simulated = excluded.simulated"
                    " WHERE device IS NOT excluded.device OR simulated IS NOT excluded.simulated",
                    (observation.board, device, observation.simulated),
                )
                # Only one board is at a device.
                self._database.execute(
                    "UPDATE board SET device = NULL WHERE device = ? AND board <> ?",
                    (device, observation.board),
                )

    def observations(
        self, board: str | None, since_ms: int, until_ms: int
    ) -> Iterator[Observation]:
        """The observations of ``board`` (None: those of no known board) in [since, until), by row.

        Each board's last one before ``since_ms`` and first one after ``until_ms`` come with them:
        they say what held at the edges.
        """
        where = "board IS ? AND at_ms"
        query = (
            f"SELECT * FROM ("  # noqa: S608 (fixed text)
            f"SELECT row, {', '.join(_COLUMNS)} FROM observation WHERE {where} >= ? AND at_ms < ?"
            f" UNION SELECT * FROM (SELECT row, {', '.join(_COLUMNS)} FROM observation"
            f" WHERE {where} < ? ORDER BY at_ms DESC, row DESC LIMIT 1)"
            f" UNION SELECT * FROM (SELECT row, {', '.join(_COLUMNS)} FROM observation"
            f" WHERE {where} >= ? ORDER BY at_ms, row LIMIT 1)"
            ") ORDER BY row"
        )
        parameters = (board, since_ms, until_ms, board, since_ms, board, until_ms)
        with self._guarded():
            for row in self._database.execute(query, parameters):
                yield _from_row(row[1:])

    def boards(self) -> list[tuple[str, str | None, bool]]:
        """Every board ever seen: id, label, simulated."""
        with self._guarded():
            rows = self._database.execute(
                "SELECT board, label, simulated FROM board ORDER BY board"
            ).fetchall()
        return [(board, label, bool(simulated)) for board, label, simulated in rows]

    def real_boards(self) -> list[str]:
        """The ids of all boards ever seen that are not simulated."""
        return [board for board, _, simulated in self.boards() if not simulated]

    def label(self, board: str) -> str | None:
        """What the owner calls ``board``."""
        return self._one("SELECT label FROM board WHERE board = ?", board)

    def set_label(self, board: str, label: str | None) -> None:
        """Call ``board`` so. Raises `UsageError` if another board has that label."""
        try:
            with self._guarded(), self._database:
                self._database.execute(
                    "INSERT INTO board (board, label) VALUES (?, ?)"
                    " ON CONFLICT (board) DO UPDATE SET label = excluded.label",
                    (board, label),
                )
        except sqlite3.IntegrityError:
            other = self.board_named(label or "")
            raise UsageError(f"Board {other} already has the label {label!r}.") from None

    def board_named(self, label: str) -> str | None:
        """The id of the board with this label."""
        return self._one("SELECT board FROM board WHERE label = ?", label)

    def board_last_at(self, device: str) -> str | None:
        """The id of the board that was last seen at ``device``."""
        return self._one("SELECT board FROM board WHERE device = ?", device)

    def _one(self, query: str, parameter: str) -> str | None:
        with self._guarded():
            row = self._database.execute(query, (_to_column(parameter),)).fetchone()
        return None if row is None else row[0]

    def _open(self) -> sqlite3.Connection:
        try:
            if not self.file.exists():
                self._create()
            # Before it is opened: should it be exchanged in between, we take it for an old one.
            self._opened = self._file_id()
            self._check_wal()
            # "rw": never an empty file where another process has just set a log aside.
            uri = f"{self.file.absolute().as_uri()}?mode=rw"
            database = sqlite3.connect(uri, timeout=_BUSY_TIMEOUT_S, uri=True)
        except _Damage as error:
            raise self._set_aside(wal_only=True) from error
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            # First, because a log of a newer format is left exactly as it is.
            self._check_version(database)
            _check_schema(database)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
        except LogError:
            database.close()
            raise
        except (_Damage, sqlite3.Error) as error:
            database.close()
            if _is_damage(error):
                raise self._set_aside() from error
            raise self._unusable(error) from error
        return database

    def _check_version(self, database: sqlite3.Connection) -> None:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA_VERSION:
            raise LogError(
                f"{self.file} was written by a newer hardmute (format {version}): update this one."
            )
        if version != _SCHEMA_VERSION:
            raise _Damage

    def _create(self) -> None:
        """Make an empty log in one step: whoever looks sees none or a whole one.

        So an empty or half-made file under the log's name is damage, and no crash leaves one.
        """
        with self._locked():
            if self.file.exists():
                return
            # What was left beside a log that has gone is not part of the new one.
            self._move_aside("-wal", "-shm")
            name = f"{self.file}.new"
            Path(name).unlink(missing_ok=True)
            os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
            try:
                database = sqlite3.connect(name)
                try:
                    database.execute("PRAGMA journal_mode = WAL")
                    database.execute("PRAGMA synchronous = FULL")
                    with database:
                        database.execute("BEGIN")
                        for statement in _statements(_SCHEMA):
                            database.execute(statement)
                        database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")
                finally:
                    # Leaves one file, with everything in it.
                    database.close()
                Path(name).replace(self.file)
            finally:
                for suffix in ("", "-wal", "-shm"):
                    Path(name + suffix).unlink(missing_ok=True)

    def _check_wal(self) -> None:
        """Raise `_Damage` for a write-ahead log that SQLite would take for empty and delete.

        SQLite syncs the header before any frame, so a power cut leaves no wrong one with frames.
        """
        try:
            with Path(f"{self.file}-wal").open("rb") as stream:
                header = stream.read(_WAL_HEADER)
                more = stream.read(1)
        except FileNotFoundError:
            return
        if more and any(header) and not _is_wal_header(header):
            raise _Damage

    def _wal_is_good(self) -> bool:
        try:
            self._check_wal()
        except _Damage:
            return False
        return True

    def _file_id(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            found = self.file.stat()
            return found.st_dev, found.st_ino
        return None

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Only one process at a time begins a log or sets one aside."""
        from hardmute.holder import try_lock

        fd = os.open(f"{self.file}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            deadline = time.monotonic() + _LOCK_TIMEOUT_S
            while not try_lock(fd):
                if time.monotonic() >= deadline:
                    raise TimeoutError("another process is busy with it")
                time.sleep(0.01)
            yield
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _guarded(self) -> Generator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except (_Damage, sqlite3.Error) as error:
            if not _is_damage(error):
                raise self._unusable(error) from error
            self._database.close()
            told = self._set_aside()
            with contextlib.suppress(HardmuteError):
                self._database = self._open()
            raise told from error

    def _unusable(self, error: Exception) -> LogError:
        return LogError(
            f"The log {self.file} cannot be used ({error}): what was recorded is untouched; "
            "free the disk or repair the permissions."
        )

    def _set_aside(self, *, wal_only: bool = False) -> LogDamagedError:
        try:
            with self._locked():
                if self._file_id() != self._opened or (wal_only and self._wal_is_good()):
                    return LogDamagedError(
                        f"The log {self.file} was damaged, and another process has set it aside."
                    )
                aside = self._move_aside(*(() if wal_only else ("",)), "-wal", "-shm")
        except OSError as error:
            return LogDamagedError(
                f"The log {self.file} is damaged and cannot be set aside "
                f"({error.strerror or error}): "
                "nothing is recorded until that is done."
            )
        if wal_only:
            return LogDamagedError(
                f"The newest part of the log was damaged; it is kept as {aside}-wal, and the log "
                "goes on without it."
            )
        return LogDamagedError(
            f"The log was damaged; it is kept as {aside}, and a new one begins."
        )

    def _move_aside(self, *suffixes: str) -> Path:
        stamp = datetime.fromtimestamp(self._clock() / 1000, UTC).strftime("%Y%m%dT%H%M%S%fZ")
        aside = self.file.with_name(f"{self.file.stem}.damaged-{stamp}{self.file.suffix}")
        number = 1
        while any(Path(f"{aside}{suffix}").exists() for suffix in ("", "-wal", "-shm")):
            # The clock may have gone back.
            number += 1
            aside = aside.with_name(f"{self.file.stem}.damaged-{stamp}-{number}{self.file.suffix}")
        for suffix in suffixes:
            with contextlib.suppress(FileNotFoundError):
                Path(f"{self.file}{suffix}").rename(f"{aside}{suffix}")
        return aside


def _check_schema(database: sqlite3.Connection) -> None:
    """Raise `_Damage` unless the file has every table and trigger of ours, as we made them."""
    found = {sql for (sql,) in database.execute("SELECT sql FROM sqlite_schema")}
    if not found.issuperset(_schema_statements()):
        raise _Damage


def _schema_statements() -> set[str]:
    # SQLite keeps a statement from its first word on, without the semicolon.
    return {
        statement[statement.index("CREATE ") :].rstrip().removesuffix(";")
        for statement in _statements(_SCHEMA)
    }


def _is_wal_header(header: bytes) -> bool:
    """Whether these 32 bytes begin a write-ahead log (https://sqlite.org/fileformat2.html)."""
    words = struct.unpack(">8I", header)
    if words[0] not in _WAL_MAGIC:
        return False
    first = second = 0
    # The lowest bit of the magic number says in which byte order the checksum adds.
    numbers = struct.unpack(">6I" if words[0] & 1 else "<6I", header[:24])
    for even, odd in zip(numbers[::2], numbers[1::2], strict=True):
        first = (first + even + second) & 0xFFFFFFFF
        second = (second + odd + first) & 0xFFFFFFFF
    return (first, second) == words[6:]


def _is_damage(error: Exception) -> bool:
    if isinstance(error, _Damage):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        # Raised by Python's own layer: text in the file is not UTF-8.
        return isinstance(error, sqlite3.OperationalError)
    return code & 0xFF in _DAMAGE


def _statements(script: str) -> Iterator[str]:
    """The statements of an SQL script, one by one (`executescript` would commit on its way)."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _to_column(value: object) -> object:
    if isinstance(value, tuple):
        return json.dumps(value)
    if isinstance(value, str):
        # A file name that is not UTF-8 reaches us with surrogates in it.
        return value.encode(errors="backslashreplace").decode()
    return value


def _from_row(row: tuple[Any, ...]) -> Observation:
    fields = dict(zip(_COLUMNS, row, strict=True))
    fields["simulated"] = bool(fields["simulated"])
    try:
        for key in ("sense", "faults", "warnings"):
            if fields[key] is not None:
                fields[key] = tuple(json.loads(fields[key]))
        iso_time(fields["at_ms"])
    except (TypeError, ValueError, OverflowError, OSError) as error:
        raise _Damage from error
    if fields["verdict"] not in VERDICTS:
        raise _Damage
    return Observation(**fields)
