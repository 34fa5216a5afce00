#!/usr/bin/env bash
# pyserial: a new read timeout on a local port puts back settings of the port, and can raise.
#
# Expected: timeout is how long a read waits in this process: on Linux pyserial waits in select().
#   "port.timeout = 0.5" stores a number. It changes nothing on the port and needs no port.
# Instead: each assignment, of the same value too, reads all settings of the terminal and compares
#   them with what pyserial would set. If anything differs, pyserial sets them all. A speed that
#   another program has set, or PARMRK (to see breaks and parity errors, for which pyserial has no
#   option) that this program has set, are gone without a word. If the device is gone, the
#   assignment raises SerialException.
# Hurts: a program that sets timeout to what is left of a deadline before each read. The program
#   expects errors of read(), but here the line before fails. And a receiver that watches for breaks
#   goes blind at its first new timeout.
# Remedy: read with one timeout and keep the deadline in the program; or set timeout inside the same
#   "try" as read(). Set flags of termios again after each change of an attribute.
# Source: pyserial documentation 3.5, "pySerial API" (timeout); serial/serialutil.py, timeout;
#   serial/serialposix.py, _reconfigure_port; pyserial/pyserial issue 391.
#   (pyserial-rfc2217-timeout-sets-the-port-again.sh shows what the same does to a remote port.)
# Run: pyserial 3.5 (from PyPI) on a pseudo-terminal of Linux, 2026-11-30.
# Needs: Linux, python3 with venv.
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
import termios
from collections import Counter
from types import SimpleNamespace

import serial
from serial import serialposix

calls = Counter()


def counted(name):
    function = getattr(termios, name)

    def call(*arguments):
        calls[name] += 1
        return function(*arguments)

    return call


# What pyserial sees as the module termios: the same, but with two functions that count.
serialposix.termios = SimpleNamespace(
    **vars(termios) | {name: counted(name) for name in ("tcgetattr", "tcsetattr")}
)
IFLAG, ISPEED, OSPEED = 0, 4, 5
device, terminal = pty.openpty()
print("pyserial", serial.__version__)

with serial.Serial(os.ttyname(terminal), 115200, timeout=1) as port:
    calls.clear()
    for _ in range(5):
        port.timeout = 1
    print("5 times port.timeout = 1, as it was:", dict(calls))
    assert calls == {"tcgetattr": 5}, calls

    # This program asks for marks of breaks; another program, with its own descriptor, for a speed.
    settings = termios.tcgetattr(port.fileno())
    settings[IFLAG] |= termios.PARMRK
    termios.tcsetattr(port.fileno(), termios.TCSANOW, settings)
    settings[ISPEED] = settings[OSPEED] = termios.B9600
    termios.tcsetattr(terminal, termios.TCSANOW, settings)

    def state():
        now = termios.tcgetattr(terminal)
        return bool(now[IFLAG] & termios.PARMRK), now[OSPEED] == termios.B9600

    before = state()
    calls.clear()
    port.timeout = 0.5
    after = state()
    print("PARMRK, 9600 Bd set:", before, "; after port.timeout = 0.5:", after, dict(calls))
    assert [before, after] == [(True, True), (False, False)]
    assert calls == {"tcgetattr": 1, "tcsetattr": 1}, calls

    os.close(device)
    try:
        port.timeout = 0.2
        raise SystemExit("a timeout can be set although the device is gone")
    except serial.SerialException as error:
        print("device gone, port.timeout = 0.2:", repr(error))
        assert "Could not configure port" in str(error)
os.close(terminal)
PYTHON
venv/bin/python run.py
echo "As described."
