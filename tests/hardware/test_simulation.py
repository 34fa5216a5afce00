"""The tables of the simulation that the documents cite are those of this schematic."""

from __future__ import annotations

import csv
import importlib
import os
import sys
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
        assert met != "NO", name
        # Other versions of ngspice take other steps.
        assert kept[name][0] == pytest.approx(value, rel=0.05, abs=1e-3), name


@pytest.mark.parametrize("program", ["run", "run_usb"])
def test_a_slow_simulation_is_told_in_words(
    program: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    slow = tmp_path / "ngspice"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(sys, "path", [str(INLINE.parent / "sim"), *sys.path])
    monkeypatch.setattr(importlib.import_module("circuit"), "_TIMEOUT_S", 0.1)
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path)])
    assert importlib.import_module(program).main() == 2
    said = capsys.readouterr().err
    assert said.startswith("One run of ngspice took longer than 0.1 s")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("figure", "written"),
    [
        ("isolation, both relays open, worst", "{:.1f} dB"),
        ("isolation, both relays open, worst of 200 boards", "{:.1f} dB"),
        ("isolation, host relay welded, worst", "{:.1f} dB"),
        ("isolation, host relay welded, worst of 200 boards", "{:.1f} dB"),
        ("isolation when cut, worst single fault", "{:.1f} dB"),
        ("CTIA headset, inline, 60 pF to an ear wire: cut, worst", "{:.1f} dB"),
        ("CTIA headset, inline, 20 pF between the cables: cut, worst", "{:.1f} dB"),
        ("TRS microphone, inline: cut, worst", "NOT CUT ({:.1f} dB)"),
        ("OMTP headset, inline: cut, worst", "NOT CUT ({:.0f} dB at 20 Hz"),
        ("OMTP headset, breadboard, ear wires added: cut, worst", "NOT CUT ({:.1f} dB)"),
        ("inline: DC at the host's input while cut", "rises to {:.2f} V"),
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


def test_the_breadboard_guide_says_what_the_simulation_says() -> None:
    kept = summary(INLINE / "sim")
    text = " ".join((INLINE.parent / "breadboard" / "README.md").read_text("utf-8").split())
    for figure, written in (
        ("CTIA headset, breadboard: cut, worst", "{:.0f} dB at 20 kHz"),
        ("OMTP headset, breadboard: cut, worst", "and {:.0f} dB."),
        ("breadboard: DC at the host's input while cut", "stays at {:.2f} V while cut"),
    ):
        assert written.format(kept[figure][0]) in text, figure


def test_revision_a_is_not_said_to_hold_through_a_sag_of_5_v() -> None:
    """A known defect: it is simulated, and told."""
    (again,) = (
        value for name, (value, _) in summary(ANEW).items() if name.startswith("live after a sag")
    )
    text = (INLINE.parent / "README.md").read_text("utf-8")
    assert (again == 1) == ("sag of USB's 5 V alone reconnects with no press" in text)


def test_no_single_fault_keeps_the_line_connected_at_a_cut() -> None:
    with (ANEW / "faults.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    assert [row for row in rows if row["cut when commanded"] != "yes"] == []
