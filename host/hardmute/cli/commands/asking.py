"""What `hardmute status`, `mute` and `verify` share: boards are asked, now.

`mute` and `verify` are here; `status` is by itself, since it may ask the monitor instead.
"""

from __future__ import annotations

import contextlib
import json
import sys
from argparse import Namespace

from hardmute import (
    VERIFY_PAUSE_S,
    Host,
    Identity,
    Observation,
    ProofLevel,
    Question,
    errors,
    words,
)
from hardmute.cli import console
from hardmute.cli.state import Rows, print_state, short_line, told_code
from hardmute.model.typed import NamedTuple


class Asked(NamedTuple):
    """What a command wants to know of a board, and how it tells that.

    ``timeout``: for each answer, in seconds. ``json``: print JSON. ``require``: the least proof
    level for exit code 0. ``explain``: say what the verdict rests on. ``short``: print one line.
    """

    question: Question
    timeout: float
    json: bool
    require: ProofLevel = "sensed"
    explain: bool = False
    short: bool = False


def status(args: Namespace) -> int:
    """`hardmute status`, without a monitor."""
    return _of_each(args, Asked("status", args.timeout, args.json, short=args.short))


def mute(args: Namespace) -> int:
    """`hardmute mute`: 0 only once muted has been sensed, and signed if this host is paired."""
    return _of_each(args, Asked("mute", args.timeout, args.json))


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
    return Asked("verify", timeout, json, require=require, explain=True)


def _of_each(args: Namespace, asked: Asked) -> int:
    """Report each of several boards, whatever the others come to; or one.

    Returns the gravest code. A board of which nothing can be said is unknown.
    """
    if args.all and args.devices:
        raise errors.UsageError("--all is every board: leave --device out.")
    if not args.all and len(args.devices) < 2:
        return _report(args.device, asked)
    host, rows = Host(), Rows()
    if args.all:
        boards = host.expected(asked.question, timeout=asked.timeout)
    else:
        boards = args.devices
        if asked.question == "mute":
            host.cut(boards, timeout=asked.timeout)
    # Labels may be missing from a log in trouble.
    code = host.exit_code
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
        code = errors.worst(code, told_code(lambda: print(json.dumps(rows))))
    if asked.short:
        code = errors.worst(code, told_code(lambda: print(short_line(rows))))
    return code


def _report(device: str | None, asked: Asked, rows: Rows | None = None) -> int:
    """Open the board, ask for its status, log it, print it.

    ``rows``: what `--json` prints is put there instead.
    """
    host = Host()
    told = errors.OK

    def tell(observation: Observation, identity: Identity) -> None:
        nonlocal told
        told = _tell(asked, host, observation, identity.firmware, rows)
        # A reader is not to wait for the history. One who has gone is met by `main`.
        with contextlib.suppress(OSError):
            sys.stdout.flush()

    visited = host.ask(device, asked.question, timeout=asked.timeout, tell=tell)
    observation = visited.observation
    if visited.error is not None:
        console.complain(visited.error)
        told = _tell(asked, host, observation, None, rows)
    return errors.worst(observation.exit_code(asked.require), host.exit_code, told)


def _tell(
    asked: Asked,
    host: Host,
    observation: Observation,
    firmware: str | None,
    rows: Rows | None,
) -> int:
    """Print a state. ``firmware``: None for a board that did not answer.

    ``rows``: see `_report`. Returns as `told_code`.
    """

    def tell() -> None:
        label = host.label(observation.board)
        print_state(observation, label, firmware, as_json=asked.json, short=asked.short, rows=rows)
        if asked.explain and not asked.json and observation.verdict != "unknown":
            _explain(observation, asked.require)

    return told_code(tell)


def _explain(observation: Observation, require: ProofLevel) -> None:
    lines = [
        f"proof level: {observation.proof or 'none'} (asked for: {require})",
        "two answers " + ("some s" if observation.usb else f"{VERIFY_PAUSE_S:g} s") + " apart, to"
        " random request ids; clocks and boot agree",
    ]
    if observation.proof == "reported":
        lines.append("the board has no sense contact: its word is all there is")
    if observation.proof in ("attested", "absent"):
        lines.append("both signed with the attest key, over numbers that this host chose")
    if observation.usb is not None:
        lines += _of_usb(observation.usb)
    if observation.proof in ("sensed", "attested", "absent"):
        lines.append("every sense contact agrees with the command")
        lines.append("trusted: the firmware, that sense and microphone contacts are tied,")
        lines.append("that your microphone runs through them (`verify --listen` tells)")
    if observation.proof in ("attested", "absent"):
        lines.append("and that nobody else has this host's attest key, or the verify key")
    if observation.proof is not None and not observation.proves(require):
        lines.append(_what_lacks(require))
    for line in lines:
        console.detail(line)


def _of_usb(seen: str) -> list[str]:
    """What this computer's list of USB devices shows of the microphone's."""
    if seen in words.USB:
        return ["whether its USB device is gone is not known:", words.USB[seen]]
    told = {
        "absent": "this computer does not have its USB device (the computer's word)",
        "present": "this computer still has its USB device",
        "back": "this computer has its USB device",
        "missing": "its USB device did not come back: `hardmute usb --learn`",
    }
    return [told[seen]]


def _what_lacks(require: ProofLevel) -> str:
    if require == "attested":
        return "not attested: `hardmute pair --verify-key FILE` lets it prove its word"
    if require == "absent":
        return "not absent: pair, and let `hardmute usb --learn` find the device"
    if require == "heard":
        return "not heard: `hardmute verify --listen` asks the microphone itself"
    return f"this board has no sense contact, so it cannot prove {require!r}"
