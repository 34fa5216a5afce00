"""An ESP32 says things that are no frames: its ROM and ESP-IDF write to the very same UART."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fake_device import MUTED, Board, ScriptedPort, on, pty_device
from fakes.devkit import DevKit, boot_words

from hardmute.device.client import Session
from hardmute.model.errors import OK, UNKNOWN, UnreachableError
from muteboard import wire

STARTS = ("poweron", "restart", "watchdog")


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("op", ["hello", "status"])
def test_an_answer_after_the_boot_words_counts(op: str, start: str, cli: Any) -> None:
    with pty_device(on(op, lambda _r, _a, frame: boot_words(start) + frame)) as device:
        result = cli("-d", device.address, "status")
    assert (result.code, result.err) == (OK, "")


def test_an_answer_after_noise_of_another_baud_rate_counts(cli: Any) -> None:
    """At the wrong rate the words are any bytes, and their last line may not even end."""
    noise = bytes(range(256)).replace(b"\n", b"") * 3 + b"\n"
    with pty_device(on("hello", lambda _r, _a, frame: noise + frame)) as device:
        assert cli("-d", device.address, "status").code == OK


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("sent", [0, 1, 20, -1])
def test_P5_a_restart_in_the_middle_of_an_answer_is_unknown(
    sent: int, start: str, cli: Any
) -> None:
    board = Board(
        alter=lambda request, _answer, frame: (
            frame if request["op"] == "hello" else frame[:sent] + boot_words(start)
        )
    )
    with pty_device(board) as device:
        result = cli("-d", device.address, "status", "--timeout", "0.2")
    assert result.code == UNKNOWN
    assert result.out.startswith("UNKNOWN  ")


def test_P5_boot_words_do_not_break_the_silence_of_a_stream() -> None:
    words = boot_words("watchdog")

    def script(line: bytes) -> list[tuple[float, bytes]]:
        request = wire.unframe(line, need_crc=False)
        answer = wire.frame({"id": request["id"], "ok": True})
        event = wire.frame({**MUTED, "event": "state", "watch": request["id"]})
        return [(0.0, answer), (0.1, event), *[(0.5, words)] * 20]

    port = ScriptedPort(script)
    events = Session(port, "/dev/ttyUSB0", 1.0, clock=port.clock).watch()
    assert next(events).state == "muted"
    heard_at = port.now
    with pytest.raises(UnreachableError) as caught:
        next(events)
    assert caught.value.reason == "silent"
    assert port.now - heard_at == pytest.approx(3.0)


def requests(kit: DevKit, *ops: str) -> Iterator[int]:
    yield 200
    for op in ops:
        kit.ask(op)
        yield 200


@pytest.mark.parametrize("hang", [False, True])
def test_the_host_understands_the_firmware_from_power_on(hang: bool) -> None:
    kit = DevKit()

    def script() -> Iterator[int]:
        if hang:
            yield 100
            kit.hang(5000)
        yield from requests(kit, "hello", "status")

    ended = kit.power_on(script())
    if hang:
        assert ended == "watchdog"
        kit.script = requests(kit, "hello", "status")
        ended = kit.go_on()
    assert ended == "off"
    sent = kit.chip.to_host

    def everything_at_once(line: bytes) -> list[tuple[float, bytes]]:
        return [(0.01, sent)] if b"hello" in line else []

    port = ScriptedPort(everything_at_once)
    session = Session(port, "/dev/ttyUSB0", 1.0, new_id=lambda: 5, clock=port.clock)
    assert session.hello().port == "esp32"
    status = session.status()
    assert (status.state, status.cause) == ("muted", "watchdog" if hang else "boot")
    assert (b"SW_CPU_RESET" in sent) is hang
