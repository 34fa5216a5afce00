"""Finding a board by its id: by what the USB tells, and only then by asking. POSIX only.

What is plugged in is the test's: pyserial's list is replaced, with pseudo-terminals behind it.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import serial
from fake_device import BOARD, HELLO, LIVE, MUTED, Board, Device, on, pty_device
from serial.tools import list_ports, list_ports_linux

from conftest import Cli
from hardmute import Host, host
from hardmute.cli import service_mode
from hardmute.cli.commands import watch
from hardmute.device import client, discovery
from hardmute.device.holder import PortHolder, Turn
from hardmute.flash import drives, targets
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.errors import OK, UNKNOWN, USAGE, PortWantedError, UnreachableError
from hardmute.model.usb import Usb
from hardmute.monitor import follower
from hardmute.store.log import Log

PICO = (0x2E8A, 0x0005)
CIRCUITPY = (0x239A, 0x80F4)
ESP32_S3 = (0x303A, 0x4001)
CP210X = (0x10C4, 0xEA60)
CH340 = (0x1A86, 0x7523)
OTHER = "beef" * 4


class Plugged(NamedTuple):
    """A USB device, and what was sent to it, line by line."""

    device: Device
    info: SimpleNamespace
    lines: list[bytes]

    @property
    def port(self) -> str:
        return self.device.address


class Usb_:  # noqa: N801 (beside the log's `Usb`)
    """A host's USB sockets. `opened`: the ports that were opened, in order."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.plugged: list[Plugged] = []
        self.opened: list[str] = []

    def plug(
        self,
        ids: tuple[int, int],
        number: str | None,
        location: str | None = "1-1",
        script: Callable[[bytes], bytes | None] | None = None,
    ) -> Plugged:
        """Plug in a board that answers as `script` does; as `BOARD`, muted, if there is none."""
        answers = script or Board()
        lines: list[bytes] = []

        def listening(line: bytes) -> bytes | None:
            lines.append(line)
            return answers(line)

        device = self._stack.enter_context(pty_device(listening))
        info = SimpleNamespace(
            device=device.address,
            vid=ids[0],
            pid=ids[1],
            serial_number=number,
            location=location,
        )
        self.plugged.append(Plugged(device, info, lines))
        return self.plugged[-1]

    def unplug(self, *gone: Plugged) -> None:
        self.plugged = [one for one in self.plugged if one not in gone]

    def comports(self, include_links: bool = False) -> list[Any]:  # noqa: ARG002 (pyserial's)
        return [one.info for one in self.plugged]


@pytest.fixture
def usb(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Usb_]:  # noqa: ARG001 (its effect)
    with ExitStack() as stack:
        sockets = Usb_(stack)
        real = serial.serial_for_url

        def opening(url: str, *args: Any, **settings: Any) -> serial.SerialBase:
            sockets.opened.append(url)
            return real(url, *args, **settings)

        monkeypatch.setattr(serial, "serial_for_url", opening)
        monkeypatch.setattr(list_ports, "comports", sockets.comports)
        yield sockets


def silent(_line: bytes) -> bytes:
    return b""


def others(usb: Usb_) -> list[Plugged]:
    """Ports that a board could be behind, and is not."""
    return [
        usb.plug(PICO, "E660583883724A32", "1-2", silent),
        usb.plug(CIRCUITPY, "other", "1-3", silent),
        usb.plug(ESP32_S3, None, "1-4", silent),
        usb.plug(CP210X, "other", "1-5", silent),
    ]


def check_alone(usb: Usb_, wanted: Plugged) -> None:
    assert set(usb.opened) == {wanted.port}
    assert wanted.lines
    assert [one.lines for one in usb.plugged if one is not wanted] == [[]] * (len(usb.plugged) - 1)


# A board that is known: one port is opened, and no byte goes to any other.


def test_a_pico_never_met_is_known_by_its_usb_serial_number(usb: Usb_, cli: Cli) -> None:
    others(usb)
    wanted = usb.plug(PICO, BOARD.upper(), "2-1")
    assert cli("-d", BOARD, "status").code == OK
    check_alone(usb, wanted)


@pytest.mark.parametrize(
    ("ids", "number"),
    [(CIRCUITPY, "4250305535"), (ESP32_S3, "7CDFA1000000"), (ESP32_S3, None), (CP210X, "02A7B3")],
    ids=["CircuitPython", "ESP32-S3", "no number", "bridge"],
)
@pytest.mark.parametrize("named", [BOARD, "desk"], ids=["id", "label"])
def test_a_board_that_was_met_is_known_by_its_usb_device(
    ids: tuple[int, int], number: str | None, named: str, usb: Usb_, cli: Cli
) -> None:
    met = usb.plug(ids, number, "1-7.1")
    assert cli("-d", met.port, "name", "desk").code == OK
    usb.unplug(met)
    others(usb)
    # The port has another name now.
    wanted = usb.plug(ids, number, "1-7.1")
    usb.opened.clear()
    assert cli("-d", named, "status").code == OK
    check_alone(usb, wanted)


def test_list_learns_what_is_behind_a_bridge(usb: Usb_, cli: Cli) -> None:
    wanted = usb.plug(CP210X, "02A7B3")
    assert cli("list", "--probe").code == OK
    others(usb)
    usb.opened.clear()
    assert cli("-d", BOARD, "status").code == OK
    check_alone(usb, wanted)


def test_the_port_among_several_of_one_device_is_remembered(usb: Usb_, cli: Cli) -> None:
    usb.plug(CIRCUITPY, "4250", "1-7:1.0", silent)
    data = usb.plug(CIRCUITPY, "4250", "1-7:1.2")
    assert cli("-d", data.port, "status").code == OK
    usb.opened.clear()
    assert cli("-d", BOARD, "status").code == OK
    check_alone(usb, data)


def test_a_known_board_that_moved_to_another_socket(usb: Usb_, cli: Cli) -> None:
    first, second = usb.plug(ESP32_S3, None, "1-1"), usb.plug(ESP32_S3, None, "1-2", silent)
    assert cli("-d", first.port, "status").code == OK
    first.info.location, second.info.location = "1-2", "1-1"
    result = cli("-d", BOARD, "status", "--timeout", "3")
    assert result.code == OK
    # At the old place another one is silent; then all were asked.
    assert {first.port, second.port} == set(usb.opened)


def test_what_is_known_of_a_board_is_what_it_was_behind_last(usb: Usb_, cli: Cli) -> None:
    one, two = usb.plug(CP210X, "first", "1-1"), usb.plug(CP210X, "second", "1-2")
    for port in (one, two):
        assert cli("-d", port.port, "status").code == OK
    usb.opened.clear()
    assert cli("-d", BOARD, "status").code == OK
    assert set(usb.opened) == {two.port}


def test_what_was_told_by_the_usb_must_say_it_as_well(usb: Usb_, cli: Cli) -> None:
    hello = {**HELLO}
    one = usb.plug(CP210X, "02A7B3", "1-1", Board(hello=hello))
    assert cli("-d", one.port, "status").code == OK
    hello["board"] = OTHER
    result = cli("-d", BOARD, "status")
    assert (result.code, result.out.split()[0]) == (UNKNOWN, "UNKNOWN")
    assert "the board was exchanged" in result.err


def test_doctor_learns_nothing(usb: Usb_, cli: Cli, home: Path) -> None:
    one = usb.plug(CP210X, "02A7B3")
    Log(home / "log.sqlite3").close()
    cli("-d", one.port, "doctor")
    log = Log(home / "log.sqlite3")
    assert log.usb(BOARD) is None
    log.close()


def test_a_log_that_cannot_be_written_hides_no_state(usb: Usb_, cli: Cli, home: Path) -> None:
    one = usb.plug(CIRCUITPY, "4250")
    assert cli("-d", one.port, "status").code == OK
    # Another program has put something else there.
    database = sqlite3.connect(home / "log.sqlite3")
    with database:
        database.execute("DROP TABLE usb")
        database.execute("CREATE TABLE usb (surprise TEXT)")
    database.close()
    result = cli("-d", BOARD, "status")
    assert result.out.startswith("MUTED")
    assert "cannot be used" in result.err


# A bridge is one that many have: it counts only by a serial number that is no other's.


@pytest.mark.parametrize(
    "number",
    [None, "", "0001", "0", "000000000001", "0000", "1234567890", "123456789", "A50285BI", "FFFF"],
)
def test_a_person_names_a_bridge_with_a_default_serial_number(
    number: str | None, usb: Usb_, cli: Cli
) -> None:
    bridge = usb.plug(CP210X, number)
    assert cli("-d", bridge.port, "status").code == OK
    usb.opened.clear()
    bridge.lines.clear()
    result = cli("-d", BOARD, "status")
    assert (result.code, usb.opened, bridge.lines) == (UNKNOWN, [], [])
    assert bridge.port in result.err
    assert "name its port with --device" in result.err
    assert cli("-d", bridge.port, "status").code == OK


@pytest.mark.parametrize("number", ["02A7B3", "0123A", "5434017123", "A10JWD8F"])
def test_a_bridge_with_a_serial_number_of_its_own_is_known(
    number: str, usb: Usb_, cli: Cli
) -> None:
    bridge = usb.plug(CP210X, number)
    assert cli("-d", bridge.port, "status").code == OK
    assert cli("-d", BOARD, "status").code == OK


def test_two_bridges_with_one_serial_number_are_not_asked(usb: Usb_, cli: Cli) -> None:
    one = usb.plug(CP210X, "02A7B3", "1-1")
    assert cli("-d", one.port, "status").code == OK
    two = usb.plug(CP210X, "02A7B3", "1-2", silent)
    usb.opened.clear()
    result = cli("-d", BOARD, "status")
    assert (result.code, usb.opened, two.lines) == (UNKNOWN, [], [])
    assert one.port in result.err
    assert two.port in result.err


def test_another_bridge_is_not_the_one_that_is_known(usb: Usb_, cli: Cli) -> None:
    met = usb.plug(CP210X, "02A7B3")
    assert cli("-d", met.port, "status").code == OK
    usb.unplug(met)
    usb.plug(CP210X, "other")
    usb.opened.clear()
    result = cli("-d", BOARD, "status")
    assert (result.code, usb.opened) == (UNKNOWN, [])
    assert result.err == f"Board {BOARD} is not connected.\n"


# Two with one id.


def test_two_ports_with_the_wanted_serial_are_refused_unopened(usb: Usb_, cli: Cli) -> None:
    two = [usb.plug(PICO, BOARD.upper(), "1-1"), usb.plug(PICO, BOARD.upper(), "1-2")]
    result = cli("-d", BOARD, "status")
    assert (result.code, result.out, usb.opened) == (USAGE, "", [])
    check_two(result.err, two)


def check_two(said: str, two: list[Plugged]) -> None:
    assert "two boards have one id" in said
    assert all(one.port in said for one in two)


@pytest.mark.parametrize("named", [(), ("-d", BOARD)], ids=["none", "id"])
def test_two_boards_that_say_one_id_are_told_as_that(
    named: tuple[str, ...], usb: Usb_, cli: Cli
) -> None:
    two = [usb.plug(CIRCUITPY, "1", "1-1"), usb.plug(CIRCUITPY, "2", "1-2")]
    result = cli(*named, "status")
    assert (result.code, result.out) == (USAGE, "")
    check_two(result.err, two)


def test_list_shows_two_boards_with_one_id_and_mixes_nothing(
    usb: Usb_, cli: Cli, logged: Callable[[str | None], list[Any]]
) -> None:
    first, second = usb.plug(CIRCUITPY, "1", "1-1"), usb.plug(CIRCUITPY, "2", "1-2")
    result = cli("list")
    assert result.code == OK
    assert result.out.count("MUTED") == result.out.count("UNKNOWN") == 1
    check_two(result.out, [first, second])
    assert len(logged(BOARD)) == 1


# Nothing is known: all are asked at once.


def ten_ports(usb: Usb_) -> list[Plugged]:
    return [usb.plug(CIRCUITPY, f"number {at}", f"1-{at}", silent) for at in range(10)]


@pytest.mark.parametrize("words", [("-d", BOARD, "status"), ("list",)], ids=["status", "list"])
def test_ten_silent_ports_take_one_time_out_in_all(
    usb: Usb_, cli: Cli, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    ports = ten_ports(usb)
    # Each waits until all wait: one after the other they would wait for ever.
    waiting = threading.Barrier(len(ports))
    timeouts: list[float] = []

    @contextlib.contextmanager
    def connect(device: str, timeout: float, *_: Any) -> Generator[Any]:
        timeouts.append(timeout)
        waiting.wait(60)
        raise UnreachableError(f"{device} is silent.", "no_answer")
        yield

    monkeypatch.setattr(client, "connect", connect)
    result = cli(*words, "--timeout", "7")
    assert timeouts == [7.0] * 10
    if words == ("list",):
        assert [port.port for port in ports if f"{port.port} is silent." in result.out] == [
            port.port for port in ports
        ]
    else:
        assert result.code == UNKNOWN
        assert result.err == f"Board {BOARD} is not connected.\n"


def test_an_unknown_board_among_silent_ports_is_found(usb: Usb_, cli: Cli) -> None:
    ports = ten_ports(usb)
    wanted = usb.plug(CIRCUITPY, "wanted", "2-1")
    assert cli("-d", BOARD, "status", "--timeout", "3").code == OK
    assert all(len(port.lines) == 2 for port in ports)
    assert sorted(usb.opened) == sorted([*(port.port for port in ports), *[wanted.port] * 2])


def test_a_port_that_is_wanted_ends_the_search_for_all(
    usb: Usb_, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, other = (usb.plug(CIRCUITPY, number, "1-1") for number in "12")
    ended: list[str] = []
    begun = threading.Barrier(2)

    @contextlib.contextmanager
    def connect(device: str, _timeout: float, _turn: Turn, is_over: Any) -> Generator[Any]:
        begun.wait(60)
        if device == wanted.port:
            raise PortWantedError(device)
        while not is_over():
            pass
        ended.append(device)
        raise PortWantedError(device)
        yield

    monkeypatch.setattr(client, "connect", connect)
    with pytest.raises(PortWantedError, match=wanted.port):
        discovery.find(3600, None, "follow")
    assert ended == [other.port]


def test_a_search_that_is_over_gives_its_ports_back(usb: Usb_) -> None:
    port = usb.plug(CIRCUITPY, "1", "1-1", silent)
    with pytest.raises(PortWantedError), client.connect(port.port, 3600, "usual", lambda: True):
        pass
    with PortHolder(port.port, 0.1):
        pass


# `hardmute flash`, and who waits for maintenance, look in the same way.


def at_prompt(line: bytes) -> bytes:
    said = line.rstrip(b"\r") + b"\r\n"
    if line.startswith(b"print('hardmute'"):
        said += f"hardmute {BOARD}\r\n".encode()
    return said + b">>> "


def meet_all_at_once(monkeypatch: pytest.MonkeyPatch, name: str, ports: list[Plugged]) -> None:
    """Each port waits until all are asked: one after the other they would wait for ever."""
    real = getattr(client, name)
    waiting = threading.Barrier(len(ports))

    def asking(*options: Any, **settings: Any) -> Any:
        waiting.wait(60)
        return real(*options, **settings)

    monkeypatch.setattr(client, name, asking)


@pytest.mark.parametrize("script", [None, at_prompt], ids=["firmware", "prompt"])
def test_flash_asks_all_ports_at_once_and_a_silent_one_once(
    script: Callable[[bytes], bytes | None] | None,
    usb: Usb_,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drives, "mounted", list)
    ports = ten_ports(usb)
    wanted = usb.plug(PICO, BOARD, "2-1", script)
    meet_all_at_once(monkeypatch, "firmware_or_prompt", usb.plugged)
    log = Log(home / "log.sqlite3")
    target = targets.find(None, 3.0, log, None)
    log.close()
    assert (target.place, target.board) == (wanted.port, BOARD)
    assert target.kind == (targets.PROMPT if script else targets.RUNNING)
    # A prompt would have echoed the hello: what is silent is not asked for one.
    assert all(len(port.lines) == 2 for port in ports)
    assert sorted(usb.opened) == sorted(port.port for port in usb.plugged)


def test_maintenance_is_looked_for_at_its_own_and_at_new_ports(
    usb: Usb_, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: list[Callable[[bytes], bytes | None]] = [Board()]
    known = usb.plug(CIRCUITPY, "known", "2-1", lambda line: answers[-1](line))
    foreign = ten_ports(usb)
    new: list[Plugged] = []

    def into_maintenance(_: float) -> None:
        if not new:
            usb.unplug(known)
            new.append(usb.plug(CIRCUITPY, "starts", "2-2", silent))
            new.append(usb.plug(ESP32_S3, None, "2-3", at_prompt))
            # The port that was there does not answer.
            answers.append(silent)
            meet_all_at_once(monkeypatch, "board_at_prompt", [known, *new])

    monkeypatch.setattr(time, "sleep", into_maintenance)
    assert service_mode.wait_for("maintenance", BOARD, 1.0, Host()) == new[1].port
    assert [len(port.lines) for port in foreign] == [2] * len(foreign)


# None is named.


@pytest.mark.parametrize("named", [(), ("-d", BOARD)], ids=["none", "id"])
def test_a_board_is_not_guessed_while_another_port_is_held(
    named: tuple[str, ...], usb: Usb_, cli: Cli
) -> None:
    answers, held = usb.plug(CIRCUITPY, "1", "1-1"), usb.plug(CIRCUITPY, "2", "1-2")
    with PortHolder(held.port, 1):
        result = cli(*named, "status", "--timeout", "3")
    if named:
        # It is the one that was meant, whatever is behind the other port.
        assert result.code == OK
        return
    assert (result.code, result.out) == (USAGE, "")
    assert answers.port in result.err
    assert f"{held.port} is held by process" in result.err


@pytest.mark.parametrize("reason", ["port_held", "port_in_use", "no_permission"])
def test_a_wanted_board_may_be_at_a_port_that_cannot_be_asked(
    reason: str, monkeypatch: pytest.MonkeyPatch, usb: Usb_
) -> None:
    ports = [usb.plug(CIRCUITPY, "1", "1-1"), usb.plug(CIRCUITPY, "2", "1-2")]

    @contextlib.contextmanager
    def connect(device: str, *_: Any) -> Generator[Any]:
        raise UnreachableError("Why.", reason if device == ports[1].port else "no_answer")
        yield

    monkeypatch.setattr(client, "connect", connect)
    with (
        pytest.raises(UnreachableError, match=r"Why\.") as caught,
        discovery.open_board(BOARD, 1, None),
    ):
        pass
    assert caught.value.reason == reason


@pytest.mark.parametrize("reason", ["port_held", "port_in_use", "no_permission"])
def test_P5_all_boards_are_not_muted_if_a_port_cannot_be_asked(
    reason: str, monkeypatch: pytest.MonkeyPatch, usb: Usb_, cli: Cli
) -> None:
    usb.plug(CIRCUITPY, "1", "1-1")
    dumb = usb.plug(CIRCUITPY, "2", "1-2")
    real = client.connect

    @contextlib.contextmanager
    def connect(device: str, *options: Any) -> Generator[Any]:
        if device == dumb.port:
            raise UnreachableError("Why.", reason)
        with real(device, *options) as session:
            yield session

    monkeypatch.setattr(client, "connect", connect)
    result = cli("status", "--all")
    assert result.code == UNKNOWN
    assert result.out.count("MUTED") == result.out.count("UNKNOWN") == 1


# A watch looks for its board again and again.


class Retries:
    """A watch whose pauses take no time, and after each of which the next thing is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *todo: Callable[[], object]) -> None:
        self._todo = list(todo)
        self.passed_s = 0.0
        monkeypatch.setattr(follower, "time", self)

    def sleep(self, seconds: float) -> None:
        self.passed_s += seconds
        if not self._todo:
            raise KeyboardInterrupt
        self._todo.pop(0)()

    def watch(self, named: str | None, timeout: float = 1.0) -> None:
        def run_us() -> int:
            return SYSTEM.run_us() + int(1e6 * self.passed_s)

        clock = HostClock(SYSTEM.wall_ms, run_us, SYSTEM.run)
        with pytest.raises(KeyboardInterrupt):
            watch.follow(named, timeout, True, clock)


def goes_at_watch() -> Board:
    """A board that is unplugged when it is to be followed."""
    return on("watch", lambda *_: None)


def hellos(ports: list[Plugged]) -> list[int]:
    return [sum(b"hello" in line for line in port.lines) for port in ports]


def nothing() -> None:
    pass


def test_a_watch_of_an_unplugged_board_leaves_other_ports_alone(
    usb: Usb_, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = usb.plug(CIRCUITPY, "known", "2-1", goes_at_watch())
    assert cli("-d", board.port, "status").code == OK
    found: list[list[int]] = []
    foreign = others(usb)
    came: list[Plugged] = []

    def unplug() -> None:
        usb.unplug(board)

    def count() -> None:
        found.append(hellos([*foreign, *came]))

    def another() -> None:
        came.append(usb.plug(CIRCUITPY, "new", "3-1", silent))

    def back() -> None:
        came.append(usb.plug(CIRCUITPY, "known", "2-1", goes_at_watch()))

    retries = Retries(
        monkeypatch, unplug, *[nothing] * 4, count, another, nothing, count, back, count
    )
    retries.watch(BOARD)
    # Within a minute no byte goes to a port that was there while the board was followed.
    assert retries.passed_s < 60
    zero = [0] * len(foreign)
    assert found[0] == zero
    assert found[1][:-1] == zero
    assert found[1][-1] in (1, 2)
    assert found[2][: len(foreign)] == zero
    # It is found at the first try.
    assert found[2][-1] == 1


@pytest.mark.parametrize("named", [BOARD, None], ids=["id", "none"])
def test_a_watch_of_a_lost_board_asks_other_ports_once_a_minute(
    named: str | None, usb: Usb_, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = usb.plug(CIRCUITPY, "known", "2-1")
    assert cli("-d", board.port, "status").code == OK
    usb.unplug(board)
    foreign = [usb.plug(CIRCUITPY, f"number {at}", f"1-{at}", silent) for at in range(3)]
    retries = Retries(monkeypatch, *[nothing] * 60)
    retries.watch(named, 0.01)
    assert hellos(foreign) == [1 + int(retries.passed_s // 60)] * 3
    assert retries.passed_s > 240


def test_a_port_that_cannot_be_asked_is_tried_at_each_retry(
    usb: Usb_, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = usb.plug(CIRCUITPY, "known", "2-1")
    assert cli("-d", board.port, "status").code == OK
    usb.unplug(board)
    # By its number it is another one.
    again = usb.plug(CIRCUITPY, "of another kind", "2-2", goes_at_watch())
    holder = PortHolder(again.port, 0.1)
    holder.__enter__()
    retries = Retries(
        monkeypatch, *[nothing] * 5, lambda: holder.__exit__(None, None, None), nothing
    )
    retries.watch(BOARD)
    assert hellos([again])[0] >= 2
    assert retries.passed_s < 60


# Several boards. What is silent holds up no cut.


class Order:
    """Silent ports that time out only when all of ``first`` are cut."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, quiet: list[Plugged], boards: int) -> None:
        self._devices = [one.port for one in quiet]
        self._left = boards
        self._all_cut = threading.Event()
        self._real = client.connect
        monkeypatch.setattr(client, "connect", self._connect)

    def board(self, board: str) -> Board:
        """A live board, which `mute` cuts."""
        status = {**LIVE}

        def alter(request: dict[str, Any], _: dict[str, Any], frame: bytes) -> bytes:
            if request["op"] == "mute" and status["state"] == "live":
                status.update(MUTED, cause="host")
                self._left -= 1
                if not self._left:
                    self._all_cut.set()
            return frame

        return Board(hello={**HELLO, "board": board}, status=status, alter=alter)

    @contextlib.contextmanager
    def _connect(self, device: str, *options: Any) -> Generator[Any]:
        if device in self._devices:
            assert self._all_cut.wait(60)
            raise UnreachableError(f"{device} is silent.", "no_answer")
        with self._real(device, *options) as session:
            yield session


@pytest.mark.parametrize("named", ["--all", "ids", "one id"])
def test_P5_a_cut_waits_for_no_port_that_is_silent(
    named: str, usb: Usb_, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet = [usb.plug(CIRCUITPY, f"number {at}", f"1-{at}", silent) for at in range(3)]
    boards = [BOARD] if named == "one id" else [BOARD, OTHER]
    order = Order(monkeypatch, quiet, len(boards))
    for at, board in enumerate(boards):
        usb.plug(ESP32_S3, None, f"2-{at}", order.board(board))
    gone = "c0ffee01"
    words = [word for board in boards for word in ("-d", board)]
    if named == "--all":
        words = ["--all"]
    elif named == "ids":
        # What is not there is asked for first.
        words = ["-d", gone, *words]
    result = cli("mute", *words)
    assert result.out.count("MUTED") == len(boards)
    assert result.code == (UNKNOWN if named == "ids" else OK)


def test_P5_a_name_that_means_nothing_holds_up_no_cut(
    usb: Usb_, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = Order(monkeypatch, [], 1)
    board = usb.plug(CP210X, "02A7B3", "1-1", order.board(BOARD))
    (tmp_path / "file").touch()
    result = cli("mute", "-d", tmp_path / "file", "-d", "kitchen", "-d", board.port)
    assert (result.code, result.out.count("MUTED")) == (UNKNOWN, 1)


def test_to_cut_known_boards_sends_no_byte_to_foreign_ports(usb: Usb_, cli: Cli) -> None:
    wanted = [
        usb.plug(CIRCUITPY, "known", "2-1"),
        usb.plug(CP210X, "02A7B3", "2-2", Board(hello={**HELLO, "board": OTHER})),
    ]
    for one in wanted:
        assert cli("-d", one.port, "status").code == OK
    foreign = others(usb)
    usb.opened.clear()
    assert cli("mute", "-d", BOARD, "-d", OTHER).code == OK
    assert set(usb.opened) == {one.port for one in wanted}
    assert [one.lines for one in foreign] == [[]] * len(foreign)


def test_P5_all_boards_have_those_behind_bridges_that_are_known(usb: Usb_, cli: Cli) -> None:
    bridge = usb.plug(CP210X, "02A7B3", "1-1")
    foreign = [usb.plug(CP210X, "other", "1-2", silent), usb.plug(CH340, None, "1-3", silent)]
    # It was never met, so that nothing tells it from a printer.
    assert cli("status", "--all").out.count("MUTED") == 0
    assert cli("-d", bridge.port, "status").code == OK
    result = cli("status", "--all", "--json")
    assert (result.code, [row["board"] for row in result.json]) == (OK, [BOARD])
    # It is there, by its serial number, and does not answer.
    usb.unplug(bridge)
    usb.plug(CP210X, "02A7B3", "1-1", silent)
    result = cli("status", "--all", "--json", "--timeout", "0.3")
    assert (result.code, [row["board"] for row in result.json]) == (UNKNOWN, [BOARD])
    assert [one.lines for one in foreign] == [[], []]


def test_P5_a_labelled_board_behind_an_untold_bridge_is_unknown(usb: Usb_, cli: Cli) -> None:
    bridge = usb.plug(CH340, None, "1-1")
    assert cli("-d", bridge.port, "name", "desk").code == OK
    bridge.lines.clear()
    result = cli("status", "--all")
    assert (result.code, bridge.lines) == (UNKNOWN, [])
    assert "name its port with --device" in result.err


# A USB device goes while the ports are listed.


def test_a_device_that_goes_while_ports_are_listed_is_left_out(
    usb: Usb_, cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stays, goes = usb.plug(PICO, BOARD, "1-1"), usb.plug(PICO, OTHER, "1-2")

    def raising(*_: Any) -> list[Any]:
        # As pyserial 3.5 does, whose `int` gets None from a file that has gone.
        return [int(None, 16)]  # type: ignore[call-overload]

    def read(device: str) -> SimpleNamespace:
        at = Path(device).resolve()
        if at == Path(goes.port):
            raising()
        assert at == Path(stays.port)
        return stays.info

    monkeypatch.setattr(list_ports, "comports", raising)
    monkeypatch.setattr(list_ports_linux, "SysFS", read)
    monkeypatch.setattr(discovery, "_DEV", str(home))
    (home / "ttyACM0").symlink_to(goes.port)
    (home / "ttyUSB1").symlink_to(stays.port)
    assert [port.device for port in discovery.serial_ports(bridges=True)] == [stays.port]
    for words in (["list"], ["status"], ["-d", BOARD, "status"]):
        result = cli(*words)
        assert (result.code, result.err) == (OK, "")


def test_only_one_place_lists_ports() -> None:
    package = Path(discovery.__file__).parent
    files = [file.name for file in package.rglob("*.py") if "list_ports" in file.read_text()]
    assert files == ["discovery.py"]


# Where it is kept.


def test_one_device_has_one_board(home: Path) -> None:
    log = Log(home / "log.sqlite3")
    assert log.usb(BOARD) is None
    log.learn_usb(BOARD, Usb("number", "1-1", CP210X))
    log.learn_usb(OTHER, Usb("number", "1-2", CP210X))
    assert (log.usb(BOARD), log.usb(OTHER)) == (None, Usb("number", "1-2", CP210X))
    log.learn_usb(BOARD, Usb(None, "1-1", ESP32_S3))
    log.learn_usb(OTHER, Usb(None, "1-2", ESP32_S3))
    assert log.usb(BOARD) == Usb(None, "1-1", ESP32_S3)
    log.learn_usb(OTHER, Usb(None, "1-1", ESP32_S3))
    assert log.usb(BOARD) is None
    log.close()
    # It is no evidence: nothing was appended, and nothing in the log is of another format.
    log = Log(home / "log.sqlite3", read_only=True)
    assert (log.head()[0], log.usb(OTHER)) == (0, Usb(None, "1-1", ESP32_S3))
    log.close()


@pytest.mark.usefixtures("home")
def test_an_id_works_without_a_log(usb: Usb_) -> None:
    usb.plug(CIRCUITPY, "1")
    with discovery.open_board(BOARD, 1, None) as (_, identity):
        assert identity.board == BOARD


# Who else looks for a board by its id.


def test_prune_meets_a_paired_board_behind_the_known_bridge(
    usb: Usb_, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge = usb.plug(CP210X, "02A7B3")
    assert cli("-d", bridge.port, "status").code == OK
    others(usb)
    usb.opened.clear()
    bridge.lines.clear()
    monkeypatch.setattr(host, "paired_boards", lambda _checkpoint: [BOARD])
    assert "The checkpoint is open" in cli("log", "prune", "--yes", "--before", "0m").out
    check_alone(usb, bridge)
