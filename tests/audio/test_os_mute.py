"""The system's mute and the line, on a real sound server: only a press connects, whatever happens
to the server, its sources and the monitor; and nothing that hardmute muted is forgotten.
"""

from __future__ import annotations

import asyncio
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from conftest import BOARD, simulated
from hardmute import aio
from hardmute.monitor.feed import Feed, Told
from hardmute.monitor.os_mute import OsMuteSink
from hardmute.monitor.settings import OsMute as Chosen
from hardmute.sim.world import act
from muting import IS_PIPEWIRE, Life, SoundServer, World, lives

STORIES = 1000
TESTS = 40
HEADSETS = ("headset", "webcam")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Not `tmp_path`: the paths of sockets are short."""
    with tempfile.TemporaryDirectory(prefix="hm-") as name:
        yield Path(name).resolve()


@pytest.fixture
def births(place: Path) -> Iterator[Path]:
    with lives(place) as socket:
        yield socket


@pytest.fixture
def sound(tmp_path_factory: pytest.TempPathFactory, place: Path) -> Iterator[SoundServer]:
    del tmp_path_factory
    with tempfile.TemporaryDirectory(dir=place) as name:
        server = SoundServer(Path(name))
        server.start()
        yield server
        server.stop(signal.SIGKILL)


class Story:
    """A person, two boards, a sound server and a monitor; what a person may expect is checked.

    The model knows who muted what. Where somebody acts before the monitor has seen what happened
    before, either answer may be right: those sources are ``unsure`` (who muted it) or
    ``perhaps_spared`` until it is known again.
    """

    def __init__(self, births: Path, home: Path, sound: SoundServer, seed: int) -> None:
        self.chance = Random(seed)
        self.births, self.home, self.sound = births, home, sound
        self.file = home / "os-mute.json"
        self.world = World(*("a", "b")[: self.chance.choice((1, 1, 2))])
        self.chosen = self.chance.choice(
            ({"follow": True, "lead": True},) * 4
            + ({"follow": True, "lead": False}, {"follow": False, "lead": True})
        )
        self.theirs = set[str]()
        self.unsure = set[str]()
        self.spared = set[str]()
        self.perhaps_spared = set[str]()
        self.is_settled = False
        self.presses = 0
        # Since it was settled last: what somebody muted, and which sources were the default.
        self.now_muted = set[str]()
        self.usual = {self.sound.usual}
        self.life: Life | None = None
        self.started = False
        self.told = list[str]()

    def note(self, *what: object) -> None:
        self.told.append(" ".join(map(str, what)))

    # What the monitor is to do.

    def wanted(self) -> str:
        verdicts = set(map(self.world.verdict, self.world.live))
        if not self.chosen["follow"] or "live" in verdicts:
            return "release"
        return "mute" if verdicts == {"muted"} else "hold"

    def settle(self) -> None:
        """Have the monitor see everything, and compare."""
        if self.life is None or not self.sound.is_up:
            return
        before = len(self.life.cuts)
        self.life.settle()
        self.note("settled", self.wanted(), self.sound.muted(), self.theirs, self.unsure)
        cuts = self.life.cuts[before:]
        if cuts:
            # Nobody else's mute cuts a line, ours least of all.
            assert self.chosen["lead"]
            assert self.now_muted & self.usual
        self.now_muted.clear()
        self.usual = {self.sound.usual}
        self.is_settled = True
        self.compare()

    def compare(self) -> None:
        wanted, muted = self.wanted(), self.sound.muted()
        assert not self.sound.monitors_are_muted()
        for name in sorted(muted.keys() - self.unsure):
            if name in self.theirs:
                assert muted[name], f"{name}: somebody else's mute was released"
            elif wanted == "release":
                assert not muted[name], f"{name} was forgotten"
            elif wanted == "mute" and name not in self.perhaps_spared:
                assert muted[name] == (name not in self.spared), name
        if wanted == "release":
            self.spared.clear()
            self.perhaps_spared.clear()
            self.unsure = {name for name in self.unsure if muted.get(name, True)}
        elif wanted == "mute":
            for name in self.perhaps_spared & muted.keys():
                self.perhaps_spared.discard(name)
                if not muted[name]:
                    self.spared.add(name)

    def tell(self, *boards: str) -> None:
        """The monitor learns what the boards are."""
        if not self.is_settled:
            # It may or may not have seen that a board was live in between.
            self.perhaps_spared |= self.spared
            self.spared.clear()
        for board in boards or self.world.live:
            if self.life is not None:
                self.life.tell(board)
        self.is_settled = False

    # What happens.

    def press(self) -> None:
        board = self.chance.choice(list(self.world.live))
        self.world.press(board)
        self.presses += 1
        self.note("press", board, self.world.live[board])
        self.tell(board)

    def lose(self) -> None:
        board = self.chance.choice(list(self.world.live))
        self.world.lost ^= {board}
        self.note("lost", self.world.lost)
        self.tell(board)

    def weld(self) -> None:
        board = self.chance.choice(list(self.world.live))
        self.world.welded ^= {board}
        self.note("welded", self.world.welded)
        self.tell(board)

    def somebody_mutes(self) -> None:
        if not self.sound.is_up:
            return
        muted = self.sound.muted()
        name = self.chance.choice(sorted(muted))
        is_live = [board for board in self.world.live if self.world.verdict(board) != "muted"]
        is_certain = self.is_settled
        if self.life is None:
            is_certain = (
                not self.file.exists()
                or name not in json.loads(self.file.read_text("ascii"))["sources"]
            )
        self.note("mute", name, self.sound.usual, is_certain)
        self.sound.mute(name, muted=True, by_pactl=self.chance.random() < 0.03)
        self.now_muted.add(name)
        if name not in self.theirs:
            if not is_certain:
                self.unsure.add(name)
            elif not muted[name]:
                self.theirs.add(name)
        acts = self.life is not None and is_certain and name == self.sound.usual
        self.is_settled = False
        if acts and not muted[name] and self.chosen["lead"]:
            assert self.life is not None
            before = len(self.life.cuts)
            self.settle()
            assert sorted(self.life.cuts[before:]) == sorted(is_live)
            assert not any(
                live for board, live in self.world.live.items() if board not in self.world.lost
            )

    def somebody_unmutes(self) -> None:
        if not self.sound.is_up:
            return
        muted = self.sound.muted()
        name = self.chance.choice(sorted(muted))
        self.note("unmute", name)
        self.sound.mute(name, muted=False, by_pactl=self.chance.random() < 0.03)
        self.theirs.discard(name)
        self.unsure.discard(name)
        if not self.is_settled or self.wanted() == "release":
            # It may be the first thing that the monitor sees after a cut.
            self.perhaps_spared.add(name)
        elif muted[name]:
            self.spared.add(name)
        self.is_settled = False

    def plug(self) -> None:
        if not self.sound.is_up:
            return
        name = self.chance.choice(HEADSETS)
        self.note("plug", name, name not in self.sound.sources())
        if name in self.sound.sources():
            self.sound.remove(name)
        else:
            self.sound.add(name)
            self.spared.discard(name)
            self.perhaps_spared.discard(name)
            if IS_PIPEWIRE:
                self.unsure.add(name)
        self.usual.add(self.sound.usual)
        self.is_settled = False

    def choose(self) -> None:
        if not self.sound.is_up:
            return
        name = self.chance.choice(sorted(self.sound.sources()))
        self.note("default", name)
        self.sound.person.source_default_set(name)
        self.usual.add(name)
        self.is_settled = False

    def server(self) -> None:
        if not self.sound.is_up:
            self.note("server starts")
            self.sound.start()
            # Each source is a new one.
            self.spared.clear()
            self.perhaps_spared.clear()
            self.usual.add(self.sound.usual)
            if IS_PIPEWIRE:
                self.unsure |= self.theirs | self.sound.sources().keys()
                self.theirs.clear()
            self.is_settled = False
            return
        # What somebody did is done before the server ends.
        self.sound.muted()
        number = self.chance.choice((signal.SIGTERM, signal.SIGKILL))
        self.note("server ends", number.name)
        self.sound.stop(number)
        if number == signal.SIGKILL:
            self.theirs.clear()
            self.unsure.clear()
        self.is_settled = False

    def monitor(self) -> None:
        if self.life is None:
            self.note("monitor starts", self.chosen)
            self.life = Life(self.births, self.home, self.sound, self.world, **self.chosen)
            self.spared.clear()
            self.perhaps_spared.clear()
            self.tell()
            return
        if self.chance.random() < 0.5:
            self.note("monitor is killed")
            self.life.kill()
            self.life = None
            self.is_settled = False
        else:
            self.stop_monitor()

    def stop_monitor(self) -> None:
        assert self.life is not None
        self.note("monitor ends")
        self.life.end()
        self.life = None
        self.is_settled = False
        if self.sound.is_up:
            self.as_before()

    def as_before(self) -> None:
        """No monitor runs: each source is as people left it."""
        for name, muted in self.sound.muted().items():
            if name not in self.unsure:
                assert muted == (name in self.theirs), name
        assert not self.sound.monitors_are_muted()

    def run(self) -> None:
        deeds = (
            (self.press, 6),
            (self.somebody_mutes, 4),
            (self.somebody_unmutes, 4),
            (self.plug, 4),
            (self.choose, 1),
            (self.server, 2),
            (self.monitor, 2),
            (self.lose, 1),
            (self.weld, 1),
        )
        for name in HEADSETS:
            if self.chance.random() < 0.5 and name not in self.sound.sources():
                self.sound.add(name)
        self.monitor()
        for _ in range(self.chance.randint(6, 12)):
            if self.chance.random() < 0.6:
                self.settle()
            (deed,) = self.chance.choices(
                [deed for deed, _ in deeds], [weight for _, weight in deeds]
            )
            deed()
        self.end()

    def end(self) -> None:
        """All of it ends, and what is owed is released, by a start or by `release`."""
        if not self.sound.is_up:
            self.server()
        self.settle()
        if self.life is not None:
            self.stop_monitor()
        for name in HEADSETS:
            # Sources that were gone are back, perhaps as they were.
            if name not in self.sound.sources():
                self.sound.add(name)
                if IS_PIPEWIRE:
                    self.unsure.add(name)
        if self.chance.random() < 0.5:
            self.note("release")
            Life(self.births, self.home, self.sound, self.world).release()
        else:
            self.note("a last start")
            last = Life(self.births, self.home, self.sound, self.world, follow=True)
            last.settle()
            last.end()
        self.as_before()
        assert not self.file.exists()
        connected = sum(live for _, _, live in self.world.record)
        assert connected == sum(live for why, _, live in self.world.record if why == "press")
        assert sum(why == "press" for why, _, _ in self.world.record) == self.presses


@pytest.mark.parametrize("part", range(TESTS))
def test_P2_only_a_press_connects_and_no_mute_is_forgotten(
    births: Path, sound: SoundServer, part: int
) -> None:
    for seed in range(part * STORIES // TESTS, (part + 1) * STORIES // TESTS):
        with tempfile.TemporaryDirectory(prefix="hm-") as home:
            if not sound.is_up:
                sound.start()
            story = Story(births, Path(home), sound, seed)
            try:
                story.run()
            except BaseException:
                print(f"story {seed}:", *story.told, sep="\n")
                if story.life is not None:
                    story.life.kill()
                raise
        # The next one finds a new server.
        sound.stop(signal.SIGKILL)


# One thing at a time, with a monitor that has one board.

Begin = Callable[..., Life]


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hm-") as name:
        yield Path(name)


@pytest.fixture
def world() -> World:
    return World("a")


@pytest.fixture
def begin(births: Path, home: Path, sound: SoundServer, world: World) -> Iterator[Begin]:
    begun: list[Life] = []

    def start(*, knows: bool = True, **chosen: bool) -> Life:
        life = Life(births, home, sound, world, **(chosen or {"follow": True, "lead": True}))
        begun.append(life)
        for board in world.live if knows else ():
            life.tell(board)
        life.settle()
        return life

    yield start
    for life in begun:
        life.kill()


def test_a_cut_line_mutes_and_a_press_releases(
    begin: Begin, sound: SoundServer, world: World
) -> None:
    sound.add("headset")
    sound.mute("headset", muted=True)
    life = begin()
    assert sound.muted() == {"mic": True, "headset": True}
    sound.add("webcam")
    life.settle()
    assert sound.muted()["webcam"], "a new microphone follows"
    world.press("a")
    life.tell("a")
    life.settle()
    assert sound.muted() == {"mic": False, "headset": True, "webcam": False}
    assert (life.said, life.cuts) == ([], [])


def test_P5_only_lines_that_are_known_to_be_cut_mute(begin: Begin, sound: SoundServer) -> None:
    """Of all boards. What is muted stays so until a line is live."""
    world = World("a", "b")
    world.lost.add("b")
    life = begin(knows=False)

    def told(**verdicts: str) -> bool:
        for board, verdict in verdicts.items():
            life._send(["told", board, verdict])
        life.settle()
        return sound.muted()["mic"]

    assert not told()
    assert not told(a="unknown")
    assert not told(a="muted", b="unknown")
    assert not told(b="fault")
    assert not told(b="live")
    assert told(b="muted")
    assert told(a="unknown", b="fault")
    sound.add("headset")
    assert told()
    assert not sound.muted()["headset"]
    assert not told(a="live")


def test_P2_a_mute_of_the_system_cuts_and_its_unmute_is_a_notice(
    begin: Begin, sound: SoundServer, world: World
) -> None:
    world.press("a")
    life = begin()
    sound.add("headset")
    life.settle()
    sound.mute("headset", muted=True)
    life.settle()
    assert world.live["a"], "it is not the default microphone"
    sound.mute("mic", muted=True, by_pactl=True)
    life.settle()
    assert not world.live["a"]
    assert life.said == []
    sound.mute("mic", muted=False, by_pactl=True)
    life.settle()
    assert life.said == [
        "A microphone was unmuted in the system, but the line is still cut: press the button of a."
    ]
    assert world.record == [("press", "a", True), ("mute", "a", False)]
    assert not sound.muted()["mic"], "it is left alone until the next cut"
    world.press("a")
    life.tell("a")
    life.settle()
    world.press("a")
    life.tell("a")
    life.settle()
    assert sound.muted()["mic"]


def test_P5_an_unmute_says_nothing_of_a_line_that_is_not_known(
    begin: Begin, sound: SoundServer, world: World
) -> None:
    life = begin()
    world.lost.add("a")
    life.tell("a")
    life.settle()
    sound.mute("mic", muted=False)
    life.settle()
    assert life.said == []


def test_a_line_that_a_mute_of_the_system_cannot_cut_is_told(
    begin: Begin, sound: SoundServer, world: World
) -> None:
    world.press("a")
    world.lost.add("a")
    life = begin()
    sound.mute("mic", muted=True)
    life.settle()
    assert life.cuts == ["a"]
    (said,) = life.said
    assert "the line of a could not be cut. The board does not answer." in said


def test_a_killed_monitor_s_mute_is_released_by_the_next(
    begin: Begin, sound: SoundServer, births: Path, home: Path, world: World
) -> None:
    life = begin()
    life.kill()
    assert sound.muted()["mic"]
    # Before it knows of any board.
    life = begin(knows=False)
    assert not sound.muted()["mic"]
    life.tell("a")
    life.settle()
    life.kill()
    assert sound.muted()["mic"]
    assert Life(births, home, sound, world).release() == [["mic"], []]
    assert not sound.muted()["mic"]
    assert Life(births, home, sound, world).release() == [[], []]


def test_release_says_which_microphones_are_not_there(
    begin: Begin, sound: SoundServer, births: Path, home: Path, world: World
) -> None:
    sound.add("headset")
    begin().kill()
    sound.remove("headset")
    assert Life(births, home, sound, world).release() == [["mic"], ["headset"]]
    sound.add("headset")
    assert sound.muted()["headset"] or IS_PIPEWIRE
    Life(births, home, sound, world).release()
    assert not sound.muted()["headset"]


def test_one_process_has_the_mute_of_the_system(
    begin: Begin, births: Path, home: Path, sound: SoundServer, world: World
) -> None:
    life = begin()
    assert life.trouble() is None
    other = Life(births, home, sound, world, follow=True)
    assert "Another hardmute process" in str(other.trouble())
    assert "Another hardmute process" in Life(births, home, sound, world).refusal()
    other.end()
    life.settle()
    assert sound.muted()["mic"]


def test_a_server_that_is_gone_and_one_that_hangs_are_told(
    begin: Begin, births: Path, home: Path, sound: SoundServer, world: World
) -> None:
    begin().kill()
    sound.stop()
    assert "No sound server answers" in Life(births, home, sound, world).refusal()
    sound.start()
    life = begin()
    sound.stop()
    await_trouble(life, "No sound server answers")
    (said,) = life.said
    assert said.startswith("No sound server answers")
    sound.start()
    life.settle()
    assert life.trouble() is None
    sound.freeze(frozen=True)
    world.press("a")
    life.tell("a")
    await_trouble(life, "The sound server does not answer")
    # It does not wait for the server, which is still frozen.
    life.end()
    sound.freeze(frozen=False)
    # It was asked, and may do so yet; if not, it is in the record.
    begin(knows=False)
    assert not sound.muted()["mic"]


def await_trouble(life: Life, begins: str) -> None:
    deadline = time.monotonic() + 60.0
    while not (life.trouble() or "").startswith(begins):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_cannot_be_written_down_is_not_muted(
    begin: Begin, sound: SoundServer, home: Path
) -> None:
    (home / "os-mute.partial").mkdir()
    life = begin()
    assert not sound.muted()["mic"]
    assert "cannot be written (Is a directory)" in str(life.trouble())
    (home / "os-mute.partial").rmdir()
    life.settle()
    assert sound.muted()["mic"]
    assert life.trouble() is None


def test_a_damaged_record_is_told_and_nothing_is_released(
    begin: Begin, sound: SoundServer, home: Path, world: World
) -> None:
    sound.mute("mic", muted=True)
    (home / "os-mute.json").write_text('{"version": 1, "sources": ["mic", 1]}')
    world.press("a")
    life = begin()
    (said,) = life.said
    assert "was damaged" in said
    assert sound.muted()["mic"]
    assert not (home / "os-mute.json").exists()


def test_P2_a_real_board_s_line_and_the_mute_of_the_system(
    home: Path, sound: SoundServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The firmware on a simulated board: what its relay does, and not what anybody says."""
    monkeypatch.setenv("HARDMUTE_HOME", str(home))
    monkeypatch.setenv("PULSE_SERVER", sound.address)
    said: list[str] = []

    async def until(what: Callable[[], bool]) -> None:
        async with asyncio.timeout(60.0):
            while not what():
                await asyncio.sleep(0.02)

    async def live_with(address: str) -> None:
        def line() -> str:
            return act(address, ["look"])["line"]

        board = await aio.open_board(BOARD)
        feed = Feed()

        async def cut(_: str) -> None:
            await board.mute()

        async def follow() -> None:
            async for observation in board.watch():
                feed.tell(Told(board.id, "Desk", observation))

        sink = OsMuteSink(Chosen(follow=True, lead=True), said.append, settle_s=0.0)
        tasks = [asyncio.create_task(one) for one in (follow(), sink.run(feed, cut))]
        await until(lambda: sound.muted()["mic"])
        assert line() == "cut"
        act(address, ["press"])
        await until(lambda: not sound.muted()["mic"])
        assert line() == "connected"
        sound.mute("mic", muted=True)
        await until(lambda: line() == "cut")
        await until(lambda: [one.observation.verdict for one in feed.boards] == ["muted"])
        sound.mute("mic", muted=False)
        await until(lambda: bool(said))
        assert line() == "cut"
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    with simulated() as address:
        asyncio.run(live_with(address))
    assert [one.rpartition(":")[2] for one in said] == [" press the button of Desk."]
    assert sound.muted() == {"mic": False}
