"""A board that is followed in a thread of its own, of which only the newest waits to be taken."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from hardmute.device.client import STREAM_SILENCE_S
from hardmute.evidence.observation import Observation
from hardmute.model import errors
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.monitor import client
from hardmute.monitor.follower import Follower
from hardmute.sync.visit import unseen_now


class Watch(Iterator[Observation]):
    """The changes of one board, of which only the newest waits to be taken: see `Board.watch`."""

    def __init__(
        self,
        named: str,
        board: str,
        timeout: float,
        stop: threading.Event,
        notify: Callable[[], None] | None,
        clock: HostClock = SYSTEM,
    ) -> None:
        self._board = board
        self._stop = stop
        self._clock = clock
        self._newest: Observation | None = None
        self._given: Observation | None = None
        # "unknown" was given because the newest could not be known to hold any more.
        self._is_doubted = False
        # It has no reference to this iterator, which ends it when it is forgotten.
        self._shown = _Shown()
        self._thread = threading.Thread(
            target=_follow,
            args=(self._shown, named, board, timeout, stop, notify, clock),
            name="hardmute-watch",
            daemon=True,
        )
        self._thread.start()

    def __next__(self) -> Observation:
        with self._shown.has_news:
            while (found := self.poll()) is None:
                self._shown.has_news.wait(0.1)
            return found

    def __del__(self) -> None:
        if hasattr(self, "_thread"):
            self._stop.set()

    def join(self) -> None:
        """Wait until the board is not followed any more, after ``stop`` was set."""
        self._thread.join()

    def poll(self) -> Observation | None:
        """The next change, if there is one; without waiting. Raises `StopIteration` at the end."""
        newest = self._shown.newest
        is_old = newest is None or (newest is self._given and not self._is_doubted)
        if is_old or self._stop.is_set():
            self._check_end()
            return None
        assert newest is not None
        if newest.verdict != "unknown" and self._is_stale():
            # This program, or the computer, was stopped since the board was heard.
            if self._is_doubted:
                return None
            self._is_doubted = True
            return unseen_now(
                "late", self._board, newest.device, newest.simulated, "watch", self._clock
            )
        self._is_doubted = False
        self._given = newest
        return newest

    def _check_end(self) -> None:
        failure, self._shown.failure = self._shown.failure, None
        if failure is not None:
            self._stop.set()
            raise failure
        if self._stop.is_set() or not self._thread.is_alive():
            raise StopIteration

    def _is_stale(self) -> bool:
        heard_s = self._shown.heard_s
        return heard_s is not None and self._clock.now_s() - heard_s() > STREAM_SILENCE_S


class _Shown:
    """What a thread that follows a board shows to an iterator."""

    def __init__(self) -> None:
        self.has_news = threading.Condition()
        self.newest: Observation | None = None
        self.failure: errors.HardmuteError | None = None
        self.follower: Follower | None = None
        # When the board was heard last, in seconds of the clock given.
        self.heard_s: Callable[[], float] | None = None


def _read(
    shown: _Shown,
    named: str,
    board: str,
    stop: threading.Event,
    tell: Callable[[], None],
    clock: HostClock,
) -> None:
    """Have the monitor follow the board, for as long as it does."""
    try:
        told = client.following(named, "watch", clock)
        before: client.Known | None = None
        for entry in told or ():
            if stop.is_set() or entry.observation.board != board:
                return
            if entry.incident is not None:
                raise errors.EvidenceError(entry.incident)
            heard_us = entry.observation.run_us or 0
            shown.heard_s = lambda heard_us=heard_us: heard_us / 1e6
            if client.is_news(before, entry):
                before, shown.newest = entry, entry.observation
                tell()
    except errors.UnreachableError:
        # It has ended, or it hangs: the board itself tells.
        return


def _follow(
    shown: _Shown,
    named: str,
    board: str,
    timeout: float,
    stop: threading.Event,
    notify: Callable[[], None] | None,
    clock: HostClock,
) -> None:
    def tell() -> None:
        with shown.has_news:
            shown.has_news.notify_all()
        if notify is not None:
            notify()

    def show(observation: Observation) -> None:
        shown.newest = observation
        follower = shown.follower
        if follower is not None:
            if follower.evidence is not None:
                raise follower.evidence
            shown.heard_s = lambda: follower.heard_s
        tell()

    try:
        _read(shown, named, board, stop, tell, clock)
        if not stop.is_set():
            # Here, for the log belongs to the thread that opens it.
            shown.follower = Follower(named, timeout, show, board=board, clock=clock, stop=stop)
            shown.follower.run()
    except errors.HardmuteError as error:
        shown.failure = error
    finally:
        tell()
