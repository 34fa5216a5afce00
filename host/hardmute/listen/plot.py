"""What was heard as an SVG: the spectrum live and muted, and what a leak is proven to be below."""

# pyright: reportUnknownMemberType=false
# Matplotlib annotates its own methods only in part.

from __future__ import annotations

from typing import BinaryIO

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter

from hardmute.listen.outcome import Outcome
from hardmute.render.bands import BANDS

_TITLES = {
    "muted": "proven muted: a leak is weaker by {least:.1f} dB or more",
    "live": "live: a leak of -{leak:.1f} dB",
    "inconclusive": "inconclusive: proven are {least:.1f} dB",
}


def write_svg(outcome: Outcome, file: BinaryIO) -> None:
    """Draw ``outcome``, whose bands are known, into ``file``. Raises `OSError`."""
    edges = [band.low_hz for band in outcome.bands] + [outcome.bands[-1].high_hz]
    bounds = [band.live_dbfs - band.least_db for band in outcome.bands]
    lines = (
        ("live", [band.live_dbfs for band in outcome.bands], BANDS["live"][0], "-"),
        ("muted", [band.muted_dbfs for band in outcome.bands], BANDS["muted"][0], "-"),
        ("no leak above", bounds, "black", "--"),
    )
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hardmute"}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot()
        lowest = min(value for _, values, _, _ in lines for value in values)
        axes.stairs(bounds, edges, baseline=lowest - 8, fill=True, color="#eeeeee")
        for index, (name, values, colour, style) in enumerate(lines):
            axes.stairs(values, edges, baseline=None, color=colour, linestyle=style, linewidth=2)
            # In words on the line itself: no colour need be told from another.
            axes.annotate(
                name,
                (edges[2 * index] * 1.02, values[2 * index]),
                xytext=(0, 3),
                textcoords="offset points",
            )
        axes.set_xscale("log")
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(lowest - 8, max(values[0] for _, values, _, _ in lines) + 10)
        axes.xaxis.set_major_locator(FixedLocator(edges))
        axes.xaxis.set_minor_locator(FixedLocator([]))
        axes.xaxis.set_major_formatter(FuncFormatter(_hertz))
        axes.set_xlabel("Hz, in thirds of an octave")
        axes.set_ylabel("dB re full scale")
        axes.grid(axis="y", linewidth=0.3)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        title = _TITLES[outcome.verdict]
        axes.set_title(title.format(least=outcome.least_db, leak=outcome.leak_db), fontsize=11)
        figure.savefig(file, format="svg", metadata={"Date": None, "Title": "hardmute, by ear"})


def _hertz(value: float, _: int) -> str:
    return f"{value:.0f}"
