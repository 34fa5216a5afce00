"""A session with a board for a command that wants something other than its state."""

from __future__ import annotations

import contextlib
from collections.abc import Generator

from hardmute.device import discovery
from hardmute.device.client import Session
from hardmute.model import errors
from hardmute.model.answers import Identity
from hardmute.sync.recorder import Recorder
from hardmute.sync.visit import begin_contact, record_seen, record_unseen


@contextlib.contextmanager
def logged_session(
    named: str | None, timeout: float, command: str, recorder: Recorder
) -> Generator[tuple[Session, Identity]]:
    """A session that begins with a status for the log, be it "unknown".

    ``named`` and ``timeout``: see `discovery.open_board`. ``command``: which the log names.
    Raises `UnreachableError`, and `UsageError` where nothing tells which board is meant.
    """
    try:
        with discovery.open_board(named, timeout, recorder.log) as (session, identity):
            contact = begin_contact(recorder, identity, session, command)
            record_seen(recorder, contact.meet(), identity, session, command)
            contact.finish()
            yield session, identity
    except errors.UnreachableError as error:
        record_unseen(recorder, named, error, command)
        raise
