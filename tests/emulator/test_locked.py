"""The locked image on the chip: only what is frozen runs, and there is no prompt to be had."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from rp2040py.gpio_pin import GPIOPinState

import break_in
import muteboard
from frozen_files import PORT_S, frozen
from hardmute.flash.littlefs_image import pack
from hardmute.sim.rp2040 import chip, files
from muteboard import attest
from test_evidence import NONCE, pair
from test_power import BOOT_ROM_END, PULLED_DOWN, pin
from workbench import START_US, Bench, locked_image

# What somebody might put on the flash who wants another program there; it connects the line.
EVIL = f"import machine\nmachine.Pin({chip.RELAY}, machine.Pin.OUT, value=1)\n".encode()
EVIL_FILES = dict.fromkeys(
    (
        "_boot.py",
        "boot.py",
        "main.py",
        "rp2.py",
        "os.py",
        "time.py",
        "struct.py",
        "binascii.py",
        "micropython.py",
        "muteboard/__init__.py",
        "muteboard/app.py",
        "muteboard/boards/rp2040.py",
        "lib/rp2.py",
        "lib/select.py",
        "lib/muteboard/__init__.py",
        ".frozen/main.py",
        ".frozen/muteboard/__init__.py",
    ),
    EVIL,
)


def content(image: Path) -> bytes:
    """What a UF2 puts into the flash."""
    blocks = image.read_bytes()
    return b"".join(blocks[at + 32 : at + 288] for at in range(0, len(blocks), 512))


def test_frozen_is_what_the_manifest_says_and_nothing_else() -> None:
    """As the image itself lists it (MicroPython's `mp_frozen_names`)."""
    image = content(locked_image())
    at = image.index("\0".join(PORT_S).encode())
    names = image[at : image.index(b"\0\0", at)].decode().split("\0")
    assert names == [*PORT_S, *(name for name, _ in frozen())]


def test_it_ends_before_the_file_system(locked: Bench) -> None:
    assert len(content(locked.image)) <= locked.place.start


def test_P1_on_a_new_board_the_pin_is_never_high_before_a_press(
    fresh_locked: Callable[..., Bench],
) -> None:
    bench = fresh_locked({})
    bench.erase_files()
    bench.pico.power_on()
    assert pin(bench) == PULLED_DOWN
    bench.watch_relay()
    bench.pico.plug()
    bench.await_lamp()
    bench.run_ms(100)
    hello = bench.ask("hello")
    assert (hello["port"], hello["firmware"]) == ("rp2040", muteboard.__version__)
    told = bench.status()
    assert (told["state"], told["warnings"]) == ("muted", ["config_missing"])
    levels = [level for _, level in bench.relay]
    assert levels[0] == PULLED_DOWN
    assert set(levels[1:]) == {GPIOPinState.LOW}


def test_P3_a_press_connects_and_the_next_one_cuts_at_once(locked: Bench) -> None:
    locked.go_live()
    assert locked.status()["state"] == "live"
    locked.watch_relay()
    edge_us = locked.now_us + 12_345
    locked.press_at(edge_us)
    locked.run_ms(200)
    (cut_us,) = locked.cut_times()
    assert edge_us <= cut_us < edge_us + 1
    assert locked.status()["state"] == "muted"


def test_P1_a_hung_program_is_cut_within_a_second(locked: Bench) -> None:
    locked.go_live()
    locked.watch_relay()
    locked.pico.hang()
    hung_us = locked.now_us
    locked.run_ms(1_500)
    (cut_us,) = locked.cut_times()
    assert cut_us - hung_us <= 1_000_000
    assert locked.status()["cause"] == "watchdog"


def test_P2_no_file_on_the_board_is_run_or_imported(fresh_locked: Callable[..., Bench]) -> None:
    """Sources, and the same compiled: beside the frozen modules, before and behind them."""
    compiled = {
        name.replace(".py", ".mpy"): data
        for name, data in files.firmware().items()
        if name.endswith(".mpy")
    }
    bench = fresh_locked({**EVIL_FILES, **compiled})
    bench.pico.power_on()
    bench.pico.plug()
    bench.await_lamp()
    bench.run_ms(100)
    assert bench.connect_times() == []
    assert bench.status()["state"] == "muted"
    assert [cause for _, cause in bench.pico.resets] == ["power"]
    bench.go_live()


@pytest.mark.parametrize("name", ["boot.py", "main.py", "muteboard/__init__.py"])
def test_the_same_files_do_run_on_the_stock_image(fresh: Callable[..., Bench], name: str) -> None:
    """Or the test above would say nothing."""
    bench = fresh()
    size = bench.place.stop - bench.place.start
    bench.pico.mcu.flash[bench.place] = pack({**files.firmware(), name: EVIL_FILES[name]}, size)
    bench.pico.power_on()
    bench.run_until(lambda: bench.connect_times() != [], START_US)


@pytest.mark.parametrize("phase_us", [0, 130])
def test_P2_nobody_breaks_in_from_reset_on(
    fresh_locked: Callable[..., Bench], phase_us: int
) -> None:
    """Nor does a Ctrl-C before our first line restart the board, as it does the stock image."""
    bench = fresh_locked({})
    break_in.from_reset_on(bench, phase_us)
    assert bench.status()["state"] == "muted"
    assert bench.connect_times() == []
    assert [cause for _, cause in bench.pico.resets] == ["power"]


def test_P2_nobody_breaks_in_later(locked: Bench) -> None:
    locked.go_live()
    break_in.later(locked)
    assert locked.status()["state"] == "live"
    assert [cause for _, cause in locked.pico.resets] == ["power"]


def test_P2_a_ten_second_hold_starts_the_loader_and_no_prompt(locked: Bench) -> None:
    locked.pico.power_off()
    locked.run_ms(20)
    locked.physics.press(11_000, 0)
    locked.watch_relay()
    locked.pico.power_on()
    locked.pico.plug()
    locked.run_ms(9_900)
    assert locked.status()["service"] == "setup"
    locked.heard()
    while len(locked.pico.resets) == 2:
        locked.send(b"\r\x03\x01")
        locked.run_us(700)
    assert locked.now_us < locked.pico.resets[1][0] + 10_500_000
    locked.run_ms(500)
    assert b">" not in locked.heard()
    assert [cause for _, cause in locked.pico.resets[1:]] == ["power", "watchdog"]
    assert locked.pico.mcu.core.pc < BOOT_ROM_END, "the loader does not run"
    assert locked.physics.lamp == (0, 0, 0)
    locked.press()
    assert pin(locked) == PULLED_DOWN
    assert locked.connect_times() == []
    # It is left as it came.
    locked.pico.power_off()
    locked.run_ms(20)
    locked.start()
    assert locked.status()["warnings"] == ["config_missing"]
    locked.go_live()


def test_P1_a_board_that_it_is_not_made_for_stays_cut(fresh_locked: Callable[..., Bench]) -> None:
    """It starts for ever, and never gets as far as to connect; BOOTSEL is the way out."""
    bench = fresh_locked({"board.txt": b"toaster\n"})
    bench.pico.power_on()
    bench.pico.plug()
    bench.run_until(lambda: len(bench.pico.resets) > 3, START_US)
    assert {cause for _, cause in bench.pico.resets[1:]} == {"watchdog"}
    assert bench.connect_times() == []


def test_P6_settings_keys_and_journal_outlive_a_change_of_image(
    fresh: Callable[..., Bench],
) -> None:
    """From the stock image with our files to the locked one, and back."""
    bench = fresh(max_live_s=77).start()
    stock = bench.image
    secret = pair(bench)
    key = attest.journal_key(secret)
    before = bench.status()
    for image in (locked_image(), stock):
        bench.reflash(image)
        bench.start()
        told = bench.status()
        assert (told["boot"], told["warnings"]) == (before["boot"] + 1, [])
        assert told["seq"] > before["seq"]
        assert bench.ask("config")["config"]["max_live_s"] == 77
        # Records from before the change, and each start's new key follows from the one before.
        assert bench.ask("journal", **{"from": 1})["ok"]
        key = attest.next_key(key)
        assert key in bytes(bench.pico.mcu.flash)
        assert bench.ask("attest", nonce=NONCE)["pairing"] == 1
        bench.go_live()
        bench.press()
        before = bench.status()
