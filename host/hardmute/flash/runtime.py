"""MicroPython's own image for a board: given, cached, or downloaded with consent."""

from __future__ import annotations

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from hardmute.flash import image
from hardmute.model.errors import LocalError, UsageError
from hardmute.system import paths

NAME = "RPI_PICO.uf2"
_SUMS = "SHA256SUMS"
# The oldest release that the firmware supports, and the one that its tests run on. No hash is
# pinned: this project has never held that file.
_OFFICIAL = "https://micropython.org/resources/firmware/RPI_PICO-20250415-v1.25.0.uf2"
_TIMEOUT_S = 30


def find(given: Path | None, consents: Callable[[str], bool] = lambda _address: False) -> Path:
    """A UF2 with MicroPython for the Raspberry Pi Pico.

    ``given``: the one to use. Otherwise one from the cache, the newest first; otherwise the
    official one, if ``consents`` says of its address that it may be downloaded. Raises
    `UsageError` for a file that is anything else, and `LocalError` where there is none to be had,
    or one that is not as the file SHA256SUMS beside it says.
    """
    if given is not None:
        try:
            content = given.read_bytes()
        except OSError as error:
            raise UsageError(f"The image {given} cannot be read ({error.strerror}).") from error
        _check(content, given)
        return given
    folder = paths.cache_dir("runtime")
    cached = sorted(folder.glob(f"*/{NAME}"), key=lambda file: file.stat().st_mtime)
    if cached:
        _check(cached[-1].read_bytes(), cached[-1])
        return cached[-1]
    if consents(_OFFICIAL):
        return _download(folder / Path(_OFFICIAL).stem / NAME)
    raise LocalError(
        "There is no MicroPython image for the Pico yet: give one with --image FILE.uf2, or"
        f" download {_OFFICIAL} with --download (without a network, fetch it by other means), or"
        " build one from Debian's packages with `make -C firmware runtime`."
    )


def _download(to: Path) -> Path:
    try:
        with urllib.request.urlopen(_OFFICIAL, timeout=_TIMEOUT_S) as answer:
            content = answer.read()
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise LocalError(
            f"{_OFFICIAL} cannot be downloaded ({error}): fetch it by other means, and give it"
            " with --image."
        ) from error
    image.parse(content, _OFFICIAL)
    to.parent.mkdir(parents=True, exist_ok=True)
    partial = to.with_suffix(".partial")
    partial.write_bytes(content)
    # Nobody publishes one: it tells of what changes from now on.
    (to.parent / _SUMS).write_text(f"{hashlib.sha256(content).hexdigest()}  {NAME}\n")
    return partial.replace(to)


def _check(content: bytes, file: Path) -> None:
    """Raise as `find` does for a file that is not to be used."""
    try:
        lines = (file.parent / _SUMS).read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    digest = hashlib.sha256(content).hexdigest()
    for line in lines:
        listed, _, name = line.partition(" ")
        if name.lstrip(" *") == file.name and listed.lower() != digest:
            raise LocalError(
                f"{file} is not what {_SUMS} beside it lists (SHA-256 {digest}): fetch it again."
            )
    image.parse(content, str(file))
