"""The simulated Pico is the firmware's Pico, and starts however the firmware was put on it."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path

import muteboard
from hardmute.sim.rp2040 import chip, files
from workbench import Bench, Repl

# Median of the flash reads of 7 paired starts, by `_COUNT_READS` at commit e21b1b8, while
# MicroPython's own mount was kept and `attest` imported at each use.
_READS_BEFORE = 1770

_BOARD_FILE = Path(muteboard.__file__).parent / "boards" / "rp2040.py"


def test_the_wiring_is_the_board_file_s() -> None:
    text = _BOARD_FILE.read_text()

    def pin(name: str) -> int:
        match = re.search(rf"^{name} = (?:const\()?\(?(\d+)", text, re.MULTILINE)
        assert match, name
        return int(match[1])

    assert pin("_BUTTON") == chip.BUTTON
    assert pin("_RELAY") == chip.RELAY
    assert pin("_LAMP") == chip.LAMP
    assert (pin("_SENSE"),) == chip.SENSE


def test_the_board_says_who_it_is(bench: Bench) -> None:
    hello = bench.ask("hello")
    assert hello["board"] == "e660583883123456"
    assert (hello["port"], hello["firmware"]) == ("rp2040", muteboard.__version__)
    assert bench.status()["warnings"] == []


def test_what_is_on_the_flash_is_what_was_put_there(bench: Bench) -> None:
    found = bench.files()
    assert found.pop("boot.txt") == b"1"
    stored = found.pop("config.json")
    assert len(found.pop("journal/00000001")) == 64
    assert found == {
        name: content for name, content in files.firmware().items() if name != "config.json"
    }
    assert b'"mode"' in stored


def test_P1_sources_start_too_and_slower_than_the_watchdog_bites(
    fresh: Callable[..., Bench],
) -> None:
    """As somebody has copied them by hand. The watchdog stays enabled across its own reset."""
    bench = fresh(compiled=False).start()
    assert bench.now_us > 1_000_000
    bench.go_live()
    bench.pico.hang()
    bench.run_until(lambda: len(bench.pico.resets) == 2, 1_100_000)
    assert not bench.coil
    # Compiling all of it takes some 2 s.
    bench.run_ms(4_000)
    assert len(bench.pico.resets) == 2, "the watchdog bites again while the board starts"
    told = bench.status()
    assert (told["state"], told["cause"]) == ("muted", "watchdog")


# Seven starts of the program on a paired board, on a block device that counts.
_COUNT_READS = """
import rp2, vfs
from muteboard import app
from muteboard.boards import rp2040_interlock as chip

class Counted:
    reads = 0

    def __init__(self):
        self._flash = rp2.Flash()

    def readblocks(self, block, buffer, offset=0):
        Counted.reads += 1
        return self._flash.readblocks(block, buffer, offset)

    def writeblocks(self, block, buffer, offset=0):
        return self._flash.writeblocks(block, buffer, offset)

    def ioctl(self, request, argument):
        return self._flash.ioctl(request, argument)

chip.Board.flash = lambda self: Counted()
chip.Board.retained = lambda self: bytes(16)
chip.Board.feed_watchdog = lambda self: None

def start():
    vfs.umount("/")
    vfs.mount(vfs.VfsLfs2(Counted(), progsize=256), "/")
    Counted.reads = 0
    board = chip.Board()
    program = app.App(board)
    passes = 0
    while passes < 20 or program.evidence._journal.pending:
        board.idle(10)
        program.step()
        passes += 1
    return program, Counted.reads

program, _ = start()
assert program.evidence._journal.pair(program._uptime, bytes(32))
print([start()[1] for _ in range(7)])
"""


def test_a_paired_start_takes_a_third_of_the_reads_that_it_took(interlock_repl: Repl) -> None:
    reads = json.loads(interlock_repl.run(_COUNT_READS, 60_000_000))
    assert statistics.median(reads) <= _READS_BEFORE / 3
