"""`hardmute prove`: was the line cut from T to T? And receipts of the answer."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import hardmute
from hardmute import Keys, Proof, clock, errors, words
from hardmute.cli import console
from hardmute.cli.when import parse_time
from hardmute.render.proofs import claim_json, proof_json, proof_line, proof_steps, rests_on

_SIMULATED = "a simulated board: no real microphone was cut by it"
_LONGEST_TITLE = 80


def prove(args: Namespace) -> int:
    """`hardmute prove`, with ``--check`` of a receipt, and with ``--sign`` too."""
    secrets = hardmute.load_verify_keys(args.key)
    if args.check is not None:
        return _check(args.check, secrets, as_json=args.json)
    if args.receipt is not None:
        hardmute.require_name(args.receipt)
    title = _title(args)
    if args.sign is not None:
        return _sign(args, secrets, title)
    if args.start is None:
        raise errors.UsageError("Say which time: --from T (or --check a receipt).")
    from_ms, until = parse_time(args.start), args.end or "now"
    if from_ms > clock.now_ms():
        raise errors.UsageError("--from must not be in the future.")
    if args.log is not None and args.receipt is not None:
        raise errors.UsageError("A receipt is made on the host whose log it is: leave --log out.")
    met = None
    if until == "now" and args.log is None:
        met = hardmute.meet_to_prove(args.device, timeout=args.timeout)
    to_ms = parse_time(until) if met is None else met.end_ms
    if not from_ms < to_ms:
        raise errors.UsageError("--from must be before --to.")
    if args.log is not None:
        return _prove_export(args, from_ms, to_ms, secrets)
    if to_ms > clock.now_ms():
        raise errors.UsageError("--to must not be in the future.")
    board = args.device if met is None or met.board is None else met.board
    proof = hardmute.prove_here(board, from_ms, to_ms, secrets, receipt=args.receipt, title=title)
    _print(proof, as_json=args.json, steps=proof_steps(proof))
    if args.receipt is not None and not args.json:
        console.detail(f"receipt: {args.receipt}")
    return errors.worst(proof.exit_code, errors.OK if met is None else met.exit_code)


def _prove_export(args: Namespace, from_ms: int, to_ms: int, secrets: Keys) -> int:
    """`hardmute prove --log FILE`: from an export of another host's log."""
    proof = hardmute.prove_export(args.log, args.device, from_ms, to_ms, secrets)
    steps = proof_steps(proof) if secrets else ["give the board's verify key: --key FILE"]
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


def _sign(args: Namespace, secrets: Keys, title: str | None) -> int:
    """`hardmute prove --sign`."""
    if not secrets:
        raise errors.UsageError("The verify key signs a receipt: give it, --key FILE.")
    if args.receipt is None:
        raise errors.UsageError("Name the new file for the signed receipt: --receipt FILE.")
    proof = hardmute.sign_receipt(args.sign, args.receipt, secrets, title)
    _print(proof, as_json=args.json, steps=proof_steps(proof))
    if not args.json:
        console.detail(f"signed receipt: {args.receipt}")
    return proof.exit_code


def _print(proof: Proof, *, as_json: bool, steps: Sequence[str] = ()) -> None:
    """``steps``: what to do about what is not known."""
    if as_json:
        print(json.dumps(proof_json(proof) | {"next": list(steps)}))
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
            console.detail(proof_line(interval))
    for one in proof.heard:
        console.detail(f"heard, {one.told}")
    for one in proof.absent:
        console.detail(f"absent, {one.told}")
    for step in steps:
        console.detail(f"next: {step}")
    if proof.simulated:
        console.detail(_SIMULATED)
    console.detail(rests_on(proof))


def _check(file: Path, secrets: Keys, *, as_json: bool) -> int:
    content = hardmute.read_receipt(file)
    proof, claim = hardmute.check_receipt(content, secrets)
    named = {key: content[key] for key in ("title", "label", "key_ids")}
    if as_json:
        told = proof_json(proof) | named
        if claim is not None:
            told |= {"rests_on": proof.intervals[0].note, "claim": claim_json(claim)}
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
        console.detail(f"claimed {proof_line(interval)}")
    for one in claim.heard:
        console.detail(f"claimed heard, {one.told}")
    for one in claim.absent:
        console.detail(f"claimed absent, {one.told}")
    if claim.simulated:
        console.detail(_SIMULATED)
    if claim.fitting and claim.without_key:
        console.detail(hardmute.counts_for_nothing(claim))
    if claim.fitting:
        console.detail("ask for a receipt that was made with `hardmute prove --key`: it is signed")
    elif claim.signatures:
        console.detail("to check it, give the board's verify key: --key FILE")
