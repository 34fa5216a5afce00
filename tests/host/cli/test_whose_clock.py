"""By whose clock answers are fresh: the host's, but for an emulated chip that a person names."""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path

import fake_device
import pytest
from fake_device import HELLO, MUTED, changed

from conftest import Cli
from hardmute.cli import whose_clock
from hardmute.device import emulated_clock, simulators
from hardmute.model import clock, errors
from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics
from hardmute.sim.server import Simulator
from hardmute.system import monitor_socket
from muteboard import config

ID = "5eed" * 4
# How much slower than the host's clock the slow boards here run.
SLOW = 4
S = 1_000_000


@contextlib.contextmanager
def served(*, emulated: bool) -> Iterator[Simulator]:
    """A simulated board that this host is too busy for, as it seems."""
    physics = Physics(1, random.Random(0))
    board = SimulatedBoard(physics, bytes.fromhex(ID), config.dump(config.DEFAULTS))
    simulator = Simulator(
        board, ID, tcp_port=None, emulated=emulated, clock=lambda: time.monotonic() / SLOW
    )
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            simulator.step()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield simulator
    finally:
        over.set()
        thread.join()
        simulator.close()


@pytest.fixture
def clock_file(home: Path) -> Iterator[emulated_clock.ClockFile]:
    """Of a simulator that has stopped, so that the time in it stands still."""
    kept = emulated_clock.ClockFile(str(home / "emulated.clock"))
    yield kept
    kept.close()


@pytest.mark.usefixtures("home")
def test_a_slow_emulated_chip_is_fresh_by_its_clock(cli: Cli) -> None:
    with served(emulated=True):
        told = cli("-d", ID, "verify", "--json")
        assert (told.code, told.json["verdict"]) == (errors.OK, "muted"), told
        assert cli("-d", ID, "name", "Desk").code == errors.OK
        assert cli("-d", "Desk", "verify").code == errors.OK
    assert not list(Path(os.environ["HARDMUTE_HOME"]).rglob("*.clock"))


@pytest.mark.usefixtures("home")
def test_P5_another_slow_simulated_board_is_not_fresh(cli: Cli) -> None:
    with served(emulated=False):
        told = cli("-d", ID, "verify", "--json")
        assert (told.code, told.json["reason"]) == (errors.UNKNOWN, "not_fresh")


@pytest.mark.usefixtures("home")
def test_P5_the_port_of_an_emulated_chip_selects_no_clock(cli: Cli) -> None:
    with served(emulated=True) as simulator:
        told = cli("-d", simulator.entry.device, "verify", "--json")
        assert (told.code, told.json["reason"]) == (errors.UNKNOWN, "not_fresh")


@pytest.mark.parametrize("kind", ["pty_device", "tcp_device"])
def test_P5_what_says_simulated_and_is_slow_is_not_fresh(
    cli: Cli, clock_file: emulated_clock.ClockFile, kind: str
) -> None:
    """Nor if a simulated board says in its entry that it is there, and runs slow as well."""
    slow = fake_device.Board(
        hello=changed(HELLO, simulated=True), status=changed(MUTED, simulated=True)
    )
    with getattr(fake_device, kind)(slow) as device:
        told = cli("-d", device.address, "verify", "--json")
        assert (told.code, told.json["reason"]) == (errors.UNKNOWN, "not_fresh")
        simulators.register(
            simulators.SimulatedEntry(
                HELLO["board"], device.address, "", os.getpid(), clock_file.file
            )
        )
        told = cli("-d", device.address, "verify", "--json")
        assert (told.code, told.json["reason"]) == (errors.UNKNOWN, "not_fresh")
        # It is that entry alone which counts: by a clock that stands still, this board is fresh.
        assert cli("-d", HELLO["board"], "verify").code == errors.OK


@pytest.mark.usefixtures("home")
def test_a_clock_counts_only_while_its_simulator_runs(
    clock_file: emulated_clock.ClockFile, tmp_path: Path
) -> None:
    assert emulated_clock.read(clock_file.file) is not None
    left = tmp_path / "left.clock"
    left.write_bytes(Path(clock_file.file).read_bytes())
    assert emulated_clock.read(str(left)) is None
    assert emulated_clock.read(str(tmp_path / "none")) is None
    empty = tmp_path / "empty"
    empty.touch()
    assert emulated_clock.read(str(empty)) is None


def test_time_goes_forward_and_on_where_a_chip_stands_still(
    clock_file: emulated_clock.ClockFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    here_us = [100 * S]
    host = clock.HostClock(lambda: 0, lambda: here_us[0], lambda: "host")
    monkeypatch.setattr(emulated_clock, "HOST", host)
    found = emulated_clock.read(clock_file.file)
    assert found is not None
    began_ms = found.wall_ms()
    told: list[int] = []
    # The chip's time, and how far the host's goes on before it is read.
    for chip_s, passes_s in ((0, 0), (1, 30), (1, 10), (1, 5), (2, 1), (7, 1), (7, 10), (7, 1)):
        here_us[0] += passes_s * S
        clock_file.tell(chip_s * S)
        told.append(found.run_us() // S)
    assert told == [0, 1, 1, 6, 6, 7, 7, 8]
    assert found.wall_ms() - began_ms == 8_000
    assert found.run() not in ("host", clock.HOST.run())


@pytest.mark.usefixtures("home")
def test_the_host_s_clock_counts_for_sound_and_beside_a_monitor(
    clock_file: emulated_clock.ClockFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_replaced(**options: object) -> bool:
        with whose_clock.clock_for(Namespace(device=ID, **options)):
            return clock.SYSTEM.run() != clock.HOST.run()

    assert not is_replaced()
    simulators.register(simulators.SimulatedEntry(ID, "", "", os.getpid(), clock_file.file))
    assert is_replaced()
    assert clock.SYSTEM.run() == clock.HOST.run()
    assert not is_replaced(listen=True)
    monkeypatch.setattr(monitor_socket, "is_there", lambda: True)
    assert not is_replaced()
