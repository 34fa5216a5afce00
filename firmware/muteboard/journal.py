"""The board's event record: append-only, chained, under keys that the board forgets.

The format and its rules are in docs/evidence.md. `Journal` writes it through the board's storage
(`muteboard.boards`); the functions above it are pure, and the host checks with them.

What happens waits in a bounded, preallocated queue until `Journal.flush` writes it. Sequence
numbers and the head are those of records that are durable.
"""

import struct

from muteboard import attest

try:
    from micropython import const
except ImportError:

    def const(__value):
        return __value


# Bytes of a record, and those in front of its link and of its MAC.
SIZE = const(64)
_FIELDS = const(32)
_SIGNED = const(48)
# Records in a segment, and the most segments that are kept: 10,240 records at least.
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
# uptime low and high, presses, data, event, cause, state, sense
_EVENT = "<IHIIBBBB"
_EVENT_SIZE = const(18)
# last pairing, paired, epoch, key id, attest key, journal key
_KEYS = "<HHI4s32s32s"
# Bytes that a board's key storage holds.
KEYS_SIZE = const(76)
_RETRY_MS = const(1000)


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
    """The journal of ``board``, opened. Nothing is written before the first `flush`."""

    def __init__(self, board):
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
        self._expired = False
        # uptime, presses, cause, state and sense of the newest event.
        self._now = (0, 0, 0, 0, 0)
        self._queue = bytearray(QUEUE * _EVENT_SIZE)
        self._waiting = 0
        self._lost = 0
        # (seq, head, events) as they are if the append that raised was durable after all.
        self._doubt: tuple[int, bytes, int] | None = None
        self._load_keys()
        self._load_tail()

    @property
    def pending(self) -> bool:
        """Whether something waits to be written."""
        return self._waiting > 0 or self._lost > 0 or self._expired

    @property
    def first(self) -> int:
        """Number of the oldest record kept, or that the first one will have."""
        return self._segments[0] if self._segments else self.seq + 1

    # What is on the board.

    def _load_keys(self) -> None:
        data = self._board.load_keys()
        if data is None:
            return
        last, paired, epoch, key_id, attest_key, key = struct.unpack(_KEYS, data)
        self._last_pairing = last
        if paired:
            self.pairing, self.epoch = last, epoch
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
        # A segment that power has cut short of its first record.
        while self._segments and board.journal_size(self._segments[-1]) < SIZE:
            board.journal_drop(self._segments.pop())
        self._count, self._sealed = 0, False
        if self._segments:
            self._load_last(self._segments[-1])
        # The keys of a pairing are stored before its first record.
        self._announce = self.pairing > 0 and self.epoch == 0 and self._count == 0
        if self._announce:
            self._renew = False

    def _load_last(self, segment: int) -> None:
        board = self._board
        size = board.journal_size(segment)
        last_at = size // SIZE - 1
        # No file system of ours leaves part of a record; one that does gets a new segment.
        self._filled = SEGMENT if size % SIZE else last_at + 1
        data = board.journal_read(segment, last_at * SIZE, SIZE)
        last = Record(data)
        self.seq, self.head, self.last_boot = last.seq, head_of(data), last.boot
        self._last_pairing = max(self._last_pairing, last.pairing)
        if not self.pairing or (last.pairing, last.epoch) != (self.pairing, self.epoch):
            return
        if last.event == UNPAIR:
            # Power went before the keys did.
            self._forget_keys()
            return
        self._sealed = last.event == SEAL
        # An epoch lies within a segment.
        for at in range(last_at, -1, -1):
            record = Record(board.journal_read(segment, at * SIZE, SIZE))
            if (record.pairing, record.epoch) != (self.pairing, self.epoch):
                break
            self._count += 1

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
    ) -> None:
        """Queue an event of uptime ``now``, ms. The rest is as in the record."""
        self._now = (now, presses, cause, state, sense)
        if self._waiting == QUEUE or self._lost:
            self._lost += 1
            return
        struct.pack_into(
            _EVENT,
            self._queue,
            self._waiting * _EVENT_SIZE,
            now & 0xFFFFFFFF,
            now >> 32,
            presses,
            data,
            event,
            cause,
            state,
            sense,
        )
        self._waiting += 1

    def expire(self, now: int, presses: int, cause: int, state: int, sense: int) -> None:
        """Give up the journal key if it is 24 h old. Arguments as of `record`."""
        if self.pairing and now - self._epoch_at >= EPOCH_MS:
            self._now = (now, presses, cause, state, sense)
            self._renew = self._expired = True

    # Writing.

    def retry_due(self, now: int) -> bool:
        """Whether it is time to try again what has failed."""
        return now - self._failed_at >= _RETRY_MS

    def flush(self, now: int) -> bool:
        """Make durable what waits. False if it could not be; `failed` says so as well.

        Takes as long as the flash does: some 60 ms for a few records, more at a segment's end.
        """
        try:
            if self._doubt is not None:
                self._resolve_doubt()
            self._write_all(now)
        except OSError:
            self.failed = True
            self._failed_at = now
            return False
        self.failed = False
        return True

    def _write_all(self, now: int) -> None:
        if self._announce:
            self._write_one(PAIR, int.from_bytes(self.key_id, "little"))
            self._announce = False
        if self._renew:
            self._renew_epoch(now)
        while self._waiting:
            room = SEGMENT - self._filled
            if self.pairing:
                # The last place is the seal's.
                room -= 1
            if room <= 0:
                self._end_segment(now)
            else:
                self._write_waiting(min(room, self._waiting))
        if self._lost:
            lost, self._lost = self._lost, 0
            try:
                self._write_one(OVERRUN, lost)
            except OSError:
                self._lost += lost
                raise

    def _renew_epoch(self, now: int) -> None:
        """Seal the epoch and go to the next key, unless nothing was written under this one."""
        if self.pairing:
            if self._count and not self._sealed:
                self._write_one(SEAL, self._count + 1)
            # A journal that is gone may have had records under this key.
            if self._sealed or self.seq == 0:
                self._store_keys(
                    self.pairing,
                    self.epoch + 1,
                    self.key_id,
                    self._attest_key,
                    attest.next_key(self._key),
                )
        self._epoch_at = now
        self._renew = self._expired = False

    def _end_segment(self, now: int) -> None:
        self._renew_epoch(now)
        self._new_segment()

    def _new_segment(self) -> None:
        while len(self._segments) >= SEGMENTS:
            self._board.journal_drop(self._segments[0])
            self._segments.pop(0)
        self._segments.append(self.seq + 1)
        self._filled = 0

    def _write_waiting(self, count: int) -> None:
        data = bytearray(count * SIZE)
        seq, head = self.seq, self.head
        for index in range(count):
            low, high, presses, value, event, cause, state, sense = struct.unpack_from(
                _EVENT, self._queue, index * _EVENT_SIZE
            )
            seq += 1
            head = self._build(
                data,
                index * SIZE,
                seq,
                head,
                low,
                high,
                presses,
                value,
                event,
                cause,
                state,
                sense,
            )
        self._append(data, seq, head, count)

    def _write_one(self, event: int, value: int) -> None:
        if self._filled >= SEGMENT:
            self._new_segment()
        now, presses, cause, state, sense = self._now
        data = bytearray(SIZE)
        head = self._build(
            data,
            0,
            self.seq + 1,
            self.head,
            now & 0xFFFFFFFF,
            now >> 32,
            presses,
            value,
            event,
            cause,
            state,
            sense,
        )
        self._append(data, self.seq + 1, head, 0)
        self._sealed = event == SEAL

    def _build(
        self, data, at, seq, link, low, high, presses, value, event, cause, state, sense
    ) -> bytes:
        """Put a record at ``data[at:]``. Returns its head."""
        struct.pack_into(
            _LAYOUT,
            data,
            at,
            seq,
            self.boot,
            low,
            high,
            self.pairing,
            self.epoch,
            presses,
            value,
            event,
            cause,
            state,
            sense,
        )
        if seq == 1:
            link = self._board.entropy(attest.MAC)
        data[at + _FIELDS : at + _SIGNED] = link
        view = memoryview(data)[at : at + SIZE]
        if self.pairing:
            view[_SIGNED:SIZE] = mac_of(self._key, view)
        return head_of(view)

    def _append(self, data: bytearray, seq: int, head: bytes, events: int) -> None:
        """Make ``data`` durable and count it; ``events`` of the queue are in it."""
        if not self._segments:
            self._new_segment()
        # Should this raise, nobody knows.
        self._doubt = (seq, head, events)
        self._board.journal_append(self._segments[-1], data)
        self._doubt = None
        self._filled += len(data) // SIZE
        self._count += len(data) // SIZE
        self._sealed = False
        self.seq, self.head, self.last_boot = seq, head, self.boot
        self._drop_events(events)

    def _drop_events(self, count: int) -> None:
        if count:
            left = (self._waiting - count) * _EVENT_SIZE
            at = count * _EVENT_SIZE
            self._queue[:left] = self._queue[at : at + left]
            self._waiting -= count

    def _resolve_doubt(self) -> None:
        assert self._doubt is not None
        seq, head, events = self._doubt
        self._load_tail()
        if (self.seq, self.head) == (seq, head):
            self._drop_events(events)
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
        self._pass_to(now)
        try:
            if self.pairing and self._count and not self._sealed:
                self._write_one(SEAL, self._count + 1)
            self._store_keys(
                self._last_pairing + 1,
                0,
                attest.key_id(secret),
                attest.attest_key(secret),
                attest.journal_key(secret),
            )
            self._epoch_at = now
            self._announce = True
        except OSError:
            return None
        return ours if self.flush(now) else None

    def _pass_to(self, now: int) -> None:
        _, presses, cause, state, sense = self._now
        self._now = (now, presses, cause, state, sense)

    def unpair(self, now: int) -> bool:
        """End the pairing and forget its keys. False if that could not be written."""
        if not self.flush(now):
            return False
        self._pass_to(now)
        try:
            if self.pairing:
                self._write_one(UNPAIR, int.from_bytes(self.key_id, "little"))
                self._forget_keys()
        except OSError:
            return False
        return True

    def sign(self, statement: bytes) -> tuple[bytes, bytes]:
        """The two MACs of ``statement``: under the attest key, and under the journal key."""
        return attest.mac(self._attest_key, statement), attest.mac(self._key, statement)
