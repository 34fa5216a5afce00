"""P5 and P6: no command says something false, but where docs/threat-model.md grants that.

The stories and the attacks are in `soundness`, and the rules that are left out, to see that this
would be found, in `seeded_faults`.
"""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from seeded_faults import FAULTS, Fault

import independent_verifier
import soundness
from evidence_maker import MINUTE, Story
from hardmute.evidence.entries import canonical
from hardmute.evidence.interval import Interval
from hardmute.evidence.proof import EVIDENCE, examine
from hardmute.evidence.receipt import check_receipt, make_receipt
from hardmute.model.errors import EvidenceError
from hardmute.store.excerpt import excerpt
from soundness import ABSENT, PROVE, STATUS, Machine, Word, allowed, world

PARTS = 20
SOAK = os.environ.get("HARDMUTE_SOAK") == "1"
# Of each part, at least. Together that is 200 logs, 500 proofs that end muted, 500 that end live,
# and each attack 100 times. `make soak` does fifty times as much.
HONEST = {"logs": 10, "muted": 25, "live": 25}
ENOUGH = HONEST | {one.__name__: 5 for one in soundness.ATTACKS}
if SOAK:
    ENOUGH = {what: 50 * number for what, number in ENOUGH.items()}
# So many stories are enough to find whatever is to be found.
STORIES = 90
MATRIX = soundness.matrix()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.close()


def is_false(word: Word) -> bool:
    """Whether it is false though the matrix does not grant that."""
    # Who signs a receipt himself is no attacker.
    cells = (MATRIX[word.command, word.key, who] for who in word.attackers if who != "owner")
    return word.wrong is not None and not all(allowed(cell, word) for cell in cells)


@pytest.mark.timeout(3600 if SOAK else 120)
@pytest.mark.parametrize("part", range(PARTS))
def test_P5_no_word_is_false_that_the_matrix_does_not_grant(machine: Machine, part: int) -> None:
    """And the verifier that was written from docs/evidence.md alone says the same of each file."""
    counts: Counter[str] = Counter()
    for seed in itertools.count(part, PARTS):
        if all(counts[what] >= number for what, number in ENOUGH.items()):
            break
        told = world(seed)
        # The rarer attacks need more stories.
        if any(counts[what] < ENOUGH[what] for what in HONEST):
            counts["logs"] += len(told.hosts)
            for word in machine.honest(told):
                assert not is_false(word), (seed, word)
                if word.command == PROVE:
                    counts[word.verdict] += 1
        for make in soundness.ATTACKS:
            left = ENOUGH[make.__name__] - counts[make.__name__]
            for attack in itertools.islice(soundness.attacks(told, make), left):
                counts[make.__name__] += 1
                for word in machine.attacked(told, attack):
                    assert not is_false(word), (seed, word)


# For a time that was twice there is seldom room in a story: of these few, more stories.
@pytest.mark.parametrize(
    ("twice", "makes"),
    [
        (False, soundness.ATTACKS),
        (True, (soundness.rewrite_open_epoch, soundness.ask_twice, soundness.swap)),
    ],
    ids=["", "twice"],
)
def test_P5_what_the_matrix_grants_is_so(
    machine: Machine, twice: bool, makes: tuple[soundness.Make, ...]
) -> None:
    """Of each cell that grants something, one attack that succeeds."""
    cells = {
        (*cell, means)
        for cell, granted in MATRIX.items()
        for means in granted
        if cell[0] not in (STATUS, ABSENT) and (means == soundness.TWICE) == twice
    }

    def is_worth_trying(attack: soundness.Attack) -> bool:
        means = attack.means, attack.against_prove, soundness.TWICE, soundness.REWRITES
        return any(who in attack.attackers and by in means for *_, who, by in cells)

    tried = (
        word
        for seed in range(STORIES)
        for make in makes
        for attack in soundness.attacks(world(seed), make)
        if is_worth_trying(attack)
        for word in machine.attacked(world(seed), attack)
    )
    machine.agree = False
    while cells:
        word = next(tried, None)
        assert word is not None, cells
        if word.wrong is not None:
            cells.difference_update(
                (word.command, word.key, who, means)
                for who in word.attackers
                for means in (word.means, soundness.REWRITES)
            )


def test_P5_both_verifiers_refuse_a_receipt_of_a_repeated_time(tmp_path: Path) -> None:
    """Even from a holder of the key: its evidence shows that the clock was set back."""
    story = Story(tmp_path / "log.sqlite3")
    story.attest()
    start, end = story.now + 1, story.now + 10 * MINUTE - 1
    story.board.live_for(10 * MINUTE)
    story.host.start_ms -= 20 * MINUTE
    for minutes in (0, 40, 1):
        story.pass_minutes(minutes)
        story.attest()
    secrets = story.board.secrets
    found = excerpt(story.host.log, story.board.id, start, end)
    proof = examine(found, start, end, secrets, {})
    assert proof.verdict == "unknown"
    claimed = proof._replace(intervals=[Interval(start, end, "muted", "button")])
    content = make_receipt(claimed, found.entries(EVIDENCE), secrets, found.log_hash)
    with pytest.raises(EvidenceError, match="does not bear out"):
        check_receipt(json.loads(canonical(content)), secrets)
    with pytest.raises(ValueError, match="what it claims is not"):
        independent_verifier.judge(f"{canonical(content)}\n".encode(), secrets)
    story.host.log.close()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.rule)
def test_P5_the_machine_finds_a_rule_that_is_left_out(machine: Machine, fault: Fault) -> None:
    """In the stories that no word was false in. One in which it was found once comes first."""
    machine.agree = False

    def words(told: soundness.World) -> Iterator[Word]:
        yield from machine.honest(told)
        for make in soundness.ATTACKS:
            for attack in soundness.attacks(told, make):
                yield from machine.attacked(told, attack)

    def is_found(seed: int) -> bool:
        told = world(seed)
        with pytest.MonkeyPatch.context() as patch:
            fault.seed(patch)
            return any(map(is_false, words(told)))

    assert any(map(is_found, (fault.story, *range(STORIES))))
