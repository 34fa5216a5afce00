"""Adafruit Blinka and the real `neopixel` library, on the pins of a `Chip`.

Everything above the pins is Adafruit's code, as it is on PyPI: `board`, `digitalio`, `neopixel`,
`microcontroller`, `micropython`, `adafruit_pixelbuf`, `neopixel_write`. Beneath them Blinka has a
port for each chip. Its environment makes it take the one for no chip in particular, and the
modules of that port (the pins, the bits of a lamp, the names of a board, what the chip itself
offers) are given here instead. On a microcontroller CircuitPython has all of this in C.

Blinka's `keypad` is of no use: it scans in a thread by the wall clock, knows neither
``debounce_threshold`` nor ``timestamp``, and after `reset` it records nothing more (both of its
lists of levels are then the same list).
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import os
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from .chip import Chip

_PORT = "adafruit_blinka.microcontroller.generic_agnostic_board"
_BOARD = "adafruit_blinka.board.generic_agnostic_board"
_ENVIRONMENT = {
    "BLINKA_FORCECHIP": "OS_AGNOSTIC",
    "BLINKA_FORCEBOARD": "OS_AGNOSTIC_BOARD",
    # It would ask on a terminal whether to install what a port needs.
    "BLINKA_SKIP_DEPENDENCY_CHECK": "1",
}
# Bound to a chip, so executed anew for each one; the others are executed once.
_PER_CHIP = {
    "board", "digitalio", "microcontroller", "microcontroller.pin", "neopixel", "neopixel_write",
    _PORT, _PORT + ".pin", _PORT + ".neopixel", _BOARD,
}  # fmt: skip
_OURS = ("adafruit_blinka", "adafruit_pixelbuf", "adafruit_platformdetect", "micropython")
OFFERED = ("board", "digitalio", "microcontroller", "micropython", "neopixel")

_once: dict[str, types.ModuleType] = {}


class BoardPin(NamedTuple):
    """What `board` calls a pin."""

    id: str


class Pins:
    """The chip's pins as Blinka sees them, each taken by at most one object at a time."""

    def __init__(self, chip: Chip) -> None:
        self._chip = chip
        self._taken: dict[str, Any] = {}
        self.Pin = self._pin_class()
        # Every buffer that went to the lamp's pin, byte for byte.
        self.sent: list[bytes] = []

    def release_all(self) -> None:
        """What CircuitPython does to its pins when a program ends."""
        for pin in list(self._taken.values()):
            pin.deinit()

    def _pin_class(self) -> type:
        chip, taken = self._chip, self._taken

        class Pin:
            IN, OUT = 0, 1
            PULL_UP, PULL_DOWN = 1, 2

            def __init__(self, id: str) -> None:  # noqa: A002 - the name that Blinka's ports use
                if id in taken:
                    raise ValueError(f"{id} in use")
                taken[id] = self
                self.id = id
                self._output = False

            def init(self, mode: int = IN, pull: int | None = None) -> None:
                if mode == self.OUT:
                    if not self._output:
                        self._output = True
                        chip.drive(self.id, 0)
                    return
                self._let_go()
                chip.pulls[self.id] = {None: None, self.PULL_UP: "up", self.PULL_DOWN: "down"}[
                    pull
                ]

            def value(self, val: int | None = None) -> int | None:
                if val is None:
                    return chip.level(self.id)
                assert self._output, "a level for a pin that is no output"
                chip.drive(self.id, val)
                return None

            def deinit(self) -> None:
                self._let_go()
                chip.pulls[self.id] = None
                del taken[self.id]

            def _let_go(self) -> None:
                if self._output:
                    self._output = False
                    # The relay driver's pull-down.
                    chip.drive(self.id, 0)
                    del chip.driven[self.id]

        return Pin

    def neopixel_write(self, gpio: Any, buf: bytearray) -> None:
        """Blinka's own name and signature. A WS2812 takes green first."""
        assert gpio.direction is not None
        assert gpio._pin.id == self._chip.lamp
        self.sent.append(bytes(buf))
        green, red, blue = buf
        self._chip.shown.append((red, green, blue))


def load(
    chip: Chip, board_id: str, microcontroller: dict[str, object]
) -> tuple[dict[str, types.ModuleType], Pins]:
    """The modules of `OFFERED` by name, around ``chip``, and its pins.

    ``microcontroller``: what that module has besides pins; Blinka has none of it.
    """
    pins = Pins(chip)
    port = {
        _PORT: microcontroller,
        _PORT + ".pin": {"Pin": pins.Pin},
        _PORT + ".neopixel": {"neopixel_write": pins.neopixel_write},
        _BOARD: {
            "board_id": board_id,
            **{name: BoardPin(name) for name in pin_names(board_id)},
        },
    }
    with _apart():
        for name, content in port.items():
            module = types.ModuleType(name)
            module.__dict__.update(content)
            sys.modules[name] = module
        sys.modules[_PORT].__path__ = []
        modules = {name: importlib.import_module(name) for name in OFFERED}
        _once.update(
            (name, module)
            for name, module in sys.modules.items()
            if _is_ours(name) and name not in _PER_CHIP
        )
    return modules, pins


def _is_ours(name: str) -> bool:
    return name in _PER_CHIP or name.split(".")[0] in _OURS


@contextmanager
def _apart() -> Iterator[None]:
    """Imports within leave nothing of Blinka's behind, nor find what was there before."""
    environment = {name: os.environ.get(name) for name in _ENVIRONMENT}
    before = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    _forget(before)
    sys.modules.update(_once)
    os.environ.update(_ENVIRONMENT)
    try:
        yield
    finally:
        _forget([name for name in sys.modules if _is_ours(name)])
        sys.modules.update(before)
        for name, value in environment.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def _forget(names: Any) -> None:
    for name in list(names):
        del sys.modules[name]


def stub_folder(name: str) -> Path:
    """The folder of `name` in the distribution circuitpython-stubs."""
    spec = importlib.util.find_spec("board_definitions")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations))).parent / name


def board_ids() -> list[str]:
    """Every board that CircuitPython is built for."""
    return sorted(path.name for path in stub_folder("board_definitions").iterdir())


@functools.cache
def pin_names(board_id: str) -> frozenset[str]:
    """What `board` calls its pins on ``board_id``."""
    path = stub_folder("board_definitions") / board_id / "__init__.pyi"
    return frozenset(
        node.target.id
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and ast.unparse(node.annotation) == "microcontroller.Pin"
    )
