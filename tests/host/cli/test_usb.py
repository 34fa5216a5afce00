"""`hardmute usb`: a simulated board with a USB microphone behind it, and a finger."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import hardmute
from conftest import Cli, Sim
from hardmute.model import errors
from hardmute.sync import absence
from hardmute.sync.absence import NotLearnedError, StaysError, UsbBehind


@pytest.fixture(autouse=True)
def _on_a_busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(absence, "_GAP_S", 60.0)
    monkeypatch.setattr(absence, "_LIMIT_S", 60.0)


def learn(sim: Sim, *after: str) -> UsbBehind:
    """Learn what is behind the board: it is pressed once that is asked for; then ``after``."""
    asked = threading.Event()

    def act() -> None:
        asked.wait()
        sim.act("press", *after)

    finger = threading.Thread(target=act)
    finger.start()
    try:
        return hardmute.Host().learn_usb(sim.board, timeout=3.0, say=lambda _: asked.set())
    finally:
        asked.set()
        finger.join()


def test_it_is_learned_and_then_looked_for(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    told = cli("-d", sim.board, "usb")
    assert "No USB device is known" in told.out
    sim.open_setup()
    assert cli("-d", sim.board, "pair", "--verify-key", tmp_path / "key").code == errors.OK
    sim.act("power-off", "power-on")
    found = learn(sim)
    (device,) = found.devices
    assert (device.serial, device.port, device.records, found.back) == ("51M", "2", True, True)
    told = cli("-d", sim.board, "verify", "--require", "absent", "--json")
    assert (told.code, told.json["proof"], told.json["usb"]) == (errors.OK, "absent", "absent")
    sim.act("bypass")
    # Until the host has set it up, by the board's clock, nothing is the same for 2 s.
    told = cli("-d", sim.board, "verify")
    assert told.code == errors.FAULT
    assert "this computer still has its USB device" in told.out
    sim.act("unbypass")
    assert cli("-d", sim.board, "usb", "--forget").code == errors.OK
    told = cli("-d", sim.board, "verify", "--require", "absent", "--json")
    assert (told.code, told.json["proof"], told.json["usb"]) == (3, "attested", None)


def test_P1_a_device_that_stays_is_not_learned(sim: Sim, cli: Cli) -> None:
    with pytest.raises(StaysError) as caught:
        learn(sim, "bypass")
    assert caught.value.exit_code == errors.FAULT
    assert hardmute.Host().usb(sim.board, timeout=3.0).devices == ()
    # Whatever happened, nobody is left live.
    assert cli("-d", sim.board, "status").code == errors.OK


def test_P1_a_device_that_does_not_come_is_not_learned(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(absence, "_COMES_BACK_S", 0.0)
    sim.act("bypass")
    with pytest.raises(NotLearnedError, match="No USB device came"):
        learn(sim)
    assert cli("-d", sim.board, "status").code == errors.OK
