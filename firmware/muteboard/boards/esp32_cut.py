"""Takes the pins of an ESP32 board to where they connect nothing. boot.py imports this first.

A watchdog, a panic or `machine.reset` leaves the pins of this chip as they were (`esp32`), so the
line may be live until this has run.

| pin | is | safe |
|---|---|---|
| GPIO19 | the relay driver, or ALLOW of the interlock | low |
| GPIO25 | CLEAR of the interlock; else not ours | low: the latch stays clear |
"""

import machine
from micropython import const

from muteboard import boards

RELAY = const(19)
CLEAR = const(25)

# On any other chip these pins are something else.
boards.possible()
machine.Pin(RELAY, machine.Pin.OUT, machine.Pin.PULL_DOWN, value=0)
# Only now: this reads the flash.
if boards.chosen() == b"esp32_interlock":
    # Open drain, as the board file has it, which lets it go.
    machine.Pin(CLEAR, machine.Pin.OPEN_DRAIN, machine.Pin.PULL_UP, value=0)
