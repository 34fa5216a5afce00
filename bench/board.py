"""Figures of the firmware, as the simulated board runs it."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys

from bench.figure import Figure
from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics

_FLOOD_BYTES = 100_000_000
_BLOCK = 65_536
_STEP_US = 1_000


def flood_memory() -> list[Figure]:
    """Memory of the simulated board while the host sends 100 MB of noise at it."""
    # A process of its own: nothing else has grown its memory.
    run = subprocess.run(
        [sys.executable, "-m", "bench.board"], check=True, capture_output=True, text=True
    )
    result = json.loads(run.stdout)
    return [
        Figure("100 MB flood: memory before", result["before_kb"], "kB"),
        Figure("100 MB flood: memory grew by", result["growth_kb"], "kB", "flat"),
        Figure("100 MB flood: passes of the loop", result["passes"], "passes"),
    ]


def _flood() -> None:
    noise = random.Random(1)
    physics = Physics(1, noise)
    board = SimulatedBoard(physics, b"benchmrk", None)
    board.power_on()
    blocks = [
        # No newline at all; every byte there is; good requests; a wrong checksum.
        *[b"x" * _BLOCK] * 10,
        *[bytes(noise.choices(range(256), k=_BLOCK))] * 4,
        b'{"id":1,"op":"status"}\n' * (_BLOCK // 23),
        b'{"id":1,"op":"unmute"}\t00000000\n' * (_BLOCK // 32),
    ]
    sent = passes = before_kb = 0
    while sent < _FLOOD_BYTES:
        block = blocks[sent // _BLOCK % len(blocks)]
        at = 0
        while at < len(block):
            space = board.receive_space()
            board.received += block[at : at + space]
            at += space
            board.advance(physics.now_us + _STEP_US)
            # The host reads what it is told, so that the board keeps reading too.
            board.sending.clear()
            passes += 1
        sent += len(block)
        if not before_kb and sent > len(blocks) * _BLOCK:
            before_kb = _peak_kb()
    result = {"before_kb": before_kb, "growth_kb": _peak_kb() - before_kb, "passes": passes}
    print(json.dumps(result))


def _peak_kb() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


if __name__ == "__main__":
    _flood()
