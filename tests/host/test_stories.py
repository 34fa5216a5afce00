"""P5: whatever happened, `prove` never says muted of a time when the line was not.

Random stories of a board and a host whose clock is set, with the truth known to the millisecond.
What no evidence can tell is not in them: a clock that is set before the first attestation, or
twice between two, and one that is set while host and board both start again between two.
"""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import pytest

import independent_verifier
from evidence_maker import MINUTE, Clock, Story
from hardmute.entries import Entry, canonical
from hardmute.errors import EvidenceError
from hardmute.excerpt import excerpt
from hardmute.proof import EVIDENCE, Proof, Proven, examine
from hardmute.receipt import check_receipt, make_receipt

STORIES = 120
DAY = 24 * 60 * MINUTE
_WHAT = ("attest", "pass", "live", "set") * 2 + ("fault", "boot", "restart")


class TrueClock(Clock):
    """Keeps when, by the host's wall clock, the line was live or at fault: [start, end)."""

    def __init__(self) -> None:
        super().__init__()
        self.story: TrueStory | None = None
        self.not_muted: list[tuple[int, int]] = []

    def pass_ms(self, ms: int) -> None:
        story = self.story
        if story is not None and story.board.state != "muted":
            self.not_muted.append((story.now, story.now + ms))
        super().pass_ms(ms)


class TrueStory(Story):
    """A story in which chance decides."""

    def __init__(self, file: Path, chance: Random) -> None:
        self.true = TrueClock()
        super().__init__(file, self.true)
        self.true.story = self
        self.chance = chance
        self.moments: list[int] = []
        self.host.attest(self.board)
        # What was done since the last attestation of what may be done only so often.
        self.since: set[str] = set()

    def some_ms(self, most: int) -> int:
        """Of any order of magnitude."""
        return int(most ** self.chance.random())

    def happen(self) -> None:
        self.moments.append(self.now)
        what = self.chance.choice(_WHAT)
        getattr(self, f"do_{what}")()
        self.moments.append(self.now)

    def do_attest(self) -> None:
        self.since.clear()
        self.host.attest(self.board, took_ms=self.chance.choice((0, 4, 300)))

    def do_pass(self) -> None:
        self.clock.pass_ms(self.some_ms(DAY))

    def do_live(self) -> None:
        self.board.go_live()
        self.clock.pass_ms(self.some_ms(4 * 60 * MINUTE))
        for _ in range(self.chance.choice((0, 0, 1, 2))):
            self.chance.choice((self.do_attest, self.do_set))()
            self.clock.pass_ms(self.some_ms(60 * MINUTE))
        self.board.mute()

    def do_fault(self) -> None:
        self.board.fault()
        self.clock.pass_ms(self.some_ms(60 * MINUTE))
        self.board.mute()

    def do_boot(self) -> None:
        if not {"set", "restart"} <= self.since:
            self.since.add("boot")
            self.clock.pass_ms(self.some_ms(60 * MINUTE))
            self.board.boot()

    def do_restart(self) -> None:
        if not {"set", "boot"} <= self.since:
            self.since.add("restart")
            self.host.run = f"boot at {self.clock.ms}"

    def do_set(self) -> None:
        if "set" not in self.since and not {"boot", "restart"} <= self.since:
            self.since.add("set")
            by_ms = self.some_ms(3 * DAY)
            self.host.start_ms += self.chance.choice((by_ms, -by_ms, -by_ms))

    def prove(self, from_ms: int, to_ms: int, *, keyed: bool = True) -> tuple[Proof, list[Entry]]:
        found = excerpt(self.host.log, self.board.id, from_ms, to_ms)
        secrets = self.board.secrets if keyed else {}
        proof = examine(found, from_ms, to_ms, secrets, self.board.attest_keys)
        assert not proof.findings
        return proof, found.entries(EVIDENCE)

    def proven_muted(self, from_ms: int, to_ms: int, *, keyed: bool) -> list[tuple[int, int]]:
        proof, _ = self.prove(from_ms, to_ms, keyed=keyed)
        return [one[:2] for one in proof.intervals if one.state == "muted"]

    def receipt(self, from_ms: int, to_ms: int) -> tuple[Proof, bytes]:
        """What is proven, and a signed receipt of it."""
        proof, entries = self.prove(from_ms, to_ms)
        return proof, self.signed(proof, entries)

    def signed(self, proof: Proof, entries: list[Entry]) -> bytes:
        content = make_receipt(proof, entries, self.board.secrets, self.host.log.hash_at)
        return f"{canonical(content)}\n".encode()


@pytest.mark.parametrize("part", range(4))
def test_P5_no_story_has_a_muted_time_that_was_not(tmp_path: Path, part: int) -> None:
    muted = 0
    for seed in range(part, STORIES, 4):
        story = TrueStory(tmp_path / f"{seed}.sqlite3", Random(seed))
        for _ in range(20):
            story.happen()
        story.do_attest()
        for _ in range(8):
            at, until = sorted(
                moment + story.chance.choice((-1, 0, 1, 250, -250))
                for moment in story.chance.sample(story.moments, 2)
            )
            said = story.proven_muted(at, until + 1, keyed=seed % 2 == 0)
            muted += bool(said)
            for start, end in said:
                wrong = [one for one in story.true.not_muted if one[0] < end and start < one[1]]
                assert not wrong, (seed, at, until, start, end, wrong)
        # The verifier that was written from docs/evidence.md alone says the same of a receipt.
        proof, data = story.receipt(at, until + 1)
        checked = check_receipt(json.loads(data), story.board.secrets)
        theirs = independent_verifier.judge(data, story.board.secrets)
        assert proof.exit_code == checked.proof.exit_code == theirs
        story.host.log.close()
    # Else this would show nothing.
    assert muted > STORIES // 4


def test_P5_both_verifiers_refuse_a_receipt_of_a_time_that_was_twice(tmp_path: Path) -> None:
    """Even from a holder of the key: its evidence shows that the clock was set back."""
    story = TrueStory(tmp_path / "log.sqlite3", Random(0))
    live_from = story.now
    story.board.live_for(10 * MINUTE)
    live_to = story.now
    story.host.start_ms -= 20 * MINUTE
    for minutes in (0, 40, 1):
        story.pass_minutes(minutes)
        story.host.attest(story.board)
    proof, entries = story.prove(live_from + 1, live_to - 1)
    assert proof.verdict == "unknown"
    claimed = Proven(proof.from_ms, proof.to_ms, "muted", "button", 0, None)
    data = story.signed(proof._replace(intervals=[claimed]), entries)
    with pytest.raises(EvidenceError, match="does not bear out"):
        check_receipt(json.loads(data), story.board.secrets)
    with pytest.raises(ValueError, match="not attested on both sides"):
        independent_verifier.judge(data, story.board.secrets)
    story.host.log.close()
