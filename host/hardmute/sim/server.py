"""A simulated board that other programs reach as they would a real one."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hardmute.device import simulators
from hardmute.device.emulated_clock import ClockFile
from hardmute.model.errors import LocalError, UsageError
from hardmute.sim.engine import Engine
from hardmute.sim.usb import Cable, PtyCable, TcpCable
from hardmute.sim.usb_microphone import UsbMicrophone
from hardmute.sim.world import AFTERWARDS_US, DARK, START_LIMIT_US, World, WorldServer
from hardmute.system import paths

_SLICE_S = 0.001
# An emulated chip may take longer than a slice for a slice of its time; signals get their turn.
_STEP_S = 0.05
# What comes while a board has to catch up waits until it has: the answer then has the right time
# in it. After so many steps it is an engine that never will.
_LATE_STEPS = 20
# What an emulated chip has to catch up with after it was busy. A host that was suspended finds the
# board's clock where it left it, not days of catching up.
_MAX_LAG_S = 5.0
# The path of a Unix socket ends at 104 bytes on macOS, at 108 on Linux, the closing zero included.
_SOCKET_PATH_MAX = 104


class Simulator:
    """A ``board`` with its USB cable and its world, paced by ``clock`` (seconds).

    ``board_id``: what its firmware calls itself, in hex. ``emulated``: others are to go by the
    chip's clock, which runs behind where this host is busy.
    """

    def __init__(
        self,
        board: Engine,
        board_id: str,
        *,
        tcp_port: int | None,
        emulated: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for running in simulators.running():
            if running.board == board_id:
                raise UsageError(f"Process {running.pid} simulates a board {board_id} already.")
        folder = Path(paths.runtime_dir("simulated"))
        self._clock = clock
        self.board = board
        self._cable = _cable(folder / f"{board_id}.tty", tcp_port)
        self._microphone = UsbMicrophone(folder / f"{board_id}.usb")
        self._world = World(self.board, self._cable, self._microphone)
        self._short_folder: tempfile.TemporaryDirectory[str] | None = None
        self._server = WorldServer(self._world, self._world_address(folder, board_id))
        self.board.power_on()
        self.board.plug()
        self._cable.plug()
        self._start()
        self._time = ClockFile(str(folder / f"{board_id}.clock")) if emulated else None
        self._tell_time()
        self.entry = simulators.SimulatedEntry(
            board_id,
            self._cable.device,
            self._server.address,
            os.getpid(),
            None if self._time is None else self._time.file,
            str(self._microphone.sysfs),
        )
        self._file = simulators.register(self.entry)
        self._due = clock()
        self._late_steps = 0

    def _start(self) -> None:
        """The firmware heeds the button once it has seen it released; who reads that the board is
        ready may press at once.
        """
        physics = self.board.physics
        while physics.lamp == DARK:
            if physics.now_us > START_LIMIT_US:
                raise LocalError(
                    "The firmware did not start on the simulated board: the lamp stays dark."
                )
            self.board.advance(physics.now_us + 1_000)
        self.board.advance(physics.now_us + AFTERWARDS_US)

    def close(self) -> None:
        self._file.unlink(missing_ok=True)
        self._cable.unplug()
        self._server.close()
        self._microphone.close()
        if self._time is not None:
            self._time.close()
        if self._short_folder is not None:
            self._short_folder.cleanup()

    def _world_address(self, folder: Path, name: str) -> str:
        if os.name == "nt":
            return rf"\\.\pipe\hardmute-{name}"
        file = folder / f"{name}.world"
        if len(os.fsencode(file)) >= _SOCKET_PATH_MAX:
            self._short_folder = tempfile.TemporaryDirectory(prefix="hm-")
            file = Path(self._short_folder.name) / "world"
        file.unlink(missing_ok=True)
        return str(file)

    def step(self) -> None:
        """Wait for a slice of time or a byte, then let board and world run until now."""
        board = self.board
        self._cable.wait(_SLICE_S)
        now = self._clock()
        lag = now - self._due
        if lag > _MAX_LAG_S:
            self._due += lag - _MAX_LAG_S
            lag = _MAX_LAG_S
        slices = int(lag / _SLICE_S)
        if not slices:
            time.sleep(_SLICE_S / 4)
            return
        for left in reversed(range(slices)):
            is_late = left > 0 and self._clock() - now > _STEP_S
            self._due += _SLICE_S
            self._world.step()
            if left == 0 or self._late_steps >= _LATE_STEPS:
                self._receive()
            board.advance(board.physics.now_us + round(_SLICE_S * 1_000_000))
            self._tell_time()
            self._send()
            if is_late:
                self._late_steps += 1
                return
        self._late_steps = 0

    def _tell_time(self) -> None:
        if self._time is not None:
            self._time.tell(self.board.physics.now_us)

    def press(self) -> None:
        """A press by somebody who sits in front of the simulation."""
        self.board.physics.press()

    def _receive(self) -> None:
        if space := self.board.receive_space():
            self.board.received.extend(self._cable.read(space))

    def _send(self) -> None:
        if sending := self.board.sending:
            del sending[: self._cable.write(bytes(sending))]


def _cable(link: Path, tcp_port: int | None) -> Cable:
    if tcp_port is None:
        return PtyCable(link)
    if not 0 <= tcp_port <= 65535:
        raise UsageError(f"TCP port {tcp_port} cannot be used: they end at 65535.")
    try:
        return TcpCable(tcp_port)
    except OSError as error:
        raise UsageError(f"TCP port {tcp_port} cannot be used ({error}).") from error
