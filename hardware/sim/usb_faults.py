"""Single faults of the usb board, derived from its netlist and its layout.

Each part open and short, diodes and what fits turned by 180 degrees reversed, each pin lifted,
each two neighbouring pads of different nets bridged, relays welded, outputs stuck; and what a
microphone or a cable can feed back. Each is looked at in five states. A fault before the latch
(button, filter, clock, clear) shows here as harmless: the latch is held, and U2 has no row.
"""

from __future__ import annotations

import math
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from circuit import Circuit, SpiceError
from results import Figure, write_table
from usb import Device, steady

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Change = Callable[[Circuit], Circuit]

# Latch, ALLOW1, ALLOW2.
_STATES = {
    "cut": (0, 0, 0),
    "cut by the chip alone": (1, 0, 0),
    "K1 alone": (1, 1, 0),
    "K2 alone": (1, 0, 1),
    "live": (1, 1, 1),
}
# While the chip runs. That it hangs is a fault by itself, and has a row.
_HUNG = "hung"
_CUT = ("cut", "cut by the chip alone")
# What the firmware reads with: thresholds: hardware/usb/README.md.
_LOW_V, _HIGH_V, _MOST_V, _VSW_V, _PIN_V = 0.2, 4.0, 5.6, 2.75, 1.65
_CUT_A, _LIVE_A = 4e-3, 5e-3
_LIT_A = 0.3e-3
# A microphone may run from this on.
_RUNS_V = 2.0
_BOARD = Path(__file__).parents[1] / "usb" / "usb.kicad_pcb"
# Bare gaps that solder or a whisker may bridge: between pins in holes, and between pads.
_NEAR_MM = {True: 1.0, False: 0.6}
_TOUCH = "1m"
# Name, kind, place, turn, size, and the rest of a pad in a board file.
_PAD = re.compile(
    r'\(pad "([^"]+)" (\S+) \S+\s+\(at ([-\d.]+) ([-\d.]+)(?: ([-\d.]+))?\)'
    r"\s+\(size ([\d.]+) ([\d.]+)\)(.*?)\n\t\t\)",
    re.DOTALL,
)
# Above this F1 and F2 trip (MF-MSMF125, MF-MSMF050), and each resistor's size in watts.
_TRIPS_A = {"line": 2.5, "5 V": 1.0}
_WATTS = {"R13": 0.25, "R14": 0.25, "R15": 0.25, "R18": 0.25, "R19": 0.25}
_SMALL_W = 0.1
# Parts whose footprint takes them turned by 180 degrees, with pins.
_TURNED = {"K1": 8, "K2": 8, "U8": 6, "U9": 6, "U10": 6}


@dataclass(frozen=True)
class Seen:
    mid: float
    vsw: float
    out: float
    amperes: float
    latch: bool
    button: bool
    line_a: float
    pico_a: float
    lamps: int
    hottest: float
    data: bool


@dataclass(frozen=True)
class Pad:
    name: str
    net: str
    x: float
    y: float
    half: tuple[float, float]
    through: bool


def pads(board: Path) -> list[Pad]:
    """Each pad of a board file with a net, as rectangles in board millimetres."""
    text = board.read_text(encoding="utf-8")
    found: list[Pad] = []
    for block in re.split(r"\n\t(?=\(footprint )", text)[1:]:
        ref = re.search(r'\(property "Reference" "([^"]+)"', block)
        at = re.search(r"\n\t\t\(at ([-\d.]+) ([-\d.]+)(?: ([-\d.]+))?\)", block)
        if not ref or not at:
            continue
        x0, y0, turn = float(at[1]), float(at[2]), math.radians(float(at[3] or 0))
        for pad in _PAD.finditer(block):
            net = re.search(r'\(net \d+ "([^"]+)"\)', pad[8])
            if not net:
                continue
            x, y = float(pad[3]), float(pad[4])
            angle = math.radians(float(pad[5] or 0))
            w, h = float(pad[6]) / 2, float(pad[7]) / 2
            if abs(math.sin(angle)) > 0.7:
                w, h = h, w
            found.append(
                Pad(
                    f"{ref[1]}.{pad[1]}",
                    net[1],
                    x0 + x * math.cos(turn) + y * math.sin(turn),
                    y0 - x * math.sin(turn) + y * math.cos(turn),
                    (w, h),
                    pad[2] == "thru_hole",
                )
            )
    return found


def spice_net(name: str) -> str:
    """A net of the board by its name in the exported netlist."""
    plain = re.sub(r"[()]", "_", name).replace("/", "").replace("Net-_", "N_")
    plain = re.sub(r"^\+(?=\d)", "P", plain)
    return plain.replace("-", "_") if plain[0].isalpha() else plain


def _gap(one: Pad, other: Pad) -> float:
    dx = max(0.0, abs(one.x - other.x) - one.half[0] - other.half[0])
    dy = max(0.0, abs(one.y - other.y) - one.half[1] - other.half[1])
    return math.hypot(dx, dy)


def bridges(found: list[Pad]) -> dict[tuple[str, str], str]:
    """Two nets -> where their pads come nearest, for all that are near enough to be bridged."""
    near: dict[tuple[str, str], tuple[float, str]] = {}
    for n, one in enumerate(found):
        for other in found[n + 1 :]:
            if (
                one.net == other.net
                or (gap := _gap(one, other)) > _NEAR_MM[one.through and other.through]
            ):
                continue
            key = (min(one.net, other.net), max(one.net, other.net))
            if key not in near or gap < near[key][0]:
                near[key] = (gap, f"{one.name}-{other.name}")
    return {key: where for key, (_, where) in near.items()}


def _open(name: str) -> Change:
    return lambda circuit: circuit.without(name)


def _short(name: str, one: int = 0, other: int = 1) -> Change:
    def change(circuit: Circuit) -> Circuit:
        nodes = circuit.nodes(name)
        return circuit.without(name).plus(f"Rshort {nodes[one]} {nodes[other]} {_TOUCH}")

    return change


def _touch(one: str, other: str) -> Change:
    return lambda circuit: circuit.plus(f"Rtouch {one} {other} {_TOUCH}")


def _weld(name: str, **welds: float) -> Change:
    return lambda circuit: circuit.with_parameters(name, **welds)


def _rewired(name: str, nodes: dict[int, str]) -> Change:
    """The part with other nets at some of its model's nodes."""

    def change(circuit: Circuit) -> Circuit:
        old = circuit.line(name)
        words = old.split()
        for node, net in nodes.items():
            words[node + 1] = net
        new = " ".join(words)
        loose = [net for net in nodes.values() if net.startswith("lifted")]
        return Circuit(tuple(new if line == old else line for line in circuit.lines)).plus(
            *(f"Rlift{n} {net} 0 1e9" for n, net in enumerate(loose))
        )

    return change


def _nets(circuit: Circuit, name: str) -> list[str]:
    """Nets of a part in the order of its model, without name, model and parameters."""
    words = [word for word in circuit.line(name).split()[1:] if "=" not in word]
    return words[:-1]


def _turned(name: str, count: int, places: dict[str, str], circuit: Circuit) -> Change | None:
    """Pin n where pin n + count/2 should be."""
    nets = _nets(circuit, name)
    swapped: dict[int, str] = {}
    free = {spice_net(net): pin for pin, net in places.items()}
    for node, net in enumerate(nets):
        pin = int(free.get(net, "0"))
        if not pin:
            return None
        there = (pin - 1 + count // 2) % count + 1
        swapped[node] = spice_net(places.get(str(there), f"lifted_{name}_{node}"))
    return _rewired(name, swapped)


def _faults(circuit: Circuit, board: Path) -> Iterator[tuple[str, str, Change]]:
    """Part or place, what is wrong, and how."""
    found = pads(board)
    held = steady(circuit)
    nets = {word for line in held.lines if line[0] != "." for word in line.split()[1:]}
    for name in sorted(
        circuit.without("U2").names,
        key=lambda n: (re.sub(r"\d", "", n), int(re.sub(r"\D", "", n))),
    ):
        shown = name.removeprefix("R") if name.startswith("RF") else name
        kind, pins = shown[0], _nets(circuit, name)
        if kind in "RCDF":
            yield shown, "open", _open(name)
            yield shown, "short", _short(name)
            if kind == "D" and shown not in ("D6", "D9"):
                yield shown, "reversed", _rewired(name, {0: pins[1], 1: pins[0]})
        else:
            places = {
                pad.name.split(".")[1]: pad.net for pad in found if pad.name.split(".")[0] == name
            }
            yield name, "missing", _open(name)
            for node, net in enumerate(pins):
                if not net.startswith("NC_"):
                    which = "pin" if pins.index(net) == node else "second pin"
                    change = _rewired(name, {node: f"lifted{node}"})
                    yield name, f"{which} on {net} lifted", change
            if name in _TURNED and (turn := _turned(name, _TURNED[name], places, circuit)):
                yield name, "turned by 180 degrees", turn
    for name, output in (("U3", "AND1"), ("U4", "AND2"), ("U5", "EN_AND")):
        for level, net in (("low", "GND"), ("high", "P3V3")):

            def stuck(
                c: Circuit, name: str = name, output: str = output, net: str = net
            ) -> Circuit:
                return c.without(name).plus(f"Rstuck {output} {net} {_TOUCH}")

            yield name, f"output stuck {level}", stuck
    for name in ("K1", "K2"):
        yield name, "coil open", _weld(name, Rc=1e9)
        yield name, "pole A welded operated", _weld(name, Weld=1)
        yield name, "pole B welded operated", _weld(name, Weld2=1)
        yield name, "both poles welded operated", _weld(name, Weld=1, Weld2=1)
        rest = _nets(circuit, name)
        yield name, "pole A: rest contact welded", _touch(rest[3], rest[2])
        yield name, "pole B: rest contact welded", _touch(rest[6], rest[5])
    yield (
        "K1, K2",
        "a magnet moves both",
        lambda c: c.with_parameters("K1", Weld=1, Weld2=1).with_parameters("K2", Weld=1, Weld2=1),
    )
    yield "U8", "switch shorted", _touch("VSW", "VO")
    for what, nets_high in (
        ("ALLOW1 stuck high", ("ALLOW1",)),
        ("ALLOW2 stuck high", ("ALLOW2",)),
        (f"{_HUNG} while live: both ALLOW stuck high", ("ALLOW1", "ALLOW2")),
    ):

        def high(c: Circuit, nets_high: tuple[str, ...] = nets_high) -> Circuit:
            return c.plus(*(f"Rhigh{n} {net} P3V3 {_TOUCH}" for n, net in enumerate(nets_high)))

        yield "A1", what, high
    for (one, other), where in sorted(bridges(found).items(), key=lambda item: item[1]):
        a, b = spice_net(one), spice_net(other)
        if a in nets and b in nets:
            yield where, f"{a} touches {b}", _touch(a, b)


def _backfeeds(circuit: Circuit) -> Iterator[tuple[str, str, Circuit]]:
    yield (
        "J2",
        "a microphone with its own supply feeds 5 V into OUT",
        steady(circuit, Device(own_volts=5.0)),
    )
    off = steady(circuit)
    yield (
        "J1",
        "host unplugged, Pico on",
        Circuit(
            tuple(
                "Rhost host VLINE 1e9" if line.startswith("Rhost ") else line for line in off.lines
            )
        ),
    )
    yield (
        "A1",
        "Pico unplugged, host on",
        Circuit(
            tuple(
                "Rpico pico VBUS_PICO 1e9"
                if line.startswith("Rpico ")
                else "Rregulator regulator P3V3 1e9"
                if line.startswith("Rregulator ")
                else line
                for line in off.lines
            )
        ),
    )


_SHOWN = (
    "v(MID)",
    "v(VSW)",
    "v(OUT)",
    "v(I_ADC)",
    "v(LATCH_RB)",
    "v(BTN_RB)",
    "i(Vhost)",
    "i(Vpico)",
    "v(VSW_RD)",
    "v(OUT_ADC)",
    "v(MID_ADC)",
    "v(USB_DP)",
    "v(USB_D_)",
)


def _look(circuit: Circuit) -> dict[str, Seen]:
    """The six states of one board, in one run of ngspice."""
    names = [name for name in circuit.names if name[0] == "R" and name[1:].isdigit()]
    lamps = [
        f"@{name.lower()}[id]" if name in circuit.names else f"{n}*v(OUT)*0"
        for n, name in enumerate(("D1", "D2"))
    ]
    columns = [*_SHOWN, *lamps, *(f"@{name.lower()}[p]" for name in names)]
    commands: list[str] = []
    for latch, one, two in _STATES.values():
        commands += [
            f"alter vlatch {3.3 * latch}",
            f"alter vallow1 {3.3 * one}",
            f"alter vallow2 {3.3 * two}",
            "op",
            *(f"print {column}" for column in columns),
        ]
    board = Circuit(tuple(line.replace("USB_D+", "USB_DP") for line in circuit.lines))
    values = board.values(commands, len(columns) * len(_STATES))
    seen: dict[str, Seen] = {}
    for n, state in enumerate(_STATES):
        row = dict(zip(columns, values[n * len(columns) : (n + 1) * len(columns)], strict=True))
        hottest = max(
            abs(row[f"@{name.lower()}[p]"]) / _WATTS.get(name, _SMALL_W) for name in names
        )
        seen[state] = Seen(
            mid=2 * row["v(MID_ADC)"],
            # What the pin reads, as volts of VSW; and what is there.
            vsw=row["v(VSW_RD)"] / 0.6,
            out=2 * row["v(OUT_ADC)"],
            amperes=row["v(I_ADC)"] / 5,
            latch=row["v(LATCH_RB)"] > _PIN_V,
            button=row["v(BTN_RB)"] > _PIN_V,
            line_a=-row["i(Vhost)"],
            pico_a=-row["i(Vpico)"],
            lamps=sum(row[lamp] > _LIT_A for lamp in lamps),
            hottest=hottest,
            data=max(row["v(USB_DP)"], row["v(USB_D_)"]) < 1.0,
        )
        seen[state + "/true"] = Seen(
            row["v(MID)"], row["v(VSW)"], row["v(OUT)"], 0, False, False, 0, 0, 0, 0, False
        )
    return seen


def _fits(volts: float, *, high: bool) -> bool:
    return _HIGH_V <= volts <= _MOST_V if high else volts <= _LOW_V


def _says(state: str, seen: Seen) -> list[str]:
    """What the firmware sees that should not be so in this state."""
    latch, one, two = _STATES[state]
    first, second = bool(latch and one), bool(latch and two)
    both = first and second
    wrong: list[str] = []
    if not _fits(seen.mid, high=first):
        wrong.append("MID")
    if (seen.vsw > _VSW_V) != both:
        wrong.append("VSW")
    if not _fits(seen.out, high=both):
        wrong.append("OUT")
    if (seen.amperes < _LIVE_A) if both else (seen.amperes > _CUT_A):
        wrong.append("current")
    if seen.latch != bool(latch):
        wrong.append("latch")
    if not seen.button:
        wrong.append("button")
    if seen.lamps != 2 * both:
        wrong.append("lamps")
    return wrong


def _row(where: str, what: str, seen: dict[str, Seen]) -> list[str]:
    true = {state: seen[state + "/true"].out for state in _STATES}
    # A chip that hangs cannot cut: the latch has to.
    cut = ("cut",) if _HUNG in what else _CUT
    worst = max(true[state] for state in cut)
    connects = any(true[state] > _RUNS_V and seen[state].data for state in cut)
    dark = any(true[s] > _RUNS_V and seen[s].data and not seen[s].lamps for s in _STATES)
    wrong = {state: _says(state, seen[state]) for state in _STATES}
    marks = [f"{state}: {' '.join(words)}" for state, words in wrong.items() if words]
    line = max(seen[state].line_a for state in _STATES)
    pico = max(seen[state].pico_a for state in _STATES)
    hot = max(seen[state].hottest for state in _STATES)
    fuse = [
        name
        for name, amperes in (("F1", line / _TRIPS_A["line"]), ("F2", pico / _TRIPS_A["5 V"]))
        if amperes > 1
    ]
    fire = hot > 1 and not fuse
    return [
        where,
        what,
        "yes"
        if worst <= _LOW_V
        else "CONNECTED"
        if connects
        else f"{worst:.1f} V, {'no data' if not seen['cut'].data else 'no'}",
        f"{worst:.2f}",
        "YES, with dark lamps" if dark else "YES" if connects else "no",
        "yes" if true["live"] > _HIGH_V else "no",
        "; ".join(marks) or "nothing",
        f"{1e3 * line:.0f}",
        f"{1e3 * pico:.0f}",
        f"{100 * hot:.0f}",
        " ".join(fuse) or "-",
        "FIRE" if fire else "no",
    ]


def run(circuit: Circuit, folder: Path) -> list[Figure]:
    healthy = steady(circuit)
    todo = [("-", "none", healthy)]
    todo += [(where, what, change(healthy)) for where, what, change in _faults(circuit, _BOARD)]
    outside = list(_backfeeds(circuit))
    todo += outside

    def look(item: tuple[str, str, Circuit]) -> list[str]:
        where, what, case = item
        try:
            return _row(where, what, _look(case))
        except SpiceError as error:
            raise SpiceError(f"{where}, {what}: {error}") from error

    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(look, todo))
    header = ["part", "fault", "cut when commanded", "OUT while cut (V)", "connects while cut"]
    header += ["can be live", "seen by", "line (mA)", "Pico's 5 V (mA)"]
    header += ["hottest resistor (% of its rating)", "fuse that trips", "too hot"]
    write_table(folder / "faults.csv", header, rows)
    _, *single = rows[: -len(outside)]
    own = rows[-len(outside)]
    return [
        Figure("single faults simulated", len(single), ""),
        Figure("single faults that connect while cut", _count(single, 4, "YES"), "", at_most=0),
        Figure(
            "single faults that connect with both LIVE lamps dark",
            sum("dark" in row[4] for row in single),
            "",
            at_most=0,
        ),
        Figure(
            "single faults that overheat a resistor while no fuse trips",
            _count(single, 11, "FIRE"),
            "",
            at_most=0,
        ),
        Figure("single faults that nothing shows", _count(single, 6, "nothing"), ""),
        Figure(
            "a microphone with its own supply: OUT while cut", float(own[3]), "V", at_least=0.2
        ),
    ]


def _count(rows: list[list[str]], column: int, word: str) -> int:
    return sum(row[column].startswith(word) for row in rows)
