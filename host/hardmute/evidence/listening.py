"""What the log says was heard of a board's microphone (docs/evidence.md): entries "listening"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from hardmute.evidence.entries import Entry
from hardmute.model import words
from hardmute.model.answers import ProofLevel

KIND = "listening"


class Heard(NamedTuple):
    """The microphone was listened to in [from, to), host's wall time in ms, while its board said
    ``state``, None if it was not asked. ``verdict`` is ``muted``, ``live`` (a leak) or another.

    What it hears was weaker by at least ``least_cdb`` hundredths of a decibel; by ``leak_cdb``
    where a leak stands out.
    """

    row: int
    from_ms: int
    to_ms: int
    verdict: str
    state: str | None
    least_cdb: int | None
    leak_cdb: int | None

    @property
    def proof(self) -> ProofLevel:
        """How well it shows that the line was cut, if it does."""
        return "heard"

    @property
    def is_leak(self) -> bool:
        """The microphone was heard while its board did not say that it was live."""
        return self.verdict == "live" and self.state is not None

    @property
    def bears_out(self) -> bool:
        """The microphone was heard to be cut."""
        return self.verdict == "muted"

    @property
    def told(self) -> str:
        """In a clause, for a person."""
        at = words.local_time(self.from_ms)
        if self.verdict == "muted" and self.least_cdb is not None:
            return f"by ear at {at}: weaker by at least {self.least_cdb / 100:.1f} dB"
        if self.verdict == "live" and self.leak_cdb is not None:
            return f"by ear at {at}: a leak of {-self.leak_cdb / 100:.1f} dB"
        return f"by ear at {at}: inconclusive"


def read(entry: Entry) -> Heard:
    """What an entry of this kind says. Raises `ValueError` or `KeyError` for others."""
    body = entry.body
    said = Heard(
        entry.row,
        body["from_ms"],
        body["to_ms"],
        body["verdict"],
        body["state"],
        body["least_cdb"],
        body["leak_cdb"],
    )
    times, measured = said[1:3], said[5:]
    if (
        not all(type(at_ms) is int for at_ms in times)
        or not all(value is None or type(value) is int for value in measured)
        or type(said.verdict) is not str
        or not (said.state is None or type(said.state) is str)
    ):
        raise ValueError
    return said


def within(listened: Iterable[Entry], from_ms: int, to_ms: int) -> list[Heard]:
    """What was heard in [from, to)."""
    return [
        said
        for entry in listened
        if entry.kind == KIND and from_ms <= (said := read(entry)).from_ms <= said.to_ms <= to_ms
    ]
