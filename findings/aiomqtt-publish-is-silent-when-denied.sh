#!/usr/bin/env bash
# aiomqtt: publish() returns as after success when the broker has answered "Not authorized".
#
# Expected: with MQTT 5 the broker answers each publish of QoS 1 or 2 with a reason code. A code from
#   0x80 on is an error: the message is lost. aiomqtt's connect raises for such a code, and its
#   subscribe() returns the codes. So publish() raises for such a code too, or returns it.
# Instead: publish() returns None, as after success, with no warning in the log. With QoS 1,
#   paho-mqtt hands the code to aiomqtt, and aiomqtt drops it. With QoS 2, paho-mqtt itself drops the
#   code: it gets "Not authorized" in PUBREC, goes on with PUBREL (which belongs to codes below
#   0x80), and hands the "Success" of the PUBCOMP that follows to on_publish.
# Hurts: a bridge that publishes a state to a broker with an ACL file. If one line of that file is
#   wrong, the bridge reports success for ever, and no subscriber gets anything. Subscribers go on
#   reading a retained message of an earlier time.
# Remedy: subscribe to the topic and wait for the own message; or use paho-mqtt with QoS 1, and look
#   at the reason code in on_publish.
# Source: MQTT 5.0, sections 2.4, 3.4.2.1 and 4.3.3; aiomqtt 2.5.1, documentation of Client.publish
#   (names no reason code); aiomqtt/client.py, _on_publish; paho/mqtt/client.py, _handle_pubrec.
# Run: aiomqtt 2.5.1 and paho-mqtt 2.2.0 (from PyPI) against mosquitto 2.0.11-1.2+deb12u2 of
#   Debian 12 (amd64), on 127.0.0.1, 2026-11-30.
# Needs: Debian 12, python3 with venv.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check aiomqtt==2.5.1 paho-mqtt==2.2.0
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
import asyncio
import logging
import re
import socket
import subprocess
import threading
import time
from importlib.metadata import version
from pathlib import Path

import aiomqtt
import paho.mqtt.client as mqtt

ALLOWED, DENIED = "room/allowed", "room/denied"
Path("acl").write_text(f"topic readwrite {ALLOWED}\ntopic read {DENIED}\n")
Path("acl").chmod(0o600)
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
# "user" counts only for root, whose folder no other user can read.
Path("conf").write_text(
    f"listener {port} 127.0.0.1\nallow_anonymous true\nacl_file acl\nlog_type all\nuser root\n"
)
logged = []
handler = logging.Handler()
handler.emit = lambda record: logged.append(record.getMessage())
logging.getLogger().addHandler(handler)
log = logging.getLogger("mqtt")


def codes():
    """What paho-mqtt, which aiomqtt uses, gets from the broker: topic and QoS to reason code."""
    answers, answered = {}, threading.Event()
    connected = threading.Event()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_connect = lambda *_: connected.set()

    def on_publish(_client, _data, mid, reason, _properties):
        answers[mid] = reason
        if len(answers) == 4:
            answered.set()

    client.on_publish = on_publish
    client.connect("127.0.0.1", port)
    client.loop_start()
    assert connected.wait(20)
    sent = {
        (topic, qos): client.publish(topic, "on", qos).mid
        for topic in (ALLOWED, DENIED)
        for qos in (1, 2)
    }
    assert answered.wait(20), answers
    client.disconnect()
    client.loop_stop()
    return {key: answers[mid] for key, mid in sent.items()}


async def publish():
    """What aiomqtt's publish() does: topic and QoS to what it returns; and who gets a message."""
    done, got = {}, []
    client = {"hostname": "127.0.0.1", "port": port, "protocol": aiomqtt.ProtocolVersion.V5}
    async with aiomqtt.Client(**client) as watcher, aiomqtt.Client(**client, logger=log) as sender:
        await watcher.subscribe("room/#", qos=1)
        # The allowed ones come last, so that all others have been dealt with when they arrive.
        for topic in DENIED, ALLOWED:
            for qos in 1, 2:
                done[topic, qos] = await sender.publish(topic, "on", qos)
        async for message in watcher.messages:
            got.append(str(message.topic))
            if got.count(ALLOWED) == 2:
                break
    return done, got


with open("broker.log", "wb") as errors:
    broker = subprocess.Popen(["usr/sbin/mosquitto", "-c", "conf"], stderr=errors)
try:
    deadline = time.monotonic() + 20
    listening = f"0100007F:{port:04X} 00000000:0000 0A"
    while listening not in Path("/proc/net/tcp").read_text():
        assert broker.poll() is None and time.monotonic() < deadline, "mosquitto does not listen"
        # It says nowhere but in a log that it listens.
        time.sleep(0.05)
    print("aiomqtt", version("aiomqtt"), "paho-mqtt", version("paho-mqtt"))
    print(re.search("mosquitto version .*? ", Path("broker.log").read_text())[0])
    reported = codes()
    done, got = asyncio.run(publish())
finally:
    broker.terminate()
    broker.wait()

broker_log = Path("broker.log").read_text()
sent = re.findall(r"Sending (PUBACK|PUBREC) to \S+ \(m\d+, rc(\d+)\)", broker_log)
denials = [packet for packet, code in sent if int(code) == 0x87]
print("the broker sent 0x87, Not authorized, in", denials)
for (topic, qos), reason in reported.items():
    paho = f"paho-mqtt's on_publish has {str(reason)!r}"
    print(f"{topic:12} QoS {qos}: {paho}; aiomqtt's publish() returns {done[topic, qos]}")
print("a subscriber to both topics got", got, "; logged:", logged)
assert denials == ["PUBACK", "PUBREC"] * 2, sent
failures = [key for key, reason in reported.items() if reason.is_failure]
assert failures == [(DENIED, 1)], reported
assert reported[DENIED, 1].value == 0x87 and reported[DENIED, 2].value == 0, reported
assert list(done.values()) == [None] * 4
assert got == [ALLOWED] * 2, got
assert not logged, logged
PYTHON
venv/bin/python run.py
echo "As described."
