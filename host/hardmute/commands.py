"""The commands that talk to a board. Each logs what it saw, and returns an exit code."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Generator
from typing import Any

import muteboard
from hardmute import discovery, errors, paths, service, text
from hardmute.allowance import Allowance
from hardmute.client import STREAM_SILENCE_S, Session
from hardmute.clock import SYSTEM, HostClock
from hardmute.contact import LASTING, TIMEOUTS, Bounds, Contact, Meeting
from hardmute.holder import Turn, port_key
from hardmute.log import STILL_MS, UNPAIR, Log, Observation, seen, unseen
from hardmute.recorder import Recorder
from hardmute.report import (
    NOT_ATTESTED,
    PROOF_LEVELS,
    Identity,
    Status,
    exit_code,
    is_board_id,
    warning_text,
)
from hardmute.walltime import Anchor, advance

# How long `verify` waits before it asks again, in seconds.
VERIFY_PAUSE_S = 0.4
_BACKOFF_S = (0.5, 1.0, 2.0, 5.0)
# A person runs these for the row that they leave. What others see twice in a minute has one row.
_EACH_HAS_A_ROW = ("verify", "prove", "mute", "pair", UNPAIR, "prune")
# How long `watch` leaves a board alone that has not signed; and where the reason is a lasting one.
_UNSIGNED_S = 1.0
_LASTING_S = 60.0
# Rows that a watch writes at once: the last word on a state, and the first on the next. Then it is
# one a second, which stands for all that was heard.
_ROWS = 2
# Contacts of a watch at once, and then one a second: after each press "muted" is to be signed, and
# a person may press quickly.
_CONTACTS = 8
# How long it fetches old records between two events, in seconds: the next event is not to wait.
_SLICE_S = 0.5
# Rows stand for those that were left out, from the mildest to the gravest.
_GRAVITY = ("muted", "unknown", "live", "fault")


# What `--json` prints of each board.
Rows = list[dict[str, Any]]


def status(args: Namespace) -> int:
    """`hardmute status`."""

    def report(one: Namespace, rows: Rows | None) -> int:
        return _report(one, lambda _, contact: contact.meet(), rows=rows)

    return _of_each(args, report)


def mute(args: Namespace) -> int:
    """`hardmute mute`: 0 only once muted has been sensed, and signed if this host is paired."""

    def cut(session: Session, contact: Contact) -> Meeting:
        with session.within(TIMEOUTS * session.timeout - session.begun_s):
            session.mute()
            deadline = SYSTEM.now_s() + args.timeout
            while session.status().state == "live" and SYSTEM.now_s() < deadline:
                pass
            return contact.meet()

    def report(one: Namespace, rows: Rows | None) -> int:
        return _report(one, cut, turn="mute", rows=rows)

    return _of_each(args, report, "mute")


def verify(args: Namespace) -> int:
    """`hardmute verify`: the verdict, its proof level, and what it rests on."""
    if args.listen:
        from hardmute.listen import command

        if len(args.devices) > 1:
            raise errors.UsageError("`verify --listen` hears one board: give --device once.")
        return command.verify(args)

    def ask_twice(_: Session, contact: Contact) -> Meeting:
        first = contact.meet()
        if first.contradicted is not None:
            return first
        time.sleep(VERIFY_PAUSE_S)
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

    def report(one: Namespace, rows: Rows | None) -> int:
        return _report(one, ask_twice, require=args.require, explain=True, rows=rows)

    return _of_each(args, report)


def _of_each(
    args: Namespace, report: Callable[[Namespace, Rows | None], int], turn: Turn = "usual"
) -> int:
    """What ``report`` does, of each of several boards, whatever the others come to; or of one.

    Returns the gravest code. A board of which nothing can be said is unknown.
    """
    if args.all and args.devices:
        raise errors.UsageError("--all is every board: leave --device out.")
    if not args.all and len(args.devices) < 2:
        return report(args, None)
    recorder, rows = Recorder(), Rows()
    if args.all:
        boards = _all_boards(args, turn, recorder.log)
    else:
        boards = args.devices
        if turn == "mute":
            discovery.cut(boards, args.timeout, recorder.log)
    # Labels may be missing from a log in trouble.
    code = recorder.exit_code
    for named in boards:
        try:
            one = report(Namespace(**{**vars(args), "device": named}), rows)
        except errors.HardmuteError as error:
            text.complain(error)
            told = {"board": None, "device": named, "verdict": "unknown", "reason": str(error)}
            rows.append(told)
            # A name that means nothing is no usage error here: the other boards were asked.
            one = error.exit_code if error.exit_code != errors.USAGE else errors.UNKNOWN
            one = errors.worst(one, errors.UNKNOWN)
        code = errors.worst(code, one)
    if args.json:
        code = errors.worst(code, _told(lambda: print(json.dumps(rows))))
    return code


def _all_boards(args: Namespace, turn: Turn, log: Log | None) -> list[str | None]:
    """A name of each board that is connected or has a label; those that answer come first.

    A port that does not answer counts if a board was there last, or if it could not be asked. A
    simulated board needs a label; so does a board behind a bridge that no serial number tells from
    others. Without any such board, what stands for the only one. With the turn "mute" those that
    answer are cut already.
    """
    answer: list[str | None] = []
    silent: list[str | None] = []
    for found in discovery.find(args.timeout, log, turn):
        last = found.told or (log.board_last_at(found.device) if log is not None else None)
        if found.identity is not None:
            answer.append(found.identity.board)
        elif last is not None:
            silent.append(last)
        elif found.error is not None and found.error.reason in discovery.NOT_ASKED:
            silent.append(found.device)
    labelled = log.boards() if log is not None else []
    silent += [board for board, label, _ in labelled if label is not None]
    return list(dict.fromkeys(answer + silent)) or [None]


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


def list_boards(args: Namespace) -> int:
    """`hardmute list`: real boards by USB ids and handshake, then simulated ones."""
    from hardmute.sim import registry

    recorder = Recorder()
    devices = [port.device for port in discovery.serial_ports(bridges=args.probe)]
    simulated = [entry.device for entry in registry.running()]
    devices += simulated
    rows: list[dict[str, Any]] = []
    met: dict[str, str] = {}
    for device in dict.fromkeys(devices):
        board = recorder.log.board_last_at(device) if recorder.log else None
        row: dict[str, Any] = {"device": device, "board": board, "firmware": None}
        try:
            with discovery.open_board(device, args.timeout, recorder.log) as (session, identity):
                row["board"] = identity.board
                # Neither of two with one id is to speak for the other in the log.
                discovery.check_alone(identity.board, device, met.get(identity.board))
                contact = begin_contact(recorder, identity, session, "list")
                observation = record_seen(recorder, contact.meet(), identity, session, "list")
                met[identity.board] = device
                contact.finish()
                row |= {
                    "firmware": identity.firmware,
                    "simulated": identity.simulated,
                    "verdict": observation.verdict,
                    "reason": observation.reason,
                    "state": observation.state,
                    "unsigned": observation.unsigned,
                }
        except errors.UnreachableError as error:
            row |= {"simulated": device in simulated, "verdict": "unknown", "reason": str(error)}
            row |= {"state": None, "unsigned": None}
            if board is not None:
                # A port that never was a board's is no board that cannot be reached.
                record_unseen(recorder, device, error, "list")
        row["label"] = recorder.log.label(row["board"]) if recorder.log and row["board"] else None
        rows.append(row)
    if args.json:
        print(json.dumps({"boards": rows}))
    elif rows:
        _print_boards(rows)
    else:
        print("No board is connected. `hardmute sim` starts a simulated one.")
        if not args.probe:
            print("`hardmute list --probe` also looks behind CP210x and CH340 bridges.")
    return recorder.exit_code


def config(args: Namespace) -> int:
    """`hardmute config get|set`."""
    recorder = Recorder()
    changes: dict[str, object] | None = None
    if args.action == "set":
        from hardmute.settings import parse

        changes = parse(args.settings)
        with _logged_session(args, recorder):
            # What the state was before somebody takes the plug out.
            pass
        args.device = service.wait_for("setup", args, recorder)
    with _logged_session(args, recorder) as (session, identity):
        settings = session.config(changes)
    if args.json:
        print(json.dumps({"board": identity.board, "config": settings}))
    else:
        from muteboard import config as board_config

        for key in sorted(settings):
            allowed = board_config.allowed(key) if key in board_config.DEFAULTS else "?"
            print(f"{text.printable(key)} = {text.printable(str(settings[key]))}   ({allowed})")
        if changes is not None:
            print(service.LEAVE.format(service="setup"))
    return recorder.exit_code


def name(args: Namespace) -> int:
    """`hardmute name LABEL`: what this host calls a board."""
    recorder = Recorder()
    if recorder.log is None:
        return recorder.exit_code
    if args.device is not None and is_board_id(args.device):
        board = args.device
    else:
        with _logged_session(args, recorder) as (_, identity):
            board = identity.board
    if args.label is not None:
        label = args.label.strip()
        if not 0 < len(label) <= 40 or text.printable(label) != label:
            raise errors.UsageError("A label has 1 to 40 printable characters.")
        if is_board_id(label) or "/" in label or discovery.is_port(label):
            raise errors.UsageError(
                f"{label!r} looks like a board id or a port; choose another label."
            )
        recorder.log.set_label(board, label)
    print(f"{board}  {recorder.log.label(board) or '(no label)'}")
    return recorder.exit_code


def forget(args: Namespace) -> int:
    """`hardmute forget LABEL|ID`: the board is not expected any more. What is logged stays."""
    log = Log(paths.log_file())
    try:
        board = log.board_named(args.board) or args.board
        if board not in {known for known, _, _ in log.boards()}:
            raise errors.UsageError(f"The log knows no board {args.board!r}.")
        log.set_label(board, None)
    finally:
        log.close()
    print(f"{board}  (no label)")
    return errors.OK


def watch(args: Namespace) -> int:
    """`hardmute watch`: follow a board until Ctrl-C, across unplugging and restarts."""
    import signal

    def end(number: int, _frame: object) -> None:
        # A terminal that is closed says so more than once; the last word is then on its way.
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # A service manager ends it, or its terminal or console is closed: the last word belongs in the
    # log then as well. What `nohup` has it ignore stays ignored.
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    return _Watch(args, SYSTEM).run()


class _Watch:
    """Follows one board. It prints changes; it logs those, and a row a minute.

    Where changes come faster than a row a second, a row is the gravest of them and says how many
    there were. A board that signs attests for the log at least every ten minutes.

    A `mute` or a `prove` that asks for the port gets it. The board is followed again afterwards.
    """

    def __init__(self, args: Namespace, clock: HostClock) -> None:
        self._args = args
        self._clock = clock
        self._recorder = Recorder()
        self._named: str | None = args.device
        # The board that is meant, by the log: it is waited for. Any other has to be there now.
        log = self._recorder.log
        self._meant = discovery.known_board(args.device, log) if log is not None else None
        self._board: str | None = None
        self._device = args.device or "no port"
        self._simulated = False
        self._failures = 0
        self._turn: Turn = "follow"
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
        self._rows = Allowance(_ROWS, self._now_s)
        self._meetings = Allowance(_CONTACTS, self._now_s)
        self._search = discovery.Search(self._now_s)
        # A device that goes and comes back gets no more of them.
        self._bounds = Bounds(clock)

    def _now_s(self) -> float:
        return self._clock.now_s()

    def run(self) -> int:
        try:
            while True:
                try:
                    self._follow()
                except errors.PortWantedError as error:
                    self._turn = "back"
                    if self._now_s() - self._heard_s > STREAM_SILENCE_S:
                        # One after the other.
                        self._lost(error)
                    continue
                except errors.UnreachableError as error:
                    first = self._newest is None
                    self._lost(error)
                    if first and self._meant is None:
                        # Nothing has been followed yet, and no such board was ever seen.
                        text.complain(error)
                        return errors.worst(error.exit_code, self._recorder.exit_code)
                pause_s = _BACKOFF_S[min(self._failures, len(_BACKOFF_S) - 1)]
                self._meetings.refill()
                if not self._meetings.take():
                    # A device that goes and comes back is met no more often than another one.
                    pause_s = max(1.0, pause_s)
                time.sleep(pause_s)
                self._failures += 1
        except KeyboardInterrupt:
            self._log_last()
            if self._recorder.exit_code != errors.OK:
                return self._recorder.exit_code
            raise
        finally:
            self._log_last()

    def _follow(self) -> None:
        # The same board again, wherever it comes back.
        by_port = self._named is not None and discovery.is_port(self._named)
        named = self._board if self._board and not by_port else self._named
        turn, self._turn = self._turn, "follow"
        if turn == "back" and self._board:
            # It was there a moment ago; no other port needs to be asked.
            named = self._device
        with discovery.open_board(
            named, self._args.timeout, self._recorder.log, turn, self._search
        ) as found:
            session, identity = found
            if self._board not in (None, identity.board):
                raise errors.UnreachableError(
                    f"{session.device} is another board now ({identity.board}).", "wrong_board"
                )
            self._board, self._device = identity.board, session.device
            self._simulated = identity.simulated
            contact = Contact(
                session, identity, self._recorder, bounds=self._bounds, clock=self._clock
            )
            try:
                self._follow_events(session, identity, contact)
            except errors.PortWantedError:
                # Who gets the port next logs what comes next.
                self._log_last()
                raise
            except errors.UnreachableError:
                self._log(self._newest)
                raise
            except KeyboardInterrupt:
                # What happened until now, and the last word on it. A second one ends it here.
                with contextlib.suppress(errors.UnreachableError):
                    session.hello()
                    contact.meet()
                raise

    def _follow_events(self, session: Session, identity: Identity, contact: Contact) -> None:
        def take(heard: Meeting, *, show: bool = True) -> None:
            self._take(observed(heard, identity, session, "watch"), show=show)

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
        for event in session.watch():
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

    def _owes(self, heard: Meeting) -> bool:
        """Whether the board is to sign, so that "muted" can be said, or a contradiction ends."""
        owes = heard.contradicted is not None or heard.conclusion.reason == NOT_ATTESTED
        return owes and self._now_s() >= self._ask_again

    def _take(self, observation: Observation, *, show: bool = True) -> None:
        before = self._newest
        changed = (
            before is None or before is self._unlogged or _essence(before) != _essence(observation)
        )
        if show and (changed or self._is_doubted):
            # Before the log, which may have to wait.
            self._is_doubted = False
            self._show(observation)
        self._rows.refill()
        if changed and before is not None and before.state is not None and self._rows.has(_ROWS):
            # How long the old state held is only known to the moment of the last event. An unknown
            # state holds until now; another process may have logged something since it was asked.
            self._log(before)
        self._newest = observation
        if changed:
            self._changes += 1
        if changed or self._is_due(observation) or self._held is not None:
            self._log(observation)

    def _is_due(self, observation: Observation) -> bool:
        """Whether the last row is a minute old, whatever the host's clock was set to since."""
        if self._logged is None or self._logged.run != observation.run:
            return True
        return (observation.run_us or 0) - (self._logged.run_us or 0) >= 1000 * STILL_MS

    def _doubt(self) -> None:
        """Show that the state is not known: what was read had waited."""
        if not self._is_doubted:
            self._is_doubted = True
            self._show(self._unseen("late"))

    def _lost(self, error: errors.UnreachableError) -> None:
        observation = self._unseen(error.reason)
        was_unlogged = self._newest is not None and self._newest is self._unlogged
        if _holder_knows(self._recorder, observation.board, error):
            self._unlogged = observation
        goes_on = observation is self._unlogged or not was_unlogged
        if self._newest is None or self._newest.verdict != "unknown" or not goes_on:
            self._take(observation)
        else:
            if self._held is not None:
                self._log(self._newest)
            self._newest = observation

    def _unseen(self, reason: str) -> Observation:
        return _unseen_now(
            reason, self._board or self._meant, self._device, self._simulated, "watch", self._clock
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

    def _show(self, observation: Observation) -> None:
        if self._args.json:
            print(json.dumps(observation.as_json()), flush=True)
            return
        stamp = text.local_time(observation.at_ms)
        label = _label(self._recorder, observation.board)
        text.headline(observation.verdict, f"{stamp}  {label}  {_why(observation)}")
        sys.stdout.flush()


def _gravity(observation: Observation) -> int:
    return _GRAVITY.index(observation.verdict)


def _essence(observation: Observation) -> tuple[object, ...]:
    return (
        observation.verdict,
        observation.cause,
        observation.boot,
        observation.changes,
        observation.faults,
        observation.warnings,
        observation.service,
    )


def _report(
    args: Namespace,
    ask: Callable[[Session, Contact], Meeting],
    require: str = "sensed",
    *,
    explain: bool = False,
    turn: Turn = "usual",
    rows: Rows | None = None,
) -> int:
    """Open the board, ``ask`` for its status, log it, print it.

    ``rows``: what `--json` prints is put there instead.
    """
    recorder = Recorder()
    source = args.command
    firmware = None
    told = errors.OK
    try:
        with discovery.open_board(args.device, args.timeout, recorder.log, turn) as found:
            session, identity = found
            firmware = identity.firmware
            contact = begin_contact(recorder, identity, session, source)
            met = ask(session, contact)
            observation = record_seen(recorder, met, identity, session, source)
            told = _tell(args, recorder, observation, firmware, require if explain else None, rows)
            # A reader is not to wait for the history. One who has gone is met by `main`.
            with contextlib.suppress(OSError):
                sys.stdout.flush()
            contact.finish()
    except errors.UnreachableError as error:
        observation = record_unseen(recorder, args.device, error, source)
        text.complain(error)
        told = _tell(args, recorder, observation, firmware, rows=rows)
    return errors.worst(
        exit_code(observation.verdict, observation.proof, require), recorder.exit_code, told
    )


def _tell(
    args: Namespace,
    recorder: Recorder,
    observation: Observation,
    firmware: str | None,
    explained: str | None = None,
    rows: Rows | None = None,
) -> int:
    """Print a state. ``explained``: say what it rests on as well, where this was required.

    ``rows``: see `_report`. Returns as `_told`.
    """
    return _told(lambda: _print_state(args, recorder, observation, firmware, explained, rows))


def _told(tell: Callable[[], object]) -> int:
    """`errors.LOCAL` where ``tell`` cannot print: the exit code tells the state all the same."""
    try:
        tell()
    except OSError as error:
        text.complain_of_output(error)
        return errors.LOCAL
    return errors.OK


def _print_state(
    args: Namespace,
    recorder: Recorder,
    observation: Observation,
    firmware: str | None,
    explained: str | None,
    rows: Rows | None,
) -> None:
    if args.json:
        matches = None if firmware is None else firmware == muteboard.__version__
        told = {"firmware": firmware, "firmware_matches": matches}
        row = observation.as_json() | told
        if rows is None:
            print(json.dumps(row))
        else:
            rows.append(row)
    else:
        _print_observation(recorder, observation)
        if firmware is not None:
            _print_firmware(firmware)
    if explained is not None and observation.verdict != "unknown":
        _explain(args, observation, explained)


@contextlib.contextmanager
def _logged_session(args: Namespace, recorder: Recorder) -> Generator[tuple[Session, Identity]]:
    """A session that begins with a status for the log, be it "unknown"."""
    try:
        with discovery.open_board(args.device, args.timeout, recorder.log) as (session, identity):
            contact = begin_contact(recorder, identity, session, args.command)
            record_seen(recorder, contact.meet(), identity, session, args.command)
            contact.finish()
            yield session, identity
    except errors.UnreachableError as error:
        record_unseen(recorder, args.device, error, args.command)
        raise


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
        run_us=met.heard_us,
        run=met.run,
    )


def _unseen_now(
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
    from hardmute.sim import registry

    board = discovery.board_for(named, recorder.log) if recorder.log is not None else None
    simulated = board in {entry.board for entry in registry.running()}
    observation = _unseen_now(error.reason, board, named or "no port", simulated, source, SYSTEM)
    if not _holder_knows(recorder, board, error):
        recorder.add(observation, repeated=source in _EACH_HAS_A_ROW)
    return observation


def _holder_knows(recorder: Recorder, board: str | None, error: errors.UnreachableError) -> bool:
    """Whether a process that writes to this log holds the port where ``board`` is, by the log."""
    if not isinstance(error, errors.PortHeldError):
        return False
    if board is None or recorder.log is None:
        return True
    place = recorder.log.last_device(board)
    return place is not None and port_key(place) == port_key(error.device)


def _label(recorder: Recorder, board: str | None) -> str:
    if board is None:
        return "unknown board"
    label = recorder.log.label(board) if recorder.log is not None else None
    return f"{label} ({board})" if label else f"board {board}"


def _why(observation: Observation) -> str:
    if observation.state is None:
        return text.REASONS.get(observation.reason or "", "")
    if observation.reason == NOT_ATTESTED:
        parts = [text.claimed(observation.unsigned)]
    else:
        parts = [text.CAUSES.get(observation.cause or "", ""), observation.reason or ""]
    if observation.service not in (None, "none"):
        parts.append(f"in {observation.service}")
    parts += [warning.replace("_", " ") for warning in observation.warnings or ()]
    if observation.simulated:
        parts.append("simulated")
    return ", ".join(filter(None, parts))


def _print_observation(recorder: Recorder, observation: Observation) -> None:
    label = _label(recorder, observation.board)
    if observation.state is None:
        text.headline(observation.verdict, f"{label}: {_why(observation)}")
        return
    unsigned = observation.reason == NOT_ATTESTED
    claimed = f": {text.claimed(observation.unsigned)}" if unsigned else ""
    text.headline(observation.verdict, f"{label}{claimed}")
    if observation.simulated:
        text.detail("a simulated board: no real microphone is cut by it")
    if unsigned:
        text.detail(text.unsigned(observation.unsigned).advice)
        _print_warnings(observation)
        return
    since_ms = observation.since_ms or 0
    began = text.local_time(observation.at_ms - since_ms)
    cause = "" if observation.cause == "fault" else f", by {text.CAUSES[observation.cause or '']}"
    text.detail(f"since {began} ({text.duration(since_ms)}){cause}")
    if observation.reason:
        text.detail(f"{observation.reason}")
    _print_contacts(observation)
    if observation.remute_in_ms is not None:
        text.detail(f"mutes itself in {text.duration(observation.remute_in_ms)}")
    if observation.unsigned not in (None, "contradicted"):
        text.detail(f"not signed ({text.unsigned(observation.unsigned).word})")
    _print_warnings(observation)


def _print_warnings(observation: Observation) -> None:
    if observation.service not in (None, "none"):
        text.detail(f"in {observation.service}: the line stays cut until the power has been off")
    for warning in observation.warnings or ():
        text.detail(f"warning: {warning_text(warning)}")


def _print_firmware(firmware: str) -> None:
    """By the board's own word: `hardmute flash --verify` reads it back."""
    ours = muteboard.__version__
    if firmware == ours:
        text.detail(f"firmware {firmware}, as this hardmute carries it")
    else:
        text.detail(f"firmware {firmware}; this hardmute carries {ours}: update the older")


def _print_contacts(observation: Observation) -> None:
    sense = observation.sense or ()
    opened = [str(number) for number, bit in enumerate(sense, 1) if not bit]
    if sense:
        attested = ", attested" if observation.proof == "attested" else ""
        text.detail(f"{len(opened)} of {len(sense)} contacts sensed open{attested}")
    if observation.state != "fault":
        return
    if len(opened) == len(sense):
        text.detail("they agree with the command again: one press of the button ends the fault")
    elif opened:
        text.detail(f"the line is still cut by contact {' and '.join(opened)}")
    else:
        text.detail("the microphone may still be connected: pull its plug, then `hardmute doctor`")


def _explain(args: Namespace, observation: Observation, require: str) -> None:
    lines = [
        f"proof level: {observation.proof or 'none'} (asked for: {require})",
        f"two answers {VERIFY_PAUSE_S:g} s apart, to random request ids; clocks and boot agree",
    ]
    if observation.proof == "reported":
        lines.append("the board has no sense contact: its word is all there is")
    if observation.proof == "attested":
        lines.append("both signed with the attest key, over numbers that this host chose")
    if observation.proof in ("sensed", "attested"):
        lines.append("every sense contact agrees with the command")
        lines.append("trusted: the firmware, that sense and microphone contacts are tied,")
        lines.append("that your microphone runs through them (`verify --listen` tells)")
    if observation.proof == "attested":
        lines.append("and that nobody else has this host's attest key, or the verify key")
    proof = observation.proof
    if proof is not None and PROOF_LEVELS.index(proof) < PROOF_LEVELS.index(require):
        lines.append(_what_lacks(require))
    if not args.json:
        for line in lines:
            text.detail(f"{line}")


def _what_lacks(require: str) -> str:
    if require == "attested":
        return "not attested: `hardmute pair --verify-key FILE` lets it prove its word"
    if require == "heard":
        return "not heard: `hardmute verify --listen` asks the microphone itself"
    return f"this board has no sense contact, so it cannot prove {require!r}"


def _print_boards(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        parts = [row["label"], row["board"] or "no board answers"]
        if row["simulated"]:
            parts.append("(simulated)")
        if row["firmware"]:
            parts.append(f"firmware {row['firmware']}")
        text.headline(row["verdict"], "  ".join(filter(None, parts)))
        # Alone and whole, to be copied.
        print(f"         {row['device']}")
        if row["reason"] == NOT_ATTESTED:
            text.detail(text.claimed(row["unsigned"]))
        elif row["reason"]:
            text.detail(row["reason"])
