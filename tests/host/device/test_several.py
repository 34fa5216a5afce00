"""A room with several boards: one command asks them all, and no board hides another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_device import pty_device

from conftest import Cli, StartSim, StartWatch, plug_in_real
from hardmute.device import discovery
from hardmute.device.client import Session
from hardmute.store.log import Log

GONE = "c0ffee01"


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ([], [], 0),
        (["press"], [], 1),
        ([], ["press"], 1),
        # Its state is unknown, which is graver than live: it may be both.
        (["press"], ["unplug"], 3),
        (["unplug"], ["weld"], 4),
    ],
)
def test_P5_status_of_two_is_that_of_the_gravest(
    start_sim: StartSim, cli: Cli, first: list[str], second: list[str], code: int
) -> None:
    boards = [start_sim(), start_sim()]
    for board, words in zip(boards, (first, second), strict=True):
        if words:
            board.act(*words)
    named = ["-d", boards[0].board, "-d", boards[1].board]
    told = cli("status", *named, "--json")
    assert told.code == code
    assert [row["board"] for row in told.json] == [board.board for board in boards]
    shown = cli("status", *named)
    assert shown.code == code
    assert all(board.board in shown.out for board in boards)


def test_boards_may_be_named_before_and_after_the_command(start_sim: StartSim, cli: Cli) -> None:
    boards = [start_sim(), start_sim()]
    told = cli("-d", boards[0].board, "status", "-d", boards[1].board, "--json")
    assert [row["board"] for row in told.json] == [board.board for board in boards]
    # Once is once.
    assert cli("-d", boards[0].board, "status", "-d", boards[0].board, "--json").json["board"]


@pytest.mark.parametrize(
    "line",
    [
        "watch -d {a} -d {b}",
        "-d {a} watch -d {b}",
        "log -d {a} -d {b}",
        "log -d {a} plot -d {b} x.svg",
        "config -d {a} get -d {b}",
        "prove -d {a} -d {b} --from 1h",
        "verify --listen -d {a} -d {b}",
        "status --all -d {a}",
        "mute --all -d {a}",
        "verify --all",
    ],
)
def test_P5_a_command_for_one_board_takes_no_other(cli: Cli, line: str) -> None:
    """The last name is not taken in silence for the only one."""
    told = cli(*line.format(a="5eed0001", b="5eed0002").split())
    assert (told.code, told.out) == (2, "")


def test_P5_all_boards_are_those_found_and_those_with_a_label(
    start_sim: StartSim, cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugged, labelled, unnamed = start_sim(), start_sim(), start_sim()
    plug_in_real(monkeypatch, plugged.device)
    assert cli("-d", labelled.board, "name", "Common room").code == 0
    told = cli("status", "--all", "--json")
    assert told.code == 0
    # A simulated board counts only if somebody has named it.
    assert [row["board"] for row in told.json] == [plugged.board, labelled.board]
    assert unnamed.board not in str(told.json)

    log = Log(home / "log.sqlite3")
    log.set_label(GONE, "Meeting room 2")
    log.close()
    told = cli("status", "--all", "--json")
    assert told.code == 3
    rows = {row["board"]: (row["verdict"], row["reason"]) for row in told.json}
    assert rows.pop(GONE) == ("unknown", "not_connected")
    assert rows == {plugged.board: ("muted", None), labelled.board: ("muted", None)}

    assert cli("forget", "Meeting room 2").out == f"{GONE}  (no label)\n"
    assert cli("status", "--all").code == 0


def test_forget_drops_no_row(start_sim: StartSim, cli: Cli, home: Path) -> None:
    sim = start_sim()
    assert cli("-d", sim.board, "status").code == 0
    cli("-d", sim.board, "name", "Common room")
    before = Log(home / "log.sqlite3").head()
    for word in ("Common room", sim.board):
        assert cli("forget", word).code == 0
    assert Log(home / "log.sqlite3").head() == before
    assert cli("-d", sim.board, "log").out.startswith(f"{sim.board} (simulated)")
    assert cli("-d", "Common room", "status").code == 2
    assert cli("forget", "Common room").code == 2
    assert cli("forget", "deadbeef").code == 2


def test_P5_all_of_nothing_is_unknown(cli: Cli) -> None:
    told = cli("status", "--all", "--json")
    assert told.code == 3
    assert [row["reason"] for row in told.json] == ["no_board"]


def test_P5_a_port_that_another_holds_may_be_a_board(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch, watch: StartWatch
) -> None:
    sim, other = start_sim(), start_sim()
    plug_in_real(monkeypatch, sim.device, other.device)
    watch(sim.device).until("muted")
    told = cli("status", "--all", "--json", "--timeout", "3")
    assert told.code == 3
    assert {row["verdict"] for row in told.json} == {"unknown", "muted"}


def test_P2_mute_tries_all_though_nobody_reads(start_sim: StartSim) -> None:
    boards = [start_sim(), start_sim()]
    for board in boards:
        board.act("press")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        named = [word for board in boards for word in ("-d", board.board)]
        # Unbuffered, so that the first line fails.
        ended = subprocess.run(
            [sys.executable, "-u", "-m", "hardmute", "mute", *named],
            check=False, stdout=writer, stderr=subprocess.PIPE, timeout=60,
        )  # fmt: skip
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (6, b"")
    assert [board.look()["line"] for board in boards] == ["cut", "cut"]


def test_P5_a_board_that_hangs_is_unknown(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim, other = start_sim(), start_sim()
    with pty_device(lambda _: b"") as foreign:
        plug_in_real(monkeypatch, foreign.address, other.device, sim.device)
        # Nothing says that a board of ours is behind the first port.
        told = cli("status", "--all", "--json", "--timeout", "3")
        assert (told.code, len(told.json)) == (0, 2)
        other.act("unplug")
        told = cli("status", "--all", "--json", "--timeout", "3")
    assert told.code == 3
    rows = [(row["board"], row["verdict"]) for row in told.json]
    assert rows == [(sim.board, "muted"), (other.board, "unknown")]


@pytest.mark.parametrize("bad", ["unplug", "refuses", "no such label"])
def test_P2_mute_tries_all_before_it_ends(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    boards = [start_sim(), start_sim(), start_sim()]
    for board in boards:
        board.act("press")
    named = [board.board for board in boards]
    if bad == "unplug":
        boards[0].act("unplug")
    elif bad == "refuses":
        from hardmute.model.errors import RefusedError

        real = Session.mute

        def refuses(session: Session) -> None:
            if session.device == boards[0].device:
                raise RefusedError("No.", "busy")
            real(session)

        monkeypatch.setattr(Session, "mute", refuses)
    else:
        named[0] = "kitchen"
    told = cli("mute", *(word for name in named for word in ("-d", name)), "--json")
    assert told.code == 3
    assert [row["verdict"] for row in told.json] == ["unknown", "muted", "muted"]
    assert [board.look()["line"] for board in boards[1:]] == ["cut", "cut"]


def test_P5_mute_all(start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    boards = [start_sim(), start_sim()]
    plug_in_real(monkeypatch, *(board.device for board in boards))
    for board in boards:
        board.act("press")
    told = cli("mute", "--all")
    assert told.code == 0
    assert [board.look()["line"] for board in boards] == ["cut", "cut"]
    assert all(f"MUTED    board {board.board}" in told.out for board in boards)


def test_P5_two_boards_with_one_id_are_not_muted(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = start_sim()
    plug_in_real(monkeypatch, sim.device, sim.device)
    told = cli("status", "--all", "--json")
    assert told.code == 3
    assert [row["verdict"] for row in told.json] == ["unknown"]


def test_P5_labels_that_a_damaged_log_had_are_missed(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    sim = start_sim()
    plug_in_real(monkeypatch, sim.device)
    cli("-d", sim.board, "name", "Common room")
    (home / "log.sqlite3").write_bytes(os.urandom(20_000))
    assert cli("status", "--all").code == 5


def test_P4_verify_of_several_needs_the_proof_of_each(start_sim: StartSim, cli: Cli) -> None:
    boards = [start_sim(), start_sim()]
    named = [word for board in boards for word in ("-d", board.board)]
    assert cli("verify", *named).code == 0
    told = cli("verify", *named, "--require", "attested", "--json")
    assert (told.code, [row["proof"] for row in told.json]) == (3, ["sensed", "sensed"])


def test_a_label_works_when_its_board_is_gone(start_sim: StartSim, cli: Cli) -> None:
    sim = start_sim()
    assert cli("-d", sim.board, "status").code == 0
    assert cli("-d", sim.board, "name", "Common room").code == 0
    sim.act("unplug")
    told = cli("-d", "Common room", "status", "--json")
    assert (told.code, told.json["board"]) == (3, sim.board)
    assert cli("-d", "Common room", "log").out.startswith("Common room (simulated)")
    told = cli("prove", "-d", "Common room", "--from", "1m", "--to", "0s", "--json")
    assert (told.code, told.json["board"]) == (3, sim.board)


@pytest.mark.parametrize("label", ["COM3", "com12", "/dev/x", "socket://a"])
def test_what_looks_like_a_port_is_no_label(cli: Cli, label: str) -> None:
    assert discovery.is_port(label)
    assert cli("-d", "5eed0001", "name", label).code == 2
