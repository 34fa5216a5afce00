"""NOR flash, and the block device that MicroPython's ports make of it. Also run on MicroPython."""

# Standard, as the other fakes.
# pyright: standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .chip import Chip

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

    def content(self, at: int, size: int) -> bytearray:
        """As `read`, into a buffer of its own."""
        buf = bytearray(size)
        self.read(at, buf)
        return buf

    def program(self, at: int, data: "Any") -> None:
        end = at + len(data)
        old = int.from_bytes(self.image[at:end], "little")
        new = old & int.from_bytes(bytes(data), "little")
        self.image[at:end] = new.to_bytes(len(data), "little")

    def erase(self, at: int) -> None:
        self.image[at : at + BLOCK] = b"\xff" * BLOCK


class TimedFlash(NorFlash):
    """Its operations take the time of ``chip``, once it has one.

    ``erase_ms``, ``program_ms``, ``read_ms``: of each operation. None has any effect any more once
    the watchdog has bitten.
    """

    # A byte that is read, by a bus of 40 MHz that has two lines and takes as long again to begin.
    _BYTE_MS = 0.00011

    def __init__(self, blocks: int, erase_ms: float, program_ms: float, read_ms: float):
        super().__init__(blocks)
        self.chip: Chip | None = None
        self._erase_ms, self._program_ms, self._read_ms = erase_ms, program_ms, read_ms
        self._spent_ms = 0.0
        # Operations; and the most erases between two feeds of a watchdog that runs.
        self.reads = self.programs = self.erases = 0
        self.most_erases = 0
        self._fed = (0, 0)

    def _spend(self, ms: float) -> bool:
        """Whether the operation still takes place."""
        if self.chip is None:
            return True
        self._spent_ms += ms
        whole = int(self._spent_ms)
        self._spent_ms -= whole
        # Nothing else happens meanwhile: the interpreter waits.
        self.chip.now += whole
        return not self.chip.bitten

    def read(self, at: int, buf: "Any") -> None:
        self.reads += 1
        self._spend(self._read_ms + self._BYTE_MS * len(buf))
        super().read(at, buf)

    def program(self, at: int, data: "Any") -> None:
        self.programs += 1
        if self._spend(self._program_ms):
            super().program(at, data)

    def erase(self, at: int) -> None:
        self.erases += 1
        if self.chip is not None and self.chip.watchdog_ms is not None:
            feeds, erases = self._fed
            self._fed = (self.chip.feeds, erases + 1 if feeds == self.chip.feeds else 1)
            self.most_erases = max(self.most_erases, self._fed[1])
        if self._spend(self._erase_ms):
            super().erase(at)


def block_device(flash: NorFlash) -> type:
    """A class like `rp2.Flash` and `esp32.Partition`, of which each object is all of ``flash``."""

    class BlockDevice:
        _whole = flash

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
