"""From a line that is cut to the mute at a real sound server."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import statistics
import subprocess
import tempfile
import time
import tty
from collections.abc import Generator
from pathlib import Path
from typing import Self

import pulsectl_asyncio

from bench.figure import Figure
from hardmute.evidence.observation import unseen
from hardmute.model.answers import Verdict
from hardmute.monitor import settings
from hardmute.monitor.feed import Feed, Told
from hardmute.monitor.os_mute import OsMuteSink

_CUTS = 300
_SETTINGS = """\
load-module module-native-protocol-unix socket={socket} auth-anonymous=1
load-module module-null-source source_name=mic
"""


def os_mute() -> list[Figure]:
    """Cut to OS mute, beside a bare asyncio echo over a pseudo-terminal."""
    pulseaudio = shutil.which("pulseaudio")
    if pulseaudio is None:
        return [Figure("cut to OS mute (PulseAudio is missing)", None, "ms")]
    with _sound_server(pulseaudio):
        muted, echoed = asyncio.run(_measured())
    return [
        Figure("cut to OS mute, median", 1000 * statistics.median(muted), "ms"),
        Figure("  99 % within", 1000 * _p99(muted), "ms"),
        Figure("    a bare echo over a pseudo-terminal: 99 % within", 1000 * _p99(echoed), "ms"),
        Figure("    more than that", 1000 * (_p99(muted) - _p99(echoed)), "ms", "≤ 100"),
    ]


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1]


@contextlib.contextmanager
def _sound_server(pulseaudio: str) -> Generator[None]:
    before = {name: os.environ.get(name) for name in ("PULSE_SERVER", "HARDMUTE_HOME")}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "settings.pa").write_text(_SETTINGS.format(socket=folder / "native"))
        words = ["--exit-idle-time=-1", "--use-pid-file=no", "--disable-shm=yes"]
        words += ["--daemonize=no", "--realtime=no", "-n", "-F", str(folder / "settings.pa")]
        own = {"HOME": name, "XDG_RUNTIME_DIR": name, "PULSE_RUNTIME_PATH": name}
        os.environ |= {"PULSE_SERVER": f"unix:{folder / 'native'}", "HARDMUTE_HOME": name}
        server = subprocess.Popen(
            [pulseaudio, *words], env=os.environ | own, stderr=subprocess.DEVNULL
        )
        try:
            while not (folder / "native").exists():
                assert server.poll() is None
                time.sleep(0.01)
            yield
        finally:
            server.terminate()
            server.wait()
            for variable, value in before.items():
                os.environ.pop(variable, None)
                if value is not None:
                    os.environ[variable] = value


async def _measured() -> tuple[list[float], list[float]]:
    """How long each cut and each echo took, in seconds."""
    feed, sink = Feed(), OsMuteSink(settings.OsMute(follow=True))
    work = asyncio.create_task(sink.run(feed, _cut))
    muted, echoed = list[float](), list[float]()
    seen = unseen("", board="a", device="", simulated=True, source="", at_ms=0)

    def tell(verdict: Verdict) -> None:
        feed.tell(Told("a", None, seen._replace(verdict=verdict)))

    async with _Echo() as echo, pulsectl_asyncio.PulseAsync("bench") as observer:
        events = observer.subscribe_events("source")
        async with contextlib.aclosing(events):
            waited = asyncio.ensure_future(anext(events))
            for is_cut in [True, False] * _CUTS:
                started = time.perf_counter()
                tell("muted" if is_cut else "live")
                while True:
                    await waited
                    waited = asyncio.ensure_future(anext(events))
                    listed = await observer.source_list()
                    if all(bool(one.mute) == is_cut for one in listed):
                        break
                if is_cut:
                    muted.append(time.perf_counter() - started)
                    echoed.append(await echo.round_trip())
            waited.cancel()
            await asyncio.wait({waited})
    work.cancel()
    await asyncio.wait({work})
    return muted, echoed


async def _cut(_board: str) -> None:
    raise AssertionError


class _Echo:
    """Two ends of a pseudo-terminal in one loop: what one writes, the other writes back."""

    async def __aenter__(self) -> Self:
        self._near, self._far = os.openpty()
        tty.setraw(self._far)
        self._came = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._far, lambda: os.write(self._far, os.read(self._far, 64)))
        loop.add_reader(self._near, lambda: (os.read(self._near, 64), self._came.set()))
        return self

    async def __aexit__(self, *_: object) -> None:
        for end in (self._near, self._far):
            asyncio.get_running_loop().remove_reader(end)
            os.close(end)

    async def round_trip(self) -> float:
        self._came.clear()
        started = time.perf_counter()
        os.write(self._near, b"x")
        await self._came.wait()
        return time.perf_counter() - started
