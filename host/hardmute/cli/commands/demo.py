"""`hardmute demo`: the main job on a simulated board, each step checked against physical truth.

The simulated board runs the real firmware in a process of its own; the finger acts through the
world's channel; the host side is this very command line, called as a person would call it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import hardmute
from hardmute import SYSTEM, clock, errors
from hardmute.cli import console
from hardmute.cli.commands.sim import check_engine, find_image
from hardmute.device import emulated_clock, simulators
from hardmute.device.discovery import open_board
from hardmute.sim.world import act

FAULT, LIVE, OK, UNKNOWN = errors.FAULT, errors.LIVE, errors.OK, errors.UNKNOWN
_BOARD = "de30c0de" * 2
_LIVE_LIMIT_S = 10
_START_TIMEOUT_S = 20.0
_PACE_S = 0.8
_PROVEN_S = 2.0
# By the board's clock, as all here.
_TIMER_TIMEOUT_S = 30.0
_REST_S = 0.05


class StepFailedError(Exception):
    """A step of the demo did not do what it says."""


def demo(args: Namespace) -> int:
    """Run the demo. Returns 0 if each step did what it says."""
    check_engine(args)
    svg = args.svg or Path("hardmute-demo.svg")
    with (
        tempfile.TemporaryDirectory(prefix="hardmute-demo-") as home,
        _home(home),
        _board(args) as world,
        _clock(),
    ):
        # An emulated chip would take a minute for it, and Windows gives links only to some.
        has_usb = args.engine == "host" and os.name != "nt"
        walk = _Walk(world, _ENGINES[args.engine], has_usb=has_usb)
        try:
            walk.through(svg, Path(home) / "verify-key.json")
        except StepFailedError as error:
            console.rich_console().print(
                f"[bold red]{console.mark('✗', 'FAILED')}[/] {error}", soft_wrap=True
            )
            return errors.LOCAL
    console.rich_console().print(_NEXT)
    return OK


_ENGINES = {
    "host": "on a simulated board that runs the real firmware",
    "rp2040": "on an emulated RP2040: the real firmware on MicroPython for the Pico",
}
_NEXT = """
[bold]With a real board[/] (Raspberry Pi Pico or ESP32, a relay, a button, an afternoon):
  1. wire it and flash it: [bold]hardware/breadboard[/], [bold]docs/flashing.md[/]
  2. [bold]hardmute list[/], then [bold]hardmute watch[/] while you press the button
  3. [bold]hardmute pair --verify-key FILE[/] once; [bold]hardmute verify[/] when it matters
  4. [bold]hardmute log[/] and [bold]hardmute prove[/] afterwards"""


class _Walk:
    """Goes through the steps. A step prints one line, and raises when it is not true."""

    def __init__(self, world: str, what: str, *, has_usb: bool = False) -> None:
        self._world = world
        self._what = what
        self._has_usb = has_usb
        self._number = 0

    def through(self, svg: Path, key: Path) -> None:
        console.rich_console().print(f"[bold]hardmute[/] {self._what}\n")
        self._run("list", expect=OK, shows=_BOARD)
        self._tell("hardmute finds the board", "hardmute list")

        self._state(OK, line="cut", lamp="red")
        self._tell("MUTED at power-on: line cut, contact sensed open, lamp red", "status")

        self._act("press")
        self._state(LIVE, line="connected", lamp="green")
        self._tell("button pressed: LIVE, line connected, lamp green", "status")

        self._act("press")
        self._state(OK, line="cut", lamp="red")
        self._tell("pressed again: MUTED, line cut, lamp red", "status")

        self._act("press", "weld", "press")
        seen = self._state(FAULT, line="connected", lamp=None)
        self._check(seen["faults"] == ["closed:1"], f"the fault is not named: {seen['faults']}")
        self._tell('relay contact welded, then pressed: FAULT, never "muted"', "status")

        self._act("unweld", "press")
        self._state(OK, line="cut", lamp="red")
        self._tell("weld broken, then pressed: MUTED, not live", "status")

        self._try_to_unmute()
        self._state(OK, line="cut", lamp="red")
        self._tell(
            "the host asks to unmute in five ways: refused, line still cut", "(raw requests)"
        )

        self._act("press")
        self._state(LIVE, line="connected", lamp="green")
        self._run("mute", expect=OK)
        seen = self._state(OK, line="cut", lamp="red")
        self._check(seen["cause"] == "host", f"the cause is {seen['cause']}")
        self._tell("the host mutes: MUTED, and the log says that the host did it", "mute")

        self._act("unplug")
        self._run("status", expect=UNKNOWN)
        self._act("replug")
        self._state(OK, line="cut", lamp="red")
        self._tell('cable pulled: UNKNOWN, never "muted"; plugged in again: MUTED', "status")

        with open_board(_BOARD, 3.0, None) as (session, _):
            self._refused("setup_required", session.config, {"max_live_s": _LIVE_LIMIT_S})
        self._act("power-off", "power-on", "--hold", "5")
        self._run("config", "set", f"max_live_s={_LIVE_LIMIT_S}", expect=OK)
        self._tell(
            f"live limit set to {_LIVE_LIMIT_S} s: this needs the button held at power-on",
            "config set",
        )

        self._run("pair", "--verify-key", str(key), expect=OK)
        self._act("power-off", "power-on")
        self._tell("paired, again with the button held: the board now signs its answers", "pair")

        self._wait_for_timer()
        self._tell(
            f"left live: amber lamp, then MUTED by the board's timer after {_LIVE_LIMIT_S} s",
            "status",
        )

        self._run("verify", "--json", "--require", "attested", expect=OK, shows='"attested"')
        self._tell("fresh check: MUTED, and the board has signed it (attested)", "verify")
        self._prove(key)
        self._tamper(key)
        if self._has_usb:
            self._look_for_the_microphone()

        self._tell("the log: when, why, how long", "log")
        self._show_log()
        again = svg.is_file()
        svg.unlink(missing_ok=True)
        self._run("log", "plot", str(svg), expect=OK)
        self._check(svg.stat().st_size > 0, f"{svg} is empty")
        instead = ", in place of the one that was there" if again else ""
        self._tell(f"the same as a picture: {svg}{instead}", "log plot")

    def _tell(self, what: str, command: str) -> None:
        self._number += 1
        out = console.rich_console()
        out.print(
            f"[bold green]{console.mark('✓', 'ok')}[/] {self._number:2d}. {what}", soft_wrap=True
        )
        command = command if command.startswith(("(", "hardmute")) else f"hardmute {command}"
        out.print(
            f"      [dim]$ {command}[/]" if command[0] != "(" else f"      [dim]{command}[/]"
        )

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            raise StepFailedError(f"Step {self._number + 1} failed: {otherwise}")

    def _act(self, *words: str) -> None:
        """What a hand does, at a hand's pace, so that the log has something to tell."""
        _rest(_PACE_S)
        act(self._world, list(words))

    def _run(self, *arguments: str, expect: int, shows: str = "") -> str:
        """Call the command line as a person would; its output."""
        from hardmute.cli.main import main

        named = () if arguments[0] == "list" else ("-d", _BOARD)
        printed, complained = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
            code = main([*named, *arguments])
        said = f"{printed.getvalue()}{complained.getvalue()}".strip()
        self._check(
            code == expect and shows in said,
            f"`hardmute {' '.join(arguments)}` ended with {code}, expected {expect}: {said}",
        )
        return printed.getvalue()

    def _state(self, expect: int, *, line: str, lamp: str | None) -> dict[str, Any]:
        """The state by the host's word, and then what is physically so."""
        told = json.loads(self._run("status", "--json", expect=expect))
        truth = act(self._world, ["look"])
        self._check(truth["line"] == line, f"the line is physically {truth['line']}, not {line}")
        if lamp is not None:
            colour = truth["lamp"]["colour"]
            self._check(colour == lamp, f"the lamp is {colour}, not {lamp}")
        return told

    def _try_to_unmute(self) -> None:
        with open_board(_BOARD, 3.0, None) as (session, _):
            for op in ("unmute", "connect", "live", "press", "toggle"):
                self._refused("bad_op", session.request, op)

    def _refused(self, code: str, ask: Callable[..., object], *arguments: object) -> None:
        try:
            ask(*arguments)
        except errors.RefusedError as error:
            self._check(error.code == code, f"{arguments} was answered with {error.code}")
        else:
            self._check(False, f"the board accepted {arguments}")

    def _look_for_the_microphone(self) -> None:
        self._learn()
        self._run("verify", "--json", "--require", "absent", expect=OK, shows='"absent"')
        self._tell("the USB microphone is there when live, gone when cut: MUTED, absent", "verify")
        self._act("bypass")
        self._run("verify", "--json", expect=FAULT, shows='"present"')
        self._act("unbypass")
        self._tell(
            "the microphone plugged in elsewhere: FAULT, though the board says muted", "verify"
        )

    def _learn(self) -> None:
        """`hardmute usb --learn`; the finger waits for its word to press."""
        asked, done = threading.Event(), threading.Event()

        def press() -> None:
            asked.wait()
            if not done.is_set():
                act(self._world, ["press"])

        def say(_: str) -> None:
            asked.set()

        finger = threading.Thread(target=press)
        finger.start()
        try:
            found = hardmute.Host().learn_usb(_BOARD, timeout=3.0, say=say)
        finally:
            done.set()
            asked.set()
            finger.join()
        self._check(bool(found.devices), "no USB device was found behind the board")

    def _prove(self, key: Path) -> None:
        start_ms = clock.now_ms()
        _rest(_PROVEN_S)
        end_ms = clock.now_ms()
        # A `status` less than a minute after `verify` has nothing new for the log.
        self._run("mute", expect=OK)
        span = (
            "--from",
            clock.iso_time(start_ms),
            "--to",
            clock.iso_time(end_ms),
            "--key",
            str(key),
        )
        self._run("prove", *span, expect=OK, shows="throughout")
        self._tell("proven from the board's own journal: muted throughout", "prove --from --to")
        hour = ("--from", "1h", "--to", "0s", "--key", str(key))
        self._run("prove", *hour, expect=UNKNOWN, shows="live")
        self._tell("the last hour: not proven muted, because the line was live", "prove")

    def _tamper(self, key: Path) -> None:
        export = key.with_name("log.jsonl")
        self._run("log", "export", str(export), expect=OK)
        self._run("log", "verify", str(export), "--key", str(key), expect=OK, shows="INTACT")
        lines = export.read_text().splitlines(keepends=True)
        at = next(i for i, line in enumerate(lines) if '"kind":"record"' in line)
        export.write_text("".join(lines[:at] + lines[at + 1 :]))
        self._run(
            "log", "verify", str(export), "--key", str(key), expect=errors.TAMPERED, shows="entry"
        )
        self._tell("one record removed from the exported log: found and named", "log verify")

    def _wait_for_timer(self) -> None:
        self._act("press")
        self._state(LIVE, line="connected", lamp="amber")
        deadline = SYSTEM.now_s() + _TIMER_TIMEOUT_S
        with open_board(_BOARD, 3.0, None) as (session, _):
            for event in session.watch():
                if event.state != "live":
                    break
                self._check(SYSTEM.now_s() < deadline, "the board stayed live beyond its limit")
        seen = self._state(OK, line="cut", lamp="red")
        self._check(seen["cause"] == "timer", f"the cause is {seen['cause']}")
        live_s = seen["live_ms"] / 1000
        self._check(
            _LIVE_LIMIT_S - 0.1 <= live_s <= _LIVE_LIMIT_S + 0.1, f"it was live for {live_s} s"
        )

    def _show_log(self) -> None:
        from hardmute.cli.timelines import print_timeline

        log = hardmute.own_log()
        try:
            timelines = hardmute.read_timelines(log, _BOARD, 0, clock.now_ms())
        finally:
            log.close()
        self._check(len(timelines) == 1, f"the log has {len(timelines)} timelines")
        states = {interval.state for interval in timelines[0].intervals}
        self._check(states == {"muted", "live", "fault", "unknown"}, f"the log shows {states}")
        causes = {interval.cause for interval in timelines[0].intervals} - {None}
        self._check(causes >= {"boot", "button", "host", "timer", "fault"}, f"causes: {causes}")
        print_timeline(timelines[0])


@contextlib.contextmanager
def _home(folder: str) -> Generator[None]:
    """Keep the demo out of the owner's log."""
    before = os.environ.get("HARDMUTE_HOME")
    os.environ["HARDMUTE_HOME"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["HARDMUTE_HOME"]
        else:
            os.environ["HARDMUTE_HOME"] = before


def _clock() -> contextlib.AbstractContextManager[None]:
    """In here an emulated chip's own clock counts: a busy machine makes no answer late."""
    (file,) = (entry.clock for entry in simulators.running())
    found = emulated_clock.read(file) if file else None
    return contextlib.nullcontext() if found is None else clock.replaced(found)


def _rest(seconds: float) -> None:
    """Let time pass, by the clock that counts."""
    end_s = SYSTEM.now_s() + seconds
    while (left_s := end_s - SYSTEM.now_s()) > 0:
        time.sleep(min(left_s, _REST_S))


@contextlib.contextmanager
def _board(args: Namespace) -> Generator[str]:
    """A simulated board in a process of its own; yields its world's address."""
    # -P: the current folder is not the program's, and a file random.py may lie in it.
    command = [sys.executable, "-P", "-m", "hardmute", "sim"]
    command += ["--id", _BOARD, "--engine", args.engine]
    if args.engine == "rp2040":
        # Found here, where the person can be asked.
        command += ["--image", find_image(args).name]
    if os.name == "nt":
        command += ["--tcp", "0"]
    process = subprocess.Popen(  # noqa: S603 (our own interpreter)
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    )
    try:
        yield _world_of(process)
    finally:
        process.terminate()
        process.wait(_START_TIMEOUT_S)
        assert process.stdout is not None
        process.stdout.close()


def _world_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        raise errors.HardmuteError("The simulated board did not start; `hardmute sim` says why.")
    return json.loads(line)["world"]
