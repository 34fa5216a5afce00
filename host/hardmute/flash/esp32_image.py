"""MicroPython's image for an ESP32, taken apart, and our files beside it.

What lies where is read out of the image, and out of the partition table in it. Formats: ESP-IDF
Programming Guide, "App Image Format" and "Partition Tables". How the parts are joined to one file
that begins at the boot loader: ports/esp32/makeimg.py of MicroPython 1.25.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Mapping
from typing import NamedTuple

from hardmute.flash import machines, releases
from hardmute.model.errors import UsageError

# Where the ROM of the classic ESP32 looks for the boot loader, and that for the partition table.
BOOTLOADER_AT = 0x1000
TABLE_AT = 0x8000
SECTOR = 0x1000
# The names of the parts, which are also words for a person.
BOOTLOADER = "boot loader"
TABLE = "partition table"
RUNTIME = "MicroPython"
FILES = "files"
KIND = "ESP32"

_MAGIC = 0xE9
# Magic number, segments, 6 bytes of flash settings and entry point; chip, revisions that it runs
# on (of which the older field counts whole ones), and whether a SHA-256 follows.
_HEADER = struct.Struct("<BB2xI4xHBHH4xB")
_SEGMENT = struct.Struct("<II")
_MAX_SEGMENTS = 16
_CHECKSUM_SEED = 0xEF
_HASH = 32
# esp_chip_id_t in ESP-IDF's esp_app_format.h.
_CHIPS = {
    0: KIND,
    2: "ESP32-S2",
    5: "ESP32-C3",
    9: "ESP32-S3",
    12: "ESP32-C2",
    13: "ESP32-C6",
    16: "ESP32-H2",
    18: "ESP32-P4",
    20: "ESP32-C61",
    23: "ESP32-C5",
}
# Magic number, type, subtype, offset, size, label, flags; a blank entry ends the table. The MD5 of
# the entries before it stands in one with a magic number of its own.
_ENTRY = struct.Struct("<HBBII16sI")
_ENTRY_MAGIC = 0x50AA
_MD5_MAGIC = b"\xeb\xeb" + b"\xff" * 14
_MAX_TABLE = 0xC00
_APP = 0
_DATA = 1
# The partition that ports/esp32/modules/flashbdev.py mounts.
_LABEL = "vfs"
# What the prompt and sys.version print. (The application's description would have name and
# version, but MicroPython's builds leave them empty.)
_BANNER = re.compile(rb"MicroPython v?(\d+\.\d+[\x21-\x7e]*)")
# For messages: what is supported.
_WANTED = "for the classic ESP32, hardmute supports only MicroPython's ESP32_GENERIC (.bin)"
# A name among the frozen modules.
_OURS = b"muteboard/"


class FlashPart(NamedTuple):
    """Bytes for the flash from ``offset`` on, which is a whole number of sectors."""

    offset: int
    data: bytes
    name: str


class Partition(NamedTuple):
    """A line of the partition table; ``offset`` and ``size`` in bytes."""

    type: int
    subtype: int
    offset: int
    size: int
    label: str


class Esp32Image(NamedTuple):
    """A MicroPython for the classic ESP32.

    ``name``: for messages. ``version``: MicroPython's. ``revisions``: the oldest and newest of the
    chip that it is for, in hundredths (3.0 is 300). ``files``: where the file system lies.
    ``locked``: our program is frozen into it.
    """

    name: str
    version: str
    revisions: tuple[int, int]
    bootloader: FlashPart
    table: FlashPart
    runtime: FlashPart
    files: Partition
    locked: bool

    @property
    def end(self) -> int:
        """How much flash it needs, in bytes."""
        return max(part.offset + part.size for part in partitions(self.table.data))


def parse(content: bytes, name: str) -> Esp32Image:
    """The image in a .bin that begins with the boot loader. Raises `UsageError` for any other."""
    _check_chip(content, name)
    table = content[TABLE_AT - BOOTLOADER_AT :][:SECTOR]
    listed = partitions(table)
    if len(table) < SECTOR or not listed:
        raise UsageError(
            f"{name} has no whole partition table at {TABLE_AT:#x}: it is cut short, or damaged, "
            "or the application alone. Take the whole image (.bin, not .app-bin)."
        )
    apps = [part for part in listed if part.type == _APP]
    place = files_place(listed)
    if len(apps) != 1 or place is None:
        raise UsageError(
            f"{name} has {len(apps)} places for a program and {'no' if place is None else 'one'} "
            "for files, where one of each is needed: take ESP32_GENERIC, not its OTA variant."
        )
    bootloader = _application(content[: TABLE_AT - BOOTLOADER_AT], name)
    runtime = _application(content[apps[0].offset - BOOTLOADER_AT :], name)
    if len(runtime) > apps[0].size:
        raise UsageError(f"{name} is larger than the place that its own table gives it.")
    _check_nothing_else(
        content,
        name,
        [
            (BOOTLOADER_AT, len(bootloader)),
            (TABLE_AT, SECTOR),
            (apps[0].offset, len(runtime)),
        ],
    )
    banner = _BANNER.search(runtime)
    if banner is None:
        raise UsageError(f"{name} is not MicroPython: {_WANTED}.")
    machines.check(machines.built_for(runtime), f"{name} is MicroPython for")
    version = banner[1].decode("ascii")
    if releases.numbers(version) < releases.OLDEST:
        raise UsageError(f"{name} is MicroPython {version}: the firmware needs 1.25.")
    _, _, _, _, _, oldest, newest, _ = _HEADER.unpack_from(runtime)
    return Esp32Image(
        name,
        version,
        (oldest, newest or 0xFFFF),
        FlashPart(BOOTLOADER_AT, bootloader, BOOTLOADER),
        FlashPart(TABLE_AT, table, TABLE),
        FlashPart(apps[0].offset, runtime, RUNTIME),
        place,
        _OURS in runtime,
    )


def compose(image: Esp32Image, files: Mapping[str, bytes]) -> list[FlashPart]:
    """All of ``image``, and a new file system with ``files``, in the order of writing.

    What makes the chip start comes last: without a boot loader the ROM starts nothing, so what was
    interrupted never runs (P1). Raises `UsageError` where the files do not fit.
    """
    from littlefs import LittleFSError

    from hardmute.flash.littlefs_image import pack

    try:
        packed = pack(files, image.files.size)
    except LittleFSError as error:
        raise UsageError(
            f"The files do not fit in the {image.files.size // 1024} KiB that {image.name} has "
            f"for them ({error})."
        ) from error
    place = FlashPart(image.files.offset, packed, FILES)
    return [place, image.runtime, image.table, image.bootloader]


def partitions(table: bytes) -> list[Partition]:
    """The lines of a partition table; none for what is no valid one."""
    listed: list[Partition] = []
    for at in range(0, min(_MAX_TABLE, len(table)), _ENTRY.size):
        entry = table[at : at + _ENTRY.size]
        if entry.startswith(_MD5_MAGIC):
            good = (
                entry[len(_MD5_MAGIC) :] == hashlib.md5(table[:at], usedforsecurity=False).digest()
            )
            return listed if good else []
        if entry == b"\xff" * _ENTRY.size:
            return listed
        if len(entry) < _ENTRY.size:
            return []
        magic, kind, subtype, offset, size, label, _ = _ENTRY.unpack(entry)
        if magic != _ENTRY_MAGIC or offset % SECTOR or offset < TABLE_AT + SECTOR or not size:
            return []
        text = label.partition(b"\0")[0].decode("ascii", "replace")
        listed.append(Partition(kind, subtype, offset, size, text))
    return []


def files_place(listed: list[Partition]) -> Partition | None:
    """The partition that MicroPython mounts, if there is exactly one."""
    found = [part for part in listed if part.type == _DATA and part.label == _LABEL]
    return found[0] if len(found) == 1 else None


def _check_chip(content: bytes, name: str) -> None:
    if len(content) < _HEADER.size or content[0] != _MAGIC:
        raise UsageError(f"{name} is not an image for an ESP32: {_WANTED}.")
    chip = _HEADER.unpack_from(content)[3]
    if chip != 0:
        other = _CHIPS.get(chip, f"another chip (number {chip})")
        raise UsageError(f"{name} is an image for {other}: {_WANTED}.")


def _application(content: bytes, name: str) -> bytes:
    """The application or boot loader that ``content`` begins with, checksum and hash verified."""
    if len(content) < _HEADER.size or content[0] != _MAGIC:
        raise UsageError(f"{name} is cut short or damaged: a program is missing in it.")
    hashed = _HEADER.unpack_from(content)[-1] == 1
    count = content[1]
    at = _HEADER.size
    checksum = _CHECKSUM_SEED
    if not 1 <= count <= _MAX_SEGMENTS:
        raise UsageError(f"{name} is damaged: it has a program with {count} segments.")
    for _ in range(count):
        segment = content[at : at + _SEGMENT.size]
        size = _SEGMENT.unpack(segment)[1] if len(segment) == _SEGMENT.size else len(content)
        at += _SEGMENT.size + size
        if at > len(content):
            raise UsageError(f"{name} is cut short: fetch it again.")
        for byte in content[at - size : at]:
            checksum ^= byte
    # The checksum is the last byte of a block of 16.
    end = at // 16 * 16 + 16
    digest = content[end : end + _HASH]
    if len(content) < end + _HASH * hashed:
        raise UsageError(f"{name} is cut short: fetch it again.")
    if content[end - 1] != checksum or (
        hashed and hashlib.sha256(content[:end]).digest() != digest
    ):
        raise UsageError(f"{name} is damaged: a checksum in it is wrong. Fetch it again.")
    return content[: end + _HASH * hashed]


def _check_nothing_else(content: bytes, name: str, known: list[tuple[int, int]]) -> None:
    """Raise `UsageError` unless all outside ``known`` (offset and size, ascending) is blank."""
    at = BOOTLOADER_AT
    for start, end in [*((start, start + size) for start, size in known), (1 << 32, 0)]:
        between = content[at - BOOTLOADER_AT : start - BOOTLOADER_AT]
        if between.strip(b"\xff"):
            raise UsageError(
                f"{name} holds more than MicroPython, from {at:#x} on: it is no plain image of it."
            )
        at = end
