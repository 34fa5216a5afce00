"""Processes of hardmute that need not start Python: forks of one that has loaded all of it.

What the system sees of such a process is the same: an id, its own streams, its environment, how it
ends. It is a child of that server, which tells how it has ended. As a program: the server.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

# What `sim`, `watch`, `status` and `mute` load when they run, and with these all that they import.
_LOADED = (
    *("cli.console", "cli.parser", "cli.whose_clock", "cli.commands.asking", "cli.commands.sim"),
    *("cli.commands.status", "cli.commands.watch", "device.terminal", "evidence.chain", "host"),
    *("monitor.follower", "sim.board", "store.keys", "store.log", "sync.visit", "system.new_file"),
)
_LENGTH = 4
_server: tuple[subprocess.Popen[bytes], socket.socket] | None = None
# CPU of such processes that have ended, which no child of this process has taken.
_spent_s = 0.0


def start(
    words: Sequence[str], *, stderr: IO[Any] | int | None = None, env: dict[str, str] | None = None
) -> Forked | subprocess.Popen[str]:
    """Start ``python -m hardmute WORDS`` with its output in a pipe, and nothing to read.

    ``stderr``: where that goes, as for `subprocess.Popen`. ``env``: its environment; this
    process's, if None.
    """
    environment = dict(os.environ) if env is None else env
    if hasattr(os, "fork"):
        return Forked(words, stderr, environment)
    return subprocess.Popen(
        [sys.executable, "-m", "hardmute", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=environment,
        text=True,
    )


class Forked:
    """What `start` starts, as `subprocess.Popen` has it."""

    def __init__(
        self, words: Sequence[str], stderr: IO[Any] | int | None, env: dict[str, str]
    ) -> None:
        self.returncode: int | None = None
        ours, theirs = socket.socketpair()
        out, its_out = os.pipe()
        request = json.dumps({"words": words, "cwd": str(Path.cwd()), "env": env}).encode()
        its_errors = 2
        self.stderr: IO[str] | None = None
        if stderr == subprocess.PIPE:
            errors, its_errors = os.pipe()
            self.stderr = open(errors, encoding="utf-8")  # noqa: PTH123, SIM115 (a pipe)
        elif isinstance(stderr, int):
            raise ValueError(stderr)
        elif stderr is not None:
            its_errors = stderr.fileno()
        with theirs, open(os.devnull) as nothing:  # noqa: PTH123 (no path of ours)
            channel = _channel()
            fds = [nothing.fileno(), its_out, its_errors, theirs.fileno()]
            socket.send_fds(channel, [len(request).to_bytes(_LENGTH)], fds)
            channel.sendall(request)
        os.close(its_out)
        if self.stderr is not None:
            os.close(its_errors)
        self.stdout: IO[str] | None = open(out, encoding="utf-8")  # noqa: PTH123, SIM115 (a pipe)
        # A line when it begins, and one when it has ended.
        self._said = ours
        self._heard = b""
        self._hear_until(1, None)
        self.pid: int = json.loads(self._heard.split(b"\n")[0])

    def _hear_until(self, lines: int, timeout: float | None) -> None:
        self._said.settimeout(timeout)
        while self._heard.count(b"\n") < lines:
            data = self._said.recv(100)
            assert data, "the server of forks has ended"
            self._heard += data

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code, or minus the signal that ended it."""
        global _spent_s
        if self.returncode is None:
            try:
                self._hear_until(2, timeout)
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired("hardmute", timeout or 0.0) from None
            self._said.close()
            self.returncode, spent_s = json.loads(self._heard.split(b"\n")[1])
            _spent_s += spent_s
        assert self.returncode is not None
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What else it prints until it ends; its streams are closed then."""
        said = ["", ""]

        def read(index: int, stream: IO[str]) -> None:
            with stream:
                said[index] = stream.read()

        streams = enumerate((self.stdout, self.stderr))
        open_ones = [one for one in streams if one[1] is not None and not one[1].closed]
        readers = [threading.Thread(target=read, args=one, daemon=True) for one in open_ones]
        for reader in readers:
            reader.start()
        self.wait(timeout)
        for reader in readers:
            reader.join(timeout)
            if reader.is_alive():
                raise subprocess.TimeoutExpired("hardmute", timeout or 0.0)
        return said[0], said[1]

    def send_signal(self, number: int) -> None:
        # Its number may be another's once the server has waited for it.
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def spent_s() -> float:
    """CPU of those that have ended, unless `os.times` has it."""
    return _spent_s


def end() -> None:
    """End the server. `os.times` has then what all of them have spent."""
    global _server, _spent_s
    if _server is not None:
        process, channel = _server
        channel.close()
        process.wait(60)
        _server, _spent_s = None, 0.0


def _channel() -> socket.socket:
    global _server
    if _server is None:
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, str(Path(__file__)), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        _server = process, ours
    return _server[1]


# The server.


def _serve(channel: socket.socket) -> dict[str, Any]:
    """Start processes until the channel is closed. Returns in each, with what was asked for."""
    for name in _LOADED:
        importlib.import_module(f"hardmute.{name}")
    gc.collect()
    gc.freeze()
    wakes, waking = os.pipe()
    os.set_blocking(waking, False)
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    signal.set_wakeup_fd(waking)
    running: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([channel, wakes], [], [])
        if wakes in ready:
            os.read(wakes, 4096)
            _tell_ended(running)
        if channel in ready:
            length, fds, _, _ = socket.recv_fds(channel, _LENGTH, 4)
            if not length:
                sys.exit()
            request = json.loads(_exactly(channel, int.from_bytes(length)))
            teller = socket.socket(fileno=fds[3])
            pid = os.fork()
            if not pid:
                held = [one.detach() for one in (channel, teller, *running.values())]
                _become(fds, max(held + fds))
                return request
            for fd in fds[:3]:
                os.close(fd)
            running[pid] = teller
            _say(teller, pid)


def _become(fds: list[int], last: int) -> None:
    """``last``: the highest of all that are open."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in range(3):
        os.dup2(fds[number], number)
    os.closerange(3, last + 1)
    # As Python makes them at its start: what they are now is that of the server's.
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        was = getattr(sys, name)
        mode, buffering = "w" if number else "r", 1 if name == "stderr" else -1
        stream = open(number, mode, buffering, was.encoding, was.errors, closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)


def _tell_ended(running: dict[int, socket.socket]) -> None:
    while running:
        pid, status, used = os.wait4(-1, os.WNOHANG)
        if not pid:
            return
        with running.pop(pid) as teller:
            _say(teller, [os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime])


def _say(teller: socket.socket, said: object) -> None:
    # Who has asked may have ended.
    with contextlib.suppress(OSError):
        teller.sendall(json.dumps(said).encode() + b"\n")


def _exactly(channel: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += channel.recv(size - len(data))
    return data


def _run() -> NoReturn:
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    import hardmute
    from hardmute.cli.main import main

    sys.argv = [str(Path(hardmute.__file__).with_name("__main__.py")), *request["words"]]
    sys.exit(main())


if __name__ == "__main__":
    _run()
