"""UF2 files, as the RP2040's boot ROM reads and as this project writes them.

Format: https://github.com/microsoft/uf2. What the boot ROM makes of it: raspberrypi/pico-bootrom,
``bootrom/virtual_disk.c``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hardmute.model.errors import UsageError

BLOCK = 512
PAGE = 256
SECTOR = 4096
FLASH = 0x1000_0000
RP2040 = 0xE48B_FF56
BLANK = b"\xff" * PAGE

# A Pico's.
FLASH_SIZE = 2 << 20
# For messages: what is supported.
WANTED = "for the Pico (RP2040), hardmute supports only MicroPython's RPI_PICO (.uf2)"

# RP2350: pico-sdk 2.1.1, boot/uf2.h. Images for it begin with a block of the "absolute" family,
# against erratum RP2350-E10 (picotool, elf2uf2.cpp). The others: microsoft/uf2,
# utils/uf2families.json.
_FAMILIES = {
    RP2040: "RP2040",
    0xE48B_FF57: "RP2350 (absolute)",
    0xE48B_FF58: "RP2350 (data)",
    0xE48B_FF59: "RP2350 (Pico 2, Arm)",
    0xE48B_FF5A: "RP2350 (Pico 2, RISC-V)",
    0xE48B_FF5B: "RP2350 (Pico 2, Arm, non-secure)",
    0x1C5F_21B0: "ESP32",
    0xBFDD_4EEE: "ESP32-S2",
    0xC47E_5767: "ESP32-S3",
    0xD42B_A06C: "ESP32-C3",
    0x2B88_D29C: "ESP32-C2",
    0x540D_DF62: "ESP32-C6",
    0x3327_26F6: "ESP32-H2",
    0x3D30_8E94: "ESP32-P4",
    None: "an unnamed chip",
}
# Two magic numbers, flags, address, size of the payload, number, count, family; the payload in 476
# bytes; one more magic number.
_HEADER = struct.Struct("<8I")
_MAGIC = (0x0A32_4655, 0x9E5D_5157)
_START = struct.pack("<2I", *_MAGIC)
_END = struct.pack("<I", 0x0AB1_6F30)
_ROOM = 476
_NOT_MAIN_FLASH = 0x1
_FAMILY_GIVEN = 0x2000
_PAGES = SECTOR // PAGE


class Block(NamedTuple):
    """One block. ``number`` of ``total``; ``family``: None if it names none."""

    flags: int
    address: int
    number: int
    total: int
    family: int | None
    payload: bytes


def read(content: bytes, name: str) -> dict[int, bytes]:
    """Address and content of each page of 256 bytes that a UF2 writes to an RP2040's flash.

    Raises `UsageError` for one that is not for this chip, or not whole. ``name``: for messages.
    """
    blocks = list(_blocks(content, name))
    families = list(dict.fromkeys(block.family for block in blocks))
    if families != [RP2040]:
        found = " and ".join(
            _FAMILIES.get(family) or f"another chip ({family:#010x})" for family in families
        )
        raise UsageError(f"{name} is an image for {found}: {WANTED}.")
    numbered = [(number, len(blocks)) for number in range(len(blocks))]
    if sorted((block.number, block.total) for block in blocks) != numbered:
        raise UsageError(f"{name} is cut short or damaged: fetch it again.")
    written = [block for block in blocks if not block.flags & _NOT_MAIN_FLASH]
    pages = {block.address: block.payload for block in written}
    if len(pages) != len(written) or any(
        len(payload) != PAGE or address % PAGE or not FLASH <= address < FLASH + FLASH_SIZE
        for address, payload in pages.items()
    ):
        raise UsageError(f"{name} is not an image that a Pico's boot ROM can write: {WANTED}.")
    if FLASH not in pages:
        raise UsageError(f"{name} is not a whole image: the first page of the flash is missing.")
    return pages


def _blocks(content: bytes, name: str) -> Iterator[Block]:
    if not content.startswith(_START):
        raise UsageError(f"{name} is not a UF2 image: {WANTED}.")
    for at in range(0, len(content), BLOCK):
        block = content[at : at + BLOCK]
        if len(block) < BLOCK:
            raise UsageError(f"{name} is cut short: fetch it again.")
        _, _, flags, address, size, number, count, family = _HEADER.unpack_from(block)
        if not block.startswith(_START) or not block.endswith(_END) or size > _ROOM:
            raise UsageError(f"{name} is damaged: fetch it again.")
        given = family if flags & _FAMILY_GIVEN else None
        payload = block[_HEADER.size : _HEADER.size + size]
        yield Block(flags, address, number, count, given, payload)


def write(pages: Mapping[int, bytes]) -> bytes:
    """A UF2 for ``pages``, in which the page that the chip starts from is the last to be written.

    The boot ROM erases one sector of flash for each 16 *block numbers*, at the address of the
    first block that it sees of them. So each sector is complete, with 16 numbers of its own. The
    order of the blocks in the file is free. Here the first sector is erased first, and its first
    page comes last: that page is the second-stage boot loader, without whose checksum the boot ROM
    starts nothing and waits for another UF2. So what was interrupted never runs (P1).
    """
    sectors = sorted({address // SECTOR * SECTOR for address in pages})
    order = [
        (number * _PAGES + page, sector + page * PAGE)
        for number, sector in enumerate(sectors)
        for page in range(_PAGES)
    ]
    order = [*order[1:], order[0]]
    return b"".join(
        _HEADER.pack(*_MAGIC, _FAMILY_GIVEN, address, PAGE, number, len(order), RP2040)
        + pages.get(address, BLANK).ljust(_ROOM, b"\0")
        + _END
        for number, address in order
    )
