"""What a UF2 for the Pico is, by the binary info in it, and our files joined to it.

Binary info is what ``picotool info`` prints: pico-sdk, ``pico/binary_info/{defs,structure}.h``.
MicroPython declares there where its file system lies (ports/rp2/rp2_flash.c), and which modules
are frozen into it (ports/rp2/main.c, rp2_binary_info.c). The board that it names is the SDK's.
MicroPython's own name for the machine is a string in the program.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from hardmute.flash import machines, releases, uf2
from hardmute.model.errors import UsageError

# The header lies within the first 256 bytes of what is linked, behind boot loader and vectors.
_SEARCHED = 1024
_HEADER = struct.Struct("<5I")
_MARKERS = (0x7188_EBF2, 0xE71A_A390)
_ID_AND_STRING = 6
_BLOCK_DEVICE = 7
_PROGRAM_NAME = 0x0203_1C86
_PROGRAM_VERSION = 0x11A9_BC3A
_BOARD = 0xB63C_FFBB
_FROZEN = 0x4A99_D719
_MAX_STRING = 256
_FLASH_END = uf2.FLASH + uf2.FLASH_SIZE
# What its prompt and its boot_out.txt begin with.
_CIRCUITPYTHON = b"Adafruit CircuitPython "
# What our program is called among the frozen modules.
_OURS = "muteboard"
_PICO = "pico"


class Image(NamedTuple):
    """A MicroPython for the Pico.

    ``name``: for messages. ``version``: MicroPython's. ``start`` and ``size``: its file system's
    place in the address space, in bytes. ``locked``: our program is frozen into it.
    """

    name: str
    pages: dict[int, bytes]
    version: str
    start: int
    size: int
    locked: bool

    @property
    def has_files(self) -> bool:
        """Whether it brings a file system, over the board's."""
        return any(self.start <= page < self.start + self.size for page in self.pages)


def parse(content: bytes, name: str) -> Image:
    """The image in a UF2. Raises `UsageError` for one that is not MicroPython for a Pico."""
    return parse_pages(uf2.read(content, name), name)


def parse_pages(pages: dict[int, bytes], name: str) -> Image:
    """The same for what is on a flash, or is to be."""
    named: dict[int, str] = {}
    frozen: set[str] = set()
    place: tuple[int, int] | None = None
    memory = _Memory(pages)
    for kind, entry in _entries(memory):
        if kind == _ID_AND_STRING:
            which, value = memory.words(entry + 4, 2)
            if which == _FROZEN:
                frozen.add(memory.string(value))
            else:
                named[which] = memory.string(value)
        elif kind == _BLOCK_DEVICE:
            label, start, size = memory.words(entry + 4, 3)
            if memory.string(label) == "MicroPython":
                place = (start, size)
    if named.get(_PROGRAM_NAME) != "MicroPython" or place is None:
        whole = b"".join(pages[page] for page in sorted(pages))
        found = "CircuitPython" if _CIRCUITPYTHON in whole else "not MicroPython"
        raise UsageError(f"{name} is {found}: {uf2.WANTED}.")
    start, size = place
    program = b"".join(pages[page] for page in sorted(pages) if page < start)
    machines.check(machines.built_for(program), f"{name} is MicroPython for")
    if named.get(_BOARD) != _PICO:
        raise UsageError(f"{name} is for the board {named.get(_BOARD)!r}: {uf2.WANTED}.")
    end = start + size
    if start % uf2.SECTOR or size % uf2.SECTOR or not uf2.FLASH < start < end <= _FLASH_END:
        raise UsageError(f"{name} has its files where a Pico has no flash: {uf2.WANTED}.")
    version = named.get(_PROGRAM_VERSION, "")
    if releases.numbers(version) < releases.OLDEST:
        raise UsageError(f"{name} is MicroPython {version or '?'}: the firmware needs v1.25.")
    locked = any(module.partition("/")[0].partition(".")[0] == _OURS for module in frozen)
    return Image(name, pages, version, start, size, locked)


def load(file: Path) -> Image:
    """As `parse`, of a file."""
    return parse(file.read_bytes(), str(file))


def check_room(image: Image) -> None:
    """Raise `UsageError` where something of ``image`` is in the place of its file system."""
    if image.has_files:
        raise UsageError(f"{image.name} brings a file system of its own: {uf2.WANTED}.")


def join(image: Image, files: Mapping[str, bytes]) -> dict[int, bytes]:
    """The pages of ``image`` and of a new file system with ``files``, all of that.

    Also what is blank in it is written: of an older file system nothing must be left that a newer
    one could take for its own, nor any key. Raises `UsageError` where it does not fit.
    """
    from hardmute.flash.littlefs_image import pack

    check_room(image)
    content = pack(files, image.size)
    pages = dict(image.pages)
    for at in range(0, image.size, uf2.PAGE):
        pages[image.start + at] = content[at : at + uf2.PAGE]
    return pages


def files(image: Image) -> dict[str, bytes]:
    """The files in the file system that an image brings, or a flash has. Raises `UsageError`."""
    from littlefs import LittleFSError

    from hardmute.flash.littlefs_image import unpack

    try:
        return unpack(region(image.pages, image.start, image.size))
    except LittleFSError as error:
        raise UsageError(f"There is no file system in {image.name} ({error}).") from error


def region(pages: Mapping[int, bytes], start: int, size: int) -> bytes:
    """``size`` bytes of the flash from ``start`` on, blank where no page is."""
    return b"".join(
        pages.get(address, uf2.BLANK) for address in range(start, start + size, uf2.PAGE)
    )


class _Memory:
    """The flash as the image leaves it. What lies outside reads as blank."""

    def __init__(self, pages: Mapping[int, bytes]) -> None:
        self._pages = pages

    def read(self, address: int, size: int) -> bytes:
        first = address // uf2.PAGE * uf2.PAGE
        end = address + size
        held = b"".join(self._pages.get(page, uf2.BLANK) for page in range(first, end, uf2.PAGE))
        return held[address - first : end - first]

    def words(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self.read(address, 4 * count))

    def string(self, address: int) -> str:
        held = self.read(address, _MAX_STRING).partition(b"\0")[0]
        return held.decode("ascii", "replace")


def _entries(memory: _Memory) -> Iterator[tuple[int, int]]:
    """Kind and address of each entry of the binary info."""
    for at in range(uf2.FLASH, uf2.FLASH + _SEARCHED, 4):
        begin, first, end, _, last = _HEADER.unpack(memory.read(at, _HEADER.size))
        if (begin, last) == _MARKERS:
            # No image has thousands of entries; a damaged one may say so.
            for pointer in range(first, min(end, first + 4 * 1024), 4):
                (entry,) = memory.words(pointer, 1)
                (head,) = memory.words(entry, 1)
                yield head & 0xFFFF, entry
            return
