"""The command line: what can be said, and which function does it. Imports what starts fast."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Collection
from importlib import import_module

import muteboard
from hardmute import errors
from hardmute.model.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_EXIT_CODES = """\
exit: 0 muted or done; 1 live; 2 usage; 3 unknown, less proof than required, or
      nothing given to check it with; 4 fault; 5 tampered; 6 local failure"""


# What `--device` is stored under begins with this.
_NAMED = "named by "
# The commands that ask several boards, one after the other.
_OF_SEVERAL = ("status", "mute", "verify", "monitor", "watch")
# The view of `hardmute log` that nobody names: `log FILE` is short for it.
_OF_A_FILE = "of"
# Options that `hardmute log FILE` may have before the file, and that take a word.
_BEFORE_A_FILE = {"-d", "--device", "--timeout", "--since", "--until", "--csv"}


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Options on one line each, so that the whole help fits a screen of 24 lines."""

    def __init__(self, prog: str) -> None:
        # Given the width, argparse need not import `shutil` for it.
        super().__init__(prog, max_help_position=28, width=_help_width())

    def format_help(self) -> str:
        """The text; that of the commands with no line to spare for headings and empty lines."""
        text = super().format_help()
        if _EXIT_CODES in text:
            text = text.replace("\n\noptions:", "", 1)
            text = text.replace("\n\ncommands:", "", 1)
            text = text.replace(f"\n\n{_EXIT_CODES}", f"\n{_EXIT_CODES}")
            told = tuple(f"    {name} " for name in _TOLD_BY_ANOTHER)
            text = "".join(line for line in text.splitlines(True) if not line.startswith(told))
        return text

    def _format_action(self, action: argparse.Action) -> str:
        formatted = super()._format_action(action)
        # The commands follow; the line that names their metavar says nothing.
        return formatted.partition("\n")[2] if action.metavar == "COMMAND" else formatted


def _help_width() -> int:
    try:
        return min(100, os.get_terminal_size().columns) - 2
    except OSError:
        return 78


def build_parser(only: Collection[str] | None = None) -> argparse.ArgumentParser:
    """The parser of the whole command line, or of the commands in ``only``."""
    parser = argparse.ArgumentParser(
        prog="hardmute",
        usage="hardmute COMMAND [options]    a microphone mute that its owner can prove",
        epilog=_EXIT_CODES,
        formatter_class=_Formatter,
        allow_abbrev=False,
        add_help=False,
    )
    # Whoever reads its line has found it; the screen has none to spare.
    parser.add_argument("-h", "--help", action="help", help=argparse.SUPPRESS)
    _add_common(parser, listed=False)
    parser.add_argument("--version", action="version", version=muteboard.__version__)
    commands = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND", required=True, prog="hardmute"
    )

    for name, (run, summary, add_options) in _COMMANDS.items():
        if only is not None and name not in only:
            continue
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ("" if summary.endswith("?") else "."),
            formatter_class=_Formatter,
            allow_abbrev=False,
        )
        command.set_defaults(run=run)
        add_options(command)
    return parser


def _add_common(
    parser: argparse.ArgumentParser,
    *,
    device: bool = True,
    timeout: bool = True,
    listed: bool = True,
    several: bool = False,
) -> None:
    """Options that may stand before or after the command, so neither place sets a default.

    ``listed``: all of them in the help, not only which board. ``several``: it may be several.
    """
    if device:
        parser.add_argument(
            "-d",
            "--device",
            metavar="BOARD",
            action="append",
            # What stands before the command is kept, for a command overwrites what it has as well.
            dest=f"{_NAMED}{parser.prog}",
            default=argparse.SUPPRESS,
            help="port, board id, label or URL" + ("; may be repeated" if several else ""),
        )
    if timeout:
        parser.add_argument(
            "--timeout",
            type=seconds,
            metavar="S",
            default=argparse.SUPPRESS,
            help="seconds to wait for an answer (3); a contact takes at most three times that"
            if listed
            else argparse.SUPPRESS,
        )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=argparse.SUPPRESS,
        help="tracebacks" if listed else argparse.SUPPRESS,
    )


def _number(lowest: float, highest: float, unit: str) -> Callable[[str], float]:
    """A type for argparse, which names the function in its error."""

    def number(given: str) -> float:
        value = float(given)
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{lowest:g} to {highest:g}{unit}")
        return value

    return number


seconds = _number(0.01, 3600, " seconds")
seconds.__name__ = "seconds"


def file(given: str) -> Path:
    """The type of an argument that is a file: shells complete it."""
    # It would take as long as all else of the parser.
    from pathlib import Path

    return Path(given)


def _add_json(command: argparse.ArgumentParser, words: str = "one JSON object") -> None:
    command.add_argument("--json", action="store_true", help=words)


def _add_watch(command: argparse.ArgumentParser) -> None:
    command.epilog = (
        "It holds the board's port. It lends the port to your `hardmute mute`, `verify`,\n"
        "and a `prove` that meets the board. Your other commands say so, log nothing and\n"
        "end.\n"
        "With --format it may follow several boards: one line shows all of them."
    )
    _add_common(command, several=True)
    _add_all(command)
    form = command.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="print a JSON object for each change, one a line"
    )
    form.add_argument(
        "--format",
        choices=("waybar", "i3", "polybar", "tmux", "swiftbar", "plain"),
        metavar="BAR",
        help="for a status bar: waybar, i3, polybar, tmux, swiftbar, plain (docs/bars.md)",
    )


def _add_monitor(command: argparse.ArgumentParser) -> None:
    command.epilog = (
        "It follows each real board that is connected or has a label; with -d, only those\n"
        "that you name. It logs as `watch` does. Other commands of yours get their answer\n"
        "from it, or the board's port for as long as they need it. It runs on Linux; on\n"
        "macOS and Windows it was never run."
    )
    _add_common(command, several=True)
    _add_json(command, "print a JSON object for each change, one a line")
    command.add_argument(
        "--release",
        action="store_true",
        help="release the system's mute that a monitor left behind, and stop",
    )
    command.add_argument(
        "--page", action="store_true", help="serve the page as well, whatever the settings say"
    )


def _add_page(command: argparse.ArgumentParser) -> None:
    command.epilog = (
        "A monitor of yours serves the page: `hardmute monitor --page`, or page = true in\n"
        "its settings (docs/page.md). The code is good for 60 s, once."
    )
    _add_common(command, device=False, timeout=False)
    command.add_argument(
        "--print", action="store_true", help="open no browser: print the address and the code"
    )


def _add_service(command: argparse.ArgumentParser) -> None:
    command.epilog = (
        "Linux: a unit of your systemd. macOS: a launchd agent. Windows: a task at logon.\n"
        "Those of macOS and Windows were never run."
    )
    actions = command.add_subparsers(dest="action", metavar="install|status|remove", required=True)
    for name, summary in (
        ("install", "run it now and in each session"),
        ("status", "does it run? (0: yes, 6: no)"),
        ("remove", "stop it, and remove what `install` wrote"),
    ):
        action = actions.add_parser(name, help=summary, formatter_class=_Formatter)
        _add_common(action, device=False, timeout=False)
        if name != "status":
            action.add_argument("--dry-run", action="store_true", help="print the plan and stop")
        action.set_defaults(run=f"service:{name}")


def _add_state(command: argparse.ArgumentParser) -> None:
    _add_common(command)
    _add_json(command)


def _add_status(command: argparse.ArgumentParser) -> None:
    command.epilog = (
        "Several boards: --json prints a list. The exit code is the gravest, in the\n"
        "order 5, 4, 3, 1, 6. A missing board is unknown until `hardmute forget`.\n"
        "--all finds a board behind a USB bridge (CP210x, CH340) only after you have\n"
        "asked it once with -d PORT, and only if the bridge has a serial number of its\n"
        "own. Otherwise give the board a label: --all then says unknown, and -d PORT\n"
        "asks it."
    )
    _add_several(command, short=True)
    _add_all(command)


def _add_several(command: argparse.ArgumentParser, *, short: bool = False) -> None:
    _add_common(command, several=True)
    form = command.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", help="one JSON object; of several boards, a list"
    )
    if short:
        form.add_argument("--short", action="store_true", help="one short line, for a status bar")


def _add_all(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--all", action="store_true", help="every board that is connected or has a label"
    )


def _add_mute(command: argparse.ArgumentParser) -> None:
    command.epilog = (
        "It gets the port from your `monitor`, `watch` and `prove`. It also gets the port\n"
        "from `verify` and `usb --learn`, which then end with 3. If another command holds\n"
        "the port, or one that hangs, `mute` names it: press the button.\n"
        "With several boards, it tries them all at once: none waits for another."
    )
    _add_several(command)
    _add_all(command)


def _add_list(command: argparse.ArgumentParser) -> None:
    _add_common(command, device=False)
    command.add_argument(
        "--probe", action="store_true", help="also ask behind unknown USB bridges"
    )
    _add_json(command)


def _add_verify(command: argparse.ArgumentParser) -> None:
    _add_several(command)
    command.add_argument(
        "--require",
        metavar="LEVEL",
        default="sensed",
        choices=("reported", "sensed", "attested", "absent", "heard"),
        help="least proof for exit code 0: reported, sensed (default), attested, absent, heard",
    )
    ear = command.add_argument_group("by ear")
    ear.add_argument(
        "--listen",
        action="store_true",
        help="play a soft noise, and ask the microphone itself",
    )
    _add_devices(ear.add_argument)
    ear.add_argument(
        "--min-db",
        type=_number(20, 120, " dB"),
        default=60.0,
        metavar="DB",
        help="how much weaker the noise must be while muted (60)",
    )
    _add_seconds(ear.add_argument)
    ear.add_argument(
        "--confidence",
        type=_number(1e-9, 0.05, ""),
        default=1e-6,
        metavar="P",
        help="how likely the verdict may be wrong (1e-6)",
    )
    ear.add_argument(
        "--recording", type=file, metavar="FILE.wav", help="judge a recording of another device"
    )
    ear.add_argument(
        "--probe",
        type=file,
        metavar="FILE.wav",
        help="the noise that was played for it (`audio probe`)",
    )
    ear.add_argument("--svg", type=file, metavar="FILE", help="draw what was heard")


def _add_devices(option: Callable[..., object]) -> None:
    option("--input", metavar="NAME", help="the microphone (`hardmute audio`)")
    option("--output", metavar="NAME", help="the speaker")


def _add_seconds(option: Callable[..., object]) -> None:
    option(
        "--seconds",
        type=_number(1, 60, " seconds"),
        default=5.0,
        metavar="S",
        help="how long to listen while muted (5)",
    )


def _add_audio(command: argparse.ArgumentParser) -> None:
    _add_common(command)
    _add_devices(command.add_argument)
    _add_json(command)
    actions = command.add_subparsers(dest="action", metavar="probe")
    action = actions.add_parser(
        "probe", help="write the noise as a file", formatter_class=_Formatter
    )
    _add_common(action, device=False, timeout=False)
    _add_seconds(action.add_argument)
    action.add_argument("file", type=file, metavar="FILE.wav", help="a new file")
    action.set_defaults(run="recording:write")


def _add_pair(command: argparse.ArgumentParser) -> None:
    _add_state(command)
    command.add_argument(
        "--verify-key",
        type=file,
        metavar="FILE",
        required=True,
        help="new file for the key that checks all evidence; keep it offline",
    )


def _add_log(command: argparse.ArgumentParser) -> None:
    _add_common(command, timeout=False)
    _add_window(command)
    _add_forms(command)
    views = command.add_subparsers(
        dest="view", metavar="plot|verify|export|prune", prog="hardmute log"
    )
    command.usage = (
        "hardmute log [FILE.jsonl] [-d BOARD] [--since T] [--until T]\n"
        "                    [--json | --csv FILE]\n"
        "       hardmute log plot|verify|export|prune ..."
    )
    command.epilog = "FILE.jsonl: an export. It is shown as a claim; `prove --log FILE` checks it."
    # So `parse` reads `log FILE.jsonl`: it has no other way to tell the file from a view.
    view = views.add_parser(_OF_A_FILE, formatter_class=_Formatter)
    _add_common(view, timeout=False)
    _add_window(view)
    _add_forms(view)
    view.add_argument("of", type=file, metavar="FILE.jsonl")
    view = views.add_parser("plot", help="timeline as SVG", formatter_class=_Formatter)
    _add_common(view, timeout=False)
    _add_window(view)
    view.add_argument("file", type=file, metavar="FILE.svg", help="a new file")
    view.add_argument(
        "of", nargs="?", type=file, metavar="FILE.jsonl", help="an export; none: this host's log"
    )
    view.set_defaults(run="log:plot")
    view = views.add_parser(
        "verify", help="has anybody changed it? (5: yes)", formatter_class=_Formatter
    )
    _add_common(view, device=False, timeout=False)
    view.add_argument(
        "file",
        nargs="?",
        type=file,
        metavar="FILE.jsonl",
        help="an export (3 without --key or --expect-head); none: this host's log",
    )
    view.add_argument(
        "--key",
        type=file,
        action="append",
        default=[],
        metavar="FILE",
        help="a verify key, for the boards' signatures; may be repeated",
    )
    view.add_argument(
        "--expect-head", metavar="HASH", help="a head that was noted earlier: it must be there"
    )
    _add_json(view)
    view.set_defaults(run="log_verify:verify")
    view = views.add_parser(
        "export", help="write all of it as JSON lines", formatter_class=_Formatter
    )
    _add_common(view, device=False, timeout=False)
    view.add_argument("export", type=file, metavar="FILE.jsonl", help="a new file")
    view.set_defaults(run="log_export:export")
    view = views.add_parser(
        "prune",
        help="remove old entries; the rest still verifies",
        description="Remove the oldest entries. A checkpoint takes their place. Paired boards\n"
        "that are connected sign it. Else it is open until the next `hardmute status`.",
        formatter_class=_Formatter,
    )
    _add_common(view, device=False)
    view.add_argument("--before", metavar="T", required=True, help="2026-11-23T14:00, or 90d ago")
    view.add_argument("--yes", action="store_true", help="do not ask")
    view.set_defaults(run="log_prune:prune")


def _add_forms(command: argparse.ArgumentParser) -> None:
    form = command.add_mutually_exclusive_group()
    form.add_argument(
        "--json", action="store_true", default=argparse.SUPPRESS, help="one JSON object"
    )
    form.add_argument(
        "--csv",
        type=file,
        metavar="FILE",
        default=argparse.SUPPRESS,
        help="write the intervals to a file",
    )


def _add_window(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--since",
        metavar="T",
        default=argparse.SUPPRESS,
        help="2026-11-23T14:00 (+01:00 if that occurs twice), or 90m, 12h, 7d (default) ago",
    )
    command.add_argument(
        "--until", metavar="T", default=argparse.SUPPRESS, help="in the same form (now)"
    )


def _add_prove(command: argparse.ArgumentParser) -> None:
    command.usage = (
        "hardmute prove --from T [--to T] [-d BOARD] [--key FILE] [--receipt FILE]\n"
        "       hardmute prove --log EXPORT --from T [--to T] --key FILE\n"
        "       hardmute prove --check FILE [--key FILE]\n"
        "       hardmute prove --sign FILE --key FILE --receipt NEW"
    )
    command.epilog = (
        "Prove a meeting: run `hardmute status` before it begins. When it is over:\n"
        "  hardmute prove --from 14:00 --key FILE --receipt meeting.html\n"
        "Without --to, or with `--to now`, it meets the board first: the time ends with\n"
        "what the board signs then. A past time opens no port."
    )
    _add_common(command)
    command.add_argument(
        "--from", dest="start", metavar="T", help="2026-11-23T14:00, or 90m, 12h, 7d ago"
    )
    command.add_argument("--to", dest="end", metavar="T", help="in the same form (now)")
    command.add_argument(
        "--key",
        type=file,
        action="append",
        default=[],
        metavar="FILE",
        help="a verify key, for the board's signatures; may be repeated",
    )
    command.add_argument(
        "--receipt",
        type=file,
        metavar="FILE",
        help="write a receipt, .json or .html; --key signs it",
    )
    command.add_argument("--title", metavar="TEXT", help="what the receipt is for")
    command.add_argument(
        "--log",
        type=file,
        metavar="EXPORT",
        help="go by an export of another log; without --key nothing is checked (3)",
    )
    command.add_argument(
        "--check",
        type=file,
        metavar="FILE",
        help="check a receipt instead; without --key nothing is checked (3)",
    )
    command.add_argument(
        "--sign",
        type=file,
        metavar="FILE",
        help="check a receipt that is not signed against this host's log, and sign it",
    )
    _add_json(command)


def _add_config(command: argparse.ArgumentParser) -> None:
    actions = command.add_subparsers(dest="action", metavar="get|set", required=True)
    action = actions.add_parser("get", help="print the settings", formatter_class=_Formatter)
    _add_common(action)
    _add_json(action)
    action = actions.add_parser(
        "set", help="change settings (in setup)", formatter_class=_Formatter
    )
    _add_common(action)
    action.add_argument(
        "settings", nargs="+", metavar="KEY=VALUE", help="`config get` shows the keys"
    )
    _add_json(action)


def _add_usb(command: argparse.ArgumentParser) -> None:
    _add_common(command)
    which = command.add_mutually_exclusive_group()
    which.add_argument(
        "--learn", action="store_true", help="find it: you press the button, and it comes and goes"
    )
    which.add_argument("--forget", action="store_true", help="look for it no more")
    _add_json(command)


def _add_name(command: argparse.ArgumentParser) -> None:
    _add_common(command)
    command.add_argument("label", nargs="?", metavar="LABEL", help="none: print it")


def _add_forget(command: argparse.ArgumentParser) -> None:
    _add_common(command, device=False, timeout=False)
    command.add_argument(
        "board", metavar="LABEL|ID", help="the board that is not expected any more"
    )


def _add_doctor(command: argparse.ArgumentParser) -> None:
    _add_common(command)
    command.add_argument(
        "--udev-rule", action="store_true", help="print the udev rule for Linux instead"
    )
    _add_json(command)


def _add_sim(command: argparse.ArgumentParser) -> None:
    _add_common(command, device=False, timeout=False)
    _add_engine(command)
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


def _add_engine(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--engine",
        choices=("host", "rp2040"),
        default="host",
        help="what runs the firmware: this Python (default), or MicroPython on an emulated RP2040",
    )
    command.add_argument(
        "--image", type=file, metavar="FILE.uf2", help="MicroPython for that RP2040: RPI_PICO"
    )
    command.add_argument(
        "--download", action="store_true", help="fetch that image if there is none yet"
    )


def _add_flash(command: argparse.ArgumentParser) -> None:
    command.epilog = (
        "supported boards: Raspberry Pi Pico; ESP32 DevKitC; with CircuitPython also\n"
        "Pico W, ESP32-S2 and ESP32-S3 DevKitC-1, Saola-1. Others, such as the Pico 2,\n"
        "are refused."
    )
    _add_common(command)
    command.add_argument(
        "--board",
        choices=("pico", "pico_interlock", "esp32", "esp32_interlock", "circuitpython"),
        metavar="KIND",
        help="which board it is: %(choices)s (*_interlock: on the interlock board)",
    )
    command.add_argument("--yes", action="store_true", help="do not ask")
    command.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    command.add_argument(
        "--image",
        type=file,
        metavar="FILE",
        help="MicroPython (RPI_PICO, ESP32_GENERIC) or a release image; nothing is downloaded",
    )
    command.add_argument(
        "--download", action="store_true", help="fetch MicroPython if there is none yet"
    )
    command.add_argument(
        "--files-only", action="store_true", help="write only our files, at MicroPython's prompt"
    )
    command.add_argument(
        "--erase-journal",
        action="store_true",
        help="overwrite settings, keys and journal of a board that cannot be asked",
    )
    command.add_argument(
        "--verify", action="store_true", help="read back and compare instead (5: it differs)"
    )


def _add_world(command: argparse.ArgumentParser) -> None:
    command.usage = "hardmute world [-h] [-v] ID WORD ..."
    command.epilog = (
        "words: press, hold S, bounce MS, weld [N], unweld [N], stick, unstick, unplug,\n"
        "replug, power-off, power-on [--hold S], hang, bypass, unbypass,\n"
        "look (prints what is so)"
    )
    _add_common(command, device=False, timeout=False)
    command.add_argument(
        "world",
        metavar="ID",
        help="of a simulated board, or the world that `hardmute sim` printed",
    )
    command.add_argument("words", nargs=argparse.REMAINDER, metavar="WORD", help="see below")


def _add_demo(command: argparse.ArgumentParser) -> None:
    _add_common(command, device=False, timeout=False)
    _add_engine(command)
    command.add_argument(
        "--svg", type=file, metavar="FILE", help="where to write the timeline (hardmute-demo.svg)"
    )


def _add_completion(command: argparse.ArgumentParser) -> None:
    _add_common(command, device=False, timeout=False)
    command.add_argument("shell", choices=("bash", "zsh", "fish", "tcsh"), help="your shell")


# Name: the function that does it, a summary, and what adds its options.
_COMMANDS: dict[str, tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = {
    "list": ("list:list_boards", "boards, their ports and states", _add_list),
    "status": ("status:status", "is the line cut?", _add_status),
    "watch": ("watch:watch", "follow a board until Ctrl-C", _add_watch),
    "monitor": ("monitor:monitor", "follow all boards; `page` shows them", _add_monitor),
    "page": ("page:page", "open the page of the monitor", _add_page),
    "service": ("service:status", "run the monitor in each of your sessions", _add_service),
    "mute": ("asking:mute", "cut the line; no command connects it", _add_mute),
    "verify": (
        "asking:verify",
        "a fresh state, with its proof; see `usb`",
        _add_verify,
    ),
    "usb": ("usb:usb", "the USB device behind a board, for `verify`", _add_usb),
    "audio": ("audio:audio", "microphones and speakers for `verify --listen`", _add_audio),
    "pair": ("pair:pair", "make keys for proof; `unpair` ends that", _add_pair),
    "unpair": ("pair:unpair", "end a board's pairing (in setup)", _add_state),
    "log": ("log:show", "what was live, when, for how long, and why", _add_log),
    "prove": ("prove:prove", "was the line cut all the time from T to T?", _add_prove),
    "config": ("config:config", "read or change a board's settings", _add_config),
    "name": ("name:name", "give a board a label; `forget` drops it", _add_name),
    "forget": ("name:forget", "drop a board's label; its log stays", _add_forget),
    "flash": ("flash:flash", "put the firmware on a board, or update it", _add_flash),
    "doctor": ("doctor:doctor", "what is wrong, and what to do", _add_doctor),
    "sim": ("sim:sim", "run a simulated board", _add_sim),
    "world": ("sim:world", "press, weld, unplug a simulated board", _add_world),
    "demo": ("demo:demo", "see it all on a simulated board", _add_demo),
    "completion": ("completion:completion", "shell completion script", _add_completion),
}
# Commands that the line of another one tells of: a screen has no more lines.
_TOLD_BY_ANOTHER = ("unpair", "forget", "page", "usb")
_DEFAULTS: dict[str, object] = {
    "timeout": 3.0, "verbose": False, "since": None, "until": None,
    "all": False, "json": False, "csv": None, "of": None,
}  # fmt: skip


def parse(arguments: list[str]) -> argparse.Namespace:
    """The parsed command line; exits with code 2 for one that means nothing.

    An empty one gets the help, on standard error. As with other tools that need a command, that is
    no success; and 0 would say "muted".
    """
    # Most of the time goes into options of commands that were not asked for. The command that was
    # is one of these words; a first word that is none gets the whole list of commands to see.
    if not arguments:
        parser = build_parser()
        parser.print_help(sys.stderr)
        parser.exit(errors.USAGE)
    only = _COMMANDS.keys() & set(arguments)
    is_unknown = not arguments[0].startswith("-") and arguments[0] not in _COMMANDS
    needs_all = is_unknown or not (only or arguments[0] == "--version")
    parser = build_parser(None if needs_all else only)
    args = parser.parse_args(_with_view(arguments))
    args.devices = _named(args)
    if len(args.devices) > 1 and args.command not in _OF_SEVERAL:
        parser.error(f"`hardmute {args.command}` takes one board: give --device once")
    args.device = args.devices[0] if len(args.devices) == 1 else None
    for key, value in _DEFAULTS.items():
        if not hasattr(args, key):
            setattr(args, key, value)
    return args


def _named(args: argparse.Namespace) -> list[str]:
    """What `--device` names, each once; it is taken out of ``args``."""
    named: list[str] = []
    for key in [key for key in vars(args) if key.startswith(_NAMED)]:
        named += getattr(args, key)
        delattr(args, key)
    return list(dict.fromkeys(named))


def _with_view(arguments: list[str]) -> list[str]:
    """``arguments`` with the view that `log FILE` means; a file's name has a dot or a slash."""
    words = [
        index
        for index, word in enumerate(arguments)
        if not word.startswith("-") and not set(arguments[index - 1 : index]) & _BEFORE_A_FILE
    ]
    if len(words) < 2 or arguments[words[0]] != "log":
        return arguments
    at = words[1]
    is_file = any(char in arguments[at] for char in (".", "/", os.sep))
    return [*arguments[:at], *([_OF_A_FILE] if is_file else []), *arguments[at:]]


def resolve(run: str) -> Callable[[argparse.Namespace], int]:
    """The function behind a command, imported now."""
    module, _, name = run.partition(":")
    return getattr(import_module(f"hardmute.cli.commands.{module}"), name)
