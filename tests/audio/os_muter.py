"""Lives of the sink that mutes in the system, each in a process of its own that can be killed.

    python os_muter.py FD

Each connection to FD, a socket that listens, starts a life. The first line from there says what a
life needs; then each line is one message, as JSON, in either direction.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys
from typing import Any

from hardmute.evidence.observation import unseen
from hardmute.model.errors import LocalError, UnreachableError
from hardmute.monitor import os_mute, settings
from hardmute.monitor.feed import Feed, Told

# So that no life loads them again.
_LIBRARY = os_mute._library()


class Watched(os_mute.OsMuteSink):
    """Counts its own looks, so that somebody else knows when it has seen everything."""

    begun = done = 0
    looked: asyncio.Event

    async def _look(self, *args: Any) -> None:
        self.begun += 1
        begun = self.begun
        await super()._look(*args)
        self.done = begun
        self.looked.set()

    async def settle(self) -> None:
        """Wait for a look that begins from now on to end."""
        wanted = self.begun + 1
        while self.done < wanted:
            self.looked.clear()
            self._news.set()
            await self.looked.wait()


class Life:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._feed = Feed()
        self._cuts: dict[str, asyncio.Future[bool]] = {}

    def _say(self, **what: Any) -> None:
        self._writer.write(json.dumps(what).encode() + b"\n")

    async def _mute(self, board: str) -> None:
        self._cuts[board] = asyncio.get_running_loop().create_future()
        self._say(mute=board)
        if not await self._cuts[board]:
            raise UnreachableError("The board does not answer.", "timeout")

    async def run(self, chosen: dict[str, Any]) -> None:
        """Until it is told to end."""
        sink = Watched(settings.OsMute(**chosen), lambda said: self._say(said=said), settle_s=0.0)
        sink.looked = asyncio.Event()
        work = asyncio.create_task(sink.run(self._feed, self._mute))
        settling = set[asyncio.Task[None]]()
        async for line in self._reader:
            what, *values = json.loads(line)
            if what == "told":
                self._tell(*values)
            elif what == "cut":
                self._cuts[values[0]].set_result(values[1])
            elif what == "settle":
                settling.add(asyncio.create_task(self._settle(sink)))
            elif what == "trouble":
                self._say(trouble=sink.trouble)
            elif what == "end":
                work.cancel()
                break
        await asyncio.wait({work})
        if not work.cancelled():
            work.result()
        self._say(ended=True)
        await self._writer.drain()

    async def _settle(self, sink: Watched) -> None:
        await sink.settle()
        self._say(settled=True)

    def _tell(self, board: str, verdict: Any) -> None:
        seen = unseen("", board=board, device="", simulated=True, source="", at_ms=0)
        self._feed.tell(Told(board, None, seen._replace(verdict=verdict)))


async def live(connection: socket.socket) -> None:
    reader, writer = await asyncio.open_unix_connection(sock=connection)
    first = json.loads(await reader.readline())
    os.environ.update(first["environment"])
    writer.write(json.dumps({"pid": os.getpid()}).encode() + b"\n")
    if first["release"]:
        try:
            what: dict[str, Any] = {"released": await os_mute.release()}
        except LocalError as error:
            what = {"refused": str(error)}
        writer.write(json.dumps(what).encode() + b"\n")
        await writer.drain()
    else:
        await Life(reader, writer).run(first["settings"])


def main(listening: int) -> None:
    with socket.socket(fileno=listening) as server:
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                asyncio.run(live(connection))
                os._exit(0)
            connection.close()
            # Whose life is over: it counts as CPU of this process then.
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


if __name__ == "__main__":
    main(int(sys.argv[1]))
