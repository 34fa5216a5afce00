#!/usr/bin/env bash
# ser2net: asked by RFC 2217 for a control line that the port does not have, it answers nothing.
#
# Expected: RFC 2217 has an answer of the server for each request of the client, and the client sees
#   in it what is so now. For a line that cannot be set there is an answer too: it is not set.
#   ser2net answers the requests before: baud rate, data size, parity, stop bits, flow control.
# Instead: to "set DTR" on a port without modem lines (a pseudo-terminal, as of an emulator or a
#   USB gadget in software) ser2net answers nothing at all, neither yes nor no, and the connection
#   goes on. pyserial's client always sets DTR and RTS when it opens a port, and waits for the
#   answer: it gives up with "timeout while waiting for option 'control'".
# Hurts: who tests a network client against ser2net and an emulated device sees every connection
#   fail after 3 s, in a step that has nothing to do with the data, though all works.
# Remedy: in pyserial's URL, ?ign_set_control (made for sredird, which answers otherwise).
# Source: RFC 2217, section 3 (SET-CONTROL: DTR and RTS signal); ser2net(8);
#   pyserial documentation 3.5, "URL Handlers" (rfc2217, ign_set_control).
# Run: ser2net 4.3.11-1 and libgensio4 2.6.2-4 of Debian 12 (amd64), pyserial 3.5, 2026-11-30.
# Needs: Debian 12, python3 with venv.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check pyserial==3.5
# Package lists of our own, so that those of the system stay as they are.
mkdir -p lists/partial cache
apt() {
  apt-get -qq -o "Dir::State::Lists=$work/lists" -o "Dir::Cache=$work/cache" \
    -o APT::Sandbox::User=root "$@"
}
apt update
apt download ser2net=4.3.11-1 libgensio4=2.6.2-4 libyaml-0-2 libavahi-client3 libavahi-common3 \
  libsctp1 libwrap0 libnsl2 libdbus-1-3
for package in *.deb; do
  dpkg -x "$package" .
done
triplet=$(basename "$(dirname usr/lib/*/libgensio.so.4)")
export LD_LIBRARY_PATH="$work/usr/lib/$triplet:$work/lib/$triplet"

cat >run.py <<'PYTHON'
import os
import pty
import socket
import subprocess
import threading
import time
import tty
from pathlib import Path

import serial

device, terminal = pty.openpty()
tty.setraw(terminal)


def echo():
    """The device: it sends back what it gets."""
    while True:
        os.write(device, os.read(device, 1024))


threading.Thread(target=echo, daemon=True).start()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
Path("ser2net.yaml").write_text(
    "connection: &one\n"
    f"  accepter: telnet(rfc2217),tcp,127.0.0.1,{port}\n"
    f"  connector: serialdev,{os.ttyname(terminal)},115200n81,local\n"
)
server = subprocess.Popen(
    ["usr/sbin/ser2net", "-n", "-u", "-c", "ser2net.yaml"], stderr=subprocess.DEVNULL
)
try:
    listening = f"0100007F:{port:04X} 00000000:0000 0A"
    deadline = time.monotonic() + 20
    while listening not in Path("/proc/net/tcp").read_text():
        assert server.poll() is None and time.monotonic() < deadline, "ser2net does not listen"
        # It says nowhere that it listens.
        time.sleep(0.05)
    url = f"rfc2217://127.0.0.1:{port}"
    try:
        serial.serial_for_url(url, timeout=5)
        raise SystemExit("it opens")
    except serial.SerialException as error:
        print(f"{'rfc2217://...':32} {error}")
        assert "timeout while waiting for option 'control'" in str(error)
    with serial.serial_for_url(f"{url}?ign_set_control", timeout=5) as opened:
        opened.write(b"hello")
        got = opened.read(5)
        print(f"{'rfc2217://...?ign_set_control':32} opens, and echoes {got}")
        assert got == b"hello"
finally:
    server.kill()
    server.wait()
PYTHON
venv/bin/python -W ignore::DeprecationWarning run.py
echo "As described."
