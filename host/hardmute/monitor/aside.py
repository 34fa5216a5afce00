"""Calls that may hang, in threads that nobody waits for."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_T = TypeVar("_T")


async def aside(call: Callable[[], _T]) -> _T:
    """What ``call`` returns or raises. It runs in a thread of its own.

    Where this is cancelled, the thread goes on and its result is dropped. It does not keep the
    process from ending, as threads of `asyncio.to_thread` do.
    """
    loop = asyncio.get_running_loop()
    result: asyncio.Future[_T] = loop.create_future()

    def give(settle: Callable[[], None]) -> None:
        # The loop may have been closed.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: None if result.done() else settle())

    def work() -> None:
        try:
            found = call()
        except Exception as error:  # noqa: BLE001 (it is raised where the result is awaited)
            raised = error
            give(lambda: result.set_exception(raised))
        else:
            give(lambda: result.set_result(found))

    threading.Thread(target=work, name="hardmute aside", daemon=True).start()
    return await result
