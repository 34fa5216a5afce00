"""Debian's mosquitto, a monitor that tells it of boards, and a reader like Home Assistant."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

import jinja2
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from hardmute.monitor.monitor import Monitor
from hardmute.monitor.mqtt import MqttSink, MqttTimes
from hardmute.monitor.settings import Broker, MqttSettings
from served_page import SOON_S, wait_for

NAME = "desk"


class Mosquitto:
    """A broker of ours. What it keeps is gone when it ends.

    ``more``: lines of its settings. It listens at `port` of this computer, whatever happens to it.
    """

    def __init__(self, folder: Path, *more: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port = listener.getsockname()[1]
        anonymous = "false" if any(line.startswith("password_file") for line in more) else "true"
        lines = (
            f"listener {self.port} 127.0.0.1",
            f"allow_anonymous {anonymous}",
            "user root",
            *more,
        )
        self._settings = folder / "mosquitto.conf"
        self._settings.write_text("".join(f"{line}\n" for line in lines))
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            ["mosquitto", "-c", str(self._settings)],  # noqa: S607 (Debian's)
            stderr=subprocess.DEVNULL,
        )
        wait_for(self._listens)

    def _listens(self) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            return True
        assert self._process is not None
        assert self._process.poll() is None, "mosquitto has ended"
        return False

    def send(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()

    @property
    def chosen(self) -> MqttSettings:
        return MqttSettings(Broker("127.0.0.1", self.port, tls=False), NAME)


class Got(NamedTuple):
    topic: str
    payload: bytes
    retained: bool
    at_s: float


class Subscriber:
    """A client that has subscribed to ``topics``. ``got``: what has come, in order."""

    def __init__(self, port: int, topics: str = "#") -> None:
        self.got: list[Got] = []
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        self._client.on_connect = lambda *_: self._client.subscribe(topics, 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert self._subscribed.wait(SOON_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        got = Got(message.topic, message.payload, message.retain, time.perf_counter())
        self.got.append(got)

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, 1, retain).wait_for_publish(SOON_S)

    def write(self, topic: str, payload: bytes) -> None:
        """Publish, and wait for nothing."""
        self._client.publish(topic, payload)

    def sync(self) -> list[Got]:
        """All that the broker had for this client before now."""
        mark = f"mark/{time.monotonic_ns()}"
        self.publish(mark, b"")
        wait_for(lambda: any(one.topic == mark for one in self.got))
        return [one for one in self.got if not one.topic.startswith("mark/")]

    def newest(self, topic: str) -> bytes | None:
        found = [one.payload for one in self.got if one.topic == topic]
        return found[-1] if found else None


def afresh(port: int) -> dict[str, bytes]:
    """What one who subscribes now is given, by topic."""
    with Subscriber(port) as subscriber:
        return {one.topic: one.payload for one in subscriber.sync() if one.retained}


def _rendered(template: str, payload: bytes, now_s: float) -> str:
    """As Home Assistant renders a template."""
    now = datetime.fromtimestamp(now_s, UTC)
    try:
        value = json.loads(payload)
    except ValueError:
        value = None
    # Nothing of this becomes HTML.
    found = jinja2.Environment(autoescape=False).from_string(template)  # noqa: S701
    return found.render(value=payload.decode(), value_json=value, now=lambda: now)


def shown(retained: dict[str, bytes], board: str, entity: str, now_s: float | None = None) -> str:
    """What Home Assistant shows of an entity, by the discovery that is at the broker.

    "unavailable", "None" for a value that is unknown, or the value.
    """
    now_s = time.time() if now_s is None else now_s
    try:
        found = json.loads(retained[f"homeassistant/device/hardmute_{NAME}_{board}/config"])
        about = found["components"][entity]
    except (KeyError, TypeError, ValueError):
        # There is none, or somebody else wrote it.
        return "unavailable"
    assert about["availability_mode"] == "all"
    for one in about["availability"]:
        payload = retained.get(one["topic"])
        template = one.get("value_template", "{{ value }}")
        if payload is None or _rendered(template, payload, now_s) != "online":
            return "unavailable"
    payload = retained.get(about["state_topic"])
    return "unavailable" if payload is None else _rendered(about["value_template"], payload, now_s)


class Bridge:
    """A monitor with a `MqttSink`, in a thread of this process.

    ``told``: the verdicts of its feed, and when they came (`time.perf_counter`).
    """

    def __init__(
        self,
        chosen: MqttSettings,
        *boards: str,
        times: MqttTimes = MqttTimes(),  # noqa: B008
        password: str | None = None,
    ) -> None:
        self._boards = boards
        self._begun = threading.Event()
        self.told: list[tuple[str, float]] = []
        self._made = lambda: MqttSink(self.monitor, chosen, password, times=times)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._begun.wait(SOON_S)

    async def _run(self) -> None:
        self.monitor = Monitor(self._boards)
        self.sink = self._made()
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        following = asyncio.create_task(self.monitor.run())
        reading = asyncio.create_task(self._read())
        telling = asyncio.create_task(self.sink.run(self.monitor.feed, self.monitor.mute))
        await self.monitor.is_ready.wait()
        self._begun.set()
        await self._end.wait()
        for task in (telling, reading, following):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _read(self) -> None:
        async for told in self.monitor.feed.changes():
            self.told.append((told.observation.verdict, time.perf_counter()))

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


@contextmanager
def bridge(chosen: MqttSettings, *boards: str, **more: Any) -> Iterator[Bridge]:
    made = Bridge(chosen, *boards, **more)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def monitor_process(
    broker: Mosquitto, *boards: str, more: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """``hardmute monitor`` with its default times. ``more``: other settings."""
    home = Path(os.environ["HARDMUTE_HOME"])
    settings = f'mqtt = "mqtt://127.0.0.1:{broker.port}"\nmqtt_name = "{NAME}"\n'
    (home / "monitor.toml").write_text(settings + more)
    named = [word for board in boards for word in ("-d", board)]
    process = subprocess.Popen(
        [sys.executable, "-m", "hardmute", "monitor", *named],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.communicate()


def until(port: int, board: str, entity: str, is_so: Callable[[str], bool]) -> None:
    """Until one who subscribes afresh is shown that."""
    wait_for(lambda: is_so(shown(afresh(port), board, entity)))
