"""A serial port to a `VirtualBoard`: a real session with the real firmware, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

from conftest import VirtualBoard

# 2026-01-01 00:00 UTC.
EPOCH_MS = 1_767_225_600_000


class VirtualPort:
    """The port of ``board`` (`hardmute.device.client.Port`). Time passes while the host waits.

    ``tamper``: what is done to each line from the board, newline included, on its way.
    """

    def __init__(
        self, board: VirtualBoard, tamper: Callable[[bytes], bytes] = lambda line: line
    ) -> None:
        self.board = board
        self.timeout: float | None = None
        self.write_timeout: float | None = None
        self._tamper = tamper
        self._partial = b""
        self._here = bytearray()

    @property
    def in_waiting(self) -> int:
        return len(self._here)

    def read(self, size: int = 1, /) -> bytes:
        assert self.timeout is not None
        until_us = self.board.physics.now_us + round(self.timeout * 1e6)
        while not self._here and self.board.physics.now_us < until_us:
            self.board.run_ms(1)
            self._collect()
        data = bytes(self._here[:size])
        del self._here[:size]
        return data

    def write(self, b: bytes, /) -> int:
        at = 0
        while at < len(b):
            room = self.board.board.receive_space()
            self.board.board.received += b[at : at + room]
            at += room
            if at < len(b):
                self.board.run_ms(1)
                self._collect()
        return len(b)

    def reset_output_buffer(self) -> None:
        pass

    def close(self) -> None:
        pass

    def _collect(self) -> None:
        *lines, self._partial = (self._partial + bytes(self.board.board.sending)).split(b"\n")
        self.board.board.sending.clear()
        for line in lines:
            self._here += self._tamper(line + b"\n")
