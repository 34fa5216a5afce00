"""P5, P6: what a host makes of a board's journal and attestations; the real firmware answers."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
from virtual_port import EPOCH_MS, VirtualPort

from conftest import Cli, Sim, StartSim, StartWatch, VirtualBoard
from evidence_maker import hold
from hardmute.cli import console
from hardmute.cli.main import main
from hardmute.device.client import Session
from hardmute.model import errors, notices
from hardmute.model.allowance import Allowance
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.store import keys, readers
from hardmute.store.log import ELSEWHERE, Log
from hardmute.sync.check import log_outcome
from hardmute.sync.contact import Contact, Meeting
from hardmute.sync.journal_import import MOST_BREAKS, Intake
from hardmute.sync.recorder import Recorder
from muteboard import attest, journal, wire

BOARD = "5eed0000"


class Visit(NamedTuple):
    """What a contact came to."""

    met: Meeting | None
    error: errors.HardmuteError | None
    code: int
    told: str

    @property
    def attested(self) -> bool:
        return self.met is not None and self.met.signed is not None

    @property
    def verdict(self) -> str | None:
        return None if self.met is None else self.met.conclusion.verdict


class Host:
    """A host with a home of its own, and a clock that is ``off_ms`` off the true time."""

    def __init__(
        self,
        home: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        off_ms: int = 0,
    ) -> None:
        home.mkdir(exist_ok=True)
        # As the command line has it, whichever tests this process has run before.
        monkeypatch.setattr(notices, "_show", console.complain)
        self.home = home
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        self._off_ms = off_ms
        # Of the pairings, as far as the test knows them.
        self.secrets: dict[tuple[str, int], bytes] = {}

    def enter(self) -> None:
        self._monkeypatch.setenv("HARDMUTE_HOME", str(self.home))

    def visit(
        self, board: VirtualBoard, tamper: Callable[[bytes], bytes] = lambda line: line
    ) -> Visit:
        """Meet ``board``, ``tamper`` being done to each line that it sends."""
        self.enter()
        self._capsys.readouterr()
        recorder = Recorder()
        met = error = None
        try:
            contact = self.contact(board, recorder, tamper)
            met = contact.meet()
            contact.finish()
        except errors.HardmuteError as raised:
            error = raised
        return Visit(met, error, recorder.exit_code, self._capsys.readouterr().err)

    def contact(
        self,
        board: VirtualBoard,
        recorder: Recorder,
        tamper: Callable[[bytes], bytes] = lambda line: line,
    ) -> Contact:
        physics = board.physics
        session = Session(
            VirtualPort(board, tamper), "virtual", 3.0, clock=lambda: physics.now_us / 1e6
        )
        clock = HostClock(
            wall_ms=lambda: EPOCH_MS + self._off_ms + physics.now_us // 1000,
            run_us=lambda: physics.now_us,
            run=lambda: "this run",
        )
        return Contact(session, session.hello(), recorder, clock=clock)

    def entries(self, kind: str) -> list[dict[str, Any]]:
        """The bodies of all entries of a kind, with their board."""
        log = Log(self.home / "log.sqlite3")
        try:
            return [{**entry.body, "board": entry.board} for entry in log.entries(kinds=[kind])]
        finally:
            log.close()

    def check_log(self) -> None:
        """What contacts leave behind is what a verifier accepts."""
        log = Log(self.home / "log.sqlite3")
        try:
            report = readers.verified(log, self.secrets).report()
        finally:
            log.close()
        assert report.findings == []

    def records(self, branch: int = 1, board: str = BOARD) -> list[bytes]:
        """The records of one branch, in the order of the log."""
        return [
            base64.b64decode(body["record"])
            for body in self.entries("record")
            if body["branch"] == branch and body["board"] == board
        ]


MakeHost = Callable[..., Host]


@pytest.fixture
def make_host(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[MakeHost]:
    """Hosts with their own homes: ``make_host("desk", off_ms=...)``. Their logs must verify."""
    made: list[Host] = []

    def make(name: str = "desk", off_ms: int = 0) -> Host:
        made.append(Host(home / name, monkeypatch, capsys, off_ms))
        return made[-1]

    yield make
    for host in made:
        host.check_log()


@pytest.fixture
def host(make_host: MakeHost) -> Host:
    return make_host()


def kept(board: VirtualBoard) -> list[bytes]:
    """The journal as it is on the board."""
    stored = board.board
    return [
        stored.journal_read(segment, at, journal.SIZE)
        for segment in stored.journal_segments()
        for at in range(0, stored.journal_size(segment), journal.SIZE)
    ]


def pair(board: VirtualBoard, host: Host) -> None:
    """Pair in setup, and leave it."""
    board.power_on_holding_ms(3_500)
    ours = bytes(range(attest.KEY))
    answer = board.request("pair", host=ours.hex())
    secret = attest.secret(ours, bytes.fromhex(answer["board_bytes"]), board.board.unique_id())
    host.enter()
    name = board.board.unique_id().hex()
    key = keys.attest_key_of(answer["pairing"], secret)
    log = Log(host.home / "log.sqlite3")
    hold(log, name, key)
    log.close()
    host.secrets[name, answer["pairing"]] = secret
    board.power_cycle()


def many(board: VirtualBoard, events: int, seed: int = 1) -> None:
    """``events`` presses, spread over a month, on a board that nobody fetches from.

    Through the firmware's own journal; stepping the whole board through a month would take one.
    """
    stored = board.board
    stored.power_off()
    kept_by = journal.Journal(stored)
    kept_by.boot = kept_by.last_boot + 1
    random = Random(seed)
    now = 0
    kept_by.record(now, journal.BOOT, 0, 0, 0, 0, 0)
    assert kept_by.flush(now)
    for count in range(1, events + 1):
        now += random.randrange(2 * 30 * 86_400_000 // events)
        kept_by.expire(now)
        if count % 2:
            kept_by.record(now, journal.UNMUTE, 0, count, 1, 0x11, 0)
        else:
            kept_by.record(now, journal.MUTED, 0, count, 1, 0, 0)
        assert kept_by.flush(now)
    board.board.power_on()
    board.run_ms(100)


def image(board: VirtualBoard) -> dict[int, bytearray]:
    """What is in the board's flash, of the journal."""
    return {first: bytearray(data) for first, data in board.board._segments.items()}


def reflash(board: VirtualBoard, segments: dict[int, bytearray]) -> None:
    """Put a journal into the board's flash."""
    board.board.power_off()
    board.board._segments = {first: bytearray(data) for first, data in segments.items()}
    board.board.power_on()
    board.run_ms(100)


def drop_segment(board: VirtualBoard, first: int) -> None:
    segments = image(board)
    del segments[first]
    reflash(board, segments)


def incidents(host: Host) -> list[tuple[str, int]]:
    return [(body["what"], body["branch"]) for body in host.entries("incident")]


def altered(op_field: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """Changes the frames that have ``op_field``, and gives them a right checksum again."""

    def tamper(line: bytes) -> bytes:
        message = wire.unframe(line.strip(), need_crc=True)
        return wire.frame(change(message)) if op_field in message else line

    return tamper


# What is fetched.


def test_P6_all_records_are_fetched_in_order_once(host: Host) -> None:
    board = VirtualBoard()
    for _ in range(10):
        board.press()
    assert host.visit(board).code == errors.OK
    assert host.records() == kept(board)
    assert len(kept(board)) == 11
    for _ in range(2):
        assert host.visit(board).code == errors.OK
    board.press()
    assert host.visit(board).code == errors.OK
    assert host.records() == kept(board)
    assert incidents(host) == []
    assert host.entries("attestation") == []


@pytest.mark.parametrize("paired", [False, True])
def test_P6_a_month_alone_with_10000_presses(host: Host, paired: bool) -> None:
    board = VirtualBoard()
    if paired:
        pair(board, host)
    assert host.visit(board).code == errors.OK
    many(board, 10_000)
    visit = host.visit(board)
    assert visit.code == errors.OK
    assert "of the journal" in visit.told
    records = [journal.Record(data) for data in host.records()]
    assert [record.seq for record in records] == list(range(1, len(records) + 1))
    assert sum(record.event in (journal.UNMUTE, journal.MUTED) for record in records) == 10_000
    assert host.records() == kept(board)
    assert incidents(host) == []
    assert visit.attested is paired
    board.press()
    assert host.visit(board).code == errors.OK
    assert host.records() == kept(board)


def test_P6_records_that_were_dropped_unseen_are_a_gap(host: Host) -> None:
    board = VirtualBoard()
    assert host.visit(board).code == errors.OK
    known = len(host.records())
    many(board, 12_000)
    first = board.board.journal_segments()[0]
    assert first > known + 1
    visit = host.visit(board)
    assert visit.code == errors.TAMPERED
    [incident] = host.entries("incident")
    assert (incident["what"], incident["branch"]) == ("gap", 2)
    assert (incident["first"], incident["last"]) == (known + 1, first - 1)
    assert f"dropped records {known + 1} to {first - 1}" in visit.told
    assert host.records(2) == kept(board)
    board.press()
    assert host.visit(board).code == errors.OK
    assert host.records(2) == kept(board)


def test_P6_a_host_that_is_new_to_an_old_board_misses_nothing(host: Host) -> None:
    board = VirtualBoard()
    many(board, 12_000)
    assert board.board.journal_segments()[0] > 1
    assert host.visit(board).code == errors.OK
    assert host.records() == kept(board)
    assert incidents(host) == []


def test_P6_the_last_known_record_may_be_dropped_without_a_gap(host: Host) -> None:
    board = VirtualBoard()
    many(board, 511 - 3)
    assert len(kept(board)) == 511
    board.press()
    assert host.visit(board).code == errors.OK
    assert len(host.records()) == journal.SEGMENT
    board.press()
    board.run_ms(600)
    drop_segment(board, 1)
    assert host.visit(board).code == errors.OK
    assert [journal.Record(data).seq for data in host.records()] == list(range(1, 515))
    assert incidents(host) == []


def test_P6_two_hosts_fetch_in_turn(make_host: MakeHost) -> None:
    board = VirtualBoard()
    desk, shelf = make_host("desk"), make_host("shelf")
    pair(board, desk)
    for _ in range(3):
        for host in (desk, shelf):
            board.press()
            assert host.visit(board).code == errors.OK
    assert desk.visit(board).code == errors.OK
    assert desk.records() == shelf.records() == kept(board)
    assert incidents(desk) == incidents(shelf) == []
    assert [body["checked"] for body in desk.entries("attestation")] == [True] * 4
    assert [body["checked"] for body in shelf.entries("attestation")] == [False] * 3


@pytest.mark.parametrize("years", [-50, 30])
def test_P6_a_host_clock_wrong_by_years(make_host: MakeHost, years: int) -> None:
    off_ms = years * 365 * 86_400_000
    host = make_host("desk", off_ms=off_ms)
    board = VirtualBoard()
    pair(board, host)
    board.press()
    visit = host.visit(board)
    assert visit.code == errors.OK
    assert visit.attested
    [body] = host.entries("attestation")
    assert body["sent_ms"] - EPOCH_MS - off_ms == pytest.approx(body["anchor_us"] // 1000, abs=50)
    assert host.records() == kept(board)


def test_P6_several_boards_in_one_log(host: Host) -> None:
    boards = [VirtualBoard(), VirtualBoard()]
    boards[1].board._unique_id = bytes.fromhex("5eed0001")
    reflash(boards[1], {})
    for _ in range(2):
        for board in boards:
            board.press()
            assert host.visit(board).code == errors.OK
    assert host.records(board="5eed0000") == kept(boards[0])
    assert host.records(board="5eed0001") == kept(boards[1])


# Interruptions.


def test_P6_a_broken_off_fetch_loses_nothing_and_is_no_incident(host: Host) -> None:
    board = VirtualBoard()
    pair(board, host)
    many(board, 1_500)
    last = 0
    pages = 10
    while True:
        left = pages

        def unplugged(line: bytes) -> bytes:
            nonlocal left
            left -= b'"records"' in line
            if left < 0:
                raise OSError("gone")
            return line

        visit = host.visit(board, unplugged)
        assert visit.code == errors.OK
        records = host.records()
        assert [journal.Record(data).seq for data in records] == list(range(1, len(records) + 1))
        if visit.error is None:
            break
        assert isinstance(visit.error, errors.UnreachableError)
        # Less than the pages have: four were under way, the first one shows what is known.
        assert len(records) > last + 2 * pages
        last = len(records)
        pages *= 2
    assert host.records() == kept(board)
    assert incidents(host) == []


def test_P6_power_cuts_are_no_incident(host: Host) -> None:
    board = VirtualBoard()
    pair(board, host)
    for ms in range(0, 400, 13):
        board.physics.press()
        board.run_ms(ms)
        board.power_cycle()
        visit = host.visit(board)
        assert (visit.code, visit.error) == (errors.OK, None)
    assert host.records() == kept(board)
    assert incidents(host) == []


def test_P6_two_processes_store_each_record_once(host: Host) -> None:
    board = VirtualBoard()
    board.press()
    assert host.visit(board).code == errors.OK
    for _ in range(5):
        board.press()
    host.enter()
    recorder = Recorder()
    first, second, third = (
        Intake(recorder, BOARD, Allowance(MOST_BREAKS, SYSTEM.now_s)) for _ in range(3)
    )
    news = list(enumerate(kept(board), 1))[1:]
    for at, data in news:
        assert first.take(at, data)
    for at, data in news[:3]:
        assert second.take(at, data)
    second.flush()
    first.flush()
    assert host.records() == kept(board)
    for at, data in news:
        assert third.take(at, data)
    third.flush()
    assert host.records() == kept(board)
    assert recorder.exit_code == errors.OK


# What does not fit.


def test_P6_another_record_under_a_known_number_is_a_fork(host: Host) -> None:
    board = VirtualBoard()
    board.press()
    earlier = image(board)
    board.press()
    assert host.visit(board).code == errors.OK
    known = host.records()
    reflash(board, earlier)
    for _ in range(3):
        board.press()
    visit = host.visit(board)
    assert visit.code == errors.TAMPERED
    assert incidents(host) == [("fork", 2)]
    assert host.entries("incident")[0]["seq"] == len(known)
    assert host.records(1) == known
    assert host.records(2) == kept(board)
    assert host.visit(board).code == errors.OK


def test_P6_a_fork_shows_also_where_the_known_record_was_dropped(host: Host) -> None:
    board = VirtualBoard()
    many(board, 512 - 3)
    earlier = image(board)
    assert host.visit(board).code == errors.OK
    assert len(host.records()) == journal.SEGMENT
    segment = earlier[1]
    segment[-1] ^= 1
    reflash(board, earlier)
    drop_segment(board, 1)
    assert host.visit(board).code == errors.TAMPERED
    assert incidents(host) == [("fork", 2)]
    assert host.records(2) == kept(board)


@pytest.mark.parametrize("wiped", [False, True])
def test_P6_a_journal_that_went_backwards(host: Host, wiped: bool) -> None:
    board = VirtualBoard()
    earlier = {} if wiped else image(board)
    for _ in range(4):
        board.press()
    assert host.visit(board).code == errors.OK
    known = len(host.records())
    reflash(board, earlier)
    visit = host.visit(board)
    assert visit.code == errors.TAMPERED
    [incident] = host.entries("incident")
    assert (incident["what"], incident["branch"]) == ("backwards", 2)
    assert (incident["seq"], incident["known"]) == (len(kept(board)), known)
    assert host.records(2) == kept(board)
    board.press()
    assert host.visit(board).code == errors.OK
    assert host.records(2) == kept(board)


@pytest.mark.parametrize("offset", [0, 4, 8, 14, 16, 20, 24, 28, 29, 30, 31, 32, 47, 48, 63])
def test_P6_a_changed_byte_in_the_journal_is_found(host: Host, offset: int) -> None:
    board = VirtualBoard()
    for _ in range(6):
        board.press()
    board.board._segments[1][3 * journal.SIZE + offset] ^= 1
    visit = host.visit(board)
    assert visit.code == errors.TAMPERED
    assert {what for what, _ in incidents(host)} == {"bad_journal"}
    stored = [data for branch in (1, 2, 3) for data in host.records(branch)]
    wrong = kept(board)[3]
    assert [data for data in stored if data != wrong] == kept(board)[:3] + kept(board)[4:]
    assert host.visit(board).code == errors.OK


def test_P6_a_journal_of_nothing_but_breaks_ends(host: Host) -> None:
    board = VirtualBoard()
    for _ in range(20):
        board.press()
    for at in range(0, 20 * journal.SIZE, journal.SIZE):
        board.board._segments[1][at + 32] ^= 1
    visit = host.visit(board)
    assert visit.code == errors.TAMPERED
    assert isinstance(visit.error, errors.UnreachableError)


def test_P6_keys_that_are_gone_without_a_record(host: Host, make_host: MakeHost) -> None:
    board = VirtualBoard()
    shelf = make_host("shelf")
    pair(board, host)
    for each in (host, shelf):
        assert each.visit(board).code == errors.OK
    board.board._keys = None
    board.power_cycle()
    visit = shelf.visit(board)
    assert visit.code == errors.TAMPERED
    assert incidents(shelf) == [("unpaired", 1)]
    assert shelf.visit(board).code == errors.OK
    for _ in range(2):
        visit = host.visit(board)
        assert visit.code == errors.TAMPERED, "the attest key is still there"
        assert visit.met is not None
        assert not visit.attested
    assert {what for what, _ in incidents(host)} == {"unpaired"}
    assert host.records() == shelf.records() == kept(board)


def test_P6_an_unpairing_that_is_recorded_is_none(make_host: MakeHost) -> None:
    board = VirtualBoard()
    desk, shelf = make_host("desk"), make_host("shelf")
    pair(board, desk)
    assert shelf.visit(board).code == errors.OK
    board.power_on_holding_ms(3_500)
    assert board.request("pair", end=True)["ok"]
    assert shelf.visit(board).code == errors.OK
    assert shelf.records() == kept(board)


def test_P6_a_head_that_the_journal_does_not_bear_out(make_host: MakeHost) -> None:
    board = VirtualBoard()
    pair(board, make_host("desk"))
    host = make_host("shelf")
    lie = altered("journal_mac", lambda message: {**message, "head": "00" * 16})
    visit = host.visit(board, lie)
    assert visit.code == errors.TAMPERED
    assert incidents(host) == [("bad_head", 1)]
    assert host.entries("attestation") == []
    assert host.visit(board).code == errors.OK


# Attestations: whose, when, and by whom they are passed on.


def test_P5_attested(host: Host) -> None:
    board = VirtualBoard()
    pair(board, host)
    visit = host.visit(board)
    assert visit.code == errors.OK
    assert visit.attested
    assert host.records() == kept(board)
    [body] = host.entries("attestation")
    assert body["checked"] is True
    assert body["elapsed_us"] <= 100_000
    assert body["statement"]["seq"] == len(kept(board))


def test_P5_a_replayed_attestation_is_found(host: Host) -> None:
    board = VirtualBoard()
    pair(board, host)
    heard: list[dict[str, Any]] = []

    def replay(message: dict[str, Any]) -> dict[str, Any]:
        heard.append(message)
        return {**heard[0], "id": message["id"]}

    assert host.visit(board, altered("journal_mac", replay)).code == errors.OK
    visit = host.visit(board, altered("journal_mac", replay))
    assert visit.code == errors.TAMPERED
    assert visit.met is not None
    assert not visit.attested
    [incident] = host.entries("incident")
    assert (incident["what"], incident["branch"]) == ("bad_mac", 1)
    assert incident["statement"]["nonce"] == heard[0]["nonce"]
    assert len(host.entries("attestation")) == 1


def test_P5_a_pairing_by_an_app_is_told_until_it_is_paired_here(
    host: Host,
) -> None:
    board = VirtualBoard()
    pair(board, host)
    assert host.visit(board).attested
    # It waits for the owner's setup, and has a secret of its own.
    board.power_on_holding_ms(3_500)
    board.request("pair", host="99" * attest.KEY)
    board.power_cycle()
    for _ in range(3):
        visit = host.visit(board)
        assert (visit.code, visit.attested) == (errors.TAMPERED, False)
        assert "it was paired again, as pairing 2, and not by this host" in visit.told
    told = [entry for entry in host.entries("incident") if entry["what"] == ELSEWHERE]
    assert [(entry["pairing"], len(entry["key_id"])) for entry in told] == [(2, 8)]
    assert len(host.entries("incident")) <= 2
    log = Log(host.home / "log.sqlite3")
    checked = readers.verified(log, {})
    assert log_outcome(checked, {}, None, own=True).code == errors.TAMPERED
    # It stays said when all that was pruned.
    log.close()
    pair(board, host)
    assert host.visit(board).code == errors.OK
    log = Log(host.home / "log.sqlite3")
    assert log_outcome(readers.verified(log, {}), {}, None, own=True).code == errors.OK
    log.close()


def test_P5_a_host_that_never_paired_says_that_another_has(host: Host) -> None:
    board = VirtualBoard()
    assert host.visit(board).code == errors.OK
    board.power_on_holding_ms(3_500)
    board.request("pair", host="99" * attest.KEY)
    board.power_cycle()
    visit = host.visit(board)
    assert visit.code == errors.OK
    assert "is in pairing 1" in visit.told
    assert host.visit(board).told == ""
    assert [entry["what"] for entry in host.entries("incident")] == []


def test_P5_a_relay_that_answers_for_another_board_is_found(host: Host) -> None:
    board, other = VirtualBoard(), VirtualBoard()
    pair(board, host)
    [key] = keys.load_attest_keys(BOARD)
    other.board._unique_id = bytes.fromhex("5eed0001")
    pair(other, host)
    keys.save_attest_key(BOARD, key)
    as_this = altered("product", lambda message: {**message, "board": BOARD})
    visit = host.visit(other, as_this)
    assert visit.code == errors.TAMPERED
    assert "board 5eed0001 attests in its place" in visit.told
    # What the other board has as its journal is in the log, under none of our keys.
    host.secrets.clear()
    assert visit.met is not None
    assert not visit.attested
    assert incidents(host)[0] == ("bad_mac", 1)


@pytest.mark.parametrize("field", ["state", "sense", "uptime_ms", "seq", "mac", "extra"])
def test_P5_a_changed_attestation_is_found(host: Host, field: str) -> None:
    board = VirtualBoard()
    pair(board, host)
    other = {
        "state": "live",
        "sense": [1],
        "uptime_ms": 999_999,
        "seq": 1,
        "mac": "00" * 16,
        "extra": 1,
    }
    visit = host.visit(
        board, altered("journal_mac", lambda message: {**message, field: other[field]})
    )
    assert visit.code == errors.TAMPERED
    assert [what for what, _ in incidents(host)] == ["bad_mac"]
    assert visit.met is not None
    assert not visit.attested


def test_P5_paired_with_another_host_meanwhile(make_host: MakeHost) -> None:
    board = VirtualBoard()
    desk, shelf = make_host("desk"), make_host("shelf")
    pair(board, desk)
    assert desk.visit(board).code == errors.OK
    pair(board, shelf)
    assert shelf.visit(board).code == errors.OK
    for _ in range(2):
        assert desk.visit(board).code == errors.TAMPERED
    assert [what for what, _ in incidents(desk)] == ["bad_mac", ELSEWHERE]
    assert desk.records() == shelf.records() == kept(board)


class Slow:
    """Holds back the first ``count`` attestations for ``ms``."""

    def __init__(self, board: VirtualBoard, ms: int, count: int) -> None:
        self._board, self._ms, self._count = board, ms, count

    def __call__(self, line: bytes) -> bytes:
        if b'"journal_mac"' in line and self._count > 0:
            self._count -= 1
            self._board.run_ms(self._ms)
        return line


def test_P5_a_delayed_attestation_is_unknown(host: Host) -> None:
    board = VirtualBoard()
    pair(board, host)
    visit = host.visit(board, Slow(board, 2_001, count=2))
    assert visit.met is not None
    assert (visit.verdict, visit.met.unsigned) == ("unknown", "not_fresh")
    assert host.entries("attestation") == []
    visit = host.visit(board, Slow(board, 2_001, count=1))
    assert visit.attested, "it is asked once more"
    assert host.visit(board, Slow(board, 900, count=2)).error is None
    assert incidents(host) == []


@pytest.mark.parametrize("grows", [False, True])
def test_P5_a_slow_board_is_not_told_as_one_whose_journal_grows(host: Host, grows: bool) -> None:
    board = VirtualBoard()

    def slow(line: bytes) -> bytes:
        message = wire.unframe(line.rstrip(b"\n"), need_crc=True)
        if "remute_in_ms" in message:
            board.run_ms(2_200)
            if grows:
                board.press()
        return line

    visit = host.visit(board, slow)
    assert isinstance(visit.error, errors.UnreachableError)
    assert visit.error.reason == "not_fresh"
    assert ("grows as fast" in str(visit.error)) is grows
    assert ("It took more than 2 s" in str(visit.error)) is not grows


def busy(times: int) -> Any:
    """The board is busy when it is asked to attest, for the first ``times`` times."""
    left = times

    def refuse(message: dict[str, Any]) -> dict[str, Any]:
        nonlocal left
        left -= 1
        return message if left < 0 else {"id": message["id"], "ok": False, "error": "busy"}

    return altered("journal_mac", refuse)


def test_P5_a_board_that_is_busy_is_asked_once_more(host: Host) -> None:
    board = VirtualBoard()
    pair(board, host)
    visit = host.visit(board, busy(1))
    assert (visit.verdict, visit.attested, visit.told) == ("muted", True, "")
    visit = host.visit(board, busy(2))
    assert visit.met is not None
    assert visit.met.conclusion == ("unknown", None, "not_attested")
    assert visit.met.unsigned == "busy"
    assert (visit.code, host.records()) == (errors.OK, kept(board))
    board.press()
    visit = host.visit(board, busy(2))
    assert (visit.verdict, visit.attested) == ("live", False)


def test_P5_a_status_against_what_was_signed_is_a_contradiction(host: Host) -> None:
    board = VirtualBoard()
    pair(board, host)
    lie = altered("warnings", lambda message: {**message, "cause": "button"})
    visit = host.visit(board, lie)
    assert not visit.attested
    assert visit.verdict == "fault"


def test_P5_a_live_board_whose_status_is_made_up(host: Host) -> None:
    """A cable that passes on what is signed, and says "muted" in the board's place."""
    board = VirtualBoard()
    pair(board, host)
    muted = board.status()
    board.press()
    made_up = ("state", "command", "sense", "remute_in_ms", "cause")

    def lie(changes: int, seq: int) -> Any:
        def change(message: dict[str, Any]) -> dict[str, Any]:
            said = {key: muted[key] for key in made_up}
            more = {"changes": message["changes"] + changes, "seq": message["seq"] + seq}
            return {**message, **said, **more}

        return altered("warnings", change)

    visit = host.visit(board, lie(0, 0))
    assert visit.met is not None
    assert visit.met.conclusion == (
        "fault",
        None,
        'the board has just signed "live", and says "muted" without a change in between',
    )
    for changes, seq in ((-1, 0), (-1, 1), (1, -1)):
        assert host.visit(board, lie(changes, seq)).verdict == "fault"
    for changes, seq in ((1, 0), (0, 1), (3, 3)):
        # It may have been muted right then. Until that is signed, the graver of the two holds.
        visit = host.visit(board, lie(changes, seq))
        assert (visit.verdict, visit.attested) == ("live", True)


def test_P5_a_change_between_what_is_signed_and_what_is_said(host: Host) -> None:
    """Presses at the worst moments: one is asked again for, two in a row leave it unknown."""
    board = VirtualBoard()
    pair(board, host)

    def press_after_signing(times: int) -> Any:
        def tamper(line: bytes) -> bytes:
            nonlocal times
            if b'"journal_mac"' in line and times:
                times -= 1
                board.press()
                board.press()
            return line

        return tamper

    visit = host.visit(board, press_after_signing(1))
    assert (visit.verdict, visit.attested) == ("muted", True)
    visit = host.visit(board, press_after_signing(2))
    assert visit.met is not None
    assert (visit.verdict, visit.met.unsigned) == ("unknown", "changed")
    assert visit.code == errors.OK


def test_P5_a_board_that_denies_its_journal(host: Host) -> None:
    board = VirtualBoard()
    pair(board, host)
    assert host.visit(board).code == errors.OK
    known = len(host.records())
    denies = altered("product", lambda message: {**message, "journal": False})
    visit = host.visit(board, denies)
    assert visit.code == errors.TAMPERED
    assert incidents(host) == [("unpaired", 1), ("backwards", 2)]
    assert host.entries("incident")[1]["known"] == known
    assert visit.met is not None
    assert not visit.attested


def test_P5_a_board_that_never_had_a_journal_is_as_it_was(host: Host) -> None:
    board = VirtualBoard()
    denies = altered("product", lambda message: {**message, "journal": False})
    visit = host.visit(board, denies)
    assert (visit.code, visit.error, visit.told) == (errors.OK, None, "")
    assert host.records() == []


# The command line, on a running board.


def observed(home: Path, kind: str) -> list[dict[str, Any]]:
    log = Log(home / "log.sqlite3")
    try:
        return [entry.body for entry in log.entries(kinds=[kind])]
    finally:
        log.close()


def events(home: Path) -> list[int]:
    return [
        journal.Record(base64.b64decode(body["record"])).event for body in observed(home, "record")
    ]


@pytest.mark.parametrize(
    "words",
    [["status"], ["verify"], ["mute"], ["config", "get"], ["name", "desk"], ["list"]],
    ids=" ".join,
)
def test_P6_every_command_that_meets_a_board_fetches(
    home: Path, sim: Sim, cli: Cli, words: list[str]
) -> None:
    sim.act("press", "press")
    # By its port, because a board that is named need not be met for its name.
    named = [] if words == ["list"] else ["-d", sim.device]
    assert cli(*named, *words).code == errors.OK
    assert events(home) == [journal.BOOT, journal.UNMUTE, journal.MUTED]


def test_P6_watch_fetches_at_the_start_at_changes_and_at_the_end(
    home: Path, sim: Sim, watch: StartWatch
) -> None:
    sim.act("press", "press")
    watcher = watch(sim.board)
    watcher.until("muted")
    assert events(home) == [journal.BOOT, journal.UNMUTE, journal.MUTED]
    sim.act("press")
    watcher.until("live")
    deadline = time.monotonic() + 60
    while len(events(home)) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert events(home)[3:] == [journal.UNMUTE]
    sim.act("press")
    watcher.until("muted")
    assert watcher.interrupt() == errors.INTERRUPTED
    assert events(home)[4:] == [journal.MUTED]


def test_P6_watch_goes_on_after_an_incident_and_ends_as_tampered(
    home: Path, start_sim: StartSim, watch: StartWatch
) -> None:
    first = start_sim(board="5eed0001")
    first.act("press", "press")
    assert main(["-d", "5eed0001", "status"]) == errors.OK
    first.kill()
    # Another board under its id, with a journal of its own.
    start_sim(board="5eed0001")
    watcher = watch("5eed0001")
    watcher.until("muted")
    assert [body["what"] for body in observed(home, "incident")] == ["backwards"]
    assert watcher.interrupt() == errors.TAMPERED


def test_P6_an_exchanged_board_is_exit_code_5_once(start_sim: StartSim, cli: Cli) -> None:
    first = start_sim(board="5eed0001")
    first.act("press")
    assert cli("-d", "5eed0001", "status").code == errors.LIVE
    first.kill()
    start_sim(board="5eed0001")
    told = cli("-d", "5eed0001", "status", "--json")
    assert (told.code, told.json["verdict"]) == (errors.TAMPERED, "muted")
    assert "this log has 2" in told.err
    assert cli("-d", "5eed0001", "status").code == errors.OK


def test_P6_processes_at_once_store_each_record_once(home: Path, sim: Sim) -> None:
    sim.act(*["press"] * 20)
    command = [sys.executable, "-m", "hardmute", "-d", sim.board, "--timeout", "20", "status"]
    processes = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [errors.OK] * 4
    assert events(home) == [journal.BOOT, *[journal.UNMUTE, journal.MUTED] * 10]


def test_P6_a_log_that_cannot_be_written_hides_no_state(home: Path, sim: Sim, cli: Cli) -> None:
    log = home / "log.sqlite3"
    assert cli("-d", sim.board, "status").code == errors.OK
    # As on a read-only disk: nothing can be written beside the log.
    (home / "log.sqlite3-shm").mkdir()
    told = cli("-d", sim.board, "status", "--json")
    assert (told.json["verdict"], told.code) == ("muted", errors.LOCAL)
    (home / "log.sqlite3-shm").rmdir()
    # Nobody can know of this one whether it tells of a pairing.
    log.unlink()
    log.mkdir()
    told = cli("-d", sim.board, "status", "--json")
    assert (told.json["verdict"], told.json["state"]) == ("unknown", "muted")
    assert (told.json["unsigned"], told.code) == ("pairing_unknown", errors.UNKNOWN)


def test_P5_attested_without_a_log(host: Host) -> None:
    board = VirtualBoard()
    pair(board, host)
    file = host.home / "log.sqlite3"
    file.rename(host.home / "log")
    file.mkdir()
    visit = host.visit(board)
    assert (visit.code, visit.attested) == (errors.LOCAL, True)
    file.rmdir()


@pytest.mark.parametrize("news", [0, 3])
@pytest.mark.parametrize("forked", [False, True])
def test_P6_a_log_that_is_set_aside_meanwhile_leaves_a_good_one(
    host: Host, forked: bool, news: int
) -> None:
    """Another process has found it damaged, just as the board has answered."""
    board = VirtualBoard()
    pair(board, host)
    earlier = image(board)
    board.press()
    assert host.visit(board).attested
    if forked:
        reflash(board, earlier)
        assert host.visit(board).code == errors.TAMPERED
    for _ in range(news):
        board.press()
    file = host.home / "log.sqlite3"
    aside = host.home / "log.damaged-20251124T160000000000Z.sqlite3"

    def set_aside(message: dict[str, Any]) -> dict[str, Any]:
        if file.exists() and not aside.exists():
            file.rename(aside)
        return message

    visit = host.visit(board, altered("journal_mac", set_aside))
    assert aside.exists()
    assert visit.code == errors.OK
    assert visit.attested
    host.check_log()
    # It still knows that this host has made the pairing.
    assert host.visit(board).code == errors.OK
    host.check_log()
    assert host.entries("record")


def test_P5_a_damaged_attest_key_hides_no_state(home: Path, sim: Sim, cli: Cli) -> None:
    keys.save_attest_key(sim.board, keys.attest_key_of(1, bytes(attest.KEY)))
    (home / "keys" / f"{sim.board}.json").write_text("{")
    told = cli("-d", sim.board, "status", "--json")
    assert (told.code, told.json["verdict"]) == (errors.UNKNOWN, "unknown")
    assert (told.json["state"], told.json["unsigned"]) == ("muted", "not_paired")
    assert "is damaged" in told.err
    sim.act("press")
    assert cli("-d", sim.board, "status").code == errors.LIVE
