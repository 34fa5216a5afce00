"""What a simulated board is to its world and its cable, whatever runs the firmware."""

from __future__ import annotations

from typing import Protocol

from hardmute.sim.physics import Physics


class Engine(Protocol):
    """A board with the real firmware on it, in a physical world, stepped by `advance`."""

    @property
    def physics(self) -> Physics: ...

    @property
    def contacts(self) -> int:
        """How many relays are in series."""
        ...

    @property
    def received(self) -> bytearray:
        """What the host has sent and the chip has not taken yet."""
        ...

    @property
    def sending(self) -> bytearray:
        """What the chip has sent and the host has not taken yet."""
        ...

    def receive_space(self) -> int:
        """How many bytes may be added to `received` now."""
        ...

    def advance(self, to_us: int) -> None:
        """Let world and chip run until ``to_us``."""
        ...

    def power_on(self) -> None: ...
    def power_off(self) -> None: ...

    def hang(self) -> None:
        """The program stops running, as after a bit flip; only a reset ends that."""
        ...

    def plug(self) -> None:
        """The USB cable is plugged in: the host opens the serial port."""
        ...

    def unplug(self) -> None: ...
