#!/usr/bin/env bash
# mosquitto: the expiry of a message starts when the broker reads the message, not when it was sent.
#
# Expected: a message with an expiry interval of 2 s, sent 5 s ago, is not delivered, and does not
#   become the retained message. The sender gave the message a life of 2 s.
# Instead: an MQTT message carries its length of life, and no time of sending. While the broker
#   stands still (a frozen virtual machine or container, a host that swaps, a stopped process), the
#   message waits in the broker's socket, and nobody counts. Afterwards mosquitto acknowledges the message,
#   retains it, and tells a new subscriber that all 2 s of its life are left.
# Hurts: a publisher that gives each state an expiry, so that nobody reads an old state. The old
#   state is served as a new one, and it replaces the retained state.
# Remedy: put the time of the measurement into the message, and let the reader look at it.
# Source: MQTT 5.0, section 3.3.2.3.3 (the time that the message has waited *in the server* counts).
# Run: mosquitto 2.0.11-1.2+deb12u2 of Debian 12 (amd64) and paho-mqtt 2.2.0 (from PyPI), on
#   127.0.0.1, 2026-11-30.
# Needs: Debian 12, python3 with venv.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check paho-mqtt==2.2.0
# Package lists of our own, so that those of the system stay as they are.
mkdir -p lists/partial cache
apt() {
  apt-get -qq -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" \
    -o APT::Sandbox::User=root "$@"
}
if ! { apt update && apt download mosquitto=2.0.11-1.2+deb12u2 libdlt2 libwrap0 libnsl2; }; then
  echo "mosquitto 2.0.11-1.2+deb12u2 of Debian 12 cannot be downloaded." >&2
  exit 1
fi
for package in *.deb; do
  dpkg -x "$package" .
done
triplet=$(basename "$(dirname usr/lib/*/libdlt.so.2)")
export LD_LIBRARY_PATH="$work/usr/lib/$triplet:$work/lib/$triplet"

cat >run.py <<'PYTHON'
import re
import signal
import socket
import subprocess
import threading
import time
from importlib.metadata import version
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

TOPIC, EXPIRY, STOPPED = "room/microphone", 2, 5
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
# "user" counts only for root, whose folder no other user can read.
Path("conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")


def start_broker():
    with open("broker.log", "wb") as errors:
        started = subprocess.Popen(["usr/sbin/mosquitto", "-c", "conf"], stderr=errors)
    deadline = time.monotonic() + 20
    listening = f"0100007F:{port:04X} 00000000:0000 0A"
    while listening not in Path("/proc/net/tcp").read_text():
        assert started.poll() is None and time.monotonic() < deadline, "mosquitto does not listen"
        # It says nowhere but in a log that it listens.
        time.sleep(0.05)
    print(re.search("mosquitto version .*? ", Path("broker.log").read_text())[0])
    return started


def connect():
    connected = threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert connected.wait(20)
    return client


def retained():
    """The retained message, and what is left of its expiry interval; or None."""
    got, answered, read = [], threading.Event(), threading.Event()
    client = connect()
    client.on_subscribe = lambda *_: answered.set()

    def on_message(_client, _data, message):
        if message.topic == TOPIC:
            assert message.retain
            got.append((message.payload.decode(), message.properties.MessageExpiryInterval))
        else:
            read.set()

    client.on_message = on_message
    # What is retained for the first filter comes before the message of the second.
    client.subscribe([(topic, mqtt.SubscribeOptions(qos=1)) for topic in (TOPIC, "end")])
    assert answered.wait(20)
    client.publish("end", qos=1)
    assert read.wait(20)
    client.disconnect()
    client.loop_stop()
    return got[0] if got else None


properties = Properties(PacketTypes.PUBLISH)
properties.MessageExpiryInterval = EXPIRY
broker = start_broker()
try:
    print("paho-mqtt", version("paho-mqtt"))
    sender = connect()

    sender.publish(TOPIC, "one", 1, True, properties).wait_for_publish(20)
    time.sleep(STOPPED)
    late = retained()
    print(f"broker runs: {STOPPED} s after publish, expiry {EXPIRY} s: retained is {late}")

    broker.send_signal(signal.SIGSTOP)
    sent = time.monotonic()
    message = sender.publish(TOPIC, "two", 1, True, properties)
    time.sleep(STOPPED)
    assert not message.is_published()
    broker.send_signal(signal.SIGCONT)
    message.wait_for_publish(20)
    age = time.monotonic() - sent
    stopped = retained()
    print(f"broker stopped: {age:.1f} s after publish, expiry {EXPIRY} s: retained is {stopped}")
    sender.disconnect()
    sender.loop_stop()
finally:
    broker.send_signal(signal.SIGCONT)
    broker.terminate()
    broker.wait()

assert late is None, late
# On a busy machine a second may pass before the subscriber asks.
assert stopped in [("two", EXPIRY), ("two", EXPIRY - 1)] and age > 2 * EXPIRY, (stopped, age)
PYTHON
venv/bin/python run.py
echo "As described."
