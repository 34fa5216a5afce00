"""P5: a host that is paired with a board takes no "muted" that is not signed, whoever says it.

Each command asks a device that a swapped board could be: it has the id and the journal of the one
that was paired, and answers `attest` in every way. The port is in memory, and so is its time.
"""

from __future__ import annotations

import itertools
import json
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fake_device import ScriptedPort
from hypothesis import given, settings
from hypothesis import strategies as st
from paired_device import ATTESTS, DEVICE, Device, clock_of, is_paired, plugged_in

import hardmute
from conftest import Cli, use_clock
from evidence_maker import BOARD, MadeBoard, Story
from hardmute.cli.commands import asking
from hardmute.cli.main import main
from hardmute.device.client import Session
from hardmute.evidence.observation import Observation
from hardmute.model import errors
from hardmute.model.clock import iso_time
from hardmute.model.words import UNSIGNED, claimed
from hardmute.monitor import follower
from hardmute.store import keys, readers
from hardmute.store.log import Log, _Damage
from hardmute.sync import recorder
from hardmute.sync.journal_import import MOST_BREAKS
from hardmute.sync.timelines import read_timelines

STATES = {"muted": errors.OK, "live": errors.LIVE, "fault": errors.FAULT}
PAIRINGS = ("log and key", "log", "unreadable key", "key", "none", "ended")


def becomes(made: MadeBoard, state: str) -> None:
    if state == "live":
        made.go_live()
    elif state == "fault":
        made.fault()
    made.clock.pass_ms(1000)


class Expected(NamedTuple):
    verdict: str
    code: int


def expected(pairing: str, attests: str, state: str) -> Expected:
    """By the rule: "muted" needs the signature of a paired board; "live" and "fault" do not."""
    if pairing in ("none", "ended"):
        if attests in ("silence", "malformed"):
            return Expected("unknown", errors.UNKNOWN)
        return Expected(state, STATES[state])
    has_key = pairing in ("log and key", "key")
    signs = has_key and attests == "ok"
    verdict = "unknown" if state == "muted" and not signs else state
    code = errors.UNKNOWN if verdict == "unknown" else STATES[state]
    incident = has_key and attests in ("wrong_mac", "not_paired", "unsupported")
    trouble = errors.LOCAL if pairing == "unreadable key" else errors.OK
    return Expected(verdict, errors.worst(code, errors.TAMPERED if incident else trouble))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("attests", ATTESTS)
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_P5_only_muted_needs_a_signature(
    home: Path, cli: Cli, pairing: str, attests: str, state: str
) -> None:
    device = is_paired(home, pairing)
    device.attests = attests
    becomes(device.made, state)
    verdict, code = expected(pairing, attests, state)
    with plugged_in(device):
        for words in (("status",), ("verify",), ("verify", "--require", "reported")):
            told = cli(*words, "--json")
            assert (told.json["verdict"], told.code) == (verdict, code), words
            if told.json["reason"] == "not_attested":
                assert (told.json["state"], told.json["proof"]) == ("muted", None)
                assert told.json["unsigned"]

        told = cli("list", "--json")
        [row] = told.json["boards"]
        health = errors.TAMPERED if code == errors.TAMPERED else errors.OK
        assert told.code == (errors.LOCAL if pairing == "unreadable key" else health)
        assert row["verdict"] == verdict

        told = cli("watch", "--json")
        assert [json.loads(line)["verdict"] for line in told.out.splitlines()] == [verdict]
        if verdict != "unknown" or pairing != "none":
            trouble = errors.LOCAL if pairing == "unreadable key" else errors.INTERRUPTED
            assert told.code == (errors.TAMPERED if health else trouble)

        # The cut is sent all the same.
        verdict, code = expected(pairing, attests, "fault" if state == "fault" else "muted")
        told = cli("mute", "--json")
        assert (told.json["verdict"], told.code) == (verdict, code)
    assert "mute" in device.asked
    assert device.made.state == ("fault" if state == "fault" else "muted")


def test_P5_a_person_is_told_what_the_board_claims(home: Path, cli: Cli) -> None:
    device = is_paired(home, "log and key")
    device.attests = "busy"
    with plugged_in(device):
        claimed = 'the board says "muted" but did not sign it (busy)'
        lines = cli("status").out.splitlines()
        assert lines[0] == f"UNKNOWN  board {BOARD}: {claimed}"
        assert lines[1].strip() == "Ask again."
        # Nothing that makes it look better than it is.
        assert "contacts" not in "".join(lines)
        assert claimed in cli("list").out
        assert claimed in cli("watch").out
        assert "UNKNOWN" in cli("mute").out
        device.made.go_live()
        told = cli("status")
        assert told.out.startswith(f"LIVE     board {BOARD}\n")
        assert "not signed (busy)" in told.out
        assert "not signed" not in cli("watch").out
        device.attests = "ok"
        assert "signed" not in cli("status").out


@pytest.mark.parametrize("pairing", ["log and key", "log", "unreadable key", "key"])
@pytest.mark.parametrize("lie", [{"pairing": 0}, {"journal": False}])
def test_P5_a_board_that_denies_its_pairing_is_not_muted(
    home: Path, cli: Cli, pairing: str, lie: dict[str, Any]
) -> None:
    device = is_paired(home, pairing)
    device.attests = "not_paired"
    device.hello |= {key: value for key, value in lie.items() if key == "journal"}
    device.lie = lambda said: {**said, **lie}
    with plugged_in(device):
        for words in (("status",), ("verify",), ("mute",), ("doctor",)):
            told = cli(*words, "--json")
            assert told.code in (errors.UNKNOWN, errors.TAMPERED), words
        for words in (("status",), ("watch",), ("list",)):
            assert "MUTED" not in cli(*words).out


def test_the_words_in_the_log_are_the_documented_ones() -> None:
    page = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text("utf-8")
    _, table = page.split("| `unsigned` |")
    for code in UNSIGNED:
        assert f"`{code}`" in table.partition("\n\n")[0]
    assert claimed("some_new_error").endswith("did not sign it (some new error)")


def states(home: Path, since_ms: int) -> list[tuple[str, str | None]]:
    """What `hardmute log` shows from ``since_ms`` on."""
    log = Log(home / "log.sqlite3")
    try:
        (timeline,) = read_timelines(log, BOARD, since_ms, 1 << 52)
    finally:
        log.close()
    return [(interval.state, interval.note) for interval in timeline.intervals]


@pytest.mark.parametrize(
    "words", [("status",), ("config", "get"), ("name", "desk"), ("list",), ("watch",)]
)
def test_P5_muted_that_is_not_signed_is_unknown_in_the_log(
    home: Path, cli: Cli, words: tuple[str, ...]
) -> None:
    device = is_paired(home, "key")
    device.attests = "busy"
    with plugged_in(device):
        cli(*words)
    log = Log(home / "log.sqlite3")
    (seen,) = log.observations(BOARD, 0, 1 << 52)
    log.close()
    assert (seen.verdict, seen.proof, seen.reason) == ("unknown", None, "not_attested")
    assert (seen.state, seen.unsigned) == ("muted", "busy")
    assert {state for state, _ in states(home, 0)} == {"unknown"}
    assert "MUTED" not in cli("log").out


def test_P5_what_is_signed_later_is_shown_as_muted(home: Path) -> None:
    story = Story(home / "log.sqlite3")
    story.host.hold(story.board)
    story.attest()
    begun = story.now
    story.pass_minutes(10)
    story.host.observe(story.board, unsigned="busy")
    story.pass_minutes(10)
    story.host.log.close()
    ((state, note),) = states(home, begun)
    assert (state, note) == ("unknown", 'the board said "muted" but did not sign it')
    story.host.log = Log(home / "log.sqlite3", clock=lambda: story.now)
    story.attest()
    story.host.log.close()
    assert [state for state, _ in states(home, begun)] == ["muted"]


class Slow(Device):
    """Each answer takes a part of the time-out."""

    part = 0.9

    def session(self, timeout: float = 3.0) -> Session:
        self.port = ScriptedPort(
            lambda line: [(self.part * timeout, frame) for _, frame in self.script(line)]
        )
        self.begun = self.port.now
        return Session(self.port, DEVICE, timeout, clock=self.port.clock)

    def dies(self) -> None:
        """From now on it answers nothing."""
        self.answer = lambda _request: None


@pytest.mark.parametrize("pairing", ["key", "none"])
@pytest.mark.parametrize("state", ["muted", "live"])
@pytest.mark.parametrize("words", [("status",), ("mute",)])
def test_P5_a_device_that_answers_late_holds_no_command(
    home: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str],
    state: str,
    pairing: str,
) -> None:
    device = Slow(is_paired(home, pairing).made)
    becomes(device.made, state)
    # It does not cut.
    monkeypatch.setattr(device.made, "mute", lambda _cause: None)
    tell = asking._tell
    took_s: list[float] = []

    def tells(*args: Any, **more: Any) -> int:
        took_s.append(device.port.now - device.begun)
        return tell(*args, **more)

    monkeypatch.setattr(asking, "_tell", tells)
    with plugged_in(device):
        told = cli(*words, "--json", "--timeout", "1")
    assert told.code in (errors.UNKNOWN, STATES[state])
    assert told.json["verdict"] in ("unknown", state)
    assert took_s[0] <= 3.0 + 0.01


# watch: events are not signed one by one.


def watched(cli: Cli) -> list[str]:
    """The verdicts that `hardmute watch` tells of."""
    return [json.loads(line)["verdict"] for line in cli("watch", "--json").out.splitlines()]


def test_P5_watch_has_each_muted_signed(home: Path, cli: Cli) -> None:
    device = is_paired(home, "log and key")
    made = device.made

    def double_press() -> None:
        made.live_for(20)

    device.happens = [made.go_live, made.mute, lambda: None, lambda: None, double_press]
    with plugged_in(device):
        # What one event tells of a double press is unknown until it is signed.
        assert watched(cli) == ["muted", "live", "muted", "unknown", "muted"]
    # At the start, at each change, and at the end: what lies between is covered.
    assert device.asked.count("attest") == len(device.signed) == 5


def test_P5_watch_asks_a_busy_board_again_but_once_a_second(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    asked: list[int] = []

    def pass_s(seconds: float, attests: str) -> Callable[[], None]:
        def passes() -> None:
            nonlocal now
            now += seconds
            device.attests = attests
            asked.append(device.asked.count("attest"))

        return passes

    use_clock(monkeypatch, clock_of(lambda: now))
    device = is_paired(home, "log and key")
    device.attests = "busy"
    device.happens = [
        *[pass_s(0.1, "busy")] * 12,
        pass_s(1.0, "ok"),
        pass_s(0.1, "ok"),
        pass_s(0.1, "ok"),
    ]
    with plugged_in(device):
        assert watched(cli) == ["unknown", "muted"]
    # Twice each: at the start, with the first event, a second later. Once when it is signed, and
    # at the end.
    assert asked[:3] == [4, 4, 4]
    assert asked[11:] == [6, 6, 7, 7]
    assert device.asked.count("attest") == 8


@pytest.mark.parametrize(
    ("pairing", "attests", "why", "kind"),
    [
        ("log and key", "wrong_mac", "bad_mac", "incident"),
        ("log and key", "not_paired", "not_paired", "incident"),
        ("log", "ok", "no_key", "attestation"),
    ],
)
def test_P5_watch_does_not_fill_the_log_with_what_stays_so(
    home: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    pairing: str,
    attests: str,
    why: str,
    kind: str,
) -> None:
    device = is_paired(home, pairing)
    device.attests = attests
    device.happens = [lambda: None] * 20
    monkeypatch.setattr(follower, "_UNSIGNED_S", 0.0)
    log = Log(home / "log.sqlite3")
    before = len(list(log.entries(BOARD, [kind])))
    with plugged_in(device):
        told = cli("watch", "--json")
    assert [json.loads(line)["unsigned"] for line in told.out.splitlines()] == [why]
    # At the start, with the first event, and at the end.
    assert len(list(log.entries(BOARD, [kind]))) == before + 3
    log.close()


def test_P6_a_board_that_flips_its_state_fills_no_log(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row a second, which is the gravest of what it stands for, and says how much that is."""
    now = 1000.0
    use_clock(monkeypatch, clock_of(lambda: now))
    device = is_paired(home, "none")
    seconds = 20

    def becomes_after(state: str, passed_s: float) -> Callable[[], None]:
        def happens() -> None:
            nonlocal now
            now += passed_s - 0.01
            device.goes_on()
            if state == "live":
                device.made.go_live()
            else:
                device.made.mute("button")
            now += 0.01

        return happens

    # Live for a tenth of each fifth of a second.
    flips = (becomes_after("live", 0.18), becomes_after("muted", 0.02))
    device.happens = [flip for _ in range(5 * seconds) for flip in flips]
    log = Log(home / "log.sqlite3")
    with plugged_in(device):
        told = cli("watch", "--json")
    shown = [json.loads(line)["state"] for line in told.out.splitlines()]
    rows = list(log.observations(BOARD, 0, 1 << 52))
    attestations = len(list(log.entries(BOARD, ["attestation"])))
    log.close()
    assert shown == ["muted", "live"] * 5 * seconds + ["muted"]
    # One a second, and the first and the last word.
    assert len(rows) <= seconds + 3
    summaries = [row for row in rows if row.summary_of is not None]
    assert {row.state for row in summaries} == {"live"}
    assert len(summaries) == seconds
    assert sum(row.summary_of or 1 for row in rows) >= 10 * seconds
    assert rows[-1].state == "muted"
    assert device.asked.count("attest") <= seconds + follower._CONTACTS + 2
    assert attestations <= seconds + follower._CONTACTS + 2
    # The journal tells each of them.
    assert [state for state, _ in states(home, 0)].count("live") == 5 * seconds


@pytest.mark.parametrize("pairing", ["none", "log and key"])
def test_P6_a_contact_that_chatters_is_one_row_a_second(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, pairing: str
) -> None:
    """It reads closed every other time; the board itself, which settles, counts no change."""
    now = 1000.0
    use_clock(monkeypatch, clock_of(lambda: now))
    device = is_paired(home, pairing)
    device.made.clock.pass_ms(60_000)
    seconds = 10

    def reads(sense: int) -> Callable[[], None]:
        def happens() -> None:
            nonlocal now
            now += 0.05
            device.lie = lambda said: {**said, "sense": [sense]}

        return happens

    device.happens = [reads(1), reads(0)] * 10 * seconds
    log = Log(home / "log.sqlite3")
    before = len(list(log.observations(BOARD, 0, 1 << 52)))
    with plugged_in(device):
        told = cli("watch", "--json")
    rows = list(log.observations(BOARD, 0, 1 << 52))[before:]
    log.close()
    assert {json.loads(line)["verdict"] for line in told.out.splitlines()} <= {"muted", "fault"}
    assert len(rows) <= seconds + 3
    summaries = [row for row in rows if row.summary_of is not None]
    assert len(summaries) >= seconds - 1
    assert {row.verdict for row in summaries} == {"fault"}


class Trouble:
    """What keeps the log of a watch from being written while it is there: a lock, a full disk."""

    def __init__(self, file: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self._other = sqlite3.connect(file, isolation_level=None)
        self._locks = how == "locked"
        self._full = False
        append = Log.append

        def appended(log: Log, *args: Any, **options: Any) -> Any:
            if self._full:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return append(log, *args, **options)

        monkeypatch.setattr(Log, "append", appended)
        monkeypatch.setattr(recorder, "_PATIENCE_S", 0.01)

    def begins(self) -> None:
        self._full = not self._locks
        if self._locks:
            self._other.execute("BEGIN EXCLUSIVE")

    def ends(self) -> None:
        self._full = False
        if self._locks:
            self._other.execute("ROLLBACK")
        self._other.close()


@pytest.mark.parametrize("how", ["locked", "full"])
def test_P6_watch_logs_on_after_its_log_could_not_be_written(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """Rows, records and attestations; it says when it is back, and ends with 6."""
    now = 1000.0
    use_clock(monkeypatch, clock_of(lambda: now))
    device = is_paired(home, "log and key")
    trouble = Trouble(home / "log.sqlite3", how, monkeypatch)
    log = Log(home / "log.sqlite3")
    stored: list[tuple[int, int]] = []

    def then(act: Callable[[], object] = lambda: None) -> Callable[[], None]:
        def happens() -> None:
            nonlocal now
            now += 1.0
            kinds = [entry.kind for entry in log.entries(BOARD)]
            stored.append((kinds.count("record"), kinds.count("attestation")))
            act()

        return happens

    def live() -> None:
        device.made.go_live()

    def muted() -> None:
        device.made.mute("button")

    quiet = [then()] * 3
    device.happens = [
        *quiet, then(trouble.begins), then(live), *quiet, then(trouble.ends), *quiet,
        then(muted), *quiet, then(live), *quiet,
    ]  # fmt: skip
    with plugged_in(device):
        told = cli("watch", "--json")
    shown = [json.loads(line)["verdict"] for line in told.out.splitlines()]
    rows = list(log.observations(BOARD, 0, 1 << 52))
    report = readers.verified(log, device.made.secrets).report()
    log.close()
    assert [one for one in shown if one != "unknown"] == ["muted", "live", "muted", "live"]
    assert told.code == errors.LOCAL
    # Once each, however long it lasts.
    assert told.err.count("cannot be used") == 1
    assert told.err.count("The log can be written again") == 1
    # What was seen while it could not be written waits: the live moment is there.
    assert [row.verdict for row in rows if row.verdict != "unknown"][-4:].count("live") >= 2
    # No press is needed for it to fetch what it has missed.
    before, during, after = stored[3], stored[8], stored[11]
    assert during == before
    assert after[0] == before[0] + 1
    assert after[1] > before[1]
    assert report.findings == []


def test_P6_a_live_moment_is_logged_though_the_board_counts_none(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says that nothing has changed since, and is muted again."""
    now = 1000.0
    use_clock(monkeypatch, clock_of(lambda: now))
    device = is_paired(home, "none")
    device.attests = "not_paired"
    device.hello["journal"] = False
    device.made.clock.pass_ms(60_000)
    live = {"state": "live", "command": "connected", "sense": [1], "remute_in_ms": 5000}

    def says(more: dict[str, Any]) -> Callable[[], None]:
        def happens() -> None:
            nonlocal now
            now += 0.1
            device.lie = lambda said: {**said, "since_ms": 0, **more}

        return happens

    device.happens = [says(live), says({}), says(live), says({})]
    with plugged_in(device):
        assert watched(cli) == ["muted", "live", "muted", "live", "muted"]
    log = Log(home / "log.sqlite3")
    rows = [(row.state, row.summary_of) for row in log.observations(BOARD, 0, 1 << 52)]
    log.close()
    assert rows == [("muted", None), ("live", None), ("live", 3), ("muted", None)]
    assert "live" in {state for state, _ in states(home, 0)}


def test_P6_a_board_with_another_journal_each_time_fills_no_log(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    use_clock(monkeypatch, clock_of(lambda: now))
    device = is_paired(home, "none")
    device.attests = "not_paired"

    def another(seed: int) -> Callable[[], None]:
        def happens() -> None:
            nonlocal now
            now += 0.1
            clock = device.made.clock
            device.made = MadeBoard(clock, seed=seed)
            for _ in range(1 + seed % 7):
                device.made.boot()

        return happens

    device.happens = [another(seed) for seed in range(1, 101)]
    with plugged_in(device):
        cli("watch")
    log = Log(home / "log.sqlite3")
    incidents = len(list(log.entries(BOARD, ["incident"])))
    everything = len(list(log.entries()))
    log.close()
    assert MOST_BREAKS <= incidents <= MOST_BREAKS + 10 + 2
    assert everything <= 200


def test_P6_watch_attests_for_the_log_every_ten_minutes(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    use_clock(monkeypatch, clock_of(lambda: now))
    device = is_paired(home, "key")

    def passes(attests: str) -> Callable[[], None]:
        def happens() -> None:
            nonlocal now
            now += 1
            device.attests = attests

        return happens

    # Muted; then live, and too busy to sign where it is due for the first time.
    busy = range(2000, 2000 + 60)
    device.happens = [passes("busy" if at in busy else "ok") for at in range(2600)]
    device.happens[1500] = device.made.go_live
    with plugged_in(device):
        cli("watch")
    log = Log(home / "log.sqlite3")
    asked = [entry.body["anchor_us"] / 1e6 for entry in log.entries(BOARD, ["attestation"])]
    log.close()
    assert all(later - sooner <= 600 for sooner, later in itertools.pairwise(asked))
    assert now - asked[-1] <= 600
    assert 5 <= len(asked) <= 8
    # A meeting while it watched.
    told = cli("prove", "--from", iso_time(1_060_000), "--to", iso_time(2_060_000))
    assert told.code == errors.OK, told
    told = cli("prove", "--from", iso_time(1_060_000), "--to", iso_time(2_560_000))
    assert told.code == errors.LIVE, told


def test_P5_a_signature_that_is_old_covers_nothing(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = is_paired(home, "log and key")
    monkeypatch.setattr("hardmute.sync.contact._COVERS_US", -1)

    def stops_signing() -> None:
        device.attests = "busy"

    device.happens = [lambda: None, lambda: None, stops_signing]
    with plugged_in(device):
        assert watched(cli) == ["muted", "unknown"]
    log = Log(home / "log.sqlite3")
    # What is only asked again is not stored: two of the story, and the one at the start.
    assert len(list(log.entries(BOARD, ["attestation"]))) == 3
    log.close()


@pytest.mark.parametrize("silent", ["attest", "all"])
def test_P5_muted_is_not_shown_while_a_new_signature_is_awaited(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    now = 1000.0
    use_clock(monkeypatch, clock_of(lambda: now))
    device = Slow(is_paired(home, "key").made)
    device.part = 0.0
    shown: list[float] = []

    class Shows(follower.Follower):
        def __init__(self, named: Any, timeout: float, show: Any, **more: Any) -> None:
            def shows(observation: Observation) -> None:
                shown.append(device.port.now)
                show(observation)

            super().__init__(named, timeout, shows, **more)

    monkeypatch.setattr(hardmute, "Follower", Shows)

    def falls_silent() -> None:
        nonlocal now
        now += 2.9
        if silent == "attest":
            device.attests = "silence"

    def is_old() -> None:
        nonlocal now
        now += 0.2
        if silent == "all":
            # The event is the last that comes.
            monkeypatch.setattr(device, "attest", lambda _nonce: device.dies())
        began.append(device.port.now)

    began: list[float] = []
    device.happens = [falls_silent, is_old]
    with plugged_in(device):
        told = cli("watch", "--json", "--timeout", "60")
    assert [json.loads(line)["verdict"] for line in told.out.splitlines()] == ["muted", "unknown"]
    assert shown[-1] - began[0] <= 2.0 + 0.01


def test_P5_a_lost_board_is_shown_before_the_log_is_written(home: Path) -> None:
    """The log may have to wait for others; what was heard last is in it all the same."""
    device = is_paired(home, "log and key")
    told: list[tuple[str, str]] = []

    class Notes(recorder.Recorder):
        def add(self, observation: Observation, *, repeated: bool = True) -> bool:
            told.append(("logged", observation.verdict))
            return super().add(observation, repeated=repeated)

    def shows(observation: Observation) -> None:
        told.append(("shown", observation.verdict))

    def goes_away() -> None:
        raise errors.UnreachableError("It went away.", "unplugged")

    # A row is as old as its event.
    device.happens = [lambda: device.made.clock.pass_ms(1000), goes_away]
    with plugged_in(device), pytest.raises(KeyboardInterrupt):
        follower.Follower(DEVICE, 3.0, shows, recorder=Notes()).run()
    shown = told.index(("shown", "unknown"))
    assert told[shown + 1 :] == [("logged", "muted"), ("logged", "unknown")]


def test_P5_watch_tells_of_a_contradiction(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = is_paired(home, "log and key")
    device.made.go_live()
    truth = device.made

    def lies(said: dict[str, Any]) -> dict[str, Any]:
        assert truth.state == "live"
        return {**said, "state": "muted", "command": "cut", "sense": [0], "remute_in_ms": None}

    device.lie = lies
    device.happens = [lambda: None] * 3
    with plugged_in(device):
        assert watched(cli) == ["fault"]
        assert cli("status").code == errors.FAULT
        assert cli("verify").code == errors.FAULT
        assert "FAULT" in cli("list").out

        def tells_the_truth() -> None:
            device.lie = dict

        device.happens = [tells_the_truth, lambda: None]
        monkeypatch.setattr(follower, "_LASTING_S", 0.0)
        assert watched(cli) == ["fault", "live"]
        device.lie = lies
        found = {each["name"]: each for each in cli("doctor", "--json").json["checks"]}
        assert found["state"]["result"] == "fail"
        assert cli("doctor").code == errors.FAULT


# Who is paired.


def test_P5_only_this_host_ends_its_pairing(home: Path, cli: Cli) -> None:
    """A journal that says that the pairing has ended is anybody's word."""
    device = is_paired(home, "log")
    device.made.unpair()
    device.attests = "not_paired"
    with plugged_in(device):
        told = cli("status")
        assert told.code == errors.UNKNOWN
        assert "`hardmute unpair`" in told.out
        told = cli("unpair", "--json")
        assert told.json == {"board": BOARD, "board_unpaired": False, "host_unpaired": True}
        told = cli("status", "--json")
        assert (told.code, told.json["verdict"]) == (errors.OK, "muted")
        assert told.json["unsigned"] is None
        assert cli("unpair").code == errors.USAGE
    # What it said before stays as it was.
    found = states(home, 0)
    assert ("unknown", 'the board said "muted" but did not sign it') in found
    assert found[-1][0] == "muted"


@pytest.mark.parametrize("pairing", ["log", "unreadable key"])
def test_a_host_that_has_lost_its_key_ends_its_own_pairing_first(
    home: Path, cli: Cli, pairing: str
) -> None:
    device = is_paired(home, pairing)
    if pairing == "unreadable key":
        (home / "keys" / f"{BOARD}.json").rmdir()
        (home / "keys" / f"{BOARD}.json").write_text("{")
    with plugged_in(device):
        told = cli("unpair")
        assert "stays paired: run `hardmute unpair` once more" in told.out
        assert cli("status").code == errors.OK
    assert "pair" not in device.asked


def _is_unreadable(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _is_of_the_future(file: Path) -> None:
    database = sqlite3.connect(file)
    database.execute("PRAGMA user_version = 9")
    database.close()


def _is_garbage(file: Path) -> None:
    file.write_bytes(b"words")


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("attests", ["ok", "busy", "not_paired", "unsupported", "wrong_mac"])
@pytest.mark.parametrize("breaks", [_is_unreadable, _is_of_the_future, _is_garbage])
def test_P5_a_host_unsure_whether_it_is_paired_says_no_muted(
    home: Path, cli: Cli, breaks: Callable[[Path], None], attests: str, state: str
) -> None:
    """The key is lost, and the log cannot be read."""
    device = is_paired(home, "log")
    device.attests = attests
    device.hello["journal"] = attests != "unsupported"
    becomes(device.made, state)
    breaks(home / "log.sqlite3")
    health = errors.TAMPERED if breaks is _is_garbage else errors.LOCAL
    verdict = "unknown" if state == "muted" else state
    code = errors.UNKNOWN if state == "muted" else STATES[state]
    with plugged_in(device):
        # What is set aside is forgotten by none of these.
        for words in (("status",), ("verify", "--require", "reported"), ("watch",)):
            told = cli(*words, "--json")
            [said] = [json.loads(line) for line in told.out.splitlines()]
            assert said["verdict"] == verdict, words
            if words != ("watch",):
                assert told.code == errors.worst(code, health), words
            if state == "muted":
                assert said["unsigned"] == "pairing_unknown"
            if breaks is _is_garbage:
                health = errors.OK
        told = cli("mute", "--json")
        assert told.json["verdict"] == ("fault" if state == "fault" else "unknown")
        found = {each["name"]: each for each in cli("doctor", "--json").json["checks"]}
        assert "muted (" not in found["state"]["text"]


def test_P5_a_log_that_was_set_aside_forgets_no_pairing(home: Path, cli: Cli) -> None:
    """One entry of it is broken; that of the pairing can be read."""
    device = is_paired(home, "log")
    log = Log(home / "log.sqlite3")
    log._set_aside(_Damage())
    log.close()
    with plugged_in(device):
        for attests, why in (("busy", "busy"), ("ok", "no_key")):
            device.attests = attests
            told = cli("status", "--json")
            assert (told.code, told.json["unsigned"]) == (errors.UNKNOWN, why)
        # Nor do the records of a board that nobody checked.
        assert {state for state, _ in states(home, 0)} <= {"unknown", "live"}
        assert cli("log", "prune", "--yes", "--before", "0s").code == errors.OK
        assert cli("status").code == errors.UNKNOWN
        assert cli("unpair").code == errors.OK
        assert cli("status").code == errors.OK


def test_P5_a_log_set_aside_pairs_no_host_that_had_unpaired(home: Path, cli: Cli) -> None:
    device = is_paired(home, "ended")
    log = Log(home / "log.sqlite3")
    log._set_aside(_Damage())
    log.close()
    with plugged_in(device):
        assert cli("status").code == errors.OK


def test_P5_a_log_that_gets_unreadable_in_a_watch_keeps_pairings(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = is_paired(home, "log")

    def breaks() -> None:
        _is_unreadable(home / "log.sqlite3")

    monkeypatch.setattr(follower, "_UNSIGNED_S", 0.0)
    monkeypatch.setattr(follower, "_LASTING_S", 0.0)
    device.happens = [breaks, *[lambda: None] * 3]
    with plugged_in(device):
        assert watched(cli) == ["unknown"]


def test_unpair_changes_nothing_that_it_cannot_write_down(home: Path, cli: Cli) -> None:
    device = is_paired(home, "log and key")
    _is_unreadable(home / "log.sqlite3")
    with plugged_in(device):
        told = cli("unpair")
    assert told.code == errors.LOCAL
    assert "so this host stays paired" in told.err
    assert keys.load_attest_key(BOARD) is not None


def test_P5_pruning_the_log_ends_no_pairing(home: Path, cli: Cli) -> None:
    device = is_paired(home, "log")
    with plugged_in(device):
        for _ in range(2):
            assert cli("log", "prune", "--yes", "--before", "0s").code == errors.OK
            assert cli("status").code == errors.UNKNOWN
            assert cli("log", "verify").code == errors.OK
        assert cli("unpair").code == errors.OK
        assert cli("log", "prune", "--yes", "--before", "0s").code == errors.OK
        assert cli("status").code == errors.OK


@pytest.mark.parametrize(
    ("pairing", "attests", "words"),
    [
        ("log and key", "ok", f"Board {BOARD} has signed the checkpoint."),
        ("log and key", "busy", "The checkpoint is open until the next `hardmute status`"),
        ("log and key", "wrong_mac", "The checkpoint is open until the next `hardmute status`"),
        # It signs, and this host has no key to check that with.
        ("log", "ok", "The checkpoint is open until the next `hardmute status`"),
        ("ended", "ok", "This host is paired with no board"),
    ],
)
def test_P6_a_prunes_checkpoint_is_signed_or_told_as_open(
    home: Path, cli: Cli, pairing: str, attests: str, words: str
) -> None:
    device = is_paired(home, pairing)
    device.attests = attests
    with plugged_in(device):
        told = cli("log", "prune", "--yes", "--before", "0s")
    assert told.code == (errors.TAMPERED if attests == "wrong_mac" else errors.OK)
    _, said = told.out.splitlines()
    assert said.startswith(words)
    if pairing != "log":
        log = Log(home / "log.sqlite3")
        secrets = device.made.secrets
        assert readers.verified(log, secrets).report().checkpoint_open == (
            "has signed" not in words
        )
        log.close()


def test_P6_a_prune_without_the_board_tells_its_open_checkpoint(home: Path, cli: Cli) -> None:
    is_paired(home, "log and key")
    told = cli("log", "prune", "--yes", "--before", "0s")
    assert (told.code, told.err) == (errors.OK, "")
    _, said = told.out.splitlines()
    assert said == "The checkpoint is open until the next `hardmute status` of a paired board."


def test_P5_doctor_says_muted_only_if_it_is_signed(home: Path, cli: Cli) -> None:
    for pairing, attests, code, says in (
        ("log and key", "ok", errors.OK, "muted (attested)"),
        ("log and key", "busy", errors.UNKNOWN, "did not sign"),
        ("log and key", "wrong_mac", errors.TAMPERED, "did not sign"),
        ("log", "ok", errors.UNKNOWN, "did not sign"),
        ("none", "not_paired", errors.OK, "muted (sensed)"),
    ):
        with tempfile.TemporaryDirectory(dir=home) as name, pytest.MonkeyPatch.context() as patch:
            patch.setenv("HARDMUTE_HOME", name)
            device = is_paired(Path(name), pairing)
            device.attests = attests
            with plugged_in(device):
                told = cli("doctor", "--json", "-d", "socket://fake")
            found = {each["name"]: each for each in told.json["checks"]}
            assert says in found["state"]["text"], (pairing, attests)
            assert told.code == code


# What is drawn.


def test_P5_records_that_nobody_signed_are_not_drawn_as_muted(home: Path) -> None:
    """A swapped board has the journal, and goes on with it."""
    story = Story(home / "log.sqlite3")
    story.host.hold(story.board)
    story.attest()
    begun = story.now
    story.pass_minutes(10)
    story.board.live_for(60_000)
    story.pass_minutes(10)
    story.board.note(12)
    story.pass_minutes(10)
    story.host.fetch(story.board)
    story.host.log.close()
    assert "muted" not in {state for state, _ in states(home, begun)}
    story.host.log = Log(home / "log.sqlite3", clock=lambda: story.now)
    story.attest()
    story.host.log.close()
    assert [state for state, _ in states(home, begun)] == ["muted", "live", "muted"]


# Whatever it says.

_LIES = st.fixed_dictionaries(
    {},
    optional={
        "changes": st.integers(-1, 2),
        "seq": st.integers(-1, 2),
        "boot": st.integers(-1, 1),
        "uptime_ms": st.integers(-50, 50),
        "pairing": st.integers(-1, 1),
        "says": st.sampled_from(["muted", "live"]),
    },
)
_ANSWERS = st.sampled_from(
    ["ok", "busy", "storage", "something_new", "not_paired", "wrong_mac", "malformed", "silence"]
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    lies=st.lists(_LIES, min_size=1, max_size=4),
    answers=st.lists(_ANSWERS, min_size=1, max_size=4),
    live=st.booleans(),
    journal=st.booleans(),
    words=st.sampled_from([("status",), ("verify",), ("mute",), ("watch",)]),
)
def test_P5_nothing_but_a_right_signature_makes_it_muted(
    lies: list[dict[str, Any]],
    answers: list[str],
    live: bool,
    journal: bool,
    words: tuple[str, ...],
) -> None:
    """The board is what is behind a cable, or a program, that passes on what it likes."""
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARDMUTE_HOME", name)
        device = is_paired(Path(name), "key")
        made = device.made
        if live:
            made.go_live()
            patch.setattr(made, "mute", lambda _cause: None)
        made.clock.pass_ms(1000)
        device.hello |= {"journal": journal}
        turns = 0

        def attest_somehow(nonce: str) -> dict[str, Any] | None:
            nonlocal turns
            device.attests = answers[turns % len(answers)]
            turns += 1
            return Device.attest(device, nonce)

        said_so_far = 0

        def lie(said: dict[str, Any]) -> dict[str, Any]:
            nonlocal said_so_far
            about = lies[said_so_far % len(lies)]
            said_so_far += 1
            for key, more in about.items():
                if key != "says":
                    said[key] = max(0, said[key] + more)
            said["since_ms"] = min(said["since_ms"], said["uptime_ms"])
            said["live_ms"] = min(said["live_ms"], said["uptime_ms"])
            if about.get("says") == "muted":
                said |= {"state": "muted", "command": "cut", "sense": [0], "remute_in_ms": None}
            elif about.get("says") == "live":
                said |= {"state": "live", "command": "connected", "sense": [1]}
                said |= {"remute_in_ms": 60_000}
            return said

        patch.setattr(device, "attest", attest_somehow)
        device.lie = lie
        device.happens = [lambda: None] * 3
        printed = Printed()
        patch.setattr("sys.stdout", printed)
        patch.setattr("sys.stderr", Printed())
        with plugged_in(device):
            code = main([*words, "--json", "--timeout", "0.2"])
        verdicts = [json.loads(line)["verdict"] for line in printed.said.splitlines()]
        if code == errors.OK or "muted" in verdicts:
            assert not live
            assert "muted" in device.signed
            assert journal


class Printed:
    """Standard output that is no terminal."""

    closed = False

    def __init__(self) -> None:
        self.said = ""

    def write(self, said: str) -> int:
        self.said += said
        return len(said)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return False
