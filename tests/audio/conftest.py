"""A headless sound server with a room in it, and a simulated board whose line runs through it.

Needs PulseAudio (.ci/run installs it): where it is missing these tests fail, they are not skipped.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

import pytest

from hardmute.sim.world import act
from room import Control

# A shell starts background jobs with Ctrl-C ignored, and whatever they start inherits that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

BOARD = "5eed0a0d10"
# Sound does not wait: before whatever else the machine does, where that is allowed. (Where it is
# not, `nice` says so and goes on.)
FIRST = ("nice", "-n", "-15")
_START_S = 60.0
_END_S = 120.0
_SETTINGS = """\
load-module module-native-protocol-unix socket={socket} auth-anonymous=1
load-module module-null-sink sink_name=speaker rate=48000 channels=1 channel_map=mono
load-module module-null-sink sink_name=micbus rate=48000 channels=1 channel_map=mono
load-module module-remap-source source_name=mic master=micbus.monitor channels=1 channel_map=mono
set-default-sink speaker
set-default-source mic
"""


@contextlib.contextmanager
def _process(*command: str, **options: Any) -> Generator[subprocess.Popen[str]]:
    process = subprocess.Popen([*FIRST, *command], text=True, stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(60)
        if process.stdout is not None:
            process.stdout.close()


def _wait(ready: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _START_S
    while not ready():
        assert time.monotonic() < deadline, f"{what} did not start"
        time.sleep(0.05)


@pytest.fixture(scope="session")
def folder() -> Iterator[Path]:
    """Not `tmp_path`: the paths of sockets are short."""
    with tempfile.TemporaryDirectory(prefix="hm-") as name:
        yield Path(name).resolve()


@contextlib.contextmanager
def _server(folder: Path) -> Generator[None]:
    """A real sound server with no devices but null sinks: PulseAudio, or what
    ``HARDMUTE_SOUND_SERVER`` says: ``pipewire``.
    """
    sound = folder / "sound"
    sound.mkdir(mode=0o700)
    own = {"HOME": str(sound), "XDG_RUNTIME_DIR": str(sound)}
    start = {"pulseaudio": _pulseaudio, "pipewire": _pipewire}
    named = os.environ.get("HARDMUTE_SOUND_SERVER", "pulseaudio")
    with pytest.MonkeyPatch.context() as patch, (sound / "log").open("w") as log:
        patch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
        patch.delenv("PULSE_SOURCE", raising=False)
        patch.delenv("PULSE_SINK", raising=False)
        with start[named](sound, {**os.environ, **own}, log) as address:
            patch.setenv("PULSE_SERVER", address)
            _wait(lambda: "mic" in pactl("list", "short", "sources", check=False).stdout, named)
            yield


@pytest.fixture(scope="session", autouse=True)
def server(folder: Path) -> Iterator[None]:
    """The sound server of all tests."""
    with _server(folder):
        yield


@pytest.fixture
def own_server() -> Iterator[None]:
    """One for a test that leaves more behind than can be put right.

    To be asked for by `usefixtures`, which come first: it is there before what plays on it.
    """
    with tempfile.TemporaryDirectory(prefix="hm-") as name, _server(Path(name).resolve()):
        yield


@contextlib.contextmanager
def _pulseaudio(sound: Path, environment: dict[str, str], log: IO[str]) -> Generator[str]:
    socket, settings = sound / "native", sound / "settings.pa"
    settings.write_text(_SETTINGS.format(socket=socket))
    options = ["--exit-idle-time=-1", "--disallow-exit", "--use-pid-file=no", "--disable-shm=yes"]
    options += ["--daemonize=no", "--realtime=no", "--high-priority=no", "-n", "-F", str(settings)]
    environment |= {"PULSE_RUNTIME_PATH": str(sound / "runtime")}
    with _process("pulseaudio", *options, env=environment, stdout=log, stderr=log):
        yield f"unix:{socket}"


@contextlib.contextmanager
def _pipewire(sound: Path, environment: dict[str, str], log: IO[str]) -> Generator[str]:
    bus, address = sound / "bus", f"unix:{sound / 'pulse' / 'native'}"
    environment |= {
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={bus}",
        "PIPEWIRE_RUNTIME_DIR": str(sound),
    }
    to = {"env": environment, "stdout": log, "stderr": log}
    with (
        _process("dbus-daemon", "--session", "--nofork", f"--address=unix:path={bus}", **to),
        _process("pipewire", **to),
    ):
        _wait((sound / "pipewire-0").exists, "PipeWire")
        with _process("wireplumber", **to), _process("pipewire-pulse", **to):
            _wait((sound / "pulse" / "native").exists, "PipeWire's PulseAudio")
            # Long periods: nothing here runs with real-time priority.
            quantum = ["pw-metadata", "-n", "settings", "0", "clock.force-quantum", "8192"]
            subprocess.run(quantum, check=True, env=environment, stdout=log)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("PULSE_SERVER", address)
                for line in _SETTINGS.splitlines()[1:]:
                    pactl(*line.format(socket="").split())
            yield address


def pactl(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Tell the sound server something."""
    return subprocess.run(["pactl", *words], check=check, capture_output=True, text=True)


class Room:
    """The room process; what it does can be changed at any time."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.process: subprocess.Popen[str] | None = None
        self.be(Control())

    def be(self, control: Control) -> None:
        self._control = control
        partial = self._file.with_suffix(".partial")
        partial.write_text(json.dumps(control._asdict()))
        partial.replace(self._file)

    def change(self, **fields: Any) -> None:
        """Change some of it."""
        self.be(self._control._replace(**fields))


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hm-") as name:
        monkeypatch.setenv("HARDMUTE_HOME", name)
        yield Path(name)


@pytest.fixture
def world(home: Path) -> Iterator[str]:  # noqa: ARG001 (for its effect)
    """A simulated board, by the address of its world."""
    with simulated() as address:
        yield address


@contextlib.contextmanager
def simulated() -> Generator[str]:
    """A simulated board in ``HARDMUTE_HOME``, by the address of its world."""
    command = [sys.executable, "-m", "hardmute", "sim", "--id", BOARD]
    with _process(*command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["world"]


@pytest.fixture
def room(folder: Path, world: str) -> Iterator[Room]:
    """The room, with the board's contacts in the microphone's line, at full volume and not muted,
    whatever a test has left.
    """
    for kind, names in (("sink", ("speaker", "micbus")), ("source", ("micbus.monitor", "mic"))):
        for name in names:
            pactl(f"set-{kind}-volume", name, "100%")
            pactl(f"set-{kind}-mute", name, "0")
    made = Room(folder / "room.json")
    made.change(world=world)
    command = [sys.executable, str(Path(__file__).with_name("room.py")), str(folder / "room.json")]
    with _process(*command) as made.process:
        _wait(_plays, "the room")
        yield made


def _plays() -> bool:
    return bool(pactl("list", "short", "sink-inputs").stdout.strip())


class Result(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str

    @property
    def json(self) -> Any:
        return json.loads(self.out.splitlines()[-1])


Listen = Callable[..., Result]
# What happens at a word of the command, by a part of it; given the command's process.
Person = dict[str, Callable[["subprocess.Popen[str]"], object]]


@pytest.fixture
def listen(room: Room, world: str) -> Listen:  # noqa: ARG001 (for its effect)
    """``hardmute verify --listen --json``, with somebody at the button.

    ``also``: what else happens at the words that it says, before the press. ``program``: what runs
    the command line.
    """

    def run(
        *words: str, also: Person | None = None, program: tuple[str, ...] = ("-m", "hardmute")
    ) -> Result:
        command = [*FIRST, sys.executable, *program, "-v", "-d", BOARD, "verify", "--listen"]
        command += ["--json", "--seconds", "2", *words]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            late = threading.Timer(_END_S, process.kill)
            late.start()
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                said: list[str] = []
                for line in process.stderr:
                    said.append(line)
                    for part, deed in (also or {}).items():
                        if part in line:
                            deed(process)
                    if line.startswith("Press"):
                        act(world, ["press"])
                out = process.stdout.read()
                code = process.wait()
            finally:
                late.cancel()
        print("".join(said), out)
        return Result(code, out)

    return run
