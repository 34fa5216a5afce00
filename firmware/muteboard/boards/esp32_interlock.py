"""ESP32 DevKitC (classic ESP32) with the hardware interlock, with MicroPython.

The board is hardware/inline, wired to a DevKitC as hardware/README.md says. `rp2040_interlock` and
`interlock` say what the interlock is. Nobody has built that, nor run this file on a chip.

| pin | is | polarity | why this pin |
|---|---|---|---|
| GPIO25 | CLEAR of the latch, pull-up to 3V3 (10 kΩ) | low = clears, open drain | see below |
| GPIO21 | button to GND, through 10 kΩ or more | low = down, pull-up | as in `esp32` |
| GPIO18 | sense at the host: pole B, COM here, NC to GND | high = closed, pull-up | as there |
| GPIO19 | ALLOW, pull-down | high = allowed | as the relay in `esp32` |
| GPIO23 | lamp, WS2812 data | - | as in `esp32` |
| GPIO22 | sense at the microphone | as GPIO18 | beside the button |
| GPIO34 | the latch, 10 kΩ or more, and 100 kΩ to GND | high = set | it can only read |

GPIO25 has no role at boot (as `esp32`: the table of pins in ESP-IDF's guide). GPIO34 has no pull
of its own: with the resistor a wire that fell off reads as clear, and no press connects.

After a watchdog or a panic this chip goes on driving ALLOW until boot.py runs, and the latch is as
it was. `esp32_cut` takes ALLOW down and holds CLEAR until this file is there.
"""

from micropython import const

from muteboard.boards import esp32, esp32_cut
from muteboard.boards.interlock import Latch

# At the host, at the microphone.
_SENSE = (18, 22)
_LATCH = const(34)
_NO_PULL = const(-1)


class Board(esp32.Board):
    senses = _SENSE
    contacts = len(_SENSE)
    port = "esp32_interlock"

    def __init__(self):
        # Drops ALLOW first; the pins below change nothing about the line.
        super().__init__()
        self._latch = Latch(_LATCH, _NO_PULL, esp32_cut.CLEAR)

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
