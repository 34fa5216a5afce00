"""`hardmute watch`: follows a board and prints what changes."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Iterator
from typing import TYPE_CHECKING

import hardmute
from hardmute import SYSTEM, HangsError, HostClock, Known, Observation, errors, words
from hardmute.cli import console, state
from hardmute.render.observations import why

if TYPE_CHECKING:
    from hardmute.render.bars import Format


def watch(args: Namespace) -> int:
    """`hardmute watch`: follow a board until Ctrl-C, across unplugging and restarts.

    What the monitor follows is read from the monitor, for as long as it runs.
    """
    if args.format is None and (args.all or len(args.devices) > 1):
        raise errors.UsageError("`watch` shows several boards in one line only: add --format.")
    end_by_signals()
    if args.format is None:
        return _watch(args)
    from hardmute.render import bars

    print(bars.begin(args.format), flush=True)
    try:
        if args.all or len(args.devices) > 1:
            from hardmute.cli.commands import watch_several

            return watch_several.watch(args)
        return _watch(args)
    finally:
        # A bar keeps the last line that it got.
        print(bars.line(args.format, []), flush=True)


def _watch(args: Namespace) -> int:
    device = args.device
    try:
        told = hardmute.following(device, "watch")
    except HangsError as error:
        console.complain(error)
        return error.exit_code
    if told is not None:
        device = _read(told, as_json=args.json, form=args.format)
    return follow(device, args.timeout, args.json, SYSTEM, args.format)


def end_by_signals() -> None:
    """Have a service manager, or a terminal that is closed, end this as Ctrl-C does.

    What `nohup` has it ignore stays ignored.
    """
    import signal

    def end(number: int, _frame: object) -> None:
        # A terminal that is closed says so more than once; the last word is then on its way.
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)


def print_change(
    observation: Observation, label: str | None, *, as_json: bool, form: Format | None = None
) -> None:
    """Print what has changed, on a line. ``form``: as a bar has it."""
    if as_json:
        print(json.dumps(observation.as_json()), flush=True)
        return
    if form is not None:
        from hardmute.render import bars

        shown = bars.shown(label or observation.board or "unknown board", observation)
        print(bars.line(form, [shown]), flush=True)
        return
    stamp = words.local_time(observation.at_ms)
    board = state.name(observation.board, label)
    console.headline(observation.verdict, f"{stamp}  {board}  {why(observation)}")
    sys.stdout.flush()


def _read(told: Iterator[Known], *, as_json: bool, form: Format | None) -> str | None:
    """Print what the monitor tells of a board until it ends. Returns the board's id."""
    shown: Known | None = None
    try:
        for known in told:
            if hardmute.is_news(shown, known):
                shown = known
                print_change(known.observation, known.label, as_json=as_json, form=form)
    except errors.UnreachableError as error:
        console.complain(error)
    return None if shown is None else shown.observation.board


def follow(
    device: str | None,
    timeout: float,
    as_json: bool,
    clock: HostClock,
    form: Format | None = None,
) -> int:
    """Follow a board, print what changes, return the exit code."""

    def show(observation: Observation) -> None:
        log, board = follower.log, observation.board
        label = log.label(board) if log is not None and board is not None else None
        print_change(observation, label, as_json=as_json, form=form)

    # It takes longer to load than the monitor to answer.
    follower = hardmute.Follower(device, timeout, show, clock=clock)
    try:
        follower.run()
    except errors.UnreachableError as error:
        console.complain(error)
        return errors.worst(error.exit_code, follower.exit_code)
    except KeyboardInterrupt:
        if follower.exit_code != errors.OK:
            return follower.exit_code
        raise
    return follower.exit_code
