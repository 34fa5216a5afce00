"""What was: the log of a board, and what is proven of an interval. Threads read it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

from hardmute.evidence.entries import canonical
from hardmute.evidence.timeline import total_live_ms, total_ms
from hardmute.model import errors
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.monitor.aside import aside
from hardmute.monitor.monitor import Monitor
from hardmute.render.receipt_page import page
from hardmute.render.timelines import why_of
from hardmute.store.log import Log
from hardmute.store.receipts import require_readable
from hardmute.sync.history import examined, open_log, receipt_of, with_reasons
from hardmute.sync.timelines import read_timelines

_T = TypeVar("_T")
Form = Literal["html", "json"]
# What is asked for more than once in so many seconds is read once: many pages ask at each change.
_FRESH_S = 2.0
# A day of 25 hours, and more days than a page shows.
LONGEST_MS = 32 * 25 * 3_600_000
# What the board has signed so short a time ago, it signed because it was asked.
_JUST_MS = 10_000


class _Cached(NamedTuple):
    at_s: float
    said: dict[str, Any]


class Past:
    """Reads this host's log, one question after the other."""

    def __init__(self, monitor: Monitor, clock: HostClock = SYSTEM) -> None:
        self._monitor = monitor
        self._clock = clock
        self._turn = asyncio.Semaphore(1)
        self._cache: dict[tuple[str, int, int | None], _Cached] = {}

    async def log(self, board: str, since_ms: int, until_ms: int | None) -> dict[str, Any]:
        """What the log says of a board in [since, until), or until now. Raises `HardmuteError`."""
        key = (board, since_ms, until_ms)
        async with self._turn:
            now_s = self._clock.now_s()
            cached = {key: one for key, one in self._cache.items() if now_s - one.at_s < _FRESH_S}
            if key not in cached:
                end_ms = until_ms or self._clock.wall_ms()
                said = await self._read(lambda log: _log(log, board, since_ms, end_ms))
                cached[key] = _Cached(now_s, said)
            self._cache = cached
            return cached[key].said

    async def proof(self, board: str, from_ms: int, to_ms: int | None) -> dict[str, Any]:
        """What is proven of [from, to), or until the board has signed now.

        Raises `HardmuteError`.
        """
        async with self._turn:
            end_ms = await self._end(board, to_ms)
            return await self._read(lambda log: _proof(log, board, from_ms, end_ms))

    async def receipt(self, board: str, from_ms: int, to_ms: int, form: Form) -> bytes:
        """A receipt of it, which is not signed. Raises `HardmuteError`."""
        async with self._turn:
            return await self._read(lambda log: _receipt(log, board, from_ms, to_ms, form))

    async def _end(self, board: str, to_ms: int | None) -> int:
        """``to_ms``, or when the board was asked for what it has signed now."""
        if to_ms is not None:
            return to_ms
        await self._monitor.meet(board)
        now_ms = self._clock.wall_ms()
        newest = await self._read(lambda log: log.newest(board, "attestation"))
        sent_ms = 0 if newest is None else newest.body["sent_ms"]
        return sent_ms if 0 <= now_ms - sent_ms <= _JUST_MS else now_ms

    async def _read(self, ask: Callable[[Log], _T]) -> _T:
        def read() -> _T:
            # A log belongs to the thread that opens it.
            with contextlib.closing(open_log()) as log:
                return ask(log)

        return await aside(read)


def _log(log: Log, board: str, since_ms: int, until_ms: int) -> dict[str, Any]:
    found = read_timelines(log, board, since_ms, until_ms)
    intervals = found[0].intervals if found else []
    newest = log.newest(board, "attestation")
    row, head = log.head()
    return {
        "board": board,
        "since_ms": since_ms,
        "until_ms": until_ms,
        "live_ms": total_live_ms(intervals),
        "fault_ms": total_ms(intervals, "fault"),
        "unknown_ms": total_ms(intervals, "unknown"),
        "intervals": [
            {
                "start_ms": one.start_ms,
                "end_ms": one.end_ms,
                "state": one.state,
                "why": why_of(one),
                "proof": one.proof,
                "plus_minus_ms": one.plus_minus_ms,
            }
            for one in intervals
        ],
        "incidents": [
            {"at_ms": entry.at_ms, "text": str(entry.body.get("text", ""))}
            for entry in log.incidents(board, since_ms, until_ms)
        ],
        "paired": log.is_paired(board),
        "signed_at_ms": None if newest is None else newest.body["sent_ms"],
        "rows": row,
        "head": head.hex(),
    }


def _require_past(from_ms: int, to_ms: int) -> None:
    if not from_ms < to_ms <= SYSTEM.wall_ms():
        raise errors.UsageError("The interval must begin before it ends, and end before now.")


def _proof(log: Log, board: str, from_ms: int, to_ms: int) -> dict[str, Any]:
    _require_past(from_ms, to_ms)
    shown = examined(log, board, from_ms, to_ms, {})
    told = with_reasons(log, shown, keyed=False)
    return {
        "board": board,
        "from_ms": from_ms,
        "to_ms": to_ms,
        "verdict": told.verdict,
        "simulated": told.simulated,
        "intervals": [
            {
                "start_ms": one.start_ms,
                "end_ms": one.end_ms,
                "state": one.state,
                "why": one.note or "",
                "plus_minus_ms": one.plus_minus_ms,
            }
            for one in told.intervals
        ],
        "findings": [f"Entry {flaw.row} {flaw.text}." for flaw in told.findings],
    }


def _receipt(log: Log, board: str, from_ms: int, to_ms: int, form: Form) -> bytes:
    _require_past(from_ms, to_ms)
    shown = examined(log, board, from_ms, to_ms, {})
    content = receipt_of(log, shown, {})
    if form == "html":
        written = page(content, with_reasons(log, shown, keyed=False)).encode()
    else:
        written = f"{canonical(content)}\n".encode()
    require_readable(written)
    return written
