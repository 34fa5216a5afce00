"""`hardmute name` and `hardmute forget`: what this host calls its boards."""

from __future__ import annotations

from argparse import Namespace

from hardmute.cli.logged import logged_session
from hardmute.device import discovery
from hardmute.model import errors, words
from hardmute.model.answers import is_board_id
from hardmute.store.log import Log
from hardmute.sync.recorder import Recorder
from hardmute.system import paths


def name(args: Namespace) -> int:
    """`hardmute name LABEL`: what this host calls a board."""
    recorder = Recorder()
    if recorder.log is None:
        return recorder.exit_code
    if args.device is not None and is_board_id(args.device):
        board = args.device
    else:
        with logged_session(args.device, args.timeout, args.command, recorder) as (_, identity):
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
