"""Wall time of uptimes: the truth lies within the bounds, and conflicts are seen (P5)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardmute.evidence.anchors import Anchor, BootClock, Bounds

HOUR = 3_600_000
START = 1_764_000_000_000
EXACT = Anchor(uptime_ms=0, sent_ms=START, received_ms=START)


@pytest.mark.parametrize(
    ("apart_ms", "off_ms"), [(0, 1), (9_999, 1), (10_000, 2), (HOUR, 361), (24 * HOUR, 8641)]
)
def test_P5_what_is_known_fades_with_the_way_to_the_anchor(apart_ms: int, off_ms: int) -> None:
    for sign in (1, -1):
        at = BootClock([EXACT]).at(sign * apart_ms)
        assert at == Bounds(START + sign * apart_ms - off_ms, START + sign * apart_ms + off_ms)
        assert at.uncertainty_ms == off_ms
        assert at.middle == START + sign * apart_ms


def test_P5_a_round_trip_is_part_of_what_is_not_known() -> None:
    at = BootClock([Anchor(500, START, START + 40)]).at(500)
    assert at == Bounds(START - 1, START + 41)
    assert at.uncertainty_ms == 21


def test_between_two_anchors_the_nearer_one_tells_more() -> None:
    clock = BootClock([Anchor(HOUR, START + HOUR, START + HOUR), EXACT])
    near, far = clock.at(1000), BootClock([EXACT]).at(HOUR - 1000)
    assert near.uncertainty_ms == 1
    assert clock.at(HOUR - 1000).uncertainty_ms == 1
    assert far.uncertainty_ms > 300
    # In the middle each is off by half as much as at the other's end.
    assert clock.at(HOUR // 2).uncertainty_ms == 181


def test_two_anchors_narrow_what_both_leave_open() -> None:
    slow, quick = Anchor(0, START - 3000, START + 10), Anchor(10, START, START + 3000)
    assert BootClock([slow, quick]).at(10) == Bounds(START - 1, START + 21)


@pytest.mark.parametrize("by_ms", [-20 * 365 * 24 * HOUR, -HOUR, HOUR, 5 * 365 * 24 * HOUR])
def test_P5_both_times_are_possible_where_the_clock_was_set(by_ms: int) -> None:
    second = Anchor(HOUR, START + HOUR + by_ms, START + HOUR + by_ms)
    clock = BootClock([EXACT, second])
    at = clock.at(HOUR // 2)
    for anchor in (EXACT, second):
        alone = BootClock([anchor]).at(HOUR // 2)
        assert at.earliest <= alone.earliest
        assert alone.latest <= at.latest
    assert at.uncertainty_ms >= abs(by_ms) // 2
    # Outside of the two, only the nearer one counts.
    assert clock.at(-1000) == BootClock([EXACT]).at(-1000)
    assert clock.at(HOUR + 1000) == BootClock([second]).at(HOUR + 1000)


@given(
    board_ppm=st.integers(-50, 50),
    host_ppm=st.integers(-50, 50),
    uptimes=st.lists(st.integers(0, 90 * 24 * HOUR), min_size=1, max_size=5),
    delays=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 3000)), min_size=5),
    asked=st.integers(0, 100 * 24 * HOUR),
)
def test_P5_the_truth_is_within_the_bounds(
    board_ppm: int,
    host_ppm: int,
    uptimes: list[int],
    delays: list[tuple[int, int]],
    asked: int,
) -> None:
    """Whatever two crystals of 50 ppm each do, and however long answers take on either way."""

    def host_ms(uptime_ms: int) -> int:
        # Clocks that show whole ms; exact arithmetic.
        return START + uptime_ms * (1_000_000 + host_ppm) // (1_000_000 + board_ppm)

    anchors = [
        Anchor(uptime, host_ms(uptime) - before, host_ms(uptime) + after)
        for uptime, (before, after) in zip(uptimes, delays, strict=False)
    ]
    at = BootClock(anchors).at(asked)
    # (1 + 50 ppm) / (1 - 50 ppm) is 100 ppm and 5 parts in 10^9: some 40 ms in 90 days.
    rounding = 1 + 100 * 24 * HOUR * 6 // 1_000_000_000
    assert at.earliest - rounding <= host_ms(asked) <= at.latest + rounding
