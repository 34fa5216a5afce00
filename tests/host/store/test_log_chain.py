"""P6: the log as one chain, in its file: verify, export, prune, and several processes at once."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evidence_maker import (
    BOARD,
    START_MS,
    Clock,
    MadeBoard,
    MadeHost,
    hash_of,
    report_of,
    write_export,
)
from hardmute.evidence import verifier
from hardmute.evidence.entries import GENESIS, Entry, read_export, stored_entry
from hardmute.model.errors import LOCAL, OK, TAMPERED, UNKNOWN, USAGE, LogDamagedError
from hardmute.store.keys import save_verify_key
from hardmute.store.log import Log
from muteboard import journal

_END_S = 60
_DAY_MS = 86_400_000


class Home:
    """A host's log with a day's evidence of one paired board, and its verify key."""

    def __init__(self, home: Path) -> None:
        self.folder = home
        self.file = home / "log.sqlite3"
        self.key = home / "verify.key"
        self.clock = Clock()
        self.board = MadeBoard(self.clock)
        self.host = MadeHost(self.file, self.clock)
        self.board.boot()
        save_verify_key(self.key, BOARD, 1, self.board.pair())
        for _ in range(4):
            self.host.contact(self.board)
            self.board.live_for(5_000)
            self.clock.pass_ms(_DAY_MS // 4)
        self.host.contact(self.board)

    def more(self) -> None:
        """Another day."""
        self.board.boot()
        self.board.live_for(7_000)
        self.clock.pass_ms(_DAY_MS)
        self.host.contact(self.board)

    @property
    def entries(self) -> list[Entry]:
        return list(self.host.log.entries())

    def report(self) -> verifier.Report:
        return report_of(self.host.log.entries(), self.board.secrets)

    def tamper(self, *statements: str) -> None:
        """Run SQL as somebody who drops the triggers and puts them back."""
        self.host.log.close()
        database = sqlite3.connect(self.file)
        triggers = database.execute(
            "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall()
        for name, _ in triggers:
            database.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            database.execute(statement)
        for _, sql in triggers:
            database.execute(sql)
        database.commit()
        database.close()


@pytest.fixture
def made(home: Path) -> Iterator[Home]:
    found = Home(home)
    yield found
    found.host.log.close()


# Verify and export.


def test_P6_a_good_log_verifies_here_and_elsewhere(
    made: Home, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = made.report()
    result = cli("log", "verify", "--key", made.key)
    assert (result.code, result.err) == (OK, "")
    assert result.out.startswith(f"INTACT    entries 1 to {report.head_row}\n")
    assert f"head {report.head_row} {report.head.hex()}\n" in result.out
    assert "all 14 signatures checked" in result.out
    file = made.folder / "export.jsonl"
    exported = cli("log", "export", file)
    assert exported.code == OK
    assert report.head.hex() in exported.out
    assert file.stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("HARDMUTE_HOME", str(made.folder / "another machine"))
    elsewhere = cli("log", "verify", file, "--key", made.key)
    assert (elsewhere.code, elsewhere.out) == (OK, result.out)
    as_json = cli("log", "verify", file, "--key", made.key, "--json").json
    assert as_json["intact"] is True
    assert (as_json["head"], as_json["findings"]) == (report.head.hex(), [])
    assert as_json["branches"][0]["macs"] == as_json["branches"][0]["signatures"] == 14


def test_P6_what_was_not_checked_is_said(made: Home, cli: Any) -> None:
    result = cli("log", "verify")
    assert result.code == OK
    assert made.report().branches[0].macs == 14
    assert "0 of 14 signatures checked; no key given for pairing 1" in result.out


def test_a_log_of_nothing_is_intact(home: Path, cli: Any) -> None:
    result = cli("log", "verify")
    assert result.code == OK
    assert result.out.startswith("INTACT    no entries\n")
    assert cli("log", "export", home / "export.jsonl").code == OK
    elsewhere = cli("log", "verify", home / "export.jsonl", "--expect-head", "00" * 32)
    assert (elsewhere.code, elsewhere.out.splitlines()[0]) == (OK, "INTACT    no entries")
    assert cli("log", "verify", home / "export.jsonl").code == UNKNOWN
    assert cli("log", "verify", "--expect-head", "00" * 32).code == OK


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE entry SET row = row + 100 WHERE row = {row}",
        "UPDATE entry SET at_ms = at_ms + 1 WHERE row = {row}",
        "UPDATE entry SET at_ms = 1 << 60 WHERE row = {row}",
        "UPDATE entry SET kind = 'incident' WHERE row = {row}",
        "UPDATE entry SET kind = 'opinion' WHERE row = {row}",
        "UPDATE entry SET board = 'abcd' WHERE row = {row}",
        "UPDATE entry SET board = NULL WHERE row = {row}",
        "UPDATE entry SET body = replace(body, '1', '2') WHERE row = {row}",
        "UPDATE entry SET body = ' ' || body WHERE row = {row}",
        "UPDATE entry SET body = '[]' WHERE row = {row}",
        "UPDATE entry SET body = 'x' WHERE row = {row}",
        "UPDATE entry SET hash = zeroblob(32) WHERE row = {row}",
        "UPDATE entry SET hash = zeroblob(31) WHERE row = {row}",
        "DELETE FROM entry WHERE row = {row}",
    ],
)
@pytest.mark.parametrize("row", [1, 2, 3, 9])
def test_P6_an_entry_changed_in_the_file_is_named(
    change: str, row: int, made: Home, cli: Any
) -> None:
    made.tamper(change.format(row=row))
    result = cli("log", "verify")
    assert result.code == TAMPERED
    first = row + 1 if " row" in change.split("WHERE")[0] or "DELETE" in change else row
    said = result.err if "kept as" in result.err else result.out
    assert f"entry {first} " in said


def test_P6_a_text_that_means_the_same_is_found(home: Path, cli: Any) -> None:
    """JSON has several spellings of one value; the log has one of each."""
    log = Log(home / "log.sqlite3")
    log.append("incident", "abcd", {"branch": 1, "what": "fork", "text": "caf\u00e9"})
    log.close()
    assert cli("log", "verify").code == OK
    database = sqlite3.connect(log.file)
    database.execute("DROP TRIGGER entry_is_append_only_1")
    database.execute("UPDATE entry SET body = replace(body, 'u00e9', 'u00E9')")
    sql = "CREATE TRIGGER entry_is_append_only_1 BEFORE UPDATE ON entry\n"
    sql += "BEGIN SELECT RAISE(ABORT, 'the log is append-only'); END"
    database.execute(sql)
    database.commit()
    database.close()
    result = cli("log", "verify")
    assert result.code == TAMPERED
    assert result.out.startswith("TAMPERED  entry 1 does not have the hash that its content")


def test_P6_a_shorter_or_an_older_log_is_found_with_a_head_alone(made: Home, cli: Any) -> None:
    older = made.folder / "older.jsonl"
    cli("log", "export", older)
    then = made.report().head.hex()
    made.more()
    now = made.report().head.hex()
    assert cli("log", "verify", "--expect-head", then).code == OK
    assert cli("log", "verify", "--expect-head", now).code == OK
    assert cli("log", "verify", older, "--expect-head", then).code == OK
    assert cli("log", "verify", older, "--key", made.key).code == OK
    result = cli("log", "verify", older, "--expect-head", now, "--key", made.key)
    assert result.code == TAMPERED
    assert result.out.startswith("TAMPERED  the expected head is not there")
    assert cli("log", "verify", older, "--expect-head", now, "--json").json["intact"] is False


@pytest.mark.parametrize("head", ["", "00", "0" * 63, "x" * 64, "0" * 66])
def test_a_head_that_is_none_is_a_usage_error(head: str, cli: Any) -> None:
    result = cli("log", "verify", "--expect-head", head)
    assert result.code == USAGE
    assert "64 hex digits" in result.err


def test_an_export_goes_over_nothing_and_is_never_half(
    made: Home, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = made.folder / "export.jsonl"
    file.write_text("mine")
    assert cli("log", "export", file).code == USAGE
    assert file.read_text() == "mine"
    assert cli("log", "export", made.folder / "none" / "export.jsonl").code == LOCAL

    entries = Log.entries

    def full(self: Log) -> Iterator[Entry]:
        for entry in entries(self):
            if entry.row == 3:
                raise OSError(28, "No space left on device")
            yield entry

    monkeypatch.setattr(Log, "entries", full)
    half = made.folder / "half.jsonl"
    result = cli("log", "export", half)
    assert result.code == LOCAL
    assert "No space left" in result.err
    assert not half.exists()


def test_a_file_that_is_no_export_is_told(made: Home, cli: Any) -> None:
    missing = cli("log", "verify", made.folder / "none.jsonl")
    assert missing.code == LOCAL
    rubbish = cli("log", "verify", made.file)
    assert rubbish.code == TAMPERED
    assert "Line 1 of" in rubbish.err


def test_nothing_in_an_export_is_obeyed_by_a_terminal(home: Path, cli: Any) -> None:
    evil = "\x1b[2J\u202e\udc80"
    body = {"branch": 1, "what": "fork", "text": evil, "row": evil}
    entry = Entry(1, 0, "incident", evil, body, b"")
    write_export(home / "export.jsonl", [entry._replace(hash=hash_of(GENESIS, entry))])
    result = cli("log", "verify", home / "export.jsonl")
    assert result.code == UNKNOWN
    assert result.out.replace("\n", "").isprintable()
    (incident,) = cli("log", "verify", home / "export.jsonl", "--json").json["incidents"]
    assert incident["row"] == 1


def test_incidents_are_told(made: Home, cli: Any) -> None:
    made.host.incident(made.board, "fork", 2, seq=3)
    (incident,) = cli("log", "verify", "--json").json["incidents"]
    assert (incident["what"], incident["board"], incident["seq"]) == ("fork", BOARD, 3)
    result = cli("log", "verify")
    assert result.code == OK, "the log is as it was written"
    assert f"board {BOARD}: fork" in result.out


def test_P6_log_shows_the_incidents_of_its_window(made: Home, cli: Any) -> None:
    made.host.incident(made.board, "fork", 2)
    since, until = "2025-11-20", "2025-12-20"
    result = cli("log", "--since", since, "--until", until)
    assert f"board {BOARD}: fork" in result.out
    found = cli("log", "--since", since, "--until", until, "--json").json
    assert [incident["what"] for incident in found["incidents"]] == ["fork"]
    assert cli("log", "--since", since, "--until", "2025-11-21", "--json").json["incidents"] == []
    assert cli("log", "-d", BOARD, "--since", since, "--until", until, "--json").json["incidents"]


# Several processes.


_WRITER = """
import sys
from pathlib import Path
from hardmute.store.log import Log
log = Log(Path(sys.argv[1]))
sys.stdin.readline()
for number in range(100):
    with log.transaction():
        row, _ = log.head()
        log.append("incident", sys.argv[2], {"branch": 1, "what": "fork", "text": str(row)})
        log.append("incident", sys.argv[2], {"branch": 1, "what": "fork", "text": str(row + 1)})
log.close()
"""


def test_P6_processes_that_write_at_once_make_one_chain(home: Path) -> None:
    """What one has read before it appends still holds when it does."""
    file = home / "log.sqlite3"
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, file, name], stdin=subprocess.PIPE)
        for name in ("aaaa", "bbbb", "cccc")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write(b"\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=_END_S)
        assert writer.returncode == 0
    log = Log(file)
    entries = list(log.entries())
    log.close()
    assert report_of(entries, {}).findings == []
    assert [entry.body["text"] for entry in entries] == [str(row) for row in range(600)]


def test_a_transaction_that_fails_leaves_nothing(made: Home) -> None:
    before = made.entries

    def fail() -> None:
        with made.host.log.transaction():
            made.host.incident(made.board, "fork", 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert made.entries == before


# Prune.


def test_P6_what_is_left_after_a_prune_verifies(made: Home, cli: Any) -> None:
    made.more()
    before = made.entries
    pruned_ms = START_MS + _DAY_MS // 2
    result = cli("log", "prune", "--yes", "--before", _iso(pruned_ms))
    assert result.code == OK
    after = made.entries
    removed = [entry for entry in before if entry.at_ms < pruned_ms]
    assert 5 < len(removed) < len(before)
    assert after[:-1] == before[len(removed) :]
    assert (after[-1].kind, after[-1].body["row"]) == ("checkpoint", len(removed))
    assert f"up to entry {len(removed)}" in result.out
    report = made.report()
    assert report.findings == []
    result = cli("log", "verify", "--key", made.key)
    assert result.code == OK
    assert f"entries 1 to {len(removed)} were pruned, as entry {after[-1].row}" in result.out
    # Anything changed in what is left is found as ever.
    for index in range(len(after) - 1):
        entries = after[:index] + after[index + 1 :]
        assert report_of(entries, made.board.secrets).findings, index


def test_what_was_pruned_is_not_told_by_what_is_left(made: Home, cli: Any) -> None:
    """A contact after it tells since when, and for how long there was sound before."""
    pruned_ms = made.host.now_ms - 60_000
    made.host.log.close()
    assert cli("log", "prune", "--yes", "--before", _iso(pruned_ms)).code == OK
    window = ("log", "--since", _iso(START_MS), "--until", _iso(made.host.now_ms))
    for told in (cli(*window, "--json").json["boards"] for _ in range(2)):
        starts = [one["start_ms"] for board in told for one in board["intervals"]]
        assert min(starts, default=pruned_ms) >= pruned_ms
        assert sum(board["live_ms"] for board in told) == 0


def _iso(at_ms: int) -> str:
    from hardmute.model.clock import iso_time

    return iso_time(at_ms)


def test_P6_contacts_go_on_after_a_prune(made: Home) -> None:
    """Even where nothing is left of the journal but the checkpoint's word, again and again."""
    for _ in range(3):
        made.clock.pass_ms(1)
        checkpoint = made.host.log.prune(made.host.now_ms)
        assert checkpoint is not None
        assert [entry.kind for entry in made.entries] == ["checkpoint"]
        made.more()
        report = made.report()
        assert report.findings == []
        assert report.branches[0].last_seq == made.board.journal.seq
    assert made.host.log.newest(BOARD, "record") is not None


def test_P6_a_journals_end_shows_after_a_prune_and_an_incident(made: Home) -> None:
    made.clock.pass_ms(1)
    end = made.host.log.journal_end(BOARD)
    made.host.log.prune(made.host.now_ms)
    made.host.incident(made.board, "unpaired", 1)
    assert made.host.log.journal_end(BOARD) == end
    made.host.incident(made.board, "fork", 2)
    assert made.host.log.journal_end(BOARD) == (2, None)


def test_P6_an_epoch_of_unknown_beginning_is_pruned_uncounted(home: Path) -> None:
    clock = Clock()
    board = MadeBoard(clock)
    host = MadeHost(home / "log.sqlite3", clock)
    board.boot()
    board.pair()
    board.live_for(10)
    for data in board.records(4):
        host.append_record(board, data)
    clock.pass_ms(1)
    checkpoint = host.log.prune(host.now_ms)
    assert checkpoint is not None
    assert [end[3] for end in checkpoint.body["ends"]] == [None]
    board.boot()
    host.attest(board)
    assert report_of(host.log.entries(), board.secrets).findings == []
    assert board.records()[-2][28] == journal.SEAL
    host.log.close()


def test_nothing_old_is_no_reason_to_write(made: Home, cli: Any) -> None:
    before = made.entries
    result = cli("log", "prune", "--before", "2020-01-01")
    assert result.code == OK
    assert result.out.startswith("Nothing in the log is older")
    assert made.entries == before
    assert cli("log", "prune", "--before", "yesterday").code == USAGE
    assert cli("log", "prune").code == USAGE


class Hand(io.StringIO):
    """A person at a terminal, who types this."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code"), [(None, USAGE), ("", USAGE), ("\n", USAGE), ("n\n", USAGE), ("y\n", OK)]
)
def test_P6_a_prune_asks_first(
    made: Home, cli: Any, monkeypatch: pytest.MonkeyPatch, typed: str | None, code: int
) -> None:
    before = made.entries
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n") if typed is None else Hand(typed))
    result = cli("log", "prune", "--before", "1m")
    assert result.code == code
    assert (made.entries == before) == (code == USAGE)
    if code == USAGE:
        assert result.err.endswith("Nothing was removed.\n")
        assert ("--yes" in result.err) == (typed is None)


def test_after_a_prune_nothing_calls_the_board_unpaired(made: Home, cli: Any) -> None:
    made.host.log.close()
    assert cli("log", "prune", "--yes", "--before", "0s").code == OK
    span = ("--from", _iso(START_MS), "--to", "0s")
    for words in (["log", "verify"], ["prove", "-d", BOARD, *span], ["log"]):
        assert "not paired" not in cli(*words).out, words
    assert "what was pruned may have been" in cli("log", "verify").out


def test_P6_what_was_tampered_with_is_not_pruned(made: Home, cli: Any) -> None:
    """It would verify afterwards."""
    made.tamper("UPDATE entry SET at_ms = at_ms + 1 WHERE row = 3")
    result = cli("log", "prune", "--yes", "--before", "1m")
    assert result.code == TAMPERED
    assert "Entry 3" in result.err
    assert cli("log", "verify").code == TAMPERED


def test_what_was_pruned_is_in_no_file_any_more(made: Home) -> None:
    made.host.log.append("incident", BOARD, {"branch": 1, "what": "fork", "text": "secret word"})
    for _ in range(100):
        made.host.observe(made.board)
    made.clock.pass_ms(1)
    made.host.log.prune(made.host.now_ms)
    for path in made.folder.iterdir():
        assert path.is_dir() or b"secret word" not in path.read_bytes(), path
    assert made.file.stat().st_mode & 0o777 == 0o600
    database = sqlite3.connect(made.file)
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        database.execute("DELETE FROM entry")
    database.close()


def test_P6_a_process_with_the_log_open_goes_on_after_a_prune(made: Home) -> None:
    other = MadeHost(made.file, made.clock)
    other.observe(made.board)
    made.clock.pass_ms(1)
    made.host.log.prune(made.host.now_ms)
    other.observe(made.board)
    made.host.contact(made.board)
    other.log.close()
    assert made.report().findings == []
    assert made.report().entries == 4


_PRUNER = """
import os, sys
from pathlib import Path
from hardmute.store.log import Log
log = Log(Path(sys.argv[1]))
left = int(sys.argv[3])
def step(_):
    global left
    left -= 1
    if left < 0:
        os._exit(9)
log._database.set_trace_callback(step)
log.prune(int(sys.argv[2]))
log._database.set_trace_callback(None)
log.close()
"""


def test_P6_a_prune_cut_anywhere_leaves_the_old_log_or_the_new(home: Path) -> None:
    """The process ends before its first statement, its second, and so on."""
    (home / "made").mkdir()
    made = Home(home / "made")
    before_ms = START_MS + _DAY_MS // 2
    made.host.log.close()
    original = made.file.read_bytes()
    outcomes: list[bool] = []
    for statements in range(1000):
        file = home / f"log{statements}.sqlite3"
        file.write_bytes(original)
        code = subprocess.run(
            [sys.executable, "-c", _PRUNER, file, str(before_ms), str(statements)], check=False
        ).returncode
        log = Log(file)
        entries = list(log.entries())
        log.close()
        assert report_of(entries, made.board.secrets).findings == []
        outcomes.append(entries[0].row > 1)
        assert (entries[-1].kind == "checkpoint") == outcomes[-1]
        if code == 0:
            break
        assert code == 9
    assert outcomes == sorted(outcomes)
    assert outcomes.count(False) > 5
    assert outcomes.count(True) > 1


def test_two_prunes_at_once(made: Home) -> None:
    made.clock.pass_ms(1)
    pruners = [
        subprocess.Popen(
            [sys.executable, "-c", _PRUNER, made.file, str(made.host.now_ms), "100000"]
        )
        for _ in range(2)
    ]
    for pruner in pruners:
        assert pruner.wait(_END_S) == 0
    assert made.report().findings == []


def test_damage_in_an_entry_is_told_with_its_number(made: Home) -> None:
    made.tamper("UPDATE entry SET body = '{' WHERE row = 4")
    log = Log(made.file)
    with pytest.raises(LogDamagedError, match="from entry 4 on"):
        list(log.entries())
    log.close()


def test_P6_an_export_and_the_log_hold_the_same(made: Home) -> None:
    file = made.host.export(made.folder / "export.jsonl")
    assert list(map(stored_entry, read_export(file))) == made.entries
