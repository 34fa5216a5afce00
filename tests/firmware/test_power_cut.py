"""P6: power may go at any byte of any write; nothing told is lost or altered, and no key stays.

The real board file and the journal run on a littlefs on a model of NOR flash, through a life that
writes all there is to write. The flash notes its operations. For each of them, and for each byte
of each, the flash is then put in the state that a cut there leaves behind, and the board started.

Every byte is tried, but most by proof instead of by a start. A start is deterministic: on two
flashes that differ only in bytes that it does not read, or not before it has erased them, it does
the same. `explore` knows which bytes each start has read, and leaves out no others.
"""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import journal_rules
import pytest
from board_port import Port
from fakes import micropython_port
from fakes.flash import BLOCK, NorFlash

from muteboard import app, attest, journal

_BLOCKS = 20
_HOST = bytes(range(32))
_OTHER_HOST = bytes(32)
_DAY_MS = 86_400_000
_PRESS = (journal.UNMUTE, journal.MUTED)
# A piece of a key of this length is one too much.
_PIECE = 8


class Operation(NamedTuple):
    """A program, or an erase if there is no data."""

    at: int
    data: bytes | None

    def result(self, old: bytes) -> bytes:
        """What it makes of the bytes at its place."""
        if self.data is None:
            return b"\xff" * BLOCK
        return bytes(a & b for a, b in zip(old, self.data, strict=True))


class WatchedFlash(NorFlash):
    """Notes its operations, and which bytes of one block are read as they were at `restore`."""

    def __init__(self) -> None:
        super().__init__(_BLOCKS)
        self.operations: list[Operation] = []
        self._watched = -1
        self.seen = bytearray(BLOCK)

    def restore(self, image: bytes | bytearray, watched: int = -1) -> None:
        """``watched``: where the block begins that is watched."""
        self.image[:] = image
        self.operations = []
        self._watched = watched
        self.seen = bytearray(BLOCK)

    def _see(self, at: int, size: int) -> None:
        if at - at % BLOCK == self._watched:
            start = at - self._watched
            self.seen[start : start + size] = b"\1" * size

    def read(self, at: int, buf: Any) -> None:
        self._see(at, len(buf))
        super().read(at, buf)

    def program(self, at: int, data: Any) -> None:
        # What becomes of a byte depends on what it was.
        self._see(at, len(data))
        self.operations.append(Operation(at, bytes(data)))
        super().program(at, data)

    def erase(self, at: int) -> None:
        if at == self._watched:
            self._watched = -1
        self.operations.append(Operation(at, None))
        super().erase(at)


class Stored(NamedTuple):
    """Keys, and the operations that storing them took."""

    first: int
    end: int
    keys: bytes


class Told(NamedTuple):
    """What could be known outside the board once so many operations were over."""

    operations: int
    seq: int


class Device:
    """A Pico with this flash, whose power can be switched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.flash = WatchedFlash()
        self._port = Port("rp2040", monkeypatch, flash=self.flash)
        self._modules = self._port.mp
        assert self._modules.files.stat("/")

        def no_file_system(*_arguments: Any, **_options: Any) -> None:
            raise AssertionError("the file system does not mount")

        def secret(*parts: bytes) -> bytes:
            made = attest_secret(*parts)
            self.secrets[self.journal._last_pairing + 1] = made
            return made

        attest_secret = attest.secret
        monkeypatch.setattr(attest, "secret", secret)
        # The port's _boot.py makes a new file system when one does not mount.
        monkeypatch.setattr(micropython_port.VfsLfs2, "mkfs", no_file_system)
        self.secrets: dict[int, bytes] = {}
        self.stored: list[Stored] = []
        self.told: list[Told] = []
        # Every record that was ever durable, by number.
        self.written: dict[int, bytes] = {}

    def power_on(self) -> None:
        self._modules.restart()
        self._port.chip.on_edge.clear()
        self.board = self._port.start()

    def open_journal(self) -> None:
        self.now = 0
        self.journal = journal.Journal(self.board)
        self.journal.boot, counted = app._count_boot(self.board, self.journal.last_boot)
        assert counted

    def write(self, *events: int) -> None:
        for event in events:
            self.now += 10
            assert self.journal.record(self.now, event, 0, 0, 0, 0, 0)
        assert self.journal.flush(self.now)

    def records(self) -> list[journal_rules.Fields]:
        """All that a host can fetch."""
        data = b""
        start = self.journal.first
        while start <= self.journal.seq:
            first, page = self.journal.page(start)
            assert first == start
            data += page
            start += len(page) // journal.SIZE
        return journal_rules.split(data)

    # The life that is told.

    def start(self) -> None:
        self.power_on()
        store = self.board.store_keys

        def noted(keys: bytes) -> None:
            first = len(self.flash.operations)
            store(keys)
            self.stored.append(Stored(first, len(self.flash.operations), keys))
            assert not self.old_keys(keys, self.stored)

        self.board.store_keys = noted
        self.open_journal()
        self.live(journal.BOOT)

    def live(self, *events: int) -> None:
        self.write(*events)
        self.tell()

    def pass_day(self) -> None:
        self.now += _DAY_MS
        self.journal.expire(self.now)
        self.live()

    def pair(self, host: bytes) -> None:
        assert self.journal.pair(self.now, host)
        self.tell()

    def unpair(self) -> None:
        assert self.journal.unpair(self.now)
        self.tell()

    def tell(self) -> None:
        self.told.append(Told(len(self.flash.operations), self.journal.seq))
        for record in self.records():
            assert self.written.setdefault(record.seq, record.raw) == record.raw

    def old_keys(self, current: bytes | None, stored: list[Stored]) -> bool:
        """Whether a piece of keys in ``stored``, and not in ``current``, is on the flash."""
        return any(
            piece in self.flash.image
            for entry in stored
            for piece in pieces(entry.keys)
            if piece not in (current or b"")
        )


def pieces(keys: bytes) -> Iterator[bytes]:
    """Of the two keys among what is stored as keys."""
    for at in range(len(keys) - 2 * attest.KEY, len(keys), _PIECE):
        piece = keys[at : at + _PIECE]
        if any(piece):
            yield piece


class Cut:
    """What must hold after power has gone in operation ``number`` of the life of a device."""

    def __init__(self, device: Device, number: int) -> None:
        self._device = device
        before = [told for told in device.told if told.operations <= number]
        after = [told for told in device.told if told.operations > number]
        self._least = before[-1].seq
        # The next flush, and no later one, has been under way.
        self._most = after[0].seq
        begun = [stored for stored in device.stored if stored.first <= number]
        over = [stored for stored in begun if stored.end <= number]
        # The newest that are stored for sure, and those that were being stored.
        self._stored = begun[-2:]
        self._keys = [stored.keys for stored in over[-1:] + begun[len(over) :]]

    def check(self, image: bytes | bytearray, watched: int) -> bytearray:
        """Start the board with this flash. Returns which bytes of the watched block it has read."""
        device = self._device
        device.flash.restore(image, watched)
        device.power_on()
        assert device.board.load_keys() in self._keys
        device.open_journal()
        assert not device.old_keys(device.board.load_keys(), self._stored)
        found = device.records()
        assert self._least <= device.journal.seq <= self._most
        assert len(found) > (journal.SEGMENTS - 1) * (journal.SEGMENT - 1)
        for record in found:
            assert record.raw == device.written[record.seq]
        device.write(journal.BOOT)
        device.write(*_PRESS)
        goes_on = {record.seq: record for record in device.records()}
        for record in found:
            # Unless it was in the segment that has been dropped for these.
            goes_on.setdefault(record.seq, record)
            assert goes_on[record.seq].raw == record.raw
        in_order = [goes_on[seq] for seq in sorted(goes_on)]
        journal_rules.check(in_order, device.secrets)
        assert in_order[-1].seq == device.journal.seq
        assert device.journal.head == attest.sha256(in_order[-1].raw)[: attest.MAC]
        assert not device.old_keys(device.board.load_keys(), self._stored)
        return device.flash.seen


def explore(device: Device, base: bytes) -> tuple[int, int]:
    """Cut the power in every state that the device's life has led the flash through from ``base``.

    Returns how many states there are, and how many of them took a start.
    """
    image = bytearray(base)
    states = starts = 0
    operations = device.flash.operations
    for number, operation in enumerate(operations):
        cut = Cut(device, number)
        block = operation.at - operation.at % BLOCK
        size = BLOCK if operation.data is None else len(operation.data)
        old = bytes(image[operation.at : operation.at + size])
        new = operation.result(old)
        changed = [at for at in range(size) if old[at] != new[at]]
        has_keys = any(
            piece in old or piece in new for entry in device.stored for piece in pieces(entry.keys)
        )
        # An erase may begin anywhere.
        for order in (changed, changed[::-1]) if operation.data is None else (changed,):
            torn = bytearray(image)
            seen = cut.check(torn, block)
            states, starts = states + 1, starts + 1
            for at in order:
                place = operation.at + at
                for value in (old[at] & (new[at] | 0x55), new[at]):
                    if value == torn[place]:
                        continue
                    torn[place] = value
                    states += 1
                    # Whether keys are left is a question to all bytes.
                    if seen[place - block] or has_keys:
                        seen = cut.check(torn, block)
                        starts += 1
        image[operation.at : operation.at + size] = new
    return states, starts


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], Device]:
    def make(segment: int, segments: int) -> Device:
        monkeypatch.setattr(journal, "SEGMENT", segment)
        monkeypatch.setattr(journal, "SEGMENTS", segments)
        return Device(monkeypatch)

    return make


def test_P6_a_life(device: Callable[[int, int], Device]) -> None:
    pico = device(12, 3)
    pico.start()
    pico.live(*_PRESS)
    pico.pair(_HOST)
    for _ in range(10):
        pico.start()
        pico.live(*_PRESS)
    base = bytes(pico.flash.image)
    print(len(pico.flash.operations), pico.journal.seq, pico.journal._filled)
    pico.flash.operations.clear()
    pico.told[:] = [Told(0, pico.journal.seq)]
    pico.stored[:] = [Stored(0, 0, pico.stored[-1].keys)]
    pico.live(*_PRESS)
    pico.start()
    pico.live(*_PRESS)
    pico.live(*_PRESS)
    pico.pass_day()
    pico.start()
    pico.live(journal.UNMUTE)
    pico.pair(_OTHER_HOST)
    pico.live(*_PRESS)
    pico.unpair()
    pico.live(*_PRESS)
    pico.start()
    print(
        len(pico.flash.operations),
        pico.journal.seq,
        pico.journal._filled,
        [s[:2] for s in pico.stored],
    )
    import time

    t = time.time()
    ops = pico.flash.operations
    pico.flash.operations = ops
    print(sum(1 for o in ops if o.data is None), sum(len(o.data) for o in ops if o.data))
    print(explore(pico, base), time.time() - t)
