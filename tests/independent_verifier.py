"""EXPORT [--key FILE]... [--expect-head HEX]: 0 good, 5 bad, 2 usage. docs/evidence.md in code."""

import getopt
import json
import re
import struct
import sys
from base64 import b64decode, b64encode
from hashlib import sha256
from hmac import digest
from pathlib import Path
from types import SimpleNamespace

SEAL, PAIR, UNPAIR, YEARS = 5, 8, 9, range(-62_135_510_400_000, 253_402_214_400_001)
RECORD = "seq boot low high pairing epoch data event cause state link mac"
BAD = ValueError, TypeError, LookupError, AttributeError, RecursionError
# Fields, and what their type and value begin with; xN: N digits of hex.
ENTRY = "row:int=[1-9] at_ms:int kind:str board:str|NoneType body:dict hash:x64"
STATEMENT = "board:str pairing:int=[1-9] epoch:int=[0-9] seq:int=[0-9] head:x32 nonce:x32"
END = "board:str branch:int=[1-9] record:str count:int=-?[1-9]|NoneType"
BODIES = {
    **dict.fromkeys(("observation", "listening"), ""),
    "record": "branch:int=[1-9] record:str",
    "incident": "branch:int=[1-9] what:str text:str",
    "checkpoint": "row:int=[1-9] hash:x64 ends:list before_ms:int",
    "attestation": "branch:int=[1-9] statement:dict mac:x32 journal_mac:x32 salt:x32 checked:bool "
    "log_row:int=[0-9] sent_ms:int received_ms:int elapsed_us:int anchor_us:int host_boot:str",
}
canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def need(condition, why):
    if not condition:
        raise ValueError(why)


def typed(value, fields):
    value = dict(zip(re.findall(r"(\w+):", END), value, strict=True)) if fields is END else value
    for name, kinds in (field.split(":") for field in fields.split()):
        pattern = re.sub(r"x(\d+)", r"str=[0-9a-f]{\1}\\Z", kinds)
        need(re.match(pattern, f"{type(value[name]).__name__}={value[name]}"), f"no such {name}")
    exact = fields in (ENTRY, BODIES["record"], BODIES["attestation"])
    need(not exact or len(value) == len(fields.split()), "too many fields")
    return SimpleNamespace(**value)


def unpack(text):
    raw = b64decode(text, validate=True)
    need(len(raw) == 64 and b64encode(raw).decode() == text, "not 64 bytes in base64")
    fields = zip(RECORD.split(), struct.unpack("<IIIHHI4xI3Bx16s16s", raw), strict=True)
    now = SimpleNamespace(**dict(fields), raw=raw, head=sha256(raw).digest()[:16])
    need(now.seq and now.cause <= 6 and now.state & 15 <= 2, "rule 1 or 7: seq, cause or state")
    need(now.pairing or not (now.epoch or any(now.mac) or now.event == PAIR), "rule 3: no pairing")
    need(now.event != PAIR or not now.epoch, "rule 4: epoch of a pair record")
    now.epochs = [(now.pairing, now.epoch + more) for more in range(1 + (now.event == SEAL))]
    now.highest, now.count = now.pairing, 1 if now.seq == 1 or now.event == PAIR else None
    return now


def follow(was, now):
    need(now.seq == was.seq + 1 and now.link == was.head, "rule 1: seq or link")
    need((now.boot, now.high, now.low) >= (was.boot, was.high, was.low), "rule 2: boot or uptime")
    rises = now.pairing > was.highest and (was.event in (SEAL, UNPAIR) or not was.pairing)
    stays = now.epochs[0] == was.epochs[-1] and was.event != UNPAIR
    need(rises if now.event == PAIR else stays or not now.pairing, "rule 3 or 4: pairing or epoch")
    now.highest = max(now.pairing, was.highest)
    now.count = 1 if now.epochs[0] != was.epochs[0] else was.count and was.count + 1


def verify(export, secrets, expect=None):  # yields what each line has, or raises one of BAD
    right, other, lines = set(), set(), export.splitlines(keepends=True)
    newest, last, heads, cut, used = {}, {}, {}, {}, {}
    keys = {owner: [digest(secrets[owner], b"hardmute journal", "sha256")] for owner in secrets}
    base = json.loads(lines[0])["row"] - 1 if lines else 0
    starts = [json.loads(line) for line in lines if base and b'"kind":"checkpoint"' in line]
    starts = {e["body"]["row"]: e["body"] for e in starts if e["kind"] == "checkpoint"}
    need(not base or base in starts, "what came before is missing, and no checkpoint says why")
    start = starts.get(base, {"hash": "00" * 32, "ends": []})
    hashes = {base: bytes.fromhex(start["hash"])}
    for row, line in enumerate(start["ends"] + lines, base + 1 - len(start["ends"])):
        if row <= base:
            kind, board, said = "end", line[0], typed(line, END)  # a branch's last record removed
        else:
            entry = json.loads(line.decode("ascii"), parse_float=int, parse_constant=int)
            need(canonical(entry).encode() + b"\n" == line, "not canonical JSON and a newline")
            kind, board, claimed = typed(entry, ENTRY).kind, entry["board"], entry.pop("hash")
            hashes[row] = sha256(hashes[row - 1] + canonical(entry).encode()).digest()
            need(hashes[row].hex() == claimed and entry["row"] == row, "hash or row is wrong")
            need(entry["at_ms"] in YEARS and len(line) <= 1 << 20, "at_ms or length out of range")
            said = typed(entry["body"], BODIES[kind])
        by, place = None, (board, vars(said).get("branch"))
        if kind == "checkpoint":
            need(said.row < row and all(unpack(typed(e, END).record) for e in said.ends), "row")
        elif kind not in ("observation", "listening"):
            most = newest.setdefault(board, said.branch if base else 1)
            need(board is not None and (place[1] - most in (0, 1) or kind != "incident"), "branch")
            newest[board] = max(most, said.branch)
        if kind in ("record", "end"):
            by, was, end = unpack(said.record), last.get(place), kind == "end"
            need(end or said.branch == most or (base and said.branch > most), "not newest branch")
            if end:
                cut[place], by.count = by.seq, said.count
            elif was:
                follow(was, by)
            need(end or by.event != SEAL or by.count in (None, by.data), "rule 5: seal")
            heads.setdefault((place, by.seq - 1), {(by.link if by.seq > 1 else bytes(16)).hex()})
            heads[place, by.seq] = {(by.head.hex(), *epoch) for epoch in by.epochs}
            last[place], message, claimed = by, by.raw[:48], by.mac.hex()
            key_id = digest(secrets.get((board, by.pairing), b""), b"hardmute id", "sha256")[:4]
            if by.event == PAIR and by.raw[24:28] != key_id:
                other.add(((board, by.pairing), place))
        elif kind == "attestation":
            by, claimed = typed(said.statement, STATEMENT), said.journal_mac
            message = canonical(said.statement).encode()
            salted = b"hardmute nonce" + hashes.get(said.log_row, b"") + bytes.fromhex(said.salt)
            need(max(by.pairing, by.epoch, by.seq, said.log_row) < 1 << 32, "not below 2^32")
            fits = said.log_row < base or by.nonce == sha256(salted).hexdigest()[:32]
            need(fits and used.setdefault(by.nonce, row) == row > said.log_row, "bad nonce")
            known = heads.get((place, by.seq), set()) & {by.head, (by.head, by.pairing, by.epoch)}
            need(by.board == board and (known or by.seq < cut.get(place, 0)), "no such record")
        owner = board, by and by.pairing
        if owner in secrets and (owner, place) not in other:
            need(by.epoch <= 1 << 20, "rule 6: an epoch that no board lives to see")
            while len(keys[owner]) <= by.epoch:
                keys[owner].append(digest(keys[owner][-1], b"hardmute next", "sha256"))
            need(digest(keys[owner][by.epoch], message, "sha256")[:16].hex() == claimed, "bad MAC")
            right.add(owner)
        elif by and by.pairing:
            kind += " (MACs not checked, for want of a verify key)"
        if row > base:
            yield kind
    need({owner for owner, _ in other} & {*secrets} <= right, "a key is not its pairing's")
    need(not expect or expect in hashes.values(), "no entry has this hash")


if __name__ == "__main__":
    code, secrets, seen = 2, {}, []
    try:
        options, (path,) = getopt.gnu_getopt(sys.argv[1:], "", ["key=", "expect-head="])
        need(len(head := bytes.fromhex(dict(options).get("--expect-head", ""))) in (0, 32), "head")
        for key in [json.loads(Path(k).read_bytes()) for name, k in options if name == "--key"]:
            secret = secrets[key["board"], key["pairing"]] = bytes.fromhex(key["secret"])
            need(digest(secret, b"hardmute id", "sha256")[:4].hex() == key["key_id"], "bad key_id")
        export, code = Path(path).read_bytes(), 5
        seen.extend(verify(export, secrets, head))
        print("good:", ", ".join(f"{seen.count(what)} {what}" for what in sorted({*seen})))
    except (OSError, getopt.error, *BAD) as error:
        told = f"bad: line {len(seen) + 1}: {error}" if code == 5 else f"{error}\nusage: {__doc__}"
        sys.exit(print(told, file=sys.stdout if code == 5 else sys.stderr) or code)
