"""Proof level `absent`: it adds to a signed "muted", and what is not known is not absent."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from paired_device import Device, is_paired, plugged_in
from sysfs import CONTROLLER, Sysfs

import soundness
from conftest import Cli, Result
from evidence_maker import BOARD
from hardmute.evidence import absence
from hardmute.evidence.absence import UsbDevice
from hardmute.model import errors
from hardmute.store.log import Log
from hardmute.sync import absence as looking
from hardmute.sync import visit
from hardmute.sync.absence import find
from hardmute.system.usb_tree import usb_tree
from muteboard import attest

MATRIX = soundness.matrix()
NUMBERED = UsbDevice(0x0D8C, 0x0014, "A1", CONTROLLER, "1.4", "USB PnP Sound Device", True)
PLAIN = NUMBERED._replace(serial=None)
HUB = "2109:2817"


@pytest.fixture
def sysfs(tmp_path: Path) -> Sysfs:
    """A host with a hub at port 1."""
    made = Sysfs(tmp_path / "sys")
    made.add("1", ids=HUB)
    return made


@pytest.mark.parametrize(
    ("device", "act", "found"),
    [
        (NUMBERED, lambda _: None, "absent"),
        (PLAIN, lambda _: None, "absent"),
        (NUMBERED, lambda s: s.add("1.4", serial="A1"), "present"),
        (PLAIN, lambda s: s.add("1.4"), "present"),
        # Another hub or port has brought it back.
        (NUMBERED, lambda s: s.add("3", serial="A1"), "present"),
        (PLAIN, lambda s: s.add("3"), "same_kind"),
        # A second one of its kind: with a number of its own, with none, and beside it.
        (NUMBERED, lambda s: s.add("3", serial="B2"), "absent"),
        (NUMBERED, lambda s: s.add("3"), "same_kind"),
        (PLAIN, lambda s: s.add("3", serial="B2"), "same_kind"),
        (NUMBERED, lambda s: [s.add("1.4", serial="A1"), s.add("3", serial="B2")], "present"),
        # At its port: another one of its kind, and another device.
        (NUMBERED, lambda s: s.add("1.4", serial="B2"), "place_taken"),
        (PLAIN, lambda s: s.add("1.4", ids="1234:5678"), "place_taken"),
        # The hub and the host controller go.
        (NUMBERED, lambda s: s.remove("1"), "no_place"),
        (NUMBERED, lambda s: (s.root / "bus/usb/devices/usb1").unlink(), "no_place"),
        # It is found all the same where it can be.
        (NUMBERED, lambda s: [s.remove("1"), s.add("3", serial="A1")], "present"),
        (NUMBERED, lambda s: (s.root / "bus").rename(s.root / "sub"), "no_list"),
    ],
)
def test_P5_absent_is_only_what_cannot_be_there(
    sysfs: Sysfs, device: UsbDevice, act: Callable[[Sysfs], object], found: str
) -> None:
    act(sysfs)
    assert find((device,), usb_tree(sysfs.root)) == found


def test_P5_one_of_several_that_stays_is_present(sysfs: Sysfs) -> None:
    sysfs.add("3", serial="B2")
    assert find((NUMBERED, NUMBERED._replace(serial="B2")), usb_tree(sysfs.root)) == "present"


class Bench:
    """A paired board with a USB microphone behind it, in the time of the test."""

    def __init__(self, home: Path, sysfs: Sysfs, cli: Cli, how: str = "log and key") -> None:
        self.device: Device = is_paired(home, how)
        self.sysfs = sysfs
        self.home = home
        self._cli = cli
        # What happens beside each look at the list.
        self.meanwhile: Callable[[], object] = lambda: None

    @property
    def made(self) -> Any:
        return self.device.made

    def learn(self, device: UsbDevice = NUMBERED, *, back: bool = True) -> None:
        log = Log(self.home / "log.sqlite3")
        body = absence.body("learned", [device], from_ms=0, to_ms=0, back=back)
        log.append(absence.KIND, BOARD, body)
        log.close()

    def verify(self, *words: str) -> Result:
        def sleep(seconds: float) -> None:
            self.made.clock.pass_ms(round(1000 * seconds))
            self.meanwhile()
            self.device.goes_on()

        with plugged_in(self.device), pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "sleep", sleep)
            patch.setattr(looking, "SYSTEM", visit.SYSTEM)
            patch.setattr(looking, "usb_tree", lambda: usb_tree(self.sysfs.root))
            return self._cli("verify", "--json", *words)

    def rows(self) -> list[absence.Looked]:
        log = Log(self.home / "log.sqlite3")
        try:
            return [absence.read(one) for one in log.entries(BOARD, (absence.KIND,))]
        finally:
            log.close()


@pytest.fixture
def bench(home: Path, sysfs: Sysfs, cli: Cli) -> Bench:
    return Bench(home, sysfs, cli)


def told(result: Result) -> tuple[int, str, str | None, str | None]:
    return result.code, result.json["verdict"], result.json["proof"], result.json["usb"]


def test_a_device_that_is_gone_is_absent(bench: Bench, cli: Cli) -> None:
    bench.learn()
    result = bench.verify("--require", "absent")
    assert told(result) == (errors.OK, "muted", "absent", "absent")
    row = bench.rows()[-1]
    assert (row.verdict, row.state, row.devices) == ("absent", "muted", (NUMBERED,))
    assert row.to_ms - row.from_ms >= 2000
    assert cli("log", "verify").code == errors.OK
    log = Log(bench.home / "log.sqlite3")
    # The board signs a log that has it.
    newest = log.newest(BOARD, "attestation")
    assert newest is not None
    assert newest.body["log_row"] >= row.row
    log.close()


def test_P5_without_a_learned_device_nothing_is_absent(bench: Bench) -> None:
    assert told(bench.verify("--require", "absent")) == (3, "muted", "attested", None)
    assert bench.rows() == []


@pytest.mark.parametrize(("how", "proof"), [("none", "sensed"), ("log", None)])
def test_P5_absent_stands_for_no_signature(
    home: Path, sysfs: Sysfs, cli: Cli, how: str, proof: str | None
) -> None:
    bench = Bench(home, sysfs, cli, how)
    bench.learn()
    result = bench.verify("--require", "absent")
    assert (result.code, result.json["proof"], result.json["usb"]) == (3, proof, "absent")


def test_P4_a_device_that_is_still_there_is_a_fault(bench: Bench, cli: Cli) -> None:
    bench.learn()
    bench.sysfs.add("3", serial="A1")
    assert told(bench.verify()) == (errors.FAULT, "fault", None, "present")
    row = bench.rows()[-1]
    assert row.is_leak
    bench.sysfs.remove("3")
    # What was seen stays in the log.
    assert told(bench.verify()) == (errors.OK, "muted", "absent", "absent")
    shown = cli("log", "--since", "1h", "--json").json["boards"]
    states = {(one["state"], one["proof"]) for one in shown[0]["intervals"]}
    assert any(state == "fault" for state, _ in states)


@pytest.mark.parametrize("state", ["live", "fault"])
def test_P5_absent_makes_nothing_muted(bench: Bench, state: str) -> None:
    bench.learn()
    bench.made.go_live() if state == "live" else bench.made.fault()
    bench.made.clock.pass_ms(1000)
    result = bench.verify()
    assert (result.json["verdict"], result.json["proof"]) == (
        state,
        "attested" if state == "live" else None,
    )
    assert all(row.verdict == "learned" for row in bench.rows())


def test_P5_a_press_while_it_looks_is_no_absence(bench: Bench) -> None:
    bench.learn()
    looks = iter(range(100))

    def meanwhile() -> None:
        if next(looks) == 5:
            bench.made.go_live()
            bench.made.clock.pass_ms(1)
            bench.made.mute("button")

    bench.meanwhile = meanwhile
    result = bench.verify("--require", "absent")
    assert (result.code, result.json["proof"], result.json["usb"]) == (3, "attested", None)
    assert (bench.rows()[-1].verdict, bench.rows()[-1].reason) == ("unknown", "changed")


def test_P5_a_host_that_sleeps_while_it_looks_knows_nothing(bench: Bench) -> None:
    """Devices that were on all the time may be set up anew after a suspend."""
    bench.learn()
    bench.meanwhile = lambda: bench.made.clock.pass_ms(1500)
    assert told(bench.verify()) == (errors.OK, "muted", "attested", "unsteady")


def test_P5_a_device_that_comes_and_goes_is_not_gone(bench: Bench) -> None:
    bench.learn()
    looks = iter(range(1000))

    def meanwhile() -> None:
        if next(looks) % 4 == 0:
            there = (bench.sysfs.root / "bus/usb/devices/1-1.4").exists()
            bench.sysfs.remove("1.4") if there else bench.sysfs.add("1.4", serial="A1")

    bench.meanwhile = meanwhile
    assert told(bench.verify()) == (errors.OK, "muted", "attested", "unsteady")


def test_P5_it_must_come_back_when_the_line_is_live(bench: Bench) -> None:
    bench.learn()
    bench.made.go_live()
    bench.made.clock.pass_ms(5000)
    # It may still be on its way.
    assert told(bench.verify()) == (errors.LIVE, "live", "attested", None)
    bench.made.clock.pass_ms(10_000)
    assert told(bench.verify()) == (errors.LIVE, "live", "attested", "missing")
    bench.made.mute("button")
    assert told(bench.verify()) == (errors.OK, "muted", "attested", "not_back")
    bench.made.go_live()
    bench.sysfs.add("1.4", serial="A1")
    assert told(bench.verify()) == (errors.LIVE, "live", "attested", "back")
    bench.made.mute("button")
    bench.sysfs.remove("1.4")
    assert told(bench.verify()) == (errors.OK, "muted", "absent", "absent")


def test_P5_a_damaged_row_has_nothing_learned(bench: Bench) -> None:
    log = Log(bench.home / "log.sqlite3")
    body = absence.body("learned", [NUMBERED], from_ms=0, to_ms=0, back=True)
    log.append(absence.KIND, BOARD, body | {"devices": [{"vendor": 1}]})
    log.close()
    assert told(bench.verify()) == (errors.OK, "muted", "attested", None)


# The row of docs/threat-model.md.


@pytest.mark.parametrize("seed", range(3))
def test_P5_nobody_has_verify_say_absent_of_what_is_there(bench: Bench, seed: int) -> None:
    """Whatever board and list do: what is told as absent was not there, and was signed muted."""
    assert not MATRIX[soundness.ABSENT, "", "nobody"]
    chance = Random(seed)
    bench.learn()
    there = False
    # Since when it is as it is, in looks.
    since = 0

    def meanwhile() -> None:
        nonlocal there, since
        since += 1
        if chance.random() < 0.02:
            there = not there
            since = 0
            bench.sysfs.add("1.4", serial="A1") if there else bench.sysfs.remove("1.4")
        if chance.random() < 0.02:
            live = bench.made.state == "live"
            bench.made.mute("button") if live else bench.made.go_live()
        if chance.random() < 0.02:
            bench.made.clock.pass_ms(chance.randrange(3000))

    bench.meanwhile = meanwhile
    counts: dict[str | None, int] = {}
    for _ in range(40):
        result = bench.verify("--require", "absent")
        proof = result.json["proof"]
        counts[proof] = counts.get(proof, 0) + 1
        if proof == "absent" or result.code == errors.OK:
            assert result.json["state"] == "muted"
            assert not there
            assert since >= 10
        meanwhile()
    assert counts.get("absent")
    assert len(counts) > 1


def test_P5_no_swapped_board_has_verify_say_absent(bench: Bench) -> None:
    assert not MATRIX[soundness.ABSENT, "", "swapped board"]
    bench.learn()
    bench.made.journal.sign = lambda _: (bytes(attest.MAC), bytes(attest.MAC))
    for how in ("ok", "busy", "unsupported", "wrong_mac"):
        bench.device.attests = how
        assert bench.verify("--require", "absent").json["proof"] is None


def test_P5_a_thief_of_the_key_alone_cannot_hide_the_device(bench: Bench) -> None:
    """What is at the port signs "muted" as the board would, which is live elsewhere."""
    bench.learn()
    bench.sysfs.add("1.4", serial="A1")
    assert told(bench.verify("--require", "absent"))[:2] == (errors.FAULT, "fault")


@pytest.mark.parametrize("attacker", ["thief", "app", "app in setup"])
def test_P5_who_writes_the_log_can_name_another_device(bench: Bench, attacker: str) -> None:
    assert MATRIX[soundness.ABSENT, "", attacker] == {"rewrites"}
    bench.learn()
    bench.sysfs.add("1.4", serial="A1")
    bench.learn(NUMBERED._replace(product=1, port="7"))
    assert told(bench.verify("--require", "absent")) == (errors.OK, "muted", "absent", "absent")
