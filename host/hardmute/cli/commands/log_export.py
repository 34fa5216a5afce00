"""`hardmute log export`: a copy of the log for others."""

from __future__ import annotations

from argparse import Namespace

import hardmute
from hardmute import errors


def export(args: Namespace) -> int:
    """`hardmute log export FILE.jsonl`."""
    log = hardmute.own_log()
    try:
        row, head = hardmute.export_log(log, args.export)
    finally:
        log.close()
    print(f"{args.export}: up to entry {row}")
    print(f"head {row} {head.hex()}")
    return errors.OK
