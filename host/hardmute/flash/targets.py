"""Which board there is to be flashed, and in what condition. Several: the person says which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from hardmute.device import client, discovery
from hardmute.flash import bootsel, circuitpy, drives
from hardmute.model.answers import Identity
from hardmute.model.errors import UnreachableError, UsageError
from hardmute.store.log import Log
from muteboard import boards

BOOTSEL = "bootsel"
CIRCUITPY = "circuitpy"
# Answers as hardmute does; at MicroPython's prompt; silent, for the ROM loader to be asked.
RUNNING = "running"
PROMPT = "prompt"
SERIAL = "serial"

# What --board names: the ``port`` that its firmware calls itself, by the condition that it may be
# found in. Without a name a board is taken for the plain one of its chip.
BOARDS = {
    "pico": (BOOTSEL, RUNNING, PROMPT),
    "pico_interlock": (BOOTSEL, RUNNING, PROMPT),
    "esp32": (RUNNING, PROMPT, SERIAL),
    "esp32_interlock": (RUNNING, PROMPT, SERIAL),
    "circuitpython": (CIRCUITPY, RUNNING),
}
PORTS = {
    "pico": "rp2040",
    "pico_interlock": "rp2040_interlock",
    "esp32": "esp32",
    "esp32_interlock": "esp32_interlock",
    "circuitpython": "circuitpython",
}
_SAID = {
    BOOTSEL: "an RP2040 in BOOTSEL",
    CIRCUITPY: "CircuitPython's drive",
    RUNNING: "a board that runs hardmute",
    PROMPT: "a board at MicroPython's prompt",
    SERIAL: "a serial port",
}


class Target(NamedTuple):
    """A board. ``place``: its port, or where its drive is mounted. ``board``: its id, if known."""

    kind: str
    place: str
    board: str | None = None
    identity: Identity | None = None

    def __str__(self) -> str:
        named = f" ({self.board})" if self.board else ""
        return f"{_SAID[self.kind]} at {self.place}{named}"


def find(
    named: str | None,
    timeout: float,
    log: Log | None,
    board: str | None,
    kinds: tuple[str, ...] | None = None,
) -> Target:
    """The board that was named, or the only one there is.

    ``named``: a port, a drive, a board id or a label. ``board``: one of `BOARDS`. ``kinds``: the
    only conditions in which it is looked for. Raises `UsageError` where several fit, and
    `UnreachableError` where none does.
    """
    allowed = BOARDS[board] if board else tuple(_SAID)
    if kinds is not None:
        allowed = tuple(kind for kind in allowed if kind in kinds)
    if named is not None:
        target = _named(named, timeout, log, serial=_is_serial(board))
        if target.kind not in allowed or not _is(target, board):
            raise UsageError(f"{target} is no {board or 'board for that'}.")
        return target
    found = [
        target
        for target in _candidates(timeout, serial=_is_serial(board))
        if target.kind in allowed and _is(target, board)
    ]
    if len(found) > 1:
        listed = "".join(f"\n  {target}" for target in found)
        raise UsageError(f"Several boards are there; name one with --device:{listed}")
    if not found:
        if BOOTSEL in allowed:
            for drive in drives.mounted():
                bootsel.check(drive)
        raise UnreachableError(_none(board), "no_board")
    return found[0]


def word(board: str | None) -> str | None:
    """What board.txt has to say: nothing for a board that is named like its chip."""
    port = PORTS[board] if board else ""
    plain = any(names[0] == port.encode() for names in boards.MACHINES.values())
    return port if port and not plain else None


def _is_serial(board: str | None) -> bool:
    return board is not None and SERIAL in BOARDS[board]


def _is(target: Target, board: str | None) -> bool:
    """Whether what runs on a board speaks against its being a ``board``."""
    if board is None or target.identity is None:
        return True
    # A Pico tells by its wiring only which one it is.
    return target.identity.port.partition("_")[0] == PORTS[board].partition("_")[0]


def _named(named: str, timeout: float, log: Log | None, *, serial: bool) -> Target:
    drive = Path(named)
    if drive.is_dir():
        if circuitpy.is_drive(drive):
            return Target(CIRCUITPY, named, circuitpy.board_id(drive))
        if not (drive / bootsel.INFO).exists():
            raise UsageError(
                f"{named} is no board's drive: there is neither {bootsel.INFO} nor "
                f"{circuitpy.INFO}."
            )
        bootsel.check(drive)
        return Target(BOOTSEL, named)
    if not discovery.is_port(named):
        with discovery.open_board(named, timeout, log) as (session, identity):
            return Target(RUNNING, session.device, identity.board, identity)
    target = _port(named, timeout, serial=serial)
    if target is not None:
        return target
    raise UnreachableError(
        f"At {named} answers neither hardmute nor MicroPython's prompt: for an empty Pico hold "
        "BOOTSEL while you plug it in, for an empty ESP32 say --board esp32.",
        "no_answer",
    )


def _candidates(timeout: float, *, serial: bool) -> Iterator[Target]:
    places = drives.mounted()
    for drive in bootsel.find(places):
        yield Target(BOOTSEL, str(drive))
    for drive in circuitpy.find(places):
        yield Target(CIRCUITPY, str(drive), circuitpy.board_id(drive))

    def ask(port: discovery.Port, is_over: Callable[[], bool]) -> Target | None:
        return _port(port.device, timeout, is_over, serial=serial)

    asked = discovery.at_once(discovery.serial_ports(bridges=serial), ask)
    yield from sorted(filter(None, asked), key=lambda target: target.place)


def _port(
    device: str, timeout: float, is_over: Callable[[], bool] | None = None, *, serial: bool
) -> Target | None:
    """What answers at a port; None for nothing that we know, unless it is to be asked as
    ``serial``. Raises `UnreachableError`.
    """
    found = client.firmware_or_prompt(device, timeout, is_over)
    if isinstance(found, str):
        return Target(PROMPT, device, found)
    if found is not None:
        return Target(RUNNING, device, found.board, found)
    return Target(SERIAL, device) if serial else None


def _none(board: str | None) -> str:
    lost = drives.unmounted()
    if lost:
        return (
            f"A board shows its drive {lost[0]}, which is not mounted: mount it (udisksctl mount "
            f"-b /dev/disk/by-label/{lost[0]}), and name the folder with --device."
        )
    if board == "circuitpython":
        return "No CIRCUITPY drive is mounted, and no board that runs hardmute is there."
    if _is_serial(board):
        return (
            "No ESP32 is there: plug it in, or name its port with -d; `hardmute doctor` says what"
            " this computer sees."
        )
    bridges = [port.device for port in discovery.serial_ports(bridges=True)]
    hint = f" For an ESP32 say --board esp32 ({', '.join(bridges)})." if bridges else ""
    return (
        "No board is there to be flashed. An empty Pico: hold its BOOTSEL button while you plug "
        f"it in, and a drive RPI-RP2 appears. One that is in use: plug it in; `hardmute doctor` "
        f"says what this computer sees.{hint}"
    )
