"""`evidence.timeline`: what is said of the time between two contacts, and that it is true."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardmute.evidence.interval import Interval
from hardmute.evidence.observation import Observation, unseen
from hardmute.evidence.timeline import intervals, total_live_ms
from hardmute.model.reasons import Code, Doubt, Note, in_words
from hardmute.model.typed import get_args
from hardmute.model.words import NOTES, REASONS
from hardmute.model.words import note as note_words

STEADY = settings(
    derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=150
)
FOREVER = 1 << 50


def told(at: int, state: str, since: int, changes: int, **others: object) -> Observation:
    """A contact at ``at``: ``state`` holds since ``since``, all in ms of host time.

    The board was started at time 0, is in its first boot, and its cause is the button, unless
    ``on``, ``boot`` or ``cause`` say otherwise. The host's clock was never set, unless ``ran``
    says what its other clock shows; None: the row is of an older version.
    """
    on = others.pop("on", 0)
    ran = others.pop("ran", at)
    return Observation(
        at_ms=at,
        board="5eed0001",
        device="port",
        simulated=True,
        source="status",
        verdict=state,
        proof=None if state == "fault" else "sensed",
        reason=others.pop("reason", None),
        state=state,
        command="connected" if state == "live" else "cut",
        sense=(int(state == "live"),),
        cause=others.pop("cause", "boot" if changes == 0 else "button"),
        since_ms=at - since,
        uptime_ms=at - on,
        boot=others.pop("boot", 1),
        changes=changes,
        live_ms=others.pop("live", 0),
        faults=(),
        warnings=(),
        service="none",
        run_us=None if ran is None else ran * 1000,
        run=None if ran is None else "one run",
        **others,
    )


def lost(at: int, reason: str = "no_port") -> Observation:
    return unseen(
        reason,
        board="5eed0001",
        device="port",
        simulated=True,
        source="status",
        at_ms=at,
        run_us=at * 1000,
        run="one run",
    )


def old(seen: Observation) -> Observation:
    """The row as older versions wrote it."""
    return seen._replace(run_us=None, run=None)


def unsigned(seen: Observation) -> Observation:
    """What a contact comes to if the board, which this host is paired with, did not sign it."""
    seen = seen._replace(unsigned="busy")
    if seen.state != "muted":
        return seen
    return seen._replace(verdict="unknown", proof=None, reason="not_attested")


def short(found: Sequence[Interval]) -> list[tuple[int, int, str, str | None]]:
    return [(part.start_ms, part.end_ms, part.state, part.cause) for part in found]


CASES = {
    "nothing was seen": ([], []),
    "one contact, no change since power-on": (
        [told(500, "muted", 0, 0)],
        [(0, 500, "muted", "boot")],
    ),
    "two contacts, no change": (
        [told(500, "muted", 0, 0), told(900, "muted", 0, 0)],
        [(0, 900, "muted", "boot")],
    ),
    "one change happened when the board says": (
        [told(500, "muted", 0, 0), told(900, "live", 700, 1, live=200)],
        [(0, 700, "muted", "boot"), (700, 900, "live", "button")],
    ),
    "two changes: the live time says when it went live": (
        [told(500, "muted", 0, 0), told(900, "muted", 800, 2, live=150, cause="timer")],
        [(0, 650, "muted", "boot"), (650, 800, "live", "button"), (800, 900, "muted", "timer")],
    ),
    "two changes from live: what lay between is unknown": (
        [told(500, "live", 400, 1, live=100), told(900, "live", 800, 3, live=300)],
        [
            (0, 400, "muted", None),
            (400, 500, "live", "button"),
            (500, 800, "unknown", None),
            (800, 900, "live", "button"),
        ],
    ),
    "many changes": (
        [told(500, "muted", 0, 0), told(900, "muted", 800, 8, live=100)],
        [(0, 500, "muted", "boot"), (500, 800, "unknown", None), (800, 900, "muted", "button")],
    ),
    "changes without live time were not live": (
        [told(500, "muted", 0, 0), told(900, "muted", 800, 2, live=0)],
        [(0, 500, "muted", "boot"), (500, 800, "unknown", None), (800, 900, "muted", "button")],
    ),
    "first contact after changes": (
        [told(900, "muted", 800, 2, live=150, cause="host")],
        [(0, 650, "muted", None), (650, 800, "live", "button"), (800, 900, "muted", "host")],
    ),
    "restart": (
        [told(500, "live", 400, 1, live=100), told(900, "muted", 700, 0, on=700, boot=2)],
        [
            (0, 400, "muted", None),
            (400, 500, "live", "button"),
            (500, 700, "unknown", None),
            (700, 900, "muted", "boot"),
        ],
    ),
    "restart and then live": (
        [told(500, "muted", 0, 0), told(900, "live", 800, 1, on=700, boot=2, live=100)],
        [
            (0, 500, "muted", "boot"),
            (500, 700, "unknown", None),
            (700, 800, "muted", None),
            (800, 900, "live", "button"),
        ],
    ),
    "restart that the board could not count": (
        [told(500, "muted", 400, 2, live=300), told(2000, "muted", 900, 0, on=900)],
        [
            (0, 100, "muted", None),
            (100, 400, "live", "button"),
            (400, 500, "muted", "button"),
            (500, 900, "unknown", None),
            (900, 2000, "muted", "boot"),
        ],
    ),
    "fault": (
        [
            told(500, "live", 400, 1, live=100),
            told(900, "fault", 600, 2, live=200, cause="fault", reason="contact 1 reads closed"),
        ],
        [(0, 400, "muted", None), (400, 600, "live", "button"), (600, 900, "fault", "fault")],
    ),
    "fault right after live": (
        [told(500, "muted", 0, 0), told(900, "fault", 800, 2, live=100, cause="fault")],
        [(0, 700, "muted", "boot"), (700, 800, "live", "button"), (800, 900, "fault", "fault")],
    ),
    "unreachable in between, unchanged": (
        [told(500, "muted", 0, 0), lost(600), lost(700), told(900, "muted", 0, 0)],
        [(0, 600, "muted", "boot"), (600, 900, "unknown", None)],
    ),
    "unreachable at the end": (
        [told(500, "muted", 0, 0), lost(600), lost(700)],
        [(0, 500, "muted", "boot"), (500, 700, "unknown", None)],
    ),
    "only ever unreachable": ([lost(600), lost(700)], [(600, 700, "unknown", None)]),
    "muted, and not signed": ([unsigned(told(500, "muted", 0, 0))], [(0, 500, "unknown", None)]),
    "not signed in between": (
        [
            told(500, "muted", 0, 0),
            unsigned(told(700, "muted", 0, 0)),
            told(900, "muted", 0, 0),
        ],
        [(0, 500, "muted", "boot"), (500, 700, "unknown", None), (700, 900, "muted", "boot")],
    ),
    "what is not signed counts no changes in advance": (
        [
            told(500, "live", 400, 1, live=100),
            unsigned(told(600, "muted", 550, 2, live=150)),
            told(900, "muted", 800, 2, live=400),
        ],
        [
            (0, 400, "muted", None),
            (400, 550, "live", "button"),
            (550, 600, "unknown", None),
            (600, 800, "live", "button"),
            (800, 900, "unknown", None),
        ],
    ),
    "live, and not signed, is live": (
        [told(500, "muted", 0, 0), unsigned(told(900, "live", 700, 1, live=200))],
        [(0, 500, "muted", "boot"), (500, 700, "unknown", None), (700, 900, "live", "button")],
    ),
    "unreachable first": (
        [lost(600), told(900, "muted", 0, 0)],
        [(0, 600, "muted", "boot"), (600, 900, "unknown", None)],
    ),
}


@pytest.mark.parametrize(("seen", "expected"), CASES.values(), ids=CASES)
def test_what_is_said(
    seen: list[Observation], expected: list[tuple[int, int, str, str | None]]
) -> None:
    joined: list[tuple[int, int, str, str | None]] = []
    for part in short(intervals(seen, -FOREVER, FOREVER)):
        # Two reasons not to know are two intervals; here they are one.
        if joined and joined[-1][2:] == part[2:]:
            joined[-1] = (joined[-1][0], part[1], *part[2:])
        else:
            joined.append(part)
    assert joined == expected


@pytest.mark.parametrize(
    ("seen", "notes"),
    [
        (
            [told(500, "muted", 0, 0), lost(600), lost(700)],
            [None, "not asked", "the port was not there"],
        ),
        (
            [told(500, "live", 0, 1, live=500), told(900, "live", 800, 3, live=760)],
            [None, "1 unseen change, live for 0.2 s of it", None],
        ),
        (
            [told(500, "muted", 0, 0), told(90_000, "muted", 80_000, 4, live=70_000)],
            [None, "3 unseen changes, live for 1 min 10 s of it", None],
        ),
        (
            [told(500, "muted", 0, 0), told(900, "muted", 700, 0, on=700, boot=2)],
            [None, "the board was off or restarted", None],
        ),
        ([told(900, "live", 800, 1, live=100)], ["power-on or restart", None]),
    ],
)
def test_notes(seen: list[Observation], notes: list[str | None]) -> None:
    assert [part.note for part in intervals(seen, 0, FOREVER) if part.length_ms] == notes


def test_a_clock_that_goes_back_is_told_and_ends_conclusions() -> None:
    seen = [
        told(5_000, "live", 4_000, 1, live=1_000),
        told(4_500, "live", 3_000, 1, live=1_500, on=-1_000, ran=5_500),
    ]
    found = intervals(seen, 0, FOREVER)
    assert (4_500, 4_500, "the host's clock went back") in [
        (part.start_ms, part.end_ms, part.note) for part in found
    ]
    # Live from 4,000 to 5,000 by the old time, and then for 500 ms by either.
    assert [(part.start_ms, part.end_ms) for part in found if part.state == "live"] == [
        (4_000, 4_500),
        (4_500, 5_000),
    ]
    assert [part.state for part in found if part.end_ms > 5_000] == ["unknown"]


@pytest.mark.parametrize(
    ("since", "until", "expected", "live_ms"),
    [
        (0, 1_000, [(0, 400, "muted"), (400, 700, "unknown"), (700, 900, "live")], 350),
        (450, 1_000, [(450, 700, "unknown"), (700, 900, "live")], 350),
        (600, 1_000, [(600, 700, "unknown"), (700, 900, "live")], 300),
        (700, 1_000, [(700, 900, "live")], 200),
        (800, 850, [(800, 850, "live")], 50),
        (0, 400, [(0, 400, "muted")], 0),
        (0, 401, [(0, 400, "muted"), (400, 401, "unknown")], 1),
        (900, 1_000, [], 0),
    ],
)
def test_clipping(
    since: int, until: int, expected: list[tuple[int, int, str]], live_ms: int
) -> None:
    seen = [told(400, "muted", 0, 0), told(900, "live", 700, 5, live=350)]
    found = intervals(seen, since, until)
    assert [(part.start_ms, part.end_ms, part.state) for part in found] == expected
    assert total_live_ms(found) == live_ms


def test_contacts_in_one_millisecond_sum_the_same_in_any_order() -> None:
    seen = [
        told(400, "muted", 0, 0),
        told(400, "live", 400, 1),
        told(900, "live", 400, 1, live=500),
    ]
    found = intervals(seen, 0, FOREVER)
    assert short(found) == [(0, 400, "muted", "boot"), (400, 900, "live", "button")]


# The truth, made up; the board's counters, exact; contacts at any time. What does `intervals` say?


class Part(NamedTuple):
    """The board was ``state`` in [start, end)."""

    start: int
    end: int
    state: str
    boot: int


NEXT = {"muted": ("live", "fault"), "live": ("muted", "fault"), "fault": ("muted",)}


@st.composite
def histories(draw: st.DrawFn) -> list[Part]:
    """One to four boots, each with a true sequence of states, and time without power between."""
    parts: list[Part] = []
    now = draw(st.integers(0, 100))
    for boot in range(1, draw(st.integers(1, 4)) + 1):
        state = "muted"
        for _ in range(draw(st.integers(1, 6))):
            end = now + draw(st.integers(1, 2_000))
            parts.append(Part(now, end, state, boot))
            now, state = end, draw(st.sampled_from(NEXT[state]))
        now += draw(st.integers(1, 1_000))
    return parts


def live_within(history: list[Part], start: int, end: int, boot: int | None = None) -> int:
    return sum(
        max(0, min(part.end, end) - max(part.start, start))
        for part in history
        if part.state == "live" and boot in (None, part.boot)
    )


def contact(history: list[Part], at: int) -> Observation:
    """What the board's exact counters say at ``at``; it is unreachable without power."""
    for part in history:
        if part.start <= at < part.end:
            boot = [other for other in history if other.boot == part.boot]
            return told(
                at,
                part.state,
                part.start,
                boot.index(part),
                on=boot[0].start,
                boot=part.boot,
                live=live_within(history, 0, at, part.boot),
            )
    return lost(at)


@st.composite
def contacts(draw: st.DrawFn) -> tuple[list[Part], list[Observation]]:
    """A history, and what was seen of it; some contacts fail although the board has power."""
    history = draw(histories())
    times = draw(st.lists(st.integers(0, history[-1].end + 500), min_size=1, max_size=12))
    return history, [
        lost(at, "no_answer") if draw(st.integers(0, 7)) == 7 else contact(history, at)
        for at in sorted(times)
    ]


def check_form(found: list[Interval], since: int, until: int) -> None:
    """In order, apart, inside the window; no more live time than time."""
    at = since
    for part in found:
        assert at <= part.start_ms <= part.end_ms <= until
        assert 0 <= part.live_ms <= part.length_ms
        assert part.live_ms == part.length_ms or part.state != "live"
        assert part.live_ms == 0 or part.state in ("live", "unknown")
        at = part.end_ms


def check_truth(found: list[Interval], history: list[Part]) -> None:
    """Whatever is said to have been muted, live or a fault was that, every millisecond of it."""
    for part in found:
        true_ms = sum(
            max(0, min(part.end_ms, true.end) - max(part.start_ms, true.start))
            for true in history
            if true.state == part.state
        )
        assert part.state == "unknown" or true_ms == part.length_ms, part


@STEADY
@given(contacts())
def test_all_that_is_said_is_true_and_no_live_time_is_lost(
    case: tuple[list[Part], list[Observation]],
) -> None:
    history, seen = case
    found = intervals(seen, -FOREVER, FOREVER)
    check_form(found, -FOREVER, FOREVER)
    check_truth(found, history)
    # A board counts its live time in RAM: what it counted after the last contact before a restart
    # is gone with the boot. All else is there.
    last_contacts = {one.boot: one.at_ms for one in seen if one.state is not None}
    true_ms = sum(live_within(history, 0, at, boot) for boot, at in last_contacts.items())
    assert total_live_ms(found) == true_ms


@STEADY
@given(contacts(), contacts(), st.lists(st.booleans(), min_size=1))
def test_P5_what_is_not_signed_makes_nothing_muted(
    case: tuple[list[Part], list[Observation]],
    other: tuple[list[Part], list[Observation]],
    which: list[bool],
) -> None:
    """Contacts with another board, which signs nothing, in between: muted is what the true one
    was.
    """
    history, seen = case
    lies = [unsigned(one) for one in other[1] if one.state is not None]
    seen = [one for index, one in enumerate(seen) if which[index % len(which)]]
    mixed = sorted([*seen, *lies], key=lambda one: one.at_ms)
    found = intervals(mixed, -FOREVER, FOREVER)
    check_form(found, -FOREVER, FOREVER)
    check_truth([part for part in found if part.state == "muted"], history)


@STEADY
@given(contacts(), st.integers(0, 9_000), st.integers(1, 9_000))
def test_a_window_shows_the_same_truth(
    case: tuple[list[Part], list[Observation]], since: int, length: int
) -> None:
    history, seen = case
    found = intervals(seen, since, since + length)
    check_form(found, since, since + length)
    check_truth(found, history)
    whole = intervals(seen, -FOREVER, FOREVER)
    assert total_live_ms(found) <= total_live_ms(whole)


@STEADY
@given(contacts())
def test_more_contacts_never_hide_live_time(case: tuple[list[Part], list[Observation]]) -> None:
    _, seen = case
    answered = [one for one in seen if one.state is not None]
    for left_out in range(len(answered) - 1):
        fewer = answered[:left_out] + answered[left_out + 1 :]
        assert total_live_ms(intervals(fewer, -FOREVER, FOREVER)) <= total_live_ms(
            intervals(answered, -FOREVER, FOREVER)
        )


def test_P5_live_time_grown_without_a_change_is_of_another_start() -> None:
    """Under the same number: one that could not be counted."""
    seen = [told(1_000, "muted", 500, 2), told(700_000, "muted", 650_000, 2, live=600_019)]
    found = intervals(seen, 0, FOREVER)
    assert [one.state for one in found if one.start_ms < 300_000 < one.end_ms] == ["live"]


@pytest.mark.parametrize("proofs", [("sensed", "attested"), ("attested", "sensed")])
def test_P4_the_proof_of_an_interval_is_its_weakest(proofs: Sequence[str]) -> None:
    proofs = ("attested", *proofs, "attested")
    seen = [told(at, "muted", 0, 0)._replace(proof=proof) for at, proof in enumerate(proofs, 1)]
    (found,) = intervals(seen, 0, FOREVER)
    assert (found.end_ms, found.state, found.proof) == (4, "muted", "sensed")


# Reasons.


def test_every_reason_has_words_of_its_own() -> None:
    notes = [
        Note("at_some_time", facts=("live", 60_000)),
        *(Note(code, doubt) for code in ("by_journal", "muted_but") for doubt in get_args(Doubt)),
        Note("changes_at_once", facts=(2, None)),
        Note("changes_at_once", facts=(2, "why")),
        Note("no_key", facts=(1, 2)),
        in_words("as it is"),
        *(Note("unreached", facts=(reason,)) for reason in (*REASONS, "")),
        Note("unseen_changes", facts=(1, 500)),
        Note("unseen_changes", facts=(2, 500)),
        *map(Note, NOTES),
    ]
    assert {note.code for note in notes} == {*get_args(Code)}
    words = [note_words(note) for note in notes]
    assert len({*words}) == len(words)
    assert words[:2] == [
        "live for 1 min 00 s at some time in it",
        "by the journal, the clocks of board and host disagree",
    ]
    assert "2 unseen changes, live for 0.5 s of it" in words
    assert "no key given for pairing 1, 2" in words
