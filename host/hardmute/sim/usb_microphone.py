"""A USB microphone whose 5 V runs through the simulated board, as a host's sysfs tells of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

# A device is gone from the list some time after its 5 V went, and there some time after it came:
# assumed, not measured.
GONE_US = 50_000
COMES_US = 700_000
_HUB = "devices/pci0000:00/0000:00:14.0/usb1"
_NAME = "Simulated microphone"


class UsbMicrophone:
    """The folder ``sysfs``, with a host controller, and at port 2 the board with the microphone.

    ``bypassed``: it is plugged into port 3 of the computer, past the board.
    """

    def __init__(self, sysfs: Path) -> None:
        self.sysfs = sysfs
        self.bypassed = False
        self._shown: str | None = None
        self._wanted: str | None = None
        self._since_us = 0
        shutil.rmtree(sysfs, ignore_errors=True)
        for folder in (_HUB, "bus/usb/devices", "class/sound"):
            (sysfs / folder).mkdir(parents=True)
        self._link("bus/usb/devices/usb1", _HUB)

    def close(self) -> None:
        shutil.rmtree(self.sysfs, ignore_errors=True)

    def follow(self, now_us: int, *, powered: bool) -> None:
        """Let the host find, some time after it is so, that the device is there or is not."""
        wanted = "3" if self.bypassed else "2" if powered else None
        if wanted != self._wanted:
            self._wanted, self._since_us = wanted, now_us
        delay_us = GONE_US if wanted is None else COMES_US
        if self._shown != wanted and now_us - self._since_us >= delay_us:
            if self._shown is not None:
                self._remove(self._shown)
            if wanted is not None:
                self._add(wanted)
            self._shown = wanted

    def _add(self, port: str) -> None:
        folder = f"{_HUB}/1-{port}"
        card = f"{folder}/1-{port}:1.0/sound/card1"
        (self.sysfs / card / "pcmC1D0c").mkdir(parents=True)
        (self.sysfs / card / "id").write_text("Sim\n")
        texts = {"idVendor": "1209", "idProduct": "0001", "serial": "51M", "product": _NAME}
        for name, text in texts.items():
            (self.sysfs / folder / name).write_text(f"{text}\n")
        self._link(f"bus/usb/devices/1-{port}", folder)
        self._link("class/sound/card1", card)
        self._link("class/sound/pcmC1D0c", f"{card}/pcmC1D0c")

    def _remove(self, port: str) -> None:
        for link in (f"bus/usb/devices/1-{port}", "class/sound/card1", "class/sound/pcmC1D0c"):
            (self.sysfs / link).unlink(missing_ok=True)
        shutil.rmtree(self.sysfs / _HUB / f"1-{port}", ignore_errors=True)

    def _link(self, link: str, to: str) -> None:
        # Windows gives links only to some: there the list stays empty, and nothing is known.
        if os.name != "nt":
            (self.sysfs / link).symlink_to(self.sysfs / to)
