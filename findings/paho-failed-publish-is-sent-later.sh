#!/usr/bin/env bash
# paho-mqtt: a publish() that fails with "not connected" is sent later, and still counts as failed.
#
# Expected: publish() returns MQTT_ERR_NO_CONN if the client is not connected, and is_published()
#   and wait_for_publish() raise "Message publish failed". The message is gone, as after any
#   failed call: the caller may try again, or drop it since it is out of date.
# Instead: that holds for QoS 0 only. With QoS 1 or 2 the same return code stands for a message
#   that is kept, and sent as soon as the client connects. After the broker has acknowledged the
#   message, and a subscriber has it, its is_published() still raises "publish failed".
# Hurts: a program that publishes a state. A bridge that tries again until the code says success
#   sends all its tries. A bridge that drops the message on error, and later publishes the
#   present state, publishes the old ones as well: "muted" of ten minutes ago reaches every
#   subscriber as if it were news (and where QoS are mixed, perhaps after the present state).
# Remedy: publish only when is_connected().
# Source: paho-mqtt 2.2.0, documentation of Client.publish, MQTTMessageInfo.is_published and
#   wait_for_publish; paho/mqtt/client.py, publish().
# Run: paho-mqtt 2.2.0 against the broker amqtt 0.12.1 (both from PyPI), on 127.0.0.1,
#   2026-11-30.
# Needs: python3 with venv (run with 3.11).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check paho-mqtt==2.2.0 amqtt==0.12.1

cat >run.py <<'PYTHON'
import asyncio
import logging
import socket
import threading
from importlib.metadata import version

import paho.mqtt.client as mqtt
from amqtt.broker import Broker

logging.disable()
TOPIC = "room/microphone"
with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]


def start_broker():
    """A broker in a thread of its own; returns when it listens."""
    listening = threading.Event()

    async def serve():
        listener = {"type": "tcp", "bind": f"127.0.0.1:{port}"}
        anonymous = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
        broker = Broker({"listeners": {"default": listener}, "plugins": anonymous})
        await broker.start()
        listening.set()
        await asyncio.Event().wait()

    threading.Thread(target=asyncio.run, args=(serve(),), daemon=True).start()
    assert listening.wait(20)


def client():
    return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)


def published(info):
    try:
        return info.is_published()
    except RuntimeError as error:
        return f"RuntimeError: {error}"


print("paho-mqtt", version("paho-mqtt"), "amqtt", version("amqtt"))
start_broker()

seen, subscribed, three = [], threading.Event(), threading.Event()
watcher = client()
watcher.on_connect = lambda *_: watcher.subscribe(TOPIC, qos=1)
watcher.on_subscribe = lambda *_: subscribed.set()


def on_message(_client, _data, message):
    seen.append(message.payload.decode())
    if len(seen) == 3:
        three.set()


watcher.on_message = on_message
watcher.connect("127.0.0.1", port)
watcher.loop_start()
assert subscribed.wait(20)

acknowledged, connected, all_three = set(), threading.Event(), threading.Event()
sender = client()
sender.on_connect = lambda *_: connected.set()


def on_publish(_client, _data, mid, *_):
    acknowledged.add(mid)
    if len(acknowledged) == 3:
        all_three.set()


sender.on_publish = on_publish

infos = {}
for qos in 0, 1, 2:
    text = f"old, QoS {qos}"
    infos[text] = sender.publish(TOPIC, text, qos=qos)
    print(f"not connected: publish({text!r}) returns {infos[text].rc!r}")
    print("   ", published(infos[text]))

sender.connect("127.0.0.1", port)
sender.loop_start()
assert connected.wait(20)
sender.publish(TOPIC, "now", qos=1).wait_for_publish(20)
assert three.wait(20), seen
assert all_three.wait(20), acknowledged

print("connected: the subscriber got", seen)
for text, info in infos.items():
    print(f"{text!r}: acknowledged {info.mid in acknowledged}; {published(info)}")

assert all(info.rc == mqtt.MQTT_ERR_NO_CONN for info in infos.values())
assert sorted(seen) == ["now", "old, QoS 1", "old, QoS 2"], seen
assert infos["old, QoS 1"].mid in acknowledged and infos["old, QoS 2"].mid in acknowledged
assert infos["old, QoS 0"].mid not in acknowledged
assert all("publish failed" in str(published(info)) for info in infos.values())
sender.loop_stop()
watcher.loop_stop()
PYTHON
venv/bin/python run.py
echo "As described."
