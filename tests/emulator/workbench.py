"""A workbench for the emulated Pico: a hand, a host, a logic analyser, a power switch.

For the tests and figures of this project, and of whoever builds on the firmware. Time passes only
in these calls, in exact microseconds, and the same calls lead to the same bits.
"""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from rp2040py.gpio_pin import GPIOPinState

import muteboard
from hardmute.flash import image as images
from hardmute.flash import uf2
from hardmute.flash.littlefs_image import unpack
from hardmute.model.errors import LocalError
from hardmute.sim.physics import Physics
from hardmute.sim.rp2040 import chip, files
from muteboard import config, wire

UNIQUE_ID = bytes.fromhex("e660583883123456")
# Enough for the chip to start, and for a slow answer.
START_US = 5_000_000
ANSWER_US = 1_000_000

# MICROPY_BYTES_PER_GC_BLOCK: four words. MicroPython 1.25 has two bits for each (py/gc.c).
_HEAP_BLOCK = 16
_BLOCKS_A_BYTE = 4
_RAM = 0x2000_0000

_BUILD = Path(muteboard.__file__).parent.parent / "build_micropython.sh"

HIGH = GPIOPinState.HIGH


class Heap(NamedTuple):
    """The heap of MicroPython, in bytes."""

    used: int
    free: int
    largest: int

    @classmethod
    def parse(cls, report: str) -> Heap:
        """Out of what `micropython.mem_info` prints."""
        numbers = re.search(r"used: (\d+), free: (\d+)(?s:.*)max free sz: (\d+)", report)
        assert numbers, report
        used, free, blocks = (int(number) for number in numbers.groups())
        return cls(used, free, blocks * _HEAP_BLOCK)

    @classmethod
    def look(cls, ram: bytes) -> Heap:
        """As it lies in the chip's memory, without a collection.

        Found by what `mp_state_mem_area_t` says of itself (py/mpstate.h; laid out by py/gc.c), so
        that no symbols are needed.
        """
        words = [word for (word,) in struct.iter_unpack("<I", ram)]
        (found,) = (
            (start - _RAM, size)
            for start, size, finalisers, pool, end in zip(
                words, words[1:], words[2:], words[3:], words[4:], strict=False
            )
            if start > _RAM
            and size > 0
            and finalisers == start + size + 1
            and pool > finalisers
            and end - pool == size * _BLOCKS_A_BYTE * _HEAP_BLOCK
        )
        start, size = found
        used = "".join(
            "-" if byte >> shift & 3 else "."
            for byte in ram[start : start + size]
            for shift in (0, 2, 4, 6)
        )
        longest = max(len(run) for run in used.split("-"))
        return cls(*(_HEAP_BLOCK * n for n in (used.count("-"), used.count("."), longest)))


def locked_image() -> Path:
    """The locked image of this very tree. Raises `LocalError` where it has not been built."""
    command = [_BUILD, "--where", "hardmute-RPI_PICO.uf2"]
    image = Path(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    )
    if not image.is_file():
        raise LocalError("This tree's locked image is not built yet: make -C firmware image")
    return image


class Bench:
    """An emulated Pico with ``image`` and ``content`` on its flash, off. ``seed``: its chance.

    ``content``: None for what ``image`` itself brings.
    """

    def __init__(
        self,
        image: Path,
        content: dict[str, bytes] | None,
        seed: int = 1,
        *,
        interlock: bool = False,
    ) -> None:
        self.image = image
        chance = random.Random(seed)
        senses = chip.INTERLOCK_SENSE if interlock else chip.SENSE
        self.physics = Physics(len(senses), chance, interlock=interlock)
        held = images.load(image)
        at = held.start - uf2.FLASH
        # Where the file system lies in the flash.
        self.place = slice(at, at + held.size)
        self.pico = chip.Pico(self.physics, held, content, unique_id=UNIQUE_ID, random=chance)
        # (time in us, level or pull) of the relay's pin since `watch_relay`.
        self.relay: list[tuple[float, GPIOPinState]] = []
        self.pico.on_relay = lambda level: self.relay.append((self.pico.now_us, level))
        self.watch_relay()
        self._next_id = 0

    @classmethod
    def with_firmware(
        cls,
        image: Path,
        *,
        compiled: bool = True,
        interlock: bool = False,
        program: str | None = None,
        seed: int = 1,
        **settings: object,
    ) -> Bench:
        """A Pico as a user has it: MicroPython and our files, with these settings.

        ``program``: what it runs instead of our main.py.
        """
        stored = config.dump({**config.DEFAULTS, **settings})
        board = "rp2040_interlock" if interlock else None
        content = files.firmware(stored, board, compiled=compiled)
        if program is not None:
            content["main.py"] = program.encode()
        return cls(image, content, seed, interlock=interlock)

    @property
    def now_us(self) -> int:
        return self.physics.now_us

    # Time.

    def run_us(self, us: int) -> None:
        self.pico.advance(self.physics.now_us + us)

    def run_ms(self, ms: int) -> None:
        self.run_us(1000 * ms)

    def run_until(self, done: Callable[[], bool], limit_us: int, step_us: int = 500) -> None:
        """Run until ``done``; an `AssertionError` after ``limit_us``."""
        end_us = self.physics.now_us + limit_us
        while not done():
            assert self.physics.now_us < end_us, f"not so after {limit_us} us"
            self.run_us(step_us)

    # Supply and cable.

    def start(self) -> Bench:
        """Power on, plug in, and wait until the firmware heeds the button."""
        self.pico.power_on()
        self.pico.plug()
        self.await_lamp()
        self.run_ms(100)
        assert self.pico.usb.connected
        return self

    def await_lamp(self) -> None:
        self.run_until(lambda: self.physics.lamp != (0, 0, 0), START_US)

    # The flash.

    def files(self) -> dict[str, bytes]:
        """The files on the flash, as somebody finds them who cuts the power now."""
        return unpack(bytes(self.pico.mcu.flash[self.place]))

    def erase_files(self) -> None:
        """As the flash of a new board is: not even an empty file system."""
        size = self.place.stop - self.place.start
        self.pico.mcu.flash[self.place] = b"\xff" * size

    def reflash(self, image: Path) -> None:
        """Power off, and copy another image over the one that is there, as BOOTSEL does."""
        self.pico.power_off()
        self.pico.write_flash(images.load(image).pages)
        self.run_ms(20)

    # The hand.

    def press(self, hold_ms: float = 120, bounce_ms: float = 0) -> None:
        """Press now, and wait until the release has been heeded."""
        quiet_us = self.physics.press(hold_ms, bounce_ms)
        # The record of an unmute is written first.
        self.pico.advance(quiet_us + 200_000)

    def press_at(self, time_us: int, hold_ms: float = 120, bounce_ms: float = 0) -> None:
        """Have the finger come at ``time_us``; time does not pass in this call."""

        def come() -> None:
            self.physics.press(hold_ms, bounce_ms)

        self.physics.at(time_us, come)

    def go_live(self) -> None:
        self.press()
        assert self.connected

    @property
    def connected(self) -> bool:
        """Whether sound gets through."""
        return self.physics.connected

    @property
    def coil(self) -> bool:
        return self.physics.coil

    def heap(self) -> Heap:
        """The heap of whatever runs, garbage included."""
        return Heap.look(bytes(self.pico.mcu.sram))

    def watch_relay(self) -> None:
        """Start the record of the relay's pin anew, with its level now."""
        self.relay[:] = [(self.pico.now_us, self.pico.mcu.gpio[chip.RELAY].value)]

    def cut_times(self) -> list[float]:
        """When the relay's pin stopped being high, each time, in us."""
        return [
            now
            for (now, level), (_, before) in zip(self.relay[1:], self.relay, strict=False)
            if before == HIGH and level != HIGH
        ]

    def connect_times(self) -> list[float]:
        """When the relay's pin became high, each time, in us."""
        return [now for now, level in self.relay[1:] if level == HIGH]

    # The host.

    def send(self, data: bytes) -> None:
        self.pico.usb.to_chip += data
        self.pico.usb.service()

    def heard(self) -> bytes:
        """What the chip has sent since the last call."""
        data = bytes(self.pico.usb.to_host)
        self.pico.usb.to_host.clear()
        self.pico.usb.service()
        return data

    def ask(self, op: str, **fields: object) -> dict[str, Any]:
        """A request and its answer, with a valid CRC."""
        answer, _ = self.timed(op, **fields)
        return answer

    def timed(self, op: str, **fields: object) -> tuple[dict[str, Any], int]:
        """A request's answer, and how long it took, in us."""
        self._next_id += 1
        start_us = self.physics.now_us
        self.send(wire.frame({"id": self._next_id, "op": op, **fields}))
        lines: list[bytes] = []
        rest = b""
        while self.physics.now_us < start_us + ANSWER_US:
            self.run_us(100)
            *lines, rest = (rest + self.heard()).split(b"\n")
            for line in lines:
                message = wire.unframe(line.rstrip(b"\r"), True)
                if message.get("id") == self._next_id:
                    return message, self.physics.now_us - start_us
        raise AssertionError(f"no answer to {op}: {rest!r}")

    def status(self) -> dict[str, Any]:
        return self.ask("status")


class Repl(Bench):
    """An emulated Pico with our modules but no program: MicroPython's prompt, for board files."""

    _PROMPT = b"raw REPL; CTRL-B to exit\r\n>"

    def __init__(self, image: Path, seed: int = 1, *, interlock: bool = False) -> None:
        content = files.firmware()
        del content["main.py"], content["boot.py"]
        super().__init__(image, content, seed, interlock=interlock)

    def start(self) -> Repl:
        self.pico.power_on()
        self.pico.plug()
        self.run_until(lambda: self.pico.usb.connected, START_US)
        self.run_ms(20)
        self.send(b"\r\x03\x03\x01")
        self._await(self._PROMPT)
        return self

    def begin(self, code: str) -> None:
        """Start ``code``, and do not wait for its end."""
        self.heard()
        self.send(code.encode() + b"\x04")
        self._await(b"OK")

    def run(self, code: str, limit_us: int = START_US) -> str:
        """Run ``code`` to its end; what it printed."""
        self.begin(code)
        printed = self._await(b"\x04", limit_us)
        error = self._await(b"\x04>", limit_us)
        assert not error, error.decode()
        return printed.decode().replace("\r\n", "\n")

    def evaluate(self, expression: str, limit_us: int = START_US) -> Any:
        """The value of an expression that JSON can carry."""
        return json.loads(self.run(f"import json\nprint(json.dumps({expression}))", limit_us))

    def _await(self, end: bytes, limit_us: int = START_US) -> bytes:
        seen = self.pico.usb.to_host
        self.run_until(lambda: end in seen, limit_us)
        at = seen.index(end)
        before = bytes(seen[:at])
        del seen[: at + len(end)]
        self.pico.usb.service()
        return before
