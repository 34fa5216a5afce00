"""main.py on every machine that MicroPython runs on: it looks before it touches anything.

tests/vectors/machines.txt is MicroPython's own list of boards.
"""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
from board_port import FIRMWARE

from muteboard import boards

_LISTED = Path(__file__).parent.parent / "vectors" / "machines.txt"
_LINES = [
    line.split("\t") for line in _LISTED.read_text().splitlines() if not line.startswith("#")
]
RUNS_ON = [machine for _, _, runs, machine in _LINES if runs == "yes"]
REFUSED = [machine for _, _, runs, machine in _LINES if runs == "no"]
LOCKED = "hardmute (locked) on Raspberry Pi Pico with RP2040"
# The ones of the port that says `esp32`, by the file that drives them.
_FILES = {"rp2": "rp2040", "esp32": "esp32"}
_FILE = {machine: _FILES[port] for port, _, _, machine in _LINES} | {LOCKED: "rp2040"}


class Board:
    """A machine that main.py runs on. ``keys``: what may interrupt, in turn. ``touched``: modules
    of the chip and board files that it has asked for.
    """

    def __init__(self, machine: str | None) -> None:
        self.keys: list[int] = []
        self.touched: list[str] = []
        self._said = {} if machine is None else {"_machine": machine}
        micropython = types.ModuleType("micropython")
        micropython.kbd_intr = self.keys.append  # type: ignore[attr-defined]
        micropython.const = int  # type: ignore[attr-defined]
        watched = ("muteboard.boards", "machine", "rp2", "esp32")
        self._modules = {"micropython": micropython, **{n: self._module(n) for n in watched}}

    def _module(self, name: str) -> types.ModuleType:
        """A module of whose every use is kept note."""

        def touch(what: str) -> object:
            if what.startswith("__"):
                raise AttributeError(what)
            self.touched.append(what)
            return lambda *_: None

        module = types.ModuleType(name)
        module.__getattr__ = touch  # type: ignore[method-assign]
        return module

    def start(self, monkeypatch: pytest.MonkeyPatch, file: str = "main.py") -> None:
        """Run main.py, or another ``file``. What it raises comes through."""
        program = compile((FIRMWARE / file).read_text(), file, "exec")
        implementation = types.SimpleNamespace(**vars(sys.implementation), **self._said)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "implementation", implementation)
            for name, module in self._modules.items():
                patch.setitem(sys.modules, name, module)
            exec(program, {"__name__": "__main__"})  # noqa: S102 - our own file


@pytest.mark.parametrize("machine", [*RUNS_ON, LOCKED])
def test_a_supported_machine_gets_its_board_file(
    machine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    board = Board(machine)
    # The stand-in for the board file has no `Board`: main.py takes that for a crash.
    board.start(monkeypatch)
    assert board.touched == [_FILE[machine], "reset"]


@pytest.mark.parametrize("machine", [*REFUSED, "", None])
def test_P1_any_other_machine_is_left_alone_at_its_prompt(
    machine: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(machine)
    with pytest.raises(ImportError) as refusal:
        board.start(monkeypatch)
    assert board.touched == []
    # Ctrl-C works again.
    assert board.keys == [-1, 3]
    told = str(refusal.value)
    assert repr(machine or "") in told
    assert "Raspberry Pi Pico (RPI_PICO)" in told
    assert "ESP32_GENERIC" in told


@pytest.mark.parametrize("machine", [*REFUSED, "", None])
def test_P1_what_boot_py_imports_touches_no_other_machine(
    machine: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = Board(machine)
    with pytest.raises(ImportError, match="this board is"):
        board.start(monkeypatch, "muteboard/boards/esp32_cut.py")
    assert board.touched == []


def test_every_supported_machine_is_in_micropythons_list() -> None:
    assert set(boards.MACHINES) == {*RUNS_ON, LOCKED}
    assert len(_LINES) == len({machine for *_, machine in _LINES}) == 127


def test_the_locked_image_calls_itself_what_is_supported() -> None:
    header = (FIRMWARE / "locked" / "mpconfigboard.h").read_text()
    name = re.search(r'^#define MICROPY_HW_BOARD_NAME "(.*)"$', header, re.MULTILINE)
    assert name
    assert f"{name[1]} with RP2040" == LOCKED
