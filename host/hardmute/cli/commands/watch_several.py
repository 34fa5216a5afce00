"""`hardmute watch --format` of several boards: one line that shows all of them."""

from __future__ import annotations

import math
import threading
from argparse import Namespace
from collections.abc import Callable, Sequence

import hardmute
from hardmute import SYSTEM, HangsError, Observation, errors
from hardmute.cli import console
from hardmute.render import bars

# How often the line is looked at without news, in seconds; and how often the monitor is asked
# which boards it follows.
_LOOK_S = 1.0
_ASK_S = 5.0
# How long a board is left alone that cannot be followed, in seconds.
_TRY_AGAIN_S = 2.0
# How long boards get to log their last row at the end, in seconds.
_END_S = 2.0


def watch(args: Namespace) -> int:
    """Follow boards until Ctrl-C, and print their line whenever it changes."""
    if args.all and args.devices:
        raise errors.UsageError("--all is every board: leave --device out.")
    host = hardmute.Host()
    boards = _Boards(args.timeout, host)
    every = _EveryBoard(args.timeout, host) if args.all else None
    line = bars.line(args.format, [])

    def tell() -> None:
        nonlocal line
        before, line = line, bars.line(args.format, boards.items)
        if line != before:
            print(line, flush=True)

    def leave() -> None:
        boards.follow([])
        tell()

    try:
        while True:
            boards.follow(args.devices if every is None else every.names(leave))
            tell()
            boards.wait()
    except KeyboardInterrupt:
        boards.follow([])
        if boards.exit_code != errors.OK:
            return boards.exit_code
        raise
    finally:
        boards.follow([])


class _EveryBoard:
    """What all boards are called: those of the monitor; or those that are connected, or have a
    label.
    """

    def __init__(self, timeout: float, host: hardmute.Host) -> None:
        self._timeout = timeout
        self._host = host
        self._names: list[str | None] | None = None
        self._is_told = False
        self._asked_s = -math.inf
        self._ports: set[str] = set()

    def names(self, leave: Callable[[], None]) -> list[str | None]:
        """As of now. ``leave`` is called before ports are asked: those that are held cannot be."""
        if SYSTEM.now_s() - self._asked_s >= _ASK_S:
            self._asked_s = SYSTEM.now_s()
            try:
                told = hardmute.all_known("watch")
            except HangsError as error:
                console.complain(error)
                return self._names or [None]
            if told is not None:
                self._names = [known.observation.board for known in told]
            elif self._is_told:
                self._names = None
            self._is_told = told is not None
        if not self._is_told:
            before, self._ports = self._ports, set(self._host.ports())
            if self._names is None or self._ports - before:
                leave()
                self._names = self._host.expected("status", timeout=self._timeout)
        return self._names or []


class _Boards:
    """Boards that are followed at once, each in a thread of its own."""

    def __init__(self, timeout: float, host: hardmute.Host) -> None:
        self._timeout = timeout
        self._host = host
        self._followed: dict[str | None, _Board] = {}
        # Of the threads at the log.
        self._turns = threading.RLock()
        self._news = threading.Event()
        self.exit_code = errors.OK

    @property
    def items(self) -> list[bars.BarItem]:
        """What is known of each of them now."""
        return [board.item for board in self._followed.values()]

    def follow(self, names: Sequence[str | None]) -> None:
        """Follow these from now on; the others no more, each with its last row in the log."""
        gone = [self._followed.pop(name) for name in [*self._followed] if name not in names]
        for board in gone:
            board.stop()
        until = SYSTEM.now_s() + _END_S
        for board in gone:
            board.join(max(0.0, until - SYSTEM.now_s()))
            self.exit_code = errors.worst(self.exit_code, board.exit_code)
        for name in names:
            if name not in self._followed:
                label = self._host.label(name)
                board = _Board(name, label, self._timeout, self._turns, self._news.set)
                self._followed[name] = board

    def wait(self) -> None:
        """Wait for news of one of them; what is known may get too old without any."""
        self._news.wait(_LOOK_S)
        self._news.clear()


class _Board:
    """Follows the board ``named``, by the monitor if that does so, until it is stopped.

    ``label``: what this host calls it, if ``named`` is its id. ``notify`` is called in its thread
    when there is news.
    """

    def __init__(
        self,
        named: str | None,
        label: str | None,
        timeout: float,
        turns: threading.RLock,
        notify: Callable[[], None],
    ) -> None:
        self.exit_code = errors.OK
        self._named = named
        self._timeout = timeout
        self._turns = turns
        self._notify = notify
        self._label = label
        # What is known now, and why nothing is.
        self._known: Callable[[], Observation | None] = lambda: None
        self._reason: str | None = None
        self._complained = ""
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"board {named}", daemon=True)
        self._thread.start()

    @property
    def item(self) -> bars.BarItem:
        """What a bar shows of it now."""
        known = self._known()
        if known is None:
            name = self._label or self._named or "no board"
            return bars.shown_of(name, "unknown", self._reason, simulated=False)
        return bars.shown(self._label or known.board or self._named or "no board", known)

    def stop(self) -> None:
        """Follow the board no more. `join` waits until the last row is logged."""
        self._stop.set()

    def join(self, timeout: float) -> None:
        """Wait for up to ``timeout`` seconds."""
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._follow()
            except errors.HardmuteError as error:
                self._reason = getattr(error, "reason", None)
                if str(error) != self._complained:
                    self._complained = str(error)
                    console.complain(error)
            finally:
                self._known = lambda: None
                self._notify()
            self._stop.wait(_TRY_AGAIN_S)

    def _follow(self) -> None:
        told = hardmute.following(self._named, "watch")
        if told is None:
            self._follow_itself()
            return
        for entry in told:
            if self._stop.is_set():
                return
            self._label = entry.label
            self._known = lambda seen=entry.observation: seen
            self._notify()

    def _follow_itself(self) -> None:
        def show(observation: Observation) -> None:
            log = follower.log
            if log is not None and observation.board is not None:
                self._label = log.label(observation.board)
            self._known = lambda: follower.known
            self._notify()

        follower = hardmute.Follower(
            self._named,
            self._timeout,
            show,
            stop=self._stop,
            # Here, for the log belongs to the thread that opens it.
            recorder=hardmute.Host(self._turns),
        )
        try:
            follower.run()
        finally:
            self.exit_code = errors.worst(self.exit_code, follower.exit_code)
