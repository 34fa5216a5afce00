"""Boards and images that hardmute is not for: one sentence says what was found and what fits, with
exit code 2, before a byte is written and without an emulator.

tests/vectors/machines.txt has the names that MicroPython gives its boards. What the boards
themselves do is in tests/firmware/test_supported.py.
"""

from __future__ import annotations

import ast
import io
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import esp32_image_maker
import pico_image_maker as maker
import pytest
from fake_device import Prompt, pty_device

from conftest import Cli
from hardmute.cli.commands import sim as sim_command
from hardmute.flash import drives, esp32, esp32_image, image, machines, targets, uf2
from hardmute.flash.prompt import Prompt as HostPrompt
from hardmute.flash.prompt import Prompted
from hardmute.model import errors
from hardmute.sim import rp2040
from muteboard import boards

VECTORS = Path(__file__).parents[2] / "vectors" / "machines.txt"
LISTED = [
    line.split("\t") for line in VECTORS.read_text().splitlines() if not line.startswith("#")
]
PICO_2 = "Raspberry Pi Pico2 with RP2350"
OTHER_FAMILIES = {
    0xE48B_FF57: "RP2350 (absolute)",
    0xE48B_FF58: "RP2350 (data)",
    0xE48B_FF59: "RP2350 (Pico 2, Arm)",
    0xE48B_FF5A: "RP2350 (Pico 2, RISC-V)",
    0xE48B_FF5B: "RP2350 (Pico 2, Arm, non-secure)",
    0x1C5F_21B0: "ESP32",
    0xBFDD_4EEE: "ESP32-S2",
    0xC47E_5767: "ESP32-S3",
    0xD42B_A06C: "ESP32-C3",
    0x2B88_D29C: "ESP32-C2",
    0x540D_DF62: "ESP32-C6",
    0x3327_26F6: "ESP32-H2",
    0x3D30_8E94: "ESP32-P4",
    # SAMD21, as one that no board of ours could be.
    0x68ED_2B88: "another chip (0x68ed2b88)",
    None: "an unnamed chip",
}


def circuitpython() -> dict[int, bytes]:
    """Without binary info, and with its banner across two pages."""
    banner = b"Adafruit CircuitPython 9.2.8 on 2025-05-28; Raspberry Pi Pico with rp2040\0"
    data = b"\0" * 500 + banner + b"\0" * (1024 - 500 - len(banner))
    return {uf2.FLASH + at: data[at : at + 256] for at in range(0, len(data), 256)}


def blocks(*numbers: int) -> bytes:
    """Only these blocks of a good image."""
    whole = maker.uf2_of(maker.runtime())
    return b"".join(whole[512 * number : 512 * number + 512] for number in numbers)


def moved(pages: dict[int, bytes], old: int, new: int) -> dict[int, bytes]:
    """``pages``, and one of them somewhere else."""
    return {new if address == old else address: page for address, page in pages.items()}


PAGES = maker.runtime()
LAST = max(PAGES)
PICO_W = maker.runtime("pico_w", machine="Raspberry Pi Pico W with RP2040")
# What the person is told, of each file that is no image for the emulated Pico, or for a real one.
IMAGES: dict[str, tuple[bytes, str]] = {
    # An image that writes beyond where our file system begins on a Pico, as a Pico W's does.
    "pico w": (
        maker.uf2_of({**PICO_W, maker.FILES_AT + 0x2_0000: bytes(256)}),
        "MicroPython for 'Raspberry Pi Pico W with RP2040'",
    ),
    "a pico by the sdk's name alone": (
        maker.uf2_of(maker.runtime(machine="W5500-EVB-Pico with RP2040")),
        "MicroPython for 'W5500-EVB-Pico with RP2040'",
    ),
    "a pico by MicroPython's name alone": (
        maker.uf2_of(maker.runtime("wiznet_w5100s_evb_pico")),
        "for the board 'wiznet_w5100s_evb_pico'",
    ),
    "no name for the machine": (
        maker.uf2_of(maker.runtime(machine="Pico")),
        "a board that has no name",
    ),
    **{
        f"family {said}": (maker.uf2_of(PAGES, family), f"an image for {said}")
        for family, said in OTHER_FAMILIES.items()
    },
    "pico 2": (
        maker.e10_block() + maker.uf2_of(maker.runtime("pico2", machine=PICO_2), 0xE48B_FF59),
        "an image for RP2350 (absolute) and RP2350 (Pico 2, Arm)",
    ),
    "pico 2, risc-v": (
        maker.e10_block() + maker.uf2_of(maker.runtime("pico2"), 0xE48B_FF5A),
        "an image for RP2350 (absolute) and RP2350 (Pico 2, RISC-V)",
    ),
    "an rp2040's behind that block": (
        maker.e10_block() + maker.uf2_of(PAGES),
        "an image for RP2350 (absolute) and RP2040",
    ),
    "for both chips": (
        maker.uf2_of(PAGES) + maker.uf2_of(maker.runtime("pico2"), 0xE48B_FF59),
        "an image for RP2040 and RP2350 (Pico 2, Arm)",
    ),
    "one block of another family": (
        blocks(0) + maker.uf2_of(PAGES, 0xE48B_FF59)[512:],
        "an image for RP2040 and RP2350 (Pico 2, Arm)",
    ),
    "one block of no family": (
        blocks(0) + maker.uf2_of(PAGES, None)[512:],
        "an image for RP2040 and an unnamed chip",
    ),
    "circuitpython": (maker.uf2_of(circuitpython()), "is CircuitPython"),
    "no binary info": (
        maker.uf2_of(dict.fromkeys(PAGES, b"U" * 256)),
        "is not MicroPython",
    ),
    "another program": (maker.uf2_of(maker.runtime(program="blink")), "is not MicroPython"),
    "an old one": (maker.uf2_of(maker.runtime(version="v1.24.1")), "MicroPython v1.24.1"),
    "files beyond the flash": (
        maker.uf2_of(maker.runtime(files=(0x1020_0000, 14 << 20))),
        "its files where a Pico has no flash",
    ),
    "files that go on beyond the flash": (
        maker.uf2_of(maker.runtime(files=(maker.FILES_AT, maker.FILES_SIZE + 4096))),
        "its files where a Pico has no flash",
    ),
    "a page beyond the flash": (
        maker.uf2_of(moved(PAGES, LAST, uf2.FLASH + uf2.FLASH_SIZE)),
        "not an image that a Pico's boot ROM can write",
    ),
    "a page in RAM": (
        maker.uf2_of(moved(PAGES, LAST, 0x2000_0000)),
        "not an image that a Pico's boot ROM can write",
    ),
    "no first page": (
        maker.uf2_of(moved(PAGES, uf2.FLASH, LAST + 256)),
        "the first page of the flash is missing",
    ),
    "cut short after a block": (maker.uf2_of(PAGES)[:-512], "is cut short"),
    "cut short in a block": (maker.uf2_of(PAGES)[:-100], "is cut short"),
    "a block is missing": (blocks(*range(7), *range(8, len(PAGES))), "is cut short"),
    "a block is there twice": (blocks(*range(8), *range(7, len(PAGES))), "is cut short"),
    "damaged": (maker.uf2_of(PAGES)[:-4] + bytes(4), "is damaged"),
    "empty": (b"", "is not a UF2 image"),
    "an esp32's .bin": (esp32_image_maker.image(), "is not a UF2 image"),
}
ALL = pytest.mark.parametrize("kind", IMAGES)


@pytest.fixture
def given(kind: str, tmp_path: Path) -> Path:
    file = tmp_path / "given.uf2"
    file.write_bytes(IMAGES[kind][0])
    return file


@pytest.fixture
def drive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Pico in BOOTSEL; the only drive there is."""
    return mount(tmp_path, monkeypatch, "RPI-RP2", "INFO_UF2.TXT", "Board-ID: RPI-RP2\r\n")


def mount(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, file: str, content: str
) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    (folder / file).write_text(content)
    monkeypatch.setattr(drives, "mounted", lambda: [folder])
    return folder


def refused(told: Any, *words: str) -> None:
    """It ended with exit code 2 and one sentence that has these words."""
    assert told.code == errors.USAGE, told
    assert told.err.count("\n") == 1, told.err
    for word in words:
        assert word in told.err


# Images.


@ALL
def test_no_other_image_is_written_to_a_pico(
    cli: Cli, drive: Path, given: Path, kind: str
) -> None:
    told = cli("flash", "--yes", "--erase-journal", "--image", given)
    refused(told, str(given), IMAGES[kind][1])
    assert told.out == ""
    assert [path.name for path in drive.iterdir()] == ["INFO_UF2.TXT"]


@ALL
@pytest.mark.parametrize("command", ["sim", "demo"])
def test_no_other_image_is_emulated(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, given: Path, kind: str, command: str
) -> None:
    def start(*_args: object, **_options: object) -> None:
        raise AssertionError("an emulator was started")

    chip = SimpleNamespace(SENSE=(19,), Pico=start)
    monkeypatch.setattr(rp2040, "chip", chip, raising=False)
    monkeypatch.setattr(subprocess, "Popen", start)
    told = cli(command, "--engine", "rp2040", "--image", given)
    refused(told, str(given), IMAGES[kind][1])
    assert told.out == ""


@pytest.mark.parametrize("command", ["sim", "demo"])
def test_our_file_system_never_covers_what_the_image_brings(
    cli: Cli, tmp_path: Path, command: str
) -> None:
    """However the program came to reach there."""
    pages = {**PAGES, maker.FILES_AT: bytes(256)}
    told = cli(command, "--engine", "rp2040", "--image", maker.uf2_file(tmp_path / "a.uf2", pages))
    refused(told, "a.uf2 brings a file system of its own", "RPI_PICO")


def test_what_is_supported_is_said_with_what_was_found() -> None:
    whole = ("is cut short", "is damaged", "first page", "v1.24.1")
    for content, said in IMAGES.values():
        with pytest.raises(errors.UsageError) as refusal:
            image.parse(content, "given.uf2")
        assert said in str(refusal.value)
        assert "RPI_PICO" in str(refusal.value) or any(word in said for word in whole)


def test_the_image_says_where_its_file_system_lies(tmp_path: Path) -> None:
    place = (0x1010_0000, 1 << 20)
    args = Namespace(
        image=maker.uf2_file(tmp_path / "a.uf2", maker.runtime(files=place)), download=False
    )
    found = sim_command.find_image(args)
    assert (found.start, found.size) == place
    pages = image.join(found, {"main.py": b"x" * 100_000})
    assert {address: pages[address] for address in PAGES} == maker.runtime(files=place)
    assert set(pages) - set(PAGES) == set(range(place[0], sum(place), 256))


@pytest.mark.parametrize(
    ("runs", "machine"), [(runs, name) for port, _, runs, name in LISTED if port == "rp2"]
)
def test_images_for_every_rp2_board(runs: str, machine: str) -> None:
    content = maker.uf2_of(maker.runtime(machine=machine))
    if runs == "yes":
        assert image.parse(content, "given.uf2").version == "v1.25.0"
    else:
        with pytest.raises(errors.UsageError, match="RPI_PICO") as refusal:
            image.parse(content, "given.uf2")
        assert repr(machine) in str(refusal.value)


@pytest.mark.parametrize(
    ("runs", "machine"), [(runs, name) for port, _, runs, name in LISTED if port == "esp32"]
)
def test_images_for_every_esp32_board(runs: str, machine: str) -> None:
    """As if each were for the classic ESP32's chip."""
    program = esp32_image_maker.runtime(machine=machine.encode())
    content = esp32_image_maker.image(app=program)
    if runs == "yes":
        assert esp32_image.parse(content, "given.bin").version == "1.25.0"
    else:
        with pytest.raises(errors.UsageError, match="ESP32_GENERIC") as refusal:
            esp32_image.parse(content, "given.bin")
        assert repr(machine) in str(refusal.value)


@pytest.mark.parametrize("chip", [2, 5, 9, 13, 18, 77])
def test_an_image_for_another_esp32_names_its_chip(chip: int) -> None:
    with pytest.raises(errors.UsageError, match="ESP32_GENERIC") as refusal:
        esp32_image.parse(esp32_image_maker.image(chip=chip), "given.bin")
    name = {2: "-S2", 5: "-C3", 9: "-S3", 13: "-C6", 18: "-P4", 77: "(number 77)"}[chip]
    assert name in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [(maker.uf2_of(PAGES), "is not an image for an ESP32"), (b"", "is not an image for an ESP32")],
)
def test_a_pico_s_image_is_none_for_an_esp32(content: bytes, said: str) -> None:
    with pytest.raises(errors.UsageError, match="ESP32_GENERIC") as refusal:
        esp32_image.parse(content, "given.uf2")
    assert said in str(refusal.value)


@pytest.mark.parametrize("kind", ["ESP32-S2", "ESP32-S3", "ESP32-C3", "ESP32-C6", "ESP32-P4"])
def test_another_esp32_on_a_serial_port_is_refused(kind: str) -> None:
    chip = esp32.Chip("/dev/ttyUSB0", kind, kind, (0, 2), 4 << 20, "00" * 6)
    given = esp32_image.parse(esp32_image_maker.image(), "given.bin")
    with pytest.raises(errors.UsageError, match="classic ESP32") as refusal:
        esp32.check(chip, given)
    assert f"is an {kind}" in str(refusal.value)


def test_the_name_is_found_where_the_linker_left_it() -> None:
    for before in (b"\0", b"", b"A", b"MicroPython v1.25.0 on 2025-04-15\0; ", b"\xff\x07A; "):
        assert machines.built_for(before[:-1] * 3 + before + maker.MACHINE.encode() + b"\0") in (
            maker.MACHINE,
            *([f"A{maker.MACHINE}"] if before == b"A" else []),
        )
    assert machines.built_for(b"Pico with RP2040, and more") == ""


# Boards at MicroPython's prompt.


class Transport:
    """mpremote's, to a board whose ``sys.implementation`` says this."""

    def __init__(self, machine: str, release: tuple[int, ...] = (1, 25, 0)) -> None:
        self._answers = [("micropython", release, machine, 6), None]

    def exec(self, code: str) -> None:
        assert code == "import sys"

    def eval(self, _expression: str) -> object:
        return self._answers.pop(0)


def about(machine: str, release: tuple[int, ...] = (1, 25, 0)) -> Prompted:
    return HostPrompt(Transport(machine, release), "/dev/ttyACM0").about()


@pytest.mark.parametrize(("runs", "machine"), [(runs, name) for _, _, runs, name in LISTED])
def test_boards_at_their_prompt(runs: str, machine: str) -> None:
    if runs == "yes":
        assert about(machine).machine == machine
    else:
        with pytest.raises(errors.UsageError, match=r"RPI_PICO.*ESP32_GENERIC") as refusal:
            about(machine)
        assert str(refusal.value).startswith(
            f"The board at /dev/ttyACM0 is {machine!r}: with MicroPython"
        )


@pytest.mark.parametrize(
    ("machine", "release", "said"),
    [
        ("", (1, 18, 0), "has MicroPython 1.18.0: the firmware needs 1.25"),
        (maker.MACHINE, (1, 24, 1), "has MicroPython 1.24.1: the firmware needs 1.25"),
        # Nothing that an update would help.
        (PICO_2, (1, 24, 1), "RP2350"),
        ("", (1, 25, 0), "a board that has no name"),
    ],
)
def test_old_and_nameless_boards_at_their_prompt(
    machine: str, release: tuple[int, ...], said: str
) -> None:
    with pytest.raises(errors.UsageError, match=said):
        about(machine, release)


class Machine:
    """What runs code at the prompt of a board: a `sys` that says so, and nothing to write to."""

    def __init__(self, machine: str) -> None:
        self.ran: list[str] = []
        kind = type("implementation", (tuple,), {"_machine": machine, "_mpy": 6})
        self._sys = type("sys", (), {"implementation": kind(("micropython", (1, 25, 0, "")))})

    def __call__(self, code: bytes) -> bytes:
        text = code.decode()
        self.ran.append(text)
        if text == "import sys":
            return b""
        if "muteboard" in text:
            return b"None\r\n"
        printed = io.StringIO()
        names = {"sys": self._sys, "print": lambda said: printed.write(f"{said}\r\n")}
        assert isinstance(ast.parse(text).body[0], ast.Expr)
        exec(text, names)  # noqa: S102 - what the host asks
        return printed.getvalue().encode()


@pytest.mark.parametrize(
    "options", [(), ("--files-only",), ("--verify",), ("--board", "pico"), ("--dry-run",)]
)
def test_P1_nothing_is_written_to_a_pico_2_at_its_prompt(
    cli: Cli, options: tuple[str, ...]
) -> None:
    """It has a Pico's USB id, platform and prompt."""
    board = Machine(PICO_2)
    with pty_device(board, Prompt) as device:
        told = cli("-d", device.address, "--timeout", "1", "flash", "--yes", *options)
    refused(told, device.address, repr(PICO_2), "Raspberry Pi Pico (RPI_PICO)", "ESP32_GENERIC")
    # Only what it is was asked.
    assert len(board.ran) == 2
    assert "_machine" in board.ran[1]


@pytest.mark.parametrize("machine", boards.MACHINES)
def test_a_board_that_is_supported_is_told_what_will_be_done(cli: Cli, machine: str) -> None:
    with pty_device(Machine(machine), Prompt) as device:
        told = cli("-d", device.address, "--timeout", "1", "flash", "--dry-run")
    assert told.code == errors.OK, told
    assert f"MicroPython 1.25.0 on {machine}." in told.out


@pytest.mark.parametrize(
    ("machine", "board", "fits"),
    [
        (maker.MACHINE, "pico", True),
        (maker.MACHINE, "pico_interlock", True),
        (maker.MACHINE, "esp32", False),
        ("Generic ESP32 module with ESP32", "esp32", True),
        ("Generic ESP32 module with ESP32", "pico", False),
        ("Generic ESP32 module with ESP32", "pico_interlock", False),
        ("Generic ESP32 module with ESP32", "esp32_interlock", True),
        (maker.MACHINE, "esp32_interlock", False),
    ],
)
def test_the_board_that_is_named_fits_the_machine(
    cli: Cli, machine: str, board: str, fits: bool
) -> None:
    with pty_device(Machine(machine), Prompt) as device:
        named = ("-d", device.address, "--timeout", "1")
        told = cli(*named, "flash", "--dry-run", "--board", board)
    if fits:
        assert told.code == errors.OK, told
    else:
        refused(told, machine, board)


# Drives.


@pytest.mark.parametrize("named", [True, False])
def test_a_pico_2_in_bootsel_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    info = "UF2 Bootloader v1.0\nModel: Raspberry Pi RP2350\nBoard-ID: RP2350\n"
    drive = mount(tmp_path, monkeypatch, "RP2350", "INFO_UF2.TXT", info)
    where = ("-d", str(drive)) if named else ()
    stock = maker.uf2_file(tmp_path / "a.uf2")
    told = cli(*where, "flash", "--yes", "--erase-journal", "--image", stock)
    refused(told, str(drive), "an RP2350 (Pico 2)", "the Raspberry Pi Pico (RP2040)")
    assert [path.name for path in drive.iterdir()] == ["INFO_UF2.TXT"]


def test_another_boot_loader_is_refused(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = "UF2 Bootloader v0.33.0\nModel: DevKitC-1\nBoard-ID: ESP32S3-DevKitC-1\n"
    drive = mount(tmp_path, monkeypatch, "S3DKC1BOOT", "INFO_UF2.TXT", info)
    told = cli("flash", "--yes", "--erase-journal")
    refused(told, str(drive), "ESP32S3-DevKitC-1", "the Raspberry Pi Pico (RP2040)")


def test_a_pico_beside_another_boot_loader_is_found(
    cli: Cli, drive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "RP2350"
    other.mkdir()
    (other / "INFO_UF2.TXT").write_text("Board-ID: RP2350\n")
    monkeypatch.setattr(drives, "mounted", lambda: [other, drive])
    stock = maker.uf2_file(tmp_path / "a.uf2")
    told = cli("flash", "--dry-run", "--erase-journal", "--image", stock)
    assert told.code == errors.OK, told
    assert f"Found: an RP2040 in BOOTSEL at {drive}" in told.out
    # Who wants an ESP32 is not told about drives.
    monkeypatch.setattr(drives, "mounted", lambda: [other])
    with pytest.raises(errors.UnreachableError):
        targets.find(None, 0.2, None, "circuitpython")


CIRCUITPY: Callable[[str, str, str], str] = (
    "Adafruit CircuitPython 9.2.8 on 2025-05-28; {} with {}\r\nBoard ID:{}\r\nUID:0011\r\n".format
)


@pytest.mark.parametrize(
    ("name", "chip", "board"),
    [
        ("Raspberry Pi Pico 2", "rp2350a", "raspberry_pi_pico2"),
        ("Raspberry Pi Pico 2 W", "rp2350a", "raspberry_pi_pico2_w"),
        ("Adafruit Feather RP2040", "rp2040", "adafruit_feather_rp2040"),
        ("ESP32-C6-DevKitC-1-N8", "ESP32-C6", "espressif_esp32c6_devkitc_1_n8"),
        (
            "ESP32-S3-DevKitC-1-N8R8-with-HACKTABLET",
            "ESP32S3",
            "espressif_esp32s3_devkitc_1_n8r8_hacktablet",
        ),
        ("Somebody's", "rp2040", ""),
    ],
)
def test_P1_nothing_is_copied_to_another_circuitpython_board(
    cli: Cli,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    chip: str,
    board: str,
) -> None:
    info = CIRCUITPY(name, chip, board)
    drive = mount(tmp_path, monkeypatch, "CIRCUITPY", "boot_out.txt", info)
    told = cli("flash", "--yes")
    refused(told, str(drive), name, board, "Raspberry Pi Pico and Pico W", "ESP32-S2 or ESP32-S3")
    assert [path.name for path in drive.iterdir()] == ["boot_out.txt"]


@pytest.mark.parametrize("board", [*boards.PICOS, *boards.DEVKITS])
def test_circuitpython_boards_that_are_supported(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, board: str
) -> None:
    info = CIRCUITPY("A board", "a chip", board)
    mount(tmp_path, monkeypatch, "CIRCUITPY", "boot_out.txt", info)
    told = cli("flash", "--dry-run")
    assert told.code == errors.OK, told
    assert "A board with a chip" in told.out
