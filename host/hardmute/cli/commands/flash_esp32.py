"""What `hardmute flash` puts on an ESP32."""

from __future__ import annotations

from argparse import Namespace
from typing import TYPE_CHECKING

from hardmute import errors
from hardmute.flash import tree

if TYPE_CHECKING:
    from hardmute.flash.esp32_image import Esp32Image as Esp32Image


def esp32_image(args: Namespace) -> Esp32Image:
    """The image that was named. Raises `UsageError` for none, and for one that is no ESP32's."""
    from hardmute.flash import esp32_image as images
    from hardmute.flash import runtime

    if args.image is None:
        raise errors.UsageError(
            "An empty ESP32 gets MicroPython 1.25 or later: fetch ESP32_GENERIC (.bin) from "
            "micropython.org/download, and give it with --image."
        )
    try:
        content = args.image.read_bytes()
    except OSError as error:
        raise errors.UsageError(
            f"The image {args.image} cannot be read ({error.strerror})."
        ) from error
    runtime.check_pin(content, args.image.name, str(args.image))
    return images.parse(content, str(args.image))


def esp32_files(board: str | None) -> dict[str, bytes]:
    """What the file system of a new ESP32 has. ``board``: what board.txt says, if there is one."""
    return {**tree.program(), **tree.fresh(board)}
