"""The golden vectors of the evidence, recomputed by the board's own code on any interpreter."""

import binascii
import json

import golden
import pytest

from muteboard import attest, journal, wire

VECTORS = golden.load("evidence.json")
PAIRING = VECTORS["pairing"]


def bytes_of(text: str) -> bytes:
    return binascii.unhexlify(text)


def hexed(data: bytes) -> str:
    return binascii.hexlify(data).decode()


def test_the_keys_of_a_pairing():
    host, board = bytes_of(PAIRING["host_bytes"]), bytes_of(PAIRING["board_bytes"])
    secret = attest.secret(host, board, bytes_of(PAIRING["board"]))
    assert hexed(secret) == PAIRING["secret"]
    assert hexed(attest.key_id(secret)) == PAIRING["key_id"]
    assert hexed(attest.attest_key(secret)) == PAIRING["attest_key"]
    first = attest.journal_key(secret)
    assert [hexed(first), hexed(attest.next_key(first))] == PAIRING["journal_keys"]


@pytest.mark.parametrize("number", tuple(range(len(VECTORS["records"]))))
def test_a_record(number):
    vector = VECTORS["records"][number]
    data = bytes_of(vector["bytes"])
    record = journal.Record(data)
    for field in ("seq", "boot", "uptime_ms", "pairing", "epoch", "presses", "data", "state"):
        assert getattr(record, field) == vector[field], field
    assert journal.EVENTS[record.event - 1] == vector["event"]
    assert hexed(record.link) == vector["link"]
    assert hexed(journal.head_of(data)) == vector["head"]
    if record.pairing:
        key = bytes_of(PAIRING["journal_keys"][record.epoch])
        assert hexed(journal.mac_of(key, data)) == vector["mac"]


def test_the_statement_and_its_macs():
    vector = VECTORS["attestation"]
    statement = vector["statement"].encode()
    assert wire.dumps(json.loads(statement)).encode() == statement
    assert hexed(attest.mac(bytes_of(PAIRING["attest_key"]), statement)) == vector["mac"]
    key = bytes_of(PAIRING["journal_keys"][json.loads(statement)["epoch"]])
    assert hexed(attest.mac(key, statement)) == vector["journal_mac"]
