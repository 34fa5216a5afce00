"""Every command and flag of the command line, as somebody relies on it."""

from __future__ import annotations

import ast
import csv
import io
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import hardmute
import muteboard
from conftest import Cli, Logged, Sim, StartSim, StartWatch, plug_in
from hardmute.cli.commands import demo
from hardmute.device import client, discovery, simulators
from hardmute.device.discovery import Port
from hardmute.evidence.observation import Observation
from hardmute.model.answers import Status
from hardmute.model.clock import now_ms
from hardmute.model.words import REASONS
from hardmute.store.log import Log

MINUTE = 60_000


def as_logged(told: dict[str, Any]) -> Observation:
    """The record that a command's JSON says it has logged."""
    unlogged = ("at", "firmware", "firmware_matches")
    fields = {key: value for key, value in told.items() if key not in unlogged}
    for key in ("sense", "faults", "warnings"):
        if fields[key] is not None:
            fields[key] = tuple(fields[key])
    return Observation(**fields)


# status


@pytest.mark.parametrize(
    ("words", "code", "verdict", "proof"),
    [
        ([], 0, "muted", "sensed"),
        (["press"], 1, "live", "sensed"),
        (["weld"], 4, "fault", None),
        (["unplug"], 3, "unknown", None),
        (["power-off"], 3, "unknown", None),
    ],
)
def test_status_json_is_the_record_that_is_logged(
    sim: Sim,
    cli: Cli,
    logged: Logged,
    words: list[str],
    code: int,
    verdict: str,
    proof: str | None,
) -> None:
    if words:
        cli("-d", sim.device, "status")
        sim.act(*words)
    told = cli("-d", sim.device, "status", "--json")
    assert (told.code, told.json["verdict"], told.json["proof"]) == (code, verdict, proof)
    assert as_logged(told.json) == logged(sim.board)[-1]
    assert told.json["simulated"] is True
    at = datetime.fromisoformat(told.json["at"])
    assert round(at.timestamp() * 1000) == told.json["at_ms"]
    assert abs(told.json["at_ms"] - now_ms()) < MINUTE


def test_status_for_a_person(sim: Sim, cli: Cli) -> None:
    muted = cli("-d", sim.board, "status").out.splitlines()
    assert muted[0] == f"MUTED    board {sim.board}"
    assert "a simulated board: no real microphone is cut by it" in muted[1]
    assert ", by power-on" in muted[2]
    assert "1 of 1 contacts sensed open" in muted[3]
    assert muted[4].strip() == f"firmware {muteboard.__version__}, as this hardmute carries it"
    sim.act("press")
    live = cli("-d", sim.board, "status").out
    assert live.startswith("LIVE     board")
    assert ", by button" in live
    # A second later it is less than an hour.
    assert re.search(r"mutes itself in (1 h 00 min|59 min \d\d s)\n", live)
    assert "\x1b" not in live, "no colours into a pipe"
    assert max(map(len, live.splitlines())) <= 80


def test_status_says_whether_the_firmware_is_ours(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = muteboard.__version__
    told = cli("-d", sim.board, "status", "--json").json
    assert (told["firmware"], told["firmware_matches"]) == (ours, True)
    monkeypatch.setattr(muteboard, "__version__", "99.0.0")
    assert (
        f"firmware {ours}; this hardmute carries 99.0.0: update the older"
        in cli("-d", sim.board, "status").out
    )
    told = cli("-d", sim.board, "status", "--json").json
    assert (told["firmware"], told["firmware_matches"]) == (ours, False)


def test_options_stand_before_or_after_the_command(sim: Sim, cli: Cli) -> None:
    for line in (
        "-d {board} status --json",
        "status -d {board} --json",
        "status --json --device {board}",
        "--device={board} --timeout 2 status --json",
        "status --json --timeout 2 -v -d {device}",
        "-v status --json -d {device}",
    ):
        told = cli(*line.format(board=sim.board, device=sim.device).split())
        assert (told.code, told.json["board"]) == (0, sim.board), line


def test_status_by_tcp_url(start_sim: StartSim, cli: Cli) -> None:
    sim = start_sim("--tcp", 0)
    assert sim.device.startswith("socket://127.0.0.1:")
    for name in (sim.device, sim.board):
        told = cli("-d", name, "status", "--json")
        assert (told.code, told.json["device"]) == (0, sim.device)


# Which board?


def test_no_board_is_unknown_and_logged_as_that(cli: Cli, logged: Logged) -> None:
    told = cli("status", "--json")
    assert (told.code, told.json["verdict"], told.json["reason"]) == (3, "unknown", "no_board")
    assert told.err.startswith("No hardmute board is connected: plug one in")
    assert told.err.count("\n") == 1
    assert logged(None) == [as_logged(told.json)]


def test_a_simulated_board_is_used_only_when_named(sim: Sim, cli: Cli) -> None:
    for command in ("status", "mute", "verify", "watch", "config get", "name x"):
        told = cli(*command.split())
        assert told.code == 3, command
        assert f"used only when named: --device {sim.board}." in told.err, command


def test_the_only_board_needs_no_name(sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    plug_in(monkeypatch, sim.device)
    assert cli("status", "--json").json["board"] == sim.board


def test_several_boards_and_none_named_lists_both(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = [start_sim(), start_sim()]
    plug_in(monkeypatch, *(one.device for one in boards))
    boards[0].act("press")
    for command in ("status", "mute", "verify", "watch", "config get"):
        told = cli(*command.split())
        assert (told.code, told.out) == (2, ""), command
        lines = told.err.splitlines()
        assert lines[0] == "Several boards are connected; name one with --device:"
        assert sorted(lines[1:]) == sorted(f"  {one.board} at {one.device}" for one in boards)
    # Neither was touched.
    assert boards[0].look()["line"] == "connected"


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("kitchen", 2, "'kitchen' is no port, no board id and no label"),
        ("deadbeef", 3, "Board deadbeef is not connected."),
        ("/dev/ttyNONE9", 3, "/dev/ttyNONE9 cannot be opened: is the board plugged in?"),
        ("socket://127.0.0.1:1", 3, "socket://127.0.0.1:1"),
        ("nonsense://x", 2, "nonsense://x is not a port"),
    ],
)
def test_a_wrong_name_is_one_sentence(cli: Cli, name: str, code: int, says: str) -> None:
    told = cli("-d", name, "status")
    assert told.code == code
    assert says in told.err
    assert told.err.count("\n") == 1


# list


def test_list_shows_simulated_boards_marked_as_such(
    start_sim: StartSim, cli: Cli, logged: Logged
) -> None:
    muted, live = start_sim(), start_sim()
    live.act("press")
    told = cli("list", "--json")
    assert told.code == 0
    rows = {row["board"]: row for row in told.json["boards"]}
    assert {board: (row["verdict"], row["device"]) for board, row in rows.items()} == {
        muted.board: ("muted", muted.device),
        live.board: ("live", live.device),
    }
    assert all(row["simulated"] for row in rows.values())
    assert [seen.verdict for seen in logged(live.board)] == ["live"]
    shown = cli("list")
    assert shown.code == 0
    assert shown.out.count("(simulated)") == 2
    assert max(map(len, shown.out.splitlines())) <= 80


def test_list_of_nothing(cli: Cli) -> None:
    told = cli("list")
    assert told.code == 0
    assert told.out.startswith("No board is connected.")
    assert "--probe" in told.out
    assert cli("list", "--json").json == {"boards": []}


def test_list_forgets_a_simulated_board_that_died(
    start_sim: StartSim, cli: Cli, home: Path
) -> None:
    dead, alive = start_sim(), start_sim()
    dead.kill()
    left_behind = home / "run" / "simulated" / f"{dead.board}.json"
    assert left_behind.exists()
    assert [row["board"] for row in cli("list", "--json").json["boards"]] == [alive.board]
    assert not left_behind.exists()
    # Its name is free again.
    assert cli("-d", start_sim(board=dead.board).board, "status").code == 0


def test_list_shows_a_port_that_does_not_answer_as_unknown(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug_in(monkeypatch, "/dev/ttyNONE9")
    told = cli("list", "--json")
    assert [(row["device"], row["verdict"]) for row in told.json["boards"]] == [
        ("/dev/ttyNONE9", "unknown")
    ]
    assert "UNKNOWN" in cli("list").out


@pytest.mark.parametrize(
    "words", [("list",), ("config", "get"), ("config", "set", "mode=toggle"), ("name", "Kitchen")]
)
def test_every_command_logs_a_board_that_has_gone_as_unknown(
    sim: Sim, cli: Cli, logged: Logged, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    assert cli("-d", sim.device, "status").code == 0
    sim.act("unplug")
    plug_in(monkeypatch, sim.device)
    named = () if words[0] == "list" else ("-d", sim.device)
    shown = cli(*named, *words)
    assert [(row.source, row.verdict, row.simulated) for row in logged(sim.board)] == [
        ("status", "muted", True),
        (words[0], "unknown", True),
    ]
    if words[0] == "list":
        assert f"{sim.board}  (simulated)" in shown.out


# watch


def test_watch_prints_one_line_a_change_and_logs_them(
    sim: Sim, watch: StartWatch, logged: Logged
) -> None:
    watcher = watch(sim.board)
    lines = [watcher.until("muted")]
    for words, verdict in (
        (["press"], "live"),
        (["press"], "muted"),
        (["weld"], "fault"),
        (["unweld", "press"], "muted"),
    ):
        sim.act(*words)
        lines.append(watcher.until(verdict))
    assert watcher.interrupt() == 130
    assert watcher.process.stdout is not None
    assert watcher.process.stdout.read() == ""
    assert [(line["verdict"], line["cause"]) for line in lines] == [
        ("muted", "boot"),
        ("live", "button"),
        ("muted", "button"),
        ("fault", "fault"),
        ("muted", "button"),
    ]
    records = logged(sim.board)
    # They came faster than a row a second; then a row is the gravest, with the number of changes.
    stored = [record._replace(summary_of=None) for record in records]
    for line in lines:
        assert as_logged(line) in stored or line["verdict"] == "muted"
    assert sum(record.summary_of or 1 for record in records) >= len(lines)
    # How long the last state was seen to hold is there as well.
    assert records[-1].verdict == "muted"
    assert {record.source for record in records} == {"watch"}


def test_watch_for_a_person_ends_with_ctrl_c(sim: Sim, home: Path) -> None:
    assert home
    process = subprocess.Popen(
        [sys.executable, "-m", "hardmute", "watch", "-d", sim.board],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("MUTED    ")
        sim.act("press")
        line = process.stdout.readline()
        assert line.startswith("LIVE  ")
        assert "button" in line
        assert "simulated" in line
        process.send_signal(2)
        assert process.wait(60) == 130
        assert process.stderr.read() == ""


def test_watch_logs_its_last_sight_if_a_service_manager_ends_it(
    sim: Sim, watch: StartWatch, logged: Logged
) -> None:
    watcher = watch(sim.board)
    first = watcher.until("muted")
    for verdict in ("live", "muted"):
        sim.act("press")
        watcher.until(verdict)
    watcher.process.terminate()
    assert watcher.process.wait(60) == 130
    last = logged(sim.board)[-1]
    assert (last.verdict, last.changes) == ("muted", first["changes"] + 2)


def test_watch_of_a_wrong_name_ends(cli: Cli) -> None:
    assert cli("-d", "kitchen", "watch").code == 2
    assert cli("-d", "deadbeef", "watch").code == 3


# mute


def test_mute_is_zero_once_muted_is_sensed(sim: Sim, cli: Cli) -> None:
    sim.act("press")
    told = cli("-d", sim.board, "mute", "--json")
    assert (told.code, told.json["verdict"], told.json["cause"]) == (0, "muted", "host")
    assert (told.json["sense"], sim.look()["line"]) == ([0], "cut")
    again = cli("-d", sim.board, "mute", "--json")
    assert (again.code, again.json["changes"]) == (0, told.json["changes"])


def test_mute_of_a_welded_contact_is_a_fault(sim: Sim, cli: Cli) -> None:
    sim.act("press", "weld")
    assert cli("-d", sim.board, "status").code == 1
    told = cli("-d", sim.board, "mute", "--json")
    assert (told.code, told.json["verdict"], told.json["faults"]) == (4, "fault", ["closed:1"])


# verify


def test_verify_requires_a_level(sim: Sim, cli: Cli) -> None:
    for require, code in (
        ("reported", 0),
        ("sensed", 0),
        ("attested", 3),
        ("absent", 3),
        ("heard", 3),
    ):
        told = cli("-d", sim.board, "verify", "--require", require)
        assert told.code == code, require
        assert f"proof level: sensed (asked for: {require})" in told.out
        refusals = {
            "attested": "not attested: `hardmute pair --verify-key FILE` lets it prove its word",
            "absent": "not absent: pair, and let `hardmute usb --learn` find the device",
            "heard": "not heard: `hardmute verify --listen` asks the microphone itself",
        }
        for level, refusal in refusals.items():
            assert (refusal in told.out) is (level == require)
        assert max(map(len, told.out.splitlines())) <= 80
    assert "(asked for: sensed)" in cli("-d", sim.board, "verify").out


@pytest.mark.parametrize(("words", "code"), [(["press"], 1), (["weld"], 4), (["unplug"], 3)])
def test_verify_says_live_and_fault_whatever_is_required(
    sim: Sim, cli: Cli, words: list[str], code: int
) -> None:
    sim.act(*words)
    for require in ("reported", "heard"):
        assert cli("-d", sim.board, "verify", "--require", require).code == code


def test_verify_does_not_know_such_a_level(cli: Cli) -> None:
    assert cli("verify", "--require", "sworn").code == 2


def test_verify_a_board_whose_clock_stands_still_is_unknown(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[Status] = []
    fresh = client.Session.status

    def status(session: client.Session) -> Status:
        first.append(fresh(session))
        return first[0]

    monkeypatch.setattr(client.Session, "status", status)
    told = cli("-d", sim.board, "verify", "--json")
    assert (told.code, told.json["verdict"], told.json["reason"]) == (3, "unknown", "not_fresh")
    assert "its answers are not fresh" in told.err


def test_verify_a_board_that_restarts_meanwhile_is_unknown(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = client.Session.status
    count: list[int] = []

    def status(session: client.Session) -> Status:
        count.append(1)
        now = fresh(session)
        return now._replace(boot=now.boot + len(count))

    monkeypatch.setattr(client.Session, "status", status)
    told = cli("-d", sim.board, "verify", "--json")
    assert (told.code, told.json["reason"]) == (3, "restarted")


# log

START = 1_760_000_000_000  # 2025-10-09T08:53:20Z


@pytest.fixture
def story(home: Path) -> str:
    """A log: 10 min muted, 5 min live, muted by timer; unreachable; a fault. The board's id."""
    board = "5eed0001"
    log = Log(home / "log.sqlite3")

    def contact(at: int, verdict: str, since: int, changes: int, cause: str, live: int) -> None:
        log.add(
            Observation(
                at_ms=START + at * MINUTE,
                board=board,
                device="/dev/ttyACM0",
                simulated=False,
                source="status",
                verdict=verdict,
                proof=None if verdict == "fault" else "sensed",
                reason="contact 1 reads closed" if verdict == "fault" else None,
                state=verdict,
                command="connected" if verdict == "live" else "cut",
                sense=(int(verdict != "muted"),),
                cause=cause,
                since_ms=(at - since) * MINUTE,
                uptime_ms=at * MINUTE,
                boot=1,
                changes=changes,
                live_ms=live * MINUTE,
                faults=(),
                warnings=(),
                service="none",
            )
        )

    contact(10, "muted", 0, 0, "boot", 0)
    contact(16, "muted", 15, 2, "timer", 5)
    log.add(
        Observation(
            at_ms=START + 17 * MINUTE,
            board=board,
            device="/dev/ttyACM0",
            simulated=False,
            source="status",
            verdict="unknown",
            proof=None,
            reason="unplugged",
        )
    )
    contact(20, "muted", 15, 2, "timer", 5)
    contact(30, "fault", 25, 3, "fault", 5)
    log.close()
    return board


STORY = [
    (0, 10, "muted", "boot"),
    (10, 15, "live", "button"),
    (15, 17, "muted", "timer"),
    (17, 20, "unknown", None),
    (20, 25, "muted", "timer"),
    (25, 30, "fault", "fault"),
]
WINDOW = ("--since", "2025-10-09T08:53:20Z", "--until", "2025-10-10T00:00Z")


def test_log_table_says_when_how_long_and_why(cli: Cli, story: str) -> None:
    told = cli("log", *WINDOW)
    assert told.code == 0
    lines = told.out.splitlines()
    assert lines[0] == story
    states = [line.split()[2:] for line in lines[2:8]]
    assert [words[0] for words in states] == [state.upper() for _, _, state, _ in STORY]
    assert [" ".join(words[1:4]) for words in states] == [
        f"{minutes} min 00" for minutes in (10, 5, 2, 3, 5, 5)
    ]
    for word in ("power-on", "button", "timer", "unplugged", "contact 1 reads closed"):
        assert word in told.out
    assert lines[-2:] == [
        "live for 5 min 00 s in all, unknown for 3 min 00 s",
        "in fault for 5 min 00 s: the line may have been live",
    ]
    assert max(map(len, lines)) <= 80


def test_log_json(cli: Cli, story: str) -> None:
    told = cli("log", "--json", *WINDOW)
    assert told.json["since"] == "2025-10-09T08:53:20.000Z"
    assert told.json["until"] == "2025-10-10T00:00:00.000Z"
    (board,) = told.json["boards"]
    assert (board["board"], board["simulated"]) == (story, False)
    # Live time and faults take what two crystals leave open at their ends.
    assert board["live_ms"] == pytest.approx(5 * MINUTE, abs=100)
    assert board["fault_ms"] == pytest.approx(5 * MINUTE, abs=100)
    assert [
        (
            round((part["start_ms"] - START) / MINUTE, 2),
            round((part["end_ms"] - START) / MINUTE, 2),
            part["state"],
            part["cause"],
        )
        for part in board["intervals"]
    ] == STORY


def test_log_csv(cli: Cli, story: str, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    assert cli("log", "--csv", file, *WINDOW).code == 0
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [(row["state"], row["cause"] or None) for row in rows] == [
        (state, cause) for _, _, state, cause in STORY
    ]
    assert sum(float(row["live_seconds"]) for row in rows) == pytest.approx(300, abs=0.1)
    assert {row["board"] for row in rows} == {story}


def test_log_csv_where_nothing_can_be_written(cli: Cli, story: str, tmp_path: Path) -> None:
    assert story
    told = cli("log", *WINDOW, "--csv", tmp_path / "none" / "log.csv")
    assert told.code == 6
    assert "cannot be written" in told.err


def svg_text(file: Path) -> str:
    root = ET.parse(file).getroot()  # noqa: S314 (our own file)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    return " ".join(" ".join(root.itertext()).split())


def test_log_plot_is_an_svg_with_states_causes_and_live_time(
    cli: Cli, story: str, tmp_path: Path
) -> None:
    file = tmp_path / "log.svg"
    told = cli("log", "plot", file, *WINDOW)
    assert (told.code, told.out) == (0, f"{file}\n")
    shown = svg_text(file)
    for word in ("muted", "live", "fault", "unknown", "power-on", "timer", story):
        assert word in shown
    assert "live 5 min 00 s, fault 5 min 00 s" in shown
    # Told apart without colour: three of the four bands are hatched.
    assert file.read_text().count("<pattern") >= 3


@pytest.mark.parametrize("order", ["log {w} plot {f}", "log plot {f} {w}", "log plot {w} {f}"])
def test_log_plot_takes_its_window_before_or_after(
    cli: Cli, story: str, tmp_path: Path, order: str
) -> None:
    file = tmp_path / "log.svg"
    told = cli(*order.format(w=" ".join(["-d", story, *WINDOW]), f=file).split())
    assert told.code == 0
    assert "live 5 min 00 s" in svg_text(file)


def test_log_plot_of_nothing(cli: Cli, tmp_path: Path) -> None:
    assert cli("log", "plot", tmp_path / "log.svg").code == 2


@pytest.mark.parametrize(
    ("since", "until", "live_minutes"),
    [
        ("2025-10-09T08:53:20Z", "2025-10-09T09:05:20Z", 2),
        ("2025-10-09T09:05:20Z", "2025-10-09T10:00:00Z", 3),
        ("2025-10-09", "2025-10-10T12:00", 5),
        ("20251009T085320Z", "2025-10-09T14:00:00+02:00", 5),
        ("3000w", "1s", 5),
    ],
)
def test_log_window(cli: Cli, story: str, since: str, until: str, live_minutes: int) -> None:
    told = cli("-d", story, "log", "--json", "--since", since, "--until", until)
    live_ms = told.json["boards"][0]["live_ms"]
    assert live_ms == pytest.approx(live_minutes * MINUTE, abs=100)


@pytest.mark.parametrize(("ago", "seconds"), [("90m", 5_400), ("12h", 43_200), ("7d", 604_800)])
def test_log_since_a_time_ago(cli: Cli, ago: str, seconds: int) -> None:
    told = cli("log", "--json", "--since", ago).json
    since, until = (datetime.fromisoformat(told[key]) for key in ("since", "until"))
    assert abs((until - since).total_seconds() - seconds) < 60
    assert abs((datetime.now(UTC) - until).total_seconds()) < 60
    # A week is the default.
    assert cli("log").out.startswith("Nothing is logged ")


@pytest.mark.parametrize(
    "words",
    [
        ["--since", "yesterday"],
        ["--since", "2026-13-01"],
        ["--since", ""],
        ["--since", "99999999999999d"],
        ["--since", "1h", "--until", "2h"],
        ["-d", "kitchen"],
    ],
)
def test_log_of_a_time_or_board_that_is_none(cli: Cli, words: list[str]) -> None:
    told = cli("log", *words)
    assert told.code == 2
    assert told.err.count("\n") == 1


def test_log_of_a_sim_from_the_first_contact_on(sim: Sim, cli: Cli) -> None:
    sim.act("press", "press", "press")
    assert cli("-d", sim.board, "mute").code == 0
    (board,) = cli("log", "--json").json["boards"]
    assert board["simulated"] is True
    assert board["live_ms"] > 0
    last = board["intervals"][-1]
    assert (last["state"], last["cause"]) == ("muted", "host")


# config


def test_config_get(sim: Sim, cli: Cli) -> None:
    shown = cli("-d", sim.board, "config", "get")
    assert shown.code == 0
    assert shown.out.splitlines() == [
        "brightness = 50   (10 to 100)",
        "max_live_s = 3600   (10 to 28800)",
        "mode = toggle   (toggle or push_to_talk)",
        "palette = default   (default or colour_blind)",
    ]
    told = cli("config", "get", "--json", "-d", sim.board).json
    assert told["board"] == sim.board
    assert told["config"]["mode"] == "toggle"


def test_config_set_in_setup_is_kept(sim: Sim, cli: Cli) -> None:
    sim.act("power-off", "power-on", "--hold", 3.2)
    wishes = ["mode=push_to_talk", "max_live_s=600", "palette=colour_blind", "brightness=100"]
    told = cli("-d", sim.board, "config", "set", *wishes, "--json")
    assert told.code == 0
    expected = {
        "mode": "push_to_talk",
        "max_live_s": 600,
        "palette": "colour_blind",
        "brightness": 100,
    }
    assert told.json["config"] == expected
    sim.act("power-off", "power-on")
    assert cli("-d", sim.board, "config", "get", "--json").json["config"] == expected
    # Push to talk: live only while the button is down.
    assert sim.act("press", "look")["line"] == "cut"


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("max_live_s=9", "10 to 28800"),
        ("max_live_s=28801", "10 to 28800"),
        ("max_live_s=-1", "10 to 28800"),
        ("max_live_s=--5", "10 to 28800"),
        ("max_live_s=1.5", "10 to 28800"),
        ("max_live_s=never", "10 to 28800"),
        ("max_live_s=", "10 to 28800"),
        ("max_live_s", "10 to 28800"),
        ("max_live_s=" + "9" * 5000, "10 to 28800"),
        ("brightness=9", "10 to 100"),
        ("brightness=0", "10 to 100"),
        ("mode=live", "toggle or push_to_talk"),
        ("palette=dark", "default or colour_blind"),
        ("volume=11", "A board has no setting 'volume'"),
    ],
)
def test_config_set_out_of_range_is_a_usage_error(cli: Cli, setting: str, says: str) -> None:
    # No board is asked for that.
    told = cli("-d", "deadbeef", "config", "set", setting)
    assert told.code == 2
    assert says in told.err


# name


def test_name_gives_a_label_that_names_the_board(start_sim: StartSim, cli: Cli) -> None:
    sim, other = start_sim(), start_sim()
    assert cli("-d", sim.board, "name").out == f"{sim.board}  (no label)\n"
    assert cli("-d", sim.device, "name", "kitchen desk").out == f"{sim.board}  kitchen desk\n"
    assert cli("-d", "kitchen desk", "status", "--json").json["board"] == sim.board
    assert cli("-d", sim.board, "status").out.startswith(f"MUTED    kitchen desk ({sim.board})")
    assert "kitchen desk" in cli("list").out
    assert cli("-d", "kitchen desk", "log").out.startswith("kitchen desk (simulated)")
    taken = cli("-d", other.device, "name", "kitchen desk")
    assert taken.code == 2
    assert taken.err == f"Board {sim.board} already has the label 'kitchen desk'.\n"
    assert cli("-d", sim.board, "name", "desk").code == 0
    assert cli("-d", "kitchen desk", "status").code == 2
    sim.act("unplug")
    told = cli("-d", "desk", "status", "--json")
    assert (told.code, told.json["board"]) == (3, sim.board)


def test_name_takes_no_label_that_would_confuse(sim: Sim, cli: Cli) -> None:
    for label in ("", "  ", "x" * 41, "red\x1b[31m", "new\nline", "deadbeef", "a/b", "COM3"):
        assert cli("-d", sim.board, "name", label).code == 2, label
    assert cli("-d", sim.board, "name").out == f"{sim.board}  (no label)\n"


# Help, completion, and how a command ends.

COMMANDS = [
    "list",
    "status",
    "watch",
    "monitor",
    "service",
    "service install",
    "service status",
    "service remove",
    "mute",
    "verify",
    "usb",
    "pair",
    "unpair",
    "log",
    "log plot",
    "config",
    "config get",
    "config set",
    "name",
    "forget",
    "flash",
    "sim",
    "world",
    "demo",
    "completion",
]


def test_help_fits_a_screen(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = cli("--help")
    assert told.code == 0
    lines = told.out.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    for command in COMMANDS:
        name = command.split()[0]
        # The help of one command may tell of another one.
        assert f"    {name} " in told.out or f"`{name}`" in told.out


def test_one_sentence_says_what_3_means(cli: Cli) -> None:
    root = Path(__file__).parents[3]
    pages = [root / "docs" / "cli.md", root / "docs" / "threat-model.md"]
    for said in (cli("--help").out, *(page.read_text("utf-8") for page in pages)):
        words = " ".join(said.replace("|", " ").split())
        assert "3 unknown, less proof than required, or nothing given to check it with" in words


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_fits_its_width(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    told = cli(*command.split(), "--help")
    assert told.code == 0
    assert told.out.startswith(f"usage: hardmute {command} ")
    assert max(map(len, told.out.splitlines())) <= 80
    assert "?." not in told.out


@pytest.mark.parametrize("line", ["", "unmute", "status --jso", "-d", "--timeout 0 status"])
def test_a_line_that_means_nothing_is_a_usage_error(cli: Cli, line: str) -> None:
    told = cli(*line.split())
    assert (told.code, told.out) == (2, "")
    assert "usage: hardmute" in told.err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_commands_and_options(cli: Cli, shell: str) -> None:
    told = cli("completion", shell)
    assert told.code == 0
    for word in [*COMMANDS, "--device", "--timeout", "--json", "--require", "--since"]:
        assert word.split()[-1] in told.out


def test_no_command_at_all_shows_the_short_help(cli: Cli) -> None:
    told = cli()
    assert (told.code, told.out) == (2, "")
    assert told.err == cli("--help").out


def test_nobody_is_sent_to_an_index_where_hardmute_is_not() -> None:
    root = Path(__file__).parents[3]
    files = [*(root / "host").rglob("*.py"), *root.glob("*.md"), *root.glob("*/*.md")]
    advice = re.compile(r"\b(pip3?|pipx|uvx?|tool) (install |run |add )?['\"]?hardmute\b")
    assert [file.name for file in files if advice.search(file.read_text("utf-8"))] == []


def test_version(cli: Cli) -> None:
    import muteboard

    assert cli("--version").out == f"{muteboard.__version__}\n"


def run(*words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    # Output into a pipe is buffered, as it is for everybody else.
    buffered = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    return subprocess.run(
        [sys.executable, "-m", "hardmute", *words],
        check=False,
        text=True,
        stderr=subprocess.PIPE,
        timeout=60,
        env=buffered,
        **options,
    )


def test_timeout_is_honoured(cli: Cli) -> None:
    master, slave = os.openpty()
    try:
        started = time.monotonic()
        told = cli("-d", os.ttyname(slave), "--timeout", 0.3, "status", "--json")
        elapsed_s = time.monotonic() - started
    finally:
        os.close(master)
        os.close(slave)
    assert (told.code, told.json["reason"]) == (3, "no_answer")
    assert "did not answer within 0.3 s" in told.err
    # How much longer it takes is up to the machine.
    assert elapsed_s >= 0.3


@pytest.mark.parametrize("verbose", [False, True])
def test_a_traceback_only_with_v_and_never_the_exit_code_of_live(
    home: Path, verbose: bool
) -> None:
    assert home
    ended = run("config", "get", *(["-v"] if verbose else []), stdout=subprocess.PIPE)
    assert ended.returncode == 3
    assert ("Traceback" in ended.stderr) is verbose
    assert ended.stderr.splitlines()[-1].startswith("No hardmute board is connected")


@pytest.mark.parametrize("verbose", [False, True])
def test_an_internal_error_is_a_sentence_and_a_local_failure(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, failed_inside: list[str], verbose: bool
) -> None:
    def serial_ports(*, bridges: bool) -> list[Port]:
        raise ZeroDivisionError(f"a bug, bridges={bridges}")

    monkeypatch.setattr(discovery, "serial_ports", serial_ports)
    told = cli("status", *(["-v"] if verbose else []))
    assert told.code == 6
    assert "hardmute failed inside (ZeroDivisionError: a bug" in told.err
    assert ("Traceback" in told.err) is verbose
    assert len(failed_inside) == 1
    failed_inside.clear()


@pytest.mark.parametrize(("words", "code"), [([], 6), (["press"], 1), (["weld"], 4)])
def test_a_reader_who_has_gone_hides_no_state(sim: Sim, words: list[str], code: int) -> None:
    sim.act(*words)
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = run("-d", sim.board, "status", stdout=writer)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (code, "")


def test_a_reader_of_the_log_who_has_gone_is_no_failure_inside(sim: Sim, cli: Cli) -> None:
    assert cli("-d", sim.board, "status").code == 0
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = run("log", stdout=writer)
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (6, "")


# demo


@pytest.mark.parametrize(
    ("dropped", "step"),
    [("press", "Step 3 failed: `hardmute status --json` ended with 0, expected 1"), ("weld", "5")],
)
def test_demo_fails_when_a_step_is_sabotaged(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dropped: str, step: str
) -> None:
    real = demo.act

    def act(address: str, words: list[str]) -> dict[str, Any]:
        return real(address, [word for word in words if word != dropped] or ["look"])

    monkeypatch.setattr(demo, "act", act)
    told = cli("demo", "--svg", tmp_path / "demo.svg")
    assert told.code == 6
    assert step in told.out
    assert "✗" in told.out
    assert "Next" not in told.out
    # It ends the board that it started, and keeps out of the owner's home.
    assert simulators.running() == []


@pytest.mark.parametrize("name", ["random.py", "hardmute.py", "json.py"])
def test_demo_runs_nothing_of_the_current_folder(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Its board is a process of its own, and Python would look for modules there first."""
    (tmp_path / name).write_text("open('owned', 'w').close()\n")
    monkeypatch.chdir(tmp_path)

    class Short(demo._Walk):
        def through(self, svg: Path, verify_key: Path) -> None:
            pass

    monkeypatch.setattr(demo, "_Walk", Short)
    told = cli("demo")
    assert (told.code, told.err) == (0, "")
    assert not (tmp_path / "owned").exists()


def test_every_python_child_keeps_off_the_current_folder() -> None:
    """Each command that begins with this interpreter goes on with -P."""
    found = 0
    for source in Path(hardmute.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.executable":
                found += 1
            if isinstance(node, ast.List) and ast.unparse(node).startswith("[sys.executable"):
                assert ast.unparse(node).startswith("[sys.executable, '-P', "), source
                found -= 1
    assert found == 0


def test_demo_says_so_when_its_board_does_not_start(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "_BOARD", "no hex")
    told = cli("demo")
    assert told.code == 6
    assert "The simulated board did not start" in told.err


def test_every_reason_for_unknown_has_words():
    """The log's short words are told to a person in words of `hardmute.model.words`."""
    sources = Path(hardmute.__file__).parent.rglob("*.py")
    calls = [
        node
        for source in sources
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith("UnreachableError")
        and len(node.args) == 2
    ]
    reasons = {call.args[1].value for call in calls if isinstance(call.args[1], ast.Constant)}
    # "no_world" is about the simulation's world, which is never in the log. "late" is shown by
    # `watch`, of what it reads.
    assert reasons - {"no_world"} | {"late"} == set(REASONS)
