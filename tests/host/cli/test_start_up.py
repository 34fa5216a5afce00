"""What a command loads: bars and cron jobs start `hardmute status` all the time.

A module that comes to these sets costs each of them time. Add it here if it has to be.
"""

from __future__ import annotations

import io
import os
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from conftest import Cli, Sim
from hardmute.cli.main import main
from hardmute.model import errors

# What `hardmute` may load of others. The smaller modules of Python are not told.
HEAVY = {
    *("argparse", "asyncio", "concurrent.futures", "dataclasses", "datetime", "hashlib", "hmac"),
    *("aiomqtt", "paho"),
    *("inspect", "ipaddress", "json", "logging", "matplotlib", "pathlib", "platformdirs"),
    *("prometheus_client", "readchar", "rich", "secrets", "serial", "serial.tools.list_ports"),
    *("shtab", "socket", "sqlite3", "starlette", "subprocess", "tempfile", "threading"),
    *("traceback", "typing", "urllib.parse", "uvicorn"),
}
# `micropython` is one of the packages for tests, and loads `typing`.
TELL = """
import sys
sys.modules["micropython"] = None
{}
print("loaded", *(name for name, module in sys.modules.items() if module is not None))
"""
MAIN = "from hardmute.cli.main import main; code = main()"

API = {"hardmute", "muteboard"}
ANY_COMMAND = {
    *API,
    *("hardmute.cli", "hardmute.cli.main", "hardmute.cli.parser", "hardmute.model"),
    *("hardmute.model.errors", "hardmute.model.notices", "hardmute.model.typed", "argparse"),
}
STATUS_OF_THE_MONITOR = {
    *API,
    *("hardmute.cli", "hardmute.cli.main", "hardmute.cli.shortcut", "hardmute.model"),
    *("hardmute.model.clock", "hardmute.model.errors", "hardmute.model.notices"),
    *("hardmute.model.typed", "hardmute.system", "hardmute.system.monitor_socket"),
    "hardmute.system.paths",
}
STATUS_OF_A_PORT = {
    *ANY_COMMAND,
    *("muteboard.attest", "muteboard.journal", "muteboard.wire"),
    *("hardmute.cli.commands", "hardmute.cli.commands.asking", "hardmute.cli.commands.status"),
    *("hardmute.cli.console", "hardmute.cli.shortcut", "hardmute.cli.state"),
    "hardmute.cli.whose_clock",
    *("hardmute.device", "hardmute.device.client", "hardmute.device.discovery"),
    *("hardmute.device.frames", "hardmute.device.pace"),
    *("hardmute.device.holder", "hardmute.device.simulators", "hardmute.device.terminal"),
    *("hardmute.evidence", "hardmute.evidence.anchors", "hardmute.evidence.entries"),
    "hardmute.evidence.observation",
    "hardmute.host",
    *("hardmute.model.allowance", "hardmute.model.answers", "hardmute.model.clock"),
    *("hardmute.model.reasons", "hardmute.model.strict_json", "hardmute.model.usb"),
    *("hardmute.model.words", "hardmute.monitor", "hardmute.monitor.client"),
    *("hardmute.render", "hardmute.render.observations"),
    *("hardmute.store", "hardmute.store.keys", "hardmute.store.log"),
    *("hardmute.sync", "hardmute.sync.contact", "hardmute.sync.journal_import"),
    *("hardmute.sync.recorder", "hardmute.sync.visit"),
    *("hardmute.system", "hardmute.system.file_lock", "hardmute.system.new_file"),
    *("hardmute.system.monitor_socket", "hardmute.system.paths"),
    *("datetime", "hashlib", "json", "serial", "sqlite3"),
}
STATUS_OF_A_LABEL = {
    *STATUS_OF_A_PORT,
    # What the board signs is compared; and with what the log has of it, which a row may repeat.
    *("hmac", "hardmute.evidence.reconstruction"),
    # Where the board is.
    "serial.tools.list_ports",
}


def loaded(program: str, *words: str) -> set[str]:
    """Which of `HEAVY` and of our own modules there are after ``program``."""
    ended = subprocess.run(
        [sys.executable, "-c", TELL.format(program), *words],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    names = set(ended.stdout.splitlines()[-1].split()[1:])
    return {name for name in names if name in HEAVY or name.split(".")[0] in API}


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    ("program", "words", "known"),
    [("import hardmute", (), API), (MAIN, ("--version",), ANY_COMMAND)],
    ids=["import", "--version"],
)
def test_what_needs_nothing_loads_nothing(
    program: str, words: Sequence[str], known: set[str]
) -> None:
    assert loaded(program, *words) == known


def test_status_of_a_port_loads(sim: Sim, cli: Cli) -> None:
    # The first contact of all fetches the journal.
    assert cli("-d", sim.device, "status").code == errors.OK
    assert loaded(MAIN, "-d", sim.device, "status", "--json") == STATUS_OF_A_PORT


def pair(sim: Sim, cli: Cli, folder: Path) -> None:
    """Pair this host with the board, and call it "Desk"."""
    sim.act("power-off")
    sim.act("power-on", "--hold", 3.3)
    assert cli("-d", sim.board, "pair", "--verify-key", folder / "k").code == errors.OK
    sim.act("power-off", "power-on")
    assert cli("-d", sim.board, "name", "Desk").code == errors.OK
    assert cli("-d", "Desk", "status").code == errors.OK


def test_status_of_a_label_loads(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    pair(sim, cli, tmp_path)
    assert loaded(MAIN, "-d", "Desk", "status", "--json") == STATUS_OF_A_LABEL


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix sockets")
def test_status_of_the_monitor_loads_hardly_anything(sim: Sim, cli: Cli, home: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "hardmute", "monitor", "-d", sim.board],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "HARDMUTE_HOME": str(home)},
        text=True,
    ) as monitor:
        try:
            assert monitor.stdout is not None
            monitor.stdout.readline()
            assert loaded(MAIN, "-d", sim.board, "status", "--json") == STATUS_OF_THE_MONITOR
            told = cli("status", "--json", "--device", sim.board)
            assert (told.code, told.json["verdict"]) == (errors.OK, "muted")
            # What the command itself prints has the same fields.
            other = cli("status", "--json", "--timeout", "3", "--device", sim.board)
            assert set(other.json) == set(told.json)
        finally:
            monitor.kill()


class Told(io.StringIO):
    """A standard output that says when something is printed."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        self._events = events

    def write(self, text: str) -> int:
        self._events.append("printed")
        return super().write(text)


# What of the log decides what is told of a paired board with a label: whether it must sign, what
# is known to be wrong with its evidence, how far its journal is known, and its name.
DECIDES = ("kind = 'pairing'", "kind = 'incident'", "kind = 'record'", "SELECT label FROM board")


@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("verify",), ("mute",)])
def test_P5_what_the_log_can_change_is_read_before_output(
    sim: Sim, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: Sequence[str]
) -> None:
    pair(sim, cli, tmp_path)
    events: list[str] = []
    connect = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        database = connect(*args, **kwargs)
        database.set_trace_callback(events.append)
        return database

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", traced)
        patch.setattr(sys, "stdout", Told(events))
        assert main(["-d", "Desk", *words]) == errors.OK
    printed = events.index("printed")
    read = [said for said in events[:printed] if said.startswith("SELECT")]
    assert [what for what in DECIDES if not any(what in said for said in read)] == []
    # Nor is anything read, or a row written, that could still change it.
    assert set(events[printed:]) == {"printed"}
