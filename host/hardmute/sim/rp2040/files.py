"""What is on the flash of a Pico: MicroPython's image, and a file system with our files.

littlefs as MicroPython's RPI_PICO board lays it out (ports/rp2/rp2_flash.c and
boards/RPI_PICO/mpconfigboard.h): the last 1408 KiB of 2 MiB, blocks of 4 KiB, read 32 and program
256 bytes at a time, on-disk format 2.1.
"""

# littlefs-python declares its files' content only in part.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from littlefs import LittleFS, UserContext

from hardmute import board_files

START = 0xA0000
_BLOCK = 4096
_BLOCKS = 352
SIZE = _BLOCK * _BLOCKS
_PROGRAM = 256
_READ = 32
_DISK_VERSION = 0x0002_0001


def firmware(
    config: bytes | None = None, board: str | None = None, *, compiled: bool = True
) -> dict[str, bytes]:
    """The files that a Pico gets, and its settings.

    ``board``: what board.txt says; None for no such file.
    """
    files = board_files.micropython(board_files.compiler() if compiled else None)
    if board is not None:
        files["board.txt"] = f"{board}\n".encode()
    if config is not None:
        files["config.json"] = config
    return files


def pack(files: Mapping[str, bytes], size: int = SIZE) -> bytes:
    """A file system of ``size`` bytes that holds ``files``."""
    context = UserContext(buffsize=size)
    system = _mount(context, fresh=True)
    for name, content in files.items():
        folder = str(Path(name).parent.as_posix())
        if folder != ".":
            system.makedirs(folder, exist_ok=True)
        with system.open(name, "wb") as file:
            file.write(content)
    system.unmount()
    return bytes(context.buffer)


def unpack(image: bytes) -> dict[str, bytes]:
    """The files in a file system that `pack` or a chip has written."""
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
