"""Is the firmware for this machine? Asked of boards, and of images before they get onto one."""

from __future__ import annotations

import re

from hardmute.model import words
from hardmute.model.errors import UsageError
from muteboard import boards

# MicroPython's banner has it behind a semicolon (shared/runtime/pyexec.c), and the linker lets
# `sys.implementation._machine` be the end of that string.
_MACHINE = re.compile(rb"([ -~]{1,100} with (?:RP2|ESP32)[ -~]{0,20})\0")


def check(machine: str, what: str) -> None:
    """Raise `UsageError` unless the firmware runs on ``machine``, as MicroPython calls it.

    ``what``: how the sentence begins that tells the machine.
    """
    if machine not in boards.MACHINES:
        said = repr(words.printable(machine)) if machine else "a board that has no name"
        raise UsageError(f"{what} {said}: {boards.MICROPYTHON}.")


def built_for(program: bytes) -> str:
    """The machine that the MicroPython in ``program`` is for; "" where it does not say.

    Our own modules hold the names of all machines that are supported. Where they are frozen in,
    this cannot tell one of these from another.
    """
    found = [name.decode().rpartition("; ")[2] for name in _MACHINE.findall(program)]
    return next((name for name in found if name in boards.MACHINES), found[0] if found else "")
