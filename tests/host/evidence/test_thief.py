"""P6 against a thief who has all that there is on the board and on the host, at one moment.

He has the flash of the board (its keys, its journal), and of the host the log and the attest key.
He has not what was brought away before: the verify key, a copy of the log, or just its last hash.
What he cannot do is shown, and so is what he can: docs/threat-model.md says both.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from test_independent_verifier import Made, is_good, judged, rechained, records_of, text_of

from evidence_maker import BOARD, MadeBoard, report_of
from hardmute.evidence import verifier
from hardmute.evidence.entries import Entry, nonce
from hardmute.model.allowance import Allowance
from hardmute.model.clock import SYSTEM
from hardmute.model.errors import TAMPERED
from hardmute.sync.journal_import import MOST_BREAKS, Intake
from hardmute.sync.recorder import Recorder
from muteboard import attest, journal, wire


class Loot(NamedTuple):
    """What the thief has, and, for the test alone, what he has not."""

    board: MadeBoard
    log: list[Entry]
    attest_key: bytes
    # Brought away before he came: the secrets; the log's length and the hash at its end.
    secrets: dict[tuple[str, int], bytes]
    known_rows: int
    known_head: bytes
    made: Made

    @property
    def key(self) -> bytes:
        """The journal key on the board's flash."""
        return self.board.journal._key

    @property
    def epoch(self) -> int:
        return self.board.journal.epoch

    def every_key(self) -> list[bytes]:
        """All keys that he can come by: what he has found, and what follows from that."""
        keys = [self.attest_key, self.key]
        for _ in range(5):
            keys.append(attest.next_key(keys[-1]))
        keys += [attest.next_key(self.attest_key), attest.journal_key(self.attest_key)]
        return [*keys, attest.journal_key(self.key)]


@pytest.fixture
def loot(tmp_path: Path) -> Loot:
    """Live times of several starts that the host has fetched, and one that it has not."""
    made = Made(tmp_path)
    made.board.boot()
    made.board.pair()
    made.run()
    for _ in range(3):
        made.board.boot()
        made.run()
    known_rows, known_head = made.host.log.head()
    # In the open epoch, and seen by the host after the head was brought away.
    made.run()
    # Seen by nobody.
    made.clock.pass_ms(60_000)
    made.board.live_for(777_000)
    secret = made.secrets[BOARD, 1]
    taken = MadeBoard(made.clock, BOARD, seed=1)
    taken.flash.segments, taken.flash.keys = dict(made.board.flash.segments), made.board.flash.keys
    taken._reset()
    taken.boots = made.board.boots
    return Loot(
        board=taken,
        log=made.entries(),
        attest_key=attest.attest_key(secret),
        secrets=dict(made.secrets),
        known_rows=known_rows,
        known_head=known_head,
        made=made,
    )


def with_records(entries: list[Entry], records: dict[int, bytes]) -> list[Entry]:
    """``entries`` with other records at these places, all hashes made anew."""
    altered = list(entries)
    for at, data in records.items():
        body = {**entries[at].body, "record": base64.b64encode(data).decode()}
        altered[at] = entries[at]._replace(body=body)
    return rechained(altered)


def told_as_muted(data: bytes) -> bytes:
    """The record of an unmute as one of a mute: every contact open."""
    return data[:28] + bytes((journal.MUTED, data[29], 0, 0)) + data[32:]


def true_key(loot: Loot, record: journal.Record) -> bytes:
    """What he would need: the holder of the verify key has it."""
    key = verifier.EpochKeys(loot.secrets).key(BOARD, 1, record.epoch)
    assert key is not None
    return key


def forgery(log: list[Entry], start: int, keys: Callable[[journal.Record], bytes]) -> list[Entry]:
    """``log`` with record ``start`` told as a mute, that and all that follow linked and signed."""
    forged: dict[int, bytes] = {}
    link = None
    for at, original in records_of(log)[start:]:
        data = told_as_muted(original) if link is None else original
        record = journal.Record(data)
        if record.pairing:
            data = signed(data, keys(record), link)
        link = journal.head_of(data)
        forged[at] = data
    return with_records(log, forged)


def signed(data: bytes, key: bytes, link: bytes | None = None) -> bytes:
    data = data[:32] + (data[32:48] if link is None else link)
    return data + attest.mac(key, data)


def test_P6_the_loot_is_all_there_is_and_holds_no_earlier_key(loot: Loot) -> None:
    """He has the true keys of now; those of before are not on the flash, nor derived from it."""
    secret = loot.secrets[BOARD, 1]
    epochs = verifier.EpochKeys(loot.secrets)
    earlier = [epochs.key(BOARD, 1, epoch) for epoch in range(loot.epoch)]
    assert len(earlier) >= 3
    assert loot.key == epochs.key(BOARD, 1, loot.epoch)
    assert not set(earlier) & set(loot.every_key())
    flash = (loot.board.flash.keys or b"") + b"".join(
        map(bytes, loot.board.flash.segments.values())
    )
    assert loot.key in flash
    for key in (secret, *earlier):
        assert key
        assert key not in flash


def findings(entries: list[Entry], secrets: verifier.Keys) -> list[verifier.Flaw]:
    return report_of(entries, secrets).findings


# What he cannot do.


def test_P6_he_cannot_rewrite_what_a_sealed_epoch_has_recorded(loot: Loot) -> None:
    """Whatever key he signs with, and though he links and signs anew all that follows."""
    log = rechained([entry for entry in loot.log if entry.kind == "record"])
    records = records_of(log)
    assert is_good(text_of(log), loot.secrets)
    sealed = [n for n, (_, data) in enumerate(records) if journal.Record(data).epoch < loot.epoch]
    unmutes = [n for n in sealed if journal.Record(records[n][1]).event == journal.UNMUTE]
    assert len(unmutes) >= 3
    for target in sealed[1:]:
        for key in loot.every_key():
            assert not is_good(text_of(forgery(log, target, lambda _, key=key: key)), loot.secrets)
    for target in unmutes:
        # The true keys of the open epoch do not help, where those before it are missing.
        mine = forgery(
            log, target, lambda now: loot.key if now.epoch < loot.epoch else true_key(loot, now)
        )
        assert not is_good(text_of(mine), loot.secrets)
        assert "has not signed" in findings(mine, loot.secrets)[0].text
        # Whoever has no verify key cannot tell.
        assert is_good(text_of(mine), {})
        # It is the keys alone that he lacks: with them it would pass.
        assert is_good(
            text_of(forgery(log, target, lambda now: true_key(loot, now))), loot.secrets
        )


def test_P6_he_cannot_leave_out_a_sealed_epoch(loot: Loot) -> None:
    """He cuts the journal anywhere before the open epoch, and goes on with the keys he has."""
    log = rechained([entry for entry in loot.log if entry.kind == "record"])
    records = records_of(log)
    start = next(
        n for n, (_, data) in enumerate(records) if journal.Record(data).epoch == loot.epoch
    )
    template = records[start][1]
    for cut in range(1, start):
        last = records[cut - 1][1]
        before = journal.Record(last)
        for epoch in {before.epoch, before.epoch + 1, loot.epoch}:
            for key in loot.every_key():
                data = bytearray(template)
                data[:4] = (before.seq + 1).to_bytes(4, "little")
                data[16:20] = epoch.to_bytes(4, "little")
                forged = signed(bytes(data), key, journal.head_of(last))
                entries = with_records(log[: cut + 1], {cut: forged})
                assert not is_good(text_of(entries), loot.secrets), (cut, epoch)
        data = bytearray(template)
        data[:4] = (before.seq + 1).to_bytes(4, "little")
        data[16:20] = (before.epoch + (before.event == journal.SEAL)).to_bytes(4, "little")
        if before.pairing and before.boot <= journal.Record(template).boot:
            key = true_key(loot, journal.Record(bytes(data)))
            forged = signed(bytes(data), key, journal.head_of(last))
            assert is_good(text_of(with_records(log[: cut + 1], {cut: forged})), loot.secrets)


def test_P6_he_cannot_attest_for_a_time_before_his(loot: Loot) -> None:
    """No answer under an earlier record, nor one under his epoch that says to be earlier."""
    for at, entry in enumerate(loot.log):
        if entry.kind != "attestation":
            continue
        genuine = entry.body["statement"]
        if genuine["epoch"] == loot.epoch:
            continue
        salt = bytes(16)
        asked = nonce(loot.log[at - 1].hash, salt).hex()
        for epoch in (genuine["epoch"], loot.epoch):
            said = {**genuine, "nonce": asked, "live_ms": 0, "epoch": epoch}
            for key in loot.every_key():
                body = {
                    **entry.body,
                    "statement": said,
                    "salt": salt.hex(),
                    "log_row": at,
                    "journal_mac": verifier.journal_mac(key, said),
                    "mac": verifier.journal_mac(loot.attest_key, said),
                }
                entries = rechained([*loot.log[:at], entry._replace(body=body)])
                assert not is_good(text_of(entries), loot.secrets), (at, epoch)
                if (epoch, key) == (loot.epoch, loot.key):
                    # All that he can sign.
                    assert findings(entries, loot.secrets) == [
                        (at + 1, f"attests record {said['seq']} under the key of another epoch")
                    ]


def test_P6_he_cannot_change_what_a_known_head_covers(loot: Loot) -> None:
    """Even where he has every key: the head alone tells, and needs none."""
    for at in range(loot.known_rows):
        entry = loot.log[at]
        entries = list(loot.log)
        entries[at] = entry._replace(at_ms=entry.at_ms + 1)
        for log in (rechained(entries), rechained(loot.log[:at] + loot.log[at + 1 :])):
            assert not is_good(text_of(log), {}, loot.known_head), at
    assert not is_good(text_of(loot.log[: loot.known_rows - 1]), {}, loot.known_head)
    assert is_good(text_of(loot.log), {}, loot.known_head)


def test_P6_a_host_that_has_seen_more_finds_his_board_out(
    loot: Loot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He puts his version of the open epoch on the board: whoever has fetched it meets a fork."""
    seen = len(records_of(loot.log))
    shorten(loot.board, seen - 1)
    loot.board.boot()
    loot.board.live_for(10)
    monkeypatch.setenv("HARDMUTE_HOME", str(tmp_path))
    intake = Intake(Recorder(), BOARD, Allowance(MOST_BREAKS, SYSTEM.now_s))
    assert intake.seq == seen
    for at, data in enumerate(loot.board.records(seen), seen):
        if not intake.take(at, data):
            break
    intake.flush()
    found = [entry.body["what"] for entry in loot.made.host.log.entries(kinds=["incident"])]
    assert found == ["fork"]


def test_P6_a_new_pairing_ends_what_he_can_do(loot: Loot) -> None:
    """The owner pairs again, in setup at the board: the stolen keys make nothing any more."""
    board, host = loot.made.board, loot.made.host
    secret = board.pair()
    host.attest(board)
    entries = loot.made.entries()
    assert is_good(text_of(entries), board.secrets)
    body = entries[-1].body
    said = {**body["statement"], "state": "muted", "live_ms": 0}
    assert attest.attest_key(secret) not in loot.every_key()
    for key in loot.every_key():
        forged = {**body, "statement": said, "journal_mac": verifier.journal_mac(key, said)}
        assert forged["journal_mac"] != body["journal_mac"]
        altered = rechained([*entries[:-1], entries[-1]._replace(body=forged)])
        assert not is_good(text_of(altered), board.secrets)
        # A host with the new attest key does not believe it at once, either.
        statement = wire.dumps(said).encode()
        assert attest.mac(key, statement) != attest.mac(attest.attest_key(secret), statement)


# What he can do. It is as well to know.


def shorten(board: MadeBoard, count: int) -> None:
    """Only the first ``count`` records are left on the board's flash."""
    (first,) = board.flash.segments
    board.flash.segments[first] = bytearray(board.flash.segments[first][: count * journal.SIZE])


def test_he_can_take_back_what_no_host_has_seen(loot: Loot) -> None:
    """Thirteen minutes live, gone: the board restarts after the last record that was fetched."""
    seen = len(records_of(loot.log))
    assert len(loot.board.records()) == seen + 2
    shorten(loot.board, seen)
    host = loot.made.host
    loot.board.boot()
    host.contact(loot.board)
    entries = loot.made.entries()
    assert is_good(text_of(entries), loot.secrets, loot.known_head)
    lives = [entry for entry in entries if live_ms(entry) >= 777_000]
    assert not lives


def live_ms(entry: Entry) -> int:
    return entry.body["statement"]["live_ms"] if entry.kind == "attestation" else 0


def test_he_can_rewrite_the_open_epoch_if_nobody_knows_the_head(loot: Loot) -> None:
    """With the attestations after it dropped; but not where somebody has the head."""
    opened = [
        at
        for at, data in records_of(loot.log)
        if journal.Record(data).epoch == loot.epoch and at >= loot.known_rows
    ]
    log = rechained(
        [
            e
            for at, e in enumerate(loot.log)
            if at <= opened[-1] and (e.kind != "attestation" or at < opened[0])
        ]
    )
    start = len(records_of(log)) - len(opened)
    assert journal.Record(records_of(log)[start][1]).event == journal.UNMUTE
    altered = forgery(log, start, lambda _: loot.key)
    assert is_good(text_of(altered), loot.secrets)
    # The head that was brought away is from before that.
    assert is_good(text_of(altered), loot.secrets, loot.known_head)
    # A newer one finds it.
    assert not is_good(text_of(altered), loot.secrets, loot.log[-1].hash)


def test_he_can_answer_in_the_boards_place_from_now_on(loot: Loot) -> None:
    """To this host, at once, and for whoever checks with the verify key later."""
    row, log_hash = loot.made.host.log.head()
    salt = bytes(range(16))
    genuine = next(e.body for e in reversed(loot.log) if e.kind == "attestation")
    at = len(records_of(loot.log))
    said: dict[str, Any] = {
        **genuine["statement"],
        "nonce": nonce(log_hash, salt).hex(),
        "seq": at,
        "head": journal.head_of(records_of(loot.log)[-1][1]).hex(),
        "state": "muted",
    }
    statement = wire.dumps(said).encode()
    # What the host checks at once.
    assert attest.mac(loot.attest_key, statement) == attest.mac(
        attest.attest_key(loot.secrets[BOARD, 1]), statement
    )
    body = {
        **genuine,
        "statement": said,
        "mac": attest.mac(loot.attest_key, statement).hex(),
        "journal_mac": attest.mac(loot.key, statement).hex(),
        "salt": salt.hex(),
        "log_row": row,
    }
    loot.made.host.log.append("attestation", BOARD, json.loads(json.dumps(body)))
    assert is_good(text_of(loot.made.entries()), loot.secrets, loot.known_head)


def test_he_can_cut_the_logs_tail_up_to_the_newest_known_head(loot: Loot) -> None:
    for rows in range(len(loot.log) + 1):
        shorter = text_of(loot.log[:rows])
        assert judged(shorter, loot.secrets) != TAMPERED
        assert is_good(shorter, loot.secrets, loot.known_head) == (rows >= loot.known_rows)
