"""`hardmute config`: the settings on a board."""

from __future__ import annotations

import json
from argparse import Namespace

from hardmute.cli import service_mode
from hardmute.cli.logged import logged_session
from hardmute.model import words
from hardmute.sync.recorder import Recorder


def config(args: Namespace) -> int:
    """`hardmute config get|set`."""
    recorder = Recorder()
    changes: dict[str, object] | None = None
    if args.action == "set":
        from hardmute.model.settings import parse

        changes = parse(args.settings)
        with logged_session(args.device, args.timeout, args.command, recorder):
            # What the state was before somebody takes the plug out.
            pass
        args.device = service_mode.wait_for("setup", args.device, args.timeout, recorder)
    with logged_session(args.device, args.timeout, args.command, recorder) as (session, identity):
        settings = session.config(changes)
    if args.json:
        print(json.dumps({"board": identity.board, "config": settings}))
    else:
        from muteboard import config as board_config

        for key in sorted(settings):
            allowed = board_config.allowed(key) if key in board_config.DEFAULTS else "?"
            print(f"{words.printable(key)} = {words.printable(str(settings[key]))}   ({allowed})")
        if changes is not None:
            print(service_mode.LEAVE.format(service="setup"))
    return recorder.exit_code
