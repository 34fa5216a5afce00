"""P5: what the monitor tells, and what it logs, is never muted while a line is connected, nor
older than 3 s. Of each two of what happens, three meet.
"""

from __future__ import annotations

import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics
from monitor_process import Clocks
from monitor_story import KINDS, Board, Host, plan, tell
from muteboard import config

BOARDS = ("5eed0001", "5eed0002", "5eed0003")
SEEDS = range(6)
# What happens within this time of something else meets it, in seconds.
MEETS_S = 1.0


def test_P5_each_two_of_what_happens_meet() -> None:
    met: Counter[frozenset[str]] = Counter()
    for seed in SEEDS:
        for one, other in itertools.combinations(plan(seed, len(BOARDS)), 2):
            if other.at_s - one.at_s <= MEETS_S:
                met[frozenset((one.kind, other.kind))] += 1
    pairs = [frozenset(pair) for pair in itertools.combinations(KINDS, 2)]
    assert min(met[pair] for pair in pairs) >= 3


@pytest.fixture
def clocks(home: Path, monkeypatch: pytest.MonkeyPatch) -> Clocks:
    monkeypatch.setenv("HARDMUTE_CLOCKS", str(home / "clocks"))
    return Clocks(home / "clocks")


@pytest.fixture
def boards(clocks: Clocks) -> Iterator[list[Board]]:
    settings = config.dump(config.DEFAULTS)
    started = [
        Board(board, SimulatedBoard(Physics(1, Random(board)), unique_id, settings), clocks)
        for board in BOARDS
        for unique_id in [bytes.fromhex(board)]
    ]
    yield started
    for board in started:
        board.close()


@pytest.mark.skipif(sys.platform != "linux", reason="stops processes, and fills their disk")
@pytest.mark.parametrize("seed", SEEDS)
def test_P5_the_monitor_tells_muted_of_cut_lines_only(
    clocks: Clocks, boards: list[Board], seed: int
) -> None:
    with Host(clocks, BOARDS) as host:
        tell(boards, host, seed)
