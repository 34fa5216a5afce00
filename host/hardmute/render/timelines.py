"""What was live, when, for how long, and why: as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from hardmute.evidence.interval import Interval
from hardmute.evidence.timeline import BoardTimeline, total_live_ms, total_ms
from hardmute.model import words
from hardmute.model.clock import iso_time
from hardmute.model.reasons import in_words

# Times are shown to the second.
_WORTH_SAYING_MS = 1000


class Row(NamedTuple):
    """An interval in a table for a person."""

    start: str
    state: str
    length: str
    why: str
    proof: str


def timeline_rows(timeline: BoardTimeline) -> Iterator[Row]:
    """The table of a timeline."""
    for interval in timeline.intervals:
        length = words.duration(interval.length_ms)
        if interval.plus_minus_ms >= _WORTH_SAYING_MS:
            length += words.edges(interval.plus_minus_ms)
        start = words.local_time(interval.start_ms)
        yield Row(start, interval.state, length, why_of(interval), interval.proof or "")


def why_of(interval: Interval) -> str:
    """The cause and the note of an interval, for a person."""
    # "fault" as a cause says no more than the state does.
    cause = "" if interval.cause == interval.state else words.CAUSES.get(interval.cause or "", "")
    return ": ".join(part for part in (cause, interval.note) if part)


def timeline_totals(timeline: BoardTimeline) -> Iterator[str]:
    """How long it was live, unknown, and in fault, one sentence a line."""
    yield (
        f"live for {words.duration(total_live_ms(timeline.intervals))} in all, "
        f"unknown for {words.duration(total_ms(timeline.intervals, 'unknown'))}"
    )
    fault_ms = total_ms(timeline.intervals, "fault")
    if fault_ms:
        yield f"in fault for {words.duration(fault_ms)}: the line may have been live"


def timeline_cells(timeline: BoardTimeline, width: int) -> list[str]:
    """The timeline as ``width`` states: each the gravest of its part of the time."""
    start_ms, end_ms = _span(timeline)
    drawn = ["unknown"] * width
    # Painted from the mildest to the gravest, so that a short "live" is never painted over.
    for state in ("muted", "unknown", "fault", "live"):
        for interval in timeline.intervals:
            if interval.state == state:
                first = (interval.start_ms - start_ms) * width // (end_ms - start_ms)
                last = max(
                    first, -(-(interval.end_ms - start_ms) * width // (end_ms - start_ms)) - 1
                )
                drawn[first : last + 1] = [state] * len(drawn[first : last + 1])
    return drawn


def timeline_ends(timeline: BoardTimeline) -> tuple[str, str]:
    """When the timeline begins and ends, without the day if that is the same."""
    start_ms, end_ms = _span(timeline)
    left, right = words.local_time(start_ms), words.local_time(end_ms)
    return (left[11:], right[11:]) if left[:10] == right[:10] else (left, right)


def _span(timeline: BoardTimeline) -> tuple[int, int]:
    start_ms = timeline.intervals[0].start_ms
    return start_ms, max(timeline.intervals[-1].end_ms, start_ms + 1)


def timeline_json(timeline: BoardTimeline) -> dict[str, Any]:
    """A timeline as `--json` prints it."""
    return {
        "board": timeline.board,
        "label": timeline.label,
        "simulated": timeline.simulated,
        "live_ms": total_live_ms(timeline.intervals),
        "fault_ms": total_ms(timeline.intervals, "fault"),
        "intervals": [
            {
                "note" if name == "notes" else name: interval.note if name == "notes" else value
                for name, value in interval._asdict().items()
            }
            | {"start": iso_time(interval.start_ms), "end": iso_time(interval.end_ms)}
            for interval in timeline.intervals
        ],
    }


def timeline_csv(timelines: Iterable[BoardTimeline]) -> str:
    """A table with one line for each interval."""
    header = [
        "board",
        "label",
        "simulated",
        "start",
        "end",
        "seconds",
        "state",
        "cause",
        "proof",
        "note",
        "live_seconds",
        "plus_minus_seconds",
    ]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(header)
    for timeline in timelines:
        for interval in timeline.intervals:
            writer.writerow(
                [
                    timeline.board or "",
                    timeline.label or "",
                    timeline.simulated,
                    iso_time(interval.start_ms),
                    iso_time(interval.end_ms),
                    interval.length_ms / 1000,
                    interval.state,
                    interval.cause or "",
                    interval.proof or "",
                    interval.note or "",
                    interval.live_ms / 1000,
                    interval.plus_minus_ms / 1000,
                ]
            )
    return text.getvalue()


def as_claimed(timeline: BoardTimeline) -> BoardTimeline:
    """``timeline`` out of an export: anybody can write one, so it proves nothing."""
    return timeline._replace(
        board=None if timeline.board is None else words.printable(timeline.board),
        intervals=[
            interval._replace(
                cause=interval.cause if interval.cause in words.CAUSES else None,
                proof=None,
                notes=() if interval.note is None else (in_words(words.printable(interval.note)),),
            )
            for interval in timeline.intervals
        ],
        claimed=True,
    )
