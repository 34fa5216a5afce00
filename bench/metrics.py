"""What a scrape costs the monitor, and what the metrics cost it beside the page."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from prometheus_client import generate_latest

from bench.figure import Figure
from bench.host import own_home
from bench.monitor import cpu_s, crowd_of_64, memory_mb, processes
from hardmute.evidence.observation import Observation
from hardmute.model.clock import SYSTEM
from hardmute.monitor.follower import Follower
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.station import Station
from hardmute.system import paths
from hardmute.web.entrance import kept_token
from hardmute.web.metrics import Metrics

_MANY = 64
_CROWD = 1000
_TIMES = 20
_SCRAPES = 200
_BUSY_S = 10.0
_PORT = 18437


class _Said(Follower):
    """Of a board that says each second that it is muted; nobody follows it here."""

    def __init__(self, board: str) -> None:
        self._clock = SYSTEM
        self._is_doubted = False
        self._recorder = SimpleNamespace(evidence=None)
        self._board = board
        self.say()

    def say(self) -> None:
        now = SYSTEM.now()
        self._newest = Observation(
            at_ms=now.wall_ms,
            board=self._board,
            device="/dev/ttyACM0",
            simulated=False,
            source="monitor",
            verdict="muted",
            proof="sensed",
            reason=None,
            cause="button",
            since_ms=1000,
            run_us=now.run_us,
            run=now.run,
        )


class _Station(Station):
    def __init__(self, board: str) -> None:
        super().__init__(board, board, 3.0, lambda: None, SYSTEM, bool, threading.RLock())
        self.said = self._follower = _Said(board)


class _Crowd(Monitor):
    """A monitor of so many boards."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.crowd = {board: _Station(board) for board in (f"5eed{n:04x}" for n in range(number))}
        self._stations |= self.crowd

    def say(self) -> None:
        for station in self.crowd.values():
            station.said.say()


def scrape() -> list[Figure]:
    """The metrics of many boards, each of which has said something new before each scrape."""
    figures: list[Figure] = []
    for number, aim in ((_MANY, "≤ 5"), (_CROWD, "≤ 50")):
        monitor = _Crowd(number)
        metrics = Metrics(monitor)
        first = _cpu_ms(monitor, metrics.text, 1)
        plain = _cpu_ms(monitor, partial(generate_latest, metrics), _TIMES)
        ours = _cpu_ms(monitor, metrics.text, _TIMES)
        figures += [
            Figure(f"scrape of {number} boards, prometheus-client alone", plain, "ms CPU"),
            Figure(f"scrape of {number} boards", ours, "ms CPU", aim),
            Figure("  the first", first, "ms CPU"),
        ]
    return figures


def _cpu_ms(monitor: _Crowd, make: Callable[[], bytes], times: int) -> float:
    taken = 0.0
    for _ in range(times):
        monitor.say()
        begin = time.process_time()
        assert b'state="muted"} 1.0' in make()
        taken += time.process_time() - begin
    return 1000 * taken / times


def served() -> list[Figure]:
    """The monitor with page and metrics: a scrape over HTTP, and memory."""
    with own_home(), crowd_of_64() as (_, devices):
        settings = f'page = true\nmetrics = true\npage_address = "127.0.0.1:{_PORT}"\n'
        Path(paths.settings_file()).write_text(settings)
        with _monitor(devices[:1]) as pid:
            _ask(1)
            one = memory_mb(pid)
        with _monitor(devices) as pid:
            before, begin = cpu_s(pid), time.perf_counter()
            time.sleep(_BUSY_S)
            idle = (cpu_s(pid) - before) / (time.perf_counter() - begin)
            before, begin = cpu_s(pid), time.perf_counter()
            for _ in range(_SCRAPES):
                _ask(_MANY)
            took = cpu_s(pid) - before - idle * (time.perf_counter() - begin)
            return [
                Figure("monitor with page and metrics, memory", one, "MiB", "≤ 60"),
                Figure(f"  of {_MANY} boards", memory_mb(pid), "MiB"),
                Figure("  a scrape over HTTP", 1000 * took / _SCRAPES, "ms CPU", "≤ 5"),
            ]


@contextmanager
def _monitor(devices: list[str]) -> Iterator[int]:
    """The process id of one that has followed these boards for a while."""
    named = [word for device in devices for word in ("-d", device)]
    with processes([["monitor", *named]], lines=len(devices)) as (process,):
        time.sleep(8)
        yield process.pid


def _ask(boards: int) -> None:
    asked = http.client.HTTPConnection("127.0.0.1", _PORT)
    asked.request("GET", "/metrics", headers={"Authorization": f"Bearer {kept_token()}"})
    answer = asked.getresponse()
    assert answer.status == 200
    assert answer.read().count(b'state="muted"} 1.0') == boards
    asked.close()
