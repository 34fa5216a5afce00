"""The board's event record: append-only, chained, under keys that the board forgets.

The format and its rules are in docs/evidence.md. `Journal` writes it through the board's storage
(`muteboard.boards`); the functions above it are pure, and the host checks with them.

What happens waits in a bounded, preallocated queue until `Journal.flush` writes it. Sequence
numbers and the head are those of records that are durable.
"""

import struct

from muteboard import attest, const

TYPE_CHECKING = False
if TYPE_CHECKING:
    from muteboard.boards import JournaledBoard

# Bytes of a record, and those in front of its link and of its MAC.
SIZE = const(64)
_FIELDS = const(32)
_SIGNED = const(48)
# Most records in a segment, one fewer at times; and most segments: 10,000 records at least.
SEGMENT = const(512)
SEGMENTS = const(21)
# Records in an answer to ``journal``: 344 base64 characters.
PAGE = const(4)
# The journal key is replaced after this time, ms.
EPOCH_MS = const(86_400_000)
# Events that can wait; more are counted and lost.
QUEUE = const(16)

BOOT = const(1)
UNMUTE = const(2)
MUTED = const(3)
FAULT = const(4)
SEAL = const(5)
OVERRUN = const(6)
CONFIG = const(7)
PAIR = const(8)
UNPAIR = const(9)
SERVICE = const(10)
REFUSED = const(11)
STUCK = const(12)
# Names of the events, from 1.
EVENTS = (
    "boot",
    "unmute",
    "muted",
    "fault",
    "seal",
    "overrun",
    "config",
    "pair",
    "unpair",
    "service",
    "refused",
    "stuck",
)
# Bit of the state byte: the relay is commanded connected.
COMMANDED = const(0x10)
NO_HEAD = bytes(attest.MAC)

_LAYOUT = "<IIIHHIIIBBBB"
# Where in it are boot and uptime; pairing and epoch; data and event.
_TIME_AT = const(4)
_EPOCH_AT = const(14)
_DATA_AT = const(24)
# last pairing, paired, epoch, key id, attest key, journal key
_KEYS = "<HHI4s32s32s"
# Bytes that a board's key storage holds.
KEYS_SIZE = const(76)
_RETRY_MS = const(1000)
# Records read at once from the journal's end.
_TAIL = const(16)
# Most segments dropped at once: this feeds the watchdog.
_DROPS = const(2)


class Record:
    """One record's fields (docs/evidence.md); ``link`` and ``mac`` are bytes."""

    def __init__(self, data: "bytes | memoryview"):
        (
            self.seq,
            self.boot,
            low,
            high,
            self.pairing,
            self.epoch,
            self.presses,
            self.data,
            self.event,
            self.cause,
            self.state,
            self.sense,
        ) = struct.unpack_from(_LAYOUT, data, 0)
        self.uptime_ms = high << 32 | low
        self.link = bytes(data[_FIELDS:_SIGNED])
        self.mac = bytes(data[_SIGNED:SIZE])


def head_of(record: "bytes | memoryview") -> bytes:
    """The head of a journal that ends in ``record``, and so the next record's link."""
    return attest.sha256(record)[: attest.MAC]


def mac_of(key: bytes, record: "bytes | memoryview") -> bytes:
    """The MAC that ``record`` must have under the journal key of its epoch."""
    return attest.mac(key, bytes(record[:_SIGNED]))


class Journal:
    """The journal of ``board``, opened: what a power cut has left undone is put right.

    No record is written before the first `flush`. Raises `OSError` if it cannot be read.
    """

    def __init__(self, board: "JournaledBoard"):
        self._board = board
        # This start's number.
        self.boot = 0
        # The last durable record's number, 0 if there is none; its head; its boot number.
        self.seq = 0
        self.head = NO_HEAD
        self.last_boot = 0
        # Number of the pairing that the board is in, 0: not paired; and the epoch of its key.
        self.pairing = 0
        self.epoch = 0
        # Something could not be written. It is tried again each second; what is not durable is
        # not told.
        self.failed = False
        self._failed_at = 0
        # The highest pairing there ever was.
        self._last_pairing = 0
        # What tells the pairing's secret from others.
        self.key_id = bytes(attest.KEY_ID)
        self._attest_key = b""
        self._key = b""
        # First numbers of the segments, rising.
        self._segments: list[int] = []
        # Records in the last segment.
        self._filled = 0
        # Records of the epoch, and whether the last is its seal.
        self._count = 0
        self._sealed = False
        # A new epoch is due before the next record; and first of all the record of the pairing.
        self._renew = True
        self._announce = False
        self._epoch_at = 0
        # Records' bytes in front of the link, with neither numbers nor keys yet: of the newest
        # event; of the last one written; and of those that wait.
        self._newest = bytearray(_FIELDS)
        self._told = bytearray(_FIELDS)
        self._queue = bytearray(QUEUE * _FIELDS)
        self._waiting = 0
        self._lost = 0
        # Uptime of the newest record, written or not.
        self._uptime = 0
        # (seq, head, events, lost) as they are if the append that raised was durable after all.
        self._doubt: tuple[int, bytes, int, int] | None = None
        self._load_keys()
        self._load_tail()

    @property
    def pending(self) -> bool:
        """Whether something waits to be written."""
        return self._waiting > 0 or self._lost > 0 or self._renew or self._announce or self.failed

    @property
    def first(self) -> int:
        """Number of the oldest record kept, or that the first one will have."""
        return self._segments[0] if self._segments else self.seq + 1

    # What is on the board.

    def _load_keys(self) -> None:
        data = self._board.load_keys()
        if data is None:
            return
        if len(data) != KEYS_SIZE:
            # Of another version of the firmware. To go on without would be the pairing's end.
            raise OSError("keys of another size")
        last, paired, epoch, key_id, attest_key, key = struct.unpack(_KEYS, data)
        self._last_pairing, self.pairing, self.epoch = last, last if paired else 0, epoch
        self.key_id, self._attest_key, self._key = key_id, attest_key, key

    def _store_keys(
        self, pairing: int, epoch: int, key_id: bytes, attest_key: bytes, key: bytes
    ) -> None:
        """Store, and only then use. ``pairing`` 0: not paired."""
        last = max(self._last_pairing, pairing)
        paired = 1 if pairing else 0
        self._board.store_keys(struct.pack(_KEYS, last, paired, epoch, key_id, attest_key, key))
        self._last_pairing, self.pairing, self.epoch = last, pairing, epoch
        self.key_id, self._attest_key, self._key = key_id, attest_key, key
        self._count, self._sealed = 0, False

    def _forget_keys(self) -> None:
        self._store_keys(0, 0, bytes(attest.KEY_ID), b"", b"")
        self._announce = False

    def _load_tail(self) -> None:
        board = self._board
        self._segments = board.journal_segments()
        self._filled = self._records_in_last()
        for _ in range(_DROPS):
            if not self._filled:
                # Power has cut it short of its first record.
                board.journal_drop(self._segments.pop())
                self._filled = self._records_in_last()
        self._count, self._sealed = 0, False
        if self._segments:
            self._load_last(self._segments[-1])
        # The keys of a pairing are stored before its first record.
        self._announce = self.pairing > 0 and self.epoch == 0 and self._count == 0
        if self._announce:
            self._renew = False

    def _records_in_last(self) -> int:
        """Of the last segment; of none, so many that the next record begins one."""
        return self._board.journal_size(self._segments[-1]) // SIZE if self._segments else SEGMENT

    def _load_last(self, segment: int) -> None:
        first = max(0, self._filled - _TAIL)
        read = self._board.journal_read
        tail = memoryview(read(segment, first * SIZE, (self._filled - first) * SIZE))
        data = tail[len(tail) - SIZE :]
        last = Record(data)
        self.seq, self.head, self.last_boot = last.seq, head_of(data), last.boot
        self._last_pairing = max(self._last_pairing, last.pairing)
        if last.boot == self.boot:
            self._told[:] = data[:_FIELDS]
        if not self.pairing or not self._is_current(last):
            return
        if last.event == UNPAIR:
            # Power went before the keys did.
            self._forget_keys()
            return
        self._sealed = last.event == SEAL
        # An epoch lies within a segment, at its end; mostly within what has been read.
        low, high = 0, self._filled - 1
        if not self._is_current(Record(tail)):
            low = first + 1
        while low < high:
            middle = (low + high) // 2
            at = (middle - first) * SIZE
            record = tail[at:] if at >= 0 else read(segment, middle * SIZE, SIZE)
            if self._is_current(Record(record)):
                high = middle
            else:
                low = middle + 1
        self._count = self._filled - low

    def _is_current(self, record: Record) -> bool:
        return (record.pairing, record.epoch) == (self.pairing, self.epoch)

    # What happens.

    def record(
        self,
        now: int,
        event: int,
        data: int,
        presses: int,
        cause: int,
        state: int,
        sense: int,
    ) -> bool:
        """Queue an event of uptime ``now``, ms. The rest is as in the record.

        False if there was no room: then it is lost, and that will be recorded.
        """
        # Whoever tells it may have looked at the clock a moment before another did.
        self._uptime = now = max(now, self._uptime)
        struct.pack_into(
            _LAYOUT,
            self._newest,
            0,
            0,
            self.boot,
            now & 0xFFFFFFFF,
            now >> 32,
            0,
            0,
            presses,
            data,
            event,
            cause,
            state,
            sense,
        )
        if event == BOOT:
            self._told[:] = self._newest
        if self._waiting == QUEUE or self._lost:
            self._lost += 1
            return False
        at = self._waiting * _FIELDS
        self._queue[at : at + _FIELDS] = self._newest
        self._waiting += 1
        return True

    def expire(self, now: int) -> None:
        """Give up the journal key if it is 24 h old, at uptime ``now``, ms."""
        if self.pairing and now - self._epoch_at >= EPOCH_MS:
            self._renew = True

    # Writing.

    def retry_due(self, now: int) -> bool:
        """Whether it is time to try again what has failed."""
        return now - self._failed_at >= _RETRY_MS

    def flush(self, now: int) -> bool:
        """Make durable what waits. False if it could not be; `failed` says so as well.

        Takes as long as the flash does. A few records take an erased block or two: 60 to 120 ms
        on a Pico whose flash is typical (45 ms an erase), 1 s where it is as slow as its data
        sheet allows (400 ms). At a start and at a segment's end it takes up to three times that.
        """
        try:
            if self.failed:
                self._recover()
            self._write_all(now)
        except OSError:
            self._fail(now)
            return False
        self.failed = False
        return True

    def _fail(self, now: int) -> None:
        self.failed = True
        self._failed_at = now

    def _write_all(self, now: int) -> None:
        if self._announce:
            self._write_one(now, PAIR, int.from_bytes(self.key_id, "little"))
            self._announce = False
        if self._renew:
            self._renew_epoch(now)
        while self._waiting:
            self._make_room(now)
            self._write_waiting(min(self._room(), self._waiting))
        if self._lost:
            self._write_one(now, OVERRUN, self._lost)

    def _room(self) -> int:
        """How many records the segment takes, and a seal after them."""
        return SEGMENT - self._filled - (1 if self.pairing else 0)

    def _make_room(self, now: int) -> None:
        if self._room() <= 0:
            if self._count:
                self._renew_epoch(now)
            self._new_segment()

    def _renew_epoch(self, now: int) -> None:
        """Seal the epoch and go to the next key."""
        if self.pairing:
            self._seal(now)
            self._store_keys(
                self.pairing,
                self.epoch + 1,
                self.key_id,
                self._attest_key,
                attest.next_key(self._key),
            )
        self._epoch_at = now
        self._renew = False

    def _seal(self, now: int) -> None:
        # A journal that is gone may have had records under this key; nobody knows how many.
        if not self._sealed and self.seq:
            self._write_one(now, SEAL, self._count + 1)

    def _new_segment(self) -> None:
        # As many as another program has left there, a few at a time.
        for _ in range(_DROPS):
            if len(self._segments) >= SEGMENTS:
                self._board.journal_drop(self._segments[0])
                self._segments.pop(0)
        self._segments.append(self.seq + 1)
        self._filled = 0

    def _write_waiting(self, count: int) -> None:
        data = bytearray(count * SIZE)
        seq, head = self.seq, self.head
        for index in range(count):
            seq += 1
            at = index * SIZE
            data[at : at + _FIELDS] = self._queue[index * _FIELDS : (index + 1) * _FIELDS]
            head = self._finish(data, at, seq, head)
        self._append(data, head, count, 0)

    def _write_one(self, now: int, event: int, value: int) -> None:
        """Write a record of the journal's own: the state is that of the record before.

        Of an overrun it is the newest. The time is before that of the events that wait.
        """
        if event != SEAL:
            self._make_room(now)
        data = bytearray(SIZE)
        data[:_FIELDS] = self._newest if event == OVERRUN else self._told
        if self._waiting:
            low, high = struct.unpack_from("<IH", self._queue, _TIME_AT + 4)
        else:
            self._uptime = now = max(now, self._uptime)
            low, high = now & 0xFFFFFFFF, now >> 32
        struct.pack_into("<IIH", data, _TIME_AT, self.boot, low, high)
        struct.pack_into("<IB", data, _DATA_AT, value, event)
        head = self._finish(data, 0, self.seq + 1, self.head)
        self._append(data, head, 0, self._lost if event == OVERRUN else 0)
        self._sealed = event == SEAL

    def _finish(self, data: bytearray, at: int, seq: int, link: bytes) -> bytes:
        """Number, link and sign the record at ``data[at:]``. Returns its head."""
        struct.pack_into("<I", data, at, seq)
        struct.pack_into("<HI", data, at + _EPOCH_AT, self.pairing, self.epoch)
        if seq == 1:
            link = self._board.entropy(attest.MAC)
        data[at + _FIELDS : at + _SIGNED] = link
        record = memoryview(data)[at : at + SIZE]
        if self.pairing:
            record[_SIGNED:SIZE] = mac_of(self._key, record)
        return head_of(record)

    def _append(self, data: bytearray, head: bytes, events: int, lost: int) -> None:
        """Make ``data`` durable and count it; ``events`` of the queue are in it."""
        if self._filled >= SEGMENT:
            self._new_segment()
        count = len(data) // SIZE
        # Should this raise, nobody knows.
        self._doubt = (self.seq + count, head, events, lost)
        self._board.journal_append(self._segments[-1], data)
        self._doubt = None
        self.seq += count
        self.head, self.last_boot = head, self.boot
        self._told[:] = data[len(data) - SIZE : len(data) - SIZE + _FIELDS]
        self._filled += count
        self._count += count
        self._sealed = False
        self._drop_events(events, lost)

    def _drop_events(self, count: int, lost: int) -> None:
        self._lost -= lost
        if count:
            left = (self._waiting - count) * _FIELDS
            at = count * _FIELDS
            self._queue[:left] = self._queue[at : at + left]
            self._waiting -= count

    def _recover(self) -> None:
        """Find out what is durable after something has raised."""
        self._load_keys()
        self._load_tail()
        if self._doubt is not None:
            seq, head, events, lost = self._doubt
            if (self.seq, self.head) == (seq, head):
                self._drop_events(events, lost)
            self._doubt = None

    # Reading.

    def page(self, start: int) -> tuple[int, bytes]:
        """At most `PAGE` records from ``start`` on: the first one's number, and their bytes.

        Those before `first` are gone. Raises `OSError` when they cannot be read.
        """
        start = max(start, self.first)
        if start > self.seq:
            return self.seq + 1, b""
        segment, end = self._segments[0], self.seq + 1
        for first in self._segments:
            if first > start:
                end = first
                break
            segment = first
        count = min(PAGE, end - start)
        return start, self._board.journal_read(segment, (start - segment) * SIZE, count * SIZE)

    # Pairing.

    def pair(self, now: int, host: bytes) -> "bytes | None":
        """Pair with a host that contributes `attest.KEY` bytes. The board's bytes, once durable.

        None if that could not be written; what was durable before stays. Ends the pairing before.
        """
        if not self.flush(now):
            return None
        ours = self._board.entropy(attest.KEY)
        secret = attest.secret(host, ours, self._board.unique_id())
        try:
            if self.pairing:
                self._seal(now)
            self._store_keys(
                self._last_pairing + 1,
                0,
                attest.key_id(secret),
                attest.attest_key(secret),
                attest.journal_key(secret),
            )
        except OSError:
            # Nothing comes after a seal that may be written but the next epoch.
            self._renew = True
            self._fail(now)
            return None
        self._epoch_at = now
        self._announce = True
        return ours if self.flush(now) else None

    def unpair(self, now: int) -> bool:
        """End the pairing and forget its keys. False if that could not be written."""
        if not self.flush(now):
            return False
        try:
            if self.pairing:
                self._write_one(now, UNPAIR, int.from_bytes(self.key_id, "little"))
                self._forget_keys()
        except OSError:
            self._fail(now)
            return False
        return True

    def sign(self, statement: bytes) -> tuple[bytes, bytes]:
        """The two MACs of ``statement``: under the attest key, and under the journal key."""
        return attest.mac(self._attest_key, statement), attest.mac(self._key, statement)
