"""The journal keys of pairings, and the MACs that they make (docs/evidence.md, "Keys")."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

from hardmute.evidence.entries import digests
from muteboard import attest

# Which secret belongs to which board and pairing.
Keys = Mapping[tuple[str, int], bytes]
# What makes the MACs of messages.
Signer = Callable[[Sequence[bytes]], list[bytes]]

# Far more than the flash of a board lives through: one for each day, start and segment.
_MOST_EPOCHS = 1 << 20
_BLOCK = 64
_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))


class EpochKeys:
    """The journal keys of pairings, each derived once."""

    def __init__(self, secrets: Keys) -> None:
        self.secrets = secrets
        self._keys: dict[tuple[str, int], list[bytes]] = {}
        # The newest signer of a pairing, and its epoch.
        self._signers: dict[tuple[str, int], tuple[int, Signer]] = {}

    def signer(self, board: str, pairing: int, epoch: int) -> Signer | None:
        """What makes the MACs of an epoch; None without the pairing's secret.

        Raises `ValueError` for an epoch that no board lives to see.
        """
        owner = board, pairing
        newest = self._signers.get(owner)
        if newest is not None and newest[0] == epoch:
            return newest[1]
        key = self.key(board, pairing, epoch)
        if key is None:
            return None
        sign = _signer(key)
        self._signers[owner] = epoch, sign
        return sign

    def key(self, board: str, pairing: int, epoch: int) -> bytes | None:
        """The journal key of an epoch. None, and raises, as `signer`."""
        owner = board, pairing
        secret = self.secrets.get(owner)
        if secret is None:
            return None
        if epoch > _MOST_EPOCHS:
            raise ValueError
        keys = self._keys.get(owner)
        if keys is None:
            keys = self._keys[owner] = [attest.journal_key(secret)]
        while len(keys) <= epoch:
            keys.append(hmac.digest(keys[-1], b"hardmute next", "sha256"))
        return keys[epoch]


def _signer(key: bytes) -> Signer:
    """HMAC (RFC 2104), begun up to where the message comes: twice as fast as `hmac` for each."""
    block = key.ljust(_BLOCK, b"\0")
    inner, outer = sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))

    def sign(messages: Sequence[bytes]) -> list[bytes]:
        return [mac[: attest.MAC] for mac in digests(outer, digests(inner, messages))]

    return sign


def wrong(sign: Signer, messages: Sequence[bytes], macs: Sequence[bytes]) -> list[int]:
    """Which of ``macs``, which have `attest.MAC` bytes each, are not those of the ``messages``."""
    right = sign(messages)
    if hmac.compare_digest(b"".join(right), b"".join(macs)):
        return []
    return [at for at, mac in enumerate(macs) if not hmac.compare_digest(right[at], mac)]
