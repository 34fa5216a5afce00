"""Pairing: what a board's evidence rests on begins and ends here."""

from __future__ import annotations

import hmac
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from hardmute.device import discovery
from hardmute.device.client import Session
from hardmute.host import Host
from hardmute.model import errors
from hardmute.model.answers import Identity, Paired
from hardmute.store import keys
from hardmute.store.log import UNPAIR
from hardmute.sync.contact import Contact, foreign
from hardmute.sync.visit import record_seen
from muteboard import attest

# Waits until a person has brought the board into setup. Returns the port where it is.
InSetup = Callable[[], str]


class MadePairing(NamedTuple):
    """A pairing of ``board``. ``earlier``: the one that it ends; 0 if there was none.

    ``attested``: the board has signed, and this host has checked it.
    """

    board: str
    pairing: int
    key_id: str
    earlier: int
    attested: bool


class EndedPairing(NamedTuple):
    """What `unpair` ended: the ``board``'s own part, and this host's. ``paired``: the board was.

    ``has_key``: this host had the attest key.
    """

    board: str
    board_unpaired: bool
    host_unpaired: bool
    paired: bool
    has_key: bool


def pair(
    host: Host, named: str | None, file: Path, *, timeout: float, in_setup: InSetup
) -> MadePairing:
    """Pair this host with a board, and write the verify key to the new ``file``.

    ``named`` and ``timeout``: as for `Host`. Raises `UsageError` if the file cannot be made,
    `RefusedError` for a board that keeps no journal, `LocalError` where a key cannot be kept, and
    what ``in_setup`` raises.
    """
    require_new_key_file(file)
    with discovery.open_board(named, timeout, host.log) as (_, identity):
        if not identity.journal:
            raise errors.RefusedError(
                "This board keeps no journal, so it cannot be paired.", "unsupported"
            )
    with discovery.open_board(in_setup(), timeout, host.log) as (session, identity):
        contact = Contact(session, identity, host)
        # What this pairing ends belongs into the log before it.
        before = contact.fetch()
        earlier = before.journal.pairing if before.journal is not None else 0
        made = _make_pairing(session, identity)
        _store(made, identity.board, file, host)
        attested = contact.meet().signed is not None
        contact.finish()
    paired = made.paired
    return MadePairing(identity.board, paired.pairing, paired.key_id.hex(), earlier, attested)


def unpair(host: Host, named: str | None, *, timeout: float, in_setup: InSetup) -> EndedPairing:
    """End this host's pairing; without one, the board's with another host.

    The board forgets its keys, if it is paired with this host or this host is not paired.
    Raises `UsageError` if neither is paired, `LocalError` where the end cannot be logged, and what
    ``in_setup`` raises.
    """
    with discovery.open_board(named, timeout, host.log) as (session, identity):
        board = identity.board
        held = keys.held(board, lambda: host.is_paired(board), lambda: host.pairings(board))
        met = Contact(session, identity, host).ask()
        paired = met.status.journal is not None and met.status.journal.pairing > 0
        if not held.paired and not paired:
            raise errors.UsageError(f"Board {board} is not paired.")
        if held.paired:
            _require_log(host)
        ends = paired and (
            not held.paired or (held.key is not None and _is_ours(session, board, held.key))
        )
    if ends:
        with discovery.open_board(in_setup(), timeout, host.log) as (session, identity):
            contact = Contact(session, identity, host)
            contact.fetch()
            session.unpair()
            contact.fetch()
            contact.finish()
            met = contact.ask()
    if held.paired:
        # From here on this host takes the board's word; until here it was to be signed.
        record_seen(host, met._replace(unsigned="unpaired"), identity, session, UNPAIR)
        _require_log(host)
    keys.remove_attest_key(board)
    return EndedPairing(board, ends, held.paired, paired, held.key is not None)


def _require_log(host: Host) -> None:
    """Raise `LocalError` where the end of a pairing cannot be written down."""
    if host.log is None:
        raise errors.LocalError(
            "The log cannot be written, so this host stays paired: repair the log, then repeat"
            " this command."
        )


class _Made(NamedTuple):
    paired: Paired
    secret: bytes


def _make_pairing(session: Session, identity: Identity) -> _Made:
    ours = os.urandom(attest.KEY)
    paired = session.pair(ours)
    secret = attest.secret(ours, paired.board_bytes, bytes.fromhex(identity.board))
    if not hmac.compare_digest(attest.key_id(secret), paired.key_id):
        raise errors.EvidenceError(
            f"Board {identity.board} has made another key than this host: something between them"
            " changes what they say. Pair it again, on another cable and port."
        )
    return _Made(paired, secret)


def _store(made: _Made, board: str, file: Path, host: Host) -> None:
    try:
        keys.save_verify_key(file, board, made.paired.pairing, made.secret)
    except errors.HardmuteError as error:
        raise errors.LocalError(
            f"{error} The board is paired all the same, and the verify key was nowhere else. While"
            " the board is in setup, run this again with another file: a new pairing replaces this"
            " one, and no older evidence is lost."
        ) from error
    try:
        key = keys.attest_key_of(made.paired.pairing, made.secret)
        keys.save_attest_key(board, key)
        body = {"pairing": key.pairing, "key_id": key.key_id}
        if not host.store(lambda log: log.append("pairing", board, body)):
            raise errors.LocalError("The log cannot be written.")
    except errors.HardmuteError as error:
        raise errors.LocalError(
            f"{error} The board is paired, and {file} is its verify key, but this host cannot tell"
            " its answers from others': when that is repaired, run this again with another file."
        ) from error


def require_new_key_file(file: Path) -> None:
    """Raise `UsageError` where the verify key could not be written."""
    # A link that leads nowhere as well.
    if os.path.lexists(file):
        raise errors.UsageError(f"{file} exists, and no key is overwritten: name another file.")
    try:
        with tempfile.TemporaryFile(dir=file.parent) as probe:
            probe.write(bytes(4096))
    except OSError as error:
        raise errors.UsageError(
            f"{file} cannot be written ({error.strerror or error}): name another file. Nothing was"
            " changed."
        ) from error


def _is_ours(session: Session, board: str, key: bytes) -> bool:
    """Whether the board has this host's attest key."""
    nonce = os.urandom(attest.MAC)
    try:
        answer = session.attest(nonce)
    except errors.RefusedError as error:
        if error.code == "not_paired":
            return False
        raise
    return foreign(answer, nonce, board, key) is None
