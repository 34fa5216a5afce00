"""The simulated Pico is the firmware's Pico, and starts however the firmware was put on it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import muteboard
from hardmute.sim.rp2040 import chip, files
from workbench import Bench

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
    bench.run_ms(1_500)
    assert len(bench.pico.resets) == 2, "the watchdog bites again while the board starts"
    told = bench.status()
    assert (told["state"], told["cause"]) == ("muted", "watchdog")
