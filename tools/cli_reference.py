"""The reference of the command line in docs/cli.md, made of the parser itself.

.venv/bin/python tools/cli_reference.py
"""

# argparse has no public way to ask a parser what it takes.
# ruff: noqa: SLF001
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from hardmute.cli.parser import build_parser

PAGE = Path(__file__).parent.parent / "docs" / "cli.md"
START, END = "<!-- made by tools/cli_reference.py -->", "<!-- end of what it made -->"
# Told once, for all commands.
_COMMON = {"-h", "--help", "-v", "--verbose", "-d", "--device", "--timeout"}


def reference() -> str:
    """Each command with its arguments and options, as Markdown."""
    return "\n".join(line for command in _commands(build_parser()) for line in _section(*command))


def page_with(made: str) -> str:
    """The page with ``made`` between its two marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    return f"{before}{START}\n\n{made}\n{END}{rest.partition(END)[2]}"


def _commands(
    parser: argparse.ArgumentParser, path: str = "hardmute"
) -> Iterator[tuple[str, str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if not isinstance(action, argparse._SubParsersAction):
            continue
        made = cast("dict[str, argparse.ArgumentParser]", action.choices)
        # Without a help it is not a command that a person types.
        for choice in action._choices_actions:
            name = f"{path} {choice.dest}"
            yield name, choice.help or "", made[choice.dest]
            yield from _commands(made[choice.dest], name)


def _section(name: str, words: str, command: argparse.ArgumentParser) -> Iterator[str]:
    rows = [
        f"| `{_cell(_shown(action))}` | {_cell(_help(command, action))} |"
        for action in command._actions
        if action.help != argparse.SUPPRESS
        and not _COMMON & {*action.option_strings}
        and not isinstance(action, argparse._SubParsersAction)
    ]
    yield f"### {name}"
    yield ""
    yield _cell(words[0].upper() + words[1:]) + ("" if words[-1:] == "?" else ".")
    yield ""
    if rows:
        yield "| | |"
        yield "|---|---|"
        yield from rows
        yield ""
    if command.epilog:
        yield "```text"
        yield from command.epilog.strip().splitlines()
        yield "```"
        yield ""


def _help(command: argparse.ArgumentParser, action: argparse.Action) -> str:
    choices = ", ".join(map(str, action.choices or ()))
    return (action.help or "") % {**vars(action), "prog": command.prog, "choices": choices}


def _shown(action: argparse.Action) -> str:
    value = action.metavar or "|".join(map(str, action.choices or ())) or action.dest
    if not action.option_strings:
        return str(value)
    names = ", ".join(action.option_strings)
    return names if action.nargs == 0 else f"{names} {value}"


def _cell(words: str) -> str:
    return words.replace("|", r"\|")


def main() -> int:
    PAGE.write_text(page_with(reference()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
