"""The log: what this host saw of its boards and has of their journals, append-only, hash-chained.

Everything is an entry (docs/evidence.md), in one SQLite file. Every contact adds an `Observation`,
"unknown" included, unless it only repeats the newest one. Where another hardmute holds the port,
that process logs instead. Wall time is the host's.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import struct
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice

from hardmute.evidence import entries
from hardmute.evidence.anchors import advance
from hardmute.evidence.entries import (
    GENESIS,
    KINDS,
    Columns,
    Entry,
    Row,
    canonical,
    columns_of,
    entry_hash,
)
from hardmute.evidence.observation import NO_ROW, STILL_MS, Observation, observation_of, told
from hardmute.model.clock import now_ms
from hardmute.model.errors import (
    EvidenceError,
    HardmuteError,
    LogDamagedError,
    LogError,
    NewerLogError,
    UsageError,
)
from hardmute.model.typed import TYPE_CHECKING, Any, NamedTuple, cast
from hardmute.model.usb import Usb
from hardmute.system.file_lock import try_lock
from muteboard import journal

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE entry (
    row INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    board TEXT,
    body TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
CREATE INDEX observation_by_board ON entry (board, at_ms) WHERE kind = 'observation';
CREATE INDEX evidence_by_board ON entry (board, kind) WHERE kind <> 'observation';
CREATE INDEX attestation_by_time ON entry (board, at_ms) WHERE kind = 'attestation';
CREATE INDEX incident_by_time ON entry (at_ms) WHERE kind = 'incident';
CREATE TRIGGER entry_is_append_only_1 BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER entry_is_append_only_2 BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
-- REPLACE deletes without asking the trigger above.
CREATE TRIGGER entry_is_append_only_3 BEFORE INSERT ON entry
WHEN EXISTS (SELECT 1 FROM entry WHERE row = NEW.row)
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
CREATE TRIGGER entry_is_append_only_4 AFTER INSERT ON entry
WHEN NEW.row < (SELECT max(row) FROM entry)
BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END;
-- What the host calls a board and where it was last; not evidence.
CREATE TABLE board (
    board TEXT PRIMARY KEY,
    label TEXT UNIQUE,
    device TEXT,
    simulated INTEGER
) STRICT;
"""
# The USB device that a board was behind when it last answered. Not evidence. Made when it is
# needed: a log without it is of the same format.
_USB_TABLE = """
CREATE TABLE IF NOT EXISTS usb (
    board TEXT PRIMARY KEY,
    serial TEXT,
    location TEXT,
    vendor INTEGER,
    product INTEGER
) STRICT
"""
# What `Log.marks` asks for of each attestation: in an index, so that no row of the table is read.
_MARK = (
    "CASE WHEN json_valid(body) THEN json_extract(body, '$.branch', '$.statement.boot',"
    " '$.statement.uptime_ms', '$.statement.seq', '$.sent_ms', '$.received_ms', '$.anchor_us',"
    " '$.host_boot') END"
)
# And of what else than the board has shown: from when to when.
_HEARD = "CASE WHEN json_valid(body) THEN json_extract(body, '$.from_ms', '$.to_ms') END"
# The low half of the event is in the 39th character of the base64, which ends the body.
_MAY_BE_PAIR = "substr(body, -52, 1) = 'g'"
# They only make it faster: a log may be older than they are.
_INDEXES = (
    f"mark_by_board ON entry (board, row, {_MARK}) WHERE kind = 'attestation'",
    f"told_by_board ON entry (board, row, {_HEARD}) WHERE kind IN ('listening', 'usb')",
    f"pair_by_board ON entry (board) WHERE kind = 'record' AND {_MAY_BE_PAIR}",
)
# The source of the observation with which this host ends its pairing with a board.
UNPAIR = "unpair"
# The incident that another than this host has paired a board since this one did.
ELSEWHERE = "paired_elsewhere"
PATIENCE_S = 5.0
# So far back the newest entry of a board is looked for, in rows: the time for it is bounded.
_LOOK_BACK = 256
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_LOCK_TIMEOUT_S = 5.0
_WAL_MAGIC = (0x377F0682, 0x377F0683)
_WAL_HEADER = 32
# In the name of a log that was set aside.
_ASIDE = ".damaged-"


class _Damage(Exception):  # noqa: N818 (never leaves this module)
    """Something in the file is not what this program writes. ``row``: the entry, if it is one."""

    def __init__(self, row: object = None) -> None:
        super().__init__("" if row is None else f" from entry {row} on")


_COLUMNS = "row, at_ms, kind, board, body, hash"
# Of entries of that kind and board; the row of any other comes as its complement, below 0. Without
# the `+`, text would be the same as the number that it stands for.
_ALIKE = (
    "SELECT iif(+kind IS ?3 AND +board IS ?4, row, ~row), at_ms, body, hash FROM entry"
    " WHERE row BETWEEN ?1 AND ?2 ORDER BY row"
)
_INSERT = f"INSERT INTO entry ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 (fixed text)


class Pairing(NamedTuple):
    """That `hardmute pair` has paired this host with a board, by the entry in ``row``."""

    row: int
    pairing: int
    key_id: str


class Log:
    """An open log. Raises `LogError` when it cannot be used, `LogDamagedError` when it is not one.

    A damaged file is moved aside, never deleted, and a new log is begun in its place: by the next
    `Log`, or, when the damage shows later, in this one.

    ``read_only``: nothing is made, changed or moved, whatever is found; the file must be there.
    ``patience_s``: how long it waits for another program that has locked the file, in seconds.
    """

    def __init__(
        self,
        file: str | Path,
        clock: Callable[[], int] = now_ms,
        *,
        read_only: bool = False,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._file = os.fspath(file)
        self._clock = clock
        self._read_only = read_only
        self._patience_s = patience_s
        # Which file is open: another process may set it aside.
        self._opened: tuple[int, int] | None = None
        self._database = self._open()

    def close(self) -> None:
        self._database.close()

    @property
    def file(self) -> Path:
        """Where it is."""
        from pathlib import Path

        return Path(self._file)

    @property
    def opened(self) -> tuple[int, int] | None:
        """Which file is open, whatever its name belongs to now."""
        return self._opened

    def wait_for_others(self, patience_s: float) -> None:
        """Wait for so many seconds from now on for a program that has locked the file."""
        self._patience_s = patience_s
        with self._guarded():
            self._database.execute(f"PRAGMA busy_timeout = {round(1000 * patience_s)}")

    def __del__(self) -> None:
        # A connection is part of a cycle with its own cache of statements: left to itself it lives
        # until the garbage collector runs, and its write-ahead log stays behind.
        if hasattr(self, "_database"):
            # The collector may run in another thread than the one that it belongs to.
            with contextlib.suppress(sqlite3.ProgrammingError):
                self._database.close()

    def add(self, observation: Observation, *, repeated: bool = True) -> None:
        """Append one observation, durably; not ``repeated``: unless it `repeats` the newest."""
        fields = {
            key: _text(value)
            for key, value in observation._asdict().items()
            if value is not None and key not in ("at_ms", "board")
        }
        with self.transaction():
            if not repeated and self.repeats(observation):
                return
            self.append("observation", observation.board, fields, at_ms=observation.at_ms)
            if observation.board is not None and observation.state is not None:
                device = _text(observation.device)
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

    def repeats(self, observation: Observation) -> bool:
        """Whether the newest that the log has of its board is an observation of the same, made in
        the `STILL_MS` before it, by the clocks of host and board. No row says more without it.

        Attestations may stand after that one, but no record, incident or checkpoint.
        """
        found = self._first(
            f"SELECT {_COLUMNS} FROM entry WHERE row > (SELECT max(row) FROM entry) - ?"  # noqa: S608 (fixed text)
            " AND kind <> 'attestation' AND (board IS ? OR kind = 'checkpoint')"
            " ORDER BY row DESC LIMIT 1",
            _LOOK_BACK,
            observation.board,
        )
        newest = None if found is None else self.parsed(found)
        if newest is None or newest.kind != "observation":
            return False
        with self._guarded():
            before = _observation_of(newest)
        on = advance(before.anchor, observation.anchor)
        return (
            told(before) == told(observation)
            and on.wall_agrees
            and 0 <= on.passed_ms < STILL_MS
            and 0 <= on.board_ms < STILL_MS
        )

    @contextlib.contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing, and no other process in between: what was read holds at the end."""
        if self._database.in_transaction:
            yield
            return
        if self._file_id() != self._opened:
            # Another process has set the log aside, or somebody has removed it, since we began.
            self._database.close()
            self._database = self._open()
        with self._guarded(), self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    @contextlib.contextmanager
    def snapshot(self) -> Generator[None]:
        """What is read within shows the log at one moment. Holds nobody up."""
        with self._guarded(), self._database:
            self._database.execute("BEGIN")
            yield

    def append(
        self, kind: str, board: str | None, body: dict[str, Any], *, at_ms: int | None = None
    ) -> Entry:
        """Append one entry, durably. ``at_ms``: now, if it is not given."""
        at_ms = self._clock() if at_ms is None else at_ms
        with self.transaction():
            row, before = self.head()
            text = canonical(body)
            digest = entry_hash(before, row + 1, at_ms, kind, board, text)
            self._database.execute(_INSERT, (row + 1, at_ms, kind, board, text, digest))
        return Entry(row + 1, at_ms, kind, board, body, digest)

    def head(self, last: int = NO_ROW) -> tuple[int, bytes]:
        """Row and hash of the newest entry up to row ``last``; 0 and `GENESIS` for none."""
        query = "SELECT row, hash FROM entry WHERE row <= ? ORDER BY row DESC LIMIT 1"
        return self._first(query, last) or (0, GENESIS)

    def hash_at(self, row: int) -> bytes | None:
        """The hash of entry ``row``; None if it is not there (any more)."""
        found = self._first("SELECT hash FROM entry WHERE row = ?", row)
        return None if found is None else found[0]

    def check_pages(self) -> None:
        """Read the whole file as SQLite's own quick check does. Raises `LogDamagedError`."""
        with self._guarded():
            (said,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
            if said != "ok":
                raise _Damage

    def entries(
        self,
        board: str | None = None,
        kinds: Sequence[str] = KINDS,
        since_row: int = 0,
        until_row: int = 1 << 62,
    ) -> Iterator[Entry]:
        """Entries from ``since_row`` to ``until_row``, in order; of ``board``, or all."""
        conditions = ["row BETWEEN ? AND ?"]
        parameters: list[object] = [since_row, until_row]
        if board is not None:
            conditions.append("board = ?")
            parameters.append(board)
        if tuple(kinds) != KINDS:
            conditions.append(f"kind IN ({', '.join('?' * len(kinds))})")
            parameters += kinds
            if "observation" not in kinds:
                # So that the index of these is taken.
                conditions.append("kind <> 'observation'")
        query = f"SELECT {_COLUMNS} FROM entry WHERE {' AND '.join(conditions)} ORDER BY row"  # noqa: S608 (fixed text)
        with self._guarded():
            for row in self._database.execute(query, parameters):
                yield _to_entry(row)

    def rows_of(self, kind: str) -> Iterator[Row]:
        """The entries of a kind that is not ``observation``, as they are stored."""
        query = f"SELECT {_COLUMNS} FROM entry WHERE kind = ? AND kind <> 'observation'"  # noqa: S608 (fixed text)
        with self._guarded():
            yield from self._database.execute(f"{query} ORDER BY row", (kind,))

    def newest(self, board: str, kind: str) -> Entry | None:
        """The newest entry of one kind, which is not ``observation``, of ``board``."""
        found = self._first(
            f"SELECT {_COLUMNS} FROM entry WHERE board = ? AND kind = ?"  # noqa: S608 (fixed text)
            " AND kind <> 'observation' ORDER BY row DESC LIMIT 1",
            board,
            kind,
        )
        return None if found is None else _to_entry(found)

    def paired(self, board: str) -> tuple[int, int] | None:
        """The rows between which this host was paired with ``board``; None if it never was.

        It was from the first attestation that it could check until `hardmute unpair`, here, after
        the last one. What the board itself says or records ends nothing: it may be another board.
        The second is beyond every row as long as this host is paired.

        A log that was set aside counts too. Where it cannot be read, this host may be paired, and
        that counts as if it was.
        """
        first, newest = self._checked_rows(board)
        if paired_before(self._file, board) is not False:
            first = 0
        if first is None:
            return None
        # In the order of rows, for the one that is looked for comes soon, if there is one.
        ended = self._row_of(
            lambda entry: _observation_of(entry).source == UNPAIR,
            f"SELECT {_COLUMNS} FROM entry WHERE +board = ? AND row > ?"  # noqa: S608 (fixed text)
            " AND kind = 'observation' AND instr(body, ?) ORDER BY row",
            board,
            newest,
            canonical({"source": UNPAIR})[1:-1],
        )
        return first, NO_ROW if ended is None else ended

    def pairings(self, board: str) -> list[Pairing]:
        """The pairings that `hardmute pair` has made here with ``board``, the newest last.

        Those that were pruned, or are in a log that was set aside and can be read, are among them.
        """
        found = [*pairings_before(self._file, board)]
        checkpoint = self._checkpoint()
        if checkpoint is not None:
            found += [
                Pairing(row, number, key_id)
                for of, row, number, key_id in _pruned_pairings(checkpoint)
                if of == board
            ]
        query = (
            f"SELECT {_COLUMNS} FROM entry WHERE board = ? AND kind = 'pairing'"  # noqa: S608 (fixed text)
            " AND kind <> 'observation' ORDER BY row"
        )
        with self._guarded():
            for row in self._database.execute(query, (board,)):
                entry = _to_entry(row)
                try:
                    found.append(Pairing(entry.row, entry.body["pairing"], entry.body["key_id"]))
                except KeyError as error:
                    raise _Damage(entry.row) from error
        return found

    def paired_elsewhere(self, board: str) -> Entry | None:
        """The incident that says that another has paired ``board``, if this host has, before; and
        it has neither paired it again nor ended that since.
        """
        pairings = self.pairings(board)
        if not pairings:
            return None
        row = self._row_of(
            lambda entry: entry.body.get("what") == ELSEWHERE,
            f"SELECT {_COLUMNS} FROM entry WHERE board = ? AND kind = 'incident'"  # noqa: S608 (fixed text)
            " AND kind <> 'observation' AND row > ? AND instr(body, ?) ORDER BY row DESC",
            board,
            pairings[-1].row,
            canonical({"what": ELSEWHERE})[1:-1],
        )
        if row is None or not self.is_paired(board):
            return None
        return next(self.entries(board, ("incident",), row, row), None)

    def is_paired(self, board: str) -> bool | None:
        """Whether this host is paired with ``board``, by what it has written down.

        None: that cannot be known, as a log that was set aside cannot be read.
        """
        rows = self.paired(board)
        if rows is None or rows[1] != NO_ROW:
            return False
        first, _ = self._checked_rows(board)
        return first is not None or paired_before(self._file, board)

    def _checked_rows(self, board: str) -> tuple[int | None, int]:
        """The first and the last row that shows that this host had a key of ``board``: None and 0
        if there is none.
        """
        checked = (
            f"SELECT {_COLUMNS} FROM entry WHERE board = ? AND kind = 'attestation'"  # noqa: S608 (fixed text)
            " AND kind <> 'observation' AND instr(body, '\"checked\":true') ORDER BY row"
        )
        first = self._row_of(_is_checked, checked, board)
        newest = None if first is None else self._row_of(_is_checked, f"{checked} DESC", board)
        made = [one.row for one in self.pairings(board)]
        if made:
            first, newest = min(first or made[0], *made), max(newest or 0, *made)
        checkpoint = self._checkpoint()
        if checkpoint is not None and board in paired_boards(checkpoint):
            first, newest = 0, max(newest or 0, checkpoint.row)
        return first, newest or 0

    def _row_of(
        self, fits: Callable[[Entry], bool], query: str, *parameters: object
    ) -> int | None:
        """The row of the first entry found that ``fits``."""
        with self._guarded():
            for row in self._database.execute(query, parameters):
                if fits(_to_entry(row)):
                    return row[0]
        return None

    def marks(self, board: str) -> Iterator[tuple[int, str | None]]:
        """By row, of each attestation of ``board``: branch, boot, uptime_ms, seq, sent_ms,
        received_ms, anchor_us and host_boot as a JSON array; None if its body is no JSON.
        """
        query = f"SELECT row, {_MARK} FROM entry WHERE board = ? AND kind = 'attestation'"  # noqa: S608 (fixed text)
        with self._guarded():
            yield from self._database.execute(f"{query} ORDER BY row", (board,))

    def heard(self, board: str) -> Iterator[tuple[int, str | None]]:
        """By row, of each time that ``board`` was listened to, or its USB device was looked for:
        from_ms and to_ms as a JSON array; None if its body is no JSON.
        """
        query = f"SELECT row, {_HEARD} FROM entry WHERE board = ? AND kind IN ('listening', 'usb')"  # noqa: S608 (fixed text)
        with self._guarded():
            yield from self._database.execute(f"{query} ORDER BY row", (board,))

    def newest_ms(self) -> int:
        """The latest time of an entry, in ms since the epoch; now, if there is none."""
        found = self._first("SELECT max(at_ms) FROM entry")
        return self._clock() if found is None or found[0] is None else found[0]

    def first_row(self) -> int:
        """The row of the oldest entry; 1 if there is none."""
        found = self._first("SELECT min(row) FROM entry")
        return 1 if found is None or found[0] is None else found[0]

    def next_row(self, first: int) -> int | None:
        """The row of the oldest entry from row ``first`` on; None if there is none."""
        found = self._first("SELECT min(row) FROM entry WHERE row >= ?", first)
        return None if found is None else found[0]

    def parsed(self, row: Row) -> Entry:
        """The entry that is stored as ``row``. Raises `LogDamagedError` if it is none of ours."""
        with self._guarded():
            return _to_entry(row)

    def rows(self, first: int, last: int) -> Iterator[Row]:
        """The entries from row ``first`` to ``last``, as they are stored."""
        query = f"SELECT {_COLUMNS} FROM entry WHERE row BETWEEN ? AND ? ORDER BY row"  # noqa: S608 (fixed text)
        with self._guarded():
            yield from self._database.execute(query, (first, last))

    def columns(self, first: int, last: int, most: int) -> Iterator[Columns]:
        """The entries from row ``first``, which is 0 or more, to ``last``, as they are stored:
        field by field, at most ``most`` at a time.

        SQLite takes its time to hand out a field. Where all are records of one board, it is not
        asked for the kind and the board of each.
        """
        found = self._first("SELECT board FROM entry WHERE row >= ? ORDER BY row", first)
        board = None if found is None else cast("str | None", found[0])
        with self._guarded():
            rest = self._database.execute(_ALIKE, (first, last, "record", board))
            while some := tuple(islice(rest, most)):
                numbers, times, bodies, hashes = zip(*some, strict=True)
                if min(numbers) < 0:
                    break
                kinds, boards = ("record",) * len(some), (board,) * len(some)
                yield Columns(numbers, times, kinds, boards, bodies, hashes)
                first = numbers[-1] + 1
        others = self.rows(first, last)
        while few := tuple(islice(others, most)):
            yield columns_of(few)

    def record_before(self, board: str, row: int) -> int | None:
        """The row of the last record of ``board`` before ``row``."""
        found = self._first(
            "SELECT max(row) FROM entry WHERE board = ? AND kind = 'record'"
            " AND kind <> 'observation' AND row < ?",
            board,
            row,
        )
        return None if found is None else found[0]

    def pair_records(self, board: str, until_row: int) -> Iterator[tuple[int, journal.Record]]:
        """The ``pair`` records of ``board`` up to ``until_row``, from the newest on, with rows."""
        query = (
            f"SELECT {_COLUMNS} FROM entry WHERE board = ? AND kind = 'record'"  # noqa: S608 (fixed text)
            f" AND row <= ? AND {_MAY_BE_PAIR} ORDER BY row DESC"
        )
        with self._guarded():
            for row in self._database.execute(query, (board, until_row)):
                record = journal.Record(_record_of(_to_entry(row)))
                if record.event == journal.PAIR:
                    yield row[0], record

    def contacts_around(self, board: str, from_ms: int, to_ms: int) -> tuple[int, int]:
        """The rows between which stands all that contacts have fetched about [from, to).

        The first is that of the last record before the last contact before ``from_ms``, the other
        that of the first contact after ``to_ms``; without such, the log's first and last row.
        """
        query = (
            f"SELECT {_COLUMNS} FROM entry WHERE kind = 'observation' AND board = ?"  # noqa: S608 (fixed text)
            " AND at_ms {} ? ORDER BY at_ms {}"
        )
        before = self._row_of(_is_reached, query.format("<=", "DESC"), board, from_ms)
        after = self._row_of(_is_reached, query.format(">=", "ASC"), board, to_ms)
        first, last = before or 0, after or self.head()[0]
        # Where the host's clock was set, rows of that time may stand outside of these two.
        within = self._first(
            "SELECT min(row), max(row) FROM entry WHERE kind = 'observation' AND board = ?"
            " AND at_ms BETWEEN ? AND ?",
            board,
            from_ms,
            to_ms,
        )
        if within is not None and within[0] is not None:
            first, last = min(first, within[0]), max(last, within[1])
        return self.record_before(board, first) or first, last

    def incidents(self, board: str | None, since_ms: int, until_ms: int) -> list[Entry]:
        """The incidents of ``board``, or all, that were found in [since, until), by row."""
        query = (
            f"SELECT {_COLUMNS} FROM entry WHERE kind = 'incident'"  # noqa: S608 (fixed text)
            " AND at_ms >= ? AND at_ms < ? AND (? IS NULL OR board = ?) ORDER BY row"
        )
        with self._guarded():
            found = self._database.execute(query, (since_ms, until_ms, board, board)).fetchall()
        return [_to_entry(row) for row in found]

    def journal_end(self, board: str) -> tuple[int, bytes | None] | None:
        """The newest branch of the board's journal and its last record, if it has one.

        None if the log has nothing of a journal of ``board``.
        """
        ends: list[tuple[int, bytes | None]] = []
        # Of one branch, what comes first counts.
        record = self.newest(board, "record")
        if record is None:
            ends += self._pruned_ends(board)
        else:
            ends.append((_branch(record), _record_of(record)))
        incident = self.newest(board, "incident")
        if incident is not None:
            ends.append((_branch(incident), None))
        return max(ends, key=lambda end: end[0], default=None)

    def newest_epoch(self, board: str) -> list[bytes]:
        """The records of the newest branch's newest epoch, in order, and the one before them."""
        records: list[bytes] = []
        newest: tuple[int, int, int] | None = None
        with self._guarded():
            for row in self._database.execute(
                f"SELECT {_COLUMNS} FROM entry WHERE board = ? AND kind = 'record'"  # noqa: S608 (fixed text)
                " AND kind <> 'observation' ORDER BY row DESC",
                (board,),
            ):
                entry = _to_entry(row)
                data = _record_of(entry)
                record = journal.Record(data)
                epoch = (_branch(entry), record.pairing, record.epoch)
                if newest is None:
                    newest = epoch
                if epoch[0] == newest[0]:
                    records.append(data)
                if epoch != newest:
                    break
        return records[::-1]

    def _pruned_ends(self, board: str) -> list[tuple[int, bytes | None]]:
        """Branches of ``board`` and their last records, as the newest checkpoint says."""
        checkpoint = self._checkpoint()
        if checkpoint is None:
            return []
        try:
            ends = entries.ends_of(checkpoint.body)
        except (KeyError, TypeError, ValueError) as error:
            raise _Damage(checkpoint.row) from error
        return [(branch, record) for (of, branch), (record, _) in ends.items() if of == board]

    def _checkpoint(self) -> Entry | None:
        """The newest checkpoint."""
        found = self._first(
            f"SELECT {_COLUMNS} FROM entry WHERE board IS NULL AND kind = 'checkpoint'"  # noqa: S608 (fixed text)
            " AND kind <> 'observation' ORDER BY row DESC LIMIT 1"
        )
        return None if found is None else _to_entry(found)

    def last_before(self, before_ms: int) -> int:
        """The row up to which `prune` removes all; less than `first_row` if it removes none."""
        found = self._first("SELECT min(row) FROM entry WHERE at_ms >= ?", before_ms)
        first = None if found is None else found[0]
        return self.head()[0] if first is None else first - 1

    def prune(self, before_ms: int) -> Entry | None:
        """Remove the oldest entries, up to the first that is of ``before_ms`` or later.

        A checkpoint is appended, from which the rest still verifies. None if there are none so
        old. The file's pages are overwritten, and given back where nobody else has it open.
        Raises `EvidenceError`, and removes nothing, where these entries are not intact: what was
        tampered with must not verify afterwards.
        """
        with self.transaction():
            self._database.execute("PRAGMA secure_delete = ON")
            last = self.last_before(before_ms)
            removed = self.hash_at(last)
            if removed is None:
                return None
            checkpoint = self.append(
                "checkpoint",
                None,
                {
                    "row": last,
                    "hash": removed.hex(),
                    "before_ms": before_ms,
                    "ends": self._verified_ends(last),
                    "paired": self._paired_boards(),
                    "pairings": self._all_pairings(),
                },
            )
            (no_delete,) = self._database.execute(
                "SELECT sql FROM sqlite_schema WHERE name = 'entry_is_append_only_2'"
            ).fetchone()
            self._database.execute("DROP TRIGGER entry_is_append_only_2")
            self._database.execute("DELETE FROM entry WHERE row <= ?", (last,))
            self._database.execute(no_delete)
        with contextlib.suppress(sqlite3.OperationalError):
            self._database.execute("VACUUM")
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return checkpoint

    def _paired_boards(self) -> list[str]:
        """The boards that this host is paired with, by what it has written down."""
        checkpoint = self._checkpoint()
        query = "SELECT DISTINCT board FROM entry WHERE kind = 'attestation'"
        known = {board for (board,) in self._database.execute(query)}
        known.update(() if checkpoint is None else paired_boards(checkpoint))
        return sorted(board for board in known if self.is_paired(board))

    def _all_pairings(self) -> list[list[object]]:
        """As `pairings`, of all boards: what was pruned with them stays known."""
        checkpoint = self._checkpoint()
        query = "SELECT DISTINCT board FROM entry WHERE kind = 'pairing' AND kind <> 'observation'"
        boards = {board for (board,) in self._database.execute(query)}
        boards.update(
            () if checkpoint is None else (of for of, *_ in _pruned_pairings(checkpoint))
        )
        return [[board, *one] for board in sorted(boards) for one in self.pairings(board)]

    def pruned_before(self) -> int:
        """What `prune` was last told, in ms since the epoch; the beginning of time if never."""
        checkpoint = self._checkpoint()
        if checkpoint is None:
            return entries.FIRST_MS
        before_ms = checkpoint.body.get("before_ms")
        if type(before_ms) is not int:
            raise _Damage(checkpoint.row)
        return before_ms

    def _verified_ends(self, last_row: int) -> list[list[object]]:
        """How each branch ends in the entries up to ``last_row``, as a checkpoint says it."""
        from hardmute.evidence import verifier

        check = verifier.begin(next(self.rows(0, NO_ROW), None), self.rows_of("checkpoint"), {})
        check.take(self.rows(0, last_row))
        findings = check.report().findings
        if findings:
            raise EvidenceError(
                f"Entry {findings[0].row} of the log {findings[0].text}: nothing was removed, "
                "so that this can still be found."
            )
        return check.ends()

    def observations(
        self, board: str | None, since_ms: int, until_ms: int
    ) -> Iterator[Observation]:
        """The observations of ``board`` (None: those of no known board) in [since, until), by row.

        Each board's last one before ``since_ms`` and first one after ``until_ms`` come with them:
        they say what held at the edges. So do all that stand between these, for the host's clock
        may have been set.
        """
        where = "kind = 'observation' AND board IS ?"
        ends = (
            f"SELECT min(row), max(row) FROM ("  # noqa: S608 (fixed text)
            f"SELECT row FROM entry WHERE {where} AND at_ms >= ? AND at_ms < ?"
            f" UNION ALL SELECT * FROM (SELECT row FROM entry"
            f" WHERE {where} AND at_ms < ? ORDER BY at_ms DESC, row DESC LIMIT 1)"
            f" UNION ALL SELECT * FROM (SELECT row FROM entry"
            f" WHERE {where} AND at_ms >= ? ORDER BY at_ms, row LIMIT 1))"
        )
        given = (board, since_ms, until_ms, board, since_ms, board, until_ms)
        first, last = self._first(ends, *given) or (None, None)
        query = (
            f"SELECT {_COLUMNS} FROM entry WHERE row BETWEEN ? AND ?"  # noqa: S608 (fixed text)
            " AND kind = 'observation' AND +board IS ? ORDER BY row"
        )
        with self._guarded():
            for row in self._database.execute(query, (first, last, board)):
                yield _observation_of(_to_entry(row))

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

    def last_device(self, board: str) -> str | None:
        """Where ``board`` was last seen, if no other board was seen there since."""
        return self._one("SELECT device FROM board WHERE board = ?", board)

    def usb(self, board: str) -> Usb | None:
        """The USB device that ``board`` was last behind, if it was behind one."""
        if self._first("SELECT 1 FROM sqlite_schema WHERE name = 'usb'") is None:
            return None
        row = self._first(
            "SELECT serial, location, vendor, product FROM usb WHERE board = ?", board
        )
        return None if row is None else Usb(row[0], row[1], (row[2], row[3]))

    def learn_usb(self, board: str, usb: Usb) -> None:
        """Keep that ``board`` is behind this USB device, unless the log is only read."""
        if self._read_only or usb.ids is None or self.usb(board) == usb:
            return
        found = (_text(usb.serial), _text(usb.location), *usb.ids)
        with self.transaction():
            self._database.execute(_USB_TABLE)
            # Only one board is behind a device.
            self._database.execute(
                "DELETE FROM usb WHERE board = ? OR (serial IS ? AND vendor = ? AND product = ?"
                " AND (serial IS NOT NULL OR location IS ?))",
                (board, found[0], *usb.ids, found[1]),
            )
            self._database.execute("INSERT INTO usb VALUES (?, ?, ?, ?, ?)", (board, *found))

    def _one(self, query: str, parameter: str) -> str | None:
        row = self._first(query, _text(parameter))
        return None if row is None else row[0]

    def _first(self, query: str, *parameters: object) -> tuple[Any, ...] | None:
        with self._guarded():
            return self._database.execute(query, parameters).fetchone()

    def _open(self) -> sqlite3.Connection:
        try:
            if not os.path.exists(self._file) and not self._read_only:
                self._create()
            # Before it is opened: should it be exchanged in between, we take it for an old one.
            self._opened = self._file_id()
            self._check_wal()
            # "rw": never an empty file where another process has just set a log aside.
            uri = f"{_uri(self._file)}?mode={'ro' if self._read_only else 'rw'}"
            if self._read_only and not self._has_wal():
                # SQLite would make one, for whoever writes meanwhile, and leave it behind.
                uri += "&immutable=1"
            database = sqlite3.connect(uri, timeout=self._patience_s, uri=True)
        except _Damage as error:
            raise self._set_aside(error, wal_only=True) from error
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error
        try:
            # First, because a log of a newer format is left exactly as it is.
            self._check_version(database)
            _check_schema(database)
            if not self._read_only:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = FULL")
                for index in _INDEXES:
                    database.execute(f"CREATE INDEX IF NOT EXISTS {index}")
        except LogError:
            database.close()
            raise
        except (_Damage, sqlite3.Error) as error:
            database.close()
            if _is_damage(error):
                raise self._set_aside(error) from error
            raise self._unusable(error) from error
        return database

    def _check_version(self, database: sqlite3.Connection) -> None:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version > _SCHEMA_VERSION:
            raise NewerLogError(
                f"{self._file} was written by a newer hardmute (format {version}):"
                " update hardmute."
            )
        if (
            version == 1
            and database.execute(
                "SELECT 1 FROM sqlite_schema WHERE name = 'observation'"
            ).fetchone()
        ):
            raise LogError(
                f"{self._file} was written by a hardmute before its first release (format 1): "
                "move it away, and a new log begins."
            )
        if version != _SCHEMA_VERSION:
            raise _Damage

    def _create(self) -> None:
        """Make an empty log in one step: whoever looks sees none or a whole one.

        So an empty or half-made file under the log's name is damage, and no crash leaves one.
        """
        with self._locked():
            if os.path.exists(self._file):
                return
            # What was left beside a log that has gone is not part of the new one.
            self._move_aside("-wal", "-shm")
            name = f"{self._file}.new"
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
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
                os.replace(name, self._file)
            finally:
                for suffix in ("", "-wal", "-shm"):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(name + suffix)

    def _check_wal(self) -> None:
        """Raise `_Damage` for a write-ahead log that SQLite would take for empty and delete.

        SQLite syncs the header before any frame, so a power cut leaves no wrong one with frames.
        """
        try:
            with open(f"{self._file}-wal", "rb") as stream:
                header = stream.read(_WAL_HEADER)
                more = stream.read(1)
        except FileNotFoundError:
            return
        if more and any(header) and not _is_wal_header(header):
            raise _Damage

    def _has_wal(self) -> bool:
        with contextlib.suppress(OSError):
            return os.stat(f"{self._file}-wal").st_size > 0
        return False

    def _wal_is_good(self) -> bool:
        try:
            self._check_wal()
        except _Damage:
            return False
        return True

    def _file_id(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            found = os.stat(self._file)
            return found.st_dev, found.st_ino
        return None

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Only one process at a time begins a log or sets one aside."""
        fd = os.open(f"{self._file}.lock", os.O_RDWR | os.O_CREAT, 0o600)
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
        if self._database.in_transaction:
            # The transaction's own guard handles it, when nothing uses the file any more.
            yield
            return
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except (_Damage, sqlite3.Error) as error:
            if not _is_damage(error):
                raise self._unusable(error) from error
            self._database.close()
            told = self._set_aside(error)
            if not self._read_only:
                with contextlib.suppress(HardmuteError):
                    self._database = self._open()
            raise told from error

    def _unusable(self, error: Exception) -> LogError:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY:
            todo = "another program has locked it: wait for it, or end it."
        else:
            todo = "free the disk or repair the permissions."
        return LogError(
            f"The log {self._file} cannot be used ({error}): what was recorded is untouched;"
            f" {todo}"
        )

    def _set_aside(self, error: Exception, *, wal_only: bool = False) -> LogDamagedError:
        where = error if isinstance(error, _Damage) else ""
        if self._read_only:
            part = "newest part of the log" if wal_only else "log"
            return LogDamagedError(f"The {part} {self._file} is damaged{where}.")
        try:
            with self._locked():
                if self._file_id() != self._opened or (wal_only and self._wal_is_good()):
                    return LogDamagedError(
                        f"The log {self._file} was damaged, and another process has set it aside."
                    )
                aside = self._move_aside(*(() if wal_only else ("",)), "-wal", "-shm")
        except OSError as trouble:
            return LogDamagedError(
                f"The log {self._file} is damaged and cannot be set aside "
                f"({trouble.strerror or trouble}): "
                "nothing is recorded until that is done."
            )
        if wal_only:
            return LogDamagedError(
                f"The newest part of the log was damaged; it is kept as {aside}-wal, and the log "
                "goes on without it."
            )
        return LogDamagedError(
            f"The log was damaged{where}; it is kept as {aside}, and a new one begins."
        )

    def _move_aside(self, *suffixes: str) -> str:
        stamp = datetime.fromtimestamp(self._clock() / 1000, UTC).strftime("%Y%m%dT%H%M%S%fZ")
        stem, suffix = os.path.splitext(self._file)
        aside = f"{stem}{_ASIDE}{stamp}{suffix}"
        number = 1
        while any(os.path.exists(aside + more) for more in ("", "-wal", "-shm")):
            # The clock may have gone back.
            number += 1
            aside = f"{stem}{_ASIDE}{stamp}-{number}{suffix}"
        for more in suffixes:
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._file + more, aside + more)
        return aside


class ExportedLog(Log):
    """The entries of the export ``file`` as a log in memory, to be read. No board has a label."""

    def __init__(self, file: Path, rows: Sequence[Row]) -> None:
        self._rows = rows
        super().__init__(file, read_only=True)

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(":memory:")
        for statement in _statements(_SCHEMA):
            database.execute(statement)
        with database:
            database.executemany(_INSERT, self._rows)
            database.execute(
                "INSERT INTO board (board, simulated)"
                " SELECT board, max(instr(body, '\"simulated\":true') > 0) FROM entry"
                " WHERE board IS NOT NULL GROUP BY board"
            )
        return database


def paired_by(file: str, board: str) -> bool | None:
    """Whether this host is paired with ``board`` by the log ``file``, which is only read.

    None: that cannot be known.
    """
    try:
        os.lstat(file)
    except (FileNotFoundError, NotADirectoryError):
        return paired_before(file, board)
    except OSError:
        return None
    try:
        log = Log(file, read_only=True)
        try:
            return log.is_paired(board)
        finally:
            log.close()
    except HardmuteError:
        return None


def paired_before(file: str, board: str) -> bool | None:
    """Whether this host is paired with ``board`` by what was set aside of the log ``file``.

    None: that cannot be known.
    """
    try:
        beside = _beside(file)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return None
    end = os.path.splitext(file)[1]
    said: set[bool | None] = set()
    for found in beside:
        if found.endswith(end):
            said.add(paired_by(found, board))
        elif found.endswith(f"{end}-wal"):
            # Without its log nobody can read it.
            said.add(False if found.removesuffix("-wal") in beside else None)
    return True if True in said else None if None in said else False


def _beside(file: str) -> list[str]:
    """The files of logs that were set aside of the log ``file``. Raises `OSError`."""
    folder, name = os.path.split(file)
    begin = os.path.splitext(name)[0] + _ASIDE
    names = sorted(os.listdir(folder or "."))
    return [os.path.join(folder, name) for name in names if name.startswith(begin)]


def _uri(file: str) -> str:
    """``file`` as an address (https://sqlite.org/uri.html). `pathlib` makes it in ten times the
    time.
    """
    path = os.path.abspath(file)
    if os.name == "nt":
        path = "/" + path.replace("\\", "/")
    for char in "%?#":
        path = path.replace(char, f"%{ord(char):02x}")
    return f"file:{path}"


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


def _text(value: Any) -> Any:
    if isinstance(value, str):
        # A file name that is not UTF-8 reaches us with surrogates in it.
        return value.encode(errors="backslashreplace").decode()
    return value


def _to_entry(row: Row) -> Entry:
    try:
        return entries.stored_entry(row)
    except (ValueError, TypeError, RecursionError) as error:
        raise _Damage(row[0]) from error


def _branch(entry: Entry) -> int:
    branch = entry.body.get("branch")
    if not isinstance(branch, int):
        raise _Damage(entry.row)
    return branch


def _is_checked(entry: Entry) -> bool:
    return entry.body.get("checked") is True


def _is_reached(entry: Entry) -> bool:
    return _observation_of(entry).state is not None


def pairings_before(file: str, board: str) -> Iterator[Pairing]:
    """As `Log.pairings`, of what was set aside of the log ``file`` and can be read."""
    beside: list[str] = []
    with contextlib.suppress(OSError):
        beside = _beside(file)
    end = os.path.splitext(file)[1]
    for aside in beside:
        if not aside.endswith(end):
            continue
        with contextlib.suppress(HardmuteError):
            log = Log(aside, read_only=True)
            try:
                yield from (one._replace(row=0) for one in log.pairings(board))
            finally:
                log.close()


def _pruned_pairings(checkpoint: Entry) -> list[tuple[str, int, int, str]]:
    pairings = checkpoint.body.get("pairings", [])
    if not isinstance(pairings, list):
        raise _Damage(checkpoint.row)
    return cast("list[tuple[str, int, int, str]]", pairings)


def paired_boards(checkpoint: Entry) -> list[str]:
    """The boards that this host was paired with when it wrote the ``checkpoint``."""
    boards = checkpoint.body.get("paired", [])
    if not isinstance(boards, list):
        raise _Damage(checkpoint.row)
    return cast("list[str]", boards)


def _record_of(entry: Entry) -> bytes:
    """The 64 bytes of a ``record`` entry."""
    try:
        return entries.record_of(entry.body)
    except (KeyError, TypeError, ValueError) as error:
        raise _Damage(entry.row) from error


def _observation_of(entry: Entry) -> Observation:
    try:
        return observation_of(entry)
    except ValueError as error:
        raise _Damage(entry.row) from error
