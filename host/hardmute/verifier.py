"""Checks entries of a log or an export, with no board present (docs/evidence.md).

Without the verify key of a pairing its MACs are not checked, and that is said.
"""

from __future__ import annotations

import hmac
import itertools
import struct
from array import array
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any, NamedTuple

from hardmute import heard
from hardmute.chain import NO_MAC, PARTS, Chain
from hardmute.entries import (
    FIRST_MS,
    GENESIS,
    LAST_MS,
    Entry,
    Row,
    canonical,
    encoded,
    ends_of,
    hash_of,
    nonce,
    record_around,
    record_of,
    text_around,
)
from muteboard import attest, journal

# Which secret belongs to which board and pairing.
Keys = Mapping[tuple[str, int], bytes]

_HASH = len(GENESIS)
# Far more than the flash of a board lives through: one for each day, start and segment.
_MOST_EPOCHS = 1 << 20
# The mark of a record that was not read.
_UNKNOWN = (1 << 64) - 1
# What the body of an attestation has, and of which type.
_ATTESTATION = {
    "branch": int,
    "statement": dict,
    "mac": str,
    "journal_mac": str,
    "salt": str,
    "log_row": int,
    "sent_ms": int,
    "received_ms": int,
    "elapsed_us": int,
    "anchor_us": int,
    "host_boot": str,
    "checked": bool,
}


class Finding(NamedTuple):
    """What is wrong with entry ``row``, as a clause that follows its number."""

    row: int
    text: str


class Branch(NamedTuple):
    """One journal of a board, as far as it was read. ``macs``: how many signatures were right."""

    board: str
    number: int
    records: int
    first_seq: int
    last_seq: int
    attestations: int
    signatures: int
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
    # What says which entries were pruned, if any were; and whether no board has signed anything
    # that commits to it.
    checkpoint: Entry | None
    checkpoint_open: bool


class EpochKeys:
    """The journal keys of pairings, each derived once."""

    def __init__(self, secrets: Keys) -> None:
        self._secrets = secrets
        self._keys: dict[tuple[str, int], list[bytes]] = {}
        # The key that was used last, ready for use: records of one epoch come together.
        self._ready: tuple[str, int, int] | None = None
        self._sign: Callable[[bytes], bytes] | None = None

    def key(self, board: str, pairing: int, epoch: int) -> bytes | None:
        """The journal key of an epoch; None without the pairing's secret.

        Raises `ValueError` for an epoch that no board lives to see.
        """
        secret = self._secrets.get((board, pairing))
        if secret is None:
            return None
        if epoch > _MOST_EPOCHS:
            raise ValueError
        keys = self._keys.get((board, pairing))
        if keys is None:
            keys = self._keys[board, pairing] = [attest.journal_key(secret)]
        while len(keys) <= epoch:
            keys.append(hmac.digest(keys[-1], b"hardmute next", "sha256"))
        return keys[epoch]

    def mac(self, board: str, pairing: int, epoch: int, message: bytes) -> bytes | None:
        """The MAC of ``message`` under the key of an epoch; None, and raises, as `key`."""
        sign = self.signer(board, pairing, epoch)
        return None if sign is None else sign(message)

    def signer(self, board: str, pairing: int, epoch: int) -> Callable[[bytes], bytes] | None:
        """What makes MACs under the key of an epoch; None, and raises, as `key`."""
        wanted = (board, pairing, epoch)
        if wanted != self._ready:
            key = self.key(board, pairing, epoch)
            if key is None:
                return None
            self._sign = _signer(key)
            self._ready = wanted
        return self._sign


def _signer(key: bytes) -> Callable[[bytes], bytes]:
    """HMAC (RFC 2104), begun up to where the message comes: twice as fast as `hmac` for each."""
    block = key.ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in block))
    outer = sha256(bytes(byte ^ 0x5C for byte in block))

    def sign(message: bytes) -> bytes:
        within, around = inner.copy(), outer.copy()
        within.update(message)
        around.update(within.digest())
        return around.digest()[: attest.MAC]

    return sign


class Keyring:
    """Checks what boards have signed with the keys given.

    Each branch keeps ``without_key``, its pairings that no key given fits: what is signed under
    one of them is not checked, and shows nothing.
    """

    def __init__(self, secrets: Keys) -> None:
        self.epochs = EpochKeys(secrets)
        self._secrets = secrets
        # Pairings under which something is signed: the key id, None where no record tells it.
        self.ids: dict[tuple[str, int], str | None] = {}
        # Those under whose key a signature was right.
        self.fitting: set[tuple[str, int]] = set()

    def begin(self, board: str, record: journal.Record, without_key: set[int]) -> None:
        """Take note of a ``pair`` record: a key with another id is the key of another pairing.

        A board that was reflashed counts its pairings from 1 again.
        """
        self.ids[board, record.pairing] = key_id = record.data.to_bytes(4, "little").hex()
        secret = self._secrets.get((board, record.pairing))
        if secret is not None and key_id != attest.key_id(secret).hex():
            without_key.add(record.pairing)

    def is_right(
        self,
        board: str,
        pairing: int,
        epoch: int,
        message: bytes,
        mac: bytes,
        without_key: set[int],
    ) -> bool | None:
        """Whether ``mac`` signs ``message``; None: no key given fits. Raises as `EpochKeys`."""
        self.ids.setdefault((board, pairing))
        if pairing in without_key:
            return None
        expected = self.epochs.mac(board, pairing, epoch, message)
        if expected is None:
            without_key.add(pairing)
            return None
        if not hmac.compare_digest(expected, mac):
            return False
        self.fitting.add((board, pairing))
        return True


class _Journal:
    """One branch while it is read."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.records = self.macs = self.attestations = self.signatures = 0
        # Number of the first record, and whether others came before it that were pruned.
        self.first_seq = 0
        self.pruned = False
        # After each record, from the one before `first_seq` on: the head; pairing, epoch and
        # whether it is a seal, as `_mark` packs them.
        self.heads = bytearray()
        self.marks = array("Q")
        self.without_key: set[int] = set()

    @property
    def seq(self) -> int:
        return 0 if self.chain.last is None else self.chain.last.seq

    def after(self, seq: int) -> tuple[str, int] | None:
        """The journal's head after record ``seq``, and its mark, if that was read."""
        at = seq - self.first_seq + 1
        if not 0 <= at < len(self.marks):
            return None
        return self.heads[at * attest.MAC : (at + 1) * attest.MAC].hex(), self.marks[at]


def _mark(record: journal.Record) -> int:
    return record.pairing << 33 | record.epoch << 1 | (record.event == journal.SEAL)


class Verifier:
    """Takes entries in order, the first one being number ``row`` + 1 after hash ``before``."""

    def __init__(self, secrets: Keys, row: int = 0, before: bytes = GENESIS) -> None:
        self.keyring = Keyring(secrets)
        self._base = row
        self._row = row
        # Hashes from that of entry `_base` on.
        self._hashes = bytearray(before)
        self._last_hash = before
        self._journals: dict[tuple[str, int], _Journal] = {}
        # The newest branch of each board.
        self._branches: dict[str, int] = {}
        self._nonces: dict[str, int] = {}
        self._findings: list[Finding] = []
        self._incidents: list[Entry] = []
        self._checkpoint: Entry | None = None
        # The newest entry to which a nonce commits that a board has signed, by a key given.
        self._committed = 0
        self._unbound = 0
        # Board, branch and journal of the newest record.
        self._newest: tuple[str, int, _Journal] | None = None

    @classmethod
    def after_prune(cls, secrets: Keys, checkpoint: Entry) -> Verifier:
        """For what ``checkpoint`` has left. Raises `ValueError` or its like if it is none."""
        body = checkpoint.body
        before = bytes.fromhex(body["hash"])
        if len(before) != _HASH:
            raise ValueError
        verifier = cls(secrets, body["row"], before)
        verifier._checkpoint = checkpoint
        for (board, branch), (data, count) in ends_of(body).items():
            verifier._journals[board, branch] = found = _Journal()
            found.chain.resume(data, count)
            found.first_seq = found.seq + 1
            found.pruned = True
            found.heads += found.chain.head
            record = journal.Record(data)
            found.marks.append(_mark(record))
            verifier._branches[board] = max(branch, verifier._branches.get(board, 1))
            if record.pairing:
                verifier._check_mac(checkpoint, board, found, record, data)
            found.macs = 0
        return verifier

    def take(self, entry: Entry) -> None:
        """Check one entry."""
        for problem in unlinked(self._row, entry, hash_of(self._last_hash, entry)):
            self._find(entry, problem)
        self._row = entry.row
        self._last_hash = entry.hash
        self._hashes += entry.hash
        try:
            if entry.kind == "record":
                self._take_record(entry)
            elif entry.kind == "attestation":
                self._take_attestation(entry)
            elif entry.kind == "incident":
                self._take_incident(entry)
            elif entry.kind == "checkpoint":
                _check_checkpoint(entry)
        except (KeyError, TypeError, ValueError, AttributeError):
            self._find(entry, f"is no {entry.kind} as hardmute writes it")

    def unusual(self, rows: Iterator[Row]) -> Iterator[Row]:
        """Those of ``rows``, entries as the log stores them, that `take` must be given.

        The others are taken here, four times as fast.
        """
        row = next(rows, None)
        while row is not None:
            yield row
            row = self._take_usual(rows)

    def _take_usual(self, rows: Iterator[Row]) -> Row | None:
        """Take ``rows`` as long as they are usual. Returns the first that is not; None: the end.

        A usual entry is a record that `take` would find nothing wrong with. It follows one that
        `take` has accepted, in its branch, start, pairing and epoch, with no turn between; its
        event, cause and state are together in one that `take` has accepted; its text is what
        those bytes must have. What else a record must be is checked here.
        """
        first = next(rows, None)
        if first is None or first[2] != "record" or self._newest is None:
            return first
        board, branch, found = self._newest
        data, head, usual = found.chain.data, found.chain.head, found.chain.usual
        newest = journal.Record(data)
        pairing, checked = newest.pairing, newest.pairing not in found.without_key
        seq, boot, uptime, epoch, what, _, _ = PARTS.unpack(data)
        if what not in usual or self._branches[board] != branch or newest.epoch > _MOST_EPOCHS:
            return first
        signer = self.keyring.epochs.signer
        sign = signer(board, pairing, newest.epoch) if pairing and checked else None
        number, log_hash, hashes, heads = self._row, self._last_hash, self._hashes, found.heads
        start, middle, end = text_around("record", board)
        before, after = record_around(branch)
        record_at = slice(len(before), -len(after))
        row: Row | None = first
        try:
            for row in itertools.chain((first,), rows):
                next_number, at_ms, kind, owner, body, next_hash = row
                text = f"{start}{at_ms}{middle}{body}{end}{next_number}}}"
                record = a2b_base64(body[record_at])
                next_seq, next_boot, now, next_epoch, what, link, mac = PARTS.unpack(record)
                if (
                    # SQLite holds what somebody has put into the file, whatever the schema says.
                    type(next_number) is not int
                    or type(at_ms) is not int
                    or next_number != number + 1
                    or not FIRST_MS <= at_ms <= LAST_MS
                    or kind != "record"
                    or owner != board
                    or body != before + b2a_base64(record, newline=False).decode() + after
                    or next_hash != sha256(log_hash + text.encode()).digest()
                    or next_seq != seq + 1
                    or next_boot != boot
                    or now < uptime
                    or next_epoch != epoch
                    or what not in usual
                    or link != head
                    or (sign is not None and mac != sign(record[: -attest.MAC]))
                    or (not pairing and mac != NO_MAC)
                ):
                    break
                # `journal.head_of`, which has to do for every interpreter.
                head = sha256(record).digest()[: attest.MAC]
                hashes += next_hash
                heads += head
                number, log_hash, seq, uptime, data = next_number, next_hash, next_seq, now, record
            else:
                row = None
        except (ValueError, TypeError, struct.error):
            # This is no record in base64: `take` will say so.
            pass
        count = number - self._row
        if count:
            self._row, self._last_hash = number, log_hash
            found.chain.skip(count, data, head)
            found.marks += array("Q", [_mark(newest)]) * count
            found.records += count
            if pairing:
                found.signatures += count
            if sign is not None:
                found.macs += count
                self.keyring.fitting.add((board, pairing))
        return row

    def miss_beginning(self, first: Entry) -> None:
        """Nothing says what came before ``first``."""
        self._find(first, "is the first, and no checkpoint says what came before it")

    def _find(self, entry: Entry, text: str) -> None:
        self._findings.append(Finding(entry.row, text))

    def _journal(self, entry: Entry) -> tuple[str, _Journal]:
        board, branch = entry.board, entry.body["branch"]
        if board is None or type(branch) is not int:
            raise ValueError
        found = self._journals.get((board, branch))
        if found is None:
            found = self._journals[board, branch] = _Journal()
        return board, found

    def _take_incident(self, entry: Entry) -> None:
        board, branch = entry.board, entry.body["branch"]
        if board is None or type(branch) is not int or branch < 1:
            raise ValueError
        if type(entry.body["what"]) is not str or type(entry.body["text"]) is not str:
            raise ValueError
        self._incidents.append(entry)
        newest = self._branches.get(board, branch if self._base else 1)
        if branch > newest + 1:
            self._find(entry, f"begins journal {branch} of its board after journal {newest}")
        elif branch < newest:
            self._find(entry, f"is of journal {branch}, where its board is at journal {newest}")
        self._branches[board] = max(branch, newest)

    def _take_record(self, entry: Entry) -> None:
        data = record_of(entry.body)
        if len(entry.body) != 2:
            raise ValueError
        board, found = self._journal(entry)
        branch = entry.body["branch"]
        newest = self._branches.get(board, branch if self._base else 1)
        # Where the beginning was pruned, so may have been the incident.
        if branch < newest or (branch > newest and not self._base):
            self._find(entry, f"is of journal {branch}, where its board is at journal {newest}")
        self._branches[board] = max(branch, newest)
        chain = found.chain
        begins = chain.last is None
        problem = chain.take(data)
        if problem is not None:
            self._find(entry, f"holds a record that {problem}")
            return
        record = chain.last
        assert record is not None
        if begins:
            found.first_seq = record.seq
            found.heads += record.link if record.seq > 1 else journal.NO_HEAD
            # Nothing is known of it.
            found.marks.append(_UNKNOWN)
        found.heads += chain.head
        found.marks.append(_mark(record))
        found.records += 1
        if record.pairing:
            found.signatures += 1
            self._check_mac(entry, board, found, record, data)
        self._newest = board, branch, found

    def _check_mac(
        self, entry: Entry, board: str, found: _Journal, record: journal.Record, data: bytes
    ) -> None:
        if record.event == journal.PAIR:
            self.keyring.begin(board, record, found.without_key)
        right = self.keyring.is_right(
            board,
            record.pairing,
            record.epoch,
            data[: -attest.MAC],
            record.mac,
            found.without_key,
        )
        if right:
            found.macs += 1
        elif right is False:
            self._find(entry, f"holds record {record.seq}, which the board's key has not signed")

    def _take_attestation(self, entry: Entry) -> None:
        seq, pairing, epoch = _read_attestation(entry)
        body = entry.body
        board, found = self._journal(entry)
        found.attestations += 1
        found.signatures += 1
        if body["statement"]["board"] != board:
            self._find(entry, "is an attestation of another board")
        self._check_place(entry, found, seq, pairing << 32 | epoch)
        self._check_nonce(entry, body["statement"])
        right = self.keyring.is_right(
            board,
            pairing,
            epoch,
            statement_bytes(body["statement"]),
            bytes.fromhex(body["journal_mac"]),
            found.without_key,
        )
        if right:
            found.macs += 1
            self._committed = max(self._committed, body["log_row"])
        elif right is False:
            self._find(entry, "is an attestation that the board's key has not signed")

    def _check_place(self, entry: Entry, found: _Journal, seq: int, epoch: int) -> None:
        """Check that an attestation, of this pairing and epoch, speaks of a record before it."""
        known = found.after(seq)
        if known is None:
            if seq > found.seq or not found.pruned:
                self._find(entry, f"attests record {seq}, which is not in the log before it")
            return
        head, mark = known
        if head != entry.body["statement"]["head"]:
            self._find(entry, f"attests another record {seq} than the log has")
        elif mark != _UNKNOWN and epoch - (mark >> 1) not in ((0, 1) if mark & 1 else (0,)):
            self._find(entry, f"attests record {seq} under the key of another epoch")

    def _check_nonce(self, entry: Entry, statement: dict[str, Any]) -> None:
        row = _count(entry.body["log_row"])
        salt = bytes.fromhex(entry.body["salt"])
        if row >= entry.row:
            self._find(entry, "is an attestation that was asked for after it was given")
            return
        before = self._nonces.setdefault(statement["nonce"], entry.row)
        if before != entry.row:
            self._find(entry, f"answers what entry {before} has answered already")
        if row < self._base:
            self._unbound += 1
            return
        at = (row - self._base) * _HASH
        if nonce(bytes(self._hashes[at : at + _HASH]), salt).hex() != statement["nonce"]:
            self._find(entry, f"attests another log up to entry {row} than this one")

    def row_of(self, hash_: bytes) -> int | None:
        """Which entry has this hash, or was before the first and had it; None: none of them."""
        at = self._hashes.find(hash_)
        while at > 0 and at % _HASH:
            at = self._hashes.find(hash_, at + 1)
        return None if at < 0 else self._base + at // _HASH

    def ends(self) -> list[list[object]]:
        """Where each branch ends, as a checkpoint says it."""
        return [
            [board, branch, encoded(found.chain.data), found.chain.count]
            for (board, branch), found in sorted(self._journals.items())
            if found.chain.last is not None
        ]

    def report(self) -> Report:
        """The outcome so far."""
        return Report(
            entries=len(self._hashes) // _HASH - 1,
            first_row=self._base + 1,
            head_row=self._row,
            head=self._last_hash,
            findings=sorted(self._findings, key=lambda finding: finding.row),
            branches=[
                Branch(
                    board,
                    number,
                    found.records,
                    found.first_seq,
                    found.seq,
                    found.attestations,
                    found.signatures,
                    found.macs,
                    tuple(sorted(found.without_key)),
                )
                for (board, number), found in sorted(self._journals.items())
            ],
            incidents=self._incidents,
            unbound=self._unbound,
            checkpoint=self._checkpoint,
            checkpoint_open=(
                self._checkpoint is not None and self._committed < self._checkpoint.row
            ),
        )


def unlinked(after: int, entry: Entry | Row, expected: bytes) -> Iterator[str]:
    """What is wrong with the place of ``entry`` in the log, if it must come ``after`` that row and
    must have the ``expected`` hash: clauses as in `Finding`.
    """
    if entry[0] != after + 1:
        yield f"does not follow entry {after}"
    if entry[5] != expected:
        yield "does not have the hash that its content and the one before give"


def _check_checkpoint(entry: Entry) -> None:
    body = entry.body
    if not 0 < _count(body["row"]) < entry.row or len(bytes.fromhex(body["hash"])) != _HASH:
        raise ValueError
    ends_of(body)


class Excerpt:
    """Checks the evidence of ``board`` alone, from wherever it begins: all but the log's chain.

    ``log_hash``: the hash of an entry by its row, None if it is not to be had.
    """

    def __init__(self, board: str, secrets: Keys, log_hash: Callable[[int], bytes | None]) -> None:
        self.board = board
        self._row = 0
        self.keyring = Keyring(secrets)
        self._log_hash = log_hash
        self._chain = Chain()
        # Heads by sequence number: of the records, and of the attestations before the first one.
        self._heads: dict[int, str] = {}
        self._branch: object = None
        self._nonces: set[str] = set()
        # By branch.
        self._without_key: dict[object, set[int]] = {}
        self.findings: list[Finding] = []
        # Rows of what was signed under a key given; how many of how many.
        self.signed_rows: set[int] = set()
        self.signatures = 0
        # Rows of attestations whose nonce commits to an entry that is known.
        self._bound: set[int] = set()

    def has_signed(self, entry: Entry) -> bool:
        """Whether the board has signed ``entry``, by a key given."""
        return entry.row in self.signed_rows

    def binds_time(self, entry: Entry) -> bool:
        """Whether the nonce of an attestation commits to an entry that is known: not so if that
        was pruned, for anybody can say so.
        """
        return entry.row in self._bound

    @property
    def without_key(self) -> tuple[int, ...]:
        """The pairings under which something is signed and not checked."""
        return tuple(sorted(set[int]().union(*self._without_key.values())))

    def take(self, entry: Entry) -> None:
        """Check one entry, in the order of rows."""
        if entry.row <= self._row:
            self._find(entry, f"does not follow entry {self._row}")
        self._row = entry.row
        try:
            if entry.board != self.board:
                self._find(entry, "is of another board")
                return
            if entry.kind == "incident":
                self._begin(None)
                return
            if entry.kind == heard.KIND:
                heard.read(entry)
                return
            if entry.body["branch"] != self._branch:
                self._begin(entry.body["branch"])
            if entry.kind == "record":
                self._take_record(entry)
            elif entry.kind == "attestation":
                self._take_attestation(entry)
        except (KeyError, TypeError, ValueError, AttributeError):
            self._find(entry, f"is no {entry.kind} as hardmute writes it")

    def _begin(self, branch: object) -> None:
        self._branch, self._chain, self._heads = branch, Chain(), {}

    def _find(self, entry: Entry, text: str) -> None:
        self.findings.append(Finding(entry.row, text))

    def _take_record(self, entry: Entry) -> None:
        data = record_of(entry.body)
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
                self.keyring.begin(self.board, record, self._unchecked(entry))
            self._check(entry, record.pairing, record.epoch, data[: -attest.MAC], record.mac)

    def _take_attestation(self, entry: Entry) -> None:
        seq, pairing, epoch = _read_attestation(entry)
        statement: dict[str, Any] = entry.body["statement"]
        if statement["board"] != self.board:
            self._find(entry, "is an attestation of another board")
        if self._chain.last is not None and seq > self._chain.last.seq:
            self._find(entry, f"attests record {seq}, which is not in the log before it")
        elif self._heads.setdefault(seq, statement["head"]) != statement["head"]:
            self._find(entry, f"attests another record {seq} than the log has")
        row, salt = _count(entry.body["log_row"]), bytes.fromhex(entry.body["salt"])
        known = GENESIS if row == 0 else self._log_hash(row)
        if row >= entry.row:
            self._find(entry, "is an attestation that was asked for after it was given")
        elif known is not None and nonce(known, salt).hex() != statement["nonce"]:
            self._find(entry, f"attests another log up to entry {row} than this one")
        elif known is not None:
            self._bound.add(entry.row)
        if statement["nonce"] in self._nonces:
            self._find(entry, "answers what another attestation has answered")
        self._nonces.add(statement["nonce"])
        mac = bytes.fromhex(entry.body["journal_mac"])
        self._check(entry, pairing, epoch, statement_bytes(statement), mac)

    def _unchecked(self, entry: Entry) -> set[int]:
        return self._without_key.setdefault(entry.body["branch"], set())

    def _check(self, entry: Entry, pairing: int, epoch: int, message: bytes, mac: bytes) -> None:
        self.signatures += 1
        right = self.keyring.is_right(
            self.board, pairing, epoch, message, mac, self._unchecked(entry)
        )
        if right:
            self.signed_rows.add(entry.row)
        elif right is False:
            self._find(entry, "was not signed by the board's key")


def _read_attestation(entry: Entry) -> tuple[int, int, int]:
    """The ``seq``, ``pairing`` and ``epoch`` of an attestation that is one in form, and no more.

    Raises `ValueError`, `TypeError` or `KeyError`.
    """
    body = entry.body
    if {key: type(value) for key, value in body.items()} != _ATTESTATION:
        raise ValueError
    seq, pairing, epoch = (_count(body["statement"][key]) for key in ("seq", "pairing", "epoch"))
    if pairing == 0 or not all(_is_hex(body[key]) for key in ("mac", "journal_mac", "salt")):
        raise ValueError
    return seq, pairing, epoch


def statement_bytes(statement: Mapping[str, Any]) -> bytes:
    """What the MACs of a statement cover."""
    return canonical(statement).encode()


def journal_mac(key: bytes, statement: Mapping[str, Any]) -> str:
    """The MAC of a statement under the journal key, or the attest key, in hex."""
    return hmac.digest(key, statement_bytes(statement), "sha256")[: attest.MAC].hex()


def _is_hex(text: str) -> bool:
    """Whether ``text`` is `attest.MAC` bytes in hex, in the one way that stands for them."""
    return len(text) == 2 * attest.MAC and not set(text) - set("0123456789abcdef")


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise ValueError
    return value


def verify(source: Callable[[], Iterable[Entry]], secrets: Keys) -> Report:
    """Check all entries of ``source``, which is read twice if its beginning was pruned."""
    return verified(source, secrets).report()


def verified(source: Callable[[], Iterable[Entry]], secrets: Keys) -> Verifier:
    """As `verify`: the verifier that has taken them."""
    verifier = begin(next(iter(source()), None), source(), secrets)
    for entry in source():
        verifier.take(entry)
    return verifier


def begin(first: Entry | None, entries: Iterable[Entry], secrets: Keys) -> Verifier:
    """A verifier for a log that begins with ``first``: whatever was before it was pruned.

    ``entries``: those among which the newest checkpoint of that is.
    """
    if first is None or first.row == 1:
        return Verifier(secrets)
    checkpoint = None
    for entry in entries:
        if entry.kind == "checkpoint" and entry.body.get("row") == first.row - 1:
            checkpoint = entry
    if checkpoint is not None:
        try:
            return Verifier.after_prune(secrets, checkpoint)
        except (KeyError, TypeError, ValueError):
            pass
    verifier = Verifier(secrets, first.row - 1)
    verifier.miss_beginning(first)
    return verifier
