"""P6: several processes that read a large log find what one finds, and nothing is right by their
silence.
"""

from __future__ import annotations

import base64
import contextlib
import pickle
import sqlite3
import subprocess
import sys
from collections.abc import Generator, Iterator
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

import pytest

from evidence_maker import BOARD, Clock, MadeBoard, MadeHost
from hardmute.evidence.batches import Batch
from hardmute.evidence.entries import entry_hash
from hardmute.evidence.macs import EpochKeys, Keys
from hardmute.evidence.verifier import Report, Verifier
from hardmute.model.errors import OK, TAMPERED
from hardmute.store import readers
from hardmute.store.keys import save_verify_key
from hardmute.store.log import Log
from muteboard import journal

_DAY_MS = 86_400_000
_OTHER = "a5a5a5a5a5a5a5a5"
_STORIES = 100
_END_S = 60


class Home:
    """A host's log of two boards, one of them with three pairings, and the verify keys."""

    def __init__(self, home: Path) -> None:
        self.folder = home
        self.file = home / "log.sqlite3"
        clock = Clock()
        first, second = MadeBoard(clock), MadeBoard(clock, _OTHER)
        host = MadeHost(self.file, clock)
        for board in first, second:
            board.boot()
            board.pair()
        for _ in range(40):
            first.live_for(5_000)
        for day in range(12):
            for board in first, second:
                board.live_for(5_000)
                host.contact(board)
                board.live_for(5_000)
                clock.pass_ms(_DAY_MS // 2)
            host.miss(first)
            if day == 3:
                first.unpair()
                host.contact(first)
            if day in (4, 8):
                first.pair()
            if day == 6:
                host.incident(second, "gap", 1)
        self.secrets = {**first.secrets, **second.secrets}
        self.opened = host.log.opened
        host.log.close()
        self.rows = self.read()
        self.keys: list[str] = []
        for number, ((board, pairing), secret) in enumerate(sorted(self.secrets.items())):
            key = home / f"{number}.key"
            save_verify_key(key, board, pairing, secret)
            self.keys += ["--key", str(key)]

    def read(self) -> list[tuple[Any, ...]]:
        with contextlib.closing(sqlite3.connect(self.file)) as database:
            return database.execute("SELECT * FROM entry ORDER BY row").fetchall()

    def write(self, rows: list[tuple[Any, ...]]) -> None:
        """Have the log hold these, as somebody who has its file can."""
        with contextlib.closing(sqlite3.connect(self.file)) as database:
            triggers = database.execute(
                "SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'"
            ).fetchall()
            for name, _ in triggers:
                database.execute(f"DROP TRIGGER {name}")
            database.execute("DELETE FROM entry")
            database.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", rows)
            for _, sql in triggers:
                database.execute(sql)
            database.commit()

    def verified(self, secrets: Keys) -> Verifier:
        log = Log(self.file)
        try:
            with log.snapshot():
                return readers.verified(log, secrets)
        finally:
            log.close()


@pytest.fixture
def made(home: Path) -> Home:
    return Home(home)


class _Here:
    """A reader that need not be started, for many stories. ``chance``: says if it has answered."""

    def __init__(self, log: Log, secrets: Keys, chance: Random) -> None:
        self._log, self._keys, self._chance = log, EpochKeys(secrets), chance
        self._answers: list[bytes] = []

    @property
    def asked(self) -> int:
        return len(self._answers)

    def ask(self, segment: readers.Segment) -> None:
        self._answers.append(pickle.dumps(readers.read(self._log, self._keys, segment)))

    def has_answered(self) -> bool:
        return self._chance.random() < 0.5

    def answer(self) -> list[Batch]:
        return pickle.loads(self._answers.pop(0))  # noqa: S301 (made above)


@contextlib.contextmanager
def _in_this_process(own: Log, secrets: Keys, count: int) -> Generator[list[_Here]]:
    log, chance = Log(own.file, read_only=True), Random(1)
    yield [_Here(log, secrets, chance) for _ in range(count)]
    log.close()


@contextlib.contextmanager
def several(segment: int, **more: object) -> Generator[None]:
    """Logs of any size are read by several, so many rows at a time. ``more``: what else is to be
    otherwise in `readers`.
    """
    changed = {"SMALLEST": 0, "SEGMENT": segment, "processors": lambda: 3, **more}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in changed.items():
            patch.setattr(readers, name, value)
        yield


# Somebody alters the log.


def _altered(rows: list[tuple[Any, ...]], chance: Random) -> list[tuple[Any, ...]]:
    """With one thing changed in one entry; or entries taken out, doubled, or exchanged."""
    rows = list(rows)
    at = chance.randrange(len(rows))
    row, at_ms, kind, board, body, digest = rows[at]
    what = chance.randrange(9)
    if what == 0:
        at_ms = chance.choice([at_ms + 1, 1 << 60, -(1 << 60)])
    elif what == 1:
        kind = chance.choice(["record", "incident", "observation", "opinion"])
    elif what == 2:
        board = chance.choice([None, BOARD, _OTHER, ""])
    elif what == 3:
        place = chance.randrange(len(body))
        body = body[:place] + chance.choice('0A"}{é') + body[place + 1 :]
    elif what == 4:
        digest = chance.choice([bytes(32), digest[:-1], digest[::-1]])
    elif what == 5:
        del rows[at : at + chance.randrange(1, 4)]
        return rows
    elif what == 6:
        other = chance.randrange(len(rows))
        rows[at], rows[other] = (
            (row, *rows[other][1:]),
            (rows[other][0], *rows[at][1:]),
        )
        return rows
    elif what == 7:
        body = _with_other_record(body, chance) if kind == "record" else body.upper()
    else:
        rows[at:] = [(one[0] + 1, *one[1:]) for one in rows[at:]]
        return rows
    rows[at] = row, at_ms, kind, board, body, digest
    return rows


def _with_other_record(body: str, chance: Random) -> str:
    before, _, rest = body.partition('"record":"')
    record = bytearray(base64.b64decode(rest[:88]))
    record[chance.randrange(journal.SIZE)] ^= 1 << chance.randrange(8)
    return f'{before}"record":"{base64.b64encode(record).decode()}"}}'


def _rechained(rows: list[tuple[Any, ...]]) -> Iterator[tuple[Any, ...]]:
    """With numbers and hashes as if it had been so from the beginning."""
    before = bytes(32)
    for number, (_, at_ms, kind, board, body, _) in enumerate(rows, 1):
        before = entry_hash(before, number, at_ms, kind, board, body)
        yield number, at_ms, kind, board, body, before


def _told(check: Verifier) -> tuple[Report, object, object, int]:
    ring = check.keyring
    return check.report(), ring.ids, ring.fitting, check.committed


def test_P6_several_readers_find_what_one_finds(made: Home) -> None:
    chance = Random(1)
    found = 0
    for story in range(_STORIES):
        rows = made.rows
        for _ in range(chance.choice([0, 1, 1, 1, 2, 5])):
            rows = _altered(rows, chance)
        if story % 3 == 0:
            rows = list(_rechained(rows))
        made.write(rows)
        left_out = chance.choice([None, *made.secrets])
        secrets = {one: made.secrets[one] for one in made.secrets if one != left_out}
        alone = _told(made.verified(secrets))
        few = chance.choice([1, 2, 4, 64])
        with several(
            chance.choice([1, 2, 3, 7, 20, 64]), started=_in_this_process, AHEAD=1, BEHIND=few
        ):
            together = _told(made.verified(secrets))
        assert together == alone, story
        found += bool(alone[0].findings)
    assert _STORIES // 2 < found < _STORIES


def _write_untyped(file: Path, rows: list[list[Any]]) -> None:
    """Have the log hold these, of whatever types, as somebody can who has its file."""
    change = "UPDATE sqlite_schema SET sql = ? WHERE name = 'entry'"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as database:
        (told,) = database.execute("SELECT sql FROM sqlite_schema WHERE name = 'entry'").fetchone()
        database.execute("PRAGMA writable_schema = ON")
        database.execute(change, (told.replace("STRICT", "").replace("NOT NULL", ""),))
        database.execute("PRAGMA writable_schema = RESET")
        database.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.execute("PRAGMA writable_schema = ON")
        database.execute(change, (told,))
        database.execute("PRAGMA writable_schema = RESET")


@pytest.mark.parametrize("board", ["1234567890", None])
def test_P6_a_log_is_read_field_by_field_as_it_is_stored(board: str | None, home: Path) -> None:
    odd = [
        ("record", 1234567890),
        (b"record", board),
        (None, board),
        (0, board),
        ("record", None),
        ("incident", board),
        ("record", "1234567891"),
    ]
    for number, (kind, other) in enumerate(odd):
        rows = [[row, 1, "record", board, "{}", bytes(32)] for row in range(1, 31)]
        rows[17][2:4] = kind, other
        log = Log(home / f"{number}.sqlite3")
        log.close()
        _write_untyped(log.file, rows)
        own = Log(log.file, read_only=True)
        for first, most in (1, 4), (1, 512), (18, 4), (19, 30):
            read = own.columns(first, 30, most)
            assert [*chain.from_iterable(zip(*few, strict=True) for few in read)] == [
                *own.rows(first, 30)
            ]
        own.close()


def test_P6_a_pruned_log_is_read_by_several(made: Home) -> None:
    log = Log(made.file)
    middle = made.rows[len(made.rows) // 2]
    log.prune(middle[1])
    log.close()
    alone = _told(made.verified(made.secrets))
    with several(20, started=_in_this_process):
        assert _told(made.verified(made.secrets)) == alone
    assert not alone[0].findings
    assert alone[0].first_row > 1


# Real processes.


class _Spy:
    """Has each process that reads, and how many batches it has read in all."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.batches = 0
        popen, answer = subprocess.Popen, readers.Reader.answer

        def start(*args: Any, **named: Any) -> subprocess.Popen[bytes]:
            self.processes.append(popen(*args, **named))
            return self.processes[-1]

        def counted(reader: readers.Reader) -> list[Batch]:
            batches = answer(reader)
            self.batches += len(batches)
            return batches

        patch.setattr(subprocess, "Popen", start)
        patch.setattr(readers.Reader, "answer", counted)

    def assert_gone(self) -> None:
        assert [process.poll() is not None for process in self.processes] == [True, True]


def test_P6_log_verify_says_the_same_with_several_processes(
    made: Home, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "log", "verify", "--json", *made.keys
    for rows, code in ((made.rows, OK), (_altered(made.rows, Random(3)), TAMPERED)):
        made.write(rows)
        alone = cli(*words)
        assert alone.code == code
        with monkeypatch.context() as patch, several(40):
            spy = _Spy(patch)
            assert cli(*words) == alone
        spy.assert_gone()
        assert spy.batches > 10


def test_P6_no_row_that_a_process_has_read_is_read_again(
    made: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = 0
    take = Verifier.take

    def counted(self: Verifier, rows: Any) -> None:
        nonlocal taken
        rows = list(rows)
        taken += len(rows)
        take(self, rows)

    monkeypatch.setattr(Verifier, "take", counted)
    with several(40):
        check = made.verified(made.secrets)
    assert check.report().entries == len(made.rows)
    assert taken == 0


def _dies_when_asked(reader: readers.Reader, segment: readers.Segment) -> None:
    if reader._process is not None:
        reader._process.kill()
    _ASK(reader, segment)


_ASK = readers.Reader.ask


@pytest.mark.parametrize("is_altered", [False, True])
@pytest.mark.parametrize(
    "program", ["/nowhere/python", sys.executable], ids=["cannot start", "dies"]
)
def test_P6_what_a_process_has_not_read_is_read_here(
    made: Home, monkeypatch: pytest.MonkeyPatch, program: str, is_altered: bool
) -> None:
    if is_altered:
        made.write(_altered(made.rows, Random(3)))
    alone = _told(made.verified(made.secrets))
    assert bool(alone[0].findings) == is_altered
    monkeypatch.setattr(readers.Reader, "ask", _dies_when_asked)
    monkeypatch.setattr(sys, "executable", program)
    with several(40):
        assert _told(made.verified(made.secrets)) == alone


def test_P6_a_process_that_has_another_log_reads_nothing(made: Home) -> None:
    """As when the log was exchanged since it was opened here."""
    for opened, count in ((made.opened, 20), ((0, 0), 0)):
        reader = readers.Reader(made.file, opened, made.secrets)
        reader.ask(readers.Segment(1, 20, 0, bytes(32)))
        assert sum(batch.size for batch in reader.answer()) == count
        reader.close()


def test_P6_an_interrupt_leaves_no_process_behind(
    made: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    spy = _Spy(monkeypatch)
    monkeypatch.setattr(Verifier, "take_batch", interrupted)
    with several(40), pytest.raises(KeyboardInterrupt):
        made.verified(made.secrets)
    spy.assert_gone()


def test_P6_a_reader_ends_with_its_parent(made: Home) -> None:
    """Whatever ends the parent closes the pipe."""
    reader = readers.Reader(made.file, made.opened, made.secrets)
    reader.ask(readers.Segment(1, 20, 0, bytes(32)))
    assert reader.answer()
    process = reader._process
    assert process is not None
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(_END_S) == 0
    reader.close()


def test_P6_no_program_of_the_current_folder_is_run(
    made: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("pickle", "sqlite3", "hardmute", "signal"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    spy = _Spy(monkeypatch)
    with several(40):
        made.verified(made.secrets)
    assert spy.batches > 10
    assert not (tmp_path / "ran").exists()
