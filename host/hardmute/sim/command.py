"""The commands of the simulated board."""

from __future__ import annotations

import json
from argparse import Namespace

from hardmute.errors import OK, UsageError
from hardmute.sim.world import HELP, act


def sim(args: Namespace) -> int:
    """`hardmute sim`."""
    from hardmute.sim.server import serve

    return serve(board_id=args.id, contacts=args.contacts, settings=args.set, tcp_port=args.tcp)


def world(args: Namespace) -> int:
    """`hardmute world PATH WORD...`."""
    if not args.words:
        raise UsageError(f"Say what happens in the world:\n{HELP}")
    seen = act(args.address, args.words)
    if seen:
        print(json.dumps(seen))
    return OK
