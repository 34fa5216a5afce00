"""A folder that is what Linux' sysfs tells of USB devices and sound cards."""

from __future__ import annotations

import shutil
from pathlib import Path

CONTROLLER = "devices/pci0000:00/0000:00:14.0"


class Sysfs:
    """One host controller, with the root hub of bus 1."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in (f"{CONTROLLER}/usb1", "bus/usb/devices", "class/sound"):
            (root / folder).mkdir(parents=True)
        self._link("bus/usb/devices/usb1", f"{CONTROLLER}/usb1")

    def add(
        self,
        port: str,
        *,
        ids: str = "0d8c:0014",
        serial: str | None = None,
        card: int | None = None,
        bus: int = 1,
    ) -> Path:
        """Plug a device in, at ``port`` from hub to hub. ``card``: its sound card records."""
        parts = port.split(".")
        hubs = [f"{bus}-{'.'.join(parts[:depth])}" for depth in range(1, len(parts) + 1)]
        folder = f"{CONTROLLER}/usb{bus}/{'/'.join(hubs)}"
        place = self.root / folder
        place.mkdir(parents=True, exist_ok=True)
        vendor, _, product = ids.partition(":")
        texts = {"idVendor": vendor, "idProduct": product, "product": "USB PnP Sound Device"}
        for name, text in (texts | ({"serial": serial} if serial else {})).items():
            (place / name).write_text(f"{text}\n")
        self._link(f"bus/usb/devices/{hubs[-1]}", folder)
        if card is not None:
            sound = f"{folder}/{hubs[-1]}:1.0/sound/card{card}"
            self.add_card(card, sound, "Device")
        return place

    def add_card(self, card: int, folder: str, name: str) -> None:
        """A sound card that records."""
        (self.root / folder / f"pcmC{card}D0c").mkdir(parents=True)
        (self.root / folder / "id").write_text(f"{name}\n")
        self._link(f"class/sound/card{card}", folder)
        self._link(f"class/sound/pcmC{card}D0c", f"{folder}/pcmC{card}D0c")

    def remove(self, port: str, bus: int = 1) -> None:
        """Take the device out, with its sound card."""
        link = self.root / f"bus/usb/devices/{bus}-{port}"
        place = link.resolve()
        for sound in (self.root / "class/sound").iterdir():
            if sound.resolve().is_relative_to(place):
                sound.unlink()
        link.unlink()
        shutil.rmtree(place)

    def _link(self, link: str, to: str) -> None:
        (self.root / link).symlink_to(self.root / to)
