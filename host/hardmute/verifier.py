"""Checks entries of a log or an export, with no board present (docs/evidence.md).

Without the verify key of a pairing its MACs are not checked, and that is said.
"""

from __future__ import annotations

import hmac
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, NamedTuple

from hardmute.chain import Chain
from hardmute.entries import (
    GENESIS,
    Entry,
    Run,
    canonical,
    encoded,
    ends_of,
    gather,
    hash_of,
    nonce,
    record_of,
    run_of_entries,
)
from hardmute.errors import UsageError
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
    # The hash before the first entry.
    base: bytes
    findings: list[Finding]
    branches: list[Branch]
    incidents: list[Entry]
    # Attestations whose entry `log_row` was pruned.
    unbound: int
    # What says which entries were pruned, if any were.
    checkpoint: Entry | None


class EpochKeys:
    """The journal keys of pairings, each derived once."""

    def __init__(self, secrets: Keys) -> None:
        self._secrets = secrets
        self._keys: dict[tuple[str, int], list[bytes]] = {}
        # The key that was used last, ready for use: records of one epoch come together.
        self._ready: tuple[str, int, int] | None = None
        self._inner = self._outer = sha256()

    def has(self, board: str, pairing: int) -> bool:
        """Whether the pairing's secret was given."""
        return (board, pairing) in self._secrets

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
        macs = self.macs(board, pairing, epoch, [message])
        return None if macs is None else macs[0]

    def macs(
        self, board: str, pairing: int, epoch: int, messages: Iterable[bytes]
    ) -> list[bytes] | None:
        """The MAC of each message under the key of an epoch; None, and raises, as `key`."""
        wanted = (board, pairing, epoch)
        if wanted != self._ready:
            key = self.key(board, pairing, epoch)
            if key is None:
                return None
            block = key.ljust(64, b"\0")
            # RFC 2104, up to where the message comes: twice as fast as `hmac` for each.
            self._inner = sha256(bytes(byte ^ 0x36 for byte in block))
            self._outer = sha256(bytes(byte ^ 0x5C for byte in block))
            self._ready = wanted
        begin, end = self._inner.copy, self._outer.copy
        macs: list[bytes] = []
        for message in messages:
            inner, outer = begin(), end()
            inner.update(message)
            outer.update(inner.digest())
            macs.append(outer.digest()[: attest.MAC])
        return macs

    def check_id(self, board: str, record: journal.Record) -> None:
        """Raise `UsageError` if ``record`` pairs with another secret than the one given."""
        if not self.fits(board, record):
            raise UsageError(
                f"The key given for pairing {record.pairing} of board {board} is another one: "
                f"that pairing has the key id {key_id_of(record)}."
            )

    def fits(self, board: str, record: journal.Record) -> bool:
        """Whether the secret given, if one is, is that of the pairing that ``record`` begins."""
        secret = self._secrets.get((board, record.pairing))
        return secret is None or key_id_of(record) == attest.key_id(secret).hex()


def key_id_of(record: journal.Record) -> str:
    """The key id in a ``pair`` record, in hex."""
    return record.data.to_bytes(4, "little").hex()


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
        self._keys = EpochKeys(secrets)
        self._base = row
        self._row = row
        # Hashes from that of entry `_base` on.
        self._hashes = bytearray(before)
        self._last_hash = before
        self._journals: dict[tuple[str, int], _Journal] = {}
        # The newest branch of each board.
        self._branches: dict[str, int] = {}
        self._nonces: dict[str, int] = {}
        # Where pairings begin for which another secret was given; which were given the right one.
        self._unfit: dict[tuple[str, int], Finding] = {}
        self._fit: set[tuple[str, int]] = set()
        self._findings: list[Finding] = []
        self._incidents: list[Entry] = []
        self._checkpoint: Entry | None = None
        self._unbound = 0

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
        if entry.row != self._row + 1:
            self._find(entry.row, f"does not follow entry {self._row}")
        if hash_of(self._last_hash, entry) != entry.hash:
            self._find(entry.row, "does not have the hash that its content and the one before give")
        self._go_on(entry.row, (entry.hash,))
        self._take_content(entry)

    def take_run(self, run: Run) -> None:
        """Check each entry of ``run``, as `take` would."""
        if run.rows[0] != self._row + 1 or run.chained(self._last_hash) != run.hashes:
            for at in range(len(run.rows)):
                self.take(run.entry(at))
            return
        self._go_on(run.rows[-1], run.hashes)
        at = self._take_plain(run, 0)
        while at < len(run.rows):
            self._take_content(run.entry(at))
            at += 1 + self._take_plain(run, at + 1)

    def _go_on(self, row: int, hashes: Sequence[bytes]) -> None:
        self._row = row
        self._last_hash = hashes[-1]
        self._hashes += b"".join(hashes)

    def _take_content(self, entry: Entry) -> None:
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
            self._find(entry.row, f"is no {entry.kind} as hardmute writes it")

    def miss_beginning(self, first_row: int) -> None:
        """Nothing says what came before the first entry."""
        self._find(first_row, "is the first, and no checkpoint says what came before it")

    def _find(self, row: int, text: str) -> None:
        self._findings.append(Finding(row, text))

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
            self._find(entry.row, f"begins journal {branch} of its board after journal {newest}")
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
            self._find(entry.row, f"is of journal {branch}, where its board is at journal {newest}")
        self._branches[board] = max(branch, newest)
        chain = found.chain
        begins = chain.last is None
        problem = chain.take(data)
        if problem is not None:
            self._find(entry.row, f"holds a record that {problem}")
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

    def _take_plain(self, run: Run, start: int) -> int:
        """Check records from index ``start`` on, as far as they need no words. How many."""
        found = self._journals.get((run.board, run.branch))
        if found is None or self._branches.get(run.board) != run.branch:
            return 0
        last = found.chain.last
        if last is None or last.epoch > _MOST_EPOCHS:
            return 0
        records = run.records[start:]
        heads = found.chain.take_plain(records)
        if not heads:
            return 0
        count = len(heads)
        found.heads += b"".join(heads)
        found.marks += array("Q", [_mark(found.chain.last)]) * count
        found.records += count
        if last.pairing:
            found.signatures += count
            rows = run.rows[start : start + count]
            self._check_macs(last, run.board, found, rows, records[:count])
        return count

    def _check_mac(
        self, entry: Entry, board: str, found: _Journal, record: journal.Record, data: bytes
    ) -> None:
        pairing = record.pairing
        if record.event == journal.PAIR and not self._keys.fits(board, record):
            found.without_key.add(pairing)
            self._unfit[board, pairing] = Finding(
                entry.row,
                f"begins pairing {pairing} with key id {key_id_of(record)}, which is not that of"
                " the key given",
            )
        self._check_macs(record, board, found, (entry.row,), (data,))

    def _check_macs(
        self,
        of: journal.Record,
        board: str,
        found: _Journal,
        rows: Sequence[int],
        records: Sequence[bytes],
    ) -> None:
        """Check the MACs of records of the same pairing and epoch as ``of``."""
        if of.pairing in found.without_key:
            return
        signed = [data[: -attest.MAC] for data in records]
        macs = self._keys.macs(board, of.pairing, of.epoch, signed)
        if macs is None:
            found.without_key.add(of.pairing)
            return
        wrong = [
            (row, data)
            for row, data, mac in zip(rows, records, macs, strict=True)
            if data[-attest.MAC :] != mac
        ]
        for row, data in wrong:
            seq = journal.Record(data).seq
            self._find(row, f"holds record {seq}, which the board's key has not signed")
        self._count(board, found, of.pairing, len(records) - len(wrong))

    def _count(self, board: str, found: _Journal, pairing: int, macs: int) -> None:
        if macs:
            found.macs += macs
            self._fit.add((board, pairing))

    def _take_attestation(self, entry: Entry) -> None:
        body = entry.body
        if {key: type(value) for key, value in body.items()} != _ATTESTATION:
            raise ValueError
        statement: dict[str, Any] = body["statement"]
        seq, pairing, epoch = (_count(statement[key]) for key in ("seq", "pairing", "epoch"))
        if pairing == 0 or not all(_is_hex(body[key]) for key in ("mac", "journal_mac", "salt")):
            raise ValueError
        board, found = self._journal(entry)
        found.attestations += 1
        found.signatures += 1
        if statement["board"] != board:
            self._find(entry.row, "is an attestation of another board")
        self._check_place(entry, found, seq, pairing << 32 | epoch)
        self._check_nonce(entry, statement)
        if pairing in found.without_key:
            return
        expected = self._keys.mac(board, pairing, epoch, statement_bytes(statement))
        if expected is None:
            found.without_key.add(pairing)
        elif expected.hex() == body["journal_mac"]:
            self._count(board, found, pairing, 1)
        else:
            self._find(entry.row, "is an attestation that the board's key has not signed")

    def _check_place(self, entry: Entry, found: _Journal, seq: int, epoch: int) -> None:
        """Check that an attestation, of this pairing and epoch, speaks of a record before it."""
        known = found.after(seq)
        if known is None:
            if seq > found.seq or not found.pruned:
                self._find(entry.row, f"attests record {seq}, which is not in the log before it")
            return
        head, mark = known
        if head != entry.body["statement"]["head"]:
            self._find(entry.row, f"attests another record {seq} than the log has")
        elif mark != _UNKNOWN and epoch - (mark >> 1) not in ((0, 1) if mark & 1 else (0,)):
            self._find(entry.row, f"attests record {seq} under the key of another epoch")

    def _check_nonce(self, entry: Entry, statement: dict[str, Any]) -> None:
        row = _count(entry.body["log_row"])
        salt = bytes.fromhex(entry.body["salt"])
        if row >= entry.row:
            self._find(entry.row, "is an attestation that was asked for after it was given")
            return
        before = self._nonces.setdefault(statement["nonce"], entry.row)
        if before != entry.row:
            self._find(entry.row, f"answers what entry {before} has answered already")
        if row < self._base:
            self._unbound += 1
            return
        at = (row - self._base) * _HASH
        if nonce(bytes(self._hashes[at : at + _HASH]), salt).hex() != statement["nonce"]:
            self._find(entry.row, f"attests another log up to entry {row} than this one")

    def has(self, hash_: bytes) -> bool:
        """Whether an entry has this hash, or what was before the first."""
        at = self._hashes.find(hash_)
        while at > 0 and at % _HASH:
            at = self._hashes.find(hash_, at + 1)
        return at >= 0

    def ends(self) -> list[list[object]]:
        """Where each branch ends, as a checkpoint says it."""
        return [
            [board, branch, encoded(found.chain.data), found.chain.count]
            for (board, branch), found in sorted(self._journals.items())
            if found.chain.last is not None
        ]

    def report(self) -> Report:
        """The outcome so far."""
        unfit = [finding for key, finding in self._unfit.items() if key not in self._fit]
        return Report(
            entries=len(self._hashes) // _HASH - 1,
            first_row=self._base + 1,
            head_row=self._row,
            head=self._last_hash,
            base=bytes(self._hashes[:_HASH]),
            findings=sorted(self._findings + unfit, key=lambda finding: finding.row),
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
        )


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
        self._board = board
        self._keys = EpochKeys(secrets)
        self._log_hash = log_hash
        self._chain = Chain()
        # Heads by sequence number: of the records, and of the attestations before the first one.
        self._heads: dict[int, str] = {}
        self._branch: object = None
        self._nonces: set[str] = set()
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
            if entry.board != self._board:
                self._find(entry, "is of another board")
                return
            if entry.kind == "incident":
                self._begin(None)
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
                self._keys.check_id(self._board, record)
            key = self._keys.key(self._board, record.pairing, record.epoch)
            signed = key and hmac.digest(key, data[: -attest.MAC], "sha256")[: attest.MAC]
            self._count(entry, signed, record.mac)

    def _take_attestation(self, entry: Entry) -> None:
        statement: dict[str, Any] = entry.body["statement"]
        seq = _count(statement["seq"])
        if statement["board"] != self._board:
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
        if statement["nonce"] in self._nonces:
            self._find(entry, "answers what another attestation has answered")
        self._nonces.add(statement["nonce"])
        key = self._keys.key(self._board, _count(statement["pairing"]), _count(statement["epoch"]))
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


def _is_hex(text: str) -> bool:
    """Whether ``text`` is `attest.MAC` bytes in hex, in the one way that stands for them."""
    return len(text) == 2 * attest.MAC and not set(text) - set("0123456789abcdef")


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise ValueError
    return value


def gathered(entries: Iterable[Entry]) -> Iterator[Entry | Run]:
    """``entries`` for `read`."""
    return gather(entries, run_of_entries, lambda entry: entry)


def verify(source: Callable[[], Iterable[Entry]], secrets: Keys) -> Report:
    """Check all entries of ``source``, which is read twice if its beginning was pruned."""
    return read(lambda: gathered(source()), secrets).report()


def read(source: Callable[[], Iterable[Entry | Run]], secrets: Keys) -> Verifier:
    """As `verify`. A verifier that has taken everything."""
    verifier: Verifier | None = None
    for part in source():
        if verifier is None:
            verifier = _begin(source, secrets, part)
        if isinstance(part, Run):
            verifier.take_run(part)
        else:
            verifier.take(part)
    return verifier or Verifier(secrets)


def _begin(
    source: Callable[[], Iterable[Entry | Run]], secrets: Keys, first: Entry | Run
) -> Verifier:
    """A verifier for ``source``, which begins with ``first``: all before it was pruned."""
    row = first.rows[0] if isinstance(first, Run) else first.row
    if row == 1:
        return Verifier(secrets)
    checkpoint = None
    for part in source():
        if isinstance(part, Entry) and part.kind == "checkpoint" and part.body.get("row") == row - 1:
            checkpoint = part
    if checkpoint is not None:
        try:
            return Verifier.after_prune(secrets, checkpoint)
        except (KeyError, TypeError, ValueError):
            pass
    verifier = Verifier(secrets, row - 1)
    verifier.miss_beginning(row)
    return verifier
