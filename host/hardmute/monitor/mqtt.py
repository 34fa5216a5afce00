"""Tells an MQTT broker of the boards, for Home Assistant. The broker may only have a line cut."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hardmute.evidence.observation import Observation
from hardmute.evidence.timeline import total_live_ms
from hardmute.model import notices, words
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.errors import HardmuteError, LocalError
from hardmute.monitor import home_assistant
from hardmute.monitor.aside import aside
from hardmute.monitor.broker import connected
from hardmute.monitor.feed import Feed, Mute, Told
from hardmute.monitor.home_assistant import Stamp, Topics
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.settings import MqttSettings
from hardmute.monitor.station import Station
from hardmute.sync.history import open_log
from hardmute.sync.timelines import read_timelines

_HERE = home_assistant.HERE.encode()
_GONE = home_assistant.GONE.encode()

# Presses that wait for a broker at most.
_MOST_PRESSES = 32
# Seconds. Trouble with a broker that is there for less time is not told each time.
_LASTS_S = 10.0
# The last word to a broker may take so long, in seconds.
_END_S = 0.3
# After a change, until its row is in the log; and how often what was live today is read.
_ROW_S = 3.0
_COUNT_S = 300.0


class MqttTimes(NamedTuple):
    """In seconds. ``still``: a state that stays is published so often; ``answer``: what the broker
    may take for anything; ``again``: until the next attempt; ``stamp``: see `Stamp`.
    """

    still: float = 2.0
    answer: float = 3.0
    again: float = 1.0
    stamp: Stamp = Stamp()


class _Publication(NamedTuple):
    topic: str
    payload: bytes
    retain: bool = True
    # Seconds after which the broker drops it; None: never.
    expires_s: int | None = None
    # The board that the broker is to know no more.
    forgets: str | None = None


class MqttSink:
    """A `Sink` that publishes the boards of ``monitor`` to a broker.

    What is published is looked up when it is sent. So of a board only the newest state waits, and
    a broker that does not answer holds one message. ``password``: of the environment; it goes
    before the file.
    """

    def __init__(
        self,
        monitor: Monitor,
        chosen: MqttSettings,
        password: str | None = None,
        *,
        clock: HostClock = SYSTEM,
        times: MqttTimes = MqttTimes(),  # noqa: B008 (it does not change)
    ) -> None:
        self._monitor = monitor
        self._chosen = chosen
        self._password = password
        self._clock = clock
        self._times = times
        self._topics = Topics(chosen.name or _host_name(), chosen.discovery)
        self._trouble: str | None = None
        # What people have been told, and need not be told again.
        self._is_trouble_told = False
        self._is_refusal_told = False
        self._today = _LiveToday(clock)
        self._has_news = asyncio.Event()
        # What waits for the broker.
        self._changed: set[str] = set()
        self._presses: deque[_Publication] = deque(maxlen=_MOST_PRESSES)
        self._gone: set[str] = set()
        # What the broker has: devices, and when it was told of what, by the event loop's clock.
        self._devices: dict[str, tuple[object, ...]] = {}
        self._told_s: dict[str, float] = {}
        self._known: dict[str, Observation] = {}
        self._muting: dict[str, asyncio.Task[None]] = {}

    @property
    def trouble(self) -> str | None:
        return self._trouble

    async def run(self, feed: Feed, mute: Mute) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read(feed))
            tasks.create_task(self._today.run(self._boards, self._changes))
            tasks.create_task(self._stay_connected(mute))

    def _boards(self) -> dict[str, Observation]:
        return {board: one.known for board, one in self._stations().items() if one.known}

    def _stations(self) -> dict[str, Station]:
        return {one.board: one for one in self._monitor.stations if one.board is not None}

    async def _read(self, feed: Feed) -> None:
        async for told in feed.changes():
            if told.is_gone:
                self._gone.add(told.board)
                self._known.pop(told.board, None)
                self._today.forget(told.board)
            else:
                self._note(told)
            self._has_news.set()

    def _note(self, told: Told) -> None:
        new = told.observation
        self._gone.discard(told.board)
        self._today.ask(told.board)
        if home_assistant.is_press(self._known.get(told.board), new) and self._trouble is None:
            topic = self._topics.of(told.board, "press")
            expires_s = self._times.stamp.broker_s
            payload = home_assistant.press(new)
            self._presses.append(_Publication(topic, payload, retain=False, expires_s=expires_s))
        if new.verdict != "unknown":
            self._known[told.board] = new
        self._changes(told.board)

    def _changes(self, board: str) -> None:
        self._changed.add(board)
        self._has_news.set()

    async def _stay_connected(self, mute: Mute) -> None:
        loop = asyncio.get_running_loop()
        while True:
            begun_s = loop.time()
            try:
                async with connected(
                    self._chosen,
                    self._password,
                    # The same each time: the broker ends what is left of the connection before,
                    # whose will so comes before what this one says.
                    name=f"hardmute-{self._topics.name}",
                    answer_s=self._times.answer,
                    will=aiomqtt.Will(self._topics.bridge, _GONE, qos=1, retain=True),
                ) as client:
                    await self._work(client, mute)
            except LocalError as error:
                self._tell(str(error), lasted_s=loop.time() - begun_s)
            await asyncio.sleep(self._times.again)

    def _tell(self, trouble: str, lasted_s: float) -> None:
        # Nobody is to take an old press for one of now.
        self._presses.clear()
        self._trouble = trouble
        if lasted_s > _LASTS_S:
            self._is_trouble_told = False
        if not self._is_trouble_told:
            notices.tell(trouble)
        self._is_trouble_told = True

    async def _work(self, client: aiomqtt.Client, mute: Mute) -> None:
        for topic in (self._topics.commands, self._topics.birth):
            answers = await client.subscribe(topic, qos=1)
            if any(getattr(one, "is_failure", False) for one in answers):
                raise LocalError(f"it does not let this user read the topic {topic}")
        self._everything_again()
        working = [
            asyncio.ensure_future(self._send(client)),
            asyncio.ensure_future(self._receive(client, mute)),
        ]
        try:
            await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
            for task in working:
                if task.done():
                    task.result()
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            if (current := asyncio.current_task()) is not None and current.cancelling():
                # The will is for an end that nobody has chosen.
                with contextlib.suppress(aiomqtt.MqttError, TimeoutError):
                    async with asyncio.timeout(_END_S):
                        await self._publish(client, _Publication(self._topics.bridge, _GONE))

    def _everything_again(self) -> None:
        self._changed.update(self._boards())
        self._devices.clear()
        self._told_s.pop(self._topics.bridge, None)
        self._has_news.set()

    async def _send(self, client: aiomqtt.Client) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._has_news.clear()
            publication = self._next(loop.time())
            if publication is not None:
                await self._publish(client, publication)
                self._gone.discard(publication.forgets or "")
                continue
            self._trouble = None
            told = (self._told_s.get(one) for one in (self._topics.bridge, *self._stations()))
            oldest_s = min((at_s for at_s in told if at_s is not None), default=loop.time())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(oldest_s + self._times.still):
                    await self._has_news.wait()

    async def _publish(self, client: aiomqtt.Client, one: _Publication) -> None:
        properties = Properties(PacketTypes.PUBLISH)
        if one.expires_s is not None:
            properties.MessageExpiryInterval = one.expires_s
        await client.publish(
            one.topic, one.payload, qos=1, retain=one.retain, properties=properties
        )

    def _next(self, now_s: float) -> _Publication | None:
        """What is published next: changes first, and what only stays as it is last."""
        stations = self._stations()
        while self._changed:
            board = self._changed.pop()
            if board in stations and stations[board].known is not None:
                return self._state(board, stations[board], now_s)
        if self._presses:
            return self._presses.popleft()
        if self._gone:
            return self._forget(next(iter(self._gone)))
        if self._is_due(self._topics.bridge, now_s):
            self._told_s[self._topics.bridge] = now_s
            # It outlasts the states, so that nothing flickers.
            expires_s = 2 * self._times.stamp.broker_s
            return _Publication(self._topics.bridge, _HERE, expires_s=expires_s)
        for board, station in stations.items():
            if (new := self._device(board, station)) is not None:
                return new
        for board, station in stations.items():
            if station.known is not None and self._is_due(board, now_s):
                return self._state(board, station, now_s)
        return None

    def _is_due(self, what: str, now_s: float) -> bool:
        return now_s - self._told_s.get(what, -self._times.still) >= self._times.still

    def _state(self, board: str, station: Station, now_s: float) -> _Publication:
        known = station.known
        assert known is not None
        self._told_s[board] = now_s
        age_ms = (self._clock.run_us() - (known.run_us or 0)) // 1000
        payload = home_assistant.state(
            known, station.incident, self._today.of(board, known, age_ms), max(0, age_ms)
        )
        expires_s = self._times.stamp.broker_s
        return _Publication(self._topics.of(board, "state"), payload, expires_s=expires_s)

    def _device(self, board: str, station: Station) -> _Publication | None:
        known = station.known
        if known is None:
            return None
        about = (station.label, station.firmware, known.simulated)
        if self._devices.get(board) == about:
            return None
        self._devices[board] = about
        config = self._topics.config(
            board,
            station.label,
            station.firmware,
            simulated=known.simulated,
            stamp=self._times.stamp,
        )
        return _Publication(self._topics.device(board), config)

    def _forget(self, board: str) -> _Publication:
        """Home Assistant removes the device; the state is gone when it expires."""
        self._devices.pop(board, None)
        self._told_s.pop(board, None)
        return _Publication(self._topics.device(board), b"", forgets=board)

    async def _receive(self, client: aiomqtt.Client, mute: Mute) -> None:
        async for message in client.messages:
            topic, payload = str(message.topic), message.payload
            if topic == self._topics.birth:
                if payload == _HERE:
                    self._everything_again()
            elif message.retain:
                # It is a command of another time. Each connection would carry it out again.
                if not self._is_refusal_told:
                    notices.tell(
                        f"A command is retained at the broker's topic {words.printable(topic)}:"
                        " it is refused. Delete it there."
                    )
                self._is_refusal_told = True
            elif payload == home_assistant.MUTE.encode():
                self._cut(self._topics.board_of(topic), mute)

    def _cut(self, board: str | None, mute: Mute) -> None:
        if board is None or board in self._muting or board not in self._stations():
            return

        async def cut() -> None:
            try:
                await mute(board)
            except HardmuteError as error:
                notices.tell(str(error))
            finally:
                del self._muting[board]

        self._muting[board] = asyncio.create_task(cut())


class _LiveToday:
    """For how long each board's line was live today, by the log and by what is known now."""

    def __init__(self, clock: HostClock) -> None:
        self._clock = clock
        # Without the time that it is live now: of which day, and how long.
        self._before: dict[str, tuple[int, int]] = {}
        self._asked: set[str] = set()

    def ask(self, board: str) -> None:
        """The board has changed."""
        self._asked.add(board)

    def forget(self, board: str) -> None:
        self._before.pop(board, None)

    def of(self, board: str, known: Observation, age_ms: int) -> int | None:
        """In ms; None if that is not known, or not known of today."""
        day_ms = self._day_ms()
        day, before_ms = self._before.get(board, (None, 0))
        if day != day_ms or known.verdict == "unknown":
            return None
        return before_ms + self._now_ms(known, age_ms, day_ms)

    async def run(
        self, boards: Callable[[], dict[str, Observation]], changes: Callable[[str], None]
    ) -> None:
        """Read the log; ``changes`` is called for a board of which it says something else."""
        counted_s = -_COUNT_S
        while True:
            now_s = self._clock.now_s()
            is_time = now_s - counted_s >= _COUNT_S
            counted_s = now_s if is_time else counted_s
            asked, self._asked = self._asked, set()
            for board, known in boards().items():
                if (is_time or board in asked) and known.verdict != "unknown":
                    await self._count(board, known)
                    changes(board)
            await asyncio.sleep(_ROW_S)

    async def _count(self, board: str, known: Observation) -> None:
        day_ms, now_ms = self._day_ms(), self._clock.wall_ms()
        age_ms = (self._clock.run_us() - (known.run_us or 0)) // 1000
        until_ms = now_ms - self._now_ms(known, age_ms, day_ms)

        def read() -> int:
            # A log belongs to the thread that opens it.
            with contextlib.closing(open_log()) as log:
                found = read_timelines(log, board, day_ms, until_ms)
            return total_live_ms(found[0].intervals) if found else 0

        try:
            self._before[board] = day_ms, await aside(read) if until_ms > day_ms else 0
        except HardmuteError:
            self._before.pop(board, None)

    def _now_ms(self, known: Observation, age_ms: int, day_ms: int) -> int:
        """For how long of today it is live now."""
        if known.verdict != "live":
            return 0
        today_ms = self._clock.wall_ms() - day_ms
        return max(0, min((known.since_ms or 0) + age_ms, today_ms))

    def _day_ms(self) -> int:
        """When today began, in local time."""
        now = datetime.fromtimestamp(self._clock.wall_ms() / 1000).astimezone()
        day = now.replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
        return round(day.timestamp() * 1000)


def _host_name() -> str:
    """The name of this host, as a topic may have it."""
    name = re.sub("[^a-z0-9_-]+", "-", socket.gethostname().partition(".")[0].lower()).strip("-")
    return name[:40] or "host"
