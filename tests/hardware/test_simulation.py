"""The tables of the simulation that the documents cite are those of this schematic."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest

from netlist import INLINE

if TYPE_CHECKING:
    from pathlib import Path

# Where `make -C hardware check` has simulated it anew just before.
ANEW = INLINE.parents[1] / "build" / "hardware" / "inline" / "sim"


def summary(folder: Path) -> dict[str, tuple[float, str]]:
    with (folder / "summary.csv").open(encoding="utf-8") as file:
        return {
            row["figure"]: (float(row["simulated"]), row["met"]) for row in csv.DictReader(file)
        }


def test_the_summary_is_that_of_this_schematic() -> None:
    kept, anew = summary(INLINE / "sim"), summary(ANEW)
    assert kept.keys() == anew.keys()
    for name, (value, met) in anew.items():
        assert met == "yes", name
        # Other versions of ngspice take other steps.
        assert kept[name][0] == pytest.approx(value, rel=0.05), name


def test_no_single_fault_leaves_the_line_connected_when_it_is_commanded_to_cut() -> None:
    with (ANEW / "faults.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    assert [row for row in rows if row["cut when commanded"] != "yes"] == []
