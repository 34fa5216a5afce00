"""Runs hardmute's command line, and tells what Python opens for writing and connects to.

python audited.py EVENTS.jsonl WORD ...
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def main() -> int:
    events = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open" and arguments[2] & _WRITES:
            told = ["open", str(arguments[0])]
        elif event in ("socket.connect", "socket.sendto"):
            told = [event, str(arguments[-1])]
        else:
            return
        os.write(events, (json.dumps(told) + "\n").encode())

    sys.addaudithook(audit)
    from hardmute.cli.main import main as hardmute

    return hardmute(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
