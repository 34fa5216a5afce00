"""What a service tells the service manager that started it: sd_notify(3) of systemd."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

# The manager takes it at once; one that is stuck does not stop the service.
_WAIT_S = 0.1


class ServiceManager:
    """The service manager that started this process. Without one nothing is told to anybody.

    What it said in ``environ`` is taken out of there: what this process starts is no service.
    """

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = _address(environ.pop("NOTIFY_SOCKET", ""))
        self._watchdog_us = _number(environ.pop("WATCHDOG_USEC", ""))
        if _number(environ.pop("WATCHDOG_PID", "")) not in (None, os.getpid()):
            # It is another process that is watched.
            self._watchdog_us = None

    @property
    def is_there(self) -> bool:
        """Whether a service manager wants to be told."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """The service does its work, or has its new settings. ``status``: see `status`."""
        self._tell("READY=1", _status(status))

    def status(self, status: str) -> None:
        """What the service does now, in words for people."""
        self._tell(_status(status))

    def alive(self) -> None:
        """The service works. Told too seldom, the manager kills the service."""
        self._tell("WATCHDOG=1")

    def reloading(self) -> None:
        """The service reads its settings again; `ready` ends that."""
        # On Linux, CLOCK_MONOTONIC.
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The service ends."""
        self._tell("STOPPING=1")

    async def watchdog(self) -> None:
        """Tell that the event loop turns, twice in the time that the manager waits for it.

        Ends at once where the manager does not want that. Else it runs until it is cancelled.
        """
        while self.is_there and self._watchdog_us:
            self.alive()
            await asyncio.sleep(self._watchdog_us / 2e6)

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        # A manager that cannot be told finds that out by itself, and starts the service again.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told,
        ):
            told.settimeout(_WAIT_S)
            told.connect(self._address)
            told.send("\n".join(lines).encode())


def _status(status: str) -> str:
    return f"STATUS={' '.join(status.split())}"


def _address(said: str) -> str | None:
    """The address of a socket: a path, or an abstract name. Others (vsock) are for machines."""
    if not hasattr(socket, "AF_UNIX") or said[:1] not in ("/", "@"):
        return None
    return "\0" + said[1:] if said.startswith("@") else said


def _number(said: str) -> int | None:
    return int(said) if said.isascii() and said.isdecimal() else None
