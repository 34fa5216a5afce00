"""What is around the usb board in the simulation, and how it behaves in time.

The host's USB port, a microphone behind the board, the Pico's own supply, and the chip.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from circuit import Circuit, at, crossing
from results import Figure, write_curves, write_table
from world import press, switched

if TYPE_CHECKING:
    from pathlib import Path

    from circuit import Rows

OPTIONS = (
    ".options reltol=1e-3 abstol=1e-9 vntol=1e-6 gmin=1e-12 method=gear itl1=500 itl4=200"
    " rshunt=1e12"
)
_STEP = "20u"
# USB 2.0, 7.2.4.1: a device may look like 10 uF at 5 V when it is plugged in.
_INRUSH_C = 50e-6
# What the limit of that rule does not count: the current that the port grants before it asks.
_GRANTED_A = 0.1
_HOST_OHM = 0.15


@dataclass(frozen=True)
class Device:
    """A microphone: its current at 5 V, its capacitance, and what it feeds back by itself."""

    amperes: float = 0.1
    farads: float = 10e-6
    own_volts: float | None = None

    def lines(self) -> list[str]:
        own = [] if self.own_volts is None else [f"Vown own 0 {self.own_volts}", "Rown own OUT 1"]
        return [
            f"Rdevice OUT 0 {5 / self.amperes:.6g}",
            f"Cdevice OUT 0 {self.farads:.6g}",
            # Its ESD diodes join its data lines with its supply, and the host pulls both down.
            "Ddp USB_D+ OUT DESD",
            "Ddm USB_D_ OUT DESD",
            ".model DESD D(IS=1n N=1.3 RS=1)",
            "Rdp USB_D+ 0 15k",
            "Rdm USB_D_ 0 15k",
            *own,
        ]


def surroundings(device: Device | None = None) -> list[str]:
    """All but the supplies and what the chip drives."""
    return [
        OPTIONS,
        *(device or Device()).lines(),
        "Rchip1 chip1 ALLOW1 30",
        "Rchip2 chip2 ALLOW2 30",
        # The pulls that the firmware sets in the RP2040, and what nothing drives.
        "Vpull pull 0 3.3",
        "Rp17 pull MCU_CLEAR 50k",
        "Rp18 pull BTN_RB 50k",
        "Rp22 LATCH_RB 0 50k",
        "Rlamp N_R29_Pad1_ 0 1meg",
        "Rdin N_D8_DIN_ 0 1meg",
        "Rrgb RGB_DIN 0 30",
    ]


def steady(circuit: Circuit, device: Device | None = None) -> Circuit:
    """The board with LATCH held, for operating points; ``alter`` changes vlatch, vallow1 and
    vallow2 in volts, vhost and vpico."""
    return circuit.without("U2").plus(
        *surroundings(device),
        "Vhost host 0 5",
        f"Rhost host VLINE {_HOST_OHM}",
        "Vpico pico 0 5",
        "Rpico pico VBUS_PICO 0.15",
        "V3 regulator 0 3.3",
        "Rregulator regulator P3V3 0.3",
        "Vallow1 chip1 0 0",
        "Vallow2 chip2 0 0",
        "Vlatch latch_q 0 0",
        "Rlatch latch_q LATCH 30",
        "Rclk CLK 0 1meg",
        "Rqn LATCH_N 0 1meg",
    )


_LATER = 0.6
_END = 1.2
Points = tuple[tuple[float, float], ...]
_ON: Points = ((0, 5.0),)


def story(
    circuit: Circuit,
    *,
    allow1: Points,
    allow2: Points,
    button: Points | None = None,
    host: Points = ((0, 0), (1e-5, 5)),
    pico: Points = ((0, 0), (1e-3, 5)),
    device: Device | None = None,
) -> Circuit:
    """The whole board in time, its latch clocked by presses. Each supply and line is a list of
    (seconds, volts); the 3.3 V stays as the Pico's converter holds it."""
    return circuit.plus(
        *surroundings(device),
        _source("host", "host", host),
        f"Rhost host VLINE {_HOST_OHM}",
        "Lhost VLINE vl2 1n",
        "Rlh vl2 0 1e9",
        _source("pico", "pico", pico),
        "Rpico pico VBUS_PICO 0.15",
        "V3 P3V3 0 PWL(0 0 1e-3 3.3)",
        _source("allow1", "chip1", allow1),
        _source("allow2", "chip2", allow2),
        _source("finger", "finger", button or press(0.5, 0.53)),
        "Sfinger BTN 0 finger 0 SWFINGER OFF",
        ".model SWFINGER SW(VT=0.5 VH=0.1 RON=0.1 ROFF=1e9)",
    )


def _source(name: str, net: str, points: Points) -> str:
    held = 0.0
    words: list[str] = []
    for time, volts in points:
        held = held if volts != volts else volts
        words.append(f"{time:.9g} {held:.6g}")
    return f"V{name} {net} 0 PWL({' '.join(words)})"


_COLUMNS = ("v(MID)", "v(VSW)", "v(OUT)", "i(Vhost)", "v(I_ADC)", "i(Vpico)", "v(LATCH)")
MID, VSW, OUT, HOST_A, I_ADC, PICO_A, LATCH = range(1, 8)


def _run(circuit: Circuit) -> Rows:
    return circuit.table(f"tran {_STEP} {_END} 0 50u uic", *_COLUMNS)


def _charge_above(rows: Rows, start: float, end: float, amperes: float) -> float:
    """Coulombs that the host gives above a current; plain sums over ngspice's own steps."""
    total = 0.0
    for before, row in pairwise(rows):
        if start <= row[0] <= end:
            total += max(0.0, -row[HOST_A] - amperes) * (row[0] - before[0])
    return total


def moments(circuit: Circuit, folder: Path) -> list[Figure]:
    """Press, connection, cut; self-test; sags."""
    cut_at = 0.9
    both = switched((_LATER, 3.3), (cut_at, 0))
    figures: list[Figure] = []
    rows = _run(story(circuit, allow1=both, allow2=both))
    closed = crossing(rows, VSW, 2.5, _LATER, rising=True)
    up = crossing(rows, OUT, 4.0, _LATER, rising=True)
    first = crossing(rows, OUT, 1.0, _LATER, rising=True)
    down = crossing(rows, OUT, 0.2, cut_at, rising=False)
    opened = crossing(rows, MID, 2.5, cut_at, rising=False)
    plug = _charge_above(rows, 0, 0.4, _GRANTED_A)
    live = _charge_above(rows, _LATER, _LATER + 0.15, _GRANTED_A + 0.1)
    figures += [
        Figure(
            "ALLOW1 and ALLOW2 high until both contacts are closed", 1e3 * (closed - _LATER), "ms"
        ),
        Figure(
            "both contacts closed until OUT rises past 1 V",
            1e3 * (first - closed),
            "ms",
            at_least=5,
        ),
        Figure(
            "ALLOW1 and ALLOW2 high until OUT is above 4 V", 1e3 * (up - _LATER), "ms", at_most=100
        ),
        Figure(
            "ALLOW low until MID falls (contact of K1 open)",
            1e3 * (opened - cut_at),
            "ms",
            at_most=10,
        ),
        Figure("ALLOW low until OUT is below 0.2 V", 1e3 * (down - cut_at), "ms", at_most=100),
        Figure(
            "inrush when the cable is plugged in, charge above 100 mA",
            1e6 * plug,
            "uC",
            at_most=50,
        ),
        Figure(
            "inrush when it goes live, charge above its 100 mA and 100 mA more",
            1e6 * live,
            "uC",
            at_most=50,
        ),
        Figure(
            "current of the Pico's 5 V, live",
            -1e3 * at(rows, cut_at - 0.01, PICO_A),
            "mA",
            at_most=150,
        ),
        Figure(
            "current shown, live with 100 mA",
            at(rows, cut_at - 0.01, I_ADC) / 5e-3,
            "mA",
            at_least=95,
        ),
    ]
    write_curves(
        folder / "live_and_cut.svg",
        {
            name: ([1e3 * row[0] for row in rows[::20]], [row[column] for row in rows[::20]])
            for name, column in (("MID", MID), ("VSW", VSW), ("OUT", OUT), ("LATCH", LATCH))
        },
        title="Press at 500 ms, ALLOW from 600 to 900 ms (simulated)",
        labels=("ms", "V"),
    )
    heavy = Device(amperes=0.01, farads=100e-6)
    rows = _run(story(circuit, allow1=both, allow2=both, device=heavy))
    down = crossing(rows, OUT, 0.2, cut_at, rising=False)
    live = _charge_above(rows, _LATER, _LATER + 0.15, _GRANTED_A)
    figures += [
        Figure(
            "a microphone of 100 uF and 10 mA: ALLOW low until OUT is below 0.2 V",
            1e3 * (down - cut_at),
            "ms",
            at_most=100,
        ),
        Figure(
            "a microphone of 100 uF: inrush, charge above 100 mA", 1e6 * live, "uC", at_most=50
        ),
    ]
    # ALLOW high without a press, and each relay alone after one.
    silent = _run(story(circuit, allow1=both, allow2=both, button=((0, 0),)))
    figures.append(
        Figure(
            "ALLOW high with no press: OUT at most", max(r[OUT] for r in silent), "V", at_most=0.2
        )
    )
    one = _run(
        story(
            circuit,
            allow1=switched((_LATER, 3.3), (0.7, 0)),
            allow2=switched((0.8, 3.3), (0.9, 0)),
        )
    )
    figures += [
        Figure("K1 alone: MID", at(one, 0.69, MID), "V", at_least=4),
        Figure("K1 alone, then K2 alone: OUT at most", max(r[OUT] for r in one), "V", at_most=0.2),
        Figure("K2 alone: MID", at(one, 0.89, MID), "V", at_most=0.2),
    ]
    figures.append(_sags(circuit, folder))
    return figures


_SAG_V = (4.3, 3.8, 3.0, 2.0)
_SAG_S = (1e-3, 20e-3)


def _sags(circuit: Circuit, folder: Path) -> Figure:
    """The Pico's 5 V sags while live, and comes back; its 3.3 V and the firmware hold on."""
    rows: list[list[object]] = []
    again = 0
    held = switched((_LATER, 3.3))
    for volts in _SAG_V:
        for seconds in _SAG_S:
            sag = (
                (0, 0.0),
                (1e-3, 5.0),
                (0.8, 5.0),
                (0.8001, volts),
                (0.8 + seconds, volts),
                (0.8001 + seconds, 5.0),
            )
            got = _run(story(circuit, allow1=held, allow2=held, pico=sag))
            lowest = min(r[OUT] for r in got if r[0] > 0.8)
            end = at(got, _END - 0.01, OUT)
            # Cut and live again with no press between.
            reconnects = lowest < 1 and end > 2
            again += reconnects
            rows.append(
                [
                    volts,
                    f"{1e3 * seconds:g}",
                    f"{lowest:.2f}",
                    f"{end:.2f}",
                    "YES" if reconnects else "no",
                ]
            )
    write_table(
        folder / "sags.csv",
        ["5 V falls to", "for (ms)", "OUT at least", "OUT at the end", "live again with no press"],
        rows,
    )
    return Figure(
        "sags of the Pico's 5 V after which it is live again with no press", again, "", at_most=0
    )


# The most that each conductor of the line may have; see hardware/usb/sim/ASSUMPTIONS.md.
_MOST_OHM = {"F1": 0.14, "R15": 0.0505}
_MOST_CONTACT_OHM = 0.1
_MOST_SWITCH_OHM = 0.071
_COPPER_OHM = 0.025


def drop(circuit: Circuit) -> list[Figure]:
    """From J1 to J2 at 500 mA: typical, and with each part at its worst."""
    figures: list[Figure] = []
    for name, worst in (("typical", False), ("worst", True)):
        case = circuit
        if worst:
            for ref, ohms in _MOST_OHM.items():
                case = case.with_value(ref if ref in case.names else f"R{ref}", ohms)
            for relay in ("K1", "K2"):
                case = case.with_parameters(relay, Ron=_MOST_CONTACT_OHM)
            case = case.with_parameters("U8", Ron=_MOST_SWITCH_OHM)
        held = switched((_LATER, 3.3))
        load = Device(amperes=0.5 * 5 / 4.8)
        told = story(case, allow1=held, allow2=held, device=load)
        rows = told.table(f"tran {_STEP} {_END} 0 50u uic", "v(VLINE)", "v(OUT)")
        line, out = at(rows, _END - 0.01, 1), at(rows, _END - 0.01, 2)
        # The load is a resistance: what it takes is near 500 mA, and the drop is scaled to that.
        volts = (line - out) * 0.5 / (out * load.amperes / 5) + 0.5 * _COPPER_OHM
        figures.append(Figure(f"drop from J1 to J2 at 500 mA, {name}", volts, "V", at_most=0.25))
    return figures


_COIL_OHM = 194.0
_MUST_OPERATE_V = 3.6
_COPPER_PER_K = 0.0039
_FUSE2_OHM = 1.0


def coil_margin() -> list[Figure]:
    """Volts at a coil against its must-operate voltage, 4.5 V at the Pico, 50 C, computed."""
    coil = _COIL_OHM * (1 + _COPPER_PER_K * 27)
    # Two coils and 50 mA of the status lamp in the fuse, and the transistor's 50 mohm.
    at_coil = 4.5 - _FUSE2_OHM * (2 * 4.5 / coil + 0.02)
    need = _MUST_OPERATE_V * (1 + _COPPER_PER_K * 27)
    return [
        Figure(
            "coil at 4.5 V and 50 C, above what it needs",
            100 * (at_coil / need - 1),
            "%",
            at_least=10,
        )
    ]


# Stack-up JLC04161H-7628: 7628 prepreg of 0.2104 mm between the outer copper and In1.
_HEIGHT_MM, _EPSILON, _COPPER_MM = 0.2104, 4.4, 0.035


def pair_ohms(
    width: float, gap: float, height: float = _HEIGHT_MM, epsilon: float = _EPSILON
) -> float:
    """Differential impedance of two tracks over a plane, in millimetres.

    IPC-2141 for one surface track, and its coupling term for two; good to about 10 %.
    """
    from math import exp, log, sqrt

    single = 87 / sqrt(epsilon + 1.41) * log(5.98 * height / (0.8 * width + _COPPER_MM))
    return 2 * single * (1 - 0.48 * exp(-0.96 * gap / height))


def impedance() -> list[Figure]:
    return [
        Figure(
            "D+ D-: 0.29 mm, gap 0.20 mm", pair_ohms(0.29, 0.20), "ohm", at_least=81, at_most=99
        ),
        Figure(
            "D+ D- beside U9: 0.40 mm, gap 1.5 mm",
            pair_ohms(0.40, 1.5),
            "ohm",
            at_least=81,
            at_most=99,
        ),
    ]


def run(circuit: Circuit, folder: Path) -> list[Figure]:
    return [*moments(circuit, folder), *drop(circuit), *coil_margin(), *impedance()]
