"""The simulated board's USB cable: a pseudo-terminal, or a TCP port on every OS."""

from __future__ import annotations

import os
import selectors
import socket
import sys
from pathlib import Path
from typing import Protocol

_CHUNK = 4096


class Cable(Protocol):
    """The host's end of the cable. All calls return at once."""

    @property
    def device(self) -> str:
        """The port's name, as a host opens it."""
        ...

    def plug(self) -> None: ...
    def unplug(self) -> None: ...
    def read(self, limit: int) -> bytes: ...
    def write(self, data: bytes) -> int: ...
    def wait(self, seconds: float) -> None:
        """Sleep until the host sends something, at most for ``seconds``."""
        ...


class PtyCable:
    """A pseudo-terminal behind a link with a name that survives replugging."""

    def __init__(self, link: Path) -> None:
        self.device = str(link)
        self._link = link
        self._master = -1
        self._slave = -1
        self._selector = selectors.DefaultSelector()

    def plug(self) -> None:
        if self._master >= 0 or sys.platform == "win32":
            return
        import tty

        self._master, self._slave = os.openpty()
        # Our own open end keeps the terminal alive between two hosts.
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._selector.register(self._master, selectors.EVENT_READ)
        self._link.unlink(missing_ok=True)
        self._link.symlink_to(os.ttyname(self._slave))

    def unplug(self) -> None:
        if self._master < 0:
            return
        self._link.unlink(missing_ok=True)
        self._selector.unregister(self._master)
        os.close(self._master)
        os.close(self._slave)
        self._master = self._slave = -1

    def read(self, limit: int) -> bytes:
        if self._master < 0 or limit <= 0:
            return b""
        try:
            return os.read(self._master, limit)
        except OSError:
            return b""

    def write(self, data: bytes) -> int:
        if self._master < 0:
            return len(data)
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0

    def wait(self, seconds: float) -> None:
        self._selector.select(seconds)


class TcpCable:
    """A TCP port on the loopback interface, ``socket://`` to pyserial. One host at a time."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener: socket.socket | None = None
        self._host: socket.socket | None = None
        self._selector = selectors.DefaultSelector()
        self.plug()

    @property
    def device(self) -> str:
        return f"socket://127.0.0.1:{self._port}"

    def plug(self) -> None:
        if self._listener is None:
            self._listener = socket.create_server(("127.0.0.1", self._port))
            self._listener.setblocking(False)
            self._port = self._listener.getsockname()[1]
            self._selector.register(self._listener, selectors.EVENT_READ)

    def unplug(self) -> None:
        self._drop_host()
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def read(self, limit: int) -> bytes:
        self._accept()
        if self._host is None or limit <= 0:
            return b""
        try:
            data = self._host.recv(limit)
        except BlockingIOError:
            return b""
        except OSError:
            data = b""
        if not data:
            self._drop_host()
        return data

    def write(self, data: bytes) -> int:
        if self._host is None:
            return len(data)
        try:
            return self._host.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            self._drop_host()
            return len(data)

    def wait(self, seconds: float) -> None:
        self._selector.select(seconds)

    def _accept(self) -> None:
        if self._listener is None or self._host is not None:
            return
        try:
            self._host, _ = self._listener.accept()
        except BlockingIOError:
            return
        self._host.setblocking(False)
        self._host.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(self._host, selectors.EVENT_READ)

    def _drop_host(self) -> None:
        if self._host is not None:
            self._selector.unregister(self._host)
            self._host.close()
            self._host = None
