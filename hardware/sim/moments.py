"""What takes time: clicks, relay release, loss of power, and what a chip could try."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from circuit import Circuit, Rows, crossing
from results import Figure, write_curves, write_table
from small_signal import welded
from world import Story, World, press, steady, switched

if TYPE_CHECKING:
    from pathlib import Path

    from results import Curves

# Position of an armature above which its NO is closed.
_NO = 0.70
_COLUMNS = ("v(xk1.p)", "v(xk2.p)", "v(adc)", "v(LATCH)", "v(CLK)", "v(COIL1)")
_K1, _K2, _ADC, _LATCH, _CLK, _COIL = range(1, 7)
_HIGH = 3.3
# The supervisor holds the latch clear for 0.2 s after power-on.
_PRESS = (0.30, 0.40)
_ALLOW = 0.45
_LIVE = 0.60


def play(circuit: Circuit, story: Story, end: float, step: float = 20e-6) -> Rows:
    return story.told(circuit, World()).table(f"tran {step} {end} 0 {step}", *_COLUMNS)


def opened(rows: Rows, start: float) -> float:
    """Seconds from ``start`` until the first contact in series has opened."""
    return min(crossing(rows, relay, _NO, start, rising=False) for relay in (_K1, _K2)) - start


def is_live(rows: Rows, time: float) -> bool:
    row = min(rows, key=lambda row: abs(row[0] - time))
    return min(row[_K1], row[_K2]) > _NO


def ever_live(rows: Rows, start: float) -> bool:
    return any(row[0] >= start and min(row[_K1], row[_K2]) > _NO for row in rows)


def run(circuit: Circuit, folder: Path) -> list[Figure]:
    figures = release(circuit, folder) + click(circuit, folder)
    figures += power(circuit, folder) + attempts(circuit)
    figures += coil_margin(circuit) + guard(circuit)
    write_table(
        folder / "moments.csv",
        ["figure", "simulated", "unit"],
        [[figure.name, f"{figure.value:.4g}", figure.unit] for figure in figures],
    )
    return figures


def release(circuit: Circuit, folder: Path) -> list[Figure]:
    """The chip drops ALLOW; then a bare press, with ALLOW held high by a chip that hangs."""
    off = _LIVE
    story = Story(button=press(*_PRESS), allow=switched((_ALLOW, _HIGH), (off, 0)))
    rows = play(circuit, story, off + 0.02, 5e-6)
    assert is_live(rows, off - 1e-3)
    released = opened(rows, off)
    shown = [row for row in rows if off - 0.5e-3 <= row[0] <= off + 4e-3]
    curves: Curves = {"K1": ([(row[0] - off) * 1e3 for row in shown], [row[_K1] for row in shown])}
    on = crossing(rows, _K1, _NO, _ALLOW, rising=True) - _ALLOW
    peak = max(row[_COIL] for row in rows)
    figures = [
        # The LIVE lamp lies from 5 V to this, and takes 5 V in reverse.
        Figure("drain of Q1, peak", peak, "V", at_most=10),
        Figure("ALLOW high until the contact closes", on * 1e3, "ms", at_most=10),
        Figure("ALLOW low until the contact opens", released * 1e3, "ms", at_most=10),
    ]
    write_curves(
        folder / "release.svg",
        curves,
        title="Armature of K1 after ALLOW falls: 1 operated, 0 at rest (simulated)",
        labels=("ms", "position"),
        limits={"contact opens": _NO},
    )
    second = 0.70
    bouncing = (*press(*_PRESS, bounce=20e-3), *press(second, second + 0.2, bounce=20e-3)[1:])
    rows = play(circuit, Story(button=bouncing, allow=switched((_ALLOW, _HIGH))), 1.0)
    assert is_live(rows, second)
    # Power-on clocks it as well, while the supervisor holds it clear.
    later = [row[_CLK] for row in rows if row[0] > 0.25]
    clocks = sum(a < 1.65 <= b for a, b in pairwise(later))
    figures += [
        Figure(
            "press until the contact opens, by the latch alone, 20 ms of bounce",
            opened(rows, second) * 1e3,
            "ms",
            at_most=40,
        ),
        Figure("clocks of two presses with 20 ms of bounce", clocks, "", at_least=2, at_most=2),
    ]
    edge = crossing(rows, _CLK, 1.65, _PRESS[0], rising=True) - _PRESS[0]
    return [
        *figures,
        Figure("press until the latch is clocked, 20 ms of bounce", edge * 1e3, "ms", at_most=30),
    ]


def click(circuit: Circuit, folder: Path) -> list[Figure]:
    """At the host's converter, behind its 10 uF and 10 kOhm."""
    off = 2.5
    story = Story(button=press(0.8, 0.9), allow=switched((1.0, _HIGH), (off, 0)))
    rows = play(circuit, story, 3.0)
    figures: list[Figure] = []
    curves: Curves = {}
    for name, start in (("unmute", 1.0), ("mute", off)):
        base = [row for row in rows if row[0] < start][-1][_ADC]
        after = [(row[0], row[_ADC] - base) for row in rows if start <= row[0] < start + 0.45]
        values = [value for _, value in after]
        peak = max(values, key=abs)
        figures.append(Figure(f"click at {name}, peak at the converter", peak, "V"))
        curves[name] = ([(t - start) * 1e3 for t, _ in after], values)
    write_curves(
        folder / "click.svg",
        curves,
        title="Click at the host's converter (simulated)",
        labels=("ms", "V"),
    )
    return figures


def power(circuit: Circuit, folder: Path) -> list[Figure]:
    """USB is lost in three ways while live; then a dip that a chip may survive."""
    start = _LIVE
    losses = {
        "shorted (0.1 ms)": (((start, 5), (start + 1e-4, 0)), ((start, 3.3), (start + 1e-4, 0))),
        "unplugged (10 ms)": (
            ((start, 5), (start + 5e-3, 3.0), (start + 10e-3, 1.8), (start + 30e-3, 0.2)),
            ((start, 3.3), (start + 5e-3, 3.0), (start + 10e-3, 1.8), (start + 30e-3, 0.2)),
        ),
        "fading (5 V/s)": (((start, 5), (start + 1, 0)), ((start + 0.34, 3.3), (start + 1, 0))),
    }
    figures: list[Figure] = []
    table: list[list[str]] = []
    for name, (usb, regulated) in losses.items():
        story = Story(
            button=press(*_PRESS),
            # The chip's pin follows its supply.
            allow=(*switched((_ALLOW, _HIGH)), *regulated),
            usb=((0, 0), (1e-3, 5), *usb),
            regulated=((0, 0), (1e-3, 3.3), *regulated),
        )
        rows = play(circuit, story, start + (1.05 if "fading" in name else 0.08))
        assert is_live(rows, start - 1e-3)
        cut = opened(rows, start)
        figures.append(Figure(f"power {name} until the contact opens", cut * 1e3, "ms"))
        table.append([name, f"{cut * 1e3:.2f}"])
    write_table(folder / "power_loss.csv", ["USB power", "contact opens after (ms)"], table)
    dip = ((_LIVE, 3.3), (_LIVE + 1e-4, 2.6), (_LIVE + 2e-3, 2.6), (_LIVE + 2.1e-3, 3.3))
    for name, clear in (("", None), (", CLEAR driven high by the chip", switched((0.1, _HIGH)))):
        story = Story(
            button=press(*_PRESS),
            allow=switched((_ALLOW, _HIGH)),
            clear=clear,
            regulated=((0, 0), (1e-3, 3.3), *dip),
        )
        rows = play(circuit, story, _LIVE + 0.4)
        assert is_live(rows, _LIVE - 1e-3)
        figures.append(
            Figure(
                f"live after a dip to 2.6 V of 2 ms with ALLOW held high{name}",
                float(ever_live(rows, _LIVE + 0.02)),
                "",
                at_most=0,
            )
        )
    return figures + sag(circuit)


# Volts that USB's 5 V alone falls to, while the Pico's converter keeps 3.3 V up; and for how long.
_SAG_VOLTS = (2.0, 2.5, 3.0, 3.5, 3.9, 4.2, 4.4)
_SAG_SECONDS = (1e-3, 5e-3, 20e-3, 0.1)
_LONG_SAG = ((2.0, 1.0), (3.5, 1.0), (4.4, 1.0))


def sag(circuit: Circuit) -> list[Figure]:
    """Whether a sag that opens the line ever ends live with no press."""
    sags = [(volts, seconds) for volts in _SAG_VOLTS for seconds in _SAG_SECONDS]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = list(pool.map(partial(_sag, circuit), *zip(*sags, *_LONG_SAG, strict=True)))
    opened_lines = sum(opens for opens, _ in found)
    again = sum(opens and live for opens, live in found)
    return [
        Figure("sags of 5 V simulated", len(found), ""),
        Figure("sags of 5 V that open the line", opened_lines, ""),
        Figure("sags of 5 V that open the line and end live with no press", again, "", at_most=0),
    ]


def _sag(circuit: Circuit, volts: float, seconds: float) -> tuple[bool, bool]:
    """Whether the line opens, and whether it is live after all."""
    edge = 0.2e-3
    back = _LIVE + edge + seconds
    usb = ((_LIVE, 5), (_LIVE + edge, volts), (back, volts), (back + edge, 5))
    story = Story(
        button=press(*_PRESS), allow=switched((_ALLOW, _HIGH)), usb=((0, 0), (1e-3, 5), *usb)
    )
    # Longer than the supervisor holds the latch clear.
    rows = play(circuit, story, back + 0.25, 100e-6)
    assert is_live(rows, _LIVE - 1e-3)
    opens = any(row[0] > _LIVE and min(row[_K1], row[_K2]) < _NO for row in rows)
    return opens, is_live(rows, back + 0.24)


# Data sheet: operates at 80 % of 3 V at 23 degrees; copper has 0.393 % more ohms a degree.
_OPERATES_A = 0.8 * 3 / 91
_WARM_OHMS = 91 * (1 + 0.00393 * (50 - 23))
# What the chip's lamp draws at most.
_LAMP_A = 0.060


def coil_margin(circuit: Circuit) -> list[Figure]:
    """At 4.5 V, 50 degrees and with the chip's lamp at its brightest."""
    board = steady(circuit, World(), latch=True, allow=True)
    for relay in ("K1", "K2"):
        board = board.with_parameters(relay, Rc=_WARM_OHMS)
    weak = Circuit(tuple("V5 usb 0 4.5" if line == "V5 usb 0 5" else line for line in board.lines))
    one, other = weak.plus(f"Ilamp P5V 0 {_LAMP_A}").point(
        "v(LIVE1)-v(COIL1)", "v(LIVE2)-v(COIL2)"
    )
    margin = min(one, other) / _WARM_OHMS / _OPERATES_A - 1
    return [
        Figure("coil current over what operates it, 4.5 V, 50 C", margin * 100, "%", at_least=10)
    ]


# What the guard test reads: the firmware's limits, with the spread of the parts in them.
_GUARD_HIGH = (0.27, 0.35)
_GUARD_LOW = 0.05


def guard(circuit: Circuit) -> list[Figure]:
    """The two readings of a healthy board, and of one with a pole of the microphone welded."""
    figures: list[Figure] = []
    cases = {"healthy": None, "K1 welded": "K1", "K2 welded, microphone in": "K2"}
    for name, relay in cases.items():
        board = steady(circuit, World(), latch=False, allow=False)
        if relay:
            board = welded(board, relay)
        board = board.plus("Ven GUARD_EN 0 3.3")
        high, low = (
            board.plus(f"Vdrive GUARD_DRIVE 0 {volts}").point("v(GUARD)")[0] for volts in (3.3, 0)
        )
        passes = _GUARD_HIGH[0] <= high <= _GUARD_HIGH[1] and low < _GUARD_LOW
        # It passes on a healthy board, and on no other.
        wanted = int(relay is None)
        figures += [
            Figure(f"guard test, {name}: driven high", high, "V"),
            Figure(f"guard test, {name}: driven low", low, "V"),
            Figure(f"guard test passes, {name}", float(passes), "", wanted, wanted),
        ]
    return figures


def attempts(circuit: Circuit) -> list[Figure]:
    """A chip with the worst firmware and nobody at the button: ALLOW high for ever, and more."""
    allow = switched((1e-3, _HIGH))
    pulses = press(0.30, 0.40)
    stories = {
        "ALLOW high": Story(allow=allow),
        "ALLOW high, button line pulsed low": Story(
            allow=allow,
            button_line=tuple((t, v if v != v else _HIGH * (1 - v)) for t, v in pulses),
        ),
        "ALLOW high, latch line driven high": Story(
            allow=allow, latch_line=switched((0.3, _HIGH))
        ),
        "ALLOW high, CLEAR pulsed": Story(
            allow=allow, clear=switched((0.3, _HIGH), (0.35, 0), (0.4, _HIGH))
        ),
    }
    return [
        Figure(
            f"live with no press: {name}",
            float(ever_live(play(circuit, story, 0.6), 0)),
            "",
            at_most=0,
        )
        for name, story in stories.items()
    ]
