"""`hardmute name` and `hardmute forget`: what this host calls its boards."""

from __future__ import annotations

from argparse import Namespace

import hardmute
from hardmute import Host, errors


def name(args: Namespace) -> int:
    """`hardmute name LABEL`: what this host calls a board."""
    host = Host()
    if host.log is None:
        return host.exit_code
    board = host.id_of(args.device, timeout=args.timeout)
    if args.label is not None:
        host.name(board, args.label)
    print(f"{board}  {host.label(board) or '(no label)'}")
    return host.exit_code


def forget(args: Namespace) -> int:
    """`hardmute forget LABEL|ID`: the board is not expected any more. What is logged stays."""
    print(f"{hardmute.forget(args.board)}  (no label)")
    return errors.OK
