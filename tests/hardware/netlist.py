"""What KiCad says is connected to what."""

from __future__ import annotations

import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

INLINE = Path(__file__).parents[2] / "hardware" / "inline"

_OHMS = re.compile(r"([\d.]+)([RkM])")
_UNIT = {"R": 1.0, "k": 1e3, "M": 1e6}


@dataclass(frozen=True)
class Part:
    ref: str
    value: str
    footprint: str
    fields: dict[str, str]
    flags: frozenset[str]

    @property
    def ohms(self) -> float:
        match = _OHMS.fullmatch(self.value)
        assert match, f"{self.ref}: {self.value} is no resistance"
        return float(match[1]) * _UNIT[match[2]]


class Netlist:
    """Parts and nets of one schematic; pins are named ``REF.NUMBER``, nets without their slash."""

    def __init__(self, schematic: Path, workspace: Path) -> None:
        file = workspace / f"{schematic.stem}.xml"
        command = ["kicad-cli", "sch", "export", "netlist", "--format", "kicadxml"]
        subprocess.run([*command, "-o", file, schematic], check=True, capture_output=True)
        # KiCad's own output, from a file of this repository.
        root = ET.parse(file).getroot()  # noqa: S314
        self.parts: dict[str, Part] = {}
        for part in root.iterfind("components/comp"):
            ref = part.attrib["ref"]
            fields = {
                item.attrib["name"]: item.text or "" for item in part.iterfind("fields/field")
            }
            # A property without a value is a flag: excluded from the parts list, not fitted.
            flags = {
                item.attrib["name"]
                for item in part.iterfind("property")
                if "value" not in item.attrib
            }
            value = part.findtext("value", "")
            footprint = part.findtext("footprint", "")
            self.parts[ref] = Part(ref, value, footprint, fields, frozenset(flags))
        self.nets: dict[str, set[str]] = defaultdict(set)
        self._net_of: dict[str, str] = {}
        self._function: dict[str, str] = {}
        for net in root.iterfind("nets/net"):
            name = net.attrib["name"].removeprefix("/")
            for node in net.iterfind("node"):
                pin = f"{node.attrib['ref']}.{node.attrib['pin']}"
                self.nets[name].add(pin)
                self._net_of[pin] = name
                self._function[pin] = node.attrib.get("pinfunction", "")

    def net(self, pin: str) -> str:
        return self._net_of[pin]

    def on(self, pin: str) -> set[str]:
        """All pins on the net of ``pin``, itself among them."""
        return self.nets[self.net(pin)]

    def pins(self, ref: str) -> list[str]:
        return [pin for pin in self._net_of if pin.split(".")[0] == ref]

    def functions(self, ref: str, pattern: str) -> dict[int, str]:
        """Number in the name of each pin of ``ref`` that begins as ``pattern`` -> its net."""
        found = {pin: re.match(pattern, self._function[pin]) for pin in self.pins(ref)}
        return {int(match[1]): self.net(pin) for pin, match in found.items() if match}

    def resistors_between(self, one: str, other: str) -> list[float]:
        """Ohms of each resistor that lies between two nets."""
        return [
            part.ohms
            for ref, part in self.parts.items()
            if ref[0] == "R" and {self.net(f"{ref}.1"), self.net(f"{ref}.2")} == {one, other}
        ]

    def reach(self, start: str, stop: set[str]) -> dict[str, float]:
        """Ohms of the easiest way from a net to each other one, through resistors alone, never
        on through the nets in ``stop``."""
        best = {start: 0.0}
        todo = [start]
        while todo:
            here = todo.pop()
            for pin in self.nets[here]:
                ref, number = pin.split(".")
                if ref[0] != "R":
                    continue
                there = self.net(f"{ref}.{3 - int(number)}")
                ohms = best[here] + self.parts[ref].ohms
                if there not in stop and ohms < best.get(there, float("inf")):
                    best[there] = ohms
                    todo.append(there)
        return best
