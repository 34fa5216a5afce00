"""An ESP32 DevKitC with our files on it, from power-on on. Runs on CPython and MicroPython.

What of the chip matters to the firmware, after ports/esp32 of MicroPython 1.25 and ESP-IDF: the
ROM's and the bootloader's words come out of the UART before any frame; the UART drains at 115200
baud; a watchdog's or program's reset leaves the pins as they are; RTC memory lasts until power
goes.
"""

# Standard, because the fakes hold objects of classes that they make.
# pyright: standard

import builtins
import sys

from muteboard import wire

from .chip import Chip, ChipReset
from .micropython_port import Modules

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

# At 8N1 and 115200 baud.
_BYTES_PER_S = 11_520
_FIFO = 128
_HARD_RESET = 2
_WDT_RESET = 3
_FAKES = ("machine", "micropython", "vfs", "gc", "time", "select", "sys", "os", "esp32")

_HERE = __file__.rsplit("/", 1)[0]


def _read(path: str) -> str:
    with open(_HERE + path, encoding="utf-8") as file:
        return file.read()


_PROGRAM = {file: _read("/../../../firmware/" + file) for file in ("boot.py", "main.py")}
_WORDS = {
    start: _read("/../../vectors/esp32-" + start + ".txt")
    for start in ("poweron", "restart", "watchdog")
}


def boot_words(start: str) -> bytes:
    """What comes out of the UART before the firmware runs, after each kind of start."""
    return _WORDS[start].replace("\n", "\r\n").encode()


class DevKit:
    """The board, a hand and a host. A run of the firmware ends as `ended` says: ``prompt`` (the
    program has returned), ``reset``, ``watchdog``, or ``off``.

    ``script``: what hand and host do, as a generator that yields the ms until its next turn. When
    it is over the power goes.
    """

    def __init__(self) -> None:
        self.chip = Chip(21, 19, (18,), 23)
        self.modules = Modules(self.chip, "esp32")
        self.ended = "off"
        # Our modules that had been imported when the relay was first driven.
        self.imported_before_cut: list[str] = []
        self.script: Iterator[int] = iter(())
        self._acting = False
        self._turn_at = 0
        self._problem: AssertionError | None = None
        # Bytes that have left the UART, in thousandths.
        self._drained = 0
        self.chip.on_ms.append(self._tick)
        self.chip.before_drive = self._driven

    def power_on(self, script: "Iterator[int]") -> str:
        """From cold. Returns how it ended."""
        assert self.ended in ("prompt", "off")
        self.modules.rtc_memory = b""
        self.chip.driven.clear()
        self.script = script
        self._turn_at = self.chip.now
        return self._start(1, "poweron", self._program)

    def wire_interlock(self) -> None:
        """It sits on an interlock board, and has been told so."""
        chip = self.chip
        chip.interlock = (25, 34)
        # A resistor.
        chip.latch_pull = None
        chip.senses = (18, 22)
        self.write("board.txt", b"esp32_interlock\n")

    def write(self, name: str, content: bytes) -> None:
        """A file on the board."""
        with self.modules.open(name, "wb") as file:
            file.write(content)

    def run_boot(self) -> None:
        """boot.py and nothing else, after a reset that leaves the pins as they are."""
        self._start(_WDT_RESET, "watchdog", lambda: self._run("boot.py"))

    def go_on(self) -> str:
        """The start after a reset; the script goes on where it was."""
        if self.ended == "watchdog":
            return self._start(_WDT_RESET, "watchdog", self._program)
        assert self.ended == "reset"
        return self._start(_HARD_RESET, "restart", self._program)

    def board(self) -> "Any":
        """The board file's object alone, with nothing running."""
        made = []

        def program() -> None:
            names = {}
            exec("from muteboard.boards import esp32\nboard = esp32.Board()", names)  # noqa: S102
            made.append(names["board"])

        self._start(1, "poweron", program)
        return made[0]

    def hang(self, ms: int) -> None:
        """For the script: the superloop does not come round for so long."""
        self.chip.advance(ms)

    def ask(self, op: str, **fields: "Any") -> None:
        """For the script: the host sends a request."""
        self.chip.to_chip += wire.frame(dict(fields, id=5, op=op))

    def heard(self) -> "list[dict[str, Any]]":
        """The good frames in all that the UART has sent, as the host finds them."""
        reader = wire.LineReader()
        frames = []
        at = 0
        while True:
            at = reader.feed(self.chip.to_host, at)
            if at < 0:
                return frames
            try:
                frames.append(wire.unframe(reader.line(), True))
            except wire.WireError:
                continue

    def _start(self, reset_cause: int, words: str, program: "Callable[[], None]") -> str:
        chip = self.chip
        self.modules.reset_cause = reset_cause
        self.ended = ""
        self.imported_before_cut = []
        # A reset ends interrupts, timers and what the UART has taken in.
        chip.watchdog_ms = None
        chip.on_edge.clear()
        self.modules.restart()
        self.modules.handlers.clear()
        self.modules.soft_irqs.clear()
        self.modules.timers.clear()
        chip.to_chip = b""
        # The words fill the UART's FIFO up to the first line of the firmware.
        chip.to_host += boot_words(words)
        chip.room = 0
        try:
            with _Imports(self.modules):
                program()
            self.ended = "prompt"
        except ChipReset:
            self.ended = self.ended or "reset"
        if self._problem is not None:
            raise self._problem
        return self.ended

    def _program(self) -> None:
        for file in ("boot.py", "main.py"):
            self._run(file)

    def _run(self, file: str) -> None:
        exec(_PROGRAM[file], {"__name__": "__main__"})  # noqa: S102 - our own files

    def _driven(self, pin: object, _level: int) -> None:
        if self._stopped():
            # The chip has stopped: nothing that the program still does has an effect.
            raise ChipReset
        if pin == self.chip.relay and not self.imported_before_cut:
            ours = [name for name in sys.modules if name.startswith("muteboard")]
            self.imported_before_cut = sorted(ours)

    def _tick(self) -> None:
        chip = self.chip
        self._drained += _BYTES_PER_S
        chip.room = min(_FIFO, chip.room + self._drained // 1000)
        self._drained %= 1000
        if self._stopped():
            raise ChipReset
        if chip.bitten:
            self._end("watchdog")
        if not self._acting and chip.now >= self._turn_at:
            self._acting = True
            try:
                self._turn_at = chip.now + next(self.script)
            except StopIteration:
                self._end("off")
            except AssertionError as error:
                # The firmware would take it for a crash of its own.
                self._problem = error
                self._end("off")
            finally:
                self._acting = False

    def _stopped(self) -> bool:
        return self.ended in ("reset", "watchdog", "off")

    def _end(self, how: str) -> None:
        self.ended = how
        raise ChipReset


class _Imports:
    """While it lasts, our files are imported afresh, with the chip's modules and its files."""

    def __init__(self, modules: Modules):
        self._fakes = modules
        self._found: dict[str, Any] = {}
        self._open = builtins.open

    def __enter__(self) -> None:
        for name in list(sys.modules):
            if name in _FAKES or name.startswith("muteboard"):
                self._found[name] = sys.modules[name]
                del sys.modules[name]
        for name in _FAKES:
            sys.modules[name] = getattr(self._fakes, name)
        builtins.open = self._fakes.open

    def __exit__(self, *_exception: object) -> None:
        builtins.open = self._open
        for name in list(sys.modules):
            if name in _FAKES or name.startswith("muteboard"):
                del sys.modules[name]
        sys.modules.update(self._found)
