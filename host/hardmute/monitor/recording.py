"""Whether a program records on this computer, as far as its sound server knows."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from importlib import import_module
from types import ModuleType
from typing import Any

from hardmute.monitor.aside import aside

# Whether a program records now; None where that cannot be known.
Recording = Callable[[], Awaitable[bool | None]]

_ANSWER_S = 3.0
# What the server itself connects has no client.
_NO_CLIENT = 0xFFFFFFFF
# What a mixer shows as a moving bar is not recorded.
_METERS = ("peaks",)


class SoundServer:
    """PulseAudio, or PipeWire in its place, asked by a new connection each time."""

    def __init__(self) -> None:
        self._asked: asyncio.Task[bool | None] | None = None

    async def __call__(self) -> bool | None:
        """Whether a program records from a microphone. Takes 3 s at most.

        None where no sound server answers, or the extra ``notify`` is not installed.
        """
        if self._asked is None or self._asked.done():
            self._asked = asyncio.create_task(aside(_anybody))
        # A server that hangs keeps one thread, and not one more for each question.
        done, _ = await asyncio.wait([self._asked], timeout=_ANSWER_S)
        return self._asked.result() if done else None


def _anybody() -> bool | None:
    if sys.platform != "linux":
        return None
    try:
        return _recorded(import_module("pulsectl"))
    except (ImportError, OSError):
        return None


def _recorded(library: ModuleType) -> bool | None:
    try:
        connection = library.Pulse("hardmute", connect=False)
        connection.connect(autospawn=False)
        with connection:
            monitors = {one.index for one in connection.source_list() if one.monitor_of_sink_name}
            return any(_records(one, monitors) for one in connection.source_output_list())
    except (library.PulseError, library.PulseDisconnected):
        return None


def _records(stream: Any, monitors: set[int]) -> bool:
    # One that is corked waits; the monitor of a speaker has no microphone in it.
    return not (
        stream.corked
        or stream.client in (None, _NO_CLIENT)
        or stream.source in monitors
        or stream.resample_method in _METERS
    )
