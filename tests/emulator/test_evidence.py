"""P6 on the chip: a paired board signs, forgets its keys, and writes down what it should."""

from __future__ import annotations

import binascii

from hardmute.evidence.verifier import journal_mac
from muteboard import attest, journal
from workbench import UNIQUE_ID, Bench

HOST = bytes(range(32))
NONCE = "00" * attest.MAC


def pair(bench: Bench) -> bytes:
    """The secret of a pairing made with the button held at power-on; the board is on, in setup."""
    bench.pico.power_off()
    bench.run_ms(20)
    bench.physics.press(3_500, 0)
    bench.pico.power_on()
    bench.pico.plug()
    bench.run_ms(3_700)
    bench.heard()
    answer = bench.ask("pair", host=HOST.hex())
    return attest.secret(HOST, bytes.fromhex(answer["board_bytes"]), UNIQUE_ID)


def power_cycle(bench: Bench) -> None:
    bench.pico.power_off()
    bench.run_ms(20)
    bench.pico.power_on()
    bench.pico.plug()
    bench.run_ms(1_500)
    bench.heard()


def flash(bench: Bench) -> bytes:
    return bytes(bench.pico.mcu.flash)


def test_P6_a_paired_chip_signs_and_keeps_no_old_key_on_flash(bench: Bench) -> None:
    secret = pair(bench)
    first = attest.journal_key(secret)
    assert first in flash(bench), "or the search below finds nothing"
    assert secret not in flash(bench)
    power_cycle(bench)
    second = attest.next_key(first)
    assert first not in flash(bench)
    assert second in flash(bench)
    answer = bench.ask("attest", nonce=NONCE)
    del answer["id"], answer["ok"]
    macs = answer.pop("mac"), answer.pop("journal_mac")
    assert macs == (
        journal_mac(attest.attest_key(secret), answer),
        journal_mac(second, answer),
    )
    assert (answer["state"], answer["pairing"], answer["epoch"]) == ("muted", 1, 1)


def test_P6_a_board_starts_after_power_goes_as_an_unmute_is_kept(
    bench: Bench,
) -> None:
    for after_ms in (32, 40, 60, 80):
        seq = bench.status()["seq"]
        bench.physics.press(60, 0)
        bench.run_ms(60 + after_ms)
        power_cycle(bench)
        told = bench.status()
        assert (told["state"], told["warnings"]) == ("muted", [])
        # The start, and the unmute if its writing had come to its end.
        assert told["seq"] - seq in (1, 2)


def test_P3_a_press_cuts_as_ever_while_the_journal_is_fetched(live: Bench) -> None:
    answer = live.ask("journal", **{"from": 1})
    last = binascii.a2b_base64(answer["records"])[-journal.SIZE :]
    assert journal.Record(last).event == journal.UNMUTE
    for offset_us in (300, 4_000, 9_000):
        live.watch_relay()
        edge_us = live.now_us + 20_000 + offset_us
        live.press_at(edge_us, hold_ms=60)
        for number in range(8):
            live.send(b'{"id":%d,"op":"journal","from":1}\n' % number)
            live.run_us(5_000)
        live.run_ms(400)
        live.heard()
        (cut_us,) = live.cut_times()
        assert edge_us <= cut_us < edge_us + 1
        live.go_live()
