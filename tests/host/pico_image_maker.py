"""Synthetic UF2 images for a Pico and for other chips: right in form, and no program in them.

Nothing here may ever be flashed to a chip that is to do something.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from hardmute.flash import uf2

FILES_AT = 0x100A_0000
FILES_SIZE = 1408 * 1024
MACHINE = "Raspberry Pi Pico with RP2040"
# As picotool 2 puts it before an image for the RP2350, against erratum RP2350-E10 (elf2uf2.cpp).
ABSOLUTE = 0xE48B_FF57
_E10_AT = 0x10FF_FF00


def runtime(
    board: str = "pico",
    version: str = "v1.25.0",
    frozen: tuple[str, ...] = (),
    *,
    machine: str = MACHINE,
    program: str = "MicroPython",
    files: tuple[int, int] = (FILES_AT, FILES_SIZE),
) -> dict[int, bytes]:
    """Pages with the binary info of a MicroPython, and its name for the machine."""
    data = bytearray(b"\xff" * 4096)
    end = 0x400

    def add(content: bytes) -> int:
        nonlocal end
        at, end = end, end + len(content) + -len(content) % 4
        data[at : at + len(content)] = content
        return uf2.FLASH + at

    # Type in the low half of the first word (pico-sdk, pico/binary_info/structure.h).
    def entry(which: int, value: str) -> int:
        text = add(value.encode() + b"\0")
        return add(struct.pack("<III", 6 | 0x5250 << 16, which, text))

    entries = [
        entry(0x0203_1C86, program),
        entry(0x11A9_BC3A, version),
        entry(0xB63C_FFBB, board),
        *(entry(0x4A99_D719, module) for module in frozen),
    ]
    label = add(b"MicroPython\0")
    entries.append(add(struct.pack("<IIII", 7 | 0x5250 << 16, label, *files)))
    first = add(struct.pack(f"<{len(entries)}I", *entries))
    last = first + 4 * len(entries)
    struct.pack_into("<5I", data, 0x100, 0x7188_EBF2, first, last, 0, 0xE71A_A390)
    add(f"{program} {version}\0; {machine}\0".encode())
    return {uf2.FLASH + at: bytes(data[at : at + 256]) for at in range(0, len(data), 256)}


def uf2_of(pages: Mapping[int, bytes], family: int | None = uf2.RP2040) -> bytes:
    """A UF2 in the order of the addresses, as picotool writes it. No ``family``: no flag."""
    flags = 0 if family is None else 0x2000
    return b"".join(
        _block(address, number, len(pages), flags, family or 0, pages[address])
        for number, address in enumerate(sorted(pages))
    )


def e10_block() -> bytes:
    """The one block of an image of its own, which says that it is the first of two."""
    return _block(_E10_AT, 0, 2, 0x2000, ABSOLUTE, b"\xef" * 256)


def uf2_file(path: Path, pages: Mapping[int, bytes] | None = None) -> Path:
    path.write_bytes(uf2_of(runtime() if pages is None else pages))
    return path


def _block(
    address: int, number: int, count: int, flags: int, family: int, payload: bytes
) -> bytes:
    header = struct.pack(
        "<8I", 0x0A32_4655, 0x9E5D_5157, flags, address, len(payload), number, count, family
    )
    return header + payload.ljust(476, b"\0") + struct.pack("<I", 0x0AB1_6F30)
