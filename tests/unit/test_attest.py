"""The hashes and keys of the evidence, against RFC 4231 and values from Python's own `hmac`."""

import binascii

import pytest

from muteboard import attest

# RFC 4231, 4.2 to 4.5; the key of 4.6 and its output of 128 bits.
RFC4231 = (
    (
        b"\x0b" * 20,
        b"Hi There",
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
    ),
    (
        b"Jefe",
        b"what do ya want for nothing?",
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
    ),
    (
        b"\xaa" * 20,
        b"\xdd" * 50,
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe",
    ),
    (
        bytes(range(1, 26)),
        b"\xcd" * 50,
        "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
    ),
)


def hexed(data: bytes) -> str:
    return binascii.hexlify(data).decode()


@pytest.mark.parametrize(("key", "message", "expected"), RFC4231)
def test_hmac_of_rfc_4231(key, message, expected):
    assert hexed(attest.hmac(key, message)) == expected
    assert hexed(attest.hmac(key, memoryview(message))) == expected


def test_a_mac_is_truncated_as_rfc_4231_has_it():
    found = attest.mac(b"\x0c" * 20, b"Test With Truncation")
    assert hexed(found) == "a3b6167473100ee06e0c796c2955552b"


def test_a_key_as_long_as_a_block_is_taken_as_it_is():
    assert attest.hmac(b"k" * 63 + b"\0", b"m") == attest.hmac(b"k" * 63, b"m")
    assert attest.hmac(b"k" * 64, b"m") != attest.hmac(b"k" * 63, b"m")


def test_sha256_is_of_all_parts():
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert hexed(attest.sha256(b"abc")) == expected
    assert hexed(attest.sha256(b"a", b"", memoryview(b"bc"))) == expected


def test_the_keys_of_a_pairing():
    host, board = bytes(range(32)), bytes(range(32, 64))
    secret = attest.secret(host, board, binascii.unhexlify("e6614c311b8a4f2d"))
    key = attest.journal_key(secret)
    found = (secret, attest.attest_key(secret), key, attest.next_key(key), attest.key_id(secret))
    assert [hexed(one) for one in found] == [
        "e89e54bafea9e97782e4397933f65d34654c4e354798d302c41be6f597ec0865",
        "6030c2552d37c8dee1e91c41b6dc68fcd433f9b1e14865af7481797caae55183",
        "a5d8efb25a26a9a69e76d93dbdb07454a580bed0498796cbedd4b774eef0b60f",
        "a44712a211589f82637bf0667f1cc5c66c942bb7fe26365d898ddcd7e2bb4a83",
        "5eab3629",
    ]
