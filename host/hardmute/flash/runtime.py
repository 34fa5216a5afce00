"""MicroPython's own image for a board: given, cached, or downloaded with consent."""

from __future__ import annotations

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO

from hardmute.flash import image
from hardmute.model.errors import LocalError, UsageError
from hardmute.system import paths

# What `make -C firmware runtime` builds.
NAME = "RPI_PICO.uf2"
_SUMS = "SHA256SUMS"
PICO = "RPI_PICO-20250415-v1.25.0.uf2"
ESP32 = "ESP32_GENERIC-20250415-v1.25.0.bin"
# SHA-256 of official images. Only of bytes that this project has held, and run the firmware on.
PINS = {
    PICO: "e0c40eacf1afc550a6add74888c48bb981b28788a6d75a62a0e2444e997b9864",
    ESP32: "1eb1a88473e32aa6a4d45dc1b5b6ad40bc1f06128e7aa8548e438cfa4633da1b",
}
_SITE = "https://micropython.org/resources/firmware/"
_TIMEOUT_S = 30


def find(given: Path | None, consents: Callable[[str], bool] = lambda _address: False) -> Path:
    """A UF2 with MicroPython for the Raspberry Pi Pico.

    ``given``: the one to use. Otherwise the official one from the cache; otherwise the newest that
    was built here; otherwise the official one, if ``consents`` says of its address that it may be
    downloaded. Raises `UsageError` for a file that is anything else, and `LocalError` where there
    is none to be had, or one that is not as its name, or the file SHA256SUMS beside it, says.
    """
    if given is not None:
        try:
            content = given.read_bytes()
        except OSError as error:
            raise UsageError(f"The image {given} cannot be read ({error.strerror}).") from error
        _check(content, given)
        return given
    official = place(PICO)
    if official.exists():
        check_pin(official.read_bytes(), PICO, str(official))
        return official
    built = sorted(_cache().glob(f"*/{NAME}"), key=lambda file: file.stat().st_mtime)
    if built:
        _check(built[-1].read_bytes(), built[-1])
        return built[-1]
    address = _SITE + PICO
    if consents(address):
        return keep(PICO, _downloaded(address), address)
    raise LocalError(
        "There is no MicroPython image for the Pico yet: give one with --image FILE.uf2, or"
        f" download {address} with --download (without a network, fetch it by other means), or"
        " build one from Debian's packages with `make -C firmware runtime`."
    )


def place(name: str) -> Path:
    """Where the official image ``name``, one of `PINS`, is in the cache, or would be."""
    return _cache() / PINS[name][:16] / name


def keep(name: str, content: bytes, source: str) -> Path:
    """Put the official image ``name`` into the cache. `LocalError` if these are other bytes.

    ``source``: where they are from, for the message.
    """
    check_pin(content, name, source)
    to = place(name)
    to.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=to.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
    return Path(partial).replace(to)


def check_pin(content: bytes, name: str, source: str) -> None:
    """Raise `LocalError` if ``name`` is one of `PINS`, and these are other bytes."""
    digest = hashlib.sha256(content).hexdigest()
    if PINS.get(name, digest) != digest:
        raise LocalError(
            f"{source} is not the official {name}, though it has its name (SHA-256 {digest}): do"
            " not use it. Remove it, and fetch it again."
        )


class _OnlyHttps(urllib.request.HTTPRedirectHandler):
    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        if not newurl.lower().startswith("https://"):
            raise urllib.error.URLError("it redirects to an address without https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _cache() -> Path:
    return paths.cache_dir("runtime")


def _downloaded(address: str) -> bytes:
    try:
        opener = urllib.request.build_opener(_OnlyHttps)
        with opener.open(address, timeout=_TIMEOUT_S) as answer:
            return answer.read()
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise LocalError(
            f"{address} cannot be downloaded ({error}): fetch it by other means, and give it"
            " with --image."
        ) from error


def _check(content: bytes, file: Path) -> None:
    """Raise as `find` does for a file that is not to be used."""
    check_pin(content, file.name, str(file))
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
