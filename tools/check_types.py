#!/usr/bin/env python3
"""Check the types of the firmware on each port, with that port's own stubs.

    python tools/check_types.py [rp2 | rp2-newest | esp32 | esp32-newest | circuitpython] ...

The stub packages contain files of the same names with different contents, so each set gets a
folder of its own, under $XDG_CACHE_HOME/hardmute/stubs; it is filled from PyPI when it is not
there. Exits with 1 if any port has an error.
"""

import argparse
import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent.parent / "firmware"

# MicroPython's of the oldest release that we support, so that nothing newer is used by mistake;
# and of the newest, which may have changed what we use. CircuitPython's of version 9 lack
# `micropython`.
PINS = {
    "rp2": ("micropython-rp2-stubs==1.25.0.post3", "micropython-stdlib-stubs==1.29.0.post2"),
    "rp2-newest": (
        "micropython-rp2-stubs==1.29.0.post1",
        "micropython-stdlib-stubs==1.29.0.post2",
    ),
    "esp32": ("micropython-esp32-stubs==1.25.0.post5", "micropython-stdlib-stubs==1.29.0.post2"),
    "esp32-newest": (
        "micropython-esp32-stubs==1.29.0.post1",
        "micropython-stdlib-stubs==1.29.0.post2",
    ),
    "circuitpython": (
        "circuitpython-stubs==10.3.1",
        "adafruit-circuitpython-neopixel==6.4.2",
        "adafruit-circuitpython-typing==1.13.0",
    ),
}
# What each port does not have: the other ports' board files and entry points; and CircuitPython a
# journal, whose hashes it need not have.
NOT_HERE = {
    "rp2": (
        "muteboard/boards/esp32.py",
        "muteboard/boards/esp32_cut.py",
        "muteboard/boards/esp32_interlock.py",
        "muteboard/boards/circuitpython.py",
        "safemode.py",
    ),
    "esp32": (
        "muteboard/boards/rp2040.py",
        "muteboard/boards/rp2040_interlock.py",
        "muteboard/boards/rp2040_sampler.py",
        "muteboard/boards/circuitpython.py",
        "safemode.py",
    ),
    "circuitpython": (
        "muteboard/attest.py",
        "muteboard/boards/keystore.py",
        "muteboard/boards/rp2040.py",
        "muteboard/boards/rp2040_interlock.py",
        "muteboard/boards/rp2040_sampler.py",
        "muteboard/boards/esp32.py",
        "muteboard/boards/esp32_cut.py",
        "muteboard/boards/esp32_interlock.py",
        "muteboard/boards/interlock.py",
        "muteboard/boards/micropython_board.py",
        "main.py",
    ),
}
# Read by MicroPython's build, in a language of its own.
_MANIFEST = "manifest.py"


def stubs(port: str) -> Path:
    """The folder with the pinned stubs of ``port``, filled if need be."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = hashlib.sha256("\n".join(PINS[port]).encode()).hexdigest()[:16]
    folder = cache / "hardmute" / "stubs" / key / port
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Filled beside its place and then moved, so that a folder that is there is complete.
    filling = Path(tempfile.mkdtemp(prefix=port + ".", dir=folder.parent))
    try:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", str(filling), *PINS[port]], check=True)  # noqa: S603 - fixed words
        # Another process may have been faster; its folder is as good.
        with contextlib.suppress(OSError):
            filling.rename(folder)
    finally:
        shutil.rmtree(filling, ignore_errors=True)
    assert folder.is_dir()
    return folder


def project(port: str, folder: Path, home: Path) -> dict[str, object]:
    """The pyright project that checks all of firmware/ that runs on ``port``.

    ``home``: where it will be. pyright takes no absolute paths for what it checks.
    """
    firmware = Path(os.path.relpath(FIRMWARE, home))
    settings: dict[str, object] = {
        "include": [str(firmware)],
        "exclude": [
            str(firmware / path) for path in (*NOT_HERE[port.partition("-")[0]], _MANIFEST)
        ],
        "extraPaths": [str(FIRMWARE), str(folder)],
        "stubPath": str(folder),
        "typeCheckingMode": "standard",
        "pythonVersion": "3.11",
        # `sys.platform` is "rp2" or "esp32" there: no branch is unreachable.
        "pythonPlatform": "All",
        "reportUnnecessaryTypeIgnoreComment": "error",
        # The stubs describe modules that are built into the firmware: there is no source.
        "reportMissingModuleSource": "none",
    }
    if (folder / "stdlib").is_dir():
        settings["typeshedPath"] = str(folder)
    return settings


def check(port: str) -> bool:
    """Whether ``port`` has no type error; what it has is printed."""
    folder = stubs(port)
    with tempfile.TemporaryDirectory(prefix="hardmute-types-") as temporary:
        home = Path(temporary).resolve()
        config = home / "pyrightconfig.json"
        config.write_text(json.dumps(project(port, folder, home)))
        print(f"{port}:", flush=True)
        pyright = [sys.executable, "-m", "pyright", "--project", str(config)]
        return subprocess.run(pyright, check=False).returncode == 0  # noqa: S603 - fixed words


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the firmware's types on each port.")
    parser.add_argument("port", nargs="*", help="one of " + ", ".join(PINS) + " (default: all)")
    ports: list[str] = parser.parse_args().port or list(PINS)
    for port in ports:
        if port not in PINS:
            parser.error(f"unknown port: {port}")
    # Every port is checked, whatever the others said.
    return 1 if [port for port in ports if not check(port)] else 0


if __name__ == "__main__":
    sys.exit(main())
