"""`hardmute log prune`: removes old entries, and has the boards sign that."""

from __future__ import annotations

import sys
from argparse import Namespace

import hardmute
from hardmute import Host, errors, words
from hardmute.cli import console
from hardmute.cli.when import parse_time


def prune(args: Namespace) -> int:
    """`hardmute log prune --before T`: a person is asked first, unless ``--yes`` is given.

    Then the boards that are there sign the checkpoint.
    """
    before_ms = parse_time(args.before)
    log = hardmute.own_log()
    try:
        first, last = log.first_row(), log.last_before(before_ms)
        if first <= last and not args.yes:
            _ask(first, last, before_ms)
        checkpoint = log.prune(before_ms)
    finally:
        log.close()
    if checkpoint is None:
        print(f"Nothing in the log is older than {words.local_time(before_ms)}.")
        return errors.OK
    print(f"Removed up to entry {checkpoint.body['row']}; the rest verifies from a checkpoint.")
    host = Host()
    boards, signers = host.sign(checkpoint, timeout=args.timeout)
    for board in signers:
        print(f"Board {board} has signed the checkpoint.")
    if not boards:
        print("This host is paired with no board, so nothing signs the checkpoint.")
    elif not signers:
        print("The checkpoint is open until the next `hardmute status` of a paired board.")
    return host.exit_code


def _ask(first: int, last: int, before_ms: int) -> None:
    """Raise `UsageError` unless a person says that these entries may be removed."""
    if not sys.stdin.isatty():
        raise errors.UsageError("Nobody is there to be asked: --yes answers. Nothing was removed.")
    question = (
        f"Remove entries {first} to {last}, older than {words.local_time(before_ms)}, for good?"
        " `hardmute log export FILE` keeps a copy. [y/N] "
    )
    if console.answer(question).lower() not in ("y", "yes"):
        raise errors.UsageError("Nothing was removed.")
