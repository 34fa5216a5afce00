"""Checks entries of a log, an export, an excerpt or a receipt, with no board present.

The one place that knows the rules of docs/evidence.md, "What a verifier does", with `batches` and
`chain`, which have those that need nothing of the entries before. Without
the verify key of a pairing its MACs are not checked, and that is said.
"""

from __future__ import annotations

import contextlib
import hmac
from array import array
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from hardmute.evidence import macs
from hardmute.evidence.batches import Batch, batch_of, chunks, runs, wrong_macs
from hardmute.evidence.chain import Chain, Stretch, piece_of
from hardmute.evidence.entries import (
    GENESIS,
    Entry,
    Row,
    canonical,
    columns_of,
    encoded,
    ends_of,
    nonce,
    stored_entry,
)
from muteboard import attest, journal

# Which secret belongs to which board and pairing; and their journal keys.
Keys, EpochKeys = macs.Keys, macs.EpochKeys
# The attest keys that this host has of a board and a pairing: a board that was reflashed counts
# its pairings from 1 again.
AttestKeys = Mapping[tuple[str, int], Collection[bytes]]

_HASH = len(GENESIS)
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


class Flaw(NamedTuple):
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
    findings: list[Flaw]
    branches: list[Branch]
    incidents: list[Entry]
    # Those that say that a board is in a pairing that the log's host has not made.
    elsewhere: list[Entry]
    # Attestations whose entry `log_row` was pruned.
    unbound: int
    # What says which entries were pruned, if any were; and whether no board has signed anything
    # that commits to it.
    checkpoint: Entry | None
    checkpoint_open: bool


class Keyring:
    """Which keys fit what boards have signed.

    Each branch keeps ``without_key``, its pairings that no key given fits: what is signed under
    one of them is not checked, and shows nothing.
    """

    def __init__(self, secrets: Keys) -> None:
        self.epochs = EpochKeys(secrets)
        # Pairings under which something is signed: the key id, None where no record tells it.
        self.ids: dict[tuple[str, int], str | None] = {}
        # Those under whose key a signature was right.
        self.fitting: set[tuple[str, int]] = set()

    def begin(self, board: str, pairing: int, key_id: int, without_key: set[int]) -> None:
        """Take note of a ``pair`` record. Rule K1: a key with another id does not fit.

        A board that was reflashed counts its pairings from 1 again.
        """
        self.ids[board, pairing] = told = key_id.to_bytes(4, "little").hex()
        secret = self.epochs.secrets.get((board, pairing))
        if secret is not None and told != attest.key_id(secret).hex():
            without_key.add(pairing)

    def fits(self, board: str, pairing: int, without_key: set[int]) -> bool:
        """Whether a key given may fit what is signed under a pairing.

        Rule K2: otherwise that is not checked.
        """
        self.ids.setdefault((board, pairing))
        if (board, pairing) not in self.epochs.secrets:
            without_key.add(pairing)
        return pairing not in without_key


class _Journal:
    """One branch while it is read."""

    def __init__(self) -> None:
        self.chain = Chain()
        self.records = self.macs = self.attestations = self.signatures = 0
        # Number of the first record; and whether others came before it that are not here.
        self.first_seq = 0
        self.pruned = False
        # After each record, from the one before `first_seq` on: the head; pairing, epoch and
        # whether it is a seal, as `_mark` packs them.
        self.heads = bytearray()
        self.marks = array("Q")
        self.without_key: set[int] = set()

    def begin(self, seq: int, head: bytes, mark: int) -> None:
        """What is read comes after record ``seq``."""
        self.first_seq = seq + 1
        self.heads += head
        self.marks.append(mark)

    def after(self, seq: int) -> tuple[str, int] | None:
        """The journal's head after record ``seq``, and its mark, if that was read."""
        at = seq - self.first_seq + 1
        if not 0 <= at < len(self.marks):
            return None
        return self.heads[at * attest.MAC : (at + 1) * attest.MAC].hex(), self.marks[at]


def _mark(kind: Sequence[int]) -> int:
    """``kind``: pairing, epoch and event."""
    return kind[0] << 33 | kind[1] << 1 | (kind[2] == journal.SEAL)


def _goes_with(mark: int, pairing: int, epoch: int) -> bool:
    """Whether the pairing and epoch of an attestation are those of the record of ``mark``; or,
    after a seal, of the epoch after. Rule A5.
    """
    later = (pairing << 32 | epoch) - (mark >> 1)
    return mark == _UNKNOWN or later == 0 or (later == 1 and bool(mark & 1))


def _follows_attested(mark: int, kind: Sequence[int]) -> bool:
    """Whether a record of ``kind`` may be the one after an attested one, which is not here."""
    pairing, epoch, event = kind[:3]
    return pairing == 0 or event == journal.PAIR or _goes_with(mark, pairing, epoch)


def _nothing_else(_row: int) -> None:
    """Of no entry that is not here the hash is known."""


class Verifier:
    """Takes entries in order, from the one after ``row``, which has the hash ``before``.

    ``log_hash``: the hash of an entry that is not here, None if it is not to be had. ``board``:
    the one whose evidence is checked; of all others that is their place in the log, no more.
    ``is_part``: what came before is not here, and need not be. ``gapless``: all entries are here
    that there are between the first and the last. ``attest_keys``: those that this host has.
    """

    def __init__(
        self,
        secrets: Keys,
        row: int = 0,
        before: bytes = GENESIS,
        *,
        log_hash: Callable[[int], bytes | None] = _nothing_else,
        board: str | None = None,
        is_part: bool = False,
        gapless: bool = True,
        attest_keys: AttestKeys | None = None,
    ) -> None:
        self.keyring = Keyring(secrets)
        self._attest_keys = attest_keys or {}
        self._base = row
        self._row = row
        # Hashes from that of entry `_base` on, if there are no gaps.
        self._hashes = bytearray(before)
        self._last_hash = before
        self._log_hash = log_hash
        self._is_part = is_part
        self._gapless = gapless
        self._batch_of = partial(batch_of, keys=self.keyring.epochs, only=board, gapless=gapless)
        self._journals: dict[tuple[str, int], _Journal] = {}
        # The newest branch of each board.
        self._branches: dict[str, int] = {}
        self._nonces: dict[str, int] = {}
        self._findings: list[Flaw] = []
        self._incidents: list[Entry] = []
        # By board: the newest incident that another has paired it than this host.
        self._elsewhere: dict[str, Entry] = {}
        self._checkpoint: Entry | None = None
        # The newest entry to which a nonce commits that a board has signed, by a key given.
        self.committed = 0
        self._unbound = 0
        # Rows of attestations: see `binds_time`, `has_signed` and `has_recomputed`.
        self._bound: set[int] = set()
        self._signed: set[int] = set()
        self._recomputed: set[int] = set()

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
            kind, head = found.chain.kind, found.chain.head
            assert head is not None
            found.begin(found.chain.seq, head, _mark(kind))
            found.pruned = True
            verifier._branches[board] = max(branch, verifier._branches.get(board, 1))
            if kind[0]:
                piece = piece_of(data)
                wrong = wrong_macs(board, piece, data, verifier.keyring.epochs)
                verifier._check_macs(board, found, piece.stretches[0], [checkpoint.row], wrong[0])
            found.macs = found.signatures = 0
        return verifier

    def take(self, rows: Iterable[Row]) -> None:
        """Check entries, as the log stores them."""
        for columns in runs(chunks(rows)):
            if not self._takes(self._batch_of(columns, *self.end)):
                for row in zip(*columns, strict=True):
                    self._takes(self._batch_of(columns_of([row]), *self.end))

    def take_record(self, row: Row) -> None:
        """Check the record before all entries to come, whose place in the log is not asked: the
        first of these is an attestation that speaks of it.
        """
        batch = self._batch_of(columns_of([row]), *self.end)
        problem = "is no record as hardmute writes it"
        if batch.piece is not None:
            with contextlib.suppress(ValueError):
                problem = self._take_records(batch)
        if problem is not None:
            self._find(row[0], problem)

    @property
    def end(self) -> tuple[int, bytes]:
        """Row and hash of the last entry taken."""
        return self._row, self._last_hash

    def take_batch(self, batch: Batch, rows: Iterable[Row]) -> None:
        """Check a batch that was read elsewhere, with the same keys. ``rows``: its entries, which
        count if it does not come next, or one of several in it is wrong.
        """
        comes_next = (batch.after, batch.before) == self.end
        if not (comes_next and self._takes(batch)):
            self.take(rows)

    def _takes(self, batch: Batch) -> bool:
        """Take a batch. False: one of several entries is wrong, and nothing was done."""
        is_single = batch.size == 1
        if not batch.is_well_formed:
            if is_single:
                self._find(self._row + 1, "is not as hardmute writes it")
            return is_single
        problems = [batch.unlinked, batch.problem]
        if problems == [None, None] or (is_single and batch.problem is None):
            try:
                problems += self._take_records(batch), *map(self._take_other, batch.entries)
            except (KeyError, TypeError, ValueError, AttributeError):
                problems.append(f"is no {batch.kind} as hardmute writes it")
        for problem in problems:
            if problem is not None and not is_single:
                return False
            if problem is not None:
                self._find(batch.numbers[0], problem)
        self._row, self._last_hash = batch.end
        if self._gapless:
            self._hashes += batch.hashes
        return True

    def miss_beginning(self, first: Row) -> None:
        """Nothing says what came before ``first``."""
        self._find(first[0], "is the first, and no checkpoint says what came before it")

    def has_signed(self, row: int) -> bool:
        """Whether the board has signed the attestation in ``row``, by a key given."""
        return row in self._signed

    def has_recomputed(self, row: int) -> bool:
        """Whether the attestation in ``row`` has the MAC that an attest key of this host gives."""
        return row in self._recomputed

    def binds_time(self, row: int) -> bool:
        """Whether the nonce of the attestation in ``row`` commits to an entry whose hash is known.

        Rule A8: not so if that was pruned, for anybody can say so.
        """
        return row in self._bound

    def _find(self, row: int, text: str) -> None:
        self._findings.append(Flaw(row, text))

    def _misbranched(self, board: str | None, branch: object, kind: str) -> str | None:
        """What is wrong with the branch that an entry is of. Rule E5."""
        if board is None or type(branch) is not int or branch < 1:
            raise ValueError
        # Where the beginning is not here, the incident that began a branch may not be, either.
        knows_all = not (self._base or self._is_part)
        newest = self._branches.get(board, 1 if knows_all else branch)
        if kind == "attestation":
            return None
        if branch > newest + 1 and kind == "incident":
            return f"begins journal {branch} of its board after journal {newest}"
        if branch < newest or (branch > newest and kind == "record" and knows_all):
            return f"is of journal {branch}, where its board is at journal {newest}"
        return None

    def _journal(self, board: str, branch: int) -> _Journal:
        found = self._journals.get((board, branch))
        if found is None:
            found = self._journals[board, branch] = _Journal()
            found.pruned = self._is_part
        return found

    def _take_other(self, entry: Entry) -> str | None:
        """Check an entry that is no record. What is wrong with it, None if nothing is."""
        body = entry.body
        if entry.kind == "checkpoint":
            _check_checkpoint(entry)
        elif entry.kind == "pairing":
            if entry.board is None or type(body["key_id"]) is not str:
                raise ValueError
            _count(body["pairing"])
            self._elsewhere.pop(entry.board, None)
        elif entry.kind == "observation":
            if body.get("source") == "unpair":
                self._elsewhere.pop(entry.board or "", None)
        elif entry.kind == "incident":
            if type(body["what"]) is not str or type(body["text"]) is not str:
                raise ValueError
            problem = self._misbranched(entry.board, body["branch"], entry.kind)
            if problem is not None:
                return problem
            self._branches[entry.board or ""] = body["branch"]
            if self._gapless:
                # Those of a receipt are at hand for who checks it.
                self._incidents.append(entry)
            # K4
            if body["what"] == "paired_elsewhere":
                self._elsewhere[entry.board or ""] = entry
        elif entry.kind == "attestation":
            seq, pairing, epoch = _read_attestation(entry)
            problem = self._misbranched(entry.board, body["branch"], entry.kind)
            if problem is not None:
                return problem
            found = self._journal(entry.board or "", body["branch"])
            found.attestations += 1
            found.signatures += 1
            problem = (
                self._misplaced(found, body["statement"]["head"], seq, pairing, epoch)
                or self._unasked(entry)
                or self._unsigned(entry, found, pairing, epoch)
            )
            if found.after(seq) is None:
                # Whether its epoch is that of its record is not known: it proves no time.
                self._bound.discard(entry.row)
            return problem
        return None

    def _take_records(self, batch: Batch) -> str | None:
        """Check records of one board, if it is those that a batch has. What is wrong, None if
        nothing is; else none is taken.
        """
        board, piece = batch.board, batch.piece
        if piece is None:
            return None
        problem = self._misbranched(board, batch.branch, "record")
        if problem is not None:
            return problem
        assert board is not None
        found = self._journal(board, batch.branch)
        begins = found.chain.data is None
        problem = found.chain.take(piece)
        if problem is not None:
            return f"holds a record that {problem}"
        self._branches[board] = batch.branch
        if begins and not found.marks:
            # Nothing more is known of the one before it.
            link = piece.link if piece.seq > 1 else journal.NO_HEAD
            found.begin(piece.seq - 1, link, _UNKNOWN)
        elif begins and not _follows_attested(found.marks[-1], piece.stretches[0].first):
            self._find(
                batch.numbers[0], "holds a record of another epoch than was attested before it"
            )
        found.heads += piece.heads
        found.records += batch.size
        first = 0
        for stretch, wrong in zip(piece.stretches, batch.wrong, strict=True):
            numbers = batch.numbers[first : first + stretch.size]
            first += stretch.size
            pairing, epoch = stretch.last[:2]
            # Only the last may be a seal.
            found.marks.extend(array("Q", [_mark((pairing, epoch, 0))]) * (stretch.size - 1))
            found.marks.append(_mark(stretch.last))
            if pairing:
                self._check_macs(board, found, stretch, numbers, wrong)
        return None

    def _check_macs(
        self,
        board: str,
        found: _Journal,
        stretch: Stretch,
        numbers: Sequence[int],
        wrong: Sequence[int] | None,
    ) -> None:
        """Find the ``wrong`` ones of the MACs of records of one epoch, which are in the entries
        of these ``numbers``.
        """
        pairing, epoch, event = stretch.first[:3]
        found.signatures += stretch.size
        if event == journal.PAIR:
            self.keyring.begin(board, pairing, stretch.first_data, found.without_key)
        if not self.keyring.fits(board, pairing, found.without_key):
            return
        if wrong is None:
            self._find(numbers[0], f"holds a record of epoch {epoch}, which no board lives to see")
            return
        for at in wrong:
            self._find(numbers[at], "holds a record that the board's key has not signed")
        found.macs += stretch.size - len(wrong)
        if len(wrong) < stretch.size:
            self.keyring.fitting.add((board, pairing))

    def _unsigned(self, entry: Entry, found: _Journal, pairing: int, epoch: int) -> str | None:
        """What is wrong with the signature of an attestation."""
        row, board, body = entry.row, entry.board or "", entry.body
        message = statement_bytes(body["statement"])
        # A7
        mac = bytes.fromhex(body["mac"])
        for key in self._attest_keys.get((board, pairing), ()):
            if hmac.compare_digest(attest.mac(key, message), mac):
                self._recomputed.add(row)
        # A6
        if not self.keyring.fits(board, pairing, found.without_key):
            return None
        sign = self.keyring.epochs.signer(board, pairing, epoch)
        if sign is None or macs.wrong(sign, [message], [bytes.fromhex(body["journal_mac"])]):
            return "is an attestation that the board's key has not signed"
        found.macs += 1
        self.keyring.fitting.add((board, pairing))
        self._signed.add(row)
        self.committed = max(self.committed, body["log_row"])
        return None

    def _misplaced(
        self, found: _Journal, head: str, seq: int, pairing: int, epoch: int
    ) -> str | None:
        """What is wrong with the record that an attestation speaks of. Rule A4."""
        if self._is_part and not found.marks:
            found.chain.start_after(seq, bytes.fromhex(head))
            # That record may be a seal.
            found.begin(seq, bytes.fromhex(head), _mark((pairing, epoch, journal.SEAL)))
            return None
        known = found.after(seq)
        if known is None:
            if seq > found.chain.seq or not found.pruned:
                return f"attests record {seq}, which is not in the log before it"
        elif known[0] != head:
            return f"attests another record {seq} than the log has"
        elif not _goes_with(known[1], pairing, epoch):
            return f"attests record {seq} under the key of another epoch"
        return None

    def _unasked(self, entry: Entry) -> str | None:
        """What is wrong with the nonce of an attestation. Rules A2 and A3."""
        row, salt = _count(entry.body["log_row"]), bytes.fromhex(entry.body["salt"])
        given: str = entry.body["statement"]["nonce"]
        if row >= entry.row:
            return "is an attestation that was asked for after it was given"
        before = self._nonces.setdefault(given, entry.row)
        if before != entry.row:
            return f"answers what entry {before} has answered already"
        known = self._hash_at(row)
        if known is None:
            self._unbound += 1
        elif nonce(known, salt).hex() != given:
            return f"attests another log up to entry {row} than this one"
        else:
            self._bound.add(entry.row)
        return None

    def _hash_at(self, row: int) -> bytes | None:
        if row == 0:
            return GENESIS
        if self._gapless and row >= self._base:
            at = (row - self._base) * _HASH
            return bytes(self._hashes[at : at + _HASH])
        return self._log_hash(row)

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
            if found.chain.data is not None
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
                    found.chain.seq,
                    found.attestations,
                    found.signatures,
                    found.macs,
                    tuple(sorted(found.without_key)),
                )
                for (board, number), found in sorted(self._journals.items())
            ],
            incidents=self._incidents,
            elsewhere=list(self._elsewhere.values()),
            unbound=self._unbound,
            checkpoint=self._checkpoint,
            checkpoint_open=(
                self._checkpoint is not None and self.committed < self._checkpoint.row
            ),
        )


def _check_checkpoint(entry: Entry) -> None:
    """Rule E6."""
    body = entry.body
    if not 0 < _count(body["row"]) < entry.row or len(bytes.fromhex(body["hash"])) != _HASH:
        raise ValueError
    ends_of(body)


def _read_attestation(entry: Entry) -> tuple[int, int, int]:
    """The ``seq``, ``pairing`` and ``epoch`` of an attestation that is one in form. Rule A1.

    Raises `ValueError`, `TypeError` or `KeyError`.
    """
    body = entry.body
    if {key: type(value) for key, value in body.items()} != _ATTESTATION:
        raise ValueError
    seq, pairing, epoch = (_count(body["statement"][key]) for key in ("seq", "pairing", "epoch"))
    if pairing == 0 or body["statement"]["board"] != entry.board:
        raise ValueError
    if not all(_is_hex(body[key]) for key in ("mac", "journal_mac", "salt")):
        raise ValueError
    if not all(_is_hex(body["statement"][key]) for key in ("head", "nonce")):
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


def verified(source: Callable[[], Iterable[Row]], secrets: Keys) -> Verifier:
    """The verifier that has taken all entries of ``source``, which is read twice if its beginning
    was pruned.
    """
    verifier = begin(next(iter(source()), None), source(), secrets)
    verifier.take(source())
    return verifier


def begin(first: Row | None, rows: Iterable[Row], secrets: Keys) -> Verifier:
    """A verifier for a log that begins with ``first``. Rule E3: what was before it was pruned.

    ``rows``: those among which the newest checkpoint of that is.
    """
    if first is None or first[0] == 1:
        return Verifier(secrets)
    checkpoint = None
    for row in rows:
        if row[2] == "checkpoint":
            try:
                entry = stored_entry(row)
            except (ValueError, TypeError, RecursionError):
                continue
            if entry.body.get("row") == first[0] - 1:
                checkpoint = entry
    if checkpoint is not None:
        try:
            return Verifier.after_prune(secrets, checkpoint)
        except (KeyError, TypeError, ValueError):
            pass
    verifier = Verifier(secrets, first[0] - 1)
    verifier.miss_beginning(first)
    return verifier
