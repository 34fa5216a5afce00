"""Synthetic images for an ESP32: the form of MicroPython's, and no program at all in it.

For what the official one is not: damaged, locked, small, for another chip or of another release.
They have right headers, segments, checksums, hashes and partition tables, so that esptool takes
them, and noise for code: nothing here may ever be flashed to a chip that is to do something.
"""

from __future__ import annotations

import hashlib
import struct
from functools import reduce
from operator import xor
from random import Random

LABEL = b"SYNTHETIC TEST IMAGE, NOT A PROGRAM"
VFS = 0x20_0000
FLASH = 0x40_0000
BANNER = b"MicroPython v1.25.0 on 2025-04-15"
MACHINE = b"Generic ESP32 module with ESP32"
# MicroPython's partitions-4MiB.csv.
LAYOUT = (
    ("nvs", 1, 2, 0x9000, 0x6000),
    ("phy_init", 1, 1, 0xF000, 0x1000),
    ("factory", 0, 0, 0x1_0000, 0x1F_0000),
    ("vfs", 1, 0x81, VFS, FLASH - VFS),
)
Layout = tuple[tuple[str, int, int, int, int], ...]


def program(
    segments: list[tuple[int, bytes]],
    chip: int = 0,
    revisions: tuple[int, int] = (0, 399),
    *,
    hashed: bool = True,
) -> bytes:
    """An application or boot loader with ``segments`` (address, content)."""
    # DIO, 40 MHz, 4 MiB; entry point; no WP pin.
    image = struct.pack("<BBBBIB3x", 0xE9, len(segments), 2, 0x20, 0x4008_0400, 0xEE)
    image += struct.pack("<HBHH4xB", chip, revisions[0] // 100, *revisions, hashed)
    checksum = 0xEF
    for address, content in segments:
        image += struct.pack("<II", address, len(content)) + content
        checksum = reduce(xor, content, checksum)
    image += bytes(15 - len(image) % 16) + bytes([checksum])
    return image + hashlib.sha256(image).digest() if hashed else image


def table(layout: Layout = LAYOUT) -> bytes:
    """A partition table of one sector, with its MD5."""
    lines = b"".join(
        struct.pack("<HBBII16sI", 0x50AA, kind, subtype, offset, size, label.encode(), 0)
        for label, kind, subtype, offset, size in layout
    )
    digest = hashlib.md5(lines, usedforsecurity=False).digest()
    return (lines + b"\xeb\xeb" + b"\xff" * 14 + digest).ljust(4096, b"\xff")


def runtime(
    seed: int = 1,
    size: int = 40_000,
    banner: bytes = BANNER,
    machine: bytes = MACHINE,
    **header: object,
) -> bytes:
    """What stands for MicroPython; ``seed`` makes it one or the other."""
    noise = Random(seed)
    # esp_app_desc_t: magic number, secure version, 8 reserved; version, project, time, date, IDF's
    # version, hash of the ELF file, and more that is 0.
    about = struct.pack(
        "<II8x32s32s16s16s32s32s80x", 0xABCD_5432, 0, b"SYNTHETIC", LABEL[:31], b"", b"", b"", b""
    )
    strings = about + LABEL + b"\0" + banner + b"\0; " + machine + b"\0"
    flash = (strings + noise.randbytes(size // 2)).ljust(size // 2 + 512, b"\0")
    # esptool wants what is mapped from flash to lie where the MMU's pages of 64 KiB put it.
    code = noise.randbytes(size // 2 // 4 * 4)
    return program([(0x3F40_0020, flash), (0x4008_0400, code)], **header)  # type: ignore[arg-type]


def image(
    seed: int = 1, *, layout: Layout = LAYOUT, app: bytes | None = None, chip: int = 0
) -> bytes:
    """What makeimg.py of MicroPython's ESP32 port joins: boot loader, table, application."""
    noise = Random(~seed)
    loader = program([(0x3FFF_0030, LABEL + b"\0" + noise.randbytes(4000))], chip)
    whole = loader.ljust(0x7000, b"\xff") + table(layout)
    start = next(offset for _, kind, _, offset, _ in layout if kind == 0)
    return whole.ljust(start - 0x1000, b"\xff") + (
        runtime(seed, chip=chip) if app is None else app
    )
