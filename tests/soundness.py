"""Random stories with the truth known to the millisecond, and attackers who lie about them.

`world(seed)` is a story: a board, hosts, what the hosts' logs have become, and when the line was
not muted. `Machine` yields what each command says of the logs, of their exports, and of
receipts: as they are, and after an attack. `Word.wrong` tells what is false in it. The matrix of
docs/threat-model.md says which attackers may make which command say something false.

What no evidence can tell is not in the stories: a clock that is set before the first attestation,
or twice between two, and one that is set while host and board both start again between two.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import independent_verifier
from evidence_maker import (
    BOARD,
    MINUTE,
    START_MS,
    Clock,
    MadeBoard,
    MadeHost,
    Story,
    copy_of,
    hash_of,
)
from hardmute.evidence import absence, proof, receipt, verifier
from hardmute.evidence.entries import (
    GENESIS,
    Entry,
    canonical,
    encoded,
    export_line,
    nonce,
    record_of,
    stored,
)
from hardmute.evidence.excerpt import Excerpt
from hardmute.evidence.interval import Interval
from hardmute.evidence.proof import EVIDENCE, Proof, shown_json
from hardmute.model import errors
from hardmute.store.excerpt import excerpt
from hardmute.store.log import Log
from hardmute.sync.check import log_outcome
from muteboard import attest, journal

DAY = 24 * 60 * MINUTE
# What happens in a story.
LENGTH = 12
Secrets = dict[tuple[str, int], bytes]

STATUS, PROVE, CHECK = "status", "prove", "prove --check"
ABSENT = "verify --require absent"
OWN, FILE = "log verify", "log verify FILE"
NONE, KEY, HEAD = "none", "verify key", "head"
# What an attack needs beyond a file that it alters. Without it an attack must never succeed.
ASKS, EPOCH, END, PRUNE, PAIRING = "asks", "open epoch", "end", "prune", "pairing"
# A time that was twice, because the clock was set back, with no evidence of the second.
TWICE = "twice"
# The same the other way round: the evidence of the first is altered where `prove` does not read.
UNREAD = "unread"
# The times of the last answer, by less than what the clocks may differ.
EDGE = "edge"
# Of a log that nothing protects but what is beside it: whatever the attack is.
REWRITES = "rewrites"
# What the matrix grants: by command, key and attacker, the means. None: never.
Matrix = dict[tuple[str, str, str], frozenset[str]]


class Word(NamedTuple):
    """What a command said, given a ``key``, after an attack by any of ``attackers``.

    ``means``: what the attack has beyond the file that it alters; None: nothing. ``wrong``: what
    is false in it.
    """

    attackers: tuple[str, ...]
    command: str
    key: str
    attack: str
    means: str | None
    code: int
    wrong: str | None
    verdict: str = ""


def matrix() -> Matrix:
    """The table of docs/threat-model.md."""
    page = (Path(__file__).parents[1] / "docs/threat-model.md").read_text(encoding="utf-8")
    _, _, page = page.partition("<!-- matrix -->")
    table, reasons, _ = page.strip().split("\n\n", 2)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    (_, _, *attackers), _, *rows = rows
    known = set(re.findall(r"^\| ([\w ]+) \| ", reasons, re.MULTILINE)) - {"granted"}
    found: Matrix = {}
    used: set[str] = set()
    for command, key, *cells in rows:
        for attacker, cell in zip(attackers, cells, strict=True):
            granted = re.fullmatch(r"never|granted: ([\w, ]+)", cell)
            assert granted, cell
            means = frozenset((granted[1] or "").split(", ")) - {""}
            found[command.strip("`"), key, attacker] = means
            used |= means
    assert used == known, "each reason is given, and used"
    return found


def allowed(granted: frozenset[str], word: Word) -> bool:
    """Whether the matrix lets ``word`` be wrong, where it has ``granted`` that."""
    return REWRITES in granted or word.means in granted


class Live(NamedTuple):
    """By a host's wall clock, the line was not muted in [start, end).

    ``seq`` and ``branch``: of the record. ``number``: of what has passed by this clock, the part.
    """

    start: int
    end: int
    seq: int
    branch: int
    number: int


# Stories.

_DEVICE = absence.UsbDevice(0x1209, 1, "51M", "devices/pci", "2", "Microphone", True)


def look(verdict: absence.Showed, from_ms: int, to_ms: int) -> dict[str, Any]:
    """What `verify` has seen of the USB device behind the line."""
    state = "live" if verdict == "back" else "muted"
    return absence.body(verdict, [_DEVICE], state=state, from_ms=from_ms, to_ms=to_ms, back=True)


class TrueHost(MadeHost):
    """Knows when, by its own wall clock, the line was not muted."""

    def __init__(self, file: Path, clock: Clock, start_ms: int) -> None:
        super().__init__(file, clock, start_ms)
        self.truth: list[Live] = []
        # All that has passed by this clock, live or not.
        self.passed: list[tuple[int, int]] = []
        self.branch = 1
        # The attest keys of the pairings that it made.
        self.attest_keys: dict[tuple[str, int], list[bytes]] = {}


class TrueClock(Clock):
    """Tells every host's truth as it passes."""

    def __init__(self) -> None:
        super().__init__()
        self.story: TrueStory | None = None

    def pass_ms(self, ms: int) -> None:
        story = self.story
        for host in story.hosts if story is not None and ms else ():
            now = host.now_ms
            host.passed.append((now, now + ms))
            if not story.is_muted:
                seq, number = story.board.journal.seq, len(host.passed) - 1
                host.truth.append(Live(now, now + ms, seq, story.generation, number))
        super().pass_ms(ms)


# What may happen, and how often. In a story of clocks they are set; in one of keys the board is
# paired again, by this host or another, or flashed anew, and the log is pruned.
_ALWAYS = ("attest", "pass", "live") * 3 + ("fault", "boot", "suspend", "press", "weld", "lose")
_CLOCKS = (*_ALWAYS, *("set", "restart", "quick_set") * 2, "again")
_KEYS = (*_ALWAYS, "pair", "pair_elsewhere", "unpair", "reflash", "prune", "late", "late")


class TrueStory(Story):
    """A story in which chance decides. ``hosts``: this one, and at times another one."""

    host: TrueHost

    def __init__(self, folder: Path, chance: Random) -> None:
        self.true = TrueClock()
        super().__init__(folder / "unused.sqlite3", self.true)
        self.host.log.close()
        self.chance = chance
        self.host = TrueHost(folder / "one.sqlite3", self.true, START_MS)
        self.hosts = [self.host]
        self.generation = 1
        # Every secret that there was, by generation of the board's flash.
        self.secrets = [self.board.secrets]
        self.moments: list[int] = []
        # The line is connected, or a contact closed, though the board does not say so.
        self.hidden = False
        self.host.attest_keys |= self.board.attest_keys
        self.true.story = self
        if chance.random() < 0.25:
            start_ms = START_MS + self.chance.randrange(-DAY, DAY)
            self.hosts.append(TrueHost(folder / "other.sqlite3", self.true, start_ms))
        self.of_clocks = chance.random() < 0.5
        self.is_pruned = False
        for host in self.hosts:
            host.attest(self.board)
        # What was done since the last attestation of what may be done only so often.
        self.since: set[str] = set()

    @property
    def is_muted(self) -> bool:
        return self.board.state == "muted" and not self.hidden

    def some_ms(self, most: int) -> int:
        """Of any order of magnitude."""
        return int(most ** self.chance.random())

    def happen(self) -> None:
        self.moments.append(self.now)
        what = self.chance.choice(_CLOCKS if self.of_clocks else _KEYS)
        getattr(self, f"do_{what}")()
        self.moments.append(self.now)

    def do_attest(self) -> None:
        self.since.clear()
        for host in self.hosts:
            if host is self.host or self.chance.random() < 0.5:
                self.meet(host)

    def meet(self, host: TrueHost, took_ms: int | None = None) -> None:
        """What a contact does: fetch what is new, in the branch that it is of, and attest."""
        if host.branch != self.generation:
            host.branch = self.generation
            host.incident(self.board, "backwards", host.branch, seq=1, known=2)
        if self.board.journal.pairing:
            took_ms = self.chance.choice((0, 4, 300)) if took_ms is None else took_ms
            host.attest(self.board, host.branch, took_ms=took_ms)
        else:
            host.fetch(self.board, host.branch)

    def do_pass(self) -> None:
        """In that time `verify` looks whether the host has the USB device behind the line."""
        start_ms = self.host.now_ms
        self.clock.pass_ms(self.some_ms(DAY))
        verdict = "absent" if self.is_muted else "back"
        self.host.log.append(
            absence.KIND, self.board.id, look(verdict, start_ms, self.host.now_ms)
        )

    def do_suspend(self) -> None:
        """The host sleeps, and its clock that nobody sets goes on; the board may lose power."""
        self.clock.pass_ms(self.some_ms(2 * DAY))
        if self.chance.random() < 0.5:
            self.do_boot()

    def do_live(self) -> None:
        self.board.go_live()
        self.clock.pass_ms(self.some_ms(4 * 60 * MINUTE))
        for _ in range(self.chance.choice((0, 0, 1, 2))):
            self.chance.choice((self.do_attest, self.do_set))()
            self.clock.pass_ms(self.some_ms(60 * MINUTE))
        if self.chance.random() < 0.1 and not {"set", "restart"} <= self.since:
            # The power goes, which cuts the line; no record tells of it.
            self.since.add("boot")
            self.board.boot()
        else:
            self.board.mute()

    def do_fault(self) -> None:
        self.board.fault()
        self.clock.pass_ms(self.some_ms(60 * MINUTE))
        self.board.mute()

    def do_press(self) -> None:
        """Attested in the middle of a press: its record is there, the contacts are moving."""
        board = self.board
        board.go_live()
        is_connected = self.chance.random() < 0.5
        board.state, board.command, board.sense = "muted", "cut", 0
        if is_connected:
            board.command, self.hidden = "connected", True
        self.do_attest()
        self.hidden = False
        board.state, board.command, board.sense = "live", "connected", 1
        self.clock.pass_ms(self.some_ms(60 * MINUTE))
        board.mute()

    def do_weld(self) -> None:
        """A contact closes by itself. The board says muted until it calls that a fault."""
        owner = self.board.id, self.board.journal.pairing
        held = self.host.attest_keys.get(owner, ())
        if not any(key in held for key in self.board.attest_keys.get(owner, ())):
            # No attestation that counts would show it.
            return
        self.board.sense = 1
        self.hidden = True
        # Every host sees it at once: that a board says nothing for a while is not told of here.
        for host in self.hosts:
            self.meet(host, 0)
        self.clock.pass_ms(self.some_ms(MINUTE))
        self.hidden = False
        self.board.fault()
        self.clock.pass_ms(self.some_ms(MINUTE))
        self.board.mute()

    def do_lose(self) -> None:
        """The board could not write what happened."""
        self.hidden = True
        self.clock.pass_ms(self.some_ms(60 * MINUTE))
        self.hidden = False
        self.board.note(journal.OVERRUN, 2)

    def do_boot(self) -> None:
        if not {"set", "restart"} <= self.since:
            self.since.add("boot")
            self.clock.pass_ms(self.some_ms(60 * MINUTE))
            self.board.boot()

    def do_restart(self) -> None:
        """This host starts again."""
        if not {"set", "boot"} <= self.since:
            self.since.add("restart")
            self.host.run = f"boot at {self.clock.ms}"

    def do_set(self) -> None:
        """This host's clock is set, by milliseconds or by days."""
        allowed = "set" not in self.since and not {"boot", "restart"} <= self.since
        if self.of_clocks and allowed:
            self.since.add("set")
            by_ms = self.some_ms(3 * DAY)
            self.host.start_ms += self.chance.choice((by_ms, -by_ms, -by_ms))

    def do_quick_set(self) -> None:
        """The clock is set just after a live time that is not attested yet."""
        self.do_live()
        self.do_set()
        self.do_attest()
        self.do_pass()
        self.do_attest()

    def do_again(self) -> None:
        """A live time, and after that the clock is set back, and it passes again, muted."""
        self.do_attest()
        self.clock.pass_ms(2000)
        self.board.live_for(self.some_ms(60 * MINUTE))
        self.clock.pass_ms(2000)
        passed = self.host.passed[-3:]
        self.do_attest()
        self.host.start_ms -= self.host.now_ms - passed[0][0] + self.some_ms(DAY)
        # As each contact leaves one behind.
        self.host.log.append("observation", BOARD, {"source": "status"})
        self.board.note(journal.CONFIG)
        self.do_attest()
        self.clock.pass_ms(2 * sum(end - start for start, end in passed) + self.some_ms(2 * DAY))
        self.do_attest()

    def do_pair(self) -> None:
        """This host makes the next pairing."""
        self.board.pair()
        for owner, made in self.board.attest_keys.items():
            kept = self.host.attest_keys.setdefault(owner, [])
            kept += [key for key in made if owner[1] == self.board.journal.pairing]

    def do_pair_elsewhere(self) -> None:
        self.board.pair()

    def do_unpair(self) -> None:
        if self.board.journal.pairing:
            self.board.unpair()
            self.do_pass()
            self.chance.choice((self.do_attest, self.do_pair))()

    def do_reflash(self) -> None:
        """The journal and the keys are gone; its pairings are counted from 1 again."""
        if len(self.secrets) == 1 and self.chance.random() < 0.3:
            self.board = MadeBoard(self.clock, seed=len(self.secrets))
            self.secrets.append(self.board.secrets)
            self.generation += 1
            self.board.boot()
            self.do_pair()

    def do_prune(self) -> None:
        if not self.is_pruned:
            self.is_pruned = True
            at_ms = self.chance.choice(self.moments)
            self.host.log.prune(at_ms)

    def do_late(self) -> None:
        """Two programs ask, and the first one stores its answer after the second."""
        if self.board.journal.pairing and self.host.branch == self.generation:
            held = held_back(self.host, self.board)
            self.do_live()
            self.meet(self.host)
            self.host.log.append("attestation", self.board.id, held)
            self.do_attest()


def held_back(host: TrueHost, board: MadeBoard) -> dict[str, Any]:
    """The body of an attestation that is asked for, and not stored."""
    row, log_hash = host.log.head()
    salt = hashlib.sha256(b"held back %d" % row).digest()[: attest.MAC]
    host.fetch(board, host.branch)
    statement, mac, journal_mac = board.attest(nonce(log_hash, salt))
    return {
        "branch": host.branch,
        "statement": statement,
        "mac": mac,
        "journal_mac": journal_mac,
        "salt": salt.hex(),
        "log_row": row,
        "sent_ms": host.now_ms,
        "received_ms": host.now_ms,
        "elapsed_us": 0,
        "anchor_us": host.clock.ms * 1000,
        "host_boot": host.run,
        "checked": True,
    }


class Kept(NamedTuple):
    """A host's log, and when the line was not muted by its clock."""

    entries: tuple[Entry, ...]
    truth: tuple[Live, ...]
    passed: tuple[tuple[int, int], ...]
    attest_keys: Mapping[tuple[str, int], list[bytes]]

    def before(self) -> bytes:
        """The hash before the first entry."""
        first = self.entries[0].row
        if first == 1:
            return GENESIS
        ends = [e.body for e in self.entries if e.kind == "checkpoint"]
        return bytes.fromhex(next(b["hash"] for b in ends[::-1] if b["row"] == first - 1))

    def untrue(self, intervals: Iterable[Interval]) -> list[Live]:
        """When it was told to be muted, and was not."""
        return [
            live._replace(start=max(one.start_ms, live.start), end=min(one.end_ms, live.end))
            for one in intervals
            if one.state == "muted"
            for live in self.truth
            if live.start < one.end_ms and one.start_ms < live.end
        ]

    def blurred(self, shown: Proof) -> Interval | None:
        """What was attested to be live for twenty times as long as it was, its ends vague."""
        for one in shown.intervals:
            is_whole = shown.from_ms < one.start_ms and one.end_ms < shown.to_ms
            is_live = one.state in ("live", "fault") and one.note is None
            if is_whole and is_live and one.plus_minus_ms > 1000:
                was_ms = _overlap(one, ((live.start, live.end) for live in self.truth))
                if 20 * was_ms < _overlap(one, self.passed):
                    return one
        return None

    def was_before(self, live: Live) -> bool:
        """Whether all of that time had passed once already, before the line was live in it."""
        passed = self.passed[: live.number]
        ends = {point for one in passed for point in one if live.start < point < live.end}
        return all(
            any(a <= since and until <= b for a, b in passed)
            for since, until in pairwise(sorted({live.start, live.end, *ends}))
        )


def _overlap(one: Interval, spans: Iterable[tuple[int, int]]) -> int:
    """For how many ms of ``one`` there is a span."""
    total, at = 0, one.start_ms
    for start, end in sorted(spans):
        since, until = max(start, at), min(end, one.end_ms)
        total, at = (total + until - since, until) if since < until else (total, at)
    return total


class World(NamedTuple):
    """A story that is over. ``secrets``: the verify keys of the newest flash of its board, and of
    its first pairing alone. ``stolen``: pairing and epoch of the key on the flash, and the key.
    """

    seed: int
    hosts: tuple[Kept, ...]
    moments: tuple[int, ...]
    secrets: Secrets
    first_only: Secrets
    stolen: tuple[int, int, bytes]
    branch: int


class Scratch:
    """The log of this host, as an attacker has left it: a real one, whose rows are replaced."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = Log(folder / "scratch.sqlite3")
        with self.log.transaction():
            for number in range(1, 5):
                self.log._database.execute(f"DROP TRIGGER entry_is_append_only_{number}")
        self.log._database.execute("PRAGMA synchronous = OFF")

    def put(self, entries: Iterable[Entry]) -> None:
        with self.log.transaction():
            self.log._database.execute("DELETE FROM entry")
            self.log._database.executemany(
                "INSERT INTO entry (row, at_ms, kind, board, body, hash) VALUES (?,?,?,?,?,?)",
                [stored(entry) for entry in entries],
            )

    def proof(
        self,
        from_ms: int,
        to_ms: int,
        secrets: Secrets,
        attest_keys: verifier.AttestKeys,
    ) -> tuple[Proof, Excerpt]:
        """What `hardmute prove` shows, and of what."""
        found = excerpt(self.log, BOARD, from_ms, to_ms)
        shown = proof.examine(found, from_ms, to_ms, secrets, {} if secrets else attest_keys)
        return shown, found

    def receipt(self, shown: Proof, found: Excerpt, secrets: Secrets) -> dict[str, Any]:
        """What `hardmute prove --receipt` writes of it."""
        entries = found.entries(EVIDENCE)
        return receipt.make_receipt(shown, entries, secrets, found.log_hash)

    def close(self) -> None:
        self.log.close()


@lru_cache(maxsize=128)
def world(seed: int) -> World:
    """The story of ``seed``, told once for each process, unless there are very many."""
    with tempfile.TemporaryDirectory() as folder:
        story = TrueStory(Path(folder), Random(seed))
        for _ in range(LENGTH):
            story.happen()
        story.do_attest()
        hosts = [
            Kept(
                tuple(host.log.entries()),
                tuple(host.truth),
                tuple(host.passed),
                host.attest_keys,
            )
            for host in story.hosts
        ]
        for host in story.hosts:
            host.log.close()
    board = story.board
    return World(
        seed,
        tuple(hosts),
        tuple(story.moments),
        dict(board.secrets),
        {(BOARD, 1): story.secrets[0][BOARD, 1]},
        (board.journal.pairing, board.journal.epoch, board.journal._key),
        story.generation,
    )


# What commands say.


def code_of(error: BaseException) -> int:
    """The exit code with which a command ends that raises this."""
    assert isinstance(error, errors.HardmuteError)
    return error.exit_code


def text_of(entries: Iterable[Entry]) -> bytes:
    return "".join(f"{export_line(entry)}\n" for entry in entries).encode()


def independent(data: bytes, secrets: Secrets, expect: bytes | None = None) -> int:
    """The exit code of the verifier that was written from docs/evidence.md alone."""
    try:
        return independent_verifier.judge(data, secrets, expect)
    except independent_verifier.BAD:
        return errors.TAMPERED


def independent_proof(prove: Callable[..., int], *given: object) -> int:
    """The exit code of a proof by that verifier."""
    try:
        return prove(*given)
    except independent_verifier.BAD:
        return errors.TAMPERED


def _code_of(command: Callable[[], int]) -> int:
    try:
        return command()
    except errors.UsageError as error:
        return error.exit_code


def _from_export(entries: Iterable[Entry], span: tuple[str, int, int], secrets: Secrets) -> Proof:
    """What `hardmute prove --log` shows."""
    rows = [stored(entry) for entry in entries]
    check = verifier.verified(lambda: rows, secrets)
    return proof.examine_export(check, rows, *span, secrets)


def told_in(entries: Iterable[Entry]) -> tuple[set[bytes], dict[str, tuple[int, int]]]:
    """Records that tell of a line that was not muted, and the times of attestations by nonce."""
    records: set[bytes] = set()
    times: dict[str, tuple[int, int]] = {}
    for entry in entries:
        if entry.kind == "record":
            data = record_of(entry.body)
            if data[30] & 0x0F:
                records.add(data[:32])
        elif entry.kind == "attestation":
            body = entry.body
            times[body["statement"]["nonce"]] = body["sent_ms"], body["received_ms"]
    return records, times


def lost(genuine: Iterable[Entry], forged: Iterable[Entry]) -> str | None:
    """Which live time was taken away from ``genuine``, or moved."""
    records, times = told_in(genuine)
    left, moved = told_in(forged)
    if records - left:
        return f"{len(records - left)} records of a live time are not there"
    changed = [key for key, value in moved.items() if times.get(key, value) != value]
    return f"the times of {len(changed)} attestations were moved" if changed else None


class Attack(NamedTuple):
    """What somebody has made of the log of a story's first host.

    ``live``: the time that he wants to be told as muted. ``receipt``: if it is one.
    ``is_file``: what he can put into a file alone; otherwise it is in this host's log.
    """

    name: str
    attackers: tuple[str, ...]
    means: str | None
    entries: Sequence[Entry]
    live: Live
    receipt: dict[str, Any] | None = None
    # The means against `prove`, and the receipts that the owner signs of it, if it is another.
    against_prove: str | None = None
    # What this host had; None: all of the story.
    had: Sequence[Entry] | None = None
    # Whoever says anything but that it was altered has not looked.
    is_altered: bool = False
    # The app's own attest key, put where this host looks for its own.
    keys: Mapping[tuple[str, int], list[bytes]] = {}


class Machine:
    """``agree``: the independent verifier must say the same of each receipt and export. The same
    of each interval, by this host's own log and by an export of it.
    """

    def __init__(self, folder: Path, *, agree: bool = True) -> None:
        self.scratch = Scratch(folder)
        self.agree = agree

    def close(self) -> None:
        self.scratch.log.close()

    # Nobody attacks.

    def honest(self, told: World) -> Iterator[Word]:
        """Also: nothing is called altered. (After the board was flashed anew, a key may be of
        another pairing with the same number. Where the `pair` record is not there, which tells
        that, wrong signatures are called so: rule K2.)
        """
        chance = Random(f"honest {told.seed}")
        for number, kept in enumerate(told.hosts):
            self.scratch.put(kept.entries)
            given = [told.secrets, {}] if number else [told.secrets, {}, told.first_only]
            for secrets in given:
                is_known = kept.entries[0].row == 1 or told.branch == 1 or not secrets
                words = [
                    *self.honest_proofs(told, kept, secrets, chance),
                    *self.log_words(kept.entries, kept.entries, secrets),
                ]
                for word in words:
                    yield _alarmed(word) if is_known else word

    def honest_proofs(
        self, told: World, kept: Kept, secrets: Secrets, chance: Random
    ) -> Iterator[Word]:
        """Of all of it; of some times; of one that is muted and one that is live in the first."""
        moments = [*told.moments, *(time for one in kept.truth for time in one[:2])]
        spans = [(min(moments) - MINUTE, max(moments) + MINUTE)]
        for _ in range(2):
            two = (at + chance.choice((-250, -1, 0, 1, 250)) for at in chance.sample(moments, 2))
            spans.append(tuple(sorted(two)))
        shown: Proof | None = None
        while spans:
            at, until = spans.pop(0)
            try:
                found = self.proof(kept.entries, at, until + 1, secrets, kept.attest_keys)
            except errors.UsageError:
                # The key of the board's earlier flash, of which nothing is asked for.
                continue
            first, (shown, part) = shown is None, found
            yield _shown(PROVE, secrets, kept, shown)
            for state in ("muted", "muted", "muted", "live", "live") if first else ():
                told_so = [one for one in shown.intervals if one.state == state]
                if told_so:
                    one = chance.choice(told_so)
                    inner = (chance.randint(one.start_ms, one.end_ms - 1) for _ in range(2))
                    spans.append(tuple(sorted(inner)))
        if shown is not None and not shown.findings:
            content = self.scratch.receipt(shown, part, secrets)
            for given in (secrets, {}):
                yield self.receipt_word(kept, content, given)

    # The commands.

    def proof(
        self,
        entries: Sequence[Entry],
        from_ms: int,
        to_ms: int,
        secrets: Secrets,
        attest_keys: verifier.AttestKeys,
    ) -> tuple[Proof, Excerpt]:
        """What `hardmute prove` shows of this host's log, which has these ``entries``."""
        # Of one in 32: each test must end within 10 s of CPU time.
        if self.agree and (from_ms + to_ms) % 32 == 0:
            data, span = text_of(entries), (BOARD, from_ms, to_ms)
            ours = _code_of(lambda: _from_export(entries, span, secrets).exit_code)
            theirs = independent_proof(independent_verifier.prove, data, secrets, *span)
            assert ours == theirs, f"of {span} by an export: {ours}, the other verifier {theirs}"
            ours = _code_of(
                lambda: self.scratch.proof(*span[1:], secrets, attest_keys)[0].exit_code
            )
            other = partial(independent_verifier.prove_own, held=attest_keys)
            theirs = independent_proof(other, data, secrets, *span)
            assert ours == theirs, f"of {span} by the log: {ours}, the other verifier {theirs}"
        return self.scratch.proof(from_ms, to_ms, secrets, attest_keys)

    def receipt_word(self, kept: Kept, content: dict[str, Any], given: Secrets) -> Word:
        try:
            word = _shown(CHECK, given, kept, receipt.check_receipt(content, given).proof)
        except errors.HardmuteError as error:
            word = _word(CHECK, given, error.exit_code, None)
        if self.agree:
            theirs = independent(f"{canonical(content)}\n".encode(), given)
            assert word.code == theirs, f"of a receipt: {word.code}, the other verifier {theirs}"
        return word

    def log_words(
        self, had: Sequence[Entry], entries: Sequence[Entry], secrets: Secrets
    ) -> Iterator[Word]:
        """`log verify`, of the log as this host's own, and as a file from elsewhere.

        ``had``: what the host had before the attack.
        """
        rows = [stored(entry) for entry in entries]
        checked = verifier.verified(lambda: rows, secrets)
        data = text_of(entries) if self.agree else b""
        head = had[-1].hash
        for expected in (None,) if secrets else (None, head):
            for command in (OWN, FILE):
                code = _outcome(checked, secrets, expected, own=command == OWN)
                if command == FILE and self.agree:
                    theirs = independent(data, secrets, expected)
                    assert code == theirs, f"of an export: {code}, the other verifier {theirs}"
                wrong = lost(had, entries) if code == errors.OK else None
                word = _word(command, secrets, code, wrong)
                yield word if expected is None else word._replace(key=HEAD)

    # After an attack.

    def attacked(self, told: World, attack: Attack) -> Iterator[Word]:
        for word in self.attacked_words(told, attack):
            # Who has no host's log to write can hand in files alone.
            is_file = word.command in (CHECK, FILE) and word.attackers != ("owner",)
            who = tuple(one for one in attack.attackers if one != "holder" or is_file)
            means = attack.means
            if attack.against_prove and word.command in (PROVE, CHECK):
                means = attack.against_prove
            yield word._replace(
                attackers=who,
                attack=attack.name,
                means=word.means or means,
            )

    def attacked_words(self, told: World, attack: Attack) -> Iterator[Word]:
        kept = told.hosts[0]
        if attack.receipt is not None:
            for given in (told.secrets, {}):
                word = self.receipt_word(kept, attack.receipt, given)
                if attack.is_altered and word.code not in (errors.TAMPERED, errors.USAGE):
                    word = word._replace(wrong="not called altered")
                yield word
            return
        had = kept.entries if attack.had is None else attack.had
        for secrets in (told.secrets, {}):
            yield from self.log_words(had, attack.entries, secrets)
        self.scratch.put(attack.entries)
        from_ms, to_ms = attack.live.start - 1, attack.live.end + 1
        for secrets in (told.secrets, {}):
            try:
                held = {**kept.attest_keys, **attack.keys}
                shown, part = self.proof(attack.entries, from_ms, to_ms, secrets, held)
            except errors.UsageError as error:
                yield _word(PROVE, secrets, error.exit_code, None)
                continue
            yield _shown(PROVE, secrets, kept, shown)
            if secrets and not shown.findings:
                # The owner signs a receipt of what is in his log.
                content = self.scratch.receipt(shown, part, secrets)
                yield self.receipt_word(kept, content, secrets)._replace(attackers=("owner",))
        content = claimed(attack.entries, from_ms, to_ms)
        for given in (told.secrets, {}):
            yield self.receipt_word(kept, content, given)


def _word(command: str, secrets: Secrets, code: int, wrong: str | None, verdict: str = "") -> Word:
    return Word(("nobody",), command, KEY if secrets else NONE, "", None, code, wrong, verdict)


def _shown(command: str, secrets: Secrets, kept: Kept, shown: Proof) -> Word:
    """``means``: all that is wrong was twice, and live the second time."""
    untrue = kept.untrue(shown.intervals)
    wrong = f"muted, and was not: {untrue}" if untrue else None
    seen = [one for one in shown.absent if kept.untrue([_as_muted(one)])]
    if wrong is None and seen:
        wrong = f"absent, and was not: {seen}"
    if wrong is None and (blurred := kept.blurred(shown)):
        wrong = f"known less well than it is long: {blurred}"
    is_twice = bool(untrue) and all(map(kept.was_before, untrue))
    word = _word(command, secrets, shown.exit_code, wrong, shown.verdict)
    return word._replace(means=TWICE if is_twice else None)


def _as_muted(seen: absence.Looked) -> Interval:
    return Interval(seen.from_ms, seen.to_ms, "muted")


def _alarmed(word: Word) -> Word:
    """What is as it was must not be called altered."""
    wrong = "called altered" if word.code == errors.TAMPERED else word.wrong
    return word._replace(wrong=wrong)


def _outcome(
    checked: verifier.Verifier, secrets: Secrets, expected: bytes | None, *, own: bool
) -> int:
    try:
        return log_outcome(checked, secrets, expected, own=own).code
    except errors.UsageError as error:
        return error.exit_code


def claimed(entries: Sequence[Entry], from_ms: int, to_ms: int) -> dict[str, Any]:
    """A receipt of what ``entries`` would show if all their attestations counted.

    If they show nothing, it claims that the line was muted.
    """
    hashes = {entry.row: entry.hash for entry in entries}
    ours = [entry for entry in entries if entry.board == BOARD and entry.kind in EVIDENCE]
    check = verifier.Verifier({}, log_hash=hashes.get, board=BOARD, is_part=True, gapless=False)
    for entry in ours:
        check.take([stored(entry)])
    shown = proof.shown_by(BOARD, check, ours, from_ms, to_ms, lambda _: True, keyed=False)
    if shown.findings:
        muted = Interval(from_ms, to_ms, "muted", "button")
        shown = shown._replace(findings=[], intervals=[muted])
    return receipt.make_receipt(shown, ours, {}, hashes.get)


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """``content`` with its own hash made anew."""
    body = {key: value for key, value in content.items() if key != "sha256"}
    return body | {"sha256": hashlib.sha256(canonical(body).encode()).hexdigest()}


# The attacks.


class Mark(NamedTuple):
    """An attestation at ``at`` of the entries, and what it says."""

    at: int
    entry: Entry

    @property
    def body(self) -> dict[str, Any]:
        return self.entry.body

    @property
    def said(self) -> dict[str, Any]:
        return self.entry.body["statement"]

    @property
    def is_quiet(self) -> bool:
        said = self.said
        return said["state"] == "muted" and said["command"] == "cut" and not any(said["sense"])


class Forger:
    """Writes a log from some ``entries`` on, each hash made for it."""

    def __init__(
        self, kept: Kept, entries: Iterable[Entry], row: int | None = None, before: bytes = b""
    ) -> None:
        self.margin_ms = 500
        self.entries: list[Entry] = []
        self._row = kept.entries[0].row - 1 if row is None else row
        self._before = before or kept.before()
        self._salt = 0
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        self._row += 1
        entry = entry._replace(row=self._row)
        self._before = hash_of(self._before, entry)
        self.entries.append(entry._replace(hash=self._before))

    def attest(
        self,
        like: Entry,
        sent_ms: int,
        uptime_ms: int,
        journal_key: bytes | None,
        attest_key: bytes | None,
        *,
        run: str = "forged",
        **said: object,
    ) -> None:
        """An answer as in ``like``, at another time, signed with these keys; None: with none."""
        self._salt += 1
        salt = hashlib.sha256(b"forged %d" % self._salt).digest()[: attest.MAC]
        asked = nonce(self._before, salt).hex()
        statement = {**like.body["statement"], "uptime_ms": uptime_ms, "nonce": asked, **said}
        body = {
            **like.body,
            "statement": statement,
            "mac": _mac(attest_key, statement),
            "journal_mac": _mac(journal_key, statement),
            "salt": salt.hex(),
            "log_row": self._row,
            "sent_ms": sent_ms,
            "received_ms": sent_ms + 4,
            "anchor_us": (sent_ms + 4 - START_MS) * 1000,
            "host_boot": run,
        }
        self.add(like._replace(at_ms=sent_ms + 4, body=body))

    def bracket(
        self,
        like: Mark,
        live: Live,
        journal_key: bytes | None,
        attest_key: bytes | None,
        **said: object,
    ) -> None:
        """Two answers around ``live``, as if the board had run on muted."""
        start = live.start - self.margin_ms
        after = like.said["uptime_ms"] + max(1, start - like.body["sent_ms"])
        for sent_ms in (start, live.end + self.margin_ms):
            uptime_ms = after + sent_ms - start
            self.attest(like.entry, sent_ms, uptime_ms, journal_key, attest_key, **said)


def _mac(key: bytes | None, statement: Mapping[str, Any]) -> str:
    return "00" * attest.MAC if key is None else verifier.journal_mac(key, statement)


class Target(NamedTuple):
    """A live time that this host's log tells of, and the last attestation before, of the same
    boot, branch and flash. ``cut``: how many entries there are before its record.
    """

    mark: Mark
    live: Live
    cut: int


def targets(told: World) -> list[Target]:
    kept = told.hosts[0]
    lives: dict[int, Live] = {}
    for one in kept.truth:
        if one.branch == told.branch:
            was = lives.get(one.seq)
            lives[one.seq] = one if was is None else was._replace(end=max(was.end, one.end))
    found: list[Target] = []
    mark: Mark | None = None
    begun = False
    for at, entry in enumerate(kept.entries):
        if entry.kind == "attestation" and entry.body["branch"] == told.branch and begun:
            mark = Mark(at, entry)
            mark = mark if mark.is_quiet else None
        elif entry.kind == "record" and entry.body["branch"] == told.branch:
            begun = True
            if mark is None:
                continue
            record = journal.Record(record_of(entry.body))
            live = lives.get(record.seq)
            if record.boot != mark.said["boot"] or record.pairing != mark.said["pairing"]:
                mark = None
            elif live is not None and record.state & 0x0F:
                found.append(Target(mark, live, at))
                mark = None
    return found


def attacks(told: World, make: Make) -> Iterator[Attack]:
    """Those of one kind that a story has room for. Which of its live times is hidden, chance says.

    For some there is less often room: two.
    """
    for number in range(2 if make in RARE else 1):
        found = make(told, Random(f"{make.__name__} {told.seed} {number}"))
        if found is not None:
            yield found


ALL = ("thief", "app", "app in setup", "holder")
WRITERS = ("thief", "app", "app in setup")


def _target(told: World, chance: Random) -> Target | None:
    """One of `targets`; often one in a time that was twice, where there is such."""
    found = targets(told)
    twice = [one for one in found if told.hosts[0].was_before(one.live)]
    if twice and chance.random() < 0.5:
        found = twice
    return chance.choice(found) if found else None


def _shifted(entry: Entry, by_ms: int) -> Entry:
    made = copy_of(entry)._replace(at_ms=entry.at_ms + by_ms)
    if made.kind == "attestation":
        made.body["sent_ms"] += by_ms
        made.body["received_ms"] += by_ms
    return made


def _pairs(told: World) -> list[tuple[Mark, Mark]]:
    """Attestations next to each other, of one boot, muted all the time between."""
    found: list[tuple[Mark, Mark]] = []
    last: Mark | None = None
    for at, entry in enumerate(told.hosts[0].entries):
        if entry.kind == "attestation" and entry.body["branch"] == told.branch:
            mark = Mark(at, entry)
            if not mark.is_quiet:
                last = None
                continue
            if last is not None and last.said["boot"] == mark.said["boot"]:
                found.append((last, mark))
            last = mark
        elif entry.kind == "record":
            data = record_of(entry.body)
            if data[30] & 0x0F or data[28] == journal.OVERRUN:
                last = None
    return [(a, b) for a, b in found if b.body["sent_ms"] - a.body["received_ms"] > 20]


def _moved(told: World, chance: Random) -> tuple[int, Live, tuple[Mark, Mark]] | None:
    """By how much a muted time is moved so that it lies on a live one."""
    pairs = _pairs(told)
    lives = [one for one in told.hosts[0].truth if one.branch == told.branch]
    if not pairs or not lives:
        return None
    pair, live = chance.choice(pairs), chance.choice(lives)
    middle = (pair[0].body["received_ms"] + pair[1].body["sent_ms"]) // 2
    by_ms = (live.start + live.end) // 2 - middle
    return (by_ms, live, pair) if abs(by_ms) > 1000 else None


def move_times(told: World, chance: Random) -> Attack | None:
    """All times of the host are moved; in half of them what comes after is cut off."""
    found = _moved(told, chance)
    if found is None:
        return None
    by_ms, live, pair = found
    until = chance.choice((pair[1].at + 1, None))
    kept = told.hosts[0]
    made = Forger(kept, (_shifted(entry, by_ms) for entry in kept.entries[:until]))
    return Attack("moves all times", ALL, None, made.entries, live)


def pretend_prune(told: World, chance: Random) -> Attack | None:
    """So that no nonce commits to anything that is there."""
    found = _moved(told, chance)
    if found is None:
        return None
    by_ms, live, pair = found
    kept = told.hosts[0]
    genuine = [e for e in kept.entries[: pair[1].at + 1] if e.kind != "checkpoint"]
    before = bytes([chance.randrange(256)]) * 32
    made = Forger(kept, (_shifted(e, by_ms) for e in genuine), 100_000, before)
    body: dict[str, Any] = {"row": 100_000, "hash": before.hex(), "before_ms": 0, "ends": []}
    made.add(Entry(0, live.end, "checkpoint", None, body, b""))
    return Attack("pretends a prune", ALL, PRUNE, made.entries, live)


def edit(told: World, chance: Random) -> Attack | None:
    """The times are moved where they are; no hash is made anew."""
    found = _moved(told, chance)
    if found is None:
        return None
    by_ms, live, pair = found
    until = chance.choice((pair[1].at + 1, None))
    made = [_shifted(entry, by_ms) for entry in told.hosts[0].entries[:until]]
    return Attack("edits in place", ALL, None, made, live)


def edit_unread(told: World, chance: Random) -> Attack | None:
    """All before the clock was set back is moved to a time long ago; no hash is made anew."""
    found = _unread(told, chance)
    return found and Attack("edits the unread", WRITERS, None, found.moved(-400 * DAY), found.live)


def smooth_unread(told: World, chance: Random) -> Attack | None:
    """The same, moved by as much as the clock was set: nothing shows any more that it was."""
    found = _unread(told, chance)
    if found is None or found.set_ms is None:
        return None
    made = found.moved(found.set_ms)
    return Attack("smooths the unread", WRITERS, None, made, found.live, against_prove=UNREAD)


def remake_unread(told: World, chance: Random) -> Attack | None:
    """As the first, and the own hash of each attestation is made anew: the next does not fit."""
    found = _unread(told, chance)
    if found is None:
        return None
    made: list[Entry] = []
    for entry in found.moved(-400 * DAY):
        if entry.kind == "attestation" and made:
            entry = entry._replace(hash=hash_of(made[-1].hash, entry))
        made.append(entry)
    return Attack("remakes the unread", WRITERS, None, made, found.live, against_prove=UNREAD)


class Unread(NamedTuple):
    """The clock was set back, by ``set_ms`` if any other clock tells, after the entry ``at``.

    ``live``: a time that was live by then, and muted and attested since.
    """

    entries: Sequence[Entry]
    at: int
    live: Live
    set_ms: int | None

    def moved(self, by_ms: int) -> list[Entry]:
        """The log with all until then moved."""
        until = self.at + 1
        return [*(_shifted(e, by_ms) for e in self.entries[:until]), *self.entries[until:]]


def _unread(told: World, chance: Random) -> Unread | None:
    kept = told.hosts[0]
    marks = [Mark(at, e) for at, e in enumerate(kept.entries) if e.kind == "attestation"]
    rows = {
        journal.Record(record_of(e.body)).seq: e.row
        for e in kept.entries
        if e.kind == "record" and e.body["branch"] == told.branch
    }
    found = [
        Unread(kept.entries, one.at, live, _set_ms(one.body, other.body))
        for one, other in pairwise(marks)
        if other.body["received_ms"] < one.body["sent_ms"]
        for first, second in _pairs(told)
        if first.at >= other.at
        for live in kept.truth
        if live.branch == told.branch
        and rows.get(live.seq, one.entry.row) < one.entry.row
        and first.body["received_ms"] < live.start - 1
        and live.end + 1 < second.body["sent_ms"]
    ]
    return chance.choice(found) if found else None


def _set_ms(one: Mapping[str, Any], other: Mapping[str, Any]) -> int | None:
    if one["host_boot"] != other["host_boot"]:
        return None
    passed_ms = other["received_ms"] - one["received_ms"]
    return passed_ms - (other["anchor_us"] - one["anchor_us"]) // 1000


def leave_out(told: World, chance: Random) -> Attack | None:
    """The records of a live time are taken out; with the attestations after it, or not."""
    target = _target(told, chance)
    if target is None:
        return None
    kept = told.hosts[0]
    drops = chance.random() < 0.5
    left: list[Entry] = []
    for at, entry in enumerate(kept.entries):
        is_live = entry.kind == "record" and record_of(entry.body)[30] & 0x0F
        if at >= target.cut and (is_live or (drops and entry.kind == "attestation")):
            continue
        left.append(entry)
    return Attack("leaves records out", ALL, None, Forger(kept, left).entries, target.live)


def invent_look(told: World, chance: Random) -> Attack | None:
    """That the device was gone in a live time is put in at the end, to which no nonce commits, or
    right after the attestation before.
    """
    target = _target(told, chance)
    if target is None:
        return None
    kept = told.hosts[0]
    at = chance.choice((target.cut, len(kept.entries)))
    said = look("absent", target.live.start, target.live.end)
    row = Entry(0, target.live.end, absence.KIND, BOARD, said, b"")
    made = Forger(kept, (*kept.entries[:at], row, *kept.entries[at:]))
    return Attack("invents a look", ALL, None, made.entries, target.live)


def cut_records(told: World, chance: Random) -> Attack | None:
    """The records that came with an attestation are taken out, and that is kept."""
    target = _target(told, chance)
    if target is None:
        return None
    kept = told.hosts[0]
    left = list(kept.entries[: target.cut])
    after = next((e for e in kept.entries[target.cut :] if e.kind == "attestation"), None)
    if after is None:
        return None
    return Attack("keeps the answer", ALL, None, Forger(kept, [*left, after]).entries, target.live)


def retell(told: World, chance: Random) -> Attack | None:
    """A live record is told as a mute, and all after it linked anew, without a key."""
    target = _target(told, chance)
    if target is None:
        return None
    kept = told.hosts[0]
    left, link = list(kept.entries[: target.cut]), b""
    for entry in kept.entries[target.cut :]:
        if entry.kind == "attestation":
            continue
        if entry.kind == "record" and entry.body["branch"] == told.branch:
            data = record_of(entry.body)
            if data[30] & 0x0F:
                data = data[:28] + bytes((journal.MUTED, data[29], 0, 0)) + data[32:]
            if link:
                data = data[:32] + link + data[48:]
            link = journal.head_of(data)
            entry = entry._replace(body={**entry.body, "record": encoded(data)})
        left.append(entry)
    return Attack("retells records", ALL, None, Forger(kept, left).entries, target.live)


def sign_with_nothing(told: World, chance: Random) -> Attack | None:
    """Answers with a wrong MAC, in the pairing or in one that nobody has made."""
    target = _target(told, chance)
    if target is None:
        return None
    kept, mark = told.hosts[0], target.mark
    made = Forger(kept, kept.entries[: target.cut])
    made.bracket(mark, target.live, None, None, pairing=chance.choice((mark.said["pairing"], 9)))
    return Attack("signs with nothing", ALL, None, made.entries, target.live)


def replay(told: World, chance: Random) -> Attack | None:
    """A genuine answer again and again, each as late as the clocks may disagree."""
    target = _target(told, chance)
    if target is None:
        return None
    kept, mark = told.hosts[0], target.mark
    made = Forger(kept, kept.entries[: target.cut])
    received_ms = mark.body["received_ms"]
    for _ in range(40):
        received_ms += 249
        body = {**mark.body, "sent_ms": received_ms, "received_ms": received_ms}
        body["host_boot"] = f"run {received_ms}"
        made.add(mark.entry._replace(at_ms=received_ms, body=body))
    return Attack("replays an answer", ALL, None, made.entries, target.live)


def move_last(told: World, chance: Random) -> Attack | None:
    """No nonce commits to the last answer: its times alone are moved."""
    target = _target(told, chance)
    if target is None:
        return None
    kept, mark = told.hosts[0], target.mark
    made = Forger(kept, kept.entries[: mark.at])
    by_ms = target.live.end + chance.choice((10, 1000)) - mark.body["sent_ms"]
    made.add(_shifted(mark.entry, by_ms))
    means = EDGE if by_ms <= _may_differ_ms(kept, mark) else END
    return Attack(
        "moves the last answer", ALL, END, made.entries, target.live, against_prove=means
    )


def _may_differ_ms(kept: Kept, mark: Mark) -> float:
    """By how much the clocks may differ at ``mark``, as rule T5 has it."""
    before = [
        entry.body
        for entry in kept.entries[: mark.at]
        if entry.kind == "attestation"
        and entry.body["branch"] == mark.body["branch"]
        and entry.body["statement"]["boot"] == mark.said["boot"]
    ]
    if not before:
        return 0
    took_ms = sum(body["received_ms"] - body["sent_ms"] for body in (before[-1], mark.body))
    ran_ms = mark.said["uptime_ms"] - before[-1]["statement"]["uptime_ms"]
    return 250 + abs(ran_ms) / 10_000 + took_ms


def cut_end(told: World, chance: Random) -> Attack | None:
    """All from a live time on is cut off."""
    target = _target(told, chance)
    if target is None:
        return None
    kept = told.hosts[0]
    made = kept.entries[: target.cut]
    return Attack("cuts the end off", ALL, END, made, target.live)


_TIMES = {"from_ms", "to_ms", "start_ms", "end_ms", "at_ms", "sent_ms", "received_ms"}


def move_receipt(told: World, chance: Random) -> Attack | None:
    """A genuine one, signed by its owner, whose times are moved; with his signature, or none."""
    found = _moved(told, chance)
    if found is None:
        return None
    by_ms, live, pair = found
    kept = told.hosts[0]
    start, end = pair[0].body["received_ms"], pair[1].body["sent_ms"]
    content = signed_receipt(told, kept.entries[: pair[1].at + 1], start, end)
    if content is None:
        return None
    for holder in (content, *content["intervals"], *content["entries"]):
        for part in (holder, holder.get("body", {})):
            for field in _TIMES & set(part):
                part[field] += by_ms
    if chance.random() < 0.5:
        content["macs"] = {}
    return Attack("moves a receipt", ALL, None, (), live, sealed(content))


def claim_muted(told: World, chance: Random) -> Attack | None:
    """A genuine receipt of a live time, which says that it was muted; with its signature or none.

    All else in it is as it was.
    """
    target = _target(told, chance)
    if target is None:
        return None
    start, end = target.live.start - 1000, target.live.end + 1000
    content = signed_receipt(told, told.hosts[0].entries, start, end)
    if content is None:
        return None
    muted = Interval(start, end, "muted", "button")
    content |= {"verdict": "muted", "intervals": [shown_json(muted)]}
    if chance.random() < 0.5:
        content["macs"] = {}
    made = sealed(content)
    return Attack("claims muted", ALL, None, (), target.live, made, is_altered=True)


def signed_receipt(
    told: World, entries: Sequence[Entry], from_ms: int, to_ms: int
) -> dict[str, Any] | None:
    """As `prove --key` makes it; None if that says that the log was altered (rule K2, where the
    board was flashed anew and its `pair` record was pruned).
    """
    ours = [entry for entry in entries if entry.board == BOARD and entry.kind in EVIDENCE]
    hashes = {entry.row: entry.hash for entry in entries}
    check = verifier.Verifier(
        told.secrets, log_hash=hashes.get, board=BOARD, is_part=True, gapless=False
    )
    for entry in ours:
        check.take([stored(entry)])
    shown = proof.shown_by(
        BOARD, check, ours, from_ms, to_ms, lambda entry: check.has_signed(entry.row), keyed=True
    )
    if shown.findings:
        return None
    return json.loads(canonical(receipt.make_receipt(shown, ours, told.secrets, hashes.get)))


# The thief.


def attest_the_past(told: World, chance: Random) -> Attack | None:
    """Under a record of a sealed epoch, with the key of the open one."""
    found = [one for one in targets(told) if _is_sealed(told, one)]
    if not found:
        return None
    target = chance.choice(found)
    kept, (pairing, epoch, key) = told.hosts[0], told.stolen
    made = Forger(kept, kept.entries[: target.cut])
    attest_key = attest.attest_key(told.secrets[BOARD, pairing])
    made.margin_ms = chance.choice((10, 500, MINUTE))
    made.bracket(target.mark, target.live, key, attest_key, pairing=pairing, epoch=epoch)
    return Attack("attests the past", ("thief",), None, made.entries, target.live)


def _is_sealed(told: World, target: Target) -> bool:
    """Whether the record before the live time is of another epoch than the stolen key, and no
    seal that begins it.
    """
    pairing, epoch, _ = told.stolen
    before = (e for e in told.hosts[0].entries[: target.cut][::-1] if e.kind == "record")
    last = journal.Record(record_of(next(before).body))
    opens = (last.pairing, last.epoch + (last.event == journal.SEAL))
    return bool(pairing) and opens != (pairing, epoch)


def skip_epochs(told: World, chance: Random) -> Attack | None:
    """After a record of a sealed epoch the journal goes on in the open one."""
    found = [one for one in targets(told) if _is_sealed(told, one)]
    if not found:
        return None
    target = chance.choice(found)
    kept, (pairing, epoch, key) = told.hosts[0], told.stolen
    left = list(kept.entries[: target.cut])
    last = next(e for e in left[::-1] if e.kind == "record")
    data = bytearray(record_of(last.body))
    link = journal.head_of(bytes(data))
    seq = int.from_bytes(data[:4], "little") + 1
    data[:4] = seq.to_bytes(4, "little")
    data[14:20] = pairing.to_bytes(2, "little") + epoch.to_bytes(4, "little")
    data[28:32] = bytes((journal.CONFIG, 0, 0, 0))
    data[32:48] = link
    data[48:] = attest.mac(key, bytes(data[:48]))
    left.append(last._replace(body={**last.body, "record": encoded(bytes(data))}))
    made = Forger(kept, left)
    made.margin_ms = chance.choice((10, 500, MINUTE))
    attest_key = attest.attest_key(told.secrets[BOARD, pairing])
    head = journal.head_of(bytes(data)).hex()
    made.bracket(
        target.mark, target.live, key, attest_key,
        pairing=pairing, epoch=epoch, seq=seq, head=head,
    )  # fmt: skip
    return Attack("skips epochs", ("thief",), None, made.entries, target.live, against_prove=EPOCH)


def begin_anew(told: World, chance: Random) -> Attack | None:
    """A log that has nothing but the open epoch, as if this host had met the board late."""
    target, (pairing, epoch, key) = _target(told, chance), told.stolen
    if target is None or not pairing:
        return None
    records = [
        entry
        for entry in told.hosts[0].entries
        if entry.kind == "record" and entry.body["branch"] == told.branch
    ]
    opened = [e for e in records if _epoch_of(e) == (pairing, epoch)]
    if not opened:
        return None
    first = opened[0]
    record = journal.Record(record_of(first.body))
    first = first._replace(body={**first.body, "branch": 1})
    made = Forger(told.hosts[0], [first], 0, GENESIS)
    attest_key = attest.attest_key(told.secrets[BOARD, pairing])
    mark = target.mark._replace(entry=copy_of(target.mark.entry))
    mark.body["branch"] = 1
    made.bracket(
        mark, target.live, key, attest_key, pairing=pairing, epoch=epoch, seq=record.seq,
        head=journal.head_of(record_of(first.body)).hex(), boot=record.boot,
    )  # fmt: skip
    return Attack("begins anew", ("thief",), EPOCH, made.entries, target.live)


def _epoch_of(entry: Entry) -> tuple[int, int]:
    record = journal.Record(record_of(entry.body))
    return record.pairing, record.epoch


def rewrite_open_epoch(told: World, chance: Random) -> Attack | None:
    """All from a live time in the open epoch on is cut off, and answered anew."""
    found = [one for one in targets(told) if not _is_sealed(told, one)]
    if not found or not told.stolen[0]:
        return None
    target = chance.choice(found)
    kept, (pairing, _, key) = told.hosts[0], told.stolen
    made = Forger(kept, kept.entries[: target.cut])
    made.margin_ms = chance.choice((10, 500, MINUTE))
    made.bracket(target.mark, target.live, key, attest.attest_key(told.secrets[BOARD, pairing]))
    return Attack("rewrites the open epoch", ("thief",), EPOCH, made.entries, target.live)


# The app.


def ask_twice(told: World, chance: Random) -> Attack | None:
    """The board answers before a live time; the app says that it was at that time."""
    kept = told.hosts[0]

    def ran_ms_before(one: Target) -> int:
        record = journal.Record(record_of(kept.entries[one.cut].body))
        return record.uptime_ms - one.mark.said["uptime_ms"]

    found = [one for one in targets(told) if ran_ms_before(one) > 8]
    if not found:
        return None
    target = chance.choice(found)
    mark, said, ran_ms = target.mark, target.mark.said, ran_ms_before(target)
    made = Forger(kept, kept.entries[: target.cut])
    key = verifier.EpochKeys(told.secrets).key(BOARD, said["pairing"], said["epoch"])
    attest_key = attest.attest_key(told.secrets[BOARD, said["pairing"]])
    before_ms = chance.randint(4, min(ran_ms - 2, 1000))
    for uptime_ms in (0, ran_ms - 1):
        at_ms = target.live.start - before_ms + uptime_ms
        made.attest(mark.entry, at_ms, said["uptime_ms"] + uptime_ms, key, attest_key)
    return Attack("asks twice", ("app", "app in setup"), ASKS, made.entries, target.live)


def sign_with_attest_key(told: World, chance: Random) -> Attack | None:
    """Whoever can read this host's files has the attest key, and no other."""
    target = _target(told, chance)
    if target is None:
        return None
    kept, mark = told.hosts[0], target.mark
    made = Forger(kept, kept.entries[: target.cut])
    attest_key = attest.attest_key(told.secrets[BOARD, mark.said["pairing"]])
    key = chance.choice((attest_key, attest.journal_key(attest_key)))
    made.bracket(mark, target.live, key, attest_key)
    return Attack("signs with the attest key", WRITERS, None, made.entries, target.live)


def pair_for_itself(told: World, chance: Random) -> Attack | None:
    """In the owner's setup the app pairs the board with a secret that it makes.

    It has put its attest key where this host looks for it, and writes that pairing's records.
    """
    target = _target(told, chance)
    if target is None:
        return None
    kept, mark = told.hosts[0], target.mark
    left = list(kept.entries[: target.cut])
    last = next(e for e in left[::-1] if e.kind == "record")
    was = journal.Record(data := record_of(last.body))
    if not was.pairing or was.seq != mark.said["seq"]:
        return None
    board_key = verifier.EpochKeys(told.secrets).key(BOARD, was.pairing, was.epoch)
    secret, pairing = chance.randbytes(attest.KEY), was.pairing + 7
    key = attest.journal_key(secret)
    uptime_ms, seq = was.uptime_ms, was.seq
    sealed_at = _in_epoch(kept, target.cut, was)
    made: list[bytes] = []
    if was.event != journal.SEAL:
        # The board itself seals the pairing before.
        seq += 1
        made.append(
            _record(data, board_key, seq, was.boot, uptime_ms, was.pairing, was.epoch,
                    sealed_at + 1, journal.SEAL)
        )  # fmt: skip
    id_ = int.from_bytes(attest.key_id(secret), "little")
    previous = made[-1] if made else data
    made.append(
        _record(previous, key, seq + 1, was.boot, uptime_ms, pairing, 0, id_, journal.PAIR)
    )
    left += [last._replace(body={**last.body, "record": encoded(one)}) for one in made]
    forger = Forger(kept, left)
    attest_key = attest.attest_key(secret)
    forger.bracket(
        mark, target.live, key, attest_key,
        pairing=pairing, epoch=0, seq=seq + 1, head=journal.head_of(made[-1]).hex(),
    )  # fmt: skip
    return Attack(
        "pairs for itself",
        ("app in setup",),
        PAIRING,
        forger.entries,
        target.live,
        keys={(BOARD, pairing): [attest_key]},
    )


def _in_epoch(kept: Kept, until: int, was: journal.Record) -> int:
    """How many records the epoch has up to ``was``, as its board counts them."""
    count = 0
    for entry in kept.entries[:until]:
        if entry.kind == "record":
            one = journal.Record(record_of(entry.body))
            same = (one.pairing, one.epoch) == (was.pairing, was.epoch)
            count = 0 if one.event == journal.PAIR or one.seq == 1 else count
            count = count + 1 if same else 0
    return count


def _record(
    before: bytes,
    key: bytes | None,
    seq: int,
    boot: int,
    uptime_ms: int,
    pairing: int,
    epoch: int,
    data: int,
    event: int,
) -> bytes:
    """A record that follows ``before``, muted, signed with ``key``."""
    body = b"".join(
        number.to_bytes(size, "little")
        for number, size in (
            (seq, 4), (boot, 4), (uptime_ms, 6), (pairing, 2), (epoch, 4), (0, 4), (data, 4),
        )
    ) + bytes((event, 0, 0, 0)) + journal.head_of(before)  # fmt: skip
    return body + (bytes(attest.MAC) if key is None else attest.mac(key, body))


# The swapped board.


def swap(told: World, chance: Random) -> Attack | None:
    """Another board with the same id and journal answers while the real one is live.

    Its keys are its own. A host that cannot check an answer stores it.
    """
    target = _target(told, chance)
    if target is None:
        return None
    kept, mark = told.hosts[0], target.mark
    made = Forger(kept, kept.entries[: target.cut])
    secret = chance.randbytes(attest.KEY)
    made.bracket(mark, target.live, attest.journal_key(secret), attest.attest_key(secret))
    had = kept.entries[: target.cut]
    return Attack("swaps the board", ("swapped board",), None, made.entries, target.live, had=had)


# Makes an attack of a story, if it has room for it.
Make = Callable[[World, Random], Attack | None]
ATTACKS: tuple[Make, ...] = (
    move_times,
    pretend_prune,
    edit,
    edit_unread,
    smooth_unread,
    remake_unread,
    leave_out,
    invent_look,
    cut_records,
    retell,
    sign_with_nothing,
    replay,
    move_last,
    cut_end,
    move_receipt,
    claim_muted,
    attest_the_past,
    skip_epochs,
    rewrite_open_epoch,
    begin_anew,
    ask_twice,
    sign_with_attest_key,
    pair_for_itself,
    swap,
)
RARE = (attest_the_past, skip_epochs, rewrite_open_epoch, ask_twice)
