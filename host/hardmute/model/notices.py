"""What a person is to know though the work goes on: a log that is locked, a port that is held.

The command line shows it on standard error. For other programs it is a warning of the logger
``hardmute``, which they handle as any other.
"""

from __future__ import annotations

from collections.abc import Callable


def _log(said: str) -> None:
    # It would cost the command line a tenth of its start-up time.
    import logging

    logging.getLogger("hardmute").warning("%s", said)


_show: Callable[[str], None] = _log


def tell(said: str) -> None:
    """Tell a person ``said``: one sentence."""
    _show(said)


def show_by(show: Callable[[str], None]) -> None:
    """From now on ``show`` gets each notice of this process, in the thread that has it."""
    global _show
    _show = show
