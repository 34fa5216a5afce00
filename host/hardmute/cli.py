"""The command line: what can be said, and which function does it. Imports what starts fast."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import muteboard

_EXIT_CODES = "exit: 0 muted or done, 1 live, 2 usage, 3 unknown, 4 fault, 5 tampered, 6 local"


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Options on one line each, so that the whole help fits a screen of 24 lines."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=28)

    def _format_action(self, action: argparse.Action) -> str:
        formatted = super()._format_action(action)
        # The commands follow; the line that names their metavar says nothing.
        return formatted.partition("\n")[2] if action.metavar == "COMMAND" else formatted


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    common = _common_options()
    parser = argparse.ArgumentParser(
        prog="hardmute",
        usage="hardmute COMMAND [options]    a microphone mute that its owner can prove",
        epilog=_EXIT_CODES,
        formatter_class=_Formatter,
        parents=[common],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=muteboard.__version__)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, prog="hardmute"
    )

    def add(name: str, run: str, summary: str, *, board: bool = True) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            parents=[common] if board else [],
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        command.set_defaults(run=run)
        return command

    command = add("list", "commands:list_boards", "boards, their ports and states")
    command.add_argument("--probe", action="store_true", help="also behind unknown USB bridges")
    _add_json(command)
    _add_json(add("status", "commands:status", "is the microphone cut?"))
    _add_json(add("watch", "commands:watch", "follow a board until Ctrl-C"))
    _add_json(add("mute", "commands:mute", "cut the line; nothing here connects it"))
    command = add("verify", "commands:verify", "verdict and proof level, checked afresh")
    command.add_argument(
        "--require",
        metavar="LEVEL",
        default="sensed",
        choices=("reported", "sensed", "attested", "heard"),
        help="least proof for exit code 0: reported, sensed (default), attested, heard",
    )
    _add_json(command)
    _add_log(add("log", "logview:show", "what was live, when, for how long, and why"), common)
    command = add("config", "commands:config", "read or change a board's settings")
    actions = command.add_subparsers(dest="action", metavar="get|set", required=True)
    action = actions.add_parser("get", help="print the settings", parents=[common])
    _add_json(action)
    action = actions.add_parser("set", help="change settings (in setup)", parents=[common])
    action.add_argument("settings", nargs="+", metavar="KEY=VALUE")
    _add_json(action)
    command = add("name", "commands:name", "give a board a label on this host")
    command.add_argument("label", nargs="?", metavar="LABEL")
    _add_sim(add("sim", "sim.command:sim", "run a simulated board", board=False))
    command = add(
        "world", "sim.command:world", "press, weld, unplug a simulated board", board=False
    )
    command.epilog = (
        "words: press, hold S, bounce MS, weld [N], unweld [N], stick, unstick, unplug,\n"
    )
    command.epilog += "replug, power-off, power-on [--hold S], hang, look (prints what is so)"
    command.add_argument("address", metavar="PATH", help="the world that `hardmute sim` printed")
    command.add_argument("words", nargs=argparse.REMAINDER, metavar="WORD")
    command = add("demo", "demo:demo", "see it all on a simulated board", board=False)
    command.add_argument(
        "--svg", type=Path, metavar="FILE", help="where to write the timeline picture"
    )
    command = add("completion", "completion:completion", "shell completion script", board=False)
    command.add_argument("shell", choices=("bash", "zsh", "tcsh"))
    return parser


def _common_options() -> argparse.ArgumentParser:
    """Options that may stand before or after the command."""
    common = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    common.add_argument("-d", "--device", metavar="BOARD", help="port, board id, label or URL")
    common.add_argument(
        "--timeout", type=_seconds, metavar="S", help="seconds to wait for an answer (3)"
    )
    common.add_argument("-v", "--verbose", action="store_true", help="tracebacks")
    return common


def _seconds(given: str) -> float:
    value = float(given)
    if not 0.01 <= value <= 3600:
        raise argparse.ArgumentTypeError("0.01 to 3600 seconds")
    return value


def _add_json(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--json", action="store_true", help="one JSON object (watch: a line each)"
    )


def _add_log(command: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    window = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    window.add_argument(
        "--since", metavar="T", help="2026-11-23T14:00, or 90m, 12h, 7d (default) ago"
    )
    window.add_argument("--until", metavar="T", help="likewise; now by default")
    for action in window._actions:  # noqa: SLF001 (argparse has no public way to share options)
        command._add_action(action)  # noqa: SLF001
    _add_json(command)
    command.add_argument("--csv", type=Path, metavar="FILE", help="write the intervals to a file")
    views = command.add_subparsers(dest="view", metavar="plot")
    view = views.add_parser("plot", help="timeline as SVG", parents=[common, window])
    view.add_argument("file", type=Path, metavar="FILE.svg")
    view.set_defaults(run="logview:plot")


def _add_sim(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--tcp", type=int, metavar="PORT", help="TCP instead of a terminal; 0: any"
    )
    command.add_argument("--id", metavar="HEX", help="board id (default: a new one)")
    command.add_argument(
        "--contacts",
        type=int,
        default=1,
        choices=range(1, 9),
        metavar="N",
        help="relays in series (1)",
    )
    command.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings stored on the board"
    )


DEFAULTS = {"device": None, "timeout": 3.0, "verbose": False, "since": None, "until": None}


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The parsed command line; exits with code 2 for one that means nothing."""
    args = build_parser().parse_args(arguments)
    for key, value in DEFAULTS.items():
        if not hasattr(args, key):
            setattr(args, key, value)
    return args


def resolve(run: str) -> Callable[[argparse.Namespace], int]:
    """The function behind a command, imported now."""
    module, _, name = run.partition(":")
    return getattr(import_module(f"hardmute.{module}"), name)
