"""EXPORT|RECEIPT [--key FILE]... [--expect-head HEX] [--prove BOARD,FROM_MS,TO_MS [--own]]"""

# docs/evidence.md in code, exit codes too.
import getopt
import json
import math
import re
import struct
import sys
from base64 import b64decode, b64encode
from functools import cache
from hashlib import sha256
from hmac import digest
from itertools import groupby, pairwise
from pathlib import Path
from types import SimpleNamespace

SEAL, OVERRUN, PAIR, UNPAIR, YEARS = 5, 6, 8, 9, range(-62_135_510_400_000, 253_402_214_400_001)
RECORD = "seq boot low high pairing epoch data event cause state link mac"
BAD = ValueError, TypeError, LookupError, AttributeError, RecursionError
# Fields, and what their type and value begin with; xN: N digits of hex.
ENTRY = "row:int=[1-9] at_ms:int kind:str board:str|NoneType body:dict hash:x64"
STATEMENT = "board:str pairing:int=[1-9] epoch:int=[0-9] seq:int=[0-9] head:x32 nonce:x32"
END = "board:str branch:int=[1-9] record:str count:int=-?[1-9]|NoneType"
BODIES = {
    **dict.fromkeys(("observation", "listening", "usb"), ""),
    "record": "branch:int=[1-9] record:str",
    "pairing": "pairing:int=[0-9] key_id:str",
    "incident": "branch:int=[1-9] what:str text:str",
    "checkpoint": "row:int=[1-9] hash:x64 ends:list before_ms:int",
    "attestation": "branch:int=[1-9] statement:dict mac:x32 journal_mac:x32 salt:x32 checked:bool "
    "log_row:int=[0-9] sent_ms:int received_ms:int elapsed_us:int anchor_us:int host_boot:str",
}
RECEIPT = (
    "hardmute:str=receipt version:int=2\\Z board:str from_ms:int to_ms:int verdict:str "
    "intervals:list entries:list hashes:dict counted:list key_ids:dict"
)
HEADER = b'{"hardmute":"export","version":2}\n'
CODES = {"muted": 0, "live": 1, "unknown": 3, "fault": 4}
GRAVEST, STATES = ["fault", "live", "unknown", "muted"], ["muted", "live", "fault"]
CAUSES = ["boot", "button", "host", "timer", "stuck", "fault", "watchdog"]
canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def need(condition, why):
    if not condition:
        raise ValueError(why)


def key_id(secret):
    return digest(secret, b"hardmute id", "sha256")[:4].hex()


@cache
def patterns(fields):
    found = [field.split(":") for field in fields.split()]
    exact = [(name, re.sub(r"x(\d+)", r"str=[0-9a-f]{\1}\\Z", kinds)) for name, kinds in found]
    return [(name, re.compile(kinds).match) for name, kinds in exact]


def typed(value, fields):
    value = dict(zip(re.findall(r"(\w+):", END), value, strict=True)) if fields is END else value
    for name, matches in patterns(fields):
        kind, begin = type(value[name]).__name__, value[name]
        need(matches(kind if kind in ("dict", "list") else f"{kind}={begin}"), f"no such {name}")
    exact = fields in (ENTRY, BODIES["record"], BODIES["attestation"])
    need(not exact or len(value) == len(fields.split()), "too many fields")
    return SimpleNamespace(**value)


def unpack(text):
    raw = b64decode(text, validate=True)
    need(len(raw) == 64 and b64encode(raw).decode() == text, "not 64 bytes in base64")
    fields = zip(RECORD.split(), struct.unpack("<IIIHHI4xI3Bx16s16s", raw), strict=True)
    now = SimpleNamespace(**dict(fields), raw=raw, head=sha256(raw).digest()[:16])
    need(now.seq and now.cause <= 6 and now.state & 15 <= 2, "R1 or R7: seq, cause or state")
    need(now.pairing or not (now.epoch or any(now.mac) or now.event == PAIR), "R3: no pairing")
    need(now.event != PAIR or not now.epoch, "R4: epoch of a pair record")
    now.epochs = [(now.pairing, now.epoch + more) for more in range(1 + (now.event == SEAL))]
    now.highest, now.count = now.pairing, 1 if now.seq == 1 or now.event == PAIR else None
    return now


def follow(was, now):
    need(now.seq == was.seq + 1 and now.link == was.head, "R1: seq or link")
    need((now.boot, now.high, now.low) >= (was.boot, was.high, was.low), "R2: boot or uptime")
    rises = now.pairing > was.highest and (was.event in (SEAL, UNPAIR) or not was.pairing)
    stays = now.epochs[0] == was.epochs[-1] and was.event != UNPAIR
    need(rises if now.event == PAIR else stays or not now.pairing, "R3 or R4: pairing or epoch")
    now.highest = max(now.pairing, was.highest)
    now.count = 1 if now.epochs[0] != was.epochs[0] else was.count and was.count + 1


class Reader:
    """Takes entries in order: E5, E6, R1 to R7, A1 to A8, K1 and K2."""

    def __init__(self, secrets, base=0, excerpt=False, held=()):
        self.secrets, self.excerpt, self.base = secrets, excerpt, base or excerpt
        self.newest, self.last, self.heads, self.cut, self.used = {}, {}, {}, {}, {}
        self.told = {}  # the attestation before the first record, in an excerpt
        self.keys = {o: [digest(secrets[o], b"hardmute journal", "sha256")] for o in secrets}
        # Whose key was right; whose was not given; where a pairing has another key id.
        self.right, self.blind, self.other, self.story = set(), set(), set(), []
        self.held = dict(held)  # the attest keys of this host
        self.committed = 0  # the newest entry to which a nonce commits that is signed

    def take(self, row, kind, board, said, hashes):  # whether a key was given for what is signed
        by, place = None, (board, vars(said).get("branch"))
        if kind == "checkpoint":
            need(said.row < row and all(unpack(typed(e, END).record) for e in said.ends), "row")
        elif kind not in ("observation", "listening", "usb", "pairing"):
            most = self.newest.setdefault(board, said.branch if self.base else 1)
            need(board is not None and (place[1] - most in (0, 1) or kind != "incident"), "branch")
            self.newest[board] = max(most, said.branch)
        if kind in ("record", "end"):
            by, was, end = unpack(said.record), self.last.get(place), kind == "end"
            newest = said.branch == most or (self.base and said.branch > most)
            need(end or newest, "not newest branch")
            told = None if was or end else self.told.get(place)
            if told:
                follows = (by.seq, by.link.hex()) == (told.seq + 1, told.head)
                same = not by.pairing or by.event == PAIR or by.epochs[0] in told.epochs
                need(follows and same, "does not follow what was attested before it")
            elif end or (self.excerpt and not was):
                self.cut[place] = by.seq - self.excerpt
            if end:
                by.count = said.count
            elif was:
                follow(was, by)
            need(end or by.event != SEAL or by.count in (None, by.data), "R5: seal")
            before = (by.link if by.seq > 1 else bytes(16)).hex()
            self.heads.setdefault((place, by.seq - 1), {before})
            self.heads[place, by.seq] = {(by.head.hex(), *epoch) for epoch in by.epochs}
            self.last[place], message, claimed = by, by.raw[:48], by.mac.hex()
            given = key_id(self.secrets.get((board, by.pairing), b""))
            if by.event == PAIR and by.raw[24:28].hex() != given:
                self.other.add(((board, by.pairing), place))
        elif kind == "attestation":
            by, claimed = typed(said.statement, STATEMENT), said.journal_mac
            message = canonical(said.statement).encode()
            salted = b"hardmute nonce" + hashes.get(said.log_row, b"") + bytes.fromhex(said.salt)
            need(max(by.pairing, by.epoch, by.seq, said.log_row) < 1 << 32, "not below 2^32")
            fits = said.log_row not in hashes or by.nonce == sha256(salted).hexdigest()[:32]
            need(fits and self.used.setdefault(by.nonce, row) == row > said.log_row, "bad nonce")
            if self.excerpt and place not in self.last and place not in self.told:
                self.told[place], self.cut[place] = by, by.seq
                by.epochs = [(by.pairing, by.epoch + more) for more in (0, 1)]
                self.heads[place, by.seq] = {(by.head, *epoch) for epoch in by.epochs}
            heads = self.heads.get((place, by.seq), set())
            found = heads & {by.head, (by.head, by.pairing, by.epoch)}
            known = found or by.seq < self.cut.get(place, 0)
            need(by.board == board and known, "no such record")
        if kind in ("record", "incident", "listening", "usb"):
            said.row = row
            self.story.append((kind, place, by, said, True))
        if not (by and by.pairing):
            return True
        owner = board, by.pairing
        keyed = owner in self.secrets and (owner, place) not in self.other
        if keyed:
            can_be = by.epoch <= 1 << 20 and (kind == "attestation" or by.epoch < by.seq)
            need(can_be, "R6: an epoch that no board lives to see")
            while len(self.keys[owner]) <= by.epoch:
                self.keys[owner].append(digest(self.keys[owner][-1], b"hardmute next", "sha256"))
            mac = digest(self.keys[owner][by.epoch], message, "sha256")[:16].hex()
            need(mac == claimed, "bad MAC")
            self.right.add(owner)
            self.committed = max(self.committed, getattr(said, "log_row", 0))
        else:
            self.blind.add(owner)
        if kind == "attestation" and said.log_row in hashes and found:
            said.row, macs = row, [digest(k, message, "sha256") for k in self.held.get(owner, ())]
            said.recomputed = bytes.fromhex(said.mac) in [mac[:16] for mac in macs]  # A7
            self.story.append((kind, place, by, said, keyed))
        return keyed

    def strangers(self):  # the keys given that are those of other pairings
        lost = {*self.secrets} - self.right
        return lost & self.blind if self.right else lost


def verify(export, secrets, expect=None, readers=None):
    """Yields what each line has, and returns the exit code; or raises one of BAD."""
    lines = export.splitlines(keepends=True)
    if lines and lines[0].startswith(b'{"hardmute":"export",'):  # version 1 has no such line
        head = json.loads(lines[0])
        need(canonical(head).encode() + b"\n" == lines[0], "not canonical JSON and a newline")
        if head["version"] > 2:
            return 3
        need(lines.pop(0) == HEADER, "no such version")
    base = json.loads(lines[0])["row"] - 1 if lines else 0
    starts = [json.loads(line) for line in lines if base and b'"kind":"checkpoint"' in line]
    starts = {
        e["body"]["row"]: {**e["body"], "at": e["row"]}
        for e in starts
        if e["kind"] == "checkpoint"
    }
    need(not base or base in starts, "what came before is missing, and no checkpoint says why")
    start = starts.get(base, {"hash": "00" * 32, "ends": [], "at": 0})
    hashes, reader = {0: bytes(32), base: bytes.fromhex(start["hash"])}, Reader(secrets, base)
    if readers is not None:
        readers.append(reader)
    for end in start["ends"]:  # a branch's last record removed
        reader.take(base, "end", end[0], typed(end, END), hashes)
    for row, line in enumerate(lines, base + 1):
        entry = json.loads(line.decode("ascii"), parse_float=int, parse_constant=int)
        need(canonical(entry).encode() + b"\n" == line, "not canonical JSON and a newline")
        kind, board, claimed = typed(entry, ENTRY).kind, entry["board"], entry.pop("hash")
        hashes[row] = sha256(hashes[row - 1] + canonical(entry).encode()).digest()
        need(hashes[row].hex() == claimed and entry["row"] == row, "hash or row is wrong")
        need(entry["at_ms"] in YEARS and len(line) <= 1 << 20, "at_ms or length out of range")
        keyed = reader.take(row, kind, board, typed(entry["body"], BODIES[kind]), hashes)
        yield kind if keyed else kind + " (not checked: no key given for its pairing)"
    need(not expect or expect in hashes.values(), "no entry has this hash")
    bound = start["at"] <= reader.committed
    whole = expect == hashes[base + len(lines)] or (secrets and not reader.blind and bound)
    return 2 if reader.strangers() else 0 if whole else 3


def borne_out(state, connected, closed):  # T2
    return state if state != "muted" else "live" if connected else "unknown" if closed else state


def item(kind, by, said):  # a record, or an attestation
    return by and (event(by) if kind == "record" else answer(by, said))


def event(by):
    by.state = borne_out(STATES[by.state & 15], by.state & 16, by.raw[31])
    by.signed, by.uptime, by.lost = False, by.high << 32 | by.low, by.event == OVERRUN
    by.cause = CAUSES[by.cause]
    return by


def answer(by, said):
    by.state = borne_out(by.state, by.command == "connected", any(by.sense))
    by.signed, by.uptime, by.lost, by.said = True, by.uptime_ms, False, said
    return by


def trip(said):
    return said.received_ms - said.sent_ms


def agree(one, other):  # T5
    up, clocks = other.uptime - one.uptime, [other.said.received_ms - one.said.received_ms]
    if one.said.host_boot == other.said.host_boot:
        clocks.append((other.said.anchor_us - one.said.anchor_us) / 1000)
    slack = 250 + up * 1e-4
    return all(-trip(other.said) - slack <= up - c <= trip(one.said) + slack for c in clocks)


def clock(marks):  # T13: when an uptime was, by the attestations of its boot
    marks = sorted(marks, key=lambda mark: (mark.uptime, mark.said.sent_ms, mark.said.received_ms))

    def by_one(mark, uptime):
        apart = uptime - mark.uptime
        off = int(abs(apart) * 1e-4) + 1
        return mark.said.sent_ms + apart - off, mark.said.received_ms + apart + off

    def between(a, z, uptime):
        one, other, a, z = by_one(a, uptime), by_one(z, uptime), a.said, z.said
        if a.host_boot == z.host_boot:
            late = round(z.received_ms - a.received_ms - (z.anchor_us - a.anchor_us) / 1000)
            first, last = max(one[0], other[0] - late), min(one[1], other[1] - late)
            if first <= last:
                return first + min(0, late), last + max(0, late)
        return min(one[0], other[0]), max(one[1], other[1])

    def when(uptime):
        near = [m for m in marks if m.uptime < uptime][-1:]
        near += [m for m in marks if m.uptime == uptime]
        near += [m for m in marks if m.uptime > uptime][:1]
        near = [between(*two, uptime) for two in pairwise(near)] or [by_one(near[0], uptime)]
        return min(at for at, _ in near), max(at for _, at in near)

    return when


def clocks(boots):  # that of a boot that nothing attests is what its neighbours leave
    signed = [[item for item in items if item.signed] for items in boots]
    last, known = [max(item.uptime for item in items) for items in boots], []
    for at, marks in enumerate(signed):
        before = [b for b in range(at) if signed[b]][-1:]
        after = [b for b in range(at + 1, len(boots)) if signed[b]][:1]
        since = [clock(signed[b])(last[b])[0] + sum(last[b + 1 : at]) for b in before] or [0]
        until = [clock(signed[b])(0)[1] - sum(last[at:b]) for b in after] or [1 << 53]
        start = since[0], max(since[0], until[0])
        known.append(clock(marks) if marks else lambda up, s=start: (s[0] + up, s[1] + up))
    return known


def unproven(marks, bracketed):
    """T8 and T9: when the time between two attestations was, by either clock, before the first
    one, and after the last."""
    if marks:
        yield from ((-math.inf, marks[0].said.received_ms), (marks[-1].said.sent_ms, math.inf))
    for at, (a, b) in enumerate(pairwise(marks)):
        one, other, same = a.said, b.said, (a.said.branch, a.boot) == (b.said.branch, b.boot)
        if (one.row, other.row) in bracketed:
            continue
        passed, up = other.received_ms - one.received_ms, abs(b.uptime - a.uptime)
        ran = passed if passed >= b.uptime else math.inf
        ran = up + int(up * 1e-4) + trip(one) + trip(other) + 1 if same else ran
        if one.host_boot == other.host_boot:
            ran = (abs(other.anchor_us - one.anchor_us) + 999) // 1000
        later = [m.said.sent_ms for m in marks[at + 1 :] if m.said.sent_ms >= one.received_ms]
        earlier = [m.said.received_ms for m in marks[: at + 1]]
        earlier = [ms for ms in earlier if ms <= other.sent_ms]
        known = ran < math.inf
        yield one.sent_ms, one.received_ms + ran if known else [*later, math.inf][0]
        since = other.received_ms - ran - trip(one) if known else [-math.inf, *earlier][-1]
        yield since, other.received_ms


def told(story, counts):
    """T1 to T9: yields what a board's entries say, as start, end and state, if those of its
    attestations count."""
    runs, place, marks, bracketed = [[]], None, [], set()
    for kind, where, item, said, keyed in story:
        if kind == "incident":
            runs.append([])
        elif kind == "record" or counts(said, keyed):
            runs += [[]] if where != place else []
            runs[-1].append(item)
            place = where
    for run in runs:
        boots = {item.boot: [i for i in run if i.boot == item.boot] for item in run}
        for items, when in zip(boots.values(), clocks([*boots.values()]), strict=True):
            items.sort(key=lambda item: (item.seq, item.signed, item.uptime))
            doubts = ["lost" if item.lost else "one side" for item in items[1:]]
            signed = [at for at, item in enumerate(items) if item.signed]
            for at, to in pairwise(signed):
                between = [item.seq for item in items[at + 1 : to]]
                doubt = "" if agree(items[at], items[to]) else "clocks"
                doubt = "lost" if any(item.lost for item in items[at:to]) else doubt
                if between != [*range(items[at].seq + 1, items[to].seq + 1)]:  # T4
                    doubt = "missing"
                doubts[at:to] = [doubt] * (to - at)
                bracketed |= set() if doubt else {(items[at].said.row, items[to].said.row)}
            marks += [items[at] for at in signed]
            yield from parts(items, doubts, when)
    yield from ((start, end, "unknown") for start, end in unproven(marks, bracketed))


def parts(items, doubts, when):
    pieces, recorded = [], None
    for (item, after), doubt in zip(pairwise(items), doubts, strict=True):
        recorded = recorded if item.signed else item
        ends = [(i.said.sent_ms, i.said.received_ms) if i.signed else when(i.uptime)
                for i in (item, after)]  # fmt: skip
        said = recorded if recorded and recorded.state != "unknown" else item  # T3
        said = said if item.state == "muted" else item
        why = "settling" if doubt and said.state == "unknown" else doubt
        pieces.append(((said.state, said.cause, why), *ends, max(0, after.uptime - item.uptime)))
    for (state, _, doubt), same in groupby(pieces, key=lambda piece: piece[0]):
        _, starts, ends, lengths = zip(*same, strict=True)
        start, end = starts[0], ends[-1]
        off = max(start[1] - start[0], end[1] - end[0])
        if state == "muted" and not doubt:
            yield start[1], end[0], state
        elif state in ("live", "fault") and (not doubt or (off + 1) // 2 <= 60_000):  # T6, T7
            yield start[0], end[1], state if off <= sum(lengths) else "unknown"
        elif not doubt:
            yield start[0], end[1], state


def facts(reader, board, until_row=math.inf):
    return [
        (kind, at, item(kind, by, said), said, keyed)
        for kind, at, by, said, keyed in reader.story
        if at[0] == board and said.row <= until_row
    ]


def shown(story, counts, from_ms, to_ms):
    """T1 to T10, if those attestations count. A leak that was heard is a fault."""
    heard = [said for kind, _, _, said, _ in story if kind == "listening"]
    heard = [one for one in heard if one.verdict == "live" and one.state is not None]
    seen = [said for kind, _, _, said, _ in story if kind == "usb"]
    heard += [one for one in seen if (one.verdict, one.state) == ("present", "muted")]
    heard = [one for one in heard if from_ms <= one.from_ms <= one.to_ms <= to_ms]
    story = [one for one in story if one[0] not in ("listening", "usb")]
    leaks = [(one.from_ms, one.to_ms, "fault") for one in heard]
    return [*gravest([*told(story, counts), *leaks], from_ms, to_ms)]


def gravest(said, from_ms, to_ms):
    """T10: yields start, end and state that fill the time."""
    said = [(max(a, from_ms), min(z, to_ms), state) for a, z, state in said]
    ends = sorted({from_ms, to_ms, *(at for a, z, _ in said if a < z for at in (a, z))})
    states, begun = [], dict.fromkeys(GRAVEST, from_ms)  # until when each state holds
    said.sort(reverse=True)
    for start in ends[:-1]:
        while said and said[-1][0] <= start:
            _, until, state = said.pop()
            begun[state] = max(begun[state], until)
        states.append(next((state for state in GRAVEST if begun[state] > start), "unknown"))
    for state, spans in groupby(zip(pairwise(ends), states, strict=True), key=lambda one: one[1]):
        spans = [span for span, _ in spans]
        yield spans[0][0], spans[-1][1], state


def check(data, secrets):
    """The exit code of a receipt, or raises one of BAD."""
    receipt = json.loads(data.decode("ascii"), parse_float=int, parse_constant=int)
    need(canonical(receipt).encode() == data.removesuffix(b"\n"), "not canonical JSON")
    version = receipt["version"] if receipt["hardmute"] == "receipt" else 2
    if type(version) is int and version > 0 and version != 2:
        return 3
    claimed = receipt.pop("sha256")
    need(sha256(canonical(receipt).encode()).hexdigest() == claimed, "its own hash")
    macs = {int(pairing): mac for pairing, mac in receipt.pop("macs").items()}
    said, body = typed(receipt, RECEIPT), canonical(receipt).encode()
    hashes = {0: bytes(32), **{int(row): bytes.fromhex(h) for row, h in said.hashes.items()}}
    ids = {(said.board, int(pairing)): key for pairing, key in said.key_ids.items()}
    if any(ids.get(owner, key_id(secrets[owner])) != key_id(secrets[owner]) for owner in secrets):
        return 2
    reader, signed, row = Reader(secrets, excerpt=True), set(), 0
    for entry in said.entries:
        kind, before, row = typed(entry, ENTRY).kind, row, entry["row"]
        need(entry["board"] == said.board and row > before, "board or row")
        reader.take(row, kind, said.board, typed(entry["body"], BODIES[kind]), hashes)
    for owner, mac in (((said.board, pairing), mac) for pairing, mac in macs.items()):
        if owner in secrets:
            key = digest(secrets[owner], b"hardmute receipt", "sha256")
            right = digest(key, body, "sha256")[:16].hex() == mac
            signed |= {owner} if right else set()
            need(right or owner in {o for o, _ in reader.other} - reader.right, "its own MAC")
    reader.right |= signed
    reader.blind |= {(said.board, pairing) for pairing in macs} - signed

    story, span = facts(reader, said.board), (said.from_ms, said.to_ms)
    if reader.strangers() and (reader.right or reader.blind):
        return 2
    spans = [((one["start_ms"], one["end_ms"]), one["state"]) for one in said.intervals]
    need(all(a[0][1] == b[0][0] for a, b in pairwise(spans)), "intervals with gaps")
    claims = [[*same] for _, same in groupby(spans, key=lambda one: one[1])]
    claims = [(one[0][0][0], one[-1][0][1], one[0][1]) for one in claims]
    stated = shown(story, lambda body, _keyed: body.row in said.counted, *span)
    need(claims == stated, "C4: what it claims is not what its evidence shows")
    need(said.verdict == verdict(claims), "C4: a verdict that is not the intervals'")
    return CODES[verdict(shown(story, lambda _body, keyed: keyed, *span))] if signed else 3


def verdict(spans):
    states = [state for _, _, state in spans]
    return next(state for state in ("fault", "unknown", "live", "muted") if state in states)


def ended(lines, seen=None):
    while True:
        try:
            (seen if seen is not None else []).append(next(lines))
        except StopIteration as end:
            return end.value


def prove(export, secrets, board, from_ms, to_ms):
    """T14: the exit code of a proof from an export, or raises one of BAD."""
    readers = []
    code = ended(verify(export, secrets, None, readers))
    if code == 2 or not (secrets and readers):
        return code if code == 2 else 3
    story = facts(readers[0], board, readers[0].committed)
    return CODES[verdict(shown(story, lambda _said, keyed: keyed, from_ms, to_ms))]


def was_set(a, b):  # T12
    one, other, slack = a.said, b.said, trip(a.said) + trip(b.said) + 250
    passed, up = other.received_ms - one.received_ms, b.uptime - a.uptime
    if one.host_boot == other.host_boot:
        up = (other.anchor_us - one.anchor_us) / 1000
    elif (one.branch, a.boot) != (other.branch, b.boot):
        return passed < b.uptime
    return abs(passed - up) > slack + abs(up) * 1e-4


def excerpt(entries, marks, from_ms, to_ms):
    """T11: the record before the first row, and the first row and the last one."""
    spans = [*unproven(marks, set())]
    pieces = [spans[:1], *(spans[at : at + 2] for at in range(2, len(spans), 2)), spans[1:2]]
    whole = [(min(a for a, _ in piece), max(z for _, z in piece)) for piece in pieces]
    touched = [at for at, (a, z) in enumerate(whole) if a < to_ms and z > from_ms]
    newest, board = max(entries), entries[marks[0].said.row]["board"]
    after = [m.said.row for m in marks[touched[-1] :] if m.said.sent_ms >= to_ms]
    last = [*after, newest][0]
    for row, entry in entries.items():
        heard = entry["kind"] in ("listening", "usb") and entry["board"] == board
        body = entry["body"]
        if heard and row > last and body["from_ms"] < to_ms and body["to_ms"] > from_ms:
            last = next((m.said.row for m in marks if m.said.row > row), newest)
    records = [r for r, e in entries.items() if (e["kind"], e["board"]) == ("record", board)]
    for mark in reversed(marks[: touched[0]]):
        row = max((row for row in records if row < mark.said.row), default=None)
        if row and mark.said.received_ms <= from_ms:
            body = entries[row]["body"]
            if (body["branch"], unpack(body["record"]).seq) == (mark.said.branch, mark.seq):
                return row, mark.said.row, last
    return None, min(entries), last


def prove_own(export, secrets, board, from_ms, to_ms, held=()):
    """T11, T12, and A7 for attest keys `held`: as `prove`, from the host's own log."""
    entries = [json.loads(line) for line in export.splitlines() if line != HEADER.strip()]
    entries = {entry["row"]: entry for entry in entries}
    starts = [e["body"] for e in entries.values() if e["kind"] == "checkpoint"]
    starts = {said["row"]: said for said in starts if said["row"] == min(entries) - 1}
    hashes = {row: bytes.fromhex(e["hash"]) for row, e in [*starts.items(), *entries.items()]}
    hashes[0] = bytes(32)

    def check_place(row):  # E1 and E2
        entry = {name: value for name, value in entries[row].items() if name != "hash"}
        right = sha256(hashes[row - 1] + canonical(entry).encode()).digest()
        need(right == hashes[row], "hash or row is wrong")

    marks = []
    for row, entry in entries.items():
        if (entry["kind"], entry["board"]) == ("attestation", board):
            said, by = typed(entry["body"], BODIES["attestation"]), entry["body"]["statement"]
            said.row, at = row, {"boot": by["boot"], "uptime": by["uptime_ms"], "seq": by["seq"]}
            marks.append(SimpleNamespace(said=said, **at))
    for mark in {m.said.row for two in pairwise(marks) if was_set(*two) for m in two}:
        check_place(mark)
    if not marks:
        return 3
    before, first, last = excerpt(entries, marks, from_ms, to_ms)
    rows = [*([before] if before else []), *range(first, last + 1)]
    ours = {row: entries[row] for row in rows if entries[row]["board"] == board}
    begun, ids = {}, {}  # K1: the `pair` record may be before the excerpt
    for row, entry in ours.items():
        if entry["kind"] == "record":
            begun.setdefault(unpack(entry["body"]["record"]).pairing, row)
        elif entry["kind"] == "attestation":
            begun.setdefault(entry["body"]["statement"]["pairing"], row)
    for row, entry in entries.items():
        if (entry["kind"], entry["board"]) == ("record", board):
            by = unpack(entry["body"]["record"])
            if by.event == PAIR and row <= begun.get(by.pairing, 0):
                ids[board, by.pairing] = by.raw[24:28].hex()
    if any(ids.get(owner, key_id(secrets[owner])) != key_id(secrets[owner]) for owner in secrets):
        return 2
    reader = Reader(secrets, excerpt=True, held=held)
    known = {row: hashes[row] for row in hashes if row in (0, first - 1) or row in entries}  # A8
    for row in rows:
        kind = typed(entries[row], ENTRY).kind
        need(entries[row]["at_ms"] in YEARS and kind in BODIES, "no such at_ms or kind")
        if row != before:
            check_place(row)
        if row in ours:
            reader.take(row, kind, board, typed(entries[row]["body"], BODIES[kind]), known)
    if reader.strangers() and (reader.right or reader.blind):
        return 2
    story = facts(reader, board)
    spans = shown(story, lambda said, keyed: keyed if secrets else said.recomputed, from_ms, to_ms)
    return CODES[verdict(spans)]


def judge(data, secrets, expect=None, seen=None):
    """The exit code of an export, whose lines are told to `seen`, or of a receipt."""
    if data.startswith(b'{"board":'):
        return check(data, secrets)
    return ended(verify(data, secrets, expect), seen)


if __name__ == "__main__":
    code, secrets, seen = 2, {}, []
    try:
        names = ["key=", "expect-head=", "prove=", "own"]
        options, (path,) = getopt.gnu_getopt(sys.argv[1:], "", names)
        need(len(head := bytes.fromhex(dict(options).get("--expect-head", ""))) in (0, 32), "head")
        for key in [json.loads(Path(k).read_bytes()) for name, k in options if name == "--key"]:
            secret = secrets[key["board"], key["pairing"]] = bytes.fromhex(key["secret"])
            need(key_id(secret) == key["key_id"], "bad key_id")
        if span := dict(options).get("--prove"):
            board, from_ms, to_ms = span.split(",")
            span = board, int(from_ms), int(to_ms)
            need(span[1] < span[2], "an end that is not after the beginning")
        data, code = Path(path).read_bytes(), 5
        if span:
            code = (prove_own if ("--own", "") in options else prove)(data, secrets, *span)
        else:
            code = judge(data, secrets, head, seen)
        need(code != 2, "a key given is that of another pairing")
        told = {3: "not known, for want of a key or a signature"}.get(code, "good")
        told = next(state for state in CODES if CODES[state] == code) if span else told
        print(f"{told}:", ", ".join(f"{seen.count(what)} {what}" for what in sorted({*seen})))
        sys.exit(code)
    except (OSError, getopt.error, *BAD) as error:
        told = f"bad: line {len(seen) + 1}: {error}" if code == 5 else f"{error}\nusage: {__doc__}"
        sys.exit(print(told, file=sys.stdout if code == 5 else sys.stderr) or code)
