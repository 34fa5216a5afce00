"""Who may read the page's data and mute: one-time codes, and the sessions that they begin.

And the token with which Prometheus reads the metrics.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path
from typing import NamedTuple

from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.errors import LocalError
from hardmute.system import paths
from hardmute.system.new_file import new_file

# 32 letters, none of which is taken for another: 60 bits.
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"
_LENGTH = 12
_GROUP = 4
CODE_S = 60.0
# Wrong codes after which the right one is void.
_MOST_WRONG = 5
_LONGEST_CODE = 64
# A page on a wall is not to ask for a code each day.
SESSION_S = 30 * 24 * 3600
_SECRET = 32
_TOKEN = 32
# Words that anybody could guess are none.
_SHORTEST_TOKEN, _LONGEST_TOKEN = 20, 512


class Codes:
    """One-time codes. Only the newest is good: for 60 s, once, and for five wrong tries."""

    def __init__(self, clock: HostClock = SYSTEM) -> None:
        self._clock = clock
        self._code: str | None = None
        self._until_s = 0.0
        self._tries = 0

    def make(self) -> str:
        """A new code, in groups of four letters."""
        letters = "".join(secrets.choice(_ALPHABET) for _ in range(_LENGTH))
        self._code, self._tries = letters, _MOST_WRONG
        self._until_s = self._clock.now_s() + CODE_S
        return "-".join(letters[at : at + _GROUP] for at in range(0, _LENGTH, _GROUP))

    def take(self, given: str) -> bool:
        """Whether ``given`` is the code. Then it is good no more."""
        if self._code is None or self._clock.now_s() > self._until_s:
            self._code = None
            return False
        letters = "".join(char for char in given[:_LONGEST_CODE].upper() if char.isalnum())
        is_right = hmac.compare_digest(letters.encode(), self._code.encode())
        self._tries -= 1
        if is_right or self._tries <= 0:
            self._code = None
        return is_right


class Admission(NamedTuple):
    """The two halves of a session, both of which a request has to show.

    ``cookie``: a script of the page cannot read it. A browser sends it to any port of the host, so
    another program of this computer may get it. ``key``: the page keeps it, and a browser gives it
    to nobody.
    """

    cookie: str
    key: str


class Sessions:
    """Sessions, which nobody keeps: each proves itself by a secret in ``file``.

    So they go on when the monitor is started again. They end after 30 days, or when the file is
    deleted: with the login session, on Linux.
    """

    def __init__(self, file: Path, clock: HostClock = SYSTEM) -> None:
        self._clock = clock
        self._secret = _kept(file)

    def begin(self) -> Admission:
        """A new session."""
        said = f"{self._clock.wall_ms() // 1000:x}.{secrets.token_hex(16)}"
        cookie = f"{said}.{self._mac('cookie', said)}"
        return Admission(cookie, self._mac("key", cookie))

    def holds(self, cookie: str, key: str) -> bool:
        """Whether both are of one session that has not ended."""
        said, _, mac = cookie.rpartition(".")
        is_ours = hmac.compare_digest(mac.encode(), self._mac("cookie", said).encode())
        has_key = hmac.compare_digest(key.encode(), self._mac("key", cookie).encode())
        if not (is_ours and has_key):
            return False
        age_s = self._clock.wall_ms() / 1000 - int(said.partition(".")[0], 16)
        return age_s <= SESSION_S

    def _mac(self, what: str, said: str) -> str:
        return hmac.new(self._secret, f"{what} {said}".encode(), hashlib.sha256).hexdigest()


def token_file() -> Path:
    """Where the token is: beside the settings. It may not exist."""
    return paths.config_dir() / "metrics.token"


def kept_token() -> str:
    """What Prometheus has to show for the metrics (a bearer token); made where there is none.

    Its file is made for its owner only, who may let others read it. Raises `HardmuteError` for a
    file that cannot be read or made, or holds no token.
    """
    file = token_file()
    try:
        with contextlib.suppress(FileNotFoundError), file.open("rb") as stream:
            said = stream.read(_LONGEST_TOKEN + 1).strip()
            if not said.isascii() or not _SHORTEST_TOKEN <= len(said) <= _LONGEST_TOKEN:
                raise LocalError(
                    f"{file} holds no token of {_SHORTEST_TOKEN} to {_LONGEST_TOKEN} letters:"
                    " delete it, and the monitor makes a new one."
                )
            return said.decode()
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LocalError(f"{file} cannot be read ({error.strerror or error}).") from error
    made = secrets.token_urlsafe(_TOKEN)
    with new_file(file) as stream:
        stream.write(f"{made}\n".encode())
    return made


def _kept(file: Path) -> bytes:
    """The secret in ``file``; a new one where there is none, or it cannot be used."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
    with (
        contextlib.suppress(OSError),
        open(os.open(file, flags, 0o600), "r+b") as stream,  # noqa: PTH123 - a descriptor
    ):
        found = os.fstat(stream.fileno())
        is_private = not hasattr(os, "getuid") or (
            found.st_uid == os.getuid() and not found.st_mode & 0o077
        )
        kept = stream.read(_SECRET + 1)
        if is_private and len(kept) == _SECRET:
            return kept
        if is_private:
            made = os.urandom(_SECRET)
            stream.seek(0)
            stream.truncate()
            stream.write(made)
            return made
    return os.urandom(_SECRET)
