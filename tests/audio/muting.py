"""A sound server that can be killed, boards that only a press connects, and lives of the sink
between them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pulsectl

import conftest

_END_S = 60.0
_PULSEAUDIO = """\
load-module module-native-protocol-unix socket={socket} auth-anonymous=1
load-module module-device-restore
load-module module-null-sink sink_name=speaker
load-module module-null-source source_name=mic
set-default-sink speaker
set-default-source mic
"""
IS_PIPEWIRE = os.environ.get("HARDMUTE_SOUND_SERVER") == "pipewire"


class SoundServer:
    """PulseAudio with one microphone, which remembers mutes as on a desktop; or PipeWire.

    ``person``: somebody's connection to it, while it runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._state = folder / "state"
        self.address = f"unix:{folder / 'native'}"
        self._pipewire: contextlib.ExitStack | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._modules: dict[str, int] = {}
        self.person: Any = None

    @property
    def is_up(self) -> bool:
        return self.person is not None

    def start(self) -> None:
        own = {"HOME": str(self._folder), "XDG_RUNTIME_DIR": str(self._folder)}
        if IS_PIPEWIRE:
            self._start_pipewire({**os.environ, **own})
        else:
            own |= {"PULSE_STATE_PATH": str(self._state), "PULSE_RUNTIME_PATH": str(self._folder)}
            file = self._folder / "settings.pa"
            file.write_text(_PULSEAUDIO.format(socket=self._folder / "native"))
            options = ["--exit-idle-time=-1", "--disallow-exit", "--use-pid-file=no"]
            options += ["--disable-shm=yes", "--daemonize=no", "--realtime=no"]
            options += ["--high-priority=no", "-n", "-F", str(file)]
            with (self._folder / "log").open("ab") as log:
                self._process = subprocess.Popen(
                    ["pulseaudio", *options],
                    env={**os.environ, **own},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        deadline = time.monotonic() + _END_S
        while not self._connect():
            assert time.monotonic() < deadline, "the sound server did not start"
            time.sleep(0.005)

    def _start_pipewire(self, environment: dict[str, str]) -> None:
        sound = self._folder / "sound"
        shutil.rmtree(sound, ignore_errors=True)
        sound.mkdir(mode=0o700)
        environment |= {"HOME": str(sound), "XDG_RUNTIME_DIR": str(sound)}
        self._pipewire = contextlib.ExitStack()
        log = self._pipewire.enter_context((self._folder / "log").open("a"))
        self.address = self._pipewire.enter_context(conftest._pipewire(sound, environment, log))

    def _connect(self) -> bool:
        person = pulsectl.Pulse("person", server=self.address, connect=False)
        try:
            person.connect(autospawn=False)
            if person.server_info().default_source_name == "mic":
                self.person = person
                return True
        except pulsectl.PulseError:
            pass
        person.close()
        return False

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """``SIGKILL``: and it forgets what it remembered."""
        if self.person is not None:
            self.person.close()
        self.person = None
        self._modules.clear()
        if self._pipewire is not None:
            self._pipewire.close()
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(_END_S)
            self._process = None
        if number == signal.SIGKILL:
            shutil.rmtree(self._state, ignore_errors=True)

    def freeze(self, *, frozen: bool) -> None:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(self.address.removeprefix("unix:"))
            pid, _, _ = struct.unpack(
                "3i", asked.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
            )
        os.kill(pid, signal.SIGSTOP if frozen else signal.SIGCONT)

    def sources(self) -> dict[str, Any]:
        """The microphones that are there, by name."""
        return {
            source.name: source
            for source in self.person.source_list()
            if source.monitor_of_sink == 0xFFFFFFFF
        }

    def muted(self) -> dict[str, bool]:
        return {name: bool(source.mute) for name, source in self.sources().items()}

    def monitors_are_muted(self) -> bool:
        """Whether a source is that records what a sink plays: nobody has a reason to."""
        return any(s.mute for s in self.person.source_list() if s.monitor_of_sink != 0xFFFFFFFF)

    @property
    def usual(self) -> str:
        return self.person.server_info().default_source_name

    def mute(self, name: str, *, muted: bool, by_pactl: bool = False) -> None:
        """As somebody at the desktop does."""
        if by_pactl:
            command = ["pactl", "-s", self.address, "set-source-mute", name, str(int(muted))]
            subprocess.run(command, check=True)
        else:
            self.person.source_mute(self.sources()[name].index, muted)

    def add(self, name: str) -> None:
        if IS_PIPEWIRE:
            self._modules[name] = self.person.module_load(
                "module-null-sink", f"sink_name={name} media.class=Audio/Source/Virtual channels=1"
            )
            deadline = time.monotonic() + _END_S
            while name not in self.sources():
                assert time.monotonic() < deadline
                time.sleep(0.01)
        else:
            self._modules[name] = self.person.module_load(
                "module-null-source", f"source_name={name}"
            )

    def remove(self, name: str) -> None:
        self.person.module_unload(self._modules.pop(name))


class World:
    """Boards, and all that ever happened to their relays."""

    def __init__(self, *boards: str) -> None:
        self.live = dict.fromkeys(boards, False)
        # Whether the monitor can reach it; and whether its contacts contradict each other.
        self.lost = set[str]()
        self.welded = set[str]()
        self.record: list[tuple[str, str, bool]] = []

    def press(self, board: str) -> None:
        self._set("press", board, live=not self.live[board])

    def mute(self, board: str) -> bool:
        """As a host asks. Returns whether the board heard it."""
        if board in self.lost:
            return False
        self._set("mute", board, live=False)
        return True

    def _set(self, why: str, board: str, *, live: bool) -> None:
        self.live[board] = live
        self.record.append((why, board, live))

    def verdict(self, board: str) -> str:
        if board in self.lost:
            return "unknown"
        if board in self.welded:
            return "fault"
        return "live" if self.live[board] else "muted"


class Life:
    """A life of the sink. It ends by `end`, or by `kill`, which it does not notice."""

    def __init__(
        self, socket_path: Path, home: Path, server: SoundServer, world: World, **chosen: bool
    ) -> None:
        self._world = world
        self.said: list[str] = []
        self.cuts: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_END_S)
        self._socket.connect(str(socket_path))
        self._lines = self._socket.makefile("rb")
        self._pid = 0
        environment = {"HARDMUTE_HOME": str(home), "PULSE_SERVER": server.address}
        self._send({"environment": environment, "settings": chosen, "release": not chosen})
        self._until("pid")

    def _send(self, what: Any) -> None:
        self._socket.sendall(json.dumps(what).encode() + b"\n")

    def _until(self, what: str) -> Any:
        """Hear it until it says ``what``; what it asks for is done on the way."""
        while True:
            line = self._lines.readline()
            assert line, "this life ended by itself"
            heard = json.loads(line)
            if "pid" in heard:
                self._pid = heard["pid"]
            if "said" in heard:
                self.said.append(heard["said"])
            if "mute" in heard:
                board = heard["mute"]
                self.cuts.append(board)
                heard_by_board = self._world.mute(board)
                # A life that ends does not wait for the answer.
                with contextlib.suppress(BrokenPipeError):
                    self._send(["cut", board, heard_by_board])
                    self.tell(board)
            if what in heard:
                return heard[what]

    def tell(self, board: str) -> None:
        """Tell it what is known of a board now."""
        self._send(["told", board, self._world.verdict(board)])

    def settle(self) -> None:
        """Until it has seen everything and does nothing more."""
        while True:
            before = len(self.cuts)
            self._send(["settle"])
            self._until("settled")
            if len(self.cuts) == before:
                return

    def trouble(self) -> str | None:
        self._send(["trouble"])
        return self._until("trouble")

    def end(self) -> None:
        self._send(["end"])
        self._until("ended")
        self._close()

    def release(self) -> list[list[str]]:
        """What `release` says, for a life without settings."""
        released = self._until("released")
        self._close()
        return released

    def refusal(self) -> str:
        """Why `release` does nothing."""
        refused = self._until("refused")
        self._close()
        return refused

    def kill(self) -> None:
        if self._lines.closed:
            return
        os.kill(self._pid, signal.SIGKILL)
        # Until the system has closed all that it had.
        with contextlib.suppress(ConnectionResetError):
            while self._lines.readline():
                pass
        self._close()

    def _close(self) -> None:
        self._lines.close()
        self._socket.close()


@contextlib.contextmanager
def lives(folder: Path) -> Generator[Path]:
    """The socket at which lives begin."""
    path = folder / "lives"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        script, fd = Path(__file__).with_name("os_muter.py"), server.fileno()
        process = subprocess.Popen([sys.executable, str(script), str(fd)], pass_fds=[fd])
    try:
        yield path
    finally:
        process.terminate()
        process.wait(_END_S)
        path.unlink()
