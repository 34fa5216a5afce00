"""Secret bytes on the flash, such that old ones are gone: for boards with littlefs on NOR flash.

littlefs copies what it changes, and leaves the old block as it was until it needs it. So the keys
lie in a block that littlefs takes for the content of a file, and never touches: the file is
written once, one block long, with a header of random bytes by which the raw device finds the
block. From then on pages are programmed in it, without erasing: each set of keys in the next blank
page, and zeros over the one before, for NOR flash turns any bit to 0 at any time. A full block is
replaced by a new file, and so is one whose keys are of another size than the new ones.

The header says whose keys these are, how they lie there and how many bytes they have. Nothing is
overwritten but older keys of the same file, and these only once newer ones have been read. What
another version of the firmware has left, and this one does not know, stays as it is.

==========  ===========================================================
byte        of the header, little-endian
==========  ===========================================================
0 to 15     `_MAGIC_1` or `_MAGIC_2`
16 to 31    random
32, 33      version of what follows and of the pages, 2
34, 35      bytes of keys
36 to 39    CRC-32 of the file's name
40 to 43    CRC-32 of the eight bytes before
==========  ===========================================================

Before there were versions the bytes from 32 on were blank: 76 bytes of keys, in the file ``keys``.
"""

import binascii
import os
import struct

from muteboard import const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

# Larger than what littlefs keeps inside a directory (an eighth of a block), and no larger than
# what it keeps in a block without pointers.
_BLOCK = const(4096)
# What flash programs at a time.
_PAGE = const(256)
# The first holds the header.
_PAGES = const(16)
# The firmware from before there were versions takes every block with the first for keys of 76
# bytes in the file ``keys``, and overwrites what is anything else. So nothing else has it, and
# what has it can be read there as well.
_MAGIC_1 = b"hardmute keys 1\n"
_MAGIC_2 = b"hardmute keys 2\n"
_MAGIC = const(16)
_FIRST_NAME = b"keys"
_FIRST_SIZE = const(76)
_VERSION = const(2)
_HEADER = const(44)
_FIELDS_AT = const(32)
_CHECK_AT = const(40)
_BLANK = b"\xff" * _PAGE
# Before it are littlefs's own superblocks.
_FIRST_BLOCK = const(2)
_BLOCK_COUNT = const(4)
_BLOCK_SIZE = const(5)
_ENOENT = const(2)


class KeyStore:
    """Holds secret bytes, at most 248, in the file ``name``. ``device``: the one that it is on.

    ``entropy(count)`` gives random bytes. Raises `OSError` where this cannot work, or if what is
    stored cannot be read: by another version of the firmware, perhaps. Then all stays as it is.
    """

    def __init__(self, device: "Any", entropy: "Callable[[int], bytes]", name: str):
        self._device = device
        self._entropy = entropy
        self._name = name
        # The block of the file, and how many bytes its keys have; in it the page of the newest
        # keys and the first blank page, or 0.
        self._block = -1
        self._size = 0
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
        """What was stored last, of the size that it was stored in; or None."""
        return self._keys

    def store(self, keys: bytes) -> None:
        """Store, then destroy what was stored before. If power goes, one of the two is there.

        After an `OSError` it is not known which: then this object is of no use any more.
        """
        block, page = self._block, self._page
        if self._blank and self._size == len(keys):
            self._page = self._blank
            self._program(keys)
        else:
            self._size = len(keys)
            self._block, self._page = self._new_block(), 1
            self._program(keys)
            os.rename(self._partial(), self._name)
        if page:
            self._wipe(block, page)
        self._blank = (self._page + 1) % _PAGES
        self._keys = keys

    def _partial(self) -> str:
        return self._name + ".tmp"

    def _open(self) -> None:
        try:
            # It was not in use yet.
            os.remove(self._partial())
        except OSError:
            pass
        header = self._file_header()
        start = memoryview(self._buffer)[:_HEADER]
        others = []
        for block in range(_FIRST_BLOCK, self._device.ioctl(_BLOCK_COUNT, 0)):
            self._device.readblocks(block, start, 0)
            if header and start == header:
                self._block = block
            elif _size_in(start, self._name):
                others.append(block)
        if header:
            self._size = _size_in(header, self._name)
            self._read()
        for block in others:
            # Left behind by a `store` that power cut short: no file's any more.
            for page in self._look(block)[0]:
                self._wipe(block, page)

    def _file_header(self) -> bytes:
        """Of the file; empty if there is no file."""
        try:
            with open(self._name, "rb") as file:
                return file.read(_HEADER) or bytes(_HEADER)
        except OSError as error:
            if error.errno != _ENOENT:
                raise
        return b""

    def _read(self) -> None:
        written: dict[int, bytes] = {}
        if self._size and self._block >= 0:
            written, self._blank = self._look(self._block)
        for page, content in written.items():
            number, keys = self._unpack(content)
            if keys is not None and number >= self._number:
                self._page, self._number, self._keys = page, number, keys
        if self._keys is None:
            # There have been some, and to take them for none would be the end of a pairing.
            raise OSError("keys that this firmware cannot read")
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
        if check != struct.pack("<I", _crc32(page[:end])):
            return 0, None
        return number, page[4:end]

    def _program(self, keys: bytes) -> None:
        """Write ``keys`` to the page, which is blank."""
        self._number += 1
        body = struct.pack("<I", self._number) + keys
        entry = body + struct.pack("<I", _crc32(body))
        entry += _BLANK[len(entry) :]
        self._device.writeblocks(self._block, entry, self._page * _PAGE)
        self._device.readblocks(self._block, self._buffer, self._page * _PAGE)
        if self._buffer != entry:
            raise OSError("flash does not take the keys")

    def _wipe(self, block: int, page: int) -> None:
        """Zeros over ``page`` of ``block``."""
        self._device.writeblocks(block, bytes(_PAGE), page * _PAGE)

    def _new_block(self) -> int:
        """A block of the partial file, with a header and nothing else."""
        name = self._name.encode()
        first = name == _FIRST_NAME and self._size == _FIRST_SIZE
        header = (_MAGIC_1 if first else _MAGIC_2) + self._entropy(_FIELDS_AT - _MAGIC)
        fields = struct.pack("<HHI", _VERSION, self._size, _crc32(name))
        header += fields + struct.pack("<I", _crc32(fields))
        with open(self._partial(), "wb") as file:
            file.write(header + _BLANK[_HEADER:])
            written = _PAGE
            while written < _BLOCK:
                written += file.write(_BLANK)
        start = memoryview(self._buffer)[:_HEADER]
        for block in range(_FIRST_BLOCK, self._device.ioctl(_BLOCK_COUNT, 0)):
            self._device.readblocks(block, start, 0)
            if start == header:
                return block
        raise OSError("no such block")


def _size_in(header: "bytes | memoryview", name: str) -> int:
    """How many bytes the keys in a block with this header have; 0 if it is none that we know.

    ``name``: of the file whose keys they are.
    """
    magic = header[:_MAGIC]
    if magic == _MAGIC_1 and header[_FIELDS_AT:] == _BLANK[_FIELDS_AT:_HEADER]:
        return _FIRST_SIZE if name.encode() == _FIRST_NAME else 0
    if magic not in (_MAGIC_1, _MAGIC_2):
        return 0
    version, size, owner, check = struct.unpack_from("<HHII", header, _FIELDS_AT)
    known = version == _VERSION and owner == _crc32(name.encode())
    return size if known and check == _crc32(header[_FIELDS_AT:_CHECK_AT]) else 0


def _crc32(data: "bytes | memoryview") -> int:
    return binascii.crc32(data) & 0xFFFFFFFF
