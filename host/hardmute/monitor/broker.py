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
from collections.abc import AsyncGenerator
from pathlib import Path

import aiomqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from hardmute.model import words
from hardmute.model.errors import LocalError
from hardmute.monitor.aside import aside
from hardmute.monitor.settings import Broker, MqttSettings

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


@contextlib.asynccontextmanager
async def connected(
    chosen: MqttSettings,
    password: str | None,
    name: str,
    *,
    answer_s: float,
    will: aiomqtt.Will | None = None,
) -> AsyncGenerator[aiomqtt.Client]:
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
        client = aiomqtt.Client(
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
        await _enter(client)
        try:
            yield client
        except asyncio.CancelledError:
            await _leave(client)
            raise
        else:
            await _leave(client)
        finally:
            _hang_up(client)
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


async def _enter(client: aiomqtt.Client) -> None:
    entering = asyncio.ensure_future(client.__aenter__())

    def after(entered: asyncio.Future[aiomqtt.Client]) -> None:
        # Where it waited in vain for the answer, aiomqtt leaves the socket open.
        if not entered.cancelled():
            entered.exception()
        _hang_up(client)

    try:
        await asyncio.shield(entering)
    except BaseException:
        entering.add_done_callback(after)
        raise
    client._disconnected.add_done_callback(_look_at)  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]


async def _leave(client: aiomqtt.Client) -> None:
    """End the connection with the word that keeps the will back."""
    client.timeout = _END_S
    with contextlib.suppress(aiomqtt.MqttError):
        await client.__aexit__(None, None, None)


def _look_at(ended: asyncio.Future[None]) -> None:
    """Python complains of an error that nobody looks at."""
    if not ended.cancelled():
        ended.exception()


def _hang_up(client: aiomqtt.Client) -> None:
    """End the connection without a word, if it has not ended: a word would keep the will back."""
    plug = client._client.socket()  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    if isinstance(plug, socket.socket):
        with contextlib.suppress(OSError):
            plug.shutdown(socket.SHUT_RDWR)


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
