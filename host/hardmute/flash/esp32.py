"""An ESP32 on a serial port, flashed and read back by esptool.

esptool is under the GPL: it is an extra, runs as a program of its own, and is never imported. It
restarts the chip into the loader in its ROM, over DTR and RTS, loads a helper of its own into the
chip's RAM, and talks with that. Nothing on the flash runs meanwhile, so that what is read back is
not the word of the program that is on the board; it is that of the chip, as far as it was really
restarted: where the reset line is cut and nobody held BOOT, a program could play the loader.

Only where the user has said so: all of this restarts the board, which cuts the line (P1).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hardmute.device import discovery
from hardmute.device.holder import PortHolder
from hardmute.flash import esp32_image
from hardmute.flash.esp32_image import Esp32Image, FlashPart
from hardmute.model import words
from hardmute.model.errors import MissingExtraError, UnreachableError, UsageError

# (part's name, bytes done, bytes in all) of what is written or read.
Progress = Callable[[str, int, int], None]

# MicroPython's own advice for these boards (ports/esp32/boards/deploy.md).
_BAUD = 460_800
# How long to wait for another hardmute that holds the port, in seconds.
_HOLD_S = 2.0
# esptool 5 renamed its commands.
_OLDEST = 5
_CHIP = re.compile(r"Chip type: +(\S+)(?:.*\(revision v(\d+)\.(\d+)\))?")
_KIND = re.compile(r"Connected to (\S+) on ")
_FLASH = re.compile(r"Detected flash size: (\d+)([KM])B")
_MAC = re.compile(r"MAC: +((?:[0-9a-f]{2}:){5}[0-9a-f]{2})$")
_AT = re.compile(r"(?:Writing at|Reading from) (0x[0-9a-f]+)")
_FATAL = re.compile(r"(?:A fatal error occurred|A serial exception error occurred): *(.*)")
_BROKEN_OFF = "unplugged"
_IMPORTED = (".py", ".mpy")


class Chip(NamedTuple):
    """What is behind a port.

    ``kind``: esptool's name for it (``ESP32``, ``ESP32-S3``, ...); ``model``: its marking.
    ``revision``: major, minor. ``flash_size``: in bytes. ``board``: the id that the firmware will
    have there, which is the chip's MAC address.
    """

    port: str
    kind: str
    model: str
    revision: tuple[int, int]
    flash_size: int
    board: str


def candidates() -> list[discovery.Port]:
    """Ports behind which a classic ESP32 may be: bridges. They are listed, not opened.

    The classic ESP32 has no USB of its own, and what else has such a bridge would be restarted by
    `identify`, if not worse: only the user can say which one it is.
    """
    return discovery.bridges()


def identify(port: str) -> Chip:
    """Restart what is behind ``port`` into its ROM's loader, ask what it is, and restart it again.

    Raises `UnreachableError` where no ESP32 answers, and `LocalError` without esptool.
    """
    lines = list(_esptool(port, ["flash-id"]))
    kind, chip, flash, mac = (_first(what, lines) for what in (_KIND, _CHIP, _FLASH, _MAC))
    if kind is None or chip is None or flash is None or mac is None:
        raise UnreachableError(
            f"The chip at {port} did not say what it is, or how much flash it has: "
            f"`{_command_line(port, ['flash-id'])}` shows more.",
            "malformed_answer",
        )
    unit = {"K": 1 << 10, "M": 1 << 20}[flash[2]]
    return Chip(
        port,
        words.printable(kind[1]),
        words.printable(chip[1]),
        (int(chip[2] or 0), int(chip[3] or 0)),
        int(flash[1]) * unit,
        mac[1].replace(":", ""),
    )


def check(chip: Chip, image: Esp32Image) -> None:
    """Raise `UsageError` unless ``image`` is for ``chip`` and fits its flash."""
    if chip.kind != esp32_image.KIND:
        raise UsageError(
            f"The chip at {chip.port} is {_article(chip.kind)}, and {image.name} is for the "
            "classic ESP32. For an ESP32-S2 or -S3 see CircuitPython in docs/flashing.md."
        )
    major, minor = chip.revision
    oldest, newest = image.revisions
    if not oldest <= major * 100 + minor <= newest:
        raise UsageError(
            f"The chip at {chip.port} is revision {major}.{minor}, and {image.name} is for "
            f"{oldest / 100:.2f} to {newest / 100:.2f}."
        )
    if image.end > chip.flash_size:
        raise UsageError(
            f"The chip at {chip.port} has {chip.flash_size >> 10} KiB of flash, and {image.name} "
            f"needs {image.end >> 10} KiB."
        )


def write(chip: Chip, image: Esp32Image, files: Mapping[str, bytes], progress: Progress) -> None:
    """Erase ``chip``, and write all of ``image`` and a file system with ``files``.

    Config, keys and journal that were there are gone. Whatever breaks this off leaves a chip that
    does not start, and can be flashed again. esptool verifies each part after it by its MD5.
    """
    check(chip, image)
    _write(chip, esp32_image.compose(image, files), ["--erase-all"], progress)


def update(chip: Chip, image: Esp32Image, progress: Progress) -> None:
    """Write the runtime of ``image`` and nothing else: config, keys and journal stay.

    Broken off, it leaves a chip whose boot loader finds no valid program and starts none
    (MicroPython's ports/esp32/boards/sdkconfig.base leaves ESP-IDF's check of the program at each
    reset on). Raises `UsageError` where the board is laid out otherwise than ``image``.
    """
    check(chip, image)
    found = esp32_image.partitions(_table(chip))
    if found != esp32_image.partitions(image.table.data):
        raise UsageError(
            f"The board at {chip.port} is not laid out as {image.name}: it can only be flashed as "
            "a whole, which loses its settings, keys and journal."
        )
    _write(chip, [image.runtime], [], progress)


def stored(chip: Chip, progress: Progress) -> dict[str, bytes] | None:
    """The files on ``chip``, by its own partition table. None where there is no file system."""
    place = esp32_image.files_place(esp32_image.partitions(_table(chip)))
    if place is None or place.offset + place.size > chip.flash_size:
        return None
    return _unpacked(_read(chip, place.offset, place.size, esp32_image.FILES, progress))


def read_back(
    chip: Chip, image: Esp32Image, files: Mapping[str, bytes], progress: Progress
) -> list[str]:
    """How what is on ``chip`` differs from ``image`` and ``files``, in words; none if it does not.

    Files of the board's own, such as its journal, are no difference; what Python could import is.
    """
    check(chip, image)
    differences: list[str] = []
    # In one go: each start of esptool takes as long as what lies between them.
    start, end = image.bootloader.offset, image.runtime.offset + len(image.runtime.data)
    found = _read(chip, start, end - start, image.runtime.name, progress)
    for part in (image.bootloader, image.table, image.runtime):
        there = found[part.offset - start :][: len(part.data)]
        wrong = [at for at, byte in enumerate(part.data) if there[at] != byte]
        if wrong:
            differences.append(
                f"{part.name}: {len(wrong)} of {len(part.data)} bytes differ, the first at "
                f"{part.offset + wrong[0]:#x}"
            )
    place = image.files
    held = _unpacked(_read(chip, place.offset, place.size, esp32_image.FILES, progress))
    if held is None:
        return [*differences, "files: there is no file system"]
    for name, content in files.items():
        if name not in held:
            differences.append(f"{name}: missing")
        elif held[name] != content:
            differences.append(f"{name}: differs")
    differences += [
        f"{words.printable(name)}: does not belong there"
        for name in sorted(held)
        if name not in files and name.endswith(_IMPORTED)
    ]
    return differences


def _unpacked(data: bytes) -> dict[str, bytes] | None:
    from littlefs import LittleFSError

    from hardmute.flash.littlefs_image import unpack

    try:
        return unpack(data)
    except LittleFSError:
        return None


def _table(chip: Chip) -> bytes:
    def silent(_name: str, _done: int, _total: int) -> None:
        pass

    return _read(chip, esp32_image.TABLE_AT, esp32_image.SECTOR, esp32_image.TABLE, silent)


def _write(
    chip: Chip, parts: Sequence[FlashPart], options: Sequence[str], progress: Progress
) -> None:
    with tempfile.TemporaryDirectory(prefix="hardmute-") as folder:
        command = ["write-flash", *options]
        for part in parts:
            file = Path(folder) / f"{part.offset:#x}.bin"
            file.write_bytes(part.data)
            command += [f"{part.offset:#x}", str(file)]
        try:
            _follow(chip, command, parts, progress)
        except UnreachableError as error:
            if error.reason != _BROKEN_OFF:
                raise
            raise UnreachableError(
                f"{error} Until that is done the board may start nothing; its line stays cut.",
                error.reason,
            ) from error


def _read(chip: Chip, offset: int, size: int, name: str, progress: Progress) -> bytes:
    with tempfile.TemporaryDirectory(prefix="hardmute-") as folder:
        file = Path(folder) / "flash.bin"
        command = ["read-flash", f"{offset:#x}", f"{size:#x}", str(file)]
        _follow(chip, command, [FlashPart(offset, bytes(size), name)], progress)
        data = file.read_bytes()
    if len(data) != size:
        raise UnreachableError(
            f"{chip.port} gave {len(data)} of {size} bytes.", "malformed_answer"
        )
    return data


def _follow(
    chip: Chip, command: Sequence[str], parts: Sequence[FlashPart], progress: Progress
) -> None:
    """Run esptool, and say how far it is: it names addresses as it goes."""
    total = sum(len(part.data) for part in parts)
    now = 0
    for line in _esptool(chip.port, ["--chip", "esp32", *command]):
        found = _AT.search(line)
        if found is None:
            continue
        address = int(found[1], 16)
        done = 0
        for part in parts:
            if part.offset <= address <= part.offset + len(part.data):
                now = max(now, done + address - part.offset)
                progress(part.name, now, total)
                break
            done += len(part.data)
    progress(parts[-1].name, total, total)


def _esptool(port: str, command: Sequence[str]) -> Iterator[str]:
    """Run esptool on ``port`` and give its lines. Raises `UnreachableError` when it fails."""
    _require()
    environment = {
        name: value
        for name, value in os.environ.items()
        # Settings for other uses of esptool, and of colour.
        if not name.startswith("ESPTOOL_") and name not in ("FORCE_COLOR", "TTY_INTERACTIVE")
    }
    environment |= {"NO_COLOR": "1", "TERM": "dumb", "PYTHONUTF8": "1"}
    lines: list[str] = []
    # Started in an empty folder, so that it takes no settings from here.
    with (
        PortHolder(port, _HOLD_S),
        tempfile.TemporaryDirectory(prefix="hardmute-") as folder,
        subprocess.Popen(  # noqa: S603 (our own words, and the port that the user named)
            _arguments(port, command),
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for line in process.stdout:
                lines.append(line.rstrip())
                yield lines[-1]
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise _failure(port, lines)


def _require() -> None:
    from importlib import metadata

    try:
        version = metadata.version("esptool")
    except metadata.PackageNotFoundError:
        version = "0"
    if int(version.partition(".")[0]) < _OLDEST:
        raise MissingExtraError("Flashing an ESP32 needs esptool 5, which is not here", "esp32")


def _failure(port: str, lines: Sequence[str]) -> UnreachableError:
    fatal = _first(_FATAL, lines)
    said = words.printable(fatal[1] if fatal else next(filter(None, reversed(lines)), "nothing"))
    if "Failed to connect" in said:
        return UnreachableError(
            f"No ESP32 answers at {port}: hold its BOOT button, press EN, and try again.",
            "no_answer",
        )
    if "Could not open" in said:
        return UnreachableError(
            f"{port} cannot be opened: is it plugged in, and may you use it? No other program may "
            "have it open.",
            "no_port",
        )
    return UnreachableError(
        f"esptool gave up at {port} ({said}): plug the board in again, and repeat this.",
        _BROKEN_OFF,
    )


def _first(what: re.Pattern[str], lines: Sequence[str]) -> re.Match[str] | None:
    return next((found for line in lines if (found := what.search(line))), None)


def _arguments(port: str, command: Sequence[str]) -> list[str]:
    # -P: no module is taken from the folder that it is started in.
    return [sys.executable, "-P", "-m", "esptool", *_options(port, command)]


def _options(port: str, command: Sequence[str]) -> list[str]:
    return ["--port", port, "--baud", str(_BAUD), *command]


def _command_line(port: str, command: Sequence[str]) -> str:
    return subprocess.list2cmdline(["esptool", *_options(port, command)])


def _article(kind: str) -> str:
    return f"an {kind}" if kind[:1] in "AEIOU" else f"a {kind}"
