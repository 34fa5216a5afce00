"""The simulated board: the contract of `muteboard.boards` on `Physics`, with reset and supply."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import NoReturn

from hardmute.sim.physics import Physics
from muteboard.app import App
from muteboard.button import EDGE_DOWN, EDGE_UP
from muteboard.crash import SIZE as RETAINED_SIZE

# MicroPython's ticks_ms wraps here; starting close to it makes every run cross the wrap.
_TICKS_WRAP = 1 << 30
_TICKS_START = _TICKS_WRAP - 5_000
_STEP_US = 1_000
WATCHDOG_US = 1_000_000
# Sizes of the USB serial buffers of MicroPython's RP2040 port.
_FIFO = 256
_READ = 64


class _Reset(BaseException):
    """The chip resets in the middle of whatever the program does."""


class SimulatedBoard:
    """A powered board with the real firmware, stepped by `advance`.

    ``config``: content of the board's config file, or None for a board that has none.
    """

    port = "simulated"
    simulated = True
    settle_ms = 10
    journaled = True

    def __init__(self, physics: Physics, unique_id: bytes, config: bytes | None) -> None:
        assert not physics.interlock
        self.physics = physics
        self.contacts = len(physics.relays)
        # USB serial buffers; the port's other end moves these.
        self.received = bytearray()
        self.sending = bytearray()
        self._unique_id = unique_id
        self._files: dict[str, bytes] = {}
        if config is not None:
            self._files["config"] = config
        # The journal's segments, and the keys.
        self._segments: dict[int, bytearray] = {}
        self._keys: bytes | None = None
        self._ram = bytes(RETAINED_SIZE)
        self._program: Generator[int] | None = None
        self._idle_until_us = 0
        self._hung = False
        self._edges = 0
        # Ticks of the first and last edge that are not taken yet; and of those taken.
        self._first_edge = self._last_edge = 0
        self.first_edge = self.last_edge = 0
        self._cut_level: bool | None = None
        self._reset_cause = "cold"
        self._bark_us: int | None = None
        physics.on_button = self._button_interrupt

    # The supply and the passing of time.

    def power_on(self) -> None:
        if not self.physics.powered:
            self.physics.power_on()
            self._ram = bytes(RETAINED_SIZE)
            self._start("cold")

    def power_off(self) -> None:
        self.physics.power_off()
        self._stop()

    def hang(self) -> None:
        self._hung = True

    def plug(self) -> None:
        """Nothing here notices the cable: the firmware's serial port is always open."""

    unplug = plug

    def advance(self, to_us: int) -> None:
        """Let world and chip run until ``to_us``: a pass of the superloop each millisecond, but
        while the firmware idles. As on a real chip, an edge or a byte wakes it.
        """
        while self.physics.now_us + _STEP_US <= to_us:
            self.physics.advance(self.physics.now_us + _STEP_US)
            if self.physics.powered:
                self._run_once()

    def _run_once(self) -> None:
        if self._bark_us is not None and self.physics.now_us >= self._bark_us:
            self._start("watchdog")
        if self._hung or self._program is None:
            return
        if self.physics.now_us < self._idle_until_us and not (self._edges or self.received):
            return
        try:
            self._idle_until_us = self.physics.now_us + 1000 * next(self._program)
        except StopIteration:
            self._program = None
        except _Reset:
            self._start("watchdog")

    def _start(self, cause: str) -> None:
        self._stop()
        self._reset_cause = cause
        self._program = App(self).passes()

    def _stop(self) -> None:
        """A reset: every pin lets go, so the relay driver's pull-down cuts; USB starts anew."""
        self.physics.drive(coil=False)
        self._cut_level = None
        self._program = None
        self._idle_until_us = 0
        self._hung = False
        self._bark_us = None
        self._edges = 0
        self.received.clear()
        self.sending.clear()

    def _button_interrupt(self, down: bool) -> None:
        if not self._edges:
            self._first_edge = self.ticks_ms()
        self._last_edge = self.ticks_ms()
        self._edges |= EDGE_DOWN if down else EDGE_UP
        if self._cut_level is down:
            self.cut()

    # The contract of `muteboard.boards`.

    def cut(self) -> None:
        self._cut_level = None
        self.physics.drive(coil=False)

    def connect(self, cut_level: bool) -> bool:
        if self.physics.button_down is not cut_level:
            self._cut_level = cut_level
            self.physics.drive(coil=True)
        return True

    def disarm(self) -> None:
        """This chip's board has no interlock."""

    def sense(self) -> int:
        return sum(self.physics.closed(index) << index for index in range(self.contacts))

    def button_down(self) -> bool:
        return self.physics.button_down

    def take_missed(self) -> tuple[()]:
        """Its writes take no time."""
        return ()

    def take_edges(self) -> int:
        edges, self._edges = self._edges, 0
        self.first_edge, self.last_edge = self._first_edge, self._last_edge
        return edges

    def show(self, rgb: tuple[int, int, int]) -> None:
        self.physics.lamp = rgb

    def ticks_ms(self) -> int:
        return (_TICKS_START + self.physics.now_us // 1000) % _TICKS_WRAP

    def ticks_diff(self, new: int, old: int) -> int:
        half = _TICKS_WRAP // 2
        return (new - old + half) % _TICKS_WRAP - half

    def idle(self, ms: int) -> None:
        """Time passes in `advance`, a millisecond between two passes of the program."""

    def read_available(self) -> bytes:
        data = bytes(self.received[:_READ])
        del self.received[:_READ]
        return data

    def write(self, data: bytes | memoryview) -> int:
        fits = min(len(data), _FIFO - len(self.sending))
        self.sending += data[:fits]
        return fits

    def feed_watchdog(self) -> None:
        self._bark_us = self.physics.now_us + WATCHDOG_US

    def reset_cause(self) -> str:
        return self._reset_cause

    def retained(self) -> bytes:
        return self._ram

    def retain(self, data: bytes) -> None:
        self._ram = data

    def load(self, name: str) -> bytes | None:
        return self._files.get(name)

    def store(self, name: str, data: bytes) -> None:
        self._files[name] = data

    def unique_id(self) -> bytes:
        return self._unique_id

    def entropy(self, count: int) -> bytes:
        return os.urandom(count)

    def journal_segments(self) -> list[int]:
        return sorted(self._segments)

    def journal_size(self, segment: int) -> int:
        return len(self._segments[segment])

    def journal_read(self, segment: int, at: int, count: int) -> bytes:
        return bytes(self._segments[segment][at : at + count])

    def journal_append(self, segment: int, data: bytes | bytearray) -> None:
        self._segments.setdefault(segment, bytearray()).extend(data)

    def journal_drop(self, segment: int) -> None:
        del self._segments[segment]

    def load_keys(self) -> bytes | None:
        return self._keys

    def store_keys(self, data: bytes) -> None:
        self._keys = data

    def maintenance(self) -> None:
        self.sending += (
            b"\r\nA simulated board has no prompt; power it off to leave maintenance.\r\n"
        )

    def reset(self) -> NoReturn:
        raise _Reset

    # The other end of the USB cable.

    def receive_space(self) -> int:
        """How many bytes the host may send now."""
        return _FIFO - len(self.received) if self.physics.powered else 0
