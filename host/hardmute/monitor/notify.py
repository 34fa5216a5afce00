"""Reminds people of a microphone that is live, or may be: one notification for each board.

It also cuts lines where the owner wants that: by the button of a notification, and as quiet hours
begin. It never connects one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from hardmute.model import notices, words
from hardmute.model.answers import Verdict
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.errors import HardmuteError
from hardmute.monitor.desktop import Events, NoteScreen, ScreenNote, of_this_session
from hardmute.monitor.feed import Feed, Mute, Told
from hardmute.monitor.recording import Recording, SoundServer
from hardmute.monitor.settings import Remind
from hardmute.render.observations import why

# Seconds: how often the clocks are looked at, and whether a program records; how long a board has
# to follow a mute, and then until it is muted again; how long a mute may take.
_LOOK_S = 1.0
_LISTEN_S = 10.0
_CUT_S = 5.0
_MUTE_S = 10.0
_LONGEST_NAME = 60
_LONGEST_TEXT = 240

_NO_ANSWER = f"it has not answered within {_MUTE_S:.0f} s."
_NOT_MUTED = "it was asked to mute, and is not muted."

_TITLES: dict[Verdict, str] = {
    "live": "{}: the microphone is live",
    "fault": "{}: fault, the microphone may be live",
    "unknown": "{}: state unknown, the microphone may be live",
}


@dataclass
class _Board:
    """What is said of a board. Times in seconds of the host's clock."""

    told: Told
    # Since when it is as it is; when it was raised last.
    since_s: float
    raised_s: float
    # Since when it is known that no program records, and whether that has been said.
    idle_s: float | None = None
    unused: bool = False
    # Nobody can have seen or heard the last raise of it yet.
    unheard: bool = False
    # Why the line could not be cut, until it is; when it was to be; when that is tried again.
    failed: str | None = None
    cut_s: float | None = None
    retry_s: float = 0.0
    # Somebody has pressed the button of its notification, and is told each time what came of it.
    by_hand: bool = False
    cutting: asyncio.Task[None] | None = None
    # When the quiet hours began for which this has cut the line.
    quiet: datetime | None = None


class Notifications:
    """A `Sink` that reminds people. Without a desktop it tells what it has to say elsewhere.

    ``alert``: called with what nobody can see as a notification, to ring a bell or run a hook; the
    sentence goes to `model.notices` as well. ``records``: whether a program records now.
    ``screen``: makes what shows notes; None: nothing is shown, and lines are cut all the same.
    ``clock``: this host's. ``sleep``: waits so many seconds.
    """

    def __init__(
        self,
        remind: Remind,
        alert: Callable[[Told], None],
        *,
        screen: Callable[[Events], NoteScreen] | None = of_this_session,
        records: Recording | None = None,
        clock: HostClock = SYSTEM,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._remind = remind
        self._alert = alert
        self._records = records or SoundServer()
        self._clock = clock
        self._sleep = sleep
        self._boards: dict[str, _Board] = {}
        self._screen = screen(self) if screen is not None else None

    @property
    def trouble(self) -> str | None:
        return self._screen.trouble if self._screen is not None else None

    async def run(self, feed: Feed, mute: Mute) -> None:
        self._mute = mute
        async with asyncio.TaskGroup() as self._tasks:
            if self._screen is not None:
                self._tasks.create_task(self._screen.run())
            self._tasks.create_task(self._follow(feed))
            self._tasks.create_task(self._listen())
            while True:
                await self._sleep(_LOOK_S)
                for board in self._boards.values():
                    self._look(board)

    async def _follow(self, feed: Feed) -> None:
        async for told in feed.changes():
            self._take(told)

    def _take(self, told: Told) -> None:
        if told.is_gone:
            self._boards.pop(told.board, None)
            if self._screen is not None:
                self._screen.show(told.board, None, again=False)
            return
        now_s = self._clock.now_s()
        board = self._boards.get(told.board)
        before = board and _essence(board.told)
        if board is None:
            board = self._boards[told.board] = _Board(told, now_s, now_s)
        board.told = told
        verdict, incident = _essence(told)
        if before is None or before[0] != verdict:
            # How long the board says that it has been so; of what is unknown nobody says it.
            known_ms = told.observation.since_ms if verdict != "unknown" else None
            board.since_s = now_s - (known_ms or 0) / 1000
            board.idle_s, board.unused = None, False
            if verdict == "muted":
                board.failed = board.cut_s = None
            else:
                board.quiet = None
        self._cut_if_quiet(board)
        self._say(board, again=before != (verdict, incident))

    def _look(self, board: _Board) -> None:
        """What time alone has changed."""
        now_s = self._clock.now_s()
        self._cut_if_quiet(board)
        if board.quiet is not None and not self._is_quiet():
            board.quiet = None
        again = False
        if self._is_open(board):
            again = now_s - board.raised_s >= self._remind.after_s
            if board.cut_s is not None and not board.cutting and now_s - board.cut_s >= _CUT_S:
                again = again or board.by_hand or board.failed is None
                board.cut_s, board.failed = None, _NOT_MUTED
            idle_s, unused_s = board.idle_s, self._remind.unused_s
            if idle_s is not None and unused_s is not None and not board.unused:
                board.unused = now_s - idle_s >= unused_s
                again = again or board.unused
        self._say(board, again=again)

    # When lines are cut.

    def _is_quiet(self) -> bool:
        return self._quiet_began() is not None

    def _quiet_began(self) -> datetime | None:
        """When these quiet hours began, by local time; None outside them."""
        if self._remind.quiet is None:
            return None
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1000)  # noqa: DTZ006 (local time)
        return quiet_began(self._remind.quiet, now)

    def _cut_if_quiet(self, board: _Board) -> None:
        """Cut a line that is live since before the quiet hours. A later press is not undone."""
        observation = board.told.observation
        began = self._quiet_began() if observation.verdict == "live" else None
        if began is None:
            return
        live_ms = observation.at_ms - (observation.since_ms or 0)
        now_s = self._clock.now_s()
        if live_ms < began.timestamp() * 1000 and now_s >= board.retry_s:
            self._cut(board, began)

    def _cut(self, board: _Board, quiet: datetime | None) -> None:
        if board.cutting is None:
            board.by_hand = quiet is None
            board.cutting = self._tasks.create_task(self._cut_now(board, quiet))

    async def _cut_now(self, board: _Board, quiet: datetime | None) -> None:
        again = False
        try:
            async with asyncio.timeout(_MUTE_S):
                await self._mute(board.told.board)
            board.quiet, board.cut_s = quiet, self._clock.now_s()
            again = quiet is not None and board.told.observation.verdict == "muted"
        except (HardmuteError, TimeoutError) as error:
            again = board.by_hand or board.failed is None
            board.failed, board.cut_s = str(error) or _NO_ANSWER, None
        board.cutting, board.retry_s = None, self._clock.now_s() + _CUT_S
        self._say(board, again=again)

    # Whether somebody records.

    async def _listen(self) -> None:
        while self._remind.unused_s is not None:
            live = [one for one in self._boards.values() if _essence(one.told)[0] == "live"]
            recorded = await self._records() if live else None
            now_s = self._clock.now_s()
            for board in live:
                # Where that cannot be known, nobody says that none does.
                if recorded is not False:
                    board.idle_s, board.unused = None, False
                elif board.idle_s is None:
                    board.idle_s = now_s
            await self._sleep(_LISTEN_S)

    # What is said.

    @staticmethod
    def _is_open(board: _Board) -> bool:
        return _essence(board.told) != ("muted", None)

    def _say(self, board: _Board, *, again: bool) -> None:
        if self._boards.get(board.told.board) is not board:
            # It is not followed any more.
            return
        note = self._note(board)
        if note is None:
            board.unheard = False
        elif again:
            board.raised_s, board.unheard = self._clock.now_s(), True
        if self._screen is not None:
            self._screen.show(board.told.board, note, again=again)

    def _note(self, board: _Board) -> ScreenNote | None:
        observation = board.told.observation
        name = _short(board.told.name, _LONGEST_NAME)
        lines: list[str] = []
        action = None
        if observation.verdict != "muted":
            title = _TITLES[observation.verdict].format(name)
            action = "Mute"
            past = _minutes(self._clock.now_s() - board.since_s)
            cause = why(observation)
            lines.append(f"For {past}: {cause}." if cause else f"For {past}.")
            if board.unused and self._remind.unused_s is not None:
                silent = _minutes(self._remind.unused_s)
                lines.append(f"No program has recorded here for {silent}.")
            if board.failed is not None:
                lines.append(f"The line was not cut: {board.failed}")
        elif board.told.incident is not None:
            title = f"{name}: its evidence does not hold"
        elif board.quiet is not None:
            title = f"{name}: cut for the quiet hours"
            lines.append(f"The quiet hours began at {board.quiet:%H:%M}. The button still works.")
        else:
            return None
        if board.told.incident is not None:
            lines.append(f"Evidence: {board.told.incident}")
        body = "\n".join(_short(line, _LONGEST_TEXT) for line in lines)
        return ScreenNote(title, body, action)

    # What becomes of it (`desktop.Events`).

    def pressed(self, tag: str) -> None:
        """Somebody pressed *Mute*: the line is cut, whatever is known of it."""
        board = self._boards.get(tag)
        if board is not None and board.told.observation.verdict != "muted":
            self._cut(board, None)

    def shown(self, tag: str) -> None:
        """The notification service has it."""
        if tag in self._boards:
            self._boards[tag].unheard = False

    def lost(self, tag: str) -> None:
        """No notification service has it: it is told in another way, once each time."""
        board = self._boards.get(tag)
        note = board and self._note(board)
        if board is not None and board.unheard and note is not None:
            board.unheard = False
            notices.tell(": ".join(filter(None, (note.title, note.body.replace("\n", " ")))))
            self._alert(board.told)


def quiet_began(hours: tuple[time, time], now: datetime) -> datetime | None:
    """When the quiet ``hours`` began in which ``now`` is; None where it is in none.

    Both are local times. Hours that end before they begin go past midnight.
    """
    start, end = hours
    for day in (now.date(), now.date() - timedelta(days=1)):
        began = datetime.combine(day, start)
        ends = datetime.combine(day + timedelta(days=int(end <= start)), end)
        if began <= now < ends:
            return began
    return None


def _essence(told: Told) -> tuple[Verdict, str | None]:
    return told.observation.verdict, told.incident


def _minutes(seconds: float) -> str:
    minutes = int(seconds // 60)
    if minutes < 1:
        return "less than 1 min"
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def _short(text: str, most: int) -> str:
    """``text`` without what a screen would obey, at most so many characters long."""
    clean = words.printable(text)
    return clean if len(clean) <= most else f"{clean[: most - 1]}…"
