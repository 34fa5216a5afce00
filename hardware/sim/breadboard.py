"""What breadboard/wiring.svg connects with what. The drawing is the source: its parts and wires
end on the holes of a breadboard, five of which are one node."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree as ET

DRAWING = Path(__file__).parents[1] / "breadboard" / "wiring.svg"

_SVG = "{http://www.w3.org/2000/svg}"
_PITCH = 18
_FIRST_ROW = 88
_ROWS = 55
_COLUMNS = {
    start + _PITCH * n: name
    for start, names in ((370, "abcde"), (496, "fghij"))
    for n, name in enumerate(names)
}
_RAILS = {
    312: "left blue rail",
    330: "left red rail",
    612: "right red rail",
    630: "right blue rail",
}
_OHMS = re.compile(r"([\d.]+) (k?)Ω")

Point = tuple[float, float]


def _hole(point: Point) -> str | None:
    """Such as ``a33``; for a hole of a rail the rail; None beside the board."""
    x, row = point[0], (point[1] - _FIRST_ROW) / _PITCH + 1
    if row not in range(1, _ROWS + 1):
        return None
    return f"{_COLUMNS[int(x)]}{row:.0f}" if x in _COLUMNS else _RAILS.get(int(x))


def _node(end: str) -> str:
    """The node of a hole. A rail is one, and so is each pin of a part beside the board."""
    column, row = end[0], end[1:]
    if not row.isdigit():
        return end
    return f"{'left' if column in 'abcde' else 'right'} {row}"


def _points(text: str) -> list[Point]:
    pairs = (word.split(",") for word in text.split())
    return [(float(x), float(y)) for x, y in pairs]


class Breadboard:
    """``values``: of each part. ``pins``: where each pin is, a hole or beside the board itself.
    ``links``: both ends of each wire and of each part with two pins."""

    def __init__(self, drawing: Path = DRAWING) -> None:
        # A file of this repository.
        root = ET.parse(drawing).getroot()  # noqa: S314
        self.values: dict[str, str] = {}
        self.pins: dict[str, str] = {}
        self.links: set[frozenset[str]] = set()
        places: dict[Point, str] = {}
        for part in root.iterfind(f".//{_SVG}g[@class='part']"):
            ref = part.attrib["id"]
            self.values[ref] = part.attrib["data-value"]
            ends: list[str] = []
            for circle in part.iterfind(f"{_SVG}circle[@data-pin]"):
                pin = f"{ref}.{circle.attrib['data-pin']}"
                point = float(circle.attrib["cx"]), float(circle.attrib["cy"])
                places[point] = self.pins[pin] = _hole(point) or pin
                ends.append(self.pins[pin])
            if len(ends) == 2:
                self.links.add(frozenset(ends))
        self._nets = {_node(end): _node(end) for end in self.pins.values()}
        for wire in root.iterfind(f".//{_SVG}g[@class='wire']/{_SVG}polyline[1]"):
            first, *_, last = _points(wire.attrib["points"])
            one, other = (_hole(point) or places[point] for point in (first, last))
            self.links.add(frozenset((one, other)))
            self._join(_node(one), _node(other))

    def _join(self, one: str, other: str) -> None:
        here, there = self._nets.setdefault(one, one), self._nets.setdefault(other, other)
        self._nets = {node: here if net == there else net for node, net in self._nets.items()}

    @property
    def ohms(self) -> dict[str, float]:
        """Of each resistor."""
        found = {ref: _OHMS.fullmatch(value) for ref, value in self.values.items()}
        return {ref: float(m[1]) * (1e3 if m[2] else 1) for ref, m in found.items() if m}

    def net(self, pin: str) -> str:
        """A name for all that ``pin`` is joined with by wires."""
        return self._nets[_node(self.pins[pin])]

    def on(self, pin: str) -> set[str]:
        """All pins on the net of ``pin``, itself among them."""
        return {other for other in self.pins if self.net(other) == self.net(pin)}
