"""A world whose truth is known: a board, a person, and a host whose clocks do what clocks do.

Time is the host's clock that nobody sets, in ms. The board's own clock drifts against it. `World`
plays `hardmute watch` and single contacts, with the program's own code, and keeps the rows that
they log.
"""

from __future__ import annotations

import contextlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random
from typing import Any, NamedTuple

from hardmute.evidence.observation import Observation
from hardmute.model import errors
from hardmute.model.answers import Identity, Status
from hardmute.model.clock import HostClock
from hardmute.monitor.follower import Follower
from hardmute.sync import visit
from hardmute.sync.contact import Contact
from hardmute.sync.recorder import Recorder

BOARD = "5eed0001"
START_MS = 1_764_000_000_000
# What a pipe to a program that does not read holds.
_HELD = 10


class Part(NamedTuple):
    """The line was ``state`` in [start, end), ms; ``boot`` 0: without power."""

    start: int
    end: int
    state: str
    boot: int


class Board:
    """Exact counters, and a clock that is off by ``ppm``. ``lie``: what its uptime says."""

    def __init__(self, history: list[Part], ppm: float = 0, *, counts: bool = True) -> None:
        self.history = history
        self._starts = [part.start for part in history]
        self._ppm = ppm
        self.counts = counts
        self.lie: Callable[[int], int] = lambda uptime_ms: uptime_ms

    def part(self, at: int) -> Part:
        return self.history[max(0, bisect_right(self._starts, at) - 1)]

    def says(self, at: int) -> Status | None:
        """Its answer at ``at``; None without power."""
        now = self.part(at)
        if not now.boot:
            return None
        boot = [part for part in self.history if part.boot == now.boot and part.start <= at]

        def ran(ms: int) -> int:
            return int(ms * (1 + self._ppm / 1e6))

        live = sum(min(at, part.end) - part.start for part in boot if part.state == "live")
        uptime = self.lie(ran(at - boot[0].start))
        is_live = now.state == "live"
        return Status(
            state=now.state,
            command="connected" if is_live else "cut",
            sense=(int(now.state != "muted"),),
            cause="boot" if len(boot) == 1 else "button",
            since_ms=min(uptime, ran(at - now.start)),
            uptime_ms=uptime,
            boot=now.boot if self.counts else 7,
            changes=len(boot) - 1,
            live_ms=min(uptime, ran(live)),
            remute_in_ms=60_000 if is_live else None,
            faults=("closed:1",) if now.state == "fault" else (),
            warnings=() if self.counts else ("boot_not_counted",),
            service="none",
            simulated=False,
        )


class Over(Exception):  # noqa: N818 (not an error)
    """The world has ended."""


class _Rows(Recorder):
    """Keeps what is logged. No file."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[Observation] = []

    def _begin(self, patience_s: float) -> None:
        pass

    def add(self, observation: Observation, *, repeated: bool = True) -> bool:
        del repeated
        self.rows.append(observation)
        return True

    def is_paired(self, board: str) -> bool | None:
        del board
        return False


class _Session:
    """What a `Session` does, in the world's time."""

    timeout = 3.0
    begun_s = 0.0
    left_s = 3.0
    device = "/dev/fake"

    def __init__(self, world: World) -> None:
        self._world = world
        self._coming: deque[tuple[int, Status]] = deque()
        self._waiting: deque[Status] = deque()
        self._watching = False
        self._sent_until = world.now

    @contextlib.contextmanager
    def within(self, _seconds: float) -> Iterator[None]:
        yield

    def status(self) -> Status:
        world = self._world
        world.pass_ms(world.latency())
        said = world.board.says(world.now)
        asked = world.now
        world.pass_ms(world.latency())
        self._read(asked)
        if said is None:
            raise errors.UnreachableError("off", "no_answer")
        return said

    def _next(self) -> int:
        """When the board sends the next event: now and then, and at each change."""
        at = self._sent_until
        return min(at + self._world.every_ms, max(at + 1, self._world.board.part(at).end))

    def _read(self, until: int) -> None:
        """What the board has sent by then."""
        while self._watching and self._next() <= until:
            self._sent_until = self._next()
            said = self._world.board.says(self._sent_until)
            if said is not None and len(self._waiting) < _HELD:
                self._waiting.append(said)

    def watch(self) -> Iterator[Status]:
        world = self._world
        self._watching, self._sent_until = True, world.now
        while True:
            begun = world.now
            while not self._waiting:
                world.pass_ms(max(1, self._next() - world.now))
                self._read(world.now)
                world.pass_ms(world.latency() // 2)
                if world.now - begun > 3000 and not self._waiting:
                    raise errors.UnreachableError("silent", "silent")
            yield self._waiting.popleft()

    def events_until(self, answered: Status) -> Iterator[Status]:
        while self._waiting:
            event = self._waiting[0]
            if (event.boot, event.uptime_ms) > (answered.boot, answered.uptime_ms):
                return
            yield self._waiting.popleft()


class World:
    """``steps``: at which time the wall clock is set, and to how much more than the truth.
    ``stops``: at which time the host's programs stand still until when. ``reboots``: when the host
    starts again. ``every_ms``: how often the board sends an event.
    """

    def __init__(
        self,
        board: Board,
        *,
        chance: Random,
        steps: dict[int, int] | None = None,
        stops: dict[int, int] | None = None,
        reboots: tuple[int, ...] = (),
        every_ms: int = 1000,
    ) -> None:
        self.board = board
        self.every_ms = every_ms
        self.now = 0
        self.end = board.history[-1].end
        self._chance = chance
        self._steps = sorted((steps or {}).items())
        self._stops = sorted((stops or {}).items())
        self._reboots = reboots
        self.recorder = _Rows()
        self.shown: list[Observation] = []
        self.clock = HostClock(lambda: self.wall_ms(self.now), lambda: self.now * 1000, self._run)

    def _run(self) -> str:
        return f"run {bisect_right(self._reboots, self.now)}"

    def ahead(self, at: int) -> int:
        return next((by for when, by in reversed(self._steps) if when <= at), 0)

    def wall_ms(self, at: int) -> int:
        return START_MS + at + self.ahead(at)

    def labels(self, start: int, end: int) -> Iterator[tuple[int, int, int]]:
        """The times that the host's clock showed from ``start`` to ``end``, and how much that was
        ahead of the truth.
        """
        points = [start, *(when for when, _ in self._steps if start < when < end), end]
        for one, other in pairwise(points):
            yield self.wall_ms(one), START_MS + other + self.ahead(one), self.ahead(one)

    def is_lost(self, one: int, other: int) -> bool:
        """Whether host and board have both started again in between, as far as the host can tell:
        then nothing tells whether the host's clock was set.
        """
        is_off = not self.board.counts or any(
            one < part.start < other for part in self.board.history if not part.boot
        )
        return is_off and any(one < at <= other for at in self._reboots)

    def latency(self) -> int:
        return self._chance.choice((0, 1, 1, 2, 5, 40))

    def pass_ms(self, ms: int) -> None:
        self.now += ms
        while self._stops and self._stops[0][0] <= self.now:
            _, until = self._stops.pop(0)
            self.now = max(self.now, until)
        if self.now >= self.end:
            raise Over

    def _follower(self) -> Any:
        follower: Any = Follower("/dev/fake", 3.0, self.shown.append, clock=self.clock)
        follower._recorder = self.recorder
        follower._board = BOARD
        return follower

    def poll(self) -> None:
        """One contact, as `hardmute status`."""
        session: Any = _Session(self)
        contact = Contact(session, IDENTITY, self.recorder, clock=self.clock)
        try:
            met = contact.ask()
        except errors.UnreachableError as error:
            self.recorder.add(self._follower()._unseen(error.reason))
            return
        self.recorder.add(visit.observed(met, IDENTITY, session, "status"))

    def watch(self, until: int) -> None:
        """As `hardmute watch`, for a while."""
        follower = self._follower()
        end, self.end = self.end, min(self.end, until)
        try:
            while True:
                session: Any = _Session(self)
                contact = Contact(session, IDENTITY, self.recorder, clock=self.clock)
                try:
                    follower._follow_events(session, IDENTITY, contact)
                except errors.UnreachableError as error:
                    follower._log(follower._newest)
                    follower._lost(error)
                    self.pass_ms(500)
        except Over:
            self.end = end
            follower._log_last()


IDENTITY = Identity(BOARD, "0.1.0", "fake", 1, simulated=False)
