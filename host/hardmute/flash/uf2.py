"""UF2 files, as the RP2040's boot ROM reads and as this project writes them.

Format: https://github.com/microsoft/uf2. What the boot ROM makes of it: raspberrypi/pico-bootrom,
``bootrom/virtual_disk.c``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from hardmute.errors import UsageError

BLOCK = 512
PAGE = 256
SECTOR = 4096
FLASH = 0x1000_0000
RP2040 = 0xE48B_FF56
BLANK = b"\xff" * PAGE

_FAMILIES = {0xE48B_FF59: "RP2350 (Pico 2)", 0xE48B_FF5A: "RP2350 (Pico 2)"}
# Two magic numbers, flags, address, size of the payload, number, count, family; the payload in 476
# bytes; one more magic number.
_HEADER = struct.Struct("<8I")
_MAGIC = (0x0A32_4655, 0x9E5D_5157)
_END = struct.pack("<I", 0x0AB1_6F30)
_NOT_MAIN_FLASH = 0x1
_FAMILY_GIVEN = 0x2000
_PAGES = SECTOR // PAGE


class Block(NamedTuple):
    """One block. ``family``: None if it names none."""

    flags: int
    address: int
    family: int | None
    payload: bytes


def blocks(content: bytes, name: str) -> Iterator[Block]:
    """The blocks of a UF2 file. Raises `UsageError` for one that is no UF2; ``name`` is its."""
    if not content or len(content) % BLOCK:
        raise UsageError(f"{name} is no UF2 image.")
    for at in range(0, len(content), BLOCK):
        block = content[at : at + BLOCK]
        first, second, flags, address, size, _, _, family = _HEADER.unpack_from(block)
        if (first, second) != _MAGIC or not block.endswith(_END) or size > 476:
            raise UsageError(f"{name} is no UF2 image.")
        given = family if flags & _FAMILY_GIVEN else None
        yield Block(flags, address, given, block[_HEADER.size : _HEADER.size + size])


def read(content: bytes, name: str) -> dict[int, bytes]:
    """Address and content of each page of 256 bytes that a UF2 writes to an RP2040's flash.

    Raises `UsageError` for one that is not for this chip.
    """
    pages: dict[int, bytes] = {}
    for block in blocks(content, name):
        if block.family != RP2040:
            family = block.family
            other = "another chip" if family is None else _FAMILIES.get(family, f"{family:#010x}")
            raise UsageError(f"{name} is an image for {other}, not for the RP2040 of a Pico.")
        if block.flags & _NOT_MAIN_FLASH:
            continue
        if len(block.payload) != PAGE or block.address % PAGE or block.address < FLASH:
            raise UsageError(f"{name} is no image that the RP2040's boot ROM can write.")
        pages[block.address] = block.payload
    if FLASH not in pages:
        raise UsageError(f"{name} does not begin at the beginning of the flash: no whole image.")
    return pages


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
        + pages.get(address, BLANK).ljust(476, b"\0")
        + _END
        for number, address in order
    )
