"""Two verifiers that share nothing but docs/evidence.md say the same of every log, good or bad.

They end with the same exit code: 0, 2, 3 or 5.
"""

from __future__ import annotations

import ast
import base64
import hashlib
import io
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

import independent_verifier
from evidence_maker import MINUTE, Clock, MadeBoard, MadeHost, Story, hash_of
from hardmute.evidence import verifier
from hardmute.evidence.entries import GENESIS, Entry, export_line, read_export, stored
from hardmute.evidence.proof import examine_export
from hardmute.model.errors import LIVE, OK, TAMPERED, UNKNOWN, EvidenceError, UsageError
from hardmute.store import keys
from hardmute.sync.check import log_outcome
from muteboard import journal
from soundness import Scratch, independent_proof

Secrets = dict[tuple[str, int], bytes]
OTHER = "0123456789abcdef"
# From one bit that is flipped to the next: it has no factor in common with the 8 of a byte.
_STRIDE = 7


class InMemory:
    """As much of a file as `read_export` needs."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self._data)


def judged(data: bytes, secrets: Secrets, expect: bytes | None = None) -> int:
    """The exit code of both verifiers, which must be the same and come without a traceback."""
    file = cast("Path", InMemory(data))
    try:
        rows = list(read_export(file))
        checked = verifier.verified(lambda: rows, secrets)
        ours = log_outcome(checked, secrets, expect, own=False).code
    except (EvidenceError, UsageError) as error:
        ours = error.exit_code
    try:
        theirs, why = independent_verifier.judge(data, secrets, expect), "good"
    except independent_verifier.BAD as error:
        theirs, why = TAMPERED, str(error)
    assert ours == theirs, f"hardmute says {ours}; the other one: {theirs}, {why}"
    return ours


def is_good(data: bytes, secrets: Secrets, expect: bytes | None = None) -> bool:
    """Whether nothing is found to be wrong; as far as there is anything to check it with."""
    return judged(data, secrets, expect) in (OK, UNKNOWN)


def text_of(entries: list[Entry]) -> bytes:
    return "".join(f"{export_line(entry)}\n" for entry in entries).encode()


def rechained(entries: list[Entry], before: bytes = GENESIS) -> list[Entry]:
    """With hashes and row numbers as if it had been so from the beginning."""
    made: list[Entry] = []
    start = entries[0].row if entries else 1
    for row, entry in enumerate(entries, start):
        before = hash_of(before, entry._replace(row=row))
        made.append(entry._replace(row=row, hash=before))
    return made


class Made:
    """Boards, a host, and what the host's log has come to."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.board = MadeBoard(self.clock)
        self.host = MadeHost(folder / "log.sqlite3", self.clock)

    def run(self, seconds: int = 60) -> None:
        self.clock.pass_ms(seconds * 1000)
        self.board.live_for(5_000)
        self.host.contact(self.board)

    def entries(self) -> list[Entry]:
        return list(self.host.log.entries())

    @property
    def secrets(self) -> Secrets:
        return self.board.secrets


def unpaired(made: Made) -> None:
    made.board.boot()
    made.run()


def paired(made: Made) -> None:
    made.board.boot()
    made.board.pair()
    made.run()
    made.board.boot()
    made.run()


def paired_later(made: Made) -> None:
    unpaired(made)
    made.board.pair()
    made.run(90_000)
    made.run(90_000)


def paired_again(made: Made) -> None:
    paired(made)
    made.board.pair()
    made.run()
    made.board.pair()
    made.board.pair()
    made.run()


def unpaired_in_the_middle(made: Made) -> None:
    paired(made)
    made.board.unpair()
    made.run()
    made.board.boot()
    made.run()
    made.board.pair()
    made.board.unpair()
    made.board.pair()
    made.run()


def several_boards(made: Made) -> None:
    other = MadeBoard(made.clock, OTHER)
    other.boot()
    other.pair()
    paired(made)
    made.host.contact(other)
    other.fault()
    made.clock.pass_ms(500)
    other.mute()
    made.run()
    made.host.contact(other)
    made.host.miss(other)
    made.secrets.update(other.secrets)


def joined_late(made: Made) -> None:
    """A host that is new begins with the oldest record that the board has kept."""
    made.board.boot()
    made.board.pair()
    fill(made.board, journal.SEGMENT * journal.SEGMENTS)
    assert made.board.journal.first > 1
    made.run()
    made.run()


def dropped_segments(made: Made) -> None:
    paired(made)
    known = made.board.journal.seq
    fill(made.board, journal.SEGMENT * journal.SEGMENTS)
    first = made.board.journal.first
    assert first > known + 1
    made.host.incident(made.board, "gap", 2, first=known + 1, last=first - 1)
    made.host.fetch(made.board, 2)
    made.host.attest(made.board, 2)


def fill(board: MadeBoard, count: int) -> None:
    """``count`` records, and the seals between them."""
    for _ in range(count):
        board.note(journal.CONFIG)


def older_flash(made: Made) -> None:
    paired(made)
    older = made.board.copy()
    made.run()
    older.boot()
    made.host.incident(older, "backwards", 2, seq=older.journal.seq, known=made.board.journal.seq)
    made.host.fetch(older, 2)
    made.host.attest(older, 2)


def pruned(made: Made) -> None:
    several_boards(made)
    made.host.log.prune(made.host.now_ms - 1000)
    made.run()
    middle = made.host.now_ms
    made.run()
    made.host.log.prune(middle)
    made.run()
    made.board.boot()
    made.run()


def pruned_to_nothing(made: Made) -> None:
    paired(made)
    made.clock.pass_ms(60_000)
    made.host.log.prune(made.host.now_ms)
    made.run()


GOOD = [
    unpaired,
    paired,
    paired_later,
    paired_again,
    unpaired_in_the_middle,
    several_boards,
    joined_late,
    dropped_segments,
    older_flash,
    pruned,
    pruned_to_nothing,
]


@pytest.mark.parametrize("history", GOOD, ids=lambda history: history.__name__)
def test_both_accept_a_good_log(
    history: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A board drops its oldest segment after 200 records instead of 10,000.
    monkeypatch.setattr(journal, "SEGMENT", 10)
    made = Made(tmp_path)
    history(made)
    entries = made.entries()
    data = text_of(entries)
    # Of what an unpaired board writes nothing can be checked.
    assert judged(data, made.secrets) == (OK if made.secrets else UNKNOWN)
    assert judged(data, {}, entries[-1].hash) == OK
    assert judged(data, {}, entries[-2].hash) == UNKNOWN
    assert judged(data, {}) == UNKNOWN
    assert judged(data, {}, bytes(31) + b"1") == TAMPERED
    seen = [*independent_verifier.verify(data, made.secrets)]
    assert seen.count("record") == sum(entry.kind == "record" for entry in entries)


def test_P6_both_find_an_incident_of_no_new_branch(
    tmp_path: Path,
) -> None:
    """Where the beginning was pruned too: the checkpoint, or a record, says which is newest."""
    for prune in (False, True):
        folder = tmp_path / str(prune)
        folder.mkdir()
        made = Made(folder)
        older_flash(made)
        if prune:
            made.clock.pass_ms(1000)
            assert made.host.log.prune(made.host.now_ms) is not None
        entries = made.entries()
        for branch, good in ((0, False), (1, False), (2, True), (3, True), (4, False)):
            body = {"branch": branch, "what": "bad_head", "text": "x"}
            end = Entry(0, entries[-1].at_ms, "incident", made.board.id, body, b"")
            before = bytes.fromhex(entries[0].body["hash"]) if prune else GENESIS
            assert is_good(text_of(rechained([*entries, end], before)), made.secrets) == good


# Somebody who changes bytes of the export.


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Entry], Secrets]:
    """Every kind of entry, in as few bytes as can be."""
    made = Made(tmp_path_factory.mktemp("small"))
    made.board.boot()
    made.host.miss(made.board)
    made.clock.pass_ms(2000)
    made.host.log.prune(made.host.now_ms - 1000)
    made.board.pair()
    made.host.incident(made.board, "unpaired", 1)
    made.host.attest(made.board)
    made.board.live_for(2000)
    made.host.attest(made.board)
    entries = made.entries()
    kinds = [entry.kind for entry in entries]
    assert kinds == [
        "checkpoint",
        "incident",
        *["record"] * 2,
        "attestation",
        *["record"] * 2,
        "attestation",
    ]
    return entries, made.secrets


Small = tuple[list[Entry], Secrets]


def test_P6_both_find_any_bit_that_is_flipped(small: Small) -> None:
    """Up to the newline after the changed line: each line is held against those before it."""
    entries, secrets = small
    data = text_of(entries)
    assert is_good(data, secrets)
    for flipped in flips(data):
        assert not is_good(flipped, {}), flipped


def test_P6_both_find_a_line_deleted_doubled_moved_or_added(small: Small) -> None:
    entries, secrets = small
    head = entries[-1].hash
    for at, entry in enumerate(entries):
        rest = entries[:at] + entries[at + 1 :]
        shorter = text_of(rest)
        # Without its end a log is an older one.
        assert is_good(shorter, secrets) == (at == len(entries) - 1), at
        assert not is_good(shorter, secrets, head)
        for to in range(len(entries) + 1):
            assert not is_good(text_of([*entries[:to], entry, *entries[to:]]), secrets), (at, to)
        for to in range(at):
            swapped = list(entries)
            swapped[at], swapped[to] = swapped[to], swapped[at]
            assert not is_good(text_of(swapped), secrets), (at, to)
    lines = text_of(entries).splitlines(keepends=True)
    for at in range(len(lines) + 1):
        for line in (b"\n", b"{}\n", b"null\n", b"\xff\n", b"\r\n", b" \n"):
            assert not is_good(b"".join([*lines[:at], line, *lines[at:]]), secrets), (at, line)


def test_P6_both_find_an_export_cut_anywhere_but_at_a_lines_end(small: Small) -> None:
    entries, secrets = small
    data = text_of(entries)
    ends = [size for size in range(len(data)) if data[size - 1 : size] == b"\n"]
    for size in sorted({0, *range(0, len(data), _STRIDE), *ends}):
        # The checkpoint before the first entry is in the first line; nothing is an empty log.
        at_an_end = size == 0 or data[size - 1 : size] == b"\n"
        # Of a beginning in which nothing is signed, this is the key of something else.
        assert (judged(data[:size], secrets) != TAMPERED) == at_an_end, size
        assert not is_good(data[:size], secrets, entries[-1].hash), size


@pytest.mark.parametrize(
    "line",
    [
        b'{"at_ms":0,"at_ms":0,"board":null,"body":{},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":null,"body":{},"hash":"H","kind":"observation","row":1.0}',
        b'{"at_ms":0,"board":null,"body":{"a":0.5},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":null,"body":{"a":1e400},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":null,"body":{"a":NaN},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":null,"body":{"a":-Infinity},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":true,"board":null,"body":{},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":null,"body":{},"hash":"H","kind":"observation","row":true}',
        b'{"at_ms":0,"board":null,"body":{},"hash":"H","kind":"observation","row":-1}',
        b'{"at_ms":0,"board":null,"body":[],"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":7,"body":{},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":null,"body":{},"hash":7,"kind":"observation","row":1}',
        b'{"at_ms":0,"board":null,"body":{},"hash":"H","kind":"other","row":1}',
        b'{"at_ms":0,"board":null,"body":{},"hash":"H","kind":["record"],"row":1}',
        b'{"at_ms":0,"board":null,"body":{},"extra":0,"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0, "board":null,"body":{},"hash":"H","kind":"observation","row":1}',
        b'{"board":null,"at_ms":0,"body":{},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":"\\u0041","body":{},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":null,"body":{"a":'
        + b"9" * 5000
        + b'},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":'
        + b"9" * 4000
        + b',"board":null,"body":{},"hash":"H","kind":"observation","row":1}',
        b'{"at_ms":0,"board":null,"body":{"a":'
        + b"[" * 100_000
        + b"]" * 100_000
        + b'},"hash":"H","kind":"observation","row":1}',
        b"[" * 100_000,
        b'{"at_ms":0,"board":null,"body":{},"kind":"observation","row":1}',
        b"null",
        b"7",
        b'"H"',
        b"",
        b"\xef\xbb\xbf{}",
        b"\x00",
    ],
    ids=range(29),
)
def test_P6_both_refuse_what_is_no_entry_and_neither_fails(line: bytes) -> None:
    """With the hash that it would have to have, in case that is what it is refused for."""
    bare = line.replace(b'"hash":"H",', b"")
    digest = hashlib.sha256(GENESIS + bare).hexdigest().encode()
    assert not is_good(line.replace(b'"H"', b'"' + digest + b'"') + b"\n", {})


def test_both_take_any_depth_alike() -> None:
    """Where the one gives up, so does the other; neither with a traceback.

    Not near Python's limit of 1,000 calls: there it depends on who called them.
    """
    outcomes = []
    for depth in (1, 100, *range(300, 800, 7), *range(1000, 1100, 7), 5000):
        body = b'{"a":' * depth + b"0" + b"}" * depth
        line = b'{"at_ms":0,"board":null,"body":%b,"hash":"H","kind":"observation","row":1}' % body
        digest = hashlib.sha256(GENESIS + line.replace(b'"hash":"H",', b"")).hexdigest()
        outcomes.append(is_good(line.replace(b'"H"', f'"{digest}"'.encode()) + b"\n", {}))
    assert outcomes[0]
    assert not outcomes[-1]


# Somebody who makes all hashes anew, but has no keys.


def changes(value: Any) -> Iterator[Any]:
    """``value`` with each part of it replaced by what does not belong there, or taken away."""
    for other in (None, True, 0, 1, -1, 1 << 32, 1 << 64, "", "x", "00" * 16, [], {}):
        if other != value or type(other) is not type(value):
            yield other
    if isinstance(value, dict):
        for key, part in cast("dict[str, Any]", value).items():
            yield {name: kept for name, kept in value.items() if name != key}
            yield from ({**value, key: other} for other in changes(part))
        yield {**value, "more": 0}
        yield {**value, "self": 0}
    elif isinstance(value, list):
        for at, part in enumerate(cast("list[Any]", value)):
            yield value[:at] + value[at + 1 :]
            yield from ([*value[:at], other, *value[at + 1 :]] for other in changes(part))
    elif isinstance(value, int):
        yield value + 1
    elif isinstance(value, str) and len(value) > 1:
        yield value.upper()
        yield value[:-1]
        yield value + "0"
        yield value[:-1] + ("0" if value[-1] != "0" else "1")


def with_body(entries: list[Entry], at: int, body: Any) -> list[Entry]:
    before = bytes.fromhex(entries[0].body["hash"]) if entries[0].row > 1 else GENESIS
    altered = list(entries)
    altered[at] = altered[at]._replace(body=body)
    return rechained(altered, before)


@pytest.mark.parametrize("keyed", [False, True])
def test_P6_both_say_the_same_of_a_changed_body_under_new_hashes(
    small: Small, keyed: bool
) -> None:
    entries, secrets = small
    found = total = 0
    for at, entry in enumerate(entries):
        for body in changes(entry.body):
            total += 1
            if entry.kind == "checkpoint":
                # Its hash is what the first entry follows.
                altered = [entry._replace(body=body), *entries[1:]]
                try:
                    altered = rechained(altered, bytes.fromhex(body["hash"]))
                except (KeyError, TypeError, ValueError):
                    altered = rechained(altered, bytes.fromhex(entry.body["hash"]))
            else:
                altered = with_body(entries, at, body)
            found += not is_good(text_of(altered), secrets if keyed else {})
    assert found > total // 2


@pytest.mark.parametrize("number", ["pairing", "epoch", "seq", "log_row"])
def test_P6_both_refuse_numbers_of_more_than_32_bits(number: str, tmp_path: Path) -> None:
    """Where no record says otherwise: of the number before the first only the head is known."""
    made = Made(tmp_path)
    made.board.boot()
    made.board.pair()
    first = made.host.attest(made.board)
    made.run()
    statement, body = dict(first.body["statement"]), dict(first.body)
    statement |= {"seq": 0, "head": journal.NO_HEAD.hex(), "pairing": 7, "epoch": 7}
    for value, good in ((0xFFFFFFFF, number in ("pairing", "epoch")), (1 << 32, False)):
        altered = {**body, "log_row": 0, "salt": "00" * 16}
        (altered if number == "log_row" else statement)[number] = value
        statement["nonce"] = verifier.nonce(GENESIS, bytes(16)).hex()
        entries = [e for e in made.entries() if e.kind == "record"]
        end = first._replace(body={**altered, "statement": dict(statement)})
        assert is_good(text_of(rechained([*entries, end])), {}) == good, value


def test_P6_a_statement_cannot_pass_for_a_pair_record(small: Small) -> None:
    """A record of a pairing under another key goes unchecked. No attestation asks for that."""
    entries, secrets = small
    last = entries[-1]
    for more in ({"event": journal.PAIR}, {"event": journal.PAIR, "data": 0}, {"raw": ""}):
        statement = {**last.body["statement"], **more}
        body = {**last.body, "statement": statement}
        altered = with_body(entries, len(entries) - 1, body)
        assert is_good(text_of(altered), {})
        assert not is_good(text_of(altered), secrets)


def with_record(entries: list[Entry], at: int, data: bytes, *, relink: bool) -> list[Entry]:
    """Another record, and all hashes of entries made anew; with ``relink``, links too."""
    altered = list(entries)
    before: bytes | None = None
    for index in range(at, len(entries)):
        entry = entries[index]
        if entry.kind != "record" or (index > at and not relink):
            continue
        if index > at:
            data = base64.b64decode(entry.body["record"])
            assert before is not None
            data = data[:32] + before + data[48:]
        before = journal.head_of(data)
        body = {**entry.body, "record": base64.b64encode(data).decode()}
        altered[index] = entry._replace(body=body)
    return rechained(altered)


def flips(data: bytes) -> Iterator[bytes]:
    """With one bit flipped: in each byte one or two, and over all bytes each bit of a byte."""
    for bit in range(0, 8 * len(data), _STRIDE):
        yield bytes(byte ^ (1 << bit % 8 if at == bit // 8 else 0) for at, byte in enumerate(data))


def made_by(history: Any, folder: Path) -> Small:
    made = Made(folder)
    history(made)
    return made.entries(), made.secrets


def records_of(entries: list[Entry]) -> list[tuple[int, bytes]]:
    return [
        (at, base64.b64decode(entry.body["record"]))
        for at, entry in enumerate(entries)
        if entry.kind == "record"
    ]


def test_P6_an_owner_without_the_keys_cannot_edit_a_record(tmp_path: Path) -> None:
    """He makes all links and hashes anew. The nonces find it without any key."""
    entries, secrets = made_by(paired, tmp_path)
    assert is_good(text_of(entries), secrets)
    bound = max(e.body["log_row"] for e in entries if e.kind == "attestation")
    for at, data in records_of(entries):
        for bit, changed in enumerate(flips(data)):
            altered = text_of(with_record(entries, at, changed, relink=True))
            assert not is_good(altered, secrets), (at, bit)
            if entries[at].row <= bound:
                assert not is_good(altered, {}), (at, bit)


def test_P6_nor_if_he_drops_the_attestations(tmp_path: Path) -> None:
    """Then only whoever has the verify key finds it, by the MACs; and finds it always."""
    entries, secrets = made_by(paired, tmp_path)
    entries = rechained([entry for entry in entries if entry.kind != "attestation"])
    assert is_good(text_of(entries), secrets)
    unseen = 0
    for at, data in records_of(entries):
        if not journal.Record(data).pairing:
            continue
        for bit, changed in enumerate(flips(data)):
            altered = text_of(with_record(entries, at, changed, relink=True))
            assert not is_good(altered, secrets), (at, bit)
            unseen += is_good(altered, {})
    # Without a key and without attestations nothing speaks for the records but each other.
    assert unseen


def test_an_unpaired_boards_records_can_be_rewritten_as_told(tmp_path: Path) -> None:
    """No MAC: whoever has the log can make it anew. Both say it is good; a known head tells."""
    entries, secrets = made_by(unpaired, tmp_path)
    assert not secrets
    at, data = records_of(entries)[1]
    record = bytearray(data)
    record[8] ^= 1
    altered = with_record(entries, at, bytes(record), relink=True)
    assert is_good(text_of(altered), {})
    assert not is_good(text_of(altered), {}, entries[-1].hash)
    assert not is_good(text_of(with_record(entries, at, bytes(record), relink=False)), {})


def test_P6_both_say_the_same_of_changes_where_no_key_helps(tmp_path: Path) -> None:
    """Every rule of a record, with nothing but the two verifiers to find that it is broken."""
    entries, _secrets = made_by(unpaired_in_the_middle, tmp_path)
    entries = [entry for entry in entries if entry.kind == "record"]
    good = bad = 0
    for index, (_, data) in enumerate(records_of(entries)):
        # What comes after is let be: one cause for each verdict.
        for changed in flips(data):
            last = with_record(entries[: index + 1], index, changed, relink=True)
            if is_good(text_of(last), {}):
                good += 1
            else:
                bad += 1
    assert good
    assert bad


# As programs.


# Proofs of an interval: T11, T12 and T14.


class Told:
    """A log, and what both verifiers say of a time in it."""

    def __init__(self, folder: Path) -> None:
        self.story = Story(folder / "log.sqlite3")
        self.scratch = Scratch(folder)

    def own(self, from_ms: int, to_ms: int, entries: list[Entry] | None = None) -> int:
        """By the host's own log, with the verify key and with the host's attest keys."""
        entries = list(self.story.host.log.entries()) if entries is None else entries
        self.scratch.put(entries)
        board, span, data = self.story.board, (from_ms, to_ms), text_of(entries)
        codes: list[int] = []
        for secrets, held in (board.secrets, {}), ({}, board.attest_keys):
            shown, _ = self.scratch.proof(*span, secrets, held)
            prove = partial(independent_verifier.prove_own, held=held)
            assert shown.exit_code == independent_proof(prove, data, secrets, board.id, *span)
            codes.append(shown.exit_code)
        assert codes[0] == codes[1]
        return codes[0]

    def from_export(self, from_ms: int, to_ms: int) -> int:
        rows = list(map(stored, self.story.host.log.entries()))
        secrets, span = self.story.board.secrets, (self.story.board.id, from_ms, to_ms)
        check = verifier.verified(lambda: rows, secrets)
        shown = examine_export(check, rows, *span, secrets)
        data = text_of(list(self.story.host.log.entries()))
        assert independent_proof(independent_verifier.prove, data, {}, *span) == UNKNOWN
        theirs = independent_proof(independent_verifier.prove, data, secrets, *span)
        assert shown.exit_code == theirs
        return theirs


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.story.host.log.close()
    made.scratch.close()


@pytest.mark.parametrize(("back_ms", "code"), [(2_000, LIVE), (20 * MINUTE, UNKNOWN)])
def test_P5_both_read_on_where_the_clock_was_set_back(told: Told, back_ms: int, code: int) -> None:
    """T11: the live time is in no row between the attestations that seem to be around it."""
    story = told.story
    story.attest()
    story.pass_minutes(1)
    start = story.now
    story.board.live_for(10 * MINUTE)
    end = story.now
    story.pass_minutes(0.01)
    story.host.start_ms -= back_ms
    for minutes in (40, 1, 10):
        story.attest()
        story.pass_minutes(minutes)
    assert told.own(start + MINUTE, end - MINUTE) == code
    assert told.from_export(start + MINUTE, end - MINUTE) == code
    assert told.own(story.now - 9 * MINUTE, story.now) == UNKNOWN


def test_P6_both_find_any_entry_altered_that_a_proof_rests_on(told: Told) -> None:
    """T11: from the attestation before to the one after. T12: also those at a clock step."""
    story = told.story
    for minutes in (5, 5, 0, 30, 5, 5, 5, 5):
        story.attest()
        story.board.live_for(1_000)
        story.pass_minutes(minutes)
        if not minutes:
            story.host.start_ms += 10 * MINUTE
    entries = list(story.host.log.entries())
    marks = [entry for entry in entries if entry.kind == "attestation"]
    read = range(marks[4].row, marks[6].row + 1)
    step = {marks[2].row, marks[3].row}
    span = marks[4].body["received_ms"] + MINUTE, marks[6].body["sent_ms"] - 10_000
    assert told.own(*span) == LIVE
    found = set[int]()
    for at, entry in enumerate(entries):
        altered = [*entries[:at], entry._replace(at_ms=entry.at_ms + 1), *entries[at + 1 :]]
        if told.own(*span, altered) == TAMPERED:
            found.add(entry.row)
    assert found == {*read, *step}


def test_P6_both_count_what_a_later_signature_commits_to(told: Told) -> None:
    """T14: whoever hands in an export could have moved the times of the rest."""
    story = told.story
    times = [story.now]
    for _ in range(4):
        story.attest()
        story.pass_minutes(10)
        times.append(story.now)
    spans = [(start + MINUTE, start + 9 * MINUTE) for start in times[:-1]]
    assert [told.from_export(*span) for span in spans] == [OK, OK, UNKNOWN, UNKNOWN]
    assert [told.own(*span) for span in spans] == [OK, OK, OK, UNKNOWN]


def test_P6_both_refuse_the_key_of_a_pairing_before_a_reflash(told: Told) -> None:
    """K1: what tells that is before the part of the log that is read."""
    story = told.story
    for _ in range(4):
        story.attest()
        story.pass_minutes(10)
    span = story.now - 19 * MINUTE, story.now - 11 * MINUTE
    wrong = {owner: bytes(32) for owner in story.board.secrets}
    data = text_of(list(story.host.log.entries()))
    told.scratch.put(story.host.log.entries())
    with pytest.raises(UsageError):
        told.scratch.proof(*span, wrong, {})
    prove = independent_verifier.prove_own
    assert independent_proof(prove, data, wrong, story.board.id, *span) == 2


def test_it_proves_an_interval_from_the_command_line(told: Told, tmp_path: Path) -> None:
    story = told.story
    for _ in range(4):
        story.attest()
        story.pass_minutes(10)
    export = story.host.export(tmp_path / "export.jsonl")
    ((board, pairing), secret), *_ = story.board.secrets.items()
    key = tmp_path / "key.json"
    keys.save_verify_key(key, board, pairing, secret)
    late = f"{board},{story.now - 19 * MINUTE},{story.now - 11 * MINUTE}"
    command = [sys.executable, independent_verifier.__file__, str(export), "--key", str(key)]
    for words, code in (["--prove", late], 3), (["--prove", late, "--own"], 0):
        done = subprocess.run([*command, *words], capture_output=True, timeout=60, check=False)
        assert done.returncode == code, done
    assert b"Traceback" not in done.stderr


def test_it_runs_alone_and_exits_as_it_says(tmp_path: Path) -> None:
    made = Made(tmp_path)
    paired_again(made)
    export = made.host.export(tmp_path / "export.jsonl")
    arguments = []
    for (board, pairing), secret in made.secrets.items():
        file = tmp_path / f"{pairing}.key"
        keys.save_verify_key(file, board, pairing, secret)
        arguments += ["--key", str(file)]
    head = made.host.log.head()[1].hex()

    def run(*more: str) -> tuple[int, str]:
        program = str(Path(independent_verifier.__file__))
        # Isolated: no package of ours can be found.
        command = [sys.executable, "-I", "-S", program, str(export), *more]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "Traceback" not in done.stderr
        return done.returncode, done.stdout

    code, out = run(*arguments, "--expect-head", head)
    assert (code, "not checked" in out) == (0, False)
    assert f"{len(records_of(made.entries()))} record" in out
    code, out = run()
    assert (code, "not checked: no key given for its pairing" in out) == (3, True)
    assert run("--expect-head", head)[0] == 0
    assert run(*arguments[:2])[0] == 3
    assert run("--expect-head", "00" * 31 + "01")[0] == 5
    other = tmp_path / "other.key"
    keys.save_verify_key(other, made.board.id, 1, bytes(32))
    assert run("--key", str(other))[0] == 2
    assert run("--key", str(export))[0] == 2
    lines = export.read_bytes().splitlines(keepends=True)
    export.write_bytes(b"".join(lines[:3] + lines[4:]))
    code, out = run(*arguments)
    assert code == 5
    assert out.startswith("bad: line 4: ")
    export.unlink()
    assert run()[0] == 2


@pytest.mark.parametrize(
    "words",
    [[], ["a", "b"], ["--nonsense", "a"], ["a", "--key"], ["a", "--expect-head", "00"], ["none"]],
    ids=" ".join,
)
def test_it_says_how_it_is_called(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-I", "-S", str(Path(independent_verifier.__file__)), *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("usage: EXPORT|RECEIPT ")
    assert "Traceback" not in done.stderr


def test_it_imports_only_the_standard_library() -> None:
    tree = ast.parse(Path(independent_verifier.__file__).read_text(encoding="ascii"))
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level
            names.add((node.module or "").partition(".")[0])
    assert names <= sys.stdlib_module_names


def test_it_is_short_enough_to_be_read_at_one_sitting() -> None:
    lines = Path(independent_verifier.__file__).read_text(encoding="ascii").splitlines()
    # It has every rule, those of `prove` and of its times among them: these alone take 150 lines.
    # What `prove` reads of a log (T11, T12, T14) takes 120 more: the limit was 470 without them.
    # What was seen of a USB device takes 3.
    assert len(lines) < 593
    assert max(map(len, lines)) <= 99
