"""docs/design.md, "The press", for any bounce and any polling."""

from hypothesis import example, given
from hypothesis import strategies as st
from steady import STEADY
from world import Rig

from muteboard.controller import CONNECTED, CUT

gaps = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 12)), max_size=8)


poll_gaps = st.lists(st.integers(1, 7), min_size=1, max_size=40)


def plan_bounce(rig: Rig, at: int, level: bool, pattern: list[tuple[int, int]]) -> int:
    """Let the contact go to ``level`` at ``at`` with bounces for up to 20 ms; returns the end.

    Each (after, lasting) of ``pattern`` is a return to the old level.
    """
    rig.world.plan(at, level)
    end = at
    for after, lasting in pattern:
        if end + after + lasting > at + 20:
            break
        rig.world.plan(end + after, not level)
        end += after + lasting
        rig.world.plan(end, level)
    return end


def poll(rig: Rig, until: int, intervals: list[int]) -> None:
    index = 0
    while rig.now < until:
        rig.step(intervals[index % len(intervals)])
        index += 1


@STEADY
@given(st.lists(st.tuples(gaps, gaps, st.integers(70, 700)), min_size=1, max_size=4), poll_gaps)
@example([([(1, 1)] * 8, [(1, 1)] * 8, 100)] * 3, [1])
@example([([(6, 12)], [(5, 12)], 100)] * 3, [7, 1])
def test_P2_P3_one_good_press_is_one_toggle_for_any_bounce(presses, intervals):
    rig = Rig()
    live = False
    for down_bounce, up_bounce, length in presses:
        start = rig.now + 10
        plan_bounce(rig, start, True, down_bounce)
        released = plan_bounce(rig, start + length, False, up_bounce)
        if live:
            # The first edge cuts, at the first poll that can know of it.
            poll(rig, start, intervals)
            rig.step()
            assert rig.mute.command == CUT
        before = len(rig.commands)
        poll(rig, released + 60, intervals)
        live = not live
        if live:
            assert [command for _, command in rig.commands[before:]] == [CONNECTED]
            assert rig.commands[-1][0] >= released + 30
        else:
            assert len(rig.commands) == before
        assert rig.mute.state == ("live" if live else "muted")


@STEADY
@given(gaps, gaps, st.integers(80, 900), poll_gaps)
def test_P2_P3_push_to_talk_is_live_once_for_any_bounce(down_bounce, up_bounce, length, intervals):
    rig = Rig("push_to_talk")
    start = rig.now + 10
    pressed = plan_bounce(rig, start, True, down_bounce)
    plan_bounce(rig, start + length, False, up_bounce)
    poll(rig, start + length, intervals)
    rig.step()
    assert rig.mute.command == CUT
    poll(rig, start + length + 200, intervals)
    assert [command for _, command in rig.commands] == [CONNECTED, CUT]
    assert rig.commands[0][0] >= pressed + 30
    assert rig.mute.state == "muted"


@STEADY
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 29)), max_size=80), st.booleans())
def test_P2_noise_that_is_never_stable_for_30_ms_never_connects(noise, push_to_talk):
    rig = Rig("push_to_talk" if push_to_talk else "toggle")
    for level, ms in noise:
        rig.world.press(level)
        rig.world.press(not level)
        rig.run(ms)
    assert rig.commands == []
