"""Isolation while cut and loss while live, over the audible band."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from circuit import Circuit, Rows, at
from results import Figure, write_curves, write_table
from world import World, steady, still

if TYPE_CHECKING:
    from pathlib import Path

    from results import Curves

_BAND = (20.0, 20e3)
_POINTS = (20, 100, 1000, 5000, 10_000, 20_000)
_SWEEP = "ac dec 50 20 20k"
_COARSE = "ac dec 10 20 20k"
_DRAWS = 200
_SEED = 7


# The pole of each relay that carries the microphone: K2 is turned round, so there it is the other.
MIC_POLE = {"K1": "Weld", "K2": "Weld2"}


def welded(circuit: Circuit, relay: str) -> Circuit:
    return circuit.with_parameters(relay, **{MIC_POLE[relay]: 1})


def cases(circuit: Circuit, world: World) -> dict[str, Circuit]:
    cut = steady(circuit, world, latch=False, allow=False)
    return {
        "both relays open": still(cut),
        "both relays open, JP1 off": still(
            steady(circuit, replace(world, jumper=False), latch=False, allow=False)
        ),
        "host relay welded": still(welded(cut, "K1")),
        "microphone relay welded": still(welded(cut, "K2")),
    }


def standing(circuit: Circuit, *closed: str) -> Circuit:
    """With the microphone's pole of these relays closed, without looking at their coils."""
    for relay in MIC_POLE:
        poles = {"A": False, "B": False}
        if relay in closed:
            poles["A" if MIC_POLE[relay] == "Weld" else "B"] = True
        circuit = circuit.standing(relay, **poles)
    return circuit


def live(circuit: Circuit, world: World, sweep: str = _SWEEP) -> Rows:
    return still(steady(circuit, world, latch=True, allow=True)).table(sweep, "vdb(adc)")


def wire(world: World, sweep: str = _SWEEP) -> Rows:
    """A wire where the board would be."""
    board = Circuit((".options gmin=1e-15",)).plus(
        "Rwire MIC_SRC MIC_HOST 1m", "Rmid MIC_MID 0 1g"
    )
    return board.plus(*replace(world, jumper=False).audio()).table(sweep, "vdb(adc)")


def difference(more: Rows, less: Rows) -> list[float]:
    return [a[1] - b[1] for a, b in zip(more, less, strict=True)]


def run(circuit: Circuit, folder: Path) -> list[Figure]:
    world = World()
    connected = live(circuit, world)
    frequencies = [row[0] for row in connected]
    loss = difference(wire(world), connected)
    figures = [Figure("insertion loss, 20 Hz to 20 kHz, worst", max(loss), "dB", at_most=0.5)]
    rows: list[list[object]] = [
        ["live: insertion loss", *_at(frequencies, loss), f"{max(loss):.2f}"]
    ]
    curves: Curves = {}
    for name, case in cases(circuit, world).items():
        isolation = difference(connected, case.table(_SWEEP, "vdb(adc)"))
        worst = min(isolation)
        rows.append([f"cut: {name}", *_at(frequencies, isolation, 1), f"{worst:.1f}"])
        curves[name] = (frequencies, isolation)
        aim = {"both relays open": 100, "both relays open, JP1 off": 90}.get(name, 60)
        figures.append(Figure(f"isolation, {name}, worst", worst, "dB", at_least=aim))
    header = ["case (dB)", *(f"{f} Hz" for f in _POINTS), "worst of the band"]
    write_table(folder / "isolation.csv", header, rows)
    write_curves(
        folder / "isolation.svg",
        curves,
        title="Isolation while cut, against the live level (simulated)",
        labels=("Hz", "dB"),
        logarithmic=True,
        limits={"aim 100 dB": 100, "with one relay welded 60 dB": 60},
    )
    return figures + monte_carlo(circuit, folder)


def _at(frequencies: list[float], values: list[float], digits: int = 2) -> list[str]:
    rows = list(zip(frequencies, values, strict=True))
    return [f"{at(rows, f):.{digits}f}" for f in _POINTS]


def draw(circuit: Circuit, chance: random.Random) -> tuple[Circuit, World]:
    """One board and what is around it; the spreads are in hardware/inline/sim/ASSUMPTIONS.md."""

    def between(low: float, high: float) -> float:
        return low * (high / low) ** chance.random()

    for name in circuit.names:
        kind = name[0]
        # Not a bead or a fuse, which are resistors here.
        if kind == "R" and name[1].isdigit():
            circuit = circuit.with_value(name, _value(circuit, name) * chance.uniform(0.99, 1.01))
        elif kind == "C":
            circuit = circuit.with_value(name, _value(circuit, name) * chance.uniform(0.5, 1.2))
        elif kind == "K":
            circuit = circuit.with_parameters(
                name,
                Ccon=between(0.3e-12, 1.5e-12),
                Ccc=between(1e-12, 4e-12),
                Cpp=between(0.5e-12, 2e-12),
                Ron=between(0.03, 0.2),
            )
    world = replace(
        World(),
        capsule=between(1e3, 4.7e3),
        bias=between(1.5e3, 4.7e3),
        bias_volts=chance.uniform(1.8, 3.3),
        input_ohms=between(5e3, 100e3),
        cable=between(50e-12, 500e-12),
        stray=between(0.005e-12, 0.1e-12),
        insulation=between(100e6, 10e9),
    )
    return circuit, world


_SUFFIX = {"p": 1e-12, "n": 1e-9, "u": 1e-6, "k": 1e3, "Meg": 1e6}


def _value(circuit: Circuit, name: str) -> float:
    text = circuit.line(name).split()[-1]
    for suffix, factor in _SUFFIX.items():
        if text.endswith(suffix):
            return float(text.removesuffix(suffix)) * factor
    return float(text)


def monte_carlo(circuit: Circuit, folder: Path) -> list[Figure]:
    chance = random.Random(_SEED)
    rows: list[list[float]] = []
    for _ in range(_DRAWS):
        drawn, world = draw(circuit, chance)
        both = steady(drawn, world, latch=True, allow=True)
        connected = standing(both, "K1", "K2").table(_COARSE, "vdb(adc)")
        cut = steady(drawn, world, latch=False, allow=False)
        isolation = [
            min(difference(connected, case.table(_COARSE, "vdb(adc)")))
            for case in (standing(cut), standing(cut, "K1"), standing(cut, "K2"))
        ]
        rows.append([*isolation, max(difference(wire(world, _COARSE), connected))])
    header = ["draw", "both open (dB)", "host relay welded (dB)", "microphone relay welded (dB)"]
    header += ["insertion loss (dB)"]
    numbered = ([n, *(f"{v:.2f}" for v in row)] for n, row in enumerate(rows, 1))
    write_table(folder / "monte_carlo.csv", header, numbered)
    both, host, microphone, loss = zip(*rows, strict=True)
    several = f"worst of {_DRAWS} boards"
    return [
        Figure(f"isolation, both relays open, {several}", min(both), "dB", at_least=100),
        Figure(f"isolation, host relay welded, {several}", min(host), "dB", at_least=60),
        Figure(
            f"isolation, microphone relay welded, {several}", min(microphone), "dB", at_least=60
        ),
        Figure(f"insertion loss, {several}", max(loss), "dB", at_most=0.5),
    ]
