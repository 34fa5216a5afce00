"""ESP32 DevKitC (classic ESP32) with MicroPython.

| pin | is | polarity | why this pin |
|---|---|---|---|
| GPIO21 | button to GND | low = down, pull-up | beside a GND pin, no role at boot |
| GPIO19 | relay driver | high = connected | no strapping, no pull, no boot output |
| GPIO18 | sense, pole B: COM here, NC to GND | high = closed, pull-up | beside the relay |
| GPIO23 | lamp, WS2812 data | - | no role at boot |

Not used for the relay (ESP-IDF Programming Guide, "GPIO & RTC GPIO", table of pins): GPIO0, 2, 5,
12 and 15 are strapping pins with pulls of their own, 1 and 3 the serial port, 6 to 11 and 16 and
17 belong to the module's flash and PSRAM, 12 to 15 are JTAG, and 34 to 39 have neither output nor
pulls. 14 is seen pulled up after reset. What GPIO19 does through reset was not looked up in the
datasheet's IO_MUX table and is taken as floating: the driver's own pull-down (firmware/README.md)
keeps the relay at rest.

The sense pin is tied low by the *closed* rest contact, so only a relay that has come to rest reads
as cut: a wire that fell off reads as closed, which is a fault and never "muted".

This port has no hard interrupts (1.25): a press cuts in a soft one, at the next bytecode that the
interpreter starts. A flash write, a garbage collection or the lamp's waveform comes first. No
latency is claimed. The lamp goes through the RMT peripheral, which is this port's default for
`machine.bitstream` (`esp32.RMT.bitstream_channel`), so interrupts stay on meanwhile. Sent with
interrupts off, as on the RP2040, one lamp would delay a cut by its 24 bits: there, emulated, a cut
by interrupt takes 38 us then instead of 13 (`make bench`).

A restart by the watchdog, a panic or `machine.reset` is a CPU reset here. ESP-IDF says of
`esp_restart` that peripherals are not reset, so the pins stay as they were: a program that hangs
while live is cut when boot.py runs again, by `esp32_cut`, and not yet when the watchdog bites. How
long after that was measured in an emulator only (firmware/README.md).

The journal and the keys need MicroPython's own partition table, with its littlefs in `vfs`, as
read in ports/esp32 of MicroPython 1.25: modules/flashbdev.py (where it is) and esp32_partition.c
(a block is 4096 bytes; `writeblocks` with an offset programs and does not erase). Programming
zeros over what is there was not tried on this chip. With ESP-IDF's flash encryption, which
MicroPython's images do not use, it cannot be done: then storing keys fails, and so does pairing.

The serial link is UART0, through the DevKitC's USB bridge. Its control lines let any program on
the host restart this chip, or put other firmware on it: see firmware/README.md.
"""

import sys
import time

import machine
from esp32 import Partition
from micropython import const

# Before all that takes time, should boot.py not have done it.
from muteboard.boards import esp32_cut  # isort: skip

from muteboard import crash
from muteboard.boards.micropython_board import CHUNK, MicroPythonBoard

_RELAY = esp32_cut.RELAY
_BUTTON = const(21)
# One pin per cut in series; the first is contact 1. A second relay's pole B goes to GPIO22.
_SENSE = (18,)
_LAMP = const(23)

_SETTLE_MS = const(10)
_FLASH_TIMER = const(0)
_READ_SIZE = const(256)
# MicroPython's default, with which its _boot.py mounts (extmod/vfs_lfs.c, MicroPython 1.25).
_PROGRAM_SIZE = const(32)
# The UART at 115200 baud sends 11.5 bytes per ms out of a FIFO of 128.
_BYTES_PER_MS = const(11)
_FIFO = const(128)


class Board(MicroPythonBoard):
    senses = _SENSE
    contacts = len(_SENSE)
    settle_ms = _SETTLE_MS
    port = "esp32"
    read_size = _READ_SIZE
    program_size = _PROGRAM_SIZE

    def __init__(self):
        # Before anything that could fail or take time.
        self._relay = machine.Pin(_RELAY, machine.Pin.OUT, machine.Pin.PULL_DOWN, value=0)
        self._armed = False
        self._cut_level = True
        super().__init__(_BUTTON, self.senses, _LAMP)
        self._last_down = self.button_down()
        self._memory = machine.RTC()
        # Bytes that fit the UART's FIFO, as of `_room_at`.
        self._room = 0
        self._room_at = time.ticks_ms()
        # Bound once: making a bound method allocates.
        self._on_edge = self._edge
        self._button.irq(self._on_edge, machine.Pin.IRQ_FALLING | machine.Pin.IRQ_RISING)

    def _edge(self, _pin) -> None:
        # Soft IRQ, run between bytecodes: cut before anything else, store, decide nothing.
        down = not self._button.value()
        # An interrupt that finds the level unchanged stands for two edges that it was too late
        # to tell apart.
        both = down == self._last_down
        if self._armed and (both or down == self._cut_level):
            self.cut()
        self._date_edge()
        self._last_down = down
        if down or both:
            self._downs = self._downs + 1 & 0xFFFF
        if both or not down:
            self._ups = self._ups + 1 & 0xFFFF

    def cut(self) -> None:
        self._relay.value(0)
        self._armed = False

    def connect(self, cut_level: bool) -> bool:
        self._cut_level = cut_level
        self._armed = True
        self._relay.value(1)
        # The interrupt may have cut between those two lines, or an edge may have come before.
        if not self._armed or self.button_down() == cut_level:
            self.cut()
        return True

    def write(self, data: bytes | memoryview) -> int:
        # This port calls stdout writable even when a write would wait for the FIFO, so what has
        # drained meanwhile is reckoned from the baud rate.
        now = time.ticks_ms()
        drained = time.ticks_diff(now, self._room_at) * _BYTES_PER_MS
        self._room = min(_FIFO, self._room + drained)
        self._room_at = now
        count = min(len(data), self._room, CHUNK)
        if count:
            sys.stdout.buffer.write(data[:count])
            self._room -= count
        return count

    def retained(self) -> bytes:
        return self._memory.memory()

    def retain(self, data: bytes) -> None:
        self._memory.memory(data)

    def flash(self) -> Partition:
        found = Partition.find(Partition.TYPE_DATA, label="vfs")
        if not found:
            raise OSError("no partition named vfs")
        return found[0]

    def maintenance(self) -> None:
        self.cut()
        self.retain(crash.STAY_CUT)
        self.open_prompt(_FLASH_TIMER)
