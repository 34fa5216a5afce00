"""What the page is told of each board, with the time at which that was known."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any, NamedTuple

from hardmute.evidence.observation import Observation
from hardmute.model.answers import Verdict
from hardmute.model.clock import SYSTEM, HostClock, iso_time
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.station import Station
from hardmute.render.observations import why

# A stream says at least so often what is known, in seconds. A board speaks each second, and the
# page takes what it said for true for less than 5 s.
STILL_S = 2.0


class _Since(NamedTuple):
    """Since when the state of a board is what it is, by the host's clock that nobody sets."""

    verdict: Verdict
    run_us: int


class Boards:
    """The boards of ``monitor``, for the page.

    Nothing is looked up while nobody reads. It belongs to the monitor's event loop.
    """

    def __init__(self, monitor: Monitor, clock: HostClock = SYSTEM) -> None:
        self._monitor = monitor
        self._clock = clock
        self._since: dict[str, _Since] = {}
        self._readers: set[StateReader] = set()

    def snapshot(self) -> dict[str, Any]:
        """What is known of each board now.

        ``now_ms`` is the host's clock that nobody sets, and ``run`` the run of it. ``heard_ms``
        (when the board spoke last), ``since_ms`` and ``mutes_at_ms`` are by the same clock, so
        that the page reckons how old all of it is when it shows it.
        """
        boards = [self._board(station) for station in self._monitor.stations]
        now = self._clock.now()
        return {
            "run": now.run,
            "now_ms": now.run_us // 1000,
            "at": iso_time(now.wall_ms),
            "boards": boards,
        }

    def has(self, board: str) -> bool:
        """Whether the monitor follows the board with this id."""
        return any(station.board == board for station in self._monitor.stations)

    def read(self) -> StateReader:
        """A reader of what is known, and of each change. `StateReader.close` it."""
        reader = StateReader(self._readers, self._event())
        self._readers.add(reader)
        return reader

    @property
    def readers(self) -> int:
        return len(self._readers)

    def end(self) -> None:
        """End each reader."""
        for reader in list(self._readers):
            reader.close()

    async def run(self) -> None:
        """Tell all readers of each change, and each 2 s that all is as it was."""
        changes = self._monitor.feed.changes()
        news = asyncio.ensure_future(anext(changes))
        try:
            while True:
                done, _ = await asyncio.wait([news], timeout=STILL_S)
                if done:
                    told = news.result()
                    news = asyncio.ensure_future(anext(changes))
                    self._note(told.board, told.observation)
                if self._readers:
                    event = self._event()
                    for reader in self._readers:
                        reader.tell(event)
        finally:
            news.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await news

    def _event(self) -> bytes:
        return b"data: " + json.dumps(self.snapshot(), separators=(",", ":")).encode() + b"\n\n"

    def _note(self, board: str, known: Observation) -> _Since:
        """Since when the board is as it is. Of what is unknown nobody but this host says it."""
        before = self._since.get(board)
        since_us = known.run_us or 0
        if known.verdict != "unknown" and known.since_ms is not None:
            since_us -= known.since_ms * 1000
        elif before is not None and before.verdict == known.verdict:
            since_us = before.run_us
        noted = self._since[board] = _Since(known.verdict, since_us)
        return noted

    def _board(self, station: Station) -> dict[str, Any]:
        board = station.board or station.named
        known = station.known
        if known is None:
            # It has a name, and nobody has asked it yet.
            told = {"verdict": "unknown", "why": "not asked yet", "simulated": False}
            return {**dict.fromkeys(FIELDS), **told, "board": board, "label": station.label}
        since_ms = self._note(board, known).run_us // 1000
        heard_ms = (known.run_us or 0) // 1000
        is_known = known.verdict != "unknown"
        mutes_ms = known.remute_in_ms if is_known else None
        return {
            "board": board,
            "label": station.label,
            "simulated": known.simulated,
            "verdict": known.verdict,
            "why": why(known),
            "since_ms": since_ms,
            "heard_ms": heard_ms if is_known else None,
            "proof": known.proof if is_known else None,
            "mutes_at_ms": None if mutes_ms is None else heard_ms + mutes_ms,
            "firmware": station.firmware,
            "incident": station.incident,
            "exit_code": station.exit_code,
        }


# What is told of each board.
FIELDS = (
    *("board", "label", "simulated", "verdict", "why", "since_ms", "heard_ms", "proof"),
    *("mutes_at_ms", "firmware", "incident", "exit_code"),
)


class StateReader:
    """One who reads events. A slow one gets the newest only."""

    def __init__(self, others: set[StateReader], event: bytes) -> None:
        self._others = others
        self._event: bytes | None = event
        self._has_news = asyncio.Event()
        self._has_news.set()
        self._closed = False

    def tell(self, event: bytes) -> None:
        self._event = event
        self._has_news.set()

    def close(self) -> None:
        """There is no next event."""
        self._closed = True
        self._others.discard(self)
        self._has_news.set()

    async def next(self) -> bytes | None:
        """The next event, as it goes into a stream; None at the end."""
        await self._has_news.wait()
        self._has_news.clear()
        return None if self._closed else self._event
