"""The host tells the truth when clocks jump, hosts sleep, and programs stand still (P5)."""

from __future__ import annotations

import ast
import signal
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import pytest
from clock_world import START_MS, Board, Over, Part, World

import hardmute
from conftest import Cli, Sim, StartWatch
from hardmute.cli.when import parse_time
from hardmute.evidence.interval import Interval
from hardmute.evidence.observation import Observation
from hardmute.evidence.timeline import WENT_BACK, WENT_FORWARD, intervals
from hardmute.model import words
from hardmute.model.clock import now_ms
from hardmute.model.errors import INTERRUPTED, UsageError

HOUR = 3_600_000
DAY = 24 * HOUR
# Clocks are read in whole milliseconds: the host's, the board's, and what it says since when.
ROUNDING_MS = 3
HOST = Path(hardmute.__file__).parent
WALL_TIMES = {"at_ms", "sent_ms", "received_ms", "heard_ms", "wall_ms"}


def shown(rows: list[Observation]) -> list[Interval]:
    found = intervals(rows, 0, 1 << 50)
    for one, other in pairwise(found):
        assert one.start_ms <= one.end_ms <= other.start_ms
    return found


def false_muted(world: World, found: list[Interval]) -> list[tuple[Part, Interval]]:
    """What is said to be muted, and was shown by the host's clock while the line was not, and
    between two contacts that can tell: by one of them the clock stood as it did then.
    """
    rows = sorted((row.run_us or 0) // 1000 for row in world.recorder.rows if row.state)
    wrong: list[tuple[Part, Interval]] = []
    for part in world.board.history:
        if part.state not in ("live", "fault"):
            continue
        for one, other in pairwise(rows):
            start, end = max(part.start, one), min(part.end, other)
            for from_ms, to_ms, ahead in world.labels(start, end) if start < end else ():
                if ahead in (world.ahead(one), world.ahead(other)) and not world.is_lost(
                    one, other
                ):
                    wrong += [
                        (part, interval)
                        for interval in found
                        if interval.state == "muted"
                        and min(interval.end_ms, to_ms) - max(interval.start_ms, from_ms)
                        > ROUNDING_MS
                    ]
    return wrong


def total(found: list[Interval], state: str) -> int:
    return sum(one.length_ms for one in found if one.state == state)


# One function joins the two clocks.


def test_wall_times_are_subtracted_in_one_place() -> None:
    found: list[str] = []
    for file in sorted(HOST.rglob("*.py")):
        if file.name == "anchors.py":
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
                sides = [_wall_times(side) for side in (node.left, node.right)]
                if all(sides):
                    found.append(f"{file.name}:{node.lineno}: {ast.unparse(node)}")
    assert found == []


def _wall_times(node: ast.AST) -> set[str]:
    """The names of wall times in an expression: of variables, attributes and fields."""
    parts = list(ast.walk(node))
    names = {part.attr for part in parts if isinstance(part, ast.Attribute)}
    names |= {part.id for part in parts if isinstance(part, ast.Name)}
    names |= {str(part.value) for part in parts if isinstance(part, ast.Constant)}
    return names & WALL_TIMES


# The host's clock is set between two contacts.


def muted_for(ms: int) -> Board:
    return Board([Part(0, ms, "muted", 1)])


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("restarts", [False, True])
def test_P5_a_clock_corrected_forward_makes_nothing_muted(old: bool, restarts: bool) -> None:
    """A Raspberry Pi starts with the time of its last shutdown, 14 h ago."""
    history = [Part(0, 1000, "muted", 1), Part(1000, 10_000, "muted", 2 if restarts else 1)]
    world = World(Board(history), chance=Random(1), steps={0: -14 * HOUR, 2000: 0})
    world.now = 500
    world.poll()
    world.now = 3500
    world.poll()
    rows = [row._replace(run_us=None, run=None) if old else row for row in world.recorder.rows]
    found = shown(rows)
    assert total(found, "muted") <= 3600
    assert 14 * HOUR - 1000 <= total(found, "unknown") <= 14 * HOUR + 4000
    if not restarts:
        assert any(WENT_FORWARD in one.notes for one in found if one.state == "unknown")


def test_P5_of_a_time_that_was_twice_the_graver_state_counts() -> None:
    history = [
        Part(0, 60_000, "muted", 1),
        Part(60_000, 70_000, "live", 1),
        Part(70_000, 200_000, "muted", 1),
    ]
    world = World(Board(history), chance=Random(1), steps={50_000: -30_000})
    for world.now in (1000, 49_000, 51_000, 75_000, 190_000):
        world.poll()
    found = shown(world.recorder.rows)
    assert not false_muted(world, found)
    assert 10_000 <= total(found, "live") <= 10_200
    assert any(WENT_BACK in one.notes for one in found)


@pytest.mark.parametrize("by_ms", [-200, -60, -5, 5, 60, 200])
def test_P5_a_small_step_while_the_host_restarts_hides_nothing(by_ms: int) -> None:
    """Only round trips and the drift of the clocks tell of it, and it is smaller than these."""
    history = [
        Part(0, 50_000, "muted", 1),
        Part(50_000, 70_000, "live", 1),
        Part(70_000, 4_000_000, "muted", 1),
    ]
    world = World(Board(history), chance=Random(1), steps={60_000: by_ms}, reboots=(60_000,))
    for world.now in (1000, 49_000, 75_000, 190_000):
        world.poll()
    found = shown(world.recorder.rows)
    assert not false_muted(world, found)
    assert total(found, "live") == pytest.approx(20_000, abs=500)


def test_P5_two_starts_with_one_number_are_never_joined() -> None:
    history = [
        Part(0, 2000, "muted", 1),
        Part(2000, 3000, "live", 1),
        Part(3000, 4000, "muted", 1),
        Part(4000, 100_000, "off", 0),
        Part(100_000, 150_000, "muted", 2),
        Part(150_000, 151_000, "live", 2),
        Part(151_000, 300_000, "muted", 2),
    ]
    world = World(Board(history, counts=False), chance=Random(1))
    for world.now in (3500, 250_000):
        world.poll()
    for rows in (
        world.recorder.rows,
        [row._replace(run_us=None, run=None) for row in world.recorder.rows],
    ):
        found = shown(rows)
        assert not false_muted(world, found)
        assert total(found, "unknown") >= 90_000


@pytest.mark.parametrize("until", [50_000, 75_000, 100_000])
def test_P5_what_waited_while_an_uncounted_board_restarted(until: int) -> None:
    """It has the number of the start after it, and uptimes that fit there as well."""
    history = [
        Part(0, 20_000, "muted", 1),
        Part(20_000, 30_000, "live", 1),
        Part(30_000, 30_100, "muted", 1),
        Part(30_100, 30_200, "off", 0),
        Part(30_200, 31_000, "muted", 2),
        Part(31_000, 200_000, "live", 2),
    ]
    world = World(Board(history, counts=False), chance=Random(1), stops={12_500: until})
    world.watch(120_000)
    found = shown(world.recorder.rows)
    assert not false_muted(world, found)
    assert total(found, "live") >= 115_000 - until


# Watch.


@pytest.mark.parametrize("ppm", [-100, 0, 100])
def test_P5_a_board_whose_clock_drifts_is_known_all_day(ppm: int) -> None:
    history: list[Part] = []
    for start in range(0, DAY, 2 * HOUR):
        history += [
            Part(start, start + 2 * HOUR - 60_000, "muted", 1),
            Part(start + 2 * HOUR - 60_000, start + 2 * HOUR, "live", 1),
        ]
    world = World(Board(history, ppm), chance=Random(1), every_ms=2500)
    world.watch(DAY)
    found = shown(world.recorder.rows)
    assert not false_muted(world, found)
    assert total(found, "unknown") == 0
    assert {one.verdict for one in world.shown} == {"muted", "live"}
    assert total(found, "live") == pytest.approx(12 * 60_000, abs=12 * 200)


def test_P5_a_row_a_minute_goes_on_when_the_clock_is_a_day_back() -> None:
    world = World(muted_for(600_000), chance=Random(1), steps={100_000: -DAY})
    world.watch(600_000)
    after = [row for row in world.recorder.rows if row.at_ms < START_MS]
    assert 8 <= len(after) <= 10
    found = shown(world.recorder.rows)
    assert total(found, "muted") >= 595_000
    assert total(found, "unknown") <= 61_000


@pytest.mark.parametrize("again", [True, False])
def test_P5_what_waited_has_its_own_time_and_shows_nothing(again: bool) -> None:
    """SIGSTOP, Ctrl-S, a reader that stalls, a host that sleeps: BOOTTIME goes on in all."""
    history = [
        Part(0, 10_000, "muted", 1),
        Part(10_000, 13_000, "live", 1),
        Part(13_000, 60_000, "muted" if again else "fault", 1),
    ]
    world = World(Board(history), chance=Random(1), stops={8_000: 30_000})
    world.watch(50_000)
    found = shown(world.recorder.rows)
    assert not false_muted(world, found)
    assert total(found, "live") == pytest.approx(3000, abs=200)
    verdicts = [one.verdict for one in world.shown]
    assert verdicts == ["muted", "unknown", "muted" if again else "fault"]


LIES: dict[str, Any] = {
    "faster": lambda ms: ms + ms // 20,
    "slower": lambda ms: ms - ms // 20,
    "stands still": lambda ms: min(ms, 20_000),
    "jumps back": lambda ms: ms if ms < 45_000 else ms - 40_000,
    "jumps ahead": lambda ms: ms if ms < 45_000 else ms + HOUR,
}


@pytest.mark.parametrize("lie", LIES)
def test_P5_a_board_that_lies_of_its_uptime_makes_nothing_muted(lie: str) -> None:
    history = [
        Part(0, 30_000, "muted", 1),
        Part(30_000, 33_000, "live", 1),
        Part(33_000, 60_000, "muted", 1),
        Part(60_000, 63_000, "live", 1),
        Part(63_000, 120_000, "muted", 1),
    ]
    board = Board(history)
    board.lie = LIES[lie]
    world = World(board, chance=Random(1), stops={58_000: 70_000})
    world.watch(110_000)
    found = shown(world.recorder.rows)
    seen = [one for one in false_muted(world, found) if one[0].start == 30_000]
    assert not seen, "it was followed while that happened"
    states = [one.state for one in world.recorder.rows if one.state == "live"]
    assert len(states) >= 2


def test_P5_a_paused_watch_shows_unknown_and_logs_what_it_missed(
    sim: Sim, watch: StartWatch, cli: Cli
) -> None:
    follower = watch(sim.board)
    follower.until("muted")
    follower.process.send_signal(signal.SIGSTOP)
    sim.act("press")
    began_ms = now_ms()
    # The line is live for longer than an event counts for, and the second press is older than
    # that as well when it is read.
    time.sleep(2)
    ended_ms = now_ms()
    sim.act("press")
    time.sleep(1.5)
    follower.process.send_signal(signal.SIGCONT)
    for verdict in ("unknown", "muted"):
        follower.until(verdict)
    assert follower.interrupt() == INTERRUPTED
    (board,) = cli("log", "--json").json["boards"]
    for part in board["intervals"]:
        if part["state"] == "muted":
            assert min(part["end_ms"], ended_ms) - max(part["start_ms"], began_ms) < 500


# Local times.


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("given", "often", "offsets"),
    [
        ("2026-10-25T02:30", "twice", ("+02:00", "+01:00")),
        ("2026-10-25 02:00", "twice", ("+02:00", "+01:00")),
        ("2026-03-29T02:30", "never", ("+01:00", "+02:00")),
    ],
)
@pytest.mark.usefixtures("berlin")
def test_an_hour_that_is_twice_or_never_is_refused(
    given: str, often: str, offsets: tuple[str, str], cli: Cli
) -> None:
    with pytest.raises(UsageError, match=often) as raised:
        parse_time(given)
    for offset in offsets:
        assert offset in str(raised.value)
    for given_words in (
        ("log", "--since", given),
        ("prove", "--from", given),
        ("log", "prune", "--before", given),
    ):
        told = cli(*given_words)
        assert told.code == 2
        assert often in told.err


@pytest.mark.usefixtures("berlin")
def test_the_times_that_a_refusal_names_are_taken_and_shown() -> None:
    first, second = (parse_time(f"2026-10-25T02:30:00{offset}") for offset in ("+02:00", "+01:00"))
    assert second - first == HOUR
    assert words.local_time(first) == "2026-10-25 02:30:00+02:00"
    assert words.local_time(second) == "2026-10-25 02:30:00+01:00"
    assert words.local_time(first - HOUR) == "2026-10-25 01:30:00"
    assert words.local_time(second + HOUR) == "2026-10-25 03:30:00"
    assert parse_time("2026-10-25T01:30") == first - HOUR
    assert parse_time("2026-10-25T03:30") == second + HOUR


# The property.


def made(chance: Random) -> tuple[World, bool]:
    """A world, and whether its wall clock is never set."""
    history: list[Part] = []
    now = 0
    for boot in range(1, chance.randint(1, 3) + 1):
        state = "muted"
        for _ in range(chance.randint(1, 7)):
            end = now + int(chance.choice((200, 2_000, 20_000, 90_000)) * (0.5 + chance.random()))
            history.append(Part(now, end, state, boot))
            now, state = (
                end,
                chance.choice(
                    {"muted": ("live",), "live": ("muted", "fault")}.get(state, ("muted",))
                ),
            )
        off = chance.choice((100, 5_000, 60_000))
        history.append(Part(now, now + off, "off", 0))
        now += off
    moments = [chance.randrange(now) for _ in range(8)]
    is_set = chance.random() < 0.7
    steps = {
        at: chance.choice(
            (-DAY, -HOUR, -30_000, -400, -150, -30, 30, 150, 400, 30_000, HOUR, 14 * HOUR)
        )
        for at in (moments[: chance.randint(1, 3)] if is_set else [])
    }
    stops = {
        at: at + chance.choice((500, 2_000, 15_000, 60_000))
        for at in moments[3 : 3 + chance.randint(0, 3)]
    }
    reboots = tuple(moments[7:]) if chance.random() < 0.2 else ()
    board = Board(history, chance.uniform(-100, 100), counts=chance.random() < 0.8)
    world = World(board, chance=chance, steps=steps, stops=stops, reboots=reboots)
    try:
        while True:
            world.pass_ms(chance.choice((10, 1_000, 20_000)))
            if chance.random() < 0.5:
                world.poll()
            else:
                world.watch(world.now + chance.choice((1_000, 10_000, 100_000)))
    except Over:
        return world, not is_set


@pytest.mark.parametrize("part", range(4))
def test_P5_no_live_moment_is_ever_told_as_muted(part: int) -> None:
    met: dict[str, int] = {"set": 0, "live": 0, "muted": 0, "stopped": 0}
    for seed in range(100):
        world, is_right = made(Random(f"{part} {seed}"))
        found = shown(world.recorder.rows)
        assert not false_muted(world, found), (part, seed)
        met["set"] += not is_right
        met["live"] += total(found, "live") > 0
        met["muted"] += total(found, "muted") > 0
        met["stopped"] += any(one.reason == "late" for one in world.shown)
        if is_right:
            not_lost(world.recorder.rows, found)
    assert min(met.values()) >= 3, met


def not_lost(rows: list[Observation], found: list[Interval]) -> None:
    """Between two rows of one start with no change between them all is known."""
    for one, other in pairwise(sorted(rows, key=lambda row: row.run_us or 0)):
        same = (one.boot, one.changes, one.run) == (other.boot, other.changes, other.run)
        if one.state is None or not same or "boot_not_counted" in (one.warnings or ()):
            continue
        for interval in found:
            if interval.state == "unknown":
                lost = min(interval.end_ms, other.at_ms) - max(interval.start_ms, one.at_ms)
                assert lost <= ROUNDING_MS + (other.took_ms or 0), (one, other, interval)


# These wait for other programs of this host, which sleep when it does; or pace a simulated board.
STOPS_IN_SUSPEND = {
    "device/borrow.py",
    "device/holder.py",
    # How much a device may send. Where the clock stopped, it is less.
    "device/pace.py",
    # How long a write may take.
    "device/terminal.py",
    "model/clock.py",
    "sim/server.py",
    "store/log.py",
    # As systemd wants it.
    "system/service_manager.py",
}


def test_P5_no_state_is_timed_by_a_clock_that_stops_in_suspend() -> None:
    found = {
        file.relative_to(HOST).as_posix()
        for file in HOST.rglob("*.py")
        if "time.monotonic" in file.read_text()
    }
    assert found == STOPS_IN_SUSPEND
