"""How soon the page shows a press, and what pages cost the monitor."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import tempfile
import time
from pathlib import Path

from tests.pages.browser import Tab, browser
from tests.served_page import BOARD, PageProcess, RecordedBoard, Served, wait_for

from bench.figure import Figure
from bench.host import own_home
from bench.monitor import cpu_s, memory_mb, p99, processes, worst_name

# A hundred take a minute: `HARDMUTE_SOAK=1 make bench`.
_TIMES = 100 if os.environ.get("HARDMUTE_SOAK") == "1" else 40
_CLIENTS = 100
_BUSY_S = 20.0
# Each state that is shown, and when, by the wall clock in ms; and so the control.
_WATCH = """
window.changes = [];
new MutationObserver(() => {
  const said = [document.querySelector(".card[data-state]")?.dataset.state, document.body.id];
  const now = performance.timeOrigin + performance.now();
  if (String(changes.at(-1)?.[0]) !== String(said)) changes.push([said, now]);
}).observe(document, { subtree: true, childList: true, attributes: true });
"""


def page_shown() -> list[Figure]:
    """The page in Chromium: from a press that cuts to the change that a person sees."""
    with own_home(), tempfile.TemporaryDirectory() as profile, browser(Path(profile)) as chromium:
        board = RecordedBoard()
        served = Served(board.board)
        try:
            tab = chromium.open(f"{served.url}#code={served.code()}")
            tab.wait('document.querySelector(".card[data-state=muted]") !== null')
            tab.run(_WATCH)
            shown: list[float] = []
            control: list[float] = []
            monitor: list[float] = []
            for number in range(_TIMES):
                control.append(_change(tab, number))
                board.act("press")
                tab.wait('document.querySelector(".card[data-state=live]") !== null')
                board.act("press")
                tab.wait('document.querySelector(".card[data-state=muted]") !== null')
                shown.append(tab.run("changes.at(-1)[1]") - board.moved_ms)
                monitor.append(served.told[-1][1] - board.moved_ms)
        finally:
            served.close()
            board.close()
    named = {
        "Chromium changes a page (control)": control,
        "press that cuts -> monitor (control)": monitor,
        "press that cuts -> page": shown,
    }
    return [
        Figure(f"{name}, {what}", value, "ms", aim)
        for name, times in named.items()
        for what, value, aim in (
            ("median", statistics.median(times), None),
            (worst_name(times), p99(times), "≤ controls + 150" if times is shown else None),
        )
    ]


def _change(tab: Tab, number: int) -> float:
    """How long the browser takes to change a page, in ms."""
    begin_ms = 1000 * time.time()
    tab.run(f'document.body.id = "id{number}"')
    return tab.run("changes.at(-1)[1]") - begin_ms


def page_costs() -> list[Figure]:
    """100 streams of the page: CPU time, memory, and how soon the monitor ends."""
    with own_home(), processes([["sim", "--id", BOARD]], lines=1):
        monitor = PageProcess(Path(os.environ["HARDMUTE_HOME"]), BOARD)
        try:
            return asyncio.run(_costs(monitor))
        finally:
            monitor.close()


async def _costs(monitor: PageProcess) -> list[Figure]:
    pid = monitor.process.pid
    client = await asyncio.to_thread(monitor.client)

    async def read() -> None:
        host, _, port = client.host.partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = {"Host": client.host, **client.session}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"GET /api/events HTTP/1.1\r\n{head}\r\n".encode())
        while await reader.read(1 << 16):
            pass
        writer.close()

    async def cpu_ms() -> float:
        # What the start costs is not meant.
        await asyncio.sleep(3)
        before, begin = cpu_s(pid), time.perf_counter()
        await asyncio.sleep(_BUSY_S)
        return 1000 * (cpu_s(pid) - before) / (time.perf_counter() - begin)

    alone = await cpu_ms()
    reading = [asyncio.create_task(read()) for _ in range(_CLIENTS)]
    read_by_100 = await cpu_ms()
    memory = memory_mb(pid)
    begin = time.perf_counter()
    monitor.send(signal.SIGTERM)
    await asyncio.to_thread(wait_for, lambda: monitor.process.poll() is not None)
    ended_s = time.perf_counter() - begin
    await asyncio.gather(*reading)
    return [
        Figure("monitor with a page that nobody reads", alone, "ms CPU/s"),
        Figure(f"  {_CLIENTS} pages read it: more by", read_by_100 - alone, "ms CPU/s", "≤ 5"),
        Figure("  memory", memory, "MiB", "≤ 60"),
        Figure(f"  SIGTERM with {_CLIENTS} streams", ended_s, "s", "≤ 2"),
    ]
