"""main.py on a MicroPython that says it runs on another chip: it touches nothing, and opens the
prompt. Every machine that MicroPython knows is in tests/firmware/test_supported.py.
"""

from __future__ import annotations

from collections.abc import Callable

from hardmute.sim.rp2040 import chip
from test_power import PULLED_DOWN
from workbench import START_US, Bench

OURS = b"Raspberry Pi Pico with RP2040\0"
OTHER = b"Raspberry Pi Pico with RP2350\0"


def test_P1_another_chip_gets_the_prompt_and_no_pin_is_touched(
    fresh: Callable[..., Bench],
) -> None:
    bench = fresh()
    flash = bench.pico.mcu.flash
    at = bytes(flash[: bench.place.start]).index(OURS)
    flash[at : at + len(OTHER)] = OTHER
    bench.watch_relay()
    bench.pico.power_on()
    bench.pico.plug()
    bench.run_until(lambda: bench.pico.usb.connected, START_US)
    bench.run_ms(500)
    bench.send(b"\r\x03")
    bench.run_ms(50)
    assert b">>> " in bench.heard()
    bench.send(b"import main\r")
    bench.run_ms(200)
    assert (
        b"ImportError: this board is 'Raspberry Pi Pico with RP2350': with MicroPython, hardmute "
        b"supports only the Raspberry Pi Pico (RPI_PICO) and"
    ) in bench.heard()
    gpio = bench.pico.mcu.gpio
    for pin in (chip.BUTTON, *chip.SENSE, chip.RELAY, chip.LAMP):
        assert gpio[pin].value == PULLED_DOWN
    assert {level for _, level in bench.relay} == {PULLED_DOWN}
    assert bench.pico.mcu.watchdog.scratch_data[:4] == [0] * 4
    assert [cause for _, cause in bench.pico.resets] == ["power"]
