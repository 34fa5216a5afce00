"""How soon a notification is there, on a real session bus, beside a control in the same run."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
import tty
from pathlib import Path

from tests.desktop.service import Service
from tests.desktop.session_bus import Bus

from bench.figure import Figure
from hardmute.evidence.observation import Observation
from hardmute.monitor.desktop import Desktop
from hardmute.monitor.feed import Feed, Told
from hardmute.monitor.notify import Notifications
from hardmute.monitor.settings import Remind

_TIMES = 300


def notification() -> list[Figure]:
    """Live -> notification, from the monitor's word to the service that shows it."""
    if shutil.which("dbus-daemon") is None:
        return []
    with tempfile.TemporaryDirectory(prefix="hm-") as folder:
        bus = Bus(Path(folder).resolve())
        bus.start()
        try:
            control, shown = asyncio.run(_measured(bus.address))
        finally:
            bus.kill()
    figures = []
    for name, times in (
        ("asyncio echo over a terminal", control),
        ("live -> notification", shown),
    ):
        p50, p99 = 1000 * statistics.median(times), 1000 * statistics.quantiles(times, n=100)[98]
        aim = "≤ control + 500" if times is shown else None
        figures += [Figure(f"{name}, p50", p50, "ms"), Figure(f"{name}, p99", p99, "ms", aim)]
    return figures


async def _measured(address: str) -> tuple[list[float], list[float]]:
    service = await Service(address).start()
    feed = Feed()
    sink = Notifications(
        Remind(unused_s=None), lambda _: None, screen=lambda events: Desktop(events, address)
    )
    running = asyncio.create_task(sink.run(feed, _never))
    control, shown = [], []
    # The first one waits for the connection.
    for number in range(_TIMES + 1):
        took_s = await echo()
        begin = time.perf_counter()
        feed.tell(_live(f"{number:08x}"))
        while len(service.open) <= number:
            await asyncio.sleep(0)
        if number:
            shown.append(time.perf_counter() - begin)
            control.append(took_s)
    running.cancel()
    await asyncio.wait([running])
    await service.crash()
    return control, shown


async def echo() -> float:
    """How long a byte takes to the other end of a terminal and back."""
    loop = asyncio.get_running_loop()
    here, there = os.openpty()
    tty.setraw(there)
    back: asyncio.Future[None] = loop.create_future()
    loop.add_reader(there, lambda: os.write(there, os.read(there, 1)))
    loop.add_reader(here, lambda: back.set_result(os.read(here, 1) and None))
    begin = time.perf_counter()
    os.write(here, b"x")
    await back
    took_s = time.perf_counter() - begin
    for end in (here, there):
        loop.remove_reader(end)
        os.close(end)
    return took_s


def _live(board: str) -> Told:
    observation = Observation(
        at_ms=time.time_ns() // 1_000_000,
        board=board,
        device="none",
        simulated=True,
        source="watch",
        verdict="live",
        proof=None,
        reason=None,
        state="live",
        cause="button",
        since_ms=0,
        uptime_ms=0,
    )
    return Told(board, None, observation)


async def _never(board: str) -> None:
    raise AssertionError(board)
