"""What a monitor reminds people of, and when it cuts a line: with a screen and a time of the
test's own. tests/desktop has a real bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, time
from typing import Any

import pytest

from hardmute.model import notices
from hardmute.model.errors import UnreachableError
from hardmute.monitor.desktop import Events, ScreenNote
from hardmute.monitor.feed import Feed, Told
from hardmute.monitor.notify import Notifications, quiet_began
from hardmute.monitor.settings import Remind
from monitor_time import BOARD, Time, turns

NOON = datetime(2026, 11, 30, 12)  # noqa: DTZ001 (local time)
EVENING = datetime(2026, 11, 30, 17, 59, 30)  # noqa: DTZ001
NIGHT = (time(18), time(8))


class Screen:
    """Shows notes to the test. ``calls``: what was to be shown, where it differs, or again."""

    def __init__(self, events: Events) -> None:
        self.events = events
        self.trouble: str | None = None
        self.notes: dict[str, ScreenNote | None] = {}
        self.calls: list[tuple[str, ScreenNote | None, bool]] = []

    def show(self, tag: str, note: ScreenNote | None, *, again: bool = False) -> None:
        if note != self.notes.get(tag) or (again and note is not None):
            self.calls.append((tag, note, again and note is not None))
        self.notes[tag] = note
        if note is not None and self.trouble is not None:
            self.events.lost(tag)
        elif note is not None:
            self.events.shown(tag)

    async def run(self) -> None:
        await asyncio.Event().wait()

    def now(self, board: str = BOARD) -> ScreenNote:
        note = self.notes[board]
        assert note is not None
        return note

    def raised(self) -> int:
        """How often something came up."""
        return sum(again for _, _, again in self.calls)


class Rig:
    """A sink that runs, and all around it."""

    def __init__(self, remind: Remind, at: datetime) -> None:
        self.time = Time(at)
        self.feed = Feed()
        self.alerts: list[Told] = []
        self.mutes: list[str] = []
        self.refusal: Exception | None = None
        self.records: bool | None = None
        self.obeys = True
        self.sink = Notifications(
            remind,
            self.alerts.append,
            screen=self._screen,
            records=self._records,
            clock=self.time.clock,
            sleep=self.time.sleep,
        )

    def _screen(self, events: Events) -> Screen:
        self.screen = Screen(events)
        return self.screen

    async def _records(self) -> bool | None:
        return self.records

    async def mute(self, board: str) -> None:
        self.mutes.append(board)
        if self.refusal is not None:
            raise self.refusal
        if self.obeys:
            self.feed.tell(self.time.told("muted", board=board))

    async def tell(self, *words: Any, **more: Any) -> None:
        self.feed.tell(self.time.told(*words, **more))
        await turns()


@asynccontextmanager
async def running(remind: Remind | None = None, at: datetime = NOON) -> AsyncIterator[Rig]:
    rig = Rig(remind or Remind(), at)
    task = asyncio.create_task(rig.sink.run(rig.feed, rig.mute))
    try:
        await turns()
        yield rig
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


def test(scenario: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test that awaits."""

    def run() -> None:
        asyncio.run(scenario())

    run.__doc__ = scenario.__doc__
    return run


test.__test__ = False  # type: ignore[attr-defined]


@test
async def test_P8_a_live_board_has_one_note_until_its_line_is_cut() -> None:
    async with running() as rig:
        await rig.tell("muted")
        assert rig.screen.calls == []
        await rig.tell("live")
        assert rig.screen.now() == ScreenNote(
            "Desk: the microphone is live", "For less than 1 min: button.", "Mute"
        )
        await rig.time.move(180)
        assert rig.screen.now().body == "For 3 min: button."
        assert (len(rig.screen.calls), rig.screen.raised()) == (4, 1)
        await rig.tell("muted")
        assert rig.screen.calls[-1] == (BOARD, None, False)


@test
async def test_P8_what_was_live_before_the_monitor_is_told_at_once() -> None:
    async with running() as rig:
        await rig.tell("live", since_s=7500)
        assert rig.screen.now().body == "For 2 h 05 min: button."


@test
async def test_P8_it_comes_up_again_after_each_ten_minutes() -> None:
    async with running() as rig:
        await rig.tell("live")
        await rig.time.move(599)
        assert rig.screen.raised() == 1
        await rig.time.move(2)
        assert rig.screen.raised() == 2
        await rig.time.move(600)
        assert rig.screen.raised() == 3


@test
async def test_P5_faults_lost_boards_and_incidents_are_told_as_loudly() -> None:
    async with running() as rig:
        await rig.tell("fault")
        assert rig.screen.now().title == "Desk: fault, the microphone may be live"
        await rig.tell("unknown", reason="silent")
        assert rig.screen.now() == ScreenNote(
            "Desk: state unknown, the microphone may be live",
            "For less than 1 min: silent for 3 s.",
            "Mute",
        )
        await rig.tell("muted", incident="records 5 to 9 are missing")
        assert rig.screen.now() == ScreenNote(
            "Desk: its evidence does not hold", "Evidence: records 5 to 9 are missing"
        )
        assert rig.screen.raised() == 3
        await rig.time.move(600)
        assert rig.screen.raised() == 4
        await rig.tell("live", incident="records 5 to 9 are missing")
        assert rig.screen.now().title == "Desk: the microphone is live"
        assert "records 5 to 9 are missing" in rig.screen.now().body
        await rig.tell("muted")
        assert rig.screen.notes == {BOARD: None}


@test
async def test_each_board_has_its_own_note() -> None:
    async with running() as rig:
        await rig.tell("live", board="aaaa", label="Desk")
        await rig.tell("live", board="bbbb", label=None)
        assert rig.screen.now("bbbb").title == "bbbb: the microphone is live"
        await rig.tell("muted", board="aaaa")
        assert rig.screen.notes["aaaa"] is None
        assert rig.screen.notes["bbbb"] is not None


@test
async def test_names_and_words_cannot_do_anything_to_a_screen() -> None:
    async with running() as rig:
        await rig.tell("live", label="Desk\n\x1b[31m‮" + "x" * 500, incident="y" * 900)
        note = rig.screen.now()
        assert note.title.startswith("Desk��[31m�xxx")
        assert len(note.title) < 100
        assert len(note.body) < 400
        assert (note.title + note.body.replace("\n", "")).isprintable()


@test
async def test_mute_cuts_the_line_once_however_often_it_is_pressed() -> None:
    async with running() as rig:
        rig.obeys = False
        await rig.tell("live")
        rig.screen.events.pressed(BOARD)
        rig.screen.events.pressed(BOARD)
        await turns()
        assert rig.mutes == [BOARD]
        await rig.tell("muted")
        assert rig.screen.notes[BOARD] is None
        # Nothing is left to press; what comes late does nothing.
        rig.screen.events.pressed(BOARD)
        await turns()
        assert rig.mutes == [BOARD]


@test
async def test_P5_a_mute_that_fails_is_told_each_time() -> None:
    async with running() as rig:
        rig.refusal = UnreachableError("The board does not answer: unplug it.", "no_answer")
        await rig.tell("live")
        rig.screen.events.pressed(BOARD)
        await turns()
        said = "For less than 1 min: button.\nThe line was not cut: The board does not answer"
        assert rig.screen.now().body.startswith(said)
        rig.screen.events.pressed(BOARD)
        await turns()
        assert rig.screen.raised() == 3


@test
async def test_P5_a_mute_that_the_board_does_not_follow_is_told() -> None:
    async with running() as rig:
        rig.obeys = False
        await rig.tell("live")
        rig.screen.events.pressed(BOARD)
        await rig.time.move(4)
        assert rig.screen.raised() == 1
        await rig.time.move(3)
        assert rig.screen.raised() == 2
        assert "it was asked to mute, and is not muted" in rig.screen.now().body


@test
async def test_P8_a_line_that_no_program_uses_is_told_after_5_min() -> None:
    async with running() as rig:
        rig.records = True
        await rig.tell("live")
        await rig.time.move(200)
        rig.records = False
        await rig.time.move(295)
        assert rig.screen.raised() == 1
        await rig.time.move(20)
        assert rig.screen.raised() == 2
        assert (
            rig.screen.now().body == "For 8 min: button.\nNo program has recorded here for 5 min."
        )
        # Once, until a program records again.
        await rig.time.move(60)
        assert rig.screen.raised() == 2
        rig.records = True
        await rig.time.move(11)
        assert "No program" not in rig.screen.now().body


@test
async def test_no_program_is_not_said_where_it_cannot_be_known() -> None:
    async with running() as rig:
        await rig.tell("live")
        await rig.time.move(590)
        assert rig.screen.raised() == 1
        assert "No program" not in rig.screen.now().body


@test
async def test_P8_quiet_hours_cut_as_they_begin_and_say_so() -> None:
    async with running(Remind(quiet=(time(18), time(18, 30))), EVENING) as rig:
        await rig.tell("live", board="aaaa", since_s=60)
        await rig.tell("muted", board="bbbb")
        await rig.tell("live", board="cccc", since_s=5)
        await rig.time.move(29)
        assert rig.mutes == []
        await rig.time.move(3)
        assert rig.mutes == ["aaaa", "cccc"]
        said = "The quiet hours began at 18:00. The button still works."
        assert rig.screen.now("aaaa") == ScreenNote("Desk: cut for the quiet hours", said)
        # The button wins: a later press is not undone.
        await rig.time.move(600)
        await rig.tell("live", board="aaaa")
        await rig.time.move(60)
        assert rig.mutes == ["aaaa", "cccc"]
        assert rig.screen.now("aaaa").title == "Desk: the microphone is live"
        assert rig.screen.now("cccc").title == "Desk: cut for the quiet hours"
        await rig.time.move(1200)
        assert rig.screen.notes["cccc"] is None


@test
async def test_P8_in_quiet_hours_what_counts_is_when_it_was_pressed() -> None:
    """A monitor that begins, or a board that is found, in the quiet hours."""
    async with running(Remind(quiet=NIGHT), datetime(2026, 12, 1, 3)) as rig:  # noqa: DTZ001
        await rig.tell("live", board="aaaa", since_s=10 * 3600)
        await rig.tell("live", board="bbbb", since_s=8 * 3600)
        assert rig.mutes == ["aaaa"]


@test
async def test_P8_quiet_hours_try_again_where_a_board_is_not_cut() -> None:
    async with running(Remind(quiet=NIGHT), EVENING) as rig:
        rig.refusal = UnreachableError("The board does not answer: unplug it.", "no_answer")
        await rig.tell("live")
        await rig.time.move(50)
        assert len(rig.mutes) >= 3
        # It came up as it was live, and as it was not cut; not with each attempt.
        assert rig.screen.raised() == 2
        rig.refusal = None
        await rig.time.move(10)
        assert rig.screen.now().title == "Desk: cut for the quiet hours"


def test_what_nobody_can_see_is_told_elsewhere_once_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    monkeypatch.setattr(notices, "_show", said.append)

    @test
    async def scenario() -> None:
        async with running() as rig:
            rig.screen.trouble = "No notification can be shown."
            await rig.tell("live")
            await rig.time.move(300)
            assert [one.observation.verdict for one in rig.alerts] == ["live"]
            assert said == ["Desk: the microphone is live: For less than 1 min: button."]
            await rig.time.move(301)
            assert len(rig.alerts) == 2
            await rig.tell("unknown")
            assert len(rig.alerts) == 3
            assert rig.sink.trouble == "No notification can be shown."

    scenario()


def test_without_a_desktop_quiet_hours_still_cut() -> None:
    async def scenario() -> None:
        rig = Rig(Remind(quiet=NIGHT), EVENING)
        sink = Notifications(
            Remind(quiet=NIGHT),
            rig.alerts.append,
            screen=None,
            records=rig._records,
            clock=rig.time.clock,
            sleep=rig.time.sleep,
        )
        task = asyncio.create_task(sink.run(rig.feed, rig.mute))
        await rig.tell("live")
        await rig.time.move(31)
        assert rig.mutes == [BOARD]
        assert (sink.trouble, rig.alerts) == (None, [])
        task.cancel()
        await asyncio.wait([task])

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("hours", "now", "began"),
    [
        ("18:00-08:00", "30 17:59", None),
        ("18:00-08:00", "30 18:00", "30 18:00"),
        ("18:00-08:00", "30 00:00", "29 18:00"),
        ("18:00-08:00", "30 07:59", "29 18:00"),
        ("18:00-08:00", "30 08:00", None),
        ("12:00-13:00", "30 12:30", "30 12:00"),
        ("12:00-13:00", "30 13:00", None),
        ("12:00-12:00", "30 11:59", "29 12:00"),
    ],
)
def test_when_quiet_hours_began(hours: str, now: str, began: str | None) -> None:
    def moment(text: str) -> datetime:
        return datetime.strptime(f"2026-11-{text}", "%Y-%m-%d %H:%M")  # noqa: DTZ007

    start, end = map(time.fromisoformat, hours.split("-"))
    assert quiet_began((start, end), moment(now)) == (began and moment(began))
