"""P6: what the board writes down keeps the rules of docs/evidence.md, whatever fails."""

import binascii

import pytest
from fakeboard import FakeBoard
from journal_rules import Fields, check, split

from muteboard import attest, journal

HOST = bytes(range(100, 132))
DAY_MS = 86_400_000
PRESS = (journal.UNMUTE, journal.MUTED)


class PowerCut(BaseException):
    """Ends what the firmware is doing."""


class FaultyBoard(FakeBoard):
    """At its write number ``at`` from 0 something happens: see ``how``."""

    def __init__(self, at: int = -1, how: str = ""):
        super().__init__()
        self.at = at
        self.how = how
        self.writes = 0

    def _write(self, write, *arguments) -> None:
        here = self.writes == self.at
        self.writes += 1
        if here and self.how == "error before":
            raise OSError(28)
        if here and self.how == "power before":
            raise PowerCut
        write(*arguments)
        if here and self.how == "error after":
            raise OSError(5)
        if here and self.how == "power after":
            raise PowerCut

    def journal_append(self, segment: int, data: bytes | bytearray) -> None:
        self._write(super().journal_append, segment, data)

    def journal_drop(self, segment: int) -> None:
        self._write(super().journal_drop, segment)

    def store_keys(self, data: bytes) -> None:
        self._write(super().store_keys, data)


class Run:
    """A board's journal over its starts, told events by hand and read by somebody who sees all."""

    def __init__(self, board: FakeBoard | None = None):
        self.board = FakeBoard() if board is None else board
        self.secrets: dict[int, bytes] = {}
        self.start()

    def start(self) -> None:
        self.now = 0
        self.journal = journal.Journal(self.board)
        self.journal.boot = self.journal.last_boot + 1
        self.tell(journal.BOOT, ms=0)

    def tell(self, event: int, data: int = 0, ms: int = 10, state: int = 0) -> bool:
        self.now += ms
        return self.journal.record(self.now, event, data, 3, 1, state, 0)

    def write(self, *events: int) -> None:
        for event in events:
            self.tell(event)
        assert self.journal.flush(self.now)

    def fill(self, count: int) -> None:
        """So many records, one at a time."""
        for _ in range(count):
            self.write(journal.CONFIG)

    def pair(self, host: bytes = HOST) -> None:
        ours = self.journal.pair(self.now, host)
        assert ours is not None
        unique_id = self.board.unique_id()
        self.secrets[self.journal.pairing] = attest.secret(host, ours, unique_id)

    def records(self) -> list[Fields]:
        segments = self.board.journal_segments()
        found = []
        for segment in segments:
            records = split(self.board.segments[segment])
            assert records[0].seq == segment
            assert len(records) <= journal.SEGMENT
            found += records
        return found

    def checked(self) -> list[Fields]:
        """The records, which keep the rules and end where the journal says."""
        found = self.records()
        check(found, self.secrets)
        assert self.journal.seq == found[-1].seq
        assert self.journal.head == attest.sha256(found[-1].raw)[:16]
        return found

    def events(self) -> list[int]:
        return [record.event for record in self.checked()]


# The format.


def test_the_bytes_of_a_record():
    run = Run()
    run.journal.boot = 0x01020304
    run.journal.record(0x0A0B0C0D0E0F, 7, 0x21222324, 0x11121314, 1, 0x10, 0x81)
    assert run.journal.flush(0)
    first, second = run.records()
    assert first.link == bytes(range(1, 17)), "the journal's name, from the board's own source"
    expected = (
        "02000000"  # seq
        "04030201"  # boot
        "0f0e0d0c0b0a"  # uptime_ms
        "0000"  # pairing
        "00000000"  # epoch
        "14131211"  # presses
        "24232221"  # data
        "07"  # event
        "01"  # cause
        "10"  # state
        "81"  # sense
    )
    assert second.raw[:32] == binascii.unhexlify(expected)
    assert second.raw[32:48] == attest.sha256(first.raw)[:16]
    assert second.raw[48:] == bytes(16)
    record = journal.Record(second.raw)
    assert (record.uptime_ms, record.presses, record.sense) == (0x0A0B0C0D0E0F, 0x11121314, 0x81)


def test_the_bytes_of_a_paired_record():
    run = Run()
    run.pair()
    run.write(journal.UNMUTE)
    last = run.records()[-1]
    assert (last.pairing, last.epoch) == (1, 0)
    key = attest.journal_key(run.secrets[1])
    assert last.mac == attest.hmac(key, last.raw[:48])[:16]
    pair = run.records()[-2]
    assert pair.data.to_bytes(4, "little") == attest.key_id(run.secrets[1])


def test_an_empty_journal():
    log = journal.Journal(FakeBoard())
    assert (log.seq, log.head, log.first, log.last_boot) == (0, bytes(16), 1, 0)
    assert log.page(1) == (1, b"")


# The rules.


def test_P6_the_rules_hold_over_starts_segments_and_days():
    run = Run()
    run.fill(300)
    run.pair()
    for days in range(3):
        for _ in range(150):
            run.write(*PRESS)
        run.now += DAY_MS
        run.journal.expire(run.now)
        run.write()
        run.start()
        run.write(*PRESS * days)
    found = run.checked()
    assert found[-1].epoch >= 8, "two by each day, and those of the segments"
    assert len(run.board.segments) == 3
    events = [record.event for record in found]
    assert events.count(journal.UNMUTE) == 450 + 3
    assert events.count(journal.BOOT) == 4


def test_an_epoch_lies_within_a_segment():
    for filled in range(journal.SEGMENT - 4, journal.SEGMENT + 2):
        run = Run()
        run.fill(filled)
        run.pair()
        run.write(*PRESS)
        run.start()
        run.write(*PRESS)
        epochs = {}
        for segment, data in run.board.segments.items():
            for record in split(data):
                if record.pairing:
                    assert epochs.setdefault(record.epoch, segment) == segment
        run.checked()


def test_each_day_has_its_key_though_nothing_happens():
    run = Run()
    run.pair()
    epochs = [run.journal.epoch]
    for _ in range(3):
        run.now += DAY_MS - 1
        run.journal.expire(run.now)
        assert not run.journal.pending
        run.now += 1
        run.journal.expire(run.now)
        assert run.journal.pending
        run.write()
        epochs.append(run.journal.epoch)
    assert epochs == [0, 1, 2, 3]
    seals = [record.data for record in run.checked() if record.event == journal.SEAL]
    assert seals == [2, 1, 1]


def test_without_a_pairing_there_are_no_epochs():
    run = Run()
    run.now += 2 * DAY_MS
    run.journal.expire(run.now)
    run.fill(600)
    run.start()
    run.write()
    assert journal.SEAL not in run.events()


def test_the_journals_own_records_are_no_later_than_what_waits():
    """A service mode is opened 3 s after the start; its record waits with that of the start."""
    run = Run()
    run.pair()
    run.start()
    run.tell(journal.SERVICE, 1, ms=3000)
    run.write()
    assert run.events()[-3:] == [journal.SEAL, journal.BOOT, journal.SERVICE]
    # At a segment's end as well.
    run.fill(journal.SEGMENT - run.journal.seq - 2)
    for _ in range(5):
        run.tell(journal.CONFIG, ms=100)
    run.write()
    assert len(run.board.segments) == 2
    run.checked()


def test_the_journals_own_records_take_the_state_before_them():
    run = Run()
    run.pair()
    run.fill(journal.SEGMENT - run.journal.seq - 1)
    run.tell(journal.UNMUTE, state=0x11)
    run.write()
    *_, seal, unmute = run.checked()
    assert (seal.event, seal.state) == (journal.SEAL, 0)
    assert (unmute.event, unmute.state) == (journal.UNMUTE, 0x11)
    run.now += DAY_MS
    run.journal.expire(run.now)
    run.write()
    seal = run.checked()[-1]
    assert (seal.event, seal.state, seal.uptime_ms) == (journal.SEAL, 0x11, run.now)
    # Power has been off, so the line is cut.
    run.start()
    run.write()
    assert [record.state for record in run.checked()[-2:]] == [0, 0]


def test_uptime_does_not_fall_when_two_have_looked_at_the_clock():
    run = Run()
    run.tell(journal.UNMUTE, ms=500)
    run.tell(journal.MUTED, ms=-20)
    run.write()
    assert [record.uptime_ms for record in run.checked()] == [0, 500, 500]


# Pairing.


def test_P6_pairing_again_and_unpairing():
    run = Run()
    run.pair()
    run.write(*PRESS)
    run.pair(bytes(32))
    run.write(*PRESS)
    assert run.journal.unpair(run.now)
    run.write(*PRESS)
    assert run.journal.unpair(run.now), "nothing to end"
    run.pair(bytes(range(32)))
    run.start()
    run.write()
    pairings = [(record.pairing, record.epoch) for record in run.checked()]
    assert pairings == [(0, 0)] + [(1, 0)] * 4 + [(2, 0)] * 4 + [(0, 0)] * 2 + [(3, 0)] * 2 + [
        (3, 1)
    ]
    assert run.journal.pairing == 3


def test_old_keys_are_not_stored_any_more():
    run = Run()
    run.pair()
    key = attest.journal_key(run.secrets[1])
    assert key in (run.board.keys or b"")
    run.start()
    run.write()
    assert key not in (run.board.keys or b"")
    assert attest.next_key(key) in (run.board.keys or b"")
    assert run.journal.unpair(run.now)
    assert run.board.keys == b"\1\0" + bytes(journal.KEYS_SIZE - 2)


def test_both_macs_of_a_statement():
    run = Run()
    run.pair()
    run.start()
    run.write()
    mac, journal_mac = run.journal.sign(b"{statement}")
    secret = run.secrets[1]
    assert mac == attest.hmac(attest.attest_key(secret), b"{statement}")[:16]
    key = attest.next_key(attest.journal_key(secret))
    assert journal_mac == attest.hmac(key, b"{statement}")[:16]


def test_a_pairing_is_stored_before_its_record_and_told_later():
    board = FaultyBoard()
    run = Run(board)
    run.write()
    # The keys, then the record.
    board.at, board.how = board.writes + 1, "power before"
    with pytest.raises(PowerCut):
        run.journal.pair(run.now, HOST)
    run.start()
    run.write(*PRESS)
    run.secrets[1] = attest.secret(HOST, board.entropy(32), board.unique_id())
    assert run.events() == [journal.BOOT, journal.PAIR, journal.BOOT] + list(PRESS)


def test_keys_that_are_lost_end_the_pairing():
    run = Run()
    run.pair()
    run.board.keys = None
    run.start()
    run.write(*PRESS)
    assert run.journal.pairing == 0
    run.board.keys = None
    run.pair()
    assert run.journal.pairing == 2, "no number comes twice"


def test_a_journal_that_is_gone_begins_with_a_new_key():
    """Under the old one there may have been records with the same numbers."""
    run = Run()
    run.pair()
    run.start()
    run.write(*PRESS)
    run.board.segments.clear()
    run.start()
    run.write(*PRESS)
    found = run.checked()
    assert [(record.seq, record.epoch) for record in found] == [(1, 2), (2, 2), (3, 2)]


# What fails.


def scenario(run: Run) -> None:
    """A segment's end, a start, a pairing, a day, another pairing, and the end of that."""
    run.write(*PRESS)
    run.pair()
    run.write(*PRESS)
    run.now += DAY_MS
    run.journal.expire(run.now)
    run.write(*PRESS)
    run.start()
    run.tell(journal.SERVICE, 1, ms=3000)
    run.write(*PRESS)
    run.pair(bytes(32))
    run.write(*PRESS)
    assert run.journal.unpair(run.now)
    run.write(*PRESS)


def nearly_full() -> dict[int, bytes]:
    """As many segments as are kept, the last of them with three places left."""
    run = Run()
    first = journal.SEGMENTS - 1
    run.fill(journal.SEGMENT - 4)
    # The older ones are only there to be dropped.
    data = run.board.segments[1]
    shift = first * journal.SEGMENT
    segments = {at * journal.SEGMENT + 1: data[:64] for at in range(first)}
    moved = bytearray()
    link = bytes(16)
    for record in split(data):
        head = (record.seq + shift).to_bytes(4, "little") + record.raw[4:32]
        moved += head + link + bytes(16)
        link = attest.sha256(moved[-64:])[:16]
    segments[shift + 1] = bytes(moved)
    return segments


NEARLY_FULL = nearly_full()


def board_with(at: int = -1, how: str = "") -> FaultyBoard:
    board = FaultyBoard(at, how)
    board.segments = dict(NEARLY_FULL)
    return board


def newest(run: Run) -> list[Fields]:
    """The records from the last segment on that was there before."""
    found = []
    for segment in run.board.journal_segments():
        if segment > (journal.SEGMENTS - 1) * journal.SEGMENT:
            found += split(run.board.segments[segment])
    check(found, run.secrets)
    return found


def writes() -> range:
    run = Run(board_with())
    scenario(run)
    assert run.board.writes > 15
    assert len(run.board.segments) == journal.SEGMENTS
    assert 1 not in run.board.segments, "dropped for the newest"
    return range(run.board.writes)


@pytest.mark.parametrize("how", ["error before", "error after"])
def test_P6_a_write_that_fails_once_loses_and_repeats_nothing(how):
    """Whatever is asked of it meanwhile; each write of the scenario in turn."""
    for at in writes():
        board = board_with(at, how)
        run = Run(board)
        told = []
        outcome = with_a_failure(run, told)
        found = newest(run)
        events = [
            record.event
            for record in found
            if record.event not in (journal.SEAL, journal.PAIR, journal.UNPAIR, journal.CONFIG)
        ]
        # The first is that of the run that filled the segment.
        assert events[-len(told) :] == told, (at, outcome)
        assert run.journal.seq == found[-1].seq
        assert not run.journal.pending
        # Nor does the next start find anything else.
        seq, head, pairing = run.journal.seq, run.journal.head, run.journal.pairing
        run.start()
        assert (run.journal.seq, run.journal.head) == (seq, head)
        assert run.journal.pairing == pairing
        run.write()
        newest(run)


def with_a_failure(run: Run, told: list) -> list:
    """The scenario by somebody who tries again."""
    outcome = []

    def write(*events: int) -> None:
        for event in events:
            assert run.tell(event)
            told.append(event)
        if not run.journal.flush(run.now):
            outcome.append("write")
            assert run.journal.failed
            assert run.journal.pending
            assert run.journal.flush(run.now)

    def pair(host: bytes) -> None:
        for _ in range(2):
            ours = run.journal.pair(run.now, host)
            if ours is not None:
                secret = attest.secret(host, ours, run.board.unique_id())
                run.secrets[run.journal.pairing] = secret
                return
            outcome.append("pair")
            write()
        raise AssertionError("failed twice")

    told.append(journal.BOOT)
    write(*PRESS)
    pair(HOST)
    write(*PRESS)
    run.now += DAY_MS
    run.journal.expire(run.now)
    write(*PRESS)
    run.start()
    told.append(journal.BOOT)
    write(journal.SERVICE, *PRESS)
    pair(bytes(32))
    write(*PRESS)
    if not run.journal.unpair(run.now):
        outcome.append("unpair")
        write()
        assert run.journal.unpair(run.now)
    write(*PRESS)
    assert len(outcome) == 1
    return outcome


@pytest.mark.parametrize("how", ["power before", "power after"])
def test_P6_power_cuts_between_two_writes_break_no_rule(how):
    for at in writes():
        board = board_with(at, how)
        run = Run(board)
        with pytest.raises(PowerCut):
            scenario(run)
        durable = dict(board.segments)
        run.start()
        for segment, data in durable.items():
            assert board.segments[segment] == data
        run.write(*PRESS)
        newest(run)
        run.pair()
        run.write(*PRESS)
        newest(run)


def test_P6_more_events_than_can_wait_are_counted():
    run = Run()
    run.write()
    for number in range(journal.QUEUE + 5):
        queued = run.tell(journal.CONFIG, number)
        assert queued is (number < journal.QUEUE)
    run.tell(journal.UNMUTE, state=0x11)
    run.write()
    run.write(journal.MUTED)
    *_, last, overrun, muted = run.checked()
    assert (last.event, last.data) == (journal.CONFIG, journal.QUEUE - 1)
    assert (overrun.event, overrun.data, overrun.state) == (journal.OVERRUN, 6, 0x11)
    assert overrun.uptime_ms == muted.uptime_ms - 10
    assert muted.event == journal.MUTED


@pytest.mark.parametrize("how", ["error before", "error after"])
def test_an_overrun_that_fails_is_told_once(how):
    board = FaultyBoard()
    run = Run(board)
    run.pair()
    for _ in range(journal.QUEUE + 5):
        run.tell(journal.CONFIG)
    board.at, board.how = board.writes + 1, how
    assert not run.journal.flush(run.now)
    run.write(*PRESS)
    found = run.checked()
    lost = [record.data for record in found if record.event == journal.OVERRUN]
    assert lost == ([5, 2] if how == "error after" else [7])


def test_P6_a_full_flash_is_said_and_tried_again():
    run = Run()
    run.write()
    seq, head = run.journal.seq, run.journal.head
    run.board.failing["journal_append"] = OSError(28)
    run.tell(journal.MUTED, ms=5000)
    assert not run.journal.flush(run.now)
    assert run.journal.failed
    assert (run.journal.seq, run.journal.head) == (seq, head)
    assert not run.journal.retry_due(run.now + 999)
    assert run.journal.retry_due(run.now + 1000)
    assert run.journal.pair(run.now, HOST) is None
    assert run.journal.pairing == 0
    del run.board.failing["journal_append"]
    run.write()
    assert not run.journal.failed
    assert not run.journal.pending
    assert run.events() == [journal.BOOT, journal.MUTED]


def test_a_segment_without_a_record_is_dropped():
    run = Run()
    run.write(*PRESS)
    run.board.segments[4] = b""
    run.start()
    run.write()
    assert list(run.board.segments) == [1]
    run.checked()


# Reading.


def test_pages_give_every_record_once():
    run = Run()
    run.fill(journal.SEGMENT + 5)
    expected = b"".join(record.raw for record in run.records())
    found = b""
    start = 1
    while True:
        first, data = run.journal.page(start)
        assert first == start
        assert len(data) <= journal.PAGE * journal.SIZE
        if not data:
            break
        found += data
        start += len(data) // journal.SIZE
    assert found == expected
    assert start == run.journal.seq + 1
    last = run.journal.page(run.journal.seq)
    assert last == (run.journal.seq, expected[-journal.SIZE :])
    assert run.journal.page(0xFFFFFFFF) == (run.journal.seq + 1, b"")


def test_P6_the_oldest_segment_goes_first_and_enough_are_kept():
    run = Run()
    run.pair()
    while run.journal.first == 1:
        run.write(*PRESS * 4)
    before = run.journal.seq
    assert run.journal.first == journal.SEGMENT + 1
    assert before - run.journal.first >= 10_000
    first, data = run.journal.page(1)
    assert first == journal.SEGMENT + 1
    assert split(data)[0].seq == first
    run.start()
    assert run.journal.first == first
    run.write()
    # One after the other: all of them at once are more than MicroPython's heap here.
    segments = run.board.journal_segments()
    for at in range(1, len(segments)):
        both = run.board.segments[segments[at - 1]] + run.board.segments[segments[at]][:64]
        check(split(both), run.secrets)
