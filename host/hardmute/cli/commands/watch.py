"""`hardmute watch`: follows a board and prints what changes."""

from __future__ import annotations

import json
import sys
from argparse import Namespace

from hardmute.cli import console
from hardmute.cli.state import label
from hardmute.evidence.observation import Observation
from hardmute.model import errors, words
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.monitor.follower import Follower
from hardmute.render.observations import why


def watch(args: Namespace) -> int:
    """`hardmute watch`: follow a board until Ctrl-C, across unplugging and restarts."""
    import signal

    def end(number: int, _frame: object) -> None:
        # A terminal that is closed says so more than once; the last word is then on its way.
        signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    # A service manager ends it, or its terminal or console is closed: the last word belongs in the
    # log then as well. What `nohup` has it ignore stays ignored.
    for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, end)
    return follow(args.device, args.timeout, args.json, SYSTEM)


def follow(device: str | None, timeout: float, as_json: bool, clock: HostClock) -> int:
    """Follow a board, print what changes, return the exit code."""

    def show(observation: Observation) -> None:
        if as_json:
            print(json.dumps(observation.as_json()), flush=True)
            return
        stamp = words.local_time(observation.at_ms)
        board = label(follower.log, observation.board)
        console.headline(observation.verdict, f"{stamp}  {board}  {why(observation)}")
        sys.stdout.flush()

    follower = Follower(device, timeout, show, clock=clock)
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
