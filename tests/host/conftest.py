"""What the host's tests share: a home of their own, the command line, and boards to talk to.

`sim` starts real ``hardmute sim`` processes. `virtual` runs the same board in this process, where
the test moves the time, to the microsecond.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest
import serial.tools.list_ports

import forked
from evidence_maker import Story
from hardmute.cli.main import main
from hardmute.device import discovery, simulators
from hardmute.device.discovery import Port
from hardmute.evidence.observation import Observation
from hardmute.model.clock import HostClock
from hardmute.sim.board import SimulatedBoard
from hardmute.sim.physics import Physics
from hardmute.sim.world import World, act
from hardmute.store.log import Log
from muteboard import config as board_config
from muteboard import wire

# Pseudo-terminals, flock and termios: these are about what Windows does not have.
_POSIX = [
    "cli/test_exit_codes.py",
    "cli/test_service_mode.py",
    "cli/test_user_service.py",
    "device/test_finding.py",
    "device/test_give_way.py",
    "device/test_hostile.py",
    "device/test_port.py",
    "device/test_several.py",
    "doctor/test_doctor.py",
    "flash/test_flash.py",
    "flash/test_flash_esp32.py",
    "monitor/test_monitor_settings.py",
    "store/test_growth.py",
    "store/test_log.py",
    "sync/test_signed.py",
    "sync/test_soundness_status.py",
    "system/test_new_file.py",
    "test_forked.py",
]
# The clocks of a Linux host, its service manager, and its list of processes.
_LINUX = [
    "monitor/test_monitor_hooks.py",
    "monitor/test_processes.py",
    "system/test_service_manager.py",
]
collect_ignore = (_POSIX if os.name == "nt" else []) + (_LINUX if sys.platform != "linux" else [])

# A shell ignores Ctrl-C for what it starts in the background, and children inherit that; the tests
# send it to theirs.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# The USB ids of a Pico.
PICO = (0x2E8A, 0x0005)
START_DEADLINE_S = 60.0
END_DEADLINE_S = 60.0


class Result(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed, which must be exactly one JSON object on one line."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out)


Cli = Callable[..., Result]


def check_sentence(err: str) -> None:
    """One line, which a terminal shows as it stands, and which ends as a sentence does."""
    assert re.fullmatch(r"[^\n]+[.?!]\n", err), err
    assert err.removesuffix("\n").isprintable(), err
    assert "Traceback" not in err


Logged = Callable[[str | None], list[Observation]]


def use_clock(patch: pytest.MonkeyPatch, clock: HostClock) -> None:
    """Have the commands go by ``clock``."""
    for module in ("hardmute.cli.commands.watch", "hardmute.sync.visit"):
        patch.setattr(f"{module}.SYSTEM", clock)


def plug_in(monkeypatch: pytest.MonkeyPatch, *ports: str | Port) -> None:
    """Let the operating system list these ports; those that are named only, as a Pico's."""
    listed = [Port(one, None, PICO) if isinstance(one, str) else one for one in ports]

    def serial_ports(*, bridges: bool) -> list[Port]:  # noqa: ARG001 (the real signature)
        return listed

    monkeypatch.setattr(discovery, "serial_ports", serial_ports)


def plug_in_real(monkeypatch: pytest.MonkeyPatch, *devices: str) -> None:
    """Let the simulated boards at these ports be real ones, which nothing else tells of."""
    running = simulators.running
    monkeypatch.setattr(
        simulators, "running", lambda: [one for one in running() if one.device not in devices]
    )
    plug_in(monkeypatch, *devices)


@pytest.fixture(autouse=True)
def _not_the_user_s(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # A test without `home` reads no keys of whoever runs it, and leaves none behind.
    monkeypatch.setenv("HARDMUTE_HOME", str(tmp_path / "home"))
    # Nor has it anything to do with the desktop.
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """``HARDMUTE_HOME``, and a host on which nothing is plugged in.

    Not `tmp_path`: the path of a Unix socket ends at 104 bytes on macOS.
    """
    folders = (tempfile.gettempdir(), "/tmp")  # noqa: S108 (a fresh folder below it)
    short = next((one for one in folders if len(one) < 20 and Path(one).is_dir()), None)
    with tempfile.TemporaryDirectory(prefix="hm-", dir=short) as name:
        folder = Path(name).resolve()
        monkeypatch.setenv("HARDMUTE_HOME", str(folder))
        for variable in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setattr(serial.tools.list_ports, "comports", _nothing_plugged_in)
        # What a test plugs in is not in /dev.
        monkeypatch.setattr(discovery, "ports_mark", lambda: None)
        yield folder


def _nothing_plugged_in(include_links: bool = False) -> list[Any]:  # noqa: ARG001 (pyserial's signature)
    return []


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str]) -> Cli:  # noqa: ARG001 (for its effect)
    """Run the command line in this process: ``cli("-d", board, "status", "--json")``."""

    def run(*words: object) -> Result:
        capsys.readouterr()
        code = main([str(word) for word in words])
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return run


@pytest.fixture
def logged(home: Path) -> Logged:
    """What the log holds about a board (None: about no known one), oldest first."""

    def read(board: str | None) -> list[Observation]:
        log = Log(home / "log.sqlite3")
        try:
            return list(log.observations(board, 0, 1 << 52))
        finally:
            log.close()

    return read


class Sim:
    """A running ``hardmute sim`` process, named ``board``."""

    def __init__(self, home: Path, board: str, *options: str) -> None:
        words = ["sim", "--id", board, *options]
        if os.name == "nt" and "--tcp" not in options:
            words += ["--tcp", "0"]
        self._complaints = home / f"{board}.stderr"
        with self._complaints.open("w") as stderr:
            environment = {**os.environ, "HARDMUTE_HOME": str(home)}
            self.process = forked.start(words, stderr=stderr, env=environment)
        try:
            ready = json.loads(self._first_line())
        except BaseException:
            self.kill()
            raise
        self.device: str = ready["device"]
        self.world: str = ready["world"]
        self.board: str = ready["board"]

    def act(self, *words: object) -> dict[str, Any]:
        """Act in its world; returns once the last word has had its effect."""
        return act(self.world, [str(word) for word in words])

    def look(self) -> dict[str, Any]:
        """What is physically so."""
        return self.act("look")

    def open_setup(self) -> None:
        """The button held at power-on, for long enough."""
        self.act("power-off", "power-on", "--hold", 3.3)

    def kill(self) -> None:
        """End it as a power cut would: it cleans up nothing."""
        self.process.kill()
        self._reap()

    def close(self) -> None:
        """End it as its owner would."""
        self.process.terminate()
        self._reap()

    def _reap(self) -> None:
        try:
            self.process.wait(END_DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(END_DEADLINE_S)
            raise
        finally:
            assert self.process.stdout is not None
            self.process.stdout.close()

    def _first_line(self) -> str:
        # A process that dies ends the line; one that is late is killed, which ends it too.
        late = threading.Timer(START_DEADLINE_S, self.process.kill)
        late.start()
        try:
            assert self.process.stdout is not None
            line = self.process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            code = self.process.wait(END_DEADLINE_S)
            pytest.fail(f"the simulator ended with {code}: {self._complaints.read_text()}")
        return line


StartSim = Callable[..., Sim]


@pytest.fixture
def start_sim(home: Path) -> Iterator[StartSim]:
    """Start simulated boards: ``start_sim("--contacts", "2")``; they end with the test.

    Their ids count up from 5eed0001, unless ``board=`` says otherwise.
    """
    started: list[Sim] = []

    def start(*options: object, board: str | None = None) -> Sim:
        name = board or f"5eed{len(started) + 1:04x}"
        started.append(Sim(home, name, *map(str, options)))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def sim(start_sim: StartSim) -> Sim:
    """A simulated board with one relay and the default settings: muted."""
    return start_sim()


class Watcher:
    """``hardmute watch --json`` in a process; its lines as they come."""

    def __init__(self, device: str) -> None:
        self.process = forked.start(["-d", device, "watch", "--json"])
        self._last = "unknown"

    def next(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"watch ended with {self.process.wait(60)}"
        return json.loads(line)

    def until(self, verdict: str) -> dict[str, Any]:
        """The next line that tells this state. On a busy machine an answer may come too late: then
        "unknown" is between, and the state before that again.
        """
        while (line := self.next())["verdict"] != verdict:
            assert line["verdict"] in ("unknown", self._last), line
        if verdict != "unknown":
            self._last = verdict
        return line

    def interrupt(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(60)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()


StartWatch = Callable[[str], Watcher]


@pytest.fixture
def watch(home: Path) -> Iterator[StartWatch]:  # noqa: ARG001 (for its effect)
    """Start ``hardmute watch --json`` processes: ``watch(board)``; they end with the test."""
    watchers: list[Watcher] = []

    def start(device: str) -> Watcher:
        watchers.append(Watcher(device))
        return watchers[-1]

    yield start
    for watcher in watchers:
        watcher.close()


class VirtualBoard:
    """A simulated board in this process, in virtual time; the test plays the USB host as well.

    ``coil_log``: every change of the coil, as (time in us, energised).
    """

    def __init__(self, contacts: int = 1, seed: int = 0, **settings: object) -> None:
        physics = Physics(contacts, Random(seed))
        self.coil_log: list[tuple[int, bool]] = []
        drive = physics.drive

        def logged_drive(*, coil: bool) -> None:
            if coil != physics.coil:
                self.coil_log.append((physics.now_us, coil))
            drive(coil=coil)

        physics.drive = logged_drive
        self.physics = physics
        config = board_config.dump({**board_config.DEFAULTS, **settings})
        self.board = SimulatedBoard(physics, bytes.fromhex("5eed0000"), config)
        self.cable = NoCable()
        self.world = World(self.board, self.cable)
        self.board.power_on()
        self.run_ms(100)

    def run_ms(self, ms: int) -> None:
        """Let time pass."""
        self.board.advance(self.physics.now_us + ms * 1000)

    def press(self, hold_ms: float = 120, bounce_ms: float = 5) -> None:
        """Press the button, and stay until all consequences are over."""
        end_us = self.physics.press(hold_ms, bounce_ms)
        self.board.advance(end_us + 100_000)

    def power_cycle(self) -> None:
        """Supply off, on, and the time to start."""
        self.board.power_off()
        self.run_ms(100)
        self.board.power_on()
        self.run_ms(100)

    def power_on_holding_ms(self, hold_ms: float) -> None:
        """A cold start with the button down for ``hold_ms`` from then on."""
        self.board.power_off()
        self.physics.press(hold_ms, bounce_ms=0)
        self.physics.advance(self.physics.now_us)
        self.board.power_on()
        self.run_ms(round(hold_ms) + 100)

    def act(self, *words: object) -> dict[str, Any]:
        """Act in its world, as `Sim.act`, but in virtual time."""
        acting = self.world._act([str(word) for word in words])
        while True:
            try:
                self.board.advance(next(acting) + 1_000)
            except StopIteration as end:
                return end.value

    def look(self) -> dict[str, Any]:
        """What is physically so."""
        return self.world.look()

    def send(self, data: bytes) -> bytes:
        """Push ``data`` through the USB cable, at the board's own pace; what it said meanwhile.

        Ends when the board has taken everything and has been silent for 80 ms: it reads 64 bytes
        at once and answers one line in a millisecond.
        """
        heard = bytearray()
        at = quiet = 0
        while at < len(data) or self.board.received or quiet < 80:
            room = self.board.receive_space()
            self.board.received += data[at : at + room]
            at += min(room, len(data) - at)
            self.run_ms(1)
            said = bytes(self.board.sending)
            self.board.sending.clear()
            heard += said
            quiet = 0 if said else quiet + 1
        return bytes(heard)

    def request(self, op: str, **fields: object) -> dict[str, Any]:
        """One request, and the answer to it."""
        said = self.send(wire.frame({"id": 77, "op": op, **fields}))
        for line in said.splitlines():
            answer = wire.unframe(line, need_crc=True)
            if answer.get("id") == 77:
                return answer
        raise AssertionError(f"no answer to {op!r} in {said!r}")

    def status(self) -> dict[str, Any]:
        """The board's word."""
        return self.request("status")


class NoCable:
    """The cable of a board whose USB end is the test's (`hardmute.sim.usb.Cable`)."""

    device = "virtual"

    def __init__(self) -> None:
        self.plugged = True

    def plug(self) -> None:
        self.plugged = True

    def unplug(self) -> None:
        self.plugged = False

    def read(self, limit: int) -> bytes:  # noqa: ARG002 (the protocol's signature)
        return b""

    def write(self, data: bytes) -> int:
        return len(data)

    def wait(self, seconds: float) -> None:
        """Time is the test's."""


@pytest.fixture
def story(home: Path) -> Iterator[Story]:
    """A story of an hour in the log that the command line uses: live for 10 s in the middle."""
    made = Story(home / "log.sqlite3")
    made.host.hold(made.board)
    made.attest()
    made.pass_minutes(30)
    made.attest()
    made.board.live_for(10_000)
    made.pass_minutes(30)
    made.attest()
    yield made
    made.host.log.close()
