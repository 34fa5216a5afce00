"""P5: `status` says "muted" of a line that is live only where docs/threat-model.md grants that."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from paired_device import ATTESTS, Device, is_paired, plugged_in

import soundness
from conftest import Cli
from muteboard import attest

MATRIX = soundness.matrix()
TIMES = 100


def muted_of_live(cli: Cli, device: Device, times: int, chance: Random) -> int:
    """How often `status` was muted of a line that was live; the real board's, or ``device``."""
    muted = 0
    with plugged_in(device):
        for _ in range(times):
            told = cli("status", "--json")
            muted += told.json["verdict"] == "muted"
            device.made.clock.pass_ms(chance.randrange(5000))
    return muted


def test_P5_nobody_has_status_say_muted_of_a_live_line(home: Path, cli: Cli) -> None:
    assert not MATRIX[soundness.STATUS, "", "nobody"]
    device = is_paired(home, "log and key")
    device.made.go_live()
    assert muted_of_live(cli, device, TIMES // 4, Random(0)) == 0


@pytest.mark.parametrize("part", range(2))
def test_P5_no_swapped_board_has_status_say_muted(home: Path, cli: Cli, part: int) -> None:
    """It has id and journal of the real one, which is live elsewhere, and keys of its own."""
    assert not MATRIX[soundness.STATUS, "", "swapped board"]
    chance = Random(part)
    device = is_paired(home, "log and key")

    def sign(_statement: bytes) -> tuple[bytes, bytes]:
        return chance.randbytes(attest.MAC), chance.randbytes(attest.MAC)

    device.made.journal.sign = sign
    for _ in range(5):
        device.attests = chance.choice(ATTESTS)
        assert muted_of_live(cli, device, TIMES // 10, chance) == 0


@pytest.mark.parametrize("attacker", ["thief", "app", "app in setup"])
def test_P5_a_thief_of_the_attest_key_can_answer_for_the_board(
    home: Path, cli: Cli, attacker: str
) -> None:
    assert MATRIX[soundness.STATUS, "", attacker] == {"answers"}
    # What is at the port signs as the board would, which is live elsewhere.
    assert muted_of_live(cli, is_paired(home, "log and key"), 1, Random(0)) == 1
