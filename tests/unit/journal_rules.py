"""The rules of docs/evidence.md over the records of a journal, written from that page."""

from muteboard import attest

PAIR, UNPAIR, SEAL = 8, 9, 5


class Fields:
    """One record, by the page's table."""

    def __init__(self, record: bytes):
        assert len(record) == 64
        self.raw = bytes(record)
        self.seq = number(record, 0, 4)
        self.boot = number(record, 4, 4)
        self.uptime_ms = number(record, 8, 6)
        self.pairing = number(record, 14, 2)
        self.epoch = number(record, 16, 4)
        self.presses = number(record, 20, 4)
        self.data = number(record, 24, 4)
        self.event, self.cause, self.state, self.sense = record[28:32]
        self.link = record[32:48]
        self.mac = record[48:64]


def number(record: bytes, at: int, size: int) -> int:
    return int.from_bytes(record[at : at + size], "little")


def split(data: bytes) -> "list[Fields]":
    assert len(data) % 64 == 0, "part of a record"
    return [Fields(data[at : at + 64]) for at in range(0, len(data), 64)]


def check(records: "list[Fields]", secrets: "dict[int, bytes]") -> None:
    """Assert rules 1 to 6; the MACs of the pairings in ``secrets`` only. The first may be any."""
    before = None
    highest = 0
    count = None
    keys = {}
    for record in records:
        if before is not None:
            check_order(before, record)
            if record.event == PAIR:
                assert record.pairing > highest
        if before is None:
            count = 1 if record.seq == 1 else None
        elif (record.pairing, record.epoch) != (before.pairing, before.epoch):
            count = 1
        elif count is not None:
            count += 1
        if record.event == SEAL and count is not None:
            assert record.data == count
        if not record.pairing:
            assert record.mac == bytes(16)
        elif record.pairing in secrets:
            check_mac(record, keys, secrets[record.pairing])
        highest = max(highest, record.pairing)
        before = record


def check_order(before: Fields, record: Fields) -> None:
    assert record.seq == before.seq + 1
    assert record.link == attest.sha256(before.raw)[:16]
    assert record.boot >= before.boot
    if record.boot == before.boot:
        assert record.uptime_ms >= before.uptime_ms
    if record.event == PAIR:
        assert record.epoch == 0
        assert not before.pairing or before.event in (SEAL, UNPAIR)
    elif before.pairing and before.event != UNPAIR:
        assert record.pairing == before.pairing
        assert record.epoch == before.epoch + (before.event == SEAL)
    else:
        assert (record.pairing, record.epoch) == (0, 0)


def check_mac(record: Fields, keys: dict, secret: bytes) -> None:
    """``keys``: of each pairing, the epoch and key found last."""
    epoch, key = keys.get(record.pairing, (0, attest.journal_key(secret)))
    while epoch < record.epoch:
        epoch, key = epoch + 1, attest.next_key(key)
    keys[record.pairing] = (epoch, key)
    assert record.mac == attest.hmac(key, record.raw[:48])[:16]
