"""`watch`, polls and `mute` at one board, while the host is interfered with (`computer`).

What they print and what the log then says is held against what the line was: P5, never muted of a
moment at which it was live; and never unknown of a moment of which a row was written.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import tempfile
from collections.abc import Callable, Iterator
from itertools import combinations_with_replacement, count, pairwise
from pathlib import Path
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from computer import Computer, Process
from hardmute.evidence.interval import Interval
from hardmute.evidence.observation import Observation
from hardmute.model import errors
from hardmute.store.log import Log
from hardmute.sync.timelines import read_timelines

BOARD = "5eed0000"
# The board's loop, and each port, are looked at every 5 ms; an answer takes some of these.
EDGE_MS = 30
NEAR_MS = 100
# What is shown is no older than this: a second when it is read, and a second for a locked log.
STALE_US = 2_000_000
SETTLED_MS = 5_000
# By its rows a host knows this well when its clock was set.
DOUBT_MS = 2_000
TIMES = 3
# Looks of a watch at a clock, from before a press until it is shown and logged.
LOOKS = 120
DAY_MS = 86_400_000

KINDS = ("clock", "suspend", "stop", "port", "lock", "disk", "kill")


class Day:
    """One board, one computer, and what happens to them."""

    def __init__(self, patch: pytest.MonkeyPatch, home: Path, *, paired: bool) -> None:
        self.computer = Computer(patch)
        self.home = home
        self.presses = 0
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = count()
        # Lines of these processes may be older than they could know: they were stopped between a
        # look at the clock and the next.
        self._cut_short: set[int] = set()
        if paired:
            self._pair()
        self.watch = self.computer.start_watch()
        self.run_ms(500)

    def _pair(self) -> None:
        board = self.computer.board
        board.power_on_holding_ms(3_300)
        pairing = self.computer.start("pair", "--verify-key", self.home / "owner.key")
        self.computer.run_ms(1_000)
        assert pairing.code == errors.OK, pairing.complaints.getvalue()
        self.computer.processes.remove(pairing)
        board.power_cycle()

    # Time.

    def later(self, ms: float, action: Callable[[], None]) -> None:
        at_us = self.computer.now_us + round(ms * 1000)
        heapq.heappush(self._due, (at_us, next(self._count), action))

    def run_ms(self, ms: float) -> None:
        until_us = self.computer.now_us + round(ms * 1000)
        while self._due and self._due[0][0] <= until_us:
            at_us, _, action = heapq.heappop(self._due)
            self.computer.run_ms((at_us - self.computer.now_us) / 1000)
            action()
        self.computer.run_ms((until_us - self.computer.now_us) / 1000)

    # What people do.

    def press(self) -> None:
        self.presses += 1
        self.computer.board.physics.press()

    def poll(self) -> None:
        self.computer.start("status", "--json")

    def mute(self) -> None:
        self.computer.start("mute", "--json")

    # What happens to a host.

    def happen(self, kind: str, chance: Random) -> bool:
        """Let it happen, unless it happens already. Whether it did."""
        happening: Callable[[Random], bool] = getattr(self, f"_{kind}")
        return happening(chance)

    def _clock(self, chance: Random) -> bool:
        by_ms = chance.choice([20, 400, 2_000, 90_000, 3_600_000, 50_400_000])
        self.computer.set_clock(chance.choice([-1, 1]) * by_ms)
        return True

    def _suspend(self, chance: Random) -> bool:
        if self.computer.asleep:
            return False
        self.computer.suspend()
        self.later(chance.choice([100, 1_200, 4_000, 8_000]), self.computer.resume)
        return True

    def _stop(self, chance: Random) -> bool:
        process = self._one(chance)
        if process is None or process.stopped:
            return False
        if chance.random() < 0.5:
            # In the middle of its work.
            process.looks = chance.randrange(12)
            self._cut_short.add(id(process))
        process.stopped = True

        def go_on() -> None:
            process.stopped = False

        self.later(chance.choice([50, 700, 2_500, 4_500]), go_on)
        return True

    def _port(self, chance: Random) -> bool:
        if not self.computer.plugged:
            return False
        board = self.computer.board.board
        # Unplugged, or the hub fails, which is fed from elsewhere.
        unplugged = chance.random() < 0.5
        self.computer.lose_port()
        if unplugged:
            board.power_off()

        def back() -> None:
            if unplugged:
                board.power_on()
            self.computer.find_port()

        self.later(chance.choice([50, 800, 3_500]), back)
        return True

    def _lock(self, chance: Random) -> bool:
        return self._for_a_while("log_is_locked", chance.choice([100, 2_000, 7_000]))

    def _disk(self, chance: Random) -> bool:
        return self._for_a_while("disk_is_full", chance.choice([100, 1_500, 4_000]))

    def _for_a_while(self, what: str, ms: int) -> bool:
        if getattr(self.computer, what):
            return False
        setattr(self.computer, what, True)
        self.later(ms, lambda: setattr(self.computer, what, False))
        return True

    def _kill(self, chance: Random) -> bool:
        process = self._one(chance)
        if process is None:
            return False
        process.killed = True
        if process is self.watch:
            self.later(chance.choice([100, 600]), self._watch_again)
        return True

    def _watch_again(self) -> None:
        self.watch = self.computer.start_watch()

    def _one(self, chance: Random) -> Process | None:
        """The watch, in most cases, or any that runs."""
        there = [one for one in self.computer.processes if not one.ended and not one.killed]
        if self.watch in there and chance.random() < 0.7:
            return self.watch
        return chance.choice(there) if there else None

    # The end of the day.

    def end(self) -> None:
        """Let all that has happened be over, and hold what was said against the truth."""
        while self._due:
            self.run_ms((self._due[0][0] - self.computer.now_us) / 1000)
        healed_us = self.computer.now_us
        self.run_ms(SETTLED_MS)
        if self.watch.ended:
            self._watch_again()
            self.run_ms(SETTLED_MS)
        self.press()
        self.run_ms(1_000)
        assert self.computer.acknowledged[-1][0] > healed_us, "nothing is logged any more"
        self.watch.interrupted = True
        for _ in range(SETTLED_MS // NEAR_MS):
            if not self.watch.ended:
                self.run_ms(NEAR_MS)
        assert self.watch.ended
        self.check()

    def check(self) -> None:
        self._check_coil()
        for process in self.computer.processes:
            self._check_said(process)
        log = Log(self.home / "log.sqlite3")
        try:
            now_ms = self.computer.wall_ms()
            (timeline,) = read_timelines(log, BOARD, now_ms - 3 * DAY_MS, now_ms + 3 * DAY_MS)
        finally:
            log.close()
        self._check_muted(timeline.intervals)
        self._check_known(timeline.intervals)

    def _check_coil(self) -> None:
        """P2: what connects is a finger."""
        assert sum(energised for _, energised in self.computer.board.coil_log) <= self.presses

    def _check_said(self, process: Process) -> None:
        complaints = process.complaints.getvalue()
        assert "failed inside" not in complaints, complaints
        assert process.code != errors.LIVE or process.out, complaints
        for at_us, line in process.out:
            said = json.loads(line)
            if said["verdict"] != "muted" or id(process) in self._cut_short:
                continue
            since_us = at_us - STALE_US - EDGE_MS * 1000
            live_us = sum(span.to_us - span.from_us for span in self._live(since_us, at_us))
            assert live_us < at_us - max(0, since_us) - 1_000, (at_us, line)

    def _check_muted(self, intervals: list[Interval]) -> None:
        for interval in intervals:
            if interval.state != "muted":
                continue
            edge_ms = EDGE_MS + interval.plus_minus_ms
            start_ms, end_ms = interval.start_ms + edge_ms, interval.end_ms - edge_ms
            for span in self.computer.spans(start_ms, end_ms):
                if span.value in self._unseen_clocks():
                    continue
                live = self._live(span.from_us, span.to_us)
                assert not live, (interval, live, self.computer.steps())

    def _unseen_clocks(self) -> set[int]:
        """How wall time differed only while no row was written: no host can know of that."""
        steps = [*self.computer.steps(), (self.computer.now_us, 0)]
        differs = 0
        unseen: set[int] = set()
        for (at_us, by_ms), (until_us, _) in pairwise(steps):
            differs += by_ms
            rows = (row.run_us or 0 for _, row in self.computer.acknowledged)
            if not any(at_us <= run_us < until_us for run_us in rows):
                unseen.add(differs)
        return unseen

    def _live(self, from_us: int, to_us: int) -> list[tuple[int, int]]:
        """Contacts bounce for a millisecond."""
        return [
            span
            for span in self.computer.was_live(from_us, to_us)
            if span.to_us - span.from_us > 2000
        ]

    def _check_known(self, intervals: list[Interval]) -> None:
        for _, row in self.computer.acknowledged:
            if row.verdict == "unknown" or self._is_in_doubt(row):
                continue
            # It was so at some moment from the request to the answer; alone, that is no interval.
            asked_ms = row.at_ms - (row.took_ms or 0)
            touching = [
                one.state
                for one in intervals
                if one.start_ms <= row.at_ms + NEAR_MS and asked_ms - NEAR_MS <= one.end_ms
            ]
            assert set(touching) - {"unknown"}, (row, touching)

    def _is_in_doubt(self, row: Observation) -> bool:
        """Whether ``row`` stands alone, or beside a step of the clock, or at a time that was there
        twice, or may have been for all that rows tell.
        """
        known = [one for _, one in self.computer.acknowledged if one.verdict != "unknown"]
        every = sorted((one for _, one in self.computer.acknowledged), key=_run)
        place = every.index(row)
        beside = every[max(0, place - 1) : place] + every[place + 1 : place + 2]
        if not any(one in known and one.boot == row.boot for one in beside):
            return True
        first, last = _run(beside[0]), _run(beside[-1])
        for at_us, by_ms in self.computer.steps():
            if min(first, _run(row)) <= at_us <= max(last, _run(row)):
                return True
            before = max((one for one in known if _run(one) < at_us), key=_run, default=None)
            after = min((one for one in known if _run(one) >= at_us), key=_run, default=None)
            if before is None or after is None:
                return True
            if before.at_ms + by_ms - DOUBT_MS <= row.at_ms <= after.at_ms - by_ms + DOUBT_MS:
                return True
        return False


def _run(row: Observation) -> int:
    return row.run_us or 0


@contextlib.contextmanager
def a_day(folder: Path, *, paired: bool) -> Iterator[Day]:
    """Begin a day, in a home of its own."""
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARDMUTE_HOME", str(folder))
        day = Day(patch, folder, paired=paired)
        try:
            yield day
        finally:
            day.computer.end()


@pytest.mark.parametrize("paired", [False, True], ids=["", "paired"])
@pytest.mark.parametrize(("first", "second"), list(combinations_with_replacement(KINDS, 2)))
def test_P5_whatever_two_of_these_meet_within_a_second(
    home: Path, first: str, second: str, paired: bool
) -> None:
    met = 0
    for seed in count():
        chance = Random(f"{first} {second} {seed}")
        with a_day(home / str(seed), paired=paired) as day:
            busy(day, chance)
            two = [first, second]
            chance.shuffle(two)
            happened = day.happen(two[0], chance)
            day.run_ms(chance.randrange(1000))
            met += day.happen(two[1], chance) and happened
            day.end()
        if met == TIMES:
            break


@pytest.mark.parametrize("paired", [False, True], ids=["", "paired"])
def test_P5_a_mute_leaves_watch_no_moment_of_unknown(home: Path, paired: bool) -> None:
    """The port changes hands faster than a state gets old."""
    with a_day(home / "0", paired=paired) as day:
        for happens in (day.press, day.mute) * 5:
            happens()
            day.run_ms(2_000)
        assert [process.code for process in day.computer.processes[1:]] == [errors.OK] * 5
        shown = [json.loads(line)["verdict"] for _, line in day.watch.out]
    assert shown == ["muted", *["live", "muted"] * 5]


@pytest.mark.parametrize("presses", [2, 3])
def test_P5_what_changes_while_watch_asks_is_shown(home: Path, presses: int) -> None:
    """It is stopped at each of its looks at a clock after a press, and they press on."""
    for looks in range(0, LOOKS, 3):
        with a_day(home / str(looks), paired=False) as day:
            day.watch.looks = looks
            day.press()
            while day.watch.looks is not None:
                day.run_ms(5)
            day.watch.stopped = True
            for _ in range(presses - 1):
                day.press()
                day.run_ms(400)
            day.watch.stopped = False
            day.run_ms(2_500)
            shown = json.loads(day.watch.out[-1][1])["verdict"]
            is_live = bool(day._live(day.computer.now_us - 1_000_000, day.computer.now_us))
            assert shown == ("live" if is_live else "muted"), (looks, day.watch.out)


def busy(day: Day, chance: Random) -> None:
    """Plan what people do in the next ten seconds, and let some of them pass."""
    for do, most in ((day.press, 6), (day.poll, 5), (day.mute, 2)):
        for _ in range(chance.randint(1, most)):
            day.later(chance.randrange(10_000), do)
    day.run_ms(chance.randrange(1_000, 4_000))


class Days(RuleBasedStateMachine):
    """Any number of these, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="hm-")
        self._begun = a_day(Path(self._folder.name) / "home", paired=True)
        self._day = self._begun.__enter__()

    @rule(what=st.sampled_from(["press", "poll", "mute"]))
    def people(self, what: str) -> None:
        getattr(self._day, what)()

    @rule(kind=st.sampled_from(KINDS), seed=st.integers(0, 1 << 16))
    def happen(self, kind: str, seed: int) -> None:
        self._day.happen(kind, Random(seed))

    @rule(ms=st.sampled_from([5, 200, 900, 3_000]))
    def time_passes(self, ms: int) -> None:
        self._day.run_ms(ms)

    def teardown(self) -> None:
        try:
            self._day.end()
        finally:
            self._begun.__exit__(None, None, None)
            self._folder.cleanup()


Days.TestCase.settings = settings(
    max_examples=30, stateful_step_count=30, derandomize=True, database=None, deadline=None
)
TestP5Days = Days.TestCase
