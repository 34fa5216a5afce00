"""Counts crashes across resets, in a few bytes that survive a reset but not a power cycle. Pure.

Three crashes within a minute mean that starting again does not help: the line then stays cut
until the power has been off (P1).
"""

import struct

from muteboard import const, wire

# Bytes that a board has to retain.
SIZE = const(16)
# Retained in a service mode: after any reset but power-on the line stays cut as well. No record
# looks like this (its last word would be a run of 49 days), and no memory that power has cleared.
STAY_CUT = b"\xff" * 16
_WINDOW_MS = const(60_000)
_NONE = const(0xFFFFFFFF)


class CrashGuard:
    """``retained``: what the last run left behind (any bytes; garbage counts as nothing).

    ``crashed``: whether this start follows a watchdog or exception reset.
    """

    def __init__(self, retained: bytes, crashed: bool):
        # Uptimes of the runs that crashed before this one, the latest first.
        self._runs = (_NONE, _NONE, _NONE)
        if crashed:
            self._runs = _unpack(retained)
        latest, middle, first = self._runs
        # The reset ended a service mode.
        self.stay_cut = crashed and retained == STAY_CUT
        self.tripped = first != _NONE and latest + middle <= _WINDOW_MS

    def record(self, uptime_ms: int) -> bytes:
        """What to retain now, in case this run crashes."""
        if self.stay_cut:
            return STAY_CUT
        latest, middle, _ = self._runs
        if self.tripped:
            # However long this run lasts, the next one is still in the loop.
            uptime_ms = latest = middle = 0
        body = struct.pack("<III", min(uptime_ms, _NONE - 1), latest, middle)
        return struct.pack("<I", wire.crc32(body)) + body


def _unpack(retained: bytes) -> tuple[int, int, int]:
    if len(retained) == SIZE:
        check, latest, middle, first = struct.unpack("<IIII", retained)
        if check == wire.crc32(retained[4:]):
            return (latest, middle, first)
    return (_NONE, _NONE, _NONE)
