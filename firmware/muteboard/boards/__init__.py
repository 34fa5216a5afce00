"""The contract between the firmware and a board. Each other file here is one board.

The files in this folder are the only ones that know pins, polarity and chips. Which boards they
are for is in this one. Polarity is written
down, never inferred at start. A board object is built with the line cut, and from then on:

``cut()``
    Release the relay now. Idempotent, safe at any time, never raises. Called on every pass of the
    superloop while the line is cut.
``connect(cut_level)``
    Energise the relay and watch the button: the moment its level is ``cut_level`` (True: down),
    the relay is released with no help from the superloop, and stays so until the next `connect`.
    False if hardware of the board's own, an interlock, has not let it: then the relay is released.
    A button that is at ``cut_level`` already is no such refusal; its edges tell.
``disarm()``
    No press is under way and the line is cut: undo what presses that connected nothing have left
    behind in the board's own hardware. Called on every pass while that is so.
``contacts``
    How many cuts are in series, 1 to 8.
``settle_ms``
    How long the contacts may take to follow a command.
``sense()``
    One bit per contact, 1 = closed. Read from the contacts, never from the command.
``button_down()``, ``take_edges()``
    The level now; and the edges since the last call (`muteboard.button.EDGE_DOWN` and
    ``EDGE_UP``), however short.
``take_missed()``
    What the button did while a write kept interrupts from dating its edges: each change as (ticks,
    whether it is down from then on, edges as of `take_edges`), in order of time; usually none. To
    be taken before `take_edges`, which no longer tells these.
``first_edge``, ``last_edge``
    The ticks of the first and of the last of the edges that `take_edges` has told last: a pass of
    the superloop may come 20 ms after them.
``show(rgb)``
    The lamp's (red, green, blue), each 0 to 255. Never delays a cut.
``ticks_ms()``, ``ticks_diff(new, old)``
    A millisecond counter that wraps, and the only way to subtract two of its values.
``idle(ms)``
    Give way for at most ``ms`` milliseconds, possibly 0. Returns at once when the host has sent
    something or the button has had an edge that `take_edges` has not told yet.
``read_available()``
    The bytes that the host has sent, at most 64, possibly none, as `bytes`. Never blocks.
``write(data)``
    Send what fits now and return how many bytes that was. Never blocks.
``feed_watchdog()``
    Keep the 1 s watchdog from resetting the chip. The first call starts it.
``reset_cause()``
    ``cold`` after power-on, ``watchdog`` after a watchdog or a program's reset.
``retained()``, ``retain(data)``
    `muteboard.crash.SIZE` bytes that survive a reset but not a power cycle.
``load(name)``, ``store(name, data)``
    A small named blob (``config`` or ``boot``) that survives power cycles; None if absent.
    A store that power cuts short leaves the old blob. `store` raises `OSError` when it cannot.
``unique_id()``
    The chip's serial number, as `bytes`.
``entropy(count)``
    So many random bytes, at most 32, from the chip's own source.
``journaled``
    Whether the board has the storage below, and it survives a power cut at any moment. Without it
    the board keeps no journal, and what is below need not be there.
``journal_segments()``
    The numbers of the journal's segments, rising.
``journal_size(segment)``, ``journal_read(segment, at, count)``
    How many bytes a segment has, and some of them, from byte ``at`` on.
``journal_append(segment, data)``
    Add ``data`` to a segment, which may be a new one. Durable when it returns; whole or not at all
    when power goes. `OSError` when it cannot, or when it is not known whether it has.
``journal_drop(segment)``
    Delete a segment.
``load_keys()``, ``store_keys(data)``
    Secret bytes, as many as were stored; None if there are none, and `OSError` if there are some
    that cannot be read: those stay as they are, for a firmware that can. When `store_keys` returns
    the new ones are durable and the old ones are nowhere on the chip any more; when power goes
    meanwhile, one of the two is there. `OSError` as of `journal_append`.
``port``, ``simulated``
    Name of the board file, for a person; whether there is no real microphone line behind it.
``maintenance()``
    Leave the line cut, flash the lamp, and open the board to its programmer; then return. A board
    without a prompt starts its chip's loader, and does not return.
``reset()``
    Restart the chip. Does not return.
"""

import sys

_PICO = (b"rp2040", b"rp2040_interlock")
_ESP32 = (b"esp32", b"esp32_interlock")
# The boards that the firmware is for. main.py and `circuitpython` look here before they touch a
# pin or a register, and the host before it writes anything. The names are whole: the board files'
# pins and registers were checked for these boards only. (`sys.platform` is the same on an RP2350.)
#
# By `sys.implementation._machine` (MicroPython 1.25, py/mpconfig.h, MICROPY_BANNER_MACHINE): the
# board files for that machine. The first is the one that needs no board.txt.
#
# The Pico W, the OTA variant and the ESP32-D2WD are not here: their file systems (848, 960 and
# 320 KiB) do not hold a full journal and the firmware's sources.
MACHINES = {
    "Raspberry Pi Pico with RP2040": _PICO,
    # firmware/locked/mpconfigboard.h
    "hardmute (locked) on Raspberry Pi Pico with RP2040": _PICO,
    "Generic ESP32 module with ESP32": _ESP32,
    "Generic ESP32 module with SPIRAM with ESP32": _ESP32,
    "Generic ESP32 module with ESP32-UNICORE": _ESP32,
}
# By `board.board_id` of CircuitPython: wired like a Pico, or like the other development boards in
# the table of `circuitpython`.
PICOS = ("raspberry_pi_pico", "raspberry_pi_pico_w")
DEVKITS = (
    "espressif_saola_1_wroom",
    "espressif_saola_1_wrover",
    "espressif_esp32s2_devkitc_1_n4",
    "espressif_esp32s2_devkitc_1_n4r2",
    "espressif_esp32s2_devkitc_1_n8r2",
    "espressif_esp32s3_devkitc_1_n8",
    "espressif_esp32s3_devkitc_1_n8r2",
    "espressif_esp32s3_devkitc_1_n8r8",
    "espressif_esp32s3_devkitc_1_n16",
    "espressif_esp32s3_devkitc_1_n32r8",
    "espressif_esp32s3_devkitc_1_n32r16",
)
# For a person.
MICROPYTHON = (
    "with MicroPython, hardmute supports only the Raspberry Pi Pico (RPI_PICO) and the DevKitC "
    "with a classic ESP32 (ESP32_GENERIC)"
)
CIRCUITPYTHON = (
    "with CircuitPython, hardmute supports only the Raspberry Pi Pico and Pico W, and the "
    "DevKitC-1 and Saola with an ESP32-S2 or ESP32-S3"
)


def refusal(found: str, words: str) -> str:
    """Why nothing runs on the board that calls itself ``found``."""
    return "this board is " + repr(found) + ": " + words


def possible() -> "tuple[bytes, ...]":
    """The boards that this machine with MicroPython can be. `ImportError` if there are none."""
    found = getattr(sys.implementation, "_machine", "")
    names = MACHINES.get(found)
    if names is None:
        raise ImportError(refusal(found, MICROPYTHON))
    return names


def chosen() -> bytes:
    """Which of them it is: the one that board.txt names; without that file the first.

    `ImportError` for another word, and `OSError` if the file cannot be read.
    """
    names = possible()
    try:
        with open("board.txt", "rb") as file:
            name = file.read(32).strip()
    except OSError as error:
        # ENOENT. A file that is there and cannot be read must not pass for none.
        if error.errno != 2:
            raise
        return names[0]
    if name not in names:
        raise ImportError("no such board here: " + repr(name))
    return name


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Board(Protocol):
        contacts: int
        settle_ms: int
        first_edge: int
        last_edge: int
        port: str
        simulated: bool
        journaled: bool

        def cut(self) -> None: ...
        def connect(self, cut_level: bool) -> bool: ...
        def disarm(self) -> None: ...
        def sense(self) -> int: ...
        def button_down(self) -> bool: ...
        def take_missed(self) -> Sequence[tuple[int, bool, int]]: ...
        def take_edges(self) -> int: ...
        def show(self, rgb: tuple[int, int, int]) -> None: ...
        def ticks_ms(self) -> int: ...
        def ticks_diff(self, new: int, old: int) -> int: ...
        def idle(self, ms: int) -> None: ...
        def read_available(self) -> bytes: ...
        def write(self, data: bytes | memoryview) -> int: ...
        def feed_watchdog(self) -> None: ...
        def reset_cause(self) -> str: ...
        def retained(self) -> bytes: ...
        def retain(self, data: bytes) -> None: ...
        def load(self, name: str) -> bytes | None: ...
        def store(self, name: str, data: bytes) -> None: ...
        def unique_id(self) -> bytes: ...
        def entropy(self, count: int) -> bytes: ...
        def maintenance(self) -> None: ...
        def reset(self) -> None: ...

    class JournaledBoard(Board, Protocol):
        def journal_segments(self) -> list[int]: ...
        def journal_size(self, segment: int) -> int: ...
        def journal_read(self, segment: int, at: int, count: int) -> bytes: ...
        def journal_append(self, segment: int, data: bytes | bytearray) -> None: ...
        def journal_drop(self, segment: int) -> None: ...
        def load_keys(self) -> bytes | None: ...
        def store_keys(self, data: bytes) -> None: ...
