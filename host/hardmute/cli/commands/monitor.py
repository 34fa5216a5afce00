"""`hardmute monitor`: follows all boards, in one process, for all other commands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from argparse import Namespace

import muteboard
from hardmute.cli.commands.watch import print_change
from hardmute.model import errors
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.monitor.feed import Feed
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.server import Server, only_monitor
from hardmute.system.service_manager import ServiceManager


def monitor(args: Namespace) -> int:
    """`hardmute monitor`: until Ctrl-C, or until a service manager ends it."""
    return run(args, SYSTEM)


def run(args: Namespace, clock: HostClock) -> int:
    """As `monitor`, by this ``clock``."""
    with only_monitor():
        return asyncio.run(_run(args, clock))


async def _run(args: Namespace, clock: HostClock) -> int:
    manager = ServiceManager()
    followed = Monitor(args.devices, timeout=args.timeout, clock=clock)
    ended = _ended_by_signals()
    about = {"pid": os.getpid(), "version": muteboard.__version__}
    server = Server(followed, about)
    following = asyncio.create_task(followed.run())
    printing = asyncio.create_task(_print(followed.feed, as_json=args.json))
    telling = asyncio.create_task(_tell(manager, followed))
    try:
        async with server.listening():
            await asyncio.wait([following, printing, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        manager.stopping()
        for task in (following, printing, telling):
            task.cancel()
        ends = await asyncio.gather(following, printing, telling, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
    return ended.result() if ended.done() else errors.LOCAL


def _ended_by_signals() -> asyncio.Future[int]:
    """Done when this is to end: with the exit code."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[int] = loop.create_future()

    def end(code: int) -> None:
        if not ended.done():
            ended.set_result(code)

    for number, code in ((signal.SIGINT, errors.INTERRUPTED), (signal.SIGTERM, errors.OK)):
        # Windows has no signal handlers in event loops: there Ctrl-C cancels the loop's task.
        with contextlib.suppress(NotImplementedError):
            loop.add_signal_handler(number, end, code)
    return ended


async def _tell(manager: ServiceManager, followed: Monitor) -> None:
    """Tell the service manager of the first round, and then that this works."""
    await followed.is_ready.wait()
    boards = len(followed.feed.boards)
    manager.ready("1 board" if boards == 1 else f"{boards} boards")
    await manager.watchdog()


async def _print(feed: Feed, *, as_json: bool) -> None:
    async for told in feed.changes():
        print_change(told.observation, told.label, as_json=as_json)
