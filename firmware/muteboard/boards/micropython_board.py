"""What the MicroPython boards share: pins as in `muteboard.boards`, serial link, files, lamp.

Each board's own file adds the relay, the interrupts, what the watchdog's reset leaves behind, and
how much fits into the serial port.
"""

import gc
import io
import os
import select
import sys
import time

import machine
import micropython
import vfs
from micropython import const

from muteboard import button, lamp
from muteboard.boards import keystore

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    _Call = TypeVar("_Call", bound=Callable[..., Any])

CHUNK = const(64)
# What `select.poll` asks an object in Python with (MP_STREAM_POLL, py/stream.h, MicroPython 1.25).
_STREAM_POLL = const(3)
_WATCHDOG_MS = const(1000)
# The same while the flash is read or written and the line is cut. A call here erases up to three
# blocks, and a block may take 400 ms (data sheet of the W25Q16JV, tSE). Against MicroPython's
# documentation both ports take another timeout in a running watchdog (machine_wdt.c of each,
# MicroPython 1.25).
_STORAGE_WATCHDOG_MS = const(5000)
# littlefs's map of free blocks, in bytes of 8 blocks each: one map for the 512 blocks of an ESP32.
_LOOKAHEAD = const(64)
# Bytes allocated between two collections. On a Pico that is full of garbage one takes 27 ms
# (emulated), during which no press is looked at; after so much of it, 6 ms.
_GARBAGE = const(16_384)
_CTRL_C = const(3)
_FLASH_MS = const(125)
_FLASH_PERCENT = const(50)
# WS2812B: high and low times of a 0, then of a 1, in ns. The part wants lows of 850 and 450, ±150.
# MicroPython's official image 1.25.0 for the Pico changes lows by -120 to 215 (emulated). An image
# that was built from Debian's source changes none.
_LAMP_TIMING = (400, 788, 800, 420)

_FILES = {"config": "config.json", "boot": "boot.txt"}
_PARTIAL = "partial.tmp"
_KEYS = "keys"
# A folder with one file a segment, named by its number.
_JOURNAL = "journal"
_SEGMENT = "%08x"
_PATH = _JOURNAL + "/" + _SEGMENT
_ENOENT = const(2)


def _storage(call: "_Call") -> "_Call":
    """A call that reads or writes the flash: the watchdog is fed before and after it.

    How long it takes is the flash's, and so is not this program hanging. No loop of which the
    flash decides how often it runs calls such a one: it would feed for ever.
    """

    def fed(self, *arguments):
        self._feed_for(_STORAGE_WATCHDOG_MS)
        try:
            return call(self, *arguments)
        finally:
            self._feed_for(_WATCHDOG_MS)

    return fed  # pyright: ignore[reportReturnType] - takes and returns what ``call`` does


class MicroPythonBoard:
    """Everything but the relay. The relay's pin must be low before this is initialised.

    Button to GND, low = down; sense pins low = open contact; all with the chip's pull-ups.
    """

    simulated = False
    journaled = True
    # Bytes that littlefs reads at a time. MicroPython 1.25 mounts with 32, which takes three times
    # as many reads, or six times. Its caches are four times the larger of this and the next.
    read_size: int
    # Bytes that it programs at a time, as MicroPython's _boot.py has it (1.25, each port's).
    program_size: int
    # Ticks, for which the stubs of MicroPython 1.29 have a type of their own.
    first_edge: "Any"
    last_edge: "Any"
    _first_at: "Any"
    _last_at: "Any"
    # True from before the relay is energised until `cut`.
    _armed = False

    def __init__(self, button_pin: int, sense_pins: tuple[int, ...], lamp_pin: int):
        micropython.alloc_emergency_exception_buf(100)
        micropython.kbd_intr(-1)
        gc.threshold(_GARBAGE)
        self._button = machine.Pin(button_pin, machine.Pin.IN, machine.Pin.PULL_UP)
        self._sense = [machine.Pin(pin, machine.Pin.IN, machine.Pin.PULL_UP) for pin in sense_pins]
        self._lamp = machine.Pin(lamp_pin, machine.Pin.OUT, value=0)
        self._grb = bytearray(3)
        # Edges ever seen, modulo 2**16. Each is written by interrupts only and compared by
        # `take_edges`, so none is lost between reading and clearing.
        self._downs = 0
        self._ups = 0
        self._downs_taken = 0
        self._ups_taken = 0
        # Ticks of the first edge that is not taken yet, and of the last; and of those taken.
        self._first_at = self._last_at = time.ticks_ms()
        self.first_edge = self.last_edge = self._last_at
        self._cold = machine.reset_cause() == machine.PWRON_RESET
        self._watchdog: machine.WDT | None = None
        self._flasher: machine.Timer | None = None
        self._keys: keystore.KeyStore | None = None
        self._readable = select.poll()
        self._readable.register(sys.stdin, select.POLLIN)
        self._in = bytearray(CHUNK)
        self._byte = bytearray(1)
        # What ends `idle`.
        self._news = select.poll()
        self._news.register(sys.stdin, select.POLLIN)
        self._news.register(_Pollable(self._poll_edges), select.POLLIN)
        self._mount()

    def _mount(self) -> None:
        """Mount the file system again, to read more of it at a time. Changes nothing on it."""
        try:
            files = vfs.VfsLfs2(
                self.flash(),
                readsize=self.read_size,
                progsize=self.program_size,
                lookahead=_LOOKAHEAD,
            )
        except (OSError, MemoryError):
            # Not where we look for it, no littlefs, or no room: what is mounted stays.
            return
        vfs.umount("/")
        vfs.mount(files, "/")

    def disarm(self) -> None:
        pass

    def sense(self) -> int:
        bits = 0
        bit = 1
        for pin in self._sense:
            if pin.value():
                bits |= bit
            bit <<= 1
        return bits

    def button_down(self) -> bool:
        return not self._button.value()

    def is_quiet(self) -> bool:
        """The button is up, and was not pressed since the last `take_edges`."""
        return self._downs == self._downs_taken and not self.button_down()

    def take_missed(self) -> "Sequence[tuple[int, bool, int]]":
        return ()

    def take_edges(self) -> int:
        edges = 0
        downs, ups = self._downs, self._ups
        if downs != self._downs_taken:
            self._downs_taken = downs
            edges |= button.EDGE_DOWN
        if ups != self._ups_taken:
            self._ups_taken = ups
            edges |= button.EDGE_UP
        # An edge that comes just now may be dated as one of these, or these as that one.
        self.first_edge = self._first_at
        self.last_edge = self._last_at
        return edges

    def _date_edge(self) -> None:
        # Called in interrupts, before they count: must not allocate.
        now = time.ticks_ms()
        if self._downs == self._downs_taken and self._ups == self._ups_taken:
            self._first_at = now
        self._last_at = now

    def _poll_edges(self, request: int, _events: int) -> int:
        if request == _STREAM_POLL and (
            self._downs != self._downs_taken or self._ups != self._ups_taken
        ):
            return select.POLLIN
        return 0

    def show(self, rgb: tuple[int, int, int]) -> None:
        self._grb[0], self._grb[1], self._grb[2] = rgb[1], rgb[0], rgb[2]
        machine.bitstream(self._lamp, 0, _LAMP_TIMING, self._grb)

    def ticks_ms(self) -> "Any":
        return time.ticks_ms()

    def ticks_diff(self, new: int, old: int) -> int:
        return time.ticks_diff(new, old)

    def idle(self, ms: int) -> None:
        # The chip sleeps in here. Every interrupt wakes it, and it looks at both again.
        self._news.ipoll(ms)

    def read_available(self) -> bytes:
        return self._read() if ready(self._readable) else b""

    def _read(self) -> bytes:
        # `readinto` waits for all that it is asked for, so it is asked for one byte at a time.
        # This is the longest loop between a request and its answer.
        read = sys.stdin.buffer.readinto
        poll = self._readable.ipoll
        buffer, byte = self._in, self._byte
        count, before = 0, -1
        while before < count < CHUNK:
            before = count
            for _ in poll(0):
                read(byte)
                buffer[count] = byte[0]
                count += 1
        return bytes(buffer[:count])

    def feed_watchdog(self) -> None:
        if self._watchdog is None:
            self._watchdog = machine.WDT(timeout=_WATCHDOG_MS)
        self._watchdog.feed()

    def _feed_for(self, timeout_ms: int) -> None:
        # While the line is connected a program that hangs is reset within 1 s (P1), whatever it
        # does. The superloop starts the watchdog, not this: maintenance must be able to stop it.
        if self._watchdog is not None and not self._armed:
            self._watchdog = machine.WDT(timeout=timeout_ms)
            self._watchdog.feed()

    def reset_cause(self) -> str:
        return "cold" if self._cold else "watchdog"

    @_storage
    def load(self, name: str) -> bytes | None:
        try:
            with open(_FILES[name], "rb") as file:
                return file.read()
        except OSError:
            return None

    @_storage
    def store(self, name: str, data: bytes) -> None:
        with open(_PARTIAL, "wb") as file:
            file.write(data)
        # littlefs replaces in one step: power loss leaves the old file or the new one.
        os.rename(_PARTIAL, _FILES[name])

    def unique_id(self) -> bytes:
        return machine.unique_id()

    def entropy(self, count: int) -> bytes:
        return os.urandom(count)

    def flash(self) -> "Any":
        """The block device that the file system is on. Each board file says which."""
        raise NotImplementedError

    @_storage
    def journal_segments(self) -> list[int]:
        try:
            names = os.listdir(_JOURNAL)
        except OSError as error:
            if error.errno != _ENOENT:
                raise
            return []
        segments = []
        for name in names:
            try:
                segment = int(name, 16)
            except ValueError:
                continue
            if segment > 0 and name == _SEGMENT % segment:
                segments.append(segment)
        return sorted(segments)

    @_storage
    def journal_size(self, segment: int) -> int:
        return os.stat(_PATH % segment)[6]

    @_storage
    def journal_read(self, segment: int, at: int, count: int) -> bytes:
        with open(_PATH % segment, "rb") as file:
            file.seek(at)
            return file.read(count)

    @_storage
    def journal_append(self, segment: int, data: bytes | bytearray) -> None:
        try:
            _append(_PATH % segment, data)
        except OSError as error:
            if error.errno != _ENOENT:
                raise
            os.mkdir(_JOURNAL)
            _append(_PATH % segment, data)

    @_storage
    def journal_drop(self, segment: int) -> None:
        os.remove(_PATH % segment)

    @_storage
    def load_keys(self) -> bytes | None:
        return self._key_store().load()

    @_storage
    def store_keys(self, data: bytes) -> None:
        try:
            self._key_store().store(data)
        except OSError:
            # What is there now, the next one finds out.
            self._keys = None
            raise

    def _key_store(self) -> keystore.KeyStore:
        if self._keys is None:
            self._keys = keystore.KeyStore(self.flash(), self.entropy, _KEYS)
        return self._keys

    def open_prompt(self, timer: int) -> None:
        """Flash the lamp by hardware timer number ``timer``, and let Ctrl-C in."""
        self._flasher = machine.Timer(timer)
        self._flasher.init(period=_FLASH_MS, mode=machine.Timer.PERIODIC, callback=self._flash)
        micropython.kbd_intr(_CTRL_C)

    def _flash(self, _timer) -> None:
        now = self.ticks_ms()
        self.show(lamp.colour(lamp.MAINTENANCE, now, lamp.PALETTES[0], _FLASH_PERCENT))

    def reset(self) -> None:
        machine.reset()


class _Pollable(io.IOBase):
    """Something that `select.poll` takes, as asyncio's ThreadSafeFlag is."""

    def __init__(self, ioctl: "Callable[[int, int], int]"):
        self.ioctl = ioctl


def _append(path: str, data: bytes | bytearray) -> None:
    # littlefs makes what was written part of the file as it closes it, in one step.
    with open(path, "ab") as file:
        file.write(data)


def ready(poller) -> bool:
    """Whether ``poller`` has anything to report now."""
    for _ in poller.ipoll(0):
        return True
    return False
