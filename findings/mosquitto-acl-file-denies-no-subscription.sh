#!/usr/bin/env bash
# mosquitto: a subscription to a topic that the ACL file does not let read is granted all the same.
#
# Expected: "only the topics listed will have access" (acl_file in mosquitto.conf(5)). SUBACK has a
#   reason code for each subscription, and one code is "Not authorized" (MQTT 5: 0x87; MQTT 3.1.1:
#   0x80, failure). A publish that the file forbids gets such a code from mosquitto.
# Instead: SUBACK says "Granted" for a topic that the file denies or does not list, for a topic that
#   may only be written, and for "#". mosquitto then delivers no message of these topics. Its log,
#   with log_type all, has no word of a denial.
# Hurts: a monitor that takes silence for good news. The monitor subscribes to alarms, is told that
#   it is subscribed, and never gets an alarm. A health check that looks at SUBACK is green.
# Remedy: count a subscription as working only after a message has come, for instance a retained one.
# Source: MQTT 5.0, section 3.9.3; MQTT 3.1.1, section 3.9.3; mosquitto.conf(5) of 2.0.11, acl_file;
#   eclipse-mosquitto/mosquitto issues 2042 and 2296.
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
import socket
import subprocess
import threading
import time
from importlib.metadata import version
from pathlib import Path

import paho.mqtt.client as mqtt

READABLE, WRITABLE, DENIED, UNLISTED = "alarm/readable", "alarm/writable", "alarm/hidden", "other"
Path("acl").write_text(
    f"topic read {READABLE}\ntopic write {WRITABLE}\ntopic deny {DENIED}\n"
    "user publisher\ntopic readwrite #\n"
)
Path("acl").chmod(0o600)
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
# "user" counts only for root, whose folder no other user can read.
Path("conf").write_text(
    f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file acl\nlog_type all\nuser root\n"
)


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


def connect(protocol, user=None):
    connected = threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=protocol)
    client.username_pw_set(user)
    client.on_connect = lambda *_: connected.set()
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert connected.wait(20)
    return client


def watch(protocol):
    """Subscribe to all: the reason code of each filter, and the topics that messages came from."""
    codes, topics = {}, []
    answered, got_readable = threading.Event(), threading.Event()

    def on_subscribe(_client, _data, mid, reasons, _properties):
        codes[mid] = reasons[0]
        if len(codes) == 5:
            answered.set()

    def on_message(_client, _data, message):
        topics.append(message.topic)
        if message.topic == READABLE:
            got_readable.set()

    client = connect(protocol)
    client.on_subscribe, client.on_message = on_subscribe, on_message
    filters = READABLE, WRITABLE, DENIED, UNLISTED, "#"
    sent = {name: client.subscribe(name, qos=1)[1] for name in filters}
    assert answered.wait(20), codes
    for topic in WRITABLE, DENIED, UNLISTED, READABLE:
        # One after the other: when the readable one arrives, the others would have arrived before.
        publisher.publish(topic, "on", qos=1).wait_for_publish(20)
    assert got_readable.wait(20)
    client.disconnect()
    client.loop_stop()
    return {name: codes[mid] for name, mid in sent.items()}, set(topics)


broker = start_broker()
try:
    print("paho-mqtt", version("paho-mqtt"))
    publisher = connect(mqtt.MQTTv5, "publisher")
    seen = {name: watch(getattr(mqtt, name)) for name in ("MQTTv5", "MQTTv311")}
    publisher.disconnect()
    publisher.loop_stop()
finally:
    broker.terminate()
    broker.wait()

for name, (codes, topics) in seen.items():
    print(f"{name}:", ", ".join(f"{topic} {code}" for topic, code in codes.items()))
    print(f"{name}: messages came from", topics)
    assert [code.value for code in codes.values()] == [1] * 5, codes
    assert topics == {READABLE}, topics
denials = re.findall(".*denied .*", Path("broker.log").read_text(), re.IGNORECASE)
print("lines of a denial in the broker's log:", denials)
assert not denials
PYTHON
venv/bin/python run.py
echo "As described."
