"""What the emulated Pico has in its file system. Where that lies, MicroPython's image says."""

from __future__ import annotations

from hardmute.flash import board_files


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
