"""The log in trouble: what was recorded survives, the state is told all the same. POSIX only."""

from __future__ import annotations

import importlib
import itertools
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fake_device import BOARD, LIVE, MUTED, Board, Device, pty_device

from conftest import check_sentence
from hardmute.evidence.observation import Observation, seen, unseen
from hardmute.model.answers import conclude, parse_status
from hardmute.model.errors import (
    FAULT,
    LOCAL,
    OK,
    TAMPERED,
    UNKNOWN,
    USAGE,
    LogDamagedError,
    LogError,
    UsageError,
)
from hardmute.model.errors import LIVE as LIVE_CODE
from hardmute.store import log as log_module
from hardmute.store.log import Log, _Damage

HOUR_MS = 3_600_000
YEAR_MS = 365 * 24 * HOUR_MS
AT_MS = 1_764_000_000_000
NOBODY = 65534
_END_S = 60


def contact(at_ms: int = AT_MS, board: str = BOARD, device: str = "/dev/one") -> Observation:
    """A row about a muted board."""
    status = parse_status(MUTED)
    return seen(status, conclude(status), board=board, device=device, source="test", at_ms=at_ms)


def times(file: Path, board: str | None = BOARD) -> list[int]:
    """When the rows are from, in the order in which they were written."""
    log = Log(file)
    try:
        return [row.at_ms for row in log.observations(board, -(1 << 60), 1 << 60)]
    finally:
        log.close()


@pytest.fixture
def file(home: Path) -> Path:
    """A log with three rows, closed."""
    log = Log(home / "log.sqlite3")
    for number in range(3):
        log.add(contact(AT_MS + number))
    log.close()
    return log.file


@pytest.fixture
def device() -> Iterator[Device]:
    """A muted board."""
    with pty_device() as found:
        yield found


def kept_aside(home: Path) -> list[Path]:
    return sorted(path for path in home.iterdir() if ".damaged-" in path.name)


# Append-only.


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry SET body = '{}'",
        "UPDATE entry SET row = row + 100",
        "UPDATE OR REPLACE entry SET row = 1 WHERE row = 2",
        "UPDATE OR IGNORE entry SET board = 'ab' WHERE row = 1",
        "DELETE FROM entry",
        "DELETE FROM entry WHERE row = 3",
        "REPLACE INTO entry SELECT * FROM entry WHERE row = 1",
        "REPLACE INTO entry SELECT * FROM entry WHERE row = 3",
        "INSERT OR REPLACE INTO entry VALUES (2, 0, 'incident', NULL, '{}', x'00')",
        "INSERT OR IGNORE INTO entry VALUES (2, 0, 'incident', NULL, '{}', x'00')",
        "INSERT INTO entry VALUES (0, 0, 'incident', NULL, '{}', x'00')",
        "INSERT INTO entry VALUES (-1, 0, 'incident', NULL, '{}', x'00')",
    ],
)
def test_what_is_recorded_cannot_be_edited(statement: str, file: Path) -> None:
    database = sqlite3.connect(file)
    before = database.execute("SELECT * FROM entry").fetchall()
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute(statement)
    database.rollback()
    assert database.execute("SELECT * FROM entry").fetchall() == before
    database.close()


def test_only_the_owner_may_read_it(home: Path) -> None:
    umask = os.umask(0)
    try:
        log = Log(home / "log.sqlite3")
        log.add(contact())
        for suffix in ("", "-wal", "-shm"):
            assert Path(f"{log.file}{suffix}").stat().st_mode & 0o777 == 0o600
        log.close()
    finally:
        os.umask(umask)


def test_a_command_leaves_one_file(cli: Any, device: Device, home: Path) -> None:
    """No write-ahead log stays behind that only the next command would fold in."""
    for words in (("-d", device.address, "status"), ("-d", device.address, "verify"), ("log",)):
        cli(*words)
        assert {path.name for path in home.iterdir() if path.is_file()} == {
            "log.sqlite3",
            "log.sqlite3.lock",
        }


def test_opening_again_changes_nothing(file: Path) -> None:
    before = file.read_bytes()
    for _ in range(3):
        Log(file).close()
    assert file.read_bytes() == before
    assert sorted(file.parent.iterdir()) == [file, Path(f"{file}.lock")]


_WRITER = """
import sys
from pathlib import Path
from hardmute.evidence.observation import unseen
from hardmute.store.log import Log
sys.stdin.readline()
log = Log(Path(sys.argv[1]))
for number in range(100):
    log.add(unseen("no_board", board=sys.argv[2], device="x", simulated=False, source="test",
                   at_ms=number))
log.close()
"""


def test_processes_that_write_at_once_lose_nothing(home: Path) -> None:
    """They begin at once as well: none makes the log where another has."""
    file = home / "log.sqlite3"
    names = ["aaaa", "bbbb", "cccc"]
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, file, name], stdin=subprocess.PIPE)
        for name in names
    ]
    for writer in writers:
        writer.communicate(b"\n", timeout=_END_S)
        assert writer.returncode == 0
    for name in names:
        assert times(file, name) == list(range(100))
    assert kept_aside(home) == []


def test_a_copy_at_any_moment_holds_all_that_was_acknowledged(home: Path) -> None:
    log = Log(home / "log.sqlite3")
    copies: list[Path] = []
    for number in range(50):
        log.add(contact(AT_MS + number))
        folder = home / f"copy {number}"
        folder.mkdir()
        for suffix in ("", "-wal"):
            shutil.copy(f"{log.file}{suffix}", folder)
        copies.append(folder / log.file.name)
    log.close()
    for number, copy in enumerate(copies):
        assert times(copy) == [AT_MS + row for row in range(number + 1)]


def test_opening_reads_a_fixed_number_of_pages(home: Path) -> None:
    """However many rows there are: every page but those of the schema may be garbage."""
    log = Log(home / "log.sqlite3")
    pages = log._database.execute("PRAGMA page_count").fetchone()[0]
    size = log._database.execute("PRAGMA page_size").fetchone()[0]
    log.add(contact())
    log.close()
    database = sqlite3.connect(log.file)
    (columns,) = database.execute("SELECT at_ms, kind, board, body, hash FROM entry").fetchall()
    database.executemany(
        "INSERT INTO entry (at_ms, kind, board, body, hash) VALUES (?, ?, ?, ?, ?)",
        itertools.repeat(columns, 100_000),
    )
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert database.execute("PRAGMA page_count").fetchone()[0] > 800 * pages
    database.close()
    with log.file.open("r+b") as stream:
        stream.seek(pages * size)
        while stream.tell() < log.file.stat().st_size:
            stream.write(b"\xa5" * size)
    again = Log(log.file)
    # They are garbage, as who reads them finds out.
    with pytest.raises(LogDamagedError):
        list(again.observations(BOARD, 0, 1 << 60))
    again.close()


# Disk full, read-only, no folder: the state is told, with the graver exit code.


def no_more_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every log that is opened from now on is on a full disk."""
    real_open = Log._open

    def limited(self: Log) -> sqlite3.Connection:
        database = real_open(self)
        pages = database.execute("PRAGMA page_count").fetchone()[0]
        database.execute(f"PRAGMA max_page_count = {pages}")
        return database

    monkeypatch.setattr(Log, "_open", limited)


def _fits(log: Log, row: Observation) -> bool:
    try:
        # At the right edge of the index by time, where the next one will be as well.
        log.add(row._replace(at_ms=log_module.now_ms()))
    except LogError:
        return False
    return True


def fill(file: Path) -> int:
    """Append until nothing fits into the pages that there are. Returns how many rows fitted."""
    log = Log(file)
    smallest = unseen("", board=None, device="", simulated=False, source="", at_ms=0)
    fitted = 0
    try:
        for row in (contact(), smallest):
            while _fits(log, row):
                fitted += row.board is not None
    finally:
        log.close()
    return fitted


@pytest.mark.parametrize(
    ("status", "code"),
    [(MUTED, LOCAL), (LIVE, LIVE_CODE), ({**MUTED, "sense": [1, 0]}, FAULT), ({}, UNKNOWN)],
    ids=["muted", "live", "fault", "unknown"],
)
def test_on_a_full_disk_the_state_is_told(
    status: dict[str, Any], code: int, cli: Any, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_more_pages(monkeypatch)
    fitted = fill(file)
    with pty_device(Board(status=status)) as device:
        result = cli("-d", device.address, "status")
    assert result.code == code
    # One sentence for each thing that went wrong.
    sentences = result.err.splitlines(keepends=True)
    assert len(sentences) == (2 if code == UNKNOWN else 1)
    for sentence in sentences:
        check_sentence(sentence)
    assert "full" in sentences[0]
    verdict = {LOCAL: "MUTED", LIVE_CODE: "LIVE", FAULT: "FAULT", UNKNOWN: "UNKNOWN"}[code]
    assert result.out.startswith(verdict + "  ")
    monkeypatch.undo()
    assert len(times(file)) == 3 + fitted


# As a shell's `ulimit -f` does; the note of who holds the port still fits.
_LIMITED = """
import resource, sys
from hardmute.cli.main import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("limit", [0, 4096, 40_000])
@pytest.mark.parametrize("status", [MUTED, LIVE], ids=["muted", "live"])
def test_on_a_disk_that_is_full_at_once_the_state_is_told(
    status: dict[str, Any], limit: int, file: Path
) -> None:
    # The row goes into the write-ahead log, which is already longer than the limit.
    log = Log(file)
    for number in range(40):
        log.add(contact(AT_MS + 10 + number))
    with pty_device(Board(status=status)) as device:
        words = [str(limit), "-d", device.address, "status"]
        # Without bytecode: Python leaves a part of a file, and fails with it later.
        command = [sys.executable, "-B", "-c", _LIMITED, *words]
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=_END_S, check=False
        )
    assert result.returncode == (LIVE_CODE if status is LIVE else LOCAL)
    assert result.stdout.startswith(status["state"].upper() + "  ")
    check_sentence(result.stderr)
    assert "cannot be used" in result.stderr
    log.close()
    assert len(times(file)) == 43


@contextmanager
def without_rights() -> Iterator[None]:
    """Root ignores modes: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    # Which may not be there for nobody.
    importlib.import_module("hardmute.render.svg")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def give_away(*things: Path) -> None:
    if os.geteuid() == 0:
        for thing in things:
            os.chown(thing, NOBODY, -1)


@pytest.mark.parametrize("what", ["log", "folder", "both"])
@pytest.mark.parametrize(("status", "code"), [(MUTED, LOCAL), (LIVE, LIVE_CODE)])
def test_with_a_read_only_log_the_state_is_told(
    what: str, status: dict[str, Any], code: int, cli: Any, file: Path, home: Path
) -> None:
    # Everything has been imported and the folders made, as the one who may.
    answers = dict(status)
    with pty_device(Board(status=answers)) as device:
        assert cli("-d", device.address, "status").code in (OK, LIVE_CODE)
        rows = times(file)
        # News, which is to be written.
        answers["changes"] += 1
        give_away(home, *home.rglob("*"), Path(device.address))
        if what != "folder":
            file.chmod(0o400)
        if what != "log":
            home.chmod(0o500)
        try:
            with without_rights():
                result = cli("-d", device.address, "status")
        finally:
            home.chmod(0o700)
            file.chmod(0o600)
    assert result.code == code
    check_sentence(result.err)
    assert "cannot be used" in result.err
    assert result.out.startswith(status["state"].upper() + "  ")
    assert times(file) == rows


def test_without_a_folder_the_state_is_told(
    cli: Any, device: Device, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "in the way").write_text("words")
    monkeypatch.setenv("HARDMUTE_HOME", str(home / "in the way"))
    result = cli("-d", device.address, "status")
    assert result.code == LOCAL
    check_sentence(result.err)
    assert "folder" in result.err
    assert result.out.startswith("MUTED    ")


def test_a_label_is_not_unknown_because_the_log_cannot_be_read(cli: Any, home: Path) -> None:
    (home / "log.sqlite3").mkdir()
    result = cli("-d", "kitchen", "status")
    assert result.code == LOCAL
    assert "Labels are in the log, and no log can be read" in result.err


# Damage: kept aside, never deleted, told in one sentence, and the next command works.


def _garbage_header(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[:100] = b"\xa5" * 100
    file.write_bytes(data)


def _garbage_middle(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096 + 50 :] = b"\xa5" * len(data[4096 + 50 :])
    file.write_bytes(data)


def _half(file: Path) -> None:
    os.truncate(file, file.stat().st_size // 2)


def _no_schema(file: Path) -> None:
    file.unlink()
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE recipes (name TEXT)")
    database.execute("PRAGMA user_version = 1")
    database.commit()
    database.close()


def _statement(sql: str) -> Callable[[Path], None]:
    def damage(file: Path) -> None:
        database = sqlite3.connect(file)
        database.execute(sql)
        database.commit()
        database.close()

    return damage


DAMAGE: dict[str, Callable[[Path], object]] = {
    "garbage header": _garbage_header,
    "garbage in the middle": _garbage_middle,
    "all garbage": lambda file: file.write_bytes(os.urandom(20_000)),
    "text": lambda file: file.write_text("nothing ever happened\n"),
    "truncated": _half,
    "truncated to a byte": lambda file: os.truncate(file, 1),
    "zero length": lambda file: os.truncate(file, 0),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
    "another database": _no_schema,
    "a trigger dropped": _statement("DROP TRIGGER entry_is_append_only_2"),
    "the table dropped": _statement("DROP TABLE entry"),
    "version 0": _statement("PRAGMA user_version = 0"),
    "version -1": _statement("PRAGMA user_version = -1"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_log_is_kept_aside(
    case: str, cli: Any, device: Device, file: Path, home: Path
) -> None:
    DAMAGE[case](file)
    damaged = file.read_bytes()
    result = cli("-d", device.address, "status")
    assert result.code == TAMPERED
    check_sentence(result.err)
    assert result.out.startswith("UNKNOWN  ")
    aside = kept_aside(home)
    assert [path.read_bytes() for path in aside] == [damaged]
    assert str(aside[0]) in result.err
    # This contact is in the new log already; the next says no more. But whether this host was
    # paired nobody can read.
    assert len(times(file)) == 1
    result = cli("-d", device.address, "status")
    assert (result.code, result.err) == (UNKNOWN, "")
    assert "`hardmute unpair`" in result.out
    assert len(times(file)) == 1
    assert cli("-d", device.address, "unpair").code == OK
    assert cli("-d", device.address, "status").code == OK
    assert cli("log").code == OK


@pytest.mark.parametrize("case", ["garbage header", "zero length", "truncated"])
def test_a_damaged_log_is_told_by_the_command_that_reads_it(
    case: str, cli: Any, file: Path, home: Path
) -> None:
    DAMAGE[case](file)
    result = cli("log")
    assert result.code == TAMPERED
    check_sentence(result.err)
    assert len(kept_aside(home)) == 1
    assert cli("log").code == OK


@pytest.mark.parametrize("garbage", [b"\xa5" * 20_000, b"words\n" * 100, b"\x37\x7f\x06\x82" * 99])
def test_a_garbage_write_ahead_log_is_kept_aside(
    garbage: bytes, cli: Any, device: Device, file: Path, home: Path
) -> None:
    """SQLite would take it for empty and delete it."""
    rows = times(file)
    Path(f"{file}-wal").write_bytes(garbage)
    result = cli("-d", device.address, "status")
    assert result.code == TAMPERED
    check_sentence(result.err)
    assert [path.read_bytes() for path in kept_aside(home)] == [garbage]
    assert str(kept_aside(home)[0]) in result.err
    # The pairing may have been in what was lost.
    assert cli("-d", device.address, "status").code == UNKNOWN
    # The rows before it are all there.
    assert times(file)[:3] == rows


@pytest.mark.parametrize("innocent", [b"", bytes(32), bytes(5000), b"\x37\x7f\x06", b"\xa5" * 32])
def test_a_write_ahead_log_after_a_power_cut_is_no_damage(
    innocent: bytes, cli: Any, device: Device, file: Path, home: Path
) -> None:
    """Nothing was synced behind the header, so no row was acknowledged in it."""
    Path(f"{file}-wal").write_bytes(innocent)
    assert cli("-d", device.address, "status").code == OK
    assert kept_aside(home) == []
    assert len(times(file)) == 4


def test_a_torn_last_commit_is_no_damage(file: Path, home: Path) -> None:
    log = Log(file)
    log.add(contact(AT_MS + 50))
    copy = home / "copy.sqlite3"
    shutil.copy(file, copy)
    whole = Path(f"{file}-wal").read_bytes()
    log.add(contact(AT_MS + 51))
    more = Path(f"{file}-wal").read_bytes()
    assert len(more) > len(whole)
    log.close()
    for length in range(len(whole), len(more), 1000):
        Path(f"{copy}-wal").write_bytes(more[:length])
        assert times(copy)[-1] == AT_MS + 50
        shutil.copy(file, copy)
        # `times` has folded the rows into the file: begin again without the last one.
        _without_last(copy, home)
    assert kept_aside(home) == []


def _without_last(copy: Path, home: Path) -> None:
    copy.unlink()
    fresh = Log(copy)
    for number in (0, 1, 2, 50):
        fresh.add(contact(AT_MS + number))
    fresh.close()
    assert home in copy.parents


def test_damage_that_shows_late_does_not_hide_the_state(
    cli: Any, device: Device, file: Path, home: Path
) -> None:
    """In the table of names, which is read after the row is written."""
    database = sqlite3.connect(file)
    size = database.execute("PRAGMA page_size").fetchone()[0]
    (root,) = database.execute(
        "SELECT rootpage FROM sqlite_schema WHERE name = 'sqlite_autoindex_board_1'"
    ).fetchone()
    database.close()
    data = bytearray(file.read_bytes())
    data[(root - 1) * size : root * size] = b"\xa5" * size
    file.write_bytes(data)
    result = cli("-d", device.address, "status", "--json")
    assert result.code == TAMPERED
    check_sentence(result.err)
    assert result.json["verdict"] == "muted"
    assert kept_aside(home)
    assert cli("-d", device.address, "status").code == OK


@pytest.mark.parametrize(
    "change",
    [
        """body = json_set(body, '$.verdict', 'mute')""",
        """body = json_set(body, '$.verdict', 7)""",
        """body = json_set(body, '$.sense', 7)""",
        """body = json_remove(body, '$.source')""",
        """body = json_set(body, '$.more', 1)""",
        "body = '{'",
        "body = '[]'",
        "body = CAST(x'ff1b5b' AS TEXT)",
        "hash = x'00'",
        "at_ms = 9000000000000000000",
    ],
)
def test_a_row_that_nobody_wrote_is_damage(change: str, cli: Any, file: Path, home: Path) -> None:
    database = sqlite3.connect(file)
    (trigger,) = database.execute(
        "SELECT sql FROM sqlite_schema WHERE name = 'entry_is_append_only_1'"
    ).fetchone()
    database.execute("DROP TRIGGER entry_is_append_only_1")
    database.execute(f"UPDATE entry SET {change} WHERE row = 2")  # noqa: S608
    database.execute(trigger)
    database.commit()
    database.close()
    result = cli("log", "--since", "2001-01-01", "--until", "2999-01-01")
    assert result.code == TAMPERED
    check_sentence(result.err)
    assert len(kept_aside(home)) == 1
    assert cli("log").code == OK


def test_a_damaged_log_that_cannot_be_moved_is_told(
    cli: Any, device: Device, file: Path, home: Path
) -> None:
    assert cli("-d", device.address, "status").code == OK
    _garbage_header(file)
    damaged = file.read_bytes()
    give_away(home, *home.rglob("*"), Path(device.address))
    home.chmod(0o500)
    try:
        with without_rights():
            result = cli("-d", device.address, "status")
    finally:
        home.chmod(0o700)
    assert result.code == TAMPERED
    check_sentence(result.err)
    assert result.out.startswith("UNKNOWN  ")
    assert file.read_bytes() == damaged


def test_two_that_find_one_damage_set_it_aside_once(home: Path, file: Path) -> None:
    """The second must not set the first one's new log aside."""
    first, second = Log(file), Log(file)
    first.close()
    second.close()
    _garbage_header(file)
    with pytest.raises(LogDamagedError, match="kept as"):
        Log(file)
    fresh = Log(file)
    fresh.add(contact(AT_MS + 60))
    # The second one still believes in the file that it opened.
    told = second._set_aside(_Damage())
    assert "another process" in str(told)
    fresh.add(contact(AT_MS + 61))
    fresh.close()
    assert times(file) == [AT_MS + 60, AT_MS + 61]
    assert len(kept_aside(home)) == 1


def test_a_write_ahead_log_that_is_good_again_stays(file: Path, home: Path) -> None:
    """Another process has set the garbage aside and writes a new one."""
    log = Log(file)
    log.add(contact(AT_MS + 80))
    told = log._set_aside(_Damage(), wal_only=True)
    assert "another process" in str(told)
    log.close()
    assert times(file)[-1] == AT_MS + 80
    assert kept_aside(home) == []


@pytest.mark.parametrize("how", ["moved", "removed"])
def test_an_open_log_notices_that_its_file_is_another(how: str, file: Path, home: Path) -> None:
    log = Log(file)
    if how == "moved":
        for suffix in ("", "-wal", "-shm"):
            Path(f"{file}{suffix}").rename(home / f"elsewhere{suffix}")
    else:
        for suffix in ("", "-wal", "-shm"):
            Path(f"{file}{suffix}").unlink()
    log.add(contact(AT_MS + 70))
    log.close()
    assert times(file) == [AT_MS + 70]


def test_nothing_is_set_aside_over_an_older_one(home: Path) -> None:
    """Not even when the clock stands still."""
    file = home / "log.sqlite3"
    for number in range(3):
        file.write_text(f"words {number}")
        with pytest.raises(LogDamagedError):
            Log(file, clock=lambda: AT_MS)
    assert sorted(path.read_text() for path in kept_aside(home)) == [
        "words 0",
        "words 1",
        "words 2",
    ]


def test_a_stray_write_ahead_log_is_not_played_into_a_new_log(home: Path) -> None:
    old = Log(home / "old.sqlite3")
    old.add(contact())
    shutil.copy(f"{old.file}-wal", home / "log.sqlite3-wal")
    old.close()
    assert times(home / "log.sqlite3") == []
    assert len(kept_aside(home)) == 1


def test_a_log_of_a_newer_format_is_left_untouched(
    cli: Any, device: Device, file: Path, home: Path
) -> None:
    database = sqlite3.connect(file)
    database.execute("PRAGMA journal_mode = DELETE")
    database.execute("PRAGMA user_version = 3")
    database.close()
    before = file.read_bytes()
    result = cli("-d", device.address, "status")
    assert result.code == UNKNOWN
    check_sentence(result.err)
    assert "newer" in result.err
    assert result.out.startswith("UNKNOWN  ")
    assert cli("log").code == LOCAL
    assert file.read_bytes() == before
    assert kept_aside(home) == []


def test_a_log_of_the_format_before_is_left_untouched(cli: Any, home: Path) -> None:
    file = home / "log.sqlite3"
    database = sqlite3.connect(file)
    database.execute("CREATE TABLE observation (row INTEGER PRIMARY KEY, at_ms INTEGER)")
    database.execute("PRAGMA user_version = 1")
    database.close()
    before = file.read_bytes()
    result = cli("log")
    assert result.code == LOCAL
    check_sentence(result.err)
    assert "format 1" in result.err
    assert file.read_bytes() == before


# The clock.


@pytest.mark.parametrize(
    "jump_ms", [-HOUR_MS, -10 * YEAR_MS, -60 * YEAR_MS, 10 * YEAR_MS], ids=lambda ms: str(ms)
)
def test_rows_survive_a_clock_that_jumps(jump_ms: int, cli: Any, home: Path) -> None:
    log = Log(home / "log.sqlite3")
    written = [AT_MS, AT_MS + 1000, AT_MS + jump_ms, AT_MS + jump_ms + 1000]
    for at_ms in written:
        log.add(contact(at_ms))
    log.close()
    assert times(log.file) == written
    result = cli("log", "--since", "1960-01-01", "--until", "2090-01-01", "--json")
    assert result.code == OK
    (board,) = result.json["boards"]
    told = any("clock went back" in (part["note"] or "") for part in board["intervals"])
    assert told == (jump_ms < 0)
    result = cli("log", "--since", "1960-01-01", "--until", "2090-01-01")
    # The table folds its columns.
    went = "clock went back" if jump_ms < 0 else "clock went forward"
    assert went in " ".join(result.out.split())


def test_the_same_through_the_commands(
    cli: Any, device: Device, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = log_module.now_ms()
    for at_ms in (now - HOUR_MS, now - 2 * HOUR_MS):
        with monkeypatch.context() as then:
            then.setattr(time, "time_ns", lambda at_ms=at_ms: at_ms * 1_000_000)
            assert cli("-d", device.address, "status").code == OK
    assert times(home / "log.sqlite3") == [now - HOUR_MS, now - 2 * HOUR_MS]
    assert "clock went" in " ".join(cli("log").out.split())


# Names.


def test_a_label_belongs_to_one_board(file: Path) -> None:
    log = Log(file)
    log.set_label(BOARD, "desk")
    log.set_label(BOARD, "desk")
    with pytest.raises(UsageError, match=BOARD):
        log.set_label("beef", "desk")
    log.set_label(BOARD, "bed")
    log.set_label("beef", "desk")
    assert (log.board_named("desk"), log.board_named("bed")) == ("beef", BOARD)
    log.close()


def test_a_taken_label_is_a_usage_error(cli: Any, file: Path) -> None:
    assert cli("-d", BOARD, "name", "desk").code == OK
    result = cli("-d", "beef", "name", "desk")
    assert result.code == USAGE
    check_sentence(result.err)
    assert len(times(file)) == 3


@pytest.mark.parametrize(
    "label",
    [
        "",
        "  ",
        "x" * 41,
        "\x1b[2Jdesk",
        "desk\n",
        "de\x00sk",
        "de\u202esk",
        "/dev/desk",
        "COM1",
        "beef",
    ],
)
def test_a_label_that_could_mislead_is_refused(label: str, cli: Any, file: Path) -> None:
    result = cli("-d", BOARD, "name", label)
    if label == "desk\n":
        # Stripped, it is a good one.
        assert result.code == OK
        return
    assert result.code == USAGE
    check_sentence(result.err)
    log = Log(file)
    assert log.label(BOARD) is None
    log.close()


def test_a_label_names_a_board(cli: Any, sim: Any) -> None:
    assert cli("-d", sim.board, "name", "desk").code == OK
    result = cli("-d", "desk", "status")
    assert (result.code, result.err) == (OK, "")
    assert result.out.startswith(f"MUTED    desk ({sim.board})")
    assert cli("-d", "desk", "log").code == OK
    assert cli("-d", "bed", "status").code == USAGE


def test_a_device_belongs_to_the_board_that_was_last_there(home: Path) -> None:
    log = Log(home / "log.sqlite3")
    for board in ("aaaa", "bbbb", "aaaa", "cccc"):
        log.add(contact(board=board))
        assert log.board_last_at("/dev/one") == board
    log.add(contact(board="cccc", device="/dev/two"))
    assert log.board_last_at("/dev/one") is None
    log.add(
        unseen("no_port", board="aaaa", device="/dev/one", simulated=False, source="test", at_ms=1)
    )
    assert log.board_last_at("/dev/one") is None
    log.close()


def test_a_board_that_got_its_label_first_counts_as_simulated(home: Path) -> None:
    log = Log(home / "log.sqlite3")
    log.set_label(BOARD, "desk")
    log.add(contact()._replace(simulated=True))
    assert log.boards() == [(BOARD, "desk", True)]
    assert log.real_boards() == []
    log.close()


def test_the_limit_on_file_sizes_is_not_in_force_here() -> None:
    """`_LIMITED` limits its own process only."""
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
