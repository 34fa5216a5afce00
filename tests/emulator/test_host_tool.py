"""The host tool on a pseudo-terminal, the emulated chip at its other end (P4, P5)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hardmute.cli import service_mode
from hardmute.device import client
from hardmute.flash import prompt, tree
from hardmute.host import Host as ThisHost
from hardmute.model import errors
from hardmute.sim.world import act

BOARD = "5eed00015eed0001"
_DEADLINE_S = 300
# On a busy machine the chip's clock runs behind, and its answers come late.
_PATIENT = ("-d", BOARD, "--timeout", "20")


class Host:
    """A computer with one emulated Pico, and its command line."""

    def __init__(self, home: str) -> None:
        self.environment = {**os.environ, "HARDMUTE_HOME": home}
        options = ["sim", "--engine", "rp2040", "--id", BOARD]
        self.process = self.start(*options)
        assert self.process.stdout is not None
        ready = json.loads(self.process.stdout.readline())
        self.world, self.device = ready["world"], ready["device"]

    def start(self, *words: str, stderr: int | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "hardmute", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=self.environment,
            text=True,
        )

    def run(self, *words: str) -> tuple[int, Any]:
        """A command's exit code, and the JSON that it printed."""
        process = self.start(*words, "--json")
        printed, _ = process.communicate(timeout=_DEADLINE_S)
        return process.returncode, json.loads(printed) if printed else None

    def board(self, *words: str) -> tuple[int, Any]:
        return self.run(*_PATIENT, *words)

    def look(self) -> dict[str, Any]:
        return act(self.world, ["look"])

    def maintenance(self) -> None:
        act(self.world, ["power-off"])
        act(self.world, ["power-on", "--hold", "10.5"])

    def flash(self, *options: str) -> tuple[int, str]:
        """`hardmute flash`, with somebody who does what it asks for; what it said."""
        process = self.start(
            "flash", "--device", self.device, "--timeout", "5", *options, stderr=subprocess.STDOUT
        )
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "Unplug the board" in line:
                act(self.world, ["power-off"])
                act(self.world, ["power-on"])
        process.stdout.close()
        return process.wait(_DEADLINE_S), said

    def end(self, process: subprocess.Popen[str]) -> None:
        process.terminate()
        process.wait(_DEADLINE_S)
        assert process.stdout is not None
        process.stdout.close()


@pytest.fixture
def host() -> Iterator[Host]:
    # Not `tmp_path`: the path of a Unix socket is short.
    with tempfile.TemporaryDirectory(prefix="hm-") as home:
        host = Host(str(Path(home).resolve()))
        yield host
        host.end(host.process)


def test_a_day_with_an_emulated_board(host: Host) -> None:
    code, seen = host.run("list")
    assert code == errors.OK
    (listed,) = seen["boards"]
    assert (listed["board"], listed["simulated"]) == (BOARD, True)

    code, told = host.board("status")
    assert (code, told["state"], told["proof"]) == (errors.OK, "muted", "sensed")
    assert told["simulated"] is True, "the firmware cannot know; the host must say so"

    act(host.world, ["press"])
    code, told = host.board("status")
    assert (code, told["state"]) == (errors.LIVE, "live")
    assert (host.look()["line"], host.look()["lamp"]["colour"]) == ("connected", "green")
    assert host.board("mute")[0] == errors.OK
    assert host.look()["line"] == "cut"

    act(host.world, ["unplug"])
    assert host.board("status")[0] == errors.UNKNOWN
    act(host.world, ["replug"])
    assert host.board("status")[0] == errors.OK


def test_P1_P5_a_hung_chip_is_unknown_then_muted_by_its_watchdog(host: Host) -> None:
    act(host.world, ["press"])
    watch = host.start(*_PATIENT, "watch", "--json")
    assert watch.stdout is not None
    seen = json.loads(watch.stdout.readline())
    while seen["verdict"] == "unknown":
        # On a busy machine its answers are old when they come.
        seen = json.loads(watch.stdout.readline())
    assert seen["state"] == "live"
    act(host.world, ["hang"])
    seen = json.loads(watch.stdout.readline())
    while seen["verdict"] != "muted":
        # Events from before may still be on their way.
        assert seen["verdict"] in ("unknown", "live")
        seen = json.loads(watch.stdout.readline())
    assert (seen["state"], seen["cause"], seen["simulated"]) == ("muted", "watchdog", True)
    assert host.look()["line"] == "cut"
    host.end(watch)


def test_maintenance_is_told_by_the_prompt(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARDMUTE_HOME", host.environment["HARDMUTE_HOME"])
    hands = [["power-off"], ["power-on", "--hold", "3.3"], ["power-off"]]
    hands.append(["power-on", "--hold", "10.5"])

    class Time:
        """Between two looks at the board the person does the next thing."""

        def sleep(self, _seconds: float) -> None:
            if hands:
                act(host.world, hands.pop(0))

    monkeypatch.setattr("hardmute.sync.service_mode.time", Time())
    assert service_mode.wait_for("maintenance", BOARD, 20.0, ThisHost()) == host.device
    assert hands == []
    assert client.board_at_prompt(host.device, 20.0) == BOARD
    assert host.look()["line"] == "cut"


def test_P1_P6_a_broken_update_starts_nothing_and_loses_nothing(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARDMUTE_HOME", host.environment["HARDMUTE_HOME"])
    for _ in range(2):
        act(host.world, ["press"])
    assert host.board("status")[0] == errors.OK
    (before,) = host.run("log", "verify")[1]["branches"]

    def pull_the_plug(done: int, total: int) -> None:
        if done > total // 2:
            act(host.world, ["power-off"])

    # Two files, for to write half of all would take many seconds: the others are gone by then.
    program = tree.program()
    begun = {path: program[path] for path in (tree.MAIN, "muteboard/lamp.mpy")}
    host.maintenance()
    with (
        prompt.opened(host.device, 20.0) as board,
        pytest.raises(errors.UnreachableError, match="the line stays cut"),
    ):
        board.install(begun, pull_the_plug)
    act(host.world, ["power-on"])
    assert host.run("-d", BOARD, "status")[0] == errors.UNKNOWN
    assert client.board_at_prompt(host.device, 20.0) == BOARD
    assert host.look()["line"] == "cut"
    code, said = host.flash("--files-only", "--yes")
    assert f"Board {BOARD} is back" in said
    # On a busy machine the chip's clock runs behind, which `verify` has to refuse.
    assert code == errors.OK or (code == errors.UNKNOWN and "not fresh" in said), said
    assert host.board("status")[0] == errors.OK
    code, told = host.run("log", "verify")
    assert (code, told["incidents"]) == (errors.OK, [])
    (branch,) = told["branches"]
    assert branch["first_seq"] == before["first_seq"]
    assert branch["last_seq"] > before["last_seq"] > before["first_seq"]


def test_P6_a_file_that_is_not_ours_is_found(host: Host) -> None:
    host.maintenance()
    with prompt.opened(host.device, 20.0) as board:
        board._write("muteboard/evil.py", b"import os\n", lambda _done, _total: None)
    code, said = host.flash("--verify")
    assert code == errors.TAMPERED
    assert "proof level: reported" in said
    assert said.endswith(":\n  muteboard/evil.py is not ours\n")
    # Nothing was changed.
    act(host.world, ["power-off", "power-on"])
    assert host.board("status")[0] == errors.OK


def test_what_the_emulated_board_cannot_be(host: Host) -> None:
    refused = {
        "two contacts": ["--contacts", "2"],
        "a short id": ["--id", "5eed"],
        "no image": ["--image", __file__],
        "the id of another": ["--id", BOARD],
    }
    for what, options in refused.items():
        process = host.start("sim", "--engine", "rp2040", *options)
        printed, _ = process.communicate(timeout=_DEADLINE_S)
        assert (process.returncode, printed) == (errors.USAGE, ""), what
