"""The log: what this host saw of its boards, in one SQLite file that is only ever appended to.

Every contact adds one row, "unknown" included. Wall time is the host's; the board's own uptime,
boot count and change count stand beside it, so that `hardmute.timeline` can tell what is proven
between two contacts and what is not.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from collections.abc import Callable, Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hardmute.errors import LogDamagedError, LogError
from hardmute.report import Conclusion, Status

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
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM observation"  # noqa: S608 (column names)


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
    """An open log. Raises `LogError` if it cannot be used, `LogDamagedError` if it is not a log.

    A damaged file is moved aside, never deleted, and a new log is begun in its place.
    """

    def __init__(self, file: Path, clock: Callable[[], int] = now_ms) -> None:
        self.file = file
        self._clock = clock
        self._database = self._open()

    def close(self) -> None:
        self._database.close()

    def add(self, observation: Observation) -> None:
        """Append one observation, durably."""
        values = [_to_column(value) for value in observation]
        with self._guarded(), self._database:
            self._database.execute(_INSERT, values)
            if observation.board is not None and observation.verdict != "unknown":
                self._database.execute(
                    "INSERT INTO board (board, device, simulated) VALUES (?, ?, ?)"
                    " ON CONFLICT (board) DO UPDATE SET device = excluded.device"
                    " WHERE device IS NOT excluded.device",
                    (observation.board, observation.device, observation.simulated),
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

    def last(self, board: str) -> Observation | None:
        """The newest row about ``board``."""
        with self._guarded():
            row = self._database.execute(
                f"{_SELECT} WHERE board = ? ORDER BY row DESC LIMIT 1", (board,)
            ).fetchone()
        return None if row is None else _from_row(row)

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
        """Call ``board`` so. Raises `LogError` if another board has that label."""
        try:
            with self._guarded(), self._database:
                self._database.execute(
                    "INSERT INTO board (board, label) VALUES (?, ?)"
                    " ON CONFLICT (board) DO UPDATE SET label = excluded.label",
                    (board, label),
                )
        except sqlite3.IntegrityError:
            other = self.board_named(label or "")
            raise LogError(f"Board {other} already has the label {label!r}.") from None

    def board_named(self, label: str) -> str | None:
        """The id of the board with this label."""
        return self._one("SELECT board FROM board WHERE label = ?", label)

    def board_last_at(self, device: str) -> str | None:
        """The id of the board that was last seen at ``device``."""
        return self._one("SELECT board FROM board WHERE device = ?", device)

    def _one(self, query: str, parameter: str) -> str | None:
        with self._guarded():
            row = self._database.execute(query, (parameter,)).fetchone()
        return None if row is None else row[0]

    def _open(self) -> sqlite3.Connection:
        try:
            if not self.file.exists():
                os.close(os.open(self.file, os.O_CREAT | os.O_RDWR, 0o600))
            database = sqlite3.connect(self.file, timeout=_BUSY_TIMEOUT_S)
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            version = database.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._create(database)
            elif version > _SCHEMA_VERSION:
                raise LogError(  # noqa: TRY301 (a sentence of its own, and the same clean-up)
                    f"{self.file} was written by a newer hardmute (format {version}): "
                    "update this one."
                )
        except LogError:
            database.close()
            raise
        except sqlite3.Error as error:
            database.close()
            if error.sqlite_errorcode & 0xFF in _DAMAGE:
                raise self._set_aside() from error
            raise self._unusable(error) from error
        return database

    def _create(self, database: sqlite3.Connection) -> None:
        with database:
            # Two processes may find a new file at once; the second one finds it made.
            database.execute("BEGIN IMMEDIATE")
            if database.execute("PRAGMA user_version").fetchone()[0] == 0:
                for statement in _statements(_SCHEMA):
                    database.execute(statement)
                database.execute(f"PRAGMA user_version = {_SCHEMA_VERSION}")

    @contextlib.contextmanager
    def _guarded(self) -> Generator[None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            if code in _DAMAGE:
                self._database.close()
                raise self._set_aside() from error
            raise self._unusable(error) from error

    def _unusable(self, error: Exception) -> LogError:
        return LogError(
            f"The log {self.file} cannot be used ({error}): what was recorded is untouched; "
            "free the disk or repair the permissions."
        )

    def _set_aside(self) -> LogDamagedError:
        stamp = datetime.fromtimestamp(self._clock() / 1000, UTC).strftime("%Y%m%dT%H%M%S%fZ")
        aside = self.file.with_name(f"{self.file.stem}.damaged-{stamp}{self.file.suffix}")
        for suffix in ("", "-wal", "-shm"):
            part = Path(f"{self.file}{suffix}")
            with contextlib.suppress(FileNotFoundError):
                part.rename(f"{aside}{suffix}")
        return LogDamagedError(
            f"The log was damaged: it is kept as {aside}, and a new log has begun."
        )


def _statements(script: str) -> Iterator[str]:
    """The statements of an SQL script, one by one (`executescript` would commit on its way)."""
    pending = ""
    for line in script.splitlines():
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""


def _to_column(value: object) -> object:
    return json.dumps(value) if isinstance(value, tuple) else value


def _from_row(row: tuple[Any, ...]) -> Observation:
    fields = dict(zip(_COLUMNS, row, strict=True))
    fields["simulated"] = bool(fields["simulated"])
    for key in ("sense", "faults", "warnings"):
        if fields[key] is not None:
            fields[key] = tuple(json.loads(fields[key]))
    return Observation(**fields)
