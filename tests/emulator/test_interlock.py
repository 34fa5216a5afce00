"""The interlock on the chip: P2 and P3 are kept by hardware, whatever firmware runs.

The latch's filter is ideal and its delay assumed (`hardmute.sim.physics`): no time here is one of
a real board. What the firmware does to ALLOW and CLEAR, and when, is the real firmware's.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
from rp2040py.gpio_pin import GPIOPinState

from hardmute.sim.physics import LATCH_DELAY_US, RELEASE_US
from hardmute.sim.rp2040 import chip
from hardmute.sim.usb import PtyCable
from hardmute.sim.world import World
from muteboard import boards
from workbench import HIGH, Bench, Repl

_SURPRISE_MS = 1_000
# IO_BANK0 (RP2040 datasheet, "GPIO", list of registers): control register of the pin with ALLOW,
# and in it the output enabled and high, whatever CPU and PIO do.
_ALLOW_CTRL = 0x4001_4000 + 8 * chip.RELAY + 4
_FORCED_HIGH = 0x3305


@pytest.fixture
def live(interlock: Bench) -> Bench:
    interlock.go_live()
    assert interlock.physics.latch
    return interlock


def at_rest(bench: Bench, cause: str) -> None:
    status = bench.status()
    assert (status["state"], status["cause"], status["command"]) == ("muted", cause, "cut")
    assert (status["faults"], status["warnings"]) == ([], [])
    assert not bench.coil
    assert not bench.connected
    assert bench.pico.mcu.gpio[chip.RELAY].value != HIGH
    assert not bench.physics.latch


def await_start(bench: Bench) -> None:
    """Wait until the firmware runs again after a reset, over which the lamp keeps its colour."""
    bench.physics.lamp = (0, 0, 0)
    bench.await_lamp()


def hang_with_allow_high(bench: Bench) -> None:
    """The worst firmware: it drives ALLOW for ever and looks at nothing."""
    bench.pico.hang()
    bench.pico.mcu.write_uint32(_ALLOW_CTRL, _FORCED_HIGH)
    assert bench.pico.mcu.gpio[chip.RELAY].value == HIGH


# The pins.


def test_the_pins_are_those_of_the_board_files() -> None:
    folder = Path(boards.__file__).parent

    def pins(name: str) -> dict[str, str]:
        text = (folder / f"{name}.py").read_text()
        return dict(re.findall(r"^_([A-Z]+) = (?:const)?\((\d+),?\)$", text, re.MULTILINE))

    found = pins("rp2040")
    found |= pins("rp2040_interlock")
    wanted = {"BUTTON": chip.BUTTON, "RELAY": chip.RELAY}
    wanted |= {"LAMP": chip.LAMP, "CLEAR": chip.CLEAR, "LATCH": chip.LATCH}
    assert {name: int(found[name]) for name in wanted} == wanted
    senses = re.search(
        r"^_SENSE = (\(.+\))$", (folder / "rp2040_interlock.py").read_text(), re.MULTILINE
    )
    assert senses is not None
    assert senses[1] == repr(chip.INTERLOCK_SENSE)


def test_it_says_which_board_it_is(interlock: Bench) -> None:
    assert interlock.ask("hello")["port"] == "rp2040_interlock"


# P2: no firmware connects without a press.


def test_P2_allow_without_a_press_does_nothing(interlock: Bench) -> None:
    hang_with_allow_high(interlock)
    interlock.run_ms(500)
    assert interlock.pico.mcu.gpio[chip.RELAY].value == HIGH
    assert not interlock.coil
    assert not interlock.connected
    # That it would be the coil but for the latch:
    interlock.press()
    assert interlock.connected


@pytest.mark.parametrize("level", [0, 1])
def test_P2_no_pin_that_the_firmware_may_drive_sets_the_latch(
    interlock_repl: Repl, level: int
) -> None:
    """Every pin of the chip is driven, and the ones that only read cannot set anything."""
    repl = interlock_repl
    repl.run(
        "from machine import Pin\n"
        f"for pin in range(23):\n Pin(pin, Pin.OUT, value={level})\n"
        f"for pin in (26, 27, 28):\n Pin(pin, Pin.OUT, value={level})\n"
        "for _ in range(50):\n"
        f" for pin in ({chip.CLEAR}, {chip.LATCH}, {chip.BUTTON}):\n"
        "  Pin(pin, Pin.OUT).toggle()\n"
        f"Pin({chip.RELAY}, Pin.OUT, value=1)\n"
    )
    repl.run_ms(20)
    assert repl.pico.mcu.gpio[chip.RELAY].value == HIGH
    assert not repl.physics.latch
    assert not repl.connected


def test_P2_bytes_from_the_host_raise_no_allow(interlock: Bench) -> None:
    interlock.watch_relay()
    interlock.send(random.Random(2).randbytes(500) + b"\n")
    interlock.run_ms(300)
    for op in ("connect", "unmute", "live", "status", "mute"):
        interlock.ask(op)
    assert interlock.connect_times() == []
    assert not interlock.physics.latch


# P3: a press cuts, by PIO and by the latch.


def test_P3_a_press_drops_allow_within_a_microsecond(live: Bench) -> None:
    live.watch_relay()
    edge_us = live.now_us + 7_531
    live.press_at(edge_us, hold_ms=40, bounce_ms=5)
    live.run_ms(120)
    (cut_us,) = live.cut_times()
    assert edge_us <= cut_us < edge_us + 1
    at_rest(live, "button")


def test_P3_a_hung_cpu_does_not_delay_the_cut(live: Bench) -> None:
    live.watch_relay()
    live.pico.hang()
    edge_us = live.now_us + 50_000
    live.press_at(edge_us)
    live.run_ms(100)
    (cut_us,) = live.cut_times()
    assert edge_us <= cut_us < edge_us + 1
    assert not live.connected


def test_P3_the_latch_cuts_with_allow_high_and_a_hung_cpu(live: Bench) -> None:
    hang_with_allow_high(live)
    edge_us = live.now_us + 50_000
    live.press_at(edge_us, bounce_ms=5)
    live.run_us(50_000 + LATCH_DELAY_US - 1)
    assert live.coil
    live.run_us(2)
    assert not live.coil
    live.run_us(RELEASE_US)
    assert not live.connected
    live.run_ms(300)
    assert not live.connected
    assert live.pico.mcu.gpio[chip.RELAY].value == HIGH


# No press is lost, none counts twice.


def test_presses_toggle(interlock: Bench) -> None:
    for _ in range(2):
        interlock.press(bounce_ms=5)
        assert interlock.status()["state"] == "live"
        interlock.press(bounce_ms=5)
        at_rest(interlock, "button")


@pytest.mark.parametrize("delay_us", [0, 25_000])
@pytest.mark.parametrize("hold_ms", [2, 20])
def test_a_touch_that_is_no_press_leaves_nothing_behind(
    interlock: Bench, hold_ms: int, delay_us: int
) -> None:
    interlock.physics.latch_delay_us = delay_us
    interlock.watch_relay()
    interlock.press(hold_ms)
    assert interlock.connect_times() == []
    at_rest(interlock, "boot")
    interlock.go_live()
    interlock.press(hold_ms)
    at_rest(interlock, "button")
    interlock.go_live()


def test_the_latch_is_cleared_once_for_each_press_in_vain(interlock: Bench) -> None:
    levels: list[GPIOPinState] = []
    interlock.pico.mcu.gpio[chip.CLEAR].add_listener(lambda new, _old: levels.append(new))
    interlock.run_ms(500)
    assert levels == []
    for count in (1, 2):
        interlock.press(10)
        interlock.run_ms(100)
        # Pulled and let go: driven high it would fight the supply supervisor.
        assert levels == [GPIOPinState.LOW, GPIOPinState.INPUT_PULL_UP] * count


@pytest.mark.parametrize("later_ms", [3, 700])
def test_P8_timer_and_the_press_just_after_it(live: Bench, later_ms: int) -> None:
    live.run_until(lambda: not live.coil, 11_000_000)
    live.run_ms(later_ms)
    live.press()
    at_rest(live, "timer")
    live.run_ms(_SURPRISE_MS)
    live.go_live()


@pytest.mark.parametrize("later_ms", [3, 700])
def test_host_mute_and_the_press_just_after_it(live: Bench, later_ms: int) -> None:
    assert live.ask("mute")["ok"]
    live.run_ms(later_ms)
    live.press()
    at_rest(live, "host")
    live.run_ms(_SURPRISE_MS)
    live.go_live()


def test_a_bounce_that_toggles_twice_is_no_fault(interlock: Bench) -> None:
    physics = interlock.physics
    start_us = interlock.now_us + 1_000
    for at_ms, act in ((0, physics.stick), (8, physics.unstick), (16, physics.stick)):
        physics.at(start_us + 1000 * at_ms, act)
    physics.at(start_us + 120_000, physics.unstick)
    interlock.run_ms(500)
    status = interlock.status()
    assert (status["state"], status["command"], status["faults"]) == ("muted", "cut", [])
    assert status["warnings"] == ["latch_clear"]
    assert interlock.connect_times() == []
    interlock.go_live()
    assert interlock.status()["warnings"] == []


@pytest.mark.parametrize("contact", [1, 2])
def test_weld_is_a_fault_and_its_end_leaves_the_latch_clear(live: Bench, contact: int) -> None:
    live.physics.weld(contact - 1)
    live.press()
    live.run_ms(200)
    status = live.status()
    assert (status["state"], status["faults"]) == ("fault", [f"closed:{contact}"])
    assert not live.connected
    assert not live.physics.latch
    live.physics.unweld(contact - 1)
    live.run_ms(_SURPRISE_MS)
    live.press()
    at_rest(live, "button")
    live.go_live()


# P1: resets and the supply.


def test_P1_watchdog_while_live(live: Bench) -> None:
    live.pico.hang()
    hung_us = live.now_us
    live.run_until(lambda: not live.coil, 1_100_000)
    assert live.now_us - hung_us <= 1_001_000
    # ALLOW cut; the latch knows nothing of it until the firmware starts.
    assert live.physics.latch
    await_start(live)
    assert not live.physics.latch
    live.run_ms(_SURPRISE_MS + 100)
    at_rest(live, "watchdog")
    assert live.pico.resets[-1][1] == "watchdog"
    live.go_live()


def test_P1_power_cycle_while_live(live: Bench) -> None:
    live.pico.power_off()
    assert not live.coil
    live.run_ms(50)
    assert not live.connected
    live.start()
    at_rest(live, "boot")
    live.go_live()


def test_P1_power_on_with_the_button_held(interlock: Bench) -> None:
    interlock.pico.power_off()
    interlock.run_ms(50)
    interlock.watch_relay()
    interlock.press_at(interlock.now_us, hold_ms=2_500)
    interlock.run_ms(1)
    interlock.start()
    interlock.run_ms(2_500)
    at_rest(interlock, "boot")
    assert interlock.connect_times() == []
    interlock.go_live()


def test_P1_reset_while_a_press_is_under_way(live: Bench) -> None:
    for hold_ms in (100, 1_500):
        live.press_at(live.now_us + 1_000, hold_ms=hold_ms)
        live.run_ms(50)
        live.pico.reset()
        assert not live.coil
        await_start(live)
        live.run_ms(hold_ms + 200)
        at_rest(live, "boot")
    live.go_live()


def test_P2_storm_of_presses(interlock: Bench) -> None:
    """Presses that the filter can tell from bounce; the oracle of tests/press_storm.py."""
    chance = random.Random(9)
    live = False
    for _ in range(20):
        hold_ms = chance.choice([3, 12, 20, 40, 90])
        interlock.press(hold_ms, bounce_ms=min(hold_ms - 1, 5))
        live = not live and hold_ms >= 40
        interlock.run_ms(chance.randint(0, 40))
        assert interlock.connected is live
        assert interlock.physics.latch is live


def test_the_world_shows_the_latch(live: Bench, tmp_path: Path) -> None:
    world = World(live.pico, PtyCable(tmp_path / "port"))
    assert world.look()["latch"] == "set"
    live.press()
    assert world.look()["latch"] == "clear"
