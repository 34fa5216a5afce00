"""Live, muted, live with a person at the button; the board itself says when it was which."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

from hardmute.device.client import Session
from hardmute.listen import timing
from hardmute.listen.outcome import CannotTellError, Phases
from hardmute.listen.path import LONGEST_DELAY_S
from hardmute.listen.probe import Samples
from hardmute.listen.stream import Duplex
from hardmute.model.answers import State, Status
from hardmute.model.clock import SYSTEM
from hardmute.model.errors import UnreachableError
from hardmute.sync.contact import Contact, Meeting

# How long each live phase is listened to.
LIVE_S = 2.0
# How long somebody may take to press.
PRESS_S = 45.0
# What is recorded beyond what counts: what is left out at an edge, and what a speaker's buffer and
# most devices delay, 0.4 s and more. With `LONGEST_DELAY_S` a second of each live phase is left.
_LEAD_S = 1.5
# A device that delivers nothing for so long has been unplugged.
_STILL_S = 3.0


def longest_s(seconds: float) -> float:
    """How long a walk takes at the most, ``seconds`` of it muted."""
    return 2 * PRESS_S + 2 * LIVE_S + seconds + 3 * _LEAD_S + 2 * LONGEST_DELAY_S


class Screen(Protocol):
    """What the person who is walked through it sees."""

    def ask(self, words: str, /) -> AbstractContextManager[None]:
        """The person is to do something; how long that takes is open."""
        ...

    def progress(self, words: str, done: Callable[[], float], /) -> AbstractContextManager[None]:
        """Something goes on; ``done`` tells how far it is, 0 to 1."""
        ...


class HeardWalk(NamedTuple):
    """A walk that was complete: what was ``recorded``, and which of it belongs to which of the
    ``phases``. ``muted``: what the board said while it was to be muted, and ``cut_ms`` its uptime
    when that began.
    """

    recorded: Samples
    phases: Phases
    muted: Meeting
    cut_ms: int


class BoardFollower:
    """The state of the board behind ``session``, and when it changed on this host's clock.

    ``clock``: seconds, as of the samples. It goes on in suspend, as the board's uptime does.
    """

    def __init__(self, session: Session, clock: Callable[[], float] = SYSTEM.now_s) -> None:
        self._events: Iterator[Status] = session.watch()
        self._clock = clock
        # This host's clock at the board's uptime 0: by the answer that was on its way shortest.
        self._zero = float("inf")
        self.status: Status = next(self._events)
        self._take(self.status)

    def is_in(self, state: State) -> bool:
        """Whether the board said ``state`` last."""
        return self.status.state == state

    def follow(self) -> None:
        """Take what the board says next; within a second or so. Raises `UnreachableError`."""
        self._take(next(self._events))

    def _take(self, status: Status) -> None:
        if status.boot != self.status.boot:
            raise UnreachableError("The board restarted while it was listened to.", "restarted")
        self._zero = min(self._zero, self._clock() - status.uptime_ms / 1000)
        self.status = status

    def patience(self) -> Callable[[], None]:
        """To be called now and then: raises `CannotTellError` when nobody has pressed for long."""
        end = self._clock() + PRESS_S

        def check() -> None:
            if self._clock() > end:
                raise CannotTellError("no_press")

        return check

    def now(self) -> float:
        """This host's clock."""
        return self._clock()

    def uptime_ms(self) -> int:
        """The board's uptime now."""
        return round(1000 * (self._clock() - self._zero))

    def moment(self, uptime_ms: int) -> float:
        """When an uptime was, on this host's clock."""
        return self._zero + uptime_ms / 1000


class Walk:
    """Walks ``screen``'s reader through the three phases, while ``sound`` plays and records."""

    def __init__(
        self, follower: BoardFollower, contact: Contact, sound: Duplex, rate: int, screen: Screen
    ) -> None:
        self._follower = follower
        self._contact = contact
        self._sound = sound
        self._rate = rate
        self._screen = screen
        # How many samples there were when there were more than before, and when that was.
        self._count, self._moved = -1, follower.now()

    def through(self, seconds: float) -> HeardWalk:
        """Until all has been heard, ``seconds`` of it muted.

        Raises `CannotTellError` where the walk is not complete, or nothing of the noise was heard.
        """
        begun = self._follower.status
        self._hear(LIVE_S + _LEAD_S, "live", "listening while it is live")
        cut = self._pressed("live", "Press the button now: mute.")
        self._hear(seconds + _LEAD_S, cut.state, "listening while it is muted")
        end_ms = self._follower.uptime_ms()
        # So that its journal, and its signature if it has one, bear it out.
        self._contact.meet()
        muted = self._contact.hear(cut)
        if self._follower.is_in("muted"):
            self._pressed("muted", "Press the button once more: live again.")
        connected = self._follower.status
        if connected.state == "live":
            connected_ms = connected.uptime_ms - connected.since_ms
            if connected.changes != begun.changes + 2:
                raise CannotTellError("unsteady")
        else:
            # A fault: what its contacts make of the line stays as it is.
            muted, connected_ms = muted._replace(status=connected), end_ms
        self._hear(LIVE_S + _LEAD_S, connected.state, "listening while it is live again")
        if self._follower.status.changes != connected.changes:
            raise CannotTellError("unsteady")
        cut_ms = cut.uptime_ms - cut.since_ms
        at = [
            self._sound.at(self._follower.moment(moment_ms))
            for moment_ms in (cut_ms, end_ms, connected_ms)
        ]
        recorded = self._sound.recorded()
        phases = timing.phases(self._sound.played, recorded, self._rate, *at)
        return HeardWalk(recorded, phases, muted, cut_ms)

    def _hear(self, seconds: float, state: State, label: str) -> None:
        """Listen for so long, or until the board is no longer in ``state``."""
        start = self._sound.count
        count = round(seconds * self._rate)
        with self._screen.progress(label, lambda: (self._sound.count - start) / count):
            while self._sound.count < start + count and self._follower.is_in(state):
                self._next()

    def _pressed(self, state: State, words: str) -> Status:
        """Ask for a press and wait until the board is no longer in ``state``."""
        patience = self._follower.patience()
        with self._screen.ask(words):
            while self._follower.is_in(state):
                patience()
                self._next()
        return self._follower.status

    def _next(self) -> None:
        """Take what the board says next, as long as there is sound with it."""
        if self._sound.full:
            raise CannotTellError("no_press")
        self._follower.follow()
        now = self._follower.now()
        if self._sound.count != self._count:
            self._count, self._moved = self._sound.count, now
        elif now > self._moved + _STILL_S:
            raise CannotTellError("lost_samples")
