"""P3 on the chip: the pin of the relay falls within 1 us of the edge, whatever the CPU does."""

from __future__ import annotations

import random

import pytest

from hardmute.sim.rp2040.workbench import Bench, Repl

# From the button's edge to the pin. The PIO takes two cycles of 8 ns; its input synchroniser, two
# more that rp2040py does not model.
_AT_ONCE_US = 1.0


def assert_cut_at(bench: Bench, edge_us: float) -> None:
    """The one cut since the relay's record began came at once after the edge."""
    (cut_us,) = bench.cut_times()
    assert edge_us <= cut_us < edge_us + _AT_ONCE_US


def test_P3_a_press_cuts_within_a_microsecond(live: Bench) -> None:
    edge_us = live.now_us + 7_531
    live.press_at(edge_us, hold_ms=40, bounce_ms=5)
    live.run_ms(80)
    assert_cut_at(live, edge_us)
    assert live.status()["state"] == "muted"


def test_P3_whenever_the_press_comes(repl: Repl) -> None:
    chance = random.Random(3)
    for _ in range(50):
        connect(repl)
        edge_us = repl.now_us + chance.randint(1, 5_000)
        repl.press_at(edge_us, hold_ms=1)
        repl.run_ms(7)
        assert_cut_at(repl, edge_us)


def test_P3_a_hung_cpu_does_not_delay_the_cut(live: Bench) -> None:
    live.pico.hang()
    edge_us = live.now_us + 100_000
    live.press_at(edge_us)
    live.run_ms(200)
    assert_cut_at(live, edge_us)
    assert not live.connected


def connect(repl: Repl) -> None:
    repl.run("board.connect(True)")
    repl.run_ms(10)
    assert repl.connected
    repl.watch_relay()


# What the CPU may be busy with.
BUSY = {
    "endless loop": "while True:\n pass",
    "endless loop, interrupts off": "import machine\nmachine.disable_irq()\nwhile True:\n pass",
    "flash": "while True:\n with open('x', 'wb') as f:\n  f.write(bytes(5000))",
    "collection": "import gc\nx = [[] for _ in range(2000)]\nwhile True:\n gc.collect()",
    "lamp": "while True:\n board.show((255, 0, 255))",
    "print": "while True:\n print('x' * 60)",
    "sleep": "import time\ntime.sleep(10)",
}


@pytest.mark.parametrize("busy", BUSY)
def test_P3_the_cut_needs_no_cpu(repl: Repl, busy: str) -> None:
    connect(repl)
    repl.begin(BUSY[busy])
    edge_us = repl.now_us + 137_531
    repl.press_at(edge_us)
    repl.run_ms(300)
    assert_cut_at(repl, edge_us)
    assert not repl.connected
    if busy == "flash":
        assert [name for _, name, _ in repl.pico.flash.operations].count("erase") >= 2


def test_P3_a_flash_erase_under_way_does_not_delay_the_cut(repl: Repl) -> None:
    connect(repl)
    repl.begin(BUSY["flash"])
    flash = repl.pico.flash

    def erasing() -> bool:
        return flash.busy and flash.operations[-1][1] == "erase"

    repl.run_until(erasing, 1_000_000, step_us=100)
    edge_us = repl.now_us + 10_000
    repl.press_at(edge_us)
    repl.run_us(10_001)
    assert flash.busy, "the erase ended before the press"
    repl.run_ms(10)
    assert_cut_at(repl, edge_us)


def test_P3_a_burst_on_usb_does_not_delay_the_cut(live: Bench) -> None:
    live.send(b'{"id":1,"op":"status"}\n' * 180)
    edge_us = live.now_us + 40_003
    live.press_at(edge_us)
    live.run_ms(200)
    assert_cut_at(live, edge_us)


def test_P2_words_queued_for_the_pio_never_connect(repl: Repl) -> None:
    """It halts after a cut, however full its queue is, before and after."""
    connect(repl)
    repl.run("for _ in range(4): board._machine.put(1)")
    repl.press()
    assert not repl.connected
    repl.watch_relay()
    repl.run(
        "import rp2\n"
        "for _ in range(8):\n"
        " if board._machine.tx_fifo() < 4: board._machine.put(1)\n"
        " board._machine.active(1)\n"
    )
    repl.run_ms(50)
    assert not repl.connected
    assert repl.connect_times() == []
    repl.run("board.cut()\nfor _ in range(4): board._machine.put(1)")
    repl.run_ms(50)
    assert not repl.connected
    assert repl.connect_times() == []


@pytest.mark.parametrize("part", range(4))
def test_P3_an_edge_at_any_moment_of_connect_ends_cut(repl: Repl, part: int) -> None:
    """The press comes before, during and just after `connect`, in steps of 4 us."""
    for step in range(25):
        edge_us = repl.now_us + 3_000 + 4 * (25 * part + step)
        repl.press_at(edge_us, hold_ms=40)
        repl.begin("board.connect(True)")
        repl.run_us(edge_us + 1 - repl.now_us)
        repl.run_until(lambda: not repl.physics.button_down, 100_000)
        assert not repl.coil
        # Energised after the edge at the most for as long as the PIO takes to see the level.
        for connected_us, cut_us in zip(repl.connect_times(), repl.cut_times(), strict=True):
            assert cut_us < max(edge_us, connected_us) + _AT_ONCE_US
        repl.heard()
        repl.run("board.cut()")
        repl.watch_relay()


def test_P2_a_press_connects_only_with_the_firmware(bench: Bench) -> None:
    bench.pico.hang()
    bench.press()
    assert bench.connect_times() == []
    assert not bench.connected


@pytest.mark.parametrize("hold_ms", [1, 10, 25])
def test_P2_a_touch_that_is_no_press_does_not_connect(bench: Bench, hold_ms: int) -> None:
    bench.press(hold_ms, bounce_ms=2)
    assert bench.connect_times() == []


@pytest.mark.parametrize("mode", [True, False])
def test_the_handlers_of_the_cut_do_not_allocate(repl: Repl, mode: bool) -> None:
    repl.run(f"board.connect({mode})") if mode else None
    repl.run(
        "import micropython, time\n"
        "board.take_edges()\n"
        "micropython.heap_lock()\n"
        "t = time.ticks_ms()\n"
        "while time.ticks_diff(time.ticks_ms(), t) < 5: pass\n"
        "micropython.heap_unlock()\n"
    )
    before = repl.evaluate("[board._downs, board._ups]")
    repl.begin(
        "micropython.heap_lock()\n"
        "while not board._ups_taken != board._ups: pass\n"
        "micropython.heap_unlock()\nprint('done')"
    )
    repl.physics.press(50, 0)
    repl.run_ms(200)
    assert b"done" in repl.heard()
    after = repl.evaluate("[board._downs, board._ups]")
    assert after[0] > before[0]
    assert after[1] > before[1]
    assert not repl.connected
