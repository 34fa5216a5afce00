"""What tells one USB device from another."""

from __future__ import annotations

from hardmute.model.typed import NamedTuple


class Usb(NamedTuple):
    """What tells a USB device: its serial number, where it is plugged in, vendor and product."""

    serial: str | None
    location: str | None
    ids: tuple[int, int] | None
