"""P6: power may go at any byte of any write; nothing told is lost or altered, and no key stays.

The real board file and the journal run on a littlefs on a model of NOR flash, through a life that
writes all there is to write. The flash notes its operations. For each of them, and for each byte
of each, the flash is then put in the state that a cut there leaves behind, and the board started.

Every byte is tried, but most by proof instead of by a start. A start is deterministic: on two
flashes that differ only in bytes that it does not read, or not before it has erased them, it does
the same. `explore` knows which bytes each start has read, and leaves out no others. (A byte of
which only some bits were programmed is one wrong byte, as one that was not is: each thing that is
programmed on its own here, a commit of littlefs or a set of keys, is under a CRC-32.)
"""

from collections.abc import Callable, Iterator
from functools import cache, lru_cache
from random import Random
from typing import Any, NamedTuple

import journal_rules
import pytest
from board_port import Port
from fakes import micropython_port
from fakes.flash import BLOCK, NorFlash

from muteboard import app, attest, journal

_BLOCKS = 14
_HOST = bytes(range(32))
_OTHER_HOST = bytes(32)
_DAY_MS = 86_400_000
_PRESS = (journal.UNMUTE, journal.MUTED)
# A piece of a key of this length is one too much.
_PIECE = 8
_MAGIC = b"hardmute keys 1"
_PAGE = 256
_WORD = 4
# So many tests take turns at the operations of one life.
_SHARES = 5


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
        """``watched``: number of the block."""
        self.image[:] = image
        self.operations = []
        self._watched = watched
        self.seen = bytearray(BLOCK)

    def read(self, at: int, buf: Any) -> None:
        buf[:] = self.content(at, len(buf))

    def content(self, at: int, size: int) -> bytearray:
        if at // BLOCK == self._watched:
            self.seen[at % BLOCK : at % BLOCK + size] = b"\1" * size
        return self.image[at : at + size]

    def program(self, at: int, data: Any) -> None:
        if at // BLOCK == self._watched:
            # What becomes of a byte depends on what it was.
            self.seen[at % BLOCK : at % BLOCK + len(data)] = b"\1" * len(data)
        self.operations.append(Operation(at, bytes(data)))
        super().program(at, data)

    def erase(self, at: int) -> None:
        if at // BLOCK == self._watched:
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
    """The board ``name`` with this flash, whose power can be switched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        self.flash = WatchedFlash()
        self.port = Port(name, monkeypatch, flash=self.flash)
        self._modules = self.port.mp
        # The files that storing is in.
        self.storage = self.port.storage
        assert self._modules.files.stat("/")

        def no_file_system(*_arguments: Any, **_options: Any) -> None:
            raise AssertionError("the file system does not mount")

        def secret(*parts: bytes) -> bytes:
            made = attest_secret(*parts)
            self.secrets[self.journal._last_pairing + 1] = made
            return made

        attest_secret = attest.secret
        monkeypatch.setattr(attest, "secret", secret)
        # Each start has much the same records.
        monkeypatch.setattr(attest, "hmac", cache(attest.hmac))
        monkeypatch.setattr(journal_rules, "Fields", cache(journal_rules.Fields))
        # The port's _boot.py makes a new file system when one does not mount.
        monkeypatch.setattr(micropython_port.VfsLfs2, "mkfs", no_file_system)
        self.secrets: dict[int, bytes] = {}
        self.stored: list[Stored] = []
        self.told: list[Told] = []
        # Every record that was ever durable, by number.
        self.written: dict[int, bytes] = {}

    def power_on(self) -> None:
        self._modules.restart()
        self.port.chip.on_edge.clear()
        self.board = self.port.start()

    def open_journal(self) -> None:
        self.now = 0
        self.journal = journal.Journal(self.board)
        self.journal.boot = app._next_boot(self.board, self.journal.last_boot)
        assert app._store_boot(self.board, self.journal.boot)

    def write(self, *events: int) -> None:
        for event in events:
            self.now += 10
            assert self.journal.record(self.now, event, 0, 0, 0, 0, 0)
        assert self.journal.flush(self.now)

    def records(self) -> list[journal_rules.Fields]:
        """All that there is on the flash."""
        board = self.board
        segments = board.journal_segments()
        assert segments[0] == self.journal.first
        data = [board.journal_read(one, 0, board.journal_size(one)) for one in segments]
        return journal_rules.split(b"".join(data))

    # The life that is cut short.

    def begin(self) -> bytes:
        """What comes from here on is to be cut short. Returns the flash's content."""
        self.flash.operations.clear()
        self.told = [Told(0, self.journal.seq)]
        self.stored = [stored._replace(first=0, end=0) for stored in self.stored[-1:]]
        return bytes(self.flash.image)

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
        image, ends = bytes(self.flash.image), range(BLOCK, _BLOCKS * BLOCK + 1, BLOCK)
        written = b"".join(without_blank_end(image[end - BLOCK : end]) for end in ends)
        return any(
            piece in written
            for entry in stored
            for piece in pieces(entry.keys)
            if piece not in (current or b"")
        )


# Two starts leave nearly the same blocks.
@lru_cache(maxsize=128)
def without_blank_end(block: bytes) -> bytes:
    return block.rstrip(b"\xff")


def pieces(keys: bytes) -> Iterator[bytes]:
    """Of the two keys among what is stored as keys."""
    for at in range(len(keys) - 2 * attest.KEY, len(keys), _PIECE):
        piece = keys[at : at + _PIECE]
        if any(piece):
            yield piece


class Cut:
    """What must hold after power has gone in operation ``number`` of the life of a device.

    ``twice``: and again in the start after that, which may have gone on with what was under way.
    """

    def __init__(self, device: Device, number: int, twice: bool = False) -> None:
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
        if twice:
            self._keys += [stored.keys for stored in device.stored[len(begun) : len(begun) + 1]]

    def has_keys(self, data: bytes) -> bool:
        """Whether there is a piece of any keys in it."""
        stored = self._device.stored
        return any(piece in data for entry in stored for piece in pieces(entry.keys))

    def check(self, image: bytes | bytearray, watched: int) -> bytearray:
        """Start the board with this flash. Returns which bytes of the watched block it has read.

        ``watched``: number of the block.
        """
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
        device.write(journal.BOOT, *_PRESS)
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


def explore(
    base: bytes | bytearray,
    operations: list[Operation],
    cut_in: Callable[[int], Cut],
    share: int = 0,
) -> tuple[int, int]:
    """Cut the power in every state that these operations lead the flash through from ``base``.

    ``cut_in``: what must hold then, by the operation's number. ``share``: only in each operation
    whose number is this by modulo `_SHARES`, in place of all. Returns how many states there are,
    and how many of them took a start.
    """
    image = bytearray(base)
    states = starts = 0
    for number, operation in enumerate(operations):
        block = operation.at // BLOCK
        size = BLOCK if operation.data is None else len(operation.data)
        old = bytes(image[operation.at : operation.at + size])
        new = operation.result(old)
        if share and number % _SHARES != share % _SHARES:
            image[operation.at : operation.at + size] = new
            continue
        cut = cut_in(number)
        changed = [at for at in range(size) if old[at] != new[at]]
        has_keys = cut.has_keys(old) or cut.has_keys(new)
        # An erase may begin anywhere, and goes on by words.
        step = _WORD if operation.data is None else 1
        for order in (changed, changed[::-1]) if operation.data is None else (changed,):
            torn = bytearray(image)
            seen = cut.check(torn, block)
            states, starts = states + 1, starts + 1
            matters = False
            for at in order:
                place = operation.at + at
                torn[place] = new[at]
                states += 1
                # Whether keys are left is a question to all bytes.
                matters = matters or has_keys or bool(seen[place % BLOCK])
                if matters and place % step == 0:
                    seen = cut.check(torn, block)
                    starts += 1
                    matters = False
        image[operation.at : operation.at + size] = new
    return states, starts


@pytest.fixture(params=["rp2040", "esp32"])
def make_device(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[int, int], Device]:
    """``segment``, ``segments``: records in one, and how many are kept."""

    def make(segment: int, segments: int) -> Device:
        monkeypatch.setattr(journal, "SEGMENT", segment)
        monkeypatch.setattr(journal, "SEGMENTS", segments)
        return Device(monkeypatch, request.param)

    return make


def old_and_paired(pico: Device) -> None:
    """A board whose journal is full, and whose key block nearly."""
    pico.start()
    pico.live(*_PRESS)
    pico.pair(_HOST)
    for _ in range(10):
        pico.start()
        pico.live(*_PRESS)


@pytest.mark.parametrize(
    ("make_device", "share"),
    [*(("rp2040", share) for share in range(1, _SHARES + 1)), ("esp32", 3), ("esp32", 4)],
    indirect=["make_device"],
)
def test_P6_power_may_go_at_any_byte_of_a_life(
    make_device: Callable[[int, int], Device], share: int
) -> None:
    """The ESP32 stores with the same code: there in two of five operations."""
    pico = make_device(12, 3)
    old_and_paired(pico)
    oldest = pico.journal.first
    base = pico.begin()
    # Twice the end of a segment, and of the oldest.
    pico.live(*_PRESS)
    pico.start()
    pico.live(*_PRESS)
    pico.live(*_PRESS)
    pico.pass_day()
    # The key block is full.
    pico.start()
    pico.live(journal.UNMUTE)
    pico.pair(_OTHER_HOST)
    pico.live(*_PRESS)
    pico.unpair()
    pico.live(*_PRESS)
    pico.start()
    assert pico.journal.first > oldest
    assert len({stored.first for stored in pico.stored}) == 8
    states, starts = explore(base, pico.flash.operations, lambda number: Cut(pico, number), share)
    assert states > 1_000
    assert starts > 500


def test_P6_power_may_go_at_any_byte_as_a_segment_takes_a_block(
    make_device: Callable[[int, int], Device],
) -> None:
    per_block = BLOCK // journal.SIZE
    pico = make_device(per_block + 4, 2)
    pico.start()
    pico.pair(_HOST)
    while pico.journal.seq < pico.journal.first + 2 * per_block + 4:
        pico.live(journal.CONFIG)
    base = pico.begin()
    while pico.journal.first == 1:
        pico.live(*_PRESS)
    explore(base, pico.flash.operations, lambda number: Cut(pico, number))


def test_P6_power_may_go_again_at_any_byte_of_the_repair(
    make_device: Callable[[int, int], Device],
) -> None:
    pico = make_device(12, 3)
    old_and_paired(pico)
    pico.start()
    pico.start()
    base = pico.begin()
    # With a new block for the keys.
    pico.start()
    pico.pair(_OTHER_HOST)
    pico.unpair()
    operations = pico.flash.operations
    image = bytearray(base)
    # Many starts put the same right.
    tried = set()
    for number, operation in enumerate(operations):
        cut = Cut(pico, number, twice=True)
        end = operation.at + (BLOCK if operation.data is None else len(operation.data))
        new = operation.result(bytes(image[operation.at : end]))
        torn = bytearray(image)
        for at in range(operation.at, end, 64):
            piece = new[at - operation.at :][:64]
            torn[at : at + len(piece)] = piece
            pico.flash.restore(torn)
            pico.power_on()
            journal.Journal(pico.board)
            again = pico.flash.operations
            if tuple(again) not in tried:
                tried.add(tuple(again))
                explore(torn, again, lambda _number, cut=cut: cut)
        image[operation.at : end] = new
    assert len(tried) > 5


# An update of the firmware is a start like any other.


def room_for_keys(pico: Device) -> int:
    """How many blank pages are left in the block of the keys."""
    image, blank = pico.flash.image, b"\xff" * _PAGE
    blocks = [at for at in range(0, len(image), BLOCK) if image.startswith(_MAGIC, at)]
    return max(
        sum(image[at + page : at + page + _PAGE] == blank for page in range(0, BLOCK, _PAGE))
        for at in blocks
    )


@pytest.mark.parametrize("share", range(1, _SHARES + 1))
@pytest.mark.parametrize("make_device", ["rp2040"], indirect=True)
@pytest.mark.parametrize("back", [False, True], ids=["update", "back"])
def test_P6_power_may_go_at_any_byte_of_an_update(
    make_device: Callable[[int, int], Device], back: bool, share: int
) -> None:
    """From the firmware before there were versions of `keystore`; and back to it.

    The power comes back with either.
    """
    pico = make_device(12, 3)
    before, after = pico.port.go_back, pico.port.update
    if back:
        before, after = after, before
    before()
    old_and_paired(pico)
    while room_for_keys(pico) != 1:
        pico.start()
    base = pico.begin()
    after()
    pico.start()
    assert room_for_keys(pico) == 0
    # In a block of its own.
    pico.start()
    assert room_for_keys(pico) > 1
    operations = pico.flash.operations
    starts = 0
    for firmware in (after, before):
        firmware()
        starts += explore(base, operations, lambda number: Cut(pico, number), share)[1]
    assert starts > 100


class Migration:
    """What must hold after power has gone while keys of another size were stored."""

    OLD, NEW = bytes(range(1, 77)), bytes(range(100, 220))

    def __init__(self, port: Port, flash: WatchedFlash) -> None:
        self._port = port
        self._flash = flash
        self._entropy = Random(19).randbytes
        self.found: set[bytes] = set()

    def open(self) -> Any:
        self._port.mp.restart()
        flash = self._port.start().flash()
        return self._port.keystore.KeyStore(flash, self._entropy, "keys")

    def has_keys(self, data: bytes) -> bool:
        return any(keys[at:][:_PIECE] in data for keys in (self.OLD, self.NEW) for at in (0, 60))

    def check(self, image: bytes | bytearray, watched: int) -> bytearray:
        self._flash.restore(image, watched)
        store = self.open()
        found = store.load()
        assert found in (self.OLD, self.NEW)
        self.found.add(found)
        # It is gone on with.
        store.store(self.NEW)
        assert self.open().load() == self.NEW
        assert not any(self.OLD[at:][:_PIECE] in self._flash.image for at in range(0, 76, _PIECE))
        return self._flash.seen


@pytest.mark.parametrize("name", ["rp2040", "esp32"])
def test_P6_power_may_go_at_any_byte_of_a_change_of_size(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    flash = WatchedFlash()
    port = Port(name, monkeypatch, flash=flash)
    migration = Migration(port, flash)
    migration.open().store(migration.OLD)
    store = migration.open()
    base = bytes(flash.image)
    flash.operations.clear()
    store.store(migration.NEW)
    states, _ = explore(base, flash.operations, lambda _number: migration)
    assert states > 100
    assert migration.found == {migration.OLD, migration.NEW}


# That the above finds what is wrong.


def nothing_is_wiped_at_a_start(keystore: Any) -> None:
    def read(self: Any) -> None:
        self._wipe = lambda _block, _page: None
        original(self)
        del self._wipe

    original = keystore.KeyStore._read
    keystore.KeyStore._read = read


def the_old_keys_go_first(keystore: Any) -> None:
    def store(self: Any, keys: bytes) -> None:
        if self._block >= 0:
            self._wipe(self._block, self._page)
        original(self, keys)

    original = keystore.KeyStore.store
    keystore.KeyStore.store = store


def the_old_keys_stay(keystore: Any) -> None:
    keystore.KeyStore._wipe = lambda _self, _block, _page: None


@pytest.mark.parametrize(
    "wrong", [nothing_is_wiped_at_a_start, the_old_keys_go_first, the_old_keys_stay]
)
def test_wrong_ways_to_store_keys_are_found(
    make_device: Callable[[int, int], Device], wrong: Callable[[Any], None]
) -> None:
    pico = make_device(12, 3)
    old_and_paired(pico)
    base = pico.begin()
    wrong(pico.storage.keystore)
    # Where no keys are left that can be read, the board says that.
    found = r"old_keys|load_keys|cannot read"
    with pytest.raises((AssertionError, OSError), match=found):  # noqa: PT012 - in either
        pico.start()
        explore(base, pico.flash.operations, lambda number: Cut(pico, number))


def test_a_journal_that_is_not_appended_at_once_is_found(
    make_device: Callable[[int, int], Device],
) -> None:
    pico = make_device(12, 3)
    old_and_paired(pico)
    base = pico.begin()

    def in_two(self: Any, segment: int, data: bytes) -> None:
        original(self, segment, data[:32])
        original(self, segment, data[32:])

    original = pico.storage.MicroPythonBoard.journal_append
    pico.storage.MicroPythonBoard.journal_append = in_two
    pico.live(*_PRESS)
    with pytest.raises(AssertionError, match="part of a record"):
        explore(base, pico.flash.operations, lambda number: Cut(pico, number))
