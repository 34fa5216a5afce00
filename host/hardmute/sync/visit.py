"""One visit to a board: it is asked, and what it said is logged, "unknown" included."""

from __future__ import annotations

import time
from collections.abc import Callable

from hardmute.device import discovery, simulators
from hardmute.device.client import Session
from hardmute.device.holder import Turn, port_key
from hardmute.evidence.anchors import Anchor, advance
from hardmute.evidence.observation import Observation, seen, unseen
from hardmute.model import errors
from hardmute.model.answers import Identity, JournalEnd, Status
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.typed import NamedTuple
from hardmute.store.log import UNPAIR
from hardmute.sync.contact import TIMEOUTS, Contact, Meeting
from hardmute.sync.recorder import Recorder

# How long `ask_twice` waits before it asks again, in seconds.
VERIFY_PAUSE_S = 0.4
# A person runs these for the row that they leave. What others see twice in a minute has one row.
_EACH_HAS_A_ROW = ("verify", "prove", "mute", "pair", UNPAIR, "prune")

# What a board is asked.
Ask = Callable[[Session, Contact], Meeting]


class Visited(NamedTuple):
    """What was logged of a visit; why it is "unknown", if the board could not be asked.

    ``journal``: the newest record of the board's journal, by its own word.
    """

    observation: Observation
    error: errors.UnreachableError | None = None
    journal: JournalEnd | None = None


def visit(
    recorder: Recorder,
    named: str | None,
    timeout: float,
    source: str,
    ask: Ask,
    *,
    board: str | None = None,
    turn: Turn = "usual",
    tell: Callable[[Observation, Identity], None] = lambda _, _identity: None,
    is_over: Callable[[], bool] | None = None,
    history_s: float | None = None,
) -> Visited:
    """Open a board, ``ask`` it, log what it said.

    ``named`` and ``turn``: see `discovery.open_board`. ``board``: the id that must answer there;
    None: any. ``source``: the command that the log names. ``tell`` gets the answer before the rest
    of the board's history is fetched. ``is_over``: whether nobody waits for the answer any more;
    the visit ends within 0.1 s then, with `UnreachableError`, reason ``cancelled``.
    ``history_s``: how long the rest of the history may take, in seconds; None: what is left of the
    contact's time. Raises `UsageError` where nothing tells which board is meant.
    """
    try:
        with discovery.open_board(named, timeout, recorder.log, turn, is_over=is_over) as found:
            session, identity = found
            _require(board, session, identity)
            contact = begin_contact(recorder, identity, session, source)
            met = ask(session, contact)
            observation = record_seen(recorder, met, identity, session, source)
            tell(observation, identity)
            contact.finish(history_s)
            return Visited(observation, journal=met.status.journal)
    except errors.UnreachableError as error:
        if is_over is not None and is_over():
            raise errors.UnreachableError(
                "The board was not asked: nobody waits for its answer any more.", "cancelled"
            ) from None
        # Its traceback would keep the log open.
        told = error.with_traceback(None)
        return Visited(record_unseen(recorder, named, told, source), told)


def _require(board: str | None, session: Session, identity: Identity) -> None:
    if board not in (None, identity.board):
        raise errors.UnreachableError(
            f"{session.device} is board {identity.board} now, not {board}.", "wrong_board"
        )


def ask_once(_: Session, contact: Contact) -> Meeting:
    """Meet the board."""
    return contact.meet()


def cut(session: Session, contact: Contact) -> Meeting:
    """Cut the line, and wait until the board does not say "live" any more: for one time-out."""
    with session.within(TIMEOUTS * session.timeout - session.begun_s):
        session.mute()
        deadline = SYSTEM.now_s() + session.timeout
        while session.status().state == "live" and SYSTEM.now_s() < deadline:
            pass
        return contact.meet()


def pause(_: Meeting) -> None:
    """Let `VERIFY_PAUSE_S` pass."""
    time.sleep(VERIFY_PAUSE_S)


def ask_twice(_: Session, contact: Contact, between: Callable[[Meeting], None] = pause) -> Meeting:
    """Meet the board twice; its clock and this host's must have advanced alike in between.

    ``between`` is given what the first meeting showed, and lets some time pass.
    Raises `UnreachableError` where they have not, or the board was restarted.
    """
    first = contact.meet()
    if first.contradicted is not None:
        return first
    between(first)
    second = contact.meet()
    if second.status.boot != first.status.boot:
        raise errors.UnreachableError(
            "The board restarted while it was asked: ask again.", "restarted"
        )
    _check_advance(
        _anchor(first.status, first.asked_us, first.heard_us),
        _anchor(second.status, second.asked_us, second.heard_us),
    )
    if first.signed is None or second.signed is None:
        return second._replace(signed=None, unsigned=second.unsigned or first.unsigned)
    one, other = first.signed, second.signed
    _check_advance(
        _anchor(one.answer.status, one.sent_us, one.anchor_us),
        _anchor(other.answer.status, other.sent_us, other.anchor_us),
    )
    return second


def _anchor(status: Status, asked_us: int, heard_us: int) -> Anchor:
    """By the clock that nobody sets, in whole milliseconds that the answer lies between."""
    return Anchor(status.uptime_ms, asked_us // 1000, -(-heard_us // 1000))


def _check_advance(first: Anchor, second: Anchor) -> None:
    """Raise `UnreachableError` unless a board's clock has advanced as this host's has."""
    on = advance(first, second)
    if on.agrees:
        return
    raise errors.UnreachableError(
        f"In {on.passed_ms / 1000:.2f} s the board's clock advanced by {on.board_ms / 1000:.2f} s:"
        " its answers are not fresh.",
        "not_fresh",
    )


def observed(met: Meeting, identity: Identity, session: Session, source: str) -> Observation:
    """The observation that a meeting is."""
    return seen(
        met.status,
        met.conclusion,
        board=identity.board,
        device=session.device,
        source=source,
        at_ms=met.heard_ms,
        # Rounded up: it must not seem to be known better than it is.
        took_ms=-((met.asked_us - met.heard_us) // 1000),
        unsigned=met.unsigned,
        usb=None if met.seen is None else met.seen.word,
        run_us=met.heard_us,
        run=met.run,
    )


def unseen_now(
    reason: str, board: str | None, device: str, simulated: bool, source: str, clock: HostClock
) -> Observation:
    now = clock.now()
    return unseen(
        reason,
        board=board,
        device=device,
        simulated=simulated,
        source=source,
        at_ms=now.wall_ms,
        run_us=now.run_us,
        run=now.run,
    )


def begin_contact(
    recorder: Recorder, identity: Identity, session: Session, source: str
) -> Contact:
    """A contact whose meetings `record_seen` logs."""

    def repeats(met: Meeting) -> bool:
        if source in _EACH_HAS_A_ROW:
            return False
        observation = observed(met, identity, session, source)
        return recorder.use(lambda log: log.repeats(observation)) is True

    return Contact(session, identity, recorder, repeats=repeats, clock=SYSTEM)


def record_seen(
    recorder: Recorder, met: Meeting, identity: Identity, session: Session, source: str
) -> Observation:
    """Log what a meeting has shown, unless the log has it."""
    observation = observed(met, identity, session, source)
    recorder.add(observation, repeated=source in _EACH_HAS_A_ROW)
    return observation


def record_unseen(
    recorder: Recorder, named: str | None, error: errors.UnreachableError, source: str
) -> Observation:
    """Log that there was no state to be had of the board that was ``named``, as `record_seen`.

    A refusal by the process that holds the board's port is not logged: that process knows more.
    """
    board = discovery.board_for(named, recorder.log) if recorder.log is not None else None
    simulated = board in {entry.board for entry in simulators.running()}
    observation = unseen_now(error.reason, board, named or "no port", simulated, source, SYSTEM)
    if not holder_knows(recorder, board, error):
        recorder.add(observation, repeated=source in _EACH_HAS_A_ROW)
    return observation


def holder_knows(recorder: Recorder, board: str | None, error: errors.UnreachableError) -> bool:
    """Whether a process that writes to this log holds the port where ``board`` is, by the log."""
    if not isinstance(error, errors.PortHeldError):
        return False
    if board is None or recorder.log is None:
        return True
    place = recorder.log.last_device(board)
    return place is not None and port_key(place) == port_key(error.device)
