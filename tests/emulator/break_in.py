"""A host that tries to get MicroPython's prompt out of a board. It fails, or these do."""

from __future__ import annotations

import random

from workbench import Bench

# Interrupt, soft reset, raw and friendly prompt, paste.
CONTROL = (b"\x03", b"\x04", b"\x01", b"\x02", b"\x05")
_PROMPTS = (b">>>", b"raw REPL", b"MicroPython", b"soft reboot", b"Traceback")


def from_reset_on(bench: Bench, phase_us: int) -> None:
    """Power-on; these bytes every 250 us from the moment that there is a port, ``phase_us`` later.

    Then the 1200-baud touch as well, and more of them. The board has started when this returns.
    """
    bench.pico.power_on()
    bench.pico.plug()
    bench.run_until(lambda: bench.pico.usb.connected, 1_000_000, step_us=50)
    bench.run_us(phase_us)
    chance = random.Random(phase_us)
    heard = b""
    quiet_us = bench.now_us + 300_000
    while bench.now_us < quiet_us:
        if bench.pico.usb.connected:
            bench.send(chance.choice(CONTROL) if chance.random() < 0.3 else b"\x03")
        bench.run_us(250)
        heard += bench.heard()
    for baud_rate in (1200, 115200):
        bench.pico.usb.set_baud_rate(baud_rate)
        bench.run_ms(5)
        bench.pico.usb.set_lines(dtr=False, rts=False)
        bench.run_ms(100)
        bench.pico.usb.set_lines(dtr=True, rts=True)
        bench.send(b"\x03\x03\x01import machine\x04")
        bench.run_ms(20)
    bench.await_lamp()
    bench.run_ms(500)
    _end(bench, heard)


def later(bench: Bench) -> None:
    """The same bytes at random moments of a board that has started long since."""
    chance = random.Random(8)
    for _ in range(40):
        bench.send(chance.choice(CONTROL) * chance.randint(1, 3))
        bench.run_us(chance.randint(100, 9_000))
    _end(bench, b"")


def _end(bench: Bench, heard: bytes) -> None:
    bench.send(b"\n")
    bench.run_ms(100)
    heard += bench.heard()
    assert [prompt for prompt in _PROMPTS if prompt in heard] == []
