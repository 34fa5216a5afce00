"""NOR flash, and the block device that MicroPython's ports make of it. Also run on MicroPython."""

# Standard, as the other fakes.
# pyright: standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BLOCK = 4096
# Enough for a full journal in the tests, and few enough to make one for each of them.
BLOCKS = 64
_BLOCK_COUNT = 4
_BLOCK_SIZE = 5
_BLOCK_ERASE = 6


class NorFlash:
    """Programming turns bits to 0 and none to 1; erasing turns all bits of a block to 1."""

    def __init__(self, blocks: int = BLOCKS):
        self.image = bytearray(b"\xff" * (blocks * BLOCK))

    def read(self, at: int, buf: "Any") -> None:
        buf[:] = self.image[at : at + len(buf)]

    def program(self, at: int, data: "Any") -> None:
        end = at + len(data)
        old = int.from_bytes(self.image[at:end], "little")
        new = old & int.from_bytes(bytes(data), "little")
        self.image[at:end] = new.to_bytes(len(data), "little")

    def erase(self, at: int) -> None:
        self.image[at : at + BLOCK] = b"\xff" * BLOCK


def block_device(flash: NorFlash) -> type:
    """A class like `rp2.Flash` and `esp32.Partition`, of which each object is all of ``flash``."""

    class BlockDevice:
        def readblocks(self, block_num: int, buf: "Any", offset: int) -> None:
            flash.read(block_num * BLOCK + offset, buf)

        def writeblocks(self, block_num: int, buf: "Any", offset: int) -> None:
            assert offset + len(buf) <= BLOCK
            flash.program(block_num * BLOCK + offset, buf)

        def ioctl(self, op: int, arg: int) -> int:
            if op == _BLOCK_COUNT:
                return len(flash.image) // BLOCK
            if op == _BLOCK_SIZE:
                return BLOCK
            if op == _BLOCK_ERASE:
                flash.erase(arg * BLOCK)
            return 0

    return BlockDevice
