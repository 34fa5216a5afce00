"""Proofs of this host's boards, and receipts of them: what `hardmute prove` does.

`hardmute.prove` is the same for a log that is open.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hardmute.device.discovery import board_for, known_board
from hardmute.evidence.entries import Entry, canonical, export_line, read_export
from hardmute.evidence.proof import EVIDENCE, Proof
from hardmute.evidence.receipt import check_receipt
from hardmute.evidence.verifier import Keys
from hardmute.host import Host
from hardmute.model import errors, notices, words
from hardmute.model.answers import Identity, is_board_id
from hardmute.model.clock import now_ms
from hardmute.render.receipt_page import page
from hardmute.store.log import Log
from hardmute.store.receipts import read_receipt, write_receipt
from hardmute.sync.contact import Meeting
from hardmute.sync.history import (
    Examined,
    examined,
    examined_export,
    receipt_of,
    with_reasons,
)
from hardmute.system import paths


class Met(NamedTuple):
    """A meeting with the board, or an attempt. ``board``: None if none was there.

    ``end_ms``: when the board was asked for what it signed then; without that, when the meeting
    began. ``exit_code``: what the meeting itself asks for.
    """

    board: str | None
    end_ms: int
    exit_code: int


def meet_to_prove(named: str | None, *, timeout: float) -> Met:
    """Meet the board as `hardmute status` does, so that what it signs now is in the log.

    ``named`` and ``timeout``: as for `Host`. A board that is not there is told by a notice.
    """
    end_ms = now_ms()
    host = Host()
    if named is None and host.log is not None and host.log.real_boards():
        named = _meant(None, host.log)
    row, _ = host.use(Log.head) or (0, b"")
    try:
        identity, met = _met(host, named, timeout)
    except errors.UnreachableError as error:
        host.unknown(named, error, "prove")
        last = host.use(lambda log: _last_signed(log, named)) or ""
        notices.tell(f"{error} The proof rests on what is in the log{last}.")
        return Met(None, end_ms, host.exit_code)
    board, code = identity.board, host.exit_code
    newest = host.use(lambda log: log.newest(board, "attestation"))
    if newest is not None and newest.row > row:
        end_ms = newest.body["sent_ms"]
    if met.contradicted is not None:
        notices.tell(f"Board {board}: {met.contradicted}.")
        code = errors.worst(code, errors.FAULT)
    return Met(board, end_ms, code)


def _met(host: Host, named: str | None, timeout: float) -> tuple[Identity, Meeting]:
    """What a contact shows. A `watch` gives its port for it. Raises `UnreachableError`."""
    while True:
        try:
            return host.meet(named, timeout=timeout, source="prove", turn="meet")
        except errors.PortWantedError:
            # To a `mute`, which goes first. The board is met after it.
            continue


def _last_signed(log: Log, named: str | None) -> str | None:
    """In a clause, when the board that was ``named`` signed last; None if it never did."""
    board = board_for(named, log)
    newest = None if board is None else log.newest(board, "attestation")
    if newest is None:
        return None
    return f"; the board last signed at {words.local_time(newest.body['sent_ms'])}"


def prove_here(
    board: str | None,
    from_ms: int,
    to_ms: int,
    secrets: Keys,
    *,
    receipt: Path | None = None,
    title: str | None = None,
) -> Proof:
    """What this host's log proves of ``board`` in [from, to), ms since the epoch, now or earlier.

    ``board``: an id, a label or a port; None: the only real one of the log. ``secrets``: of verify
    keys (`load_verify_keys`). ``receipt``: a new file, FILE.json or FILE.html, for a receipt with
    this ``title``. Raises as `hardmute.prove`.
    """
    log = Log(paths.log_file())
    try:
        shown = examined(log, _meant(board, log), from_ms, to_ms, secrets)
        told = with_reasons(log, shown, keyed=bool(secrets))
        if receipt is not None:
            _write(receipt, log, shown, told, secrets, title)
    finally:
        log.close()
    return told


def prove_export(file: Path, board: str | None, from_ms: int, to_ms: int, secrets: Keys) -> Proof:
    """What an export of another host's log proves of ``board`` (an id; None: the only one)."""
    rows = list(read_export(file))
    boards = sorted({row[3] for row in rows if row[2] == "attestation" and row[3] is not None})
    if board is not None:
        boards = [one for one in boards if one == board]
    if len(boards) > 1:
        raise errors.UsageError(
            f"{file} is of several boards; name one with --device: {', '.join(boards)}."
        )
    if not boards:
        raise errors.UsageError(_no_attestation(file, board))
    return examined_export(rows, boards[0], from_ms, to_ms, secrets)


def _no_attestation(file: Path, board: str | None) -> str:
    if board is not None and not is_board_id(board):
        return f"{file} has no labels: name the board by its id, --device BOARD."
    of = "" if board is None else f" of board {board}"
    return (
        f"{file} has no attestation{of}, so it proves nothing: only a board that is paired"
        " (`hardmute pair`) signs."
    )


def sign_receipt(file: Path, signed: Path, secrets: Keys, title: str | None = None) -> Proof:
    """Make the receipt ``signed``, with ``secrets``, in the place of one that is not signed.

    It is made from this host's log, once nothing in the other contradicts that. ``title``: None
    for that of the other. Raises `EvidenceError` where the log does not show what it claims.
    """
    content = read_receipt(file)
    checked = check_receipt(content, {})
    claim = checked.claim or checked.proof
    if claim.findings:
        raise errors.EvidenceError(
            f"{file} was not signed: its entry {claim.findings[0].row} {claim.findings[0].text}."
        )
    if content["macs"]:
        raise errors.UsageError(f"{file} is signed already.")
    log = Log(paths.log_file())
    try:
        _require_in_log(file, content, log)
        shown = examined(log, claim.board, claim.from_ms, claim.to_ms, secrets)
        if not shown.proof.findings:
            _require_follows(file, claim, shown.proof)
        told = with_reasons(log, shown, keyed=True)
        _write(signed, log, shown, told, secrets, title or content["title"])
    finally:
        log.close()
    return told


def _write(
    file: Path, log: Log, shown: Examined, told: Proof, secrets: Keys, title: str | None
) -> None:
    if not secrets:
        notices.tell(
            "Without --key the receipt is not signed: a check of it shows what the board"
            " signed, but not when. `hardmute prove --sign` can sign it later."
        )
    content = receipt_of(log, shown, secrets, title)
    is_page = file.suffix.lower() == ".html"
    written = page(content, told) if is_page else f"{canonical(content)}\n"
    write_receipt(file, written.encode())


def _require_in_log(file: Path, content: Mapping[str, Any], log: Log) -> None:
    """Raise `UsageError` or `EvidenceError` unless each entry and each hash in a receipt is in
    this host's log.
    """
    entries: list[Entry] = content["entries"]
    rows = [entry.row for entry in entries] or [log.first_row()]
    if min(rows + [int(row) for row in content["hashes"]]) < log.first_row():
        raise errors.UsageError(
            f"{file} cannot be signed: entries that it rests on were pruned from this host's log."
        )
    known = {
        entry.row: export_line(entry)
        for entry in log.entries(content["board"], EVIDENCE, min(rows), max(rows))
    }
    others = [entry.row for entry in entries if known.get(entry.row) != export_line(entry)]
    for row, said in content["hashes"].items():
        found = log.hash_at(int(row))
        if found is None or found.hex() != said:
            others.append(int(row))
    if others:
        raise errors.EvidenceError(
            f"{file} was not signed: its entry {min(others)} is not so in this host's log. It was"
            " altered, or another host made it: only that host can sign it."
        )


def _require_follows(file: Path, claim: Proof, proof: Proof) -> None:
    """Raise `EvidenceError` or `UsageError` if a receipt claims what ``proof`` does not show."""
    for one in claim.intervals:
        states = [
            shown.state
            for shown in proof.intervals
            if shown.start_ms < one.end_ms and one.start_ms < shown.end_ms
        ]
        # Later evidence may place the ends of a live time better.
        agrees = set(states) == {"muted"} if one.state == "muted" else one.state in states
        if agrees or one.state == "unknown":
            continue
        said = (
            f"{file} was not signed: it claims {one.state} from {words.local_time(one.start_ms)}"
        )
        if proof.without_key:
            raise errors.UsageError(f"{said}, and there was {words.no_key(proof.without_key)}.")
        raise errors.EvidenceError(f"{said}, and this host's log does not show that.")


def _meant(named: str | None, log: Log) -> str:
    if named is not None:
        board = known_board(named, log)
        if board is None:
            raise errors.UsageError(f"The log knows no board {named!r}.")
        return board
    known = log.real_boards()
    if len(known) != 1:
        raise errors.UsageError(
            "The log knows no board that is not simulated: name one with --device."
            if not known
            else f"The log knows several boards; name one with --device: {', '.join(known)}."
        )
    return known[0]
