"""`hardmute pair` and `hardmute unpair`: begin and end what a board's evidence rests on."""

from __future__ import annotations

import hmac
import json
import os
import tempfile
from argparse import Namespace
from pathlib import Path
from typing import NamedTuple

from hardmute.cli import console, service_mode
from hardmute.device import discovery
from hardmute.device.client import Session
from hardmute.model import errors
from hardmute.model.answers import Identity, Paired
from hardmute.store import keys
from hardmute.store.log import UNPAIR
from hardmute.sync.contact import Contact, foreign
from hardmute.sync.recorder import Recorder
from hardmute.sync.visit import record_seen
from muteboard import attest

_WHAT_KEYS_DO = """\
attest key, on this host: tells at once whether an answer is this board's. Whoever has it can \
answer in the board's place, to this host.
verify key, in {file}: checks all evidence of this pairing, and could forge it. It belongs \
offline: move it to a stick or print it, keep a copy, and leave none on this computer."""


def pair(args: Namespace) -> int:
    """`hardmute pair`."""
    file: Path = args.verify_key
    _check_writable(file)
    recorder = Recorder()
    with discovery.open_board(args.device, args.timeout, recorder.log) as (_, identity):
        if not identity.journal:
            raise errors.RefusedError(
                "This board keeps no journal, so it cannot be paired.", "unsupported"
            )
    device = service_mode.wait_for("setup", args.device, args.timeout, recorder)
    with discovery.open_board(device, args.timeout, recorder.log) as (session, identity):
        contact = Contact(session, identity, recorder)
        # What this pairing ends belongs into the log before it.
        before = contact.fetch()
        earlier = before.journal.pairing if before.journal is not None else 0
        made = _make_pairing(session, identity)
        _store(made, identity.board, file, recorder)
        attested = contact.meet().signed is not None
        contact.finish()
    if args.json:
        told = {
            "board": identity.board,
            "pairing": made.paired.pairing,
            "key_id": made.paired.key_id.hex(),
            "earlier_pairing": earlier or None,
            "verify_key": str(file),
            "attested": attested,
        }
        print(json.dumps(told))
    else:
        _tell(made, identity, file, earlier)
    if not attested and recorder.exit_code != errors.TAMPERED:
        raise errors.UnreachableError(
            "The board is paired, but has not attested yet: ask it with `hardmute verify --require"
            " attested`.",
            "not_attested",
        )
    return recorder.exit_code


def unpair(args: Namespace) -> int:
    """`hardmute unpair`: end this host's pairing; without one, the board's with whomever."""
    recorder = Recorder()
    with discovery.open_board(args.device, args.timeout, recorder.log) as (session, identity):
        board = identity.board
        held = keys.held(
            board, lambda: recorder.is_paired(board), lambda: recorder.pairings(board)
        )
        met = Contact(session, identity, recorder).ask()
        paired = met.status.journal is not None and met.status.journal.pairing > 0
        if not held.paired and not paired:
            raise errors.UsageError(f"Board {board} is not paired.")
        if held.paired:
            _require_log(recorder)
        ends = paired and (
            not held.paired or (held.key is not None and _is_ours(session, board, held.key))
        )
    if ends:
        device = service_mode.wait_for("setup", args.device, args.timeout, recorder)
        with discovery.open_board(device, args.timeout, recorder.log) as (session, identity):
            contact = Contact(session, identity, recorder)
            contact.fetch()
            session.unpair()
            contact.fetch()
            contact.finish()
            met = contact.ask()
        said = f"Board {board} is no longer paired: it has forgotten its keys."
    else:
        said = f"This host no longer counts on a pairing with board {board}. The board itself "
        if not paired:
            said += "is not paired."
        elif held.key is not None:
            said += "is paired with another host, and stays so."
        else:
            said += "stays paired: run `hardmute unpair` once more to end that as well."
    if held.paired:
        # From here on this host takes the board's word; until here it was to be signed.
        record_seen(recorder, met._replace(unsigned="unpaired"), identity, session, UNPAIR)
        _require_log(recorder)
    keys.remove_attest_key(board)
    if args.json:
        print(json.dumps({"board": board, "board_unpaired": ends, "host_unpaired": held.paired}))
    else:
        console.say(said)
        console.say(
            "What was recorded stays checkable with the verify key of its pairing: keep that."
        )
    return recorder.exit_code


def _require_log(recorder: Recorder) -> None:
    """Raise `LocalError` where the end of a pairing cannot be written down."""
    if recorder.log is None:
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


def _store(made: _Made, board: str, file: Path, recorder: Recorder) -> None:
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
        if not recorder.store(lambda log: log.append("pairing", board, body)):
            raise errors.LocalError("The log cannot be written.")
    except errors.HardmuteError as error:
        raise errors.LocalError(
            f"{error} The board is paired, and {file} is its verify key, but this host cannot tell"
            " its answers from others': when that is repaired, run this again with another file."
        ) from error


def _tell(made: _Made, identity: Identity, file: Path, earlier: int) -> None:
    paired = made.paired
    console.say(
        f"Board {identity.board} is paired (pairing {paired.pairing}, key {paired.key_id.hex()})."
    )
    if earlier:
        console.say(
            f"It ends pairing {earlier}. What was recorded until now stays checkable with the"
            " verify key of that one: keep both."
        )
    console.say(_WHAT_KEYS_DO.format(file=file))
    console.say(service_mode.LEAVE.format(service="setup"))


def _check_writable(file: Path) -> None:
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
