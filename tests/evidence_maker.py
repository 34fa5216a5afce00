"""Evidence as boards and hosts make it: real journals, a real log, and time that the test moves.

A `MadeBoard` and a `MadeHost` share a `Clock`. The board must `boot`, and `pair` if it is to sign;
`MadeHost.contact` takes what is new into the log, which `report_of` then checks.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

from fakeboard import FakeBoard

from hardmute.evidence import verifier
from hardmute.evidence.entries import Entry, entry_hash, export_line, stored
from hardmute.evidence.observation import Observation, unseen
from hardmute.evidence.proof import Proof, shown_by
from hardmute.model.clock import iso_time
from hardmute.store import keys
from hardmute.store.log import Log
from muteboard import attest, journal, wire

START_MS = 1_764_000_000_000
BOARD = "e6614c311b8a4f2d"


class Clock:
    """The one time that passes for every board and host."""

    def __init__(self) -> None:
        self.ms = 0

    def pass_ms(self, ms: int) -> None:
        self.ms += ms


class _Flash(FakeBoard):
    """A board with a serial number and chance of its own."""

    def __init__(self, board: str, chance: Random) -> None:
        super().__init__()
        self._id = bytes.fromhex(board)
        self._chance = chance

    def unique_id(self) -> bytes:
        return self._id

    def entropy(self, count: int) -> bytes:
        return self._chance.randbytes(count)


class MadeBoard:
    """A board with a journal. It must `boot` before anything else.

    ``secrets``: the secret of each pairing it has had, as a `verifier.Verifier` takes them.
    """

    def __init__(self, clock: Clock, board: str = BOARD, seed: int = 0) -> None:
        self.clock = clock
        self.id = board
        self.flash = _Flash(board, Random(f"{board} {seed}"))
        self.secrets: dict[tuple[str, int], bytes] = {}
        self.boots = 0
        self._booted_at = clock.ms
        self._reset()

    def _reset(self) -> None:
        self.journal = journal.Journal(self.flash)
        self.state, self.cause, self.sense, self.command = "muted", "boot", 0, "cut"
        self.presses = self.changes = self.live_ms = 0
        # Uptime of the last change of the state.
        self.since_ms = 0

    @property
    def uptime_ms(self) -> int:
        return self.clock.ms - self._booted_at

    def boot(self) -> None:
        """The program starts, the power having been away for no time."""
        self.boots += 1
        self._booted_at = self.clock.ms
        self._reset()
        self.journal.boot = self.boots
        self.note(journal.BOOT)

    def pair(self) -> bytes:
        """Pair with a host, which makes this pairing's secret."""
        theirs = self.flash.entropy(attest.KEY)
        ours = self.journal.pair(self.uptime_ms, theirs)
        assert ours is not None
        secret = attest.secret(theirs, ours, self.flash.unique_id())
        self.secrets[self.id, self.journal.pairing] = secret
        return secret

    @property
    def attest_keys(self) -> dict[tuple[str, int], list[bytes]]:
        """The attest keys of the host that it was paired with each time."""
        return {owner: [attest.attest_key(secret)] for owner, secret in self.secrets.items()}

    def unpair(self) -> None:
        assert self.journal.unpair(self.uptime_ms)

    def go_live(self) -> None:
        self.presses += 1
        # The record is written before the line is connected.
        self._become("live", "button", 0, "connected")
        self.note(journal.UNMUTE)
        self.sense = 1

    def mute(self, cause: str = "button") -> None:
        if cause == "button":
            self.presses += 1
        if self.state == "live":
            self.live_ms += self.uptime_ms - self.since_ms
        self._become("muted", cause, 0, "cut")
        self.note(journal.MUTED)

    def live_for(self, ms: int) -> None:
        """A press, time, and a press."""
        self.go_live()
        self.clock.pass_ms(ms)
        self.mute()

    def fault(self) -> None:
        """Contact 1 stays closed. `mute` ends it."""
        self._become("fault", "fault", 1, "cut")
        self.note(journal.FAULT, 1)

    def _become(self, state: str, cause: str, sense: int, command: str) -> None:
        self.state, self.cause, self.sense, self.command = state, cause, sense, command
        self.since_ms = self.uptime_ms
        self.changes += 1

    def note(self, event: int, data: int = 0) -> None:
        """Write a record of ``event``, with the state as it is; a new epoch if that is due."""
        now = self.uptime_ms
        state = wire.STATES.index(self.state)
        if self.command == "connected":
            state |= journal.COMMANDED
        cause = wire.CAUSES.index(self.cause)
        self.journal.expire(now)
        assert self.journal.record(now, event, data, self.presses, cause, state, self.sense)
        assert self.journal.flush(now)

    def records(self, start: int = 1) -> list[bytes]:
        """What the board still has from record ``start`` on."""
        found = []
        while True:
            at, data = self.journal.page(start)
            if not data:
                return found
            found += [data[i : i + journal.SIZE] for i in range(0, len(data), journal.SIZE)]
            start = at + len(data) // journal.SIZE

    def attest(self, nonce: bytes) -> tuple[dict[str, Any], str, str]:
        """The board's statement, its MAC and its journal MAC. Pairing 0 signs with no key."""
        statement: dict[str, Any] = {
            "nonce": nonce.hex(),
            "board": self.id,
            "epoch": self.journal.epoch,
            "boot": self.boots,
            "cause": self.cause,
            "changes": self.changes,
            "command": self.command,
            "live_ms": self.live_ms,
            "sense": [self.sense],
            "service": "none",
            "since_ms": self.uptime_ms - self.since_ms,
            "state": self.state,
            "uptime_ms": self.uptime_ms,
            "seq": self.journal.seq,
            "head": self.journal.head.hex(),
            "pairing": self.journal.pairing,
        }
        mac, journal_mac = self.journal.sign(wire.dumps(statement).encode())
        return statement, mac.hex(), journal_mac.hex()

    def copy(self) -> MadeBoard:
        """A board with this one's flash as it is now. It has yet to `boot`."""
        copy = MadeBoard(self.clock, self.id, seed=1)
        copy.flash.segments, copy.flash.keys = dict(self.flash.segments), self.flash.keys
        copy.secrets, copy.boots = dict(self.secrets), self.boots
        return copy


def hold(log: Log, board: str, key: keys.AttestKey) -> None:
    """Leave in ``log``, and where this user's keys are, what `hardmute pair` does."""
    keys.save_attest_key(board, key)
    log.append("pairing", board, {"pairing": key.pairing, "key_id": key.key_id})


class MadeHost:
    """A host's log in ``file``, written as docs/evidence.md says. ``now_ms``: its wall time."""

    def __init__(self, file: Path, clock: Clock, start_ms: int = START_MS) -> None:
        self.clock = clock
        self.start_ms = start_ms
        self.log = Log(file, clock=lambda: self.now_ms)
        # The name of the run of the clock that nobody sets.
        self.run = "one boot"
        self._asked = 0

    @property
    def now_ms(self) -> int:
        return self.start_ms + self.clock.ms

    def contact(self, board: MadeBoard) -> None:
        """Fetch what is new, and have it attested if the board is paired."""
        if board.journal.pairing:
            self.attest(board)
        else:
            self.fetch(board)
        self.observe(board)

    def fetch(self, board: MadeBoard, branch: int | None = None) -> list[Entry]:
        """Append what the log does not have; in ``branch``, or the newest one."""
        with self.log.transaction():
            end = self.log.journal_end(board.id)
            newest = 1 if end is None else end[0]
            branch = newest if branch is None else branch
            known = None if end is None or branch != newest else end[1]
            start = 1 if known is None else journal.Record(known).seq + 1
            return [self.append_record(board, data, branch) for data in board.records(start)]

    def append_record(self, board: MadeBoard, data: bytes, branch: int = 1) -> Entry:
        body = {"branch": branch, "record": base64.b64encode(data).decode()}
        return self.log.append("record", board.id, body)

    def attest(self, board: MadeBoard, branch: int = 1, took_ms: int = 4) -> Entry:
        """Ask, fetch up to what was attested, and append the attestation."""
        row, log_hash = self.log.head()
        salt = self._salt()
        sent_ms = self.now_ms
        statement, mac, journal_mac = board.attest(verifier.nonce(log_hash, salt))
        self.clock.pass_ms(took_ms)
        with self.log.transaction():
            self.fetch(board, branch)
            body = {
                "branch": branch,
                "statement": statement,
                "mac": mac,
                "journal_mac": journal_mac,
                "salt": salt.hex(),
                "log_row": row,
                "sent_ms": sent_ms,
                "received_ms": self.now_ms,
                "elapsed_us": took_ms * 1000,
                "anchor_us": self.clock.ms * 1000,
                "host_boot": self.run,
                "checked": True,
            }
            return self.log.append("attestation", board.id, body)

    def _salt(self) -> bytes:
        self._asked += 1
        return hashlib.sha256(b"salt %d" % self._asked).digest()[: attest.MAC]

    def observe(self, board: MadeBoard, unsigned: str | None = None) -> None:
        """What a contact saw. ``unsigned``: why a muted board has not signed it, if it has not."""
        self.log.add(
            Observation(
                at_ms=self.now_ms,
                board=board.id,
                device="/dev/ttyACM0",
                simulated=False,
                source="status",
                verdict="unknown" if unsigned else board.state,
                proof=None if unsigned else "sensed",
                reason="not_attested" if unsigned else None,
                state=board.state,
                command=board.command,
                sense=(board.sense,),
                cause=board.cause,
                since_ms=board.uptime_ms - board.since_ms,
                uptime_ms=board.uptime_ms,
                boot=board.boots,
                changes=board.changes,
                live_ms=board.live_ms,
                faults=(),
                warnings=(),
                service="none",
                took_ms=4,
                unsigned=unsigned,
                run_us=self.clock.ms * 1000,
                run=self.run,
            )
        )

    def miss(self, board: MadeBoard) -> None:
        """The board was not reached."""
        self.log.add(
            unseen(
                "timeout",
                board=board.id,
                device="/dev/ttyACM0",
                simulated=False,
                source="status",
                at_ms=self.now_ms,
                run_us=self.clock.ms * 1000,
                run=self.run,
            )
        )

    def hold(self, board: MadeBoard) -> None:
        """This user's host has paired with ``board``, each time."""
        for (name, pairing), secret in sorted(board.secrets.items()):
            hold(self.log, name, keys.attest_key_of(pairing, secret))

    def incident(self, board: MadeBoard, what: str, branch: int, **more: object) -> Entry:
        """What begins ``branch``, which the board's next records then go to."""
        return self.log.append(
            "incident", board.id, {"branch": branch, "what": what, "text": what, **more}
        )

    def export(self, file: Path) -> Path:
        write_export(file, list(self.log.entries()))
        return file


def write_export(file: Path, entries: list[Entry]) -> None:
    """An export of any ``entries``, whether they fit together or not."""
    file.write_text("".join(f"{export_line(entry)}\n" for entry in entries), encoding="ascii")


def hash_of(before: bytes, entry: Entry) -> bytes:
    """The hash that ``entry`` must have after one with hash ``before``."""
    return entry_hash(before, *stored(entry)[:5])


def report_of(entries: Iterable[Entry], secrets: verifier.Keys) -> verifier.Report:
    """What a verifier says of a log that stores ``entries``."""
    rows = [stored(entry) for entry in entries]
    return verifier.verified(lambda: rows, secrets).report()


def shown(
    board: str,
    entries: list[Entry],
    span: tuple[int, int],
    secrets: verifier.Keys,
    log_hash: Callable[[int], bytes | None],
    counts: Callable[[Entry], bool] | None = None,
) -> Proof:
    """What these show, the hash of no entry being asked for."""
    check = verifier.Verifier(secrets, log_hash=log_hash, board=board, is_part=True, gapless=False)
    check.take(map(stored, entries))
    ours = counts or (lambda entry: check.has_signed(entry.row))
    return shown_by(board, check, entries, *span, ours, keyed=bool(secrets))


def copy_of(entry: Entry) -> Entry:
    """``entry`` with a body of its own."""
    return entry._replace(body=json.loads(json.dumps(entry.body)))


MINUTE = 60_000


class Story:
    """A paired board, a host, and one clock for both."""

    def __init__(self, file: Path, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.board = MadeBoard(self.clock)
        self.host = MadeHost(file, self.clock)
        self.board.boot()
        self.board.pair()
        self.pass_minutes(1)

    def pass_minutes(self, minutes: float) -> None:
        self.clock.pass_ms(int(minutes * MINUTE))

    def attest(self) -> None:
        self.host.contact(self.board)

    @property
    def now(self) -> int:
        return self.host.now_ms


def at(minutes: float) -> str:
    """So many minutes after the beginning, for a command line."""
    return iso_time(START_MS + int(minutes * MINUTE))


def key_of(story: Story, folder: Path) -> Path:
    """A file with the story's verify key."""
    ((board, pairing), secret) = next(iter(story.board.secrets.items()))
    file = folder / "key.json"
    keys.save_verify_key(file, board, pairing, secret)
    return file
