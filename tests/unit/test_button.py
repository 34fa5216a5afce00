"""The button alone: debounce to the millisecond, gestures, and what is consumed."""

from muteboard.button import DEBOUNCE_MS, EDGE_DOWN, EDGE_UP, NOTHING, PRESSED, RELEASED, Button


def ready(now: int = 0) -> Button:
    """A button that has been seen released; the time is then ``now``."""
    button = Button(now - DEBOUNCE_MS)
    button.step(now - DEBOUNCE_MS, False, 0)
    button.step(now, False, 0)
    assert button.first_edge is None
    return button


def gestures(button: Button, polls) -> list[tuple[int, int]]:
    """Feed (time, level, edges) and collect (time, gesture) where there was one."""
    seen = [(now, button.step(now, level, edges)) for now, level, edges in polls]
    return [entry for entry in seen if entry[1] != NOTHING]


def test_P2_contact_must_be_stable_for_30_ms():
    assert gestures(ready(), [(1, True, EDGE_DOWN), (30, True, 0)]) == []
    assert gestures(ready(), [(1, True, EDGE_DOWN), (31, True, 0)]) == [(31, PRESSED)]


def test_P2_release_must_be_stable_for_30_ms():
    press = [(0, True, EDGE_DOWN), (40, True, 0), (100, False, EDGE_UP)]
    assert gestures(ready(), press + [(129, False, 0)]) == [(40, PRESSED)]
    assert gestures(ready(), press + [(130, False, 0)]) == [(40, PRESSED), (130, RELEASED)]


def test_P2_any_edge_restarts_the_wait_even_between_equal_levels():
    bounce = EDGE_UP | EDGE_DOWN
    polls = [(0, True, EDGE_DOWN), (29, True, bounce), (58, True, 0), (59, True, 0)]
    assert gestures(ready(), polls) == [(59, PRESSED)]


def test_length_runs_from_first_edge_down_to_last_edge_up():
    button = ready()
    polls = [
        (0, True, EDGE_DOWN),
        (8, True, EDGE_UP | EDGE_DOWN),
        (50, True, 0),
        (1490, False, EDGE_UP),
        (1500, False, EDGE_DOWN | EDGE_UP),
        (1530, False, 0),
    ]
    assert gestures(button, polls) == [(50, PRESSED), (1530, RELEASED)]
    assert button.length == 1500


def test_P2_blip_shorter_than_the_debounce_is_no_gesture():
    button = ready()
    polls = [(t, t < 10, e) for t, e in ((0, EDGE_DOWN), (5, 0), (10, EDGE_UP), (40, 0), (80, 0))]
    assert gestures(button, polls) == []
    assert button.first_edge is None


def test_P3_a_press_between_two_polls_is_a_press_under_way():
    button = ready()
    assert button.step(5, False, EDGE_DOWN | EDGE_UP) == NOTHING
    assert button.first_edge == 5
    assert button.step(35, False, 0) == NOTHING
    assert button.first_edge is None


def test_P2_button_held_at_power_on_means_nothing_until_released():
    button = Button(0)
    polls = [(0, True, 0), (30, True, 0), (5000, False, EDGE_UP), (5030, False, 0)]
    assert gestures(button, polls) == [(30, PRESSED), (5030, RELEASED)]
    assert button.consumed
    button.step(5031, True, EDGE_DOWN)
    assert not button.consumed


def test_consume_spends_the_press_under_way_and_no_other():
    button = ready()
    button.consume()
    button.step(0, True, EDGE_DOWN)
    assert not button.consumed
    button.consume()
    button.step(40, True, 0)
    button.step(90, False, EDGE_UP)
    assert button.step(120, False, 0) == RELEASED
    assert button.consumed
    button.step(121, True, EDGE_DOWN)
    assert not button.consumed


def test_held_counts_from_the_first_edge_once_debounced():
    button = ready()
    assert button.held_ms(0) == 0
    button.step(10, True, EDGE_DOWN)
    assert button.held_ms(30) == 0
    button.step(40, True, 0)
    assert button.held_ms(40) == 30
    button.step(500, False, EDGE_UP)
    assert button.held_ms(510) == 500
    button.step(530, False, 0)
    assert button.held_ms(530) == 0
