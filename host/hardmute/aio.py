"""`hardmute`, for asyncio: the same calls on the same boards, awaited.

Each call runs in a thread of its own, on the same session as the plain one: serial ports cannot be
awaited on every system. A call that is cancelled ends, and gives the port back, before
`asyncio.CancelledError` is raised: within 0.1 s, or one time-out if the port hangs.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar

from hardmute import board as plain
from hardmute.board import TIMEOUT_S
from hardmute.evidence.observation import Observation

_T = TypeVar("_T")
# How often `Board.watch` looks whether it has heard the board, in seconds.
_LOOK_AGAIN_S = 0.5


async def open_board(name: str | None = None, *, timeout: float = TIMEOUT_S) -> Board:
    """As `hardmute.open_board`."""
    return Board(await _run(lambda _: plain.open_board(name, timeout=timeout)))


async def boards(*, timeout: float = TIMEOUT_S) -> list[Board]:
    """As `hardmute.boards`."""
    return [Board(one) for one in await _run(lambda _: plain.boards(timeout=timeout))]


class Board:
    """As `hardmute.Board`, whose values it has."""

    def __init__(self, board: plain.Board) -> None:
        self._board = board
        self.id = board.id
        self.device = board.device
        self.firmware = board.firmware
        self.simulated = board.simulated
        self.contacts = board.contacts

    def __repr__(self) -> str:
        return f"<hardmute.aio.Board {self.id} at {self.device}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is held between calls, so there is nothing to close."""

    async def label(self) -> str | None:
        """As `hardmute.Board.label`."""
        return await _run(lambda _: self._board.label)

    async def read(self) -> Observation:
        """As `hardmute.Board.read`."""
        return await _run(lambda is_over: self._board.until(is_over).read())

    async def verify(self) -> Observation:
        """As `hardmute.Board.verify`."""
        return await _run(lambda is_over: self._board.until(is_over).verify())

    async def mute(self) -> Observation:
        """As `hardmute.Board.mute`. Once the board was asked, cancelling does not undo the cut."""
        return await _run(lambda is_over: self._board.until(is_over).mute())

    async def sync(self) -> int:
        """As `hardmute.Board.sync`."""
        return await _run(lambda is_over: self._board.until(is_over).sync())

    async def watch(self) -> AsyncIterator[Observation]:
        """As `hardmute.Board.watch`; it ends when the task that iterates is cancelled."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()

        def notify() -> None:
            # The loop may have been closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(news.set)

        stop = threading.Event()
        changes = self._board.watch(stop, notify=notify)
        try:
            while True:
                try:
                    found = changes.poll()
                except StopIteration:
                    return
                if found is not None:
                    yield found
                    continue
                # What was known may not be any more, though nothing was heard.
                with contextlib.suppress(TimeoutError):
                    # Before Python 3.12, `wait_for` loses a cancellation that comes with the news.
                    async with asyncio.timeout(_LOOK_AGAIN_S):
                        await news.wait()
                news.clear()
        finally:
            stop.set()
            await _run(lambda _: changes.join())


async def _run(call: Callable[[Callable[[], bool]], _T]) -> _T:
    """What ``call`` returns, which runs in a thread; it is told whether nobody waits any more."""
    over = threading.Event()
    threads = ThreadPoolExecutor(1, "hardmute")
    running = asyncio.get_running_loop().run_in_executor(threads, call, over.is_set)
    threads.shutdown(wait=False)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        over.set()
        # The port is free once the thread has ended, however often this is cancelled meanwhile.
        while not running.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([running])
        # Nobody asks for it any more.
        running.exception()
        raise
