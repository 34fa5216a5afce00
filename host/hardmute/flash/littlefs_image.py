"""Images of littlefs, the file system on a board's flash.

As MicroPython makes it on the RP2040 (ports/rp2/rp2_flash.c and modules/_boot.py): blocks of
4 KiB, read 32 and program 256 bytes at a time, on-disk format 2.1. On the ESP32 it programs 32
bytes at a time, which the image does not tell.
"""

# littlefs-python declares its files' content only in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from littlefs import LittleFS, UserContext

_BLOCK = 4096
_PROGRAM = 256
_READ = 32
_DISK_VERSION = 0x0002_0001


def pack(files: Mapping[str, bytes], size: int) -> bytes:
    """A file system of ``size`` bytes that holds ``files``.

    Raises `LittleFSError` where they do not fit.
    """
    context = UserContext(buffsize=size)
    system = _mount(context, fresh=True)
    for name, content in files.items():
        folder = str(PurePosixPath(name).parent)
        if folder != ".":
            system.makedirs(folder, exist_ok=True)
        with system.open(name, "wb") as file:
            file.write(content)
    system.unmount()
    return bytes(context.buffer)


def unpack(image: bytes) -> dict[str, bytes]:
    """The files in a file system that `pack` or a board has written.

    Raises `LittleFSError` where there is none.
    """
    context = UserContext(buffsize=len(image))
    context.buffer = bytearray(image)
    system = _mount(context, fresh=False)
    files: dict[str, bytes] = {}
    for folder, _, names in system.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with system.open(path, "rb") as file:
                files[path.lstrip("/")] = file.read()
    return files


def _mount(context: UserContext, *, fresh: bool) -> LittleFS:
    system = LittleFS(
        context=context,
        mount=False,
        block_size=_BLOCK,
        block_count=len(context.buffer) // _BLOCK,
        prog_size=_PROGRAM,
        read_size=_READ,
        disk_version=_DISK_VERSION,
    )
    if fresh:
        system.format()
    system.mount()
    return system
