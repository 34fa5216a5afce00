"""`hardmute doctor`: each check, on computers, boards and logs with just that wrong."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_device import BOARD, HELLO, MUTED, Board, changed, pty_device

import muteboard
from conftest import Cli, Sim, StartSim, StartWatch, plug_in
from evidence_maker import Story
from hardmute.cli.commands import doctor
from hardmute.device import discovery, holder
from hardmute.device.discovery import Port
from hardmute.doctor import board, ports, store
from hardmute.doctor.finding import Finding
from hardmute.doctor.machine import Machine, here
from hardmute.evidence.observation import Observation
from hardmute.model import errors
from hardmute.model.clock import now_ms
from hardmute.store import keys
from hardmute.store.log import Log
from muteboard import attest

PICO = Port("/dev/ttyACM0", "e6614c311b8a4f2d", (0x2E8A, 0x0005))
BRIDGE = Port("/dev/ttyUSB0", None, (0x10C4, 0xEA60))
NOW_MS = 1_800_000_000_000
NAMES = [*ports.NAMES, "board", "firmware", "state", "pairing", "board_clock"]
NAMES += ["clock", "log", "disk", "file_modes", "monitor_settings", "monitor", "notifications"]
NAMES += ["page", "mqtt"]


def write(file: Path, content: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content)


class Computer:
    """A Linux with a Pico on it, nothing wrong; the tests change its files and its answers."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answers: dict[str, Any] = {
            "system": "linux",
            "root": root,
            "pid": 999,
            "may_open": lambda _: True,
            "group_of": lambda _: "dialout",
            "groups": frozenset({"users"}),
            "free_bytes": lambda _: 1 << 36,
            "now_ms": lambda: NOW_MS,
        }
        self.plug("1-1", "2e8a", "0005")
        self.write("sys/bus/usb/devices/usb1/bDeviceClass", "09\n")
        self.write("dev/ttyACM0", "")
        self.write("sys/class/tty/ttyACM0/dev", "166:0\n")
        self.run(1, "systemd")
        self.run(4242, "bash", "/dev/pts/0", "pipe:[77]")

    def write(self, name: str, content: str) -> None:
        write(self.root / name, content)

    def plug(self, name: str, vendor: str, product: str) -> None:
        self.write(f"sys/bus/usb/devices/{name}/idVendor", f"{vendor}\n")
        self.write(f"sys/bus/usb/devices/{name}/idProduct", f"{product}\n")

    def run(self, pid: int, name: str, *opened: str) -> None:
        self.write(f"proc/{pid}/comm", f"{name}\n")
        folder = self.root / f"proc/{pid}/fd"
        folder.mkdir(exist_ok=True)
        for number, what in enumerate(opened):
            (folder / str(number)).symlink_to(what)

    def machine(self, **answers: Any) -> Machine:
        return Machine(**{**self.answers, **answers})

    def check(self, here: list[Port], bridges: list[Port] | None = None, **answers: Any) -> Any:
        found = list(ports.check(self.machine(**answers), here, bridges or []))
        assert tuple(finding.name for finding in found) == ports.NAMES
        return {finding.name: finding for finding in found}


@pytest.fixture
def computer(home: Path, tmp_path: Path) -> Computer:
    assert home
    return Computer(tmp_path)


def results(found: dict[str, Finding]) -> dict[str, str]:
    return {finding.name: finding.result for finding in found.values()}


ALL_WELL = dict.fromkeys(ports.NAMES, "pass")


def test_a_computer_with_nothing_wrong(computer: Computer) -> None:
    found = computer.check([PICO])
    assert results(found) == ALL_WELL
    assert found["usb"].text == "a board can be at /dev/ttyACM0 (2e8a:0005)"


# usb, bootsel


def test_nothing_plugged_in_says_what_to_look_at(computer: Computer) -> None:
    (computer.root / "sys/bus/usb/devices/1-1/idVendor").unlink()
    found = computer.check([])
    usb = found["usb"]
    assert (usb.result, usb.code) == ("fail", errors.UNKNOWN)
    for words in ("cable that carries data", "only charge", "hub", "--probe"):
        assert words in usb.todo
    assert results(found) == {
        "usb": "fail",
        "bootsel": "pass",
        "permission": "skipped",
        "modem_manager": "pass",
        "port_holder": "skipped",
    }


def test_a_bridge_that_nobody_named_is_mentioned(computer: Computer) -> None:
    (computer.root / "sys/bus/usb/devices/1-1/idVendor").unlink()
    assert "`-d /dev/ttyUSB0`" in computer.check([], [BRIDGE])["usb"].todo


def test_a_usb_device_without_a_port_lacks_its_driver(computer: Computer) -> None:
    usb = computer.check([])["usb"]
    assert (usb.result, usb.code) == ("fail", errors.UNKNOWN)
    assert "2e8a:0005" in usb.text
    assert "modprobe cdc_acm" in usb.todo
    # One with a port that nobody named is none of these.
    (computer.root / "sys/bus/usb/devices/1-1:1.0/tty/ttyACM0").mkdir(parents=True)
    assert "no board" in computer.check([])["usb"].text


def test_a_board_in_bootsel(computer: Computer) -> None:
    computer.plug("1-1", "2e8a", "0003")
    found = computer.check([])
    assert (found["bootsel"].result, found["usb"].result) == ("warn", "fail")
    assert "1 board is in BOOTSEL (USB id 2e8a:0003)" in found["bootsel"].text
    assert "hardmute flash" in found["bootsel"].todo
    computer.plug("1-2", "2e8a", "0005")
    found = computer.check([PICO])
    assert (found["bootsel"].result, found["usb"].result) == ("warn", "pass")


def test_a_pico_2_in_bootsel_is_not_supported(computer: Computer) -> None:
    computer.plug("1-1", "2e8a", "000f")
    usb = computer.check([])["usb"]
    assert (usb.result, usb.code) == ("fail", errors.UNKNOWN)
    assert "2e8a:000f is an RP2350 (Pico 2) in BOOTSEL" in usb.text
    assert "Raspberry Pi Pico" in usb.todo


def test_a_port_that_was_named_and_is_not_there(computer: Computer) -> None:
    found = computer.check([Port("/dev/ttyACM9", None, None)])
    assert (found["usb"].result, found["usb"].text) == ("fail", "there is no /dev/ttyACM9")
    assert found["permission"].result == "skipped"


# permission


@pytest.mark.parametrize(
    ("group", "mine", "says"),
    [
        ("dialout", "users", "sudo usermod -aG dialout $USER"),
        ("uucp", "users", "sudo usermod -aG uucp $USER"),
        ("dialout", "dialout", "log out and in again"),
        (None, "users", "hardmute doctor --udev-rule"),
    ],
)
def test_no_permission(computer: Computer, group: str | None, mine: str, says: str) -> None:
    found = computer.check(
        [PICO],
        may_open=lambda _: False,
        group_of=lambda _: group,
        groups=frozenset({mine}),
    )
    permission = found["permission"]
    assert (permission.result, permission.code) == ("fail", errors.UNKNOWN)
    assert permission.text == "you may not open /dev/ttyACM0"
    assert says in permission.todo
    assert permission.todo[0].isupper()
    assert permission.todo.count(". ") == 0
    assert permission.todo.endswith(".")


# modem_manager


def test_modem_manager_may_grab_a_board_that_no_rule_protects(computer: Computer) -> None:
    computer.run(500, "ModemManager")
    computer.write("run/udev/data/c166:0", "I:12345\nE:ID_VENDOR_ID=2e8a\nG:systemd\n")
    for plugged in ([PICO], []):
        found = computer.check(plugged)["modem_manager"]
        assert (found.result, found.code) == ("warn", errors.OK)
        assert "--udev-rule" in found.todo


def test_modem_manager_ignores_what_udev_has_told_it_to(computer: Computer) -> None:
    computer.run(500, "ModemManager")
    computer.write("run/udev/data/c166:0", "I:12345\nE:ID_MM_DEVICE_IGNORE=1\nG:uaccess\n")
    assert computer.check([PICO])["modem_manager"].result == "pass"
    # Each of them counts.
    computer.write("dev/ttyACM1", "")
    both = [PICO, PICO._replace(device="/dev/ttyACM1")]
    assert computer.check(both)["modem_manager"].result == "warn"


@pytest.mark.parametrize("folder", ["etc/udev", "usr/lib/udev"])
def test_our_own_rule_is_recognised_before_a_board_is_there(
    computer: Computer, cli: Cli, folder: str
) -> None:
    computer.run(500, "ModemManager")
    rule = cli("doctor", "--udev-rule").out
    commented = "".join(f"#{line}\n" for line in rule.splitlines())
    computer.write(f"{folder}/rules.d/70-hardmute.rules", commented)
    assert computer.check([])["modem_manager"].result == "warn"
    computer.write(f"{folder}/rules.d/70-hardmute.rules", rule)
    assert computer.check([])["modem_manager"].result == "pass"


# port_holder


def test_another_program_that_has_the_port_open_is_named(computer: Computer) -> None:
    computer.run(4711, "mini\x1bcom", "/dev/null", "/dev/ttyACM0")
    found = computer.check([PICO])["port_holder"]
    assert (found.result, found.code) == ("fail", errors.UNKNOWN)
    assert found.text == "/dev/ttyACM0 is open in process 4711 (mini\N{REPLACEMENT CHARACTER}com)"
    # This very process may have it open.
    assert computer.check([PICO], pid=4711)["port_holder"].result == "pass"


def test_another_hardmute_that_holds_the_port_is_named(computer: Computer) -> None:
    with holder.PortHolder("/dev/ttyACM0", 0):
        found = computer.check([PICO])["port_holder"]
    assert (found.result, found.code) == ("fail", errors.UNKNOWN)
    assert f"held by process {os.getpid()}" in found.text
    assert computer.check([PICO])["port_holder"].result == "pass"


# Other systems


@pytest.mark.parametrize(
    ("system", "skips"),
    [
        ("darwin", {"bootsel", "modem_manager", "port_holder"}),
        ("win32", {"bootsel", "permission", "modem_manager", "port_holder"}),
    ],
)
def test_what_other_systems_do_not_have_is_not_checked(
    home: Path, tmp_path: Path, system: str, skips: set[str]
) -> None:
    assert home
    computer = Computer(tmp_path / "linux")
    root = tmp_path / "other"
    write(root / "dev/ttyACM0", "")
    found = computer.check([PICO], system=system, root=root)
    assert {name for name, each in found.items() if each.result == "skipped"} == skips
    assert all(found[name].text.startswith("not checked: ") for name in skips)
    assert {each.result for each in found.values()} == {"pass", "skipped"}
    refused = computer.check([PICO], system="darwin", root=root, may_open=lambda _: False)
    assert refused["permission"].result == "fail"


# The board. `Script` boards on pseudo-terminals; the port's checks are left out.


def ask(script: Board, log: Log | None = None, now: int = NOW_MS) -> dict[str, Finding]:
    machine = here()._replace(now_ms=lambda: now)
    with pty_device(script) as device:
        found = list(board.check(device.address, 1.0, machine, log))
    return {finding.name: finding for finding in found}


def test_a_board_with_nothing_wrong_gets_only_hello_and_status(home: Path) -> None:
    assert home
    script = Board(hello=changed(HELLO, firmware=muteboard.__version__))
    found = ask(script)
    assert [request["op"] for request in script.requests] == ["hello", "status"]
    assert results(found) == {
        "board": "pass",
        "firmware": "pass",
        "state": "pass",
        "pairing": "pass",
        "board_clock": "skipped",
    }
    assert f"board {BOARD} answers at" in found["board"].text
    assert found["state"].text == "muted (sensed), and the board warns of nothing"


def test_another_firmware_than_ours(home: Path) -> None:
    assert home
    firmware = ask(Board(hello=changed(HELLO, firmware="0.0.9")))["firmware"]
    assert (firmware.result, firmware.code) == ("warn", errors.OK)
    assert "runs 0.0.9, and this hardmute has" in firmware.text


@pytest.mark.parametrize(
    ("status", "result", "code", "says"),
    [
        ({"state": "fault", "faults": ["closed:1"], "sense": [1, 0]}, "fail", 4, "contact 1 read"),
        ({"sense": [1, 0]}, "fail", 4, "says muted while a contact reads closed"),
        ({"warnings": ["stuck"]}, "warn", 0, "something lying on it"),
        ({"service": "setup"}, "warn", 0, "in setup"),
        (
            {"state": "live", "command": "connected", "sense": [1, 1], "remute_in_ms": 5},
            "pass",
            0,
            "live (sensed)",
        ),
    ],
)
def test_P4_what_the_board_complains_of(
    home: Path, status: dict[str, Any], result: str, code: int, says: str
) -> None:
    assert home
    found = ask(Board(status=changed(MUTED, **status)))["state"]
    assert (found.result, found.code) == (result, code)
    assert says in found.text


def test_P5_a_device_that_does_not_answer_is_a_failure(home: Path) -> None:
    assert home
    found = ask(Board(alter=lambda _request, _answer, _frame: b""))
    assert (found["board"].result, found["board"].code) == ("fail", errors.UNKNOWN)
    assert "did not answer within" in found["board"].text
    assert "lamp" in found["board"].todo
    assert {each.result for name, each in found.items() if name != "board"} == {"skipped"}


@pytest.mark.parametrize(
    "reason", ["no_board", "no_permission", "port_held", "port_in_use", "wrong_board"]
)
def test_P5_whatever_keeps_a_board_from_being_asked_is_a_failure(
    home: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    """Even where no check of the port saw why: the program may be another user's."""
    assert home

    def refuse(*_: object) -> None:
        raise errors.UnreachableError("It cannot.", reason)

    monkeypatch.setattr(discovery, "open_board", refuse)
    first = next(board.check(None, 1.0, here(), None))
    assert (first.name, first.result, first.code) == ("board", "fail", errors.UNKNOWN)


# pairing

JOURNALED = changed(HELLO, journal=True)


def journal_end(pairing: int) -> dict[str, Any]:
    return changed(MUTED, seq=5, head="00" * attest.MAC, pairing=pairing)


@pytest.mark.parametrize(
    ("has_key", "pairing", "result", "code", "says"),
    [
        (False, 0, "pass", 0, "is not paired"),
        (True, 2, "fail", 3, "malformed"),
        (False, 2, "warn", 0, "has no key"),
        (True, 0, "fail", 5, "says that it is not paired"),
    ],
)
def test_key_and_pairing_belong_together(
    home: Path, has_key: bool, pairing: int, result: str, code: int, says: str
) -> None:
    assert home
    if has_key:
        keys.save_attest_key(BOARD, keys.attest_key_of(1, bytes(attest.KEY)))
    found = ask(Board(hello=JOURNALED, status=journal_end(pairing)))["pairing"]
    assert (found.result, found.code) == (result, code)
    assert says in found.text


def test_P5_a_key_of_another_pairing_fails(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    sim.act("power-off")
    sim.act("power-on", "--hold", "3.3")
    assert cli("-d", sim.board, "pair", "--verify-key", tmp_path / "key.json").code == errors.OK
    checks = {
        each["name"]: each for each in cli("-d", sim.board, "doctor", "--json").json["checks"]
    }
    assert checks["pairing"]["result"] == "pass"
    assert "with the key of this host, pairing 1" in checks["pairing"]["text"]

    [made] = keys.load_attest_keys(sim.board)
    keys.remove_attest_key(sim.board)
    keys.save_attest_key(sim.board, made._replace(key=bytes(attest.KEY)))
    told = cli("-d", sim.board, "doctor", "--json")
    assert told.code == errors.TAMPERED
    checks = {each["name"]: each for each in told.json["checks"]}
    assert "a key, of pairing 1, that is not this host's" in checks["pairing"]["text"]


def test_a_damaged_key(home: Path) -> None:
    write(home / "keys" / f"{BOARD}.json", "{")
    found = ask(Board(hello=JOURNALED, status=journal_end(1)))["pairing"]
    assert (found.result, found.code) == ("fail", errors.LOCAL)


# board_clock


@pytest.fixture
def met(home: Path) -> Callable[..., Log]:
    """A log in which the board was met; now it has been up for 60 s."""

    def make(at_ms: int, uptime_ms: int, **more: Any) -> Log:
        log = Log(home / "log.sqlite3")
        fields: dict[str, Any] = {"boot": 3, "state": "muted", **more}
        log.add(
            Observation(
                at_ms, BOARD, "/dev/x", False, "status", "muted", "sensed", None,
                since_ms=0, uptime_ms=uptime_ms, **fields,
            )
        )  # fmt: skip
        log.close()
        return Log(home / "log.sqlite3", read_only=True)

    return make


@pytest.mark.parametrize(
    ("ago_ms", "result", "says"),
    [
        (50_000, "pass", "has gone on as the board's has"),
        (51_900, "pass", "has gone on as the board's has"),
        (3_650_000, "warn", "set forward by 1 h 00 min"),
        (-3_550_000, "warn", "set back by 1 h 00 min"),
    ],
)
def test_the_hosts_clock_against_the_boards(
    met: Callable[..., Log], ago_ms: int, result: str, says: str
) -> None:
    log = met(NOW_MS - ago_ms, 10_000)
    found = ask(Board(), log)["board_clock"]
    log.close()
    assert (found.result, found.code) == (result, errors.OK)
    assert says in found.text


@pytest.mark.parametrize(
    ("uptime_ms", "boot", "status"),
    [
        (10_000, 2, MUTED),
        (70_000, 3, MUTED),
        (10_000, 3, changed(MUTED, warnings=["boot_not_counted"])),
    ],
)
def test_clocks_of_two_starts_do_not_compare(
    met: Callable[..., Log], uptime_ms: int, boot: int, status: dict[str, Any]
) -> None:
    log = met(NOW_MS - 9_000_000, uptime_ms, boot=boot)
    assert ask(Board(status=status), log)["board_clock"].result == "skipped"
    log.close()


# What the host keeps.


def kept(machine: Machine, home: Path) -> dict[str, Finding]:
    log, trouble = doctor._open_log(home / "log.sqlite3")
    found = list(store.check(machine, home, log, trouble))
    if log is not None:
        log.close()
    return {finding.name: finding for finding in found}


@pytest.fixture
def log_of_now(home: Path) -> Path:
    """A log whose newest entry is of `NOW_MS`."""
    log = Log(home / "log.sqlite3", clock=lambda: NOW_MS)
    log.append("incident", BOARD, {"branch": 1, "what": "gap", "text": "x"})
    log.close()
    return log.file


def test_a_log_with_nothing_wrong(computer: Computer, home: Path, log_of_now: Path) -> None:
    before = {file: file.read_bytes() for file in home.iterdir() if file.is_file()}
    found = kept(computer.machine(), home)
    assert set(results(found).values()) == {"pass"}
    assert str(log_of_now) in found["log"].text
    assert {file: file.read_bytes() for file in home.iterdir() if file.is_file()} == before


def test_a_log_that_another_process_writes_is_read_as_it_is_now(
    computer: Computer, home: Path, log_of_now: Path
) -> None:
    writer = Log(log_of_now, clock=lambda: NOW_MS + 60_000)
    writer.append("incident", BOARD, {"branch": 1, "what": "gap", "text": "y"})
    assert kept(computer.machine(), home)["clock"].result == "warn"
    writer.close()


def test_no_log_yet(computer: Computer, home: Path) -> None:
    found = kept(computer.machine(), home / "not" / "yet")
    assert results(found) == {
        "clock": "pass",
        "log": "pass",
        "disk": "pass",
        "file_modes": "skipped",
    }
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    ("now", "result", "code"),
    [
        (NOW_MS - 1_000, "pass", 0),
        (NOW_MS - 3_600_000, "warn", 0),
        (1_600_000_000_000, "fail", errors.LOCAL),
        (0, "fail", errors.LOCAL),
    ],
)
def test_a_clock_that_cannot_be_right(
    computer: Computer, home: Path, log_of_now: Path, now: int, result: str, code: int
) -> None:
    assert log_of_now
    found = kept(computer.machine(now_ms=lambda: now), home)["clock"]
    assert (found.result, found.code) == (result, code)
    assert ("timedatectl" in found.todo) is (result != "pass")


def overwrite(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


def set_version(file: Path, version: int) -> None:
    # https://sqlite.org/fileformat2.html: the user version is at 60.
    overwrite(file, 60, version.to_bytes(4))


@pytest.mark.parametrize(
    ("harm", "code", "says"),
    [
        (lambda file: file.write_bytes(b"no database" * 99), errors.TAMPERED, "is damaged"),
        (lambda file: file.write_bytes(b""), errors.TAMPERED, "is damaged"),
        (lambda file: overwrite(file, 4096, bytes(4096)), errors.TAMPERED, "is damaged"),
        (lambda file: set_version(file, 99), errors.LOCAL, "newer hardmute"),
    ],
)
def test_P6_a_damaged_log_is_found_and_left_where_it_is(
    computer: Computer,
    home: Path,
    log_of_now: Path,
    harm: Callable[[Path], object],
    code: int,
    says: str,
) -> None:
    harm(log_of_now)
    content = log_of_now.read_bytes()
    found = kept(computer.machine(), home)["log"]
    assert (found.result, found.code) == ("fail", code)
    assert says in found.text
    assert log_of_now.read_bytes() == content
    assert not list(home.glob("*damaged*"))


@pytest.mark.parametrize("name", ["log.sqlite3", ""])
def test_a_log_that_cannot_be_written(
    computer: Computer, home: Path, log_of_now: Path, name: str
) -> None:
    assert log_of_now
    closed = home / name
    found = kept(computer.machine(may_open=lambda path: path != closed), home)["log"]
    assert (found.result, found.code) == ("fail", errors.LOCAL)
    assert f"{closed} cannot be written" in found.text
    assert "chown" in found.todo


@pytest.mark.parametrize(
    ("free", "result", "code"),
    [(1 << 30, "pass", 0), (10_000_000, "warn", 0), (4096, "fail", errors.LOCAL)],
)
def test_a_disk_that_is_full(
    computer: Computer, home: Path, free: int, result: str, code: int
) -> None:
    found = kept(computer.machine(free_bytes=lambda _: free), home)["disk"]
    assert (found.result, found.code) == (result, code)


@pytest.mark.parametrize(
    ("name", "mode", "result", "says"),
    [
        ("log.sqlite3", 0o640, "fail", "chmod 600"),
        ("log.sqlite3", 0o602, "fail", "chmod 600"),
        (f"keys/{BOARD}.json", 0o644, "fail", "pair again"),
        ("keys", 0o755, "warn", "chmod 700"),
        ("", 0o750, "warn", "chmod 700"),
        ("log.sqlite3", 0o600, "pass", ""),
    ],
)
def test_files_that_others_can_read(
    computer: Computer, home: Path, log_of_now: Path, name: str, mode: int, result: str, says: str
) -> None:
    assert log_of_now
    keys.save_attest_key(BOARD, keys.attest_key_of(1, bytes(attest.KEY)))
    (home / name).chmod(mode)
    found = kept(computer.machine(), home)["file_modes"]
    assert found.result == result
    assert found.code == (errors.LOCAL if result == "fail" else errors.OK)
    assert says in found.todo
    if result != "pass":
        assert str(home / name) in found.text
    assert kept(computer.machine(system="win32"), home)["file_modes"].result == "skipped"


# The rule.


def test_the_udev_rule_is_for_the_boards_that_are_looked_for(cli: Cli) -> None:
    rule = cli("doctor", "--udev-rule")
    assert (rule.code, rule.err) == (0, "")
    lines = [line for line in rule.out.splitlines() if line and not line.startswith("#")]
    vendors = "|".join(f"{vendor:04x}" for vendor in (0x2E8A, 0x239A, 0x303A))
    assert {0x2E8A, 0x239A, 0x303A} == discovery.BOARD_VENDORS
    assert f'ATTRS{{idVendor}}=="{vendors}", ENV{{ID_MM_DEVICE_IGNORE}}="1"' in lines
    assert f'SUBSYSTEM=="tty", ATTRS{{idVendor}}=="{vendors}", TAG+="uaccess"' in lines
    for vendor, product in discovery._BRIDGE_IDS:
        assert any(
            f'"{vendor:04x}"' in line and f"{product:04x}" in line and 'TAG+="uaccess"' in line
            for line in lines
        )


# All of it, on a running board.


def test_doctor_finds_nothing_wrong_with_a_simulated_board(sim: Sim, cli: Cli, home: Path) -> None:
    assert cli("-d", sim.device, "name", "desk").code == 0
    before = {file: file.read_bytes() for file in home.glob("log*")}
    for name in (sim.board, sim.device, "desk"):
        told = cli("doctor", "-d", name, "--json")
        assert told.code == errors.OK, told
        assert told.json["hardmute"] == muteboard.__version__
        checks = told.json["checks"]
        assert [check["name"] for check in checks] == NAMES
        assert all(set(check) == {"name", "result", "text", "todo"} for check in checks)
        found = {check["name"]: check["result"] for check in checks}
        assert {name for name in NAMES if found[name] == "skipped"} == {
            *ports.NAMES,
            "notifications",
            "page",
            "mqtt",
        }
        assert set(found.values()) == {"pass", "skipped"}
    assert {file: file.read_bytes() for file in home.glob("log*")} == before
    shown = cli("doctor", "-d", sim.board)
    assert shown.code == errors.OK
    lines = shown.out.splitlines()
    # What says the same of several checks is one line.
    named = [line.split(":")[0].split(maxsplit=1)[1].split(", ") for line in lines]
    assert [name for names in named for name in names] == NAMES
    assert named[0] == list(ports.NAMES)
    assert {line.split()[0] for line in lines} == {"PASS", "SKIPPED"}
    assert "a simulated one, answers at" in shown.out
    assert "\x1b" not in shown.out


def test_settings_with_a_mistake_fail_with_its_line(sim: Sim, cli: Cli, home: Path) -> None:
    (home / "monitor.toml").write_text('\nquiet = "25:00-08:00"\n')
    told = cli("doctor", "-d", sim.board, "--json")
    assert told.code == errors.LOCAL
    found = {check["name"]: check for check in told.json["checks"]}["monitor_settings"]
    assert found["result"] == "fail"
    assert f"{home / 'monitor.toml'}, line 2: quiet must be" in found["text"]


def test_doctor_says_what_lacks_for_the_page(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor._page().text.endswith("`hardmute monitor --page` serves one")
    (home / "monitor.toml").write_text("page = true\n")
    assert doctor._page().text.endswith("no monitor of yours runs")
    monkeypatch.setattr(doctor.util, "find_spec", {"starlette": object()}.get)
    assert doctor._page().result == "fail"
    assert "pip install -e '.[page]'" in doctor._page().text


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_a_system_where_nobody_has_run_the_monitor_is_told(
    computer: Computer, system: str
) -> None:
    assert doctor._monitor(computer.machine()).result == "pass"
    found = doctor._monitor(computer.machine(system=system))
    assert found.result == "warn"
    assert "nobody has run `hardmute monitor` and `hardmute service`" in found.text


def test_a_real_port_is_checked_as_one(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pseudo-terminal in the place of a Pico's port: all but ModemManager depends on us."""
    monkeypatch.setattr("hardmute.device.simulators.running", list)
    plug_in(monkeypatch, sim.device)
    found = {check["name"]: check for check in cli("doctor", "--json").json["checks"]}
    assert found["usb"]["result"] == "pass"
    assert found["permission"]["result"] == "pass"
    assert found["board"]["result"] == "pass"


def test_doctor_says_who_watches(sim: Sim, cli: Cli, watch: StartWatch) -> None:
    watcher = watch(sim.device)
    watcher.until("muted")
    told = cli("doctor", "-d", sim.device, "--timeout", 0.1, "--json")
    assert told.code == errors.UNKNOWN
    found = {check["name"]: check for check in told.json["checks"]}
    assert f"held by process {watcher.process.pid}" in found["board"]["text"]


def test_the_worst_failure_is_the_exit_code(sim: Sim, cli: Cli, home: Path) -> None:
    assert cli("-d", sim.board, "status").code == 0
    (home / "log.sqlite3").chmod(0o644)
    assert cli("doctor", "-d", sim.board).code == errors.LOCAL
    # It is live, which is no failure: 1 would be about something else.
    sim.act("press")
    assert cli("doctor", "-d", sim.board).code == errors.LOCAL
    (home / "log.sqlite3").chmod(0o600)
    assert cli("doctor", "-d", sim.board).code == errors.OK
    sim.act("weld", "press")
    assert cli("doctor", "-d", sim.board).code == errors.FAULT
    sim.act("unplug")
    told = cli("doctor", "-d", sim.board)
    assert told.code == errors.UNKNOWN
    assert "FAIL     board: " in told.out
    set_version(home / "log.sqlite3", 7)
    overwrite(home / "log.sqlite3", 0, b"SQLite fxrmat 3")
    assert cli("doctor", "-d", sim.board).code == errors.TAMPERED


def test_doctor_with_no_board_and_no_log_leaves_none_behind(cli: Cli, home: Path) -> None:
    told = cli("doctor", "--json")
    assert told.code == errors.UNKNOWN
    found = {check["name"]: check["result"] for check in told.json["checks"]}
    assert (found["usb"], found["board"], found["log"]) == ("fail", "fail", "pass")
    assert not list(home.glob("log*"))


def test_doctor_does_not_guess_among_several_boards(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = [start_sim(), start_sim()]
    plug_in(monkeypatch, *(one.device for one in boards))
    told = cli("doctor", "--json")
    assert (told.code, told.out) == (errors.USAGE, "")
    assert all(one.board in told.err for one in boards)


def test_doctor_accepts_the_log_of_an_hour(story: Story, cli: Cli, home: Path) -> None:
    story.host.log.close()
    told = {check["name"]: check for check in json.loads(cli("doctor", "--json").out)["checks"]}
    assert told["log"]["result"] == "pass"
    assert now_ms() > 0
    assert str(home) in told["log"]["text"]


def test_doctor_says_that_the_broker_cannot_be_reached(sim: Sim, cli: Cli, home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    (home / "monitor.toml").write_text(f'mqtt = "mqtt://127.0.0.1:{port}"\n')
    told = cli("doctor", "-d", sim.device, "--json")
    assert told.code == errors.LOCAL
    found = told.json["checks"][-1]
    assert (found["name"], found["result"]) == ("mqtt", "fail")
    assert found["text"] == (
        f"The broker at port {port} of 127.0.0.1 cannot be used (Connection refused):"
        " see docs/home-assistant.md."
    )
