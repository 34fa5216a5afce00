"""The breadboard's drawing, its guide and its parts list are one build, and cut what they say."""

import re
import runpy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
# By its path: beside it lie modules with names that the tests have too.
Breadboard: Any = runpy.run_path(str(ROOT / "hardware/sim/breadboard.py"))["Breadboard"]
GUIDE = (ROOT / "hardware/breadboard/README.md").read_text(encoding="utf-8")
STEPS = GUIDE.partition("## Step by step")[2].partition("## How do I know")[0]
# Pin of a Pico -> GPIO.
GPIO = {24: 18, 25: 19, 26: 20, 27: 21}


@pytest.fixture(scope="module")
def board() -> Any:
    return Breadboard()


@pytest.mark.parametrize(
    ("pin", "net"),
    [
        ("A1.40", {"A1.40", "K1.1", "D1.K", "D2.A"}),
        ("A1.38", {"A1.38", "R1.2", "Q1.E", "K1.11", "SW1.1", "D3.GND"}),
        ("A1.26", {"A1.26", "R1.1", "R2.1"}),
        ("Q1.B", {"Q1.B", "R2.2"}),
        ("Q1.C", {"Q1.C", "K1.16", "D1.A"}),
        ("A1.25", {"A1.25", "K1.13"}),
        ("A1.24", {"A1.24", "SW1.4"}),
        ("A1.27", {"A1.27", "R4.1"}),
        ("D3.DIN", {"D3.DIN", "R4.2"}),
        ("D3.5V", {"D3.5V", "D2.K"}),
        ("K1.6", {"K1.6", "R3.1"}),
    ],
)
def test_what_is_drawn_is_the_circuit(board: Any, pin: str, net: set[str]) -> None:
    assert board.on(pin) == net


def test_P1_all_but_ground_goes_from_jack_to_jack_by_the_relay(
    board: Any,
) -> None:
    """Ear lines would pass uncut, with the signal of a TRS microphone on them."""
    assert board.on("HOST.S") == {"HOST.S", "K1.4"}
    assert board.on("HEADSET.S") == {"HEADSET.S", "K1.8"}
    assert board.on("HOST.R2") == {"HOST.R2", "HEADSET.R2", "R3.2"}
    for jack in ("HOST", "HEADSET"):
        for contact in ("T", "R1"):
            assert board.on(f"{jack}.{contact}") == {f"{jack}.{contact}"}


def test_the_host_sees_a_microphone_while_the_line_is_cut(board: Any) -> None:
    assert board.ohms["R3"] == 4700


def test_P1_the_relay_is_held_off_until_the_firmware_drives_it(board: Any) -> None:
    assert board.ohms["R1"] <= 8200


def test_the_pins_are_those_of_the_board_file() -> None:
    source = (ROOT / "firmware/muteboard/boards/rp2040.py").read_text(encoding="utf-8")
    pins = dict(re.findall(r"^_([A-Z]+) = const\((\d+)\)", source, re.MULTILINE))
    (sense,) = re.findall(r"^_SENSE = \((\d+),\)", source, re.MULTILINE)
    named = {
        int(pins["BUTTON"]): 24,
        int(pins["RELAY"]): 26,
        int(pins["LAMP"]): 27,
        int(sense): 25,
    }
    assert named == {gpio: pin for pin, gpio in GPIO.items()}


def test_the_guide_wires_what_is_drawn(board: Any) -> None:
    hole = r"(?:[a-j]\d+)"
    said = re.findall(
        rf"\b({hole}|(?:HOST|HEADSET) \w+) to ({hole}|the (?:red|blue) rail)",
        " ".join(STEPS.split()),
    )
    links = set()
    for one, other in said:
        rail = f"{'left' if one[0] in 'abcde' else 'right'} {other.removeprefix('the ')}"
        links.add(frozenset((one.replace(" ", "."), rail if "rail" in other else other)))
    assert "both rails joined" in STEPS
    joined = {frozenset((f"left {c} rail", f"right {c} rail")) for c in ("red", "blue")}
    assert links | joined == board.links


def test_the_guide_places_the_parts_where_they_are_drawn(board: Any) -> None:
    for ref, holes in (("Q1", "g24, g25, g26"), ("D3", "g50 (5V), g51 (DIN), g52 (GND)")):
        assert f"in {holes}" in STEPS
        drawn = [place for pin, place in board.pins.items() if pin.startswith(f"{ref}.")]
        assert drawn == re.findall(r"g\d+", holes)
    assert (board.pins["K1.1"], board.pins["K1.9"]) == ("e30", "f37")
    assert "rows 30 to 37" in STEPS
    assert {board.pins["D1.K"], board.pins["D2.K"]} == {"right red rail", "j50"}
    assert "band at the rail" in STEPS
    assert "band at j50" in STEPS


def test_the_parts_list_buys_what_is_drawn(board: Any) -> None:
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", GUIDE, re.MULTILINE)
    bought = {part: int(number) for number, part in rows}
    drawn = Counter(board.values.values())
    assert {part: bought.get(part) for part in drawn} == drawn
    # The Pico with pins.
    assert re.search(r"^\| 1 \| Pico H \|.*SC0917", GUIDE, re.MULTILINE)
