"""DTR and RTS, and the auto-reset circuit of an ESP32 DevKitC that hangs on them."""

from __future__ import annotations

import struct
from typing import NamedTuple

from serial import serialposix

REQUESTS = (serialposix.TIOCMBIS, serialposix.TIOCMBIC, serialposix.TIOCMSET)


class Lines(NamedTuple):
    """Two lines, which are low while asserted, and two NPN transistors between them.

    One pulls EN low (the chip in reset): base at DTR, emitter at RTS. The other pulls IO0 low (the
    ROM's loader, when reset ends): base at RTS, emitter at DTR.
    """

    dtr: bool
    rts: bool

    @property
    def in_reset(self) -> bool:
        return _conducts(base=self.dtr, emitter=self.rts)

    @property
    def io0_low(self) -> bool:
        return _conducts(base=self.rts, emitter=self.dtr)

    def after(self, request: int, argument: bytes) -> Lines:
        """As one of `REQUESTS` (ioctl) leaves them."""
        (bits,) = struct.unpack("I", argument)
        dtr, rts = bool(bits & serialposix.TIOCM_DTR), bool(bits & serialposix.TIOCM_RTS)
        if request == serialposix.TIOCMSET:
            return Lines(dtr, rts)
        value = request == serialposix.TIOCMBIS
        return Lines(value if dtr else self.dtr, value if rts else self.rts)

    def packed(self) -> bytes:
        """What TIOCMGET gives."""
        bits = serialposix.TIOCM_DTR * self.dtr | serialposix.TIOCM_RTS * self.rts
        return struct.pack("I", bits)


def _conducts(base: bool, emitter: bool) -> bool:
    """Whether a transistor pulls its collector low, given which lines are asserted (low)."""
    return emitter and not base
