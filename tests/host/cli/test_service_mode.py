"""Setup and maintenance: the person is told what to hold, and waited for.

The wait's clock is the test's: what `Hands` are to do next happens between two looks at the board.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_device import BOARD, Board, Script, pty_device

from conftest import Cli, Sim, StartSim
from hardmute import Host
from hardmute.cli import service_mode
from hardmute.model import errors
from hardmute.model.answers import Identity
from hardmute.model.clock import SYSTEM


class Hands:
    """Stands in for `time.sleep` and the clock: at each sleep the next thing is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *todo: Callable[[], object]) -> None:
        self._todo = list(todo)
        self.now = 50.0
        monkeypatch.setattr("hardmute.sync.service_mode.time", self)
        clock = SYSTEM._replace(run_us=lambda: round(1e6 * self.now))
        monkeypatch.setattr("hardmute.sync.service_mode.SYSTEM", clock)

    def sleep(self, seconds: float) -> None:
        # A slow host: each look at the board takes that long as well.
        self.now += seconds + 20
        if self._todo:
            self._todo.pop(0)()


class Terminal(io.StringIO):
    """A standard input; whether somebody is at a terminal is the test's to say."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal


@pytest.fixture(autouse=True)
def _somebody_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(terminal=True))


# `hardmute config set`.


def test_config_set_says_what_to_hold_and_waits_for_it(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hands(
        monkeypatch,
        lambda: sim.act("unplug", "power-off"),
        lambda: sim.act("replug", "power-on", "--hold", 3.3),
    )
    told = cli("-d", sim.board, "config", "set", "max_live_s=600")
    assert told.code == errors.OK, told
    for words in ("unplug the board", "hold its button down while", "for 3 s", "lamp is blue"):
        assert words in told.err
    waiting = [line for line in told.err.splitlines() if line.startswith("Waiting")]
    assert waiting == [
        f"Waiting for board {sim.board} in setup: connected, not in setup ...",
        f"Waiting for board {sim.board} in setup: the port was not there ...",
    ]
    assert "max_live_s = 600 " in told.out
    assert told.out.splitlines()[-1] == (
        "To leave setup, unplug the board and plug it in again: until then its line stays cut."
    )
    sim.act("power-off", "power-on")
    assert cli("-d", sim.board, "config", "get", "--json").json["config"]["max_live_s"] == 600


def test_config_set_gives_up_after_five_minutes_with_no_change(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands(monkeypatch)
    begun = hands.now
    told = cli("-d", sim.device, "config", "set", "max_live_s=600", "--json")
    assert (told.code, told.out) == (errors.UNKNOWN, "")
    assert "not in setup within 5 minutes: nothing was changed" in told.err
    assert 300 <= hands.now - begun < 330
    assert cli("-d", sim.board, "config", "get", "--json").json["config"]["max_live_s"] == 3600


def test_waiting_says_how_it_ends_and_is_shorter_off_a_terminal(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    hands = Hands(monkeypatch)
    begun = hands.now
    told = cli("-d", sim.device, "config", "set", "max_live_s=600")
    assert "This waits for 5 minutes. Ctrl-C ends it before that; nothing is changed" in told.err
    assert hands.now - begun >= 300
    monkeypatch.setattr(sys, "stdin", Terminal(terminal=False))
    begun = hands.now
    told = cli("-d", sim.device, "config", "set", "max_live_s=600")
    assert told.code == errors.UNKNOWN
    assert "This waits for 2 minutes." in told.err
    assert "not in setup within 2 minutes: nothing was changed" in told.err
    assert 120 <= hands.now - begun < 150


def test_setup_of_another_board_is_not_what_is_waited_for(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meant, other = start_sim(), start_sim()
    port = tmp_path / "port"
    port.symlink_to(meant.device)
    other.act("power-off")
    other.act("power-on", "--hold", 3.3)
    hands: list[Callable[[], object]] = [
        port.unlink,
        lambda: port.symlink_to(other.device),
        port.unlink,
        lambda: meant.act("power-off"),
        lambda: meant.act("power-on", "--hold", 3.3),
        lambda: port.symlink_to(meant.device),
    ]
    Hands(monkeypatch, *hands)
    told = cli("-d", str(port), "config", "set", "max_live_s=600", "--json")
    assert (told.code, told.json["board"]) == (errors.OK, meant.board)
    assert f"another board is there ({other.board})" in told.err
    settings = cli("-d", other.board, "config", "get", "--json").json["config"]
    assert settings["max_live_s"] == 3600


# Maintenance. There the board does not speak the protocol; MicroPython's prompt does not either.


class Swapped:
    """A device whose script can be exchanged while it runs."""

    def __init__(self, script: Script) -> None:
        self.script = script

    def __call__(self, line: bytes) -> bytes | None:
        return self.script(line)


def prompt(board: str) -> Script:
    """MicroPython's: it echoes the line, and says what that printed."""

    def answer(line: bytes) -> bytes:
        said = line.rstrip(b"\r") + b"\r\n"
        if line.startswith(b"print('hardmute'"):
            said += f"hardmute {board}\r\n".encode()
        return said + b">>> "

    return answer


def firmware(line: bytes) -> bytes | None:
    """A board in normal running: what is no request gets an error, like a board's."""
    return Board()(line) if line.startswith(b"{") else b"not a frame\n"


def test_maintenance_is_told_by_the_prompt_of_that_very_board(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home
    board = Swapped(firmware)
    with pty_device(board) as device:
        Hands(
            monkeypatch,
            lambda: setattr(board, "script", lambda _: b""),
            lambda: setattr(board, "script", prompt("deadbeef")),
            lambda: setattr(board, "script", prompt(BOARD)),
        )
        found = service_mode.wait_for("maintenance", device.address, 1.0, Host())
    assert found == device.address
    told = capsys.readouterr().err
    for words in ("hold its button down while", "for 10 s", "the lamp flashes blue", "release"):
        assert words in told
    assert f"Waiting for board {BOARD} in maintenance: no answer ..." in told


def test_a_board_at_the_prompt_is_told_so(home: Path, cli: Cli) -> None:
    assert home
    with pty_device(Swapped(prompt(BOARD))) as device:
        told = cli("-d", device.address, "--timeout", "2", "status")
    assert told.code == errors.UNKNOWN
    assert "is at MicroPython's prompt" in told.err
    assert "`hardmute flash` mends" in told.err


def test_an_early_prompt_does_not_tell_which_board_is_meant(
    home: Path,
) -> None:
    assert home
    with pty_device(prompt(BOARD)) as device, pytest.raises(errors.UnreachableError):
        service_mode.wait_for("maintenance", device.address, 0.3, Host())


def test_a_board_without_a_prompt_is_found_by_who_knows_how(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home
    board = Swapped(firmware)
    drives: list[str] = []
    asked: list[str] = []

    def look(meant: Identity) -> str | None:
        asked.append(meant.board)
        return drives[0] if drives else None

    with pty_device(board) as device:
        Hands(
            monkeypatch,
            lambda: setattr(board, "script", lambda _: b""),
            lambda: drives.append("/media/CIRCUITPY"),
        )
        found = service_mode.wait_for("maintenance", device.address, 1.0, Host(), look)
    assert found == "/media/CIRCUITPY"
    assert asked == [BOARD, BOARD]


def test_who_waits_for_maintenance_is_told_that_setup_was_opened(
    sim: Sim, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sim.act("power-off")
    sim.act("power-on", "--hold", 3.3)
    Hands(monkeypatch)
    with pytest.raises(errors.UnreachableError, match="not in maintenance within 5 minutes"):
        service_mode.wait_for("maintenance", sim.device, 3.0, Host())
    assert "in maintenance: connected, in setup ..." in capsys.readouterr().err
