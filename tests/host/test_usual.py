"""P6: of what `Verifier.unusual` takes itself, `Verifier.take` would have said nothing.

Each log here is read twice, by `take` alone and as `log verify` reads its file, and the two
reports must be the same: every finding, count and head. test_independent_verifier.py does that
with many more.
"""

from __future__ import annotations

import base64
import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from test_independent_verifier import OTHER, Made, flips, records_of

from evidence_maker import MadeBoard, stored, verified_stored
from hardmute import verifier
from hardmute.entries import GENESIS, Entry, Row, encoded, entry_hash, stored_entry
from hardmute.errors import LogDamagedError
from hardmute.log import Log
from muteboard import journal

Case = tuple[list[Row], verifier.Keys]


def presses(made: Made, count: int) -> None:
    for _ in range(count):
        made.clock.pass_ms(700)
        made.board.live_for(300)


def story(made: Made) -> None:
    """Starts, epochs, pairings and times without, two boards in turn, and an older flash."""
    board, host = made.board, made.host
    other = MadeBoard(made.clock, OTHER)
    board.boot()
    presses(made, 2)
    host.contact(board)
    board.pair()
    presses(made, 2)
    board.boot()
    presses(made, 2)
    host.contact(board)
    other.boot()
    other.live_for(10)
    other.live_for(10)
    host.contact(other)
    older = board.copy()
    presses(made, 1)
    host.contact(board)
    board.pair()
    presses(made, 2)
    board.unpair()
    presses(made, 2)
    host.contact(board)
    host.incident(older, "backwards", 2, seq=older.journal.seq, known=board.journal.seq)
    older.boot()
    older.live_for(20)
    older.live_for(20)
    host.fetch(older, 2)
    host.attest(older, 2)


def pruned(made: Made) -> None:
    """All that is left begins in the middle of an epoch."""
    made.board.boot()
    made.board.pair()
    presses(made, 2)
    made.host.contact(made.board)
    made.clock.pass_ms(1000)
    assert made.host.log.prune(made.host.now_ms) is not None
    presses(made, 3)
    made.board.boot()
    presses(made, 2)
    made.host.contact(made.board)


@pytest.fixture(scope="module", params=[story, pruned], ids=["story", "pruned"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    made = Made(tmp_path_factory.mktemp("usual"))
    request.param(made)
    return stored(made.entries()), made.secrets


def every_keys(secrets: verifier.Keys) -> list[verifier.Keys]:
    """All keys, none, each alone, and wrong ones."""
    ones: list[verifier.Keys] = [{owner: secret} for owner, secret in secrets.items()]
    return [secrets, {}, *ones, dict.fromkeys(secrets, bytes(32))]


def said(check: Callable[[], verifier.Verifier]) -> tuple[Any, ...] | None:
    """None: the file is damaged."""
    try:
        checked = check()
    except (ValueError, TypeError, RecursionError):
        return None
    return checked.report(), checked.keyring.ids, checked.keyring.fitting


def is_good(rows: list[Row], secrets: verifier.Keys) -> bool:
    """What both say of a log that stores ``rows``."""
    ours = said(lambda: verified_stored(rows, secrets))
    assert ours == said(lambda: verifier.verified(lambda: list(map(stored_entry, rows)), secrets))
    # A key of another pairing is right for nothing.
    return ours is not None and not ours[0].findings and (not secrets or bool(ours[2]))


def rehashed(rows: list[Row], start: int = 0) -> list[Row]:
    """With the hashes that fit, from the row at index ``start`` on, and numbers without gaps."""
    made = rows[:start]
    before = rows[start - 1][5] if start else _before(rows)
    for number, row in enumerate(rows[start:], rows[start - 1][0] + 1 if start else rows[0][0]):
        before = entry_hash(before, number, *row[1:5])
        made.append((number, *row[1:5], before))
    return made


def _before(rows: list[Row]) -> bytes:
    return GENESIS if rows[0][0] == 1 else bytes.fromhex(stored_entry(rows[0]).body["hash"])


def with_records(rows: list[Row], records: dict[int, bytes]) -> list[Row]:
    """With other records at these indices, all hashes of entries made anew."""
    altered = list(rows)
    for at, data in records.items():
        row = rows[at]
        text = row[4].replace(encoded(_record(row)), encoded(data))
        altered[at] = (*row[:4], text, row[5])
    return rehashed(altered, min(records))


def _record(row: Row) -> bytes:
    return base64.b64decode(stored_entry(row).body["record"])


def _records(rows: list[Row]) -> list[tuple[int, bytes]]:
    return records_of(list(map(stored_entry, rows)))


def test_the_usual_is_taken_as_it_is_stored(case: Case) -> None:
    """Else these tests would show nothing."""
    rows, secrets = case
    entries = list(map(stored_entry, rows))
    for keys in every_keys(secrets)[:-1]:
        check = verifier.begin(entries[0], entries, keys)
        unusual: list[Entry] = []
        for row in check.unusual(iter(rows)):
            unusual.append(stored_entry(row))
            check.take(unusual[-1])
        usual = len(rows) - len(unusual)
        assert usual > len(_records(rows)) / 4
        assert check.report().entries == len(rows)


def test_P6_both_say_the_same_with_any_keys(case: Case) -> None:
    """Of each record with one bit of one byte of each field flipped."""
    rows, secrets = case
    wrong = every_keys(secrets)[-1]
    for keys in every_keys(secrets):
        assert is_good(rows, keys) == (keys != wrong)
        for at, data in _records(rows):
            for byte in (0, 4, 8, 12, 14, 16, 20, 24, 28, 29, 30, 31, 32, 48):
                changed = bytearray(data)
                changed[byte] ^= 1
                is_good(with_records(rows[: at + 4], {at: bytes(changed)}), keys)


def test_both_say_the_same_of_an_epoch_that_no_board_lives_to_see(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, secrets = case
    monkeypatch.setattr(verifier, "_MOST_EPOCHS", 0)
    assert not is_good(rows, secrets)
    assert is_good(rows, {})


@pytest.mark.parametrize("case", [pruned], indirect=True)
def test_P6_both_say_the_same_of_any_bit_of_a_record(case: Case) -> None:
    rows, secrets = case
    for at, data in _records(rows):
        for changed in flips(data):
            good = is_good(with_records(rows[: at + 3], {at: changed}), secrets)
            assert not (good and journal.Record(data).pairing)


def test_P6_both_say_the_same_of_any_byte_of_a_record_with_all_links_made_anew(case: Case) -> None:
    rows, _ = case
    records = _records(rows)
    for index, (at, data) in enumerate(records):
        until = rows[: at + 6]
        for byte in range(journal.SIZE):
            changed = bytearray(data)
            changed[byte] ^= 1
            altered, link = {at: bytes(changed)}, journal.head_of(bytes(changed))
            for later, then in records[index + 1 :]:
                if later < len(until) and until[later][3] == until[at][3]:
                    altered[later] = then[:32] + link + then[48:]
                    link = journal.head_of(altered[later])
            is_good(with_records(until, altered), {})


def test_P6_both_say_the_same_of_rows_dropped_doubled_or_moved(case: Case) -> None:
    rows, secrets = case
    for at, row in enumerate(rows):
        rest = rows[:at] + rows[at + 1 :]
        for to in range(max(at - 4, 0), min(at + 5, len(rows))):
            for changed in (
                [*rows[:to], row, *rows[to:]],
                [*rest[:to], row, *rest[to:]] if to != at else rest,
            ):
                if changed[0][0] == rows[0][0]:
                    is_good(rehashed(changed), secrets)
                assert not is_good(changed, secrets) or changed == rows[:-1]


def odd(value: Any) -> Iterator[Any]:
    """What else SQLite may hold in the place of ``value``, if somebody has lifted its schema."""
    yield from (None, 0, -1, 1, 1 << 62, 0.5, "", "x", b"", b"x", str(value))
    if isinstance(value, int):
        yield from (value + 1, value - 1, float(value), -value, f"{value}.0")
    elif isinstance(value, str):
        yield from (value.encode(), value.upper(), f"{value} ", f" {value}", f"{value}\0")
        yield from (value[:-1], f'"{value}"', value.replace("1", "2", 1))
    elif isinstance(value, bytes):
        yield from (value.hex(), value[:-1], value + b"\0", bytes(len(value)))


def odd_bodies(text: str) -> Iterator[Any]:
    """Other texts for the body of a record, most of them of the same record."""
    start, _, record = text.removesuffix('"}').partition('"record":"')
    # What base64 leaves over at the end is not zero.
    twin = f"{record[:-3]}{chr(ord(record[-3]) + 1)}=="
    assert base64.b64decode(twin) == base64.b64decode(record)
    for other in (
        twin,
        f"{record[:-2]}",
        f"{record[:-1]}",
        f"{record}=",
        f"{record}AAAA",
        f"{record[:4]}\\n{record[4:]}",
        f"{record[:4]} {record[4:]}",
        f"{record[:4]}={record[4:]}",
        record.swapcase(),
        record[4:],
        f"\\u00{ord(record[0]):02x}{record[1:]}",
        "",
    ):
        yield f'{start}"record":"{other}"}}'
    branch = start.removeprefix('{"branch":').removesuffix(",")
    for other in (
        "1.0",
        "01",
        "true",
        "null",
        f'"{branch}"',
        "0",
        "-1",
        "1e0",
        "9",
        f"[{branch}]",
    ):
        yield f'{{"branch":{other},"record":"{record}"}}'
    yield f'{{"branch":{branch},"branch":{branch},"record":"{record}"}}'
    yield f'{{"record":"{record}","branch":{branch}}}'
    yield f'{{"branch":{branch},"more":0,"record":"{record}"}}'
    yield f'{{"branch":{branch},"record":"{record}","z":0}}'
    yield f'{{"branch":{branch}, "record":"{record}"}}'
    yield f'{{"branch":{branch},"record":["{record}"]}}'
    yield f'{{"branch":{branch}}}'
    yield f"{text}\n"
    yield "{"
    yield "[" * 100_000


def altered_columns(rows: list[Row], at: int) -> Iterator[list[Row]]:
    """With something else in one column of one row, the hashes let be or made anew."""
    row: tuple[Any, ...] = rows[at]
    for column, value in enumerate(row):
        bodies = odd_bodies(row[4]) if column == 4 else ()
        for other in (*odd(value), *bodies):
            if type(other) is type(value) and other == value:
                continue
            changed: Any = (*row[:column], other, *row[column + 1 :])
            altered = [*rows[:at], changed, *rows[at + 1 :]]
            yield altered
            if column == 5:
                continue
            try:
                digest = entry_hash(rows[at - 1][5] if at else _before(rows), *changed[:5])
            except TypeError:
                # There is no text with that in it.
                continue
            follow = rehashed([(*row[:5], digest), *rows[at + 1 :]], 1)[1:]
            yield [*rows[:at], (*changed[:5], digest), *follow]


def test_P6_both_say_the_same_of_anything_in_any_column(case: Case) -> None:
    """Of another type, too: SQLite keeps what somebody has put there."""
    rows, secrets = case
    for at, _ in _records(rows):
        for altered in altered_columns(rows, at):
            is_good(altered[: at + 4], secrets)


def test_P6_both_say_the_same_of_a_file_with_anything_in_any_column(tmp_path: Path) -> None:
    """Through SQLite, with what its schema would not let in."""
    made = Made(tmp_path)
    made.board.boot()
    made.board.pair()
    presses(made, 3)
    made.host.contact(made.board)
    good = made.host.log.file
    rows = stored(made.entries())
    made.host.log.close()
    # It is usual, and so is the one after it.
    at = max(at for at, _ in _records(rows)) - 1
    bad = 0
    for index, altered in enumerate(altered_columns(rows, at)):
        file = tmp_path / f"{index}.sqlite3"
        if not _put(good, file, altered):
            continue
        copy = shutil.copy(file, tmp_path / f"{index} again.sqlite3")
        ours = _said_of(file, lambda log: log.verified(made.secrets).report())
        slow = _said_of(copy, lambda log: verifier.verify(log.entries, made.secrets))
        assert ours == slow, altered[at]
        # SQLite makes a number of some texts: then it is the same again.
        bad += isinstance(ours, str) or bool(ours.findings)
    assert bad > 100


def _said_of(file: Path, report: Callable[[Log], verifier.Report]) -> verifier.Report | str:
    log = Log(file)
    try:
        return report(log)
    except LogDamagedError as error:
        # From which entry on; not the file's name.
        return str(error).partition(";")[0]
    finally:
        log.close()


def _put(good: Path, file: Path, altered: list[Row]) -> bool:
    """Make ``file`` a copy of ``good`` that has ``altered``; False if SQLite never can."""
    shutil.copy(good, file)
    with _schema_lifted(file) as database:
        database.execute("DELETE FROM entry")
        try:
            database.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", altered)
        except sqlite3.IntegrityError:
            return False
    return True


@contextlib.contextmanager
def _schema_lifted(file: Path) -> Generator[sqlite3.Connection]:
    table = "UPDATE sqlite_schema SET sql = replace(sql, ?, ?) WHERE name = 'entry'"
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("PRAGMA writable_schema = ON")
        triggers = database.execute(
            "SELECT * FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall()
        database.execute("DELETE FROM sqlite_schema WHERE type = 'trigger'")
        database.execute(table, (") STRICT", ")"))
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        yield database
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        database.execute("PRAGMA writable_schema = ON")
        database.execute(table, (")", ") STRICT"))
        database.executemany("INSERT INTO sqlite_schema VALUES (?, ?, ?, ?, ?)", triggers)
