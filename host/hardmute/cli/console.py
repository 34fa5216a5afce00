"""What a person reads at the terminal, plain or coloured."""

from __future__ import annotations

import contextlib
import os
import sys

from hardmute.model.typed import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console

# Colours of the verdicts on a terminal: the lamp's, and readable on dark and light backgrounds.
# The verdict is always there as a word too.
STYLES = {
    "muted": "bold red",
    "live": "bold green",
    "fault": "bold magenta",
    # No colour: yellow cannot be read on white.
    "unknown": "bold",
    # What a check of `hardmute doctor` ends with.
    "pass": "green",
    "warn": "magenta",
    "fail": "bold red",
    "skipped": "dim",
}


def rich_console() -> Console:
    """A rich console on standard output."""
    from rich.console import Console

    class TellingConsole(Console):
        """One whose caller learns that its reader has gone. rich would exit with 1: "live"."""

        def on_broken_pipe(self) -> None:
            # rich calls this while it handles the error.
            raise

    width = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 80
    return TellingConsole(highlight=False, width=width, emoji=False)


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
    rich_console().print(grid)


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


def ring() -> None:
    """Ring the bell of the terminal, if there is one."""
    if sys.stderr.isatty():
        with contextlib.suppress(OSError):
            print("\a", end="", file=sys.stderr, flush=True)


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
