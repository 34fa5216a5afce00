"""P1: three crashes within a minute keep the line cut until the power was off."""

import pytest

from muteboard.crash import SIZE, STAY_CUT, CrashGuard


def after(*runs_ms: int) -> CrashGuard:
    """The guard of the run that follows crashed runs of these lengths, the first from cold."""
    guard = CrashGuard(b"\x00" * SIZE, False)
    for length in runs_ms:
        guard = CrashGuard(guard.record(length), True)
    return guard


@pytest.mark.parametrize(
    ("runs", "tripped"),
    [
        ((), False),
        ((0,), False),
        ((0, 0), False),
        ((0, 0, 0), True),
        # The first run may have been long; the three crashes are what counts.
        ((9_000_000, 30_000, 30_000), True),
        ((0, 30_000, 30_001), False),
        ((0, 60_000, 0), True),
        ((0, 60_001, 0), False),
        ((0, 0, 60_001), False),
        # Any three in a row.
        ((100_000, 100_000, 100_000, 20_000, 20_000), True),
        ((0, 0, 100_000, 0, 0), True),
        ((0, 0, 100_000, 0), False),
        # Once in the loop, a long run does not end it.
        ((0, 0, 0, 10_000_000), True),
        ((0, 0, 0, 10_000_000, 10_000_000), True),
        # Longer than 32 bits of milliseconds.
        ((2**40, 2**40, 2**40), False),
    ],
)
def test_P1_three_crashes_in_a_minute_trip(runs, tripped):
    assert after(*runs).tripped is tripped


def test_P1_power_cycle_ends_the_loop():
    looping = after(0, 0, 0)
    assert looping.tripped
    fresh = CrashGuard(looping.record(0), False)
    assert not fresh.tripped
    assert not CrashGuard(fresh.record(0), True).tripped


def test_P1_a_service_mode_is_remembered_until_power_goes_off():
    ended = CrashGuard(STAY_CUT, crashed=True)
    assert ended.stay_cut
    assert not ended.tripped
    # However often it restarts after that.
    assert CrashGuard(ended.record(5_000), crashed=True).stay_cut
    assert not CrashGuard(STAY_CUT, crashed=False).stay_cut
    assert not CrashGuard(bytes(SIZE), crashed=True).stay_cut


def test_record_has_the_size_that_boards_retain():
    assert len(after().record(0)) == SIZE
