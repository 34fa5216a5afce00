"""Keys and message authentication codes of the evidence (docs/evidence.md). Pure.

HMAC-SHA-256 is RFC 2104 over the port's own `hashlib`; MicroPython has no `hmac`.
"""

try:
    # Here, not where it is used: MicroPython lets a file replace such a module, and looks for one
    # at each `import`, six times on the flash (1.25).
    from hashlib import sha256 as _sha256
except ImportError:
    # Not every CircuitPython has it, and none keeps a journal (muteboard.boards).
    _sha256 = None

from muteboard import const

# Bytes of a secret, a key, and what each side of a pairing contributes.
KEY = const(32)
# Bytes of a MAC, a link, a nonce and a salt.
MAC = const(16)
# Bytes of a key id.
KEY_ID = const(4)
_BLOCK = const(64)
_INNER = int.from_bytes(b"\x36" * _BLOCK, "big")
_OUTER = int.from_bytes(b"\x5c" * _BLOCK, "big")


def sha256(*parts: "bytes | memoryview") -> bytes:
    """SHA-256 of the concatenation of ``parts``, 32 bytes."""
    assert _sha256 is not None
    digest = _sha256()
    for part in parts:
        digest.update(part)
    return digest.digest()


def hmac(key: bytes, message: "bytes | memoryview") -> bytes:
    """HMAC-SHA-256 of ``message``, 32 bytes. ``key``: at most 64 bytes."""
    # As numbers: a loop over the bytes takes MicroPython as long as the hashing.
    block = int.from_bytes(key + bytes(_BLOCK - len(key)), "big")
    inner = sha256((block ^ _INNER).to_bytes(_BLOCK, "big"), message)
    return sha256((block ^ _OUTER).to_bytes(_BLOCK, "big"), inner)


def mac(key: bytes, message: "bytes | memoryview") -> bytes:
    """The truncated HMAC that records and statements carry, `MAC` bytes."""
    return hmac(key, message)[:MAC]


def secret(host: bytes, board: bytes, board_id: bytes) -> bytes:
    """The secret of a pairing, from `KEY` random bytes of each side."""
    return sha256(b"hardmute pair", host, board, board_id)


def attest_key(secret: bytes) -> bytes:
    """What the board's answers to ``attest`` are checked with at once."""
    return hmac(secret, b"hardmute attest")


def journal_key(secret: bytes) -> bytes:
    """The journal key of epoch 0."""
    return hmac(secret, b"hardmute journal")


def next_key(journal_key: bytes) -> bytes:
    """The journal key of the epoch after that of ``journal_key``. There is no way back."""
    return hmac(journal_key, b"hardmute next")


def key_id(secret: bytes) -> bytes:
    """What tells one secret from another, `KEY_ID` bytes; tells nothing about it."""
    return hmac(secret, b"hardmute id")[:KEY_ID]
