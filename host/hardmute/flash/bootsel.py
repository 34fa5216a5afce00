"""An RP2040 in BOOTSEL: its boot ROM's drive, which takes UF2 files and tells nothing."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from hardmute.flash import drives, uf2
from hardmute.model.errors import LocalError, UsageError

INFO = "INFO_UF2.TXT"
BOARD_ID = "RPI-RP2"
# Boot loaders that show such a drive as well.
_OTHERS = {"RP2350": "an RP2350 (Pico 2)"}
_FILE = "hardmute.uf2"
# Written at once, and the step of the progress.
_CHUNK = 64 * uf2.BLOCK
_OUTCOME = (
    "The board starts nothing now, so its line is cut. Plug it in again: it comes up as that "
    "drive by itself, and this can be run again."
)


def find(places: list[Path]) -> list[Path]:
    """The drives of RP2040s in BOOTSEL among ``places``."""
    return [place for place in places if _board_id(place) == BOARD_ID]


def check(drive: Path) -> None:
    """Raise `UsageError` for a boot loader's drive that is no RP2040's."""
    board = _board_id(drive)
    if board is not None and board != BOARD_ID:
        found = _OTHERS.get(board, f"another boot loader ({board or 'it does not say which'})")
        raise UsageError(
            f"{drive} is the drive of {found}: in BOOTSEL, hardmute supports only the Raspberry "
            "Pi Pico (RP2040)."
        )


def _board_id(drive: Path) -> str | None:
    info = drives.read_info(drive, INFO)
    return None if info is None else info.get("board-id", "")


def write(drive: Path, content: bytes, progress: Callable[[int, int], None]) -> None:
    """Copy a UF2 of `uf2.write` to the drive. ``progress``: bytes written, and of how many.

    In this order on the flash itself, whatever the OS likes to write first: the block that erases
    the old boot loader; all the others; the new boot loader. Raises `LocalError`.
    """
    total = len(content)
    steps = [0, uf2.BLOCK, *range(uf2.BLOCK + _CHUNK, total - uf2.BLOCK, _CHUNK)]
    steps += [total - uf2.BLOCK, total]
    done = 0
    try:
        with (drive / _FILE).open("wb", buffering=0) as file:
            for start, end in itertools.pairwise(steps):
                view = memoryview(content)[start:end]
                while view:
                    view = view[file.write(view) :]
                done = end
                os.fsync(file.fileno())
                progress(done, total)
    except OSError as error:
        # The board restarts as soon as it has the last block, and takes the drive along.
        if done < total:
            raise drives.lost(drive, error, _OUTCOME) from error
        progress(total, total)


def read_back() -> dict[int, bytes]:
    """The pages of a board's whole flash, as its boot ROM tells them to ``picotool``.

    Raises `LocalError` where that is not installed, or fails.
    """
    tool = shutil.which("picotool")
    if tool is None:
        raise LocalError(
            "A board in BOOTSEL is read back with picotool, which is not installed: install it "
            "(Debian 13: apt install picotool; macOS: brew install picotool; else "
            "https://github.com/raspberrypi/picotool), or read back in maintenance instead."
        )
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "flash.bin"
        ran = subprocess.run(  # noqa: S603 - its own path and ours
            [tool, "save", "-a", str(file)], capture_output=True, text=True, check=False
        )
        if ran.returncode or not file.is_file():
            said = (ran.stderr or ran.stdout).strip().splitlines()
            raise LocalError(
                f"picotool could not read the board ({said[-1] if said else ran.returncode}): two "
                "boards in BOOTSEL, or no permission for the USB device?"
            )
        flash = file.read_bytes()
    flash += b"\xff" * (-len(flash) % uf2.PAGE)
    return {uf2.FLASH + at: flash[at : at + uf2.PAGE] for at in range(0, len(flash), uf2.PAGE)}
