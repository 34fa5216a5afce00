"""Checks entries of a log or an export, with no board present (docs/evidence.md).

Without the verify key of a pairing its MACs are not checked, and that is said.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from hardmute.chain import Chain
from hardmute.entries import GENESIS, Entry, canonical, hash_of, nonce
from hardmute.errors import UsageError
from muteboard import attest, journal

# Which secret belongs to which board and pairing.
Keys = Mapping[tuple[str, int], bytes]

_HASH = len(GENESIS)


class Finding(NamedTuple):
    """What is wrong with entry ``row``, as a clause that follows its number."""

    row: int
    text: str


class Branch(NamedTuple):
    """One journal of a board, as far as it was read. Numbers of what was checked with a key."""

    board: str
    number: int
    records: int
    first_seq: int
    last_seq: int
    attestations: int
    macs: int
    pairings_without_key: tuple[int, ...]


class Report(NamedTuple):
    """The outcome. ``findings``: in the order of rows; nothing is wrong if there are none."""

    entries: int
    first_row: int
    head_row: int
    head: bytes
    findings: list[Finding]
    branches: list[Branch]
    incidents: list[Entry]
    # Attestations whose entry `log_row` was pruned.
    unbound: int


class EpochKeys:
    """The journal keys of pairings, each derived once."""

    def __init__(self, secrets: Keys) -> None:
        self._secrets = secrets
        self._keys: dict[tuple[str, int], list[bytes]] = {}

    def key(self, board: str, pairing: int, epoch: int) -> bytes | None:
        """The journal key of an epoch; None without the pairing's secret."""
        secret = self._secrets.get((board, pairing))
        if secret is None:
            return None
        keys = self._keys.setdefault((board, pairing), [attest.journal_key(secret)])
        while len(keys) <= epoch:
            keys.append(hmac.digest(keys[-1], b"hardmute next", "sha256"))
        return keys[epoch]

    def check_id(self, board: str, record: journal.Record) -> None:
        """Raise `UsageError` if ``record`` pairs with another secret than the one given."""
        secret = self._secrets.get((board, record.pairing))
        if secret is not None and record.data.to_bytes(4, "little") != attest.key_id(secret):
            raise UsageError(
                f"The key given for pairing {record.pairing} of board {board} is another one: "
                f"that pairing has the key id {record.data.to_bytes(4, 'little').hex()}."
            )


class _Journal:
    """One branch while it is read."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.records = self.macs = self.attestations = 0
        self.first_seq = 0
        # Heads after each record, from the one before `first_seq` on.
        self.heads = bytearray()
        self.without_key: set[int] = set()

    @property
    def seq(self) -> int:
        return 0 if self.chain.last is None else self.chain.last.seq

    def head_at(self, seq: int) -> bytes | None:
        """The journal's head after record ``seq``, if that was read."""
        at = (seq - self.first_seq + 1) * attest.MAC
        head = bytes(self.heads[at : at + attest.MAC]) if at >= 0 else b""
        return head or None


class Verifier:
    """Takes entries in order, the first one being number ``row`` + 1 after hash ``before``."""

    def __init__(self, secrets: Keys, row: int = 0, before: bytes = GENESIS) -> None:
        self._keys = EpochKeys(secrets)
        self._base = row
        self._row = row
        # Hashes from that of entry `_base` on.
        self._hashes = bytearray(before)
        self._journals: dict[tuple[str, int], _Journal] = {}
        self.findings: list[Finding] = []
        self.incidents: list[Entry] = []
        self.unbound = 0

    def resume(self, board: str, branch: int, record: bytes, count: int) -> None:
        """A branch has been pruned up to ``record``, the ``count``-th of its epoch."""
        self._journals[board, branch] = found = _Journal()
        found.chain.resume(record, count)
        found.first_seq = found.seq + 1
        found.heads += found.chain.head

    def take(self, entry: Entry) -> None:
        """Check one entry."""
        if entry.row != self._row + 1:
            self._find(entry, f"does not follow entry {self._row}")
        before = bytes(self._hashes[-_HASH:])
        if hash_of(before, entry) != entry.hash:
            self._find(entry, "does not have the hash that its content and the one before give")
        self._row = entry.row
        self._hashes += entry.hash
        try:
            if entry.kind == "record":
                self._take_record(entry)
            elif entry.kind == "attestation":
                self._take_attestation(entry)
        except (KeyError, TypeError, ValueError, AttributeError):
            self._find(entry, f"is no {entry.kind} as hardmute writes it")
        if entry.kind == "incident":
            self.incidents.append(entry)

    def _find(self, entry: Entry, text: str) -> None:
        self.findings.append(Finding(entry.row, text))

    def _journal(self, entry: Entry) -> tuple[str, _Journal]:
        board, branch = entry.board, entry.body["branch"]
        if board is None or isinstance(branch, bool) or not isinstance(branch, int):
            raise ValueError
        return board, self._journals.setdefault((board, branch), _Journal())

    def _take_record(self, entry: Entry) -> None:
        board, found = self._journal(entry)
        data = base64.b64decode(entry.body["record"], validate=True)
        if len(data) != journal.SIZE or set(entry.body) != {"branch", "record"}:
            raise ValueError
        begins = found.chain.last is None
        problem = found.chain.take(data)
        if problem is not None:
            self._find(entry, f"holds a record that {problem}")
            return
        record = found.chain.last
        assert record is not None
        if begins:
            found.first_seq = record.seq
            found.heads += record.link if record.seq > 1 else journal.NO_HEAD
        found.heads += found.chain.head
        found.records += 1
        if record.event == journal.PAIR:
            self._keys.check_id(board, record)
        if record.pairing:
            self._check_mac(entry, board, found, record, data)

    def _check_mac(
        self, entry: Entry, board: str, found: _Journal, record: journal.Record, data: bytes
    ) -> None:
        key = self._keys.key(board, record.pairing, record.epoch)
        if key is None:
            found.without_key.add(record.pairing)
        elif hmac.digest(key, data[: -attest.MAC], "sha256")[: attest.MAC] == record.mac:
            found.macs += 1
        else:
            self._find(entry, f"holds record {record.seq}, which the board's key has not signed")

    def _take_attestation(self, entry: Entry) -> None:
        board, found = self._journal(entry)
        statement: dict[str, Any] = entry.body["statement"]
        seq, pairing, epoch = (_count(statement[key]) for key in ("seq", "pairing", "epoch"))
        found.attestations += 1
        if statement["board"] != board:
            self._find(entry, "is an attestation of another board")
        head = found.head_at(seq) if found.records else None
        if seq > found.seq:
            self._find(entry, f"attests record {seq}, which is not in the log before it")
        elif head is not None and head.hex() != statement["head"]:
            self._find(entry, f"attests another record {seq} than the log has")
        self._check_nonce(entry, statement)
        key = self._keys.key(board, pairing, epoch)
        if key is None:
            found.without_key.add(pairing)
        elif journal_mac(key, statement) == entry.body["journal_mac"]:
            found.macs += 1
        else:
            self._find(entry, "is an attestation that the board's key has not signed")

    def _check_nonce(self, entry: Entry, statement: dict[str, Any]) -> None:
        row = _count(entry.body["log_row"])
        salt = bytes.fromhex(entry.body["salt"])
        if row >= entry.row or len(salt) != attest.MAC:
            self._find(entry, "is an attestation that was asked for after it was given")
            return
        if row < self._base:
            self.unbound += 1
            return
        at = (row - self._base) * _HASH
        if nonce(bytes(self._hashes[at : at + _HASH]), salt).hex() != statement["nonce"]:
            self._find(entry, f"attests another log up to entry {row} than this one")

    def report(self) -> Report:
        """The outcome so far."""
        return Report(
            entries=len(self._hashes) // _HASH - 1,
            first_row=self._base + 1,
            head_row=self._row,
            head=bytes(self._hashes[-_HASH:]),
            findings=self.findings,
            branches=[
                Branch(
                    board,
                    number,
                    found.records,
                    found.first_seq,
                    found.seq,
                    found.attestations,
                    found.macs,
                    tuple(sorted(found.without_key)),
                )
                for (board, number), found in sorted(self._journals.items())
            ],
            incidents=self.incidents,
            unbound=self.unbound,
        )


class Excerpt:
    """Checks the evidence of one board alone, from wherever it begins: all but the log's chain.

    ``log_hash``: the hash of an entry by its row, None if it is not to be had.
    """

    def __init__(self, secrets: Keys, log_hash: Callable[[int], bytes | None]) -> None:
        self._keys = EpochKeys(secrets)
        self._log_hash = log_hash
        self._chain = Chain()
        # Heads by sequence number: of the records, and of the attestations before the first one.
        self._heads: dict[int, str] = {}
        self._branch: object = None
        self._board: str | None = None
        self.findings: list[Finding] = []
        # Rows of what was signed under a key given; how many of how many.
        self.signed_rows: set[int] = set()
        self.signatures = 0

    @property
    def macs(self) -> int:
        return len(self.signed_rows)

    def take(self, entry: Entry) -> None:
        """Check one entry, in the order of rows."""
        try:
            if entry.kind == "incident":
                self._begin(None)
                return
            if entry.body["branch"] != self._branch:
                self._begin(entry.body["branch"])
            board = entry.board
            if board is None or self._board not in (None, board):
                self._find(entry, "is of another board")
            elif entry.kind == "record":
                self._take_record(entry, board)
            else:
                self._take_attestation(entry, board)
            self._board = board
        except (KeyError, TypeError, ValueError, AttributeError):
            self._find(entry, f"is no {entry.kind} as hardmute writes it")

    def _begin(self, branch: object) -> None:
        self._branch, self._chain, self._heads = branch, Chain(), {}

    def _find(self, entry: Entry, text: str) -> None:
        self.findings.append(Finding(entry.row, text))

    def _take_record(self, entry: Entry, board: str) -> None:
        data = base64.b64decode(entry.body["record"], validate=True)
        if len(data) != journal.SIZE:
            raise ValueError
        problem = self._chain.take(data)
        if problem is not None:
            self._find(entry, f"holds a record that {problem}")
            return
        record = self._chain.last
        assert record is not None
        if self._heads.get(record.seq - 1, record.link.hex()) != record.link.hex():
            self._find(entry, "holds a record that does not link to what was attested before it")
        self._heads[record.seq] = self._chain.head.hex()
        if record.pairing:
            if record.event == journal.PAIR:
                self._keys.check_id(board, record)
            key = self._keys.key(board, record.pairing, record.epoch)
            signed = key and hmac.digest(key, data[: -attest.MAC], "sha256")[: attest.MAC]
            self._count(entry, signed, record.mac)

    def _take_attestation(self, entry: Entry, board: str) -> None:
        statement: dict[str, Any] = entry.body["statement"]
        seq = _count(statement["seq"])
        if statement["board"] != board:
            self._find(entry, "is an attestation of another board")
        if self._chain.last is not None and seq > self._chain.last.seq:
            self._find(entry, f"attests record {seq}, which is not in the log before it")
        elif self._heads.setdefault(seq, statement["head"]) != statement["head"]:
            self._find(entry, f"attests another record {seq} than the log has")
        row, salt = _count(entry.body["log_row"]), bytes.fromhex(entry.body["salt"])
        known = GENESIS if row == 0 else self._log_hash(row)
        if row >= entry.row or len(salt) != attest.MAC:
            self._find(entry, "is an attestation that was asked for after it was given")
        elif known is not None and nonce(known, salt).hex() != statement["nonce"]:
            self._find(entry, f"attests another log up to entry {row} than this one")
        key = self._keys.key(board, _count(statement["pairing"]), _count(statement["epoch"]))
        signed = key and bytes.fromhex(journal_mac(key, statement))
        self._count(entry, signed, bytes.fromhex(entry.body["journal_mac"]))

    def _count(self, entry: Entry, expected: bytes | None, found: bytes) -> None:
        self.signatures += 1
        if expected is None:
            return
        if hmac.compare_digest(expected, found):
            self.signed_rows.add(entry.row)
        else:
            self._find(entry, "was not signed by the board's key")


def statement_bytes(statement: Mapping[str, Any]) -> bytes:
    """What the MACs of a statement cover."""
    return canonical(statement).encode()


def journal_mac(key: bytes, statement: Mapping[str, Any]) -> str:
    """The MAC of a statement under the journal key, or the attest key, in hex."""
    return hmac.digest(key, statement_bytes(statement), "sha256")[: attest.MAC].hex()


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise ValueError
    return value


def verify(source: Callable[[], Iterable[Entry]], secrets: Keys) -> Report:
    """Check all entries of ``source``, which is read twice if its beginning was pruned."""
    verifier: Verifier | None = None
    for entry in source():
        if verifier is None:
            verifier = Verifier(secrets) if entry.row == 1 else _pruned(source, secrets, entry)
        verifier.take(entry)
    return (verifier or Verifier(secrets)).report()


def _pruned(source: Callable[[], Iterable[Entry]], secrets: Keys, first: Entry) -> Verifier:
    """A verifier for entries from ``first`` on, begun by what the newest checkpoint says."""
    checkpoint = None
    for entry in source():
        if entry.kind == "checkpoint" and entry.body.get("row") == first.row - 1:
            checkpoint = entry
    verifier = None if checkpoint is None else _resumed(checkpoint, secrets)
    if verifier is None:
        verifier = Verifier(secrets, first.row - 1)
        verifier.findings.append(
            Finding(first.row, "is the first, and no checkpoint says what came before it")
        )
    return verifier


def _resumed(checkpoint: Entry, secrets: Keys) -> Verifier | None:
    body = checkpoint.body
    try:
        verifier = Verifier(secrets, body["row"], bytes.fromhex(body["hash"]))
        for board, branch, record, count in body["ends"]:
            verifier.resume(board, branch, base64.b64decode(record, validate=True), count)
    except (KeyError, TypeError, ValueError):
        return None
    return verifier
