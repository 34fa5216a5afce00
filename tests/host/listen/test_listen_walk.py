"""Walking a person through live, muted, live: what the board says when, and what ends it early."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from hardmute.cli.outcome import verdict_code
from hardmute.listen import walk
from hardmute.listen.outcome import CannotTellError, Outcome, Phases
from hardmute.listen.timing import HeardMoment
from hardmute.listen.walk import PRESS_S, BoardFollower, HeardWalk, Walk
from hardmute.model import errors
from hardmute.model.answers import Status
from hardmute.model.errors import UnreachableError
from hardmute.sync.contact import Meeting

RATE = 16_000
MUTED_S = 3.0


def status(state: str, uptime_ms: int, since_ms: int, changes: int, boot: int = 1) -> Status:
    live = state == "live"
    return Status(
        state=state,
        command="connected" if live else "cut",
        sense=(int(live),),
        cause="button",
        since_ms=since_ms,
        uptime_ms=uptime_ms,
        boot=boot,
        changes=changes,
        live_ms=0,
        remute_in_ms=None,
        faults=(),
        warnings=(),
        service="none",
        simulated=True,
    )


class Scene:
    """A board, a person, a recording and a screen, on one clock; the board speaks each 250 ms.

    ``react``: by a word on the screen, what the board's state becomes 300 ms later.
    """

    def __init__(self, react: dict[str, list[str]]) -> None:
        self.now = 1000.0
        self.state, self.since, self.changes, self.boot = "live", 990.0, 1, 1
        self._react = react
        self._due: list[tuple[float, str]] = []
        self.asked: list[str] = []
        self.meetings = 0
        # Why the board does not sign what it says; None on a host that is not paired.
        self.unsigned: str | None = None
        # Sound.
        self.begun = self.now
        self.played = np.zeros(RATE * 200, dtype=np.float32)

    # The session.

    def watch(self) -> Iterator[Status]:
        while True:
            self.now += 0.25
            while self._due and self._due[0][0] <= self.now:
                self.since, self.state = self._due.pop(0)
                self.changes += 1
            yield status(
                self.state,
                round(1000 * (self.now - 900)),
                round(1000 * (self.now - self.since)),
                self.changes,
                self.boot,
            )

    # The contact.

    def meet(self) -> None:
        self.meetings += 1

    def hear(self, event: Status) -> Meeting:
        return Meeting(event, 0, 0, 0, unsigned=self.unsigned)

    # The screen.

    @contextlib.contextmanager
    def ask(self, words: str) -> Iterator[None]:
        self.asked.append(words)
        for index, state in enumerate(self._react.get(words.split(":")[0], [])):
            self._due.append((self.now + 0.3 + 0.2 * index, state))
        yield

    @contextlib.contextmanager
    def progress(self, words: str, done: Callable[[], float]) -> Iterator[None]:
        assert words
        assert done() >= 0
        yield

    # The sound.

    @property
    def count(self) -> int:
        return round((self.now - self.begun) * RATE)

    def at(self, moment: float) -> HeardMoment:
        count = round((moment - self.begun) * RATE)
        return HeardMoment(count, count)

    @property
    def full(self) -> bool:
        return self.count >= len(self.played)

    def level_dbfs(self) -> float:
        return -40.0

    def recorded(self) -> Any:
        # Not silent, and without the probe: no delay is found in it.
        return np.random.default_rng(1).standard_normal(self.count).astype(np.float32)

    def through(self) -> HeardWalk:
        scene: Any = self
        follower = BoardFollower(scene, clock=lambda: self.now)
        return Walk(follower, scene, scene, RATE, scene).through(MUTED_S)


MUTE, AGAIN = "Press the button now", "Press the button once more"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """What `timing.phases` was asked for: cut, end, connected."""
    asked: list[tuple[int, int, int]] = []

    def phases(_played: Any, _recorded: Any, _rate: int, *at: HeardMoment) -> Phases:
        asked.append((at[0].arrived, at[1].arrived, at[2].arrived))
        return Phases((0, 1), (1, 2), (2, 3))

    monkeypatch.setattr(walk.timing, "phases", phases)
    return asked


def test_the_boards_moments_decide(seen: list[tuple[int, int, int]]) -> None:
    scene = Scene({MUTE: ["muted"], AGAIN: ["live"]})
    heard = scene.through()
    ((cut, end, connected),) = seen
    assert (heard.muted.conclusion.verdict, scene.meetings) == ("muted", 1)
    # Live for 3.5 s, and the press 0.3 s after the word.
    assert cut / RATE == pytest.approx(3.8, abs=0.3)
    assert (end - cut) / RATE >= MUTED_S
    assert 0 < (connected - end) / RATE < 0.6
    assert [words.split(":")[0] for words in scene.asked] == [MUTE, AGAIN]


@pytest.mark.usefixtures("seen")
def test_P5_unsigned_muted_is_unknown_while_it_is_listened_to() -> None:
    scene = Scene({MUTE: ["muted"], AGAIN: ["live"]})
    scene.unsigned = "busy"
    state = scene.through().muted.conclusion.verdict
    assert state == "unknown"
    assert verdict_code(Outcome("muted", None), state) == errors.UNKNOWN
    assert verdict_code(Outcome("live", None), state) == errors.FAULT


def test_an_answer_that_is_late_moves_nothing(seen: list[tuple[int, int, int]]) -> None:
    Scene({MUTE: ["muted"], AGAIN: ["live"]}).through()
    scene = Scene({MUTE: ["muted"], AGAIN: ["live"]})
    events = scene.watch()

    def sometimes_late() -> Iterator[Status]:
        for number, event in enumerate(events):
            scene.now += 0.2 * (number % 3 == 2)
            yield event
            scene.now -= 0.2 * (number % 3 == 2)

    scene.watch = sometimes_late  # type: ignore[method-assign]
    scene.through()
    prompt, late = seen
    assert np.allclose(prompt, late, atol=0.3 * RATE)


def test_a_fault_is_listened_to_without_another_press(seen: list[tuple[int, int, int]]) -> None:
    scene = Scene({MUTE: ["fault"]})
    heard = scene.through()
    ((_, end, connected),) = seen
    assert (heard.muted.conclusion.verdict, end) == ("fault", connected)
    assert [words.split(":")[0] for words in scene.asked] == [MUTE]


@pytest.mark.parametrize(
    ("react", "reason"),
    [
        ({}, "no_press"),
        ({MUTE: ["muted"]}, "no_press"),
        # It was live for a moment in between, and nobody saw that.
        ({MUTE: ["muted"], AGAIN: ["live", "muted", "live"]}, "unsteady"),
        ({MUTE: ["muted", "live", "muted"], AGAIN: ["live"]}, "unsteady"),
    ],
)
def test_what_ends_it_without_a_verdict(react: dict[str, list[str]], reason: str) -> None:
    scene = Scene(react)
    begin = scene.now
    with pytest.raises(CannotTellError) as caught:
        scene.through()
    assert caught.value.reason == reason
    assert scene.now - begin < PRESS_S + 10


@pytest.mark.parametrize("after_s", [0.0, 5.0, 7.0])
def test_a_device_that_is_unplugged_ends_it(after_s: float) -> None:
    """The board goes on, and no sample comes any more."""

    class Unplugged(Scene):
        @property
        def count(self) -> int:
            return min(super().count, round(after_s * RATE))

    scene = Unplugged({MUTE: ["muted"], AGAIN: ["live"]})
    begin = scene.now
    with pytest.raises(CannotTellError) as caught:
        scene.through()
    assert caught.value.reason == "lost_samples"
    assert scene.now - begin < after_s + 5


def test_P5_a_restart_in_between_is_unknown() -> None:
    scene = Scene({MUTE: ["muted"]})
    events = scene.watch()

    def restarted() -> Iterator[Status]:
        for number, event in enumerate(events):
            yield event._replace(boot=2) if number == 5 else event

    scene.watch = restarted  # type: ignore[method-assign]
    with pytest.raises(UnreachableError) as caught:
        scene.through()
    assert caught.value.reason == "restarted"
