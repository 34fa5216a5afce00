"""Which boards are there: by USB ids and a ``hello``, never by guessing."""

import contextlib
import os
import re
from collections.abc import Generator
from typing import NamedTuple

from hardmute import client
from hardmute.errors import LocalError, PortWantedError, UnreachableError, UsageError
from hardmute.holder import Turn
from hardmute.log import Log
from hardmute.report import Identity, is_board_id
from hardmute.sim import registry

# USB vendors under whose ids, with any product, a hardmute board can show up (their udev rule is
# in doctor/70-hardmute.rules).
BOARD_VENDORS = frozenset(
    {
        # Raspberry Pi: product 0005 is MicroPython on RP2040 and RP2350; CircuitPython boards take
        # others.
        0x2E8A,
        # Adafruit: CircuitPython boards.
        0x239A,
        # Espressif: 4001 is MicroPython's native USB, 1001 the USB Serial/JTAG unit.
        0x303A,
    }
)
# USB-to-serial bridges that anything may sit behind: CP210x, CH340, CH9102, FT232R. They are
# probed only when named, or with `list --probe`.
_BRIDGE_IDS = {(0x10C4, 0xEA60), (0x1A86, 0x7523), (0x1A86, 0x55D4), (0x0403, 0x6001)}
# MicroPython on RP2040 (and RP2350) gives the chip's unique id as its USB serial number.
_RP2_MICROPYTHON = (0x2E8A, 0x0005)


_WINDOWS_PORT = re.compile(r"(\\\\\.\\)?COM\d+", re.IGNORECASE)


class Port(NamedTuple):
    """A serial port that may have a board behind it. ``serial``: the USB serial number."""

    device: str
    serial: str | None
    ids: tuple[int, int] | None


class Found(NamedTuple):
    """A place where a board answers, or the reason why none does."""

    device: str
    identity: Identity | None
    error: UnreachableError | None


def serial_ports(*, bridges: bool) -> list[Port]:
    """Ports whose USB ids can be a board's; with ``bridges``, unknown bridges as well."""
    from serial.tools import list_ports

    ports: list[Port] = []
    for info in list_ports.comports():
        if info.vid is None or info.pid is None:
            continue
        ids = (info.vid, info.pid)
        if info.vid in BOARD_VENDORS or (bridges and ids in _BRIDGE_IDS):
            ports.append(Port(info.device, info.serial_number, ids))
    return sorted(ports)


def bridges() -> list[Port]:
    """Ports of bridges, behind which anything may sit: an ESP32, or a printer. None is opened."""
    return [port for port in serial_ports(bridges=True) if port.ids in _BRIDGE_IDS]


def find(timeout: float, *, bridges: bool = False, turn: Turn = "usual") -> list[Found]:
    """Say hello on every port that can be a board's. ``turn`` as for `client.connect`."""
    found: list[Found] = []
    for port in serial_ports(bridges=bridges):
        try:
            with client.connect(port.device, timeout, turn) as (_, identity):
                _check_serial(port, identity)
                found.append(Found(port.device, identity, None))
        except PortWantedError:
            raise
        except UnreachableError as error:
            found.append(Found(port.device, None, error))
    return found


@contextlib.contextmanager
def open_board(
    named: str | None, timeout: float, log: Log | None, turn: Turn = "usual"
) -> Generator[tuple[client.Session, Identity]]:
    """A session with the board that was named, or with the only one there is.

    ``named``: a port, a pyserial URL, a board id, or a label from ``log``. Simulated boards are
    used only when named. ``turn`` as for `client.connect`. Raises `UsageError` when several boards
    fit and `UnreachableError` when none does.
    """
    device, wanted = _resolve(named, timeout, log, turn)
    with client.connect(device, timeout, turn) as (session, identity):
        if wanted is not None and identity.board != wanted:
            raise UnreachableError(
                f"{device} is board {identity.board} now, not {wanted}: the board was exchanged.",
                "wrong_board",
            )
        if not identity.simulated:
            _check_usb(device, identity)
        yield session, identity


def is_port(named: str) -> bool:
    """Whether ``named`` is a port or an address, rather than a board."""
    return "://" in named or named.startswith("/") or _WINDOWS_PORT.fullmatch(named) is not None


def board_for(named: str | None, log: Log) -> str | None:
    """The board id that ``named`` most likely meant, by the log: where "unknown" is filed."""
    if named is None:
        known = log.real_boards()
        return known[0] if len(known) == 1 else None
    if is_board_id(named):
        return named
    return log.board_named(named) or log.board_last_at(named)


def known_board(named: str | None, log: Log) -> str | None:
    """As `board_for`, but only a board that this host has seen."""
    board = board_for(named, log)
    return board if board in {known for known, _, _ in log.boards()} else None


def _resolve(
    named: str | None, timeout: float, log: Log | None, turn: Turn
) -> tuple[str, str | None]:
    """The device to open, and the board id that must answer there (None: any)."""
    if named is None:
        return _only_board(timeout, turn)
    if is_port(named):
        return named, None
    # No label looks like an id, so an id works with a log in trouble as well.
    if log is None and not is_board_id(named):
        raise LocalError(
            f"{named!r} is no port and no board id. Labels are in the log, and no log can be read:"
            " name the port or the board id."
        )
    board = named if is_board_id(named) else log and log.board_named(named)
    if not board:
        raise UsageError(
            f"{named!r} is no port, no board id and no label; `hardmute list` shows what is there."
        )
    places = [entry.device for entry in registry.running() if entry.board == board]
    found = find(timeout, turn=turn)
    places += [one.device for one in found if one.identity and one.identity.board == board]
    if len(places) > 1:
        listed = ", ".join(places)
        raise UsageError(
            f"Board {board} answers at {listed}: one of them is not what it says. Name a port."
        )
    if not places:
        raise _held(found) or UnreachableError(f"Board {board} is not connected.", "not_connected")
    return places[0], board


def _held(found: list[Found]) -> UnreachableError | None:
    """That one of these ports is held by another process, so nobody knows what is behind it."""
    errors = (one.error for one in found if one.error is not None)
    return next((error for error in errors if error.reason == "port_held"), None)


def _only_board(timeout: float, turn: Turn) -> tuple[str, str | None]:
    ports = serial_ports(bridges=False)
    if len(ports) == 1:
        return ports[0].device, None
    found = find(timeout, turn=turn) if ports else []
    boards = [one for one in found if one.identity is not None]
    if len(boards) == 1:
        return boards[0].device, None
    if boards:
        listed = "".join(
            f"\n  {one.identity.board} at {one.device}" for one in boards if one.identity
        )
        raise UsageError(f"Several boards are connected; name one with --device:{listed}")
    held = _held(found)
    if held is not None:
        raise held
    simulated = registry.running()
    hint = "plug one in, or start a simulated one with `hardmute sim`."
    if simulated:
        named = " or ".join(f"--device {entry.board}" for entry in simulated)
        hint = f"simulated ones are used only when named: {named}."
    raise UnreachableError(f"No hardmute board is connected: {hint}", "no_board")


def _check_usb(device: str, identity: Identity) -> None:
    for port in serial_ports(bridges=False):
        # The name may be a link, such as those in /dev/serial/by-id.
        if os.path.realpath(port.device) == os.path.realpath(device):
            _check_serial(port, identity)


def _check_serial(port: Port, identity: Identity) -> None:
    if port.ids != _RP2_MICROPYTHON or port.serial is None:
        return
    if port.serial.casefold() != identity.board.casefold():
        raise UnreachableError(
            f"{port.device} calls itself board {identity.board}, but its USB serial number is "
            f"{port.serial!r}: do not trust it.",
            "fake_id",
        )
