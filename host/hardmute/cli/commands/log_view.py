"""`hardmute log`: what was live, when, for how long, and why."""

from __future__ import annotations

import csv
import io
import json
import re
from argparse import Namespace
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from hardmute.cli import console
from hardmute.device.discovery import known_board
from hardmute.evidence.entries import FIRST_MS, Entry
from hardmute.evidence.timeline import (
    BoardTimeline,
    Interval,
    total_live_ms,
    total_ms,
)
from hardmute.model import errors, words
from hardmute.model.clock import iso_time, now_ms
from hardmute.store.export import exported
from hardmute.store.log import Log
from hardmute.sync.timelines import read_timelines
from hardmute.system import paths
from hardmute.system.new_file import new_file

# Times are shown to the second.
_WORTH_SAYING_MS = 1000
_TIME = re.compile(r"\d\d:\d\d(:\d\d)?")
# Of an export: `hardmute prove --log` says the same without a key.
_UNCHECKED = "the export agrees with itself; nothing was checked"
DEFAULT_WINDOW = timedelta(days=7)


def show(args: Namespace) -> int:
    """`hardmute log`, and with ``--json`` or ``--csv``; of an export, if one is named."""
    since_ms, until_ms, timelines, incidents = _read_for(args)
    if args.csv is not None:
        _write_csv(timelines, args.csv)
        print(args.csv)
        _say_unchecked(args.of)
        return errors.OK
    if args.json:
        print(
            json.dumps(
                {
                    "since": iso_time(since_ms),
                    "until": iso_time(until_ms),
                    "boards": [_as_json(timeline) for timeline in timelines],
                    "incidents": [incident_json(incident) for incident in incidents],
                }
                | ({} if args.of is None else {"export": str(args.of), "unchecked": _UNCHECKED})
            )
        )
        return errors.OK
    if not timelines and not incidents:
        print(
            f"Nothing is logged from {words.local_time(since_ms)} to {words.local_time(until_ms)}."
        )
    for timeline in timelines:
        print_timeline(timeline)
    print_incidents(incidents)
    _say_unchecked(args.of)
    return errors.OK


def _say_unchecked(export: Path | None) -> None:
    if export is not None:
        console.detail(_UNCHECKED)
        console.detail(
            f"to check what a board signed: hardmute prove --log {export} --from T --key FILE"
        )


def plot(args: Namespace) -> int:
    """`hardmute log plot FILE.svg`; of an export, if one is named."""
    from hardmute.render.svg import write_svg

    if args.file.suffix.lower() != ".svg":
        raise errors.UsageError(
            "The timeline is an SVG file: name that first, as in"
            f" `hardmute log plot {args.file.with_suffix('.svg')}`. An export comes after it."
        )
    _, _, timelines, _ = _read_for(args)
    if not timelines:
        raise errors.UsageError("Nothing is logged in that time; `hardmute log` shows what is.")
    with new_file(args.file) as stream:
        write_svg(timelines, stream)
    print(args.file)
    _say_unchecked(args.of)
    return errors.OK


def _read_for(args: Namespace) -> tuple[int, int, list[BoardTimeline], list[Entry]]:
    log = Log(paths.log_file()) if args.of is None else exported(args.of)
    try:
        until_ms = log.newest_ms() + 1 if args.of is not None else now_ms()
        if args.until is not None:
            until_ms = parse_time(args.until)
        if args.since is not None:
            since_ms = parse_time(args.since)
        elif args.of is not None:
            # All of it: a board's journal tells of the time before the first contact too.
            since_ms = FIRST_MS
        else:
            since_ms = until_ms - int(DEFAULT_WINDOW.total_seconds() * 1000)
        if since_ms >= until_ms:
            end = "--until" if args.until else "now" if args.of is None else "the export's end"
            raise errors.UsageError(f"--since must be before {end}.")
        board = None
        if args.device is not None:
            board = known_board(args.device, log)
            if board is None:
                where = "The log" if args.of is None else f"{args.of}, which has no labels,"
                raise errors.UsageError(f"{where} knows no board {args.device!r}.")
        timelines = read_timelines(log, board, since_ms, until_ms)
        if args.of is not None:
            timelines = [_as_claimed(timeline) for timeline in timelines]
        return since_ms, until_ms, timelines, log.incidents(board, since_ms, until_ms)
    finally:
        log.close()


def _as_claimed(timeline: BoardTimeline) -> BoardTimeline:
    """``timeline`` out of an export: anybody can write one, so it proves nothing."""
    return timeline._replace(
        board=None if timeline.board is None else words.printable(timeline.board),
        intervals=[
            interval._replace(
                cause=interval.cause if interval.cause in words.CAUSES else None,
                proof=None,
                note=None if interval.note is None else words.printable(interval.note),
            )
            for interval in timeline.intervals
        ],
        claimed=True,
    )


def print_incidents(found: Iterable[Entry]) -> None:
    """Incidents for a person, those that say the same in one. They may be from an export."""
    times: dict[tuple[str, str], list[int]] = {}
    for entry in found:
        said = words.printable(str(entry.board)), words.printable(str(entry.body.get("text", "")))
        times.setdefault(said, []).append(entry.at_ms)
    for (board, said), at_ms in times.items():
        when = words.local_time(at_ms[0])
        if len(at_ms) > 1:
            when = f"{len(at_ms)} times from {when} to {words.local_time(at_ms[-1])}"
        console.detail(f"incident at {when}, board {board}: {said}")


def incident_json(entry: Entry) -> dict[str, Any]:
    """An incident as `--json` prints it."""
    return {**entry.body, "row": entry.row, "at": iso_time(entry.at_ms), "board": entry.board}


def parse_time(given: str) -> int:
    """A point in time, in ms since the epoch: ISO 8601, a time of today, so long ago as ``90m``
    says, or ``now``. Raises `UsageError` for what is none, and for a local time without an offset
    that occurs twice, or never, as clocks are changed.
    """
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    try:
        if given == "now":
            return now_ms()
        if _TIME.fullmatch(given):
            given = f"{words.local_time(now_ms())[:10]}T{given}"
        if given[-1:] in units and given[:-1].isdecimal():
            ago = timedelta(**{units[given[-1]]: int(given[:-1])})
            return now_ms() - int(ago.total_seconds() * 1000)
        moment = datetime.fromisoformat(given)
        if moment.tzinfo is None and words.is_twice(moment):
            raise _unclear(moment)
        return int(moment.astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise errors.UsageError(
            f"{given!r} is no time: give 2026-11-23, 2026-11-23T14:00, 14:00 for today, 90m, 12h"
            " or 7d for ago, or now."
        ) from None


def _unclear(moment: datetime) -> errors.UsageError:
    """That a local time occurs twice, or never: both of them differ in the offset."""
    given = moment.isoformat()
    first, second = (given + words.offset_of(moment.replace(fold=fold)) for fold in (0, 1))
    # A time that never was is read as one that was.
    occurs = datetime.fromtimestamp(moment.timestamp()) == moment  # noqa: DTZ006 (local)
    often, way = ("twice", "back") if occurs else ("never", "forward")
    return errors.UsageError(
        f"{given} occurs {often}, because clocks are set {way} then: give {first} or {second}."
    )


def print_timeline(timeline: BoardTimeline) -> None:
    """The intervals as a table, the picture, and the sum."""
    from rich.table import Table
    from rich.text import Text

    out = console.rich_console()
    out.print(Text(timeline.title, style="bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("From", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("For", justify="right", no_wrap=True)
    table.add_column("Why", overflow="fold")
    table.add_column("Proof", no_wrap=True)
    for interval in timeline.intervals:
        table.add_row(
            words.local_time(interval.start_ms),
            Text(interval.state.upper(), style=console.STYLES[interval.state]),
            words.duration(interval.length_ms)
            + (
                words.edges(interval.plus_minus_ms)
                if interval.plus_minus_ms >= _WORTH_SAYING_MS
                else ""
            ),
            Text(why(interval)),
            interval.proof or "",
        )
    out.print(table)
    print_picture(timeline)
    out.print(
        f"live for {words.duration(total_live_ms(timeline.intervals))} in all, "
        f"unknown for {words.duration(total_ms(timeline.intervals, 'unknown'))}",
    )
    fault_ms = total_ms(timeline.intervals, "fault")
    if fault_ms:
        out.print(f"in fault for {words.duration(fault_ms)}: the line may have been live")


# The worst state within a character's width of time is the one that is drawn.
_GLYPHS = {"live": "█", "fault": "▞", "unknown": "░", "muted": "─"}
_ASCII_GLYPHS = {"live": "#", "fault": "!", "unknown": "?", "muted": "-"}
_WIDTH = 64


def print_picture(timeline: BoardTimeline) -> None:
    """The timeline as one line of characters that differ in shape as well as in colour."""
    from rich.text import Text

    start_ms = timeline.intervals[0].start_ms
    end_ms = max(timeline.intervals[-1].end_ms, start_ms + 1)
    cells = ["unknown"] * _WIDTH
    # Painted from the mildest to the gravest, so that a short "live" is never painted over.
    for state in ("muted", "unknown", "fault", "live"):
        for interval in timeline.intervals:
            if interval.state == state:
                first = (interval.start_ms - start_ms) * _WIDTH // (end_ms - start_ms)
                last = max(
                    first, -(-(interval.end_ms - start_ms) * _WIDTH // (end_ms - start_ms)) - 1
                )
                cells[first : last + 1] = [state] * len(cells[first : last + 1])
    glyphs = _GLYPHS if console.fits("".join(_GLYPHS.values())) else _ASCII_GLYPHS
    line = Text()
    for state in cells:
        line.append(glyphs[state], style=console.STYLES[state])
    out = console.rich_console()
    out.print(line)
    left, right = words.local_time(start_ms), words.local_time(end_ms)
    if left[:10] == right[:10]:
        left, right = left[11:], right[11:]
    out.print(left + " " + right.rjust(_WIDTH - len(left) - 1))
    legend = Text()
    for state in ("muted", "live", "fault", "unknown"):
        legend.append(f"{glyphs[state] * 2} {state}   ", style=console.STYLES[state])
    out.print(legend)


def why(interval: Interval) -> str:
    """The cause and the note of an interval, for a person."""
    # "fault" as a cause says no more than the state does.
    cause = "" if interval.cause == interval.state else words.CAUSES.get(interval.cause or "", "")
    return ": ".join(part for part in (cause, interval.note) if part)


def _as_json(timeline: BoardTimeline) -> dict[str, Any]:
    return {
        "board": timeline.board,
        "label": timeline.label,
        "simulated": timeline.simulated,
        "live_ms": total_live_ms(timeline.intervals),
        "fault_ms": total_ms(timeline.intervals, "fault"),
        "intervals": [
            interval._asdict()
            | {"start": iso_time(interval.start_ms), "end": iso_time(interval.end_ms)}
            for interval in timeline.intervals
        ],
    }


def _write_csv(timelines: list[BoardTimeline], file: Path) -> None:
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
    with new_file(file) as stream:
        text = io.TextIOWrapper(stream, "utf-8", newline="")
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
        # The stream below stays open until it is on the disk.
        text.detach()
