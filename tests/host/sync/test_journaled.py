"""`hardmute log` where a journal tells what the line was, without a host there as well (P6)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from random import Random
from typing import Any

import pytest

from evidence_maker import MINUTE, START_MS, Story, at
from hardmute.evidence.interval import Interval
from hardmute.evidence.timeline import WENT_BACK, overlay_journal
from hardmute.sync.timelines import read_timelines
from muteboard import journal

HOUR = 60 * MINUTE


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Story]:
    made = Story(tmp_path / "log.sqlite3")
    made.attest()
    yield made
    made.host.log.close()


@pytest.fixture
def unpaired(tmp_path: Path) -> Iterator[Story]:
    """A story without a pairing, and so without attestations."""
    made = Story(tmp_path / "unpaired.sqlite3")
    made.board.unpair()
    made.attest()
    assert made.host.log.newest(made.board.id, "attestation") is None
    yield made
    made.host.log.close()


def shown(story: Story) -> list[Interval]:
    (timeline,) = read_timelines(story.host.log, story.board.id, START_MS, story.now + 1)
    for before, after in pairwise(timeline.intervals):
        assert before.end_ms <= after.start_ms
    return timeline.intervals


def states(story: Story) -> list[str]:
    return [interval.state for interval in shown(story)]


def test_P6_what_happened_while_no_host_was_there_is_shown(told: Story) -> None:
    for _ in range(3):
        told.pass_minutes(60)
        told.board.live_for(10 * MINUTE)
    told.pass_minutes(60)
    told.attest()
    found = shown(told)
    assert [one.state for one in found] == ["muted", *["live", "muted"] * 3]
    live = [one for one in found if one.state == "live"]
    assert [one.cause for one in live] == ["button"] * 3
    assert {one.proof for one in live} == {"attested"}
    first = START_MS + 61 * MINUTE
    for index, one in enumerate(live):
        truth = first + index * 70 * MINUTE
        assert abs(one.start_ms - truth) <= one.plus_minus_ms
        assert abs(one.end_ms - (truth + 10 * MINUTE)) <= one.plus_minus_ms
        assert 0 < one.plus_minus_ms <= 4 * HOUR * 100 // 1_000_000


def test_P5_how_far_a_time_may_be_off_is_shown(cli: Any, story: Story, tmp_path: Path) -> None:
    story.pass_minutes(600)
    story.board.live_for(MINUTE)
    story.pass_minutes(600)
    story.attest()
    window = ("log", "--since", at(62), "--until", at(1300))
    lines = cli(*window).out.splitlines()
    # 100 ppm of ten hours.
    assert any("LIVE" in line and "1 min 00 s ±3.6 s" in line for line in lines), "\n".join(lines)
    (board,) = cli(*window, "--json").json["boards"]
    (live,) = [one for one in board["intervals"] if one["state"] == "live"]
    assert 3600 <= live["plus_minus_ms"] <= 3610
    file = tmp_path / "log.csv"
    assert cli(*window, "--csv", str(file)).code == 0
    rows = csv.DictReader(file.read_text(encoding="utf-8").splitlines())
    (row,) = [row for row in rows if row["state"] == "live"]
    assert float(row["plus_minus_seconds"]) == live["plus_minus_ms"] / 1000


def test_P5_a_board_that_was_off_is_unknown(told: Story) -> None:
    told.pass_minutes(30)
    told.attest()
    told.pass_minutes(600)
    told.board.boot()
    told.pass_minutes(30)
    told.attest()
    muted, unknown, again = shown(told)
    assert (muted.state, unknown.state, again.state) == ("muted", "unknown", "muted")
    assert unknown.note == "the board was off or restarted"
    assert abs(unknown.length_ms - 600 * MINUTE) < 1000


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("why", ["overrun", "incident", "tampered"])
def test_P5_where_the_journal_has_a_gap_it_shows_nothing_muted(
    told: Story, unpaired: Story, paired: bool, why: str
) -> None:
    story = told if paired else unpaired
    story.pass_minutes(30)
    if why == "overrun":
        story.board.note(journal.OVERRUN, 3)
    elif why == "incident":
        story.host.incident(story.board, "fork", branch=1)
    else:
        story.host.append_record(story.board, bytes(journal.SIZE))
    story.board.changes += 7
    story.board.since_ms = story.board.uptime_ms
    story.pass_minutes(30)
    story.host.observe(story.board)
    assert "unknown" in states(story)
    assert "attested" not in {one.proof for one in shown(story)}


def test_P6_contacts_date_the_journal_of_an_unpaired_board(unpaired: Story) -> None:
    lives: list[int] = []
    for _ in range(3):
        unpaired.pass_minutes(60)
        lives.append(unpaired.now)
        unpaired.board.live_for(10 * MINUTE)
    unpaired.pass_minutes(60)
    unpaired.attest()
    found = shown(unpaired)
    assert [one.state for one in found] == ["muted", *["live", "muted"] * 3]
    live = [one for one in found if one.state == "live"]
    assert {one.proof for one in live} == {"sensed"}
    for one, truth in zip(live, lives, strict=True):
        assert abs(one.start_ms - truth) <= one.plus_minus_ms
        assert abs(one.end_ms - (truth + 10 * MINUTE)) <= one.plus_minus_ms
        assert 0 < one.plus_minus_ms <= 4 * HOUR * 100 // 1_000_000
    # A part of it, which begins and ends between two contacts.
    (timeline,) = read_timelines(
        unpaired.host.log, unpaired.board.id, lives[1] - MINUTE, lives[2] - MINUTE
    )
    assert [one.state for one in timeline.intervals] == ["muted", "live", "muted"]


def test_P5_not_even_a_short_time_without_power_is_called_muted(told: Story) -> None:
    told.pass_minutes(10)
    told.attest()
    told.clock.pass_ms(3_000)
    told.board.boot()
    told.pass_minutes(10)
    told.attest()
    muted, unknown, again = shown(told)
    assert (muted.state, again.state) == ("muted", "muted")
    assert unknown.note == "the board was off or restarted"
    assert 2_500 < unknown.length_ms < 3_500


@pytest.mark.parametrize("paired", [True, False])
def test_P4_the_journal_says_which_contact_was_at_fault(
    told: Story, unpaired: Story, paired: bool
) -> None:
    story = told if paired else unpaired
    story.board.go_live()
    story.pass_minutes(1)
    story.board.fault()
    story.pass_minutes(10)
    story.board.mute()
    story.pass_minutes(10)
    story.attest()
    (fault,) = [one for one in shown(story) if one.state == "fault"]
    assert fault.note == "contact 1 read closed although the line was commanded cut"
    assert fault.proof == ("attested" if paired else None)


def test_P5_a_start_that_no_host_saw_lies_between_its_neighbours(unpaired: Story) -> None:
    unpaired.pass_minutes(30)
    unpaired.board.boot()
    unpaired.pass_minutes(10)
    unpaired.board.live_for(MINUTE)
    unpaired.pass_minutes(5)
    unpaired.board.boot()
    unpaired.pass_minutes(10)
    unpaired.attest()
    # When it was off, of all that, nobody knows.
    assert "live" not in states(unpaired)
    (unknown,) = [one for one in shown(unpaired) if one.state == "unknown"]
    assert unknown.length_ms >= 45 * MINUTE


@pytest.mark.parametrize("back_ms", [20, 30 * MINUTE])
def test_P6_a_clock_set_back_takes_nothing_else_of_the_journal(told: Story, back_ms: int) -> None:
    for _ in range(3):
        told.pass_minutes(60)
        told.board.live_for(10 * MINUTE)
    told.pass_minutes(60)
    told.attest()
    told.host.start_ms -= back_ms
    told.attest()
    told.pass_minutes(60)
    told.attest()
    found = shown(told)
    assert [one.state for one in found].count("live") == 3
    assert "the host's clock went back" in {one.note for one in found}
    assert sum(one.length_ms for one in found if one.state == "unknown") <= 10_000


@pytest.mark.parametrize("lost", ["never fetched", "a gap", "not yet paired", "before it paired"])
def test_P5_a_contact_without_the_journal_dates_it_too(tmp_path: Path, lost: str) -> None:
    """The journal comes after the clock was set back: nothing that was live is shown muted."""
    made = Story(tmp_path / "late.sqlite3")
    made.board.unpair()
    made.pass_minutes(60)
    lives: list[int] = []
    for _ in range(2):
        lives.append(made.now)
        made.board.live_for(10 * MINUTE)
        made.pass_minutes(60)
    if lost == "before it paired":
        made.attest()
    else:
        made.host.observe(made.board)
    made.pass_minutes(10)
    made.host.start_ms -= 30 * MINUTE
    if lost == "a gap":
        incident = {"branch": 1, "what": "gap", "text": "", "first": 1, "last": 1}
        made.host.log.append("incident", made.board.id, incident)
        made.host.observe(made.board)
        made.host.log.append("incident", made.board.id, incident)
    if "paired" in lost:
        made.board.pair()
    made.attest()
    made.pass_minutes(90)
    made.attest()
    found = shown(made)
    made.host.log.close()
    muted = [one for one in found if one.state == "muted"]
    assert len(muted) >= 3
    for one, live in product(muted, lives):
        edge_ms = one.plus_minus_ms + 1
        assert one.end_ms <= live + edge_ms or one.start_ms >= live + 10 * MINUTE - edge_ms


@pytest.mark.parametrize("part", range(4))
def test_P5_nothing_is_muted_that_was_live_by_any_clock(tmp_path: Path, part: int) -> None:
    """Contacts with and without the journal, incidents, a pairing, and a clock that is set."""
    for seed in range(part, 240, 4):
        chance = Random(seed)
        made = Story(tmp_path / f"{seed}.sqlite3")
        if chance.random() < 0.7:
            made.board.unpair()
        lives: list[tuple[int, int]] = []
        # Since when its clock was as it was; and when it had a contact.
        clocks, contacts = [(made.clock.ms, START_MS)], list[int]()
        for _ in range(chance.randint(4, 14)):
            match chance.choice(
                ("live", "live", "pass", "see", "fetch", "set", "pair", "incident")
            ):
                case "live":
                    begun = made.clock.ms
                    made.board.live_for(chance.choice((1, 10, 30)) * MINUTE)
                    lives.append((begun, made.clock.ms))
                case "see":
                    unsigned = bool(made.board.journal.pairing) and made.board.state == "muted"
                    made.host.observe(made.board, "busy" if unsigned else None)
                    contacts.append(made.clock.ms)
                case "fetch":
                    made.attest()
                    contacts.append(made.clock.ms)
                case "set":
                    made.host.start_ms += chance.choice((-90, -45, -20, -5, -1, 5, 60)) * MINUTE
                    clocks.append((made.clock.ms, made.host.start_ms))
                case "pair":
                    made.board.pair()
                case "incident":
                    told = {"branch": 1, "what": "bad_mac", "text": ""}
                    made.host.log.append("incident", made.board.id, told)
            made.pass_minutes(chance.choice((0.1, 1, 40)))
        for _ in range(2):
            made.attest()
            contacts.append(made.clock.ms)
            made.pass_minutes(20)
        (timeline,) = read_timelines(
            made.host.log, made.board.id, START_MS - 50 * HOUR, made.now + 50 * HOUR
        )
        made.host.log.close()
        muted = [one for one in timeline.intervals if one.state == "muted"]
        for (since, start_ms), (until, _) in pairwise([*clocks, (1 << 60, 0)]):
            # Of a clock that was set, and set again, before any contact no host knows.
            if not any(since <= contact < until for contact in contacts):
                continue
            for (begun, ended), one in product(lives, muted):
                edge_ms = one.plus_minus_ms + 250
                begin_ms = max(start_ms + max(begun, since), one.start_ms + edge_ms)
                end_ms = min(start_ms + min(ended, until), one.end_ms - edge_ms)
                assert begin_ms >= end_ms, (seed, one)


def test_P5_the_journal_does_not_hide_what_a_contact_saw_live() -> None:
    contacts = [interval(0, 900, "muted"), interval(900, 1000, "live", 100)]
    journaled = [interval(0, 1000, "muted")._replace(plus_minus_ms=200, proof="attested")]
    found = overlay_journal(contacts, journaled)
    assert [(one.start_ms, one.end_ms, one.state) for one in found] == [
        (0, 900, "muted"),
        (900, 1000, "live"),
    ]


def test_P5_the_journal_hides_nothing_of_a_repeated_time() -> None:
    """The contact saw the first occurrence, and the journal tells of the second one."""
    contacts = [
        interval(0, 0, "unknown")._replace(notes=(WENT_BACK,)),
        interval(0, 400, "muted"),
        interval(400, 950, "live", 550),
    ]
    journaled = [interval(0, 900, "muted"), interval(900, 1500, "live", 600)]
    found = overlay_journal(contacts, journaled)
    assert [(one.start_ms, one.end_ms, one.state) for one in found if one.length_ms] == [
        (0, 400, "muted"),
        (400, 1500, "live"),
    ]


def test_P5_what_the_clock_hides_is_not_muted_by_the_journal() -> None:
    contacts = [
        interval(0, 500, "muted"),
        interval(500, 800, "unknown")._replace(notes=(WENT_BACK,)),
    ]
    journaled = [interval(0, 900, "muted"), interval(900, 950, "live", 50)]
    found = overlay_journal(contacts, journaled)
    assert [(one.start_ms, one.end_ms, one.state) for one in found] == [
        (0, 500, "muted"),
        (500, 800, "unknown"),
        (800, 900, "muted"),
        (900, 950, "live"),
    ]


def interval(start: int, end: int, state: str, live: int = 0) -> Interval:
    return Interval(start, end, state, live_ms=live)


def test_the_journal_stands_in_the_place_of_what_it_tells_of() -> None:
    contacts = [interval(0, 100, "muted"), interval(100, 500, "unknown", 50)]
    journaled = [interval(200, 250, "live", 50), interval(250, 300, "muted")]
    assert overlay_journal(contacts, journaled) == [
        interval(0, 100, "muted"),
        interval(100, 200, "unknown"),
        interval(200, 250, "live", 50),
        interval(250, 300, "muted"),
        interval(300, 500, "unknown"),
    ]
    assert overlay_journal(contacts, []) == contacts
    assert overlay_journal([], journaled) == journaled
