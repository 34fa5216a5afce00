"""`hardmute prove` until now: it meets the board first. And what it says to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from paired_device import is_paired, plugged_in

from conftest import Cli, Logged
from evidence_maker import BOARD, MINUTE, Story, at
from hardmute.device import discovery
from hardmute.model import errors
from hardmute.model.clock import iso_time, now_ms
from hardmute.model.words import local_time
from hardmute.store import keys
from hardmute.store.log import Log
from hardmute.store.receipts import read_receipt
from hardmute.sync.contact import Contact, Meeting

LONG_AGO = ("--from", at(2), "--to", at(30))


def newest_attestation(home: Path) -> dict[str, Any]:
    log = Log(home / "log.sqlite3")
    entry = log.newest(BOARD, "attestation")
    log.close()
    assert entry is not None
    return entry.body


@pytest.mark.parametrize("until", [(), ("--to", "now")])
def test_P6_a_time_until_now_ends_with_what_the_board_signs_then(
    home: Path, cli: Cli, tmp_path: Path, until: tuple[str, ...]
) -> None:
    device, key, receipt = is_paired(home, "key"), tmp_path / "key.json", tmp_path / "r.json"
    keys.save_verify_key(key, BOARD, 1, device.made.secrets[BOARD, 1])
    with plugged_in(device):
        assert cli("status").code == errors.OK
        start = iso_time(now_ms() - 1)
        told = cli("prove", "--from", start, *until, "--key", key, "--receipt", receipt, "--json")
    assert told.code == errors.OK
    assert told.json["verdict"] == "muted"
    asked_ms = newest_attestation(home)["sent_ms"]
    assert told.json["to"] == iso_time(asked_ms)
    assert read_receipt(receipt)["to_ms"] == asked_ms
    assert device.asked.count("attest") == 2
    assert cli("prove", "--check", receipt, "--key", key).code == errors.OK


def test_P6_a_meeting_that_gives_way_to_a_mute_is_held_after_it(
    home: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    device, meet, given = is_paired(home, "key"), Contact.meet, list[str]()

    def once(contact: Contact) -> Meeting:
        if not given:
            given.append("port")
            raise errors.PortWantedError("the port")
        return meet(contact)

    with plugged_in(device):
        assert cli("status").code == errors.OK
        start = iso_time(now_ms() - 1)
        monkeypatch.setattr(Contact, "meet", once)
        told = cli("prove", "--from", start)
    assert (told.code, told.err, given) == (errors.OK, "", ["port"])
    assert device.asked.count("attest") == 2


def test_a_past_time_opens_no_port(
    story: Story, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert story.board.boots

    def none(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(discovery, "open_board", none)
    assert cli("prove", *LONG_AGO).code == errors.OK


def test_P5_a_board_that_is_not_there_leaves_the_end_unknown(
    home: Path, story: Story, cli: Cli, logged: Logged
) -> None:
    told = cli("prove", "--from", iso_time(story.now - 10 * MINUTE))
    assert told.code == errors.UNKNOWN
    last = local_time(newest_attestation(home)["sent_ms"])
    assert told.err == (
        f"Board {BOARD} is not connected. The proof rests on what is in the log; the board last"
        f" signed at {last}.\n"
    )
    assert "next: have the board sign before and after" in told.out
    assert (logged(BOARD)[-1].source, logged(BOARD)[-1].verdict) == ("prove", "unknown")


def test_P5_an_incident_of_the_meeting_is_told(home: Path, cli: Cli) -> None:
    device = is_paired(home, "key")
    with plugged_in(device):
        assert cli("status").code == errors.OK
        start = iso_time(now_ms() - 1000)
        device.attests = "wrong_mac"
        told = cli("prove", "--from", start)
    assert told.code == errors.TAMPERED
    assert "attests under a key" in told.err
    assert "MUTED" not in told.out


def test_P5_a_board_that_contradicts_itself_is_a_fault_now(home: Path, cli: Cli) -> None:
    device = is_paired(home, "key")
    with plugged_in(device):
        assert cli("status").code == errors.OK
        start = iso_time(now_ms() - 1)
        device.lie = lambda said: {**said, "state": "live", "command": "connected", "sense": [1]}
        told = cli("prove", "--from", start)
    assert told.code == errors.FAULT
    assert "without a change in between" in told.err


def reasons(cli: Cli, *words: str) -> str:
    told = cli("prove", *words)
    assert told.code == errors.UNKNOWN
    assert "next: " in told.out, told.out
    return told.out


def test_reasons_are_true_for_a_board_that_is_not_paired(home: Path, cli: Cli) -> None:
    device = is_paired(home, "none")
    device.attests = "not_paired"
    with plugged_in(device):
        assert cli("status").code == errors.OK
        said = reasons(cli, "--from", "1m")
    assert "the board was not paired with this host: it signed nothing" in said
    assert "next: pair it, for the times to come: `hardmute pair --verify-key FILE`" in said
    assert "both sides" not in said


def test_reasons_are_true_after_a_prune(story: Story, cli: Cli) -> None:
    for _ in range(3):
        story.pass_minutes(10)
        story.attest()
    log = story.host.log
    assert log.prune(story.now - 21 * MINUTE) is not None
    # In the first and the third the journal tells of a live time as well.
    for since, until in ((2, 20), (2, 30), (30, 60), (58, 62), (70, 75)):
        said = reasons(cli, "--from", at(since), "--to", at(until))
        assert "what showed it was pruned from this log" in said
        assert "next: check an export or a receipt that was made before" in said
        assert "both sides" not in said


def test_reasons_are_true_on_a_host_that_has_no_key(home: Path, cli: Cli) -> None:
    """Another host is the one that is paired."""
    device = is_paired(home, "none")
    with plugged_in(device):
        for _ in range(2):
            assert cli("status").code == errors.OK
        said = reasons(cli, "--from", "1m")
    assert "this host has no key to check what the board signed" in said
    assert "next: give the verify key of that pairing: --key FILE" in said
    assert "rests on nothing: no signature of the board could be checked here" in said


def test_each_reason_of_a_paired_board_has_a_next_step(story: Story, cli: Cli) -> None:
    story.pass_minutes(10)
    story.board.boot()
    story.board.live_for(10_000)
    story.pass_minutes(10)
    story.attest()
    assert "keep the board powered" in reasons(cli, "--from", at(61), "--to", at(80))
    story.host.start_ms += 60 * MINUTE
    story.pass_minutes(10)
    story.attest()
    assert "`hardmute doctor` checks it" in reasons(cli, "--from", at(90), "--to", at(100))
