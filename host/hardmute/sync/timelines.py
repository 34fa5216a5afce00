"""What the log says of boards over time: contacts, and the board's own journal."""

from __future__ import annotations

from hardmute.evidence.timeline import BoardTimeline, intervals, overlay_journal
from hardmute.store.log import Log
from hardmute.sync.journaled import journaled


def read_timelines(
    log: Log, board: str | None, since_ms: int, until_ms: int
) -> list[BoardTimeline]:
    """The timelines of ``board``, or of every board with anything to show.

    Nothing of what has been pruned is told, though what is left may speak of it.
    """
    since_ms = max(since_ms, log.pruned_before())
    known = [entry for entry in log.boards() if board in (None, entry[0])]
    wanted: list[tuple[str | None, str | None, bool]] = [*known]
    if board is None:
        wanted.append((None, None, False))
    timelines: list[BoardTimeline] = []
    for board_id, label, simulated in wanted:
        found = intervals(log.observations(board_id, since_ms, until_ms), since_ms, until_ms)
        if board_id is not None:
            found = overlay_journal(found, journaled(log, board_id, since_ms, until_ms))
        if found:
            timelines.append(BoardTimeline(board_id, label, simulated, found))
    return timelines
