"""Installs and removes the service of the monitor. Each may be done again: it ends the same."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import NamedTuple

from hardmute.model.errors import LocalError
from hardmute.monitor.units import Command, Service
from hardmute.system.new_file import replace_file

# `systemctl start` ends when the monitor is ready: TimeoutStartSec= of the unit, and some more.
_TIMEOUT_S = 90.0


class Ran(NamedTuple):
    """How a command ended. ``said``: its last line, on either stream."""

    code: int
    said: str


Run = Callable[[Command], Ran]


def run_command(command: Command) -> Ran:
    """Run a command of this system. Raises `LocalError` if it cannot be run, or does not end."""
    try:
        ran = subprocess.run(  # noqa: S603 (of `units`)
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = "it did not end" if isinstance(error, subprocess.TimeoutExpired) else error.strerror
        raise LocalError(f"`{' '.join(command)}` cannot be run: {why}.") from error
    lines = ran.stdout.decode(errors="replace").split("\n")
    return Ran(ran.returncode, next((line.strip() for line in lines[::-1] if line.strip()), ""))


class State(NamedTuple):
    """``is_ours``: whether its file is the one that this hardmute would write. ``said``: what the
    manager says of a service that does not run.
    """

    is_installed: bool
    is_ours: bool
    runs: bool
    said: str


def state(service: Service, run: Run = run_command) -> State:
    """Whether the service is installed, and runs. Raises `LocalError` if nobody can tell."""
    _reach(service, run)
    ran = run(service.state)
    return State(service.file.exists(), _is_same(service), ran.code == 0, ran.said)


def install(service: Service, run: Run = run_command) -> None:
    """Write the file and have the manager start the service, now and with each session.

    Raises `LocalError`.
    """
    _reach(service, run)
    changes = not _is_same(service)
    if changes:
        replace_file(service.file, _content(service))
    for command in service.tell:
        _do(command, run)
    runs = run(service.state).code == 0
    commands = service.start if not runs else service.restart if changes else ()
    for command in commands:
        _do(command, run)


def remove(service: Service, run: Run = run_command) -> bool:
    """Stop the service and remove its file. Returns whether there was one. Raises `LocalError`."""
    if not service.file.exists():
        return False
    _reach(service, run)
    for command in service.stop:
        _do(command, run)
    try:
        service.file.unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"{service.file} cannot be removed ({error.strerror}).") from error
    for command in service.forget:
        _do(command, run)
    return True


def _reach(service: Service, run: Run) -> None:
    ran = run(service.reach)
    if ran.code != 0:
        raise LocalError(
            f"The service manager of this user cannot be asked ({ran.said}): log in to a session"
            " of your own, or run `hardmute monitor` yourself."
        )


def _do(command: Command, run: Run) -> None:
    ran = run(command)
    if ran.code != 0:
        raise LocalError(
            f"`{' '.join(command)}` failed: {ran.said or f'it ended with {ran.code}'}"
        )


def _content(service: Service) -> bytes:
    return service.text.encode(service.encoding)


def _is_same(service: Service) -> bool:
    try:
        return service.file.read_bytes() == _content(service)
    except OSError:
        return False
