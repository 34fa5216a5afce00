"""What the button did while the CPU could not look, by a PIO state machine.

It keeps 256 ms. A sector of the Pico's flash is erased in 45 ms (W25Q16JV datasheet, "AC
Electrical Characteristics", typical; 400 ms at most), and a write erases one or two.
"""

import machine
import rp2
from micropython import const

from muteboard import button

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from rp2.asm_pio import (
        in_,
        jmp,
        label,
        null,
        pin,
        set,  # noqa: A004 - its name
        wrap,
        wrap_target,
        x,
        x_dec,
    )

# The program takes 70 cycles, in which it looks at the pin 32 times.
_HZ = const(35_000)
_PERIOD_MS = const(2)
# What it tells of each period, in two bits: 16 to a word, the newest lowest.
_DOWN = const(0b00)
_MOVED = const(0b01)
_UP = const(0b11)
_WORD = const(16)
_WORDS = const(8)


# Each way through takes 70 cycles. `x` is all ones once it has counted down.
@rp2.asm_pio(
    in_shiftdir=rp2.PIO.SHIFT_LEFT, autopush=True, push_thresh=32, fifo_join=rp2.PIO.JOIN_RX
)
def _watch():
    wrap_target()
    label("start")
    set(x, 31)
    jmp(pin, "up")
    label("down")
    jmp(pin, "moved")
    jmp(x_dec, "down")
    in_(null, 2)[2]
    jmp("start")
    label("up")
    jmp(pin, "still")
    label("moved")
    jmp(x_dec, "moved")[1]
    in_(null, 1)
    in_(x, 1)
    jmp("start")
    label("still")
    jmp(x_dec, "up")
    in_(x, 2)[3]
    wrap()


# `asm_pio_encode` would compile, which the locked image cannot.
@rp2.asm_pio(in_shiftdir=rp2.PIO.SHIFT_LEFT)
def _shift():
    in_(null, 1)


def first_word(program: "Any") -> int:
    """The first instruction of a program (modules/rp2.py of MicroPython 1.25 and 1.29)."""
    return program[0][0]


class Sampler:
    """Watches ``pin``, low = down, by state machine ``number``, from a `start` to its `stop`."""

    def __init__(self, number: int, pin: machine.Pin):
        self._pin = pin
        self._machine = rp2.StateMachine(number, _watch, freq=_HZ, jmp_pin=pin)
        self.running = False
        # The level at the start.
        self.down = False

    def start(self) -> None:
        self.running = True
        self.down = not self._pin.value()
        self._machine.restart()
        self._machine.active(1)

    def stop(self) -> "tuple[list[tuple[int, bool, int]], bool]":
        """Each change, as (ms since the start, whether it was down from then on, edges as of
        `Board.take_edges`); and whether these are all, or only those of the first 256 ms.
        """
        self.running = False
        state_machine = self._machine
        state_machine.active(0)
        words = [state_machine.get() for _ in range(state_machine.rx_fifo())]
        count = _WORD * len(words)
        # Full, it has stopped in the middle of an instruction.
        complete = len(words) < _WORDS
        if complete:
            # How many bits wait for their word to be full shows by filling it.
            bits = 32
            while not state_machine.rx_fifo():
                state_machine.exec(first_word(_shift))
                bits -= 1
            words.append(state_machine.get())
            count += bits // 2
        return _changes(words, count, self.down), complete


def _changes(words: "list[int]", count: int, down: bool) -> "list[tuple[int, bool, int]]":
    changes = []
    for at in range(count):
        seen = words[at // _WORD] >> 30 - 2 * (at % _WORD) & 3
        if seen == _MOVED:
            # It may have moved until the end of the period.
            both = button.EDGE_DOWN | button.EDGE_UP
            changes.append((_PERIOD_MS * (at + 1), down, both))
        elif (seen == _DOWN) is not down:
            down = seen == _DOWN
            edge = button.EDGE_DOWN if down else button.EDGE_UP
            changes.append((_PERIOD_MS * at, down, edge))
    return changes
