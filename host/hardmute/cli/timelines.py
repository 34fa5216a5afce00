"""Timelines on a terminal."""

from __future__ import annotations

from hardmute import BoardTimeline
from hardmute.cli import console
from hardmute.render.timelines import (
    timeline_cells,
    timeline_ends,
    timeline_rows,
    timeline_totals,
)

# They differ in shape as well as in colour.
_GLYPHS = {"live": "█", "fault": "▞", "unknown": "░", "muted": "─"}
_ASCII_GLYPHS = {"live": "#", "fault": "!", "unknown": "?", "muted": "-"}
_WIDTH = 64


def print_timeline(timeline: BoardTimeline) -> None:
    """The intervals as a table, the picture, and the sum."""
    from rich.table import Table
    from rich.text import Text

    out = console.rich_console()
    out.print(Text(timeline.title, style="bold"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("From", no_wrap=True)
    table.add_column("State", no_wrap=True)
    table.add_column("For", justify="right", no_wrap=True)
    table.add_column("Why", overflow="fold")
    table.add_column("Proof", no_wrap=True)
    for row in timeline_rows(timeline):
        state = Text(row.state.upper(), style=console.STYLES[row.state])
        table.add_row(row.start, state, row.length, Text(row.why), row.proof)
    out.print(table)
    _print_picture(timeline)
    for line in timeline_totals(timeline):
        out.print(line)


def _print_picture(timeline: BoardTimeline) -> None:
    """The timeline as one line of characters that differ in shape as well as in colour."""
    from rich.text import Text

    glyphs = _GLYPHS if console.fits("".join(_GLYPHS.values())) else _ASCII_GLYPHS
    line = Text()
    for state in timeline_cells(timeline, _WIDTH):
        line.append(glyphs[state], style=console.STYLES[state])
    out = console.rich_console()
    out.print(line)
    left, right = timeline_ends(timeline)
    out.print(left + " " + right.rjust(_WIDTH - len(left) - 1))
    legend = Text()
    for state in ("muted", "live", "fault", "unknown"):
        legend.append(f"{glyphs[state] * 2} {state}   ", style=console.STYLES[state])
    out.print(legend)
