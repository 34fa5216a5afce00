"""Every part open and short, one at a time: is the line cut when commanded, and is it seen?

The latch is held as the command wants it, so faults before it (button, filter, clock, clear) show
here as harmless; in life a press then does nothing, or the latch stays clear.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuit import Circuit, at
from results import Figure, write_table
from world import World, steady, still

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Change = Callable[[Circuit], Circuit]

_SWEEP = "ac dec 4 20 20k"
# A lamp that carries this much is seen to be lit.
_LIT_A = 0.5e-3
# The line counts as connected if 1 kHz loses less, and as cut if the whole band loses more.
_CONNECTED_DB = 20.0
_CUT_DB = 60.0
_HIGH_V = 1.65
_TOUCH = "1m"


@dataclass(frozen=True)
class Seen:
    """Lamps LIVE 1, LIVE 2, CUT 1 and CUT 2, the sense lines, and the latch as read back."""

    lamps: tuple[bool, bool, bool, bool]
    senses: tuple[bool, bool]
    latch: bool

    def __str__(self) -> str:
        lamps = "".join("*" if lit else "-" for lit in self.lamps)
        senses = "".join("c" if closed else "o" for closed in self.senses)
        return f"{lamps} {senses}"


def _look(circuit: Circuit) -> Seen:
    lamps = ("D1", "D2", "D11", "D12")
    names = circuit.names
    columns = [f"@{name.lower()}[id]" if name in names else "v(P5V)*0" for name in lamps]
    values = circuit.point(*columns, "v(SENSE1)", "v(SENSE2)", "v(LATCH_RB)")
    one, two, three, four = (value > _LIT_A for value in values[:4])
    first, second, latch = (value > _HIGH_V for value in values[4:])
    return Seen((one, two, three, four), (first, second), latch)


def _same(circuit: Circuit) -> Circuit:
    return circuit


def _open(name: str) -> Change:
    return lambda circuit: circuit.without(name)


def _short(name: str, one: int = 0, other: int = 1) -> Change:
    def change(circuit: Circuit) -> Circuit:
        nodes = circuit.nodes(name)
        return circuit.without(name).plus(f"Rshort {nodes[one]} {nodes[other]} {_TOUCH}")

    return change


def _stuck(name: str, output: int, net: str) -> Change:
    def change(circuit: Circuit) -> Circuit:
        return circuit.without(name).plus(f"Rstuck {circuit.nodes(name)[output]} {net} {_TOUCH}")

    return change


def _touch(one: str, other: str) -> Change:
    return lambda circuit: circuit.plus(f"Rtouch {one} {other} {_TOUCH}")


def _weld(name: str, **welds: float) -> Change:
    return lambda circuit: circuit.with_parameters(name, **welds)


def _faults(circuit: Circuit) -> Iterator[tuple[str, str, Change]]:
    """Part, what is wrong with it, and how."""
    for name in sorted(circuit.names, key=lambda name: (name[0], int(name[1:]))):
        kind = name[0]
        if kind in "RCD":
            yield name, "open", _open(name)
            yield name, "short", _short(name)
        elif kind == "Q":
            yield name, "open", _open(name)
            yield name, "drain-source short", _short(name, 2, 1)
            yield name, "gate-source short", _short(name, 0, 1)
            yield name, "gate-drain short", _short(name, 0, 2)
    for name, output in (("U1", 2), ("U3", 3), ("U4", 3), ("U5", 1)):
        yield name, "output open", _open(name)
        yield name, "output stuck low", _stuck(name, output, "GND")
        yield name, "output stuck high", _stuck(name, output, "P3V3")
    for name in ("K1", "K2"):
        coil, back = circuit.nodes(name)[:2]
        common, rest = circuit.nodes(name)[3], circuit.nodes(name)[2]
        yield name, "coil open", _weld(name, Rc=1e9)
        yield name, "coil short", _touch(coil, back)
        yield name, "pole A: NO welded", _weld(name, Weld=1)
        yield name, "pole A: NC welded", _touch(common, rest)
        yield name, "pole B: NO welded", _weld(name, Weld2=1)
        yield name, "pole B: NC welded", _touch(circuit.nodes(name)[6], "GND")
        yield name, "both poles welded operated", _weld(name, Weld=1, Weld2=1)
    yield "SW1", "short (stuck down)", _touch("BTN", "GND")
    yield "J1", "microphone to ground", _touch("MIC_HOST", "GNDA")
    yield "J2", "microphone to ground", _touch("MIC_SRC", "GNDA")


# What the firmware asks for: (latch, allow) as it and the latch then stand. The latch and the
# chip's own pins are faults of these.
_CUT = (False, False)
_LIVE = (True, True)
_LOGIC = (
    ("U2", "Q stuck high", (True, False), (True, True)),
    ("U2", "Q stuck low", (False, False), (False, True)),
    ("U2", "open", (False, False), (False, True)),
    ("A1", "ALLOW stuck high", (False, True), (True, True)),
    ("A1", "ALLOW stuck low", (False, False), (True, False)),
    ("A1", "hung while live; then a press", (False, True), (True, True)),
)


def _state(
    circuit: Circuit, change: Change, levels: tuple[bool, bool], reference: list[list[float]]
) -> tuple[float, float, Seen]:
    """Loss against a healthy live board, the band's worst and at 1 kHz, and what is seen."""
    board = steady(circuit, World(), latch=levels[0], allow=levels[1])
    board = change(board)
    rows = still(board).table(_SWEEP, "vdb(adc)")
    loss = [(a[0], a[1] - b[1]) for a, b in zip(reference, rows, strict=True)]
    return min(decibels for _, decibels in loss), at(loss, 1000), _look(board)


def run(circuit: Circuit, folder: Path) -> list[Figure]:
    healthy_live = still(steady(circuit, World(), latch=True, allow=True))
    reference = healthy_live.table(_SWEEP, "vdb(adc)")
    *_, cut_seen = _state(circuit, _same, _CUT, reference)
    *_, live_seen = _state(circuit, _same, _LIVE, reference)
    todo = [(*fault, _CUT, _LIVE) for fault in _faults(circuit) if fault[0] != "U2"]
    todo += [(name, what, _same, cut, live) for name, what, cut, live in _LOGIC]
    rows: list[list[str]] = []
    cut_worst, dark = math.inf, 0
    for name, what, change, cut, live in todo:
        isolation, leak, at_cut = _state(circuit, change, cut, reference)
        _, loss, at_live = _state(circuit, change, live, reference)
        connects = loss < _CONNECTED_DB
        for decibels, seen in ((leak, at_cut), (loss, at_live)):
            dark += decibels < _CONNECTED_DB and not any(seen.lamps[:2])
        cut_worst = min(cut_worst, isolation)
        marks = [
            *(["when cut"] if at_cut != cut_seen else []),
            *(["when live"] if at_live != live_seen else []),
            *(["does not connect"] if not connects else []),
        ]
        rows.append(
            [
                name,
                what,
                "yes" if isolation >= _CUT_DB else "NO",
                f"{isolation:.0f}",
                str(at_cut),
                "yes" if connects else "no",
                str(at_live),
                ", ".join(marks) or "no",
            ]
        )
    header = ["part", "fault", "cut when commanded", "isolation (dB)", "seen when cut"]
    header += ["connects", "seen when live", "visible"]
    write_table(folder / "faults.csv", header, rows)
    hidden = sum(row[-1] == "no" for row in rows)
    return [
        Figure("single faults simulated", len(rows), ""),
        Figure("isolation when cut, worst single fault", cut_worst, "dB", at_least=_CUT_DB),
        Figure("single faults that connect with both LIVE lamps dark", dark, "", at_most=0),
        Figure("single faults that nothing shows", hidden, ""),
    ]
