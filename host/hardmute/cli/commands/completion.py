"""`hardmute completion SHELL`: a completion script, made from the parser."""

from __future__ import annotations

import argparse
from typing import cast

import shtab

from hardmute.cli.parser import build_parser, file


def completion(args: argparse.Namespace) -> int:
    """Print the script; docs/cli.md says where it goes."""
    parser = build_parser()
    _complete_files(parser)
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _complete_files(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:  # noqa: SLF001 (there is no other way to them)
        if action.type is file:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # shtab reads this attribute
        choices = cast("object", action.choices)
        if isinstance(choices, dict):
            for command in cast("dict[str, argparse.ArgumentParser]", choices).values():
                _complete_files(command)
