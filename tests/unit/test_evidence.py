"""P6: what the board writes down, when, and what a host gets of it."""

import binascii

import pytest
from fakeboard import Bench, FakeBoard

from muteboard import attest, journal, wire

NONCE = "000102030405060708090a0b0c0d0e0f"
HOST = "ab" * attest.KEY


def records(bench: Bench) -> list[journal.Record]:
    """The whole journal, page by page, once it has been written."""
    bench.run(600)
    found = []
    start = 1
    while True:
        answer = bench.ask("journal", **{"from": start})
        data = binascii.a2b_base64(answer["records"].encode())
        if not data:
            return found
        assert answer["from"] == start
        found += [
            journal.Record(data[at : at + journal.SIZE])
            for at in range(0, len(data), journal.SIZE)
        ]
        start += len(data) // journal.SIZE


def told(bench: Bench) -> list[tuple[str, str, str]]:
    """Event, state and cause of all records but seals."""
    return [
        (
            journal.EVENTS[record.event - 1],
            wire.STATES[record.state & 0xF],
            wire.CAUSES[record.cause],
        )
        for record in records(bench)
        if record.event != journal.SEAL
    ]


def in_setup(**board) -> Bench:
    """A board whose button was held while it got power."""
    bench = Bench(FakeBoard(held=True, **board), run_ms=3500)
    bench.board.world.press(False)
    bench.run(100)
    return bench


def secret_of(bench: Bench, host: str = HOST) -> bytes:
    answer = bench.ask("pair", host=host)
    assert answer["ok"], answer
    return attest.secret(
        binascii.unhexlify(host),
        binascii.unhexlify(answer["board_bytes"]),
        bench.board.unique_id(),
    )


def test_P6_every_transition_is_there_once_and_in_order():
    bench = Bench()
    bench.go_live()
    bench.tap()
    bench.go_live()
    assert bench.ask("mute")["changed"]
    bench.run(1500)
    bench.go_live()
    bench.board.world.welded.add(0)
    bench.tap()
    bench.run(100)
    bench.board.world.welded.clear()
    bench.tap()
    bench.run(50)
    assert told(bench) == [
        ("boot", "muted", "boot"),
        ("unmute", "live", "button"),
        ("muted", "muted", "button"),
        ("unmute", "live", "button"),
        ("muted", "muted", "host"),
        ("unmute", "live", "button"),
        ("fault", "fault", "fault"),
        ("muted", "muted", "button"),
    ]
    fault = [record for record in records(bench) if record.event == journal.FAULT]
    assert fault[0].data == 1, "contact 1, closed"


def test_P6_P8_the_timer_and_a_stuck_button_are_there():
    settings = b'{"mode":"toggle","max_live_s":10,"palette":"default","brightness":50}'
    bench = Bench(FakeBoard(blobs={"config": settings}))
    bench.go_live()
    bench.run(11_000)
    bench.board.world.press(True)
    bench.run(11_000)
    bench.board.world.press(False)
    bench.run(100)
    assert told(bench) == [
        ("boot", "muted", "boot"),
        ("unmute", "live", "button"),
        ("muted", "muted", "timer"),
        ("stuck", "muted", "stuck"),
    ]


def test_P6_an_unmutes_record_is_durable_before_the_line_is_live():
    bench = Bench()
    bench.board.calls.clear()
    bench.go_live()
    calls = [call for call in bench.board.calls if call in ("journal_append", "connect")]
    assert calls == ["journal_append", "connect"]
    assert records(bench)[-1].event == journal.UNMUTE


def test_P6_what_cannot_be_written_down_does_not_connect():
    bench = Bench()
    bench.board.failing["journal_append"] = OSError(28)
    bench.tap()
    bench.run(100)
    assert not bench.board.connected
    status = bench.ask("status")
    assert status["state"] == "muted"
    assert "journal_failed" in status["warnings"]
    del bench.board.failing["journal_append"]
    bench.run(1100)
    assert bench.ask("status")["warnings"] == []
    bench.go_live()
    assert [event for event, _, _ in told(bench)] == ["boot", "unmute", "refused", "unmute"]


def test_P6_an_unmute_that_finds_the_queue_full_does_not_connect():
    bench = Bench()
    bench.board.failing["journal_append"] = OSError(28)
    for _ in range(journal.QUEUE // 2):
        bench.tap()
        bench.run(100)
    del bench.board.failing["journal_append"]
    bench.tap()
    bench.run(100)
    assert not bench.board.connected
    bench.run(1100)
    bench.go_live()
    found = [event for event, _, _ in told(bench)]
    attempts = ["unmute", "refused"] * (journal.QUEUE // 2)
    assert found == ["boot"] + attempts + ["overrun", "refused", "unmute"]


@pytest.mark.parametrize("up_again", [False, True])
def test_P3_a_press_while_the_unmute_is_written_wins(up_again):
    bench = Bench()

    def press():
        bench.board.world.press(True)
        if up_again:
            bench.board.world.advance(40)
            bench.board.world.press(False)

    bench.board.calls.clear()
    bench.board.after["journal_append"] = press
    bench.tap()
    bench.board.world.press(False)
    bench.run(100)
    assert "connect" not in bench.board.calls
    assert [event for event, _, _ in told(bench)] == ["boot", "unmute", "refused"]
    assert records(bench)[-1].data == 1
    bench.go_live()


def write_takes(bench, ms, *edges):
    """The next write takes ``ms``, and the button moves at ``edges``, ms from its start."""
    world = bench.board.world

    def write():
        start, down = bench.now, world.down
        for edge in edges:
            down = not down
            world.plan(start + edge, down)
        world.advance(ms)

    bench.board.after["journal_append"] = write


def muted_and_to_be_written(bench):
    """What has happened waits to be written, in half a second."""
    bench.go_live()
    bench.tap(40)
    assert not bench.board.connected


@pytest.mark.parametrize(
    "edges",
    [
        # Begins and ends in it; and with bounce.
        (10, 50),
        (10, 11, 13, 14, 17, 50, 52, 53),
        # One that is too short comes before it.
        (2, 12, 50, 90),
        # It goes on after it; and after a short one.
        (70, 130),
        (2, 12, 50, 130),
    ],
)
def test_P2_a_press_that_meets_a_write_is_not_lost(edges):
    bench = Bench()
    muted_and_to_be_written(bench)
    write_takes(bench, 100, *edges)
    while bench.board.after:
        bench.run(1)
    bench.run(150)
    assert bench.board.connected


@pytest.mark.parametrize("edges", [(10, 30), (10, 35, 40, 60), (10, 20, 95, 110)])
def test_P2_bounce_that_meets_a_write_is_no_press(edges):
    bench = Bench()
    muted_and_to_be_written(bench)
    write_takes(bench, 100, *edges)
    bench.run(1_000)
    assert not bench.board.connected


def test_P2_P3_two_presses_that_meet_a_write_unmute_and_mute():
    bench = Bench()
    muted_and_to_be_written(bench)
    write_takes(bench, 200, 10, 50, 90, 130)
    bench.board.calls.clear()
    bench.run(1_000)
    assert "connect" not in bench.board.calls
    bench.go_live()


@pytest.mark.parametrize("edges", [(0, 1), (10, 50), (10, 130)])
def test_P3_a_press_while_the_unmute_is_written_is_all_of_it(edges):
    """It means "mute", and the next one is a new one."""
    bench = Bench()
    write_takes(bench, 100, *edges)
    bench.board.calls.clear()
    bench.tap()
    bench.run(100)
    assert "connect" not in bench.board.calls
    assert [event for event, _, _ in told(bench)] == ["boot", "unmute", "refused"]
    bench.go_live()


@pytest.mark.parametrize("edges", [(10, 50, 90, 130), (10, 12, 50, 130)])
def test_P2_a_press_after_one_in_an_unmutes_writing_connects(edges):
    bench = Bench()
    write_takes(bench, 140, *edges)
    bench.tap()
    bench.run(100)
    assert bench.board.connected


def test_P3_a_press_that_cuts_during_a_write_is_all_of_it():
    bench = Bench()
    bench.go_live()
    # As a board does while it writes: its own hardware cuts.
    world = bench.board.world
    world.changes = []
    for down in (True, False):
        world.advance(40)
        world.press(down)
        world.set_coil(False)
    bench.run(100)
    assert not bench.board.connected
    assert bench.ask("status")["cause"] == "button"


def test_P6_an_unmute_that_takes_long_to_write_is_no_fault():
    bench = Bench()
    bench.board.after["journal_append"] = lambda: bench.board.world.advance(300)
    bench.go_live()
    bench.run(100)
    assert bench.ask("status")["state"] == "live"


def test_P6_an_interlock_that_refuses_is_there():
    bench = Bench()
    bench.board.refusing = True
    bench.tap()
    bench.run(100)
    assert [event for event, _, _ in told(bench)] == ["boot", "unmute", "refused"]
    assert records(bench)[-1].data == 0


def test_P3_nothing_is_written_while_the_button_is_in_use():
    bench = Bench()
    bench.go_live()
    bench.run(100)
    bench.board.calls.clear()
    bench.board.world.press(True)
    bench.run(29_000)
    assert not bench.board.connected
    assert "journal_append" not in bench.board.calls
    bench.run(2000)
    assert "journal_append" in bench.board.calls, "a button that stays down blocks nothing"


def test_P2_P6_quick_presses_are_written_down_together():
    bench = Bench()
    bench.go_live()
    bench.tap(40)
    bench.board.calls.clear()
    bench.go_live()
    assert bench.board.calls.count("journal_append") == 1
    assert [event for event, _, _ in told(bench)] == ["boot", "unmute", "muted", "unmute"]


def test_P1_P3_nothing_is_written_while_live():
    """Neither an event nor a key that is 24 h old: the flash may take longer than the watchdog."""
    bench = in_setup()
    secret_of(bench)
    board = bench.board.after_power_cycle()
    bench = Bench(board, 1000)
    bench.app._uptime += journal.EPOCH_MS - 5000
    bench.run(1000)
    bench.go_live()
    epoch = bench.app.evidence._journal.epoch
    board.calls.clear()
    bench.run(8000)
    assert bench.ask("attest", nonce=NONCE)["state"] == "live"
    assert "journal_append" not in board.calls
    assert "store_keys" not in board.calls
    assert bench.app.evidence._journal.epoch == epoch
    bench.tap()
    bench.run(2000)
    assert "journal_append" in board.calls
    assert bench.app.evidence._journal.epoch == epoch + 1


def test_a_boards_service_and_settings_are_there():
    bench = in_setup()
    assert bench.ask("config", set={"max_live_s": 600})["ok"]
    bench.run(50)
    assert [event for event, _, _ in told(bench)] == ["boot", "service", "config"]
    last = records(bench)[-1]
    assert last.data == wire.crc32(bench.board.blobs["config"])


def test_boots_count_on_from_the_journal_when_the_count_is_lost():
    bench = Bench()
    for _ in range(3):
        bench = Bench(bench.board.after_power_cycle())
    del bench.board.blobs["boot"]
    bench = Bench(bench.board.after_power_cycle())
    assert bench.ask("status")["boot"] == 5
    assert [record.boot for record in records(bench)] == [1, 2, 3, 4, 5]


def test_P5_a_paired_board_signs_what_is_so():
    bench = in_setup()
    secret = secret_of(bench)
    bench = Bench(bench.board.after_power_cycle())
    bench.go_live()
    answer = bench.ask("attest", nonce=NONCE)
    assert answer.pop("ok")
    answer.pop("id")
    mac, journal_mac = answer.pop("mac"), answer.pop("journal_mac")
    assert (answer["state"], answer["sense"], answer["nonce"]) == ("live", [1], NONCE)
    last = records(bench)[-1]
    assert (answer["seq"], answer["epoch"], answer["pairing"]) == (last.seq, 1, 1)
    statement = wire.dumps(answer).encode()
    assert mac == binascii.hexlify(attest.mac(attest.attest_key(secret), statement)).decode()
    key = attest.next_key(attest.journal_key(secret))
    assert journal_mac == binascii.hexlify(attest.mac(key, statement)).decode()


def test_P6_attest_speaks_of_what_has_happened_before_it():
    bench = in_setup()
    secret_of(bench)
    bench = Bench(bench.board.after_power_cycle())
    bench.go_live()
    # Cut, and asked in the same pass.
    bench.ask("mute")
    answer = bench.ask("attest", nonce=NONCE)
    assert answer["state"] == "muted"
    assert answer["seq"] == records(bench)[-1].seq
    assert records(bench)[-1].event == journal.MUTED


def test_P6_a_board_that_cannot_write_signs_nothing():
    bench = in_setup()
    secret_of(bench)
    bench = Bench(bench.board.after_power_cycle())
    bench.go_live()
    bench.board.failing["journal_append"] = OSError(5)
    bench.tap()
    bench.run(50)
    assert bench.ask("attest", nonce=NONCE)["error"] == "busy"
    assert bench.ask("status")["state"] == "muted"


def test_pairing_needs_setup():
    bench = Bench()
    assert bench.ask("pair", host=HOST)["error"] == "setup_required"
    assert bench.ask("attest", nonce=NONCE)["error"] == "not_paired"


def test_P6_pairing_again_and_unpairing_are_recorded():
    bench = in_setup()
    first = secret_of(bench)
    again = secret_of(bench, "cd" * attest.KEY)
    assert first != again
    assert bench.ask("pair", end=True) == {"id": bench._next_id, "ok": True, "pairing": 0}
    assert bench.ask("attest", nonce=NONCE)["error"] == "not_paired"
    found = [(record.pairing, journal.EVENTS[record.event - 1]) for record in records(bench)]
    assert found == [
        (0, "boot"),
        (0, "service"),
        (1, "pair"),
        (1, "seal"),
        (2, "pair"),
        (2, "unpair"),
    ]
    assert bytes(attest.KEY) != first
    assert first not in (bench.board.keys or b"")
    assert attest.attest_key(again) not in (bench.board.keys or b"")


def test_P6_one_setup_takes_32_setting_changes_and_still_pairs():
    bench = in_setup()
    bench.run(600)
    before = bench.ask("status")["seq"]
    answers = [bench.ask("config", set={"max_live_s": 10 + n}) for n in range(33)]
    assert [answer["ok"] for answer in answers] == [True] * 32 + [False]
    assert answers[-1]["error"] == "setup_used_up"
    assert bench.ask("config")["config"]["max_live_s"] == 41
    bench.run(600)
    assert bench.ask("status")["seq"] == before + 32
    secret_of(bench)

    again = Bench(bench.board.after_power_cycle())
    assert again.ask("config", set={"max_live_s": 60})["error"] == "setup_required"


def test_P6_unchanged_settings_make_no_record_and_do_not_count():
    bench = in_setup(blobs={})
    # Nothing was stored yet: the defaults themselves are a change, once.
    for _ in range(40):
        assert bench.ask("config", set={"brightness": 50})["ok"]
    assert bench.ask("config", set={"brightness": 51})["ok"]
    for _ in range(40):
        assert bench.ask("config", set={})["ok"]
    assert [event for event, _, _ in told(bench)] == ["boot", "service", "config", "config"]


def test_P6_one_setup_takes_32_pairings_and_then_still_ends_one():
    bench = in_setup()
    for _ in range(32):
        secret_of(bench)
    before = bench.ask("status")
    assert bench.ask("pair", host=HOST)["error"] == "setup_used_up"
    assert bench.ask("pair", host="ab")["error"] == "bad_arg"
    after = bench.ask("status")
    assert (after["seq"], after["pairing"]) == (before["seq"], before["pairing"])
    assert bench.ask("config", set={"max_live_s": 600})["ok"]
    assert bench.ask("pair", end=True)["pairing"] == 0
    assert bench.ask("pair", host=HOST)["error"] == "setup_used_up"


@pytest.mark.parametrize(
    "host", [None, 7, "", "ab", "AB" * attest.KEY, "zz" * attest.KEY, "ab" * 33, ["ab"]]
)
def test_P5_a_host_that_contributes_rubbish_pairs_nothing(host):
    bench = in_setup()
    assert bench.ask("pair", host=host)["error"] == "bad_arg"
    assert bench.ask("pair", host=HOST, end=True)["error"] == "bad_arg"
    assert bench.ask("status")["pairing"] == 0


@pytest.mark.parametrize("nonce", [None, 7, "", "00", "0G" * 16, "AA" * 16, "00" * 17, {}])
def test_P5_a_nonce_of_rubbish_signs_nothing(nonce):
    bench = in_setup()
    secret_of(bench)
    assert bench.ask("attest", nonce=nonce)["error"] == "bad_arg"


@pytest.mark.parametrize("start", [None, 0, -1, 1 << 32, "1", True, [1]])
def test_P5_a_page_of_rubbish_is_refused(start):
    assert Bench().ask("journal", **{"from": start})["error"] == "bad_arg"


def test_pages_beyond_the_end_are_empty():
    bench = Bench()
    answer = bench.ask("journal", **{"from": 99})
    assert (answer["records"], answer["last"], answer["first"]) == ("", 1, 1)


def test_a_board_without_a_journal_says_so():
    board = FakeBoard()
    board.journaled = False
    bench = Bench(board)
    assert bench.ask("hello")["journal"] is False
    assert "seq" not in bench.ask("status")
    for op, field in (("attest", {"nonce": NONCE}), ("journal", {"from": 1})):
        assert bench.ask(op, **field)["error"] == "unsupported"
    bench.go_live()


def test_P1_P6_a_board_whose_journal_cannot_be_read_stays_muted():
    board = FakeBoard()
    board.segments = {1: b"\0" * journal.SIZE}
    board.failing["journal_read"] = OSError(5)
    bench = Bench(board)
    bench.tap()
    bench.run(50)
    assert not board.connected
    status = bench.ask("status")
    assert status["warnings"] == ["journal_failed"]
    assert bench.ask("journal", **{"from": 1})["error"] == "storage"


def test_the_longest_answers_fit_a_line():
    bench = in_setup(contacts=8)
    secret_of(bench)
    app = bench.app
    app._boot = 999_999_999
    app.evidence._journal.seq = 0xFFFFFFFF
    app.evidence._journal.pairing = 0xFFFF
    app.evidence._journal.epoch = 0xFFFFFFFF
    app._uptime = 10**12
    app.controller._live_ms = 10**12
    app.controller.since = 0
    app.controller.changes = 10**9
    app.controller.cause = "watchdog"
    app._warnings += ["config_invalid", "boot_not_counted", "crash_loop", "stays_cut"]
    app.controller.stuck = app.controller.latch_clear = True
    app.evidence._journal.failed = True
    for count in range(9):
        app.controller.faults = [f"closed:{contact + 1}" for contact in range(count)]
        frame = wire.frame(dict(app.status(10**12), id=wire.ID_LIMIT - 1, ok=True))
        assert len(frame) <= wire.MAX_LINE
    answer = app.attest(10**12, NONCE)
    assert len(wire.frame(dict(answer, id=wire.ID_LIMIT - 1, ok=True))) <= wire.MAX_LINE
