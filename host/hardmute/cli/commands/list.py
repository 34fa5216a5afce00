"""`hardmute list`: the boards that are there."""

from __future__ import annotations

import json
from argparse import Namespace

from hardmute import NOT_ATTESTED, Host, Listed, words
from hardmute.cli import console


def list_boards(args: Namespace) -> int:
    """`hardmute list`: real boards by USB ids and handshake, then simulated ones."""
    host = Host()
    rows = host.listed(timeout=args.timeout, bridges=args.probe)
    if args.json:
        print(json.dumps({"boards": [row._asdict() for row in rows]}))
    elif rows:
        _print_boards(rows)
    else:
        print("No board is connected. `hardmute sim` starts a simulated one.")
        if not args.probe:
            print("`hardmute list --probe` also looks behind CP210x and CH340 bridges.")
    return host.exit_code


def _print_boards(rows: list[Listed]) -> None:
    for row in rows:
        parts = [row.label, row.board or "no board answers"]
        if row.simulated:
            parts.append("(simulated)")
        if row.firmware:
            parts.append(f"firmware {row.firmware}")
        console.headline(row.verdict, "  ".join(filter(None, parts)))
        # Alone and whole, to be copied.
        print(f"         {row.device}")
        if row.reason == NOT_ATTESTED:
            console.detail(words.claimed(row.unsigned))
        elif row.reason:
            console.detail(row.reason)
