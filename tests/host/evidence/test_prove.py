"""`hardmute prove`: what is claimed, and that nothing is claimed that was not shown (P5, P6)."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import independent_verifier
from evidence_maker import BOARD, MadeBoard, Story, at, copy_of, hash_of, key_of, write_export
from hardmute.evidence import reconstruction, verifier
from hardmute.evidence.entries import Entry, canonical, export_line, stored, stored_entry
from hardmute.evidence.proof import Proof, examine
from hardmute.model.clock import iso_time
from hardmute.store.excerpt import excerpt
from hardmute.store.log import Log
from muteboard import attest, journal

MINUTE = 60_000
HOUR = 60 * MINUTE
# The test's boards and hosts run on one clock; what is left is what two crystals may be off in the
# ten minutes to the nearer attestation, either way.
EDGE_MS = 100


class Scene(Story):
    """What can be proven of a story."""

    def prove(self, from_ms: int, to_ms: int, secrets: verifier.Keys | None = None) -> Proof:
        found = excerpt(self.host.log, self.board.id, from_ms, to_ms)
        secrets = self.board.secrets if secrets is None else secrets
        proof = examine(found, from_ms, to_ms, secrets, self.board.attest_keys)
        if proof.intervals:
            check_fills(proof)
        self._compare(proof, secrets)
        return proof

    def _compare(self, proof: Proof, secrets: verifier.Keys) -> None:
        """The verifier that was written from the page alone says the same of this host's log."""
        entries = list(self.host.log.entries())
        export = "".join(f"{export_line(entry)}\n" for entry in entries).encode()
        span = self.board.id, proof.from_ms, proof.to_ms
        held = self.board.attest_keys
        try:
            theirs, why = independent_verifier.prove_own(export, secrets, *span, held), ""
        except independent_verifier.BAD as error:
            theirs, why = 5, str(error)
        assert proof.exit_code == theirs, f"{proof.verdict}, {proof.findings}; {theirs}: {why}"


def check_fills(proof: Proof) -> None:
    assert proof.intervals[0].start_ms == proof.from_ms
    assert proof.intervals[-1].end_ms == proof.to_ms
    for before, after in pairwise(proof.intervals):
        assert before.end_ms == after.start_ms
        assert before.start_ms < before.end_ms


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path / "log.sqlite3")
    yield made
    made.host.log.close()


def states(proof: Proof) -> list[str]:
    return [interval.state for interval in proof.intervals]


@pytest.mark.parametrize("with_key", [True, False])
def test_P6_muted_between_two_attestations_is_muted_throughout(
    scene: Scene, with_key: bool
) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(90)
    end = scene.now
    scene.attest()
    proof = scene.prove(start, end, None if with_key else {})
    assert (proof.verdict, proof.exit_code) == ("muted", 0)
    assert states(proof) == ["muted"]
    # Two attestations, and the record before the first one.
    assert proof.signatures == 3
    assert proof.signed == (3 if with_key else 0)


def test_P6_attestations_and_seals_in_between_are_one_interval(scene: Scene) -> None:
    scene.attest()
    start = scene.now
    for _ in range(30):
        scene.pass_minutes(120)
        scene.board.note(journal.CONFIG)
        scene.attest()
    proof = scene.prove(start, scene.now - MINUTE)
    assert states(proof) == ["muted"]


def test_P6_a_live_time_is_found_with_its_cause_and_its_edges(scene: Scene) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(10)
    went_live = scene.now
    scene.board.go_live()
    scene.pass_minutes(5)
    was_cut = scene.now
    scene.board.mute("timer")
    scene.pass_minutes(10)
    end = scene.now
    scene.attest()
    proof = scene.prove(start, end)
    assert (proof.verdict, proof.exit_code) == ("live", 1)
    assert states(proof) == ["muted", "live", "muted"]
    _, live, muted = proof.intervals
    assert (live.cause, muted.cause) == ("button", "timer")
    # Muted is claimed for less than it was, live for more.
    assert went_live - EDGE_MS <= live.start_ms <= went_live
    assert was_cut <= live.end_ms <= was_cut + EDGE_MS
    assert live.plus_minus_ms > 0
    # Outside of it, all is muted.
    assert scene.prove(start, went_live - 1000).verdict == "muted"
    assert scene.prove(was_cut + 1000, end).verdict == "muted"


def test_P4_a_fault_is_no_muted(scene: Scene) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(1)
    scene.board.fault()
    scene.pass_minutes(1)
    scene.board.mute()
    scene.pass_minutes(1)
    end = scene.now
    scene.attest()
    proof = scene.prove(start, end)
    assert states(proof) == ["muted", "fault", "muted"]
    assert proof.exit_code == 4


@pytest.mark.parametrize("side", ["before", "after", "neither"])
def test_P5_nothing_is_claimed_without_attestations_at_both_ends(scene: Scene, side: str) -> None:
    if side == "before":
        scene.attest()
    start = scene.now
    scene.pass_minutes(10)
    end = scene.now
    if side == "after":
        scene.attest()
    else:
        scene.host.fetch(scene.board)
    proof = scene.prove(start, end)
    assert states(proof) == ["unknown"]
    assert proof.exit_code == 3
    assert proof.intervals[0].note


def test_P5_what_exceeds_the_attestations_is_proven_in_part(scene: Scene) -> None:
    scene.pass_minutes(10)
    scene.attest()
    scene.pass_minutes(10)
    scene.attest()
    scene.pass_minutes(10)
    proof = scene.prove(scene.now - 29 * MINUTE, scene.now)
    assert states(proof) == ["unknown", "muted", "unknown"]
    assert proof.exit_code == 3


def test_P5_a_restart_in_between_is_unknown(scene: Scene) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(10)
    scene.board.note(journal.CONFIG)
    scene.pass_minutes(10)
    scene.board.boot()
    scene.pass_minutes(10)
    end = scene.now
    scene.attest()
    proof = scene.prove(start, end)
    assert states(proof) == ["unknown"]
    assert "off or restarted" in (proof.intervals[0].note or "")


def test_P5_a_board_whose_clock_stood_still_proves_nothing(scene: Scene) -> None:
    """A board that was stopped, or another that answers with what it kept."""
    scene.attest()
    start = scene.now
    scene.pass_minutes(30)
    scene.board._booted_at += 20 * MINUTE
    end = scene.now
    scene.attest()
    assert states(scene.prove(start, end)) == ["unknown"]


@pytest.mark.parametrize("by_ms", [-3 * 365 * 24 * HOUR, -HOUR, HOUR, 5 * 365 * 24 * HOUR])
def test_P5_a_host_clock_that_was_set_in_between_proves_nothing(scene: Scene, by_ms: int) -> None:
    scene.attest()
    first = scene.now
    scene.pass_minutes(30)
    scene.host.start_ms += by_ms
    scene.attest()
    proof = scene.prove(min(first, scene.now) - 1, max(first, scene.now))
    assert "muted" not in states(proof)
    # The two after the change agree again. But where it was set back that time was before as well,
    # when nobody had attested anything.
    start = scene.now
    scene.pass_minutes(10)
    end = scene.now
    scene.attest()
    assert scene.prove(start, end).verdict == ("muted" if by_ms > 0 else "unknown")


@pytest.mark.parametrize("state", ["live", "unknown"])
def test_P5_a_time_that_was_twice_is_proven_only_if_both_are(scene: Scene, state: str) -> None:
    """The host's clock is set back: what was muted at ten was not so when it was ten again."""
    scene.attest()
    start = scene.now
    scene.pass_minutes(30)
    scene.attest()
    scene.host.start_ms -= 25 * MINUTE
    if state == "live":
        scene.attest()
        scene.pass_minutes(5)
        scene.board.live_for(MINUTE)
        scene.pass_minutes(4)
    else:
        scene.pass_minutes(10)
    scene.attest()
    scene.pass_minutes(60)
    scene.attest()
    assert scene.prove(start, start + 4 * MINUTE).verdict == "muted"
    both = scene.prove(start, start + 14 * MINUTE)
    assert state in states(both)
    assert both.verdict != "muted"
    assert scene.prove(start + 16 * MINUTE, start + 29 * MINUTE).verdict == "muted"


class Counting:
    """A database that counts the rows of a table that it hands out."""

    def __init__(self, database: sqlite3.Connection, table: str) -> None:
        self._database = database
        query = "SELECT rootpage FROM sqlite_schema WHERE name = ?"
        ((self._root,),) = database.execute(query, (table,))
        self.rows = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database, name)

    def __enter__(self) -> None:
        self._database.__enter__()

    def __exit__(self, *args: object) -> None:
        self._database.__exit__(*args)

    def execute(self, query: str, parameters: Any = ()) -> Any:
        cursor = self._database.execute(query, parameters)
        return self._counted(cursor) if self._reads_table(query, parameters) else cursor

    def _reads_table(self, query: str, parameters: Any) -> bool:
        """Whether its program reads a field of the table, and not of an index alone."""
        steps = self._database.execute(f"EXPLAIN {query}", parameters).fetchall()
        opened = {step[2] for step in steps if step[1] == "OpenRead" and step[3] == self._root}
        return any(step[1] == "Column" and step[2] in opened for step in steps)

    def _counted(self, cursor: sqlite3.Cursor) -> Any:
        def rows() -> Iterator[Any]:
            for row in cursor:
                self.rows += 1
                yield row

        return Rows(rows())


class Rows:
    def __init__(self, rows: Iterator[Any]) -> None:
        self._rows = rows

    def __iter__(self) -> Iterator[Any]:
        return self._rows

    def fetchone(self) -> Any:
        return next(self._rows, None)


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("by_ms", [-2000, -20 * MINUTE, 2000])
@pytest.mark.parametrize("met", ["live", "quiet", "another board between"])
def test_a_day_is_proven_from_its_rows_and_four_per_clock_step(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, steps: int, by_ms: int, met: str
) -> None:
    """Its rows: from the last attestation before it to the first one after it.

    Before them two more: the record that the first one speaks of, and the entry to which its nonce
    commits. One of these is the entry before it, whose hash is needed for its place. Where neither
    is, for another board's entries are between, that is the third.
    """
    if met == "another board between":
        fetch, other = scene.host.fetch, MadeBoard(scene.clock, "a5a5a5a5a5a5a5a5")

        def fetch_and_miss_another(board: MadeBoard, branch: int | None = None) -> list[Entry]:
            fetched = fetch(board, branch)
            scene.host.miss(other)
            return fetched

        monkeypatch.setattr(scene.host, "fetch", fetch_and_miss_another)
    bounds = []
    for day in range(4):
        bounds.append(scene.now + 1)
        for hour in range(24):
            scene.attest()
            if met != "quiet":
                scene.board.live_for(MINUTE)
            scene.pass_minutes(59)
            if day == 1 and hour in (5, 11, 17)[:steps]:
                scene.host.start_ms += by_ms
    log, (start, end) = scene.host.log, bounds[1:3]
    within = sum(start <= entry.at_ms < end for entry in log.entries())
    assert within > 20
    assert log.head()[0] > 3 * within
    marks = list(log.entries(kinds=("attestation",)))
    before = [mark.row for mark in marks if mark.body["received_ms"] <= start]
    after = [mark.row for mark in marks if mark.body["sent_ms"] >= end]
    counting = Counting(log._database, "entry")
    monkeypatch.setattr(log, "_database", counting)
    found = excerpt(log, scene.board.id, start, end)
    found.checked(scene.board.secrets)
    its_own = after[0] - before[-1] + 1
    assert found.record is not None
    more = 3 if met == "another board between" else 2
    assert counting.rows <= its_own + more + 4 * steps
    if not steps:
        assert counting.rows == its_own + more


def test_P5_one_contact_under_a_wrong_clock_hides_nothing(scene: Scene) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(10)
    end = scene.now
    scene.attest()
    scene.board.live_for(MINUTE)
    scene.host.start_ms -= 20 * 365 * 24 * HOUR
    scene.attest()
    scene.host.start_ms += 20 * 365 * 24 * HOUR
    scene.pass_minutes(10)
    scene.attest()
    assert scene.prove(start, end).verdict == "muted"
    assert scene.prove(start, scene.now).verdict == "unknown"


def test_P4_an_answer_while_the_contacts_settle_is_no_muted(scene: Scene) -> None:
    """Connected a moment ago, the board has not told yet that it is live."""
    scene.attest()
    scene.pass_minutes(1)
    scene.board.go_live()
    scene.board.state, scene.board.sense = "muted", 1
    start = scene.now + 1000
    scene.attest()
    scene.board.state = "live"
    scene.pass_minutes(10)
    end = scene.now
    scene.board.mute()
    scene.attest()
    assert states(scene.prove(start, end)) == ["live"]


def test_P4_an_answer_between_record_and_relay_is_not_muted(scene: Scene) -> None:
    scene.attest()
    scene.pass_minutes(1)
    scene.board.go_live()
    scene.board.state, scene.board.sense, scene.board.command = "muted", 0, "cut"
    start = scene.now + 1000
    scene.attest()
    scene.board.state, scene.board.sense, scene.board.command = "live", 1, "connected"
    scene.pass_minutes(10)
    end = scene.now
    scene.board.mute()
    scene.attest()
    assert states(scene.prove(start, end)) == ["live"]


@pytest.mark.parametrize(
    ("command", "sense", "told"), [("connected", 0, "live"), ("cut", 1, "unknown")]
)
def test_P4_muted_is_not_claimed_against_the_contacts(
    scene: Scene, command: str, sense: int, told: str
) -> None:
    scene.board.command, scene.board.sense = command, sense
    scene.board.note(journal.CONFIG)
    scene.attest()
    start = scene.now
    scene.pass_minutes(10)
    end = scene.now
    scene.attest()
    proof = scene.prove(start, end)
    assert states(proof) == [told]
    assert told != "unknown" or "a contact was closed" in (proof.intervals[0].note or "")


def test_P4_contacts_closed_at_the_start_may_have_opened_since(scene: Scene) -> None:
    scene.board.sense = 1
    scene.board.note(journal.CONFIG)
    scene.board.sense = 0
    scene.pass_minutes(1)
    scene.attest()
    start = scene.now
    scene.pass_minutes(10)
    end = scene.now
    scene.attest()
    assert scene.prove(start, end).verdict == "muted"


def test_P5_a_lost_event_proves_nothing(scene: Scene) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(10)
    scene.board.note(journal.OVERRUN, 3)
    scene.pass_minutes(10)
    end = scene.now
    scene.attest()
    assert states(scene.prove(start, end)) == ["unknown"]


def test_P5_an_incident_in_between_proves_nothing(scene: Scene) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(10)
    scene.host.incident(scene.board, "bad_mac", branch=1)
    scene.pass_minutes(10)
    end = scene.now
    scene.attest()
    assert states(scene.prove(start, end)) == ["unknown"]


def test_P5_without_verify_keys_only_attest_keys_held_here_count(
    scene: Scene,
) -> None:
    """Whatever the log says that was checked."""
    scene.attest()
    start = scene.now
    scene.pass_minutes(10)
    end = scene.now
    scene.attest()
    found = excerpt(scene.host.log, scene.board.id, start, end)
    [(owner, ours)] = scene.board.attest_keys.items()
    for held, verdict in (
        ({}, "unknown"),
        ({owner: [bytes(attest.KEY)]}, "unknown"),
        ({(scene.board.id, 2): ours}, "unknown"),
        ({owner: ours}, "muted"),
    ):
        assert examine(found, start, end, {}, held).verdict == verdict
    assert examine(found, start, end, scene.board.secrets, {}).verdict == "muted"


def test_P6_weeks_without_a_host_are_told_afterwards(scene: Scene) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(10 * 24 * 60)
    went_live = scene.now
    scene.board.live_for(MINUTE)
    scene.pass_minutes(10 * 24 * 60)
    end = scene.now
    scene.attest()
    proof = scene.prove(start, end)
    # By the way to either attestation it may have been three minutes earlier or later.
    assert states(proof) == ["muted", "unknown", "muted"]
    live = proof.intervals[1]
    assert live.note == "live for 1 min 00 s at some time in it"
    # 100 ppm of the way to the nearer attestation, either way.
    assert live.start_ms <= went_live
    assert live.end_ms - live.start_ms < MINUTE + 4 * 10 * 24 * HOUR * 100 // 1_000_000


def test_P6_boots_that_no_host_saw_are_bounded_by_neighbours(scene: Scene) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(1)
    scene.board.boot()
    scene.board.live_for(10_000)
    scene.pass_minutes(1)
    scene.board.boot()
    scene.pass_minutes(1)
    end = scene.now
    scene.attest()
    proof = scene.prove(start, end)
    assert proof.exit_code == 3
    assert set(states(proof)) <= {"unknown", "live"}
    said = [interval.state for interval in proof.intervals] + [
        interval.note or "" for interval in proof.intervals
    ]
    assert any("live" in one for one in said), "a live time is told even if not when it was"


@pytest.mark.parametrize("kind", ["record", "attestation"])
def test_P5_evidence_that_was_altered_proves_nothing(scene: Scene, kind: str) -> None:
    scene.attest()
    start = scene.now
    scene.pass_minutes(1)
    scene.board.live_for(1000)
    scene.pass_minutes(1)
    end = scene.now
    scene.attest()
    found = excerpt(scene.host.log, scene.board.id, start, end)
    entries = [stored_entry(row) for row in found.rows]
    last = max(i for i, entry in enumerate(entries) if entry.kind == kind)
    body = json.loads(json.dumps(entries[last].body))
    if kind == "record":
        body["record"] = ("A" if body["record"][0] != "A" else "B") + body["record"][1:]
    else:
        body["statement"]["uptime_ms"] += 1
    entries[last] = entries[last]._replace(body=body)
    # The hashes fit: whoever can alter an entry can do that, too.
    altered, before = [], found.before
    for entry in entries:
        before = hash_of(before, entry)
        altered.append(stored(entry._replace(hash=before)))
    found = found._replace(rows=altered)
    proof = examine(found, start, end, scene.board.secrets, {})
    assert (proof.verdict, proof.exit_code, proof.intervals) == ("tampered", 5, [])
    assert proof.findings[0].row == entries[last].row


def test_two_attestations_of_one_moment_agree(scene: Scene) -> None:
    scene.attest()
    entry = scene.host.log.newest(scene.board.id, "attestation")
    assert entry is not None
    one = reconstruction.attested(entry)
    assert reconstruction.clocks_agree(one, one)


# The command.


@pytest.mark.usefixtures("story")
def test_the_command_says_muted_throughout(cli: Any) -> None:
    result = cli("prove", "--from", at(2), "--to", at(30))
    assert result.code == 0
    assert result.out.startswith("MUTED    throughout, ")
    assert "attest key" in result.out


def test_the_command_lists_what_was_not(cli: Any, story: Story) -> None:
    result = cli("prove", "--from", at(2), "--to", at(60), "-d", story.board.id)
    assert result.code == 1
    assert result.out.startswith("LIVE     not shown to be muted throughout, ")
    lines = [line.split()[0] for line in result.out.splitlines()[1:4]]
    assert lines == ["muted", "live", "muted"]
    told = cli("prove", "--from", at(2), "--to", at(60), "--json").json
    assert [interval["state"] for interval in told["intervals"]] == ["muted", "live", "muted"]
    assert told["intervals"][1]["plus_minus_ms"] > 0


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--to", "1h"),
        ("--from", "1h", "--to", "2h"),
        ("--from", "1h", "--to", "2999-01-01"),
        ("--from", "2h", "--to", "1h", "-d", "aaaaaaaa"),
        ("--from", "2h", "--to", "1h", "--key", "/nowhere.json"),
        ("--check", "/nowhere.json"),
        ("--sign", "/nowhere.json"),
        ("--from", "2h", "--to", "1h", "--title", "no receipt"),
        ("--from", "2h", "--to", "1h", "--receipt", "receipt.pdf"),
    ],
)
@pytest.mark.usefixtures("story")
def test_what_means_nothing_is_refused(cli: Any, words: tuple[str, ...]) -> None:
    result = cli("prove", *words)
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") >= 1


def shifted(home: Path, by_ms: int) -> None:
    """What an app can do that runs as the user: the host times moved, and no hash made anew."""
    database = sqlite3.connect(home / "log.sqlite3")
    triggers = database.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")
    triggers = list(triggers)
    for name, _ in triggers:
        database.execute(f"DROP TRIGGER {name}")
    for row, kind, at_ms, text in list(
        database.execute("SELECT row, kind, at_ms, body FROM entry")
    ):
        body = json.loads(text)
        if kind == "attestation":
            body["sent_ms"] += by_ms
            body["received_ms"] += by_ms
        changed = at_ms + by_ms, canonical(body), row
        database.execute("UPDATE entry SET at_ms = ?, body = ? WHERE row = ?", changed)
    for _, sql in triggers:
        database.execute(sql)
    database.commit()
    database.close()


@pytest.fixture
def live_story(story: Story) -> tuple[Story, tuple[str, ...]]:
    """A story that is live for a quarter of an hour, and the words that ask for a part of it."""
    story.attest()
    start = story.now
    story.board.live_for(15 * MINUTE)
    for _ in range(2):
        story.pass_minutes(2)
        story.attest()
    return story, ("--from", iso_time(start + MINUTE), "--to", iso_time(start + 11 * MINUTE))


@pytest.mark.parametrize("keyed", [False, True])
def test_P6_a_log_whose_times_were_moved_proves_nothing(
    cli: Any, home: Path, tmp_path: Path, live_story: tuple[Story, tuple[str, ...]], keyed: bool
) -> None:
    story, span = live_story
    words = ["prove", *span, *(("--key", str(key_of(story, tmp_path))) if keyed else ())]
    assert cli(*words).code == 1
    shifted(home, 25 * MINUTE)
    result = cli(*words)
    assert result.code == 5
    assert re.search(r"entry \d+ does not have the hash", result.out)
    receipt = tmp_path / "receipt.json"
    assert cli(*words, "--receipt", str(receipt)).code == 5
    assert not receipt.exists()


def test_P6_an_incident_that_was_taken_out_is_missed(cli: Any, home: Path, story: Story) -> None:
    story.host.incident(story.board, "bad_mac", branch=1)
    story.pass_minutes(2)
    story.attest()
    words = ("prove", "--from", at(2), "--to", iso_time(story.now - MINUTE))
    database = sqlite3.connect(home / "log.sqlite3")
    ((sql,),) = database.execute(
        "SELECT sql FROM sqlite_schema WHERE name = 'entry_is_append_only_2'"
    )
    database.execute("DROP TRIGGER entry_is_append_only_2")
    (row,) = database.execute("SELECT max(row) FROM entry WHERE kind = 'incident'").fetchone()
    database.execute("DELETE FROM entry WHERE row = ?", (row,))
    database.execute(sql)
    database.commit()
    database.close()
    result = cli(*words)
    assert result.code == 5
    assert f"entry {row + 1} does not follow entry {row - 1}" in result.out


@pytest.mark.parametrize("by_ms", [-2000, -20 * MINUTE])
@pytest.mark.parametrize("keyed", [False, True])
def test_P5_a_clock_set_back_after_a_live_time_hides_nothing(
    cli: Any, story: Story, tmp_path: Path, by_ms: int, keyed: bool
) -> None:
    """The live time and the contact after it: the rows that tell of it come before by row."""
    story.attest()
    story.pass_minutes(1)
    start = story.now
    story.board.live_for(10 * MINUTE)
    end = story.now
    story.pass_minutes(0.5)
    story.host.start_ms += by_ms
    for minutes in (0, 40, 1):
        story.pass_minutes(minutes)
        story.attest()
    key = key_of(story, tmp_path)
    more = ("--key", str(key)) if keyed else ()
    for since, until in ((start + MINUTE, end - MINUTE), (end - 1000, end)):
        result = cli("prove", "--from", iso_time(since), "--to", iso_time(until), *more)
        assert result.code in (1, 3)
        assert "live" in result.out
    receipt = tmp_path / "receipt.json"
    words = ("prove", "--from", iso_time(start), "--to", iso_time(end), "--key", str(key))
    assert cli(*words, "--receipt", str(receipt)).code in (1, 3)
    assert cli("prove", "--check", str(receipt), "--key", str(key)).code in (1, 3)


def test_P5_a_clock_behind_the_last_attestation_proves_nothing(
    cli: Any, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("prove", "--from", at(2), "--to", at(30)).code == 0
    behind = story.now - 10 * MINUTE
    monkeypatch.setattr("hardmute.sync.history.now_ms", lambda: behind)
    result = cli("prove", "--from", at(2), "--to", at(30))
    assert (result.code, result.out) == (2, "")
    assert "run `hardmute status` first" in result.err


def test_P6_an_invented_prune_frees_no_time(
    cli: Any, home: Path, tmp_path: Path, live_story: tuple[Story, tuple[str, ...]]
) -> None:
    """What was attested before a live time is moved to it, and a prune explains the nonces."""
    story, span = live_story
    key = key_of(story, tmp_path)
    assert cli("prove", *span, "--key", str(key)).code == 1
    kept = [entry for entry in story.host.log.entries() if entry.at_ms < story.now - 19 * MINUTE]
    story.host.log.close()
    (home / "log.sqlite3").unlink()
    before, made = bytes([7]) * 32, list[Entry]()
    prune = {"row": 100_000, "hash": before.hex(), "before_ms": 0, "ends": []}
    for entry in [*map(copy_of, kept), Entry(0, kept[-1].at_ms, "checkpoint", None, prune, b"")]:
        for name in {"sent_ms", "received_ms"} & set(entry.body):
            entry.body[name] += 25 * MINUTE
        moved = entry._replace(row=100_001 + len(made), at_ms=entry.at_ms + 25 * MINUTE)
        before = hash_of(before, moved)
        made.append(moved._replace(hash=before))
    export = tmp_path / "moved.jsonl"
    write_export(export, made)
    result = cli("log", "verify", str(export), "--key", str(key))
    assert result.code == 3
    assert "no board has signed that its beginning was pruned" in result.out
    assert independent_verifier.judge(export.read_bytes(), story.board.secrets) == 3
    Log(home / "log.sqlite3").close()
    with sqlite3.connect(home / "log.sqlite3") as database:
        database.executemany("INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?)", map(stored, made))
        database.execute("INSERT INTO board VALUES (?, NULL, NULL, 0)", (BOARD,))
    database.close()
    for more in ((), ("--key", str(key))):
        assert cli("prove", *span, *more).code == 3


def test_P6_a_receipt_made_right_after_a_prune_passes_its_check(
    cli: Any, story: Story, tmp_path: Path
) -> None:
    """Of what was pruned the checkpoint knows the last hash, and the receipt has it too."""
    key, receipt = str(key_of(story, tmp_path)), str(tmp_path / "receipt.json")
    assert story.host.log.prune(story.now + 1) is not None
    story.attest()
    since = story.now
    story.pass_minutes(10)
    story.attest()
    words = ("--from", iso_time(since + 1000), "--to", iso_time(story.now - 1000))
    made = cli("prove", *words, "--key", key, "--receipt", receipt)
    assert made.code in (0, 3)
    assert cli("prove", "--check", receipt, "--key", key).code == made.code


def test_P6_after_a_prune_the_second_contact_starts_the_proof(
    cli: Any, story: Story, tmp_path: Path
) -> None:
    key = key_of(story, tmp_path)
    for _ in range(3):
        story.pass_minutes(10)
        story.attest()
    assert story.host.log.prune(story.now - 21 * MINUTE) is not None
    export, words = tmp_path / "a.jsonl", ("--key", str(key))
    story.host.export(export)
    assert cli("log", "verify", str(export), *words).code == 3
    assert cli("log", "verify").code == 0
    story.pass_minutes(10)
    story.attest()
    story.host.export(export)
    assert cli("log", "verify", str(export), *words).code == 0
    assert independent_verifier.judge(export.read_bytes(), story.board.secrets) == 0
    ends = iso_time(story.now - MINUTE)
    assert cli("prove", "--from", iso_time(story.now - 9 * MINUTE), "--to", ends).code == 0


# `hardmute log` tells the same.


def test_P6_the_log_tells_what_no_contact_saw(cli: Any, story: Story) -> None:
    """Presses between two contacts, more than the board's counters alone can place."""
    for _ in range(3):
        story.pass_minutes(5)
        story.board.live_for(60_000)
    story.pass_minutes(5)
    story.attest()
    told = cli("log", "--since", at(0), "--until", at(90), "--json").json
    (board,) = told["boards"]
    # The middles of the bounds: off by what is said.
    assert abs(board["live_ms"] - (10_000 + 3 * 60_000)) <= 10
    live = [interval for interval in board["intervals"] if interval["state"] == "live"]
    assert len(live) == 4
    assert [interval["proof"] for interval in live[1:]] == ["attested"] * 3
    assert all(interval["plus_minus_ms"] > 0 for interval in live[1:])
    states = {interval["state"] for interval in board["intervals"] if interval["start_ms"] > 0}
    assert states == {"muted", "live"}


def test_P6_an_export_proves_what_a_later_signature_commits_to(
    cli: Any, home: Path, tmp_path: Path, live_story: tuple[Story, tuple[str, ...]]
) -> None:
    story, live = live_story
    key, export = key_of(story, tmp_path), tmp_path / "export.jsonl"
    since = story.now
    for _ in range(3):
        story.attest()
        story.pass_minutes(10)
    assert cli("log", "export", str(export)).code == 0
    (home / "log.sqlite3").rename(home / "elsewhere")
    words = ("prove", "--log", str(export))
    quiet = ("--from", iso_time(since + 1000), "--to", iso_time(since + 9 * MINUTE))
    assert cli(*words, *quiet, "--key", str(key)).code == 0
    assert cli(*words, *live, "--key", str(key)).code == 1
    told = cli(*words, *quiet)
    assert told.code == 3
    assert "nothing was checked" in told.out
    assert "rests on nothing: no signature was checked" in " ".join(told.out.split())
    # Nothing that was signed contains the last attestation: its time could have been moved.
    late = ("--from", iso_time(since + 11 * MINUTE), "--to", iso_time(since + 19 * MINUTE))
    assert cli(*words, *late, "--key", str(key)).code == 3
    assert cli(*words, *quiet, "-d", "0123456789abcdef", "--key", str(key)).code == 2
    assert cli(*words, *quiet, "--receipt", str(tmp_path / "r.json"), "--key", str(key)).code == 2


@pytest.mark.parametrize("last", [True, False])
def test_P6_times_that_were_moved_in_an_export_prove_nothing(
    cli: Any, tmp_path: Path, live_story: tuple[Story, tuple[str, ...]], last: bool
) -> None:
    """By whoever hands it in. He moves muted times to when the line was live; hashes fit."""
    story, live = live_story
    for _ in range(2):
        story.attest()
        story.pass_minutes(1)
    made, before = list[Entry](), bytes(32)
    entries = list(story.host.log.entries())
    marks = [entry.row for entry in entries if entry.kind == "attestation"]
    for entry in map(copy_of, entries):
        if entry.kind == "attestation" and (entry.row in marks[-2:] or not last):
            for name in ("sent_ms", "received_ms"):
                entry.body[name] += (1 if entry.row == marks[-1] else -1) * 30 * MINUTE
        before = hash_of(before, entry)
        made.append(entry._replace(hash=before))
    export = tmp_path / "moved.jsonl"
    write_export(export, made)
    key = str(key_of(story, tmp_path))
    for words in (live, ("--from", at(2), "--to", at(90))):
        told = cli("prove", "--log", str(export), *words, "--key", key)
        assert told.code in (1, 3, 5)
        assert not told.out.startswith("MUTED")
