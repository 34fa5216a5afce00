"""`hardmute audio`: which microphones and speakers there are, and which belong to a board."""

from __future__ import annotations

import json
from argparse import Namespace

from hardmute import Host, errors, known_board
from hardmute.listen import devices
from hardmute.listen.devices import Choice, Device


def audio(args: Namespace) -> int:
    """`hardmute audio`, and with names: those are the board's from now on."""
    listed = devices.devices()
    host = Host()
    named = {kind: getattr(args, kind) for kind in ("input", "output")}
    board: str | None = None
    if any(named.values()) or args.device is not None:
        board = host.log and known_board(args.device, host.log)
        if board is None:
            raise errors.UsageError(
                "This host has met no such board: `hardmute status` once, or name it with -d."
            )
    if any(named.values()) and board is not None:
        chosen = {
            kind: devices.choose(listed, kind, name).name
            for kind, name in named.items()
            if name is not None
        }
        devices.remember(board, chosen)
    choice = devices.remembered(board) if board is not None else {}
    if args.json:
        shown = [{**device._asdict(), "chosen": _is_chosen(device, choice)} for device in listed]
        print(json.dumps({"board": board, "devices": shown}))
    else:
        _print(listed, choice, board)
    return host.exit_code


def _is_chosen(device: Device, choice: Choice) -> bool:
    return choice.get(device.kind) == device.name


def _print(listed: list[Device], choice: Choice, board: str | None) -> None:
    if not listed:
        print(devices.none_of("microphone and no speaker"))
    for device in listed:
        marks = [
            "usual" if device.default else None,
            f"no hardware: {device.virtual}" if device.virtual is not None else None,
            "muted by the system" if device.muted else None,
            f"for board {board}" if _is_chosen(device, choice) else None,
        ]
        said = ", ".join(filter(None, marks))
        print(f"{device.kind:7} {device.name}" + (f"  ({said})" if said else ""))
        if device.title != device.name:
            print(f"        {device.title}")
