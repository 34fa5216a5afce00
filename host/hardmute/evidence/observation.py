"""One contact with a board, as the log keeps it, and what it takes to read it back."""

from __future__ import annotations

from datetime import datetime

from hardmute.evidence.anchors import Anchor
from hardmute.evidence.entries import Entry
from hardmute.model.answers import (
    PROOF_LEVELS,
    VERDICTS,
    Cause,
    Conclusion,
    ProofLevel,
    State,
    Status,
    Verdict,
    weakest,
)
from hardmute.model.clock import iso_time, moment
from hardmute.model.errors import FAULT, LIVE, OK, UNKNOWN
from hardmute.model.typed import Any, NamedTuple

# Beyond every row of a log, and every number in it.
NO_ROW = 1 << 62
# What stays as it is gets a row so often.
STILL_MS = 60_000


class Observation(NamedTuple):
    """One contact with a board, or one attempt. ``at_ms``: host time, ms since the epoch, UTC.

    From ``state`` on, the board's own words; all None when it could not be reached. ``took_ms``:
    they were true within so long before ``at_ms``; of an answer, since it was asked for; None in
    rows of older versions for what was not asked for. ``run_us`` and ``run``: ``at_ms`` by the
    host's clock that nobody sets, in us, and the name of its run (`HostClock`); None in rows of
    older versions. ``unsigned``: why
    these words are not signed (`text.UNSIGNED`), if this host is paired with the board.
    ``summary_of``: how many changes a `watch` heard since its row before, if it was more than one:
    this is the gravest of what it heard. ``usb``: what this host's USB showed of the device behind
    the board, or why it does not tell (`evidence.absence`), if one was learned.
    """

    at_ms: int
    board: str | None
    device: str
    simulated: bool
    source: str
    verdict: Verdict
    proof: ProofLevel | None
    reason: str | None
    state: State | None = None
    command: str | None = None
    sense: tuple[int, ...] | None = None
    cause: Cause | None = None
    since_ms: int | None = None
    uptime_ms: int | None = None
    boot: int | None = None
    changes: int | None = None
    live_ms: int | None = None
    remute_in_ms: int | None = None
    faults: tuple[str, ...] | None = None
    warnings: tuple[str, ...] | None = None
    service: str | None = None
    took_ms: int | None = None
    unsigned: str | None = None
    summary_of: int | None = None
    usb: str | None = None
    run_us: int | None = None
    run: str | None = None

    @property
    def anchor(self) -> Anchor:
        """The moment, and what it ties it to: the board's uptime, or 0 if there was no answer."""
        run = None if self.run_us is None else self.run
        asked_ms = self.at_ms - (self.took_ms or 0)
        return Anchor(self.uptime_ms or 0, asked_ms, self.at_ms, self.run_us or 0, run)

    @property
    def at(self) -> datetime:
        """``at_ms``, in UTC."""
        return moment(self.at_ms)

    def proves(self, level: ProofLevel) -> bool:
        """Whether the verdict has this proof level, or a better one."""
        return self.proof is not None and weakest(self.proof, level) == level

    def exit_code(self, require: ProofLevel = "sensed") -> int:
        """That of a command which asks for at least the proof level ``require``."""
        if self.verdict == "muted" and self.proves(require):
            return OK
        return {"live": LIVE, "fault": FAULT}.get(self.verdict, UNKNOWN)

    def as_json(self) -> dict[str, Any]:
        """The record as `--json` prints it."""
        fields = self._asdict()
        fields["at"] = iso_time(self.at_ms)
        return fields


_DEFAULTS = Observation._field_defaults
# The fields that are numbers, or words, where they are there.
_NUMBERS = (
    *("since_ms", "uptime_ms", "boot", "changes", "live_ms", "remute_in_ms", "took_ms"),
    "summary_of",
)
_WORDS = ("device", "source", "reason", "state", "command", "cause", "service", "unsigned", "usb")


def seen(
    status: Status,
    conclusion: Conclusion,
    *,
    board: str,
    device: str,
    source: str,
    at_ms: int,
    took_ms: int | None = None,
    unsigned: str | None = None,
    usb: str | None = None,
    run_us: int | None = None,
    run: str | None = None,
) -> Observation:
    """The observation that a board answered with ``status`` at ``at_ms``, after ``took_ms``."""
    words = status._asdict()
    del words["simulated"], words["journal"]
    return Observation(
        at_ms=at_ms,
        board=board,
        device=device,
        simulated=status.simulated,
        source=source,
        verdict=conclusion.verdict,
        proof=conclusion.proof,
        reason=conclusion.reason,
        took_ms=took_ms,
        unsigned=unsigned,
        usb=usb,
        run_us=run_us,
        run=run,
        **words,
    )


def unseen(
    reason: str,
    *,
    board: str | None,
    device: str,
    simulated: bool,
    source: str,
    at_ms: int,
    run_us: int | None = None,
    run: str | None = None,
) -> Observation:
    """The observation that no state could be had at ``at_ms``."""
    return Observation(
        at_ms=at_ms,
        run_us=run_us,
        run=run,
        board=board,
        device=device,
        simulated=simulated,
        source=source,
        verdict="unknown",
        proof=None,
        reason=reason,
    )


def observation_of(entry: Entry) -> Observation:
    """The observation in an entry of that kind. Raises `ValueError` for what none of ours has."""
    # A later version may write more.
    said = {key: value for key, value in entry.body.items() if key in Observation._fields}
    fields: dict[str, Any] = {**_DEFAULTS, "proof": None, "reason": None, **said}
    try:
        for key in ("sense", "faults", "warnings"):
            if fields[key] is not None:
                fields[key] = tuple(fields[key])
        iso_time(entry.at_ms)
        found = Observation(at_ms=entry.at_ms, board=entry.board, **fields)
    except (TypeError, OverflowError, OSError) as error:
        raise ValueError from error
    _require_types(found)
    return found


def told(observation: Observation) -> Observation:
    """``observation`` without what differs each time, though nothing has changed."""
    return observation._replace(
        at_ms=0,
        source="",
        since_ms=None,
        uptime_ms=None,
        # While the line is cut, the live time that a board has counted stands still.
        live_ms=None if observation.state == "live" else observation.live_ms,
        remute_in_ms=None,
        # One that was asked for tells the time of the board's records as well.
        took_ms=None if observation.took_ms is None else 0,
        summary_of=None,
        run_us=None,
        run=None,
    )


def essence(observation: Observation) -> tuple[object, ...]:
    """What makes a change, if it is another than before."""
    return (
        observation.verdict,
        observation.cause,
        observation.boot,
        observation.changes,
        observation.faults,
        observation.warnings,
        observation.service,
    )


def _require_types(found: Observation) -> None:
    """Raise `ValueError` for an observation with a value that none of ours has."""
    numbers = (getattr(found, field) for field in _NUMBERS)
    words = (getattr(found, field) for field in _WORDS)
    lists = ((found.sense, int), (found.faults, str), (found.warnings, str))
    if (
        found.verdict not in VERDICTS
        or found.proof not in (None, *PROOF_LEVELS)
        or (found.state is not None and None in (found.since_ms, found.uptime_ms))
        or type(found.simulated) is not bool
        or not all(value is None or (type(value) is int and value < NO_ROW) for value in numbers)
        or not all(value is None or type(value) is str for value in words)
        or not all(type(one) is kind for values, kind in lists for one in values or ())
    ):
        raise ValueError
