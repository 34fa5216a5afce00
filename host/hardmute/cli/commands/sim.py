"""The commands of the simulated board."""

from __future__ import annotations

import json
import random
import secrets
from argparse import Namespace
from typing import TYPE_CHECKING

from hardmute.device import simulators
from hardmute.model.answers import is_board_id
from hardmute.model.errors import OK, MissingExtraError, UnreachableError, UsageError
from hardmute.model.settings import parse
from hardmute.sim.engine import Engine
from hardmute.sim.physics import Physics
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
    from hardmute.flash import image, runtime

    found = image.load(runtime.find(args.image, download=args.download))
    image.check_room(found)
    return found


def sim(args: Namespace) -> int:
    """`hardmute sim`."""
    check_engine(args)
    from hardmute.sim.server import serve

    board_id = _board_id(args.id)
    settings = config.dump({**config.DEFAULTS, **parse(args.set)})

    def make(unique_id: bytes) -> Engine:
        # Chance is contact bounce and unpowered RAM here, no secret; the same seed, the same run.
        chance = random.Random(0)  # noqa: S311
        physics = Physics(args.contacts, chance)
        if args.engine == "rp2040":
            return _emulated(args, physics, unique_id, settings, chance)
        from hardmute.sim.board import SimulatedBoard

        return SimulatedBoard(physics, unique_id, settings)

    return serve(make, board_id, args.tcp)


def world(args: Namespace) -> int:
    """`hardmute world ID WORD...`."""
    if not args.words:
        raise UsageError(f"Say what happens in the world:\n{HELP}")
    seen = act(_address(args.world), args.words)
    if seen:
        print(json.dumps(seen))
    return OK


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
        raise MissingExtraError(
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
