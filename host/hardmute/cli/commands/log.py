"""`hardmute log`: what was live, when, for how long, and why."""

from __future__ import annotations

import json
from argparse import Namespace
from datetime import timedelta
from pathlib import Path

import hardmute
from hardmute import BoardTimeline, Entry, clock, errors, new_file, words
from hardmute.cli import console
from hardmute.cli.timelines import print_timeline
from hardmute.cli.when import parse_time
from hardmute.render.incidents import incident_json, incident_lines
from hardmute.render.timelines import as_claimed, timeline_csv, timeline_json

# Of an export: `hardmute prove --log` says the same without a key.
_UNCHECKED = "the export agrees with itself; nothing was checked"
_DEFAULT_WINDOW = timedelta(days=7)


def show(args: Namespace) -> int:
    """`hardmute log`, and with ``--json`` or ``--csv``; of an export, if one is named."""
    since_ms, until_ms, timelines, incidents = _read_for(args)
    if args.csv is not None:
        with new_file(args.csv) as stream:
            stream.write(timeline_csv(timelines).encode())
        print(args.csv)
        _say_unchecked(args.of)
        return errors.OK
    if args.json:
        print(
            json.dumps(
                {
                    "since": clock.iso_time(since_ms),
                    "until": clock.iso_time(until_ms),
                    "boards": [timeline_json(timeline) for timeline in timelines],
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
    for line in incident_lines(incidents):
        console.detail(line)
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
    log = hardmute.own_log() if args.of is None else hardmute.open_log(args.of)
    try:
        until_ms = log.newest_ms() + 1 if args.of is not None else clock.now_ms()
        if args.until is not None:
            until_ms = parse_time(args.until)
        if args.since is not None:
            since_ms = parse_time(args.since)
        elif args.of is not None:
            # All of it: a board's journal tells of the time before the first contact too.
            since_ms = hardmute.FIRST_MS
        else:
            since_ms = until_ms - int(_DEFAULT_WINDOW.total_seconds() * 1000)
        if since_ms >= until_ms:
            end = "--until" if args.until else "now" if args.of is None else "the export's end"
            raise errors.UsageError(f"--since must be before {end}.")
        board = None
        if args.device is not None:
            board = hardmute.known_board(args.device, log)
            if board is None:
                where = "The log" if args.of is None else f"{args.of}, which has no labels,"
                raise errors.UsageError(f"{where} knows no board {args.device!r}.")
        timelines = hardmute.read_timelines(log, board, since_ms, until_ms)
        if args.of is not None:
            timelines = [as_claimed(timeline) for timeline in timelines]
        return since_ms, until_ms, timelines, log.incidents(board, since_ms, until_ms)
    finally:
        log.close()
