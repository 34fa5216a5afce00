"""ESP32 DevKitC (classic ESP32) with MicroPython.

| pin | is | polarity | why this pin |
|---|---|---|---|
| GPIO21 | button to GND | low = down, pull-up | beside a GND pin, no role at boot |
| GPIO19 | relay driver | high = connected | no strapping, no pull, no boot output |
| GPIO18 | sense, pole B: COM here, NC to GND | high = closed, pull-up | beside the relay |
| GPIO23 | lamp, WS2812 data | - | no role at boot |

Not used for the relay (ESP32 datasheet, "Strapping Pins" and "IO_MUX"; ESP-IDF "GPIO Summary"):
GPIO0, 2, 5, 12 and 15 are strapping pins with pulls of their own, 14 comes out of reset pulled up,
1 and 3 are the serial port, 6 to 11 the flash, 16 and 17 the PSRAM of WROVER modules, and 34 to 39
have neither output nor pulls. Through reset GPIO19 floats, so the driver's own pull-down
(firmware/README.md) is what keeps the relay at rest.

The sense pin is tied low by the *closed* rest contact, so only a relay that has come to rest reads
as cut: a wire that fell off reads as closed, which is a fault and never "muted".

This port has no hard interrupts: a press cuts in a soft one, at the next bytecode that the
interpreter starts. A flash write, a garbage collection or the lamp's waveform comes first. No
latency is claimed. The lamp goes through the RMT peripheral, which is this port's default for
`machine.bitstream` (`esp32.RMT.bitstream_channel`), so interrupts stay on meanwhile.

The serial link is UART0, through the DevKitC's USB bridge. Its control lines let any program on
the host restart this chip, or put other firmware on it: see firmware/README.md.
"""

import os
import select
import sys
import time

import machine
import micropython
from micropython import const

from muteboard import button, crash, lamp

_BUTTON = const(21)
_RELAY = const(19)
# One pin per cut in series; the first is contact 1. A second relay's pole B goes to GPIO22.
_SENSE = (18,)
_LAMP = const(23)

_SETTLE_MS = const(10)
_WATCHDOG_MS = const(1000)
_CHUNK = const(64)
# The UART at 115200 baud sends 11.5 bytes per ms out of a FIFO of 128.
_BYTES_PER_MS = const(11)
_FIFO = const(128)
_CTRL_C = const(3)
_FLASH_MS = const(125)
_FLASH_PERCENT = const(50)
# WS2812B: high and low times of a 0, then of a 1, in ns.
_LAMP_TIMING = (400, 850, 800, 450)

_FILES = {"config": "config.json", "boot": "boot.txt"}
_PARTIAL = "partial.tmp"


class Board:
    contacts = len(_SENSE)
    settle_ms = _SETTLE_MS
    port = "esp32"
    simulated = False

    def __init__(self):
        # Before anything that could fail or take time.
        self._relay = machine.Pin(_RELAY, machine.Pin.OUT, machine.Pin.PULL_DOWN, value=0)
        micropython.alloc_emergency_exception_buf(100)
        micropython.kbd_intr(-1)
        self._button = machine.Pin(_BUTTON, machine.Pin.IN, machine.Pin.PULL_UP)
        self._sense = [machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP) for pin in _SENSE]
        self._lamp = machine.Pin(_LAMP, machine.Pin.OUT, value=0)
        self._grb = bytearray(3)
        # Edges ever seen, modulo 2**16. Each is written by the interrupt only and compared by
        # `take_edges`, so none is lost between reading and clearing.
        self._downs = 0
        self._ups = 0
        self._downs_taken = 0
        self._ups_taken = 0
        self._last_down = self.button_down()
        # True from before the relay is energised until something cuts.
        self._armed = False
        self._cut_level = True
        self._memory = machine.RTC()
        self._watchdog: machine.WDT | None = None
        self._flasher: machine.Timer | None = None
        self._cold = machine.reset_cause() == machine.PWRON_RESET
        self._readable = select.poll()
        self._readable.register(sys.stdin, select.POLLIN)
        self._in = memoryview(bytearray(_CHUNK))
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
        self._last_down = down
        if down or both:
            self._downs = self._downs + 1 & 0xFFFF
        if both or not down:
            self._ups = self._ups + 1 & 0xFFFF

    def cut(self) -> None:
        self._relay.value(0)
        self._armed = False

    def connect(self, cut_level: bool) -> None:
        self._cut_level = cut_level
        self._armed = True
        self._relay.value(1)
        # The interrupt may have cut between those two lines, or an edge may have come before.
        if not self._armed or self.button_down() == cut_level:
            self.cut()

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
        # This port calls stdout writable even when a write would wait for the FIFO, so what has
        # drained meanwhile is reckoned from the baud rate.
        now = time.ticks_ms()
        drained = time.ticks_diff(now, self._room_at) * _BYTES_PER_MS
        self._room = min(_FIFO, self._room + drained)
        self._room_at = now
        count = min(len(data), self._room, _CHUNK)
        if count:
            sys.stdout.buffer.write(data[:count])
            self._room -= count
        return count

    def feed_watchdog(self) -> None:
        if self._watchdog is None:
            self._watchdog = machine.WDT(timeout=_WATCHDOG_MS)
        self._watchdog.feed()

    def reset_cause(self) -> str:
        return "cold" if self._cold else "watchdog"

    def retained(self) -> bytes:
        return self._memory.memory()

    def retain(self, data: bytes) -> None:
        self._memory.memory(data)

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
        self.retain(bytes(crash.SIZE))
        self._flasher = machine.Timer(0)
        self._flasher.init(period=_FLASH_MS, mode=machine.Timer.PERIODIC, callback=self._flash)
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
