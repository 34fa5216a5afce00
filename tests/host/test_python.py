"""The Python API: the programs of docs/python.md, and what a program may rely on."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

import hardmute
from conftest import Cli, Sim, StartSim
from hardmute import aio, board
from hardmute.device import discovery
from hardmute.device.holder import holder_of
from hardmute.evidence.observation import Observation
from hardmute.model.clock import SYSTEM
from programs import programs

PROGRAMS = programs()
# No test waits for so long, unless it fails.
PATIENCE_S = 60.0


class Program:
    """A program of the page, while it runs."""

    def __init__(self, title: str, folder: Path) -> None:
        file = folder / "program.py"
        file.write_text(PROGRAMS[title], "utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", str(file)],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        """The next line that it prints."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            pytest.fail(self.end()[2])
        return line.strip()

    def until(self, verdict: str) -> None:
        """Read until a line has this verdict. On a busy machine "unknown" may come before it."""
        while not self.line().endswith(f" {verdict}"):
            pass

    def end(self) -> tuple[int, str, str]:
        """How it ends, and what else it prints."""
        out, complaints = self._process.communicate(timeout=PATIENCE_S)
        return self._process.returncode, out, complaints

    def kill(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


Start = Callable[[str], Program]


@pytest.fixture
def start(sim: Sim, cli: Cli, tmp_path: Path) -> Iterator[Start]:
    """Start a program beside a simulated board with the label of the page."""
    assert cli("-d", sim.board, "name", "Desk").code == 0
    started: list[Program] = []

    def begin(title: str) -> Program:
        started.append(Program(title, tmp_path))
        return started[-1]

    yield begin
    for program in started:
        program.kill()


def test_the_page_has_ten_programs() -> None:
    assert len(PROGRAMS) == 10


def test_a_program_prints_the_state(start: Start, sim: Sim) -> None:
    assert start("Print the state").end() == (0, "muted sensed \n", "")
    sim.act("press")
    assert start("Print the state").end() == (0, "live sensed \n", "")


def test_a_program_follows_changes(start: Start, sim: Sim) -> None:
    program = start("Follow changes")
    for act, verdict in ((), "muted"), (("press",), "live"), (("unplug",), "unknown"):
        sim.act(*act)
        program.until(verdict)


def test_P2_a_program_cuts_every_board(start: Start, sim: Sim) -> None:
    sim.act("press")
    assert sim.look()["line"] == "connected"
    assert start("Cut every board").end() == (0, "", "")
    assert sim.look()["line"] == "cut"
    # A relay whose contacts are welded cannot be opened.
    sim.act("press", "weld")
    code, _, complaint = start("Cut every board").end()
    assert (code, complaint) == (1, "Desk may be live: press its button.\n")


def test_a_program_feeds_a_status_bar(start: Start, sim: Sim) -> None:
    program = start("A line for a status bar")
    assert program.line() == '{"text": "mic off", "class": "muted"}'
    sim.act("press")
    assert program.line() == '{"text": "MIC ON", "class": "live"}'


def test_P5_a_program_waits_until_the_line_is_cut(start: Start, sim: Sim) -> None:
    sim.act("press")
    program = start("Wait until the line is cut, then act")
    # It has asked, once it shows in the log.
    seen = hardmute.open_log
    deadline = time.monotonic() + PATIENCE_S
    while not _rows(sim.board, "watch"):
        assert time.monotonic() < deadline, seen
    sim.act("press")
    assert program.end()[:2] == (0, "The line is cut: begin the confidential part.\n")


def test_a_program_proves_an_interval(start: Start, sim: Sim, cli: Cli, tmp_path: Path) -> None:
    sim.act("power-off", "power-on", "--hold", 3.3)
    assert cli("-d", sim.board, "pair", "--verify-key", tmp_path / "owner.key").code == 0
    code, out, complaints = start("Prove an interval").end()
    assert (code, complaints) == (0, "")
    # Before it was paired nothing is known of it.
    assert out.splitlines()[0] == "unknown"


def test_a_program_reads_an_export(start: Start, sim: Sim, cli: Cli, tmp_path: Path) -> None:
    sim.act("press")
    assert cli("-d", sim.board, "status").code == 1
    assert cli("log", "export", tmp_path / "export.jsonl").code == 0
    code, out, complaints = start("Read an export").end()
    assert (code, complaints) == (0, "")
    lines = out.splitlines()
    assert lines[0] == sim.board
    assert any(" live button" in line for line in lines)


def test_P5_a_program_reacts_to_unknown(start: Start, sim: Sim) -> None:
    title = "React to `unknown`"
    assert start(title).end() == (0, "The line is muted.\n", "")
    sim.kill()
    code, out, _ = start(title).end()
    assert (code, out[:31]) == (0, "Treat the microphone as live: n")


def test_a_program_follows_several_boards(start: Start, sim: Sim, start_sim: StartSim) -> None:
    other = start_sim()
    program = start("Several boards")
    assert {program.line(), program.line()} == {"Desk muted", f"{other.board} muted"}
    sim.act("press")
    assert program.line() == "Desk live"
    assert program.end() == (0, "", "")


def test_P2_a_program_for_asyncio_cuts_the_line(start: Start, sim: Sim) -> None:
    program = start("asyncio")
    assert program.line() == "muted"
    sim.act("press")
    assert [program.line(), program.line()] == ["live", "muted"]
    assert program.end() == (0, "", "")
    assert sim.look()["line"] == "cut"


# What a program may rely on.


def _rows(board_id: str, source: str) -> list[Observation]:
    log = hardmute.open_log()
    try:
        return [one for one in log.observations(board_id, 0, 1 << 52) if one.source == source]
    finally:
        log.close()


def test_P5_a_board_that_does_not_answer_is_unknown(sim: Sim, tmp_path: Path) -> None:
    # The number of a terminal that is closed goes to the next program that opens one.
    port = tmp_path / "port"
    port.symlink_to(sim.device)
    found = hardmute.open_board(str(port))
    assert found.read().verdict == "muted"
    sim.kill()
    port.unlink()
    for ask in (found.read, found.verify, found.mute):
        seen = ask()
        assert (seen.verdict, seen.proof) == ("unknown", None)
    with pytest.raises(hardmute.UnreachableError):
        found.sync()
    with pytest.raises(hardmute.UnreachableError):
        hardmute.open_board(sim.board)


def test_P5_another_board_at_the_port_does_not_speak_for_it(
    sim: Sim, start_sim: StartSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = hardmute.open_board(sim.device)
    sim.act("press")
    other = start_sim()
    monkeypatch.setattr(found, "_named", other.device)
    for seen in (found.read(), found.verify(), found.mute(), next(found.watch())):
        assert (seen.verdict, seen.reason) == ("unknown", "wrong_board")


def test_between_two_calls_the_port_is_free(sim: Sim, cli: Cli) -> None:
    with hardmute.open_board(sim.board) as found:
        found.read()
        assert cli("-d", sim.board, "status").code == 0
        changes = found.watch()
        assert next(changes).verdict == "muted"
        # Who follows gives the port up for a cut.
        assert cli("-d", sim.board, "mute").code == 0
        del changes


def test_a_watch_ends_when_it_is_stopped(sim: Sim) -> None:
    stop = threading.Event()
    changes = hardmute.open_board(sim.board).watch(stop)
    assert next(changes).verdict == "muted"
    stop.set()
    assert list(changes) == []
    changes.join()


def test_P5_what_waited_is_not_given_as_the_present(sim: Sim) -> None:
    ahead_s = 0.0
    clock = SYSTEM._replace(run_us=lambda: SYSTEM.run_us() + round(ahead_s * 1e6))
    stop = threading.Event()
    changes = board.Watch(sim.board, sim.board, 3.0, stop, None, clock)
    assert next(changes).verdict == "muted"
    # The computer sleeps: the board was not heard for that time.
    sim.act("press")
    ahead_s = 60.0
    seen = [next(changes)]
    while seen[-1].verdict != "live":
        seen.append(next(changes))
    assert "muted" not in {one.verdict for one in seen}
    stop.set()
    changes.join()


def test_P5_an_answer_that_got_old_is_no_muted(sim: Sim, monkeypatch: pytest.MonkeyPatch) -> None:
    found = hardmute.open_board(sim.board)
    # The computer slept between the answer and its reader.
    later = SYSTEM._replace(run_us=lambda: SYSTEM.run_us() + 60_000_000)
    monkeypatch.setattr(board, "SYSTEM", later)
    for seen in (found.read(), found.verify(), found.mute()):
        assert (seen.verdict, seen.reason) == ("unknown", "late")


def test_only_the_newest_change_waits(sim: Sim) -> None:
    stop = threading.Event()
    news = threading.Semaphore(0)
    changes = hardmute.open_board(sim.board).watch(stop, notify=news.release)
    for count in range(4):
        # There may be more news than that: on a busy machine what is known becomes too old.
        while (newest := changes._shown.newest) is None or newest.changes != count:
            assert news.acquire(timeout=PATIENCE_S)
        if count < 3:
            sim.act("press")
    while (seen := next(changes)).reason == "late":
        pass
    assert (seen.verdict, seen.changes) == ("live", 3)
    stop.set()
    changes.join()


def test_times_without_a_zone_are_refused(home: Path) -> None:
    from datetime import datetime, timedelta

    hardmute.Log(home / "log.sqlite3").close()
    log = hardmute.open_log()
    now = datetime.now()  # noqa: DTZ005 (that is what is refused)
    with pytest.raises(hardmute.UsageError, match="time zone"):
        hardmute.prove(log, "5eed0000", now - timedelta(hours=1), now)
    log.close()


def test_all_that_it_names_is_there() -> None:
    for name in hardmute.__all__:
        assert getattr(hardmute, name) is not None
    with pytest.raises(AttributeError):
        _ = hardmute.unmute  # type: ignore[attr-defined]


@pytest.mark.parametrize("call", ["read", "verify", "mute", "watch"])
def test_P1_a_call_that_is_cancelled_leaves_the_port_free(sim: Sim, call: str) -> None:
    """Two hundred in all, each at another moment of the call, from its first to its last."""
    chance = Random(call)
    most_s = 0.02
    calls = 0

    async def use(found: aio.Board) -> None:
        if call == "watch":
            async for _ in found.watch():
                pass
        else:
            await getattr(found, call)()

    async def cancelled() -> None:
        nonlocal calls, most_s
        found = await aio.open_board(sim.board)
        while calls < 50:
            task = asyncio.create_task(use(found))
            await asyncio.sleep(chance.uniform(0, most_s))
            task.cancel()
            await asyncio.wait([task])
            # One that had ended does not count. So the pause becomes as long as the call.
            calls += task.cancelled()
            most_s = min(0.5, most_s * (1.1 if task.cancelled() else 0.9))
            assert holder_of(str(sim.device)) is None
            with discovery.open_board(sim.device, PATIENCE_S, None) as (_, identity):
                assert identity.board == sim.board

    asyncio.run(cancelled())
    for thread in threading.enumerate():
        if thread.name.startswith("hardmute"):
            # Its work is done; the last of it may be ending just now.
            thread.join(60)
            assert not thread.is_alive()
