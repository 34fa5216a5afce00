"""The superloop on a board in memory: starting, failing, service modes, time."""

import json

import pytest
from fakeboard import Bench, FakeBoard

from muteboard import lamp, wire
from muteboard.app import App

PARTS = (
    "ticks_ms",
    "button_down",
    "take_edges",
    "sense",
    "connect",
    "disarm",
    "show",
    "read_available",
    "write",
    "retain",
    "feed_watchdog",
    "idle",
)
ERRORS = (RuntimeError, MemoryError, OSError, KeyboardInterrupt, SystemExit)


def settings(**changes) -> dict[str, bytes]:
    return {"config": json.dumps(changes).encode()}


def in_setup(blobs: dict[str, bytes] | None = None) -> Bench:
    bench = Bench(FakeBoard(held=True, blobs=blobs), run_ms=3000 + 50)
    bench.board.world.press(False)
    bench.run(100)
    assert bench.app.service == "setup"
    return bench


# Starting


def test_P1_cuts_before_anything_else():
    board = FakeBoard()
    board.world.set_coil(True)
    App(board)
    assert board.calls[0] == "cut"


def test_P1_cut_until_the_first_press_and_cut_on_every_pass():
    bench = Bench()
    for _ in range(200):
        bench.board.calls.clear()
        bench.run(1)
        assert "cut" in bench.board.calls
        assert "connect" not in bench.board.calls


@pytest.mark.parametrize(("mode", "cut_level"), [("toggle", True), ("push_to_talk", False)])
def test_P3_board_is_told_which_level_cuts(mode, cut_level):
    bench = Bench(FakeBoard(blobs=settings(mode=mode)))
    bench.board.world.press(True)
    bench.run(100)
    bench.board.world.press(mode == "push_to_talk")
    bench.run(50)
    assert bench.board.connected
    assert bench.board.cut_level is cut_level
    # Told once: connecting again on each pass would undo a cut that the board made itself.
    assert bench.board.calls.count("connect") == 1


def test_P3_relay_is_cut_before_the_lamp_and_the_link_are_served():
    bench = Bench()
    bench.go_live()
    bench.run(30)
    bench.send(b'{"id":1,"op":"hello"}\n')
    bench.board.calls.clear()
    bench.board.world.press(True)
    bench.run(25)
    calls = bench.board.calls
    assert calls.index("cut") < calls.index("read_available")
    assert calls.index("cut") < calls.index("show")
    assert calls.index("cut") < calls.index("feed_watchdog")


def test_boot_counter_counts_power_cycles_and_resets():
    board = FakeBoard()
    seen = []
    for following in (board.after_power_cycle, board.after_reset, board.after_reset):
        seen.append(Bench(board).ask("status")["boot"])
        board = following()
    assert seen == [1, 2, 3]


@pytest.mark.parametrize("blob", [b"", b"x", b"\xff", b"-7", b"1e9", b"9" * 40, b"999999999"])
def test_broken_boot_counter_starts_again(blob):
    bench = Bench(FakeBoard(blobs={"boot": blob}))
    assert bench.ask("status")["boot"] == 1
    assert bench.board.blobs["boot"] == b"1"


@pytest.mark.parametrize("blob", [b"", b"1", b"999999999", b"9" * 40])
def test_P6_a_broken_boot_counter_stays_level_with_the_journal(blob):
    """Whoever has fetched the journal would take that for tampering."""
    board = FakeBoard()
    for _ in range(3):
        Bench(board)
        board = board.after_power_cycle()
    board.blobs["boot"] = blob
    bench = Bench(board)
    assert bench.ask("status")["boot"] == 4
    assert bench.board.blobs["boot"] == b"4"


def test_boot_that_cannot_be_stored_is_a_warning():
    board = FakeBoard()
    board.failing["store"] = OSError(28)
    status = Bench(board).ask("status")
    assert status["warnings"] == ["boot_not_counted"]
    assert status["boot"] == 1


@pytest.mark.parametrize(
    ("blobs", "warning"), [({}, "config_missing"), ({"config": b"\xff{"}, "config_invalid")]
)
def test_a_missing_or_broken_config_gives_defaults_and_a_warning(blobs, warning):
    bench = Bench(FakeBoard(blobs=blobs))
    assert bench.ask("status")["warnings"] == [warning]
    assert bench.ask("config")["config"]["max_live_s"] == 3600
    bench.go_live()


# A board with an interlock


@pytest.mark.parametrize("mode", ["toggle", "push_to_talk"])
def test_P4_a_board_that_refuses_to_connect_stays_and_says_muted(mode):
    bench = Bench(FakeBoard(blobs=settings(mode=mode)))
    bench.board.refusing = True
    before = bench.ask("status")
    bench.tap()
    assert bench.board.calls.count("connect") == 1
    # Longer than contacts may take: this is no fault.
    bench.run(100)
    status = bench.ask("status")
    assert (status["state"], status["command"], status["faults"]) == ("muted", "cut", [])
    assert (status["changes"], status["live_ms"]) == (0, 0)
    assert (status["cause"], status["remute_in_ms"]) == (before["cause"], None)
    assert status["warnings"] == ["latch_clear"]
    bench.board.refusing = False
    bench.board.world.press(True)
    bench.run(100)
    if mode == "toggle":
        bench.board.world.press(False)
        bench.run(50)
    status = bench.ask("status")
    assert (status["state"], status["warnings"]) == ("live", [])


def test_P5_nobody_is_told_of_a_command_that_the_board_refused():
    bench = Bench()
    bench.board.refusing = True
    bench.ask("watch")
    bench.tap()
    events = [message for message in bench.heard() if message.get("event") == "state"]
    assert events[-1]["warnings"] == ["latch_clear"]
    assert {(event["state"], event["command"]) for event in events} == {("muted", "cut")}


@pytest.mark.parametrize("mode", ["toggle", "push_to_talk"])
@pytest.mark.parametrize("hold_ms", [10, 100, 2000])
def test_P2_disarmed_at_each_pass_while_cut_but_never_in_a_press(mode, hold_ms):
    bench = Bench(FakeBoard(blobs=settings(mode=mode)))
    bench.board.calls.clear()
    bench.run(20)
    assert bench.board.calls.count("disarm") == 20
    bench.board.world.press(True)
    for pause in (hold_ms, 30):
        bench.board.calls.clear()
        bench.run(pause)
        assert "disarm" not in bench.board.calls
        bench.board.world.press(False)
    bench.run(10)
    assert ("disarm" in bench.board.calls) is not bench.board.world.coil


# Failing


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("part", PARTS)
def test_P1_exception_in_any_part_cuts_and_resets(part, error):
    bench = Bench(FakeBoard(blobs=settings(brightness=100)))
    if part == "connect":
        bench.board.world.press(True)
        bench.run(100)
        bench.board.world.press(False)
        bench.run(30)
    elif part != "disarm":
        bench.go_live()
    bench.send(b'{"id":1,"op":"status"}\n')
    bench.board.world.advance(1000)
    bench.board.calls.clear()
    bench.crash(part, error())
    assert bench.board.calls[-2:] == ["cut", "reset"]
    assert bench.board.calls.count("reset") == 1
    bench.board.world.advance(10)
    assert not bench.board.connected


@pytest.mark.parametrize(
    "part", [part for part in PARTS if part not in ("connect", "disarm", "idle")]
)
def test_P1_watchdog_is_not_fed_unless_every_part_has_run(part):
    bench = Bench()
    bench.go_live()
    bench.send(b'{"id":1,"op":"status"}\n')
    bench.board.world.advance(1000)
    feeds = bench.board.feeds
    bench.crash(part, RuntimeError())
    # Once as `run` starts, before any part.
    assert bench.board.feeds - feeds == (part != "feed_watchdog")


def test_P1_P7_the_watchdog_runs_before_the_lamp_says_a_word():
    bench = Bench(run_ms=0)
    bench.crash("idle", RuntimeError())
    calls = bench.board.calls
    assert calls.index("feed_watchdog") < calls.index("show")


def test_P1_watchdog_is_fed_on_every_pass():
    bench = Bench()
    feeds = bench.board.feeds
    bench.run(500)
    assert bench.board.feeds == feeds + 500


def test_P1_three_crashes_in_a_minute_stay_cut_and_say_so():
    board = FakeBoard()
    for crash in range(3):
        bench = Bench(board, run_ms=5000)
        assert bench.ask("status")["warnings"] == []
        bench.go_live()
        assert bench.ask("status")["cause"] == "button"
        bench.crash("sense", RuntimeError(crash))
        board = board.after_reset()
    bench = Bench(board, run_ms=5000)
    status = bench.ask("status")
    assert (status["cause"], status["warnings"]) == ("watchdog", ["crash_loop"])
    bench.tap()
    bench.tap()
    assert not bench.board.connected
    assert "connect" not in bench.board.calls
    # Another reset does not help, a power cycle does.
    bench.run(100_000, 50)
    bench.crash("sense", RuntimeError())
    bench = Bench(bench.board.after_reset(), run_ms=2000)
    assert bench.ask("status")["warnings"] == ["crash_loop"]
    bench = Bench(bench.board.after_power_cycle())
    assert bench.ask("status")["warnings"] == []
    bench.go_live()


def in_crash_loop() -> FakeBoard:
    """Paired and with a journal; three crashes old."""
    board = FakeBoard(held=True)
    bench = Bench(board, run_ms=3050)
    board.world.press(False)
    bench.run(100)
    assert bench.ask("pair", host="00" * 32)["ok"]
    board = board.after_power_cycle()
    for crash in range(3):
        bench = Bench(board, run_ms=2000)
        bench.crash("sense", RuntimeError(crash))
        board = board.after_reset()
    return board


def test_P1_P6_a_crash_loop_leaves_flash_alone_and_answers():
    board = in_crash_loop()
    segments, keys, blobs = dict(board.segments), board.keys, dict(board.blobs)
    # Whatever it is that the crashes come from.
    for part in ("journal_read", "journal_append", "journal_drop", "store_keys", "store"):
        board.failing[part] = RuntimeError(part)
    bench = Bench(board, run_ms=2000)
    status = bench.ask("status")
    assert (status["state"], status["warnings"]) == ("muted", ["crash_loop"])
    assert "seq" not in status
    assert bench.ask("attest", nonce="00" * 16)["error"] == "storage"
    assert bench.ask("journal", **{"from": 1})["error"] == "storage"
    assert bench.ask("mute")["ok"]
    bench.tap()
    bench.run(86_400_000, 3_600_000)
    assert (board.segments, board.keys, board.blobs) == (segments, keys, blobs)
    # Its number is no other start's: a host takes one number for one run.
    assert status["boot"] >= 500_000_000
    # And after the power has been off all of it goes on.
    bench = Bench(bench.board.after_power_cycle(), run_ms=2000)
    assert bench.ask("attest", nonce="00" * 16)["ok"]
    assert bench.ask("status")["warnings"] == []
    bench.go_live()


@pytest.mark.parametrize("part", ["journal_read", "store"])
def test_P1_crashes_while_it_starts_count_and_are_told(part):
    """Not only those of the superloop."""
    board = FakeBoard()
    Bench(board, run_ms=2000)
    board = board.after_power_cycle()
    for _ in range(3):
        board.failing[part] = MemoryError()
        with pytest.raises(MemoryError):
            App(board)
        # As main.py does.
        board = board.after_reset()
    board.failing[part] = MemoryError()
    bench = Bench(board, run_ms=2000)
    assert bench.ask("status")["warnings"] == ["crash_loop"]
    bench.tap()
    assert not bench.board.connected


def test_P1_crashes_further_apart_do_not_lock():
    board = FakeBoard()
    for _ in range(6):
        bench = Bench(board, run_ms=0)
        # The board notes its uptime once a second: two runs may count up to 2 s too few.
        bench.run(31_000 + 1000, 50)
        bench.crash("sense", RuntimeError())
        board = board.after_reset()
    bench = Bench(board, run_ms=2000)
    assert bench.ask("status")["warnings"] == []
    bench.go_live()


# Service modes


@pytest.mark.parametrize(
    ("held_ms", "service"),
    [(50, "none"), (2900, "none"), (3100, "setup"), (9900, "setup"), (10_100, "maintenance")],
)
def test_P1_button_held_at_power_on_opens_the_service_modes(held_ms, service):
    bench = Bench(FakeBoard(held=True), run_ms=held_ms)
    bench.board.world.press(False)
    bench.run(100)
    assert bench.app.service == service
    assert bench.ask("status")["service"] == service
    bench.tap()
    bench.tap()
    assert bench.board.connected is False
    # Only a board that is in no service mode connects before the next power cycle.
    assert ("connect" in bench.board.calls) is (service == "none")
    after = Bench(bench.board.after_power_cycle())
    assert after.app.service == "none"
    after.go_live()


def test_P1_hold_counts_only_from_a_cold_start():
    board = FakeBoard(held=True, cause="watchdog")
    bench = Bench(board, run_ms=11_000)
    assert bench.app.service == "none"
    assert bench.ask("status")["warnings"] == ["stuck"]
    bench.board.world.press(False)
    bench.run(100)
    assert not bench.board.connected
    bench.go_live()


def test_button_pressed_later_opens_no_service():
    bench = Bench()
    bench.board.world.press(True)
    bench.run(11_000)
    assert bench.app.service == "none"
    assert bench.ask("status")["warnings"] == ["stuck"]
    bench.board.world.press(False)
    bench.run(100)
    assert bench.ask("status")["warnings"] == []


def test_P1_watchdog_waits_for_a_button_held_since_power_on():
    bench = Bench(FakeBoard(held=True), run_ms=3500)
    assert bench.board.feeds == 0
    bench.board.world.press(False)
    bench.run(100)
    assert bench.board.feeds > 0


def test_P1_maintenance_leaves_the_loop_cut():
    board = FakeBoard(held=True)
    App(board).run()
    assert board.calls[-1] == "maintenance"
    assert 10_000 <= board.world.now <= 10_100
    assert "connect" not in board.calls
    assert "feed_watchdog" not in board.calls
    assert "reset" not in board.calls


def test_P1_exception_in_maintenance_cuts_and_resets():
    bench = Bench(FakeBoard(held=True))
    bench.crash("maintenance", RuntimeError())
    assert bench.board.calls[-3:] == ["maintenance", "cut", "reset"]


def test_config_set_in_setup_is_used_after_the_next_power_on():
    bench = in_setup(blobs={})
    assert bench.ask("status")["warnings"] == ["config_missing"]
    wanted = {"mode": "push_to_talk", "max_live_s": 10, "palette": "colour_blind", "brightness": 9}
    refused = bench.ask("config", set=wanted)
    assert (refused["ok"], refused["error"]) == (False, "bad_arg")
    assert "config" not in bench.board.blobs
    wanted["brightness"] = 10
    assert bench.ask("config", set=wanted)["config"] == wanted
    assert bench.ask("status")["warnings"] == []
    after = Bench(bench.board.after_power_cycle())
    assert after.ask("config")["config"] == wanted
    after.board.world.press(True)
    after.run(100)
    assert after.board.connected


@pytest.mark.parametrize(
    "change", [7, "toggle", [1], {"mode": "x"}, {"unknown": 1}, {"max_live_s": None}, True, 0]
)
def test_P8_bad_setting_changes_nothing(change):
    bench = in_setup()
    before = dict(bench.board.blobs)
    answer = bench.ask("config", set=change)
    assert (answer["ok"], answer["error"]) == (False, "bad_arg")
    assert bench.board.blobs == before


def test_config_that_cannot_be_stored_is_an_error_and_not_used():
    bench = in_setup()
    before = bench.ask("config")["config"]
    bench.board.failing["store"] = OSError(28)
    answer = bench.ask("config", set={"brightness": 99})
    assert (answer["ok"], answer["error"]) == (False, "storage")
    assert bench.ask("config")["config"] == before


def test_config_set_outside_setup_is_refused_even_with_no_change():
    bench = Bench()
    assert bench.ask("config", set={"brightness": 50})["error"] == "setup_required"
    assert bench.ask("config", set=None)["ok"]


# The lamp


def test_P7_lamp_shows_the_sensed_state_within_20_ms():
    bench = Bench(FakeBoard(blobs=settings(brightness=100)))
    assert bench.board.lamp == (255, 0, 0)
    bench.board.world.operate_ms = 9
    bench.board.world.press(True)
    bench.run(100)
    bench.board.world.press(False)
    bench.run(31)
    # The relay was told, the contact is on its way: still red.
    assert bench.app.controller.command == "connected"
    assert bench.board.lamp == (255, 0, 0)
    bench.run(9 + 20)
    red, green, blue = bench.board.lamp or (0, 0, 0)
    assert (red, blue) == (0, 0)
    assert green > 100
    bench.board.world.welded.add(0)
    bench.tap()
    seen = set()
    for _ in range(500):
        bench.run(1)
        seen.add(bench.board.lamp)
    assert seen == {(255, 0, 0), (255, 255, 255)}


# Time


@pytest.mark.parametrize("bits", [29, 30])
def test_P8_ticks_that_wrap_while_live_change_nothing(bits):
    wrap = 1 << bits
    bench = Bench(FakeBoard(blobs=settings(max_live_s=10), tick_bits=bits, first_tick=wrap - 3000))
    bench.go_live()
    connected_at = bench.now
    previous = 0
    while bench.board.world.coil:
        bench.run(10)
        assert bench.now < connected_at + 10_020
        uptime = bench.app.status(bench.now)["uptime_ms"]
        assert uptime > previous
        previous = uptime
    assert bench.board.ticks_ms() < wrap // 2
    assert bench.now >= connected_at + 9900
    bench.run(20)
    status = bench.ask("status")
    assert (status["state"], status["cause"]) == ("muted", "timer")
    assert 9900 <= status["live_ms"] <= 10_010
    assert abs(status["uptime_ms"] - bench.now) <= 5


def test_P8_uptime_never_wraps():
    bench = Bench(FakeBoard(tick_bits=29))
    for _ in range(10):
        bench.run(1 << 27, 1 << 27)
    assert bench.ask("status")["uptime_ms"] > 1 << 30
    bench.go_live()


# Idling


def idle_through(bench: Bench, ms: int) -> set[int]:
    """The superloop as `App.run` has it, for ``ms``. Returns how long it asked to idle."""
    waits = set()
    end = bench.now + ms
    while bench.now < end:
        bench.app.step()
        wait = bench.app.idle_ms()
        waits.add(wait)
        bench.board.idle(wait)
    return waits


def test_board_idles_while_nothing_happens():
    bench = Bench(run_ms=100)
    passes = bench.board.calls.count("take_edges")
    waits = idle_through(bench, 5000)
    assert max(waits) == 50
    assert bench.board.calls.count("take_edges") - passes < 110
    bench.go_live()
    passes = bench.board.calls.count("take_edges")
    idle_through(bench, 5000)
    assert bench.board.calls.count("take_edges") - passes < 260


def test_board_looks_each_ms_while_contacts_move_or_are_in_doubt():
    bench = Bench(run_ms=100)
    bench.board.world.operate_ms = 9
    bench.board.world.press(True)
    idle_through(bench, 60)
    bench.board.world.press(False)
    while bench.app.controller.command == "cut":
        idle_through(bench, 1)
    assert idle_through(bench, 8) == {1}
    assert 1 not in idle_through(bench, 200)
    bench.board.world.dead.add(0)
    while bench.app.controller.settled:
        idle_through(bench, 1)
    # In doubt, not yet a fault.
    assert bench.app.controller.state == "live"
    assert bench.app.idle_ms() == 1


@pytest.mark.parametrize("bounce", [0, 1, 7, 19])
def test_idling_does_not_delay_what_a_press_does(bounce):
    bench = Bench(run_ms=100)
    idle_through(bench, 50)
    world = bench.board.world
    start = bench.now + 1
    for at in range(start, start + bounce + 1, 2):
        world.plan(at, True)
        world.plan(at + 1, False)
    down = start + bounce + 2
    world.plan(down, True)
    world.plan(down + 60, False)
    while not world.coil:
        idle_through(bench, 1)
        assert bench.now <= down + 60 + 30 + 2
    assert bench.now >= down + 60 + 30


@pytest.mark.parametrize("mode", ["toggle", "push_to_talk"])
@pytest.mark.parametrize("late", [0, 1, 9, 24])
def test_a_press_counts_by_its_edges_however_late_the_pass_comes(mode, late):
    """A pass that answers takes 20 ms on the chip; a press of 31 ms is one all the same."""
    bench = Bench(FakeBoard(blobs=settings(mode=mode)), run_ms=100)
    world = bench.board.world
    start = bench.now
    world.plan(start + 1, True)
    world.plan(start + 1 + 31 + (40 if mode == "push_to_talk" else 0), False)
    world.advance(1)
    # The first pass after the first edge comes late, and so does the next one.
    bench.run(1 + late, 1 + late)
    bench.run(1 + late, 1 + late)
    while not world.coil:
        bench.run(1)
        assert bench.now < start + 1 + 31 + 30 + 3
    due = start + 1 + (31 + 30 if mode == "toggle" else 30)
    assert due <= bench.now <= max(due + 2, start + 3 + 2 * (1 + late))


def test_a_press_that_meets_a_host_s_mute_is_the_button_s():
    bench = Bench(run_ms=100)
    bench.go_live()
    bench.run(100)
    # After the pass has looked at the button, and before it answers.
    bench.send(wire.frame({"id": 7, "op": "mute"}))
    bench.board.after["read_available"] = lambda: bench.board.world.press(True)
    bench.run(60)
    bench.board.world.press(False)
    bench.run(60)
    (answer,) = (message for message in bench.heard() if message.get("id") == 7)
    assert answer["changed"] is False
    assert bench.app.controller.cause == "button"
    bench.tap()
    assert bench.board.connected, "the press after it counted for nothing"


def test_P3_a_press_that_ends_as_a_mute_is_read_counts():
    """It was long enough. The mute is read for some ms, and the button is looked at after that."""
    for read_at in range(20, 45):
        bench = Bench(run_ms=100)
        world = bench.board.world
        start = world.now
        world.press(True)
        world.plan(start + 40, False)
        bench.run(read_at)
        bench.send(wire.frame({"id": 7, "op": "mute"}))
        bench.board.after["read_available"] = lambda world=world: world.advance(15)
        bench.run(80)
        (answer,) = (message for message in bench.heard() if message.get("id") == 7)
        # The line was cut, or what had just been commanded was undone: the mute is the last word.
        came_first = not answer["changed"]
        assert bench.app.controller.button.presses == 1, read_at
        assert bench.board.connected is came_first, read_at


def test_P3_a_press_that_ends_between_two_inputs_counts():
    """It was long enough, but nobody looked at the end of 30 ms."""
    bench = Bench(run_ms=100)
    world = bench.board.world
    world.press(True)
    bench.run(1)
    world.advance(40)
    bench.board.after["take_edges"] = lambda: world.press(False)
    bench.run(60)
    assert bench.app.controller.button.presses == 1
    assert bench.board.connected


def test_an_edge_between_two_looks_is_not_lost_to_the_idle():
    """It comes after one input has been read and before the next: 20 ms late is too late."""
    for part in ("take_edges", "button_down"):
        bench = Bench(run_ms=100)
        idle_through(bench, 50)
        bench.board.world.press(True)
        idle_through(bench, 200)
        bench.board.after[part] = lambda world=bench.board.world: world.press(False)
        released = bench.now
        while not bench.board.world.coil:
            idle_through(bench, 1)
            assert bench.now <= released + 30 + 3, part


def test_P3_an_idle_board_sees_a_press_within_a_millisecond():
    bench = Bench(run_ms=100)
    for offset in range(1, 15):
        idle_through(bench, 100)
        at = bench.now + offset
        bench.board.world.plan(at, True)
        bench.board.world.plan(at + 50, False)
        idle_through(bench, 40)
        first = bench.app.controller.button.first_edge
        assert first is not None
        assert at <= first <= at + 1
        idle_through(bench, 100)


@pytest.mark.parametrize("offset", range(10))
def test_P8_idling_does_not_delay_the_timer(offset):
    bench = Bench(FakeBoard(blobs=settings(max_live_s=10)), run_ms=100 + offset)
    bench.go_live()
    limit = bench.now + (bench.app.controller.remute_in_ms(bench.now) or 0)
    idle_through(bench, 9800)
    while bench.board.world.coil:
        idle_through(bench, 1)
    assert limit <= bench.now <= limit + 2
    assert bench.app.controller.cause in ("button", "timer")
    idle_through(bench, 20)
    assert bench.ask("status")["cause"] == "timer"


def test_P5_an_idle_board_sends_events_at_least_once_a_second():
    bench = Bench()
    bench.send(wire.frame({"id": 7, "op": "watch"}))
    idle_through(bench, 10_000)
    times = [message["uptime_ms"] for message in bench.heard() if "event" in message]
    assert len(times) >= 10
    assert all(b - a <= 1000 for a, b in zip(times, times[1:]))


def test_P4_weld_is_found_once_the_contacts_should_have_settled():
    bench = Bench()
    bench.go_live()
    idle_through(bench, 100)
    bench.board.world.welded.add(0)
    bench.board.world.press(True)
    pressed_at = bench.now
    idle_through(bench, 100)
    assert bench.app.controller.state == "fault"
    assert bench.app.controller.since <= pressed_at + bench.board.settle_ms + 3
    # And a contact that closes by itself, at rest.
    bench = Bench()
    idle_through(bench, 100)
    bench.board.world.welded.add(0)
    idle_through(bench, 53)
    assert bench.app.controller.state == "fault"


def test_request_ends_idle_and_is_answered_without_waiting():
    bench = Bench()
    idle_through(bench, 100)
    bench.board.room = 64
    bench.send(wire.frame({"id": 7, "op": "status"}))
    sent_at = bench.now
    while not bench.board.sent.endswith(b"\n"):
        assert bench.now == sent_at
        bench.app.step()
        bench.board.idle(bench.app.idle_ms())
    bench.board.room = 0
    bench.send(wire.frame({"id": 8, "op": "status"}))
    bench.app.step()
    # A host that does not read is no reason to hurry.
    assert bench.app.idle_ms() == 1


@pytest.mark.parametrize("state", ["muted", "live", "warning", "fault", "stuck", "setup"])
def test_P7_lamp_is_on_time_while_the_board_idles(state):
    bench = Bench(FakeBoard(blobs=settings(max_live_s=30 if state == "warning" else 3600)))
    if state == "setup":
        bench = in_setup()
    elif state == "stuck":
        bench.board.world.press(True)
        idle_through(bench, 10_100)
    elif state != "muted":
        bench.go_live()
        if state == "fault":
            bench.board.world.welded.add(0)
            bench.tap()
    brightness = bench.ask("config")["config"]["brightness"]
    allowed = 41 if state == "live" else 2
    for _ in range(500):
        idle_through(bench, 1)
        # A pass of up to 10 ms may lie between the last one and now.
        moments = range(bench.now - allowed - 10, bench.now + 1)
        shown = {lamp.colour(state, moment, "default", brightness) for moment in moments}
        assert bench.board.lamp in shown
