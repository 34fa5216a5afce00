"""`hardmute log export`: a copy of the log for others."""

from __future__ import annotations

from argparse import Namespace

from hardmute.evidence.entries import GENESIS, export_header, export_line
from hardmute.model import errors
from hardmute.store.log import Log
from hardmute.system import paths
from hardmute.system.new_file import new_file


def export(args: Namespace) -> int:
    """`hardmute log export FILE.jsonl`."""
    log = Log(paths.log_file())
    try:
        with new_file(args.export) as stream:
            stream.write(f"{export_header()}\n".encode("ascii"))
            row, head = 0, GENESIS
            for entry in log.entries():
                stream.write(f"{export_line(entry)}\n".encode("ascii"))
                row, head = entry.row, entry.hash
    finally:
        log.close()
    print(f"{args.export}: up to entry {row}")
    print(f"head {row} {head.hex()}")
    return errors.OK
