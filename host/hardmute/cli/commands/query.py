"""The commands that talk to a board. Each logs what it saw, and returns an exit code."""

from __future__ import annotations

import contextlib
import json
import sys
from argparse import Namespace
from collections.abc import Callable, Generator
from typing import Any

import muteboard
from hardmute.cli import console, service
from hardmute.device import discovery
from hardmute.device.client import Session
from hardmute.device.holder import Turn
from hardmute.evidence.observation import Observation
from hardmute.model import errors, words
from hardmute.model.answers import (
    NOT_ATTESTED,
    PROOF_LEVELS,
    Identity,
    exit_code,
    is_board_id,
    warning_text,
)
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.monitor.follower import Follower
from hardmute.store.log import Log
from hardmute.sync.recorder import Recorder
from hardmute.sync.visit import (
    VERIFY_PAUSE_S,
    Ask,
    ask_once,
    ask_twice,
    begin_contact,
    cut,
    record_seen,
    record_unseen,
    visit,
)
from hardmute.system import paths

# What `--json` prints of each board.
Rows = list[dict[str, Any]]


def status(args: Namespace) -> int:
    """`hardmute status`."""

    def report(one: Namespace, rows: Rows | None) -> int:
        return _report(one, ask_once, rows=rows)

    return _of_each(args, report)


def mute(args: Namespace) -> int:
    """`hardmute mute`: 0 only once muted has been sensed, and signed if this host is paired."""

    def report(one: Namespace, rows: Rows | None) -> int:
        return _report(one, cut, turn="mute", rows=rows)

    return _of_each(args, report, "mute")


def verify(args: Namespace) -> int:
    """`hardmute verify`: the verdict, its proof level, and what it rests on."""
    if args.listen:
        from hardmute.cli.commands import listen

        if len(args.devices) > 1:
            raise errors.UsageError("`verify --listen` hears one board: give --device once.")
        return listen.verify(args)

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
            console.complain(error)
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


def list_boards(args: Namespace) -> int:
    """`hardmute list`: real boards by USB ids and handshake, then simulated ones."""
    from hardmute.device import simulators

    recorder = Recorder()
    devices = [port.device for port in discovery.serial_ports(bridges=args.probe)]
    simulated = [entry.device for entry in simulators.running()]
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
        from hardmute.model.settings import parse

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
            print(f"{words.printable(key)} = {words.printable(str(settings[key]))}   ({allowed})")
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
        if not 0 < len(label) <= 40 or words.printable(label) != label:
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
    return follow(args, SYSTEM)


def follow(args: Namespace, clock: HostClock) -> int:
    """Follow a board, print what changes, return the exit code."""

    def show(observation: Observation) -> None:
        if args.json:
            print(json.dumps(observation.as_json()), flush=True)
            return
        stamp = words.local_time(observation.at_ms)
        label = _label(follower.log, observation.board)
        console.headline(observation.verdict, f"{stamp}  {label}  {_why(observation)}")
        sys.stdout.flush()

    follower = Follower(args.device, args.timeout, show, clock=clock)
    try:
        follower.run()
    except errors.UnreachableError as error:
        console.complain(error)
        return errors.worst(error.exit_code, follower.exit_code)
    except KeyboardInterrupt:
        if follower.exit_code != errors.OK:
            return follower.exit_code
        raise
    return follower.exit_code


def _report(
    args: Namespace,
    ask: Ask,
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
    told = errors.OK

    def tell(observation: Observation, identity: Identity) -> None:
        nonlocal told
        explained = require if explain else None
        told = _tell(args, recorder, observation, identity.firmware, explained, rows)
        # A reader is not to wait for the history. One who has gone is met by `main`.
        with contextlib.suppress(OSError):
            sys.stdout.flush()

    visited = visit(recorder, args.device, args.timeout, args.command, ask, turn=turn, tell=tell)
    observation = visited.observation
    if visited.error is not None:
        console.complain(visited.error)
        told = _tell(args, recorder, observation, None, rows=rows)
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
        console.complain_of_output(error)
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


def _label(log: Log | None, board: str | None) -> str:
    if board is None:
        return "unknown board"
    label = log.label(board) if log is not None else None
    return f"{label} ({board})" if label else f"board {board}"


def _why(observation: Observation) -> str:
    if observation.state is None:
        return words.REASONS.get(observation.reason or "", "")
    if observation.reason == NOT_ATTESTED:
        parts = [words.claimed(observation.unsigned)]
    else:
        parts = [words.CAUSES.get(observation.cause or "", ""), observation.reason or ""]
    if observation.service not in (None, "none"):
        parts.append(f"in {observation.service}")
    parts += [warning.replace("_", " ") for warning in observation.warnings or ()]
    if observation.simulated:
        parts.append("simulated")
    return ", ".join(filter(None, parts))


def _print_observation(recorder: Recorder, observation: Observation) -> None:
    label = _label(recorder.log, observation.board)
    if observation.state is None:
        console.headline(observation.verdict, f"{label}: {_why(observation)}")
        return
    unsigned = observation.reason == NOT_ATTESTED
    claimed = f": {words.claimed(observation.unsigned)}" if unsigned else ""
    console.headline(observation.verdict, f"{label}{claimed}")
    if observation.simulated:
        console.detail("a simulated board: no real microphone is cut by it")
    if unsigned:
        console.detail(words.unsigned(observation.unsigned).advice)
        _print_warnings(observation)
        return
    since_ms = observation.since_ms or 0
    began = words.local_time(observation.at_ms - since_ms)
    cause = "" if observation.cause == "fault" else f", by {words.CAUSES[observation.cause or '']}"
    console.detail(f"since {began} ({words.duration(since_ms)}){cause}")
    if observation.reason:
        console.detail(f"{observation.reason}")
    _print_contacts(observation)
    if observation.remute_in_ms is not None:
        console.detail(f"mutes itself in {words.duration(observation.remute_in_ms)}")
    if observation.unsigned not in (None, "contradicted"):
        console.detail(f"not signed ({words.unsigned(observation.unsigned).word})")
    _print_warnings(observation)


def _print_warnings(observation: Observation) -> None:
    if observation.service not in (None, "none"):
        console.detail(
            f"in {observation.service}: the line stays cut until the power has been off"
        )
    for warning in observation.warnings or ():
        console.detail(f"warning: {warning_text(warning)}")


def _print_firmware(firmware: str) -> None:
    """By the board's own word: `hardmute flash --verify` reads it back."""
    ours = muteboard.__version__
    if firmware == ours:
        console.detail(f"firmware {firmware}, as this hardmute carries it")
    else:
        console.detail(f"firmware {firmware}; this hardmute carries {ours}: update the older")


def _print_contacts(observation: Observation) -> None:
    sense = observation.sense or ()
    opened = [str(number) for number, bit in enumerate(sense, 1) if not bit]
    if sense:
        attested = ", attested" if observation.proof == "attested" else ""
        console.detail(f"{len(opened)} of {len(sense)} contacts sensed open{attested}")
    if observation.state != "fault":
        return
    if len(opened) == len(sense):
        console.detail("they agree with the command again: one press of the button ends the fault")
    elif opened:
        console.detail(f"the line is still cut by contact {' and '.join(opened)}")
    else:
        console.detail(
            "the microphone may still be connected: pull its plug, then `hardmute doctor`"
        )


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
            console.detail(f"{line}")


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
        console.headline(row["verdict"], "  ".join(filter(None, parts)))
        # Alone and whole, to be copied.
        print(f"         {row['device']}")
        if row["reason"] == NOT_ATTESTED:
            console.detail(words.claimed(row["unsigned"]))
        elif row["reason"]:
            console.detail(row["reason"])
