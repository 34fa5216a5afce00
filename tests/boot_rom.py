"""A model of how the RP2040's boot ROM writes a UF2 that is copied to its drive.

After raspberrypi/pico-bootrom-rp2040, ``bootrom/virtual_disk.c``: block by block as they come; a
sector is erased when the first block of each 16 *block numbers* is seen, at the address of that
block; flash is programmed by clearing bits. And of ``bootrom_main.c``: nothing is started unless
the first 252 bytes of the flash have their CRC behind them.
"""

from __future__ import annotations

import struct

FLASH = 0x1000_0000
_HEADER = struct.Struct("<8I")
_FAMILY = 0xE48B_FF56


class BootRom:
    """A chip in BOOTSEL with ``flash`` on it. ``done``: a UF2 is complete, so it restarts."""

    def __init__(self, flash: bytes) -> None:
        self.flash = bytearray(flash)
        self.done = False
        self._count = 0
        self._seen: set[int] = set()
        self._erased: set[int] = set()

    def take(self, block: bytes) -> None:
        """One sector of 512 bytes, written to the drive."""
        magic, second, flags, address, size, number, count, family = _HEADER.unpack_from(block)
        if (magic, second) != (0x0A32_4655, 0x9E5D_5157) or block[-4:] != b"\x30\x6f\xb1\x0a":
            return
        if not flags & 0x2000 or family != _FAMILY or flags & 1 or size != 256:
            return
        if count != self._count:
            self._count = count
            self._seen.clear()
            self._erased.clear()
        if number >= count or number in self._seen:
            return
        self._seen.add(number)
        at = address - FLASH
        if number // 16 not in self._erased:
            self._erased.add(number // 16)
            sector = at & ~0xFFF
            self.flash[sector : sector + 4096] = b"\xff" * 4096
        for index, byte in enumerate(block[32:288], at):
            self.flash[index] &= byte
        self.done = len(self._seen) == count

    def copy(self, uf2: bytes) -> BootRom:
        """All the blocks of a file, in its order."""
        for at in range(0, len(uf2), 512):
            self.take(uf2[at : at + 512])
        return self

    @property
    def starts(self) -> bool:
        """Whether the chip runs what is on the flash, instead of waiting in BOOTSEL."""
        return _crc(self.flash[:252]) == struct.unpack_from("<I", self.flash, 252)[0]


def _crc(data: bytes) -> int:
    """CRC-32/MPEG-2 (RP2040 datasheet, "Boot sequence")."""
    value = 0xFFFF_FFFF
    for byte in data:
        value ^= byte << 24
        for _ in range(8):
            value = (value << 1 ^ (0x04C1_1DB7 if value >> 31 else 0)) & 0xFFFF_FFFF
    return value
