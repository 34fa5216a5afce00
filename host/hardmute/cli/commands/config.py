"""`hardmute config`: the settings on a board."""

from __future__ import annotations

import json
from argparse import Namespace

import hardmute
from hardmute import Host, words
from hardmute.cli import service_mode


def config(args: Namespace) -> int:
    """`hardmute config get|set`."""
    host, device = Host(), args.device
    changes: dict[str, object] | None = None
    if args.action == "set":
        changes = hardmute.parse_settings(args.settings)
        with host.session(device, timeout=args.timeout, source="config"):
            # What the state was before somebody takes the plug out.
            pass
        device = service_mode.wait_for("setup", device, args.timeout, host)
    board, settings = host.settings(device, changes, timeout=args.timeout)
    if args.json:
        print(json.dumps({"board": board, "config": settings}))
    else:
        from muteboard import config as board_config

        for key in sorted(settings):
            allowed = board_config.allowed(key) if key in board_config.DEFAULTS else "?"
            print(f"{words.printable(key)} = {words.printable(str(settings[key]))}   ({allowed})")
        if changes is not None:
            print(service_mode.LEAVE.format(service="setup"))
    return host.exit_code
