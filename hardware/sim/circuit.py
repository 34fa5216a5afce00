"""KiCad's SPICE export of a schematic, changed line by line and run by ngspice."""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Rows = list[list[float]]

_TIMEOUT_S = 300
_ERRORS = ("Error", "error:", "singular", "aborted", "no such")
_VALUE = re.compile(r"^(\S+) = ([-+\d.e]+)\s*$", re.MULTILINE)


class SpiceError(Exception):
    """ngspice or KiCad failed; the message has the end of what it said."""


@dataclass(frozen=True)
class Circuit:
    """Lines of a netlist. Nets have KiCad's names, without what ngspice cannot take: ``/`` is
    dropped, ``+`` is ``P``, ``Net-(`` is ``N_``."""

    lines: tuple[str, ...]

    @classmethod
    def of(cls, schematic: Path) -> Circuit:
        """What KiCad exports of ``schematic``."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "export.cir")
            command = ["kicad-cli", "sch", "export", "netlist", "--format", "spice"]
            done = subprocess.run(
                [*command, "-o", file, schematic], capture_output=True, text=True, check=False
            )
            if done.returncode or not file.exists():
                raise SpiceError(f"KiCad exported no netlist: {done.stderr[-500:]}")
            text = file.read_text()
        lines = [_plain(line) for line in text.splitlines() if line.strip()]
        # KiCad's order is not that of the parts, and what is drawn or solved depends on it.
        lines.sort(key=_reference)
        return cls(tuple(line for line in lines if not line.startswith((".title", ".end"))))

    @property
    def names(self) -> tuple[str, ...]:
        """As in the schematic: a part that is a subcircuit has an X before its name there."""
        return tuple(_reference(line) for line in self.lines if line[0] not in ".*")

    def without(self, *names: str) -> Circuit:
        missing = set(names) - set(self.names)
        if missing:
            raise KeyError(f"Not in the circuit: {', '.join(sorted(missing))}")
        return Circuit(tuple(line for line in self.lines if _reference(line) not in names))

    def plus(self, *lines: str) -> Circuit:
        return Circuit((*self.lines, *lines))

    def line(self, name: str) -> str:
        (found,) = (line for line in self.lines if _reference(line) == name)
        return found

    def nodes(self, name: str) -> list[str]:
        """Nets of a part, in the order of its SPICE model."""
        return self.line(name).split()[1:-1]

    def lifted(self, name: str, node: int) -> Circuit:
        """The same with one pin of a part, in the order of its SPICE model, on nothing."""
        old = self.line(name)
        words = old.split()
        words[node + 1] = f"lifted_{name}"
        new = " ".join(words)
        return Circuit(tuple(new if line == old else line for line in self.lines))

    def with_value(self, name: str, value: float) -> Circuit:
        """The same with another value of a resistor or capacitor."""
        old = self.line(name)
        new = f"{old.rsplit(maxsplit=1)[0]} {value:.6g}"
        return Circuit(tuple(new if line == old else line for line in self.lines))

    def with_parameters(self, name: str, **values: float) -> Circuit:
        """The same with other parameters of a subcircuit, such as a relay's capacitances."""
        old = self.line(name)
        new = " ".join([old, *(f"{key}={value:.6g}" for key, value in values.items())])
        return Circuit(tuple(new if line == old else line for line in self.lines))

    def standing(self, name: str, **poles: bool) -> Circuit:
        """The same with a relay's model that stands still, with these contacts made."""
        old = self.line(name)
        kept = [word for word in old.split() if not word.startswith(("Weld", "Lc=", "I"))]
        kept[kept.index("G6K")] = "G6K_STILL"
        new = " ".join([*kept, *(f"{pole}={int(made)}" for pole, made in poles.items())])
        return Circuit(tuple(new if line == old else line for line in self.lines))

    def table(self, analysis: str, *columns: str) -> Rows:
        """Rows of an ``ac`` or ``tran`` analysis: its scale, then the columns."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "rows.txt")
            saved = [re.sub(r"^v(?:db)?\((.*)\)$", r"v(\1)", column) for column in columns]
            self._run(
                folder,
                f"save {' '.join(saved)}",
                analysis,
                "set wr_singlescale",
                f"wrdata {file} {' '.join(columns)}",
            )
            return [[float(x) for x in row.split()] for row in file.read_text().splitlines()]

    def point(self, *columns: str) -> list[float]:
        """Values at the operating point."""
        return self.values(("op", *(f"print {column}" for column in columns)), len(columns))

    def values(self, commands: Sequence[str], count: int) -> list[float]:
        """What ``commands`` print, which are ``count`` values: several operating points cost
        little more than one."""
        with tempfile.TemporaryDirectory() as folder:
            out = self._run(folder, *commands)
        values = [float(value) for _, value in _VALUE.findall(out)]
        if len(values) != count:
            raise SpiceError(f"ngspice printed {len(values)} of {count} values: {out[-500:]}")
        return values

    def _run(self, folder: str, *commands: str) -> str:
        deck = Path(folder, "deck.cir")
        text = ["* hardmute", *self.lines, ".control", *commands, "quit", ".endc", ".end"]
        deck.write_text("\n".join(text) + "\n")
        try:
            done = subprocess.run(
                ["ngspice", "-b", deck],
                capture_output=True,
                text=True,
                check=False,
                timeout=_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as error:
            raise SpiceError(
                f"One run of ngspice took longer than {_TIMEOUT_S} s and was ended. This machine"
                " is too slow, or too busy: try again when it has less to do."
            ) from error
        said = done.stdout + done.stderr
        if done.returncode or any(word in said for word in _ERRORS):
            raise SpiceError(f"ngspice failed ({done.returncode}): {said[-1500:]}")
        return done.stdout


def _plain(line: str) -> str:
    if line.startswith("."):
        return line
    name, *rest = line.split()
    words = [word.replace("/", "").replace("Net-_", "N_") for word in rest]
    words = [re.sub(r"^\+(?=\d)", "P", word).replace("unconnected-_", "NC_") for word in words]
    return " ".join(
        [name, *(word.replace("-", "_") if word[0].isalpha() else word for word in words)]
    )


def _reference(line: str) -> str:
    name = line.split()[0]
    return name[1:] if name[0] == "X" else name


def at(rows: Sequence[Sequence[float]], scale: float, column: int = 1) -> float:
    """Value of the row whose scale is nearest."""
    return min(rows, key=lambda row: abs(row[0] - scale))[column]


def crossing(
    rows: Iterable[Sequence[float]], column: int, level: float, start: float, *, rising: bool
) -> float:
    """Scale of the first row from ``start`` on at which the column has passed ``level``."""
    before = None
    for row in rows:
        if row[0] >= start and before is not None:
            passed = before < level <= row[column] if rising else before > level >= row[column]
            if passed:
                return row[0]
        before = row[column]
    raise SpiceError(f"Column {column} never passes {level} after {start}.")
