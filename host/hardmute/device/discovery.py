"""Which boards are there: by USB ids and a ``hello``, never by guessing.

A board that is wanted by its id is looked for in three steps, each only where the one before found
nothing: by USB serial numbers, which are listed without opening a port; at the place where a board
that has none was last; by a ``hello`` to every port that can be a board's, to all at once. In each
case the board that is then opened must say that it has that id.
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import sys
from collections.abc import Callable, Generator, Iterable, Sequence

from hardmute.device import client, simulators
from hardmute.device.holder import Turn
from hardmute.model.answers import Identity, is_board_id
from hardmute.model.clock import SYSTEM
from hardmute.model.errors import (
    HardmuteError,
    LocalError,
    PortWantedError,
    RefusedError,
    UnreachableError,
    UsageError,
)
from hardmute.model.typed import TYPE_CHECKING, Any, NamedTuple, TypeVar
from hardmute.model.usb import Usb

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
# Serial numbers that many bridges share. Makers of bridges leave counters as they come from the
# factory ("0001" on every CP2102: Silicon Labs AN721; github.com/espressif/esptool/issues/1026),
# zeros or no number at all (CH340); one number is on a whole kind of counterfeit FT232R
# (softsolder.com/2016/09/02/counterfeit-ftdi-usb-serial-adapter-roundup). Windows appends an "A".
_DEFAULT_SERIAL = r"(?i:0*[0-9]{0,4}|(.)\1*|0?123456789?0?|0123456789abcdef|a50285bia?)"
# Where Linux shows ports on the USB, and the names that it gives them.
_DEV = "/dev"
_USB_PORTS = ("ttyACM*", "ttyUSB*")
# How long a board may take to start, and after how long a port is asked again that has not
# answered, in seconds.
_STARTS_S = 10.0
_RARELY_S = 60.0
# Why a port was not asked, so that nobody knows what is behind it.
NOT_ASKED = ("port_held", "port_in_use", "no_permission")

_Place = TypeVar("_Place")
_Said = TypeVar("_Said")

_WINDOWS_PORT = r"(?i:(\\\\\.\\)?COM\d+)"


if TYPE_CHECKING:
    from typing import Protocol

    class KnownBoards(Protocol):
        """What this host keeps of boards that it has met: `hardmute.Log` does."""

        def boards(self) -> list[tuple[str, str | None, bool]]:
            """Every board ever met: id, label, whether it is simulated."""
            ...

        def real_boards(self) -> list[str]:
            """The ids of those that are not simulated."""
            ...

        def board_named(self, label: str) -> str | None:
            """The id of the board with this label."""
            ...

        def board_last_at(self, device: str) -> str | None:
            """The id of the board that was last met at ``device``."""
            ...

        def usb(self, board: str) -> Usb | None:
            """The USB device that ``board`` was last behind."""
            ...

        def learn_usb(self, board: str, usb: Usb) -> None:
            """Keep that ``board`` is behind this USB device."""
            ...


class Port(NamedTuple):
    """A serial port that may have a board behind it. ``serial``: the USB serial number.

    ``location``: where on the USB the device is, and which of its interfaces this is.
    """

    device: str
    serial: str | None
    ids: tuple[int, int] | None
    location: str | None = None

    @property
    def usb(self) -> Usb:
        """What stays when the device is unplugged and plugged in again."""
        return Usb(self.serial, self.location, self.ids)

    @property
    def usb_device(self) -> str:
        """The USB device that it is one interface of."""
        return (self.location or "").partition(":")[0] or self.device

    @property
    def is_bridge(self) -> bool:
        """Whether anything may be behind it."""
        return self.ids in _BRIDGE_IDS


class Found(NamedTuple):
    """A place where a board answers, or the reason why none does.

    ``told``: the board that is there by its USB serial number.
    """

    device: str
    identity: Identity | None
    error: UnreachableError | None
    told: str | None = None


class Search:
    """Which ports are asked by one who looks for a board again and again.

    A port is asked when it is new, for as long as a board takes to start; then rarely. Ports that
    were there while the board was met elsewhere are not new. ``clock`` is in seconds.
    ``is_taken``: whether another board is known to be at this device: it is not asked.
    """

    def __init__(
        self,
        clock: Callable[[], float] = SYSTEM.now_s,
        is_taken: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._clock = clock
        self._is_taken = is_taken
        # Since when a port is there, and when it was asked last; before the first listing, nothing
        # is known of either.
        self._since: dict[Port, float] | None = None
        self._asked: dict[Port, float] = {}

    def next(self, ports: Sequence[Port], always: Sequence[Port] = ()) -> list[Port]:
        """Those of ``ports`` that are to be asked now; ``always`` are."""
        now = self._clock()
        old = self._since
        self._since = {p: old.get(p, now) if old is not None else -math.inf for p in ports}
        self._asked = {p: min(self._asked[p], now) for p in self._since if p in self._asked}
        free = [port for port in ports if not self._is_taken(port.device)]
        due = [port for port in free if port in always or self._is_due(port, now)]
        self._asked |= dict.fromkeys(due, now)
        return due

    def _is_due(self, port: Port, now: float) -> bool:
        if self._since is None or port not in self._asked:
            return True
        return now - self._since[port] < _STARTS_S or now - self._asked[port] >= _RARELY_S

    def missed(self, devices: Iterable[str]) -> None:
        """These could not be asked."""
        gone = set(devices)
        self._asked = {port: at for port, at in self._asked.items() if port.device not in gone}

    def met(self, device: str) -> None:
        """The board is at ``device``, and so at none of the other ports that are there."""
        others = [port for port in serial_ports(bridges=False) if port.device != device]
        self._since = dict.fromkeys(others, -math.inf)
        # Until the search goes on.
        self._asked = dict.fromkeys(others, math.inf)


def serial_ports(*, bridges: bool) -> list[Port]:
    """Ports whose USB ids can be a board's; with ``bridges``, unknown bridges as well.

    A device that goes while they are listed is left out.
    """
    ports: list[Port] = []
    for info in _listed():
        if info.vid is None or info.pid is None:
            continue
        ids = (info.vid, info.pid)
        if info.vid in BOARD_VENDORS or (bridges and ids in _BRIDGE_IDS):
            ports.append(Port(info.device, info.serial_number, ids, info.location))
    return sorted(ports)


def ports_mark() -> tuple[int, int] | None:
    """What stays the same while no port comes or goes; None where the system does not tell.

    A listing reads ten files of each port. For 64 of them that takes longer than to hear them.
    """
    if sys.platform != "linux":
        return None
    try:
        return os.stat(_DEV).st_mtime_ns, os.stat(simulators.folder()).st_mtime_ns
    except OSError:
        return None


def _listed() -> Iterable[Any]:
    """pyserial's list of ports, without those of which it cannot read what they are.

    Of a USB device that goes just then, pyserial 3.5 reads no id, and raises for all ports
    (github.com/pyserial/pyserial/issues/774 and 550).
    """
    from serial.tools import list_ports

    try:
        return list_ports.comports()
    except (TypeError, ValueError):
        if sys.platform != "linux":
            raise
    from glob import glob

    from serial.tools.list_ports_linux import SysFS

    listed: list[Any] = []
    for name in _USB_PORTS:
        for device in glob(os.path.join(_DEV, name)):
            with contextlib.suppress(TypeError, ValueError):
                listed.append(SysFS(device))
    return listed


def bridges() -> list[Port]:
    """Ports of bridges, behind which anything may sit: an ESP32, or a printer. None is opened."""
    return [port for port in serial_ports(bridges=True) if port.is_bridge]


def places(board: str, log: KnownBoards | None, search: Search) -> list[Port]:
    """Where ``board`` is by what is listed; else what ``search`` asks next. None is opened."""
    ports = serial_ports(bridges=True)
    kept = log.usb(board) if log is not None else None
    if told := _told(board, kept, ports):
        return told
    return search.next(_possible(ports, board), _last_place(kept, ports))


def find(timeout: float, log: KnownBoards | None, turn: Turn) -> list[Found]:
    """Say hello on every port that can be a board's, on all at once: in one time-out.

    These are the `candidates`. ``turn`` as for `client.connect`; with "mute" each board is cut as
    soon as its hello is there.
    """
    told = candidates(log)
    found = _ask(list(told), timeout, turn, lambda _: True)
    boards = {port.device: board for port, board in told.items()}
    return [one._replace(told=boards[one.device]) for one in found]


def candidates(log: KnownBoards | None) -> dict[Port, str | None]:
    """Ports that can be a board's, and the id of the board that is there by its serial number.

    Bridges are among them if ``log`` tells which boards are behind them, and simulated boards if
    they have a label. None is opened.
    """
    ports = serial_ports(bridges=True)
    told: dict[Port, str] = {}
    labelled: set[str] = set()
    for board, label, _ in log.boards() if log is not None else ():
        kept = log.usb(board) if log is not None else None
        told |= {port: board for port in ports if _is_told(port, board, kept, ports)}
        if label is not None:
            labelled.add(board)
    found = {port: told.get(port) for port in ports if not port.is_bridge or port in told}
    for entry in simulators.running():
        if entry.board in labelled:
            found[Port(entry.device, None, None)] = None
    return found


def cut(named: Sequence[str], timeout: float, log: KnownBoards | None) -> None:
    """Cut each board that is ``named`` as soon as its hello is there, whatever others do.

    Who then asks each board tells whether it is cut.
    """
    ports = serial_ports(bridges=True)
    wanted: dict[Port, set[str]] = {}
    for name in named:
        board = name if is_board_id(name) else None
        if log is not None and board is None:
            board = log.board_named(name)
        if is_port(name):
            wanted.setdefault(Port(name, None, None), set())
        elif board:
            kept = log.usb(board) if log is not None else None
            places = _told(board, kept, ports) or [
                *_last_place(kept, ports),
                *_possible(ports, board),
            ]
            for port in places:
                wanted.setdefault(port, set()).add(board)

    def ask(port: Port, is_over: Callable[[], bool]) -> None:
        with (
            contextlib.suppress(HardmuteError),
            client.connect(port.device, timeout, "mute", is_over) as (session, identity),
        ):
            if port.device in named or identity.board in wanted[port]:
                session.mute()

    for _ in at_once(list(wanted), ask):
        pass


def _ask(
    ports: Sequence[Port],
    timeout: float,
    turn: Turn,
    cuts: Callable[[str], bool] = lambda _: False,
) -> list[Found]:
    """Say hello on all of ``ports`` at once. Raises `PortWantedError` if one of them is wanted.

    ``cuts``: whether the board with this id is to be cut at once.
    """

    def ask(port: Port, is_over: Callable[[], bool]) -> Found:
        try:
            with client.connect(port.device, timeout, turn, is_over) as (session, identity):
                if turn == "mute" and cuts(identity.board):
                    # Who asks the board afterwards tells whether it is cut.
                    with contextlib.suppress(UnreachableError, RefusedError):
                        session.mute()
                _check_serial(port, identity)
                return Found(port.device, identity, None)
        except PortWantedError:
            raise
        except UnreachableError as error:
            return Found(port.device, None, error)

    order = {port.device: number for number, port in enumerate(ports)}
    return sorted(at_once(ports, ask), key=lambda found: order[found.device])


def silent(devices: Sequence[str], timeout: float) -> dict[str, UnreachableError]:
    """Say hello on all of ``devices`` at once. Returns those that do not answer, and why.

    One alone need not be asked beforehand.
    """
    if len(devices) < 2:
        return {}

    def ask(device: str, is_over: Callable[[], bool]) -> tuple[str, UnreachableError] | None:
        try:
            with client.connect(device, timeout, "usual", is_over):
                return None
        except UnreachableError as error:
            return device, error

    return dict(filter(None, at_once(devices, ask)))


def at_once(
    ports: Sequence[_Place], ask: Callable[[_Place, Callable[[], bool]], _Said]
) -> Generator[_Said]:
    """What ``ask`` says of each of ``ports``, which are asked all at once; the first one first.

    ``ask`` is also given what tells whether nobody waits for it any more: so it is when one has
    raised, and when this generator was closed. The ports are given back then.
    """
    if not ports:
        return
    import threading
    from concurrent.futures import ThreadPoolExecutor, as_completed

    over = threading.Event()
    with ThreadPoolExecutor(len(ports)) as pool:
        asked = [pool.submit(ask, port, over.is_set) for port in ports]
        try:
            for one in as_completed(asked):
                yield one.result()
        finally:
            over.set()


@contextlib.contextmanager
def open_board(
    named: str | None,
    timeout: float,
    log: KnownBoards | None,
    turn: Turn = "usual",
    search: Search | None = None,
    is_over: Callable[[], bool] | None = None,
) -> Generator[tuple[client.Session, Identity]]:
    """A session with the board that was named, or with the only one there is.

    ``named``: a port, a pyserial URL, a board id, or a label from ``log``. Simulated boards are
    used only when named. ``turn`` and ``is_over`` as for `client.connect`. ``search``: of one who
    tries again and again. Raises `UsageError` when several boards fit and `UnreachableError` when
    none does.
    """
    device, wanted = _resolve(named, timeout, log, turn, search or Search())
    try:
        with client.connect(device, timeout, turn, is_over) as (session, identity):
            _check_wanted(device, identity, wanted)
            if not identity.simulated:
                port = _port_at(device)
                if port is not None:
                    _check_serial(port, identity)
                    if log is not None:
                        log.learn_usb(identity.board, port.usb)
            if search is not None:
                search.met(device)
            yield session, identity
    except UnreachableError as error:
        if search is not None and error.reason in NOT_ASKED:
            search.missed([device])
        raise


def is_port(named: str) -> bool:
    """Whether ``named`` is a port or an address, rather than a board."""
    if "://" in named or named.startswith("/"):
        return True
    return re.fullmatch(_WINDOWS_PORT, named) is not None


def board_for(named: str | None, log: KnownBoards) -> str | None:
    """The board id that ``named`` most likely meant, by the log: where "unknown" is filed."""
    if named is None:
        known = log.real_boards()
        return known[0] if len(known) == 1 else None
    if is_board_id(named):
        return named
    return log.board_named(named) or log.board_last_at(named)


def known_board(named: str | None, log: KnownBoards) -> str | None:
    """As `board_for`, but only a board that this host has seen."""
    board = board_for(named, log)
    return board if board in {known for known, _, _ in log.boards()} else None


def _resolve(
    named: str | None, timeout: float, log: KnownBoards | None, turn: Turn, search: Search
) -> tuple[str, str | None]:
    """The device to open, and the board id that must answer there (None: any)."""
    if named is None:
        return _only_board(timeout, log, turn, search)
    if is_port(named):
        return named, None
    # No label looks like an id, so an id works with a log in trouble as well.
    if log is None and not is_board_id(named):
        raise LocalError(
            f"{named!r} is no port and no board id. Labels are in the log, and no log can be read:"
            " name the port or the board id."
        )
    board = named if is_board_id(named) else None
    if log is not None and board is None:
        board = log.board_named(named)
    if not board:
        raise UsageError(
            f"{named!r} is no port, no board id and no label; `hardmute list` shows what is there."
        )
    return _place_of(board, timeout, log, turn, search), board


def _place_of(
    board: str, timeout: float, log: KnownBoards | None, turn: Turn, search: Search
) -> str:
    """The port where ``board`` is. Raises `UsageError` if it may be at more than one."""
    ports = serial_ports(bridges=True)
    kept = log.usb(board) if log is not None else None
    told = _told(board, kept, ports)
    # Where a device has several ports, its number is that of each.
    devices = {port.usb_device: port for port in told}
    if len(devices) > 1:
        raise UsageError(_one_id(board, [port.device for port in devices.values()]))
    if kept is not None and len(told) > 1:
        told = [port for port in told if port.location == kept.location] or told
    if len(told) == 1:
        return told[0].device
    first = told or _last_place(kept, ports)
    rest = search.next([port for port in _possible(ports, board) if port not in first])
    found: list[Found] = []
    for asked in (first, rest):
        found += _ask_for(search, asked, timeout, turn, lambda said: said == board)
        places = [one.device for one in found if one.identity and one.identity.board == board]
        if len(places) > 1:
            raise UsageError(_one_id(board, places))
        if places:
            return places[0]
    raise _not_asked(found) or _behind_a_bridge(board, kept, ports) or _not_connected(board)


def _ask_for(
    search: Search,
    ports: Sequence[Port],
    timeout: float,
    turn: Turn,
    cuts: Callable[[str], bool] = lambda _: False,
) -> list[Found]:
    """As `_ask`; what could not be asked is asked again."""
    missed = [port.device for port in ports]
    try:
        found = _ask(ports, timeout, turn, cuts)
        missed = [one.device for one in found if one.error and one.error.reason in NOT_ASKED]
    finally:
        search.missed(missed)
    return found


def _told(board: str, kept: Usb | None, ports: list[Port]) -> list[Port]:
    """Where ``board`` is, by what is listed."""
    running = [
        Port(entry.device, None, None) for entry in simulators.running() if entry.board == board
    ]
    return running + [port for port in ports if _is_told(port, board, kept, ports)]


def _is_told(port: Port, board: str, kept: Usb | None, ports: list[Port]) -> bool:
    """Whether the serial number of ``port`` says that ``board`` is behind it.

    That of a bridge says so only if it is no other's.
    """
    if port.serial is None:
        return False
    if port.ids == _RP2_MICROPYTHON:
        return port.serial.casefold() == board.casefold()
    if kept is None or (port.serial, port.ids) != (kept.serial, kept.ids):
        return False
    if not port.is_bridge:
        return True
    same = [one for one in ports if one.is_bridge and one.serial == port.serial]
    return len(same) == 1 and not re.fullmatch(_DEFAULT_SERIAL, port.serial.strip())


def _known_places(log: KnownBoards | None, ports: list[Port]) -> list[Port]:
    """Those of ``ports`` behind which boards are, or were last, by ``log``."""
    known = [(board, log.usb(board)) for board in log.real_boards()] if log is not None else []
    return [
        port
        for port in ports
        if any(
            _is_told(port, board, kept, ports) or port in _last_place(kept, ports)
            for board, kept in known
        )
    ]


def _last_place(kept: Usb | None, ports: list[Port]) -> list[Port]:
    """The port where a board without a serial number was last, if one like that is there."""
    if kept is None or kept.serial is not None or kept.location is None:
        return []
    return [port for port in ports if port.usb == kept and not port.is_bridge]


def _possible(ports: list[Port], board: str) -> list[Port]:
    """Of ``ports``, those of which nothing tells that something else than ``board`` is there."""
    return [
        port
        for port in ports
        if not port.is_bridge
        and (
            port.ids != _RP2_MICROPYTHON
            or port.serial is None
            or port.serial.casefold() == board.casefold()
        )
    ]


def check_alone(board: str, device: str, other: str | None) -> None:
    """Raise `UnreachableError` if ``board``, which is at ``device``, was met at an ``other``."""
    if other is not None:
        raise UnreachableError(_one_id(board, [other, device]), "one_id")


def _one_id(board: str, places: list[str]) -> str:
    """That the id ``board`` was found at all of ``places``.

    Ids are those of the chips: on the RP2040 that of its flash, of which some makers give one to
    several (github.com/raspberrypi/pico-sdk/issues/1132 and 1641).
    """
    return (
        f"Board {board} is at {' and at '.join(places)}: two boards have one id, or one of them is"
        " not what it says. Unplug the one that you do not mean, or name a port."
    )


def _not_asked(found: list[Found]) -> UnreachableError | None:
    """That one of these ports could not be asked, so nobody knows what is behind it."""
    errors = (one.error for one in found if one.error is not None)
    return next((error for error in errors if error.reason in NOT_ASKED), None)


def _behind_a_bridge(board: str, kept: Usb | None, ports: list[Port]) -> UnreachableError | None:
    """That ``board`` was last behind a bridge which cannot be told from those that are there."""
    alike = [
        port.device
        for port in ports
        if kept is not None
        and port.is_bridge
        and port.usb._replace(location=kept.location) == kept
    ]
    if not alike:
        return None
    return UnreachableError(
        f"Board {board} may be at {' or at '.join(alike)}, which no serial number tells from other"
        " devices: name its port with --device.",
        "not_told_apart",
    )


def _not_connected(board: str) -> UnreachableError:
    return UnreachableError(f"Board {board} is not connected.", "not_connected")


def _only_board(
    timeout: float, log: KnownBoards | None, turn: Turn, search: Search
) -> tuple[str, str | None]:
    ports = serial_ports(bridges=False)
    asked = search.next(ports, _known_places(log, ports))
    if asked == ports and len(ports) == 1:
        return ports[0].device, None
    found = _ask_for(search, asked, timeout, turn)
    boards = [(one.identity.board, one.device) for one in found if one.identity is not None]
    not_asked = _not_asked(found)
    if len(boards) == 1 and not_asked is None:
        return boards[0][1], None
    if len(boards) == 1:
        raise UsageError(
            f"Board {boards[0][0]} is at {boards[0][1]}, and another one may be connected: name"
            f" the one that you mean with --device. {not_asked}"
        )
    if boards:
        if len({board for board, _ in boards}) == 1:
            raise UsageError(_one_id(boards[0][0], [device for _, device in boards]))
        listed = "".join(f"\n  {board} at {device}" for board, device in boards)
        raise UsageError(f"Several boards are connected; name one with --device:{listed}")
    if not_asked is not None:
        raise not_asked
    simulated = simulators.running()
    hint = "plug one in, or start a simulated one with `hardmute sim`."
    if simulated:
        named = " or ".join(f"--device {entry.board}" for entry in simulated)
        hint = f"simulated ones are used only when named: {named}."
    raise UnreachableError(f"No hardmute board is connected: {hint}", "no_board")


def _port_at(device: str) -> Port | None:
    """The port on the USB that ``device`` is a name of."""
    real = os.path.realpath(device)
    # The name may be a link, such as those in /dev/serial/by-id.
    ports = serial_ports(bridges=True)
    return next((port for port in ports if os.path.realpath(port.device) == real), None)


def _check_wanted(device: str, identity: Identity, wanted: str | None) -> None:
    if wanted is not None and identity.board != wanted:
        raise UnreachableError(
            f"{device} is board {identity.board} now, not {wanted}: the board was exchanged.",
            "wrong_board",
        )


def _check_serial(port: Port, identity: Identity) -> None:
    if port.ids != _RP2_MICROPYTHON or port.serial is None:
        return
    if port.serial.casefold() != identity.board.casefold():
        raise UnreachableError(
            f"{port.device} calls itself board {identity.board}, but its USB serial number is "
            f"{port.serial!r}: do not trust it.",
            "fake_id",
        )
