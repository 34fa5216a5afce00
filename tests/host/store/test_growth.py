"""How the log grows where a program asks again and again: fewer rows, and no claim gets longer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from paired_device import Device, clock_of, is_paired, plugged_in

from conftest import Cli, use_clock
from evidence_maker import BOARD
from hardmute.evidence.observation import STILL_MS, Observation
from hardmute.model import errors
from hardmute.model.clock import SYSTEM, HostClock, iso_time
from hardmute.store import readers
from hardmute.store.log import Log
from muteboard import journal

POLL_S = 5
DAY_S = 86_400


class Hours:
    """Time that the test moves, for the host and for the board at its port."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, pairing: str = "key") -> None:
        self._set_s = 1_800_000_000.0
        self._passed_s = 0.0
        clock = HostClock(lambda: round(self._set_s * 1000), lambda: 0, SYSTEM.run)
        # `plugged_in` has it go on with the board's.
        use_clock(monkeypatch, clock)
        self.device: Device = is_paired(home, pairing)
        self._home = home

    @property
    def now_s(self) -> float:
        return self._set_s + self._passed_s

    def set_clock(self, by_s: float) -> None:
        self._set_s += by_s

    def pass_s(self, seconds: float) -> None:
        self._passed_s += seconds
        self.device.made.clock.pass_ms(round(seconds * 1000))

    def rows(self, kind: str) -> list[Any]:
        log = Log(self._home / "log.sqlite3")
        try:
            return list(log.entries(BOARD, [kind]))
        finally:
            log.close()


@pytest.fixture
def hours(home: Path, monkeypatch: pytest.MonkeyPatch) -> Hours:
    return Hours(home, monkeypatch)


def test_P6_a_status_every_5_s_takes_3_MB_a_day(home: Path, cli: Cli, hours: Hours) -> None:
    def poll(seconds: int) -> int:
        for _ in range(0, seconds, POLL_S):
            assert cli("status").code == errors.OK
            hours.pass_s(POLL_S)
        return (home / "log.sqlite3").stat().st_size

    measured_s = 20 * 60
    with plugged_in(hours.device):
        began = poll(60)
        grown = poll(measured_s) - began
    # The file grows by whole pages.
    assert (grown + 4096) * DAY_S / measured_s <= 3_000_000
    for kind in ("observation", "attestation"):
        assert len(hours.rows(kind)) == measured_s // 60 + 1, kind


def test_P6_what_a_person_runs_for_its_row_has_one(cli: Cli, hours: Hours) -> None:
    with plugged_in(hours.device):
        for words in (["status"], ["verify"], ["verify"], ["mute"], ["prove", "--from", "1m"]):
            cli(*words)
            hours.pass_s(1)
    told = [entry.body["source"] for entry in hours.rows("observation")]
    assert told == ["status", "verify", "verify", "mute", "prove"]
    # `verify` has the board sign twice.
    assert len(hours.rows("attestation")) == 7


def _goes_live(hours: Hours) -> None:
    hours.device.made.go_live()


def _a_record_more(hours: Hours) -> None:
    # Its state stays as it is.
    hours.device.made.note(journal.CONFIG)


def _restarts(hours: Hours) -> None:
    hours.device.made.boot()


def _signs_no_more(hours: Hours) -> None:
    hours.device.attests = "busy"


def _clock_goes_back(hours: Hours) -> None:
    hours.set_clock(-3600)


def _a_minute_passes(hours: Hours) -> None:
    hours.pass_s(STILL_MS / 1000)


def _board_alone_passes_a_minute(hours: Hours) -> None:
    # The host's clock was set back by as much as has passed.
    hours.pass_s(STILL_MS / 1000)
    hours.set_clock(-STILL_MS / 1000)


@pytest.mark.parametrize(
    "happens",
    [
        _goes_live,
        _a_record_more,
        _restarts,
        _signs_no_more,
        _clock_goes_back,
        _a_minute_passes,
        _board_alone_passes_a_minute,
    ],
)
def test_P6_every_change_has_a_row(
    cli: Cli, hours: Hours, happens: Callable[[Hours], None]
) -> None:
    with plugged_in(hours.device):
        cli("status")
        hours.pass_s(1)
        cli("status")
        assert len(hours.rows("observation")) == 1
        happens(hours)
        hours.pass_s(1)
        cli("status")
        assert len(hours.rows("observation")) == 2
        assert len(hours.rows("attestation")) == (1 if happens is _signs_no_more else 2)
        hours.pass_s(1)
        cli("status")
        assert len(hours.rows("observation")) == 2


def test_P5_the_log_says_nothing_past_its_last_row(cli: Cli, hours: Hours) -> None:
    with plugged_in(hours.device):
        cli("status")
        began_ms = round(hours.now_s * 1000)
        for _ in range(8):
            hours.pass_s(POLL_S)
            cli("status")
    window = ("--since", iso_time(began_ms - 1), "--until", iso_time(began_ms + STILL_MS))
    [board] = cli("log", *window, "--json").json["boards"]
    assert max(one["end_ms"] for one in board["intervals"]) <= began_ms


def test_P6_the_next_status_signs_a_checkpoint(home: Path, cli: Cli, hours: Hours) -> None:
    def is_open() -> bool:
        log = Log(home / "log.sqlite3")
        try:
            return readers.verified(log, hours.device.made.secrets).report().checkpoint_open
        finally:
            log.close()

    with plugged_in(hours.device):
        cli("status")
    # All but the observation, which the next one would only repeat.
    before = iso_time(round(hours.now_s * 1000) - 1000)
    assert cli("log", "prune", "--yes", "--before", before).code == errors.OK
    assert is_open()
    with plugged_in(hours.device):
        hours.pass_s(1)
        cli("status")
    assert not is_open()


@pytest.mark.parametrize("reason", ["not_connected", "no_answer"])
def test_P5_a_board_that_stays_away_has_a_row_a_minute(
    home: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, reason: str
) -> None:
    now_s = 1_800_000_000.0
    use_clock(monkeypatch, clock_of(lambda: now_s))

    def gone(*_: object, **_more: object) -> Any:
        raise errors.UnreachableError("Gone.", reason)

    monkeypatch.setattr("hardmute.device.discovery.open_board", gone)
    for _ in range(0, 600, POLL_S):
        assert cli("-d", BOARD, "status").code == errors.UNKNOWN
        now_s += POLL_S
    log = Log(home / "log.sqlite3")
    times = [entry.at_ms for entry in log.entries(BOARD)]
    log.close()
    assert len(times) == 10
    assert all(after - before <= STILL_MS for before, after in itertools.pairwise(times))


def test_a_full_house_is_looked_through_in_bounded_time(home: Path) -> None:
    """Of a board whose newest row is too far back, one more is stored: none is looked for."""
    log = Log(home / "log.sqlite3")
    seen = Observation(1000, BOARD, "/dev/x", False, "status", "unknown", None, "no_answer")
    log.add(seen, repeated=False)
    log.add(seen, repeated=False)
    assert log.head()[0] == 1
    for number in range(300):
        log.add(seen._replace(board=f"{number:016x}"), repeated=False)
    log.add(seen, repeated=False)
    assert log.head()[0] == 302
    log.close()
