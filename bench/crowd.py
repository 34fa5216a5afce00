"""Many paired boards in one process, which take little: ``python -m bench.crowd NUMBER``.

Each answers as a muted board does, keeps a journal, signs, and tells its state each second. The
home that `HARDMUTE_HOME` names is paired with each. It prints their ports, one a line.
"""

from __future__ import annotations

import heapq
import os
import selectors
import sys
import time
import tty
from binascii import b2a_base64
from random import Random
from typing import Any

from hardmute.evidence.entries import canonical
from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics
from hardmute.store import keys
from hardmute.store.log import Log
from hardmute.system import paths
from muteboard import attest, journal, wire


class CrowdBoard:
    """One of them, at a pseudo-terminal of its own. ``number``: which one."""

    def __init__(self, number: int, log: Log) -> None:
        self.board = f"5eed{number:04x}"
        memory = SimulatedBoard(Physics(1, Random(number)), bytes.fromhex(self.board), None)
        self._journal = journal.Journal(memory)
        self._journal.boot = 1
        secret = self._pair()
        key = keys.attest_key_of(self._journal.pairing, secret)
        keys.save_attest_key(self.board, key)
        log.append("pairing", self.board, {"pairing": key.pairing, "key_id": key.key_id})
        self.fd, self._other = os.openpty()
        for fd in (self.fd, self._other):
            tty.setraw(fd)
        os.set_blocking(self.fd, False)
        self.device = os.ttyname(self._other)
        self._reader = wire.LineReader()
        self._watch: int | None = None

    def _pair(self) -> bytes:
        theirs = bytes(attest.KEY)
        ours = self._journal.pair(0, theirs)
        assert ours is not None
        return attest.secret(theirs, ours, bytes.fromhex(self.board))

    def read(self) -> None:
        """Answer what was asked."""
        data, at = os.read(self.fd, 4096), 0
        while (at := self._reader.feed(data, at)) >= 0:
            if line := self._reader.line():
                request = wire.unframe(line, need_crc=False)
                said = self._answer(request) | {"id": request["id"], "ok": True}
                os.write(self.fd, wire.frame(said))

    def tell(self) -> None:
        """Tell the state, if somebody watches."""
        if self._watch is not None:
            event = {**self._status(), "event": "state", "watch": self._watch}
            os.write(self.fd, wire.frame(event))

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["op"]:
            case "hello":
                self._watch = None
                return {
                    "product": wire.PRODUCT,
                    "proto": [wire.PROTO_MAJOR, wire.PROTO_MINOR],
                    "firmware": "0.1.0",
                    "board": self.board,
                    "port": "crowd",
                    "contacts": 1,
                    "simulated": False,
                    "journal": True,
                }
            case "status":
                return self._status()
            case "watch":
                self._watch = request["id"]
                return {}
            case "attest":
                statement = {
                    **self._stated(),
                    "board": self.board,
                    "epoch": self._journal.epoch,
                    "nonce": request["nonce"],
                }
                mac, journal_mac = self._journal.sign(canonical(statement).encode())
                return {**statement, "mac": mac.hex(), "journal_mac": journal_mac.hex()}
            case "journal":
                first, data = self._journal.page(request["from"])
                records = b2a_base64(data)[:-1].decode()
                return {"first": 1, "from": first, "last": self._journal.seq, "records": records}
            case _:
                return {}

    def _stated(self) -> dict[str, Any]:
        uptime_ms = int(time.monotonic() * 1000)
        kept = self._journal
        return {
            "state": "muted",
            "command": "cut",
            "sense": [0],
            "cause": "boot",
            "since_ms": uptime_ms,
            "uptime_ms": uptime_ms,
            "boot": 1,
            "changes": 1,
            "live_ms": 0,
            "service": "none",
            "seq": kept.seq,
            "head": kept.head.hex(),
            "pairing": kept.pairing,
        }

    def _status(self) -> dict[str, Any]:
        left_out = {"remute_in_ms": None, "faults": [], "warnings": [], "simulated": False}
        return {**self._stated(), **left_out}


def main(number: int) -> None:
    log = Log(paths.log_file())
    with log.transaction():
        boards = [CrowdBoard(at, log) for at in range(number)]
    log.close()
    ports = selectors.DefaultSelector()
    due: list[tuple[float, int]] = []
    for at, board in enumerate(boards):
        ports.register(board.fd, selectors.EVENT_READ, board)
        heapq.heappush(due, (time.monotonic() + at / number, at))
        print(board.device, flush=True)
    while True:
        at_s, at = due[0]
        for key, _ in ports.select(max(0.0, at_s - time.monotonic())):
            key.data.read()
        if time.monotonic() >= at_s:
            boards[at].tell()
            heapq.heapreplace(due, (at_s + 1, at))


if __name__ == "__main__":
    main(int(sys.argv[1]))
