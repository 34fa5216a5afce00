#!/usr/bin/env bash
# pyserial: a misspelt option in a URL raises KeyError, with a text that names other words.
#
# Expected: serial_for_url() raises ValueError for settings that are out of range, and
#   SerialException where a port cannot be opened. For loop:// and socket:// the code has a sentence
#   ready: which form the URL must have, and that the option is unknown.
# Instead: that sentence is filled with str.format(), and its own {debug|info|warning|error} is taken
#   for a field. So loop://?foo=1 raises KeyError('debug|info|warning|error'), which is neither of
#   the two. socket://HOST:PORT?foo=1 raises SerialException, but its text is only that of the
#   KeyError. spy:// and rfc2217:// (no such braces) say "unknown option: 'foo'".
# Hurts: a program that catches ValueError and SerialException to tell its user that the address is
#   wrong ends in a traceback, or shows 'debug|info|warning|error' to somebody who misspelt
#   "logging".
# Remedy: catch LookupError as well, and do not show its text.
# Source: pyserial documentation 3.5, "pySerial API" (serial_for_url) and "URL Handlers";
#   serial/urlhandler/protocol_loop.py and protocol_socket.py, from_url.
# Run: pyserial 3.5, Python 3.11, 2026-11-30.
# Needs: python3 with venv.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check pyserial==3.5

cat >run.py <<'PYTHON'
import serial


def raised(url):
    try:
        serial.serial_for_url(url)
    except Exception as error:
        print(f"{url:32} {type(error).__name__}: {error}")
        return error
    raise SystemExit(f"{url} is taken")


print("pyserial", serial.__version__)
loop = raised("loop://?foo=1")
assert type(loop) is KeyError and "foo" not in str(loop), loop
# Nothing is connected: the option is looked at first.
wrapped = raised("socket://127.0.0.1:1?foo=1")
assert isinstance(wrapped, serial.SerialException)
assert str(wrapped).endswith("'debug|info|warning|error'"), wrapped
for url in ("spy:///dev/null?foo=1", "rfc2217://127.0.0.1:1?foo=1"):
    error = raised(url)
    assert isinstance(error, serial.SerialException) and "unknown option: 'foo'" in str(error)
PYTHON
venv/bin/python run.py
echo "As described."
