"""P1: the crash counter on any retained bytes and any run of crashes."""

from hypothesis import given
from hypothesis import strategies as st
from steady import STEADY
from test_crash import after

from muteboard.crash import SIZE, CrashGuard


@STEADY
@given(st.binary(max_size=SIZE + 4) | st.binary(min_size=SIZE, max_size=SIZE))
def test_P1_garbage_counts_as_nothing(retained):
    assert not CrashGuard(retained, True).tripped


@STEADY
@given(st.integers(0, SIZE * 8 - 1))
def test_P1_flipped_bit_counts_as_nothing(bit):
    record = bytearray(after(0, 0).record(0))
    record[bit // 8] ^= 1 << bit % 8
    assert not CrashGuard(bytes(record), True).tripped
    assert CrashGuard(after(0, 0).record(0), True).tripped


@STEADY
@given(st.lists(st.integers(0, 120_000), max_size=8))
def test_P1_trips_exactly_at_three_crashes_in_one_minute(runs):
    ends = [sum(runs[: count + 1]) for count in range(len(runs))]
    loop = any(third - first <= 60_000 for first, third in zip(ends, ends[2:], strict=False))
    assert after(*runs).tripped is loop
