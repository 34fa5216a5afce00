"""`hardmute status`: what the monitor knows, or what the board says."""

from __future__ import annotations

from argparse import Namespace

from hardmute.cli import console
from hardmute.cli.state import print_state, told_code
from hardmute.model import errors
from hardmute.monitor import client
from hardmute.system.monitor_socket import HangsError


def status(args: Namespace) -> int:
    """`hardmute status`: of one board that the monitor follows it says what that knows now."""
    if not args.all and len(args.devices) < 2:
        try:
            known = client.board(args.device, "status")
        except HangsError as error:
            return _unknown(args, error)
        if known is not None:
            return _tell(args, known)
    from hardmute.cli.commands import asking

    return asking.status(args)


def _tell(args: Namespace, known: client.Known) -> int:
    seen = known.observation
    told = told_code(
        lambda: print_state(seen, known.label, known.firmware, as_json=args.json, short=args.short)
    )
    return errors.worst(client.code_of(seen, known.exit_code), told)


def _unknown(args: Namespace, error: HangsError) -> int:
    """Nobody knows: the monitor hangs, and it holds the ports."""
    from hardmute.sync.recorder import Recorder
    from hardmute.sync.visit import record_unseen

    recorder = Recorder()
    seen = record_unseen(recorder, args.device, error, "status")
    console.complain(error)
    label = recorder.log.label(seen.board) if recorder.log is not None and seen.board else None
    told = told_code(lambda: print_state(seen, label, None, as_json=args.json, short=args.short))
    return errors.worst(errors.UNKNOWN, recorder.exit_code, told)
