"""docs/design.md, "The press" and "Cut, sense, fault", a sentence at a time, in both modes."""

import pytest
from world import Rig

from muteboard.button import EDGE_DOWN, EDGE_UP
from muteboard.controller import CONNECTED, CUT

MODES = ("toggle", "push_to_talk")
both_modes = pytest.mark.parametrize("mode", MODES)


def word(rig: Rig) -> tuple[str, str, str]:
    return (rig.mute.state, rig.mute.command, rig.mute.cause)


# The press


def test_P1_starts_muted_and_cut():
    rig = Rig()
    assert word(rig) == ("muted", CUT, "boot")
    assert word(Rig(cause="watchdog")) == ("muted", CUT, "watchdog")


@pytest.mark.parametrize(
    ("length", "connects"),
    # 31 is the shortest: down at the first poll, and still at the one 30 ms later.
    [(1, False), (29, False), (30, False), (31, True), (1500, True), (1501, False), (3000, False)],
)
def test_P2_toggle_connects_at_the_end_of_a_30_to_1500_ms_press(length, connects):
    rig = Rig()
    rig.press(length)
    rig.run(29)
    assert rig.mute.command == CUT
    rig.step()
    assert rig.mute.command == (CONNECTED if connects else CUT)
    rig.run(10)
    assert word(rig) == (("live", CONNECTED, "button") if connects else ("muted", CUT, "boot"))


def test_P2_push_to_talk_connects_after_30_ms_down():
    rig = Rig("push_to_talk")
    rig.button(True)
    rig.step()
    rig.run(29)
    assert rig.mute.command == CUT
    rig.step()
    assert rig.mute.command == CONNECTED
    rig.run(20_000)
    assert word(rig) == ("live", CONNECTED, "button")
    assert not rig.mute.stuck


@pytest.mark.parametrize(
    ("mode", "level", "edges"),
    [
        ("toggle", True, EDGE_DOWN),
        ("toggle", True, 0),
        ("toggle", False, EDGE_DOWN),
        ("toggle", False, EDGE_DOWN | EDGE_UP),
        ("push_to_talk", False, EDGE_UP),
        ("push_to_talk", False, 0),
        ("push_to_talk", True, EDGE_UP),
        ("push_to_talk", True, EDGE_DOWN | EDGE_UP),
    ],
)
def test_P3_first_sign_of_the_button_cuts_in_the_same_step(mode, level, edges):
    rig = Rig(mode)
    rig.go_live()
    rig.mute.step(rig.now + 1, level, edges, rig.world.sense())
    assert rig.mute.command == CUT


@pytest.mark.parametrize(("mode", "edges"), [("toggle", EDGE_UP), ("push_to_talk", EDGE_DOWN)])
def test_edge_towards_the_resting_level_does_not_cut(mode, edges):
    rig = Rig(mode)
    rig.go_live()
    rig.mute.step(rig.now + 1, rig.world.down, edges, rig.world.sense())
    assert rig.mute.command == CONNECTED


@pytest.mark.parametrize("length", [1, 31, 200, 1499, 9000])
def test_P2_press_that_cut_never_connects(length):
    rig = Rig()
    rig.go_live()
    rig.press(length)
    assert rig.mute.command == CUT
    rig.run(5000)
    assert word(rig) == ("muted", CUT, "button")


def test_P2_a_consumed_press_ends_only_with_30_ms_of_release():
    rig = Rig()
    rig.go_live()
    rig.press(100)
    # Up for 29 ms, then down again for long: still the press that cut.
    rig.run(28)
    rig.press(300)
    rig.run(50)
    assert word(rig) == ("muted", CUT, "button")
    rig.tap()
    assert rig.mute.state == "live"


def test_P2_a_bouncing_push_to_talk_release_does_not_connect():
    rig = Rig("push_to_talk")
    rig.go_live()
    rig.button(False)
    rig.step()
    rig.run(28)
    rig.button(True)
    rig.run(500)
    assert word(rig) == ("muted", CUT, "button")


def cut_by_timer(rig: Rig) -> None:
    rig.until(rig.commands[-1][0] + rig.mute.max_live_ms)


def cut_by_host(rig: Rig) -> None:
    assert rig.host_mute()


def cut_by_fault(rig: Rig) -> None:
    rig.world.dead.add(0)
    rig.step()
    rig.step()
    rig.world.dead.clear()


SURPRISES = pytest.mark.parametrize(
    ("surprise", "cause"),
    [(cut_by_timer, "timer"), (cut_by_host, "host"), (cut_by_fault, "fault")],
)


@both_modes
@SURPRISES
def test_P2_press_under_way_at_any_cut_is_consumed(mode, surprise, cause):
    rig = Rig(mode, max_live_ms=20_000)
    rig.go_live()
    surprise(rig)
    rig.run(20)
    assert (rig.mute.command, rig.mute.cause) == (CUT, cause)
    # In push-to-talk the button is still down; letting go and waiting changes nothing.
    rig.run(2000)
    rig.button(False)
    rig.run(2000)
    assert rig.mute.command == CUT


@both_modes
@SURPRISES
@pytest.mark.parametrize(("after", "counts"), [(999, False), (1000, True)])
def test_P2_press_within_1_s_of_a_cut_by_another_is_consumed(mode, surprise, cause, after, counts):
    rig = Rig(mode, max_live_ms=20_000)
    rig.go_live()
    surprise(rig)
    cut_at = rig.now
    assert rig.mute.command == CUT
    rig.button(False)
    # The edge falls after the poll at `after`, and is seen by the next one.
    rig.until(cut_at + after)
    rig.button(True)
    rig.step()
    assert rig.mute.button.consumed is not counts
    rig.run(100)
    rig.button(False)
    rig.run(100)
    if cause == "fault":
        # The press that counts here acknowledges the fault; it does not connect.
        assert rig.mute.state == ("muted" if counts else "fault")
        assert rig.mute.command == CUT
    elif mode == "toggle":
        assert rig.mute.command == (CONNECTED if counts else CUT)
    else:
        assert len(rig.commands) == (4 if counts else 2)


def test_P2_an_edge_in_a_long_poll_is_taken_as_the_earlier_one():
    rig = Rig()
    rig.go_live()
    rig.host_mute()
    rig.run(900)
    rig.button(True)
    rig.step(500)
    assert rig.mute.button.consumed


def test_P2_restart_after_a_crash_surprises_as_a_cut_does():
    rig = Rig(cause="watchdog")
    rig.tap()
    assert word(rig) == ("muted", CUT, "watchdog")
    rig.until(1000)
    rig.tap()
    assert rig.mute.state == "live"


def test_press_right_after_a_cut_by_the_button_counts():
    rig = Rig()
    rig.go_live()
    rig.press(31)
    rig.run(30)
    rig.press(31)
    rig.run(30)
    assert rig.mute.command == CONNECTED
    assert [command for _, command in rig.commands] == [CONNECTED, CUT, CONNECTED]


@both_modes
def test_P2_locked_board_ignores_every_press(mode):
    rig = Rig(mode)
    rig.mute.locked = True
    for length in (31, 200, 1500):
        rig.press(length)
        rig.run(1000)
    assert rig.commands == []


def test_P2_host_mutes_and_never_unmutes():
    rig = Rig()
    assert rig.host_mute() is False
    rig.go_live()
    assert rig.host_mute() is True
    assert rig.host_mute() is False
    rig.run(5000)
    assert word(rig) == ("muted", CUT, "host")


def test_host_mute_while_cut_leaves_a_press_under_way_alone():
    rig = Rig()
    rig.button(True)
    rig.run(100)
    assert rig.host_mute() is False
    rig.button(False)
    rig.run(50)
    assert rig.mute.state == "live"


# Stuck


def test_stuck_begins_after_10_s_down_and_ends_on_release():
    rig = Rig()
    rig.button(True)
    rig.step()
    pressed_at = rig.now
    rig.until(pressed_at + 10_000)
    assert (rig.mute.stuck, rig.mute.cause) == (False, "boot")
    rig.step()
    assert rig.mute.stuck
    assert word(rig) == ("muted", CUT, "stuck")
    rig.button(False)
    rig.run(30)
    assert rig.mute.stuck
    rig.step()
    assert not rig.mute.stuck
    rig.run(100)
    assert rig.commands == []
    rig.tap()
    assert rig.mute.state == "live"


def test_P2_press_that_cut_and_got_stuck_stays_cut():
    rig = Rig()
    rig.go_live()
    rig.press(15_000)
    rig.run(100)
    assert word(rig) == ("muted", CUT, "stuck")


# Bounded live time


@both_modes
def test_P8_mutes_itself_when_the_live_time_is_over(mode):
    rig = Rig(mode, max_live_ms=90_000)
    rig.go_live()
    connected_at = rig.commands[-1][0]
    rig.until(connected_at + 29_999)
    assert not rig.mute.warning(rig.now)
    rig.step()
    assert rig.mute.warning(rig.now)
    assert rig.mute.remute_in_ms(rig.now) == 60_000
    rig.until(connected_at + 89_999)
    assert word(rig)[:2] == ("live", CONNECTED)
    rig.step()
    assert rig.mute.command == CUT
    assert rig.mute.remute_in_ms(rig.now) is None
    assert not rig.mute.warning(rig.now)
    rig.run(10)
    assert word(rig) == ("muted", CUT, "timer")


@both_modes
def test_P8_late_poll_still_mutes(mode):
    rig = Rig(mode, max_live_ms=10_000)
    rig.go_live()
    rig.step(1_000_000)
    assert rig.mute.command == CUT


def test_P8_two_presses_start_the_live_time_again():
    rig = Rig(max_live_ms=10_000)
    rig.go_live()
    rig.run(9000)
    rig.tap()
    rig.tap()
    assert rig.mute.state == "live"
    assert 9900 < rig.mute.remute_in_ms(rig.now) <= 10_000


def test_P8_live_time_adds_up_over_all_intervals():
    rig = Rig()
    assert rig.mute.live_ms(rig.now) == 0
    total = 0
    for seconds in (1, 2):
        rig.go_live()
        since = rig.mute.since
        rig.run(seconds * 1000)
        assert rig.mute.live_ms(rig.now) == total + rig.now - since
        rig.tap()
        total += rig.mute.since - since
        assert rig.mute.live_ms(rig.now) == total
    assert rig.mute.changes == 4


# Cut, sense, fault


def test_P4_word_follows_the_contacts_and_not_the_command():
    rig = Rig(operate_ms=8, release_ms=6)
    rig.press()
    rig.run(30)
    assert word(rig)[:2] == ("muted", CONNECTED)
    assert not rig.mute.settled
    rig.run(7)
    assert rig.mute.state == "muted"
    rig.step()
    assert rig.mute.state == "live"
    assert rig.mute.settled
    rig.button(True)
    rig.step()
    assert word(rig)[:2] == ("live", CUT)
    assert not rig.mute.settled
    rig.run(6)
    assert word(rig)[:2] == ("muted", CUT)
    assert rig.mute.settled


def polls(rig: Rig, *patterns: int) -> list[str]:
    """The state after each of some polls with these senses, 1 ms apart and button at rest."""
    states = []
    for sense in patterns:
        rig.world.advance(1)
        rig.mute.step(rig.now, False, 0, sense)
        states.append(rig.mute.state)
    return states


def test_P4_fault_needs_two_polls_after_the_settling_deadline():
    rig = Rig(settle_ms=10)
    rig.press()
    rig.run(30)
    assert rig.mute.command == CONNECTED
    # Ten polls up to the deadline, and then the two that agree.
    assert polls(rig, *[0] * 12) == ["muted"] * 11 + ["fault"]
    assert (rig.mute.command, rig.mute.faults) == (CUT, ["open:1"])


def test_P4_one_contradicting_poll_is_noise_and_changes_nothing():
    rig = Rig()
    rig.run(100)
    assert polls(rig, 1, 0, 0, 1, 0, 0) == ["muted"] * 6
    assert polls(rig, 1) == ["muted"]
    assert not rig.mute.settled
    assert polls(rig, 1) == ["fault"]


def test_P4_chatter_is_a_fault():
    rig = Rig()
    rig.run(100)
    assert polls(rig, *[1, 0] * 4)[-1] == "fault"


def test_P4_welded_contact_is_a_fault_and_never_muted():
    rig = Rig()
    rig.go_live()
    rig.world.welded.add(0)
    rig.button(True)
    for _ in range(12):
        rig.step()
        assert word(rig)[:2] == ("live", CUT)
    rig.run(1)
    assert word(rig) == ("fault", CUT, "fault")
    assert rig.mute.faults == ["closed:1"]


def test_P4_contact_welded_at_power_on_is_found():
    rig = Rig()
    rig.world.welded.add(0)
    rig.run(3)
    assert word(rig) == ("fault", CUT, "fault")


@pytest.mark.parametrize("contact", [0, 1])
def test_P4_weld_of_one_of_two_contacts_is_a_fault_and_named(contact):
    rig = Rig(contacts=2)
    rig.go_live()
    rig.world.welded.add(contact)
    rig.tap()
    assert word(rig) == ("fault", CUT, "fault")
    assert rig.mute.faults == [f"closed:{contact + 1}"]


@pytest.mark.parametrize("contact", [0, 1])
def test_P4_contact_that_will_not_close_is_the_only_one_named(contact):
    # The other one is still closed for a while after the cut, and that is no fault of it.
    rig = Rig(contacts=2, release_ms=9)
    rig.world.dead.add(contact)
    rig.tap()
    assert word(rig) == ("fault", CUT, "fault")
    assert rig.mute.changes == 1
    rig.run(100)
    assert rig.mute.faults == [f"open:{contact + 1}"]


def test_P4_contact_that_fails_both_ways_has_one_name_the_latest():
    rig = Rig(contacts=2)
    rig.world.dead.add(1)
    rig.tap()
    assert rig.mute.faults == ["open:2"]
    rig.world.dead.clear()
    rig.world.welded.update((0, 1))
    rig.run(20)
    assert rig.mute.faults == ["closed:1", "closed:2"]


def faulty(mode: str) -> Rig:
    """A rig in fault because of a weld, button at rest, more than a second ago."""
    rig = Rig(mode, contacts=2)
    rig.go_live()
    rig.world.welded.add(1)
    rig.button(False)
    rig.host_mute()
    rig.run(2000)
    assert rig.mute.state == "fault"
    return rig


@both_modes
def test_P4_only_open_contacts_and_a_press_end_a_fault_in_muted(mode):
    rig = faulty(mode)
    rig.tap()
    assert rig.mute.state == "fault"
    rig.world.welded.clear()
    rig.run(5000)
    assert (rig.mute.state, rig.mute.faults) == ("fault", ["closed:2"])
    assert rig.host_mute() is False
    rig.tap()
    assert word(rig) == ("muted", CUT, "button")
    assert rig.mute.faults == []
    # That press is spent; the next one connects.
    rig.run(5000)
    assert rig.mute.command == CUT
    rig.go_live()


@pytest.mark.parametrize("length", [1, 30, 1501])
def test_P4_press_that_does_not_count_does_not_end_a_fault(length):
    rig = faulty("toggle")
    rig.world.welded.clear()
    rig.tap(length)
    assert rig.mute.state == "fault"


def test_P4_one_noisy_poll_after_an_ended_fault_is_noise_again():
    rig = faulty("toggle")
    rig.press()
    rig.run(29)
    # The contact opens in the last moment of the press.
    rig.world.welded.clear()
    rig.step()
    assert rig.mute.state == "muted"
    assert polls(rig, 2, 0) == ["muted", "muted"]


def test_P4_connected_line_with_a_contact_open_is_cut():
    rig = Rig(contacts=2)
    rig.go_live()
    rig.world.dead.add(0)
    rig.run(2)
    assert word(rig) == ("fault", CUT, "fault")
    assert rig.mute.faults == ["open:1"]


def test_P2_press_while_a_contact_reads_closed_does_not_connect():
    rig = Rig(contacts=2, settle_ms=500)
    rig.world.welded.add(0)
    rig.tap()
    assert rig.commands == []
