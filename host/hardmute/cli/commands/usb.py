"""`hardmute usb`: which USB device is behind a board, and whether this computer has it now."""

from __future__ import annotations

import json
from argparse import Namespace

from hardmute import Host, words
from hardmute.cli import console


def usb(args: Namespace) -> int:
    """`hardmute usb`: tell, `--learn` or `--forget`."""
    host = Host()
    if args.forget:
        host.forget_usb(args.device, timeout=args.timeout)
    if args.learn:
        say = host.note if args.json else console.say
        found = host.learn_usb(args.device, timeout=args.timeout, say=say)
    else:
        found = host.usb(args.device, timeout=args.timeout)
    if args.json:
        told = found._asdict()
        print(json.dumps(told | {"devices": [device._asdict() for device in found.devices]}))
        return host.exit_code
    if not found.devices:
        console.say(
            f"No USB device is known behind board {found.board}. `hardmute usb --learn` finds it."
        )
    for device in found.devices:
        number = f"serial {device.serial}" if device.serial else "no serial number"
        console.say(words.printable(f"behind board {found.board}: {device.title}, {number}"))
        if not device.records:
            console.detail("as far as this computer knows it records no sound")
    if found.now is not None:
        console.detail(f"now: {_NOW.get(found.now) or words.USB[found.now]}")
    if found.devices and not found.back:
        console.detail(words.USB["not_back"])
    if found.devices:
        console.detail("`hardmute verify` looks for it on this computer")
    for other in found.others:
        console.detail(
            words.printable(f"another microphone, which this board does not cut: {other}")
        )
    return host.exit_code


_NOW = {
    "absent": "this computer does not have it",
    "present": "this computer has it",
}
