"""P2 and P5 on the chip: no byte, baud rate or silence of the host does more than mute."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

import break_in
from muteboard import wire
from workbench import Bench

REQUEST = b'{"id":1,"op":"status"}\n'


def frames(data: bytes) -> list[dict[str, object]]:
    """The whole lines in ``data``, each with a valid CRC."""
    *lines, _ = data.split(b"\n")
    return [wire.unframe(line, True) for line in lines]


def test_P2_noise_connects_nothing_and_the_board_still_answers(bench: Bench) -> None:
    chance = random.Random(5)
    pieces = [
        chance.randbytes(2_000),
        b"x" * 1_000 + b"\n",
        b'{"id":2,"op":"connect"}\n{"id":3,"op":"press"}\n{"id":4,"op":"unmute"}\n' * 3,
        wire.frame({"id": 5, "op": "live"})[:-3] + b"\n",
        b"import machine; machine.Pin(20, machine.Pin.OUT, value=1)\r\n",
        *break_in.CONTROL,
        b"\n",
    ]
    for piece in pieces:
        bench.send(piece)
        bench.run_ms(60)
        bench.heard()
    bench.run_ms(300)
    bench.heard()
    assert bench.status()["state"] == "muted"
    assert bench.connect_times() == []
    assert [cause for _, cause in bench.pico.resets] == ["power"]


def test_P2_the_host_mutes(live: Bench) -> None:
    answer, us = live.timed("mute")
    assert answer["changed"] is True
    assert not live.coil
    told = live.status()
    assert (told["state"], told["cause"]) == ("muted", "host")
    assert us < 50_000


def test_a_host_that_floods_and_never_reads_changes_nothing(live: Bench) -> None:
    """Writes are bounded, so the watchdog is fed and a press cuts as ever (P3)."""
    live.pico.usb.room = 0
    live.send(b'{"id":9,"op":"watch"}\n' + REQUEST * 100)
    live.run_ms(1_500)
    edge_us = live.now_us + 1_234
    live.press_at(edge_us, hold_ms=40)
    live.run_ms(200)
    (cut_us,) = live.cut_times()
    assert edge_us <= cut_us < edge_us + 1
    assert [cause for _, cause in live.pico.resets] == ["power"]
    live.press(40)
    assert live.connected, "the board heeds no press any more"
    # A host that reads again finds whole frames, and news.
    live.pico.usb.to_chip.clear()
    live.pico.usb.room = 4096
    live.pico.usb.service()
    live.run_ms(700)
    told = frames(live.heard())
    assert len(told) > 3
    assert told[-1]["state"] == "live"


def test_a_host_that_closes_the_port_changes_nothing(live: Bench) -> None:
    live.send(b'{"id":9,"op":"watch"}\n')
    live.run_ms(50)
    live.pico.usb.set_lines(dtr=False, rts=False)
    live.send(REQUEST * 30)
    live.run_ms(1_200)
    live.press(40)
    assert not live.connected
    assert [cause for _, cause in live.pico.resets] == ["power"]
    live.pico.usb.set_lines(dtr=True, rts=True)
    live.run_ms(50)
    live.heard()
    live.send(b"\n")
    live.run_ms(50)
    live.heard()
    assert live.status()["state"] == "muted"


def test_unplugged_and_plugged_in_again(live: Bench) -> None:
    live.pico.unplug()
    live.run_ms(300)
    assert live.connected, "the line is the button's, not the cable's"
    live.press(40)
    assert not live.connected
    live.pico.plug()
    live.run_until(lambda: live.pico.usb.connected, 1_000_000)
    live.run_ms(50)
    live.heard()
    told = live.status()
    assert (told["state"], told["boot"]) == ("muted", 1)
    assert [cause for _, cause in live.pico.resets] == ["power"]


def test_unplugged_while_a_program_watches(live: Bench) -> None:
    """What nobody takes fills the queue; writing on would never end, and the watchdog bite."""
    live.send(b'{"id":9,"op":"watch"}\n')
    live.run_ms(200)
    live.pico.unplug()
    live.run_ms(2_500)
    assert live.connected
    live.press(40)
    assert not live.connected
    live.pico.plug()
    live.run_until(lambda: live.pico.usb.connected, 1_000_000)
    live.run_ms(1_500)
    live.heard()
    assert live.status()["state"] == "muted"
    live.press(40)
    assert live.connected
    assert [cause for _, cause in live.pico.resets] == ["power"]


def test_P2_the_1200_baud_touch_does_nothing(live: Bench) -> None:
    for baud_rate, dtr in ((1200, True), (1200, False), (115200, True), (1200, False)):
        live.pico.usb.set_baud_rate(baud_rate)
        live.run_ms(5)
        live.pico.usb.set_lines(dtr=dtr, rts=dtr)
        live.run_ms(300)
    live.pico.usb.set_lines(dtr=True, rts=True)
    live.run_ms(50)
    live.heard()
    assert live.status()["state"] == "live"
    assert [cause for _, cause in live.pico.resets] == ["power"]


@pytest.mark.parametrize("phase_us", [0, 130])
def test_P2_nobody_breaks_in_from_reset_on(fresh: Callable[[], Bench], phase_us: int) -> None:
    bench = fresh()
    break_in.from_reset_on(bench, phase_us)
    assert bench.status()["state"] == "muted"
    assert bench.connect_times() == []


def test_P2_nobody_breaks_in_later(live: Bench) -> None:
    break_in.later(live)
    assert live.status()["state"] == "live"
    assert [cause for _, cause in live.pico.resets] == ["power"]
