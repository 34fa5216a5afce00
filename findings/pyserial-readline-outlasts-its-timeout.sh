#!/usr/bin/env bash
# pyserial: timeout bounds read() and read_until(), but not readline().
#
# Expected: Serial(port, timeout=0.3) bounds every read of that port. The API page says that
#   after the timeout a read returns what has come until then. The introduction says of
#   readline() to set a timeout, since it could block for ever without a newline. readline() and
#   read_until() both read up to "\n" by default, so they look like two names of one thing.
# Instead: each byte that arrives restarts the timeout of readline(). A device that sends a byte
#   now and then, and no newline, keeps readline() waiting for as long as it sends; read_until()
#   on the same bytes returns after 0.3 s. readlines() and iterating over the port inherit this.
# Hurts: a host tool that says "no answer within 3 s, so the state is unknown". A device with the
#   wrong baud rate, a boot log, or firmware that hangs in the middle of a line holds the tool
#   for as long as bytes trickle in, and a monitor goes on showing an old state as the present
#   one.
# Remedy: read_until(), or own buffering with read(in_waiting or 1) and a deadline.
# Source: pyserial documentation 3.5, "pySerial API" (timeout) and "Short introduction"
#   (Readline); serial/serialutil.py: readline() is inherited from io.RawIOBase, which calls
#   read(1) again and again; pyserial/pyserial issues 182 (read_until was repaired), 487 and 730
#   (readline).
# Run: pyserial 3.5 on Linux, a pseudo-terminal as the port, 2026-11-30.
# Needs: Linux or macOS, python3 with venv.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check pyserial==3.5

cat >run.py <<'PYTHON'
import os
import pty
import threading
import time

import serial

TIMEOUT, GAP, BYTES = 0.3, 0.1, 30
device, terminal = pty.openpty()


def send():
    """A slow device: no newline, and never silent for as long as the timeout."""
    for _ in range(BYTES):
        time.sleep(GAP)
        os.write(device, b".")


def measure(name, read):
    with serial.Serial(os.ttyname(terminal), 115200, timeout=TIMEOUT) as port:
        sender = threading.Thread(target=send)
        start = time.monotonic()
        sender.start()
        got = read(port)
        seconds = time.monotonic() - start
        sender.join()
    print(f"{name:13} returned {len(got):2} bytes after {seconds:.1f} s")
    return seconds


print(f"pyserial {serial.__version__}, timeout={TIMEOUT}, {BYTES} bytes, one each {GAP} s")
bounded = [
    measure("read(1000)", lambda port: port.read(1000)),
    measure("read_until()", lambda port: port.read_until()),
]
line = measure("readline()", lambda port: port.readline())
# On a busy machine a gap can be longer than planned; the two kinds stay far apart.
assert max(bounded) < 4 * TIMEOUT, bounded
assert line > 6 * TIMEOUT, line
PYTHON
venv/bin/python run.py
echo "As described."
