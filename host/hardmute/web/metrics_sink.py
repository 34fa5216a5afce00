"""Keeps the metrics up to now beside the monitor's other work, and writes them to a file."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hardmute.model import notices
from hardmute.model.errors import HardmuteError, LocalError
from hardmute.monitor.aside import aside
from hardmute.monitor.feed import Feed, Mute
from hardmute.monitor.settings import MetricsSettings
from hardmute.system.new_file import replace_file
from hardmute.web.entrance import kept_token
from hardmute.web.metrics import LOOK_S, Metrics

# How often the file is written at least and at most, in seconds. Rules take what is a minute old
# for unknown (docs/prometheus).
_WRITE_S = 10.0
_PAUSE_S = 1.0
# What the last words may take, in seconds. It is milliseconds but where the disk or the computer
# hangs: to wait then is better than a "muted" that stays.
_END_S = 5.0
# Other users read it: node_exporter is one.
_MODE = 0o644


class MetricsSink:
    """A `Sink` for ``metrics``. Without a file in ``chosen`` they are but kept up to now.

    At its end the file says that each state is unknown. Where it is killed, the file stays as it
    is: its time tells that it is old.
    """

    def __init__(self, metrics: Metrics, chosen: MetricsSettings) -> None:
        self._metrics = metrics
        self._chosen = chosen
        # Of the token and of the file.
        self._troubles: dict[str, str] = {}
        self._has_news = asyncio.Event()

    @property
    def trouble(self) -> str | None:
        return next(iter(self._troubles.values()), None)

    async def run(self, feed: Feed, mute: Mute) -> None:  # noqa: ARG002 (as each sink)
        if self._chosen.serve:
            # Its owner has to find it before somebody asks for the metrics.
            await self._try("token", kept_token)
        work = [asyncio.create_task(self._look()), asyncio.create_task(self._note(feed))]
        if self._chosen.file is not None:
            work.append(asyncio.create_task(self._write(Path(self._chosen.file))))
        try:
            await asyncio.gather(*work)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _look(self) -> None:
        while True:
            self._metrics.look()
            await asyncio.sleep(LOOK_S)

    async def _note(self, feed: Feed) -> None:
        async for told in feed.changes():
            self._metrics.note(told)
            self._has_news.set()

    async def _write(self, file: Path) -> None:
        written = _Written(file)
        try:
            while True:
                self._has_news.clear()
                await self._try("file", partial(written.put, self._metrics.text()))
                await asyncio.sleep(_PAUSE_S)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_WRITE_S - _PAUSE_S):
                        await self._has_news.wait()
        finally:
            last = partial(written.put, self._metrics.text(is_over=True), is_last=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    await self._try("file", last)

    async def _try(self, what: str, call: Callable[[], object]) -> None:
        """Do it in a thread; tell of trouble once."""
        try:
            await aside(call)
        except HardmuteError as error:
            if what not in self._troubles:
                notices.tell(str(error))
            self._troubles[what] = str(error)
        else:
            self._troubles.pop(what, None)


class _Written:
    """The file. Nothing is written to it after the last words, however long a thread took."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._turn = threading.Lock()
        self._is_over = False

    def put(self, content: bytes, *, is_last: bool = False) -> None:
        with self._turn:
            if self._is_over and not is_last:
                return
            self._is_over |= is_last
            if not self._file.parent.is_dir():
                raise LocalError(
                    f"There is no folder {self._file.parent} for metrics_file: make it."
                )
            replace_file(self._file, content, mode=_MODE)
