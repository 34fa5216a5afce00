#!/usr/bin/env bash
# pyserial: on an rfc2217:// port each new read timeout sets baud rate and format of the port again.
#
# Expected: timeout is how long a read waits in this process. Changing it costs nothing, and the
#   far end hears nothing of it. write_timeout likewise: it is a documented setting of every port.
# Instead: port.timeout = 0.5 on an rfc2217:// port sends baud rate, data size, parity, stop bits and
#   flow control to the server, and waits for all five answers: at least 50 ms, and as long as the
#   network takes. The server sets its port each time. A write_timeout cannot be given at all:
#   opening raises NotImplementedError.
# Hurts: a program that bounds each read by what is left of a deadline, and so sets timeout before
#   each read. On a local port that costs microseconds. Over RFC 2217 it is a round trip and a
#   reconfiguration of the remote UART for each read.
# Remedy: read with one short timeout and keep the deadline in the program; give no write_timeout.
# Source: pyserial documentation 3.5, "pySerial API" (timeout, write_timeout); serial/rfc2217.py,
#   _reconfigure_port; pyserial/pyserial issues 376 and 412, pull request 382.
# Run: pyserial 3.5, its own RFC 2217 server (serial.rfc2217.PortManager) on loop://, 2026-11-30.
# Needs: python3 with venv.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check pyserial==3.5

cat >run.py <<'PYTHON'
import socket
import threading
import time
from collections import Counter

import serial
from serial import rfc2217

NAMES = {
    rfc2217.SERVER_SET_BAUDRATE: "baud rate",
    rfc2217.SERVER_SET_DATASIZE: "data size",
    rfc2217.SERVER_SET_PARITY: "parity",
    rfc2217.SERVER_SET_STOPSIZE: "stop bits",
    rfc2217.SERVER_SET_CONTROL: "control",
}
answered = Counter()


class Manager(rfc2217.PortManager):
    def rfc2217_send_subnegotiation(self, option, value=b""):
        answered[NAMES.get(option, "other")] += 1
        super().rfc2217_send_subnegotiation(option, value)


class Connection:
    def __init__(self, peer):
        self.write = peer.sendall


def serve():
    while True:
        peer, _ = listener.accept()
        with peer, serial.serial_for_url("loop://") as port:
            manager = Manager(port, Connection(peer))
            try:
                while data := peer.recv(1024):
                    for _ in manager.filter(data):
                        pass
            except OSError:
                pass


listener = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, daemon=True).start()
url = f"rfc2217://127.0.0.1:{listener.getsockname()[1]}"
print("pyserial", serial.__version__)

CHANGES = 5
with serial.serial_for_url(url, timeout=1) as port:
    answered.clear()
    began = time.monotonic()
    for step in range(CHANGES):
        port.timeout = 0.1 + step / 100
    seconds = time.monotonic() - began
    print(f"{CHANGES} times port.timeout = ...: {seconds:.2f} s; the server answered", dict(answered))
    settings = [answered[name] for name in ("baud rate", "data size", "parity", "stop bits")]
    assert settings == [CHANGES] * 4, answered
    # It waits at least so long for the answers, each time.
    assert seconds >= CHANGES * 0.05, seconds

try:
    serial.serial_for_url(url, write_timeout=1)
    raise SystemExit("a write_timeout is taken")
except NotImplementedError as error:
    print("write_timeout=1:", repr(error))
PYTHON
venv/bin/python -W ignore::DeprecationWarning run.py
echo "As described."
