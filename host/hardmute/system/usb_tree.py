"""Which USB devices the operating system has now. Linux: sysfs. Elsewhere it is not known.

Documentation/ABI/testing/sysfs-bus-usb of the kernel names what is read here.
"""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path
from typing import NamedTuple

from hardmute.evidence.absence import UsbDevice
from hardmute.model.words import printable

SYSFS = Path("/sys")
_LONGEST_TEXT = 120
_CAPTURE = re.compile(r"pcmC(\d+)D\d+c")
_DEVICE = re.compile(r"(\d+)-(\d+(?:\.\d+)*)")
_ROOT_HUB = re.compile(r"usb\d+")
_ON_USB = re.compile(r"/usb\d+/")


class UsbTree(NamedTuple):
    """All USB ``devices`` but root hubs; the host ``controllers`` that have one; the names of all
    audio capture devices that are on no USB device here (``others``).
    """

    devices: tuple[UsbDevice, ...]
    controllers: frozenset[str]
    others: tuple[str, ...]


def usb_tree(root: Path | None = None) -> UsbTree | None:
    """What there is now; None if that cannot be known. ``root``: of sysfs, if not `SYSFS`."""
    if root is None and sys.platform != "linux":
        return None
    try:
        return _read(root or SYSFS)
    except (OSError, ValueError):
        return None


def _read(root: Path) -> UsbTree:
    root = root.resolve()
    capture = _captures(root)
    devices: list[UsbDevice] = []
    controllers: set[str] = set()
    for link in sorted((root / "bus/usb/devices").iterdir()):
        place = link.resolve()
        if _ROOT_HUB.fullmatch(link.name):
            controllers.add(_named(place.parent, root))
        elif (match := _DEVICE.fullmatch(link.name)) is not None:
            try:
                devices.append(_device(root, place, match[1], match[2], capture))
            except FileNotFoundError:
                # It has gone since it was listed; what is only half there is not known.
                if place.exists():
                    raise
    if any(_ON_USB.search(card.as_posix()) for card in capture):
        # A sound card of a device that is not in the other list.
        raise ValueError
    return UsbTree(tuple(devices), frozenset(controllers), tuple(sorted(capture.values())))


def _device(root: Path, place: Path, bus: str, port: str, capture: dict[Path, str]) -> UsbDevice:
    """The device at ``place``; its sound cards are taken out of ``capture``."""
    vendor, product = (int(_text(place / what), 16) for what in ("idVendor", "idProduct"))
    hub = next((one for one in place.parents if one.name == f"usb{bus}"), None)
    if hub is None:
        raise ValueError
    # Each is in the folder of one of its interfaces.
    cards = [card for card in capture if card.parents[1].name.startswith(f"{bus}-{port}:")]
    for card in cards:
        del capture[card]
    serial = name = ""
    with contextlib.suppress(FileNotFoundError):
        serial = _text(place / "serial")
    with contextlib.suppress(FileNotFoundError):
        name = _text(place / "product")
    return UsbDevice(
        vendor,
        product,
        serial or None,
        _named(hub.parent, root),
        port,
        name or "USB device",
        bool(cards),
    )


def _named(place: Path, root: Path) -> str:
    return place.relative_to(root).as_posix()


def _text(file: Path) -> str:
    with file.open(encoding="utf-8", errors="replace") as stream:
        return printable(stream.read(4096).strip())[:_LONGEST_TEXT]


def _captures(root: Path) -> dict[Path, str]:
    """Of each sound card that can record: where it is, and what it is called."""
    folder = root / "class/sound"
    found: dict[Path, str] = {}
    # A computer without sound has no such folder.
    with contextlib.suppress(FileNotFoundError):
        for link in folder.iterdir():
            if (match := _CAPTURE.fullmatch(link.name)) is not None:
                with contextlib.suppress(FileNotFoundError):
                    card = (folder / f"card{match[1]}").resolve()
                    found[card] = _text(card / "id") or f"card {match[1]}"
    return found
