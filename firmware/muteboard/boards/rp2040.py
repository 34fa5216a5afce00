"""Raspberry Pi Pico (RP2040) with MicroPython.

| pin | is | polarity | why this pin |
|---|---|---|---|
| GP18 | button to GND | low = down, pull-up | in line with the others, between two GND pins |
| GP19 | sense, pole B: COM here, NC to GND | high = closed, pull-up | next to the relay |
| GP20 | relay driver | high = connected | input with pull-down from reset on |
| GP21 | lamp, WS2812 data | - | |

At reset the RP2040 makes every user pin an input with its pull-down on (RP2040 datasheet, "GPIO",
pad control reset values; recalled, not looked up, but the driver's own pull-down holds the relay
at rest as well). Not used: GP15, which the SDK's workaround for erratum RP2040-E5 borrows during
USB enumeration on B0/B1 silicon, and GP16, which its older versions borrow too (pico-sdk issue
759); and GP23 to GP25 and GP29, which the Pico uses itself (Pico datasheet, "Pinout").

The sense pin is tied low by the *closed* rest contact, so only a relay that has come to rest reads
as cut: a wire that fell off reads as closed, which is a fault and never "muted".

A PIO state machine owns the relay while the line is connected. It runs without the CPU, so a
press cuts within a few of its cycles even when the CPU hangs or writes flash.
"""

import builtins
import select
import struct
import sys
import time

import machine
import rp2
from micropython import const

# Watchdog CTRL through its atomic clear alias, and the bit ENABLE in it (RP2040 datasheet,
# "Watchdog", list of registers, and "Atomic register access").
_WATCHDOG_CTRL_CLEAR = const(0x4005_B000)
_WATCHDOG_ENABLE = const(1 << 30)
# At import, before all that takes time: in this family a watchdog has been seen to stay enabled
# across the reset that it caused (on RP2350: pico-keys-sdk issue 25), and then a start that takes
# longer than its time never ends.
machine.mem32[_WATCHDOG_CTRL_CLEAR] = _WATCHDOG_ENABLE

from muteboard import button, crash  # noqa: E402
from muteboard.boards.micropython_board import CHUNK, MicroPythonBoard, ready  # noqa: E402
from muteboard.boards.rp2040_sampler import Sampler, first_word  # noqa: E402

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from rp2.asm_pio import block, irq, jmp, label, noblock, pin, pins, pull, rel, set, wait

_BUTTON = const(18)
_RELAY = const(20)
# One pin per cut in series; the first is contact 1. A second relay's pole B goes to GP22.
_SENSE = (19,)
_LAMP = const(21)

_SETTLE_MS = const(10)
# A timer in software.
_FLASH_TIMER = const(-1)
_READ_SIZE = const(512)
# A page of the flash, as MicroPython's _boot.py mounts it (ports/rp2, MicroPython 1.25).
_PROGRAM_SIZE = const(256)
# Watchdog scratch registers 0 to 3 (RP2040 datasheet, "Watchdog", list of registers). They keep
# their value over a watchdog reset and are cleared by power-on and by the RUN pin. 4 to 7 belong
# to the boot ROM and the SDK's reboot functions.
_SCRATCH = const(0x4005_800C)
# USB buffer control of endpoint 2 IN (RP2040 datasheet, "USB", DPSRAM layout), by which
# MicroPython's serial port sends (shared/tinyusb/tusb_config.h, USBD_CDC_EP_IN). Read in
# MicroPython 1.25 and run on it, emulated; not with the newer TinyUSB of 1.29. Its packets
# alternate between DATA0 and DATA1. A length of 0 is no data, or a stalled endpoint.
_CDC_IN = const(0x5010_0090)
_DATA_PID = const(1 << 13)
_LENGTH = const(0x3FF)
# Number of the last start of frame that the host sent, one each ms (USB 2.0, 7.1.12; RP2040
# datasheet, "USB", SOF_RD). A bus without one for 3 ms is suspended (7.1.7.6).
_SOF = const(0x5011_0048)
_FRAME_US = const(1100)
# The locked image (firmware/locked) has no compiler, and so no prompt.
_LOCKED = not hasattr(builtins, "exec")


# Both programs: one word connects, unless the button is at the watched level already; that level
# cuts and raises the interrupt; then they spin for ever, so no word that is queued, before or
# after, connects again until `init` starts anew. Two programs, because `wait` has its polarity in
# the instruction.
@rp2.asm_pio(set_init=rp2.PIO.OUT_LOW)
def _cut_when_down():
    pull(block)
    jmp(pin, "connect")
    jmp("cut")
    label("connect")
    set(pins, 1)
    wait(0, pin, 0)
    label("cut")
    set(pins, 0)
    irq(rel(0))
    label("halt")
    jmp("halt")


@rp2.asm_pio(set_init=rp2.PIO.OUT_LOW)
def _cut_when_up():
    pull(block)
    jmp(pin, "cut")
    set(pins, 1)
    wait(1, pin, 0)
    label("cut")
    set(pins, 0)
    irq(rel(0))
    label("halt")
    jmp("halt")


# One queued word, thrown away. `asm_pio_encode` would compile, which the locked image cannot.
@rp2.asm_pio(set_init=rp2.PIO.OUT_LOW)
def _discard():
    pull(noblock)


class Board(MicroPythonBoard):
    senses = _SENSE
    contacts = len(_SENSE)
    settle_ms = _SETTLE_MS
    port = "rp2040"
    read_size = _READ_SIZE
    program_size = _PROGRAM_SIZE
    # The port's irq object, of which each release of the stubs says something else.
    _irq: "Any"
    _before: "tuple[Any, int, int, Any, Any]"

    def __init__(self):
        # Before anything that could fail or take time.
        self._relay = machine.Pin(_RELAY, machine.Pin.OUT, value=0)
        # Whether the running PIO program cuts when the button is down.
        self._cut_level = True
        self._machine = rp2.StateMachine(0, _cut_when_down, set_base=self._relay)
        # Looked up here: `cut` must not allocate.
        self._discard = first_word(_discard)
        self.cut()
        super().__init__(_BUTTON, self.senses, _LAMP)
        # A soft reset leaves the chip's reset cause alone, but not the scratch registers at zero.
        self._cold = self._cold and not any(self.retained())
        self._writable = select.poll()
        self._writable.register(sys.stdout, select.POLLOUT)
        self._sampler = Sampler(1, self._button)
        # As it was started: ticks, and the edges until then as counts of downs and of ups, ticks
        # of the first and of the last.
        self._before = (0, 0, 0, 0, 0)
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
        self._date_edge()
        flags = self._irq.flags()
        if flags & machine.Pin.IRQ_FALLING:
            self._downs = self._downs + 1 & 0xFFFF
        if flags & machine.Pin.IRQ_RISING:
            self._ups = self._ups + 1 & 0xFFFF

    def _cut_by_pio(self, _machine) -> None:
        # Hard IRQ: must not allocate. The PIO may see a glitch that the pin's interrupt misses;
        # what has cut must be known as an edge.
        self._date_edge()
        if self._cut_level:
            self._downs = self._downs + 1 & 0xFFFF
        else:
            self._ups = self._ups + 1 & 0xFFFF

    def journal_append(self, segment: int, data: bytes | bytearray) -> None:
        self._start_sampling()
        super().journal_append(segment, data)

    def journal_drop(self, segment: int) -> None:
        self._start_sampling()
        super().journal_drop(segment)

    def store_keys(self, data: bytes) -> None:
        self._start_sampling()
        super().store_keys(data)

    def _start_sampling(self) -> None:
        # Of several writes before the next `take_missed`, the first one's goes on.
        if not self._sampler.running:
            start = time.ticks_ms()
            self._sampler.start()
            self._before = (start, self._downs, self._ups, self._first_at, self._last_at)

    def take_missed(self) -> "Sequence[tuple[int, bool, int]]":
        if not self._sampler.running:
            return ()
        start, downs, ups, first, last = self._before
        before = _edges(downs != self._downs_taken, ups != self._ups_taken)
        # What comes from here on is told, and dated, by `take_edges`.
        state = machine.disable_irq()
        during = _edges(self._downs != downs, self._ups != ups)
        self._downs_taken = self._downs
        self._ups_taken = self._ups
        machine.enable_irq(state)
        changes, complete = self._sampler.stop()
        missed = []
        if before:
            missed.append((first, self._sampler.down, before))
            missed.append((last, self._sampler.down, before))
        for at, down, edges in changes:
            missed.append((time.ticks_add(start, at), down, edges))
        # Too short for it, or too late; it may have cut.
        if during and (not changes or not complete):
            missed.append((time.ticks_ms(), self.button_down(), during))
        return missed

    def cut(self) -> None:
        self._armed = False
        self._machine.active(0)
        # Takes the pad from the PIO; the level is set before the pad is switched.
        self._relay.init(machine.Pin.OUT, value=0)
        for _ in range(self._machine.tx_fifo()):
            self._machine.exec(self._discard)

    def connect(self, cut_level: bool) -> bool:
        self._cut_level = cut_level
        self._armed = True
        program = _cut_when_down if cut_level else _cut_when_up
        # Stops the machine, empties its FIFOs, hands it the pad at low level.
        self._machine.init(
            program, in_base=self._button, jmp_pin=self._button, set_base=self._relay
        )
        self._machine.active(1)
        self._machine.put(1)
        return True

    def write(self, data: bytes | memoryview) -> int:
        # Writing more than fits would wait up to 1.5 s for a host that does not read, which is
        # longer than the watchdog does. POLLOUT promises room for one byte. If a new packet has
        # been handed to the USB controller meanwhile, it took up to 64 bytes out of the queue (or
        # all of it): as many fit again, less the one byte.
        # On a suspended bus (an unplugged cable's is) POLLOUT promises nothing, and a write into a
        # full queue never ends (mp_usbd_cdc_tx_strn, MicroPython 1.25; from 1.27 on: in 500 ms).
        if not _bus_is_active():
            return 0
        write = sys.stdout.buffer.write
        limit = min(len(data), CHUNK)
        count = 0
        while count < limit and ready(self._writable):
            before = machine.mem16[_CDC_IN]
            write(data[count : count + 1])
            count += 1
            packet = machine.mem16[_CDC_IN]
            if packet & _LENGTH and (packet ^ before) & _DATA_PID:
                write(data[count:limit])
                return limit
        return count

    def retained(self) -> bytes:
        # Masked: a word from 2**31 on reads as negative.
        words = [machine.mem32[_SCRATCH + at] & 0xFFFFFFFF for at in range(0, crash.SIZE, 4)]
        return struct.pack("<IIII", *words)

    def retain(self, data: bytes) -> None:
        for at in range(0, crash.SIZE, 4):
            machine.mem32[_SCRATCH + at] = int.from_bytes(data[at : at + 4], "little")

    def flash(self) -> rp2.Flash:
        return rp2.Flash()

    def maintenance(self) -> None:
        self.cut()
        self.retain(crash.STAY_CUT)
        if _LOCKED:
            # The ROM's loader, so that the board can be flashed anew: it lets go of every pin. The
            # lamp is dark there, as after BOOTSEL.
            self.show((0, 0, 0))
            machine.bootloader()
        self.open_prompt(_FLASH_TIMER)


def _edges(down: bool, up: bool) -> int:
    return (button.EDGE_DOWN if down else 0) | (button.EDGE_UP if up else 0)


def _bus_is_active() -> bool:
    """Whether the host sends frames now. Takes up to a frame's time."""
    start = time.ticks_us()
    before = machine.mem32[_SOF]
    while machine.mem32[_SOF] == before:
        if time.ticks_diff(time.ticks_us(), start) > _FRAME_US:
            return False
    return True
