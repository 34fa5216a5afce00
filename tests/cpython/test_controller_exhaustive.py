"""Every reachable state of the controller, by breadth-first search, against a second opinion.

One step of the search is one poll, or the host's ``mute``. A poll's inputs are all combinations
of the time since the last one, the button (level and latched edges, contradicting pairs
included) and the sense (every pattern of the contacts). States that no future can tell apart are
one state: times are kept as ages, clipped where they stop to matter. Two searches, each in both
modes, with one contact and with two:

* `SCALED`: the durations of docs/design.md are shortened, in their order, to a few units of 15 ms.
  The state space is then small enough to go through completely.
* `REAL`: the true durations, every input sequence from power-on to a fixed depth.

Every poll is judged by `Witness` and `judge`, which say docs/design.md again, independently.
"""

from itertools import product
from typing import NamedTuple

import pytest

from muteboard import button, controller
from muteboard.button import EDGE_DOWN, EDGE_UP
from muteboard.controller import CONNECTED, CUT, FAULT, LIVE, MUTED, Controller

DEBOUNCE = 30
SETTLE = 20
BUTTONS = tuple(product((False, True), (0, EDGE_DOWN, EDGE_UP, EDGE_DOWN | EDGE_UP)))


class Times(NamedTuple):
    press_max: int
    stuck: int
    surprise: int
    max_live: int
    # Between two polls: the first is within the settling time and half a debounce.
    waits: tuple[int, ...]


REAL = Times(1500, 10_000, 1000, 1200, (15, 30, 990, 9000))
SCALED = Times(60, 90, 45, 75, (15, 30))


def clip(age: int, limit: int) -> int:
    return min(age, limit)


class Witness:
    """What a press is and what it may do, said again in ages ("for so long")."""

    def __init__(self, mode: str, times: Times):
        self.mode = mode
        self.times = times
        self.level = True
        self.quiet = 0
        # The press under way: its age (None: there is none), its length up to the last movement
        # of the contact, whether it was ever stable, whether it may still count.
        self.age: int | None = 0
        self.length = 0
        self.made = False
        self.good = False
        # Since the relay was told anything, and since somebody else than the button cut.
        self.command_age = 0
        self.surprise_age = times.surprise
        # Contradicting polls in a row, after the settling time.
        self.contradictions = 0

    def key(self) -> tuple:
        return tuple(vars(self).values())

    def copy(self) -> "Witness":
        twin = Witness.__new__(Witness)
        vars(twin).update(vars(self))
        return twin

    def sees(self, wait: int, level: bool, edges: int) -> bool:
        """One poll. Returns whether a press that counts was completed by it."""
        times = self.times
        surprised = self.surprise_age < times.surprise
        self.command_age = clip(self.command_age + wait, times.max_live)
        self.surprise_age = clip(self.surprise_age + wait, times.surprise)
        self.quiet = 0 if edges or level != self.level else clip(self.quiet + wait, DEBOUNCE)
        self.level = level
        if self.age is not None:
            self.age = clip(self.age + wait, times.press_max + 1)
        elif level or edges & EDGE_DOWN:
            self.age, self.made, self.good = 0, False, not surprised
        if self.age is None:
            return False
        if self.quiet == 0:
            self.length = self.age
        if self.quiet < DEBOUNCE:
            return False
        if level:
            completed, self.made = not self.made, True
            self.length = 0
            return completed and self.good and self.mode == "push_to_talk"
        short = self.length <= times.press_max
        completed = self.made and self.good and self.mode == "toggle" and short
        self.age, self.length, self.made, self.good = None, 0, False, False
        return completed

    def told(self, command: str, by_button: bool) -> None:
        """The relay was told something new."""
        self.command_age = 0
        self.contradictions = 0
        if command == CUT:
            self.good = False
            if not by_button:
                self.surprise_age = 0


def clone(mute: Controller) -> Controller:
    twin = Controller.__new__(Controller)
    vars(twin).update(vars(mute))
    twin.button = button.Button.__new__(button.Button)
    vars(twin.button).update(vars(mute.button))
    twin.faults = list(mute.faults)
    return twin


def snapshot(mute: Controller, witness: Witness) -> tuple:
    """All that can influence a future command or state."""
    times, own, press = witness.times, vars(mute), vars(mute.button)
    now = own["_last_step"]
    first, surprise = press["first_edge"], own["_surprise_at"]
    return (
        mute.command,
        mute.state,
        mute.stuck,
        own["_doubt"],
        clip(now - own["_command_since"], times.max_live),
        None if surprise is None else clip(now - surprise, times.surprise),
        None if first is None else clip(now - first, times.stuck + 1),
        press["consumed"],
        press["down"],
        press["level"],
        clip(now - press["_stable_since"], DEBOUNCE),
        witness.key(),
    )


def judge(before: Controller, mute: Controller, witness: Witness, poll: tuple) -> None:
    """One poll has led from ``before`` to ``mute``; everything that must hold, must hold."""
    wait, level, edges, sense = poll
    was, command, state = before.command, mute.command, mute.state
    command_age = witness.command_age + wait
    counts = witness.sees(wait, level, edges)
    closed = 2 ** vars(mute)["_contacts"] - 1

    # P3: the first sign of the button cuts, in this very poll. P8: so does the end of time.
    sign = level or edges & EDGE_DOWN
    if mute.mode == "push_to_talk":
        sign = not level or edges & EDGE_UP
    obeyed = CUT if sign or command_age >= witness.times.max_live else was
    if obeyed != was:
        assert command == CUT
        witness.told(CUT, by_button=bool(sign))
        command_age = 0

    # P4: two contradicting polls in a row after the deadline are a fault; none or one is not,
    # unless the contact was already chattering.
    contradicts = sense != (0 if obeyed == CUT else closed) and command_age > SETTLE
    witness.contradictions = clip(witness.contradictions + 1, 2) if contradicts else 0
    if before.state == FAULT:
        # P4: the way out of a fault is a press with all contacts open, and leads to muted.
        assert state == (MUTED if counts and sense == 0 else FAULT)
        assert command == CUT
    elif state == FAULT:
        assert contradicts
        assert command == CUT
        if obeyed == CONNECTED:
            witness.told(CUT, by_button=False)
        witness.good = False
    else:
        assert witness.contradictions < 2
        # P2: the line connects when a press that counts is completed, and at no other time.
        connects = was == CUT and counts and sense == 0 and not mute.locked
        assert command == (CONNECTED if connects else obeyed)
        if connects:
            witness.told(CONNECTED, by_button=True)
    assert bool(mute.faults) == (state == FAULT)
    if before.state == FAULT and state == MUTED:
        witness.contradictions = 0

    # P4: the word is what the contacts say, or nobody is told.
    if mute.settled and state != FAULT:
        assert (state, sense) == ((MUTED, 0) if command == CUT else (LIVE, closed))
    if state != before.state and state != FAULT:
        assert sense == (0 if state == MUTED else closed)
    if state == LIVE and before.state != LIVE:
        assert command == CONNECTED

    now = vars(mute)["_last_step"]
    left = mute.remute_in_ms(now)
    if command == CUT:
        assert left is None
    else:
        assert left is not None
        assert 0 < left <= witness.times.max_live


def host_mutes(before: Controller, mute: Controller, witness: Witness) -> None:
    assert mute.mute(vars(mute)["_last_step"]) == (before.command == CONNECTED)
    assert mute.command == CUT
    assert (mute.state, mute.faults) == (before.state, before.faults)
    if before.command == CONNECTED:
        witness.told(CUT, by_button=False)


def polled(mute: Controller, poll: tuple) -> Controller:
    wait, level, edges, sense = poll
    mute.step(vars(mute)["_last_step"] + wait, level, edges, sense)
    return mute


class Found(NamedTuple):
    states: int
    depth: int
    complete: bool
    # (state, command, stuck)
    words: set[tuple[str, str, bool]]


def explore(mode: str, contacts: int, times: Times, depth: int, locked: bool = False) -> Found:
    """All states within ``depth`` steps from power-on."""
    first = Controller(contacts, mode, times.max_live, SETTLE, "boot")
    first.locked = locked
    witness = Witness(mode, times)
    frontier = [(first, witness)]
    seen = {snapshot(first, witness)}
    words = set()
    polls = [(w, *b, s) for w in times.waits for b in BUTTONS for s in range(2**contacts)]
    reached_depth = 0
    while frontier and reached_depth < depth:
        reached_depth += 1
        reached = []
        for mute, ghost in frontier:
            for poll in (None, *polls):
                after, witness = clone(mute), ghost.copy()
                if poll is None:
                    host_mutes(mute, after, witness)
                else:
                    judge(mute, polled(after, poll), witness, poll)
                key = snapshot(after, witness)
                if key not in seen:
                    seen.add(key)
                    words.add((after.state, after.command, after.stuck))
                    reached.append((after, witness))
        frontier = reached
    return Found(len(seen), reached_depth, not frontier, words)


@pytest.fixture
def _scaled(monkeypatch):
    monkeypatch.setattr(button, "PRESS_MAX_MS", SCALED.press_max)
    monkeypatch.setattr(button, "STUCK_MS", SCALED.stuck)
    monkeypatch.setattr(controller, "_SURPRISE_MS", SCALED.surprise)


MODES = pytest.mark.parametrize("mode", ["toggle", "push_to_talk"])


@pytest.mark.usefixtures("_scaled")
@MODES
@pytest.mark.parametrize("contacts", [1, 2])
def test_P2_P3_P4_P8_hold_in_every_reachable_state(mode, contacts):
    """To the end: about 3,550 states, the farthest 18 steps (push-to-talk: 14) from power-on."""
    found = explore(mode, contacts, SCALED, 100)
    assert found.complete
    assert found.states > 3000
    assert found.depth >= 14
    expected = {(MUTED, CUT), (MUTED, CONNECTED), (LIVE, CONNECTED), (LIVE, CUT), (FAULT, CUT)}
    assert {(state, command) for state, command, _ in found.words} == expected
    stuck = {(state, command) for state, command, stuck in found.words if stuck}
    assert stuck == ({(MUTED, CUT), (FAULT, CUT)} if mode == "toggle" else set())


@MODES
@pytest.mark.parametrize(("contacts", "depth", "minimum"), [(1, 4, 2500), (2, 3, 800)])
def test_P2_P3_P4_P8_hold_for_every_sequence_with_real_times(mode, contacts, depth, minimum):
    """Depth 4 with one contact (some 2,800 states), 3 with two (900)."""
    found = explore(mode, contacts, REAL, depth)
    assert found.states > minimum
    assert found.depth == depth


@pytest.mark.usefixtures("_scaled")
@MODES
def test_P1_locked_controller_connects_in_no_reachable_state(mode):
    """To the end: about 1,400 states."""
    found = explore(mode, 1, SCALED, 100, locked=True)
    assert found.complete
    assert found.states > 1000
    assert {command for _, command, _ in found.words} == {CUT}
