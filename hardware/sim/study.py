"""What both boards' simulations do with their figures."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from circuit import Circuit, SpiceError
from results import Figure, write_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Study = Callable[[Circuit, Path], list[Figure]]


def simulate(schematic: Path, folder: Path, studies: Iterable[Study]) -> int:
    """Run ``studies``, print their figures and write ``summary.csv``.

    Returns the exit code. 1: a limit is missed. 2: ngspice or KiCad failed, or took too long.
    """
    figures: list[Figure] = []
    try:
        circuit = Circuit.of(schematic)
        for study in studies:
            figures += study(circuit, folder)
    except SpiceError as error:
        print(error, file=sys.stderr)
        return 2
    header = ["figure", "simulated", "unit", "limit", "met"]
    rows = [[f.name, f"{f.value:.4g}", f.unit, f.limit, f.met] for f in figures]
    write_table(folder / "summary.csv", header, rows)
    for row in rows:
        print(" | ".join(row))
    return 0 if all(figure.ok for figure in figures) else 1
