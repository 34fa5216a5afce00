"""What is known of every board now, for those who show it or act on it.

All of this belongs to one event loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import NamedTuple, Protocol

from hardmute.evidence.observation import Observation

# Cuts the line of the board with this id. Raises `HardmuteError` if it may not be cut.
Mute = Callable[[str], Awaitable[None]]


class Told(NamedTuple):
    """What is known of one board.

    ``board``: its id. ``label``: what this host calls it, if it has a name for it. ``incident``:
    what does not hold of its evidence, in words for people; None where all holds. ``is_gone``: the
    board is not followed any more, because somebody wanted that: this is the last of it.
    """

    board: str
    label: str | None
    observation: Observation
    incident: str | None = None
    is_gone: bool = False

    @property
    def name(self) -> str:
        """What people call the board."""
        return self.label or self.board


class Sink(Protocol):
    """Shows boards to somebody, or acts on them. The monitor runs it beside the others."""

    @property
    def trouble(self) -> str | None:
        """Why it cannot do its work now, in one sentence for people; None while it can."""
        ...

    async def run(self, feed: Feed, mute: Mute) -> None:
        """Work until this is cancelled; then clean up, within a second."""
        ...


class Feed:
    """The newest that is known of each board. A slow reader delays nobody."""

    def __init__(self) -> None:
        self._newest: dict[str, Told] = {}
        self._readers: set[_Reader] = set()

    @property
    def boards(self) -> list[Told]:
        """What is known of each board, in the order in which they were first met."""
        return list(self._newest.values())

    def of(self, board: str) -> Told | None:
        """What is known of the board with this id; None if it was never told of."""
        return self._newest.get(board)

    def tell(self, told: Told) -> None:
        """Tell all readers. An observation that is not fresh any more is told as unknown."""
        if self._newest.get(told.board) == told:
            return
        self._newest[told.board] = told
        for reader in self._readers:
            reader.tell(told)

    def forget(self, board: str) -> None:
        """Tell all readers that the board with this id is not followed any more."""
        told = self._newest.pop(board, None)
        if told is not None:
            for reader in self._readers:
                reader.tell(told._replace(is_gone=True))

    async def changes(self) -> AsyncIterator[Told]:
        """What is known of each board, and then each change of it.

        Where changes come faster than they are taken, the newest of each board is given.
        """
        reader = _Reader(self._newest)
        self._readers.add(reader)
        try:
            while True:
                yield await reader.next()
        finally:
            self._readers.discard(reader)


class _Reader:
    def __init__(self, known: dict[str, Told]) -> None:
        self._waiting = dict(known)
        self._has_news = asyncio.Event()

    def tell(self, told: Told) -> None:
        self._waiting[told.board] = told
        self._has_news.set()

    async def next(self) -> Told:
        while not self._waiting:
            self._has_news.clear()
            await self._has_news.wait()
        board = next(iter(self._waiting))
        return self._waiting.pop(board)
