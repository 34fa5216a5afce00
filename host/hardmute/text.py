"""Words for people: durations, times, states, and plain or coloured output."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Colours of the verdicts on a terminal: the lamp's, and readable on dark and light backgrounds.
# The verdict is always there as a word too.
STYLES = {
    "muted": "bold red",
    "live": "bold green",
    "fault": "bold magenta",
    "unknown": "bold yellow",
    # What a check of `hardmute doctor` ends with.
    "pass": "green",
    "warn": "yellow",
    "fail": "bold red",
    "skipped": "dim",
}
CAUSES = {
    "boot": "power-on",
    "button": "button",
    "host": "host",
    "timer": "timer",
    "stuck": "button stuck",
    "fault": "fault",
    "watchdog": "watchdog reset",
}

# Why a state could not be had (the log's short words), for a person.
REASONS = {
    "fake_id": "its USB serial number is another one",
    "late": "what it said had waited before it was read",
    "malformed_answer": "malformed answer",
    "no_answer": "no answer",
    "no_board": "no board connected",
    "no_permission": "no permission to open the port",
    "no_port": "the port was not there",
    "not_attested": 'the board said "muted" but did not sign it',
    "not_connected": "not connected",
    "not_fresh": "its answers were not fresh",
    "not_hardmute": "another device answered",
    "not_in_service": "its service mode was not opened",
    "not_told_apart": "its port cannot be told from others",
    "one_id": "another board had the same id",
    "port_held": "another hardmute held the port",
    "port_in_use": "another program held the port",
    "protocol_version": "it spoke another protocol version",
    "refused": "it refused to answer",
    "restarted": "restarted while it was asked",
    "silent": "silent for 3 s",
    "unplugged": "unplugged",
    "wrong_board": "another board was there",
}

_ASK_AGAIN = "Ask again."
_OTHER_BOARD = (
    "It may be another board. If you reset it or put other firmware on it: pair again, or run"
    " `hardmute unpair` on this host."
)


class Unsigned(NamedTuple):
    """Why a board that this host is paired with did not sign what it says, and what to do."""

    word: str
    advice: str


# The short word in the log and in JSON: the board's own error, or what this host found.
UNSIGNED = {
    "bad_head": Unsigned("its journal ends elsewhere", _OTHER_BOARD),
    "bad_mac": Unsigned("wrong signature", _OTHER_BOARD),
    "bad_op": Unsigned("its firmware cannot", _OTHER_BOARD),
    "busy": Unsigned("busy", _ASK_AGAIN),
    "changed": Unsigned("its state changed", _ASK_AGAIN),
    "contradicted": Unsigned("it signed something else", _OTHER_BOARD),
    "malformed_answer": Unsigned("malformed answer", _OTHER_BOARD),
    "no_answer": Unsigned("no answer", _ASK_AGAIN),
    "no_key": Unsigned(
        "this host has no key to check it with",
        "This host is paired with the board and cannot use its key: restore the key, pair again,"
        " or run `hardmute unpair`.",
    ),
    "not_fresh": Unsigned("too slow", _ASK_AGAIN),
    "not_paired": Unsigned("it says that it is not paired", _OTHER_BOARD),
    "pairing_unknown": Unsigned(
        "this host cannot tell whether it is paired with the board",
        "A log of this host cannot be read, and there is no key file. Repair the log, or restore"
        " the key. If this host never was paired with the board, run `hardmute unpair`.",
    ),
    "storage": Unsigned(
        "storage failed",
        "Its flash is full or damaged: unplug the board and plug it in again. If that does not"
        " help, run `hardmute doctor`.",
    ),
    "unpaired": Unsigned("this host has ended its pairing", _ASK_AGAIN),
    "unsupported": Unsigned("it keeps no journal", _OTHER_BOARD),
}


def unsigned(code: str | None) -> Unsigned:
    """The words for a code of `UNSIGNED`, or of an error that this version does not know."""
    code = code or "unknown_error"
    return UNSIGNED.get(code) or Unsigned(
        code.replace("_", " "), f"{_ASK_AGAIN} If that does not help: it may be another board."
    )


def claimed(code: str | None) -> str:
    """That a "muted" counts for nothing, in a clause."""
    return f'the board says "muted" but did not sign it ({unsigned(code).word})'


def duration(ms: int) -> str:
    """A length of time in the units that matter: ``42.5 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if 0 < ms < 100:
        return "< 0.1 s"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d} h"


def local_time(at_ms: int) -> str:
    """Host time in the local zone, to the second; with its offset where the hour occurs twice."""
    said = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))
    try:
        local = datetime.fromtimestamp(at_ms / 1000)  # noqa: DTZ006 (its fold is asked for)
        return said + offset_of(local) if is_twice(local) else said
    except (ValueError, OverflowError, OSError):
        # A year that a calendar has, and Python's does not.
        return said


def is_twice(local: datetime) -> bool:
    """Whether a local time without an offset occurs twice, as clocks are set back.

    Raises `ValueError`, `OverflowError` or `OSError` for a time that the platform cannot show.
    """
    return local.timestamp() != local.replace(fold=1 - local.fold).timestamp()


def offset_of(local: datetime) -> str:
    """The offset of a local time from UTC: ``+02:00``. Raises as `is_twice`."""
    return local.astimezone().isoformat()[-6:]


def console() -> Console:
    """A rich console on standard output."""
    from rich.console import Console

    class Told(Console):
        """One whose caller learns that its reader has gone. rich would exit with 1: "live"."""

        def on_broken_pipe(self) -> None:
            # rich calls this while it handles the error.
            raise

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 80
    return Told(highlight=False, width=width, emoji=False)


# Where the text after a verdict begins: behind the longest one, and two spaces.
_INDENT = 9


def headline(verdict: str, rest: str, word: str | None = None) -> None:
    """Print a verdict and what belongs to it. rich is loaded for a terminal only.

    ``word``: what it is called, where that is not the verdict itself.
    """
    word = word or verdict.upper()
    indent = max(_INDENT, len(word) + 2)
    if not sys.stdout.isatty():
        print(f"{word:<{indent}}{rest}")
        return
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=0)
    grid.add_column(width=indent)
    grid.add_column()
    grid.add_row(Text(word, style=STYLES[verdict]), Text(rest))
    console().print(grid)


def detail(line: str) -> None:
    """Print a line that belongs to the headline above it, wrapped at words on a terminal."""
    print(_wrapped(line, sys.stdout, indent=" " * _INDENT))


def say(line: str) -> None:
    """Print a line by itself, wrapped at words on a terminal."""
    print(_wrapped(line, sys.stdout, indent=""))


def complain(error: object) -> None:
    """Print an error for a person, on standard error; where that cannot be written, nowhere."""
    with contextlib.suppress(OSError):
        print(_wrapped(str(error), sys.stderr, indent=""), file=sys.stderr)


def complain_of_output(error: OSError) -> None:
    """Say that standard output cannot be written; a reader who has gone knows that."""
    if not isinstance(error, BrokenPipeError):
        complain(f"Standard output cannot be written: {error.strerror}.")


def mark(sign: str, otherwise: str) -> str:
    """``sign``, or a word where standard output cannot show it."""
    return sign if fits(sign) else otherwise


def fits(characters: str) -> bool:
    """Whether standard output can show these characters: a code page may lack them."""
    try:
        characters.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _wrapped(said: str, stream: TextIO, indent: str) -> str:
    if not stream.isatty():
        return indent + said
    import shutil
    import textwrap

    width = shutil.get_terminal_size().columns
    return "\n".join(
        textwrap.fill(
            line,
            width,
            initial_indent=indent,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in said.splitlines()
    )


def answer(question: str) -> str:
    """What a person at the terminal says to ``question``."""
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip()


def printable(text: str) -> str:
    """``text`` without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else "�" for char in text)
