"""Which plug is cut? Each kind of microphone at each board, against a plain cable in its place.

Ear pieces, amplifiers and the ground wire to the host are in here: through them a signal can get
past the relay. The table in README.md has these figures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from breadboard import Breadboard
from circuit import Circuit, Rows, at
from results import Figure, write_table
from small_signal import difference
from world import SMALL_SIGNAL, World, steady, still

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_SWEEP = "ac dec 20 20 20k"
_POINTS = (20, 100, 1000, 4000, 20_000)
_CONTACTS = ("T", "R1", "R2", "S")
_EAR_OHMS = 32
_AMPLIFIER_OHMS = 1
# One metre of thin wire: the ground from the board to the host.
_GROUND_OHMS = 0.25
# Jumper wires, and rows that lie side by side.
_BREADBOARD_STRAY = 2e-12
# A bench cannot tell more: its own generator and input are no further apart.
_MEASURABLE_DB = 120

# For each contact of a jack the node that it is on.
Jack = dict[str, str]


@dataclass(frozen=True)
class Plug:
    """The contacts that have the microphone, its ground and the ear pieces, at both ends."""

    signal: tuple[str, ...]
    ground: tuple[str, ...]
    ears: tuple[str, ...] = ()

    def around(self, headset: Jack, host: Jack) -> list[str]:
        """The microphone at one jack and the host at the other."""
        world = World()
        source, ground = headset[self.signal[0]], headset[self.ground[0]]
        wanted, common = host[self.signal[0]], host[self.ground[0]]
        lines = [
            f"Vcap cap {ground} DC {world.capsule_volts} AC 1",
            f"Rcap cap {source} {world.capsule}",
            f"Ccable2 {source} {ground} {world.cable}",
            f"Rground {common} 0 {_GROUND_OHMS}",
            f"Ccable1 {wanted} 0 {world.cable}",
            f"Vbias bias 0 {world.bias_volts}",
            f"Rbias bias {wanted} {world.bias}",
            f"Cadc {wanted} adc 10u",
            f"Radc adc 0 {world.input_ohms}",
        ]
        for jack, side in ((headset, "h"), (host, "o")):
            for one, *others in (self.signal, self.ground):
                lines += [f"Rjoin{side}{c} {jack[c]} {jack[one]} 1m" for c in others]
        for contact in self.ears:
            lines += [
                f"Rear{contact} {headset[contact]} {ground} {_EAR_OHMS}",
                f"Ramp{contact} {host[contact]} 0 {_AMPLIFIER_OHMS}",
            ]
        return lines


# The microphone's wire beside an ear piece's in one cable, and the two cables side by side.
_EAR_WIRE = "Cear JACK_SRC EAR_L2 60p"
_CABLES = "Ccables JACK_SRC JACK_HOST 20p"

CTIA = "CTIA headset"
PLUGS = {
    CTIA: Plug(("S",), ("R2",), ("T", "R1")),
    # Three poles: the sleeve of the plug lies on two contacts of a jack for four.
    "TRS microphone": Plug(("T", "R1"), ("R2", "S")),
    "OMTP headset": Plug(("R2",), ("S",), ("T", "R1")),
}


@dataclass(frozen=True)
class Between:
    """What is between the two jacks, while the line is cut and while it is live."""

    cut: Circuit
    live: Circuit
    headset: Jack
    host: Jack

    def plus(self, *lines: str) -> Between:
        return Between(self.cut.plus(*lines), self.live.plus(*lines), self.headset, self.host)

    def ear_wires(self) -> Between:
        return self.plus(*(f"Rwire{c} {self.headset[c]} {self.host[c]} 10m" for c in ("T", "R1")))

    def levels(self, plug: Plug) -> tuple[Rows, Rows]:
        """At the host's converter, cut and live."""
        around = plug.around(self.headset, self.host)
        cut, live = (
            state.plus(*around).table(_SWEEP, "vdb(adc)") for state in (self.cut, self.live)
        )
        return cut, live

    def volts(self, plug: Plug) -> float:
        """DC at the host's input while the line is cut."""
        around = plug.around(self.headset, self.host)
        return self.cut.plus(*around).point(f"v({self.host[plug.signal[0]]})")[0]


def cable() -> Between:
    wires = Circuit((SMALL_SIGNAL,))
    jack = {contact: contact for contact in _CONTACTS}
    return Between(wires, wires, jack, jack)


# The nodes of the two pairs of jacks of the inline board. The sleeve of the PC pair is its R2 too.
_CTIA_PAIR = (
    {"T": "EAR_L2", "R1": "EAR_R2", "R2": "GNDA", "S": "JACK_SRC"},
    {"T": "EAR_L1", "R1": "EAR_R1", "R2": "GNDA", "S": "JACK_HOST"},
)
_PC_PAIR = (
    {"T": "PC_SRC", "R1": "PC_SRC", "R2": "GNDA", "S": "GNDA"},
    {"T": "PC_HOST", "R1": "PC_HOST", "R2": "GNDA", "S": "GNDA"},
)


def inline(circuit: Circuit, pair: tuple[Jack, Jack], *, jumper: bool = True) -> Between:
    """Without the ear links, which are not fitted."""
    world = World(jumper=jumper)
    # Of what `steady` puts around the board, these are the board's own.
    own = ("Rjp1", "Cstray", "Rins1", "Rins2", "Rlamp", "Rdin", "Rguard")
    others = {line.split()[0] for line in world.audio()}.difference(own)
    cut, live = (
        still(steady(circuit, world, latch=on, allow=on)).without(*others) for on in (False, True)
    )
    stray = (f"Cstray{c} {pair[0][c]} {pair[1][c]} {world.stray}" for c in ("T", "R1"))
    return Between(cut, live, *pair).plus(*stray)


def breadboard(circuit: Circuit, *, dummy: bool = True) -> Between:
    """As it is drawn, with the models of ``circuit``. ``dummy``: with the resistor that stands
    for the microphone."""
    board = Breadboard()

    def nodes(ref: str, pins: Iterable[str | int]) -> list[str]:
        return [re.sub(r"\W", "", board.net(f"{ref}.{pin}")) for pin in pins]

    headset, host = (
        Jack(zip(_CONTACTS, nodes(jack, _CONTACTS), strict=True)) for jack in ("HEADSET", "HOST")
    )
    lines = [SMALL_SIGNAL, *(line for line in circuit.lines if line.startswith(".include"))]
    for ref, ohms in board.ohms.items():
        ends = nodes(ref, (1, 2))
        if dummy or host["R2"] not in ends:
            lines.append(f"{ref} {' '.join(ends)} {ohms}")
    lines += [f"Cstray{c} {headset[c]} {host[c]} {_BREADBOARD_STRAY}" for c in ("T", "S")]
    lines.append(f"Rinsulation {headset['S']} {host['S']} {World().insulation}")
    relay = " ".join(nodes("K1", (1, 16, 6, 4, 8, 11, 13, 9)))
    cut, live = (Circuit((*lines, f"XK1 {relay} G6K_STILL A={on} B={on}")) for on in (0, 1))
    return Between(cut, live, headset, host)


# What nobody should do, and what is told for comparison.
_NO_LIMIT = ("inline, ear links fitted", "inline, 60 pF and 20 pF, JP1 off")


def run(circuit: Circuit, folder: Path) -> list[Figure]:
    board, pc = inline(circuit, _CTIA_PAIR), inline(circuit, _PC_PAIR)
    bare, drawn = inline(circuit, _CTIA_PAIR, jumper=False), breadboard(circuit)
    no_dummy = breadboard(circuit, dummy=False)
    every = tuple(PLUGS)
    cases = {
        "inline": (board, every),
        "inline, PC jacks": (pc, ("TRS microphone",)),
        **{
            f"inline, {what}": (board.plus(*lines), (CTIA,))
            for what, lines in {
                "60 pF to an ear piece's wire": (_EAR_WIRE,),
                "20 pF between the cables": (_CABLES,),
                "60 pF and 20 pF": (_EAR_WIRE, _CABLES),
            }.items()
        },
        "inline, 60 pF and 20 pF, JP1 off": (bare.plus(_EAR_WIRE, _CABLES), (CTIA,)),
        "inline, ear links fitted": (board.ear_wires(), every),
        "breadboard": (drawn, every),
        "breadboard, ear wires added": (drawn.ear_wires(), every),
        "breadboard, no dummy, ear wires added": (no_dummy.ear_wires(), every),
    }
    cables = {name: cable().levels(plug)[0] for name, plug in PLUGS.items()}
    rows: list[list[str]] = []
    figures: list[Figure] = []
    for case, (between, names) in cases.items():
        for name in names:
            for state, level in zip(("cut", "live"), between.levels(PLUGS[name]), strict=True):
                loss = difference(cables[name], level)
                points = list(zip((row[0] for row in level), loss, strict=True))
                worst = min(loss)
                values = (*(at(points, frequency) for frequency in _POINTS), worst)
                rows.append([name, case, state, *map(_told, values)])
                if state == "cut" and worst < _MEASURABLE_DB:
                    limit = 80 if case.startswith("inline") and case not in _NO_LIMIT else None
                    figures.append(Figure(f"{name}, {case}: cut, worst", worst, "dB", limit))
    for case in ("inline", "breadboard"):
        volts = cases[case][0].volts(PLUGS[CTIA])
        figures.append(Figure(f"{case}: DC at the host's input while cut", volts, "V"))
    header = ["plug", "board", "line", *(f"{f} Hz" for f in _POINTS), "worst of the band"]
    write_table(folder / "plugs.csv", header, rows)
    return figures


def _told(decibels: float) -> str:
    return f"{decibels:.1f}" if decibels < _MEASURABLE_DB else f"over {_MEASURABLE_DB}"
