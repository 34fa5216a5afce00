"""All boards of this host, followed by one process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from hardmute.device import client, discovery, holder
from hardmute.device.discovery import Port
from hardmute.evidence.observation import Observation, essence
from hardmute.model import errors
from hardmute.model.answers import Identity
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.monitor.feed import Feed, Told
from hardmute.monitor.station import Station
from hardmute.store.log import Log
from hardmute.sync.recorder import Recorder
from hardmute.sync.visit import Ask, ask_once, cut, visit

# How often ports are looked at, and what is known of the boards without news of one, in seconds.
_LOOK_S = 1.0
_TICK_S = 0.2
# Ports are listed where one has come or gone, and each so many looks.
_LOOKS = 10
# New ports that are asked at once.
_ASKED_AT_ONCE = 8
# How long boards get to log their last row at the end, in seconds.
_END_S = 2.0


class _Listed(NamedTuple):
    """What there is to see without asking a board."""

    ports: dict[Port, str | None]
    # Of the boards that this host has met; and those of which somebody expects to hear.
    labels: dict[str, str | None]
    expected: list[str]


class Monitor:
    """Follows each real board that is connected, or has a label; or only those in ``boards``.

    ``boards``: ids, labels, ports or addresses. ``timeout``: seconds that an answer may take.
    `feed` tells what is known of each of them; what is not known is told as unknown within 3.5 s.
    Each is logged as `hardmute watch` does it. Each hardmute command of this user that asks for a
    board's port gets it at once.

    It belongs to the event loop that calls `run`.
    """

    def __init__(
        self, boards: Sequence[str] = (), *, timeout: float = 3.0, clock: HostClock = SYSTEM
    ) -> None:
        self.feed = Feed()
        self.is_ready = asyncio.Event()
        self._timeout = timeout
        self._clock = clock
        self._stations: dict[str, Station] = {}
        self._only = tuple(boards)
        self._labels: dict[str, str | None] = {}
        # Boards that had a label and have none any more.
        self._forgotten: set[str] = set()
        # What was looked at last of each station, whether it was news or not.
        self._weighed: dict[str, Told] = {}
        self._search = discovery.Search(clock.now_s)
        # Ports at which a board was met whose id another one has.
        self._twins: dict[str, str] = {}
        # Ports at which a real board may be.
        self._real: set[str | None] = set()
        self._news = asyncio.Event()
        self._over = threading.Event()
        # Of the boards' threads at the log.
        self._turns = threading.RLock()
        self._notify: Callable[[], None] = lambda: None
        self._asking: set[asyncio.Task[None]] = set()
        self._has_looked = False

    @property
    def stations(self) -> list[Station]:
        """The boards that are followed, or looked for."""
        return list(self._stations.values())

    def station(self, named: str | None) -> Station | None:
        """That of the board which ``named`` means: id, label or port. None: the only real board.

        None if the monitor cannot tell.
        """
        if named is None:
            found = [one for one in self.stations if one.is_followed and one.device in self._real]
            if self._only or {one.device for one in found} != self._real:
                # There may be another board, which has to be asked.
                return None
        elif discovery.is_port(named):
            key = holder.port_key(named)
            found = [
                station
                for station in self.stations
                if station.device is not None and holder.port_key(station.device) == key
            ]
        else:
            found = [
                station
                for station in self.stations
                if named in (station.board, station.named, station.label)
            ]
        return found[0] if len(found) == 1 else None

    async def run(self) -> None:
        """Follow boards until this is cancelled; then log the last row of each."""
        loop = asyncio.get_running_loop()

        def notify() -> None:
            # The loop may have been closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._news.set)

        self._notify = notify
        for named in self._only:
            self._follow(named, None)
        try:
            # The log belongs to the thread that opens it.
            with (
                ThreadPoolExecutor(1, "ports") as lister,
                ThreadPoolExecutor(_ASKED_AT_ONCE, "new port") as self._askers,
            ):
                looking = asyncio.create_task(self._look_forever(lister))
                try:
                    await self._tell_forever(looking)
                finally:
                    self._over.set()
                    await _cancel(looking, *self._asking)
        finally:
            await asyncio.to_thread(self._end)

    async def follow_only(self, boards: Sequence[str]) -> None:
        """Follow ``boards`` from now on, as the class has it; the others no more."""
        if tuple(boards) == self._only:
            return
        self._only = tuple(boards)
        keep = set(self._only)
        # Without names the boards are found again, each by its id.
        await self._leave([key for key in self._stations if key not in keep])
        for named in self._only:
            self._follow(named, None)
        for told in self.feed.boards:
            names = {told.board, told.label}
            if self._only and not any(
                names & ({one.board, one.named} - {None}) for one in self.stations
            ):
                self.feed.forget(told.board)

    async def _leave(self, keys: Sequence[str]) -> None:
        """Follow these stations no more, each with its last row in the log."""
        gone = [self._stations.pop(key) for key in keys]
        for key in keys:
            self._weighed.pop(key, None)
        for station in gone:
            station.stop()
        await asyncio.to_thread(self._join, gone)

    async def mute(self, board: str) -> None:
        """Cut the line of the board with this id.

        Raises `HardmuteError` if the line may still be connected.
        """
        seen = await asyncio.to_thread(self._visit, board, "mute", cut)
        if seen.verdict != "muted":
            raise errors.UnreachableError(
                f"Board {board} was asked to mute and is {seen.verdict}: press its button.",
                seen.reason or "refused",
            )

    async def meet(self, board: str) -> None:
        """Have the board with this id sign its state now, for the log, if it can be reached."""
        await asyncio.to_thread(self._visit, board, "meet", ask_once)

    def _visit(self, board: str, turn: Literal["mute", "meet"], ask: Ask) -> Observation:
        station = self._stations.get(board)
        named = (station.device if station is not None else None) or board
        source = "mute" if turn == "mute" else "prove"
        visited = visit(Recorder(), named, self._timeout, source, ask, board=board, turn=turn)
        return visited.observation

    async def _tell_forever(self, looking: asyncio.Task[None]) -> None:
        requests = holder.folder()
        while not looking.done():
            self._news.clear()
            client.wake_wanted(requests)
            self._tell()
            if not self.is_ready.is_set():
                self._check_ready()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._news.wait()
        # What it has failed with.
        looking.result()

    def _check_ready(self) -> None:
        if self._has_looked and all(one.known is not None for one in self.stations):
            self.is_ready.set()

    def _tell(self) -> None:
        for key, station in self._stations.items():
            known = station.known
            if known is None:
                continue
            board = station.board or key
            station.label = self._labels.get(board)
            told = Told(board, station.label, known, station.incident)
            if self._weighed.get(key) == told:
                # This is looked at ten times a second, and boards speak each second.
                continue
            self._weighed[key] = told
            before = self.feed.of(board)
            if before is None or _essence(before) != _essence(told):
                self.feed.tell(told)

    async def _look_forever(self, lister: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        lists = await loop.run_in_executor(lister, _Lists)
        listed_before: set[Port] = set()
        while True:
            listed = await loop.run_in_executor(lister, lists.next, not self._only)
            await self._forget(listed)
            if not self._only:
                self._meet_all(listed)
            if set(listed.ports) - listed_before:
                for station in self.stations:
                    station.wake()
            listed_before = set(listed.ports)
            if not self._has_looked:
                await asyncio.gather(*self._asking)
                self._has_looked = True
            self._news.set()
            await asyncio.sleep(_LOOK_S)

    async def _forget(self, listed: _Listed) -> None:
        """Leave the boards whose label was taken away, once they cannot be heard."""
        before, self._labels = self._labels, listed.labels
        self._forgotten |= {board for board, label in before.items() if label is not None}
        self._forgotten -= {board for board, label in listed.labels.items() if label is not None}
        if self._only:
            return
        here = set(listed.ports.values())
        for key, station in list(self._stations.items()):
            if key in self._forgotten and key not in here and station.device is None:
                await self._leave([key])
                self.feed.forget(key)

    def _meet_all(self, listed: _Listed) -> None:
        for board in listed.expected:
            self._follow(board, board)
        for board in set(filter(None, listed.ports.values())):
            self._follow(board, board)
        self._bar_twins(listed)
        unknown = [port for port, board in listed.ports.items() if board is None]
        taken = {station.device for station in self.stations}
        # A simulated board is used only when it is named.
        self._real = {port.device for port in listed.ports if port.ids is not None}
        for port in self._search.next([port for port in unknown if port.device not in taken]):
            asking = asyncio.create_task(self._meet(port))
            self._asking.add(asking)
            asking.add_done_callback(self._asking.discard)

    async def _meet(self, port: Port) -> None:
        """Ask which board is at a new ``port``."""
        loop = asyncio.get_running_loop()
        identity = await loop.run_in_executor(self._askers, self._identify, port.device)
        if identity is None:
            return
        station = self._stations.get(identity.board)
        if station is None:
            self._follow(identity.board, identity.board)
        elif station.device in (None, port.device):
            station.wake()
        else:
            self._twins[port.device] = identity.board

    def _identify(self, device: str) -> Identity | None:
        log = Recorder().log
        is_over = self._over.is_set
        try:
            with discovery.open_board(
                device, self._timeout, log, "monitor", is_over=is_over
            ) as found:
                return found[1]
        except errors.HardmuteError:
            # It is asked again, for as long as a board takes to start.
            return None

    def _bar_twins(self, listed: _Listed) -> None:
        """Of two boards with one id, neither is to speak for the other."""
        devices = {port.device for port in listed.ports}
        self._twins = {at: board for at, board in self._twins.items() if at in devices}
        places: dict[str, set[str]] = {}
        for port, board in listed.ports.items():
            if board is not None:
                places.setdefault(board, set()).add(port.usb_device)
        for board, station in self._stations.items():
            twin = board in self._twins.values() or len(places.get(board, ())) > 1
            station.bar(twin)

    def _follow(self, named: str, board: str | None) -> None:
        key = board or named
        if key in self._stations:
            return

        def is_taken(device: str) -> bool:
            return any(
                other.device == device for name, other in self._stations.items() if name != key
            )

        station = Station(
            named, board, self._timeout, self._notify, self._clock, is_taken, self._turns
        )
        self._stations[key] = station
        station.start()

    def _end(self) -> None:
        for station in self.stations:
            station.stop()
        self._join(self.stations)

    def _join(self, stations: Sequence[Station]) -> None:
        until = self._clock.now_s() + _END_S
        for station in stations:
            station.join(max(0.0, until - self._clock.now_s()))


class _Lists:
    """Lists what there is; in one thread, to which its log belongs."""

    def __init__(self) -> None:
        self._recorder = Recorder()
        self._ports: dict[Port, str | None] = {}
        self._mark: tuple[int, int] | None = None
        self._looks = 0

    def next(self, ports: bool) -> _Listed:
        # After trouble the log is tried again.
        self._recorder.retry()
        log = self._recorder.log
        labels: dict[str, str | None] = {}
        expected: list[str] = []
        for board, label, simulated in log.boards() if log is not None else ():
            labels[board] = label
            if label is not None and not simulated:
                expected.append(board)
        if ports:
            self._look(log)
        return _Listed(self._ports, labels, expected)

    def _look(self, log: Log | None) -> None:
        # Before the listing, so that what changes meanwhile is seen the next time.
        mark = discovery.ports_mark()
        if mark is None or mark != self._mark or self._looks % _LOOKS == 0:
            self._ports = discovery.candidates(log)
        self._mark = mark
        self._looks += 1


def _essence(told: Told) -> tuple[object, ...]:
    """What is news if it changes."""
    return (told.label, told.incident, told.observation.reason, *essence(told.observation))


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
