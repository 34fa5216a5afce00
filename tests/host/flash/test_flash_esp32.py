"""`hardmute flash` on an ESP32: the real esptool against a chip with the ROM loader's protocol.

What is flashed is MicroPython's official image; the chip does not run it. Where other images are
needed, or small ones, they are synthetic (tests/host/flash/esp32_image_maker.py).
"""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import esp32_image_maker as maker
import pytest
from rom_loader import MAC, Esp32, Socket, plugged_in, started

from conftest import Cli
from hardmute.cli.commands import flash_esp32
from hardmute.flash import esp32, esp32_image, releases, runtime, targets, tree
from hardmute.model.errors import OK, USAGE, LocalError, UnreachableError, UsageError
from muteboard import boards

FILES = {"main.py": b"print('a program')\n", "muteboard/wire.py": b"# a module\n"}
# MicroPython's layout with a file system of 256 KiB. To read the 2 MiB of the real one takes
# esptool a second of CPU each time.
SMALL = (*maker.LAYOUT[:-1], ("vfs", 1, 0x81, maker.VFS, 0x4_0000))
CONFIG = {**FILES, "config.json": b"{}", "journal/00000001": b"a record"}


def silent(_name: str, _done: int, _total: int) -> None:
    pass


@pytest.fixture
def chip() -> Esp32:
    return Esp32()


@pytest.fixture
def usb(chip: Esp32, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Socket]:
    # A pseudo-terminal that went away gives its name to the next one, of another test's process.
    monkeypatch.setenv("HARDMUTE_HOME", str(tmp_path))
    with plugged_in(chip) as socket:
        for name, value in socket.environment.items():
            monkeypatch.setenv(name, value)
        yield socket


def official_file() -> Path:
    file = runtime.place(runtime.ESP32)
    if not file.exists():
        pytest.fail("The official image is missing: python tools/official_images.py esp32")
    return file


@functools.cache
def official() -> esp32_image.Esp32Image:
    content = official_file().read_bytes()
    runtime.check_pin(content, runtime.ESP32, "the cached image")
    return esp32_image.parse(content, runtime.ESP32)


def image(seed: int = 1, chip: int = 0) -> esp32_image.Esp32Image:
    return esp32_image.parse(maker.image(seed, layout=SMALL, chip=chip), "synthetic.bin")


def hold(chip: Esp32, given: esp32_image.Esp32Image, files: Mapping[str, bytes]) -> None:
    """As if all of it had been written before."""
    for part in esp32_image.compose(given, files):
        chip.flash.content[part.offset : part.offset + len(part.data)] = part.data


@pytest.mark.parametrize("which", ["official", "synthetic"])
def test_esptool_takes_the_image_for_one(tmp_path: Path, which: str) -> None:
    whole = official_file().read_bytes() if which == "official" else maker.image()
    for name, at in (("loader", 0), ("program", 0x1_0000 - 0x1000)):
        file = tmp_path / f"{name}.bin"
        file.write_bytes(whole[at:])
        told = subprocess.run(
            [sys.executable, "-m", "esptool", "image-info", str(file)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        assert "(valid)" in told
        assert "invalid" not in told


def test_the_official_image_is_what_was_run() -> None:
    given = official()
    assert releases.numbers(given.version) == releases.NEWEST_RUN
    assert not given.locked
    assert (given.files.offset, given.end) == (maker.VFS, maker.FLASH)


def test_the_chip_says_what_it_is(usb: Socket) -> None:
    found = esp32.identify(usb.port)
    assert (found.kind, found.flash_size, found.board) == ("ESP32", 4 << 20, MAC)


def test_a_blank_chip_gets_all_of_it(chip: Esp32, usb: Socket) -> None:
    given = official()
    found = esp32.identify(usb.port)
    told: list[tuple[int, int]] = []
    esp32.write(found, given, FILES, lambda _name, done, total: told.append((done, total)))
    assert told == sorted(told)
    assert told[-1][0] == told[-1][1]
    assert started(chip.flash.content) is not None
    written = bytes(chip.flash.content)
    hold(chip, given, FILES)
    assert chip.flash.content == written


def test_what_was_written_reads_back_equal(chip: Esp32, usb: Socket) -> None:
    hold(chip, image(), FILES)
    found = esp32.identify(usb.port)
    assert esp32.stored(found, silent) == FILES
    assert esp32.read_back(found, image(), FILES, silent) == []


@pytest.mark.parametrize(
    ("at", "said"), [(0x1_0123, "MicroPython"), (0x1234, "boot loader"), (0x8005, "partition")]
)
def test_one_changed_bit_is_found(chip: Esp32, usb: Socket, at: int, said: str) -> None:
    given = image()
    hold(chip, given, FILES)
    chip.flash.content[at] ^= 1
    found = esp32.identify(usb.port)
    (difference,) = esp32.read_back(found, given, FILES, silent)
    assert said in difference


def test_files_that_differ_are_named(chip: Esp32, usb: Socket) -> None:
    given = image()
    hold(chip, given, {**CONFIG, "lib/evil.py": b"x"})
    found = esp32.identify(usb.port)
    ours = {**FILES, "main.py": b"other", "boot.py": b"x"}
    assert esp32.read_back(found, given, ours, silent) == [
        "main.py: differs",
        "boot.py: missing",
        "lib/evil.py: does not belong there",
    ]


def test_P6_an_update_leaves_settings_keys_and_journal(chip: Esp32, usb: Socket) -> None:
    hold(chip, esp32_image.parse(maker.image(), "synthetic.bin"), CONFIG)
    found = esp32.identify(usb.port)
    before = bytes(chip.flash.content)
    newer = official().runtime
    esp32.update(found, official(), silent)
    after = bytes(chip.flash.content)
    assert after[maker.VFS :] == before[maker.VFS :]
    # The boot loader stays as well, which is another one in each of these images.
    assert after[: newer.offset] == before[: newer.offset]
    assert after[newer.offset :].startswith(newer.data)


def test_a_chip_that_the_image_is_not_for_is_left_alone(chip: Esp32, usb: Socket) -> None:
    with pytest.raises(UsageError, match="ESP32-S3"):
        image(chip=9)
    found = esp32.identify(usb.port)
    small = found._replace(flash_size=1 << 20)
    with pytest.raises(UsageError, match="KiB of flash"):
        esp32.write(small, image(), FILES, silent)
    assert chip.flash.history == []


@pytest.mark.parametrize("end", [0, 100, 0x7000, 0x7FFF, 0x1_0000])
def test_an_image_that_was_cut_short_is_none(end: int) -> None:
    with pytest.raises(UsageError):
        esp32_image.parse(maker.image()[:end], "short.bin")


@pytest.mark.parametrize("changes", [0, 1, 5])
def test_P1_unplugged_in_a_flash_nothing_starts_until_the_next(
    chip: Esp32, usb: Socket, changes: int
) -> None:
    given = official()
    found = esp32.identify(usb.port)
    chip.flash.changes_left = changes
    with pytest.raises(UnreachableError):
        esp32.write(found, given, FILES, silent)
    assert started(chip.flash.content) is None
    usb.plug_in()
    esp32.write(found, given, FILES, silent)
    written = bytes(chip.flash.content)
    hold(chip, given, FILES)
    assert chip.flash.content == written


def test_nobody_there(usb: Socket) -> None:
    usb.close()
    with pytest.raises(UnreachableError):
        esp32.identify(usb.port)


def test_without_esptool_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(LocalError, match=r"\[esp32\]"):
        esp32.identify("/dev/ttyUSB0")


def test_our_files_fit() -> None:
    whole = esp32_image.parse(maker.image(), "synthetic.bin")
    parts = esp32_image.compose(whole, {**tree.program(), **tree.fresh(None)})
    assert [part.offset for part in parts] == [maker.VFS, 0x1_0000, 0x8000, 0x1000]


@pytest.mark.parametrize("named", ["esp32", "esp32_interlock"])
def test_a_new_board_is_told_which_one_it_is(named: str) -> None:
    """Every name of a board that `flash` takes is one that the program knows."""
    files = flash_esp32.esp32_files(targets.word(named))
    said = files.get(tree.BOARD_FILE, b"esp32").strip()
    assert said == named.encode()
    assert said in boards.MACHINES["Generic ESP32 module with ESP32"]


@pytest.mark.parametrize("held", [{}, tree.named("esp32_other")])
def test_P1_settings_of_another_board_are_not_kept(
    cli: Cli, chip: Esp32, usb: Socket, tmp_path: Path, held: dict[str, bytes]
) -> None:
    """MicroPython alone would run the old files with the pins of the other board."""
    hold(chip, image(), {**CONFIG, **held})
    file = tmp_path / "synthetic.bin"
    file.write_bytes(maker.image(layout=SMALL))
    flash = ("-d", usb.port, "--timeout", "0.2", "flash", "--image", str(file), "--dry-run")
    told = cli(*flash, "--board", "esp32_interlock")
    assert told.code == USAGE
    assert "settings of another board than esp32_interlock" in told.err
    assert cli(*flash, "--board", "esp32_interlock", "--erase-journal").code == OK
    hold(chip, image(), {**CONFIG, **tree.named("esp32_interlock")})
    assert cli(*flash, "--board", "esp32_interlock").code == OK
    assert chip.flash.history == []
