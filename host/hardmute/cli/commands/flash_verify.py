"""`hardmute flash --verify`: what is on a board, compared with what this hardmute carries."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path

import muteboard
from hardmute import Host, Identity, errors
from hardmute.cli import micropython, service_mode
from hardmute.cli.commands import flash_esp32
from hardmute.flash import bootsel, circuitpy, drives, image, prompt, targets, tree, uf2

_REPORTED = (
    "proof level: reported. The board's own program told all this, and another one could lie. In "
    "BOOTSEL the chip's boot ROM tells it instead (picotool)."
)


def verify(args: Namespace) -> int:
    """Read back and compare. 0: the same; 5: it differs."""
    host = Host()
    target = targets.find(args.device, args.timeout, host.log, args.board)
    print(f"Found: {target}.")
    wrong = _READERS[target.kind](args, target, host)
    if not wrong:
        print(f"It is what hardmute {muteboard.__version__} carries.")
        return errors.OK
    listed = "".join(f"\n  {line}" for line in wrong)
    raise errors.EvidenceError(
        f"The board is not what hardmute {muteboard.__version__} carries:{listed}"
    )


def _running(args: Namespace, target: targets.Target, host: Host) -> list[str]:
    identity = target.identity
    assert identity is not None
    print(f"It says that its firmware is {identity.firmware}.")
    named = args.device or identity.board
    if identity.port == targets.PORTS["circuitpython"]:

        def look(meant: Identity) -> str | None:
            for drive in circuitpy.find(drives.mounted()):
                if circuitpy.board_id(drive) == meant.board:
                    return str(drive)
            return None

        drive = service_mode.wait_for("maintenance", named, args.timeout, host, look)
        return _circuitpy(args, target._replace(place=drive), host)
    device = service_mode.wait_for("maintenance", named, args.timeout, host)
    return _prompt(args, target._replace(place=device), host)


def _prompt(args: Namespace, target: targets.Target, _host: Host) -> list[str]:
    with prompt.opened(target.place, args.timeout) as board:
        firmware = board.about().firmware
        held = {path: board.read(path) for path in board.paths() if not tree.is_data(path)}
    print(f"Read back {len(held)} files of firmware {firmware or 'none'}; {_REPORTED}")
    return tree.differences(held)


def _bootsel(args: Namespace, _target: targets.Target, _host: Host) -> list[str]:
    pages = bootsel.read_back()
    held = image.parse_pages(pages, "the board's flash")
    print(f"Read back {len(pages) // 4} KiB with picotool: the chip's boot ROM told them.")
    wrong = _compare_image(args, held)
    if held.locked:
        return wrong
    files = image.files(held)
    return wrong + tree.differences(
        {path: content for path, content in files.items() if not tree.is_data(path)}
    )


def _compare_image(args: Namespace, held: image.Image) -> list[str]:
    """How the program outside the file system differs from the image that is at hand."""
    try:
        file = micropython.find(args.image, download=False)
    except errors.LocalError:
        print(
            f"MicroPython itself ({held.version}) was not compared: no image is here; --image "
            "FILE.uf2 gives one."
        )
        return []
    ours = image.load(file)
    if same(ours.pages, held):
        print(f"MicroPython is that of {file}.")
        return []
    return [f"MicroPython is not that of {file}"]


def same(ours: Mapping[int, bytes], held: image.Image) -> bool:
    """Whether the flash below the file system is as an image leaves it.

    Behind the image's end lies what was there before: nothing runs it.
    """
    end = max(address for address in ours if address < held.start) + uf2.PAGE
    size = end - uf2.FLASH
    return image.region(ours, uf2.FLASH, size) == image.region(held.pages, uf2.FLASH, size)


def _circuitpy(_args: Namespace, target: targets.Target, _host: Host) -> list[str]:
    drive = Path(target.place)
    wrong = circuitpy.differences(drive, circuitpy.files())
    print(f"Read back from the drive; {_REPORTED}")
    return wrong


def _serial(args: Namespace, target: targets.Target, _host: Host) -> list[str]:
    from hardmute.flash import esp32

    given = flash_esp32.esp32_image(args)
    chip = esp32.identify(target.place)
    print(f"Read back by the loader in the chip's ROM ({chip.model}), not by its program.")
    # Its own settings are no difference.
    return esp32.read_back(chip, given, tree.program(), lambda _name, _done, _total: None)


_READERS = {
    targets.RUNNING: _running,
    targets.PROMPT: _prompt,
    targets.BOOTSEL: _bootsel,
    targets.CIRCUITPY: _circuitpy,
    targets.SERIAL: _serial,
}
