"""thumb.c does what rp2040py does, to the bit: each instruction, and a whole board."""

from __future__ import annotations

import hashlib
import random
from array import array
from typing import Any

import pytest
from rp2040py.rp2040 import RP2040

from conftest import image
from hardmute.sim.rp2040 import thumb
from workbench import Repl

_RAM = 0x2000_0000
_CODE = _RAM + 0x1000
# Not the code, nor what is next to it.
_DATA = range(_RAM + 0x2000, _RAM + 0x4_1C00, 4)
_SYSTICK = 0xE000_E018
_OTHER = (0x1000_0000, 0x10FF_FFF8, 0x5010_0000, 0x2004_1FF0, 0x3FF0, 0x8, _SYSTICK, 0x4005_4024)
_OFFSETS = (0, 0, 4, 8, 32)
_SIO = (*range(0xD000_0000, 0xD000_0084, 4), *range(0xD000_0100, 0xD000_0180, 4))
_EDGES = (0, 1, 31, 32, 33, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF)
# BL, barriers, MRS and MSR of PRIMASK: the second half.
_SECONDS = (0xF800, 0xD123, 0x8F40, 0x8F50, 0x8F60, 0x8310, 0x8810)

# So that most loads and stores hit something at least once.
_TRIES = 4
# First halves that it executes. rp2040py does the rest, and knows a seventh of all not at all.
_AT_LEAST = 53_000


@pytest.fixture
def run() -> Any:
    library = thumb.library()
    assert library is not None, "thumb.c is not compiled yet: make images"
    return library


def word(chance: random.Random) -> int:
    """An address of any kind, a limit, a count to shift by, or anything."""
    kind = chance.random()
    if kind < 0.2:
        return chance.choice(_OFFSETS)
    if kind < 0.5:
        return chance.choice(_DATA) + chance.choice((0, 0, 0, 0, 1, 2))
    if kind < 0.6:
        return chance.choice(_SIO)
    if kind < 0.65:
        return chance.choice(_OTHER)
    if kind < 0.8:
        return chance.choice(_EDGES)
    return chance.getrandbits(chance.choice((5, 32)))


def state(mcu: RP2040) -> tuple[object, ...]:
    core, sio = mcu.core, mcu.sio
    divider = (sio.div_dividend, sio.div_divisor, sio.div_quotient, sio.div_remainder, sio.div_csr)
    return (
        list(memoryview(core.registers)),
        (core.apsr, core.pm, core.cycles, sio.spin_lock),
        [int(register) & 0xFFFF_FFFF for register in divider],
    )


def test_each_instruction_is_as_rp2040py_has_it(run: Any) -> None:
    """Each first half that there is, on random registers, flags and memory."""
    chance = random.Random(1)
    ours, theirs = mcus = RP2040(), RP2040()
    machine = thumb.attach(ours)
    rom = [chance.getrandbits(32) for _ in range(4096)]
    flash, ram, dpram = (chance.randbytes(size) for size in (16 << 20, 264 << 10, 4 << 10))
    for mcu in mcus:
        mcu.load_bootrom(rom)
        mcu.flash[:], mcu.sram[:], mcu.usb_dpram[:] = flash, ram, dpram
        mcu.ppb.systick_timer.enable = True
        mcu.clock.tick(123_456.7)
    done: set[int] = set()
    for opcode in range(0x1_0000):
        for _ in range(_TRIES):
            second = chance.choice(_SECONDS)
            registers = [*(word(chance) for _ in range(13)), chance.choice(_DATA), word(chance)]
            apsr, primask = chance.getrandbits(4) << 28, chance.random() < 0.5
            for mcu in mcus:
                at = _CODE - _RAM
                mcu.sram[at : at + 4] = (opcode | second << 16).to_bytes(4, "little")
                memoryview(mcu.core.registers)[:] = memoryview(array("I", (*registers, _CODE)))
                mcu.core.apsr, mcu.core.pm, mcu.core.interrupts_updated = apsr, primask, False
            before = state(ours)
            cycles = thumb.execute(ours.core, run, machine, 1)
            what = (hex(opcode), hex(second), before)
            if cycles:
                assert theirs.core.execute_instruction() == cycles, what
                assert state(ours) == state(theirs), what
                done.add(opcode)
                break
            assert state(ours) == before, what
    assert bytes(ours.sram) == bytes(theirs.sram)
    assert len(done) >= _AT_LEAST


# Interrupts, fast and slow state machines, some of which halt, the flash, and a waveform that the
# SysTick times.
_PROGRAM = """
import machine, rp2
from machine import Pin, Timer

@rp2.asm_pio(set_init=rp2.PIO.OUT_LOW)
def follow():
    wait(0, pin, 0)
    set(pins, 1)
    wait(1, pin, 0)
    set(pins, 0)

@rp2.asm_pio(set_init=rp2.PIO.OUT_LOW)
def once():
    wait(0, pin, 0)
    set(pins, 1)
    label("halt")
    jmp("halt")

button = Pin(18, Pin.IN, Pin.PULL_UP)
for number, what, hz, pin in (
    (0, follow, 125_000_000, 20),
    (1, follow, 2_000, 16),
    (2, once, 125_000_000, 17),
    (4, once, 9_000_000, 22),
):
    rp2.StateMachine(number, what, freq=hz, set_base=Pin(pin), in_base=button).active(1)
edges = []
button.irq(edges.append)
timer = Timer(period=2, callback=lambda _: edges.append(7 // 2))
machine.bitstream(Pin(21, Pin.OUT), 0, (400, 850, 800, 450), b"abc")
open("x", "wb").write(bytes(400))
"""


def lived(repl: Repl) -> list[object]:
    """What a board does, from power-on on."""
    repl.start()
    edge_us = repl.now_us + 20_000
    repl.press_at(edge_us, hold_ms=8, bounce_ms=2)
    repl.run(_PROGRAM)
    assert repl.now_us > edge_us
    repl.run_ms(15)
    mcu = repl.pico.mcu
    digests = [hashlib.sha256(bytes(memory)).hexdigest() for memory in (mcu.sram, mcu.flash)]
    assert len(repl.relay) > 2
    pios = [(pio.cycle_fp, pio.next_due_fp, pio.backlog_drops, pio.irq) for pio in mcu.pio]
    machines = [
        (machine.pc, machine.cycles, machine.next_due_fp, machine.waiting, machine.enabled)
        for pio in mcu.pio
        for machine in pio.machines
    ]
    now = repl.pico.clock.nanos
    return [state(mcu), digests, pios, machines, now, repl.relay, repl.physics.lamp]


def test_a_board_does_the_same_without_it(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run
    ours = lived(Repl(image()))
    monkeypatch.setattr(thumb, "library", lambda: None)
    assert lived(Repl(image())) == ours
