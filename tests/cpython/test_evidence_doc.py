"""The vectors of docs/evidence.md: those of evidence.json, and what hardmute makes."""

import base64
import hashlib
import json
import re
from pathlib import Path

import pytest
from fakeboard import FakeBoard

import independent_verifier
from evidence_maker import Clock, MadeBoard, MadeHost
from hardmute.evidence import entries, verifier
from hardmute.store import keys
from muteboard import attest, journal, wire

ROOT = Path(__file__).parents[2]
DOC = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
VECTORS = json.loads((ROOT / "tests" / "vectors" / "evidence.json").read_text(encoding="ascii"))
PAIRING = VECTORS["pairing"]
SECRET = bytes.fromhex(PAIRING["secret"])
SECRETS = {(PAIRING["board"], PAIRING["pairing"]): SECRET}


def block(kind: str) -> list[str]:
    """The lines of the fenced block of this kind."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```$", DOC, re.MULTILINE | re.DOTALL)
    return found.splitlines()


def made(folder: Path) -> tuple[MadeBoard, MadeHost]:
    """The history that the vectors tell, by the real journal and the real log."""
    clock = Clock()
    board = MadeBoard(clock, PAIRING["board"])
    board.flash = FakeBoard()
    host = MadeHost(folder / "log.sqlite3", clock)
    board.boot()
    host.miss(board)
    clock.pass_ms(4000)
    theirs = bytes.fromhex(PAIRING["host_bytes"])
    assert board.journal.pair(board.uptime_ms, theirs) == bytes.fromhex(PAIRING["board_bytes"])
    clock.pass_ms(6000)
    board.boot()
    clock.pass_ms(2000)
    board.live_for(5000)
    host.attest(board)
    return board, host


def test_hardmute_makes_these_records_and_this_log(tmp_path):
    board, host = made(tmp_path)
    assert [data.hex() for data in board.records()] == [
        each["bytes"] for each in VECTORS["records"]
    ]
    lines = [entries.export_line(entry) for entry in host.log.entries()]
    assert lines == VECTORS["export"]
    host.log.close()


def test_the_keys():
    host, board = (bytes.fromhex(PAIRING[key]) for key in ("host_bytes", "board_bytes"))
    assert attest.secret(host, board, bytes.fromhex(PAIRING["board"])) == SECRET
    assert attest.attest_key(SECRET).hex() == PAIRING["attest_key"]
    assert attest.key_id(SECRET).hex() == PAIRING["key_id"]
    key = attest.journal_key(SECRET)
    assert [key.hex(), attest.next_key(key).hex()] == PAIRING["journal_keys"]


def test_the_verify_key_file(tmp_path):
    file = tmp_path / "verify.key"
    keys.save_verify_key(file, PAIRING["board"], PAIRING["pairing"], SECRET)
    assert json.loads(file.read_text()) == VECTORS["verify_key"]
    assert keys.load_verify_keys([file]) == SECRETS


@pytest.mark.parametrize("vector", VECTORS["records"], ids=lambda vector: vector["event"])
def test_the_records_fields_links_and_macs(vector):
    data = bytes.fromhex(vector["bytes"])
    record = journal.Record(data)
    assert journal.EVENTS[record.event - 1] == vector["event"]
    assert wire.CAUSES[record.cause] == vector["cause"]
    for field in ("seq", "boot", "uptime_ms", "pairing", "epoch", "presses", "data"):
        assert getattr(record, field) == vector[field]
    assert (record.state, record.sense) == (vector["state"], vector["sense"])
    assert (record.link.hex(), record.mac.hex()) == (vector["link"], vector["mac"])
    assert journal.head_of(data).hex() == vector["head"]
    if record.pairing:
        key = bytes.fromhex(PAIRING["journal_keys"][record.epoch])
        assert journal.mac_of(key, data) == record.mac
    else:
        assert record.mac == bytes(16)


def test_each_record_links_to_the_one_before():
    heads = [vector["head"] for vector in VECTORS["records"]]
    assert [vector["link"] for vector in VECTORS["records"]][1:] == heads[:-1]


def test_the_attestation_its_two_macs_and_its_nonce():
    vector = VECTORS["attestation"]
    statement = json.loads(vector["statement"])
    assert verifier.statement_bytes(statement).decode() == vector["statement"]
    assert wire.dumps(statement) == vector["statement"]
    assert verifier.journal_mac(attest.attest_key(SECRET), statement) == vector["mac"]
    key = bytes.fromhex(PAIRING["journal_keys"][statement["epoch"]])
    assert verifier.journal_mac(key, statement) == vector["journal_mac"]
    log_hash, salt = bytes.fromhex(vector["log_hash"]), bytes.fromhex(vector["salt"])
    assert entries.nonce(log_hash, salt).hex() == statement["nonce"]


def test_the_hashes_of_the_log():
    before = entries.GENESIS
    for line in VECTORS["export"]:
        fields = json.loads(line)
        bare = entries.canonical({key: value for key, value in fields.items() if key != "hash"})
        before = hashlib.sha256(before + bare.encode()).digest()
        assert before.hex() == fields["hash"]
        entry = entries.stored_entry(entries.row_of(fields))
        assert entries.export_line(entry) == line
    assert before.hex() == VECTORS["head"]


def test_both_verifiers_accept_the_export_that_the_vectors_make(tmp_path):
    export = tmp_path / "export.jsonl"
    lines = [entries.export_header(), *VECTORS["export"]]
    export.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
    report = verifier.verified(lambda: entries.read_export(export), SECRETS).report()
    assert not report.findings
    assert report.head.hex() == VECTORS["head"]
    (branch,) = report.branches
    # All but the record from before the pairing are signed, and so is the attestation.
    assert branch.macs == branch.signatures == len(VECTORS["records"])
    seen = [
        *independent_verifier.verify(export.read_bytes(), SECRETS, bytes.fromhex(VECTORS["head"]))
    ]
    assert len(seen) == len(VECTORS["export"])
    found = list(map(entries.stored_entry, entries.read_export(export)))
    records = [base64.b64decode(e.body["record"]).hex() for e in found if e.kind == "record"]
    assert records == [vector["bytes"] for vector in VECTORS["records"]]
    (body,) = (entry.body for entry in found if entry.kind == "attestation")
    vector = VECTORS["attestation"]
    assert entries.canonical(body["statement"]) == vector["statement"]
    assert all(body[key] == vector[key] for key in ("mac", "journal_mac", "salt", "log_row"))
    assert found[body["log_row"] - 1].hash.hex() == vector["log_hash"]


# The page.


def test_the_page_has_the_keys_of_the_vectors():
    width = max(len(key) for key in PAIRING)
    told = [
        f"{key:{width}}  {value}"
        for key, values in PAIRING.items()
        for value in (values if isinstance(values, list) else [values])
    ]
    assert block("keys") == told


def test_the_page_has_one_record_byte_by_byte():
    (vector,) = (each for each in VECTORS["records"] if each["event"] == "unmute")
    data = bytes.fromhex(vector["bytes"])
    at, told = 0, []
    for name, size in VECTORS["layout"]:
        value = vector[name]
        said = wire.CAUSES.index(value) if name == "cause" else value
        said = journal.EVENTS.index(value) + 1 if name == "event" else said
        if size == attest.MAC:
            assert data[at : at + size].hex() == said
        else:
            assert int.from_bytes(data[at : at + size], "little") == said
        shown = "" if size == attest.MAC else f"  {value}"
        told.append(f"{at:2} {data[at : at + size].hex()}  {name}{shown}")
        at += size
    assert at == journal.SIZE
    assert block("record") == [*told, f"   {vector['head']}  head after it"]


def test_the_page_has_every_record():
    told = [f"{each['event']:6} {each['bytes']}" for each in VECTORS["records"]]
    assert block("records") == told


def test_the_page_has_the_attestation():
    vector = VECTORS["attestation"]
    assert block("attestation") == [f"{key:11} {value}" for key, value in vector.items()]


def test_the_page_has_the_export():
    assert block("export") == [entries.export_header(), *VECTORS["export"]]


def test_the_page_names_every_event_and_every_number_of_the_code():
    events = re.findall(r"^\| (\d+) `(\w+)` \|", DOC, re.MULTILINE)
    assert events == [(str(n), name) for n, name in enumerate(journal.EVENTS, 1)]
    assert ", ".join(f"{n} `{cause}`" for n, cause in enumerate(wire.CAUSES)) in DOC
    assert ", ".join(f"{n} `{state}`" for n, state in enumerate(wire.STATES)) in DOC
    assert f"at most {journal.SEGMENT} records" in DOC
    kinds = re.findall(r"^\| `(\w+)` \|", DOC, re.MULTILINE)
    assert set(entries.KINDS) <= set(kinds)
