"""What Prometheus is told: muted is the only "off", and nothing old is told as known."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from conftest import Cli, StartSim, plug_in_real
from hardmute.evidence.observation import Observation
from hardmute.model import errors
from hardmute.model.answers import VERDICTS, Cause, Verdict
from hardmute.model.clock import HostClock
from hardmute.monitor.feed import Feed, Told
from hardmute.monitor.settings import MetricsSettings, PageSettings
from hardmute.web import entrance, metrics_sink
from hardmute.web.metrics import FAMILIES, Metrics
from hardmute.web.metrics_sink import MetricsSink
from served_page import BOARD, Client, RecordedBoard, Served, wait_for

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "metrics.md").read_text("utf-8")
RULES = (DOCS / "prometheus" / "hardmute.rules.yml").read_text("utf-8")
# In parts of the label that the form of the metrics has other uses for.
EVIL = 'a"} 1\nhardmute_state{board="x",state="muted"} 1\\'


class Desk:
    """A monitor whose boards say what the test has them say, at the time of the test."""

    def __init__(self, *boards: str) -> None:
        self.s = 1000.0
        self.clock = HostClock(
            lambda: round(1e12 + 1000 * self.s), lambda: round(1e6 * self.s), lambda: "one run"
        )
        self.stations = [
            SimpleNamespace(board=board, named=board, label=None, known=None, incident=None)
            for board in boards or (BOARD,)
        ]
        self.metrics = Metrics(self, self.clock)

    def say(
        self,
        verdict: Verdict,
        *,
        after_s: float = 0.0,
        since_s: float | None = None,
        cause: Cause = "button",
        at: int = 0,
    ) -> None:
        """So much later a board says this; it has been so ``since_s`` before it."""
        self.s += after_s
        is_known = verdict != "unknown"
        self.stations[at].known = Observation(
            at_ms=self.clock.wall_ms(),
            board=self.stations[at].board,
            device="/dev/ttyACM0",
            simulated=False,
            source="monitor",
            verdict=verdict,
            proof="sensed" if verdict in ("muted", "live") else None,
            reason=None,
            cause=cause if is_known else None,
            since_ms=round(1000 * (since_s or 0)) if is_known else None,
            run_us=self.clock.run_us(),
            run="one run",
        )
        self.metrics.note(Told(self.stations[at].board, None, self.stations[at].known))

    def says(self, name: str, **labels: str) -> dict[str, float]:
        """The values of a metric, by the label that is left."""
        return values(self.metrics.text().decode(), name, **labels)


def values(text: str, name: str, **labels: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                rest = [value for key, value in sample.labels.items() if key not in labels]
                assert tuple(rest) not in found, "twice"
                found[" ".join(rest)] = sample.value
    return found


def states(text: str, board: str = BOARD) -> dict[str, float]:
    return values(text, "hardmute_state", board=board)


def state(text: str, board: str = BOARD) -> str:
    """The only state of a board that is 1."""
    found = states(text, board)
    assert sorted(found) == sorted(VERDICTS)
    (one,) = (name for name, value in found.items() if value == 1)
    assert sum(found.values()) == 1
    return one


# What is told.


@pytest.mark.parametrize("verdict", VERDICTS)
def test_P5_exactly_one_state_of_a_board_is_1(verdict: Verdict) -> None:
    desk = Desk()
    assert state(desk.metrics.text().decode()) == "unknown"
    desk.say(verdict)
    assert state(desk.metrics.text().decode()) == verdict
    # The proof is that of a state, and what is not known has none.
    desk.s += 0.5
    proof = {"sensed": 0.5} if verdict in ("muted", "live") else {}
    assert desk.says("hardmute_proof_age_seconds", board=BOARD) == proof
    # When the monitor ends nobody knows any more.
    over = desk.metrics.text(is_over=True).decode()
    assert state(over) == "unknown"
    assert values(over, "hardmute_proof_age_seconds") == {}


def test_P5_times_are_those_at_which_it_was_known() -> None:
    desk = Desk()
    assert desk.says("hardmute_observed_timestamp_seconds") == {}
    desk.say("muted")
    desk.say("unknown", after_s=60)
    assert desk.says("hardmute_observed_timestamp_seconds") == {BOARD: 1e9 + 1000}
    assert desk.says("hardmute_timestamp_seconds") == {"": 1e9 + 1060}


def test_P5_of_one_board_by_two_names_the_worse_is_told() -> None:
    desk = Desk(BOARD, BOARD)
    for verdict in ("muted", "unknown", "live", "fault"):
        desk.say(verdict, at=0)
        desk.say("muted", at=1)
        assert state(desk.metrics.text().decode()) == verdict


def test_words_of_others_are_bounded_and_kept_apart() -> None:
    desk = Desk(EVIL, "\udc80" + "x" * 9000, BOARD)
    desk.stations[2].label = EVIL
    text = desk.metrics.text().decode()
    boards = {board for board, value in values(text, "hardmute_state", state="unknown").items()}
    assert boards == {EVIL.replace("\n", "�"), "�" + "x" * 63, BOARD}
    info = values(text, "hardmute_board_info", board=BOARD, simulated="false")
    assert info == {EVIL.replace("\n", "�"): 1}


def test_lines_are_those_of_prometheus_client() -> None:
    """Most of each line is kept from scrape to scrape."""
    desk = Desk(BOARD, EVIL)

    def parsed(text: bytes) -> list[Any]:
        return list(text_string_to_metric_families(text.decode()))

    def require_same() -> None:
        said = desk.metrics.text()
        assert parsed(said) == parsed(generate_latest(desk.metrics))
        kinds = [line for line in said.decode().splitlines() if line.startswith("#")]
        assert len(kinds) == 2 * len(FAMILIES)

    require_same()
    desk.say("muted")
    desk.stations[0].label = "Desk"
    require_same()
    desk.say("live", after_s=1, since_s=0.25)
    desk.stations[0].label = "Desk 2"
    require_same()
    assert set(desk.says("hardmute_board_info", board=BOARD, simulated="false")) == {"Desk 2"}
    del desk.stations[0]
    require_same()
    assert not desk.says("hardmute_state", board=BOARD)


# How long.


def counts(desk: Desk) -> tuple[float, float, float]:
    """Seconds live by the button, at fault, unknown."""
    live = desk.says("hardmute_live_seconds_total", board=BOARD)["button"]
    fault = desk.says("hardmute_fault_seconds_total")[BOARD]
    return live, fault, desk.says("hardmute_unknown_seconds_total")[BOARD]


def test_seconds_are_counted_by_state_and_cause() -> None:
    desk = Desk()
    desk.say("muted")
    assert counts(desk) == (0, 0, 0)
    # It became live a quarter of a second before that was heard.
    desk.say("live", after_s=1, since_s=0.25)
    assert counts(desk) == (0.25, 0, 0)
    for second in range(10):
        desk.say("live", after_s=1, since_s=1.25 + second)
    assert counts(desk) == (10.25, 0, 0)
    desk.say("fault", after_s=1, since_s=0.5, cause="fault")
    desk.say("fault", after_s=1, since_s=1.5, cause="fault")
    desk.say("muted", after_s=1, since_s=0.75, cause="timer")
    assert counts(desk) == (10.75, 1.75, 0)
    desk.say("live", after_s=1, since_s=1, cause="host")
    assert desk.says("hardmute_live_seconds_total", board=BOARD) == {"button": 10.75, "host": 1}


def test_P5_what_was_not_known_is_counted_as_unknown() -> None:
    desk = Desk()
    desk.s += 5
    # Nobody has asked it yet.
    assert counts(desk) == (0, 0, 0)
    desk.s += 5
    assert counts(desk) == (0, 0, 5)
    desk.say("muted", after_s=1, since_s=0)
    assert counts(desk) == (0, 0, 6)
    # From when it was heard last.
    desk.say("unknown", after_s=3)
    desk.s += 7
    assert counts(desk) == (0, 0, 16)
    # A computer that slept: it was live, and is muted now.
    desk.say("live", after_s=1, since_s=1)
    assert counts(desk) == (1, 0, 16)
    desk.say("muted", after_s=3600, since_s=10)
    assert counts(desk) == (1, 0, 16 + 3590)
    # Here the board itself knows.
    desk.say("muted", after_s=3600, since_s=3610)
    assert counts(desk) == (1, 0, 16 + 3590)
    # It started anew, and said so late.
    desk.say("muted", after_s=0.5, since_s=0)
    assert counts(desk) == (1, 0, 16 + 3590)


def test_incidents_are_counted() -> None:
    desk = Desk()
    assert desk.says("hardmute_incidents_total") == {BOARD: 0}
    for incident, count in (("a", 1), ("a", 1), ("b", 2), (None, 2), ("b", 3)):
        desk.stations[0].incident = incident
        assert desk.says("hardmute_incidents_total") == {BOARD: count}


# In its file.


class Written:
    """A `MetricsSink` with a file, in a thread."""

    def __init__(self, desk: Desk, file: Path) -> None:
        self.feed = Feed()
        self._begun = threading.Event()
        self._desk = desk
        self.sink = MetricsSink(desk.metrics, MetricsSettings(file=str(file)))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._begun.wait(60)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        task = asyncio.create_task(self.sink.run(self.feed, self._mute))
        self._begun.set()
        await self._end.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _mute(self, board: str) -> None:
        raise AssertionError(board)

    def tell(self, verdict: Verdict) -> None:
        def say() -> None:
            self._desk.say(verdict)
            station = self._desk.stations[0]
            self.feed.tell(Told(station.board, None, station.known))

        self._loop.call_soon_threadsafe(say)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()


def test_P5_a_file_says_unknown_once_the_monitor_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However busy this computer is.
    monkeypatch.setattr(metrics_sink, "_END_S", 60)
    file = tmp_path / "hardmute.prom"
    before = os.umask(0o077)
    written = Written(Desk(), file)
    try:
        wait_for(file.exists)
        assert state(file.read_text()) == "unknown"
        written.tell("muted")
        wait_for(lambda: state(file.read_text()) == "muted")
        # Another user reads it, whatever the service's umask.
        assert file.stat().st_mode & 0o777 == 0o644
    finally:
        written.close()
        os.umask(before)
    assert state(file.read_text()) == "unknown"
    # Nothing that a reader of such files could take for one lies beside it.
    assert list(tmp_path.iterdir()) == [file]


def test_P5_a_late_thread_does_not_overwrite_the_last_words(tmp_path: Path) -> None:
    file = metrics_sink._Written(tmp_path / "x.prom")
    file.put(b"last\n", is_last=True)
    file.put(b"muted\n")
    assert (tmp_path / "x.prom").read_bytes() == b"last\n"


def test_trouble_with_the_file_is_told_and_it_is_tried_again(tmp_path: Path) -> None:
    folder = tmp_path / "textfiles"
    written = Written(Desk(), folder / "hardmute.prom")
    try:
        wait_for(lambda: written.sink.trouble is not None)
        assert written.sink.trouble == f"There is no folder {folder} for metrics_file: make it."
        folder.mkdir()
        written.tell("muted")
        file = folder / "hardmute.prom"
        wait_for(lambda: file.exists() and state(file.read_text()) == "muted")
        wait_for(lambda: written.sink.trouble is None)
    finally:
        written.close()


# Served.


def scrape(served: Served, token: str | None = None, **headers: str) -> Any:
    bearer = f"Bearer {entrance.kept_token() if token is None else token}"
    sent = {"Authorization": bearer, **headers}
    without = () if "Origin" in headers else ("Origin",)
    return served.stranger.ask("GET", "/metrics", without=without, **sent)


def test_P5_an_unplugged_board_is_unknown_when_scraped(
    board: RecordedBoard, served: Served
) -> None:
    def said() -> str:
        return scrape(served).body.decode()

    wait_for(lambda: state(said()) == "muted")
    board.act("press")
    wait_for(lambda: state(said()) == "live")
    seconds = "hardmute_live_seconds_total"
    wait_for(lambda: values(said(), seconds, board=BOARD)["button"] > 0)
    board.act("press")
    wait_for(lambda: state(said()) == "muted")
    # A board that hangs, and one that is pulled.
    board.hang(on=True)
    wait_for(lambda: state(said()) == "unknown")
    assert values(said(), "hardmute_proof_age_seconds") == {}
    board.hang(on=False)
    wait_for(lambda: state(said()) == "muted")
    board.act("unplug")
    wait_for(lambda: state(said()) == "unknown")


def test_P5_a_board_is_unknown_until_hardmute_forget(
    start_sim: StartSim, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    sim = start_sim("--id", "c0ffee01")
    assert cli("-d", sim.board, "name", "Desk").code == errors.OK
    plug_in_real(monkeypatch, sim.device)
    served = Served()
    try:

        def said() -> dict[str, float]:
            return states(scrape(served).body.decode(), sim.board)

        wait_for(lambda: said().get("muted") == 1)
        sim.act("unplug")
        plug_in_real(monkeypatch)
        wait_for(lambda: said()["unknown"] == 1)
        assert cli("forget", "Desk").code == errors.OK
        wait_for(lambda: said() == {})
    finally:
        served.close()


def test_a_scrape_needs_the_token(served: Served) -> None:
    token = entrance.kept_token()
    assert scrape(served).status == 200
    assert scrape(served).headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    for wrong in ("", " ", token[:-1], token + "x", "ü"):
        said = scrape(served, wrong)
        assert (said.status, said.headers["www-authenticate"]) == (401, "Bearer")
    assert scrape(served, Authorization=f"Basic {token}").status == 401
    # Nor does the session of a page count here, or the token there.
    assert served.client().ask("GET", "/metrics").status == 401
    bearer = {"Authorization": f"Bearer {token}"}
    assert served.stranger.ask("GET", "/api/boards", **bearer).status == 401
    mute = f"/api/boards/{BOARD}/mute"
    assert served.stranger.ask("POST", mute, **bearer).status == 401


def test_other_sites_get_no_metrics(served: Served) -> None:
    """A web page may have a browser ask 127.0.0.1, also by a name of its own."""
    assert scrape(served, Host="evil.example").status == 421
    assert scrape(served, Origin="http://evil.example").status == 403
    assert scrape(served, Sec_Fetch_Site="cross-site").status == 403


def test_the_token_is_made_for_its_owner_and_can_be_changed(served: Served) -> None:
    first = entrance.kept_token()
    file = entrance.token_file()
    assert file.stat().st_mode & 0o777 == 0o600
    assert len(first) >= 40
    assert entrance.kept_token() == first
    # It counts at once.
    file.write_text("a token that somebody has chosen\n")
    assert scrape(served, first).status == 401
    assert scrape(served, "a token that somebody has chosen").status == 200
    for bad in ("", "short", "x" * 9000, "ü" * 30):
        file.write_text(bad)
        said = scrape(served, bad if bad.isascii() else "")
        assert said.status == 409
        assert "delete it" in said.json["error"]
    file.unlink()
    assert scrape(served, first).status == 401
    assert entrance.kept_token() != first


def test_metrics_without_a_page(board: RecordedBoard) -> None:
    served = Served(
        board.board, chosen=PageSettings(address=("127.0.0.1", 0)), until=lambda one: one.sink.url
    )
    try:
        assert scrape(served).status == 200
        assert served.sink.entrance() is None
        for path in ("/", "/api/boards", "/api/openapi.json", f"/api/boards/{BOARD}/mute"):
            for method in ("GET", "POST"):
                assert served.stranger.ask(method, path).status in (401, 404)
    finally:
        served.close()


# As a whole.


@pytest.fixture
def monitor(start_sim: StartSim, home: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start ``hardmute monitor`` with these settings."""
    sim = start_sim("--id", BOARD)
    started: list[subprocess.Popen[str]] = []

    def start(settings: str, before: str = "pass") -> subprocess.Popen[str]:
        (home / "monitor.toml").write_text(settings)
        program = f"import sys; {before}; from hardmute.cli.main import main; sys.exit(main())"
        command = [sys.executable, "-c", program, "monitor", "--json", "-d", sim.board]
        started.append(
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
def test_P5_the_file_of_a_monitor_that_ends_or_is_killed(
    monitor: Callable[..., subprocess.Popen[str]], home: Path
) -> None:
    file = home / "hardmute.prom"
    settings = f'metrics_file = "{file}"\n'

    def says() -> str:
        return state(file.read_text()) if file.exists() else "nothing"

    # However busy this computer is.
    patient = "from hardmute.web import metrics_sink; metrics_sink._END_S = 60"
    first = monitor(settings, patient)
    wait_for(lambda: says() == "muted")
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) == errors.OK
    assert says() == "unknown"
    second = monitor(settings)
    wait_for(lambda: says() == "muted")
    second.kill()
    second.wait(60)
    # It could say nothing any more. What is left has its time, and the rules go by that.
    said = file.read_text()
    (at_s,) = values(said, "hardmute_timestamp_seconds").values()
    assert abs(file.stat().st_mtime - at_s) < 60
    third = monitor(settings, patient)
    wait_for(lambda: says() == "muted" and file.read_text() != said)
    # The settings do not want it any more.
    (home / "monitor.toml").write_text("")
    third.send_signal(signal.SIGHUP)
    wait_for(lambda: says() == "unknown")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no Unix sockets")
def test_a_monitor_says_what_the_metrics_lack(
    monitor: Callable[..., subprocess.Popen[str]], cli: Cli
) -> None:
    """The page is there all the same."""
    settings = 'page = true\nmetrics = true\npage_address = "127.0.0.1:0"\n'
    running = monitor(settings, "sys.modules['prometheus_client'] = None")
    wait_for(lambda: cli("page", "--print").code == errors.OK)
    url = cli("page", "--print").out.split()[0]
    assert Client(url).ask("GET", "/metrics").status == 401
    running.terminate()
    assert "run `pip install -e '.[metrics]'` in your clone" in running.communicate()[1]


# Its page and its rules.


def test_the_page_names_each_metric() -> None:
    rows = re.findall(r"(?m)^\| `(hardmute_\w+)` \| (.*?) \|", PAGE)
    exposed = {
        one.name + ("_total" if one.is_counter else ""): [f"`{name}`" for name in one.labels]
        for one in FAMILIES
    }
    assert {name: re.findall(r"`\w+`", labels) for name, labels in rows} == exposed
    # A rule knows no other.
    used = set(re.findall(r"\bhardmute_\w+", RULES))
    assert used <= exposed.keys()


def test_the_page_names_each_rule() -> None:
    alerts = re.findall(r"alert: (\w+)", RULES)
    assert len(alerts) >= 7
    assert re.findall(r"(?m)^\| `(Hardmute\w+)` \|", PAGE) == alerts
