"""Which microphone is cut? One text in four places, with the figures of the simulation."""

import csv
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/threat-model.md",
    "hardware/README.md",
    "hardware/breadboard/README.md",
)
FIRST, LAST = "<!-- One text in ", "<!-- end of the same -->"
COLUMNS = ("inline", "breadboard", "breadboard, ear wires added")
KINDS = (
    "CTIA headset",
    "TRS microphone",
    "OMTP headset",
    "bare electret",
    "USB microphone",
    "Bluetooth",
    "laptop's own microphones",
    "smart speaker",
)


def block(page: str) -> str:
    text = (ROOT / page).read_text(encoding="utf-8")
    _, first, rest = text.partition(FIRST)
    inside, last, _ = rest.partition(LAST)
    assert first, page
    assert last, page
    return inside


def cells(kind: str) -> list[str]:
    (line,) = re.findall(rf"^\| {re.escape(kind)}.*$", block(PAGES[0]), re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")][1:]


def simulated(kind: str, board: str) -> dict[str, str]:
    with (ROOT / "hardware/inline/sim/plugs.csv").open(encoding="utf-8") as file:
        (row,) = (
            row
            for row in csv.DictReader(file)
            if (row["plug"], row["board"], row["line"]) == (kind, board, "cut")
        )
    return row


@pytest.mark.parametrize("page", PAGES[1:])
def test_the_table_is_the_same_wherever_it_stands(page: str) -> None:
    assert block(page) == block(PAGES[0])


def test_the_table_has_each_kind_of_microphone() -> None:
    rows = re.findall(r"^\| (?!microphone )(\w.*?) \|", block(PAGES[0]), re.MULTILINE)
    assert len(rows) == len(KINDS)
    for row, kind in zip(rows, KINDS, strict=True):
        assert row.startswith(kind)


@pytest.mark.parametrize("kind", ["CTIA headset", "TRS microphone", "OMTP headset"])
def test_P4_a_plug_is_called_cut_only_if_the_simulation_cuts_it(kind: str) -> None:
    for board, cell in zip(COLUMNS, cells(kind), strict=True):
        row = simulated(kind, board)
        worst = row["worst of the band"]
        if "NOT CUT" in cell:
            assert float(worst) < 20
            assert "say muted" in cell
            at_20, at_1000 = float(row["20 Hz"]), float(row["1000 Hz"])
            told = f"{at_20:.0f} dB at 20 Hz, {at_1000:.0f} dB at 1 kHz"
            assert f"({worst} dB)" in cell or f"({told})" in cell
        else:
            assert worst.startswith("over") or float(worst) > 50


@pytest.mark.parametrize("kind", KINDS[4:])
def test_what_does_not_run_through_the_board_is_not_cut(kind: str) -> None:
    assert all(cell.startswith("NOT CUT") for cell in cells(kind))


@pytest.mark.parametrize("page", [*PAGES, "firmware/README.md"])
def test_every_guide_asks_for_the_acceptance_test(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert re.search(r"[Aa]cceptance|each microphone that", text)
    assert "hardmute verify --listen" in text


def test_hardware_is_not_ready_is_the_first_thing_said() -> None:
    text = (ROOT / "hardware/README.md").read_text(encoding="utf-8")
    assert text.startswith("# The hardware\n\n**Not ready for fabrication.**")
