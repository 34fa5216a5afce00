"""Raspberry Pi Pico (RP2040) with the hardware interlock, with MicroPython.

The board is hardware/inline: two relays in series, one at the host and one at the microphone. The
button clocks a latch in hardware that each press toggles. Coils = latch and ALLOW. This chip
drives ALLOW, which only gates, and CLEAR, which only clears: it can only take away. Whatever runs
here, nothing energises a coil before a press has set the latch.

| pin | is | polarity | why this pin |
|---|---|---|---|
| GP17 | CLEAR of the latch, pull-up to 3V3 (10 kΩ) | low = clears, open drain | beside the rest |
| GP18 | button to GND, through 10 kΩ or more | low = down, pull-up | as in `rp2040` |
| GP20 | ALLOW, pull-down | high = allowed | as the relay in `rp2040` |
| GP21 | lamp, WS2812 data | - | as in `rp2040` |
| GP22 | sense at the microphone: COM here, NC to GND | high = closed, pull-up | as in `rp2040` |
| GP26 | the latch, through 10 kΩ or more | high = set, pull-down | away from what it checks |
| GP28 | sense at the host | as GP22 | away from ALLOW, which it checks |

Not for the RP2350: by its erratum E9 10 kΩ is too much for a pull-down, and for what is read low.

CLEAR is active low because an open drain is: this chip pulls it down or lets it go, as the supply
supervisor on the same line does, and so it can hold neither that nor the pull-up off. In reset the
chip's own pull-down (50 kΩ at least) leaves 2.7 V at the pull-up of 10 kΩ, which is high for a
latch at 3.3 V; were it not, the latch would be held clear.

A wire of the latch that fell off reads as clear: then no press connects.
"""

import machine
from micropython import const

from muteboard.boards import rp2040
from muteboard.boards.interlock import Latch

# At the host, at the microphone.
_SENSE = (28, 22)
_CLEAR = const(17)
_LATCH = const(26)


class Board(rp2040.Board):
    senses = _SENSE
    contacts = len(_SENSE)
    port = "rp2040_interlock"

    def __init__(self):
        # Drops ALLOW first; the pins below change nothing about the line.
        super().__init__()
        self._latch = Latch(_LATCH, machine.Pin.PULL_DOWN, _CLEAR)

    def cut(self) -> None:
        allowed = self._armed
        super().cut()
        # Not on every call: a press under way has set the latch, and waits for its release.
        if allowed:
            self.disarm()

    def connect(self, cut_level: bool) -> bool:
        return self._latch.is_set() and super().connect(cut_level)

    def disarm(self) -> None:
        self._latch.disarm(self)

    def maintenance(self) -> None:
        # So that a press in maintenance sets nothing.
        self._latch.hold()
        super().maintenance()
