"""`hardmute log prune`: removes old entries, and has the boards sign that."""

from __future__ import annotations

import sys
from argparse import Namespace

from hardmute.cli import console
from hardmute.cli.when import parse_time
from hardmute.evidence.entries import Entry
from hardmute.model import errors, words
from hardmute.model.answers import is_board_id
from hardmute.store.log import Log, paired_boards
from hardmute.sync.recorder import Recorder
from hardmute.system import paths


def prune(args: Namespace) -> int:
    """`hardmute log prune --before T`: a person is asked first, unless ``--yes`` is given.

    Then the boards that are there sign the checkpoint.
    """
    before_ms = parse_time(args.before)
    log = Log(paths.log_file())
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
    recorder = Recorder()
    boards = [board for board in paired_boards(checkpoint) if is_board_id(board)]
    signers = [board for board in boards if _has_signed(board, checkpoint, recorder, args.timeout)]
    for board in signers:
        print(f"Board {board} has signed the checkpoint.")
    if not boards:
        print("This host is paired with no board, so nothing signs the checkpoint.")
    elif not signers:
        print("The checkpoint is open until the next `hardmute status` of a paired board.")
    return recorder.exit_code


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


def _has_signed(board: str, checkpoint: Entry, recorder: Recorder, timeout: float) -> bool:
    """Whether ``board`` is there, and the log has its attestation of the ``checkpoint`` now."""

    from hardmute.device import discovery
    from hardmute.sync import visit
    from hardmute.sync.contact import Contact

    try:
        with discovery.open_board(board, timeout, recorder.log) as (session, identity):
            contact = Contact(session, identity, recorder)
            visit.record_seen(recorder, contact.meet(), identity, session, "prune")
            contact.finish()
    except (errors.UnreachableError, errors.UsageError) as error:
        if not (isinstance(error, errors.UnreachableError) and error.reason == "not_connected"):
            recorder.note(f"Board {board} was not asked. {error}")
    newest = recorder.use(lambda log: log.newest(board, "attestation"))
    return (
        newest is not None
        and newest.body["checked"] is True
        and newest.body["log_row"] >= checkpoint.row
    )
