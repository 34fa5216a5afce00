"""300 random press patterns with bounce on the chip: none lost, none doubled, no cut late.

The patterns, and the oracle that says what each must do (P2, P3), are those that the host engine
gets 10,000 of.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

import press_storm
from muteboard import wire
from press_storm import PUSH_TO_TALK, TOGGLE
from workbench import HIGH, Bench

# The record of an unmute is written first: usually 50 ms, and twice that when the file system
# erases two blocks. The edges are dated all the same, so it is only the decision that is late.
_LATE_US = 150_000
# The board's clock counts whole milliseconds.
_EARLY_US = 1_000
# The PIO's cycles.
_CUT_LATE_US = 1


def storm_on(bench: Bench, mode: str, seed: int, count: int) -> None:
    storm = press_storm.storm(mode, count, Random(seed), bench.now_us)
    physics = bench.physics
    for edge in storm.edges:
        physics.at(edge.time_us, physics.stick if edge.down else physics.unstick)
    bench.watch_relay()
    bench.pico.advance(storm.end_us + _LATE_US)
    coil = [(int(now), level == HIGH) for now, level in bench.relay[1:]]
    wanted = press_storm.expected(mode, storm.edges)
    assert wanted
    assert press_storm.disagreements(wanted, coil, _LATE_US, _CUT_LATE_US, _EARLY_US) == []
    assert [cause for _, cause in bench.pico.resets] == ["power"]


def test_P2_no_short_press_is_lost_while_the_host_asks(bench: Bench) -> None:
    """40 ms with 5 ms of bounce; a pass that answers takes 13 ms of them."""
    chance = Random(9)
    bench.ask("watch")
    for number in range(40):
        bench.press_at(bench.now_us + chance.randint(1, 8_000), hold_ms=40, bounce_ms=5)
        bench.run_us(chance.randint(0, 9_000))
        bench.send(wire.frame({"id": number, "op": "status"}))
        bench.run_ms(220)
        bench.heard()
        assert bench.coil is (number % 2 == 0)


@pytest.mark.parametrize("seed", range(6))
def test_P2_P3_storm_of_presses_that_toggle(bench: Bench, seed: int) -> None:
    storm_on(bench, TOGGLE, seed, 40)


def test_P2_P3_storm_of_presses_to_talk(fresh: Callable[..., Bench]) -> None:
    bench = fresh(mode=PUSH_TO_TALK).start()
    storm_on(bench, PUSH_TO_TALK, 7, 60)
