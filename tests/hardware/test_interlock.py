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
        "witness 2": board.net("K2.3"),
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
    assert board.on("U2.6") == {"U2.6", "D7.2", "U5.2", "U7.2", "R6.2", "TP9.1"}
    assert board.resistors_between("+3V3", board.net("U2.6")) == [10e3]


@pytest.mark.parametrize(
    ("gate", "series", "pull_down", "driver", "lamp", "zener", "feed", "relay"),
    [
        ("U3", "R7", "R9", "Q1", "D1", "D3", "R34", "K1"),
        ("U4", "R8", "R10", "Q2", "D2", "D4", "R35", "K2"),
    ],
)
def test_P1_P2_a_coil_is_latch_and_allow(
    board: Netlist,
    gate: str,
    series: str,
    pull_down: str,
    driver: str,
    lamp: str,
    zener: str,
    feed: str,
    relay: str,
) -> None:
    assert board.parts[gate].value == "74LVC1G08"
    assert board.net(f"{gate}.1") == board.net("U2.5")
    # So that solder between the two inputs of one gate is no level of the other.
    assert board.resistors_between(board.net("A1.26"), board.net(f"{gate}.2")) == [1e3]
    assert board.on(f"{gate}.4") == {f"{gate}.4", f"{series}.1"}
    assert board.on(f"{driver}.1") == {f"{driver}.1", f"{series}.2", f"{pull_down}.1"}
    assert board.net(f"{pull_down}.2") == board.net(f"{driver}.2") == "GND"
    coil = {pin for pin in board.on(f"{driver}.3") if pin[:2] != "TP"}
    # The lamp is lit by the transistor that drives the coil, and by nothing else.
    assert coil == {f"{driver}.3", f"{relay}.8", f"{lamp}.1", f"{zener}.1"}
    assert board.net(f"{zener}.2") == "GND"
    assert board.on(f"{relay}.1") == {f"{relay}.1", f"{feed}.2"}
    assert board.net(f"{feed}.1") == "+5V"
    assert board.resistors_between("+5V", board.net(f"{lamp}.2")) == [1e3]


def test_P1_allow_is_low_unless_the_chip_drives_it(board: Netlist) -> None:
    assert board.resistors_between("GND", board.net("A1.26")) == [4.7e3]


def test_P1_a_supply_that_is_too_low_clears_the_latch(board: Netlist) -> None:
    assert board.net("U5.3") == board.net("U2.8") == "+3V3"
    # Behind the fuse, so that it sees what the coils have.
    assert board.net("U7.3") == board.net("R34.1") == "+5V"
    assert board.net("U5.2") == board.net("U7.2") == board.net("U2.6")
    assert board.on("A1.40") == {"A1.40", "F1.1"}


def test_P1_the_microphone_meets_the_host_only_by_both_relays(board: Netlist) -> None:
    assert board.on("K2.5") == {"K2.5", "L2.2", "L4.2", "J3.1", "D9.1", "TP3.1"}
    assert board.on("K2.6") == {"K2.6", "K1.4", "U8.4", "TP2.1"}
    assert board.on("K1.3") == {"K1.3", "L1.1", "L3.1", "D10.1", "TP1.1"}


@pytest.mark.parametrize("microphone", ["J2", "J3", "J5"])
@pytest.mark.parametrize("host", ["J1", "J4"])
def test_P1_no_conductor_joins_two_jacks_but_ground(
    board: Netlist, microphone: str, host: str
) -> None:
    """Whatever the plug, its microphone meets the relays. The way through a bead, a coil or a
    part that is not fitted is looked at too."""
    left, right = (
        {net for pin in board.pins(jack) for net in conducting(board, board.net(pin))}
        for jack in (microphone, host)
    )
    assert "GNDA" not in left | right
    assert not left & right
    assert "GNDA" in {board.net(pin) for pin in board.pins(microphone)}
    # The search goes through the beads: it is not blind.
    assert "MIC_SRC" in left
    assert "MIC_HOST" in right


def conducting(board: Netlist, start: str) -> set[str]:
    """Nets that a part which is fitted joins with ``start`` for direct current, ground aside.
    Relays at rest, capacitors, clamps and open PhotoMOS do not."""
    found, todo = set[str](), [start]
    while todo:
        net = todo.pop()
        if net == "GNDA" or net in found:
            continue
        found.add(net)
        for pin in board.nets[net]:
            ref = pin.split(".")[0]
            if ref[0] in "RLF" and "dnp" not in board.parts[ref].flags:
                todo += [board.net(other) for other in board.pins(ref)]
    return found


def test_the_ear_links_are_not_fitted(board: Netlist) -> None:
    for ref, ends in (("R25", {"EAR_R1", "EAR_R2"}), ("R26", {"EAR_L1", "EAR_L2"})):
        assert "dnp" in board.parts[ref].flags
        assert {board.net(pin) for pin in board.pins(ref)} == ends


def test_a_three_pole_plug_has_jacks_of_its_own(board: Netlist) -> None:
    for jack, bead in (("J5", "L4"), ("J4", "L3")):
        assert board.net(f"{jack}.T") == board.net(f"{jack}.R1")
        assert board.net(f"{jack}.R2") == board.net(f"{jack}.S") == "GNDA"
        assert board.net(f"{jack}.T") in {board.net(pin) for pin in board.pins(bead)}


def test_P1_at_rest_the_host_has_a_resistor_for_its_microphone(board: Netlist) -> None:
    assert board.on("K1.2") == {"K1.2", "R24.1", "JP1.1"}
    assert board.resistors_between("SHUNT1", "GNDA") == [4.7e3]
    assert board.on("JP1.2") == {"JP1.2", "C10.1"}
    assert board.on("C10.2") == {"C10.2", "R18.1"}
    assert board.net("R18.2") == "GNDA"


def test_the_guard_test_meets_the_line_only_between_the_relays(board: Netlist) -> None:
    assert board.on("K2.7") == {"K2.7", "R19.1"}
    assert board.resistors_between("REST", "GNDA") == [470]
    # Its two switches are all that joins it with the audio side.
    assert board.net("U8.4") == "MIC_MID"
    assert board.on("U8.3") == {"U8.3", "R32.1", "R33.1"}
    assert (board.net("U9.4"), board.net("U9.3")) == ("GNDA", "GND")
    assert board.resistors_between(board.net("A1.20"), board.net("U8.3")) == [4.7e3]
    assert board.on("U9.2") == {"U9.2", "Q3.3"}
    assert board.net("Q3.1") == board.net("A1.21")


@pytest.mark.parametrize(
    ("common", "rest", "other", "sense", "lamp"),
    [("K1.6", "K1.7", "K1.5", "A1.34", "D11"), ("K2.3", "K2.2", "K2.4", "A1.29", "D12")],
)
def test_P4_each_relay_has_its_own_witness(
    board: Netlist, common: str, rest: str, other: str, sense: str, lamp: str
) -> None:
    """The rest contact pulls the sense line low and lights the lamp; nothing else does."""
    witness = board.net(common)
    assert board.net(rest) == "GND"
    assert board.on(other) == {other}
    assert board.resistors_between(witness, board.net(sense)) == [10e3]
    assert f"{lamp}.1" in board.on(common)
    # The chip, driving the sense line low, leaves the lamp below any visible current.
    (bypass,) = board.resistors_between(witness, board.net(f"{lamp}.2"))
    assert 3.3 / (10e3 + bypass) * bypass < 1.2


def test_nothing_lies_beside_allow_on_the_sockets(board: Netlist) -> None:
    """Solder from ALLOW to a witness would let the chip read its own command."""
    for pin in ("A1.25", "A1.27"):
        assert "SENSE" not in board.net(pin)


def test_audio_and_usb_grounds_meet_in_one_place(board: Netlist) -> None:
    audio = {"GNDA", "MIC_SRC", "MIC_MID", "MIC_HOST", "SHUNT1", "SHUNT1C", "DAMP", "REST"}
    audio |= {f"{name}{end}" for name in ("EAR_L", "EAR_R") for end in "12"}
    audio |= {"JACK_SRC", "JACK_HOST", "PC_SRC", "PC_HOST"}
    sides: dict[str, set[bool]] = {}
    for name, pins in board.nets.items():
        for pin in pins:
            sides.setdefault(pin.split(".")[0], set()).add(name in audio)
    assert {ref for ref, both in sides.items() if len(both) == 2} == {
        "K1",
        "K2",
        "R22",
        "C12",
        "U8",
        "U9",
    }
