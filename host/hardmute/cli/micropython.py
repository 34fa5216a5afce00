"""MicroPython's own image, for a command: a person at the terminal may consent to a download."""

from __future__ import annotations

import sys
from pathlib import Path

from hardmute.cli import console
from hardmute.flash import runtime


def find(given: Path | None, *, download: bool) -> Path:
    """As `runtime.find`, also for errors. ``download``: consent, without a question."""
    return runtime.find(given, lambda address: download or _consents(address))


def _consents(address: str) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    question = f"This needs MicroPython for the Pico, once.\nDownload {address} (0.7 MB)? [y/N] "
    return console.answer(question).lower() in ("y", "yes")
