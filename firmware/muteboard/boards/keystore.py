"""Secret bytes on the flash, such that old ones are gone: for boards with littlefs on NOR flash.

littlefs copies what it changes, and leaves the old block as it was until it needs it. So the keys
lie in a block that littlefs takes for the content of a file, and never touches: the file is
written once, one block long, with a header of random bytes by which the raw device finds the
block. From then on pages are programmed in it, without erasing: each set of keys in the next blank
page, and zeros over the one before, for NOR flash turns any bit to 0 at any time. A full block is
replaced by a new file.
"""

import binascii
import os
import struct

try:
    from micropython import const
except ImportError:

    def const(__value):
        return __value


TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_NAME = "keys"
_PARTIAL = "keys.tmp"
# Larger than what littlefs keeps inside a directory (an eighth of a block), and no larger than
# what it keeps in a block without pointers.
_BLOCK = const(4096)
# What flash programs at a time.
_PAGE = const(256)
_MAGIC = b"hardmute keys 1\n"
_HEADER = const(32)
_BLANK = b"\xff" * _PAGE
_BLOCK_COUNT = const(4)
_BLOCK_SIZE = const(5)


class KeyStore:
    """Holds ``size`` bytes. ``device``: the block device that the file system is on.

    ``entropy(count)`` gives random bytes. Raises `OSError` where this cannot work.
    """

    def __init__(self, device: "Any", entropy: "Callable[[int], bytes]", size: int):
        self._device = device
        self._entropy = entropy
        self._size = size
        # The block of the file, and the newest keys' number.
        self._block = -1
        self._number = 0
        self._keys: bytes | None = None
        self._buffer = bytearray(_PAGE)
        if device.ioctl(_BLOCK_SIZE, 0) != _BLOCK:
            raise OSError("blocks of another size")
        self._open()

    def load(self) -> "bytes | None":
        """What was stored last, or None."""
        return self._keys

    def store(self, keys: bytes) -> None:
        """Store, then destroy what was stored before. If power goes, one of the two is there.

        After an `OSError` it is not known which: then this object is of no use any more.
        """
        page = self._blank_page()
        if page:
            self._program(self._block, page, keys)
            self._wipe(self._block, page)
        else:
            old, self._block = self._block, self._new_block()
            self._program(self._block, 1, keys)
            os.rename(_PARTIAL, _NAME)
            if old >= 0:
                self._wipe(old, 0)
        self._keys = keys

    def _open(self) -> None:
        try:
            # It was not in use yet.
            os.remove(_PARTIAL)
        except OSError:
            pass
        try:
            with open(_NAME, "rb") as file:
                header = file.read(_HEADER)
        except OSError:
            header = b""
        start = memoryview(self._buffer)[:_HEADER]
        for block in range(self._device.ioctl(_BLOCK_COUNT, 0)):
            self._device.readblocks(block, start, 0)
            if start[: len(_MAGIC)] == _MAGIC:
                if start == header:
                    self._block = block
                else:
                    # Left behind by a `store` that power cut short: no file's any more.
                    self._wipe(block, 0)
        if self._block >= 0:
            self._read()

    def _read(self) -> None:
        newest = 0
        for page in range(1, _BLOCK // _PAGE):
            self._device.readblocks(self._block, self._buffer, page * _PAGE)
            number, keys = self._unpack()
            if keys is not None and number >= self._number:
                newest, self._number, self._keys = page, number, keys
        self._wipe(self._block, newest)

    def _unpack(self) -> "tuple[int, bytes | None]":
        end = 4 + self._size
        number, check = struct.unpack_from("<I", self._buffer)[0], self._buffer[end : end + 4]
        if check != struct.pack("<I", binascii.crc32(self._buffer[:end]) & 0xFFFFFFFF):
            return 0, None
        return number, bytes(self._buffer[4:end])

    def _blank_page(self) -> int:
        """A page that takes new keys, 0 if there is none."""
        if self._block >= 0:
            for page in range(1, _BLOCK // _PAGE):
                self._device.readblocks(self._block, self._buffer, page * _PAGE)
                if self._buffer == _BLANK:
                    return page
        return 0

    def _program(self, block: int, page: int, keys: bytes) -> None:
        self._number += 1
        body = struct.pack("<I", self._number) + keys
        entry = body + struct.pack("<I", binascii.crc32(body) & 0xFFFFFFFF)
        entry += _BLANK[len(entry) :]
        self._device.writeblocks(block, entry, page * _PAGE)
        self._device.readblocks(block, self._buffer, page * _PAGE)
        if self._buffer != entry:
            raise OSError("flash does not take the keys")

    def _wipe(self, block: int, but: int) -> None:
        """Zeros over all that was ever written to ``block``, but page ``but``."""
        zeros = bytes(_PAGE)
        for page in range(1, _BLOCK // _PAGE):
            if page != but:
                self._device.readblocks(block, self._buffer, page * _PAGE)
                if self._buffer != _BLANK and self._buffer != zeros:
                    self._device.writeblocks(block, zeros, page * _PAGE)

    def _new_block(self) -> int:
        """A block of the file `_PARTIAL`, with a header and nothing else."""
        header = _MAGIC + self._entropy(_HEADER - len(_MAGIC))
        with open(_PARTIAL, "wb") as file:
            file.write(header + _BLANK[_HEADER:])
            written = _PAGE
            while written < _BLOCK:
                written += file.write(_BLANK)
        start = memoryview(self._buffer)[:_HEADER]
        for block in range(self._device.ioctl(_BLOCK_COUNT, 0)):
            self._device.readblocks(block, start, 0)
            if start == header:
                return block
        raise OSError("no such block")
