"""P5: what no key given has signed counts for nothing, whatever it says of itself.

Forgers hand in receipts and exports. They have genuine ones and this program, and no key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from test_independent_verifier import judged, rechained, text_of

import independent_verifier
from evidence_maker import BOARD, MINUTE, Story, copy_of, shown
from hardmute.evidence.entries import (
    Entry,
    canonical,
    encoded,
    export_line,
    nonce,
    record_of,
    row_of,
    stored_entry,
)
from hardmute.evidence.interval import Interval
from hardmute.evidence.listening import KIND as LISTENING
from hardmute.evidence.proof import EVIDENCE, Proof, shown_json
from hardmute.evidence.receipt import check_receipt, make_receipt
from hardmute.model.clock import iso_time
from hardmute.model.errors import LIVE, OK, TAMPERED, UNKNOWN, USAGE, EvidenceError, UsageError
from hardmute.store import keys
from hardmute.store.receipts import read_receipt
from muteboard import attest, journal

OTHER = "0123456789abcdef"
ZEROS = "00" * attest.MAC
Content = dict[str, Any]


class Scene(Story):
    """A paired board that is muted, live from minute 11 to 21, and muted again.

    ``secret``, of the newest pairing, is with the owner, in ``key``.
    """

    def __init__(self, home: Path, pairings: int = 1) -> None:
        super().__init__(home / "log.sqlite3")
        self.home = home
        for _ in range(pairings - 1):
            self.board.pair()
        self.host.hold(self.board)
        self.attest()
        self.quiet = self.now, self.now + 9 * MINUTE
        self.pass_minutes(10)
        self.attest()
        self.live = self.now + MINUTE, self.now + 9 * MINUTE
        self.board.live_for(10 * MINUTE)
        self.pass_minutes(1)
        self.attest()
        self.pass_minutes(1)
        self.attest()
        self.pairing = self.board.journal.pairing
        self.key = self.keep(self.pairing)

    def keep(self, pairing: int, board: str = BOARD, secret: bytes | None = None) -> Path:
        """A verify key in a file."""
        file = self.home / f"{board}-{pairing}-{secret is None}.json"
        secret = self.board.secrets[board, pairing] if secret is None else secret
        keys.save_verify_key(file, board, pairing, secret)
        return file

    def export(self) -> Path:
        return self.host.export(self.home / "export.jsonl")


@pytest.fixture
def scene(home: Path) -> Iterator[Scene]:
    made = Scene(home)
    yield made
    made.host.log.close()


def span(times: tuple[int, int]) -> list[str]:
    return ["--from", iso_time(times[0]), "--to", iso_time(times[1])]


def with_keys(*files: Path) -> list[str]:
    return [word for file in files for word in ("--key", str(file))]


@pytest.fixture
def receipt(cli: Any, scene: Scene) -> Callable[..., Content]:
    """A genuine receipt of a time, made with these keys."""

    def make(times: tuple[int, int], *files: Path, name: str = "genuine.json") -> Content:
        file = scene.home / name
        cli("prove", *span(times), *with_keys(*files), "--receipt", file)
        return json.loads(file.read_text())

    return make


def sealed(content: Content, file: Path) -> Path:
    """``content`` as a receipt with a hash of its own; that needs no key."""
    content.pop("sha256", None)
    content["sha256"] = hashlib.sha256(canonical(content).encode()).hexdigest()
    file.write_text(canonical(content) + "\n", encoding="ascii")
    return file


def claim(content: Content) -> None:
    """Have it claim what its forger would like, so that it agrees with itself if it can."""
    hashes = {int(row): bytes.fromhex(found) for row, found in content["hashes"].items()}
    entries = [stored_entry(row_of(fields)) for fields in content["entries"]]
    span = content["from_ms"], content["to_ms"]
    proof = shown(content["board"], entries, span, {}, hashes.get, counts=lambda _: True)
    muted = Interval(*span, "muted", "boot")
    content["intervals"] = [shown_json(one) for one in proof.intervals or [muted]]
    content["verdict"] = "muted" if proof.findings else proof.verdict
    content["counted"] = list(proof.counted)


def independent(file: Path, secrets: dict[tuple[str, int], bytes]) -> int:
    """The word of the verifier that was written from docs/evidence.md alone."""
    try:
        return independent_verifier.judge(file.read_bytes(), secrets)
    except independent_verifier.BAD:
        return TAMPERED


def foreign(
    genuine: Content, pairing: int, *, checked: object, mac: str, records: str, macs: object
) -> Content:
    """What `receipt_foreign_pairing` forged: the live time between two answers of nobody."""
    content = json.loads(json.dumps(genuine))
    kept: list[dict[str, Any]] = []
    for entry in content["entries"]:
        if entry["kind"] == "record":
            if journal.Record(record_of(entry["body"])).event == journal.UNMUTE:
                break
            kept.append(entry)
        elif entry["kind"] == "attestation":
            last = entry
    forged: list[dict[str, Any]] = []
    for number, shift_ms in enumerate((0, 14 * MINUTE)):
        entry = json.loads(json.dumps(last))
        body, salt = entry["body"], bytes([number]) * 16
        entry["row"] += number
        entry["at_ms"] += shift_ms
        body |= {"salt": salt.hex(), "log_row": 0, "mac": ZEROS, "journal_mac": mac}
        body |= {key: body[key] + shift_ms for key in ("sent_ms", "received_ms")}
        body["anchor_us"] += shift_ms * 1000
        body["statement"] |= {
            "nonce": nonce(bytes(32), salt).hex(),
            "pairing": pairing,
            "uptime_ms": body["statement"]["uptime_ms"] + shift_ms,
        }
        body["checked"] = checked
        if checked == "missing":
            del body["checked"]
        forged.append(entry)
    content["entries"] = [*(kept if records == "with" else []), *forged]
    content |= {"hashes": {}, "macs": macs}
    claim(content)
    return content


@pytest.mark.parametrize("records", ["with", "without"])
@pytest.mark.parametrize("pairing", [0, 1, 2, 3, 9, 65_535, 1 << 32])
def test_P5_answers_of_a_pairing_without_a_key_count_for_nothing(
    home: Path, cli: Any, pairing: int, records: str
) -> None:
    """The owner's is pairing 2; lower, equal and higher ones, with and without its records."""
    scene = Scene(home, pairings=2)
    file = home / "genuine.json"
    told = cli("prove", *span(scene.live), "--key", scene.key, "--receipt", file)
    assert told.code == LIVE
    genuine = json.loads(file.read_text())
    for checked in (True, False, 1, "yes", "missing"):
        for mac in (ZEROS, "ab" * attest.MAC):
            for macs in ({}, {str(pairing): ZEROS}, genuine["macs"]):
                content = foreign(
                    genuine, pairing, checked=checked, mac=mac, records=records, macs=macs
                )
                forged = sealed(content, home / "forged.json")
                keyed = cli("prove", "--check", forged, "--key", scene.key)
                assert keyed.code in (USAGE, UNKNOWN, TAMPERED)
                assert "MUTED" not in keyed.out
                assert cli("prove", "--check", forged).code in (UNKNOWN, TAMPERED)
                assert independent(forged, scene.board.secrets) not in (OK, LIVE)
                well_formed = isinstance(checked, bool) and 0 < pairing < 1 << 32
                if not well_formed:
                    assert keyed.code == TAMPERED
                elif pairing == 2:
                    # A wrong signature under a key that fits.
                    assert keyed.code == TAMPERED
                elif records == "without" and "2" not in macs and (checked or not macs):
                    assert keyed.code == USAGE
                    assert f"but the receipt is of pairing {pairing} of board" in keyed.err
                elif not macs and checked is True:
                    # The record is of the owner's pairing.
                    assert keyed.code == TAMPERED
                    assert "under the key of another epoch" in keyed.out
    scene.host.log.close()


@pytest.fixture
def elsewhere(scene: Scene) -> tuple[Path, Path, tuple[int, int], tuple[int, int]]:
    """Somebody pairs the board with a secret of his own while it is in setup.

    The owner's key; his; a time across that, and one after it.
    """
    since = scene.now
    scene.board.pair()
    scene.pass_minutes(10)
    scene.attest()
    then = scene.now
    scene.pass_minutes(10)
    scene.attest()
    return scene.key, scene.keep(2), (since, scene.now - 5000), (then, scene.now - 5000)


@pytest.mark.usefixtures("scene")
def test_P5_prove_with_the_owners_key_counts_no_other_pairing(
    cli: Any, elsewhere: tuple[Path, Path, tuple[int, int], tuple[int, int]]
) -> None:
    owner, his, across, after = elsewhere
    told = cli("prove", *span(across), "--key", owner)
    assert told.code == UNKNOWN
    assert told.out.count("no key given for pairing 2") == 2
    assert "what is signed under it counts for nothing" in told.out
    told = cli("prove", *span(across), "--key", owner, "--json").json
    assert (told["verdict"], told["pairings_without_key"]) == ("unknown", [2])
    (interval,) = told["intervals"]
    assert interval["note"].startswith("no key given for pairing 2; ")
    told = cli("prove", *span(after), "--key", owner)
    assert (told.code, told.out) == (USAGE, "")
    assert "is of pairing 1 of board" in told.err
    assert "the evidence of that time is of pairing 2 of board" in told.err
    assert cli("prove", *span(across), *with_keys(owner, his)).code == OK
    # Without a key, on a host that has none for that pairing, whatever it says that it checked.
    assert cli("prove", *span(across)).code == UNKNOWN


@pytest.mark.usefixtures("scene")
def test_P5_the_owners_key_counts_no_other_pairing_of_a_receipt(
    cli: Any,
    scene: Scene,
    receipt: Callable[..., Content],
    elsewhere: tuple[Path, Path, tuple[int, int], tuple[int, int]],
) -> None:
    owner, his, across, after = elsewhere
    receipt(across, owner, his, name="both.json")
    receipt(across, owner, name="owner.json")
    receipt(across, name="none.json")
    receipt(after, his, name="his.json")
    # By both keys, by the owner's, by his, and without.
    expected = {
        "both.json": (OK, UNKNOWN, UNKNOWN, UNKNOWN),
        # Both keys show more than the one with which it was made.
        "owner.json": (OK, UNKNOWN, UNKNOWN, UNKNOWN),
        "none.json": (UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN),
        "his.json": (OK, USAGE, OK, UNKNOWN),
    }
    for name, codes in expected.items():
        file = scene.home / name
        for files, code in zip(((owner, his), (owner,), (his,), ()), codes, strict=True):
            told = cli("prove", "--check", file, *with_keys(*files))
            assert told.code == code, (name, files, told.out)
            assert independent(file, keys.load_verify_keys(files)) == code, (name, files)
    told = cli("prove", "--check", scene.home / "both.json", "--key", owner)
    assert "no key given for pairing 2" in told.out
    assert "the receipt itself is signed" in told.out


@pytest.mark.usefixtures("elsewhere")
def test_P5_an_export_with_a_part_of_its_keys_is_not_known(
    cli: Any, scene: Scene, elsewhere: tuple[Path, Path, tuple[int, int], tuple[int, int]]
) -> None:
    owner, his, *_ = elsewhere
    export = scene.export()
    for files, code in (((owner, his), OK), ((owner,), UNKNOWN), ((his,), UNKNOWN)):
        told = cli("log", "verify", export, *with_keys(*files))
        assert told.code == code
        assert independent(export, keys.load_verify_keys(files)) == code
        # This host's own log is as it was written, and what was not checked is said.
        own = cli("log", "verify", *with_keys(*files))
        assert own.code == OK
        for said in (told.out, own.out):
            assert ("no key given for pairing" in said) == (code == UNKNOWN)
    told = cli("log", "verify", export, "--key", owner)
    assert told.out.startswith("UNKNOWN   it agrees with itself; a part of it was not checked\n")
    assert "no key given for pairing 2" in told.out
    told = cli("log", "verify", export, "--key", owner, "--json").json
    assert (told["intact"], told["unchecked"] is None) == (None, False)


# Without a key.


def test_P5_without_a_key_a_receipt_shows_nothing(
    cli: Any, scene: Scene, receipt: Callable[..., Content]
) -> None:
    for name, times in (("quiet", scene.quiet), ("live", scene.live)):
        for files in ((), (scene.key,)):
            for suffix in ("json", "html"):
                file = scene.home / f"{name}{len(files)}.{suffix}"
                cli("prove", *span(times), *with_keys(*files), "--receipt", file)
                told = cli("prove", "--check", file)
                assert told.code == UNKNOWN
                first, *rest = told.out.splitlines()
                assert first == ("UNKNOWN  the receipt agrees with itself; nothing was checked")
                claims = [line.split()[:2] for line in rest if line.split()[0] == "claimed"]
                state = "muted" if name == "quiet" else "live"
                assert ["claimed", state] in claims
                told = cli("prove", "--check", file, "--json").json
                assert told["verdict"] == "unknown"
                assert [one["state"] for one in told["intervals"]] == ["unknown"]
                assert told["claim"]["verdict"] == state
    # One that disagrees with itself was altered.
    content = receipt(scene.quiet)
    content["intervals"][0]["state"] = "live"
    assert cli("prove", "--check", sealed(content, scene.home / "x.json")).code == TAMPERED


def test_P5_without_a_key_or_a_head_an_export_shows_nothing(cli: Any, scene: Scene) -> None:
    export = scene.export()
    entries = list(scene.host.log.entries())
    told = cli("log", "verify", export)
    assert told.code == UNKNOWN
    assert told.out.startswith("UNKNOWN   it agrees with itself; nothing was checked\n")
    assert cli("log", "verify", export, "--json").json["intact"] is None
    assert cli("log", "verify", export, "--key", scene.key).code == OK
    for at, code in ((-1, OK), (-2, UNKNOWN), (0, UNKNOWN)):
        told = cli("log", "verify", export, "--expect-head", entries[at].hash.hex())
        assert told.code == code
        assert f"up to entry {entries[at].row} it is as it was" in told.out or code == OK
    # The head of a log that was empty: nothing follows from it.
    told = cli("log", "verify", export, "--expect-head", "00" * 32)
    assert (told.code, "nothing was checked" in told.out) == (UNKNOWN, True)
    # This host's own log.
    assert cli("log", "verify").code == OK


# Keys of others.


@pytest.mark.parametrize("which", ["board", "pairing", "key id"])
def test_P5_a_key_of_another_pairing_is_an_error_that_names_both(
    cli: Any, scene: Scene, receipt: Callable[..., Content], which: str
) -> None:
    # The record of the pairing is among the evidence.
    receipt(scene.quiet, scene.key)
    receipt(scene.quiet, name="unsigned.json")
    board, pairing = {"board": (OTHER, 1), "pairing": (BOARD, 2), "key id": (BOARD, 1)}[which]
    other = scene.keep(pairing, board, bytes(32))
    ours, theirs = f"pairing {pairing} of board {board}", f"pairing 1 of board {BOARD}"
    if which == "key id":
        ours += f" (key id {attest.key_id(bytes(32)).hex()})"
        theirs += f" (key id {attest.key_id(scene.board.secrets[BOARD, 1]).hex()})"
    commands = {
        "the receipt": [
            ["prove", "--check", scene.home / "genuine.json"],
            ["prove", "--check", scene.home / "unsigned.json"],
        ],
        "the log": [["log", "verify", scene.export()], ["log", "verify"]],
        "the evidence of that time": [["prove", *span(scene.quiet)]],
    }
    for what, several in commands.items():
        for command in several:
            told = cli(*command, "--key", other)
            assert (told.code, told.out) == (USAGE, "")
            assert told.err == (
                f"The key given is of {ours}, but {what} is of {theirs}: give the verify key of"
                " that pairing.\n"
            )
    # A key for something else does no harm where another one fits.
    if which != "key id":
        for several in commands.values():
            for command in several:
                code = UNKNOWN if "unsigned" in str(command[-1]) else OK
                assert cli(*command, "--key", other, "--key", scene.key).code == code


def test_P5_a_key_where_nothing_is_signed_is_told(cli: Any, scene: Scene, tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    told = cli("log", "verify", empty, "--key", scene.key)
    assert told.code == USAGE
    assert told.err == (
        f"The key given is of pairing 1 of board {BOARD}, but nothing in the log is signed: leave"
        " --key out.\n"
    )
    times = scene.now - 100 * MINUTE, scene.now - 90 * MINUTE
    assert cli("prove", *span(times), "--key", scene.key).code == UNKNOWN


def test_P5_a_bad_signature_under_a_fitting_key_is_not_bad_usage(
    cli: Any, scene: Scene, receipt: Callable[..., Content]
) -> None:
    """Of one entry, of all of them, and where the receipt itself is not signed."""
    genuine = receipt(scene.quiet, scene.key)
    places = range(len(genuine["entries"]))
    assert len(places) > 2
    for macs in (genuine["macs"], {}, {"1": ZEROS}):
        for wrong in (*([at] for at in places), places):
            content = json.loads(json.dumps(genuine)) | {"macs": macs}
            for at in wrong:
                body = content["entries"][at]["body"]
                if "journal_mac" in body:
                    body["journal_mac"] = ZEROS
                else:
                    body["record"] = encoded(record_of(body)[:-16] + bytes(16))
            file = sealed(content, scene.home / "wrong.json")
            assert cli("prove", "--check", file, "--key", scene.key).code == TAMPERED
            assert independent(file, scene.board.secrets) == TAMPERED


def test_P5_an_unsigned_receipt_in_the_owners_name_is_altered(
    cli: Any, scene: Scene, receipt: Callable[..., Content]
) -> None:
    content = receipt(scene.quiet, scene.key) | {"macs": {"1": ZEROS}}
    file = sealed(content, scene.home / "x.json")
    told = cli("prove", "--check", file, "--key", scene.key)
    assert (told.code, told.err) == (
        TAMPERED,
        "The receipt was altered: its signature is wrong.\n",
    )


# A receipt that no key given has signed.


def test_P5_the_times_of_an_unsigned_receipt_are_not_known(
    cli: Any, scene: Scene, receipt: Callable[..., Content]
) -> None:
    """Moved onto a time in which the line was live (`receipt_times_shifted`)."""
    content = receipt(scene.quiet, scene.key)
    by_ms = scene.live[0] - scene.quiet[0]
    for holder in (content, *content["intervals"], *(e["body"] for e in content["entries"])):
        for field in ("from_ms", "to_ms", "start_ms", "end_ms", "sent_ms", "received_ms"):
            if field in holder:
                holder[field] += by_ms
    content["macs"] = {}
    file = sealed(content, scene.home / "moved.json")
    told = cli("prove", "--check", file, "--key", scene.key)
    assert told.code == UNKNOWN
    assert told.out.splitlines()[0] == (
        "UNKNOWN  the board's signatures are right, but the receipt is not signed with the key"
        " given: its times were not checked"
    )
    told = cli("prove", "--check", file, "--key", scene.key, "--json").json
    assert (told["verdict"], told["claim"]["verdict"]) == ("unknown", "muted")
    assert independent(file, scene.board.secrets) == UNKNOWN


def test_P5_an_unsigned_receipt_does_not_tell_what_was_heard(
    cli: Any, scene: Scene, receipt: Callable[..., Content]
) -> None:
    """Put in by its holder (`receipt_heard_put_in`)."""
    content = receipt(scene.quiet, scene.key)
    at_ms = scene.quiet[0] + MINUTE
    body = {"from_ms": at_ms, "to_ms": at_ms + 5000, "verdict": "muted", "state": "muted"}
    body |= {"least_cdb": 9700, "leak_cdb": None}
    last = content["entries"][-1]
    heard = {"at_ms": at_ms, "board": BOARD, "body": body, "hash": "00" * 32, "kind": LISTENING}
    content["entries"].append({**heard, "row": last["row"] + 1})
    signed = sealed(content, scene.home / "signed.json")
    assert cli("prove", "--check", signed, "--key", scene.key).code == TAMPERED
    content["macs"] = {}
    file = sealed(content, scene.home / "heard.json")
    told = cli("prove", "--check", file, "--key", scene.key, "--json")
    assert (told.code, told.json["heard"]) == (UNKNOWN, [])
    assert len(told.json["claim"]["heard"]) == 1
    assert "claimed heard, by ear" in cli("prove", "--check", file, "--key", scene.key).out


def test_P5_an_answer_in_a_signed_entrys_place_is_not_signed(
    cli: Any, scene: Scene, receipt: Callable[..., Content]
) -> None:
    """Under the same number."""
    content = receipt(scene.quiet, scene.key)
    again = json.loads(json.dumps(content["entries"][-1]))
    again["body"]["statement"] |= {"pairing": 9, "nonce": ZEROS}
    content["entries"].append(again)
    content["macs"] = {}
    told = cli("prove", "--check", sealed(content, scene.home / "x.json"), "--key", scene.key)
    assert told.code == TAMPERED
    assert f"entry {again['row']} does not follow entry {again['row']}" in told.out


def test_a_receipt_made_without_a_key_says_that_it_is_not_signed(cli: Any, scene: Scene) -> None:
    for files in ((), (scene.key,)):
        file = scene.home / f"{len(files)}.html"
        told = cli("prove", *span(scene.quiet), *with_keys(*files), "--receipt", file)
        assert told.code == OK
        assert ("the receipt is not signed" in told.err) == (not files)
        assert ("This file is not signed" in file.read_text()) == (not files)


# Forgers who try everything.


def garbled(entries: list[Entry], chance: Random) -> list[Entry]:
    """With the signatures of a few dropped, or another pairing, and all of them `checked`."""
    altered: list[Entry] = []
    for entry in entries:
        made = copy_of(entry)
        how = chance.randrange(8)
        if made.kind == "attestation":
            made.body["checked"] = chance.random() < 0.9
            if how < 3:
                made.body["journal_mac"] = ZEROS
            if how < 2:
                made.body["statement"]["pairing"] = chance.choice((1, 2, 3, 9))
        elif made.kind == "record" and how == 0 and chance.random() < 0.3:
            made.body["record"] = encoded(record_of(made.body)[:-16] + bytes(16))
        if chance.random() < 0.95:
            altered.append(made)
    return altered


def muted(proof: Proof) -> list[tuple[int, int]]:
    return [(one.start_ms, one.end_ms) for one in proof.intervals if one.state == "muted"]


def busy(home: Path, chance: Random) -> Story:
    """An hour of presses, starts and contacts, and a second pairing."""
    story = Story(home / "log.sqlite3")
    story.host.hold(story.board)
    for _ in range(12):
        story.pass_minutes(chance.choice((0.5, 2, 5)))
        match chance.randrange(8):
            case 0 | 1:
                story.board.live_for(chance.choice((100, 20_000, 3 * MINUTE)))
            case 2:
                story.board.boot()
            case 3 if story.board.journal.pairing == 1:
                story.board.pair()
            case _:
                pass
        if chance.random() < 0.8:
            story.attest()
    story.attest()
    return story


@pytest.mark.parametrize("seed", range(12))
def test_P5_no_verdict_gets_better_by_what_a_forger_leaves_out(home: Path, seed: int) -> None:
    """With the key: muted only when it was before. Without: never known."""
    chance = Random(seed)
    story = busy(home, chance)
    secrets = story.board.secrets
    owner = {(BOARD, 1): secrets[BOARD, 1]}
    log = story.host.log
    start, end = story.now - 25 * MINUTE, story.now - 1000
    entries = list(log.entries(BOARD, EVIDENCE))
    honest = shown(BOARD, entries, (start, end), secrets, log.hash_at)
    truth = muted(shown(BOARD, entries, (start, end), owner, log.hash_at))
    genuine = make_receipt(honest, entries, secrets, log.hash_at)
    file = home / "forged.json"
    for _ in range(12):
        content = json.loads(json.dumps(genuine))
        forged = garbled(entries, chance)
        content["entries"] = [json.loads(export_line(entry)) for entry in forged]
        content["macs"] = chance.choice(({}, {"1": ZEROS}, {"9": ZEROS}, genuine["macs"]))
        claim(content)
        sealed(content, file)
        for given in (owner, secrets, {}):
            assert independent(file, given) not in (OK, LIVE)
            try:
                checked = check_receipt(read_receipt(file), given)
            except (EvidenceError, UsageError):
                continue
            assert checked.proof.exit_code in (UNKNOWN, TAMPERED)
            assert muted(checked.proof) == []
        # Put into a log of the owner's own, by a program that runs as he does.
        for since, until in muted(shown(BOARD, forged, (start, end), owner, log.hash_at)):
            assert any(a <= since and until <= z for a, z in truth)
    log.close()


@pytest.mark.parametrize("seed", range(6))
def test_P5_nothing_that_a_forger_leaves_out_of_an_export_passes(home: Path, seed: int) -> None:
    """All hashes made to fit. Both verifiers end with the same exit code."""
    chance = Random(seed)
    story = busy(home, chance)
    entries = list(story.host.log.entries())
    secrets = story.board.secrets
    owner = {(BOARD, 1): secrets[BOARD, 1]}
    assert judged(text_of(entries), secrets) == OK
    assert judged(text_of(entries), owner) == (OK if len(secrets) == 1 else UNKNOWN)
    for _ in range(12):
        forged = rechained(garbled(entries, chance))
        data = text_of(forged)
        assert judged(data, {}) in (UNKNOWN, TAMPERED)
        assert judged(data, owner) in (USAGE, UNKNOWN, TAMPERED)
        if judged(data, secrets) not in (USAGE, TAMPERED):
            # What no board has attested since.
            bound = max(e.body["log_row"] for e in forged if e.kind == "attestation")
            assert forged[:bound] == entries[:bound]
    story.host.log.close()
