"""P1 on the chip: no start, reset, crash or loss of supply ever drives the relay's pin."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from rp2040py.gpio_pin import GPIOPinState

from hardmute.sim.rp2040 import chip
from workbench import Bench, Repl

BOOT_ROM_END = 0x4000
PULLED_DOWN = GPIOPinState.INPUT_PULL_DOWN


def pin(bench: Bench) -> GPIOPinState:
    return bench.pico.mcu.gpio[chip.RELAY].value


def test_P1_the_pin_is_never_high_before_the_first_answer(
    fresh: Callable[[], Bench],
) -> None:
    bench = fresh()
    bench.pico.power_on()
    assert pin(bench) == PULLED_DOWN
    bench.watch_relay()
    bench.pico.plug()
    bench.await_lamp()
    assert bench.status()["state"] == "muted"
    levels = [level for _, level in bench.relay]
    assert levels[0] == PULLED_DOWN
    assert set(levels[1:]) == {GPIOPinState.LOW}
    assert not bench.coil


def hang(bench: Bench) -> None:
    bench.pico.hang()
    bench.run_until(lambda: len(bench.pico.resets) > 1, 1_100_000)


def supply(bench: Bench) -> None:
    bench.pico.power_off()
    bench.run_ms(20)
    bench.pico.power_on()
    bench.pico.plug()


CAUSES: dict[str, tuple[Callable[[Bench], None], str]] = {
    "watchdog": (hang, "watchdog"),
    "supply": (supply, "boot"),
    "run pin": (lambda bench: bench.pico.reset(), "boot"),
}


@pytest.mark.parametrize("what", CAUSES)
def test_P1_a_reset_while_live_cuts_and_stays_cut(live: Bench, what: str) -> None:
    act, cause = CAUSES[what]
    boot = live.status()["boot"]
    act(live)
    assert pin(live) == PULLED_DOWN
    assert not live.coil
    (_, (reset_us, _)) = live.pico.resets
    live.run_ms(2_000)
    assert [now for now in live.connect_times() if now >= reset_us] == []
    assert not live.connected
    told = live.status()
    assert (told["state"], told["cause"], told["boot"]) == ("muted", cause, boot + 1)
    live.press()
    assert live.connected


def test_P1_a_hung_program_is_cut_within_a_second(live: Bench) -> None:
    """Without a press: the watchdog alone."""
    hung_us = live.now_us
    live.pico.hang()
    live.run_ms(1_010)
    assert not live.connected
    (cut_us,) = live.cut_times()
    assert cut_us - hung_us <= 1_000_000


def test_P1_three_crashes_in_a_minute_stay_cut_until_power_off(
    bench: Bench,
) -> None:
    for crashes in (1, 2, 3):
        bench.pico.hang()
        bench.run_until(lambda now=crashes: len(bench.pico.resets) > now, 1_100_000)
        bench.run_ms(1_400)
    assert "crash_loop" in bench.status()["warnings"]
    bench.press()
    bench.press()
    assert bench.connect_times() == []
    supply(bench)
    bench.await_lamp()
    bench.run_ms(100)
    assert bench.status()["warnings"] == []
    bench.go_live()


def test_P1_power_lost_at_any_moment_cuts(live: Bench) -> None:
    chance = random.Random(4)
    live.send(b'{"id":1,"op":"watch"}\n')
    live.run_us(chance.randint(0, 50_000))
    live.pico.power_off()
    assert not live.coil
    live.run_us(3_100)
    assert not live.connected
    assert live.physics.lamp == (0, 0, 0)
    live.press()
    assert not live.connected


@pytest.mark.parametrize(("hold_s", "service"), [(1.5, "none"), (5, "setup")])
def test_P2_a_button_held_at_power_on_connects_nothing(
    bench: Bench, hold_s: float, service: str
) -> None:
    bench.pico.power_off()
    bench.run_ms(20)
    bench.physics.press(1000 * hold_s, 0)
    bench.watch_relay()
    bench.pico.power_on()
    bench.pico.plug()
    bench.run_ms(round(1000 * hold_s) + 200)
    bench.await_lamp()
    assert bench.status()["service"] == service
    assert bench.connect_times() == []
    changed = service == "setup"
    answer = bench.ask("config", set={"max_live_s": 20})
    assert answer["ok"] is changed
    assert (b'"max_live_s":20' in bench.files()["config.json"].replace(b" ", b"")) is changed
    bench.press()
    assert bench.connected is not changed


@pytest.mark.parametrize("leave", [b"import machine\rmachine.reset()\r", b"\x04"])
def test_P1_maintenance_opens_the_prompt_and_stays_cut_after_it(
    bench: Bench, leave: bytes
) -> None:
    bench.pico.power_off()
    bench.run_ms(20)
    bench.physics.press(11_500, 0)
    bench.watch_relay()
    bench.pico.power_on()
    bench.pico.plug()
    bench.run_ms(12_000)
    bench.heard()
    bench.send(b"\r\x03")
    bench.run_ms(100)
    assert b">>> " in bench.heard()
    colours = set()
    for _ in range(20):
        bench.run_ms(25)
        colours.add(bench.physics.lamp)
    assert len(colours) == 2, "the lamp does not flash"
    assert all(red == green == 0 < blue for red, green, blue in colours)
    # Longer than the watchdog's time: it does not run here.
    assert len(bench.pico.resets) == 2
    bench.send(leave)
    bench.run_ms(2_500)
    bench.heard()
    assert "stays_cut" in bench.status()["warnings"]
    bench.press()
    assert bench.connect_times() == []


def test_P1_the_loader_of_the_chip_leaves_the_line_cut(repl: Repl) -> None:
    """The boot ROM itself runs here, until it waits on USB for a new image."""
    repl.run("board.connect(True)")
    repl.run_ms(10)
    assert repl.connected
    repl.watch_relay()
    repl.begin("import machine\nmachine.bootloader()")
    repl.run_ms(500)
    assert [cause for _, cause in repl.pico.resets] == ["power", "watchdog"]
    assert repl.pico.mcu.core.pc < BOOT_ROM_END, "the loader does not run"
    assert [level for _, level in repl.relay] == [GPIOPinState.HIGH, PULLED_DOWN]
    repl.press()
    assert not repl.connected
    assert pin(repl) == PULLED_DOWN
