"""MicroPython's own image for a board: given, cached, or downloaded with the user's consent."""

from __future__ import annotations

import http.client
import sys
import urllib.error
import urllib.request
from pathlib import Path

from hardmute import paths
from hardmute.errors import LocalError, UsageError
from hardmute.flash import uf2

NAME = "RPI_PICO.uf2"
# The oldest release that the firmware supports, and the one that its tests run on. No hash is
# pinned: this project has never held that file.
_OFFICIAL = "https://micropython.org/resources/firmware/RPI_PICO-20250415-v1.25.0.uf2"
_TIMEOUT_S = 30


def find(given: Path | None, *, download: bool) -> Path:
    """A UF2 with MicroPython for the Raspberry Pi Pico.

    ``given``: the one to use, whatever it is. Otherwise one from the cache, the newest first;
    otherwise the official one, if ``download`` or the person at the terminal consents. Raises
    `UsageError` for a file that is no UF2, and `LocalError` where there is none to be had.
    """
    if given is not None:
        try:
            content = given.read_bytes()
        except OSError as error:
            raise UsageError(f"The image {given} cannot be read ({error.strerror}).") from error
        _check(content, str(given))
        return given
    folder = paths.cache_dir("runtime")
    cached = sorted(folder.glob(f"*/{NAME}"), key=lambda file: file.stat().st_mtime)
    if cached:
        return cached[-1]
    if download or _consents():
        return _download(folder / Path(_OFFICIAL).stem / NAME)
    raise LocalError(
        "There is no MicroPython image for the emulated Pico yet: give one with --image FILE.uf2,"
        f" or download {_OFFICIAL} with --download, or build one from Debian's packages with"
        " `make -C firmware runtime`."
    )


def _consents() -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    print(
        f"The emulated Pico needs MicroPython, once.\nDownload {_OFFICIAL} (0.7 MB)? [y/N] ",
        end="",
        file=sys.stderr,
        flush=True,
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _download(to: Path) -> Path:
    try:
        with urllib.request.urlopen(_OFFICIAL, timeout=_TIMEOUT_S) as answer:
            content = answer.read()
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise LocalError(
            f"{_OFFICIAL} cannot be downloaded ({error}): fetch it by other means, and give it"
            " with --image."
        ) from error
    _check(content, _OFFICIAL)
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_suffix(".partial")
    partial.write_bytes(content)
    return partial.replace(to)


def _check(content: bytes, name: str) -> None:
    for _ in uf2.blocks(content, name):
        pass
