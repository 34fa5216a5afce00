"""`hardmute mute` gets the port of a `watch`, which takes it back. POSIX only.

Watchers and the mutes that wait are processes; a mute that need not wait runs in this one.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_device import BOARD, LIVE, MUTED, Board, Last, ScriptedPort, on, tcp_device

import forked
from conftest import Cli, Logged, Result, Sim, StartSim, StartWatch, use_clock
from conftest import plug_in as listed
from hardmute.cli.commands import listen as listening
from hardmute.cli.commands import watch as watching
from hardmute.device import client, discovery, simulators
from hardmute.device import holder as port_holder
from hardmute.device.client import Session
from hardmute.device.holder import PortHolder, Turn
from hardmute.evidence.absence import Looked, UsbDevice
from hardmute.evidence.observation import Observation
from hardmute.model.clock import SYSTEM, iso_time, now_ms
from hardmute.model.errors import INTERRUPTED, OK, UNKNOWN, PortHeldError, PortWantedError
from hardmute.monitor import follower
from hardmute.sync import absence
from muteboard import wire

_END_S = 60
_BUTTON = "press the button"


class Command:
    """A ``hardmute`` process; its lines as they come."""

    def __init__(self, *words: str) -> None:
        self.process = forked.start(words, stderr=subprocess.PIPE)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def until(self, *words: str) -> str:
        """The next line that has these words. On a busy machine an answer may come too late: then
        "unknown" is between, and the state before that again (`test_processes` has none there).
        """
        line = self.line()
        while not all(word.casefold() in line.casefold() for word in words):
            assert line
            line = self.line()
        return line

    def complaint(self) -> str:
        assert self.process.stderr is not None
        return self.process.stderr.readline()

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Its exit code, and what else it printed."""
        out, err = self.process.communicate(timeout=_END_S)
        return self.process.returncode, out, err


Start = Callable[..., Command]


@pytest.fixture
def start(home: Path) -> Iterator[Start]:  # noqa: ARG001 (for its effect)
    """Start ``hardmute`` processes: ``start("watch", "-d", board)``; they end with the test."""
    started: list[Command] = []

    def run(*words: str) -> Command:
        started.append(Command(*words))
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.communicate(timeout=_END_S)


def ports(home: Path, suffix: str) -> list[Path]:
    return list((home / "run" / "ports").glob(f"*.{suffix}"))


def press_until_live(sim: Sim) -> None:
    """A press within a second after the host has muted is not taken for "unmute"."""
    while sim.look()["line"] != "connected":
        sim.act("press")


def pair(sim: Sim, cli: Cli, folder: Path) -> Path:
    """Pair the board with this host. The verify key's file."""
    key = folder / "key.json"
    sim.open_setup()
    assert cli("-d", sim.board, "pair", "--verify-key", key).code == OK
    sim.act("power-off", "power-on")
    return key


def logged_states(cli: Cli, since: str = "") -> list[tuple[str, str]]:
    """What the log has known of the board, and why; but for what ended before ``since``."""
    found = cli("log", "--json").json["boards"][0]["intervals"]
    known = [part for part in found if part["state"] != "unknown" and part["end"] > since]
    return [
        states for states, _ in itertools.groupby((one["state"], one["cause"]) for one in known)
    ]


def plug_in(monkeypatch: pytest.MonkeyPatch, *devices: str) -> None:
    """Let these be the ports of real boards."""
    listed(monkeypatch, *devices)
    monkeypatch.setattr(simulators, "running", list)


# What users see.


@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("port", [[], ["--tcp", "0"]], ids=["pty", "tcp"])
def test_P5_mute_cuts_while_watch_follows_and_watch_goes_on(
    start_sim: StartSim, start: Start, cli: Cli, port: list[str], form: list[str]
) -> None:
    sim = start_sim(*port)
    watcher = start("watch", "-d", sim.device, *form)
    watcher.until("MUTED")
    press_until_live(sim)
    watcher.until("LIVE", "button")
    assert sim.look()["line"] == "connected"
    told = cli("-d", sim.board, "mute", "--json")
    assert (told.code, told.err) == (OK, "")
    assert (told.json["verdict"], told.json["cause"]) == ("muted", "host")
    assert sim.look()["line"] == "cut"
    watcher.until("MUTED", "host")
    press_until_live(sim)
    watcher.until("LIVE", "button")
    watcher.send(signal.SIGINT)
    assert watcher.end() == (INTERRUPTED, "", "")
    assert logged_states(cli)[:3] == [("muted", "boot"), ("live", "button"), ("muted", "host")]


def test_P2_twenty_handovers_connect_nothing(
    sim: Sim, watch: StartWatch, cli: Cli, logged: Logged
) -> None:
    watcher = watch(sim.board)
    first = watcher.until("muted")
    for _ in range(20):
        told = cli("-d", sim.board, "mute", "--json")
        assert (told.code, told.json["changes"]) == (OK, first["changes"]), told
    assert sim.look()["line"] == "cut"
    press_until_live(sim)
    # The next change that it prints.
    assert watcher.until("live")["changes"] == first["changes"] + 1
    rows = logged(sim.board)
    assert [row.verdict for row in rows if row.verdict not in ("muted", "unknown")] == ["live"]
    assert [row.at_ms for row in rows] == sorted(row.at_ms for row in rows)


def test_mutes_of_a_watched_paired_board_leave_sound_evidence(
    sim: Sim, start: Start, cli: Cli, tmp_path: Path
) -> None:
    key = pair(sim, cli, tmp_path)
    watcher = start("watch", "-d", sim.board)
    watcher.until("MUTED")
    for _ in range(3):
        press_until_live(sim)
        watcher.until("LIVE")
        told = cli("-d", sim.board, "mute", "--json")
        assert (told.code, told.json["proof"], told.err) == (OK, "attested", "")
        watcher.until("MUTED", "host")
    watcher.send(signal.SIGINT)
    assert watcher.end() == (INTERRUPTED, "", "")
    assert cli("log", "verify", "--key", key).code == OK
    assert cli("-d", sim.board, "verify", "--require", "attested").code == OK


def test_P6_prove_meets_a_watched_board_and_watch_goes_on(
    sim: Sim, start: Start, cli: Cli, tmp_path: Path
) -> None:
    key = pair(sim, cli, tmp_path)
    watcher = start("watch", "-d", sim.board)
    watcher.until("MUTED")
    since = iso_time(now_ms())
    told = cli("-d", sim.board, "prove", "--from", since, "--key", key, "--json")
    assert (told.code, told.err) == (OK, "")
    assert told.json["verdict"] == "muted"
    press_until_live(sim)
    watcher.until("LIVE")
    watcher.send(signal.SIGINT)
    assert watcher.end() == (INTERRUPTED, "", "")
    assert cli("log", "verify", "--key", key).code == OK
    assert [state for state, _ in logged_states(cli, since)][:2] == ["muted", "live"]


def test_mute_finds_a_watched_board_with_or_without_its_id(
    start_sim: StartSim, watch: StartWatch, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    meant, other = start_sim(), start_sim()
    watchers = [watch(meant.board), watch(other.board)]
    for watcher in watchers:
        watcher.until("muted")
    press_until_live(meant)
    plug_in(monkeypatch, meant.device)
    assert cli("mute").code == OK
    assert meant.look()["line"] == "cut"
    press_until_live(meant)
    plug_in(monkeypatch, other.device, meant.device)
    # Never guessed, though both had to be asked who they are.
    assert cli("mute").code == 2
    assert meant.look()["line"] == "connected"
    assert cli("-d", meant.board, "mute").code == OK
    assert meant.look()["line"] == "cut"
    press_until_live(other)
    for verdict in ("live", "muted") * 2:
        watchers[0].until(verdict)
    watchers[1].until("live")


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("turn", "waits_s"), [("meet", 90), ("usual", 3), ("mute", 3)])
def test_a_prove_lets_a_measurement_end(turn: Turn, waits_s: float) -> None:
    now_s = 0.0

    def clock() -> float:
        nonlocal now_s
        now_s += 1.5
        return now_s

    with PortHolder("/dev/one", 1, "listen"):
        with pytest.raises(PortHeldError), PortHolder("/dev/one", 3, turn, clock=clock):
            pass
        assert waits_s <= now_s <= waits_s + 6
    # Where the measurement ends in time, the board is met.
    now_s = 0.0
    with ExitStack() as listening:
        listening.enter_context(PortHolder("/dev/one", 1, "listen"))

        def ends() -> float:
            if clock() > 30:
                listening.close()
            return now_s

        with PortHolder("/dev/one", 3, "meet", clock=ends):
            assert now_s > 30


def test_mutes_that_ask_at_once_all_succeed(sim: Sim, start: Start) -> None:
    watcher = start("watch", "-d", sim.board)
    watcher.line()
    press_until_live(sim)
    watcher.line()
    watcher.send(signal.SIGSTOP)
    mutes = [start("mute", "-d", sim.board, "--timeout", "30") for _ in range(2)]
    for mute in mutes:
        assert mute.complaint().startswith("Waiting for")
    watcher.send(signal.SIGCONT)
    for mute in mutes:
        code, out, err = mute.end()
        assert (code, out[:5], err) == (OK, "MUTED", "")
    press_until_live(sim)
    watcher.until("LIVE")


def test_with_two_watchers_the_first_stays_the_one_that_follows(
    sim: Sim, watch: StartWatch, cli: Cli
) -> None:
    first = watch(sim.device)
    first.until("muted")
    second = watch(sim.device)
    told = second.next()
    assert (told["verdict"], told["reason"]) == ("unknown", "port_held")
    for _ in range(3):
        press_until_live(sim)
        first.until("live")
        assert cli("-d", sim.board, "mute").code == OK
        assert first.until("muted")["cause"] == "host"
    first.interrupt()
    second.until("muted")


@pytest.mark.usefixtures("home", "patient")
def test_P2_a_port_that_is_given_up_for_a_mute_is_the_mutes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever has waited to the end just then does not take it."""
    # Nor does it count as left free, however late the thread below goes on.
    monkeypatch.setattr(port_holder, "_LEFT_FREE_LOOKS", 1_000)
    taken, done = threading.Event(), threading.Event()

    def cut() -> None:
        with PortHolder("/dev/none", 3, "mute"):
            taken.set()
            done.wait()

    with PortHolder("/dev/none", 0) as holds:
        muting = threading.Thread(target=cut)
        muting.start()
        file = holds._file_of("mute")
        while not port_holder._asked(file):
            time.sleep(0.001)
    with pytest.raises(PortHeldError), PortHolder("/dev/none", 0, "follow"):
        pass
    assert taken.wait(_END_S)
    done.set()
    muting.join()


def test_other_commands_do_not_get_the_port(
    sim: Sim, watch: StartWatch, cli: Cli, home: Path
) -> None:
    watcher = watch(sim.board)
    watcher.until("muted")
    for words in (["status"], ["config", "get"]):
        told = cli("-d", sim.board, *words, "--timeout", "0.3")
        assert (told.code, f"process {watcher.process.pid} " in told.err) == (UNKNOWN, True)
    assert not ports(home, "mute")


def test_verify_asks_a_watched_board_and_watch_goes_on(
    sim: Sim, watch: StartWatch, cli: Cli
) -> None:
    watcher = watch(sim.board)
    watcher.until("muted")
    told = cli("-d", sim.board, "verify", "--timeout", "30")
    assert (told.code, told.out.startswith("MUTED")) == (OK, True)
    sim.act("press")
    watcher.until("live")


def test_P3_a_verify_that_looks_for_a_microphone_delays_no_mute(
    sim: Sim, start: Start, cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks for seconds (docs/usb-microphone.md). One that asks for the port meanwhile is told
    to press the button if it does not get it.
    """
    device = UsbDevice(0x1234, 0x5678, None, "pci", "1", "microphone", records=True)
    known = Looked(1, 0, 0, "learned", None, None, (device,), back=True)
    mutes: list[Command] = []

    def read() -> None:
        if not mutes:
            mutes.append(start("mute", "-d", sim.board, "--timeout", "30"))
            while not any(file.stat().st_size for file in ports(home, "mute")):
                time.sleep(0.01)

    monkeypatch.setattr(absence, "learned", lambda *_: known)
    monkeypatch.setattr(absence, "reader", lambda _: read)
    sim.act("press")
    told = cli("-d", sim.board, "verify")
    assert (told.code, "asked for" in told.err) == (UNKNOWN, True)
    assert [mute.end()[0] for mute in mutes] == [OK]
    assert sim.look()["line"] == "cut"


def test_a_mute_of_a_board_that_nobody_watches_asks_nobody(sim: Sim, cli: Cli, home: Path) -> None:
    assert cli("-d", sim.board, "mute").code == OK
    assert len(ports(home, "lock")) == 1
    assert not ports(home, "mute")


# Those who do not give the port up.


def test_mute_says_who_holds_the_port_and_to_press_the_button(sim: Sim, start: Start) -> None:
    watcher = start("watch", "-d", sim.board)
    watcher.line()
    press_until_live(sim)
    watcher.send(signal.SIGSTOP)
    held = f"process {watcher.process.pid} (hardmute watch -d {sim.board})"
    given_up = start("mute", "-d", sim.board, "--timeout", "0.3")
    code, out, err = given_up.end()
    assert (code, out[:7]) == (UNKNOWN, "UNKNOWN")
    assert held in err
    assert _BUTTON in err
    assert err.count("\n") == 1
    # With more patience it says so long before its time is over, and goes on trying.
    patient = start("mute", "-d", sim.board, "--timeout", "30")
    told = patient.complaint()
    assert patient.process.poll() is None
    assert held in told
    assert _BUTTON in told
    watcher.send(signal.SIGCONT)
    assert patient.end()[0] == OK
    assert sim.look()["line"] == "cut"


def test_a_holder_that_does_not_follow_keeps_the_port(sim: Sim, cli: Cli) -> None:
    with client.connect(sim.device, 1) as (session, _):
        told = cli("-d", sim.board, "mute", "--timeout", "0.3")
        assert told.code == UNKNOWN
        assert f"process {os.getpid()} " in told.err
        assert f"does not give it up: {_BUTTON} to mute." in told.err
        # Its session has noticed nothing.
        assert session.status().state == "muted"


def test_a_board_behind_a_held_port_is_not_told_as_missing(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim, other = start_sim(), start_sim()
    plug_in(monkeypatch, sim.device, other.device)
    other.act("unplug")
    with client.connect(sim.device, 1):
        for named in (["-d", sim.board], []):
            told = cli(*named, "status", "--timeout", "0.1", "--json")
            assert (told.code, told.json["reason"]) == (UNKNOWN, "port_held")
            assert f"process {os.getpid()} " in told.err


# What the log says of a board whose port is held.


@pytest.mark.parametrize(
    "words",
    [["status"], ["mute"], ["verify"], ["config", "get"], ["prove", "--from", "1h"]],
    ids=lambda words: words[0],
)
def test_P5_a_refusal_by_a_ports_holder_leaves_what_is_known(
    words: list[str], sim: Sim, cli: Cli, logged: Logged
) -> None:
    assert cli("-d", sim.board, "status").code == OK
    known = logged(sim.board)
    with client.connect(sim.device, 1):
        for named in (sim.board, sim.device):
            told = cli("-d", named, *words, "--timeout", "0.05")
            assert told.code == UNKNOWN
            assert words[0] in ("config", "prove") or told.out.startswith("UNKNOWN")
    assert logged(sim.board) == known


def test_a_list_leaves_what_is_known_of_a_board_with_a_held_port(
    sim: Sim, cli: Cli, logged: Logged
) -> None:
    assert cli("-d", sim.board, "status").code == OK
    known = logged(sim.board)
    with client.connect(sim.device, 1):
        assert "UNKNOWN" in cli("list", "--timeout", "0.05").out
    assert logged(sim.board) == known


def test_P5_another_boards_held_port_leaves_this_one_unknown(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    sim, other = start_sim(), start_sim()
    plug_in(monkeypatch, sim.device, other.device)
    for board in (sim.board, other.board):
        assert cli("-d", board, "status").code == OK
    other.act("unplug")
    with client.connect(sim.device, 1):
        told = cli("-d", other.board, "status", "--timeout", "0.1")
    assert told.code == UNKNOWN
    assert logged(other.board)[-1].reason == "port_held"


def test_P5_what_watch_knows_ends_when_its_held_port_goes(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    holding = ExitStack()

    def unplug() -> None:
        sim.act("unplug")

    def take() -> None:
        sim.act("replug")
        holding.enter_context(client.connect(sim.device, 1))

    def leave() -> None:
        holding.close()
        sim.act("unplug")

    events = client.Session.watch

    def silent(session: Session) -> Iterator[Any]:
        for event in events(session):
            yield event
            unplug()

    monkeypatch.setattr(client.Session, "watch", silent)

    def hold(device: str, _timeout: float, turn: Turn, **more: Any) -> PortHolder:
        """A board has the time to answer; that its port is held is told soon all the same."""
        return PortHolder(device, 0.1, turn, **more)

    monkeypatch.setattr(client, "PortHolder", hold)
    Hours(iter([take, lambda: None, leave, _interrupt])).stand_in(monkeypatch)
    told = cli("-d", sim.board, "watch", "--json")
    shown = [json.loads(line) for line in told.out.splitlines()]
    reasons = [row["reason"] for row in shown if row["verdict"] == "unknown"]
    assert reasons == ["unplugged", "no_port"]
    rows = [row.reason for row in logged(sim.board) if row.verdict == "unknown"]
    assert rows == reasons


# Requests that are none.


def test_a_requester_that_was_killed_keeps_nobody_away(
    sim: Sim, start: Start, home: Path, cli: Cli
) -> None:
    watcher = start("watch", "-d", sim.board)
    watcher.line()
    watcher.send(signal.SIGSTOP)
    mute = start("mute", "-d", sim.board, "--timeout", "30")
    mute.complaint()
    (request,) = ports(home, "mute")
    assert request.read_bytes()
    mute.process.kill()
    mute.end()
    watcher.send(signal.SIGCONT)
    press_until_live(sim)
    # The request lapses.
    watcher.until("LIVE")
    assert cli("-d", sim.board, "mute").code == OK


def test_a_requester_that_was_stopped_keeps_nobody_away_for_long(sim: Sim, start: Start) -> None:
    watcher = start("watch", "-d", sim.board)
    watcher.line()
    watcher.send(signal.SIGSTOP)
    mute = start("mute", "-d", sim.board, "--timeout", "30")
    mute.complaint()
    mute.send(signal.SIGSTOP)
    watcher.send(signal.SIGCONT)
    press_until_live(sim)
    # The port was free for it; then the watch follows on, while the request still stands.
    watcher.until("LIVE")
    assert mute.process.poll() is None


def test_P5_a_mute_stopped_while_it_asked_stops_no_other(sim: Sim, start: Start, cli: Cli) -> None:
    watcher = start("watch", "-d", sim.board)
    watcher.line()
    watcher.send(signal.SIGSTOP)
    stopped = start("mute", "-d", sim.board, "--timeout", "30")
    stopped.complaint()
    stopped.send(signal.SIGSTOP)
    watcher.send(signal.SIGCONT)
    press_until_live(sim)
    # Before and after the watch has waited in vain for the one that is stopped.
    for _ in range(2):
        told = cli("-d", sim.board, "mute")
        assert (told.code, told.err) == (OK, "")
        press_until_live(sim)
        watcher.until("LIVE")
    stopped.send(signal.SIGCONT)
    assert stopped.end()[0] == OK


@contextmanager
def asking(device: str, turn: Turn = "mute") -> Iterator[None]:
    """One that asks for the port of ``device``, in this process."""
    waiting = PortHolder(device, 0, turn)
    request = waiting._request
    assert request is not None
    request.make()
    try:
        yield
    finally:
        request.end()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """No request lapses, however slow this machine is."""
    monkeypatch.setattr(port_holder, "_LAPSES_S", 600.0)


def waits(turn: Turn, timeout: float = 1.0) -> float:
    """How long a free port stays free, in s, by a clock that advances by 0.1 s at each look."""
    ticks = itertools.count()
    with PortHolder("/dev/one", timeout, turn, clock=lambda: next(ticks) / 10):
        return next(ticks) / 10


@pytest.mark.usefixtures("home", "patient")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], {"usual": 0.1, "follow": 0.1, "back": 0.1, "mute": 0.1}),
        (["back"], {"usual": 1.1, "follow": 1.1, "mute": 0.1}),
        (["mute"], {"usual": 1.1, "follow": 1.1, "back": 2.1, "mute": 0.1}),
        (["mute", "back"], {"usual": 1.1, "follow": 1.1, "mute": 0.1}),
        (["meet"], {"usual": 1.1, "back": 2.1, "mute": 0.1}),
        (["mute", "meet"], {"meet": 1.1, "mute": 0.1}),
    ],
)
def test_a_free_port_waits_for_earlier_ones_but_not_for_ever(
    asked: list[Turn], expected: dict[Turn, float]
) -> None:
    with ExitStack() as stack:
        for turn in asked:
            stack.enter_context(asking("/dev/one", turn))
        assert {turn: waits(turn) for turn in expected} == expected


@pytest.mark.usefixtures("home", "patient")
def test_a_port_is_wanted_while_a_mute_asks_for_it() -> None:
    with PortHolder("/dev/one", 1, "follow") as holder:
        assert not holder.is_wanted()
        for _ in range(2):
            # Two at once are as good as one.
            with asking("/dev/one"), asking("/dev/one"):
                assert holder.is_wanted()
            assert not holder.is_wanted()
        with asking("/dev/two"), asking("/dev/one", "back"):
            assert not holder.is_wanted()
    with ExitStack() as stack:
        with asking("/dev/one"):
            holder = stack.enter_context(PortHolder("/dev/one", 0.1, "follow"))
            # The port was free for it all that time.
            assert not holder.is_wanted()
        with asking("/dev/one"):
            assert holder.is_wanted()


@pytest.mark.usefixtures("home", "patient")
@pytest.mark.parametrize(
    ("turn", "gives_to"),
    [
        ("usual", set[Turn]()),
        ("mute", set[Turn]()),
        ("meet", {"mute"}),
        ("listen", {"mute"}),
        ("follow", {"mute", "meet"}),
        ("back", {"mute", "meet"}),
    ],
)
def test_P2_each_holder_gives_its_port_to_those_that_go_first(
    turn: Turn, gives_to: set[Turn]
) -> None:
    """A `prove` or `verify` gives it to a `mute` as well: it does not delay one."""
    everybody: tuple[Turn, ...] = ("mute", "meet", "back")
    with PortHolder("/dev/one", 1, turn) as holder:
        wanted: set[Turn] = set()
        for other in everybody:
            with asking("/dev/one", other):
                wanted |= {other} if holder.is_wanted() else set()
        assert wanted == gives_to


@pytest.mark.usefixtures("home", "patient")
def test_a_request_that_nobody_renews_lapses(monkeypatch: pytest.MonkeyPatch) -> None:
    with PortHolder("/dev/one", 1, "follow") as holder, asking("/dev/one"):
        assert holder.is_wanted()
        monkeypatch.setattr(port_holder, "_LAPSES_S", 0.0)
        assert not holder.is_wanted()
        monkeypatch.setattr(port_holder, "_LAPSES_S", 600.0)
        assert holder.is_wanted()


@pytest.mark.usefixtures("home", "patient")
def test_a_request_beside_one_that_was_in_vain_counts() -> None:
    with asking("/dev/one"), PortHolder("/dev/one", 0.1, "follow") as holder:
        assert not holder.is_wanted()
        with asking("/dev/one"):
            assert holder.is_wanted()


def _symlink(file: Path, victim: Path) -> None:
    file.symlink_to(victim)


def _hardlink(file: Path, victim: Path) -> None:
    file.hardlink_to(victim)


def _fifo(file: Path, _victim: Path) -> None:
    os.mkfifo(file)


def _folder(file: Path, _victim: Path) -> None:
    file.mkdir()


@pytest.mark.parametrize("plant", [_symlink, _hardlink, _fifo, _folder])
def test_a_planted_request_is_neither_heeded_nor_written_to(
    plant: Callable[[Path, Path], None], sim: Sim, start: Start, cli: Cli, home: Path
) -> None:
    watcher = start("watch", "-d", sim.board)
    watcher.line()
    victim = home / "precious"
    victim.write_text("words")
    (lock,) = ports(home, "lock")
    plant(lock.with_suffix(".mute"), victim)
    told = cli("-d", sim.board, "mute", "--timeout", "0.5")
    assert told.code == UNKNOWN
    assert f"process {watcher.process.pid} " in told.err
    assert _BUTTON in told.err
    assert victim.read_text() == "words"
    press_until_live(sim)
    watcher.until("LIVE")


@pytest.mark.usefixtures("home")
def test_a_request_of_another_user_is_not_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    with PortHolder("/dev/one", 1, "follow") as holder, asking("/dev/one"):
        assert holder.is_wanted()
        other = os.getuid() + 1
        monkeypatch.setattr(os, "getuid", lambda: other)
        assert not holder.is_wanted()


@pytest.mark.usefixtures("home")
def test_without_a_runtime_folder_nobody_asks(home: Path) -> None:
    (home / "run").write_text("not a folder")
    with PortHolder("/dev/one", 1, "follow") as holder:
        with asking("/dev/one"):
            assert not holder.is_wanted()
        with PortHolder("/dev/one", 1, "mute"):
            pass


# Within the process that follows.


@pytest.mark.parametrize("op", ["hello", "status", "journal", "attest", "watch"])
def test_whatever_a_session_waits_for_it_gives_way_at_once(op: str) -> None:
    port = ScriptedPort(lambda _line: [(0.0, b"")])
    begun = port.now
    session = Session(
        port, "/dev/fake", 3.0, is_wanted=lambda: port.now >= begun + 0.5, clock=port.clock
    )
    requests: dict[str, Callable[[], object]] = {
        "hello": session.hello,
        "status": session.status,
        "journal": lambda: next(session.journal(1, 9)),
        "attest": lambda: session.attest(bytes(16)),
        "watch": lambda: next(session.watch()),
    }
    with pytest.raises(PortWantedError):
        requests[op]()
    assert 0.5 <= port.now - begun <= 0.7


def test_a_port_that_is_wanted_is_no_port_without_a_board(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home
    with tcp_device() as device:
        plug_in(monkeypatch, device.address)
        monkeypatch.setattr(PortHolder, "is_wanted", lambda _self: True)
        assert discovery.find(1, None, "usual")[0].identity is not None
        with pytest.raises(PortWantedError):
            discovery.find(1, None, "follow")


class Hours:
    """Stands in for the time of `commands`: pauses end at once, or do what they must."""

    def __init__(self, pauses: Iterator[Callable[[], object]]) -> None:
        self.now = 100.0
        self._pauses = pauses

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        clock = SYSTEM._replace(run_us=lambda: round(self.now * 1e6))
        use_clock(monkeypatch, clock)
        monkeypatch.setattr(follower, "time", self)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        next(self._pauses)()


def _interrupt() -> None:
    raise KeyboardInterrupt


def _event(request: dict[str, Any], **changes: object) -> bytes:
    return wire.frame({"event": "state", "watch": request["id"], **MUTED, **changes})


def test_P5_mutes_in_a_row_leave_no_old_state_standing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    """Each time that `watch` has the port again a `mute` wants it, before an event has come."""
    hours = Hours(iter([]))
    hours.stand_in(monkeypatch)
    board = on("watch", lambda request, _answer, frame: frame + _event(request))
    wanted = 0

    def is_wanted(_holder: PortHolder) -> bool:
        nonlocal wanted
        if "watch" not in [request["op"] for request in board.requests]:
            return False
        wanted += 1
        hours.now += 0.5
        if wanted > 10:
            raise KeyboardInterrupt
        # The answer to the first `watch`, and the event.
        return wanted > 3

    monkeypatch.setattr(PortHolder, "is_wanted", is_wanted)
    with tcp_device(board) as device:
        told = cli("-d", device.address, "watch")
    assert told.code == INTERRUPTED
    assert [line.split()[0] for line in told.out.splitlines()] == ["MUTED", "UNKNOWN"]
    # Who holds the port knows more: what is known ends here with what was heard last.
    assert {row.verdict for row in logged(BOARD)} == {"muted"}


def test_P5_watch_logs_what_it_heard_before_it_gives_the_port_up(
    start: Start, cli: Cli, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    watches = looks = mutes = 0

    def events(request: dict[str, Any], _answer: dict[str, Any], frame: bytes) -> bytes:
        nonlocal watches, looks
        watches += 1
        looks = 0
        if watches == 2:
            return frame + _event(request, changes=3, cause="host", since_ms=1)
        # The second one is no change, and so is not logged as it comes.
        return frame + _event(request) + _event(request, uptime_ms=60_001, since_ms=4_001)

    def is_wanted(_holder: PortHolder) -> bool:
        nonlocal looks
        looks += 1
        if looks > 3 and watches == 2:
            raise KeyboardInterrupt
        return looks > 3 and watches == 1 and mutes == 0

    leave = PortHolder.__exit__

    def leave_to_a_mute(holder: PortHolder, *error: Any) -> None:
        nonlocal mutes
        leave(holder, *error)
        mutes += 1
        if mutes == 1:
            assert start("mute", "-d", device.address).end()[0] == OK

    monkeypatch.setattr(PortHolder, "is_wanted", is_wanted)
    monkeypatch.setattr(PortHolder, "__exit__", leave_to_a_mute)
    with tcp_device(on("watch", events)) as device:
        told = cli("-d", device.address, "watch")
    assert (told.code, watches) == (INTERRUPTED, 2)
    rows = logged(BOARD)
    assert [(row.source, row.uptime_ms) for row in rows[:3]] == [
        ("watch", 60_000),
        ("watch", 60_001),
        ("mute", 60_000),
    ]
    assert [row.at_ms for row in rows] == sorted(row.at_ms for row in rows)


@pytest.mark.parametrize("at", [1, 2])
def test_P5_an_interrupt_as_a_state_is_shown_loses_no_row(
    at: int, cli: Cli, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    """Ctrl-C comes as soon as the line is read."""

    def events(request: dict[str, Any], _answer: dict[str, Any], frame: bytes) -> bytes:
        return frame + _event(request) + _event(request, **LIVE)

    shown: list[Observation] = []

    def show(observation: Observation, *_words: object, **_more: object) -> None:
        shown.append(observation)
        if len(shown) == at:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching, "print_change", show)
    with tcp_device(on("watch", events)) as device:
        assert cli("-d", device.address, "watch").code == INTERRUPTED
    assert [one.verdict for one in shown] == ["muted", "live"][:at]
    rows = logged(BOARD)
    assert [(row.verdict, row.at_ms) for row in rows if row.source == "watch"][-1] == (
        shown[-1].verdict,
        shown[-1].at_ms,
    )
    assert sum(row.summary_of or 1 for row in rows) >= at


def test_P5_what_others_log_while_watch_reconnects_stands(
    start: Start, cli: Cli, monkeypatch: pytest.MonkeyPatch, logged: Logged
) -> None:
    """A `mute` meets the board first when it is back; then `watch` does."""
    watches = 0
    away = False

    def alter(request: dict[str, Any], _answer: dict[str, Any], frame: bytes) -> bytes | None:
        nonlocal watches
        if away:
            return None
        if request["op"] != "watch":
            return frame
        watches += 1
        return Last(frame + _event(request))

    def leave() -> None:
        nonlocal away
        away = True

    def come_back() -> None:
        nonlocal away
        away = False
        assert start("mute", "-d", device.address).end()[0] == OK

    pauses = [leave, lambda: None, come_back, _interrupt]
    Hours(iter(pauses)).stand_in(monkeypatch)
    board = Board(alter=alter)
    with tcp_device(board) as device:
        told = cli("-d", device.address, "watch", "--json")
    assert (told.code, watches) == (INTERRUPTED, 2)
    rows = logged(BOARD)
    assert [row.at_ms for row in rows] == sorted(row.at_ms for row in rows)
    assert [(row.source, row.verdict) for row in rows[:4]] == [
        ("watch", "muted"),
        ("watch", "unknown"),
        ("mute", "muted"),
        ("watch", "muted"),
    ]


@pytest.fixture
def listen(
    sim: Sim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Callable[[], object]], Result]:
    """Run ``hardmute verify --listen``, and act once it waits for a press."""

    def run(act: Callable[[], object]) -> Result:
        sound = SimpleNamespace(title="none", virtual=None, name="none", level_dbfs=lambda: 0.0)
        monkeypatch.setattr(listening.devices, "devices", list)
        monkeypatch.setattr(listening, "_devices", lambda *_args: (sound, sound))
        monkeypatch.setattr(listening, "Duplex", lambda *_args: sound)
        monkeypatch.setattr(
            listening, "_say", lambda words: act() if words.startswith("Press the button") else 0
        )
        return cli("verify", "--listen", "-d", sim.board)

    return run


def test_listening_gives_the_port_to_a_mute_and_proves_nothing(
    sim: Sim, start: Start, listen: Callable[..., Result]
) -> None:
    mutes: list[Command] = []
    told = listen(lambda: mutes.append(start("mute", "-d", sim.board, "--timeout", "30")))
    assert told.code == UNKNOWN
    assert "Another hardmute command asked for" in told.err
    assert [mute.end()[0] for mute in mutes] == [OK]


def test_listening_leaves_nobody_live_if_the_mute_never_comes(
    sim: Sim, listen: Callable[..., Result]
) -> None:
    with ExitStack() as stack:

        def ask() -> None:
            sim.act("press")
            assert sim.look()["line"] == "connected"
            stack.enter_context(asking(sim.device))

        assert listen(ask).code == UNKNOWN
    # What was written goes through the cable in its own time.
    while sim.look()["line"] != "cut":
        pass
