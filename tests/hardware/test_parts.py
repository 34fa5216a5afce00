"""Every part can be bought, and is where the firmware looks for it."""

from __future__ import annotations

import re

import pytest

from netlist import INLINE, Netlist

# A part without one, and why.
NO_SECOND_SOURCE = {
    "J3": "the housing that mates with it is JST's own",
    "K1": "others of its size need more current, or have their coil the other way round",
    "K2": "as K1",
    "U7": "none found at 4.0 V with an open drain and these pins",
    "U8": "none found of 1 pF with these pins",
    "U9": "as U8",
}
# What the board file calls a pin, and what it has to reach on the board.
PINS = {
    "BUTTON": "SW1.1",
    "RELAY": "U3.2",
    "LAMP": "U6.2",
    "CLEAR": "D7.1",
    "LATCH": "U2.5",
}
WITNESSES = ("K1.6", "K2.3")
# The guard test's, which no firmware drives yet: GUARD_DRIVE, GUARD_EN, GUARD.
GUARD = {15, 16, 27}


def bought(board: Netlist) -> list[str]:
    return [ref for ref, part in board.parts.items() if "exclude_from_bom" not in part.flags]


def test_every_part_has_maker_number_and_second_source(board: Netlist) -> None:
    assert len(bought(board)) > 60
    for ref in bought(board):
        fields = board.parts[ref].fields
        for name in ("Manufacturer", "MPN", "Second source"):
            assert fields.get(name), f"{ref} has no {name}"
        assert (fields["Second source"] == "none") == (ref in NO_SECOND_SOURCE), ref


def test_the_pico_has_pins_for_its_sockets(board: Netlist) -> None:
    assert board.parts["A1"].fields["MPN"] == "SC0917"


def test_what_is_not_bought_is_copper_or_a_hole(board: Netlist) -> None:
    others = set(board.parts) - set(bought(board))
    assert {re.sub(r"\d+", "", ref) for ref in others} == {"H", "TP", "FID"}
    assert {ref for ref, part in board.parts.items() if "dnp" in part.flags} == {"R25", "R26"}


def test_every_part_on_the_board_has_a_footprint(board: Netlist) -> None:
    for ref, part in board.parts.items():
        assert part.footprint or "exclude_from_board" in part.flags, ref


def gpio(board: Netlist) -> dict[int, str]:
    """GPIO number -> net, by the pin's name in KiCad's symbol of the Pico."""
    return board.functions("A1", r"GPIO(\d+)")


def firmware_pins() -> tuple[dict[str, int], tuple[int, ...]]:
    folder = INLINE.parents[1] / "firmware" / "muteboard" / "boards"
    text = "".join((folder / f"{name}.py").read_text() for name in ("rp2040", "rp2040_interlock"))
    pins = {
        name: int(pin)
        for name, pin in re.findall(r"^_([A-Z]+) = const\((\d+)\)", text, re.MULTILINE)
    }
    senses = re.findall(r"^_SENSE = \(([\d, ]+)\)", text, re.MULTILINE)
    # The interlock's own, which comes last, replaces the plain board's.
    return pins, tuple(int(pin) for pin in senses[-1].split(",") if pin.strip())


@pytest.mark.parametrize("name", PINS)
def test_the_board_has_its_pins_where_the_firmware_has_them(board: Netlist, name: str) -> None:
    pins, _ = firmware_pins()
    here = gpio(board)[pins[name]]
    there = board.net(PINS[name])
    ohms = board.reach(here, {"GND", "GNDA", "+5V", "+3V3"}).get(there)
    assert ohms is not None, f"GP{pins[name]} is {here}, which does not reach {there}"


def test_the_firmware_reads_the_witness_of_each_relay(board: Netlist) -> None:
    _, senses = firmware_pins()
    reached = [board.reach(gpio(board)[pin], {"GND", "+5V", "+3V3"}) for pin in senses]
    assert len(senses) == len(WITNESSES)
    assert all(board.net(pin) in ways for pin, ways in zip(WITNESSES, reached, strict=True))


def test_the_chip_has_no_other_pin_in_use(board: Netlist) -> None:
    pins, senses = firmware_pins()
    used = {pins[name] for name in PINS} | set(senses) | GUARD
    assert {pin for pin, net in gpio(board).items() if not net.startswith("unconnected")} == used
