"""Tables, curves and limits, as they are kept in the project."""

# matplotlib's own types are partly unknown.
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    Curves = dict[str, tuple[Sequence[float], Sequence[float]]]


@dataclass(frozen=True)
class Figure:
    """One result, and the limit that it is held against: at least, at most, or none."""

    name: str
    value: float
    unit: str
    at_least: float | None = None
    at_most: float | None = None

    @property
    def limit(self) -> str:
        if self.at_least is not None and self.at_least == self.at_most:
            return f"= {self.at_least:g}"
        if self.at_least is not None:
            return f">= {self.at_least:g}"
        return "" if self.at_most is None else f"<= {self.at_most:g}"

    @property
    def ok(self) -> bool:
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)

    @property
    def met(self) -> str:
        """In words; nothing where there is no limit."""
        return ("yes" if self.ok else "NO") if self.limit else ""


def write_table(file: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_curves(
    file: Path,
    curves: Curves,
    *,
    title: str,
    labels: tuple[str, str],
    logarithmic: bool = False,
    limits: dict[str, float] | None = None,
) -> None:
    """``curves``: name -> (x, y). The file is the same for the same figures."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    settings: dict[Any, Any] = {"svg.hashsalt": "hardmute", "svg.fonttype": "none", "font.size": 9}
    with mpl.rc_context(settings):
        figure, axes = pyplot.subplots(figsize=(7.2, 4.2), layout="constrained")
        # Broken, where two may lie upon each other.
        for (name, (x, y)), style in zip(curves.items(), cycle(("-", "-", "--")), strict=False):
            axes.plot(x, y, style, label=name, linewidth=1.4)
        for name, y in (limits or {}).items():
            axes.axhline(y, color="0.35", linestyle="--", linewidth=1)
            axes.annotate(
                name, (0.01, y), xycoords=("axes fraction", "data"), va="bottom", color="0.25"
            )
        if logarithmic:
            axes.set_xscale("log")
        axes.set(title=title, xlabel=labels[0], ylabel=labels[1])
        axes.grid(which="both", alpha=0.25)
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        figure.savefig(file, metadata={"Date": None, "Creator": None})
        pyplot.close(figure)
    # No blanks at line ends, which git would mark.
    file.write_text("\n".join(line.rstrip() for line in file.read_text().splitlines()) + "\n")
