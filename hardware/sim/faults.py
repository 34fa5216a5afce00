"""Every single fault of the board, derived from its netlist and its layout: is the line cut when
commanded, is it seen, and what does it draw from USB?

Each part open, short and reversed; each of its pins lifted; each two pads that lie side by side
and are of different nets bridged; each contact welded; a magnet at each relay. The latch is held
as the command wants it, so faults before it (button, filter, clock, clear) show here as harmless;
in life a press then does nothing, or the latch stays clear.
"""

from __future__ import annotations

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from circuit import Circuit, SpiceError, at
from results import Figure, write_table
from small_signal import MIC_POLE
from world import SMALL_SIGNAL, World, steady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from circuit import Rows

    Change = Callable[[Circuit], Circuit]

_SWEEP = "ac dec 4 20 20k"
# A lamp that carries this much is seen to be lit.
_LIT_A = 0.5e-3
# The line counts as connected if 1 kHz loses less, and as cut if the whole band loses more.
_CONNECTED_DB = 20.0
_CUT_DB = 60.0
_HIGH_V = 1.65
_TOUCH = "1m"
# Pads of a layer that are closer than this can be bridged by solder.
_GAP_MM = 1.3
# Told if exceeded; the fuse F1 carries the second for ever, and opens at the third.
_NORMAL_A = 0.150
_HOLDS_A = 0.200
_TRIPS_A = 0.460
# Nets of the audio side. What touches none of them changes the sound by moving a relay alone.
_MICROPHONE = ("MIC_SRC", "MIC_MID", "MIC_HOST", "JACK_SRC", "JACK_HOST", "PC_SRC", "PC_HOST")
_AROUND = ("GNDA", "SHUNT1", "SHUNT1C", "DAMP", "REST", "GUARD_S", "cap", "adc", "bias")
_AUDIO = frozenset((*_MICROPHONE, *_AROUND))
# An inverter on its own input never settles; it lies before the latch.
_ENDLESS = {"BTN_F", "CLK"}
_CUT = (False, False)
_LIVE = (True, True)
# Small signals need narrow tolerances, with which not every faulty board's point is found.
_OPERATING_POINT = ".options reltol=1e-3 abstol=1e-10 vntol=1e-6 gmin=1e-12 itl1=500 rshunt=1e13"
_OUTPUTS = {"U1": 2, "U3": 3, "U4": 3, "U5": 1, "U7": 1}


@dataclass(frozen=True)
class Fault:
    part: str
    what: str
    change: Change
    # (latch, allow) as they stand when the line is to be cut, and live.
    cut: tuple[bool, bool] = _CUT
    live: tuple[bool, bool] = _LIVE


@dataclass(frozen=True)
class Seen:
    """Lamps LIVE 1, LIVE 2, CUT 1 and CUT 2, the sense lines, and the latch as read back."""

    lamps: tuple[bool, ...]
    senses: tuple[bool, ...]
    latch: bool

    def __str__(self) -> str:
        lamps = "".join("*" if lit else "-" for lit in self.lamps)
        senses = "".join("c" if closed else "o" for closed in self.senses)
        return f"{lamps} {senses}"


@dataclass(frozen=True)
class State:
    isolation: float
    loss: float
    seen: Seen
    amperes: float


def _nodes(circuit: Circuit, name: str) -> list[str]:
    words = circuit.line(name).split()[1:]
    ends = 2 if name[0] in "RCD" else 8 if name[0] == "K" else len(words) - 1
    return words[:ends]


def _touch(one: str, other: str) -> Change:
    return lambda circuit: circuit.plus(f"Rtouch {one} {other} {_TOUCH}")


def _without(name: str) -> Change:
    return lambda circuit: circuit.without(name)


def _reversed(name: str) -> Change:
    def change(circuit: Circuit) -> Circuit:
        first, one, other, *rest = circuit.line(name).split()
        return circuit.without(name).plus(" ".join((first, other, one, *rest)))

    return change


def _lifted(name: str, pin: int) -> Change:
    return lambda circuit: circuit.lifted(name, pin)


def _stuck(name: str, output: int, net: str) -> Change:
    def change(circuit: Circuit) -> Circuit:
        return circuit.without(name).plus(f"Rstuck {_nodes(circuit, name)[output]} {net} {_TOUCH}")

    return change


def _parameters(name: str, **values: float) -> Change:
    return lambda circuit: circuit.with_parameters(name, **values)


def _same(circuit: Circuit) -> Circuit:
    return circuit


def _shown(circuit: Circuit) -> list[tuple[str, str]]:
    """Each part as the schematic calls it, and as KiCad's export does: a bead or a fuse is a
    resistor there, and has an R before its name."""
    return [
        (name[1:] if name[0] == "R" and name[1] in "LF" else name, name) for name in circuit.names
    ]


def _parts(circuit: Circuit) -> Iterator[Fault]:
    for part, name in sorted(_shown(circuit), key=lambda pair: (pair[0][0], int(pair[0][1:]))):
        nodes = _nodes(circuit, name)
        if len(nodes) == 2:
            yield Fault(part, "open", _without(name))
            yield Fault(part, "short", _touch(*nodes))
            if name[0] == "D":
                yield Fault(part, "reversed", _reversed(name))
        elif name != "U2":
            for pin, net in enumerate(nodes):
                if not net.startswith("NC_"):
                    yield Fault(name, f"pin on {net} lifted", _lifted(name, pin))
        if name in _OUTPUTS:
            yield Fault(name, "output stuck low", _stuck(name, _OUTPUTS[name], "GND"))
            yield Fault(name, "output stuck high", _stuck(name, _OUTPUTS[name], "P3V3"))
    for name in MIC_POLE:
        _, _, rest, common, _, rest2, common2, _ = _nodes(circuit, name)
        yield Fault(name, "coil open", _parameters(name, Rc=1e9))
        yield Fault(name, "coil short", _touch(*_nodes(circuit, name)[:2]))
        yield Fault(name, "pole A: NO welded", _parameters(name, Weld=1))
        yield Fault(name, "pole B: NO welded", _parameters(name, Weld2=1))
        yield Fault(name, "pole A: NC welded", _touch(common, rest))
        yield Fault(name, "pole B: NC welded", _touch(common2, rest2))
        yield Fault(name, "moved by a magnet", _parameters(name, Weld=1, Weld2=1))
    for output in ("U8", "U9"):
        nodes = _nodes(circuit, output)
        yield Fault(output, "output stuck closed", _touch(nodes[2], nodes[3]))
    yield Fault("SW1", "stuck down", _touch("BTN", "GND"))
    # The latch and the chip's own pins are faults of the levels.
    yield Fault("U2", "Q stuck high", _same, (True, False), (True, True))
    yield Fault("U2", "Q stuck low", _same, _CUT, (False, True))
    yield Fault("U2", "open", _same, _CUT, (False, True))
    yield Fault("A1", "ALLOW stuck high", _same, (False, True), (True, True))
    yield Fault("A1", "ALLOW stuck low", _same, _CUT, (True, False))
    yield Fault("A1", "hung while live; then a press", _same, (False, True), (True, True))
    yield Fault("A1", "GUARD_EN stuck high", lambda c: c.plus("Rstuck GUARD_EN P3V3 100"))


_PADS = """
import sys, pcbnew
mm = pcbnew.ToMM
for fp in pcbnew.LoadBoard(sys.argv[1]).GetFootprints():
    for pad in fp.Pads():
        if pad.GetNetname() and not fp.IsDNP():
            box, through = pad.GetBoundingBox(), pad.GetAttribute() == pcbnew.PAD_ATTRIB_PTH
            print(fp.GetReference(), pad.GetNumber(), pad.GetNetname(), int(through),
                  mm(box.GetLeft()), mm(box.GetTop()), mm(box.GetRight()), mm(box.GetBottom()))
"""


def _bridges(board: Path) -> dict[tuple[str, str], str]:
    """Each two nets whose pads lie side by side -> which pads."""
    # KiCad's own Python: it is the one that has pcbnew.
    done = subprocess.run(
        ["/usr/bin/python3", "-c", _PADS, board], capture_output=True, text=True, check=True
    )
    pads: list[tuple[str, str, list[float]]] = []
    for line in done.stdout.splitlines():
        ref, number, net, _, *box = line.split()
        pads.append((f"{ref}.{number}", _spice(net), [float(x) for x in box]))
    found: dict[tuple[str, str], str] = {}
    for index, (one, net, a) in enumerate(pads):
        for other, net2, b in pads[index + 1 :]:
            x = max(a[0], b[0]) - min(a[2], b[2])
            y = max(a[1], b[1]) - min(a[3], b[3])
            gap = max(x, y) if min(x, y) < 0 else (max(x, 0) ** 2 + max(y, 0) ** 2) ** 0.5
            first, second = sorted((net, net2))
            loose = "NC_" in first + second or "unconnected" in first + second
            if gap < _GAP_MM and net != net2 and not loose:
                found.setdefault((first, second), f"{one}-{other}")
    return found


def _spice(net: str) -> str:
    net = net.removeprefix("/").replace("Net-(", "N_").replace(")", "_").replace("-", "_")
    return re.sub(r"^\+(?=\d)", "P", net)


def _faults(circuit: Circuit, board: Path) -> Iterator[Fault]:
    yield from _parts(circuit)
    nets = {node for name in circuit.names for node in _nodes(circuit, name)}
    for (one, other), pads in sorted(_bridges(board).items()):
        if {one, other} <= nets | {"GND"} and {one, other} != _ENDLESS:
            yield Fault(pads, f"{one} bridged to {other}", _touch(one, other))


class _Bench:
    """``healthy``: the level of a live board. What sounds alike is computed once."""

    def __init__(self, circuit: Circuit) -> None:
        self._boards = {
            levels: steady(
                circuit, World(), latch=levels[0], allow=levels[1], options=_OPERATING_POINT
            )
            for levels in ((False, False), (True, True), (False, True), (True, False))
        }
        self._sounds: dict[tuple[object, ...], Rows] = {}
        self.healthy = self._sound(self._boards[_LIVE], (True, True, True, True), changed=False)

    def both(self, fault: Fault) -> tuple[State, State]:
        """While it is to be cut, and while it is to be live."""
        return self.look(fault, fault.cut), self.look(fault, fault.live)

    def look(self, fault: Fault, levels: tuple[bool, bool]) -> State:
        board = self._boards[levels]
        changed = fault.change(board)
        try:
            values = self._point(changed)
        except SpiceError as error:
            raise SpiceError(f"{fault.part}, {fault.what}: {error}") from error
        seen = Seen(
            tuple(value > _LIT_A for value in values[:4]),
            tuple(value > _HIGH_V for value in values[4:6]),
            values[6] > _HIGH_V,
        )
        poles = tuple(value > 0.5 for value in values[7:11])
        rows = self._sound(changed, poles, changed=bool(_audio(board, changed)))
        loss = [(a[0], a[1] - b[1]) for a, b in zip(self.healthy, rows, strict=True)]
        return State(min(decibels for _, decibels in loss), at(loss, 1000), seen, abs(values[11]))

    def _point(self, board: Circuit) -> list[float]:
        lamps = ("D1", "D2", "D11", "D12")
        names = board.names
        return board.point(
            *(f"@{name.lower()}[id]" if name in names else "v(P5V)*0" for name in lamps),
            *(f"v({net})" for net in ("SENSE1", "SENSE2", "LATCH_RB")),
            *(f"v(xk{n}.{pole})" for n in (1, 2) for pole in ("pa", "pb")),
            "i(V5)",
        )

    def _sound(self, board: Circuit, poles: tuple[bool, ...], *, changed: bool) -> Rows:
        if not changed and poles in self._sounds:
            return self._sounds[poles]
        for name, (first, second) in zip(("K1", "K2"), (poles[:2], poles[2:]), strict=True):
            board = board.standing(name, A=first, B=second)
        lines = tuple(line for line in board.lines if line != _OPERATING_POINT)
        board = Circuit((*lines, SMALL_SIGNAL))
        rows = board.table(_SWEEP, "vdb(adc)")
        if not changed:
            self._sounds[poles] = rows
        return rows


def _audio(healthy: Circuit, faulty: Circuit) -> set[str]:
    """Nodes of the audio side in lines that differ, a relay's own parameters aside."""
    before, after = set(healthy.lines), set(faulty.lines)
    gone = {line.split()[0]: line for line in before - after}
    found: set[str] = set()
    for line in after - before:
        name, *words = line.split()
        old = gone.pop(name, "").split()[1:]
        found |= set(words) ^ set(old) if old else set(words)
    for line in gone.values():
        found |= set(line.split()[1:])
    return found & _AUDIO


def run(circuit: Circuit, folder: Path, board: Path) -> list[Figure]:
    bench = _Bench(circuit)
    whole = Fault("", "", _same)
    cut_seen, live_seen = (bench.look(whole, levels).seen for levels in (_CUT, _LIVE))
    todo = list(_faults(circuit, board))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(bench.both, todo))
    rows: list[list[str]] = []
    dark = 0
    for fault, (cut, live) in zip(todo, found, strict=True):
        for state in (cut, live):
            dark += state.loss < _CONNECTED_DB and not any(state.seen.lamps[:2])
        connects = live.loss < _CONNECTED_DB
        amperes = max(cut.amperes, live.amperes)
        marks = [
            *(["when cut"] if cut.seen != cut_seen else []),
            *(["when live"] if live.seen != live_seen else []),
            *(["does not connect"] if not connects else []),
            *(["the fuse opens"] if amperes > _TRIPS_A else []),
        ]
        rows.append(
            [
                fault.part,
                fault.what,
                "yes" if cut.isolation >= _CUT_DB else "NO",
                f"{cut.isolation:.0f}",
                str(cut.seen),
                "yes" if connects else "no",
                str(live.seen),
                f"{amperes * 1e3:.0f}",
                ", ".join(marks) or "no",
            ]
        )
    header = ["part", "fault", "cut when commanded", "isolation (dB)", "seen when cut", "connects"]
    header += ["seen when live", "from 5 V (mA)", "visible"]
    write_table(folder / "faults.csv", header, rows)
    drawn = [max(cut.amperes, live.amperes) for cut, live in found]
    between = sum(_HOLDS_A < amperes < _TRIPS_A for amperes in drawn)
    worst = min(cut.isolation for cut, _ in found)
    hidden = sum(row[-1] == "no" for row in rows)
    return [
        Figure("single faults simulated", len(rows), ""),
        Figure("isolation when cut, worst single fault", worst, "dB", at_least=_CUT_DB),
        Figure("single faults that connect with both LIVE lamps dark", dark, "", at_most=0),
        Figure(
            "single faults that draw more than the fuse holds, and do not open it",
            between,
            "",
            at_most=0,
        ),
        Figure("single faults that open the fuse", sum(a > _TRIPS_A for a in drawn), ""),
        Figure(
            "single faults of 150 to 200 mA",
            sum(_NORMAL_A < amperes <= _HOLDS_A for amperes in drawn),
            "",
        ),
        Figure("single faults that nothing shows", hidden, ""),
    ]
