"""What the inline board promises whatever firmware runs, read off its netlist.

ERC and DRC cannot know these things: a net with the wrong name passes both.
"""

from __future__ import annotations

import pytest

from netlist import Netlist

SUPPLIES = {"GND", "GNDA", "+5V", "+3V3"}
# 74LVC1G14 at 3.3 V: no input above this is taken as low. Assumed, from memory of data sheets
# (VT- of at most 1.5 V at 3 V), with a margin.
NO_PRESS_VOLTS = 2.0


def driven(board: Netlist) -> list[str]:
    """Nets on which firmware can put a level."""
    names = [board.net(pin) for pin in board.pins("A1")]
    return [name for name in names if name not in SUPPLIES and not name.startswith("unconnected")]


def test_P2_the_chip_reaches_latches_and_gates_only_through_10k(board: Netlist) -> None:
    guarded = {
        "press": board.net("SW1.1"),
        "filtered press": board.net("U1.2"),
        "latch clock": board.net("U2.1"),
        "latch data": board.net("U2.2"),
        "latch output": board.net("U2.5"),
        "gate 1": board.net("Q1.1"),
        "gate 2": board.net("Q2.1"),
        "AND 1": board.net("U3.4"),
        "AND 2": board.net("U4.4"),
        "coil 1": board.net("Q1.3"),
        "coil 2": board.net("Q2.3"),
        "witness 1": board.net("K1.6"),
        "witness 2": board.net("K2.6"),
    }
    assert driven(board)
    reached: set[str] = set()
    for start in driven(board):
        ways = board.reach(start, SUPPLIES)
        for what, net in guarded.items():
            ohms = ways.get(net, float("inf"))
            assert ohms >= 10e3, f"{start} reaches {what} through {ohms:.0f} ohms"
            if ohms < float("inf"):
                reached.add(what)
    # It does read these, so the search above is not blind.
    assert {"press", "latch output", "witness 1", "witness 2"} <= reached


def test_P2_the_latch_is_set_by_nothing_but_its_clock(board: Netlist) -> None:
    assert board.net("U2.7") == "+3V3"
    assert board.on("U2.2") == {"U2.2", "U2.3"}
    assert board.on("U2.1") == {"U2.1", "U1.4", "TP6.1"}


def test_P2_the_chip_driving_the_button_line_low_is_no_press(board: Netlist) -> None:
    press = board.net("SW1.1")
    (pull_up,) = board.resistors_between("+3V3", press)
    (read,) = board.resistors_between(press, board.net("A1.24"))
    assert 3.3 * read / (read + pull_up) > NO_PRESS_VOLTS


def test_P2_clear_can_be_pulled_down_by_the_chip_and_never_up(board: Netlist) -> None:
    # Only the cathode of the diode is on the chip's side.
    assert board.on("A1.22") == {"A1.22", "D7.1"}
    assert board.on("U2.6") == {"U2.6", "D7.2", "U5.2", "R6.2", "TP9.1"}
    assert board.resistors_between("+3V3", board.net("U2.6")) == [10e3]


@pytest.mark.parametrize(
    ("gate", "series", "pull_down", "driver", "lamp", "relay"),
    [("U3", "R7", "R9", "Q1", "D1", "K1"), ("U4", "R8", "R10", "Q2", "D2", "K2")],
)
def test_P1_P2_a_coil_is_latch_and_allow(
    board: Netlist, gate: str, series: str, pull_down: str, driver: str, lamp: str, relay: str
) -> None:
    assert board.parts[gate].value == "74LVC1G08"
    assert board.net(f"{gate}.1") == board.net("U2.5")
    assert board.net(f"{gate}.2") == board.net("A1.26")
    assert board.on(f"{gate}.4") == {f"{gate}.4", f"{series}.1"}
    assert board.on(f"{driver}.1") == {f"{driver}.1", f"{series}.2", f"{pull_down}.1"}
    assert board.net(f"{pull_down}.2") == board.net(f"{driver}.2") == "GND"
    coil = {pin for pin in board.on(f"{driver}.3") if pin[:2] != "TP"}
    assert coil == {f"{driver}.3", f"{relay}.8", {"K1": "D3.2", "K2": "D5.2"}[relay]}
    # The lamp carries the coil's current, and all of it.
    assert board.on(f"{relay}.1") == {f"{relay}.1", f"{lamp}.1"}
    assert board.net(f"{lamp}.2") == "+5V"


def test_P1_allow_is_low_unless_the_chip_drives_it(board: Netlist) -> None:
    assert board.resistors_between("GND", board.net("A1.26")) == [10e3]


def test_P1_a_supply_that_is_too_low_clears_the_latch(board: Netlist) -> None:
    assert board.net("U5.3") == board.net("U2.8") == "+3V3"
    assert board.net("U5.2") == board.net("U2.6")


def test_P1_the_microphone_meets_the_host_only_by_both_relays(board: Netlist) -> None:
    assert board.on("K2.4") == {"K2.4", "J2.S", "J3.1", "D9.1", "TP3.1"}
    assert board.on("K2.3") == {"K2.3", "K1.4", "R21.2", "TP2.1"}
    assert board.on("K1.3") == {"K1.3", "J1.S", "R20.2", "D10.1", "TP1.1"}


def test_revision_a_passes_three_contacts_of_the_plug_uncut(board: Netlist) -> None:
    """A known defect: README.md has which microphones come through them. The simulation of plugs
    takes them for straight wires."""
    straight = {c for c in ("T", "R1", "R2", "S") if board.net(f"J1.{c}") == board.net(f"J2.{c}")}
    assert straight == {"T", "R1", "R2"}
    assert {board.net(f"J1.{c}") for c in ("T", "R1", "R2")} == {"EAR_L", "EAR_R", "GNDA"}


@pytest.mark.parametrize(
    ("relay", "capacitor", "damper"), [("K1", "C10", "R18"), ("K2", "C11", "R19")]
)
def test_P1_at_rest_what_lies_behind_a_relay_is_shunted(
    board: Netlist, relay: str, capacitor: str, damper: str
) -> None:
    assert f"{capacitor}.1" in board.on(f"{relay}.2")
    assert board.on(f"{capacitor}.2") == {f"{capacitor}.2", f"{damper}.1"}
    assert board.net(f"{damper}.2") == "GNDA"
    assert board.parts[damper].ohms <= 10


@pytest.mark.parametrize(
    ("relay", "sense", "lamp"), [("K1", "A1.25", "D11"), ("K2", "A1.29", "D12")]
)
def test_P4_each_relay_has_its_own_witness(
    board: Netlist, relay: str, sense: str, lamp: str
) -> None:
    """The rest contact pulls the sense line low and lights the lamp; nothing else does."""
    witness = board.net(f"{relay}.6")
    assert board.net(f"{relay}.7") == "GND"
    assert board.on(f"{relay}.5") == {f"{relay}.5"}
    assert board.resistors_between(witness, board.net(sense)) == [10e3]
    assert f"{lamp}.1" in board.on(f"{relay}.6")
    # The chip, driving the sense line low, leaves the lamp below any visible current.
    (bypass,) = board.resistors_between(witness, board.net(f"{lamp}.2"))
    assert 3.3 / (10e3 + bypass) * bypass < 1.2


def test_audio_and_usb_grounds_meet_in_one_place(board: Netlist) -> None:
    audio = {"GNDA", "MIC_SRC", "MIC_MID", "MIC_HOST", "SHUNT1", "SHUNT2", "EAR_L", "EAR_R"}
    audio |= {board.net("C10.2"), board.net("C11.2")}
    sides: dict[str, set[bool]] = {}
    for name, pins in board.nets.items():
        for pin in pins:
            sides.setdefault(pin.split(".")[0], set()).add(name in audio)
    assert {ref for ref, both in sides.items() if len(both) == 2} == {"K1", "K2", "R22", "C12"}
