"""Raspberry Pi Pico (RP2040) with MicroPython.

| pin | is | polarity | why this pin |
|---|---|---|---|
| GP18 | button to GND | low = down, pull-up | in line with the others, between two GND pins |
| GP19 | sense, pole B: COM here, NC to GND | high = closed, pull-up | next to the relay |
| GP20 | relay driver | high = connected | input with pull-down from reset on |
| GP21 | lamp, WS2812 data | - | |

At reset the RP2040 makes every user pin an input with its pull-down on (RP2040 datasheet, "GPIO",
pad control reset values), so the relay rests until this file drives it. Not used: GP15, which the
boot ROM and SDK borrow during USB enumeration on B0/B1 silicon (datasheet, erratum RP2040-E5), and
GP23 to GP25 and GP29, which the Pico uses itself (Pico datasheet, "Pinout").

The sense pin is tied low by the *closed* rest contact, so only a relay that has come to rest reads
as cut: a wire that fell off reads as closed, which is a fault and never "muted".

A PIO state machine owns the relay while the line is connected. It runs without the CPU, so a
press cuts within a few of its cycles even when the CPU hangs or writes flash.
"""

import os
import select
import struct
import sys
import time

import machine
import micropython
import rp2
from micropython import const

from muteboard import button, crash, lamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rp2.asm_pio import block, irq, jmp, label, pin, pins, pull, rel, set, wait

_BUTTON = const(18)
_RELAY = const(20)
# One pin per cut in series; the first is contact 1. A second relay's pole B goes to GP22.
_SENSE = (19,)
_LAMP = const(21)

_SETTLE_MS = const(10)
_WATCHDOG_MS = const(1000)
_CHUNK = const(64)
_CTRL_C = const(3)
_FLASH_MS = const(125)
_FLASH_PERCENT = const(50)
# WS2812B: high and low times of a 0, then of a 1, in ns.
_LAMP_TIMING = (400, 850, 800, 450)
# Watchdog scratch registers 0 to 3 (RP2040 datasheet, "Watchdog", list of registers). They keep
# their value over a watchdog reset and are cleared by power-on and by the RUN pin. 4 to 7 belong
# to the boot ROM and the SDK's reboot functions.
_SCRATCH = const(0x4005_800C)
# Left in the scratch registers by maintenance: no valid record, and not the zeros of a cold start.
_AFTER_MAINTENANCE = b"\xff" * crash.SIZE

_FILES = {"config": "config.json", "boot": "boot.txt"}
_PARTIAL = "partial.tmp"


# Both programs: one word connects; the watched level cuts and raises the interrupt; then they spin
# for ever, so no word that is queued, before or after, connects again until `init` starts anew.
# Two programs, because `wait` has its polarity in the instruction.
@rp2.asm_pio(set_init=rp2.PIO.OUT_LOW)
def _cut_when_down():
    pull(block)
    set(pins, 1)
    wait(0, pin, 0)
    set(pins, 0)
    irq(rel(0))
    label("halt")
    jmp("halt")


@rp2.asm_pio(set_init=rp2.PIO.OUT_LOW)
def _cut_when_up():
    pull(block)
    set(pins, 1)
    wait(1, pin, 0)
    set(pins, 0)
    irq(rel(0))
    label("halt")
    jmp("halt")


class Board:
    contacts = len(_SENSE)
    settle_ms = _SETTLE_MS
    port = "rp2040"
    simulated = False

    def __init__(self):
        # Before anything that could fail or take time.
        self._relay = machine.Pin(_RELAY, machine.Pin.OUT, value=0)
        micropython.alloc_emergency_exception_buf(100)
        micropython.kbd_intr(-1)
        self._machine = rp2.StateMachine(0, _cut_when_down, set_base=self._relay)
        # One queued word, thrown away. Encoded here: assembling allocates.
        self._discard = rp2.asm_pio_encode("pull(noblock)", 0)
        self.cut()
        self._button = machine.Pin(_BUTTON, machine.Pin.IN, machine.Pin.PULL_UP)
        self._sense = [machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP) for pin in _SENSE]
        self._lamp = machine.Pin(_LAMP, machine.Pin.OUT, value=0)
        self._grb = bytearray(3)
        # Edges ever seen, modulo 2**16. Each is written by interrupts only and compared by
        # `take_edges`, so none is lost between reading and clearing.
        self._downs = 0
        self._ups = 0
        self._downs_taken = 0
        self._ups_taken = 0
        # Whether the running PIO program cuts when the button is down.
        self._cut_level = True
        self._watchdog: machine.WDT | None = None
        self._flasher: machine.Timer | None = None
        # A soft reset leaves the chip's reset cause alone, but not the scratch registers at zero.
        power_on = machine.reset_cause() == machine.PWRON_RESET
        self._cold = power_on and not any(self.retained())
        self._readable = select.poll()
        self._readable.register(sys.stdin, select.POLLIN)
        self._writable = select.poll()
        self._writable.register(sys.stdout, select.POLLOUT)
        self._in = memoryview(bytearray(_CHUNK))
        # Bound once: making a bound method allocates.
        self._on_cut = self._cut_by_pio
        self._on_edge = self._edge
        self._machine.irq(self._on_cut, trigger=1, hard=True)
        # Fetched before it is armed: the handler needs it at the first edge, and one that raises
        # is switched off for good.
        self._irq = self._button.irq()
        self._button.irq(
            self._on_edge, machine.Pin.IRQ_FALLING | machine.Pin.IRQ_RISING, hard=True
        )

    def _edge(self, _pin) -> None:
        # Hard IRQ: must not allocate.
        # The stub's `Pin.irq` returns a function; the port's returns an irq object.
        flags = self._irq.flags()  # pyright: ignore[reportFunctionMemberAccess]
        if flags & machine.Pin.IRQ_FALLING:
            self._downs = self._downs + 1 & 0xFFFF
        if flags & machine.Pin.IRQ_RISING:
            self._ups = self._ups + 1 & 0xFFFF

    def _cut_by_pio(self, _machine) -> None:
        # Hard IRQ: must not allocate. The PIO may see a glitch that the pin's interrupt misses;
        # what has cut must be known as an edge.
        if self._cut_level:
            self._downs = self._downs + 1 & 0xFFFF
        else:
            self._ups = self._ups + 1 & 0xFFFF

    def cut(self) -> None:
        self._machine.active(0)
        # Takes the pad from the PIO; the level is set before the pad is switched.
        self._relay.init(machine.Pin.OUT, value=0)
        for _ in range(self._machine.tx_fifo()):
            self._machine.exec(self._discard)

    def connect(self, cut_level: bool) -> None:
        self._cut_level = cut_level
        program = _cut_when_down if cut_level else _cut_when_up
        # Stops the machine, empties its FIFOs, hands it the pad at low level.
        self._machine.init(program, in_base=self._button, set_base=self._relay)
        self._machine.active(1)
        self._machine.put(1)

    def sense(self) -> int:
        bits = 0
        for contact in range(len(self._sense)):
            bits |= self._sense[contact].value() << contact
        return bits

    def button_down(self) -> bool:
        return not self._button.value()

    def take_edges(self) -> int:
        edges = 0
        downs, ups = self._downs, self._ups
        if downs != self._downs_taken:
            self._downs_taken = downs
            edges |= button.EDGE_DOWN
        if ups != self._ups_taken:
            self._ups_taken = ups
            edges |= button.EDGE_UP
        return edges

    def show(self, rgb: tuple[int, int, int]) -> None:
        # Interrupts are off for 30 us meanwhile. The cut is the PIO's, so it is not delayed.
        self._grb[0], self._grb[1], self._grb[2] = rgb[1], rgb[0], rgb[2]
        machine.bitstream(self._lamp, 0, _LAMP_TIMING, self._grb)

    def ticks_ms(self) -> int:
        return time.ticks_ms()

    def ticks_diff(self, new: int, old: int) -> int:
        return time.ticks_diff(new, old)

    def idle(self) -> None:
        time.sleep_ms(1)

    def read_available(self) -> bytes:
        count = 0
        # `read` waits for all that it is asked for, so it is asked for one byte at a time.
        while count < _CHUNK and _ready(self._readable):
            sys.stdin.buffer.readinto(self._in[count : count + 1])
            count += 1
        return bytes(self._in[:count])

    def write(self, data: bytes | memoryview) -> int:
        # POLLOUT promises room for one byte. Writing more than fits would wait up to 1.5 s for a
        # host that does not read, which is longer than the watchdog does.
        count = 0
        limit = min(len(data), _CHUNK)
        while count < limit and _ready(self._writable):
            sys.stdout.buffer.write(data[count : count + 1])
            count += 1
        return count

    def feed_watchdog(self) -> None:
        if self._watchdog is None:
            self._watchdog = machine.WDT(timeout=_WATCHDOG_MS)
        self._watchdog.feed()

    def reset_cause(self) -> str:
        return "cold" if self._cold else "watchdog"

    def retained(self) -> bytes:
        # Masked: a word from 2**31 on reads as negative.
        words = [machine.mem32[_SCRATCH + at] & 0xFFFFFFFF for at in range(0, crash.SIZE, 4)]
        return struct.pack("<IIII", *words)

    def retain(self, data: bytes) -> None:
        for at in range(0, crash.SIZE, 4):
            machine.mem32[_SCRATCH + at] = int.from_bytes(data[at : at + 4], "little")

    def load(self, name: str) -> bytes | None:
        try:
            with open(_FILES[name], "rb") as file:
                return file.read()
        except OSError:
            return None

    def store(self, name: str, data: bytes) -> None:
        with open(_PARTIAL, "wb") as file:
            file.write(data)
        # littlefs replaces in one step: power loss leaves the old file or the new one.
        os.rename(_PARTIAL, _FILES[name])

    def unique_id(self) -> bytes:
        return machine.unique_id()

    def maintenance(self) -> None:
        self.cut()
        self.retain(_AFTER_MAINTENANCE)
        self._flasher = machine.Timer(
            -1, period=_FLASH_MS, mode=machine.Timer.PERIODIC, callback=self._flash
        )
        micropython.kbd_intr(_CTRL_C)

    def _flash(self, _timer) -> None:
        now = time.ticks_ms()
        self.show(lamp.colour(lamp.MAINTENANCE, now, lamp.PALETTES[0], _FLASH_PERCENT))

    def reset(self) -> None:
        machine.reset()


def _ready(poller) -> bool:
    for _ in poller.ipoll(0):
        return True
    return False
