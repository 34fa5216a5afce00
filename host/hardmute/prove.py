"""`hardmute prove`: was the line cut from T to T? And receipts of the answer."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from hardmute import errors, keys, paths, text
from hardmute.discovery import known_board
from hardmute.excerpt import excerpt
from hardmute.keys import load_verify_keys
from hardmute.log import Log, iso_time, now_ms
from hardmute.logview import edges, parse_time
from hardmute.proof import EVIDENCE, Proof, Proven, counts_for_nothing, examine
from hardmute.receipt import check_receipt, read_receipt, write_receipt
from hardmute.verifier import Keys

_SIMULATED = "a simulated board: no real microphone was cut by it"


def prove(args: Namespace) -> int:
    """`hardmute prove`, and with ``--check`` of a receipt."""
    secrets = load_verify_keys(args.key)
    if args.check is not None:
        return _check(args.check, secrets, as_json=args.json)
    if args.start is None or args.end is None:
        raise errors.UsageError("Say which time: --from T --to T (or --check a receipt).")
    from_ms, to_ms = parse_time(args.start), parse_time(args.end)
    if not from_ms < to_ms:
        raise errors.UsageError("--from must be before --to.")
    if to_ms > now_ms():
        raise errors.UsageError("--to must not be in the future.")
    log = Log(paths.log_file())
    try:
        board = _board(args.device, log)
        newest = log.newest(board, "attestation")
        if newest is not None and newest.at_ms > now_ms():
            raise errors.UsageError(
                "The host's clock was set back since the board last attested, at "
                f"{text.local_time(newest.at_ms)}: run `hardmute status` first, then prove."
            )
        found = excerpt(log, board, from_ms, to_ms)
        proof = examine(
            found,
            from_ms,
            to_ms,
            secrets,
            {} if secrets else keys.attest_keys(board, log.pairings(board)),
        )
        proof = proof._replace(simulated=board not in log.real_boards())
        if args.receipt is not None:
            if not secrets:
                text.complain(
                    "Without --key the receipt is not signed: a check of it shows what the board"
                    " signed, but not when."
                )
            write_receipt(args.receipt, proof, found.entries(EVIDENCE), secrets, log.hash_at)
    finally:
        log.close()
    _print(proof, as_json=args.json)
    if args.receipt is not None and not args.json:
        text.detail(f"receipt: {args.receipt}")
    return proof.exit_code


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


def _print(proof: Proof, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(proof)))
        return
    span = f"{text.local_time(proof.from_ms)} to {text.local_time(proof.to_ms)}"
    if proof.findings:
        first = proof.findings[0]
        text.headline("unknown", f"board {proof.board}: entry {first.row} {first.text}")
        text.detail("the evidence does not hold, so nothing is proven; `hardmute log verify`")
        return
    if proof.verdict == "muted":
        text.headline("muted", f"throughout, {span}, board {proof.board}")
    else:
        text.headline(
            proof.verdict, f"not shown to be muted throughout, {span}, board {proof.board}"
        )
        for interval in proof.intervals:
            text.detail(_line(interval))
    for one in proof.heard:
        text.detail(f"heard, {one.told}")
    if proof.simulated:
        text.detail(_SIMULATED)
    text.detail(_rests_on(proof))


def _line(interval: Proven) -> str:
    cause = text.CAUSES.get(interval.cause or "", "")
    return (
        f"{interval.state:8}{text.local_time(interval.start_ms)} for "
        f"{text.duration(interval.end_ms - interval.start_ms)}{edges(interval.plus_minus_ms)}  "
        f"{interval.note or cause}"
    )


def _rests_on(proof: Proof) -> str:
    if not proof.signatures:
        return (
            "rests on nothing: this board has signed nothing of that time; `hardmute pair"
            " --verify-key FILE` lets it"
        )
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
    return (
        "rests on what this host checked at the time with the attest key, on its log "
        "and clock; with --key also on the board's own signatures"
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
                **interval._asdict(),
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
    proof, claim = check_receipt(read_receipt(file), secrets)
    if as_json:
        told = _as_json(proof)
        if claim is not None:
            told |= {"rests_on": proof.intervals[0].note, "claim": _shown_json(claim)}
        print(json.dumps(told))
        return proof.exit_code
    if claim is not None:
        _print_claim(claim, proof.intervals[0].note or "")
    else:
        _print(proof, as_json=False)
        if not proof.findings:
            text.detail("the receipt itself is signed with the verify key")
    if file.suffix.lower() == ".html":
        text.detail("go by this: what the page itself says to a reader is not signed")
    return proof.exit_code


def _print_claim(claim: Proof, why: str) -> None:
    """What a receipt claims, and ``why`` that is not known."""
    text.headline("unknown", why)
    span = f"{text.local_time(claim.from_ms)} to {text.local_time(claim.to_ms)}"
    text.detail(f"it claims, {span}, board {claim.board}:")
    for interval in claim.intervals:
        text.detail(f"claimed {_line(interval)}")
    for one in claim.heard:
        text.detail(f"claimed heard, {one.told}")
    if claim.simulated:
        text.detail(_SIMULATED)
    if claim.fitting and claim.without_key:
        text.detail(counts_for_nothing(claim))
    if claim.fitting:
        text.detail("ask for a receipt that was made with `hardmute prove --key`: it is signed")
    elif claim.signatures:
        text.detail("to check it, give the board's verify key: --key FILE")
