"""`hardmute pair` and `hardmute unpair`: begin and end what a board's evidence rests on."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import hardmute
from hardmute import EndedPairing, Host, MadePairing, errors
from hardmute.cli import console, service_mode

_WHAT_KEYS_DO = """\
attest key, on this host: tells at once whether an answer is this board's. Whoever has it can \
answer in the board's place, to this host.
verify key, in {file}: checks all evidence of this pairing, and could forge it. It belongs \
offline: move it to a stick or print it, keep a copy, and leave none on this computer."""


def pair(args: Namespace) -> int:
    """`hardmute pair`."""
    host = Host()
    made = hardmute.pair(
        host,
        args.device,
        args.verify_key,
        timeout=args.timeout,
        in_setup=lambda: service_mode.wait_for("setup", args.device, args.timeout, host),
    )
    if args.json:
        told = {
            "board": made.board,
            "pairing": made.pairing,
            "key_id": made.key_id,
            "earlier_pairing": made.earlier or None,
            "verify_key": str(args.verify_key),
            "attested": made.attested,
        }
        print(json.dumps(told))
    else:
        _tell(made, args.verify_key)
    if not made.attested and host.exit_code != errors.TAMPERED:
        raise errors.UnreachableError(
            "The board is paired, but has not attested yet: ask it with `hardmute verify --require"
            " attested`.",
            "not_attested",
        )
    return host.exit_code


def unpair(args: Namespace) -> int:
    """`hardmute unpair`: end this host's pairing; without one, the board's with whomever."""
    host = Host()
    ended = hardmute.unpair(
        host,
        args.device,
        timeout=args.timeout,
        in_setup=lambda: service_mode.wait_for("setup", args.device, args.timeout, host),
    )
    if args.json:
        print(json.dumps({key: ended._asdict()[key] for key in _TOLD}))
    else:
        console.say(_said(ended))
        console.say(
            "What was recorded stays checkable with the verify key of its pairing: keep that."
        )
    return host.exit_code


_TOLD = ("board", "board_unpaired", "host_unpaired")


def _said(ended: EndedPairing) -> str:
    if ended.board_unpaired:
        return f"Board {ended.board} is no longer paired: it has forgotten its keys."
    said = f"This host no longer counts on a pairing with board {ended.board}. The board itself "
    if not ended.paired:
        return said + "is not paired."
    if ended.has_key:
        return said + "is paired with another host, and stays so."
    return said + "stays paired: run `hardmute unpair` once more to end that as well."


def _tell(made: MadePairing, file: Path) -> None:
    console.say(f"Board {made.board} is paired (pairing {made.pairing}, key {made.key_id}).")
    if made.earlier:
        console.say(
            f"It ends pairing {made.earlier}. What was recorded until now stays checkable with the"
            " verify key of that one: keep both."
        )
    console.say(_WHAT_KEYS_DO.format(file=file))
    console.say(service_mode.LEAVE.format(service="setup"))
