"""P8 on the chip: live time is bounded across the wrap of the millisecond counter."""

from __future__ import annotations

from collections.abc import Callable

from workbench import Bench

# MicroPython's `ticks_ms` wraps here.
_WRAP_MS = 1 << 30
_BEFORE_MS = 60_000


def test_P8_live_across_the_wrap_of_the_ticks(fresh: Callable[..., Bench]) -> None:
    bench = fresh(max_live_s=10)
    bench.pico.power_on()
    bench.pico.set_timer_us((_WRAP_MS - _BEFORE_MS) * 1000)
    wrap_us = bench.now_us + _BEFORE_MS * 1000
    bench.pico.plug()
    bench.await_lamp()
    bench.pico.advance(wrap_us - 5_000_000)
    uptime_ms = bench.status()["uptime_ms"]
    bench.watch_relay()
    bench.press(40)
    (connected_us,) = bench.connect_times()
    assert connected_us < wrap_us
    bench.pico.advance(wrap_us + 5_500_000)
    (cut_us,) = bench.cut_times()
    # The board counts whole milliseconds.
    assert 9_999_000 <= cut_us - connected_us < 10_025_000
    told = bench.status()
    assert (told["state"], told["cause"]) == ("muted", "timer")
    assert 0 <= told["uptime_ms"] - uptime_ms - 10_500 < 200
    assert 9_980 <= told["live_ms"] <= 10_030
