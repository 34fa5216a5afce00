"""`hardmute pair` and `unpair` on the running simulated board, and what comes of them."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import Cli, Sim
from hardmute.cli import service_mode
from hardmute.model import errors
from hardmute.store import keys
from muteboard import attest


def leave_setup(sim: Sim) -> None:
    sim.act("power-off", "power-on")


def private(file: Path) -> bool:
    return os.name == "nt" or stat.S_IMODE(file.stat().st_mode) == 0o600


def test_pair_guides_through_setup_and_proves_itself(
    sim: Sim, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "verify.key"
    waiting = SimpleNamespace(sleep=lambda _seconds: sim.open_setup())
    monkeypatch.setattr("hardmute.sync.service_mode.time", waiting)
    told = cli("-d", sim.board, "pair", "--verify-key", file)
    assert told.code == errors.OK, told
    assert "hold its button" in told.err
    assert f"Waiting for board {sim.board} in setup: connected, not in setup ..." in told.err
    assert "attest key, on this host" in told.out
    assert "verify key" in told.out
    assert "offline" in told.out
    assert private(file)
    # Still in setup, which is muted, and now attested.
    status = cli("-d", sim.board, "status", "--json")
    assert (status.code, status.json["proof"]) == (errors.OK, "attested")


def test_the_keys_are_what_the_format_says(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "verify.key"
    sim.open_setup()
    told = cli("-d", sim.board, "pair", "--verify-key", file, "--json")
    assert told.code == errors.OK
    stored = json.loads(file.read_text())
    secret = bytes.fromhex(stored["secret"])
    assert stored["board"] == sim.board
    assert told.json == {
        "board": sim.board,
        "pairing": 1,
        "key_id": attest.key_id(secret).hex(),
        "earlier_pairing": None,
        "verify_key": str(file),
        "attested": True,
    }
    assert keys.load_attest_key(sim.board) == attest.attest_key(secret)


def test_pair_overwrites_nothing(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "verify.key"
    file.write_text("precious")
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "nowhere")
    sim.open_setup()
    for name in (file, dangling):
        told = cli("-d", sim.board, "pair", "--verify-key", name)
        assert told.code == errors.USAGE
        assert "no key is overwritten" in told.err
    assert file.read_text() == "precious"
    assert not dangling.exists()
    assert cli("-d", sim.board, "verify", "--require", "attested").code == errors.UNKNOWN


@pytest.mark.parametrize("name", ["missing/verify.key", "file/verify.key"])
def test_pair_changes_nothing_where_the_key_could_not_be_written(
    sim: Sim, cli: Cli, tmp_path: Path, name: str
) -> None:
    (tmp_path / "file").write_text("")
    sim.open_setup()
    told = cli("-d", sim.board, "pair", "--verify-key", tmp_path / name)
    assert told.code == errors.USAGE
    assert "Nothing was changed" in told.err
    assert keys.load_attest_key(sim.board) is None
    assert cli("-d", sim.board, "verify", "--require", "attested").code == errors.UNKNOWN


def test_pair_says_what_to_do_when_the_key_was_not_written(
    sim: Sim, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "verify.key"
    sim.open_setup()

    def full(*_: object) -> None:
        raise errors.LocalError("The disk is full.")

    with monkeypatch.context() as patched:
        patched.setattr(keys, "save_verify_key", full)
        told = cli("-d", sim.board, "pair", "--verify-key", file)
    assert told.code == errors.LOCAL
    assert "run this again with another file" in told.err
    again = cli("-d", sim.board, "pair", "--verify-key", file, "--json")
    assert again.code == errors.OK
    assert (again.json["pairing"], again.json["earlier_pairing"]) == (2, 1)


def test_pairing_again_keeps_the_old_evidence(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    sim.open_setup()
    files = [tmp_path / "first.key", tmp_path / "second.key"]
    assert cli("-d", sim.board, "pair", "--verify-key", files[0]).code == errors.OK
    told = cli("-d", sim.board, "pair", "--verify-key", files[1])
    assert told.code == errors.OK
    assert "It ends pairing 1." in told.out
    assert "verify key of that one" in told.out
    secrets = [json.loads(file.read_text())["secret"] for file in files]
    assert secrets[0] != secrets[1]
    leave_setup(sim)
    assert cli("-d", sim.board, "verify", "--require", "attested").code == errors.OK
    for given in ([files[0]], [files[1]], files):
        options = [word for file in given for word in ("--key", file)]
        checked = cli("log", "verify", *options, "--json")
        assert checked.code == errors.OK
        [branch] = checked.json["branches"]
        assert branch["number"] == 1
        assert len(branch["pairings_without_key"]) == 2 - len(given)


def test_pair_gives_up_after_its_patience(
    sim: Sim, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_mode, "_MINUTES_ALONE", 0)
    told = cli("-d", sim.board, "pair", "--verify-key", tmp_path / "verify.key")
    assert told.code == errors.UNKNOWN
    assert "nothing was changed" in told.err
    assert list(tmp_path.glob("*.key")) == []


def test_P5_verify_attested(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    sim.open_setup()
    assert cli("-d", sim.board, "pair", "--verify-key", tmp_path / "k").code == errors.OK
    leave_setup(sim)
    told = cli("-d", sim.board, "verify", "--require", "attested")
    assert told.code == errors.OK
    assert "proof level: attested (asked for: attested)" in told.out
    assert "signed" in told.out
    assert "trusted" in told.out
    assert max(map(len, told.out.splitlines())) <= 80
    sim.act("press")
    told = cli("-d", sim.board, "verify", "--require", "attested", "--json")
    assert (told.code, told.json["proof"]) == (errors.LIVE, "attested")
    sim.act("press", "weld")
    sim.act("press", "press")
    told = cli("-d", sim.board, "verify", "--require", "attested", "--json")
    assert (told.code, told.json["verdict"], told.json["proof"]) == (errors.FAULT, "fault", None)


def test_unpair_ends_it_on_the_board_and_here(sim: Sim, cli: Cli, tmp_path: Path) -> None:
    sim.open_setup()
    assert cli("-d", sim.board, "pair", "--verify-key", tmp_path / "k").code == errors.OK
    told = cli("-d", sim.board, "unpair", "--json")
    assert told.code == errors.OK
    assert told.json == {"board": sim.board, "board_unpaired": True, "host_unpaired": True}
    assert keys.load_attest_key(sim.board) is None
    status = cli("-d", sim.board, "status", "--json")
    assert (status.code, status.json["proof"]) == (errors.OK, "sensed")
    assert cli("-d", sim.board, "unpair").code == errors.USAGE


def test_P5_a_host_that_has_lost_its_key_is_paired_all_the_same(
    sim: Sim, cli: Cli, tmp_path: Path, home: Path
) -> None:
    sim.open_setup()
    assert cli("-d", sim.board, "pair", "--verify-key", tmp_path / "k").code == errors.OK
    (home / "keys" / f"{sim.board}.json").rename(tmp_path / "key")
    told = cli("-d", sim.board, "status", "--json")
    assert (told.code, told.json["unsigned"]) == (errors.UNKNOWN, "no_key")
    told = cli("-d", sim.board, "unpair", "--json")
    assert told.json == {"board": sim.board, "board_unpaired": False, "host_unpaired": True}
    assert cli("-d", sim.board, "status").code == errors.OK
    # Restored, it counts again.
    (tmp_path / "key").rename(home / "keys" / f"{sim.board}.json")
    told = cli("-d", sim.board, "status", "--json")
    assert (told.code, told.json["proof"]) == (errors.OK, "attested")


def test_unpair_leaves_a_board_paired_with_another_host_alone(
    sim: Sim, cli: Cli, tmp_path: Path
) -> None:
    sim.open_setup()
    assert cli("-d", sim.board, "pair", "--verify-key", tmp_path / "one").code == errors.OK
    [ours] = keys.load_attest_keys(sim.board)
    assert cli("-d", sim.board, "pair", "--verify-key", tmp_path / "two").code == errors.OK
    theirs = keys.load_attest_keys(sim.board)[-1]
    keys.save_attest_key(sim.board, ours)
    leave_setup(sim)
    assert cli("-d", sim.board, "status").code == errors.TAMPERED
    told = cli("-d", sim.board, "unpair")
    assert told.code == errors.OK
    assert "paired with another host, and stays so" in told.out
    assert cli("-d", sim.board, "status").code == errors.OK
    keys.save_attest_key(sim.board, theirs)
    assert cli("-d", sim.board, "verify", "--require", "attested").code == errors.OK
