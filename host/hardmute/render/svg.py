"""The timeline as an SVG: bands that differ in hatching and height as well as in colour."""

# pyright: reportUnknownMemberType=false
# Matplotlib annotates its own methods only in part.

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

import matplotlib as mpl
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from hardmute.evidence.timeline import total_live_ms, total_ms
from hardmute.model import words
from hardmute.render.bands import BANDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hardmute.evidence.timeline import BoardTimeline

_ROW_INCHES = 1.05
# Causes are written below the band unless it is narrower than this part of the axis.
_LABEL_WIDTH = 0.07
_NARROW = 0.004


def write_svg(timelines: list[BoardTimeline], file: BinaryIO) -> None:
    """Draw ``timelines`` into ``file``. Raises `OSError`."""
    # Text stays text, and the same log gives the same file.
    with mpl.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "hardmute", "hatch.linewidth": 0.6}
    ):
        figure = Figure(figsize=(10, 1.3 + _ROW_INCHES * len(timelines)), layout="constrained")
        axes = figure.add_subplot()
        for row, timeline in enumerate(timelines):
            _draw_row(axes, -row, timeline)
        _frame(axes, timelines)
        figure.savefig(file, format="svg", metadata={"Date": None, "Title": "hardmute timeline"})


def _draw_row(axes: Axes, y: float, timeline: BoardTimeline) -> None:
    start, end = timeline.intervals[0].start_ms, timeline.intervals[-1].end_ms
    for interval in timeline.intervals:
        colour, hatch, half = BANDS[interval.state]
        # The outline of a narrow one would hide its colour.
        narrow = interval.length_ms < _NARROW * (end - start)
        axes.broken_barh(
            [(_days(interval.start_ms), _days(interval.end_ms) - _days(interval.start_ms))],
            (y - half, 2 * half),
            facecolor=colour,
            hatch=hatch,
            edgecolor=colour if narrow else "black",
            linewidth=0.8 if narrow else 0.4,
        )
        if interval.cause and interval.length_ms >= _LABEL_WIDTH * max(1, end - start):
            axes.text(
                _days(interval.start_ms),
                y - 0.46,
                " " + words.CAUSES.get(interval.cause, interval.cause),
                fontsize=7,
                va="center",
            )


def _sums(timeline: BoardTimeline) -> str:
    said = f"live {words.duration(total_live_ms(timeline.intervals))}"
    fault_ms = total_ms(timeline.intervals, "fault")
    return f"{said}, fault {words.duration(fault_ms)}" if fault_ms else said


def _frame(axes: Axes, timelines: list[BoardTimeline]) -> None:
    axes.set_yticks([-row for row in range(len(timelines))])
    axes.set_yticklabels(
        [f"{timeline.title}\n{_sums(timeline)}" for timeline in timelines],
        fontsize=8,
        # A name may have dollar signs.
        parse_math=False,
    )
    axes.set_ylim(-len(timelines) + 0.4, 0.55)
    # One offset for the whole axis, which it names: a local hour may occur twice.
    now = datetime.now(UTC).astimezone()
    axes.set_xlabel(f"UTC{now.isoformat()[-6:]}", fontsize=8)
    locator = AutoDateLocator(tz=now.tzinfo)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=locator.tz))
    axes.grid(axis="x", linewidth=0.3)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.figure.legend(
        handles=[
            Patch(facecolor=colour, hatch=hatch, edgecolor="black", linewidth=0.4, label=state)
            for state, (colour, hatch, _) in BANDS.items()
        ],
        loc="outside upper right",
        ncols=len(BANDS),
        frameon=False,
        fontsize=8,
    )


def _days(at_ms: int) -> float:
    """Matplotlib's date number: days since the epoch."""
    return at_ms / 86_400_000
