"""Ports: who holds one, what is no port at all, and how one is opened and left. POSIX only."""

from __future__ import annotations

import errno
import fcntl
import grp
import itertools
import json
import os
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import auto_reset
import pytest
import serial
from fake_device import (
    MISSING,
    MUTED,
    Board,
    changed,
    closed_port,
    on,
    pty_device,
    stable_name,
)
from serial import serialposix

from conftest import check_sentence
from hardmute.device import client
from hardmute.device.holder import PortHolder, port_key
from hardmute.model.errors import FAULT, OK, UNKNOWN, USAGE, UnreachableError
from hardmute.system import paths
from muteboard import wire

_END_S = 60


def reasons(home: Path) -> list[str | None]:
    database = sqlite3.connect(home / "log.sqlite3")
    try:
        query = "SELECT body ->> 'reason' FROM entry WHERE kind = 'observation' ORDER BY row"
        return [row[0] for row in database.execute(query)]
    finally:
        database.close()


@contextmanager
def process(*words: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, running, that has printed its first line."""
    child = subprocess.Popen(
        [sys.executable, *words], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    try:
        assert child.stdout is not None
        assert child.stdout.readline()
        yield child
    finally:
        child.kill()
        child.communicate(timeout=_END_S)


# One process holds a port.


def test_a_second_process_is_told_who_holds_the_port(cli: Any, sim: Any, home: Path) -> None:
    with process("-m", "hardmute", "-d", sim.board, "watch", "--json") as holder:
        result = cli("-d", sim.board, "status", "--timeout", "0.2")
        assert result.code == UNKNOWN
        check_sentence(result.err)
        assert f"process {holder.pid} (hardmute -d {sim.board} watch --json)" in result.err
        assert result.out.startswith("UNKNOWN  ")
        assert "port_held" not in reasons(home)
        # It is no different for one who names the terminal behind the link.
        result = cli("-d", os.path.realpath(sim.device), "status", "--timeout", "0.2")
        assert str(holder.pid) in result.err


def test_a_holder_that_was_killed_leaves_nothing_behind(cli: Any, sim: Any) -> None:
    with process("-m", "hardmute", "-d", sim.board, "watch", "--json") as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait(_END_S)
        result = cli("-d", sim.board, "status")
    assert (result.code, result.err) == (OK, "")


def test_holding_waits_no_longer_than_asked(home: Path) -> None:
    ticks = itertools.count()
    with PortHolder("/dev/one", 1.0):
        waiting = PortHolder("/dev/one", 2.0, clock=lambda: next(ticks) * 0.5)
        with pytest.raises(UnreachableError) as caught, waiting:
            pass
    assert caught.value.reason == "port_held"
    # From 0.0 on; at 2.0 the time is up.
    assert next(ticks) == 5
    assert home in Path(paths.runtime_dir("ports")).parents


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "same",
    [
        "socket://localhost:5000",
        "SOCKET://LocalHost.:5000",
        "socket://[::1]:5000",
        "socket://[0:0:0:0:0:0:0:1]:5000",
        "socket://[::ffff:127.0.0.1]:5000",
        "socket://127.0.0.1:05000?logging=error",
        "rfc2217://127.0.0.1:5000?ign_set_control&timeout=3",
    ],
)
def test_one_port_has_one_lock_whatever_its_address_is_called(same: str) -> None:
    with (
        PortHolder("socket://127.0.0.1:5000", 0.01),
        pytest.raises(UnreachableError, match="is held by"),
        PortHolder(same, 0.01),
    ):
        pass


def test_names_of_other_ports_have_locks_of_their_own() -> None:
    names = [
        "socket://127.0.0.1:5000",
        "socket://127.0.0.1:5001",
        "socket://127.0.0.2:5000",
        "socket://bench:5000",
        "socket://localhost.example:5000",
        "socket://[fe80::1]:5000",
        "socket://[::1",
        "socket://localhost",
        "socket://localhost:port",
        "loop://",
        "hwgrep://2E8A",
        "localhost:5000",
    ]
    assert len({port_key(name) for name in names}) == len(names)


@pytest.mark.usefixtures("home")
def test_different_ports_do_not_block_each_other() -> None:
    ports = ("/dev/one", "/dev/two", "socket://127.0.0.1:1")
    with ExitStack() as stack:
        for port in ports:
            stack.enter_context(PortHolder(port, 0.01))


def test_two_names_of_one_port_are_one_port(home: Path) -> None:
    link = home / "link"
    link.symlink_to("/dev/one")
    second = PortHolder(str(link), 0.01)
    with PortHolder("/dev/one", 0.01), pytest.raises(UnreachableError):
        second.__enter__()
    with second:
        pass


@pytest.mark.usefixtures("home")
def test_a_port_is_free_again_after_an_error() -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError), PortHolder("/dev/one", 0.01):
            raise ZeroDivisionError


@pytest.mark.parametrize("note", [b"", b"{", b"[]", b'{"pid": 1}', b'{"pid": "x", "command": 1}'])
def test_a_holder_that_has_not_said_who_it_is(note: bytes, home: Path) -> None:
    with PortHolder("/dev/one", 0.01):
        (file,) = (home / "run" / "ports").iterdir()
        file.write_bytes(note)
        with pytest.raises(UnreachableError, match="another hardmute process"):
            PortHolder("/dev/one", 0.01).__enter__()


def test_the_name_of_a_holder_cannot_speak_to_the_terminal(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["hardmute", "\x1b[2J", "watch"])
    with PortHolder("/dev/one", 0.01), pytest.raises(UnreachableError) as caught:
        PortHolder("/dev/one", 0.01).__enter__()
    assert str(caught.value).isprintable()
    assert home.is_dir()


@pytest.mark.parametrize("plant", [Path.symlink_to, Path.hardlink_to])
def test_what_others_plant_in_the_runtime_folder_stays_unwritten(
    plant: Callable[[Path, Path], None], cli: Any, home: Path
) -> None:
    victim = home / "precious"
    victim.write_text("words")
    with pty_device() as device:
        with PortHolder(device.address, 1):
            (file,) = (home / "run" / "ports").iterdir()
        file.unlink()
        plant(file, victim)
        assert cli("-d", device.address, "status").code == OK
    assert victim.read_text() == "words"


def test_the_folders_are_their_owners_only(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDMUTE_HOME", str(home / "new"))
    ports = Path(paths.runtime_dir("ports"))
    for folder in (ports, ports.parent, home / "new"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert paths.log_file() == str(home / "new" / "log.sqlite3")


def test_a_state_does_not_wait_for_the_runtime_folder(cli: Any, home: Path) -> None:
    (home / "run").write_text("not a folder")
    with pty_device() as device:
        result = cli("-d", device.address, "status")
        assert (result.code, result.err) == (OK, "")
        # The port's own lock still tells two processes apart.
        with client.connect(device.address, 1):
            result = cli("-d", device.address, "status", "--timeout", "0.1")
    assert result.code == UNKNOWN
    assert "in use" in result.err


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EIO])
def test_a_runtime_folder_without_locks_is_told_as_that(
    number: int, cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on NFS without a lock service. It says nothing about another process."""
    real = fcntl.flock

    def flock(fd: int, operation: int) -> None:
        if os.fstat(fd).st_ino in {file.stat().st_ino for file in (home / "run").rglob("*.lock")}:
            raise OSError(number, os.strerror(number))
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with pty_device() as device:
        result = cli("-d", device.address, "status")
        assert (result.code, result.out.split()[0]) == (OK, "MUTED")
        check_sentence(result.err)
        assert f"{home}/run/ports cannot be locked ({os.strerror(number)})" in result.err
        assert "set HARDMUTE_HOME to a folder on a local disk" in result.err
        # The port's own lock still tells two processes apart.
        with client.connect(device.address, 1):
            result = cli("-d", device.address, "status", "--timeout", "0.1")
        assert result.code == UNKNOWN
        assert "in use by another program" in result.err
        # A check of the computer goes by what it can see.
        assert "is held by" not in cli("-d", device.address, "doctor").out


_FOREIGN = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
fcntl.flock(fd, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(3600)
"""


def test_a_port_that_a_foreign_program_locks_is_in_use(cli: Any, home: Path) -> None:
    with pty_device() as device, process("-c", _FOREIGN, device.address):
        result = cli("-d", device.address, "status", "--timeout", "0.2")
    assert result.code == UNKNOWN
    check_sentence(result.err)
    assert "in use by another program" in result.err
    assert reasons(home) == ["port_in_use"]


# What cannot be opened. 2: it will never be a port. 3: there could be a board, and its state is
# unknown.


@pytest.mark.parametrize(
    ("named", "code", "says", "reason"),
    [
        ("/dev/hardmute-is-not-here", UNKNOWN, "is the board plugged in", "no_port"),
        ("/nowhere/at/all", UNKNOWN, "is the board plugged in", "no_port"),
        ("feed0123", UNKNOWN, "not connected", "not_connected"),
        ("socket://127.0.0.1:{closed}", UNKNOWN, "is the board there", "no_port"),
        ("{folder}", USAGE, "not a serial port", None),
        ("{file}", USAGE, "not a serial port", None),
        ("{fifo}", USAGE, "not a serial port", None),
        ("/dev/null", USAGE, "not a serial port", None),
        ("/dev/zero", USAGE, "not a serial port", None),
        ("", USAGE, "no port, no board id and no label", None),
        ("nonsense", USAGE, "no port, no board id and no label", None),
        ("computer", USAGE, "no port, no board id and no label", None),
        ("ttyACM0", USAGE, "no port, no board id and no label", None),
        ("../dev/ttyACM0", USAGE, "no port, no board id and no label", None),
        ("\x1b[2J", USAGE, "no port, no board id and no label", None),
        ("gopher://board", USAGE, "gopher", None),
        ("://", USAGE, "://", None),
        ("socket://", USAGE, "HOST:PORT", None),
        ("socket://127.0.0.1", USAGE, "HOST:PORT", None),
        ("socket://127.0.0.1:99999", USAGE, "HOST:PORT", None),
        ("socket://127.0.0.1:port", USAGE, "HOST:PORT", None),
    ],
)
def test_what_is_no_port(
    named: str, code: int, says: str, reason: str | None, cli: Any, home: Path
) -> None:
    file, fifo, folder = home / "file", home / "fifo", home / "folder"
    file.write_text("words")
    folder.mkdir()
    os.mkfifo(fifo)
    with closed_port() as closed:
        device = named.format(folder=folder, file=file, fifo=fifo, closed=closed)
        result = cli("-d", device, "status", "--timeout", "0.2")
    assert result.code == code
    check_sentence(result.err)
    assert says in result.err
    assert reasons(home) == ([reason] if reason else [])
    assert file.read_text() == "words"


def test_a_name_that_is_not_utf_8(home: Path) -> None:
    command = [sys.executable, "-m", "hardmute", "-d", b"/dev/\xff", "status"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=_END_S, check=False)
    assert result.returncode == UNKNOWN
    check_sentence(result.stderr)
    assert reasons(home) == ["no_port"]


def _any_group() -> int:
    """A group that is not root's, and that a file of ours may belong to."""
    if os.geteuid() == 0:
        return next(entry.gr_gid for entry in grp.getgrall() if entry.gr_gid != 0)
    return os.getgid()


@pytest.mark.parametrize(
    ("mode", "advice"), [(0o660, "usermod -aG {group} $USER"), (0o600, "udev rule")]
)
def test_no_permission_says_which_group(
    mode: int, advice: str, cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = home / "ttyACM0"
    device.touch()
    os.chown(device, -1, _any_group())
    device.chmod(mode)

    def refuse(url: str, *_args: object, **_settings: object) -> serial.SerialBase:
        # As `serial.serialposix` words it.
        raise serial.SerialException(errno.EACCES, f"could not open port {url}: EACCES")

    monkeypatch.setattr(serial, "serial_for_url", refuse)
    monkeypatch.setattr(sys, "platform", "linux")
    result = cli("-d", device, "status")
    assert result.code == UNKNOWN
    check_sentence(result.err)
    assert advice.format(group=grp.getgrgid(_any_group()).gr_name) in result.err
    assert reasons(home) == ["no_permission"]


@pytest.mark.parametrize("when", ["tcgetattr", "tcsetattr", "tcflush"])
def test_a_port_that_vanishes_while_it_is_opened(
    when: str, cli: Any, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`termios.error` is no `OSError`, and pyserial lets it through."""

    def gone(*_args: object) -> None:
        raise termios.error(errno.EIO, "Input/output error")

    replaced = SimpleNamespace(**vars(termios))
    setattr(replaced, when, gone)
    monkeypatch.setattr(serialposix, "termios", replaced)
    with pty_device() as device:
        result = cli("-d", device.address, "status")
    assert result.code == UNKNOWN
    check_sentence(result.err)
    assert len(reasons(home)) == 1


# How a port is left.

Attributes = list[Any]


@contextmanager
def terminal(script: Any) -> Iterator[tuple[Any, Callable[[], Attributes]]]:
    """A device whose terminal settings are unusual, and what they are now."""
    with pty_device(script) as device:
        fd = os.open(device.address, os.O_RDWR | os.O_NOCTTY)
        try:
            attributes = termios.tcgetattr(fd)
            attributes[0] |= termios.ICRNL | termios.IXON | termios.IGNPAR
            attributes[1] |= termios.OPOST | termios.ONLCR
            attributes[2] |= termios.HUPCL
            attributes[2] &= ~termios.CLOCAL
            attributes[3] |= termios.ICANON | termios.ISIG | termios.NOFLSH
            attributes[4] = attributes[5] = termios.B9600
            attributes[6][termios.VINTR] = b"\x07"
            attributes[6][termios.VERASE] = b"\x08"
            termios.tcsetattr(fd, termios.TCSANOW, attributes)
            yield device, lambda: termios.tcgetattr(fd)
        finally:
            os.close(fd)


@pytest.mark.parametrize(
    "script",
    [
        lambda _line: b"",
        lambda _line: b"login: ",
        lambda line: line + b"\r\n",
        on("hello", lambda _r, a, _f: wire.frame(changed(a, product=MISSING))),
        on("hello", lambda _r, a, _f: wire.frame(changed(a, proto=[9, 0]))),
    ],
    ids=["silent", "login", "echo", "no product", "newer"],
)
def test_a_foreign_port_keeps_its_settings(script: Any, cli: Any) -> None:
    with terminal(script) as (device, settings):
        before = settings()
        assert cli("-d", device.address, "status", "--timeout", "0.1").code == UNKNOWN
        assert settings() == before
        assert before[2] & termios.HUPCL


def test_a_port_that_is_in_use_keeps_its_settings(cli: Any) -> None:
    with terminal(Board()) as (device, settings), process("-c", _FOREIGN, device.address):
        before = settings()
        assert cli("-d", device.address, "status", "--timeout", "0.1").code == UNKNOWN
        assert settings() == before


@pytest.mark.parametrize("status", [MUTED, {**MUTED, "sense": [1, 1]}])
def test_a_boards_port_is_left_with_hupcl_cleared(status: dict[str, Any], cli: Any) -> None:
    with terminal(Board(status=status)) as (device, settings):
        assert cli("-d", device.address, "status").code in (OK, FAULT)
        assert not settings()[2] & termios.HUPCL


# DTR and RTS.


class DevKit:
    """The auto-reset circuit of an ESP32 DevKitC, and the kernel's part in DTR and RTS.

    The kernel asserts both lines at once at the first open, and drops both at once at the last
    close if HUPCL is set.
    """

    def __init__(self, *, dtr: bool, rts: bool, opens: int) -> None:
        self.lines = auto_reset.Lines(dtr, rts)
        self.history = [self.lines]
        self._opens = opens

    @property
    def was_reset(self) -> bool:
        return any(lines.in_reset for lines in self.history)

    @property
    def in_loader(self) -> bool:
        """Whether the last reset ended in the ROM's loader, where anybody can flash the chip."""
        ends = (
            after.io0_low
            for before, after in itertools.pairwise(self.history)
            if before.in_reset and not after.in_reset
        )
        return any(list(ends)[-1:])

    def set(self, dtr: bool, rts: bool) -> None:
        self.lines = auto_reset.Lines(dtr, rts)
        self.history.append(self.lines)

    def opened(self) -> None:
        self._opens += 1
        if self._opens == 1:
            self.set(dtr=True, rts=True)

    def closed(self, *, hupcl: bool) -> None:
        self._opens -= 1
        if self._opens == 0 and hupcl:
            self.set(dtr=False, rts=False)

    def ioctl(self, request: int, argument: bytes) -> None:
        self.lines = self.lines.after(request, argument)
        self.history.append(self.lines)


@contextmanager
def wired(kit: DevKit, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every open, close and ioctl of ``address`` in this process goes past ``kit`` as well."""
    fds: set[int] = set()
    real_open, real_close, real_ioctl = os.open, os.close, fcntl.ioctl

    def recording_open(
        path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        fd = real_open(path, flags, mode, dir_fd=dir_fd)
        if path == address:
            fds.add(fd)
            kit.opened()
        return fd

    def recording_close(fd: int) -> None:
        if fd in fds:
            fds.remove(fd)
            kit.closed(hupcl=bool(termios.tcgetattr(fd)[2] & termios.HUPCL))
        real_close(fd)

    def recording_ioctl(fd: Any, request: int, *rest: Any) -> Any:
        if fd in fds and request in auto_reset.REQUESTS:
            # A pseudo-terminal has no such lines and would refuse.
            kit.ioctl(request, *rest)
            return 0
        return real_ioctl(fd, request, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", recording_open)
        patch.setattr(os, "close", recording_close)
        patch.setattr(fcntl, "ioctl", recording_ioctl)
        yield
    assert not fds


# The lines before we open, and how many others have the port open and so keep them as they are.
STARTS = {
    "closed": (False, False, 0),
    "closed, left asserted": (True, True, 0),
    "open, both low": (False, False, 1),
    "open, both high": (True, True, 1),
    "open, DTR alone": (True, False, 1),
}


@pytest.mark.parametrize("foreign", [False, True], ids=["board", "foreign"])
@pytest.mark.parametrize("start", STARTS)
def test_opening_using_and_closing_never_resets_an_esp32(
    start: str, foreign: bool, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dtr, rts, opens = STARTS[start]
    kit = DevKit(dtr=dtr, rts=rts, opens=opens)
    in_use: list[tuple[tuple[bool, bool], Attributes]] = []
    board = Board()

    def script(line: bytes) -> bytes | None:
        in_use.append((kit.lines, settings()))
        return b"" if foreign else board(line)

    with terminal(script) as (device, settings), wired(kit, device.address, monkeypatch):
        words = ["verify", "--timeout", "0.2"] if foreign else ["status"]
        result = cli("-d", device.address, *words)
    assert result.code == (UNKNOWN if foreign else OK)
    assert not kit.was_reset, kit.history
    # RP2040's USB serial port says nothing to a host that does not assert DTR.
    assert in_use
    for lines, attributes in in_use:
        assert lines == (True, True)
        assert attributes[4] == attributes[5] == termios.B115200
    if not foreign:
        # Both as they were in use, so that the next open changes nothing either.
        assert kit.lines == (True, True)


@pytest.mark.parametrize(
    ("dtr", "rts", "enabled", "io0"),
    # As the DevKitC's schematic prints it, in levels: a line is low while it is asserted.
    [(1, 1, 1, 1), (0, 0, 1, 1), (1, 0, 0, 1), (0, 1, 1, 0)],
)
def test_the_model_is_the_schematics_table(dtr: int, rts: int, enabled: int, io0: int) -> None:
    lines = auto_reset.Lines(not dtr, not rts)
    assert lines.in_reset is not bool(enabled)
    assert lines.io0_low is not bool(io0)


def test_the_model_tells_the_loader_from_a_restart() -> None:
    kit = DevKit(dtr=False, rts=False, opens=1)
    # What flashing tools do: reset, and let go of it with IO0 low.
    kit.set(dtr=False, rts=True)
    kit.set(dtr=True, rts=False)
    assert kit.in_loader
    # And how they start the program again.
    kit.set(dtr=False, rts=True)
    kit.set(dtr=False, rts=False)
    assert not kit.in_loader


def test_the_model_tells_a_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    """RTS before DTR, from both low, resets the chip: the model has to see it."""
    with pty_device() as device:
        for first, second, reset in (("DTR", "RTS", False), ("RTS", "DTR", True)):
            kit = DevKit(dtr=False, rts=False, opens=1)
            with wired(kit, device.address, monkeypatch):
                fd = os.open(device.address, os.O_RDWR | os.O_NOCTTY)
                for line in (first, second):
                    bits = struct.pack("I", getattr(serialposix, f"TIOCM_{line}"))
                    fcntl.ioctl(fd, serialposix.TIOCMBIS, bits)
                os.close(fd)
            assert kit.was_reset is reset
    kit = DevKit(dtr=True, rts=True, opens=1)
    kit.closed(hupcl=True)
    assert not kit.was_reset


def test_the_baud_rate_asks_no_bootloader_to_take_over() -> None:
    assert client.BAUD != 1200


def test_a_fake_link_leads_to_the_same_lock(cli: Any, home: Path) -> None:
    with pty_device() as device:
        link = stable_name(home, device)
        with client.connect(device.address, 1):
            result = cli("-d", link, "status", "--json", "--timeout", "0.1")
    assert result.code == UNKNOWN
    assert json.loads(result.out)["reason"] == "port_held"
    assert f"process {os.getpid()} " in result.err


def test_what_sim_prints_in_a_terminal_can_be_pasted(home: Path, cli: Any) -> None:
    assert home
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "hardmute", "sim"], stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    try:
        shown = b""
        while not shown.endswith(b"press\r\n"):
            shown += os.read(ours, 4096)
        lines = shown.decode().splitlines()
        assert all(len(line) <= 80 for line in lines)
        commands = [line.split()[1:] for line in lines if line.startswith("  hardmute ")]
        assert [words[0] for words in commands] == ["watch", "world"]
        assert cli(*commands[1]).code == 0
        assert cli(*commands[0][1:], "status").code == 1
        os.write(ours, b"q")
        # What it says on until it sees that: a terminal that nobody reads takes no more.
        with suppress(OSError):
            while os.read(ours, 4096):
                pass
        assert process.wait(_END_S) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
