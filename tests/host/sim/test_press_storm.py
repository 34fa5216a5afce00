"""4,000 random presses with bounce on the simulated board: none lost or double, no late cut.

`test_promises` has 10,000 more of the common kind.
"""

from __future__ import annotations

from random import Random

import pytest

import press_storm
from conftest import VirtualBoard
from press_storm import PUSH_TO_TALK, TOGGLE, Edge

COUNT = 1_000
# An edge is seen at the next pass and the debounce found over at another, 1 ms each.
LATE_US = 2_000


def play(board: VirtualBoard, storm: press_storm.Storm) -> None:
    """Let the button's contact do as the storm says."""
    physics = board.physics
    for edge in storm.edges:
        physics.at(edge.time_us, physics.stick if edge.down else physics.unstick)
    board.board.advance(storm.end_us)


@pytest.mark.parametrize("mode", [TOGGLE, PUSH_TO_TALK])
@pytest.mark.parametrize("seed", range(2))
def test_P2_P3_each_press_of_a_storm_counts_once_in_good_time(mode: str, seed: int) -> None:
    board = VirtualBoard(mode=mode)
    storm = press_storm.storm(mode, COUNT, Random(f"{mode} {seed}"), board.physics.now_us)
    connections = press_storm.expected(mode, storm.edges)
    # The storm has some of everything: presses that connect, and enough that must not.
    assert len(storm.kinds) == COUNT
    assert {*storm.kinds} == {*press_storm.KINDS}
    assert COUNT // 4 < len(connections) < COUNT * 9 // 10
    assert len(storm.edges) > 5 * COUNT

    play(board, storm)

    assert press_storm.disagreements(connections, board.coil_log, LATE_US) == []
    live = connections[-1].until_us is None
    status = board.status()
    assert (status["state"], status["faults"]) == ("live" if live else "muted", [])
    assert status["changes"] == 2 * len(connections) - live
    assert board.look()["line"] == ("connected" if live else "cut")


# The oracle itself, by hand.


def edges(*times_ms: float) -> list[Edge]:
    return [Edge(round(time * 1000), index % 2 == 0) for index, time in enumerate(times_ms)]


@pytest.mark.parametrize(
    ("times_ms", "toggled", "held"),
    [
        # A press, with and without bounce; one that mutes, however short; and again.
        ([0, 100], [(130, None)], [(30, 100)]),
        ([0, 1, 2, 100, 103, 110], [(140, None)], [(32, 100)]),
        ([0, 100, 200, 201], [(130, 200)], [(30, 100)]),
        ([0, 100, 200, 300, 400, 500], [(130, 200), (530, None)], None),
        # Too short, too often, too long.
        ([0, 20], [], []),
        ([0, 20, 25, 45, 46, 60], [], []),
        ([0, 1600], [], [(30, 1600)]),
        ([0, 1490, 1495, 1515], [], [(30, 1490)]),
        # The contact opens for a moment: one press all the same, and its voice is cut.
        ([0, 100, 110, 200], [(230, None)], [(30, 100)]),
        # A gap of 40 ms: two presses, the second mutes.
        ([0, 100, 140, 240], [(130, 140)], [(30, 100), (170, 240)]),
    ],
)
def test_the_oracle_says_what_the_design_says(
    times_ms: list[float],
    toggled: list[tuple[int, int | None]],
    held: list[tuple[int, int | None]] | None,
) -> None:
    for mode, wanted in ((TOGGLE, toggled), (PUSH_TO_TALK, held)):
        if wanted is not None:
            told = press_storm.expected(mode, edges(*times_ms))
            assert [
                (since // 1000, until if until is None else until // 1000) for since, until in told
            ] == wanted


@pytest.mark.parametrize("times_ms", [[0, 32], [0, 100, 127, 200], [0, 1497]])
def test_the_oracle_refuses_what_the_design_leaves_open(times_ms: list[float]) -> None:
    with pytest.raises(AssertionError, match="ambiguous"):
        press_storm.expected(TOGGLE, edges(*times_ms))


@pytest.mark.parametrize(
    "coil",
    [
        [],
        [(130_000, True)],
        [(129_999, True), (200_000, False)],
        [(133_000, True), (200_000, False)],
        [(130_000, True), (200_001, False)],
        [(130_000, True), (199_999, False)],
        [(130_000, True), (200_000, False), (231_000, True)],
    ],
)
def test_a_coil_that_does_anything_else_is_found_out(coil: list[tuple[int, bool]]) -> None:
    wanted = press_storm.expected(TOGGLE, edges(0, 100, 200, 300))
    assert press_storm.disagreements(wanted, [(131_000, True), (200_000, False)], LATE_US) == []
    assert press_storm.disagreements(wanted, coil, LATE_US) != []
