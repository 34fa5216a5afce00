"""P7 on the chip: what the WS2812 is sent, in its own timing, and what that costs."""

from __future__ import annotations

from itertools import pairwise

import pytest
from rp2040py.gpio_pin import GPIOPinState

from hardmute.sim.rp2040 import chip
from hardmute.sim.world import colour_name
from workbench import Bench, Repl

# WS2812B datasheet, "Data transfer time": high and low time of a 0 and of a 1, each ±150 ns; low
# for more than 50 us ends a frame.
ZERO_NS = (400, 850)
ONE_NS = (800, 450)
TOLERANCE_NS = 150
RESET_NS = 50_000


def waveform(bench: Bench) -> list[tuple[float, bool]]:
    """(time in ns, high) of the lamp's pin, filled as time passes."""
    edges: list[tuple[float, bool]] = []
    clock = bench.pico.clock
    bench.pico.mcu.gpio[chip.LAMP].add_listener(
        lambda new, _old: edges.append((clock.nanos, new == GPIOPinState.HIGH))
    )
    return edges


@pytest.mark.parametrize("rgb", [(255, 0, 0), (0, 127, 1), (0, 0, 0), (85, 170, 255)])
def test_the_waveform_is_within_the_part_s_tolerance(
    repl: Repl, rgb: tuple[int, int, int]
) -> None:
    edges = waveform(repl)
    repl.run(f"board.show({rgb})")
    repl.run_ms(1)
    assert [high for _, high in edges] == [True, False] * 24
    times = [time for time, _ in edges]
    spans = [later - earlier for earlier, later in pairwise(times)]
    bits = ""
    for high, low in zip(spans[0::2], [*spans[1::2], None], strict=True):
        bit = "1" if high > (ZERO_NS[0] + ONE_NS[0]) / 2 else "0"
        bits += bit
        nominal = ONE_NS if bit == "1" else ZERO_NS
        assert abs(high - nominal[0]) <= TOLERANCE_NS
        assert low is None or abs(low - nominal[1]) <= TOLERANCE_NS
    green, red, blue = (int(bits[at : at + 8], 2) for at in (0, 8, 16))
    assert (red, green, blue) == rgb
    assert repl.physics.lamp == rgb


def test_frames_are_far_enough_apart_to_be_told_apart(live: Bench) -> None:
    edges = waveform(live)
    live.run_ms(300)
    gaps = [later - earlier for (earlier, _), (later, _) in pairwise(edges) if later > earlier]
    between = [gap for gap in gaps if gap > ZERO_NS[1] + ONE_NS[0]]
    assert len(between) >= 5, "the lamp does not breathe"
    assert min(between) > RESET_NS


def test_P7_the_lamp_shows_what_is_sensed(bench: Bench) -> None:
    assert colour_name(bench.physics.lamp) == "red"
    bench.press(40)
    assert colour_name(bench.physics.lamp) == "green"
    bench.physics.weld(0)
    bench.press(40)
    seen = set()
    for _ in range(20):
        bench.run_ms(25)
        seen.add(colour_name(bench.physics.lamp))
    assert seen == {"red", "white"}
    assert bench.status()["faults"] == ["closed:1"]


def test_P3_a_press_during_the_waveform_cuts_at_once(live: Bench) -> None:
    """MicroPython sends it with interrupts off; the PIO does not need them."""
    edges = waveform(live)
    live.run_until(lambda: bool(edges), 100_000, step_us=1)
    edge_us = live.now_us + 5
    live.press_at(edge_us, hold_ms=40)
    live.run_us(20)
    sending = len(edges)
    assert 0 < sending < 48, "the waveform was over before the press"
    (cut_us,) = live.cut_times()
    assert edge_us <= cut_us < edge_us + 1
