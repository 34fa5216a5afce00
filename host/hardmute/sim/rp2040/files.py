"""What is on the flash of a Pico: MicroPython's image, and a file system with our files.

Where MicroPython's RPI_PICO board has it (ports/rp2/boards/RPI_PICO/mpconfigboard.h): in the last
1408 KiB of 2 MiB.
"""

from __future__ import annotations

from hardmute import board_files

START = 0xA0000
SIZE = 1408 * 1024


def firmware(
    config: bytes | None = None, board: str | None = None, *, compiled: bool = True
) -> dict[str, bytes]:
    """The files that a Pico gets, and its settings.

    ``board``: what board.txt says; None for no such file.
    """
    files = board_files.micropython(board_files.compiler() if compiled else None)
    if board is not None:
        files["board.txt"] = f"{board}\n".encode()
    if config is not None:
        files["config.json"] = config
    return files
