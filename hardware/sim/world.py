"""What is around the inline board in the simulation: microphone, host, cables, supply, chip."""

from __future__ import annotations

from dataclasses import dataclass

from circuit import Circuit

# Tight: the currents of interest are femtoamperes.
SMALL_SIGNAL = ".options reltol=1e-5 abstol=1e-15 vntol=1e-10 chgtol=1e-16 gmin=1e-15 rshunt=1e14"
TRANSIENT = (
    ".options reltol=1e-3 abstol=1e-10 vntol=1e-6 gmin=1e-12 method=gear itl4=200 rshunt=1e13"
)


@dataclass(frozen=True)
class World:
    """Ohms, farads and volts; assumed, every one (hardware/inline/sim/ASSUMPTIONS.md)."""

    capsule: float = 2200.0
    capsule_volts: float = 1.0
    bias: float = 2200.0
    bias_volts: float = 2.5
    input_ohms: float = 10e3
    cable: float = 100e-12
    # From the microphone's net to the host's, past both relays: copper and plugs.
    stray: float = 0.02e-12
    insulation: float = 1e9
    # JP1 puts shunt 1 on, and comes so.
    jumper: bool = True

    def audio(self) -> tuple[str, ...]:
        """An electret as a source that sounds even without its bias, which is the worst case."""
        return (
            f"Vcap cap GNDA DC {self.capsule_volts} AC 1",
            f"Rcap cap MIC_SRC {self.capsule}",
            f"Ccable2 MIC_SRC GNDA {self.cable}",
            f"Ccable1 MIC_HOST GNDA {self.cable}",
            f"Vbias bias GNDA {self.bias_volts}",
            f"Rbias bias MIC_HOST {self.bias}",
            "Cadc MIC_HOST adc 10u",
            f"Radc adc GNDA {self.input_ohms}",
            f"Cstray MIC_SRC MIC_HOST {self.stray}",
            f"Rins1 MIC_SRC MIC_MID {self.insulation}",
            f"Rins2 MIC_MID MIC_HOST {self.insulation}",
            "Rground GNDA 0 1m",
            *(["Rjp1 SHUNT1 SHUNT1C 10m"] if self.jumper else []),
            # What KiCad exports but nothing drives.
            "Rlamp N_R17_Pad1_ 0 1meg",
            "Rdin N_D8_DIN_ 0 1meg",
            # What the chip does not drive, unless it runs the guard test.
            "Rguard GUARD 0 1g",
        )


def steady(
    circuit: Circuit, world: World, *, latch: bool, allow: bool, options: str = SMALL_SIGNAL
) -> Circuit:
    """The board with its latch held in one state, for analyses without a past."""
    return circuit.without("U2").plus(
        options,
        *world.audio(),
        # So that a short across a supply takes it down: USB's and the regulator's own resistance.
        "V5 usb 0 5",
        "Rusb usb VBUS 0.3",
        "V3 regulator 0 3.3",
        "Rregulator regulator P3V3 0.3",
        f"Vallow ALLOW 0 {3.3 * allow}",
        f"Vlatch LATCH 0 {3.3 * latch}",
        "Rdrive GUARD_DRIVE 0 1g",
        "Rclk CLK 0 1meg",
        "Rqn LATCH_N 0 1meg",
        *chip_inputs(),
    )


def chip_inputs() -> tuple[str, ...]:
    """The pulls that the firmware sets in the RP2040: 50 kOhm, and none on what it drives."""
    return (
        "Vpull pull 0 3.3",
        "Rp18 pull BTN_RB 50k",
        "Rp19 pull SENSE1 50k",
        "Rp22 pull SENSE2 50k",
        "Rp26 LATCH_RB 0 50k",
        "Rp17 pull MCU_CLEAR 50k",
    )


def still(circuit: Circuit) -> Circuit:
    """The same with each relay standing where its coil and its welds hold it."""
    relays = [name for name in circuit.names if name[0] == "K"]
    poles = [f"v(xk{name[1:].lower()}.{pole})" for name in relays for pole in ("pa", "pb")]
    closed = iter(circuit.point(*poles))
    for name in relays:
        circuit = circuit.standing(name, A=next(closed) > 0.5, B=next(closed) > 0.5)
    return circuit


@dataclass(frozen=True)
class Story:
    """What happens to a whole board. Each is a list of (seconds, volts), held in between; the
    button is down where its line is above half a volt."""

    button: tuple[tuple[float, float], ...] = ((0, 0),)
    allow: tuple[tuple[float, float], ...] = ((0, 0),)
    # CLEAR as the chip drives it, or None while the chip lets it go all the time.
    clear: tuple[tuple[float, float], ...] | None = None
    usb: tuple[tuple[float, float], ...] = ((0, 0), (1e-3, 5))
    regulated: tuple[tuple[float, float], ...] = ((0, 0), (1e-3, 3.3))
    # The chip driving the lines that it should only read, or None.
    button_line: tuple[tuple[float, float], ...] | None = None
    latch_line: tuple[tuple[float, float], ...] | None = None

    def told(self, circuit: Circuit, world: World) -> Circuit:
        lines = [
            TRANSIENT,
            *world.audio(),
            _source("5", "VBUS", self.usb),
            "Rdrive GUARD_DRIVE 0 1g",
            _source("3", "P3V3", self.regulated),
            _source("allow", "ALLOW", self.allow),
            _source("finger", "finger", self.button),
            "Sfinger BTN 0 finger 0 SWFINGER OFF",
            ".model SWFINGER SW(VT=0.5 VH=0.1 RON=0.1 ROFF=1e9)",
            *chip_inputs(),
        ]
        driven = {"MCU_CLEAR": self.clear, "BTN_RB": self.button_line, "LATCH_RB": self.latch_line}
        lines += [_source(net.lower(), net, points) for net, points in driven.items() if points]
        return circuit.plus(*lines)


def press(start: float, end: float, bounce: float = 0.0) -> tuple[tuple[float, float], ...]:
    """A press, with as long a bounce of 1 kHz at each edge."""
    points = [(0.0, 0.0)]
    for edge, level in ((start, 1.0), (end, 0.0)):
        count = round(bounce / 1e-3)
        for step in range(count):
            points += _step(edge + step * 1e-3, level) + _step(
                edge + (step + 0.5) * 1e-3, 1 - level
            )
        points += _step(edge + count * 1e-3, level)
    return tuple(points)


def switched(*changes: tuple[float, float]) -> tuple[tuple[float, float], ...]:
    """0 V, then each level from its time on."""
    points = [(0.0, 0.0)]
    for time, level in changes:
        points += _step(time, level)
    return tuple(points)


_EDGE_S = 1e-6


def _step(time: float, level: float) -> list[tuple[float, float]]:
    return [(time, float("nan")), (time + _EDGE_S, level)]


def _source(name: str, net: str, points: tuple[tuple[float, float], ...]) -> str:
    held = 0.0
    words: list[str] = []
    for time, volts in points:
        # A step begins with the level that was held.
        held = held if volts != volts else volts
        words.append(f"{time:.9g} {held:.6g}")
    return f"V{name} {net} 0 PWL({' '.join(words)})"
