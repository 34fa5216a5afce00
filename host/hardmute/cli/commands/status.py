"""`hardmute status`, `mute` and `verify`: the state of a board, or of several, now."""

from __future__ import annotations

import contextlib
import json
import sys
from argparse import Namespace
from collections.abc import Callable

import muteboard
from hardmute.cli import console
from hardmute.device import discovery
from hardmute.device.holder import Turn
from hardmute.evidence.observation import Observation
from hardmute.model import errors
from hardmute.model.answers import PROOF_LEVELS, Identity, ProofLevel, exit_code
from hardmute.model.typed import Any, NamedTuple
from hardmute.store.log import Log
from hardmute.sync.recorder import Recorder
from hardmute.sync.visit import VERIFY_PAUSE_S, Ask, ask_once, ask_twice, cut, visit

# What `--json` prints of each board.
Rows = list[dict[str, Any]]


class Asked(NamedTuple):
    """What ``command`` wants to know of a board, and how it tells that.

    ``timeout``: for each answer, in seconds. ``json``: print JSON. ``require``: the least proof
    level for exit code 0. ``explain``: say what the verdict rests on.
    """

    command: str
    ask: Ask
    timeout: float
    json: bool
    turn: Turn = "usual"
    require: ProofLevel = "sensed"
    explain: bool = False


def status(args: Namespace) -> int:
    """`hardmute status`."""
    return _of_each(args, Asked("status", ask_once, args.timeout, args.json))


def mute(args: Namespace) -> int:
    """`hardmute mute`: 0 only once muted has been sensed, and signed if this host is paired."""
    return _of_each(args, Asked("mute", cut, args.timeout, args.json, turn="mute"))


def verify(args: Namespace) -> int:
    """`hardmute verify`: the verdict, its proof level, and what it rests on."""
    if args.listen:
        from hardmute.cli.commands import listen

        if len(args.devices) > 1:
            raise errors.UsageError("`verify --listen` hears one board: give --device once.")
        return listen.verify(args)
    return _of_each(args, _verifying(args.timeout, args.json, args.require))


def verify_one(device: str, timeout: float) -> int:
    """What `hardmute verify -d DEVICE` does, for a command that ends with it."""
    return _report(device, _verifying(timeout, json=False, require="sensed"))


def _verifying(timeout: float, json: bool, require: ProofLevel) -> Asked:
    return Asked("verify", ask_twice, timeout, json, require=require, explain=True)


def _of_each(args: Namespace, asked: Asked) -> int:
    """Report each of several boards, whatever the others come to; or one.

    Returns the gravest code. A board of which nothing can be said is unknown.
    """
    if args.all and args.devices:
        raise errors.UsageError("--all is every board: leave --device out.")
    if not args.all and len(args.devices) < 2:
        return _report(args.device, asked)
    recorder, rows = Recorder(), Rows()
    if args.all:
        boards = _all_boards(asked, recorder.log)
    else:
        boards = args.devices
        if asked.turn == "mute":
            discovery.cut(boards, asked.timeout, recorder.log)
    # Labels may be missing from a log in trouble.
    code = recorder.exit_code
    for named in boards:
        try:
            one = _report(named, asked, rows)
        except errors.HardmuteError as error:
            console.complain(error)
            told = {"board": None, "device": named, "verdict": "unknown", "reason": str(error)}
            rows.append(told)
            # A name that means nothing is no usage error here: the other boards were asked.
            one = error.exit_code if error.exit_code != errors.USAGE else errors.UNKNOWN
            one = errors.worst(one, errors.UNKNOWN)
        code = errors.worst(code, one)
    if asked.json:
        code = errors.worst(code, _told(lambda: print(json.dumps(rows))))
    return code


def _all_boards(asked: Asked, log: Log | None) -> list[str | None]:
    """A name of each board that is connected or has a label; those that answer come first.

    A port that does not answer counts if a board was there last, or if it could not be asked. A
    simulated board needs a label; so does a board behind a bridge that no serial number tells from
    others. Without any such board, what stands for the only one. With the turn "mute" those that
    answer are cut already.
    """
    answer: list[str | None] = []
    silent: list[str | None] = []
    for found in discovery.find(asked.timeout, log, asked.turn):
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


def _report(device: str | None, asked: Asked, rows: Rows | None = None) -> int:
    """Open the board, ask for its status, log it, print it.

    ``rows``: what `--json` prints is put there instead.
    """
    recorder = Recorder()
    told = errors.OK

    def tell(observation: Observation, identity: Identity) -> None:
        nonlocal told
        told = _tell(asked, recorder, observation, identity.firmware, rows)
        # A reader is not to wait for the history. One who has gone is met by `main`.
        with contextlib.suppress(OSError):
            sys.stdout.flush()

    visited = visit(
        recorder, device, asked.timeout, asked.command, asked.ask, turn=asked.turn, tell=tell
    )
    observation = visited.observation
    if visited.error is not None:
        console.complain(visited.error)
        told = _tell(asked, recorder, observation, None, rows)
    return errors.worst(
        exit_code(observation.verdict, observation.proof, asked.require), recorder.exit_code, told
    )


def _tell(
    asked: Asked,
    recorder: Recorder,
    observation: Observation,
    firmware: str | None,
    rows: Rows | None,
) -> int:
    """Print a state. ``firmware``: None for a board that did not answer.

    ``rows``: see `_report`. Returns as `_told`.
    """
    return _told(lambda: _print_state(asked, recorder, observation, firmware, rows))


def _told(tell: Callable[[], object]) -> int:
    """`errors.LOCAL` where ``tell`` cannot print: the exit code tells the state all the same."""
    try:
        tell()
    except OSError as error:
        console.complain_of_output(error)
        return errors.LOCAL
    return errors.OK


def _print_state(
    asked: Asked,
    recorder: Recorder,
    observation: Observation,
    firmware: str | None,
    rows: Rows | None,
) -> None:
    if asked.json:
        matches = None if firmware is None else firmware == muteboard.__version__
        told = {"firmware": firmware, "firmware_matches": matches}
        row = observation.as_json() | told
        if rows is None:
            print(json.dumps(row))
        else:
            rows.append(row)
    else:
        from hardmute.cli.state import print_observation

        print_observation(recorder.log, observation)
        if firmware is not None:
            _print_firmware(firmware)
        if asked.explain and observation.verdict != "unknown":
            _explain(observation, asked.require)


def _print_firmware(firmware: str) -> None:
    """By the board's own word: `hardmute flash --verify` reads it back."""
    ours = muteboard.__version__
    if firmware == ours:
        console.detail(f"firmware {firmware}, as this hardmute carries it")
    else:
        console.detail(f"firmware {firmware}; this hardmute carries {ours}: update the older")


def _explain(observation: Observation, require: ProofLevel) -> None:
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
    for line in lines:
        console.detail(line)


def _what_lacks(require: ProofLevel) -> str:
    if require == "attested":
        return "not attested: `hardmute pair --verify-key FILE` lets it prove its word"
    if require == "heard":
        return "not heard: `hardmute verify --listen` asks the microphone itself"
    return f"this board has no sense contact, so it cannot prove {require!r}"
