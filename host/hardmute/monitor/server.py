"""The monitor's socket: what it tells other programs of this user (docs/monitor-protocol.md)."""

from __future__ import annotations

import asyncio
import asyncio.trsock
import contextlib
import json
import os
import socket
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any, cast

from hardmute.device.holder import BORROWS, Turn
from hardmute.model import errors
from hardmute.monitor.follower import Loan
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.station import Station
from hardmute.render.observations import status_row
from hardmute.system import paths
from hardmute.system.file_lock import try_lock
from hardmute.system.monitor_socket import VERSION, peer, socket_address

# A request is a short line; an answer that nobody takes for so long ends the connection.
_MAX_REQUEST = 4096
_PATIENCE_S = 3.0
# A watch hears at least so often what is known, in seconds.
_STILL_S = 1.0
_MAX_CLIENTS = 64
# A port is lent for so long at the most, in seconds.
_LOAN_S = 600.0


@contextlib.contextmanager
def only_monitor() -> Generator[None]:
    """Hold that this is the only monitor of this user. Raises `LocalError` if another one runs."""
    file = Path(paths.runtime_dir("monitor"), "lock")
    try:
        fd = os.open(file, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
    except OSError as error:
        raise errors.LocalError(
            f"The monitor cannot write into {file.parent} ({error.strerror})."
        ) from error
    try:
        if not try_lock(fd):
            pid = os.read(fd, 20).decode("ascii", "replace").strip()
            raise errors.LocalError(
                f"A monitor of yours runs already (process {pid or 'unknown'}): end it first."
            )
        os.ftruncate(fd, 0)
        os.write(fd, str(os.getpid()).encode())
        yield
    except OSError as error:
        raise errors.LocalError(
            f"Files in {file.parent} cannot be locked ({error.strerror})."
        ) from error
    finally:
        os.close(fd)


class Server:
    """Answers at the socket. ``about``: what it says of the process itself. ``page``: where the
    page is, and a one-time code for it; or why there is no page, if there is to be one.
    """

    def __init__(
        self,
        monitor: Monitor,
        about: Callable[[], dict[str, Any]],
        page: Callable[[], dict[str, str] | str | None] = lambda: None,
    ) -> None:
        self._monitor = monitor
        self._about = about
        self._page = page
        self._conversing: set[asyncio.Task[None]] = set()
        # Who has the port of a board now.
        self._lent: dict[Station, asyncio.StreamWriter] = {}

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncGenerator[None]:
        """Listen at the socket, for this user only. Only for the only monitor."""
        if not hasattr(socket, "AF_UNIX"):
            yield
            return
        file = Path(paths.runtime_dir("monitor"), "socket")
        # Of a monitor that was killed: the lock says that there is none.
        file.unlink(missing_ok=True)
        plug = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody else can connect before it is ours alone: its folder is.
            with socket_address() as address:
                plug.bind(address)
            file.chmod(0o600)
        except OSError as error:
            plug.close()
            raise errors.LocalError(
                f"The monitor's socket {file} cannot be made ({error.strerror})."
            ) from error
        server = await asyncio.start_unix_server(self._serve, sock=plug, limit=_MAX_REQUEST)
        try:
            yield
        finally:
            server.close()
            file.unlink(missing_ok=True)
            tasks = list(self._conversing)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = cast("asyncio.Task[None]", asyncio.current_task())
        self._conversing.add(task)
        try:
            _, uid = peer(writer.get_extra_info("socket"))
            if len(self._conversing) <= _MAX_CLIENTS and uid in (None, os.getuid()):
                await self._converse(reader, writer)
        except (OSError, ValueError, TimeoutError, asyncio.CancelledError):
            # One who has gone, or does not read what it asked for, or talks nonsense; or the end.
            pass
        finally:
            # What it has not read is of no use to anybody.
            writer.transport.abort()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._conversing.discard(task)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            request = _request(line)
            op = None if request is None else request.get("op")
            named = None if request is None else request.get("named")
            if request is None or not (named is None or isinstance(named, str)):
                await self._say(writer, {"ok": False, "error": "bad_request"})
                return
            match op:
                case "boards":
                    boards = [_entry(one) for one in self._monitor.stations]
                    await self._say(writer, {"ok": True, "boards": [*filter(None, boards)]})
                case "board":
                    await self._say(writer, self._board(named))
                case "status":
                    await self._send(writer, self._status(named))
                case "watch":
                    await self._watch(writer, named)
                case "port":
                    await self._lend(reader, writer, request)
                    return
                case "monitor":
                    await self._say(writer, {"ok": True, "monitor": self._about()})
                case "page":
                    page = self._page()
                    none = {"ok": False, "error": "no_page", "trouble": page}
                    is_there = isinstance(page, dict)
                    await self._say(writer, {"ok": True, "page": page} if is_there else none)
                case _:
                    await self._say(writer, {"ok": False, "error": "bad_op"})

    def _board(self, named: str | None) -> dict[str, Any]:
        station = self._monitor.station(named)
        entry = None if station is None else _entry(station)
        if entry is None:
            return {"ok": False, "error": "not_followed"}
        return {"ok": True, "board": entry}

    def _status(self, named: str | None) -> bytes:
        """What `hardmute status --json` prints and returns, for one that loads nothing else."""
        station = self._monitor.station(named)
        known = None if station is None else station.known
        if station is None or known is None:
            return b"no\n"
        row = json.dumps(status_row(known._replace(source="status"), station.firmware))
        code = errors.worst(known.exit_code(), station.exit_code)
        return f"status {code} {known.run} {known.run_us} {row}\n".encode()

    async def _watch(self, writer: asyncio.StreamWriter, named: str | None) -> None:
        said = self._board(named)
        board = said["board"]["observation"]["board"] if said["ok"] else None
        await self._say(writer, said)
        if board is None:
            return
        changes = self._monitor.feed.changes()
        news = asyncio.ensure_future(anext(changes))
        try:
            while True:
                done, _ = await asyncio.wait([news], timeout=_STILL_S)
                if done:
                    told = news.result()
                    news = asyncio.ensure_future(anext(changes))
                    if told.board != board:
                        continue
                await self._say(writer, self._board(board))
        finally:
            news.cancel()

    async def _lend(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: dict[str, Any]
    ) -> None:
        """Lend a port to the one who asks, until that one ends the connection."""
        named, turn, seconds = (request.get(key) for key in ("named", "turn", "seconds"))
        is_number = isinstance(seconds, int | float) and 0 < seconds <= _LOAN_S
        if not (isinstance(named, str) and turn in BORROWS and is_number):
            await self._say(writer, {"ok": False, "error": "bad_request"})
            return
        station = self._monitor.station(named)
        granted: asyncio.Future[int | None] = asyncio.get_running_loop().create_future()
        loan = _loan(turn, granted)
        if station is None or not station.lend(loan):
            await self._say(writer, {"ok": False, "error": "not_followed"})
            return
        gone = asyncio.ensure_future(reader.read(1))
        try:
            if turn == "mute" and (holder := self._lent.get(station)) is not None:
                # One that may go on later gives it up.
                await self._say(holder, {"ok": True, "port": True, "wanted": True})
            while not granted.done() and not gone.done():
                if (holder := self._lent.get(station)) is not None:
                    pid, _ = peer(holder.get_extra_info("socket"))
                    await self._say(writer, {"ok": True, "port": False, "pid": pid})
                # Without a holder it is the board's turn, which takes no time; or it hangs.
                await asyncio.wait(
                    (granted, gone), timeout=_STILL_S / 2, return_when=asyncio.FIRST_COMPLETED
                )
            if gone.done():
                return
            if (fd := granted.result()) is None:
                await self._say(writer, {"ok": False, "error": "not_followed"})
                return
            self._lent[station] = writer
            await writer.drain()
            _pass(writer.get_extra_info("socket"), {"ok": True, "port": True}, fd)
            await asyncio.wait((gone,), timeout=seconds)
        finally:
            if self._lent.get(station) is writer:
                del self._lent[station]
            gone.cancel()
            loan.ended.set()
            if granted.done() and (fd := granted.result()) is not None:
                os.close(fd)

    async def _say(self, writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
        await self._send(writer, _line(said))

    async def _send(self, writer: asyncio.StreamWriter, line: bytes) -> None:
        writer.write(line)
        async with asyncio.timeout(_PATIENCE_S):
            await writer.drain()


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps({"hardmute": VERSION, **said}).encode() + b"\n"


def _pass(plug: asyncio.trsock.TransportSocket, said: dict[str, Any], fd: int) -> None:
    """Say something, and pass an open file with it. Nothing else waits to be said."""
    with socket.socket(fileno=os.dup(plug.fileno())) as ours:
        socket.send_fds(ours, [_line(said)], [fd])


def _loan(turn: Turn, granted: asyncio.Future[int | None]) -> Loan:
    """A loan whose open port, or None, is what ``granted`` is set to."""
    loop = asyncio.get_running_loop()

    def settle(fd: int | None) -> None:
        if not granted.cancelled() and not loan.ended.is_set():
            granted.set_result(fd)
        elif fd is not None:
            os.close(fd)

    def grant(fd: int | None) -> None:
        try:
            loop.call_soon_threadsafe(settle, fd)
        except RuntimeError:
            # The loop was closed.
            if fd is not None:
                os.close(fd)

    loan = Loan(turn, grant)
    return loan


def _request(line: bytes) -> dict[str, Any] | None:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(request, dict):
        return None
    fields = cast("dict[str, Any]", request)
    return fields if fields.get("hardmute") == VERSION else None


def _entry(station: Station) -> dict[str, Any] | None:
    known = station.known
    if known is None:
        return None
    return {
        "observation": known.as_json(),
        "label": station.label,
        "firmware": station.firmware,
        "incident": station.incident,
        "exit_code": station.exit_code,
    }
