"""The button alone, against any contact: what Hypothesis tries on top of tests/unit."""

from hypothesis import given
from hypothesis import strategies as st
from steady import STEADY
from test_button import ready

from muteboard.button import NOTHING, RELEASED


@STEADY
@given(st.lists(st.tuples(st.integers(1, 60), st.booleans(), st.integers(0, 3)), max_size=60))
def test_P2_gestures_alternate_whatever_the_contact_does(polls):
    button = ready()
    now = 0
    last = RELEASED
    for wait, level, edges in polls:
        now += wait
        gesture = button.step(now, level, edges)
        if gesture != NOTHING:
            assert gesture != last
            last = gesture
