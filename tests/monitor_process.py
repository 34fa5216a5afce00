"""`hardmute monitor` on a host whose clocks jump as a file says: ``python monitor_process.py``.

The file `HARDMUTE_CLOCKS` holds two numbers of 64 bits, in us: how far the wall clock was set on,
and for how long the host has slept.
"""

from __future__ import annotations

import mmap
import os
import struct
import sys
from pathlib import Path

from hardmute.cli import parser
from hardmute.cli.commands import monitor
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.sync import visit

_FORMAT = "<qq"
SIZE = struct.calcsize(_FORMAT)


class Clocks:
    """The clocks of a host, which a test sets on and puts to sleep."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(bytes(SIZE))
        with file.open("r+b") as opened:
            self._shared = mmap.mmap(opened.fileno(), SIZE)

    def _set_us(self) -> int:
        return struct.unpack(_FORMAT, self._shared)[0]

    def _slept_us(self) -> int:
        return struct.unpack(_FORMAT, self._shared)[1]

    def put_on(self, *, set_us: int = 0, slept_us: int = 0) -> None:
        """Set the wall clock on, or let the host sleep, which both clocks tell."""
        self._shared[:] = struct.pack(
            _FORMAT, self._set_us() + set_us, self._slept_us() + slept_us
        )

    @property
    def clock(self) -> HostClock:
        """The clocks, as the programs of this host read them."""
        return HostClock(
            lambda: SYSTEM.wall_ms() + (self._set_us() + self._slept_us()) // 1000,
            lambda: SYSTEM.run_us() + self._slept_us(),
            SYSTEM.run,
        )


def main() -> int:
    """Run the monitor for the boards that are named."""
    clock = Clocks(Path(os.environ["HARDMUTE_CLOCKS"])).clock
    # `cut` and `visit` go by this one.
    visit.__dict__["SYSTEM"] = clock
    words = ["monitor", "--json", *(word for board in sys.argv[1:] for word in ("-d", board))]
    return monitor.run(parser.parse(words), clock)


if __name__ == "__main__":
    sys.exit(main())
