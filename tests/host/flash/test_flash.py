"""`hardmute flash` for a Pico in BOOTSEL and for a CIRCUITPY drive, whose drives are folders here.

A simulated board stands for the one that comes back after it was written. That what is written
runs is shown in tests/emulator.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from pico_image_maker import FILES_AT, FILES_SIZE, runtime, uf2_file

from boot_rom import BootRom
from conftest import Cli, Sim
from hardmute.device import discovery
from hardmute.flash import bootsel, circuitpy, drives, image, tree, uf2
from hardmute.model import errors
from muteboard import config

FLASH_SIZE = 2 << 20
INFO = "UF2 Bootloader v3.0\r\nModel: Raspberry Pi RP2\r\nBoard-ID: RPI-RP2\r\n"
BOOT_OUT = (
    "Adafruit CircuitPython 9.2.8 on 2025-05-28; Raspberry Pi Pico with rp2040\r\n"
    "Board ID:raspberry_pi_pico\r\nUID:E660583883123456\r\n"
)


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What is mounted; a test adds to it."""
    found: list[Path] = []
    monkeypatch.setattr(drives, "mounted", lambda: found)
    return found


@pytest.fixture
def drive(tmp_path: Path, places: list[Path]) -> Path:
    folder = tmp_path / "RPI-RP2"
    folder.mkdir()
    (folder / "INFO_UF2.TXT").write_text(INFO)
    places.append(folder)
    return folder


@pytest.fixture
def circuit(tmp_path: Path, places: list[Path]) -> Path:
    folder = tmp_path / "CIRCUITPY"
    folder.mkdir()
    (folder / "boot_out.txt").write_text(BOOT_OUT)
    places.append(folder)
    return folder


def comes_back(monkeypatch: pytest.MonkeyPatch, sim: Sim, when: Callable[[], bool]) -> None:
    """The simulated board is plugged in as soon as ``when``."""

    def serial_ports(*, bridges: bool) -> list[discovery.Port]:  # noqa: ARG001 (its signature)
        return [discovery.Port(sim.device, None, None)] if when() else []

    monkeypatch.setattr(discovery, "serial_ports", serial_ports)


def test_an_empty_pico_gets_one_image_and_is_verified(
    cli: Cli, sim: Sim, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = drive / "hardmute.uf2"
    comes_back(monkeypatch, sim, written.exists)
    stock = uf2_file(tmp_path / "stock.uf2")
    told = cli("flash", "--yes", "--erase-journal", "--image", stock)
    assert told.code == errors.OK, told
    assert f"Found: an RP2040 in BOOTSEL at {drive}" in told.out
    assert "MUTED" in told.out
    rom = BootRom(b"\x00" * FLASH_SIZE).copy(written.read_bytes())
    assert rom.done
    pages = {uf2.FLASH + at: bytes(rom.flash[at : at + 256]) for at in range(0, FLASH_SIZE, 256)}
    for page, content in runtime().items():
        assert pages[page] == content
    held = image.files(image.parse_pages(pages, "the flash"))
    assert held == {**tree.program(), "config.json": config.dump(config.DEFAULTS)}


def test_P1_an_interrupted_copy_starts_nothing(tmp_path: Path) -> None:
    blank = BootRom(b"\xff" * FLASH_SIZE)
    content = uf2_file(tmp_path / "a.uf2").read_bytes()
    blank.copy(content[:-512])
    assert not blank.done
    # The page that the boot ROM starts from is the last.
    assert blank.flash[:256] == b"\xff" * 256


@pytest.mark.parametrize("frozen", [(), ("muteboard/app.py",)])
def test_P6_only_a_locked_update_goes_without_erase_journal(
    cli: Cli,
    sim: Sim,
    drive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    frozen: tuple[str, ...],
) -> None:
    comes_back(monkeypatch, sim, (drive / "hardmute.uf2").exists)
    file = uf2_file(tmp_path / "a.uf2", runtime(frozen=frozen))
    told = cli("flash", "--image", file, "--yes")
    if frozen:
        assert "settings, keys and journal stay" in told.out
        pages = uf2.read((drive / "hardmute.uf2").read_bytes(), "written")
        assert max(pages) < FILES_AT
    else:
        assert told.code == errors.USAGE
        assert "--erase-journal" in told.err
        assert not (drive / "hardmute.uf2").exists()


def test_micropython_newer_than_was_run_is_told_and_asked(
    cli: Cli, drive: Path, tmp_path: Path
) -> None:
    newer = uf2_file(tmp_path / "newer.uf2", runtime(version="v1.99.0"))
    told = cli("flash", "--erase-journal", "--image", newer)
    assert told.code == errors.USAGE
    assert "MicroPython 1.99.0 is newer than 1.25.0" in told.err
    assert "Nobody is there to be asked" in told.err
    assert [path.name for path in drive.iterdir()] == ["INFO_UF2.TXT"]
    run = cli("flash", "--dry-run", "--image", uf2_file(tmp_path / "run.uf2"))
    assert "newer" not in run.err


def test_dry_run_writes_nothing(cli: Cli, drive: Path, tmp_path: Path) -> None:
    told = cli("flash", "--dry-run", "--image", uf2_file(tmp_path / "a.uf2"))
    assert told.code == errors.OK
    assert [path.name for path in drive.iterdir()] == ["INFO_UF2.TXT"]


def test_two_boards_in_bootsel_are_listed_and_none_is_written(
    cli: Cli, drive: Path, places: list[Path], tmp_path: Path
) -> None:
    other = tmp_path / "RPI-RP2 1"
    shutil.copytree(drive, other)
    places.append(other)
    told = cli("flash", "--erase-journal", "--image", uf2_file(tmp_path / "a.uf2"))
    assert told.code == errors.USAGE
    assert str(drive) in told.err
    assert str(other) in told.err
    assert not (drive / "hardmute.uf2").exists()


def test_nothing_to_flash_says_what_to_do(cli: Cli, places: list[Path]) -> None:
    assert places == []
    told = cli("flash")
    assert told.code == errors.UNKNOWN
    assert "BOOTSEL" in told.err


@pytest.mark.parametrize("number", [28, 5])
def test_a_drive_that_is_full_or_goes_away_is_said_so(
    drive: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    count = 0

    def fsync(_descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == 2:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(bootsel, "os", SimpleNamespace(fsync=fsync))
    with pytest.raises(errors.LocalError, match="is full" if number == 28 else "went away"):
        bootsel.write(drive, uf2.write(runtime()), lambda _done, _total: None)


# Reading a board in BOOTSEL back.


@pytest.fixture
def picotool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands for picotool; the file that it takes for the flash."""
    flash = tmp_path / "flash.bin"
    folder = tmp_path / "bin"
    folder.mkdir()
    tool = folder / "picotool"
    tool.write_text(
        f'#!/bin/sh\n[ "$1 $2" = "save -a" ] && exec cp "{flash}" "$3"\n'
        "echo 'No accessible RP-series devices in BOOTSEL mode were found.'\nexit 1\n"
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return flash


def flash_of(files: dict[str, bytes], below: dict[int, bytes] | None = None) -> bytearray:
    """The flash of a Pico with these files and the synthetic MicroPython on it."""
    program = image.Image("", below or runtime(), "", FILES_AT, FILES_SIZE, locked=False)
    rom = BootRom(b"\xff" * FLASH_SIZE).copy(uf2.write(image.join(program, files)))
    assert rom.done
    return rom.flash


def test_what_is_on_a_board_in_bootsel_is_read_back_and_compared(
    cli: Cli, drive: Path, tmp_path: Path, picotool: Path
) -> None:
    data = {"config.json": b"{}", "keys": bytes(4096), "journal/00000001": b"records"}
    ours = {**tree.program(), **data}
    stock = uf2_file(tmp_path / "stock.uf2")
    picotool.write_bytes(flash_of(ours))
    told = cli("flash", "--verify", "--image", stock)
    assert told.code == errors.OK, told
    assert "the chip's boot ROM told them" in told.out
    assert "reported" not in told.out
    assert sorted(path.name for path in drive.iterdir()) == ["INFO_UF2.TXT"]

    changed = {**ours, "main.py": b"import os", "lib/evil.py": b""}
    del changed["boot.py"]
    other = runtime(version="v1.26.0")
    picotool.write_bytes(flash_of(changed, other))
    told = cli("flash", "--verify", "--image", stock)
    assert told.code == errors.TAMPERED
    assert told.err.splitlines()[1:] == [
        f"  MicroPython is not that of {stock}",
        "  boot.py is missing",
        "  lib/evil.py is not ours",
        "  main.py differs",
    ]


@pytest.mark.usefixtures("drive")
def test_one_bit_below_the_files_is_found(cli: Cli, tmp_path: Path, picotool: Path) -> None:
    stock = uf2_file(tmp_path / "stock.uf2")
    flash = flash_of(tree.program())
    flash[0x7FF] ^= 0x10
    picotool.write_bytes(flash)
    assert cli("flash", "--verify", "--image", stock).code == errors.TAMPERED


@pytest.mark.usefixtures("drive")
def test_P6_a_locked_image_is_compared_without_its_journal(
    cli: Cli, tmp_path: Path, picotool: Path
) -> None:
    locked = runtime(frozen=("muteboard/app.py",))
    release = uf2_file(tmp_path / "hardmute.uf2", locked)
    picotool.write_bytes(flash_of({"config.json": b"{}", "journal/00000001": b"records"}, locked))
    assert cli("flash", "--verify", "--image", release).code == errors.OK


@pytest.mark.usefixtures("drive")
def test_picotool_that_is_not_there_or_fails_is_said(
    cli: Cli, picotool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = cli("flash", "--verify")
    assert told.code == errors.LOCAL
    assert "picotool could not read the board" in told.err
    monkeypatch.setenv("PATH", str(picotool.parent))
    told = cli("flash", "--verify")
    assert told.code == errors.LOCAL
    assert "install it" in told.err


def test_mounts_with_spaces_are_read() -> None:
    mounts = (
        "/dev/sda1 /media/me/RPI-RP2 vfat rw 0 0\n"
        "/dev/sdb1 /media/me/MY\\040BOARD vfat rw 0 0\n"
        "/dev/root / ext4 rw 0 0\n"
    )
    assert drives.parse_mounts(mounts) == [Path("/media/me/RPI-RP2"), Path("/media/me/MY BOARD")]


# CircuitPython.


def test_a_circuitpy_drive_gets_the_files_and_the_libraries(
    cli: Cli, sim: Sim, circuit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (circuit / "code.py").write_text("print('hello')")
    (circuit / "mine.txt").write_text("stays")
    # The board that comes back has to be the one whose drive this is.
    (circuit / "boot_out.txt").write_text(BOOT_OUT.replace("E660583883123456", sim.board.upper()))
    comes_back(monkeypatch, sim, (circuit / "boot.py").exists)
    told = cli("flash", "--yes")
    assert told.code == errors.OK, told
    assert circuitpy.differences(circuit, circuitpy.files()) == []
    assert (circuit / "lib" / "neopixel.py").is_file()
    assert (circuit / "mine.txt").read_text() == "stays"
    # Without it the board would warn for ever.
    assert config.parse((circuit / "config.json").read_bytes()) == (config.DEFAULTS, None)


@pytest.mark.parametrize("held", ["config.json", "config.new"])
def test_a_circuitpy_drives_settings_stay(circuit: Path, held: str) -> None:
    """``config.new`` alone: power went as the board stored them."""
    (circuit / held).write_text("{}")
    circuitpy.install(circuit, circuitpy.files(), lambda _done, _total: None)
    assert (circuit / held).read_text() == "{}"
    assert [name.name for name in circuit.glob("config.*")] == [held]


def test_what_differs_on_a_circuitpy_drive_is_named(cli: Cli, circuit: Path) -> None:
    circuitpy.install(circuit, circuitpy.files(), lambda _done, _total: None)
    assert cli("flash", "--verify").code == errors.OK
    (circuit / "muteboard" / "wire.py").write_text("# other")
    (circuit / "muteboard" / "extra.py").write_text("")
    told = cli("flash", "--verify")
    assert told.code == errors.TAMPERED
    assert "muteboard/wire.py differs" in told.err
    assert "muteboard/extra.py is not ours" in told.err


def test_a_full_circuitpy_drive_is_refused_before_any_change(
    cli: Cli, circuit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (circuit / "code.py").write_text("print('hello')")
    monkeypatch.setattr(
        circuitpy.shutil, "disk_usage", lambda _place: SimpleNamespace(free=20_000)
    )
    told = cli("flash", "--yes")
    assert told.code == errors.LOCAL
    assert "Nothing was changed" in told.err
    assert (circuit / "code.py").read_text() == "print('hello')"


def test_P1_a_circuitpy_drive_gone_in_the_middle_has_no_program(
    circuit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (circuit / "code.py").write_text("print('hello')")
    real = drives.write
    count = 0

    def write(file: Path, content: bytes) -> None:
        nonlocal count
        count += 1
        if count == 5:
            raise OSError(5, "Input/output error")
        real(file, content)

    monkeypatch.setattr(drives, "write", write)
    with pytest.raises(errors.LocalError, match="went away"):
        circuitpy.install(circuit, circuitpy.files(), lambda _done, _total: None)
    assert not (circuit / "code.py").exists()
    assert not (circuit / "boot.py").exists()


def test_an_old_circuitpython_is_refused(cli: Cli, circuit: Path) -> None:
    (circuit / "boot_out.txt").write_text(BOOT_OUT.replace("9.2.8", "8.2.0"))
    told = cli("flash", "--yes")
    assert told.code == errors.USAGE
    assert "9 or later" in told.err
