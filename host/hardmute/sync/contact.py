"""What this host does whenever it meets a board that keeps a journal (docs/evidence.md).

It has the board attest, if it is paired; fetches what the journal holds beyond the log; checks
that one continues the other and ends in the attested head; and stores all of it. What does not fit
is an incident: stored, complained about, exit code 5.

A host that is paired with the board takes no "muted" that is not signed, whatever the board says
of itself: it may be another board.

A device has no say in how long this takes. The state is told within three time-outs. What the
journal holds beyond what can be fetched in that time is left to the next contact.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator
from itertools import pairwise
from operator import attrgetter

from hardmute.device.client import Session
from hardmute.evidence import anchors
from hardmute.evidence.anchors import Anchor
from hardmute.evidence.entries import GENESIS, canonical, nonce
from hardmute.evidence.observation import STILL_MS
from hardmute.model.allowance import Allowance
from hardmute.model.answers import Attested, Conclusion, Identity, JournalEnd, Status, conclude
from hardmute.model.clock import SYSTEM, HostClock, Moment
from hardmute.model.errors import EvidenceError, PortWantedError, RefusedError, UnreachableError
from hardmute.model.typed import TYPE_CHECKING, Any, NamedTuple
from hardmute.store import keys
from hardmute.store.log import ELSEWHERE, Log, Pairing
from hardmute.sync.journal_import import MOST_BREAKS, Intake
from hardmute.sync.recorder import Recorder
from muteboard import attest, journal

if TYPE_CHECKING:
    from hardmute.evidence.absence import Looked

# An answer that took longer may be of another time; so may what is told after a longer fetch.
FRESH_US = 2_000_000
# A state event that is older when it is read shows nothing.
LATE_US = 1_000_000
# What the board's uptimes are dated by is asked for again after so long.
_ANCHOR_US = 50_000_000
# An honest board is busy, or takes as long as its flash, now and then: it is asked once more.
_TRIES = 2
# Why a board has not signed, where asking again soon would only write the same into the log again.
LASTING = (
    "bad_head",
    "bad_mac",
    "bad_op",
    "contradicted",
    "no_key",
    "not_paired",
    "pairing_unknown",
    "storage",
    "unsupported",
)
# While a board is followed, what it has signed counts for so long: as long as silence (P5).
_COVERS_US = 3_000_000
# While a board is followed, an attestation goes into the log at least every ten minutes: it is
# asked for after so long, and again after so long where that was in vain.
_KEEP_US = 540_000_000
_KEEP_AGAIN_US = 10_000_000
# After a fetch that took long, all else is asked again; but not for ever.
_ROUNDS = 4
# From so many records on a person is told what takes so long.
_MANY = 2_048
# A contact stores as many records as a board keeps, and no more.
MOST_RECORDS = journal.SEGMENT * journal.SEGMENTS
# Time-outs that a contact takes at most: as if hello, attestation and status took one each.
TIMEOUTS = 3
# After the status the journal is fetched for so long before the state is told, which is to be
# fresh by then. The rest is fetched afterwards.
_FETCH_S = 1.5


class Signed(NamedTuple):
    """An attestation that answers us, and how and when it was asked for (`HostClock`)."""

    answer: Attested
    salt: bytes
    log_row: int
    sent_ms: int
    received_ms: int
    sent_us: int
    anchor_us: int
    run: str
    # Whether this host has the attest key, which the MAC is then under.
    checked: bool

    @property
    def anchor(self) -> Anchor:
        uptime_ms = self.answer.status.uptime_ms
        return Anchor(uptime_ms, self.sent_ms, self.received_ms, self.anchor_us, self.run)


class Meeting(NamedTuple):
    """A contact: the board's ``status``, asked for at ``asked_us`` and here at ``heard_us`` by
    `HostClock.run_us`, in the ``run`` of that clock, and at ``heard_ms`` by its wall time. It was
    true at one moment between the two.
    """

    status: Status
    asked_us: int
    heard_us: int
    heard_ms: int
    run: str = ""
    # Under this host's attest key, and borne out by the status.
    signed: Signed | None = None
    # Why there is no such thing (`text.UNSIGNED`), if this host is paired with the board.
    unsigned: str | None = None
    # What the board has signed contradicts the status, and no change between the two explains it.
    contradicted: str | None = None
    # It was not asked for, and waited before it was read, or nobody knows how long it waited.
    doubt: str | None = None
    # What this host's USB showed just before of the device behind the board, if one was learned.
    seen: Looked | None = None

    @property
    def conclusion(self) -> Conclusion:
        """What this host makes of it."""
        if self.contradicted is not None:
            return Conclusion("fault", None, self.contradicted)
        found = conclude(self.status, attested=self.signed is not None, unsigned=self.unsigned)
        if self.seen is None or self.status.state != "muted":
            return found
        if self.seen.is_leak:
            return Conclusion("fault", None, self.seen.told)
        # It adds to what the board has signed, and stands for none of it.
        is_absent = self.seen.bears_out and found.proof == "attested"
        return found._replace(proof="absent") if is_absent else found


class Budget:
    """What a device can make this host store: in one contact, or in several that share these."""

    def __init__(self, clock: HostClock = SYSTEM) -> None:
        self.records = Allowance(MOST_RECORDS, clock.now_s)
        self.breaks = Allowance(MOST_BREAKS, clock.now_s)

    def refill(self) -> None:
        """Allow for the time since."""
        self.records.refill()
        self.breaks.refill()


class Contact:
    """Meets the board ``identity`` behind ``session``; what there is to tell goes to ``recorder``.

    ``bounds``: where they are shared with earlier contacts. ``repeats``: whether a meeting says
    only what the log has; then it does not get the attestation either. ``random``: so many
    unpredictable bytes.
    """

    def __init__(
        self,
        session: Session,
        identity: Identity,
        recorder: Recorder,
        *,
        bounds: Budget | None = None,
        repeats: Callable[[Meeting], bool] = lambda _: False,
        clock: HostClock = SYSTEM,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._session = session
        self.identity = identity
        self._board = identity.board
        self._recorder = recorder
        self._clock = clock
        self._random = random
        # What the board has signed last, for events to go by, or why there is none.
        self._signed: Signed | None = None
        self._unsigned: str | None = None
        self._contradicted: str | None = None
        self._bounds = bounds or Budget(clock)
        # What this host had of a pairing when `meet` began. Who pairs it, or ends that, takes the
        # port, and so this contact ends.
        self._has = keys.Held(True, None, known=False)
        # The newest answer: of which boot, and when its uptime was, by `HostClock.run_us` in ms.
        self._anchor: tuple[int, Anchor] | None = None
        # The wall clock less the other one, in ms, at that answer.
        self._ahead_ms = 0
        # The newest state event: boot, uptime, and within which times it was.
        self._event: tuple[int, int, anchors.Bounds] | None = None
        self._repeats = repeats
        # What the board has attested and is to be stored, each with its branch.
        self._unkept: list[tuple[Signed, int]] = []
        # From when on the next attestation is due in the log, by `HostClock.run_us`; None for a
        # board whose signature this host cannot check.
        self._keep_at_us: int | None = None
        self._has_met = False
        # When this contact is over, by `HostClock.run_us`, and what is to be fetched until then:
        # the journal up to an end, and what the board has signed of that end.
        self._over_us = 0
        self._due: tuple[JournalEnd, Signed | None] | None = None
        # What was asked for last is not in the log, which could not be used.
        self._is_unrecorded = False
        self._told_many = False
        self._told_elsewhere = False

    def meet(self) -> Meeting:
        """Have the board attest, ask for its status, and fetch its journal.

        Where the two differ, both are asked for once more. All this takes at most three time-outs,
        `Session.hello` included. What of the journal takes longer is left to `finish`: then what
        the board has signed counts for the state, and is stored once the journal is here.

        Raises `UnreachableError` where no fresh state can be had; what was fetched before that is
        stored all the same.
        """
        with self._begun():
            repeated = False
            try:
                met = self._meet()
                repeated = self._repeats(met)
            finally:
                self._store(repeated=repeated)
            return met

    @contextlib.contextmanager
    def _begun(self) -> Generator[None]:
        """A contact, in its time."""
        whole_s = TIMEOUTS * self._session.timeout
        if not self._has_met:
            whole_s -= min(self._session.begun_s, self._session.timeout)
        self._has_met = True
        self._bounds.refill()
        self._over_us = self._clock.run_us() + round(whole_s * 1e6)
        self._due = None
        with self._session.within(whole_s):
            yield

    def _meet(self) -> Meeting:
        held = self._has = self._held()
        self._plan(held)
        if not self.identity.journal:
            self._miss_journal(held)
            return self._followed(self.ask(), None, held.unsigned("unsupported"))
        again = True
        ends: list[int] = []
        for _ in range(_ROUNDS):
            # Before the board is asked: what another process stores meanwhile is then no news,
            # rather than something that the board does not have.
            intake = self._intake()
            # An answer that does not come must leave time for the status.
            with self._session.within(self._session.left_s * 2 / 3):
                signed, unsigned = self._attest(held)
            met = self.ask()
            end = met.status.journal if signed is None else signed.answer.end
            fetch_s = _FETCH_S - (self._clock.run_us() - met.asked_us) / 1e6
            complete = end is None or self._take_up_to(intake, end, signed, fetch_s)
            if self._clock.run_us() - met.asked_us > FRESH_US:
                ends.append(0 if end is None else end.seq)
                continue
            if complete is False:
                signed, unsigned = None, unsigned or held.unsigned("bad_head")
            if signed is None or not signed.checked:
                return self._followed(met, None, unsigned)
            if bears_out(met.status, signed.answer.status):
                return self._followed(met._replace(signed=signed), signed, None)
            if not again:
                met = _weighed(met, signed)
                return self._followed(met, None, "contradicted" if met.contradicted else "changed")
            again = False
        if all(before < after for before, after in pairwise(ends)):
            what = "The board's journal grows as fast as it is fetched"
        else:
            what = f"It took more than {FRESH_US / 1e6:g} s to have the board's state and journal"
        raise UnreachableError(f"{what}: its state cannot be told. Ask again.", "not_fresh")

    def finish(self, seconds: float | None = None) -> None:
        """Fetch what the contact has left of the journal, once the state was told.

        It takes what is left of the contact's time and says what is missing then; or else
        ``seconds``, and says nothing. An incident is told as in `meet`.
        """
        if self._due is None:
            return
        end, signed = self._due
        self._due = None
        intake = self._intake()
        left_s = (self._over_us - self._clock.run_us()) / 1e6 if seconds is None else seconds
        try:
            complete = self._take_up_to(intake, end, signed, left_s)
        except PortWantedError:
            raise
        except UnreachableError as error:
            self._recorder.note(f"The board's history could not be fetched. {error}")
            return
        self._store(repeated=False)
        if complete is None and seconds is None:
            self._recorder.note(
                f"{end.seq - intake.seq} records of the board's history are not fetched yet: ask"
                " again to fetch more. A longer --timeout fetches more at once."
            )

    def dated(self, event: Status) -> Meeting:
        """``event``, which the board was not asked for, and when it was: by its uptime and the
        last round trip; never before the event before, never after now.

        `Meeting.doubt` is ``late`` for one that waited, and ``undated`` for one whose uptime is
        none that it can have. Raises `UnreachableError` where the board does not answer any more.
        """
        if self._anchor is None or self._anchor_age_us() > _ANCHOR_US:
            self.ask()
        now = self._clock.now()
        now_ms = now.run_us // 1000
        known = self._event
        at = self._by_anchor(event, now_ms)
        doubt = "undated"
        if at is None:
            since_ms = known[2].earliest if known is not None else self._answered_ms()
            at = anchors.Bounds(min(since_ms, now_ms), now_ms)
        elif now_ms - at.earliest <= LATE_US // 1000:
            doubt = None
        else:
            doubt = "late"
        if known is not None:
            earliest = max(at.earliest, min(known[2].earliest, now_ms))
            at = anchors.Bounds(earliest, max(at.latest, earliest, min(known[2].latest, now_ms)))
        slewed_ms = 2 * anchors.RESOLUTION_MS + self._anchor_age_us() // 1000 * anchors.SLEW
        if abs(_ahead_ms(now) - self._ahead_ms) > slewed_ms:
            # The wall clock was set since the answer, and nobody knows when: it has the time of
            # now, and may have been so much earlier. The next event finds another answer.
            at = anchors.Bounds(at.earliest, now_ms)
            self._anchor = None
        self._event = (event.boot, event.uptime_ms, at)
        # Not after now, to the microsecond.
        latest_us = min(at.latest * 1000 + 999, now.run_us)
        wall_ms = latest_us // 1000 + _ahead_ms(now)
        return Meeting(event, at.earliest * 1000, latest_us, wall_ms, now.run, doubt=doubt)

    def _by_anchor(self, event: Status, now_ms: int) -> anchors.Bounds | None:
        """When ``event`` was, in ms of `HostClock.run_us`; None if it cannot have been then."""
        if self._anchor is None or self._anchor[0] != event.boot:
            return None
        anchor = self._anchor[1]
        if "boot_not_counted" in event.warnings and event.uptime_ms <= anchor.uptime_ms:
            # It was sent before that answer, perhaps in another start with the same number.
            return None
        at = anchor.at(event.uptime_ms)
        least_ms = at.earliest
        if self._event is not None and self._event[0] == event.boot:
            least_ms = self._event[2].earliest
            if event.uptime_ms < self._event[1]:
                return None
        if at.latest < least_ms - anchors.PASS_MS or at.earliest > now_ms + anchors.PASS_MS:
            return None
        return anchors.Bounds(min(at.earliest, now_ms), min(at.latest, now_ms))

    def _anchored(self, status: Status, asked_us: int, heard: Moment) -> None:
        # Whole milliseconds that it lies between.
        anchor = Anchor(status.uptime_ms, asked_us // 1000, -(-heard.run_us // 1000))
        self._anchor = (status.boot, anchor)
        self._ahead_ms = _ahead_ms(heard)

    def _answered_ms(self) -> int:
        return 0 if self._anchor is None else self._anchor[1].sent_ms

    def _anchor_age_us(self) -> int:
        return self._clock.run_us() - self._answered_ms() * 1000

    def unheard(self, met: Meeting) -> Meeting:
        """``met``, an event that is not asked about any more: what it says is not signed."""
        return met._replace(unsigned=self._has.unsigned("changed"))

    def hear(self, event: Status) -> Meeting:
        """What ``event``, which the board was not asked for, is worth now; as `vouched`."""
        now = self._clock.now()
        return self.vouched(Meeting(event, now.run_us, now.run_us, now.wall_ms, now.run))

    def vouched(self, met: Meeting) -> Meeting:
        """What an event (`dated`) is worth.

        It is as good as signed where the board has signed the same state since the last `meet`
        began or later. Where that is 3 s old, the board is asked to sign again; nothing is stored
        of that. Raises `UnreachableError` as `meet` does.
        """
        if self._signed is not None and self._clock.run_us() - self._signed.anchor_us > _COVERS_US:
            # What is shown stands until the answer is there.
            with self._session.within(FRESH_US / 1e6):
                signed, self._unsigned = self._attest(self._has, logged=False)
            self._signed = signed if signed is not None and signed.checked else None
        if self._signed is None:
            return met._replace(unsigned=self._unsigned, contradicted=self._contradicted)
        if covers(met.status, self._signed.answer.status):
            return met._replace(signed=self._signed)
        return met._replace(unsigned="changed")

    def is_due(self) -> bool:
        """Whether it is time to `meet` the board so that the log has its attestation, or again has
        what it has missed.
        """
        if self._is_unrecorded and self._recorder.log is not None:
            return True
        return self._keep_at_us is not None and self._clock.run_us() >= self._keep_at_us

    def _plan(self, held: keys.Held) -> None:
        """Say when the next attestation is due if this `meet` stores none."""
        if held.key is None:
            self._keep_at_us = None
        elif self._keep_at_us is None or self.is_due():
            wait_us = _KEEP_US if self._keep_at_us is None else _KEEP_AGAIN_US
            self._keep_at_us = self._clock.run_us() + wait_us

    def _followed(self, met: Meeting, signed: Signed | None, unsigned: str | None) -> Meeting:
        """``met``, for which this is what the events that follow it go by."""
        self._signed, self._unsigned = signed, unsigned
        self._contradicted = met.contradicted
        return met if met.signed is not None else met._replace(unsigned=unsigned)

    def fetch(self) -> Status:
        """As `meet`, but have nothing attested."""
        with self._begun():
            intake = self._intake()
            status = self._session.status()
            if status.journal is not None:
                self._take_up_to(intake, status.journal, None, self._session.left_s)
            return status

    def ask(self) -> Meeting:
        """The board's status, and nothing else."""
        asked_us = self._clock.run_us()
        status = self._session.status()
        heard = self._clock.now()
        self._anchored(status, asked_us, heard)
        return Meeting(status, asked_us, heard.run_us, heard.wall_ms, heard.run)

    def _incident(self, what: str, text: str, **details: object) -> None:
        """An incident that does not begin a branch."""
        branch = self._intake().branch
        self._recorder.incident(self._board, branch, what, text, **details)

    def _intake(self) -> Intake:
        return Intake(self._recorder, self._board, self._bounds.breaks)

    # The attestation.

    def _held(self) -> keys.Held:
        held = keys.held(
            self._board,
            lambda: self._recorder.is_paired(self._board),
            lambda: self._recorder.pairings(self._board),
        )
        if held.trouble is not None:
            self._recorder.tell(held.trouble)
        return held

    def _attest(self, held: keys.Held, *, logged: bool = True) -> tuple[Signed | None, str | None]:
        """An attestation that answers us, if there is one. And why there is none that this host
        can check (`text.UNSIGNED`); None on a host that is not paired with the board.

        ``logged``: it is to be stored, and so commits to what the log has.
        """
        try:
            signed = self._challenge(held, logged=logged)
        except RefusedError as error:
            unpaired = error.code in ("not_paired", "unsupported", "bad_op")
            if unpaired and held.key is not None:
                self._incident("unpaired", "it is paired with this host, and says that it is not")
            elif not unpaired and not held.paired:
                self._recorder.note(f"Not attested. {error}")
            return None, held.unsigned(error.code)
        except UnreachableError as error:
            if not held.paired:
                raise
            # It may be live, and that needs no signature.
            return None, held.unsigned(error.reason)
        if signed is None:
            return None, held.unsigned("bad_mac")
        return signed, None if signed.checked else held.unsigned("no_key")

    def _challenge(self, held: keys.Held, *, logged: bool) -> Signed | None:
        """None: what came is none of ours, which was told."""
        tries = _TRIES
        while True:
            tries -= 1
            try:
                signed = self._asked(held.key, logged=logged)
            except (RefusedError, UnreachableError):
                if tries and held.paired:
                    continue
                raise
            if signed is None or signed.anchor_us - signed.sent_us <= FRESH_US:
                return signed
            if not tries:
                raise UnreachableError(
                    f"The board took more than {FRESH_US / 1e6:g} s to attest: its answer may be"
                    " of another time.",
                    "not_fresh",
                )

    def _asked(self, key: bytes | None, *, logged: bool) -> Signed | None:
        head = self._recorder.use(Log.head) if logged else None
        row, log_hash = head or (0, GENESIS)
        salt = self._random(attest.MAC)
        asked = nonce(log_hash, salt)
        sent = self._clock.now()
        answer = self._session.attest(asked)
        received = self._clock.now()
        signed = Signed(
            answer,
            salt,
            row,
            sent.wall_ms,
            received.wall_ms,
            sent.run_us,
            received.run_us,
            received.run,
            key is not None,
        )
        problem = foreign(answer, asked, self._board, key)
        if problem is not None:
            known = self._recorder.use(lambda log: log.paired_elsewhere(self._board))
            # That it signs for somebody else is said already, once.
            if known is None or known.body.get("pairing") != answer.end.pairing:
                self._incident("bad_mac", problem, **_body(signed))
            return None
        self._anchored(answer.status, sent.run_us, received)
        return signed

    def _store(self, *, repeated: bool) -> None:
        """Store what the board has attested. ``repeated``: what the log has need not be."""
        unkept, self._unkept = self._unkept, []
        for signed, branch in unkept:
            if not (repeated and self._is_attested(signed)):
                self._keep(signed, branch)
        self._is_unrecorded = self._recorder.log is None

    def _is_attested(self, signed: Signed) -> bool:
        """Whether the log has an attestation to the same, of the `STILL_MS` before this one."""
        newest = self._recorder.use(lambda log: log.newest(self._board, "attestation"))
        if newest is None or newest.body["checked"] is not signed.checked:
            return False
        from hardmute.evidence.reconstruction import attested

        known, said = newest.body["statement"], signed.answer.statement
        return (
            all(known[key] == said[key] for key in ("boot", "pairing", "seq", "head"))
            and 0 <= anchors.advance(attested(newest).anchor, signed.anchor).passed_ms < STILL_MS
        )

    def _keep(self, signed: Signed, branch: int) -> None:
        body = {"branch": branch, **_body(signed), "host_boot": signed.run}

        def keep(log: Log) -> None:
            with log.transaction():
                # The log that it commits to may have been set aside or pruned meanwhile.
                known = log.hash_at(signed.log_row) if signed.log_row else GENESIS
                if known is not None and nonce(known, signed.salt) == signed.answer.nonce:
                    log.append("attestation", self._board, body)

        self._recorder.use(keep)
        if signed.checked and self._recorder.log is not None:
            self._keep_at_us = self._clock.run_us() + _KEEP_US

    # The journal.

    def _miss_journal(self, held: keys.Held) -> None:
        """The board keeps no journal. Tell if it did before."""
        if held.key is not None:
            self._incident("unpaired", "it is paired with this host, and says it has no journal")
        intake = self._intake()
        if intake.seq:
            intake.begin_branch(
                "backwards",
                f"it says that it has no journal, and this log has {intake.seq} records of one",
                seq=0,
                known=intake.seq,
            )

    def _take_up_to(
        self, intake: Intake, end: JournalEnd, signed: Signed | None, seconds: float
    ) -> bool | None:
        """As `_catch_up`, in ``seconds``; and have ``signed`` stored, which is of that end.

        What is left to do then is `_due`.
        """
        with self._session.within(seconds):
            complete = self._catch_up(intake, end)
        self._due = (end, signed) if complete is None else None
        if complete:
            self._check_pairing(intake)
        if complete and signed is not None:
            self._unkept.append((signed, intake.branch))
        return complete

    def _check_pairing(self, intake: Intake) -> None:
        """Say that the board is in a pairing that is not this host's, if this host has paired it.

        An app that runs while the owner has the board in setup can pair it with a secret of its
        own. That is stored once, and told until this host is paired again, or ends its pairing.
        """
        made = self._recorder.pairings(self._board)
        if not made:
            if intake.pairings:
                number, key_id = intake.pairings[-1]
                self._recorder.note(
                    f"Board {self._board} is in pairing {number} (key {key_id}), which this host"
                    " has not made: what it signs cannot be checked here."
                )
            return
        ours = made[-1]
        known = self._recorder.use(lambda log: log.paired_elsewhere(self._board))
        if known is not None:
            if not self._told_elsewhere:
                self._recorder.tell(EvidenceError(f"Board {self._board}: {known.body['text']}."))
        elif self._is_elsewhere(intake, ours) and self._recorder.is_paired(self._board):
            key_id = dict(intake.pairings).get(intake.pairing)
            self._incident(
                ELSEWHERE,
                f"it was paired again, as pairing {intake.pairing}, and not by this host. If that"
                " was you, `hardmute unpair` ends this host's pairing; if not, somebody else has"
                " its keys: run `hardmute pair`",
                pairing=intake.pairing,
                key_id=key_id,
            )
        self._told_elsewhere = True

    def _is_elsewhere(self, intake: Intake, ours: Pairing) -> bool:
        """Whether the journal ends in a pairing that is not ``ours``."""
        other = any(
            number == ours.pairing and key_id != ours.key_id for number, key_id in intake.pairings
        )
        return other or intake.pairing not in (0, ours.pairing)

    def _catch_up(self, intake: Intake, end: JournalEnd) -> bool | None:
        """Fetch what the log lacks up to ``end``. Whether the log, if there is one, ends there.

        None: that is not known, as the time was over, or a contact takes no more records.
        """
        if intake.seq > end.seq:
            intake.begin_branch(
                "backwards",
                f"its journal ends with record {end.seq}, and this log has {intake.seq}",
                seq=end.seq,
                known=intake.seq,
            )
        if not (_ends(intake, end) or self._fetch(intake, end.seq)):
            return None
        if self._recorder.log is None:
            return True
        if not _ends(intake, end):
            self._incident(
                "bad_head",
                f"its journal does not end in the head that it tells for record {end.seq}",
                seq=end.seq,
            )
            return False
        return True

    def _fetch(self, intake: Intake, last: int) -> bool:
        """Whether all up to ``last`` could be had."""
        start = max(1, intake.seq)
        try:
            while 0 < start <= last and self._recorder.log is not None:
                start = self._fetch_from(intake, start, last)
        except PortWantedError:
            raise
        except UnreachableError as error:
            # The state was told to this host a moment ago; only the history is slow.
            if self._session.left_s > 0 and error.reason != "no_answer":
                raise
            return False
        finally:
            intake.flush()
        return start > 0

    def _fetch_from(self, intake: Intake, start: int, last: int) -> int:
        """Take what there is from ``start`` on. Returns from where on to go on; 0: not now."""
        for page in self._session.journal(start, last):
            if not self._told_many and last - page.start >= _MANY:
                self._told_many = True
                self._recorder.note(f"Fetching {last - page.start + 1} records of the journal ...")
            for at, data in enumerate(page.records, page.start):
                if at > last:
                    break
                if at > intake.seq and not self._bounds.records.take():
                    return 0
                if not intake.take(at, data):
                    return 1
            if self._recorder.log is None:
                break
            if self._session.left_s <= 0:
                return 0
        return last + 1


def _ahead_ms(now: Moment) -> int:
    """The wall clock less the one that nobody sets."""
    return now.wall_ms - now.run_us // 1000


def foreign(answer: Attested, asked: bytes, board: str, key: bytes | None) -> str | None:
    """Why this cannot be the answer of ``board`` to the nonce ``asked``; None if it can.

    ``key``: this host's attest key, None if it has none.
    """
    if answer.nonce != asked:
        return "it attests to a nonce that was not asked for: an answer of another time"
    if answer.board != board:
        return f"board {answer.board} attests in its place"
    import hmac

    signed = canonical(answer.statement).encode()
    if key is None or hmac.compare_digest(
        answer.mac, hmac.digest(key, signed, "sha256")[: attest.MAC]
    ):
        return None
    return (
        f"it attests under a key, of pairing {answer.end.pairing}, that is not this host's: it is"
        " another board, or was paired with another host. If that was you, `hardmute unpair` ends"
        " it here; to be this board's host again, pair again"
    )


def _ends(intake: Intake, end: JournalEnd) -> bool:
    return intake.seq == end.seq and end.head in (None, intake.head)


def bears_out(status: Status, signed: Status) -> bool:
    """Whether a status says what the board had signed right before."""
    return status.uptime_ms >= signed.uptime_ms and _same(status, signed)


def covers(event: Status, signed: Status) -> bool:
    """Whether what the board has signed, before or after, holds for the time of ``event`` too."""
    return event.uptime_ms >= signed.uptime_ms - signed.since_ms and _same(event, signed)


def _same(status: Status, signed: Status) -> bool:
    return _signed_fields(status) == _signed_fields(signed)


_signed_fields = attrgetter("state", "command", "sense", "cause", "boot", "changes", "service")


def contradiction(status: Status, signed: Attested) -> str | None:
    """What is wrong, in a clause, where a status says something else than the board had signed
    right before; None where something may have happened in between.
    """
    was = signed.status
    seq = status.journal.seq if status.journal is not None else 0
    goes_on = (
        status.uptime_ms >= was.uptime_ms
        and (status.changes, seq) != (was.changes, signed.end.seq)
        and status.changes >= was.changes
        and seq >= signed.end.seq
    )
    if status.boot > was.boot or (status.boot == was.boot and goes_on):
        return None
    return (
        f'the board has just signed "{was.state}", and says "{status.state}" without a change in'
        " between"
    )


# From the mildest to the gravest.
_GRAVITY = ("muted", "live", "fault")


def _weighed(met: Meeting, signed: Signed) -> Meeting:
    """What it comes to when, asked twice, the board said something else than it had signed."""
    wrong = contradiction(met.status, signed.answer)
    if wrong is not None:
        return met._replace(contradicted=wrong)
    was = signed.answer.status
    if _GRAVITY.index(was.state) <= _GRAVITY.index(met.status.state):
        return met
    return Meeting(
        was._replace(journal=met.status.journal),
        signed.sent_us,
        signed.anchor_us,
        signed.received_ms,
        signed.run,
        signed,
    )


def _body(signed: Signed) -> dict[str, Any]:
    """What the log keeps of an attestation (docs/evidence.md)."""
    return {
        "statement": signed.answer.statement,
        "mac": signed.answer.mac.hex(),
        "journal_mac": signed.answer.journal_mac.hex(),
        "salt": signed.salt.hex(),
        "log_row": signed.log_row,
        "sent_ms": signed.sent_ms,
        "received_ms": signed.received_ms,
        "elapsed_us": signed.anchor_us - signed.sent_us,
        "anchor_us": signed.anchor_us,
        "checked": signed.checked,
    }
