"""A connection to an MQTT broker (MQTT 5, by aiomqtt), which hangs nothing."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import stat
import sys
from collections.abc import AsyncGenerator, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import aiomqtt
from paho.mqtt import client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from hardmute.model import words
from hardmute.model.errors import LocalError
from hardmute.monitor.aside import aside
from hardmute.monitor.settings import Broker, MqttSettings

_T = TypeVar("_T")
# Seconds after which a broker misses this client; and that the end of a connection may take.
_KEEP_ALIVE_S = 10
_END_S = 0.3
# What a broker may send at once, and how many of it wait. No command of ours is longer.
_LARGEST = 4096
_MOST_INCOMING = 32
_LONGEST_PASSWORD = 4096
_LONGEST_REASON = 120
# aiomqtt and paho-mqtt tell it what goes on. What people are to know is raised.
_NOBODY = logging.Logger("hardmute.broker", logging.CRITICAL + 1)
_ERRORS = (aiomqtt.MqttError, OSError, LocalError)


class BrokerClient(aiomqtt.Client):
    """A client that says what aiomqtt keeps to itself, and ends without its help."""

    # Whether the broker has refused what was published.
    is_refused = False

    def _on_publish(
        self,
        client: mqtt.Client,
        userdata: Any,
        mid: int,
        reason_code: ReasonCode,
        properties: Properties,
    ) -> None:
        self.is_refused = self.is_refused or reason_code.is_failure
        super()._on_publish(client, userdata, mid, reason_code, properties)

    async def enter(self) -> None:
        """Connect. If this is cancelled, there is no connection either."""
        entering = asyncio.ensure_future(self.__aenter__())

        def after(_: object) -> None:
            # Where it waited in vain for the answer, aiomqtt leaves the socket open.
            _look_at(entering)
            self.hang_up()

        try:
            await asyncio.shield(entering)
        except BaseException:
            entering.add_done_callback(after)
            raise
        self._disconnected.add_done_callback(_look_at)

    async def say(
        self, topic: str, payload: bytes, *, retain: bool, expires_s: int | None
    ) -> None:
        """Publish, and wait for the broker's answer. ``expires_s``: None: the broker keeps it."""
        properties = Properties(PacketTypes.PUBLISH)
        if expires_s is not None:
            properties.MessageExpiryInterval = expires_s
        await _until_cancelled(
            self.publish(topic, payload, qos=1, retain=retain, properties=properties)
        )
        if self.is_refused:
            raise LocalError(f"it does not let this user write the topic {topic}")

    async def listen(self, topic: str) -> None:
        """Subscribe."""
        for answer in await _until_cancelled(self.subscribe(topic, qos=1)):
            if isinstance(answer, ReasonCode) and answer.is_failure:
                raise LocalError(f"it does not let this user read the topic {topic}")

    async def leave(self) -> None:
        """End the connection with the word that keeps the will back."""
        self.timeout = _END_S
        with contextlib.suppress(aiomqtt.MqttError):
            await self.__aexit__(None, None, None)

    def hang_up(self) -> None:
        """End the connection without a word, if it has not ended."""
        plug = self._client.socket()
        if isinstance(plug, socket.socket):
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)


async def _until_cancelled(call: Coroutine[Any, Any, _T]) -> _T:
    """What ``call`` returns.

    `asyncio.wait_for`, by which aiomqtt waits, may lose a cancellation before Python 3.12. This
    one passes it on at once.
    """
    calling = asyncio.ensure_future(call)
    calling.add_done_callback(_look_at)
    return await asyncio.shield(calling)


def _look_at(ended: asyncio.Future[Any]) -> None:
    """Python complains of an error that nobody looks at."""
    if not ended.cancelled():
        ended.exception()


@contextlib.asynccontextmanager
async def connected(
    chosen: MqttSettings,
    password: str | None,
    name: str,
    *,
    answer_s: float,
    will: aiomqtt.Will | None = None,
) -> AsyncGenerator[BrokerClient]:
    """A connection of the client ``name``. ``answer_s``: seconds that the broker may take.

    ``password``: it goes before that of the file. If an error ends it, the broker sends the
    ``will``. Raises `LocalError`, with the reason, for all that goes wrong with the broker.
    """
    broker = chosen.broker
    assert broker is not None
    try:
        tls = _tls(chosen)
        secret = password or _password(chosen)
        # The real connection is made in a thread for which the end of this process waits.
        await aside(lambda: _knock(broker, tls, answer_s))
        properties = Properties(PacketTypes.CONNECT)
        properties.MaximumPacketSize = _LARGEST
        client = BrokerClient(
            broker.host,
            broker.port,
            username=chosen.user,
            password=None if chosen.user is None else secret,
            identifier=name,
            protocol=aiomqtt.ProtocolVersion.V5,
            will=will,
            timeout=answer_s,
            keepalive=_KEEP_ALIVE_S,
            clean_start=True,
            properties=properties,
            tls_context=tls,
            max_queued_incoming_messages=_MOST_INCOMING,
            logger=_NOBODY,
            # A state does not wait for the acknowledgement of what went before it.
            socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)],
        )
        await client.enter()
        try:
            yield client
        except asyncio.CancelledError:
            await client.leave()
            raise
        else:
            await client.leave()
        finally:
            client.hang_up()
    except _ERRORS as error:
        why = words.printable(getattr(error, "strerror", None) or str(error) or "no answer")
        raise LocalError(
            f"The broker at port {broker.port} of {broker.host} cannot be used"
            f" ({why[:_LONGEST_REASON]}): see docs/home-assistant.md."
        ) from error


async def reach(chosen: MqttSettings, password: str | None, answer_s: float) -> None:
    """Connect once, beside a monitor that is connected. Raises `LocalError` as `connected`."""
    async with connected(chosen, password, f"hardmute-check-{os.getpid()}", answer_s=answer_s):
        pass


def _knock(broker: Broker, tls: ssl.SSLContext | None, answer_s: float) -> None:
    """Raises `OSError` where nobody answers there."""
    with socket.create_connection((broker.host, broker.port), timeout=answer_s) as plug:
        if tls is not None:
            tls.wrap_socket(plug, server_hostname=broker.host).close()


def _tls(chosen: MqttSettings) -> ssl.SSLContext | None:
    if chosen.broker is None or not chosen.broker.tls:
        return None
    try:
        return ssl.create_default_context(cafile=chosen.ca_file)
    except (OSError, ValueError) as error:
        raise LocalError(f"mqtt_ca_file {chosen.ca_file} cannot be used: {error}") from error


def _password(chosen: MqttSettings) -> str | None:
    if chosen.password_file is None:
        return None

    def opener(name: str, flags: int) -> int:
        # A pipe of that name is not waited for.
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        with open(Path(chosen.password_file), "rb", opener=opener) as stream:
            found = os.fstat(stream.fileno())
            content = stream.read(_LONGEST_PASSWORD)
        secret = content.decode().strip("\r\n")
    except OSError as error:
        why = error.strerror or str(error)
        raise LocalError(f"mqtt_password_file cannot be read: {why}") from error
    except UnicodeDecodeError as error:
        raise LocalError("mqtt_password_file is not UTF-8") from error
    if sys.platform != "win32" and stat.S_IMODE(found.st_mode) & 0o077:
        raise LocalError("others can read mqtt_password_file: run chmod 600 on it")
    if not secret:
        raise LocalError("mqtt_password_file is empty")
    return secret
