"""Keys as files: private, whole, and never over another."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from hardmute.model.errors import LocalError, UsageError
from hardmute.store import keys
from hardmute.store.log import Pairing
from muteboard import attest

BOARD = "e6614c311b8a4f2d"
SECRET = bytes(range(attest.KEY))
KEY = bytes(range(100, 100 + attest.KEY))


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def any_umask(home: Path) -> Any:  # noqa: ARG001 (for its effect)
    before = os.umask(0)
    yield
    os.umask(before)


def test_a_verify_key_comes_back(home: Path) -> None:
    file = home / "verify.key"
    keys.save_verify_key(file, BOARD, 3, SECRET)
    assert mode(file) == 0o600
    assert keys.load_verify_keys([file]) == {(BOARD, 3): SECRET}
    assert json.loads(file.read_text()) == {
        "hardmute": "verify key",
        "board": BOARD,
        "pairing": 3,
        "key_id": attest.key_id(SECRET).hex(),
        "secret": SECRET.hex(),
    }


def test_several_verify_keys_are_told_apart(home: Path) -> None:
    files = [home / f"{number}.key" for number in range(3)]
    keys.save_verify_key(files[0], BOARD, 1, SECRET)
    keys.save_verify_key(files[1], BOARD, 2, KEY)
    keys.save_verify_key(files[2], "abcd", 1, KEY)
    found = {(BOARD, 1): SECRET, (BOARD, 2): KEY, ("abcd", 1): KEY}
    assert keys.load_verify_keys([*files, files[0]]) == found
    assert keys.load_verify_keys([]) == {}


def test_two_keys_of_one_number_are_not_mixed(home: Path) -> None:
    keys.save_verify_key(home / "old.key", BOARD, 1, SECRET)
    keys.save_verify_key(home / "new.key", BOARD, 1, KEY)
    with pytest.raises(UsageError, match="one of them at a time"):
        keys.load_verify_keys([home / "old.key", home / "new.key"])


def test_a_key_is_never_written_over_another(home: Path) -> None:
    file = home / "verify.key"
    keys.save_verify_key(file, BOARD, 1, SECRET)
    with pytest.raises(UsageError, match="is there already"):
        keys.save_verify_key(file, BOARD, 2, KEY)
    assert keys.load_verify_keys([file]) == {(BOARD, 1): SECRET}


def test_a_key_that_cannot_be_written_whole_is_not_there(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LocalError, match="No space left"):
        keys.save_verify_key(home / "verify.key", BOARD, 1, SECRET)
    with pytest.raises(LocalError, match="No space left"):
        keys.save_attest_key(BOARD, keys.attest_key_of(1, KEY))
    monkeypatch.undo()
    assert [path for path in home.rglob("*") if path.is_file()] == []
    with pytest.raises(LocalError, match="cannot be written"):
        keys.save_verify_key(home / "none" / "verify.key", BOARD, 1, SECRET)


@pytest.mark.parametrize(
    "change",
    [
        {"hardmute": "receipt"},
        {"hardmute": None},
        {"board": "../x"},
        {"board": 7},
        {"pairing": 0},
        {"pairing": 1 << 16},
        {"pairing": True},
        {"pairing": "1"},
        {"key_id": "00000000"},
        {"key_id": None},
        {"secret": "00"},
        {"secret": "x" * 64},
        {"secret": 7},
        {"secret": "00" * 32},
    ],
)
def test_a_file_that_is_no_key_is_told(change: dict[str, Any], home: Path) -> None:
    file = home / "verify.key"
    keys.save_verify_key(file, BOARD, 1, SECRET)
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(UsageError, match="is no verify key"):
        keys.load_verify_keys([file])


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"7", b'"x"', b"null", b"[" * 4096, b"\xff", b"{" * 9000]
)
def test_rubbish_is_no_key(content: bytes, home: Path) -> None:
    (home / "verify.key").write_bytes(content)
    with pytest.raises(UsageError, match="is no verify key"):
        keys.load_verify_keys([home / "verify.key"])
    with pytest.raises(UsageError, match="cannot be read"):
        keys.load_verify_keys([home / "none.key"])
    keys.save_attest_key(BOARD, keys.attest_key_of(1, KEY))
    (home / "keys" / f"{BOARD}.json").write_bytes(content)
    with pytest.raises(LocalError, match="is damaged"):
        keys.load_attest_key(BOARD)


def test_P5_a_key_that_cannot_be_read_may_be_there(home: Path) -> None:
    nowhere = keys.held(BOARD, lambda: False, list)
    assert nowhere == keys.Held(False, None)
    assert list(home.iterdir()) == [], "to look for it makes no folder"
    assert keys.held(BOARD, lambda: True, list) == keys.Held(True, None)
    (home / "keys" / f"{BOARD}.json").mkdir(parents=True)
    held = keys.held(BOARD, lambda: False, list)
    assert (held.paired, held.key) == (True, None)
    assert "cannot be read" in str(held.trouble)
    with pytest.raises(LocalError, match="cannot be removed"):
        keys.remove_attest_key(BOARD)
    (home / "keys" / f"{BOARD}.json").rmdir()
    (home / "keys").rmdir()
    (home / "keys").write_text("")
    assert keys.held(BOARD, lambda: False, list) == nowhere


def test_attest_keys_are_kept_until_they_are_forgotten(home: Path) -> None:
    """What was signed under an earlier one is checked with it."""
    assert keys.load_attest_key(BOARD) is None
    assert keys.attest_keys(BOARD, ()) == {}
    first, second = keys.attest_key_of(1, SECRET), keys.attest_key_of(2, KEY)
    # The board was reflashed, and counts its pairings from 1 again.
    third = keys.attest_key_of(1, KEY[::-1])
    for key in (first, second, second, third):
        keys.save_attest_key(BOARD, key)
        assert keys.load_attest_key(BOARD) == key.key
    assert keys.load_attest_keys(BOARD) == [first, second, third]
    made = [Pairing(row, *key[:2]) for row, key in enumerate((first, second, third))]
    assert keys.attest_keys(BOARD, made) == {
        (BOARD, 1): [first.key, third.key],
        (BOARD, 2): [second.key],
    }
    assert keys.attest_keys(BOARD, made[1:]) == {(BOARD, 1): [third.key], (BOARD, 2): [second.key]}
    assert keys.load_attest_key("abcd") is None
    folder = home / "keys"
    assert mode(folder) == 0o700
    assert [mode(path) for path in folder.iterdir()] == [0o600]
    keys.remove_attest_key(BOARD)
    keys.remove_attest_key(BOARD)
    assert keys.load_attest_key(BOARD) is None


def test_an_older_versions_attest_key_is_of_no_known_pairing(home: Path) -> None:
    (home / "keys").mkdir()
    file = home / "keys" / f"{BOARD}.json"
    file.write_text(json.dumps({"board": BOARD, "attest_key": KEY.hex()}))
    assert keys.load_attest_keys(BOARD) == [keys.AttestKey(0, "", KEY)]


def test_a_damaged_attest_key_makes_room_for_the_next_pairing(home: Path) -> None:
    keys.save_attest_key(BOARD, keys.attest_key_of(1, KEY))
    (home / "keys" / f"{BOARD}.json").write_text("{}")
    keys.save_attest_key(BOARD, keys.attest_key_of(2, KEY))
    assert keys.load_attest_keys(BOARD) == [keys.attest_key_of(2, KEY)]


def test_P5_a_key_of_a_pairing_not_made_here_is_not_used() -> None:
    """A program that runs as the user could have put it there."""
    key = keys.attest_key_of(1, KEY)
    keys.save_attest_key(BOARD, key)
    for made in ([], [Pairing(1, 1, "00000000")], [Pairing(1, 2, key.key_id)]):
        held = keys.held(BOARD, lambda: False, lambda made=made: made)
        assert (held.paired, held.key) == (True, None)
        assert "is not used" in str(held.trouble)
    for made in ([Pairing(1, *key[:2])], None):
        assert keys.held(BOARD, lambda: False, lambda made=made: made) == keys.Held(
            True, KEY and key.key
        )
