"""Asks the monitor of this user what it knows. It loads neither serial nor SQLite.

What the monitor says is trusted for 3 s, by a clock that goes on while the host sleeps. What it
says of a board whose age cannot be told is unknown. docs/monitor-protocol.md has the messages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from hardmute.evidence.observation import Observation, essence
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.model.errors import UnreachableError
from hardmute.model.typed import Any, NamedTuple
from hardmute.system.monitor_socket import FRESH_S, Connection, HangsError, connect


class Known(NamedTuple):
    """What the monitor knows of a board.

    ``firmware``: the version, by the board's own word. ``exit_code``: what the health of the log
    and of the evidence asks for (`model.errors`).
    """

    observation: Observation
    label: str | None
    firmware: str | None
    incident: str | None
    exit_code: int


def known(named: str | None, source: str, clock: HostClock = SYSTEM) -> Known | None:
    """What the monitor knows of the board that ``named`` means: id, label or port.

    None if no monitor runs, or if it does not follow that board. ``named`` None: the only real
    board. Raises `HangsError`.
    """
    connection = connect(clock)
    if connection is None:
        return None
    with contextlib.closing(connection):
        said = connection.ask("board", named=named)
        return _entry(said["board"], source, clock) if said.get("ok") is True else None


def all_known(source: str, clock: HostClock = SYSTEM) -> list[Known] | None:
    """What the monitor knows of each board that it follows; None if no monitor runs.

    Raises `HangsError`.
    """
    connection = connect(clock)
    if connection is None:
        return None
    with contextlib.closing(connection):
        said = connection.ask("boards")
        return [_entry(board, source, clock) for board in said.get("boards", ())]


def following(named: str | None, source: str, clock: HostClock = SYSTEM) -> Iterator[Known] | None:
    """What the monitor knows of a board, at each change, and at least each second.

    None as for `known`. The iterator gives "unknown" where the monitor says nothing for 3 s, and
    goes on where it does again. It raises `UnreachableError` where the monitor has ended.
    """
    connection = connect(clock)
    if connection is None:
        return None
    said = connection.ask("watch", named=named)
    if said.get("ok") is not True:
        connection.close()
        return None
    return _following(connection, said, source, clock)


def _following(
    connection: Connection, said: dict[str, Any], source: str, clock: HostClock
) -> Iterator[Known]:
    with contextlib.closing(connection):
        entry = _entry(said["board"], source, clock)
        while True:
            yield entry
            try:
                said = connection.next(_fresh_s(entry.observation, clock))
                if said.get("ok") is not True:
                    raise UnreachableError("The monitor has lost the board.", "not_connected")
                entry = _entry(said["board"], source, clock)
            except HangsError:
                entry = entry._replace(observation=late(entry.observation, source, clock))


def is_news(before: Known | None, entry: Known) -> bool:
    """Whether ``entry`` is a change, and not only newer."""
    return before is None or _essence(before) != _essence(entry)


def _essence(entry: Known) -> tuple[object, ...]:
    return (*essence(entry.observation), entry.observation.reason, entry.label, entry.incident)


def _entry(said: dict[str, Any], source: str, clock: HostClock) -> Known:
    """What an answer says of a board, as of now: too old, it is unknown."""
    fields = dict(said["observation"])
    del fields["at"]
    for key in ("sense", "faults", "warnings"):
        if fields[key] is not None:
            fields[key] = tuple(fields[key])
    seen = Observation(**fields)._replace(source=source)
    if seen.verdict != "unknown" and not _is_fresh(seen, clock):
        seen = late(seen, source, clock)
    return Known(seen, said["label"], said["firmware"], said["incident"], said["exit_code"])


def _is_fresh(seen: Observation, clock: HostClock) -> bool:
    now = clock.now()
    return seen.run == now.run and 0 <= now.run_us - (seen.run_us or 0) <= FRESH_S * 1e6


def _fresh_s(seen: Observation, clock: HostClock) -> float:
    """For how long ``seen`` stays true, in seconds; 3 s if it is unknown already."""
    if seen.verdict == "unknown":
        return FRESH_S
    return FRESH_S - clock.now_s() + (seen.run_us or 0) / 1e6


def late(seen: Observation, source: str, clock: HostClock = SYSTEM) -> Observation:
    """That nothing is known of a board any more of which ``seen`` was said."""
    now = clock.now()
    return Observation(
        at_ms=now.wall_ms,
        board=seen.board,
        device=seen.device,
        simulated=seen.simulated,
        source=source,
        verdict="unknown",
        proof=None,
        reason="late",
        run_us=now.run_us,
        run=now.run,
    )
