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

from muteboard import const

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
# The first holds the header.
_PAGES = const(16)
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
        # The block of the file; in it the page of the newest keys and the first blank page, or 0.
        self._block = -1
        self._page = 0
        self._blank = 0
        # The newest keys and their number.
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
        block, page = self._block, self._page
        if self._blank:
            self._page = self._blank
            self._program(keys)
        else:
            self._block, self._page = self._new_block(), 1
            self._program(keys)
            os.rename(_PARTIAL, _NAME)
        if page:
            self._wipe(block, page)
        self._blank = (self._page + 1) % _PAGES
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
                    for page in self._look(block)[0]:
                        self._wipe(block, page)
        if self._block >= 0:
            self._read()

    def _read(self) -> None:
        written, self._blank = self._look(self._block)
        for page, content in written.items():
            number, keys = self._unpack(content)
            if keys is not None and number >= self._number:
                self._page, self._number, self._keys = page, number, keys
        for page in written:
            if page != self._page:
                self._wipe(self._block, page)

    def _look(self, block: int) -> "tuple[dict[int, bytes], int]":
        """The pages of ``block`` with something written; and its first blank page, 0 if none."""
        content = bytearray(_BLOCK - _PAGE)
        self._device.readblocks(block, content, _PAGE)
        zeros = bytes(_PAGE)
        written = {}
        blank = 0
        for page in range(1, _PAGES):
            at = (page - 1) * _PAGE
            found = bytes(content[at : at + _PAGE])
            if found == _BLANK:
                blank = blank or page
            elif found != zeros:
                written[page] = found
        return written, blank

    def _unpack(self, page: bytes) -> "tuple[int, bytes | None]":
        end = 4 + self._size
        number, check = struct.unpack_from("<I", page)[0], page[end : end + 4]
        if check != struct.pack("<I", binascii.crc32(page[:end]) & 0xFFFFFFFF):
            return 0, None
        return number, page[4:end]

    def _program(self, keys: bytes) -> None:
        """Write ``keys`` to the page, which is blank."""
        self._number += 1
        body = struct.pack("<I", self._number) + keys
        entry = body + struct.pack("<I", binascii.crc32(body) & 0xFFFFFFFF)
        entry += _BLANK[len(entry) :]
        self._device.writeblocks(self._block, entry, self._page * _PAGE)
        self._device.readblocks(self._block, self._buffer, self._page * _PAGE)
        if self._buffer != entry:
            raise OSError("flash does not take the keys")

    def _wipe(self, block: int, page: int) -> None:
        """Zeros over ``page`` of ``block``."""
        self._device.writeblocks(block, bytes(_PAGE), page * _PAGE)

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
