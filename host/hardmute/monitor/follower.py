"""Following one board for as long as somebody wants to know its state."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from typing import Literal

from hardmute.device import discovery
from hardmute.device.client import STREAM_SILENCE_S, Session
from hardmute.device.holder import Turn
from hardmute.evidence.observation import STILL_MS, Observation, essence
from hardmute.model import errors
from hardmute.model.allowance import Allowance
from hardmute.model.answers import NOT_ATTESTED, Identity
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.store.log import Log
from hardmute.sync.contact import LASTING, Budget, Contact, Meeting
from hardmute.sync.recorder import Recorder
from hardmute.sync.visit import holder_knows, observed, unseen_now

_BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
# How long `watch` leaves a board alone that has not signed; and where the reason is a lasting one.
_UNSIGNED_S = 1.0
_LASTING_S = 60.0
# How often a pause looks whether it is over, in seconds: two events cannot be waited for at once.
_LOOK_AGAIN_S = 0.1
# Rows that a watch writes at once: the last word on a state, and the first on the next. Then it is
# one a second, which stands for all that was heard.
_ROWS = 2
# Contacts of a watch at once, and then one a second: after each press "muted" is to be signed, and
# a person may press quickly.
_CONTACTS = 8
# How long it fetches old records between two events, in seconds: the next event is not to wait.
_SLICE_S = 0.5
# ``connecting``: looking for the board, or asking it. ``following``: it is heard. ``lost``: it
# cannot be followed now; after a pause, which grows up to the last of `_BACKOFF_S`, the follower
# is ``connecting`` again.
Phase = Literal["connecting", "following", "lost"]
# A monitor runs for years: a row a minute would be 0.7 MB a day.
_MONITOR_STILL_MS = 300_000
# Rows stand for those that were left out, from the mildest to the gravest.
_GRAVITY = ("muted", "unknown", "live", "fault")


class Loan:
    """A port that somebody wants for a while. ``turn``: why, see `holder.Turn`.

    ``grant`` is called in the follower's thread with the open port, which is to be closed; with
    None if none is to be had. The follower then leaves the board alone until `ended` is set.
    """

    def __init__(self, turn: Turn, grant: Callable[[int | None], None]) -> None:
        self.turn: Turn = turn
        self.grant = grant
        self.ended = threading.Event()


class Follower:
    """Follows one board, across unplugging and restarts. It shows changes by ``show``; it logs
    those, and a row a minute; a monitor, a row each five minutes. It prints nothing.

    Where changes come faster than a row a second, a row is the gravest of them and says how many
    there were. A board that signs attests for the log at least every ten minutes.

    A `mute` or a `prove` that asks for the port gets it; so does each command, where ``turn`` is
    "monitor". The board is followed again afterwards. ``source``: the command that the log names.

    Its properties may be read, and `wake` and `bar` be called, in any thread.
    """

    def __init__(
        self,
        named: str | None,
        timeout: float,
        show: Callable[[Observation], None],
        *,
        board: str | None = None,
        clock: HostClock = SYSTEM,
        stop: threading.Event | None = None,
        turn: Literal["follow", "monitor"] = "follow",
        source: str = "watch",
        search: discovery.Search | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        self.phase: Phase = "connecting"
        self._timeout = timeout
        self._first_turn: Turn = turn
        self._source = source
        self._still_ms = _MONITOR_STILL_MS if turn == "monitor" else STILL_MS
        self._show = show
        self._clock = clock
        self._stop = stop
        self._recorder = recorder or Recorder()
        self._named = named
        # The board that is meant, by the log: it is waited for. Any other has to be there now.
        log = self._recorder.log
        self._meant = discovery.known_board(named, log) if log is not None else None
        self._rest()
        self._board = board
        self._device = named or "no port"
        self._simulated = False
        self._failures = 0
        self._is_back = False
        # Why the board is not to be followed, though it is there.
        self._barred: errors.UnreachableError | None = None
        self._woken = threading.Event()
        self._session: Session | None = None
        # Those that want the port; each belongs to who takes it out.
        self._loans: list[Loan] = []
        self._identity: Identity | None = None
        self._heard_s = self._now_s()
        # When a board that has not signed is asked again at the earliest (`_now_s`).
        self._ask_again = 0.0
        # The newest observation, and the newest one that is in the log.
        self._newest: Observation | None = None
        self._logged: Observation | None = None
        # An "unknown" that is shown and not logged: who holds the port knows more.
        self._unlogged: Observation | None = None
        # What is to be logged next, the gravest since the last row; and the changes since then.
        self._held: Observation | None = None
        self._changes = 0
        # "unknown" is shown, because what was read had waited: the next state is shown again.
        self._is_doubted = False
        # The newest observation is another than what is shown: so is what comes next.
        self._is_unshown = False
        self._rows = Allowance(_ROWS, self._now_s)
        self._meetings = Allowance(_CONTACTS, self._now_s)
        self._search = search or discovery.Search(self._now_s)
        # A device that goes and comes back gets no more of them.
        self._bounds = Budget(clock)

    def _now_s(self) -> float:
        return self._clock.now_s()

    @property
    def exit_code(self) -> int:
        """What the log's own health asks for."""
        return self._recorder.exit_code

    @property
    def evidence(self) -> errors.HardmuteError | None:
        """What was found last of evidence that does not hold; None if nothing was."""
        return self._recorder.evidence

    @property
    def log(self) -> Log | None:
        """The log, while it can be used."""
        return self._recorder.log

    @property
    def known(self) -> Observation | None:
        """What is known now, whether it is news or not; None before the board was first asked.

        A state that was heard more than 3 s ago is unknown, whoever was stopped since.
        """
        newest = self._newest
        if newest is None or newest.verdict == "unknown":
            return newest
        if self._is_doubted or self._now_s() - (newest.run_us or 0) / 1e6 > STREAM_SILENCE_S:
            return self._unseen("late")
        return newest

    @property
    def identity(self) -> Identity | None:
        """What the board said of itself last."""
        return self._identity

    @property
    def device(self) -> str:
        """The port where the board is, or was last."""
        return self._device

    def wake(self) -> None:
        """Look for a board that is lost now: something was plugged in. Or see that it is over."""
        self._woken.set()
        if self._session is not None:
            self._session.wake()

    def lend(self, loan: Loan) -> bool:
        """Have ``loan`` get the port, after those that wait for it; a `mute` goes first.

        Whether its `Loan.grant` will be called. Not so while the board is not heard.
        """
        self._loans.append(loan)
        session = self._session
        if session is None and self._drop(loan):
            return False
        if session is not None:
            session.wake()
        return True

    def _drop(self, loan: Loan) -> bool:
        """Whether ``loan`` still waited; it does not any more."""
        try:
            self._loans.remove(loan)
        except ValueError:
            return False
        return True

    def bar(self, error: errors.UnreachableError | None) -> None:
        """Follow the board no more, for this reason; or again."""
        if error is not self._barred:
            self._barred = error
            self.wake()

    @property
    def heard_s(self) -> float:
        """When the board was heard last, in seconds of the clock given."""
        return self._heard_s

    def run(self) -> None:
        """Follow the board until it is stopped, or interrupted by an exception.

        Raises `UnreachableError` or `UsageError` where nothing was followed yet, and no such board
        was ever met; a monitor waits for it.
        """
        try:
            while not self._is_stopped():
                try:
                    self._follow()
                except errors.PortWantedError as error:
                    self._is_back = True
                    if self._now_s() - self._heard_s > STREAM_SILENCE_S:
                        # One after the other.
                        self._lost(error)
                    continue
                except (errors.UnreachableError, errors.UsageError) as error:
                    goes_on = self._newest is not None or self._first_turn == "monitor"
                    if isinstance(error, errors.UsageError):
                        if not goes_on:
                            raise
                        # Where it was is something else now; or another board has its id, too.
                        error = errors.UnreachableError(str(error), "not_told_apart")
                    self._lost(error)
                    if not goes_on and self._meant is None:
                        # Nothing has been followed yet, and no such board was ever seen.
                        raise
                self.phase = "lost"
                pause_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
                self._meetings.refill()
                if not self._meetings.take():
                    # A device that goes and comes back is met no more often than another one.
                    pause_s = max(1.0, pause_s)
                self._pause(pause_s)
                self._failures += 1
        finally:
            self._log_last()

    def _is_stopped(self) -> bool:
        return self._stop is not None and self._stop.is_set()

    def _pause(self, seconds: float) -> None:
        if self._stop is None:
            time.sleep(seconds)
            return
        # Who stops a monitor wakes it.
        look_s = seconds if self._first_turn == "monitor" else _LOOK_AGAIN_S
        for _ in range(math.ceil(seconds / look_s)):
            if self._stop.is_set() or self._woken.wait(look_s):
                break
        self._woken.clear()

    def _is_over(self) -> bool:
        return self._is_stopped() or self._barred is not None or bool(self._loans)

    def _follow(self) -> None:
        # The same board again, wherever it comes back.
        by_port = self._named is not None and discovery.is_port(self._named)
        named = self._board if self._board and not by_port else self._named
        self.phase = "connecting"
        if self._barred is not None:
            raise self._barred
        turn = self._first_turn
        if self._is_back and turn == "follow":
            turn = "back"
        if self._is_back and self._board:
            # It was there a moment ago; no other port needs to be asked.
            named = self._device
        self._is_back = False
        is_over = None if self._stop is None else self._is_over
        with discovery.open_board(
            named, self._timeout, self._recorder.log, turn, self._search, is_over
        ) as found:
            session, identity = found
            self._check_same(identity, session)
            self._board, self._device = identity.board, session.device
            self._identity = identity
            self._simulated = identity.simulated
            self._session = session
            # Somebody may have wanted it before there was anything to wake.
            session.wake()
            contact = self._contact(session, identity)
            is_met = True
            try:
                while True:
                    try:
                        if not is_met:
                            identity = session.hello()
                            self._check_same(identity, session)
                            self._identity = identity
                            contact = self._contact(session, identity)
                        is_met = False
                        self._follow_events(session, identity, contact)
                    except errors.PortWantedError:
                        # Who gets the port next logs what comes next.
                        self._log_last()
                        if not self._lend_port(session):
                            raise
            except KeyboardInterrupt:
                # What happened until now, and the last word on it. A second one ends it here.
                with contextlib.suppress(errors.UnreachableError):
                    session.hello()
                    contact.meet()
                raise
            finally:
                self._session = None
                for loan in self._loans[:]:
                    if self._drop(loan):
                        loan.grant(None)

    def _contact(self, session: Session, identity: Identity) -> Contact:
        return Contact(session, identity, self._recorder, bounds=self._bounds, clock=self._clock)

    def _check_same(self, identity: Identity, session: Session) -> None:
        if self._board not in (None, identity.board):
            raise errors.UnreachableError(
                f"{session.device} is another board now ({identity.board}).", "wrong_board"
            )

    def _lend_port(self, session: Session) -> bool:
        """Lend the port to those that want it, one after the other. Whether there were any."""
        has_lent = False
        while self._loans:
            loan = min(self._loans, key=lambda one: one.turn != "mute")
            if not self._drop(loan):
                continue
            if session.fd is None:
                loan.grant(None)
                continue
            loan.grant(os.dup(session.fd))
            has_lent = True
            while not loan.ended.wait(_LOOK_AGAIN_S):
                if self._is_stopped() or self._barred is not None:
                    return False
        return has_lent

    def _follow_events(self, session: Session, identity: Identity, contact: Contact) -> None:
        def take(heard: Meeting, *, show: bool = True) -> None:
            self._take(observed(heard, identity, session, self._source), show=show)

        def meet(*waited: Meeting) -> Meeting:
            # What is shown stands until it is over.
            with session.within(STREAM_SILENCE_S):
                met = contact.meet()
            # What came before the answer is no news any more, and belongs in the log.
            events = map(contact.dated, session.events_until(met.status))
            for heard in (*waited, *events):
                take(contact.vouched(heard), show=False)
            take(met)
            return met

        met = contact.meet()
        self._rest()
        for event in session.watch():
            self.phase = "following"
            self._failures = 0
            self._heard_s = self._now_s()
            self._meetings.refill()
            heard = contact.dated(event)
            if heard.doubt is not None:
                if heard.doubt == "late":
                    self._doubt()
                may_ask = self._meetings.take()
                if event.state != "muted" or not may_ask:
                    # It is logged, whatever the board says next.
                    take(contact.unheard(heard), show=False)
                if may_ask:
                    met = meet(heard)
                continue
            heard = contact.vouched(heard)
            if (self._owes(heard) or contact.is_due()) and self._meetings.take():
                if self._newest is not None and self._newest.verdict == "muted":
                    # Until the board has signed that it is muted again.
                    take(heard)
                met = meet()
                wait_s = _LASTING_S if met.unsigned in LASTING else _UNSIGNED_S
                self._ask_again = self._now_s() + (wait_s if met.unsigned else 0)
            else:
                take(heard)
            known = met.status.journal
            news = event.journal is not None and (known is None or event.journal.seq != known.seq)
            if news and self._meetings.take():
                met = meet()
            else:
                contact.finish(_SLICE_S)
            self._rest()

    def _rest(self) -> None:
        """Leave the log alone until there is something to log: one that is open takes 0.1 MB."""
        if self._first_turn == "monitor":
            self._recorder.rest()

    def _owes(self, heard: Meeting) -> bool:
        """Whether the board is to sign, so that "muted" can be said, or a contradiction ends."""
        owes = heard.contradicted is not None or heard.conclusion.reason == NOT_ATTESTED
        return owes and self._now_s() >= self._ask_again

    def _take(self, observation: Observation, *, show: bool = True, is_lost: bool = False) -> None:
        before = self._newest
        changed = (
            before is None or before is self._unlogged or essence(before) != essence(observation)
        )
        # Who reads what is shown may interrupt this at once: it is the last word then.
        self._newest = observation
        if show and (changed or self._is_doubted or self._is_unshown):
            # Before the log, which may have to wait.
            self._show(observation)
            self._is_doubted = self._is_unshown = False
        elif changed:
            self._is_unshown = True
        self._rows.refill()
        is_last = changed and before is not None and before.state is not None
        if is_last and (is_lost or self._rows.has(_ROWS)):
            # How long the old state held is only known to the moment of the last event. An unknown
            # state holds until now; another process may have logged something since it was asked.
            self._log(before)
        if changed:
            self._changes += 1
        if changed or self._is_due(observation) or self._held is not None:
            self._log(observation)

    def _is_due(self, observation: Observation) -> bool:
        """Whether the last row is old, whatever the host's clock was set to since."""
        if self._logged is None or self._logged.run != observation.run:
            return True
        return (observation.run_us or 0) - (self._logged.run_us or 0) >= 1000 * self._still_ms

    def _doubt(self) -> None:
        """Show that the state is not known: what was read had waited."""
        if not self._is_doubted:
            self._is_doubted = True
            self._show(self._unseen("late"))

    def _lost(self, error: errors.UnreachableError) -> None:
        observation = self._unseen(error.reason)
        was_unlogged = self._newest is not None and self._newest is self._unlogged
        if holder_knows(self._recorder, observation.board, error):
            self._unlogged = observation
        goes_on = observation is self._unlogged or not was_unlogged
        if self._newest is None or self._newest.verdict != "unknown" or not goes_on:
            self._take(observation, is_lost=True)
        else:
            if self._held is not None or self._newest.state is not None:
                self._log(self._newest)
            self._newest = observation

    def _unseen(self, reason: str) -> Observation:
        return unseen_now(
            reason,
            self._board or self._meant,
            self._device,
            self._simulated,
            self._source,
            self._clock,
        )

    def _log(self, newest: Observation | None) -> None:
        """Log ``newest``; or later, where there are too many to log them all."""
        if newest is None or newest in (self._logged, self._unlogged):
            return
        if self._held is None or _gravity(newest) >= _gravity(self._held):
            self._held = newest
        self._rows.refill()
        # What could not be written is held, and tried again with the next.
        if self._rows.take() and self._write(self._held):
            self._held = None if newest is self._logged else newest

    def _log_last(self) -> None:
        """Log what has waited, as nothing comes after it."""
        for last in dict.fromkeys((self._held, self._newest)):
            if last is not None and last not in (self._logged, self._unlogged):
                self._write(last)
        self._held = None
        # Even if that failed: who gets the port next logs what comes next.
        self._logged = self._newest

    def _write(self, row: Observation) -> bool:
        if not self._recorder.add(
            row._replace(summary_of=self._changes) if self._changes > 1 else row
        ):
            return False
        self._logged = row
        self._changes = 0
        return True


def _gravity(observation: Observation) -> int:
    return _GRAVITY.index(observation.verdict)
