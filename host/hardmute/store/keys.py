"""Keys on the host: the attest key that it uses, and verify key files, which belong elsewhere.

Which key can do what is in docs/evidence.md, "Keys".
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterable

from hardmute.model import strict_json
from hardmute.model.answers import is_board_id
from hardmute.model.errors import LocalError, UsageError
from hardmute.model.typed import TYPE_CHECKING, Any, NamedTuple, cast
from hardmute.system import paths
from hardmute.system.new_file import new_file
from muteboard import attest

if TYPE_CHECKING:
    from pathlib import Path

    from hardmute.evidence.verifier import AttestKeys
    from hardmute.store.log import Pairing

_KIND = "verify key"
_LARGEST = 4096


def save_verify_key(file: Path, board: str, pairing: int, secret: bytes) -> None:
    """Write the verify key of a pairing to the new ``file``. Raises as `new_file`."""
    content = {
        "hardmute": _KIND,
        "board": board,
        "pairing": pairing,
        "key_id": attest.key_id(secret).hex(),
        "secret": secret.hex(),
    }
    _write_new(file, content)


def load_verify_keys(files: Iterable[Path]) -> dict[tuple[str, int], bytes]:
    """The secrets in ``files``, by board and pairing. Raises `UsageError` for what is no key."""
    found: dict[tuple[str, int], bytes] = {}
    for file in files:
        try:
            with file.open("rb") as stream:
                content = strict_json.parse(stream.read(_LARGEST).decode("ascii"))
            key = _parse_verify_key(content)
        except OSError as error:
            raise UsageError(f"{file} cannot be read ({error.strerror or error}).") from error
        except (ValueError, TypeError, KeyError, RecursionError):
            key = None
        if key is None:
            raise UsageError(f"{file} is no verify key that `hardmute pair` has written.")
        board, pairing, secret = key
        if found.setdefault((board, pairing), secret) != secret:
            raise UsageError(
                f"{file} is a second key of pairing {pairing} of board {board}, which was "
                "reflashed in between: give one of them at a time."
            )
    return found


def _parse_verify_key(content: Any) -> tuple[str, int, bytes] | None:
    board, pairing, secret = content["board"], content["pairing"], content["secret"]
    valid = (
        content["hardmute"] == _KIND
        and is_board_id(board)
        and type(pairing) is int
        and 0 < pairing < 1 << 16
        and len(bytes.fromhex(secret)) == attest.KEY
        and content["key_id"] == attest.key_id(bytes.fromhex(secret)).hex()
    )
    return (board, pairing, bytes.fromhex(secret)) if valid else None


class AttestKey(NamedTuple):
    """An attest key of this host. ``pairing``: its number, 0 if an older version has saved it."""

    pairing: int
    key_id: str
    key: bytes


def attest_key_of(pairing: int, secret: bytes) -> AttestKey:
    """The attest key of a pairing."""
    return AttestKey(pairing, attest.key_id(secret).hex(), attest.attest_key(secret))


def save_attest_key(board: str, key: AttestKey) -> None:
    """Use ``key`` for ``board`` from now on. Those before it are kept, to check what they signed.

    Readable by its owner only. Raises `LocalError`.
    """
    from pathlib import Path

    file = Path(_attest_key_file(board))
    partial = file.with_suffix(".new")
    try:
        kept = [old for old in _attest_keys(str(file)) if old.key != key.key]
    except ValueError:
        # What is damaged is of no more use.
        kept = []
    content = {
        "board": board,
        "keys": [
            {"pairing": one.pairing, "key_id": one.key_id, "attest_key": one.key.hex()}
            for one in [*kept, key]
        ],
    }
    try:
        paths.private(os.path.join(paths.private(paths.data_dir()), "keys"))
        partial.unlink(missing_ok=True)
        _write_new(partial, content)
        partial.replace(file)
    except OSError as error:
        raise LocalError(f"{file} cannot be written ({error.strerror or error}).") from error


def load_attest_keys(board: str) -> list[AttestKey]:
    """The attest keys of ``board`` that this host has, the one in use last.

    Raises `LocalError` where that cannot be known, or one cannot be used.
    """
    file = _attest_key_file(board)
    try:
        return _attest_keys(file)
    except ValueError as error:
        raise LocalError(f"{file} is damaged: pair again, or restore it.") from error


def _attest_keys(file: str) -> list[AttestKey]:
    """Those in ``file``. Raises `LocalError` if it cannot be read, `ValueError` if damaged."""
    try:
        with open(file, "rb") as stream:
            content = cast("dict[str, Any]", json.loads(stream.read()))
        # One key alone is how the first versions saved it.
        found = [_parse_attest_key(one) for one in content.get("keys", [content])]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise LocalError(f"{file} cannot be read ({error.strerror or error}).") from error
    except (TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError from error
    if not found:
        raise ValueError
    return found


def _parse_attest_key(content: Any) -> AttestKey:
    key = AttestKey(
        content.get("pairing", 0), content.get("key_id", ""), bytes.fromhex(content["attest_key"])
    )
    if type(key.pairing) is not int or type(key.key_id) is not str or len(key.key) != attest.KEY:
        raise ValueError
    return key


def load_attest_key(board: str) -> bytes | None:
    """The attest key of ``board`` that is in use; None if there is none. Raises as above."""
    found = load_attest_keys(board)
    return found[-1].key if found else None


def attest_keys(board: str, made: Iterable[Pairing]) -> AttestKeys:
    """As `load_attest_keys`, by board and pairing: those of pairings that were ``made`` here."""
    found: dict[tuple[str, int], list[bytes]] = {}
    for one in _made(load_attest_keys(board), made):
        found.setdefault((board, one.pairing), []).append(one.key)
    return found


def remove_attest_key(board: str) -> None:
    """Forget the attest keys of ``board``. Raises `LocalError` where it cannot be removed."""
    file = _attest_key_file(board)
    try:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(file)
    except OSError as error:
        raise LocalError(f"{file} cannot be removed ({error.strerror or error}).") from error


class Held(NamedTuple):
    """What this host has of a pairing with a board.

    ``paired``: it expects the board to sign. ``key``: the attest key; None if it has none that it
    can use, and then ``trouble`` says why, unless the key is simply not there. ``known``: whether
    this host knows that; if not, it counts as paired.
    """

    paired: bool
    key: bytes | None
    trouble: LocalError | None = None
    known: bool = True

    def unsigned(self, why: str) -> str | None:
        """The code of `words.UNSIGNED` where ``why`` is the reason that the board did not sign."""
        if not self.paired:
            return None
        return why if self.known else "pairing_unknown"


def held(
    board: str,
    by_log: Callable[[], bool | None],
    made: Callable[[], Iterable[Pairing] | None],
) -> Held:
    """What this host has of a pairing with ``board``. ``by_log``: whether its log says that it is
    paired, None if that cannot be known; asked only where there is no key file, for a key that is
    lost ends no pairing. ``made``: what the log says that `hardmute pair` has made here, None if
    that cannot be known.
    """
    try:
        keys = load_attest_keys(board)
    except LocalError as error:
        return Held(True, None, error)
    if not keys:
        said = by_log()
        return Held(said is not False, None, known=said is not None)
    pairings = made()
    if pairings is not None and keys[-1] not in _made(keys, pairings):
        return Held(
            True,
            None,
            LocalError(
                f"The attest key of board {board} is not used: by its log, this host has not made"
                " that pairing. Run `hardmute pair`; or `hardmute unpair`, to do without."
            ),
        )
    return Held(True, keys[-1].key)


def _made(keys: Iterable[AttestKey], pairings: Iterable[Pairing]) -> list[AttestKey]:
    """Those of ``keys`` of pairings that `hardmute pair` has made here."""
    ours = {(one.pairing, one.key_id) for one in pairings}
    return [key for key in keys if (key.pairing, key.key_id) in ours]


def _attest_key_file(board: str) -> str:
    return os.path.join(paths.data_dir(), "keys", f"{board}.json")


def _write_new(file: Path, content: dict[str, Any]) -> None:
    with new_file(file) as stream:
        stream.write(f"{json.dumps(content, indent=1)}\n".encode("ascii"))
