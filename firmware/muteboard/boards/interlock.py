"""The latch of an interlock board: what the chip may do with it, whichever chip that is.

The chip is too slow to tell a press of the hardware's kind from one of the firmware's: a touch of
5 ms sets the latch and is no press, and one that the firmware has consumed has set it as well. So
wherever the line is cut and no press is under way the latch is cleared, or the next press would
toggle it the wrong way. It is never cleared while the button is down or its edges are new: that
press, and not this file, decides what the latch becomes.

The methods that call these stand in each board file. They go on with the chip's own, by `super`,
which in MicroPython knows a class's own bases alone: one base for both chips could not do that.
"""

import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from muteboard.boards.micropython_board import MicroPythonBoard


class Latch:
    """Read at pin ``latch``, and cleared by ``clear`` at low level.

    ``pull``: of ``latch``, as `machine.Pin` takes it; -1 for none.
    """

    def __init__(self, latch: int, pull: int, clear: int):
        self._latch = machine.Pin(latch, machine.Pin.IN, pull)
        # A reset leaves the latch as it was. The pull-up only helps out where there is no other.
        self._clear = machine.Pin(clear, machine.Pin.OPEN_DRAIN, machine.Pin.PULL_UP, value=0)
        self._clear.value(1)

    def is_set(self) -> bool:
        """Whether a press has set it."""
        return bool(self._latch.value())

    def disarm(self, board: "MicroPythonBoard") -> None:
        """Clear it, unless a press is under way."""
        # A press that begins between the last of these and the pulse is lost, unless the latch's
        # filter delays it by as much: the line stays cut.
        if self._latch.value() and board.is_quiet():
            self._clear.value(0)
            self._clear.value(1)

    def hold(self) -> None:
        """Let no press set it any more."""
        self._clear.value(0)
