"""Serves the page beside the monitor's other work, by uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import sys
from collections.abc import Callable, Generator
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from hardmute.model import notices
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.errors import LocalError
from hardmute.monitor.feed import Feed, Mute
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.settings import PageSettings
from hardmute.system import paths
from hardmute.web.api import Api
from hardmute.web.boards import Boards
from hardmute.web.entrance import Codes, Sessions
from hardmute.web.gate import Gate, page_policy
from hardmute.web.past import Past

# Seconds: after which a port that is taken is tried again; that a client may take to ask for
# something; that those who are asked get at the end.
_TRY_AGAIN_S = 5.0
_ASK_S = 10.0
_END_S = 1
# They leave files for the boards and the log: a process often may have 1,024.
_MOST_CONNECTIONS = 384
_LARGEST_HEADERS = 16 * 1024


class Entrance(NamedTuple):
    """Where the page is, and a one-time code for it."""

    url: str
    code: str


class PageSink:
    """A `Sink` that serves the page, if it is chosen, and ``metrics``, if there are any.

    ``monitor``: whose boards it shows.

    The codes and sessions are its own; sessions outlast it, by a secret in a file.
    """

    def __init__(
        self,
        monitor: Monitor,
        chosen: PageSettings,
        clock: HostClock = SYSTEM,
        metrics: Callable[[], bytes] | None = None,
    ) -> None:
        self._monitor = monitor
        self._chosen = chosen
        self._metrics = metrics
        self._clock = clock
        self._codes = Codes(clock)
        self._url: str | None = None
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        return self._trouble

    @property
    def url(self) -> str | None:
        """Where it serves now."""
        return self._url

    def entrance(self) -> Entrance | None:
        """The address of the page, and a new code; None while there is no page."""
        if self._url is None or not self._chosen.serve:
            return None
        return Entrance(self._url, self._codes.make())

    async def run(self, feed: Feed, mute: Mute) -> None:  # noqa: ARG002 (as each sink)
        while True:
            try:
                tls = _tls(self._chosen)
                plug = _plug(self._chosen.address)
            except LocalError as error:
                if self._trouble is None:
                    notices.tell(str(error))
                self._trouble = str(error)
                await asyncio.sleep(_TRY_AGAIN_S)
                continue
            self._trouble = None
            with plug:
                await self._serve(plug, tls)

    async def _serve(self, plug: socket.socket, tls: ssl.SSLContext | None) -> None:
        port = plug.getsockname()[1]
        origins = _origins(self._chosen, port, is_tls=tls is not None)
        cookie = f"hardmute-{port}"
        page = None
        if self._chosen.serve:
            page = resources.files("hardmute.web").joinpath("page.html").read_text("utf-8")
        boards = Boards(self._monitor, self._clock)
        sessions = Sessions(Path(paths.runtime_dir("monitor"), "page-secret"), self._clock)
        api = Api(
            self._monitor,
            boards,
            Past(self._monitor, self._clock),
            self._codes,
            sessions,
            page=page,
            metrics=self._metrics,
            cookie=cookie,
            is_tls=tls is not None,
        )
        gate = Gate(
            api,
            origins,
            sessions,
            open_paths=[one.path for one in api.operations if one.is_open],
            cookie=cookie,
            policy=page_policy(page or ""),
        )
        server = _Server(
            uvicorn.Config(
                gate,
                http=_Connection,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                log_level="critical",
                access_log=False,
                server_header=False,
                date_header=False,
                proxy_headers=False,
                h11_max_incomplete_event_size=_LARGEST_HEADERS,
                timeout_graceful_shutdown=_END_S,
                ssl_context_factory=None if tls is None else lambda _config, _default: tls,
            )
        )
        telling = asyncio.create_task(boards.run())
        # Not cancelled with this: it closes its connections first.
        serving = asyncio.create_task(server.serve([plug]))
        self._url = f"{origins[0]}/"
        try:
            await asyncio.wait([serving, telling], return_when=asyncio.FIRST_COMPLETED)
            for task in (serving, telling):
                if task.done():
                    task.result()
        finally:
            self._url = None
            server.end()
            telling.cancel()
            ending = asyncio.gather(api.end(), serving, telling, return_exceptions=True)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.shield(ending)


class _Server(uvicorn.Server):
    """uvicorn without signals and a clock of its own: the monitor ends it by `end`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._ended = asyncio.Event()

    def end(self) -> None:
        self.should_exit = True
        self._ended.set()

    async def main_loop(self) -> None:
        await self._ended.wait()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Connection(H11Protocol):
    """A connection, of which there are so many, and which asks for something or is closed."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _MOST_CONNECTIONS:
            transport.abort()
        else:
            self.loop.call_later(_ASK_S, self._close_if_silent)

    def _close_if_silent(self) -> None:
        # It has none before its first request.
        if getattr(self, "scope", None) is None:
            self.transport.abort()


def _plug(address: tuple[str, int]) -> socket.socket:
    """A socket that listens at ``address``. Raises `LocalError`."""
    host, port = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    plug = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":
            # There it would let another program have the same port.
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        plug.bind((host, port))
        # Who is told of the page may come before uvicorn serves it.
        plug.listen()
    except OSError as error:
        plug.close()
        raise LocalError(
            f"The page cannot be served at port {port} of {host} ({error.strerror or error}):"
            " end the program that has it, or set page_address."
        ) from error
    return plug


def _tls(chosen: PageSettings) -> ssl.SSLContext | None:
    """Raises `LocalError` for a certificate or a key that cannot be used."""
    if chosen.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        # One with a passphrase would ask the terminal.
        context.load_cert_chain(chosen.certificate, chosen.key, password="")
    except (OSError, ValueError) as error:
        raise LocalError(
            f"The page's certificate {chosen.certificate} and its key {chosen.key} cannot be used"
            f" ({error})."
        ) from error
    return context


def _origins(chosen: PageSettings, port: int, *, is_tls: bool) -> list[str]:
    """The addresses by which a browser may call the page; the first is what people are told."""
    host = chosen.address[0]
    found = ipaddress.ip_address(host)
    bare = f"[{host}]" if found.version == 6 else host
    if found.is_loopback:
        names = [bare, "localhost", *chosen.names]
    else:
        # A certificate is for a name.
        names = [*chosen.names, *(() if found.is_unspecified else (bare,))]
    scheme, usual = ("https", 443) if is_tls else ("http", 80)
    return [f"{scheme}://{name}" + ("" if port == usual else f":{port}") for name in names]
