"""boot.py, main.py and the whole firmware on a DevKitC, from power-on on.

Runs on CPython, and on MicroPython with the interpreter's own soft interrupts: between two
bytecodes, as on the chip. No time that passes here says anything about the chip's.
"""

import pytest
from fakes.devkit import DevKit, boot_words

from muteboard import button, wire


def press(kit: DevKit, ms: int = 100):
    kit.chip.press(True)
    yield ms
    kit.chip.press(False)
    yield 100


def status(kit: DevKit):
    kit.ask("status")
    yield 100


def go_live(kit: DevKit):
    yield 200
    yield from press(kit)
    assert kit.chip.relay_on


def last(kit: DevKit) -> tuple:
    """State, command and cause in the last answer."""
    frame = kit.heard()[-1]
    return (frame["state"], frame["command"], frame["cause"])


# Starting


def test_P1_the_line_is_cut_before_anything_that_takes_time():
    kit = DevKit()
    assert kit.power_on(iter([10])) == "off"
    assert kit.chip.log[0] == ("drive", kit.chip.relay, 0)
    assert ("drive", kit.chip.relay, 1) not in kit.chip.log
    before = ["muteboard", "muteboard.boards", "muteboard.boards.esp32_cut"]
    assert kit.imported_before_cut == before


def test_P1_P7_the_watchdog_runs_before_the_lamps_first_frame():
    kit = DevKit()
    watched = []

    def note() -> None:
        if kit.chip.shown and not watched:
            watched.append(kit.chip.watchdog_ms)

    kit.chip.on_ms.append(note)
    assert kit.power_on(iter([100])) == "off"
    assert watched == [1000]


@pytest.mark.parametrize("start", ["poweron", "restart", "watchdog"])
def test_no_line_of_the_boot_words_is_a_frame(start):
    lines = boot_words(start).split(b"\r\n")
    assert len(lines) > 10
    for line in lines:
        with pytest.raises(wire.WireError):
            wire.unframe(line, True)
        # It may ask nothing either, should anything echo it.
        with pytest.raises(wire.WireError):
            wire.unframe(line, False)


def test_P5_frames_come_after_the_boot_words_and_are_whole():
    kit = DevKit()

    def script():
        yield 200
        kit.ask("hello")
        yield 200
        yield from status(kit)

    assert kit.power_on(script()) == "off"
    assert kit.chip.to_host.startswith(b"ets ")
    assert kit.chip.to_host.find(b"{") > kit.chip.to_host.find(b"entry ")
    hello, answer = kit.heard()
    assert (hello["product"], hello["port"]) == ("hardmute", "esp32")
    assert (answer["state"], answer["cause"], answer["boot"]) == ("muted", "boot", 1)


def test_frames_never_wait_for_the_uart():
    """That `write` gives the FIFO no more than fits is asserted in the fake."""
    kit = DevKit()

    def script():
        yield 5
        for number in range(30):
            kit.chip.to_chip += wire.frame({"id": number, "op": "status"})
            yield 7
        yield 2000

    assert kit.power_on(script()) == "off"
    assert [frame["id"] for frame in kit.heard()] == list(range(30))


# The press


def test_press_live_press_muted():
    kit = DevKit()

    def script():
        yield from go_live(kit)
        yield from status(kit)
        assert last(kit) == ("live", "connected", "button")
        yield from press(kit)
        assert not kit.chip.relay_on
        yield from status(kit)
        assert last(kit) == ("muted", "cut", "button")

    assert kit.power_on(script()) == "off"


@pytest.mark.parametrize("at", range(16))
def test_P3_a_press_while_live_cuts_before_any_other_pin_changes(at):
    kit = DevKit()
    seen = []

    def press_at_the_nth_use() -> None:
        seen.append(kit.chip.relay_on)
        if len(seen) == at + 1:
            kit.chip.press(True)

    def script():
        yield from go_live(kit)
        kit.modules.before_access = press_at_the_nth_use
        yield 600
        kit.modules.before_access = None
        yield 1

    assert kit.power_on(script()) == "off"
    assert len(seen) > at + 2
    assert all(seen[: at + 1])
    # The interrupt's own uses come next: it reads the button, and then cuts.
    assert not any(seen[at + 3 :])
    assert kit.chip.log[-1] == ("drive", kit.chip.relay, 0)


def uses_of_connect(cut_level: bool) -> int:
    """How often `connect` touches a pin when nothing happens meanwhile."""
    kit = DevKit()
    board = kit.board()
    kit.chip.press(not cut_level)
    kit.modules.run_soft_irqs()
    count = [0]

    def use() -> None:
        count[0] += 1

    kit.modules.before_access = use
    board.connect(cut_level)
    assert kit.chip.relay_on
    return count[0]


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("cut_level", [True, False])
# Before the first use of a pin, before the second, and right after.
@pytest.mark.parametrize("at", range(3))
def test_P3_a_press_at_any_moment_of_connect_cuts(at, cut_level, short):
    assert uses_of_connect(cut_level) == 2
    kit = DevKit()
    board = kit.board()
    kit.chip.press(not cut_level)
    kit.modules.run_soft_irqs()
    board.take_edges()
    count = [0]

    def act() -> None:
        kit.chip.press(cut_level)
        if short:
            kit.chip.press(not cut_level)

    def use() -> None:
        count[0] += 1
        if count[0] == at + 1:
            act()

    kit.modules.before_access = use
    board.connect(cut_level)
    if count[0] <= at:
        act()
    kit.modules.run_soft_irqs()
    assert not kit.chip.relay_on
    assert board.take_edges() & (button.EDGE_DOWN if cut_level else button.EDGE_UP)


def test_P3_a_press_in_the_middle_of_connect_leaves_it_muted():
    kit = DevKit()

    def press_as_it_connects() -> None:
        if kit.chip.driven.get(kit.chip.relay):
            kit.modules.before_access = None
            kit.chip.press(True)

    def script():
        yield 200
        kit.modules.before_access = press_as_it_connects
        yield from press(kit)
        assert kit.modules.before_access is None
        assert not kit.chip.relay_on
        yield 200
        kit.chip.press(False)
        yield 200
        yield from status(kit)

    assert kit.power_on(script()) == "off"
    assert last(kit) == ("muted", "cut", "boot")
    assert not kit.chip.relay_on


def test_P3_more_bounce_than_the_scheduler_holds_still_cuts():
    """An edge that finds the interpreter's queue full is lost; the level it left is not."""
    kit = DevKit()
    board = kit.board()
    for final in (True, False):
        kit.chip.press(False)
        kit.modules.run_soft_irqs()
        board.connect(True)
        assert kit.chip.relay_on
        for _ in range(20):
            kit.chip.press(not kit.chip.down)
        kit.chip.press(final)
        kit.modules.run_soft_irqs()
        assert not kit.chip.relay_on
        assert board.take_edges() & button.EDGE_DOWN


def test_P2_no_byte_from_the_host_connects():
    kit = DevKit()

    def script():
        yield 100
        for op in ("unmute", "connect", "press", "config", "watch", "mute", "hello"):
            kit.ask(op, set={"mode": "push_to_talk"}, state="live")
            yield 100
        kit.chip.to_chip += b"\x03\x03\r\n\x01\x04import machine\r\n\x02" + b"\xff" * 600 + b"\n"
        yield 500

    assert kit.power_on(script()) == "off"
    assert ("drive", kit.chip.relay, 1) not in kit.chip.log
    assert kit.modules.interrupt_char == -1


def test_P8_mutes_itself_across_the_wrap_of_the_ticks():
    kit = DevKit()
    with kit.modules.open("config.json", "wb") as file:
        file.write(b'{"max_live_s":10}')
    kit.chip.ticks_start = (1 << 30) - 3000

    def script():
        yield from go_live(kit)
        yield 9000
        assert kit.chip.relay_on
        yield 1000
        assert not kit.chip.relay_on
        yield from status(kit)

    assert kit.power_on(script()) == "off"
    assert last(kit) == ("muted", "cut", "timer")


# Hanging and crashing


def test_P1_a_hang_ends_by_the_watchdog_and_the_restart_cuts():
    kit = DevKit()
    hung_at = [0]

    def script():
        yield from go_live(kit)
        hung_at[0] = kit.chip.now
        kit.hang(5000)
        yield 100
        yield from status(kit)

    assert kit.power_on(script()) == "watchdog"
    assert kit.chip.now - hung_at[0] <= 1001
    # A CPU reset leaves the pins as they were: cutting is the first thing that our program does.
    assert kit.chip.relay_on
    kit.chip.log.clear()
    assert kit.go_on() == "off"
    assert kit.chip.log[0] == ("drive", kit.chip.relay, 0)
    assert len(kit.imported_before_cut) == 3
    assert ("drive", kit.chip.relay, 1) not in kit.chip.log


def test_P1_the_start_after_the_watchdog_says_so():
    kit = DevKit()

    def script():
        yield from go_live(kit)
        kit.hang(5000)

    def after():
        yield 300
        yield from status(kit)

    assert kit.power_on(script()) == "watchdog"
    kit.script = after()
    assert kit.go_on() == "off"
    assert last(kit) == ("muted", "cut", "watchdog")
    assert kit.heard()[-1]["boot"] == 2


def test_P3_a_press_cuts_while_the_superloop_hangs():
    kit = DevKit()

    def script():
        yield from go_live(kit)
        kit.hang(300)
        kit.chip.press(True)
        kit.hang(1)
        assert not kit.chip.relay_on
        kit.hang(5000)

    assert kit.power_on(script()) == "watchdog"
    assert not kit.chip.relay_on


def test_P1_an_exception_cuts_and_restarts():
    kit = DevKit()

    def script():
        yield from go_live(kit)
        raise OSError(5)

    assert kit.power_on(script()) == "reset"
    assert not kit.chip.relay_on


def test_P1_three_crashes_stay_cut_until_power_has_been_off():
    kit = DevKit()

    def crash():
        yield 3000
        raise OSError(5)

    def look():
        yield from press_and_ask(kit)

    assert kit.power_on(crash()) == "reset"
    for _ in range(2):
        kit.script = crash()
        assert kit.go_on() == "reset"
    kit.script = look()
    assert kit.go_on() == "off"
    assert last(kit) == ("muted", "cut", "watchdog")
    assert kit.heard()[-1]["warnings"] == ["config_missing", "crash_loop"]
    assert kit.power_on(look()) == "off"
    assert last(kit) == ("live", "connected", "button")


def press_and_ask(kit: DevKit):
    yield 2000
    yield from press(kit)
    yield from status(kit)


def test_P1_boot_py_alone_cuts_after_a_watchdog():
    """Whatever main.py then finds: it may be missing, or be no program."""
    kit = DevKit()

    def script():
        yield from go_live(kit)
        kit.hang(5000)

    assert kit.power_on(script()) == "watchdog"
    assert kit.chip.relay_on
    kit.run_boot()
    assert not kit.chip.relay_on


def test_P1_interlock_boot_py_drops_allow_and_holds_clear():
    kit = DevKit()
    kit.wire_interlock()
    kit.chip.driven[kit.chip.relay] = 1
    kit.chip.latch = True
    kit.chip.log.clear()
    kit.run_boot()
    clear, _ = kit.chip.interlock
    assert kit.chip.log == [("drive", kit.chip.relay, 0), ("drive", clear, 0)]
    assert not kit.chip.latch
    # No press sets it before the board file is there.
    kit.chip.press(True)
    assert not kit.chip.latch


def test_P1_interlock_live_and_cut_and_after_a_watchdog():
    kit = DevKit()
    kit.wire_interlock()

    def script():
        yield from go_live(kit)
        yield from press(kit)
        assert not kit.chip.allowed
        assert not kit.chip.latch
        yield 1000
        yield from go_live(kit)
        kit.hang(5000)

    def after():
        yield 300
        yield from status(kit)

    assert kit.power_on(script()) == "watchdog"
    assert kit.chip.relay_on
    kit.script = after()
    kit.chip.log.clear()
    assert kit.go_on() == "off"
    clear, _ = kit.chip.interlock
    assert kit.chip.log[:2] == [("drive", kit.chip.relay, 0), ("drive", clear, 0)]
    assert last(kit) == ("muted", "cut", "watchdog")
    assert kit.heard()[-1]["sense"] == [0, 0]
    assert not kit.chip.latch


@pytest.mark.parametrize("word", [b"rp2040", b"esp32_interlock_2", b""])
def test_P1_boot_py_cuts_whatever_board_txt_says(word):
    kit = DevKit()
    kit.write("board.txt", word)
    kit.chip.driven[kit.chip.relay] = 1
    kit.run_boot()
    assert not kit.chip.relay_on


# Service modes


def test_config_is_set_in_setup_and_used_after_the_next_power_on():
    kit = DevKit()

    def setup():
        yield 4000
        kit.chip.press(False)
        yield 200
        kit.ask("config", set={"mode": "push_to_talk"})
        yield 200

    def talk():
        yield 200
        kit.chip.press(True)
        yield 100
        assert kit.chip.relay_on
        kit.chip.press(False)
        yield 1
        assert not kit.chip.relay_on

    kit.chip.press(True)
    assert kit.power_on(setup()) == "off"
    assert kit.heard()[-1]["config"]["mode"] == "push_to_talk"
    assert set(kit.modules.os.listdir()) == {"config.json", "boot.txt", "journal"}
    assert kit.power_on(talk()) == "off"


def test_P1_maintenance_opens_the_prompt_with_the_line_cut():
    kit = DevKit()

    def script():
        yield 20_000

    kit.chip.press(True)
    assert kit.power_on(script()) == "prompt"
    assert 10_000 <= kit.chip.now < 11_000
    assert kit.modules.interrupt_char == 3
    assert kit.chip.watchdog_ms is None
    assert not kit.chip.relay_on
    (timer,) = kit.modules.timers
    timer.callback(timer)
    assert kit.chip.shown[-1][:2] == (0, 0)
