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
        ("isolation, both relays open, worst", "cables apart | {:.0f} dB"),
        ("isolation, both relays open, worst of 200 boards", "{:.0f} dB"),
        ("isolation, both relays open, JP1 off, worst", "{:.0f} dB"),
        ("isolation, host relay welded, worst", "{:.0f} dB"),
        ("isolation, host relay welded, worst of 200 boards", "{:.0f} dB"),
        ("isolation when cut, worst single fault", "{:.0f} dB"),
        ("CTIA headset, inline, 60 pF and 20 pF: cut, worst", "{:.0f} dB"),
        ("CTIA headset, inline, 60 pF and 20 pF, JP1 off: cut, worst", "{:.0f} dB"),
        ("TRS microphone, inline: cut, worst", "HEADSET jack | {:.0f} dB"),
        ("OMTP headset, breadboard, ear wires added: cut, worst", "NOT CUT ({:.1f} dB)"),
        ("coil current over what operates it, 4.5 V, 50 C", "{:.0f} % more current"),
        ("insertion loss, 20 Hz to 20 kHz, worst", "{:.2f} dB"),
        ("ALLOW low until the contact opens", "{:.2f} ms"),
        ("press until the contact opens, by the latch alone, 20 ms of bounce", "{:.0f} ms"),
        ("power unplugged (10 ms) until the contact opens", "{:.1f} ms"),
        ("sags of 5 V that open the line", "of which {:.0f} open the line"),
        ("guard test, healthy: driven high", "reads {:.2f} V and 0 V"),
        ("guard test, K1 welded: driven high", "K1 welded {:.2f} V"),
        ("guard test, K1 welded: driven low", "and {:.2f} V; with K2"),
        ("guard test, K2 welded, microphone in: driven high", "with K2 welded {:.1f} V"),
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


def test_P1_no_sag_of_5_v_ends_live_without_a_press() -> None:
    found = summary(ANEW)
    assert found["sags of 5 V simulated"][0] > 30
    assert found["sags of 5 V that open the line"][0] > 20
    assert found["sags of 5 V that open the line and end live with no press"] == (0, "yes")


def test_no_single_fault_keeps_the_line_connected_at_a_cut() -> None:
    with (ANEW / "faults.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 300
    assert [row for row in rows if row["cut when commanded"] != "yes"] == []


def test_the_faults_are_those_of_the_whole_board() -> None:
    """Each part of the simulation open, each relay welded and moved, and solder in between."""
    with (ANEW / "faults.csv").open(encoding="utf-8") as file:
        rows = [(row["part"], row["fault"]) for row in csv.DictReader(file)]
    assert len(set(rows)) == len(rows)
    for fault in (
        ("D3", "reversed"),
        ("R34", "short"),
        ("K1", "moved by a magnet"),
        ("K2", "pole B: NO welded"),
        ("U3", "pin on ALLOW1 lifted"),
        ("U3.1-U3.2", "ALLOW1 bridged to LATCH"),
    ):
        assert fault in rows
    # They lie apart: the witness cannot read the command.
    assert not [what for _, what in rows if "SENSE" in what and "ALLOW" in what]
