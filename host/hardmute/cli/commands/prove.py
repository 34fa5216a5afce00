"""`hardmute prove`: was the line cut from T to T? And receipts of the answer."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hardmute.cli import console
from hardmute.cli.when import parse_time
from hardmute.device.discovery import board_for, known_board
from hardmute.evidence.entries import Entry, canonical, export_line, read_export
from hardmute.evidence.proof import (
    EVIDENCE,
    Proof,
    Proven,
    counts_for_nothing,
)
from hardmute.evidence.receipt import check_receipt
from hardmute.evidence.verifier import Keys
from hardmute.model import errors, words
from hardmute.model.answers import is_board_id
from hardmute.model.clock import iso_time, now_ms
from hardmute.model.reasons import Code
from hardmute.store.keys import load_verify_keys
from hardmute.store.log import Log
from hardmute.store.receipts import read_receipt, require_name, write_receipt
from hardmute.sync.history import (
    Examined,
    examined,
    examined_export,
    receipt_of,
    with_reasons,
)
from hardmute.sync.recorder import Recorder
from hardmute.system import paths

if TYPE_CHECKING:
    from hardmute.model.answers import Identity
    from hardmute.sync.contact import Meeting

_SIMULATED = "a simulated board: no real microphone was cut by it"
_LONGEST_TITLE = 80
_GIVE_KEY = "give the verify key of that pairing: --key FILE"
# What to do about a reason.
_STEPS: dict[Code, str] = {
    "one_sided": (
        "have the board sign before and after the time that matters: run `hardmute verify` then,"
        " or keep `hardmute watch` running"
    ),
    "not_paired": "pair it, for the times to come: `hardmute pair --verify-key FILE`",
    "pruned": "check an export or a receipt that was made before `hardmute log prune`",
    "no_attest_key": _GIVE_KEY,
    "no_key": _GIVE_KEY,
    "clocks_disagree": "keep the host's clock right: `hardmute doctor` checks it",
    "not_borne_out": "have the contacts checked: `hardmute doctor`",
    "off_or_restarted": "keep the board powered; after a restart run `hardmute status`",
    "records_lost": "have the board's flash checked: `hardmute doctor`",
    "records_missing": "see what is missing: `hardmute log verify`",
    "at_some_time": "meet the board more often: keep `hardmute watch` running",
}


def prove(args: Namespace) -> int:
    """`hardmute prove`, with ``--check`` of a receipt, and with ``--sign`` too."""
    secrets = load_verify_keys(args.key)
    if args.check is not None:
        return _check(args.check, secrets, as_json=args.json)
    if args.receipt is not None:
        require_name(args.receipt)
    title = _title(args)
    if args.sign is not None:
        return _sign(args, secrets, title)
    if args.start is None:
        raise errors.UsageError("Say which time: --from T (or --check a receipt).")
    from_ms, until = parse_time(args.start), args.end or "now"
    if from_ms > now_ms():
        raise errors.UsageError("--from must not be in the future.")
    if args.log is not None:
        return _prove_export(args, from_ms, parse_time(until), secrets)
    met = _meet(args) if until == "now" else None
    to_ms = parse_time(until) if met is None else met.end_ms
    if not from_ms < to_ms:
        raise errors.UsageError("--from must be before --to.")
    if to_ms > now_ms():
        raise errors.UsageError("--to must not be in the future.")
    log = Log(paths.log_file())
    try:
        board = met.board if met is not None and met.board else _board(args.device, log)
        shown = examined(log, board, from_ms, to_ms, secrets)
        told = with_reasons(log, shown, keyed=bool(secrets))
        if args.receipt is not None:
            _write(args.receipt, log, shown, told, secrets, title)
    finally:
        log.close()
    _print(told, as_json=args.json, steps=_steps(told))
    if args.receipt is not None and not args.json:
        console.detail(f"receipt: {args.receipt}")
    return errors.worst(shown.proof.exit_code, errors.OK if met is None else met.exit_code)


def _no_attestation(args: Namespace) -> str:
    if args.device is not None and not is_board_id(args.device):
        return f"{args.log} has no labels: name the board by its id, --device BOARD."
    of = "" if args.device is None else f" of board {args.device}"
    return (
        f"{args.log} has no attestation{of}, so it proves nothing: only a board that is paired"
        " (`hardmute pair`) signs."
    )


def _prove_export(args: Namespace, from_ms: int, to_ms: int, secrets: Keys) -> int:
    """`hardmute prove --log FILE`: from an export of another host's log."""
    if args.receipt is not None:
        raise errors.UsageError("A receipt is made on the host whose log it is: leave --log out.")
    if not from_ms < to_ms:
        raise errors.UsageError("--from must be before --to.")
    rows = list(read_export(args.log))
    boards = sorted({row[3] for row in rows if row[2] == "attestation" and row[3] is not None})
    if args.device is not None:
        boards = [board for board in boards if board == args.device]
    if len(boards) > 1:
        raise errors.UsageError(
            f"{args.log} is of several boards; name one with --device: {', '.join(boards)}."
        )
    if not boards:
        raise errors.UsageError(_no_attestation(args))
    proof = examined_export(rows, boards[0], from_ms, to_ms, secrets)
    steps = _steps(proof) if secrets else ["give the board's verify key: --key FILE"]
    _print(proof, as_json=args.json, steps=steps)
    return proof.exit_code


def _title(args: Namespace) -> str | None:
    if args.title is None:
        return None
    if args.receipt is None:
        raise errors.UsageError("--title is for a receipt: name its file, --receipt FILE.")
    title = args.title.strip()
    if not 0 < len(title) <= _LONGEST_TITLE or words.printable(title) != title:
        raise errors.UsageError(f"A title has 1 to {_LONGEST_TITLE} printable characters.")
    return title


class _Met(NamedTuple):
    """A meeting with the board, or an attempt. ``board``: None if none was there.

    ``end_ms``: when the board was asked for what it signed then; without that, when the meeting
    began. ``exit_code``: what the meeting itself asks for.
    """

    board: str | None
    end_ms: int
    exit_code: int


def _meet(args: Namespace) -> _Met:
    """Meet the board as `hardmute status` does, so that what it signs now is in the log."""
    from hardmute.sync import visit

    end_ms = now_ms()
    recorder = Recorder()
    named = args.device
    if named is None and recorder.log is not None and recorder.log.real_boards():
        named = _board(None, recorder.log)
    row, _ = recorder.use(Log.head) or (0, b"")
    try:
        identity, met = _met(args, named, recorder)
    except errors.UnreachableError as error:
        visit.record_unseen(recorder, named, error, args.command)
        last = recorder.use(lambda log: _last_signed(log, named)) or ""
        console.complain(f"{error} The proof rests on what is in the log{last}.")
        return _Met(None, end_ms, recorder.exit_code)
    board, code = identity.board, recorder.exit_code
    newest = recorder.use(lambda log: log.newest(board, "attestation"))
    if newest is not None and newest.row > row:
        end_ms = newest.body["sent_ms"]
    if met.contradicted is not None:
        console.complain(f"Board {board}: {met.contradicted}.")
        code = errors.worst(code, errors.FAULT)
    return _Met(board, end_ms, code)


def _met(args: Namespace, named: str | None, recorder: Recorder) -> tuple[Identity, Meeting]:
    """What a contact shows. A `watch` gives its port for it. Raises `UnreachableError`."""
    from hardmute.device import discovery
    from hardmute.sync import visit
    from hardmute.sync.contact import Contact

    while True:
        try:
            with discovery.open_board(named, args.timeout, recorder.log, "meet") as found:
                session, identity = found
                met = Contact(session, identity, recorder).meet()
                visit.record_seen(recorder, met, identity, session, args.command)
                return identity, met
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


def _steps(told: Proof) -> list[str]:
    """What to do about the reasons in it, each once."""
    reasons = [
        {reason for note in one.notes for reason in (note.code, note.doubt)}
        for one in told.intervals
        if one.state == "unknown"
    ]
    return list(
        dict.fromkeys(
            step for known in reasons for reason, step in _STEPS.items() if reason in known
        )
    )


def _write(
    file: Path, log: Log, shown: Examined, told: Proof, secrets: Keys, title: str | None
) -> None:
    if not secrets:
        console.complain(
            "Without --key the receipt is not signed: a check of it shows what the board"
            " signed, but not when. `hardmute prove --sign` can sign it later."
        )
    content = receipt_of(log, shown, secrets, title)
    if file.suffix.lower() == ".html":
        from hardmute.render.receipt_page import page

        written = page(content, told)
    else:
        written = f"{canonical(content)}\n"
    write_receipt(file, written.encode())


def _sign(args: Namespace, secrets: Keys, title: str | None) -> int:
    """`hardmute prove --sign`: a signed receipt in the place of one that is not signed.

    It is made from this host's log, once nothing in the other contradicts that.
    """
    if not secrets:
        raise errors.UsageError("The verify key signs a receipt: give it, --key FILE.")
    if args.receipt is None:
        raise errors.UsageError("Name the new file for the signed receipt: --receipt FILE.")
    content = read_receipt(args.sign)
    checked = check_receipt(content, {})
    claim = checked.claim or checked.proof
    if claim.findings:
        raise errors.EvidenceError(
            f"{args.sign} was not signed: its entry {claim.findings[0].row}"
            f" {claim.findings[0].text}."
        )
    if content["macs"]:
        raise errors.UsageError(f"{args.sign} is signed already.")
    log = Log(paths.log_file())
    try:
        _require_in_log(args.sign, content, log)
        shown = examined(log, claim.board, claim.from_ms, claim.to_ms, secrets)
        if not shown.proof.findings:
            _require_follows(args.sign, claim, shown.proof)
        told = with_reasons(log, shown, keyed=True)
        _write(args.receipt, log, shown, told, secrets, title or content["title"])
    finally:
        log.close()
    _print(told, as_json=args.json, steps=_steps(told))
    if not args.json:
        console.detail(f"signed receipt: {args.receipt}")
    return shown.proof.exit_code


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


def _board(named: str | None, log: Log) -> str:
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


def _print(proof: Proof, *, as_json: bool, steps: Sequence[str] = ()) -> None:
    """``steps``: what to do about what is not known."""
    if as_json:
        print(json.dumps(_as_json(proof) | {"next": list(steps)}))
        return
    span = f"{words.local_time(proof.from_ms)} to {words.local_time(proof.to_ms)}"
    if proof.findings:
        first = proof.findings[0]
        console.headline("unknown", f"board {proof.board}: entry {first.row} {first.text}")
        console.detail("the evidence does not hold, so nothing is proven; `hardmute log verify`")
        return
    if proof.verdict == "muted":
        console.headline("muted", f"throughout, {span}, board {proof.board}")
    else:
        console.headline(
            proof.verdict, f"not shown to be muted throughout, {span}, board {proof.board}"
        )
        for interval in proof.intervals:
            console.detail(_line(interval))
    for one in proof.heard:
        console.detail(f"heard, {one.told}")
    for step in steps:
        console.detail(f"next: {step}")
    if proof.simulated:
        console.detail(_SIMULATED)
    console.detail(_rests_on(proof))


def _line(interval: Proven) -> str:
    cause = words.CAUSES.get(interval.cause or "", "")
    return (
        f"{interval.state:8}{words.local_time(interval.start_ms)} for "
        f"{words.duration(interval.end_ms - interval.start_ms)}"
        f"{words.edges(interval.plus_minus_ms)}  {interval.note or cause}"
    )


def _rests_on(proof: Proof) -> str:
    if not proof.signatures:
        return "rests on nothing: the log has nothing of that time that the board signed"
    if proof.unchecked:
        return "rests on nothing: no signature was checked; only --key can check the board's own"
    if proof.without_key and proof.fitting:
        return (
            f"rests on {proof.signed} of {proof.signatures} signatures of the board, checked with "
            "the verify key, and on the clock of the host that asked; "
            f"{counts_for_nothing(proof)}"
        )
    if proof.fitting:
        return (
            f"rests on {proof.signed} signatures of the board, all checked with the verify key; "
            "and on the clock of the host that asked"
        )
    if not proof.counted:
        return "rests on nothing: no signature of the board could be checked here without --key"
    return (
        "rests on what this host checks with its attest key, on its log and clock; "
        "with --key also on the board's own signatures"
    )


def _as_json(proof: Proof) -> dict[str, Any]:
    return {
        "board": proof.board,
        "simulated": proof.simulated,
        "from": iso_time(proof.from_ms),
        "to": iso_time(proof.to_ms),
        **_shown_json(proof),
        "signatures": proof.signatures,
        "signatures_checked": proof.signed,
        "pairings_without_key": proof.without_key,
        "findings": [finding._asdict() for finding in proof.findings],
        "rests_on": _rests_on(proof),
    }


def _shown_json(proof: Proof) -> dict[str, Any]:
    return {
        "verdict": proof.verdict,
        "intervals": [
            {
                **interval.shown._asdict(),
                "start": iso_time(interval.start_ms),
                "end": iso_time(interval.end_ms),
            }
            for interval in proof.intervals
        ],
        "heard": [
            {**one._asdict(), "start": iso_time(one.from_ms), "end": iso_time(one.to_ms)}
            for one in proof.heard
        ],
    }


def _check(file: Path, secrets: Keys, *, as_json: bool) -> int:
    content = read_receipt(file)
    proof, claim = check_receipt(content, secrets)
    named = {key: content[key] for key in ("title", "label", "key_ids")}
    if as_json:
        told = _as_json(proof) | named
        if claim is not None:
            told |= {"rests_on": proof.intervals[0].note, "claim": _shown_json(claim)}
        print(json.dumps(told))
        return proof.exit_code
    if claim is not None:
        _print_claim(claim, proof.intervals[0].note or "")
    else:
        _print(proof, as_json=False)
        if not proof.findings:
            console.detail("the receipt itself is signed with the verify key")
    for what, said in named.items():
        if said and what != "key_ids":
            console.detail(f"{what}, as the receipt says: {words.printable(said)}")
    if file.suffix.lower() == ".html":
        console.detail("go by this: what the page itself says to a reader is not signed")
    return proof.exit_code


def _print_claim(claim: Proof, why: str) -> None:
    """What a receipt claims, and ``why`` that is not known."""
    console.headline("unknown", why)
    span = f"{words.local_time(claim.from_ms)} to {words.local_time(claim.to_ms)}"
    console.detail(f"it claims, {span}, board {claim.board}:")
    for interval in claim.intervals:
        console.detail(f"claimed {_line(interval)}")
    for one in claim.heard:
        console.detail(f"claimed heard, {one.told}")
    if claim.simulated:
        console.detail(_SIMULATED)
    if claim.fitting and claim.without_key:
        console.detail(counts_for_nothing(claim))
    if claim.fitting:
        console.detail("ask for a receipt that was made with `hardmute prove --key`: it is signed")
    elif claim.signatures:
        console.detail("to check it, give the board's verify key: --key FILE")
