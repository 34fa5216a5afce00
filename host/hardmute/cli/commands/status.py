"""`hardmute status`: what the monitor knows, or what the board says."""

from __future__ import annotations

from argparse import Namespace

import hardmute
from hardmute import HangsError, Known, errors
from hardmute.cli import console
from hardmute.cli.state import print_state, told_code


def status(args: Namespace) -> int:
    """`hardmute status`: of one board that the monitor follows it says what that knows now."""
    if not args.all and len(args.devices) < 2:
        try:
            known = hardmute.known(args.device, "status")
        except HangsError as error:
            return _unknown(args, error)
        if known is not None:
            return _tell(args, known)
    from hardmute.cli.commands import asking

    return asking.status(args)


def _tell(args: Namespace, known: Known) -> int:
    seen = known.observation
    told = told_code(
        lambda: print_state(seen, known.label, known.firmware, as_json=args.json, short=args.short)
    )
    return errors.worst(seen.exit_code(), known.exit_code, told)


def _unknown(args: Namespace, error: HangsError) -> int:
    """Nobody knows: the monitor hangs, and it holds the ports."""
    host = hardmute.Host()
    seen = host.unknown(args.device, error, "status")
    console.complain(error)
    label = host.label(seen.board)
    told = told_code(lambda: print_state(seen, label, None, as_json=args.json, short=args.short))
    return errors.worst(errors.UNKNOWN, host.exit_code, told)
