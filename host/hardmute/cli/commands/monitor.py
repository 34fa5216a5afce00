"""`hardmute monitor`: follows all boards, in one process, for all other commands."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from argparse import Namespace
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import muteboard
from hardmute import SYSTEM, HostClock, errors, words
from hardmute.cli import console
from hardmute.cli.commands.watch import print_change
from hardmute.monitor import os_mute, settings, sinks
from hardmute.monitor.feed import Feed, Sink
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.server import Server, only_monitor
from hardmute.system import paths
from hardmute.system.service_manager import ServiceManager

if TYPE_CHECKING:
    from hardmute.web.metrics import Metrics
    from hardmute.web.serving import PageSink


def monitor(args: Namespace) -> int:
    """`hardmute monitor`: until Ctrl-C, or until a service manager ends it."""
    if args.release:
        return _release()
    return run(args, SYSTEM)


def run(args: Namespace, clock: HostClock) -> int:
    """As `monitor`, by this ``clock``."""
    with only_monitor():
        return asyncio.run(_run(args, clock))


def _release() -> int:
    """Release the microphones that a monitor has left muted in the system."""
    released = asyncio.run(os_mute.release())
    for name in released.released:
        console.say(f"Unmuted {words.printable(name)}.")
    for name in released.absent:
        console.say(
            f"{words.printable(name)} is not there: it is unmuted once it is back and a monitor"
            " runs."
        )
    if not released.released and not released.absent:
        console.say("hardmute has left no microphone of this system muted.")
    return errors.OK


async def _run(args: Namespace, clock: HostClock) -> int:
    file = paths.settings_file()
    chosen = settings.load(file)
    pages = _Pages(forced=args.page)
    if args.page:
        # Asked for by name, it is there, or the monitor does not start.
        pages.require()
    homes = _Homes()
    manager = ServiceManager()
    boards = tuple(args.devices) or chosen.boards
    followed = Monitor(boards, timeout=args.timeout, clock=clock)
    working = sinks.Sinks(
        followed.feed,
        followed.mute,
        clock,
        console.ring,
        lambda new: [*pages.made(followed, new, clock), *homes.made(followed, new, clock)],
    )
    ended = _ended_by_signals()
    reload = _asked_to_reload()

    def about() -> dict[str, Any]:
        process = {"pid": os.getpid(), "version": muteboard.__version__}
        return {**process, "troubles": [*pages.troubles, *homes.troubles, *working.troubles]}

    async def use(new: settings.Settings) -> None:
        if not args.devices:
            await followed.follow_only(new.boards)
        await working.use(new)

    tasks = [
        asyncio.create_task(followed.run()),
        asyncio.create_task(_print(followed.feed, as_json=args.json)),
        asyncio.create_task(_tell(manager, followed)),
        asyncio.create_task(_reload(reload, file, use, manager)),
    ]
    try:
        async with Server(followed, about, pages.entrance).listening():
            await working.use(chosen)
            # The manager may want to be told nothing: that one ends.
            first = [task for task in tasks if task is not tasks[2]]
            await asyncio.wait([*first, ended], return_when=asyncio.FIRST_COMPLETED)
    finally:
        manager.stopping()
        await working.end()
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end
    return ended.result() if ended.done() else errors.LOCAL


class _Pages:
    """The page and the metrics, while the settings ask for them. ``forced``: always a page."""

    def __init__(self, *, forced: bool) -> None:
        self._forced = forced
        self._sink: PageSink | None = None
        # They count for as long as the monitor runs, whatever is set in between.
        self._metrics: Metrics | None = None
        self._lacks: dict[str, str] = {}

    @property
    def troubles(self) -> list[str]:
        """What is to be there, and is not installed."""
        return list(self._lacks.values())

    def require(self) -> type[PageSink]:
        """What serves the page. It is loaded only for that. Raises `MissingExtraError`."""
        try:
            from hardmute.web.serving import PageSink
        except ModuleNotFoundError as error:
            raise errors.MissingExtraError(
                "The page needs more than is installed", "page"
            ) from error
        return PageSink

    def made(self, followed: Monitor, chosen: settings.Settings, clock: HostClock) -> list[Sink]:
        self._sink, self._lacks = None, {}
        page = replace(chosen.page, serve=self._forced or chosen.page.serve)
        made: list[Sink] = []
        text = None
        try:
            if chosen.metrics.serve or chosen.metrics.file is not None:
                made.append(self._counting(followed, chosen.metrics, clock))
            if chosen.metrics.serve and self._metrics is not None:
                text = self._metrics.text
        except errors.MissingExtraError as error:
            self._complain("metrics", error)
        try:
            if page.serve or text is not None:
                self._sink = self.require()(followed, page, clock, text)
                made.append(self._sink)
        except errors.MissingExtraError as error:
            self._complain("page", error)
        return made

    def _counting(
        self, followed: Monitor, chosen: settings.MetricsSettings, clock: HostClock
    ) -> Sink:
        try:
            from hardmute.web.metrics import Metrics
            from hardmute.web.metrics_sink import MetricsSink
        except ModuleNotFoundError as error:
            raise errors.MissingExtraError(
                "The metrics need more than is installed", "metrics"
            ) from error
        if self._metrics is None:
            self._metrics = Metrics(followed, clock)
        return MetricsSink(self._metrics, chosen)

    def _complain(self, what: str, error: errors.MissingExtraError) -> None:
        self._lacks[what] = str(error)
        console.complain(error)

    def entrance(self) -> dict[str, str] | str | None:
        """Where the page is, and a one-time code for it; or why there is none."""
        if self._sink is None:
            return self._lacks.get("page")
        found = self._sink.entrance()
        return self._sink.trouble if found is None else found._asdict()


class _Homes:
    """Home Assistant, while the settings name a broker.

    The password is taken out of the environment: what this process starts needs none.
    """

    def __init__(self) -> None:
        self._password = os.environ.pop(settings.MQTT_PASSWORD, None)
        self.troubles: list[str] = []

    def made(self, followed: Monitor, chosen: settings.Settings, clock: HostClock) -> list[Sink]:
        self.troubles = []
        if chosen.mqtt.broker is None:
            return []
        try:
            # It is loaded only for that.
            from hardmute.monitor.mqtt import MqttSink
        except ModuleNotFoundError:
            error = errors.MissingExtraError("MQTT needs more than is installed", "mqtt")
            self.troubles = [str(error)]
            console.complain(error)
            return []
        return [MqttSink(followed, chosen.mqtt, self._password, clock=clock)]


def _asked_to_reload() -> asyncio.Event:
    """Set when the settings are to be read again."""
    asked = asyncio.Event()
    if number := getattr(signal, "SIGHUP", None):
        # As above: not every event loop has signal handlers.
        with contextlib.suppress(NotImplementedError):
            asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked


async def _reload(
    asked: asyncio.Event,
    file: Path,
    use: Callable[[settings.Settings], Awaitable[None]],
    manager: ServiceManager,
) -> None:
    """Read the settings again each time that somebody asks; bad ones change nothing."""
    while True:
        await asked.wait()
        asked.clear()
        manager.reloading()
        try:
            new = settings.load(file)
        except errors.UsageError as error:
            console.complain(f"{error} The monitor keeps the settings that it has.")
            manager.ready("settings with a mistake: the old ones stay")
            continue
        await use(new)
        manager.ready("settings read again")


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
        if told.is_gone:
            continue
        print_change(told.observation, told.label, as_json=as_json)
