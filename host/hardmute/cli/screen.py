"""What a person sees who is walked through it: what to do, how far it is, how loud it is."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

# What the meter shows: from the noise of a cut line to full scale.
_SOFTEST_DBFS = -100.0
_WIDTH = 30


class Terminal:
    """``level``: power of what is heard now, dB re full scale.

    On a terminal, one line that is drawn anew; elsewhere, and with ``quiet`` on standard error, a
    line for each thing that the person is to do.
    """

    def __init__(self, level: Callable[[], float], *, quiet: bool) -> None:
        self._level = level
        self._stream = sys.stderr if quiet else sys.stdout
        self._words = ""
        self._done: Callable[[], float] | None = None

    @contextlib.contextmanager
    def shown(self) -> Generator[None]:
        """Draws within it."""
        if not self._stream.isatty():
            yield
            return
        from rich.console import Console
        from rich.live import Live

        console = Console(file=self._stream, highlight=False, emoji=False)
        with Live(
            get_renderable=self._line, console=console, refresh_per_second=10, transient=True
        ):
            yield

    @contextlib.contextmanager
    def ask(self, words: str) -> Generator[None]:
        """The person is to do something; how long that takes is open."""
        if not self._stream.isatty():
            print(words, file=self._stream, flush=True)
        self._words = words
        try:
            yield
        finally:
            self._words = ""

    @contextlib.contextmanager
    def progress(self, words: str, done: Callable[[], float]) -> Generator[None]:
        """Something goes on; ``done`` tells how far it is, 0 to 1."""
        self._words, self._done = words, done
        try:
            yield
        finally:
            self._words, self._done = "", None

    def _line(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        style = "" if self._done else "bold"
        cells: list[Any] = [Text(self._words, style=style)]
        if self._done is not None:
            cells.append(ProgressBar(total=1, completed=min(1.0, self._done()), width=_WIDTH))
        level = max(_SOFTEST_DBFS, self._level())
        cells.append(
            ProgressBar(
                total=-_SOFTEST_DBFS,
                completed=level - _SOFTEST_DBFS,
                width=_WIDTH // 2,
                complete_style="green",
                finished_style="red",
            )
        )
        cells.append(Text(f"{level:.0f} dBFS"))
        grid.add_row(*cells)
        return grid
