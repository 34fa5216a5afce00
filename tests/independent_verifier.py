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
Record = namedtuple("Record", "seq boot uptime pairing epoch data event link mac raw")
ENTRY = {"row": int, "at_ms": int, "kind": str, "body": dict, "hash": 32}  # 32: as bytes, in hex
NUMBERS = ("branch", "log_row", "sent_ms", "received_ms", "elapsed_us", "anchor_us")
ATTESTATION = dict.fromkeys(NUMBERS, int) | {"statement": dict, "checked": bool, "host_boot": str}
ATTESTATION |= {"mac": 16, "journal_mac": 16, "salt": 16}
STATEMENT = {"board": str, "pairing": int, "epoch": int, "seq": int, "head": 16, "nonce": 16}
NEXT_BRANCH = ("gap", "fork", "backwards", "bad_journal")
MOST_EPOCHS = 1_000_000  # more than a board lives to see, and each costs an HMAC


class BadError(Exception):
    """What is wrong with an export."""


def need(condition, why):
    if not condition:
        raise BadError(why)


def sha(data):
    return hashlib.sha256(data).digest()


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def canonical(value):
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode("ascii")


def no_float(text):
    raise BadError(f"{text[:20]} is not a whole number")


def typed(value, fields):
    need(type(value) is dict, "an object is missing")
    for name, kind in fields.items():
        field, size = value.get(name), kind if type(kind) is int else 0
        need(type(field) is (str if size else kind), f"{name} is missing or of another type")
        need(kind is not int or 0 <= field < 1 << 63, f"{name} is out of range")
        need(not size or len(field) == 2 * size and set(field) <= set("0123456789abcdef"), name)


def load(line):
    try:
        value = json.loads(line.decode("ascii"), parse_float=no_float, parse_constant=no_float)
        need(canonical(value) == line, "not canonical JSON")  # nor is a key that comes twice
    except (ValueError, RecursionError):
        raise BadError("not JSON in ASCII") from None
    typed(value, ENTRY)
    need({*value} == {*ENTRY, "board"}, "fields are missing or too many")
    need(value["board"] is None or type(value["board"]) is str, "board is not a string")
    return value


def unpack(text):
    try:
        raw = base64.b64decode(text, validate=True)
    except (TypeError, ValueError):
        raw = b""
    need(len(raw) == 64 and base64.b64encode(raw).decode() == text, "not 64 bytes in base64")
    seq, boot, low, high, *fields = struct.unpack("<IIIHHI4xIB3x16s16s", raw)
    record = Record(seq, boot, low | high << 32, *fields, raw)
    need(seq and (record.pairing or not record.epoch and record.event != PAIR), "impossible")
    return record


class Verifier:
    def __init__(self, secrets):
        self.secrets, self.epochs = secrets, {}  # by (board, pairing)
        self.last, self.counts, self.heads, self.highest = {}, {}, {}, Counter()  # by journal,
        self.opened, self.hashes, self.seen = set(), {}, Counter()  # which is (board, branch)

    def run(self, export, expect=None):
        """Return a Counter of what the export has, or raise BadError."""
        *lines, rest = export.split(b"\n")
        need(not rest, f"line {len(lines) + 1}: does not end in a newline")
        number, entries = 0, []
        try:
            for number, line in enumerate(lines, 1):  # noqa: B007
                entries.append(load(line))
            number = 1
            self.begin(entries)
            for number, entry in enumerate(entries, 1):  # noqa: B007
                self.entry(entry)
        except BadError as error:
            raise BadError(f"line {number}: {error}") from None
        need(expect is None or expect in [entry["hash"] for entry in entries], "no such head")
        return self.seen

    def begin(self, entries):
        row = entries[0]["row"] - 1 if entries else 0
        self.pruned, self.hashes[row] = row > 0, bytes(32)
        for entry in reversed(entries if row else []):
            if entry["kind"] == "checkpoint" and entry["body"].get("row") == row:
                typed(entry["body"], {"hash": 32, "ends": list})
                self.hashes[row] = bytes.fromhex(entry["body"]["hash"])
                return [self.end(end) for end in entry["body"]["ends"]]
        need(
            not row, "entries before it are missing, and no checkpoint says that they were removed"
        )

    def end(self, end):
        need(type(end) is list and len(end) == 4, "an end is no list of 4")
        typed(dict(zip("abc", (end[0], end[1], end[3]))), {"a": str, "b": int, "c": int})
        self.accept((end[0], end[1]), unpack(end[2]), end[3])

    def entry(self, entry):
        row, body, kind = entry["row"], entry["body"], entry["kind"]
        need(row - 1 in self.hashes and row not in self.hashes, "its row does not follow")
        claimed = bytes.fromhex(entry.pop("hash"))
        need(sha(self.hashes[row - 1] + canonical(entry)) == claimed, "its hash is wrong")
        if kind in ("record", "attestation", "incident"):
            typed(entry, {"board": str})
            typed(body, {"branch": int})
            getattr(self, kind)((entry["board"], body["branch"]), body, row)
        elif kind == "checkpoint":
            typed(body, {"row": int, "hash": 32, "before_ms": int, "ends": list})
        else:
            need(kind == "observation", "its kind is unknown")
        self.hashes[row] = claimed
        self.seen[kind] += 1

    def incident(self, journal, body, _row):
        typed(body, {"what": str, "text": str})
        self.seen["incident: " + body["what"]] += 1
        if body["what"] in NEXT_BRANCH:
            self.opened.add(journal)

    def record(self, journal, body, _row):
        now, was = unpack(body.get("record")), self.last.get(journal)
        begun = was or journal[1] == 1 or journal in self.opened or self.pruned
        need(begun, "a branch begins and no incident says why")
        if now.event == PAIR:
            need(not now.epoch and now.pairing > self.highest[journal], "rules 3, 4: pair")
        if was:
            need(now.seq == was.seq + 1 and now.link == self.heads[(*journal, was.seq)], "rule 1")
            time = now.uptime if now.boot == was.boot else was.uptime
            need((now.boot, time) >= (was.boot, was.uptime), "rule 2: boot or uptime falls")
            ended = was.event in (SEAL, UNPAIR) or not was.pairing
            if now.event == PAIR:
                need(ended, "rule 4: no seal before pair")
            elif now.pairing:
                need(now.pairing == was.pairing and was.event != UNPAIR, "rule 3: pairing")
                need(now.epoch == was.epoch + (was.event == SEAL), "rule 4: epoch")
        if was and (was.pairing, was.epoch) == (now.pairing, now.epoch):
            count = self.counts[journal] and self.counts[journal] + 1  # 0: not known
        else:
            count = int(bool(was) or now.event == PAIR)
        need(now.event != SEAL or count in (0, now.data), "rule 5: the seal's count")
        self.accept(journal, now, count)

    def accept(self, journal, record, count):
        if record.pairing:
            self.signed(journal, record.pairing, record.epoch, record.raw[:48], record.mac)
        else:
            need(record.mac == bytes(16), "rule 6: a MAC without a pairing")
        self.last[journal], self.counts[journal] = record, count
        self.highest[journal] = max(self.highest[journal], record.pairing)
        self.heads[(*journal, record.seq)] = sha(record.raw)[:16]

    def attestation(self, journal, body, row):
        said = body.get("statement")
        typed(body, ATTESTATION)
        typed(said, STATEMENT)
        need(said["board"] == journal[0] and said["pairing"], "another board, or not paired")
        message, claimed = canonical(said), bytes.fromhex(body["journal_mac"])
        self.signed(journal, said["pairing"], said["epoch"], message, claimed)
        need(body["log_row"] < row, "log_row does not come before it")
        known = self.hashes.get(body["log_row"], None if body["log_row"] else bytes(32))
        salted = sha(b"hardmute nonce" + (known or b"") + bytes.fromhex(body["salt"]))[:16]
        need(salted.hex() == said["nonce"] or not known and self.pruned, "its nonce does not fit")
        head = self.heads.get((*journal, said["seq"]), None if said["seq"] else bytes(16))
        before = self.pruned and (journal not in self.last or said["seq"] < self.last[journal].seq)
        need(said["head"] == head.hex() if head else before, "its head does not fit")

    def signed(self, journal, pairing, epoch, message, claimed):
        secret = self.secrets.get((journal[0], pairing))
        if secret is None:
            self.seen["MACs not checked, for want of a verify key"] += 1
            return
        need(epoch < MOST_EPOCHS, "an epoch that no board lives to see")
        keys = self.epochs.setdefault((journal[0], pairing), [mac(secret, b"hardmute journal")])
        while len(keys) <= epoch:
            keys.append(mac(keys[-1], b"hardmute next"))
        need(hmac.compare_digest(mac(keys[epoch], message)[:16], claimed), "its MAC is wrong")


def read_key(path):
    try:
        key = json.loads(path.read_bytes())
    except ValueError:
        key = None
    typed(key, {"board": str, "pairing": int, "key_id": 4, "secret": 32})
    secret = bytes.fromhex(key["secret"])
    need(mac(secret, b"hardmute id")[:4].hex() == key["key_id"], "not the key of its key_id")
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
