"""P6: no entry, record or attestation can be changed, lost or added without being found."""

from __future__ import annotations

import base64
import copy
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from evidence_maker import BOARD, Clock, MadeBoard, MadeHost, hash_of, report_of, write_export
from hardmute.evidence import verifier
from hardmute.evidence.entries import (
    GENESIS,
    Entry,
    export_line,
    read_export,
    record_of,
    stored,
    stored_entry,
)
from hardmute.model.errors import EvidenceError, UsageError
from hardmute.sync.check import log_outcome

OTHER = "0123456789abcdef"


class Case:
    """A log as a list of entries, and the keys to it."""

    def __init__(self, entries: list[Entry], secrets: dict[tuple[str, int], bytes]) -> None:
        self.entries = entries
        self.secrets = secrets

    def findings(self, entries: list[Entry], *, keys: bool = True) -> list[verifier.Flaw]:
        secrets = self.secrets if keys else {}
        return report_of(entries, secrets).findings

    def of(self, kind: str, board: str = BOARD) -> list[int]:
        """Where the entries of ``kind`` of ``board`` are."""
        return [
            index
            for index, entry in enumerate(self.entries)
            if (entry.kind, entry.board) == (kind, board)
        ]

    def changed(self, index: int, **body: Any) -> list[Entry]:
        """With other content in one entry's body, and all hashes made anew."""
        altered = self.entries[index]._replace(body={**self.entries[index].body, **body})
        return [
            *self.entries[:index],
            *rechained([altered, *self.entries[index + 1 :]], self.entries[:index]),
        ]

    def with_statement(self, index: int, **fields: Any) -> list[Entry]:
        statement = {**self.entries[index].body["statement"], **fields}
        return self.changed(index, statement=statement)

    def with_record(self, index: int, data: bytes) -> list[Entry]:
        return self.changed(index, record=base64.b64encode(data).decode())


def rechained(entries: list[Entry], after: Sequence[Entry] = ()) -> list[Entry]:
    """The entries numbered and hashed as if they had always come ``after`` these."""
    made: list[Entry] = []
    before = after[-1].hash if after else GENESIS
    for row, entry in enumerate(entries, len(after) + 1):
        fresh = entry._replace(row=row)
        before = hash_of(before, fresh)
        made.append(fresh._replace(hash=before))
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log")


@pytest.fixture(scope="module")
def long(folder: Path) -> Case:
    """Two boards, one paired twice; a board exchanged for an older state of it; a night off."""
    clock = Clock()
    board, other = MadeBoard(clock), MadeBoard(clock, OTHER)
    host = MadeHost(folder / "long.sqlite3", clock)
    board.boot()
    other.boot()
    host.contact(board)
    board.pair()
    host.contact(board)
    clock.pass_ms(60_000)
    board.live_for(5_000)
    host.contact(board)
    host.contact(other)
    older = board.copy()
    board.boot()
    board.live_for(9_000)
    board.fault()
    board.mute()
    clock.pass_ms(90_000_000)
    board.live_for(100)
    host.contact(board)
    host.contact(board)
    host.miss(other)
    board.pair()
    board.live_for(100)
    host.contact(board)
    older.boot()
    older.live_for(300)
    host.incident(older, "backwards", 2, seq=older.journal.seq, known=board.journal.seq)
    host.fetch(older, 2)
    host.attest(older, 2)
    clock.pass_ms(1_000)
    other.live_for(20)
    host.contact(other)
    host.attest(older, 2)
    entries = list(host.log.entries())
    host.log.close()
    return Case(entries, board.secrets)


@pytest.fixture(scope="module")
def short(folder: Path) -> Case:
    """The fewest entries that have one of each kind."""
    clock = Clock()
    board = MadeBoard(clock)
    host = MadeHost(folder / "short.sqlite3", clock)
    board.boot()
    host.observe(board)
    clock.pass_ms(86_400_000)
    host.incident(board, "unpaired", 1)
    host.log.prune(host.now_ms)
    board.pair()
    host.attest(board)
    entries = list(host.log.entries())
    host.log.close()
    kinds = [entry.kind for entry in entries]
    assert kinds == ["incident", "checkpoint", "record", "record", "attestation"]
    return Case(entries, board.secrets)


def test_P6_a_good_log_is_intact(long: Case, short: Case) -> None:
    report = report_of(long.entries, long.secrets)
    assert report.findings == []
    assert report.head == long.entries[-1].hash
    assert [(branch.board, branch.number) for branch in report.branches] == [
        (OTHER, 1),
        (BOARD, 1),
        (BOARD, 2),
    ]
    assert all(branch.macs == branch.signatures for branch in report.branches)
    assert report.branches[1].signatures > 12
    assert [entry.body["what"] for entry in report.incidents] == ["backwards"]
    assert short.findings(short.entries) == []


def test_P6_without_keys_it_says_what_it_did_not_check(long: Case) -> None:
    report = report_of(long.entries, {})
    assert report.findings == []
    assert [branch.pairings_without_key for branch in report.branches] == [(), (1, 2), (1,)]
    assert [branch.macs for branch in report.branches] == [0, 0, 0]
    one = {(BOARD, 2): long.secrets[BOARD, 2]}
    report = report_of(long.entries, one)
    assert report.findings == []
    assert report.branches[1].pairings_without_key == (1,)
    assert 0 < report.branches[1].macs < report.branches[1].signatures


# Somebody who does not know of the hashes.


def test_P6_any_bit_of_an_export_that_is_flipped_is_found(short: Case, tmp_path: Path) -> None:
    lines = [f"{export_line(entry)}\n".encode() for entry in short.entries]
    file = tmp_path / "export.jsonl"
    whole = b"".join(lines)
    file.write_bytes(whole)
    with file.open("r+b", buffering=0) as stream:
        # 5 has no factor in common with the 8 bits of a byte.
        for bit in range(0, 8 * len(whole), 5):
            stream.seek(bit // 8)
            stream.write(bytes([whole[bit // 8] ^ 1 << bit % 8]))
            try:
                found = verifier.verified(lambda: read_export(file), {}).report().findings
            except EvidenceError as error:
                line = whole.count(b"\n", 0, bit // 8) + 1
                assert f"Line {line} of" in str(error), bit  # noqa: PT017
            else:
                assert found, bit
            stream.seek(bit // 8)
            stream.write(whole[bit // 8 : bit // 8 + 1])
    assert verifier.verified(lambda: read_export(file), {}).report().findings == []


def test_P6_an_export_cut_short_inside_a_line_is_found(short: Case, tmp_path: Path) -> None:
    whole = "".join(f"{export_line(entry)}\n" for entry in short.entries)
    file = tmp_path / "export.jsonl"
    file.write_text(whole)
    for size in range(len(whole) - 1, 0, -1):
        os.truncate(file, size)
        if whole[size - 1] == "\n":
            continue
        with pytest.raises(EvidenceError, match="altered or cut short"):
            list(read_export(file))


def every_change(entries: list[Entry]) -> Iterator[tuple[str, list[Entry]]]:
    """Each entry deleted, doubled, moved, and exchanged with the next and others."""
    for index, entry in enumerate(entries):
        rest = entries[:index] + entries[index + 1 :]
        if index < len(entries) - 1:
            yield f"entry {index} deleted", rest
        for at in (*range(index % 3, len(entries), 3), len(entries)):
            yield f"entry {index} inserted at {at}", [*entries[:at], entry, *entries[at:]]
        for at in range(index + 1, len(entries), 3):
            swapped = list(entries)
            swapped[index], swapped[at] = swapped[at], swapped[index]
            yield f"entries {index} and {at} swapped", swapped


def test_P6_any_entry_deleted_doubled_or_moved_is_found(long: Case) -> None:
    for what, entries in every_change(long.entries):
        assert long.findings(entries, keys=False), what


def test_P6_the_first_bad_entry_is_named(long: Case) -> None:
    for index, entry in enumerate(long.entries):
        entries = list(long.entries)
        entries[index] = entry._replace(at_ms=entry.at_ms + 1)
        found = long.findings(entries)
        assert found[0].row == entry.row
        assert "hash" in found[0].text


def test_P6_a_shorter_log_is_found_by_the_head_alone(long: Case) -> None:
    for size in range(len(long.entries)):
        entries = long.entries[:size]
        report = report_of(entries, long.secrets)
        assert report.findings == []
        assert long.entries[-1].hash not in [entry.hash for entry in entries]


# Somebody who makes all hashes anew.


def bound(case: Case) -> int:
    """How many entries the newest attestation commits to."""
    return case.entries[case.of("attestation")[-1]].body["log_row"]


def test_P6_what_an_attestation_commits_to_cannot_be_changed(long: Case) -> None:
    """Not even what no board has signed: observations, incidents, times."""
    for index in range(bound(long)):
        entry, rest = long.entries[index], long.entries[index + 1 :]
        earlier = entry._replace(at_ms=entry.at_ms - 1)
        for changed in ([], [earlier], [earlier, entry]):
            entries = rechained([*long.entries[:index], *changed, *rest])
            assert long.findings(entries, keys=False), (index, changed)


def test_P6_entries_swapped_under_new_hashes_are_found(long: Case) -> None:
    size = bound(long)
    for first in range(size):
        for second in range(first + 1, size, 3):
            entries = list(long.entries)
            entries[first], entries[second] = entries[second], entries[first]
            assert long.findings(rechained(entries), keys=False), (first, second)


def test_P6_any_flipped_bit_of_a_record_with_new_hashes_is_found(long: Case) -> None:
    for number, index in enumerate(long.of("record")):
        data = record_of(long.entries[index].body)
        end = next((at + 1 for at in long.of("attestation") if at > index), None)
        # Another eleventh of the bits of each, which has no factor in common with the 8 of a byte.
        for bit in range(number % 11, 8 * len(data), 11):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            # What follows the next attestation need not be read.
            entries = long.with_record(index, bytes(flipped))[:end]
            assert long.findings(entries), (index, bit)


def test_P6_any_record_deleted_under_new_hashes_is_found(long: Case) -> None:
    """With all attestations gone, that commit to the log as it was. Not those at the end."""
    records = [entry for entry in long.entries if entry.kind in ("record", "incident")]
    for board in (BOARD, OTHER):
        ours = [entry for entry in records if entry.board == board]
        assert long.findings(rechained(ours)) == []
        for index, entry in enumerate(ours):
            rest = rechained(ours[:index] + ours[index + 1 :])
            last = index + 1 == len(ours) or ours[index + 1].kind == "incident"
            # The first record of a journal may be any: a host begins with what the board has kept.
            begins = index == 0 or ours[index - 1].kind == "incident"
            if not (last or begins):
                assert long.findings(rest), (board, index, entry)


def test_P6_any_word_of_an_attestation_changed_is_found(long: Case) -> None:
    for index in long.of("attestation"):
        statement = long.entries[index].body["statement"]
        for key, value in statement.items():
            if isinstance(value, int):
                other: Any = value + 1
            elif isinstance(value, str):
                other = value + "0"
            else:
                other = [*value, 0]
            assert long.findings(long.with_statement(index, **{key: other})), key
            fewer = {name: said for name, said in statement.items() if name != key}
            assert long.findings(long.changed(index, statement=fewer)), key
        assert long.findings(long.with_statement(index, more=1))


@pytest.mark.parametrize(
    "key", ["branch", "journal_mac", "salt", "log_row", "statement", "checked"]
)
def test_P6_an_attestation_without_a_part_is_none(key: str, long: Case) -> None:
    index = long.of("attestation")[0]
    entries = list(long.entries)
    body = {name: value for name, value in entries[index].body.items() if name != key}
    entries[index] = entries[index]._replace(body=body)
    found = long.findings(rechained(entries))
    assert found[0] == (index + 1, "is no attestation as hardmute writes it")


@pytest.mark.parametrize(
    ("key", "value"),
    [("journal_mac", "00" * 16), ("salt", "00" * 16), ("salt", "xx"), ("log_row", 0)],
)
def test_P6_an_attestation_with_another_part_is_found(key: str, value: Any, long: Case) -> None:
    index = long.of("attestation")[-1]
    assert long.findings(long.changed(index, **{key: value}))[0].row == index + 1


def test_P6_an_answer_stored_again_as_a_later_one_is_found(long: Case) -> None:
    for index in long.of("attestation"):
        entry = copy.deepcopy(long.entries[index])
        entry.body["sent_ms"] += 1000
        entry.body["received_ms"] += 1000
        found = long.findings(rechained([*long.entries, entry]))
        assert "answered already" in found[0].text


def test_P6_an_unpaired_board_attests_nothing(long: Case) -> None:
    """An answer under pairing 0, which no key could check, does not pass for one."""
    index = long.of("attestation")[-1]
    found = long.findings(long.with_statement(index, pairing=0, epoch=0), keys=False)
    assert found[0] == (index + 1, "is no attestation as hardmute writes it")


# Keys that are not the right ones.


def test_P6_the_key_of_another_board_or_pairing_is_no_key(long: Case) -> None:
    wrong = {(BOARD, 1): long.secrets[BOARD, 2], (BOARD, 2): long.secrets[BOARD, 2]}
    checked = verifier.verified(lambda: map(stored, long.entries), wrong)
    with pytest.raises(UsageError) as told:
        log_outcome(checked, wrong, None, own=True)
    said = str(told.value)
    assert said.startswith(f"The key given is of pairing 1 of board {BOARD} (key id ")
    assert said.count("key id") == 2


def test_P6_a_reflashed_board_is_checked_with_either_key(tmp_path: Path) -> None:
    """It counts its pairings anew, so that two keys have one number."""
    clock = Clock()
    first, again = MadeBoard(clock), MadeBoard(clock, seed=2)
    host = MadeHost(tmp_path / "log.sqlite3", clock)
    for branch, board in enumerate((first, again), 1):
        board.boot()
        board.pair()
        if branch == 2:
            host.incident(board, "fork", 2, seq=1)
        host.attest(board, branch)
        board.live_for(10)
        host.attest(board, branch)
    entries = list(host.log.entries())
    host.log.close()
    assert first.secrets.keys() == again.secrets.keys()
    for board, checked in ((first, 0), (again, 1)):
        report = report_of(entries, board.secrets)
        assert report.findings == []
        ours, theirs = report.branches[checked], report.branches[1 - checked]
        assert (ours.macs, ours.pairings_without_key) == (ours.signatures, ())
        assert (theirs.macs, theirs.pairings_without_key) == (0, (1,))


def test_an_epoch_that_no_board_lives_to_see_costs_no_time(long: Case) -> None:
    index = long.of("attestation")[-1]
    found = long.findings(long.with_statement(index, epoch=0xFFFFFFFF))
    assert found == [(index + 1, "attests record 8 under the key of another epoch")]


# Branches.


def test_P6_a_journal_does_not_branch_without_an_incident(long: Case) -> None:
    """Records that are gone cannot hide in what looks like a new journal."""
    records = [entry for entry in long.entries if entry.kind == "record" and entry.board == BOARD]
    records = [entry for entry in records if entry.body["branch"] == 1]
    for index in range(1, len(records)):
        after = [
            entry._replace(body={**entry.body, "branch": 2}) for entry in records[index + 1 :]
        ]
        entries = rechained(records[:index] + after)
        if after:
            assert "is of journal 2" in long.findings(entries)[0].text


def test_P6_an_older_journal_does_not_go_on(long: Case) -> None:
    first = [entry for entry in long.entries if entry.body.get("branch") == 1]
    records = [entry for entry in first if entry.kind == "record" and entry.board == BOARD]
    incident = next(entry for entry in long.entries if entry.kind == "incident")
    entries = rechained([*records[:3], incident, *records[3:]])
    assert long.findings(entries)[0] == (5, "is of journal 1, where its board is at journal 2")


def test_P6_an_incident_begins_no_journal_but_the_next(long: Case) -> None:
    index = long.of("incident")[0]
    found = long.findings(long.changed(index, branch=3))
    assert found[0].row == index + 1


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"branch": "1", "what": "fork", "text": "x"},
        {"branch": True, "what": "fork", "text": "x"},
        {"branch": 0, "what": "fork", "text": "x"},
        {"branch": 1, "what": ["fork"], "text": "x"},
        {"branch": 1, "what": "fork"},
    ],
)
def test_a_malformed_incident_is_found(body: dict[str, Any], long: Case) -> None:
    index = long.of("incident")[0]
    entries = list(long.entries)
    entries[index] = entries[index]._replace(body=body)
    found = long.findings(rechained(entries))
    assert found[0] == (index + 1, "is no incident as hardmute writes it")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"branch": 1},
        {"branch": 1, "record": ""},
        {"branch": 1, "record": "A" * 87},
        {"branch": 1, "record": "A" * 84},
        {"branch": 1, "record": "\u00e9" * 88},
        {"branch": 1, "record": 7},
        {"branch": 1.0, "record": "A" * 86 + "=="},
        {"branch": [1], "record": "A" * 86 + "=="},
        {"branch": 1, "record": "A" * 86 + "==", "more": 1},
    ],
)
def test_a_malformed_record_is_found(body: dict[str, Any], long: Case) -> None:
    index = long.of("record")[0]
    entries = list(long.entries)
    entries[index] = entries[index]._replace(body=body)
    found = long.findings(rechained(entries))
    assert found[0] == (index + 1, "is no record as hardmute writes it")


def test_a_malformed_record_among_others_is_found(long: Case) -> None:
    index = long.of("record")[3]
    rows = list(map(stored, long.entries))
    # Canonical JSON has no such character, but the file of a log can.
    text = rows[index][4].replace("A", "\u00e9", 1)
    rows[index] = (*rows[index][:4], text, rows[index][5])
    found = verifier.verified(lambda: rows, {}).report().findings
    assert (index + 1, "is no record as hardmute writes it") in found


# What was pruned.


def test_P6_a_checkpoint_that_is_gone_or_altered_is_found(short: Case) -> None:
    (at,) = [i for i, entry in enumerate(short.entries) if entry.kind == "checkpoint"]
    assert "no checkpoint" in short.findings(short.entries[:at])[0].text
    for key, value in (("row", 2), ("hash", "00" * 32), ("ends", 7)):
        entries = copy.deepcopy(short.entries)
        entries[at].body[key] = value
        assert short.findings(entries), key


def test_P6_the_last_record_before_a_checkpoint_is_signed(tmp_path: Path) -> None:
    clock = Clock()
    board = MadeBoard(clock)
    host = MadeHost(tmp_path / "log.sqlite3", clock)
    board.boot()
    board.pair()
    host.attest(board)
    clock.pass_ms(1_000)
    assert host.log.prune(host.now_ms) is not None
    entries = list(host.log.entries())
    host.log.close()
    assert report_of(entries, board.secrets).findings == []
    (end,) = entries[0].body["ends"]
    forged = base64.b64decode(end[2])[:48] + bytes(16)
    body = {**entries[0].body, "ends": [[*end[:2], base64.b64encode(forged).decode(), end[3]]]}
    entry = entries[0]._replace(body=body)
    entry = entry._replace(hash=hash_of(bytes.fromhex(body["hash"]), entry))
    found = report_of([entry], board.secrets).findings
    assert "has not signed" in found[0].text
    assert report_of([entry], {}).findings == []


# Exports that are none.


@pytest.mark.parametrize(
    "line",
    [
        "",
        "\n",
        "{}\n",
        "[]\n",
        "null\n",
        "[" * 5000 + "\n",
        '{"row":' + "9" * 5000 + "}\n",
        "\ufeff{}\n",
        "\0\n",
    ],
)
def test_a_line_of_rubbish_is_found(line: str, long: Case, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    good = [f"{export_line(entry)}\n" for entry in long.entries[:2]]
    file.write_bytes("".join([good[0], line, good[1]]).encode())
    if line == "":
        assert len(list(read_export(file))) == 2
        return
    with pytest.raises(EvidenceError, match=r"Line 2 of .*altered or cut short\.$"):
        list(read_export(file))


@pytest.mark.parametrize(
    "change",
    [
        {"hash": "AB" * 32},
        {"hash": "ab " * 32},
        {"hash": "ab" * 31},
        {"hash": 7},
        {"row": 0},
        {"row": True},
        {"row": 1.0},
        {"at_ms": 1 << 60},
        {"at_ms": -(1 << 60)},
        {"at_ms": None},
        {"kind": "receipt"},
        {"kind": None},
        {"board": 7},
        {"body": []},
        {"more": 1},
    ],
)
def test_a_line_that_is_no_entry_is_found(
    change: dict[str, Any], long: Case, tmp_path: Path
) -> None:
    file = tmp_path / "export.jsonl"
    fields = {**json.loads(export_line(long.entries[0])), **change}
    file.write_text(json.dumps(fields, sort_keys=True, separators=(",", ":")) + "\n")
    with pytest.raises(EvidenceError, match="Line 1 of"):
        list(read_export(file))


@pytest.mark.parametrize(
    "line",
    ['{{"at_ms":1,{0}', "{0} ", " {0}", "{0}\r"],
    ids=["a key twice", "a space after", "a space before", "CR"],
)
def test_only_one_text_stands_for_an_entry(line: str, long: Case, tmp_path: Path) -> None:
    file = tmp_path / "export.jsonl"
    good = export_line(long.entries[0])
    file.write_text(line.format(good[1:] if line.startswith("{{") else good) + "\n")
    with pytest.raises(EvidenceError, match="Line 1 of"):
        list(read_export(file))


def test_an_export_holds_all_that_the_log_holds(long: Case, tmp_path: Path) -> None:
    write_export(tmp_path / "export.jsonl", long.entries)
    assert list(map(stored_entry, read_export(tmp_path / "export.jsonl"))) == long.entries
