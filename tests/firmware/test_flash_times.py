"""P1, P6: no watchdog bites because the flash takes its time, however slow it is.

The real board files and the whole firmware run on a littlefs, with our files on it, on a flash
whose operations take the chip's time. They live through all that writes much at once.
"""

import functools
import statistics
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from board_port import Port
from fakes.chip import ChipReset
from fakes.flash import TimedFlash

from hardmute.flash import tree
from muteboard import app, attest, journal, wire

# ms of an erase, a program and a read: a typical flash on a Pico and on an ESP32, and the slowest
# that the W25Q16JV's data sheet allows (tSE, tPP).
_TIMES = {
    "typical_pico": (45, 0.7, 0.02),
    "typical_esp32": (63, 0.5, 0.1),
    "slowest": (400, 3, 0.114),
}
# Blocks of the file system on a Pico and on an ESP32 with 4 MB.
_BLOCKS = {"rp2040": 352, "rp2040_interlock": 352, "esp32": 512}
_HOST = bytes(range(32)).hex()
_DAY_MS = 86_400_000
_KEYS_PER_BLOCK = 15
_SETUP_HOLD_MS = 3_200
# Between two feeds. The longer watchdog has time for twice as many.
_MOST_ERASES = 3
# Reads of a paired start with a short journal, and with a full one, while MicroPython's own mount
# was kept and `attest` imported at each use (medians of 30 at commit e21b1b8, by this model).
_READS_BEFORE = {"rp2040": (2592, 3813), "esp32": (6522, 12947)}


class Device:
    """A board in the hand of somebody who gives it power, presses its button and asks it."""

    def __init__(self, name: str, times: tuple[float, float, float], image: bytes = b""):
        self.patch = pytest.MonkeyPatch()
        self.flash = TimedFlash(_BLOCKS[name], *times)
        self._port = Port(name, self.patch, flash=self.flash)
        self.chip = self._port.chip
        self.chip.recording = False
        if image:
            self.flash.image[:] = image
            # Other random bytes than those that made it.
            self._port.mp.random = 1_000_000
        else:
            self._install()

    def _install(self) -> None:
        files = self._port.mp.files
        made: set[str] = set()
        for path, data in {**tree.program(), **tree.fresh(None)}.items():
            folder = ""
            for part in path.split("/")[:-1]:
                folder = f"{folder}/{part}".lstrip("/")
                if folder not in made:
                    made.add(folder)
                    files.mkdir(folder)
            with self._port.mp.open(path, "wb") as file:
                file.write(data)

    def start(self, *, cold: bool = True, held: bool = False) -> None:
        """``held``: the button, until setup opens."""
        modules, chip = self._port.mp, self.chip
        modules.restart()
        modules.soft_irqs.clear()
        chip.on_edge.clear()
        chip.watchdog_ms = None
        chip.to_chip = chip.to_host = b""
        if cold:
            modules.memory.clear()
            modules.rtc_memory = b""
        self._port.set_reset_cause(cold)
        assert modules.files
        self.flash.chip = chip
        chip.down = held
        self.board: Any = self._port.start()
        # The fake of an interrupt begins with an edge, which would have the first write come
        # before there is a watchdog.
        modules.run_soft_irqs()
        self.board.take_edges()
        self.app = app.App(self.board)
        if held:
            self.run(_SETUP_HOLD_MS)
            chip.press(False)
        self.run(1_000)
        assert self.app.service == ("setup" if held else "none")
        assert not self.journal.pending

    @property
    def journal(self) -> journal.Journal:
        log = self.app.evidence._journal
        assert log is not None
        return log

    def run(self, ms: int) -> None:
        """At least so long, with passes as far apart as the superloop allows."""
        end = self.chip.now + ms
        while self.chip.now < end:
            self.app.step()
            assert not self.chip.bitten
            assert not self.journal.failed
            self.chip.advance(min(50, self.app.idle_ms()))

    def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        self.chip.to_host = b""
        self.chip.to_chip += wire.frame({**fields, "id": 5, "op": op})
        while not self.chip.to_host.endswith(b"\n"):
            self.run(1)
        return wire.unframe(self.chip.to_host[:-1], True)

    def press(self) -> None:
        self.chip.press(True)
        self.run(80)
        self.chip.press(False)
        # Until the record of an unmute is written, and then until the contacts have moved.
        self.run(80)
        self.run(80)

    def pair(self) -> None:
        self.start(held=True)
        assert self.ask("pair", host=_HOST)["ok"]
        self.run(1_000)

    def fill(self, *, left: int) -> None:
        """Records until ``left`` more fit into the segment, in no time."""
        self.flash.chip = None
        log = self.journal
        while (room := log._room()) != left:
            for _ in range(min(journal.QUEUE, room - left) if room > left else 1):
                log.record(self.app._uptime, journal.MUTED, 0, 0, 0, 0, 0)
            assert log.flush(self.app._uptime)
        self.flash.chip = self.chip

    def drop_power(self) -> bytes:
        self.patch.undo()
        return bytes(self.flash.image)


@functools.cache
def old_board(name: str) -> bytes:
    """The flash of one that is paired and has all its segments: the next drops the oldest."""
    device = Device(name, (0, 0, 0))
    device.pair()
    device.start()
    while len(device.journal._segments) < journal.SEGMENTS:
        device.fill(left=0)
        device.press()
        device.press()
        device.run(1_000)
    return device.drop_power()


@pytest.fixture(autouse=True)
def _elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # The interlock's board.txt.
    monkeypatch.chdir(tmp_path)


@pytest.fixture(params=_BLOCKS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=_TIMES)
def times(request: pytest.FixtureRequest) -> tuple[float, float, float]:
    return _TIMES[request.param]


@pytest.fixture
def device(name: str, times: tuple[float, float, float]) -> Iterator[Device]:
    new = Device(name, times)
    yield new
    new.patch.undo()


@pytest.fixture
def old_device(name: str, times: tuple[float, float, float]) -> Iterator[Device]:
    old = Device(name, times, old_board(name))
    yield old
    old.patch.undo()


def test_P1_no_bite_from_pairing_to_a_full_block_of_keys(device: Device) -> None:
    device.start()
    device.pair()
    for _ in range(_KEYS_PER_BLOCK + 2):
        device.start()
        assert device.ask("attest", nonce="00" * attest.MAC)["ok"]
    device.pair()
    device.start(held=True)
    assert device.ask("pair", end=True) == {"id": 5, "ok": True, "pairing": 0}
    device.start(cold=False)
    assert device.flash.most_erases <= _MOST_ERASES


def test_P1_no_bite_at_a_segments_end_and_after_24_hours(old_device: Device) -> None:
    """With 21 segments: the oldest one goes."""
    device = old_device
    device.start()
    for left in (3, 2, 1, 0):
        device.fill(left=left)
        device.press()
        assert device.board.sense()
        device.press()
        device.run(1_000)
    for left in (1, 0):
        device.fill(left=left)
        device.start()
    device.app._uptime += _DAY_MS
    epoch = device.journal.epoch
    device.run(3_000)
    assert device.journal.epoch == epoch + 1
    device.fill(left=0)
    device.pair()
    assert device.flash.most_erases <= _MOST_ERASES


@pytest.mark.parametrize("name", ["rp2040", "esp32"])
def test_P1_no_bite_in_random_lives(name: str, times: tuple[float, float, float]) -> None:
    device, chance = Device(name, times, old_board(name)), Random(14)
    device.start()
    for _ in range(25):
        match chance.randrange(6):
            case 0:
                device.pair()
            case 1:
                device.app._uptime += _DAY_MS
                device.run(2_500)
            case 2:
                device.fill(left=chance.randrange(4))
            case 3:
                device.press()
                device.run(chance.randrange(2_000))
                if device.board.sense():
                    device.press()
            case 4:
                device.start(cold=False)
                # Or the third of these would be a crash loop.
                device.start()
            case _:
                device.start()
    assert device.flash.most_erases <= _MOST_ERASES
    device.patch.undo()


@pytest.mark.parametrize("name", ["rp2040", "esp32"])
def test_a_watchdog_that_is_not_fed_meanwhile_bites(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """That the above finds what is wrong."""
    device = Device(name, _TIMES["slowest"], old_board(name))
    monkeypatch.setattr(device._port.module.Board, "_feed_for", lambda _self, _ms: None)
    with pytest.raises((ChipReset, AssertionError)):  # noqa: PT012 - one of these starts
        for _ in range(10):
            device.start()
    assert device.flash.most_erases > _MOST_ERASES
    device.patch.undo()


@pytest.mark.parametrize("name", ["rp2040", "esp32"])
def test_P1_the_watchdog_is_1_s_again_before_the_line_connects(name: str) -> None:
    device = Device(name, _TIMES["slowest"])
    device.start()
    timeouts = []
    connect = device.board.connect

    def connected(cut_level: bool) -> bool:
        timeouts.append(device.chip.watchdog_ms)
        return connect(cut_level)

    device.board.connect = connected
    device.press()
    assert device.board.sense()
    assert timeouts == [1_000]
    # Nothing is written, and no storage feeds, until the line is cut.
    feeds, erases = device.chip.feeds, device.flash.erases
    device.board.journal_segments()
    device.board.load("config")
    assert (device.chip.feeds, device.chip.watchdog_ms) == (feeds, 1_000)
    device.app._uptime += _DAY_MS - 60_000
    device.app.controller.since = device.app._uptime
    device.run(3_000)
    assert device.flash.erases == erases
    device.patch.undo()


def reads_of_starts(device: Device) -> float:
    """Median of what 30 starts take, until all is written."""
    found = []
    for _ in range(30):
        device.flash.reads = 0
        device.start()
        found.append(device.flash.reads)
    return statistics.median(found)


@pytest.mark.parametrize("name", ["rp2040", "esp32"])
def test_a_paired_start_takes_a_third_of_the_reads_that_it_took(name: str) -> None:
    few, full = _READS_BEFORE[name]
    device = Device(name, _TIMES["typical_pico"])
    device.pair()
    assert reads_of_starts(device) <= few / 3
    device.patch.undo()
    device = Device(name, _TIMES["typical_pico"], old_board(name))
    assert reads_of_starts(device) <= full / 3
    device.patch.undo()
