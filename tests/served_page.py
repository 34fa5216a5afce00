"""The page of a monitor for tests: served in this process, or by a process of its own.

`Served` runs in a thread, on a simulated board whose relay is recorded. `Client` asks as a browser
does that has a session.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from hardmute.model.clock import SYSTEM, HostClock
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.settings import PageSettings
from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics
from hardmute.sim.server import Simulator
from hardmute.sim.world import act
from hardmute.web.metrics import Metrics
from hardmute.web.serving import PageSink
from muteboard import config

SOON_S = 60.0
BOARD = "5eed0001"
ANY_PORT = PageSettings(serve=True, address=("127.0.0.1", 0))


def wait_for(is_so: Callable[[], object], seconds: float = SOON_S) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


class RecordedBoard:
    """A simulated board in a thread. ``coil``: each change of it; ``moved_ms``: when the last one
    was, by the wall clock.
    """

    def __init__(self, board: str = BOARD) -> None:
        self.board = board
        self.coil: list[bool] = []
        self.moved_ms = 0.0
        physics = Physics(1, Random(0))
        drive = physics.drive

        def recorded(*, coil: bool) -> None:
            before = physics.coil
            drive(coil=coil)
            if physics.coil != before:
                self.coil.append(physics.coil)
                self.moved_ms = 1000 * time.time()

        physics.drive = recorded
        settings = config.dump(config.DEFAULTS)
        self._simulated = SimulatedBoard(physics, bytes.fromhex(board), settings)
        self._simulator = Simulator(self._simulated, board, tcp_port=None)
        self.device = self._simulator.entry.device
        self._ended = False
        self._runs = threading.Event()
        self._runs.set()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended:
            self._runs.wait()
            self._simulator.step()

    def watch_port(self) -> dict[str, float]:
        """When the board begins to say each state next (`time.perf_counter`); clear it."""
        sent: dict[str, float] = {}
        write = self._simulated.write

        def watched(data: bytes | memoryview) -> int:
            for state in ("live", "muted", "fault"):
                if f'"state":"{state}"'.encode() in bytes(data):
                    sent.setdefault(state, time.perf_counter())
            return write(data)

        self._simulated.write = watched
        return sent

    def hang(self, *, on: bool) -> None:
        (self._runs.clear if on else self._runs.set)()

    def act(self, *words: object) -> dict[str, Any]:
        return act(self._simulator.entry.world, [str(word) for word in words])

    def close(self) -> None:
        self._ended = True
        self._runs.set()
        self._thread.join()
        self._simulator.close()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """Asks the page's server. ``session``: the headers that a signed-in page sends."""

    def __init__(self, url: str, session: dict[str, str] | None = None) -> None:
        self.url = url
        self.origin = url.rstrip("/")
        self.host = urlsplit(url).netloc
        self.session = session or {}

    def enter(self, code: str) -> Client:
        """With the session that a code is good for."""
        said = self.ask("POST", "/api/session", body=json.dumps({"code": code}))
        assert said.status == 200, said
        cookie = said.headers["set-cookie"].partition(";")[0]
        session = {"Cookie": cookie, "X-Hardmute-Key": said.json["key"]}
        return Client(self.url, session)

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: str | None = None,
        without: tuple[str, ...] = (),
        **headers: str,
    ) -> Answer:
        """One answer. ``without``: names of headers that are left out; ``headers``: others."""
        sent = {"Host": self.host, "Origin": self.origin, **self.session}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = self.connection()
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in sent.items():
                if name not in without:
                    connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(None if body is None else body.encode())
            found = connection.getresponse()
            told = {name.lower(): value for name, value in found.getheaders()}
            if told.get("content-type", "").startswith("text/event-stream"):
                return Answer(found.status, told, found.readline())
            return Answer(found.status, told, found.read())
        finally:
            connection.close()

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.host, timeout=SOON_S)

    def events(self) -> Iterator[dict[str, Any]]:
        """What the stream says, until it ends."""
        connection = self.connection()
        try:
            connection.request("GET", "/api/events", headers=self.session)
            stream = connection.getresponse()
            assert stream.status == 200
            while line := stream.readline():
                if line.startswith(b"data: "):
                    yield json.loads(line[6:])
        finally:
            connection.close()

    def until(self, verdict: str, board: str = BOARD) -> dict[str, Any]:
        """What the stream says of a board once it is as ``verdict`` says."""
        for event in self.events():
            for one in event["boards"]:
                if (one["board"], one["verdict"]) == (board, verdict):
                    return one
        raise AssertionError("the stream has ended")


class Served:
    """A monitor with a page, in a thread of this process. ``told``: the verdicts of its feed, and
    when they came, by the wall clock in ms.
    """

    def __init__(
        self,
        *boards: str,
        chosen: PageSettings = ANY_PORT,
        clock: HostClock = SYSTEM,
        until: Callable[[Served], object] = lambda served: served.sink.entrance(),
    ) -> None:
        self._boards = boards
        self._is_served = until
        self._chosen = chosen
        self._clock = clock
        self._begun = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._begun.wait(SOON_S)

    async def _run(self) -> None:
        self.monitor = Monitor(self._boards, clock=self._clock)
        self.metrics = Metrics(self.monitor, self._clock)
        self.sink = PageSink(self.monitor, self._chosen, self._clock, self.metrics.text)
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self.told: list[tuple[str, float]] = []
        following = asyncio.create_task(self.monitor.run())
        reading = asyncio.create_task(self._read())
        serving = asyncio.create_task(self.sink.run(self.monitor.feed, self.monitor.mute))
        await self.monitor.is_ready.wait()
        while self.sink.trouble is None:
            if self._is_served(self):
                self.url = self.sink.url or ""
                break
            await asyncio.sleep(0.01)
        self._begun.set()
        await self._end.wait()
        for task in (serving, reading, following):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _read(self) -> None:
        async for told in self.monitor.feed.changes():
            self.told.append((told.observation.verdict, 1000 * time.time()))

    def code(self) -> str:
        """A new code."""

        async def make() -> str:
            entrance = self.sink.entrance()
            assert entrance is not None
            return entrance.code

        return asyncio.run_coroutine_threadsafe(make(), self._loop).result(SOON_S)

    @property
    def stranger(self) -> Client:
        """One without a session."""
        return Client(self.url)

    def client(self) -> Client:
        """One with a session."""
        stranger = self.stranger
        return stranger.enter(self.code())

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


class PageProcess:
    """``hardmute monitor --page`` in a process of its own, which ``hardmute page`` can reach."""

    def __init__(self, home: Path, *boards: str, address: str = "127.0.0.1:0") -> None:
        (home / "monitor.toml").write_text(f'page_address = "{address}"\n')
        named = [word for board in boards for word in ("-d", board)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "hardmute", "monitor", "--page", "--json", *named],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for(lambda: self._page("--print").returncode == 0)

    @staticmethod
    def _page(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hardmute", "page", *words],
            capture_output=True,
            text=True,
            check=False,
        )

    def entrance(self) -> tuple[str, str]:
        """The address of the page, and a code."""
        said = self._page("--print").stdout
        found = re.fullmatch(r"(http\S+)\n +code: (\S+) .*\n", said)
        assert found is not None, said
        return found[1], found[2]

    def client(self) -> Client:
        url, code = self.entrance()
        return Client(url).enter(code)

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def page_process(home: Path, *boards: str) -> Iterator[PageProcess]:
    made = PageProcess(home, *boards)
    try:
        yield made
    finally:
        with suppress(ProcessLookupError):
            made.send(signal.SIGCONT)
        made.close()
