"""Programs that are run, and a webhook that is called, as the state of a board changes.

A hook gets one JSON object: what `Observation.as_json` has, with ``event``, ``board``, ``label``,
``incident``, ``reminder`` (nothing has changed) and ``sent_at``. docs/hooks.md has the fields.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from hardmute.model import notices, words
from hardmute.model.clock import SYSTEM, HostClock, iso_time
from hardmute.model.errors import UsageError
from hardmute.monitor.aside import aside
from hardmute.monitor.feed import Feed, Mute, Told
from hardmute.monitor.settings import Hooks

if TYPE_CHECKING:
    import http.client

SIGNATURE = "X-Hardmute-Signature-256"
Event = Literal["live", "muted", "fault", "unknown", "incident"]

# Seconds that a program may take; and as soon as its board has a newer state with a program.
_LONGEST_S = 10.0
_LEAST_S = 1.0
# Seconds for one attempt to reach a webhook, and for each step of it; and between attempts.
_ATTEMPT_S = 15.0
_STEP_S = 5.0
_PAUSES_S = (1.0, 2.0, 5.0, 15.0, 60.0)
_LONGEST_REASON = 120
_BAD_URL = "webhook must be http://HOST/PATH or https://HOST/PATH, without a user."


class _News(NamedTuple):
    """That something happened to a board. States and incidents of a board are two lanes."""

    event: Event
    told: Told
    reminder: bool

    @property
    def lane(self) -> tuple[str, bool]:
        return self.told.board, self.event == "incident"

    def body(self, sent_at_ms: int) -> bytes:
        said: dict[str, Any] = {
            **self.told.observation.as_json(),
            "event": self.event,
            "board": self.told.board,
            "label": self.told.label,
            "incident": self.told.incident,
            "reminder": self.reminder,
            "sent_at": iso_time(sent_at_ms),
        }
        return json.dumps(said).encode()


@dataclass
class _Lane:
    """What is to be run next for a board: the newest only."""

    next: _News | None = None
    has_news: asyncio.Event = field(default_factory=asyncio.Event)


class HookSink:
    """A `Sink` that runs programs and calls a webhook.

    Programs of one board run one after the other, so that the last one to run is of the newest
    state. Boards, the webhook and everything else do not wait for each other.

    At its start it runs the hook of each board's state once.
    """

    def __init__(self, hooks: Hooks, *, clock: HostClock = SYSTEM) -> None:
        self._clock = clock
        self._programs: dict[Event, tuple[str, ...]] = {
            "live": hooks.on_live,
            "muted": hooks.on_muted,
            "fault": hooks.on_fault,
            "unknown": hooks.on_unknown,
            "incident": hooks.on_incident,
        }
        self._troubles = _Troubles()
        self._webhook: _Webhook | None = None
        self._url, self._secret_file = hooks.url, hooks.secret_file
        self._lanes: dict[tuple[str, bool], _Lane] = {}
        self._known: dict[str, Told] = {}

    @property
    def trouble(self) -> str | None:
        return self._troubles.first

    def remind(self, told: Told) -> None:
        """Run the hooks of ``told`` again, though nothing has changed."""
        self._happened(_News(told.observation.verdict, told, True))
        if told.incident is not None:
            self._happened(_News("incident", told, True))

    async def run(self, feed: Feed, mute: Mute) -> None:  # noqa: ARG002 (as each sink)
        async with asyncio.TaskGroup() as self._tasks:
            for event, program in self._programs.items():
                if program and shutil.which(program[0]) is None:
                    self._troubles.tell(event, _cannot_run(event, "there is no such program"))
            if self._url is not None:
                self._start_webhook(self._url)
            async for told in feed.changes():
                if told.is_gone:
                    self._known.pop(told.board, None)
                    continue
                before = self._known.get(told.board)
                self._known[told.board] = told
                verdict = told.observation.verdict
                if before is None or before.observation.verdict != verdict:
                    self._happened(_News(verdict, told, False))
                if told.incident not in (None, before and before.incident):
                    self._happened(_News("incident", told, False))

    def _start_webhook(self, url: str) -> None:
        try:
            self._webhook = _Webhook(url, self._secret_file, self._clock, self._troubles)
        except UsageError as error:
            self._troubles.tell("url", str(error))
        else:
            self._tasks.create_task(self._webhook.run())

    def _happened(self, news: _News) -> None:
        if self._webhook is not None:
            self._webhook.put(news)
        if not self._programs[news.event]:
            return
        lane = self._lanes.get(news.lane)
        if lane is None:
            lane = self._lanes[news.lane] = _Lane()
            self._tasks.create_task(self._work(lane))
        lane.next = news
        lane.has_news.set()

    async def _work(self, lane: _Lane) -> None:
        while True:
            await lane.has_news.wait()
            lane.has_news.clear()
            news, lane.next = lane.next, None
            if news is not None:
                trouble = await self._run(news, lane)
                self._troubles.tell(news.event, trouble)

    async def _run(self, news: _News, lane: _Lane) -> str | None:
        """Run the program for ``news``; return what went wrong with it."""
        event = news.event
        try:
            process = await asyncio.create_subprocess_exec(
                *self._programs[event],
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return _cannot_run(event, getattr(error, "strerror", None) or str(error))
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        ends = asyncio.ensure_future(process.communicate(news.body(self._clock.wall_ms())))
        newer = asyncio.ensure_future(lane.has_news.wait())
        try:
            await asyncio.wait(
                (ends, newer), timeout=_LONGEST_S, return_when=asyncio.FIRST_COMPLETED
            )
            left_s = began_s + _LEAST_S - loop.time()
            if not ends.done() and newer.done() and left_s > 0:
                await asyncio.wait((ends,), timeout=left_s)
        finally:
            newer.cancel()
            is_over = ends.done()
            if not is_over:
                _kill(process)
                await process.wait()
                ends.cancel()
        if not is_over:
            took_s = loop.time() - began_s
            return (
                f"The program of on_{event} was stopped after {took_s:.0f} s: let it end sooner."
            )
        code = process.returncode
        return f"The program of on_{event} ended with {code}." if code else None


def _cannot_run(event: Event, why: str) -> str:
    return f"The program of on_{event} cannot be run ({why}): correct on_{event}."


def _kill(process: asyncio.subprocess.Process) -> None:
    """End it, and what it has started."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


class _Troubles:
    """What does not work now, by its place. People are told of each once."""

    def __init__(self) -> None:
        self._now: dict[str, str] = {}

    @property
    def first(self) -> str | None:
        return next(iter(self._now.values()), None)

    def tell(self, place: str, trouble: str | None) -> None:
        if trouble is None:
            self._now.pop(place, None)
        elif self._now.get(place) is None:
            self._now[place] = trouble
            notices.tell(trouble)


class _Webhook:
    """Sends each board's newest news to a URL, until they have arrived there.

    Raises `UsageError` where it cannot be called as set. A redirection is not followed, and no
    proxy is used.
    """

    def __init__(
        self, url: str, secret_file: str | None, clock: HostClock, troubles: _Troubles
    ) -> None:
        self._clock = clock
        self._troubles = troubles
        self._waiting: dict[tuple[str, bool], _News] = {}
        self._has_news = asyncio.Event()
        try:
            parts = urlsplit(url)
            self._scheme, self._host, self._port = parts.scheme, parts.hostname or "", parts.port
        except ValueError as error:
            raise UsageError(_BAD_URL) from error
        if self._scheme not in ("http", "https") or not self._host or parts.username:
            raise UsageError(_BAD_URL)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        if secret_file is None:
            raise UsageError("webhook needs webhook_secret_file, to sign what it sends.")
        try:
            self._secret = Path(secret_file).expanduser().read_bytes().strip()
        except OSError as error:
            why = error.strerror or str(error)
            raise UsageError(f"webhook_secret_file cannot be read ({why}): correct it.") from error
        if not self._secret:
            raise UsageError("webhook_secret_file is empty: put a long random line into it.")

    def put(self, news: _News) -> None:
        """Send ``news`` in place of older news of the same lane."""
        self._waiting[news.lane] = news
        self._has_news.set()

    async def run(self) -> None:
        failures = 0
        while True:
            await self._has_news.wait()
            if not self._waiting:
                self._has_news.clear()
                continue
            lane = next(iter(self._waiting))
            news = self._waiting.pop(lane)
            trouble = await self._attempt(news)
            self._troubles.tell("url", trouble)
            if trouble is None:
                failures = 0
                continue
            # Others get their turn; what is newer stays.
            self._waiting.setdefault(lane, news)
            pause_s = _PAUSES_S[min(failures, len(_PAUSES_S) - 1)]
            failures += 1
            # The first pause is there for each attempt; the rest of it ends with news.
            self._has_news.clear()
            await asyncio.sleep(_PAUSES_S[0])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s - _PAUSES_S[0]):
                    await self._has_news.wait()
            self._has_news.set()

    async def _attempt(self, news: _News) -> str | None:
        """Send it once; return what went wrong."""
        body = news.body(self._clock.wall_ms())
        connection: list[http.client.HTTPConnection] = []
        over = threading.Event()
        try:
            async with asyncio.timeout(_ATTEMPT_S):
                status = await aside(lambda: self._post(body, connection.append, over))
        except TimeoutError:
            return self._failed("it did not answer in time")
        except (OSError, ValueError) as error:
            return self._failed(getattr(error, "strerror", None) or str(error))
        finally:
            over.set()
            for one in connection:
                # A thread that still waits for the other side ends.
                with contextlib.suppress(OSError):
                    if one.sock is not None:
                        one.sock.shutdown(socket.SHUT_RDWR)
        return None if 200 <= status < 300 else self._failed(f"it answered {status}")

    def _failed(self, why: str) -> str:
        why = words.printable(why)[:_LONGEST_REASON]
        return f"The webhook at {self._host} does not take events ({why}): they wait for it."

    def _post(
        self,
        body: bytes,
        began: Callable[[http.client.HTTPConnection], None],
        over: threading.Event,
    ) -> int:
        # Only a webhook is worth the 2 MB that this takes.
        import http.client
        import ssl

        if self._scheme == "https":
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=_STEP_S, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=_STEP_S)
        began(connection)
        try:
            signature = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
            headers = {"Content-Type": "application/json", SIGNATURE: f"sha256={signature}"}
            connection.connect()
            if over.is_set():
                # It took too long, and newer news may have arrived.
                raise TimeoutError
            connection.request("POST", self._path, body, headers)
            return connection.getresponse().status
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        finally:
            connection.close()
