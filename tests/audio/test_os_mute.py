"""The system's mute and the line, on a real sound server: only a press connects, whatever happens
to the server, its sources and the monitor; and nothing that hardmute muted is forgotten.
"""

from __future__ import annotations

import json
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from muting import IS_PIPEWIRE, Life, SoundServer, World, lives

STORIES = 1000
TESTS = 40
HEADSETS = ("headset", "webcam")


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Not `tmp_path`: the paths of sockets are short."""
    with tempfile.TemporaryDirectory(prefix="hm-") as name:
        yield Path(name).resolve()


@pytest.fixture(scope="module")
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
        if not self.is_settled:
            self.perhaps_spared.add(name)
        elif muted[name] and self.wanted() != "release":
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
