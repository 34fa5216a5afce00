"""What the usb board promises whatever firmware runs, read off its netlist; and its parts, its
pins and its simulation against what the documents say.
"""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING

import pytest

from netlist import INLINE, Netlist

if TYPE_CHECKING:
    from pathlib import Path

USB = INLINE.parent / "usb"
# Where `make -C hardware check` has simulated it just before.
ANEW = INLINE.parents[1] / "build" / "hardware" / "usb" / "sim"
SUPPLIES = {"GND", "+5V", "+3V3"}
# Of the microphone's 5 V, from the host's connector to the microphone's.
LINE = ("VLINE", "VFUSED", "MID", "VSW", "VO", "OUT")


@pytest.fixture(scope="module")
def usb(tmp_path_factory: pytest.TempPathFactory) -> Netlist:
    return Netlist(USB / "usb.kicad_sch", tmp_path_factory.mktemp("usb"))


def without_points(pins: set[str]) -> set[str]:
    return {pin for pin in pins if not pin.startswith("TP")}


def test_P1_the_5_v_meets_the_microphone_only_by_both_relays(usb: Netlist) -> None:
    assert {usb.net(p) for p in ("J1.1", "F1.1")} == {"VLINE"}
    assert without_points(usb.on("K1.4")) == {"K1.4", "F1.2"}
    assert without_points(usb.on("K1.3")) == {"K1.3", "K2.4", "R20.1"}
    assert without_points(usb.on("K2.3")) == {"K2.3", "U8.1", "C9.1", "R24.1"}
    assert {"R15.1", "U8.5", "U8.6", "U10.3"} <= usb.on("U8.6")
    assert usb.net("J2.1") == usb.net("R15.2") == "OUT"
    # What else bridges two nets of the line: nothing but these.
    joins = {
        ref
        for ref in usb.parts
        if len({usb.net(pin) for pin in usb.pins(ref)} & set(LINE)) > 1 and ref[0] != "A"
    }
    assert joins == {"F1", "K1", "K2", "U8", "R15", "U10"}


def test_P1_no_part_joins_the_data_lines_with_the_supply(usb: Netlist) -> None:
    for net in ("USB_D+", "USB_D-"):
        assert {pin.split(".")[0] for pin in usb.nets[net]} == {"J1", "J2", "U9"}
    assert usb.on("U9.5") == {"U9.5", "C20.1"}


def test_P1_at_rest_each_relay_pulls_what_lies_behind_it_down(usb: Netlist) -> None:
    for rest, common in (("K1.2", "MID"), ("K2.2", "VSW"), ("K1.7", "OUT"), ("K2.7", "OUT")):
        pole = f"{rest.split('.')[0]}.{'3' if rest.endswith('2') else '6'}"
        assert usb.net(pole) == common
        assert usb.resistors_between(usb.net(rest), "GND") == [150]


def test_P2_the_chip_reaches_latch_and_line_only_through_10k(usb: Netlist) -> None:
    guarded = {
        "press": usb.net("SW1.1"),
        "filtered press": usb.net("U1.2"),
        "latch clock": usb.net("U2.1"),
        "latch data": usb.net("U2.2"),
        "latch output": usb.net("U2.5"),
        "gate 1": usb.net("Q1.1"),
        "gate 2": usb.net("Q2.1"),
        "AND 1": usb.net("U3.4"),
        "AND 2": usb.net("U4.4"),
        "coil 1": usb.net("Q1.3"),
        "coil 2": usb.net("Q2.3"),
        "load switch": usb.net("U8.3"),
        **{net: net for net in LINE},
    }
    reached: set[str] = set()
    pins = {usb.net(pin) for pin in usb.pins("A1")} - SUPPLIES
    for start in (net for net in pins if not net.startswith("unconnected")):
        ways = usb.reach(start, SUPPLIES)
        for what, net in guarded.items():
            ohms = ways.get(net, float("inf"))
            assert ohms >= 10e3, f"{start} reaches {what} through {ohms:.0f} ohms"
            if ohms < float("inf"):
                reached.add(what)
    assert {"press", "latch output", "MID", "VSW", "OUT"} <= reached


@pytest.mark.parametrize(
    ("gate", "allow", "pin", "driver", "relay"),
    [("U3", "R7", "A1.26", "Q1", "K1"), ("U4", "R8", "A1.25", "Q2", "K2")],
)
def test_P1_P2_each_coil_is_latch_and_its_allow(
    usb: Netlist, gate: str, allow: str, pin: str, driver: str, relay: str
) -> None:
    assert usb.net(f"{gate}.1") == usb.net("U2.5")
    assert usb.on(f"{gate}.2") == {f"{gate}.2", f"{allow}.2"}
    assert usb.parts[allow].ohms == 1e3
    assert usb.net(f"{allow}.1") == usb.net(pin)
    assert usb.resistors_between("GND", usb.net(pin)) == [4.7e3]
    assert usb.resistors_between(usb.net(f"{gate}.4"), usb.net(f"{driver}.1")) == [100]
    assert usb.resistors_between("GND", usb.net(f"{driver}.1")) == [100e3]
    assert usb.net(f"{driver}.3") == usb.net(f"{relay}.8")
    assert usb.net(f"{relay}.1") == "+5V"


def test_P1_the_load_switch_is_on_only_with_both_coils(usb: Netlist) -> None:
    assert {usb.net("U5.1"), usb.net("U5.2")} == {usb.net("U3.4"), usb.net("U4.4")}
    assert usb.on("U5.4") == {"U5.4", "R27.1", "D5.1"}
    assert without_points(usb.on("U8.3")) == {"U8.3", "R27.2", "D5.2", "C16.1", "R28.1"}


def test_P1_P2_what_clears_the_latch_and_that_nothing_sets_it(usb: Netlist) -> None:
    assert usb.net("U2.7") == "+3V3"
    assert usb.on("U2.2") == {"U2.2", "U2.3"}
    assert usb.on("U2.1") == {"U2.1", "U1.4"}
    assert without_points(usb.on("U2.6")) == {"U2.6", "D7.2", "U6.2", "U7.2", "R6.2"}
    assert usb.on("A1.22") == {"A1.22", "D7.1"}
    assert (usb.net("U6.3"), usb.net("U7.3")) == ("+3V3", "+5V")


def test_the_relays_lie_turned_against_one_magnet() -> None:
    text = (USB / "usb.kicad_pcb").read_text(encoding="utf-8")
    turn: dict[str, float] = {}
    for block in text.split("\n\t(footprint ")[1:]:
        ref = re.search(r'\(property "Reference" "(K\d)"', block)
        place = re.search(r"\n\t\t\(at \S+ \S+(?: (\S+))?\)", block)
        if ref and place:
            turn[ref[1]] = float(place[1] or 0)
    assert abs(turn["K1"] - turn["K2"]) == 180


def test_every_part_has_maker_number_and_second_source(usb: Netlist) -> None:
    bought = [p for p in usb.parts.values() if "exclude_from_bom" not in p.flags]
    assert len(bought) > 80
    for part in bought:
        for name in ("Manufacturer", "MPN", "Second source"):
            assert part.fields.get(name), f"{part.ref} has no {name}"


def test_the_readme_has_the_pins_of_the_board(usb: Netlist) -> None:
    """The firmware is written against that table."""
    gpio = usb.functions("A1", r"GPIO(\d+)")
    nets = {
        16: "VSW_RD", 17: "MCU_CLEAR", 18: "BTN_RB", 19: "ALLOW2", 20: "ALLOW1",
        21: "RGB_DIN", 22: "LATCH_RB", 26: "I_ADC", 27: "MID_ADC", 28: "OUT_ADC",
    }  # fmt: skip
    assert {n: net for n, net in gpio.items() if not net.startswith("unconnected")} == nets
    text = (USB / "README.md").read_text(encoding="utf-8")
    table = {
        int(n): int(pin) for n, pin in re.findall(r"^\| GP(\d+) \| (\d+) \|", text, re.MULTILINE)
    }
    assert table.keys() == nets.keys()
    for number, pin in table.items():
        assert usb.net(f"A1.{pin}") == nets[number]


def test_the_data_pair_is_drawn_as_its_impedance_was_computed() -> None:
    """0.29 mm with 0.2 mm between; 0.4 mm where it spreads around U9; J1 to J2 in 31 mm."""
    text = (USB / "usb.kicad_pcb").read_text(encoding="utf-8")
    numbers = dict(re.findall(r'\n\t\(net (\d+) "/USB_D([+-])"\)', text))
    lengths = {"+": 0.0, "-": 0.0}
    for x1, y1, x2, y2, width, layer, net in re.findall(
        r"\(segment\s+\(start (\S+) (\S+)\)\s+\(end (\S+) (\S+)\)\s+\(width (\S+)\)"
        r'\s+\(layer "([^"]+)"\)\s+\(net (\d+)\)',
        text,
    ):
        if net in numbers:
            assert layer == "F.Cu"
            assert width in ("0.29", "0.4")
            dx, dy = float(x2) - float(x1), float(y2) - float(y1)
            lengths[numbers[net]] += (dx * dx + dy * dy) ** 0.5
    assert all(27 < length < 31 for length in lengths.values()), lengths
    vias = re.findall(r"\n\t\(via\n(?:\t\t.*\n)*?\t\t\(net (\d+)\)", text)
    assert len(vias) > 100
    assert not set(vias) & set(numbers)


def rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def summary(folder: Path) -> dict[str, dict[str, str]]:
    return {row["figure"]: row for row in rows(folder, "summary.csv")}


def test_the_summary_is_that_of_this_schematic_and_layout() -> None:
    kept, anew = summary(USB / "sim"), summary(ANEW)
    assert kept.keys() == anew.keys()
    for name, row in anew.items():
        assert row["met"] != "NO", name
        # Other versions of ngspice take other steps.
        value = pytest.approx(float(row["simulated"]), rel=0.05, abs=1e-3)
        assert float(kept[name]["simulated"]) == value, name


def test_P1_no_single_fault_connects_while_cut_or_burns() -> None:
    table = rows(ANEW, "faults.csv")
    assert len(table) > 250
    inside = [row for row in table if not row["fault"].startswith("a microphone with its own")]
    assert {row["connects while cut"] for row in inside} == {"no"}
    assert {row["too hot"] for row in table} == {"no"}
    # It lists each kind that there is.
    faults = " ".join(row["fault"] for row in table)
    for kind in ("open", "short", "reversed", "lifted", "touches", "turned", "welded", "magnet"):
        assert kind in faults


def test_P4_a_weld_shows_before_anything_is_connected() -> None:
    table = {(row["part"], row["fault"]): row for row in rows(ANEW, "faults.csv")}
    assert "cut: MID" in table["K1", "pole A welded operated"]["seen by"]
    assert "K1 alone: VSW" in table["K2", "pole A welded operated"]["seen by"]
    own = table["J2", "a microphone with its own supply feeds 5 V into OUT"]
    assert "OUT" in own["seen by"]


def test_P1_no_sag_of_5_v_makes_it_live_again() -> None:
    table = rows(ANEW, "sags.csv")
    assert {row["live again with no press"] for row in table} == {"no"}
    # Some of them did cut.
    assert min(float(row["OUT at least"]) for row in table) < 0.2


@pytest.mark.parametrize(
    ("figure", "written"),
    [
        ("drop from J1 to J2 at 500 mA, typical", "{:.2f} V"),
        ("drop from J1 to J2 at 500 mA, worst", "{:.2f} V"),
        ("D+ D-: 0.29 mm, gap 0.20 mm", "{:.0f} Ω"),
        ("D+ D- beside U9: 0.40 mm, gap 1.5 mm", "{:.0f} Ω"),
        ("inrush when the cable is plugged in, charge above 100 mA", "{:.0f} µC"),
        ("a microphone of 100 uF and 10 mA: ALLOW low until OUT is below 0.2 V", "{:.0f} ms"),
        ("ALLOW1 and ALLOW2 high until OUT is above 4 V", "{:.0f} ms"),
        ("ALLOW low until MID falls (contact of K1 open)", "{:.2f} ms"),
        ("current of the Pico's 5 V, live", "{:.0f} mA"),
        ("coil at 4.5 V and 50 C, above what it needs", "{:.0f} %"),
        ("single faults simulated", "{:.0f} single faults"),
        ("single faults that nothing shows", "{:.0f} of them nothing shows"),
    ],
)
def test_the_usb_readme_says_what_the_summary_says(figure: str, written: str) -> None:
    value = float(summary(USB / "sim")[figure]["simulated"])
    text = (USB / "README.md").read_text(encoding="utf-8")
    assert written.format(value) in " ".join(text.split())
