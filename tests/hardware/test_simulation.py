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


@pytest.mark.parametrize(
    ("figure", "written"),
    [
        ("isolation, both relays open, worst", "{:.1f} dB"),
        ("isolation, both relays open, worst of 200 boards", "{:.1f} dB"),
        ("isolation, host relay welded, worst", "{:.1f} dB"),
        ("isolation, host relay welded, worst of 200 boards", "{:.1f} dB"),
        ("isolation when cut, worst single fault", "{:.1f} dB"),
        ("insertion loss, 20 Hz to 20 kHz, worst", "{:.2f} dB"),
        ("ALLOW low until the contact opens", "{:.2f} ms"),
        ("press until the contact opens, by the latch alone, 20 ms of bounce", "{:.0f} ms"),
        ("power unplugged (10 ms) until the contact opens", "{:.1f} ms"),
        ("single faults simulated", "{:.0f} single faults"),
        ("single faults that nothing shows", "{:.0f} of them nothing shows"),
    ],
)
def test_the_readme_says_what_the_summary_says(figure: str, written: str) -> None:
    value, _ = summary(INLINE / "sim")[figure]
    text = (INLINE.parent / "README.md").read_text(encoding="utf-8")
    assert written.format(value) in " ".join(text.split())


def test_no_single_fault_leaves_the_line_connected_when_it_is_commanded_to_cut() -> None:
    with (ANEW / "faults.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    assert [row for row in rows if row["cut when commanded"] != "yes"] == []
