"""`hardmute completion SHELL`: a completion script, made from the parser."""

from __future__ import annotations

from argparse import Namespace

import shtab

from hardmute.cli import build_parser


def completion(args: Namespace) -> int:
    """Print the script; the shell's own documentation says where it goes."""
    print(shtab.complete(build_parser(), shell=args.shell))
    return 0
