#!/usr/bin/env python3
"""A second verifier of exports, written from docs/evidence.md alone; no code of hardmute's in it.

    python tests/independent_verifier.py EXPORT.jsonl [--key FILE ...] [--expect-head HASH]

Exit code 0: good, with a summary. 5: the first bad line, and why. 2: usage, or a bad key file.
"""

import argparse
import base64
import hashlib
import hmac
import json
import struct
import sys
from collections import Counter, namedtuple
from pathlib import Path

SEAL, PAIR, UNPAIR = 5, 8, 9
FIELDS = "seq boot uptime pairing epoch data event cause state link mac raw"
Record = namedtuple("Record", FIELDS)  # noqa: PYI024 - the fields need no types
# Fields of an object and their types; a number: so many bytes, in hex.
ENTRY = {"row": int, "at_ms": int, "kind": str, "body": dict, "hash": 32}
STATEMENT = {"board": str, "pairing": int, "epoch": int, "seq": int, "head": 16, "nonce": 16}
NUMBERS = ("branch", "log_row", "sent_ms", "received_ms", "elapsed_us", "anchor_us")
ATTESTATION = dict.fromkeys(NUMBERS, int) | {"statement": dict, "host_boot": str}
ATTESTATION |= {"checked": bool, "salt": 16, "mac": 16, "journal_mac": 16}
YEAR_1, YEAR_9999, MOST_EPOCHS = -62_135_510_400_000, 253_402_214_400_000, 1 << 20


class BadError(Exception):
    """What is wrong with an export."""


def need(condition, why):
    if not condition:
        raise BadError(why)


def sha(data):
    return hashlib.sha256(data).digest()


def mac(key, message):
    return hmac.digest(key, message, "sha256")


def key_id(secret):
    return int.from_bytes(mac(secret, b"hardmute id")[:4], "little")


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def refuse(text):
    raise BadError(f"{text[:20]} is not an integer")


def typed(value, fields):
    need(type(value) is dict, "an object is missing")
    for name, kind in fields.items():
        field, size = value.get(name), kind if type(kind) is int else 0
        need(type(field) is (str if size else kind), f"{name} is missing or of another type")
        digits = not size or (len(field) == 2 * size and set(field) <= set("0123456789abcdef"))
        need(digits, f"{name} is not {size} bytes in hex")


def load(line):
    need(len(line) < 1 << 20, "longer than any entry")
    try:
        value = json.loads(line.decode("ascii"), parse_float=refuse, parse_constant=refuse)
        need(canonical(value) == line, "not canonical JSON")  # nor is a key that comes twice
    except (ValueError, RecursionError):
        raise BadError("not JSON in ASCII") from None
    typed(value, ENTRY)
    need({*value} == {*ENTRY, "board"}, "fields are missing or too many")
    need(value["row"] > 0 and YEAR_1 <= value["at_ms"] <= YEAR_9999, "row or at_ms out of range")
    need(value["board"] is None or type(value["board"]) is str, "board is not a string")
    return value


def unpack(text):
    try:
        raw = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raw = b""
    need(len(raw) == 64 and base64.b64encode(raw).decode() == text, "not 64 bytes in base64")
    seq, boot, low, high, *fields = struct.unpack("<IIIHHI4xI3Bx16s16s", raw)
    now = Record(seq, boot, low | high << 32, *fields, raw)
    need(seq and (now.pairing or not (now.epoch or any(now.mac))), "no such record: numbers, MAC")
    need(now.cause <= 6 and now.state & 15 <= 2, "rule 7: cause or state")
    need(now.event != PAIR or (now.pairing and not now.epoch), "rules 3, 4: pair")
    return now


class Journal:
    """A branch: its last record, how many its epoch has, the highest pairing, known places."""

    def __init__(self):
        self.last, self.count, self.highest, self.places, self.removed = None, None, 0, {}, False

    def add(self, now, count):
        self.last, self.count, self.highest = now, count, max(self.highest, now.pairing)
        after = now.epoch + (now.event == SEAL)
        self.places[now.seq] = sha(now.raw)[:16], {(now.pairing, e) for e in (now.epoch, after)}

    def follow(self, now):
        was = self.last
        if was is None:
            self.places[now.seq - 1] = now.link if now.seq > 1 else bytes(16), None
            return self.count_in(now, 1 if now.event == PAIR or now.seq == 1 else None)
        need(now.seq == was.seq + 1 and now.link == self.places[was.seq][0], "rule 1: seq or link")
        need(now.boot >= was.boot, "rule 2: boot falls")
        need(now.boot > was.boot or now.uptime >= was.uptime, "rule 2: uptime falls")
        if now.event == PAIR:
            need(now.pairing > self.highest, "rule 3: pairing does not rise")
            need(not was.pairing or was.event in (SEAL, UNPAIR), "rule 4: no seal before pair")
        elif now.pairing:
            need(now.pairing == was.pairing and was.event != UNPAIR, "rule 3: pairing")
            need(now.epoch == was.epoch + (was.event == SEAL), "rule 4: epoch")
        same = (was.pairing, was.epoch) == (now.pairing, now.epoch)
        return self.count_in(now, 1 if not same else self.count and self.count + 1)

    def count_in(self, now, count):
        need(now.event != SEAL or count in (None, now.data), "rule 5: the seal's count")
        self.add(now, count)


class Verifier:
    def __init__(self, secrets):
        self.secrets, self.epochs = secrets, {}  # by (board, pairing)
        self.journals, self.newest = {}, {}  # by (board, branch); by board
        self.hashes, self.nonces, self.seen = {}, set(), Counter()
        self.keyless, self.fit = set(), set()  # (board, branch, pairing) of another key; good keys

    def run(self, export, expect=None):
        """Return a Counter of what the export has, or raise BadError."""
        *lines, rest = export.split(b"\n")
        number, entries = 0, []
        try:
            for number, line in enumerate(lines, 1):  # noqa: B007
                entries.append(load(line))
            number = len(lines) + 1
            need(not rest, "does not end in a newline")
            number = 1
            self.begin(entries)
            for number, entry in enumerate(entries, 1):  # noqa: B007
                self.entry(entry)
        except (BadError, RecursionError) as error:
            raise BadError(f"line {number}: {error}") from None
        unfit = {(board, pairing) for board, _, pairing in self.keyless} - self.fit
        need(not unfit, "a key given is another one than its pairing's")
        known = {value.hex() for value in self.hashes.values()}
        need(expect is None or expect in known, "no entry has the expected hash")
        return self.seen

    def begin(self, entries):
        self.removed = entries[0]["row"] - 1 if entries else 0
        self.hashes[self.removed] = bytes(32)
        starts = [e["body"] for e in entries if e["kind"] == "checkpoint"]
        starts = [body for body in starts if body.get("row") == self.removed]
        if self.removed:
            need(starts, "what came before is missing, and no checkpoint says why")
            self.checkpoint(None, starts[-1], entries[-1]["row"] + 1)
            self.hashes[self.removed] = bytes.fromhex(starts[-1]["hash"])
            for board, branch, record, count in starts[-1]["ends"]:
                last = unpack(record)
                self.journals[board, branch] = journal = Journal()
                journal.add(last, count)
                journal.removed = True
                self.signed((board, branch), last, last.raw[:48], last.mac)
                self.newest[board] = max(branch, self.newest.get(board, 1))

    def entry(self, entry):
        row, board, body, kind = entry["row"], entry["board"], entry["body"], entry["kind"]
        need(row - 1 in self.hashes and row not in self.hashes, "row does not follow")
        claimed = bytes.fromhex(entry.pop("hash"))
        need(sha(self.hashes[row - 1] + canonical(entry)) == claimed, "hash is wrong")
        if kind in ("record", "attestation", "incident"):
            typed(body, {"branch": int})
            need(board is not None and body["branch"] > 0, "no board or branch")
            self.newest.setdefault(board, body["branch"] if self.removed else 1)
        checks = (self.record, self.attestation, self.incident, self.checkpoint)
        known = {check.__name__: check for check in checks} | {"observation": lambda *_: None}
        need(kind in known, "kind is unknown")
        known[kind](board, body, row)
        self.hashes[row] = claimed
        self.seen[kind] += 1

    def incident(self, board, body, _row):
        typed(body, {"what": str, "text": str})
        need(body["branch"] <= self.newest[board] + 1, "a branch is left out")
        self.newest[board] = max(self.newest[board], body["branch"])
        self.seen["incident: " + ascii(body["what"])] += 1

    def checkpoint(self, _board, body, row):
        typed(body, {"row": int, "hash": 32, "ends": list, "before_ms": int})
        need(0 < body["row"] < row, "a checkpoint of what comes after it")
        for end in body["ends"]:
            need(type(end) is list and len(end) == 4, "an end is no list of 4")
            types = [type(field) for field in end]
            need(types in ([str, int, str, int], [str, int, str, type(None)]), "an end's types")
            need(end[1] > 0 and end[3] != 0 and unpack(end[2]), "an end's numbers")

    def record(self, board, body, _row):
        now, newest = unpack(body.get("record")), self.newest[board]
        need(len(body) == 2, "a record's body has other fields")
        begins = body["branch"] > newest and self.removed  # its incident may have been removed
        need(body["branch"] == newest or begins, "not of the newest branch")
        self.newest[board] = newest = body["branch"]
        self.journals.setdefault((board, newest), Journal()).follow(now)
        self.signed((board, newest), now, now.raw[:48], now.mac)

    def attestation(self, board, body, row):
        typed(body, ATTESTATION)
        typed(body["statement"], STATEMENT)
        said = argparse.Namespace(**body["statement"])
        need({*body} == {*ATTESTATION} and said.board == board, "other fields, or another board")
        numbers = (said.seq, said.epoch, said.pairing - 1, body["log_row"])
        need(all(0 <= number < 1 << 32 for number in numbers), "a number is out of range")
        journal, claimed = (board, body["branch"]), bytes.fromhex(body["journal_mac"])
        self.signed(journal, said, canonical(body["statement"]), claimed)
        need(body["log_row"] < row and said.nonce not in self.nonces, "nonce too late or used")
        self.nonces.add(said.nonce)
        if body["log_row"] >= self.removed:
            salted = self.hashes[body["log_row"]] + bytes.fromhex(body["salt"])
            need(sha(b"hardmute nonce" + salted)[:16].hex() == said.nonce, "nonce does not fit")
        journal = self.journals.get(journal, Journal())
        head, epochs = journal.places.get(said.seq, (None, None))
        removed = journal.removed and said.seq < journal.last.seq
        need(head or removed, "the record attested is not there")
        need(head is None or head.hex() == said.head, "another head than the record's")
        need(epochs is None or (said.pairing, said.epoch) in epochs, "of another epoch")

    def signed(self, journal, by, message, claimed):
        pairing = journal[0], by.pairing
        secret = self.secrets.get(pairing)
        if secret and getattr(by, "event", None) == PAIR and key_id(secret) != by.data:
            self.keyless.add((*journal, by.pairing))
        if by.pairing and (secret is None or (*journal, by.pairing) in self.keyless):
            self.seen["MACs not checked, for want of a verify key"] += 1
        elif by.pairing:
            need(by.epoch <= MOST_EPOCHS, "an epoch that no board lives to see")
            keys = self.epochs.setdefault(pairing, [mac(secret, b"hardmute journal")])
            while len(keys) <= by.epoch:
                keys.append(mac(keys[-1], b"hardmute next"))
            need(hmac.compare_digest(mac(keys[by.epoch], message)[:16], claimed), "MAC is wrong")
            self.fit.add(pairing)


def read_key(path):
    try:
        key = json.loads(path.read_bytes())
        typed(key, {"board": str, "pairing": int, "key_id": 4, "secret": 32})
        secret = bytes.fromhex(key["secret"])
        need(key_id(secret).to_bytes(4, "little").hex() == key["key_id"], "key_id does not fit")
    except (ValueError, RecursionError, BadError) as error:
        raise BadError(f"{path} is no verify key: {error}") from None
    return (key["board"], key["pairing"]), secret


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path)
    parser.add_argument("--key", type=Path, action="append", default=[])
    parser.add_argument("--expect-head")
    options = parser.parse_args()
    try:
        secrets, export = dict(map(read_key, options.key)), options.export.read_bytes()
    except (OSError, BadError) as error:
        parser.error(str(error))
    try:
        seen = Verifier(secrets).run(export, options.expect_head)
    except BadError as error:
        print(f"bad: {error}")
        return 5
    print("good: " + ", ".join(f"{count} {what}" for what, count in sorted(seen.items())))
    return 0


if __name__ == "__main__":
    sys.exit(main())
