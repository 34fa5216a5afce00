"""The board files on fake modules: what the firmware and its owner rely on, on every port."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from board_port import ESP32, FIRMWARE, INTERLOCK, PINS, PORTS, RP2040, Port
from fakes.chip import ChipReset

import press_storm
from muteboard import app, button, crash, lamp, wire

# What each port's chip or board drives, pulls up or glitches around reset, or needs itself. GP15
# and 16: RP2040-E5; GP23 to 25 and 29: the Pico's own. ESP32 strapping, serial, flash, PSRAM,
# input-only pins, and 14, which its datasheet has pulled up. S2 and S3: strapping, USB, flash and
# PSRAM, JTAG, serial, and 18 to 20, which glitch high.
FORBIDDEN = {
    "rp2040": {15, 16, 23, 24, 25, 29},
    "rp2040_interlock": {15, 16, 23, 24, 25, 29},
    "esp32": {0, 1, 2, 3, 5, *range(6, 12), 12, 14, 15, 16, 17, *range(34, 40)},
    # 34 only reads.
    "esp32_interlock": {0, 1, 2, 3, 5, *range(6, 12), 12, 14, 15, 16, 17, *range(35, 40)},
    "circuitpython": {
        *(f"GP{pin}" for pin in (15, 23, 24, 25, 29)),
        *(f"IO{pin}" for pin in (0, 3, 18, 19, 20, *range(26, 49))),
    },
}


@pytest.fixture(params=PORTS)
def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Port:
    monkeypatch.chdir(tmp_path)
    return Port(request.param, monkeypatch)


@pytest.fixture
def make_port(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Port]:
    monkeypatch.chdir(tmp_path)

    def make(name: str, **settings: Any) -> Port:
        return Port(name, monkeypatch, **settings)

    return make


# The contract.


def test_the_relay_is_driven_low_before_anything_else(port: Port) -> None:
    port.start()
    assert port.chip.log[0] == ("drive", port.chip.relay, 0)
    assert ("drive", port.chip.relay, 1) not in port.chip.log


def test_P2_collections_of_garbage_are_shorter_than_a_press(port: Port) -> None:
    port.start()
    if port.name != "circuitpython":
        assert port.mp.garbage is not None
        assert 0 < port.mp.garbage <= 1 << 14


def test_the_contract_is_complete(port: Port) -> None:
    board = port.start()
    text = (FIRMWARE / "muteboard" / "boards" / "__init__.py").read_text()
    if not board.journaled:
        text, _, _ = text.partition("class JournaledBoard")
    names = re.findall(r"^        def (\w+)\(|^        (\w+): ", text, re.MULTILINE)
    assert len(names) == (37 if board.journaled else 30)
    for method, attribute in names:
        assert hasattr(board, method or attribute), method or attribute
    assert board.contacts == len(port.chip.senses)
    assert board.port == port.name
    assert board.simulated is False


def test_no_pin_that_the_chip_moves_by_itself(port: Port) -> None:
    chip = port.chip
    board_pins = {chip.button, chip.relay, *chip.senses, chip.lamp, *(chip.interlock or ())}
    assert len(board_pins) == 3 + len(chip.senses) + len(chip.interlock or ())
    assert not board_pins & FORBIDDEN[port.name]
    port.start()
    assert {pin for _, pin, _ in port.chip.log} <= board_pins


@pytest.mark.parametrize(
    ("board_id", "relay"),
    [
        ("raspberry_pi_pico", "GP20"),
        ("raspberry_pi_pico_w", "GP20"),
        ("espressif_saola_1_wrover", "IO6"),
        ("espressif_esp32s2_devkitc_1_n4r2", "IO6"),
        ("espressif_esp32s3_devkitc_1_n8r2", "IO6"),
    ],
)
def test_circuitpython_boards(make_port: Callable[..., Port], board_id: str, relay: str) -> None:
    pins = PINS["circuitpython"] if relay == "GP20" else ("IO4", "IO6", ("IO5",), "IO7")
    port = make_port("circuitpython", board_id=board_id, pins=pins)
    assert not {pins[0], pins[1], *pins[2], pins[3]} & FORBIDDEN["circuitpython"]
    board = port.start()
    port.connect(board, True)
    assert port.chip.driven[relay] == 1


def test_polarity(port: Port) -> None:
    board = port.start()
    assert board.button_down() is False
    port.connect(board, True)
    assert port.chip.driven[port.chip.relay] == 1
    board.cut()
    assert port.chip.driven[port.chip.relay] == 0
    port.chip.press(True)
    port.chip.advance(2)
    assert board.button_down() is True


def test_cut_is_idempotent_and_connect_works_again(port: Port) -> None:
    board = port.start()
    for _ in range(3):
        board.cut()
        board.cut()
        assert not port.chip.relay_on
        port.connect(board, True)
        assert port.chip.relay_on


def test_sense_follows_the_contact_and_not_the_command(port: Port) -> None:
    board = port.start()
    port.chip.advance(10)
    assert board.sense() == 0
    port.connect(board, True)
    assert board.sense() == 0
    port.chip.advance(5)
    closed = (1 << board.contacts) - 1
    assert board.sense() == closed
    board.cut()
    assert board.sense() == closed
    port.chip.advance(5)
    assert board.sense() == 0


def test_a_sense_wire_that_fell_off_reads_closed(port: Port) -> None:
    board = port.start()
    port.chip.stuck_closed.add(port.chip.senses[0])
    port.chip.advance(10)
    assert board.sense() == 1


@pytest.mark.parametrize("name", PORTS)
def test_a_bit_per_contact(
    make_port: Callable[..., Port], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    button_pin, relay, (sense, *_), lamp_pin = PINS[name]
    second = "GP22" if name == "circuitpython" else 22
    port = make_port(name, pins=(button_pin, relay, (sense, second), lamp_pin))
    if name == "circuitpython":
        names = (button_pin, relay, (sense, second), lamp_pin)
        monkeypatch.setattr(port.module, "_PICO", names)
    else:
        monkeypatch.setattr(port.module.Board, "senses", (sense, second))
    board = port.start()
    port.chip.advance(10)
    assert board.sense() == 0
    port.chip.stuck_closed.add(second)
    assert board.sense() == 2
    port.connect(board, True)
    port.chip.advance(10)
    assert board.sense() == 3


# The cut.


@pytest.mark.parametrize("cut_level", [True, False])
def test_the_button_cuts_without_the_superloop(port: Port, cut_level: bool) -> None:
    chip = port.chip
    board = port.start()
    chip.press(not cut_level)
    chip.advance(5)
    board.take_edges()
    port.connect(board, cut_level)
    assert chip.relay_on
    chip.press(cut_level)
    port.soft_irqs()
    if port.name == "circuitpython":
        # No interrupts for Python: the next call of whatever kind.
        chip.advance(2)
        board.ticks_ms()
    assert not chip.relay_on
    assert board.take_edges() & (button.EDGE_DOWN if cut_level else button.EDGE_UP)
    # It stays so, whatever the button does, until the next connect.
    chip.press(not cut_level)
    chip.advance(100)
    assert not chip.relay_on
    port.connect(board, cut_level)
    assert chip.relay_on


@pytest.mark.parametrize("cut_level", [True, False])
def test_connect_looks_at_the_button_again(port: Port, cut_level: bool) -> None:
    chip = port.chip
    board = port.start()
    chip.press(cut_level)
    chip.advance(5)
    port.connect(board, cut_level)
    assert not chip.relay_on


def test_a_press_during_connect_cuts(port: Port) -> None:
    """On the ESP32 the interrupt may run just before the line that energises the relay."""
    chip = port.chip
    board = port.start()

    def press(pin: object, level: int) -> None:
        if pin == chip.relay and level:
            chip.before_drive = None
            chip.press(True)
            chip.press(False)
            if port.name == "circuitpython":
                chip.advance(2)
            port.soft_irqs()

    chip.before_drive = press
    port.connect(board, True)
    if port.name == "circuitpython":
        # Shorter than the scan: it may be missed, but then it never cut nor counted.
        return
    # The PIO waits for a level: one that is over before the relay was on has cut nothing, and the
    # superloop learns of the press by its edges.
    assert not chip.relay_on or port.name == "rp2040"
    assert not chip.allowed or port.name in RP2040
    assert board.take_edges() == button.EDGE_DOWN | button.EDGE_UP


def test_edges_are_all_reported_once(port: Port) -> None:
    chip = port.chip
    board = port.start()
    chip.advance(1)
    board.take_edges()
    assert board.take_edges() == 0
    chip.press(True)
    chip.advance(2)
    assert board.take_edges() == button.EDGE_DOWN
    assert board.take_edges() == 0
    chip.press(False)
    chip.advance(2)
    assert board.take_edges() == button.EDGE_UP
    chip.press(True)
    chip.advance(1)
    chip.press(False)
    chip.advance(1)
    assert board.take_edges() == button.EDGE_DOWN | button.EDGE_UP
    assert board.take_edges() == 0


def test_a_glitch_that_the_soft_interrupt_comes_late_for(make_port: Callable[..., Port]) -> None:
    port = make_port("esp32")
    board = port.start()
    port.connect(board, True)
    port.chip.press(True)
    port.chip.press(False)
    port.soft_irqs()
    assert not port.chip.relay_on
    assert board.take_edges() == button.EDGE_DOWN | button.EDGE_UP


@pytest.mark.parametrize("name", [*RP2040, *ESP32])
def test_handlers_are_bound_once_and_only_store(make_port: Callable[..., Port], name: str) -> None:
    """That they do not allocate is proven with the heap locked, in the emulated chip."""
    port = make_port(name)
    board = port.start()
    handler = vars(board)["_on_edge"]
    before = dict(vars(board))
    for _ in range(70_000):
        port.chip.press(not port.chip.down)
        port.soft_irqs()
    changed = {key for key, value in vars(board).items() if before.get(key) is not value}
    assert changed <= {"_downs", "_ups", "_last_down"}
    assert vars(board)["_on_edge"] is handler
    assert 0 <= vars(board)["_downs"] < 1 << 16
    assert 0 <= vars(board)["_ups"] < 1 << 16
    assert port.mp.exception_buffer == 100


def test_queued_words_never_reconnect(make_port: Callable[..., Port]) -> None:
    port = make_port("rp2040")
    chip = port.chip
    board = port.start()
    machine = port.state_machines[0]
    port.connect(board, True)
    chip.press(True)
    assert not chip.relay_on
    chip.press(False)
    for _ in range(3):
        machine.put(1)
    assert not chip.relay_on
    board.cut()
    assert machine.tx_fifo() == 0
    assert not machine.active()
    machine.put(1)
    assert not chip.relay_on
    port.connect(board, True)
    assert machine.tx_fifo() == 0


def test_circuitpython_looks_on_every_call(make_port: Callable[..., Port]) -> None:
    calls: list[Callable[[Any], Any]] = [
        lambda board: board.sense(),
        lambda board: board.button_down(),
        lambda board: board.take_edges(),
        lambda board: board.show((1, 2, 3)),
        lambda board: board.ticks_ms(),
        lambda board: board.idle(1),
        lambda board: board.read_available(),
        lambda board: board.write(b"x"),
        lambda board: board.feed_watchdog(),
    ]
    for call in calls:
        port = make_port("circuitpython")
        board = port.start()
        port.connect(board, True)
        port.chip.press(True)
        port.chip.advance(2)
        port.chip.press(False)
        port.chip.advance(2)
        assert port.chip.relay_on
        call(board)
        assert not port.chip.relay_on


def test_an_overflowing_key_queue_cuts(make_port: Callable[..., Port]) -> None:
    port = make_port("circuitpython")
    board = port.start()
    for _ in range(200):
        port.chip.press(not port.chip.down)
        port.chip.advance(1)
    port.chip.press(True)
    port.chip.advance(2)
    port.connect(board, False)
    assert not port.chip.relay_on
    assert board.take_edges() == button.EDGE_DOWN | button.EDGE_UP
    port.chip.advance(2)
    assert board.button_down()


def test_a_button_held_at_start_is_seen(port: Port) -> None:
    port.chip.press(True)
    assert port.start().button_down() is True


# The serial link.


def test_write_never_sends_more_than_fits(port: Port) -> None:
    chip = port.chip
    board = port.start()
    chip.advance(50)
    data = bytes(range(256)) * 2
    sent = 0
    for room in (0, 1, 5, 64, 0, 300, 300, 300, 300, 300, 300, 300, 300, 300):
        # The ESP32's UART always drains; its FIFO is reckoned from the time.
        chip.room = 128 if port.name in ESP32 else room
        count = board.write(memoryview(data)[sent:])
        assert 0 <= count <= 64
        if port.name not in ESP32:
            assert count <= room
        sent += count
        chip.advance(6)
    assert sent == len(data)
    assert chip.to_host == data


def test_rp2040_sends_on_when_a_packet_has_left_the_queue(make_port: Callable[..., Port]) -> None:
    port = make_port("rp2040")
    board = port.start()
    data = bytes(range(100))
    port.chip.room = 1
    assert board.write(data) == 1
    # The controller takes what was queued, the byte with it: 64 less one fit for certain.
    port.chip.room, port.chip.collects = 1, True
    assert board.write(data) == 64
    assert port.chip.to_host == data[:1] + data[:64]
    port.chip.room = 0
    assert board.write(data) == 0


def test_rp2040_sends_nothing_on_a_suspended_bus(make_port: Callable[..., Port]) -> None:
    """POLLOUT is always given there, and a write into a full queue never ends."""
    port = make_port("rp2040")
    board = port.start()
    port.chip.bus_active = False
    assert board.write(b"abc") == 0
    port.chip.bus_active = True
    assert board.write(b"abc") == 3
    assert port.chip.to_host == b"abc"


def test_the_esp32_reckons_its_fifo_from_the_baud_rate(make_port: Callable[..., Port]) -> None:
    port = make_port("esp32")
    board = port.start()
    port.chip.advance(1000)
    assert board.write(bytes(512)) == 64
    assert board.write(bytes(512)) == 64
    assert board.write(bytes(512)) == 0
    port.chip.advance(1)
    assert board.write(bytes(512)) == 11


def test_circuitpython_drops_what_nobody_is_there_to_read(make_port: Callable[..., Port]) -> None:
    port = make_port("circuitpython")
    board = port.start()
    port.cp.usb_cdc.data.connected = False
    assert board.write(b"stale") == 5
    assert port.chip.to_host == b""


def test_read_takes_at_most_64_bytes_and_never_waits(port: Port) -> None:
    board = port.start()
    assert board.read_available() == b""
    port.chip.to_chip = bytes(range(100))
    assert board.read_available() == bytes(range(64))
    assert board.read_available() == bytes(range(64, 100))
    assert board.read_available() == b""


def test_ctrl_c_is_off(port: Port) -> None:
    port.start()
    if port.name != "circuitpython":
        assert port.mp.interrupt_char == -1


# Time, storage, resets.


def test_ticks_wrap(port: Port) -> None:
    board = port.start()
    port.chip.ticks_start = ((1 << 29) if port.name == "circuitpython" else (1 << 30)) - 50
    port.chip.now = 0
    old = board.ticks_ms()
    port.chip.now = 200
    new = board.ticks_ms()
    assert new < old
    assert board.ticks_diff(new, old) == 200
    assert board.ticks_diff(old, new) == -200


@pytest.mark.parametrize("ms", [1, 2, 10])
def test_idle_gives_way_for_as_long_as_it_may(port: Port, ms: int) -> None:
    board = port.start()
    port.chip.advance(1)
    board.take_edges()
    before = port.chip.now
    board.idle(ms)
    assert port.chip.now - before == ms


@pytest.mark.parametrize("down", [True, False])
def test_P3_edge_ends_idle_within_a_millisecond(port: Port, down: bool) -> None:
    chip = port.chip
    board = port.start()
    chip.press(not down)
    chip.advance(5)
    board.take_edges()
    at = chip.now + 4
    chip.on_ms.append(lambda: chip.press(down if chip.now >= at else not down))
    port.connect(board, down)
    board.idle(10)
    assert at <= chip.now <= at + 1
    assert not chip.relay_on
    assert board.take_edges() == (button.EDGE_DOWN if down else button.EDGE_UP)
    # Told: the next idle lasts.
    board.idle(10)
    assert chip.now >= at + 10


def test_P3_glitch_before_idle_is_not_slept_over(port: Port) -> None:
    board = port.start()
    port.chip.advance(1)
    board.take_edges()
    for down in (True, False):
        port.chip.press(down)
        port.chip.advance(2)
    before = port.chip.now
    board.idle(10)
    assert port.chip.now - before <= 1
    assert board.take_edges() == button.EDGE_DOWN | button.EDGE_UP


def test_input_ends_idle(port: Port) -> None:
    chip = port.chip
    board = port.start()
    chip.advance(1)
    board.take_edges()
    at = chip.now + 4

    def host() -> None:
        if chip.now == at:
            chip.to_chip = b"x"

    chip.on_ms.append(host)
    board.idle(10)
    assert chip.now == at
    assert board.read_available() == b"x"


def test_blobs_survive_and_are_replaced(port: Port) -> None:
    board = port.start()
    for name in ("config", "boot"):
        assert board.load(name) is None
        board.store(name, b"1")
        board.store(name, b"23")
        assert board.load(name) == b"23"


def test_a_store_that_is_cut_short_leaves_the_old_blob(
    port: Port, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Power fails before each file operation in turn: the old blob or the new, nothing else."""
    board = port.start()
    for operation in ("remove", "rename") if port.name == "circuitpython" else ("rename",):
        board.store("config", b"old")

        def fail(*_args: str) -> None:
            raise ChipReset

        with monkeypatch.context() as patch:
            patch.setattr(port.storage.os, operation, fail)
            with pytest.raises(ChipReset):
                board.store("config", b"new")
        assert board.load("config") in (b"old", b"new")
        board.store("config", b"newer")
        assert board.load("config") == b"newer"


def test_a_store_that_fails_says_so(port: Port, monkeypatch: pytest.MonkeyPatch) -> None:
    board = port.start()

    def full(*_args: object) -> None:
        raise OSError(28)

    with monkeypatch.context() as patch:
        patch.setattr(port.storage, "open", full, raising=False)
        with pytest.raises(OSError, match="28"):
            board.store("config", b"x")
    assert board.load("config") is None


def test_the_boot_counter_of_circuitpython_is_in_nvm(make_port: Callable[..., Port]) -> None:
    port = make_port("circuitpython")
    board = port.start()
    board.store("boot", b"999999999")
    assert not list(Path.cwd().iterdir())
    assert board.load("boot") == b"999999999"
    with pytest.raises(OSError, match="28"):
        board.store("boot", b"1" * 13)


def test_the_watchdog_starts_with_the_first_feed(port: Port) -> None:
    board = port.start()
    port.chip.advance(5000)
    assert port.chip.watchdog_ms is None
    board.feed_watchdog()
    assert port.chip.watchdog_ms == 1000
    for _ in range(20):
        port.chip.advance(900)
        assert not port.chip.bitten
        board.feed_watchdog()
    port.chip.advance(1100)
    assert port.chip.bitten


def test_reset_causes(port: Port) -> None:
    assert port.start().reset_cause() == "cold"


@pytest.mark.parametrize("name", PORTS)
def test_a_watchdog_reset_is_no_cold_start(make_port: Callable[..., Port], name: str) -> None:
    port = make_port(name)
    port.set_reset_cause(cold=False)
    assert port.start().reset_cause() == "watchdog"


def test_a_reload_is_no_cold_start(make_port: Callable[..., Port]) -> None:
    port = make_port("circuitpython")
    supervisor = port.cp.supervisor
    supervisor.runtime.run_reason = supervisor.RunReason.SUPERVISOR_RELOAD
    assert port.start().reset_cause() == "watchdog"
    port = make_port("rp2040")
    port.start().maintenance()
    # Ctrl-D at the prompt: the chip's reset cause stays, and so do the scratch registers.
    assert port.start().reset_cause() == "watchdog"


def test_retained_bytes(port: Port) -> None:
    board = port.start()
    guard = crash.CrashGuard(board.retained(), True)
    assert not guard.tripped
    record = b"\xff\x00\x80\x7f" * (crash.SIZE // 4)
    board.retain(record)
    assert board.retained() == record


def test_scratch_registers_of_the_sdk_are_left_alone(make_port: Callable[..., Port]) -> None:
    port = make_port("rp2040")
    before = set(port.mp.memory)
    port.start().retain(bytes(range(crash.SIZE)))
    scratch = {0x4005_800C + 4 * register for register in range(4)}
    assert set(port.mp.memory) - before == scratch


def test_P1_a_watchdog_that_is_left_enabled_is_stopped_at_import(
    make_port: Callable[..., Port],
) -> None:
    """By the clear alias of its control register, so that nothing else in there changes."""
    assert make_port("rp2040").mp.memory == {0x4005_B000: 1 << 30}


def test_no_sleep_memory_means_nothing_retained(make_port: Callable[..., Port]) -> None:
    board = make_port("circuitpython", sleep_memory=0).start()
    board.retain(bytes(crash.SIZE))
    assert board.retained() == b""


def test_show(port: Port) -> None:
    port.start().show((10, 20, 30))
    assert port.chip.shown[-1] == (10, 20, 30)


def test_reset(port: Port) -> None:
    board = port.start()
    with pytest.raises(ChipReset):
        board.reset()


def test_unique_id(port: Port) -> None:
    assert port.start().unique_id() == b"\xe6\x60\x58\x38\x83\x12\x34\x56"


@pytest.mark.parametrize("name", [*RP2040, *ESP32])
def test_maintenance(make_port: Callable[..., Port], name: str) -> None:
    port = make_port(name)
    board = port.start()
    board.retain(b"\x01" * crash.SIZE)
    port.connect(board, True)
    board.maintenance()
    assert not port.chip.relay_on
    assert port.mp.interrupt_char == 3
    assert not crash.CrashGuard(board.retained(), True).tripped
    (timer,) = port.mp.timers
    shown = set()
    for _ in range(16):
        port.chip.advance(timer.period)
        timer.callback(timer)
        shown.add(port.chip.shown[-1])
    assert len(shown) == 2
    assert all(red == green == 0 < blue for red, green, blue in shown)


# The whole firmware on each board.


def request(port: Port, program: app.App, op: str) -> dict[str, Any]:
    port.chip.to_host = b""
    port.chip.to_chip += wire.frame({"id": 5, "op": op})
    for _ in range(400):
        program.step()
        port.chip.advance(1)
        port.chip.room = 128 if port.name in ESP32 else 1 << 20
        if port.chip.to_host.endswith(b"\n"):
            return wire.unframe(port.chip.to_host[:-1], True)
    raise AssertionError("no answer")


def run(port: Port, program: app.App, ms: int) -> None:
    end = port.chip.now + ms
    while port.chip.now < end:
        program.step()
        port.chip.advance(1)


def press(port: Port, program: app.App) -> None:
    port.chip.press(True)
    run(port, program, 80)
    port.chip.press(False)
    run(port, program, 80)


def test_press_live_press_muted(port: Port) -> None:
    program = app.App(port.start())
    run(port, program, 100)
    assert request(port, program, "status")["state"] == "muted"
    assert not port.chip.relay_on
    press(port, program)
    status = request(port, program, "status")
    assert (status["state"], status["command"]) == ("live", "connected")
    assert status["sense"] == [1] * len(port.chip.senses)
    assert port.chip.relay_on
    press(port, program)
    status = request(port, program, "status")
    assert (status["state"], status["cause"]) == ("muted", "button")
    assert status["sense"] == [0] * len(port.chip.senses)
    assert not port.chip.relay_on
    press(port, program)
    assert request(port, program, "mute")["changed"] is True
    assert not port.chip.relay_on
    assert not port.chip.bitten


def test_push_to_talk(port: Port) -> None:
    port.start().store("config", b'{"mode":"push_to_talk"}')
    if port.name == "circuitpython":
        port.cp.end_program()
    program = app.App(port.start())
    run(port, program, 100)
    port.chip.press(True)
    run(port, program, 80)
    assert request(port, program, "status")["state"] == "live"
    port.chip.press(False)
    run(port, program, 80)
    assert not port.chip.relay_on
    assert request(port, program, "status")["state"] == "muted"


def test_a_welded_contact_is_a_fault(port: Port) -> None:
    program = app.App(port.start())
    run(port, program, 100)
    press(port, program)
    port.chip.stuck_closed.add(port.chip.senses[0])
    press(port, program)
    run(port, program, 100)
    status = request(port, program, "status")
    assert (status["state"], status["faults"]) == ("fault", ["closed:1"])
    assert not port.chip.relay_on


@pytest.mark.parametrize("name", ESP32)
def test_P1_boot_py_takes_the_pins_that_the_esp32s_file_cuts_by(
    make_port: Callable[..., Port], name: str
) -> None:
    port = make_port(name)
    # `esp32_cut`, as boot.py imports it.
    first = port.chip.log[:]
    assert first[0] == ("drive", port.chip.relay, 0)
    board = port.start()
    port.chip.log.clear()
    # The line stays cut in here, whatever is pressed.
    board.maintenance()
    assert {entry for entry in port.chip.log if entry[1] != port.chip.lamp} == set(first)


def test_esp32_interlock_has_the_pins_of_the_hardwares_guide() -> None:
    guide = (FIRMWARE.parent / "hardware" / "README.md").read_text()
    rows = re.findall(r"^\| [\d, ]+ \| ([^|]+) \| (GPIO[^|]+) \|$", guide, re.MULTILINE)
    pins = {what: [int(pin) for pin in re.findall(r"GPIO(\d+)", told)] for what, told in rows}
    button_pin, allow, senses, lamp_pin = PINS["esp32_interlock"]
    clear, latch = INTERLOCK["esp32_interlock"]
    assert pins == {
        "CLEAR, low clears": [clear],
        "button": [button_pin],
        "sense at the host, at the microphone": list(senses),
        "ALLOW": [allow],
        "lamp": [lamp_pin],
        "latch": [latch],
    }


# The interlock.


@pytest.fixture(params=INTERLOCK)
def interlock(request: pytest.FixtureRequest, make_port: Callable[..., Port]) -> Port:
    return make_port(request.param)


def test_P2_allow_is_not_raised_before_a_press_has_set_the_latch(interlock: Port) -> None:
    chip = interlock.chip
    board = interlock.start()
    chip.log.clear()
    for cut_level in (True, False):
        assert board.connect(cut_level) is False
        assert chip.log == []
    assert board.take_edges() == button.EDGE_DOWN | button.EDGE_UP
    chip.latch = True
    assert board.connect(True) is True
    assert chip.relay_on


@pytest.mark.parametrize("cut_level", [True, False])
def test_P3_the_button_drops_allow_whatever_the_latch_does(
    interlock: Port, cut_level: bool
) -> None:
    chip = interlock.chip
    board = interlock.start()
    chip.press(not cut_level)
    interlock.connect(board, cut_level)
    chip.latch_delay_ms = 1000
    chip.press(cut_level)
    interlock.soft_irqs()
    assert chip.latch
    assert not chip.allowed


def test_P1_a_start_clears_the_latch_that_a_reset_left_set(interlock: Port) -> None:
    chip = interlock.chip
    for down in (False, True):
        chip.press(down)
        chip.latch = True
        chip.log.clear()
        interlock.start()
        assert chip.log[0] == ("drive", chip.relay, 0)
        assert not chip.latch


def test_P1_clear_is_let_go_and_never_driven_high(interlock: Port) -> None:
    """The supply supervisor pulls the same line."""
    interlock.start()
    assert INTERLOCK[interlock.name][0] in interlock.chip.open_drain
    assert interlock.chip.driven[INTERLOCK[interlock.name][0]] == 1
    assert interlock.chip.pulls[INTERLOCK[interlock.name][0]] == "up"
    # And nothing that only reads can drive.
    chip = interlock.chip
    read = {INTERLOCK[interlock.name][1], chip.button, *chip.senses}
    assert not {pin for _, pin, _ in chip.log} & read


def test_P3_cut_drops_allow_and_then_clears(interlock: Port) -> None:
    board = interlock.start()
    board.take_edges()
    interlock.connect(board, True)
    interlock.chip.log.clear()
    board.cut()
    allow, clear = interlock.chip.relay, INTERLOCK[interlock.name][0]
    assert interlock.chip.log == [
        ("drive", allow, 0),
        ("drive", clear, 0),
        ("drive", clear, 1),
    ]
    assert not interlock.chip.latch


def test_cut_while_cut_leaves_a_press_under_way_its_latch(interlock: Port) -> None:
    chip = interlock.chip
    board = interlock.start()
    board.cut()
    for down in (True, False):
        chip.press(down)
        for _ in range(30):
            board.cut()
            chip.advance(1)
            board.cut()
            assert chip.latch
    assert board.connect(True) is True


def test_disarm_clears_for_no_press_that_has_begun(interlock: Port) -> None:
    chip = interlock.chip
    board = interlock.start()
    board.take_edges()
    chip.press(True)
    # Its edge is not taken.
    board.disarm()
    assert chip.latch
    # It is down.
    assert board.take_edges() == button.EDGE_DOWN
    board.disarm()
    assert chip.latch
    # It bounces: up at the moment, and its second edge is not taken.
    chip.press(False)
    chip.press(True)
    chip.press(False)
    board.disarm()
    assert chip.latch
    board.take_edges()
    board.disarm()
    assert not chip.latch
    assert chip.driven[INTERLOCK[interlock.name][0]] == 1


def test_P2_no_press_sets_the_latch_in_maintenance(interlock: Port) -> None:
    board = interlock.start()
    interlock.connect(board, True)
    board.maintenance()
    for _ in range(3):
        interlock.chip.press(True)
        interlock.chip.advance(50)
        assert not interlock.chip.latch
        interlock.chip.press(False)
        interlock.chip.advance(50)
    interlock.start()
    interlock.chip.press(True)
    assert interlock.chip.latch


# From an edge of the button to the latch. The firmware waits for 30 ms of a stable level.
DELAYS_MS = (0, 3, 20)


def hold(port: Port, program: app.App, down_ms: int, up_ms: int = 80) -> None:
    port.chip.press(True)
    run(port, program, down_ms)
    port.chip.press(False)
    run(port, program, up_ms)


def go_live(port: Port, program: app.App) -> None:
    """One press must do."""
    assert not port.chip.latch
    press(port, program)
    assert port.chip.relay_on
    assert request(port, program, "status")["state"] == "live"


def assert_at_rest(port: Port, program: app.App, cause: str, state: str = "muted") -> None:
    status = request(port, program, "status")
    assert (status["state"], status["cause"], status["command"]) == (state, cause, "cut")
    assert not port.chip.allowed
    assert not port.chip.latch


@pytest.fixture(params=DELAYS_MS)
def delayed(request: pytest.FixtureRequest, interlock: Port) -> Port:
    interlock.chip.latch_delay_ms = request.param
    return interlock


def started(port: Port, **settings: object) -> app.App:
    if settings:
        port.start().store("config", json.dumps(settings).encode())
    program = app.App(port.start())
    run(port, program, 100)
    return program


def test_interlock_toggles_once_for_each_press(delayed: Port) -> None:
    program = started(delayed)
    for _ in range(5):
        go_live(delayed, program)
        hold(delayed, program, 50)
        assert_at_rest(delayed, program, "button")


@pytest.mark.parametrize("down_ms", [1, 10, 25, 1600, 11_000])
def test_interlock_forgets_a_touch_that_is_no_press(delayed: Port, down_ms: int) -> None:
    program = started(delayed)
    for _ in range(3):
        hold(delayed, program, down_ms)
        assert not delayed.chip.latch
    go_live(delayed, program)
    # One that mutes may be as short, or as long.
    hold(delayed, program, down_ms)
    assert_at_rest(delayed, program, "stuck" if down_ms > 10_000 else "button")
    go_live(delayed, program)


@pytest.mark.parametrize("later_ms", [0, 1, 5, 500, 900])
def test_interlock_forgets_a_press_just_after_the_timer(delayed: Port, later_ms: int) -> None:
    program = started(delayed, max_live_s=10)
    press(delayed, program)
    assert delayed.chip.relay_on
    while delayed.chip.relay_on:
        run(delayed, program, 1)
    run(delayed, program, later_ms)
    hold(delayed, program, 80)
    assert_at_rest(delayed, program, "timer")
    run(delayed, program, 1000)
    go_live(delayed, program)


@pytest.mark.parametrize("later_ms", [0, 1, 5, 500, 900, 1100])
def test_interlock_after_the_host_has_muted(delayed: Port, later_ms: int) -> None:
    program = started(delayed)
    go_live(delayed, program)
    assert request(delayed, program, "mute")["changed"] is True
    run(delayed, program, later_ms)
    hold(delayed, program, 80)
    if later_ms < 1000:
        assert_at_rest(delayed, program, "host")
        run(delayed, program, 1000)
        go_live(delayed, program)
    assert delayed.chip.relay_on


def test_interlock_push_to_talk(delayed: Port) -> None:
    program = started(delayed, mode="push_to_talk", max_live_s=10)
    chip = delayed.chip
    # The second is cut by the timer, 5 s before its release.
    for held_ms, cause in ((100, "button"), (15_000, "timer"), (100, "button")):
        chip.press(True)
        run(delayed, program, 80)
        assert chip.relay_on
        run(delayed, program, held_ms)
        chip.press(False)
        delayed.soft_irqs()
        assert not chip.allowed
        run(delayed, program, 80)
        assert_at_rest(delayed, program, cause)


def test_interlock_fault_and_its_end(delayed: Port) -> None:
    chip = delayed.chip
    program = started(delayed)
    go_live(delayed, program)
    chip.stuck_closed.add(chip.senses[0])
    hold(delayed, program, 80)
    run(delayed, program, 100)
    assert_at_rest(delayed, program, "fault", "fault")
    hold(delayed, program, 80)
    assert_at_rest(delayed, program, "fault", "fault")
    chip.stuck_closed.clear()
    run(delayed, program, 1100)
    hold(delayed, program, 80)
    assert_at_rest(delayed, program, "button")
    go_live(delayed, program)


@pytest.mark.parametrize("delay_ms", [0, 3, 20])
def test_interlock_a_glitch_while_live_costs_no_press(interlock: Port, delay_ms: int) -> None:
    """It cuts, and toggles the latch or does not: the next press connects all the same."""
    chip = interlock.chip
    chip.latch_delay_ms = delay_ms
    program = started(interlock)
    go_live(interlock, program)
    chip.press(True)
    chip.press(False)
    interlock.soft_irqs()
    assert not chip.allowed
    run(interlock, program, 1500)
    assert_at_rest(interlock, program, "button")
    go_live(interlock, program)


def test_interlock_after_a_reset_while_live(delayed: Port) -> None:
    go_live(delayed, started(delayed))
    delayed.chip.driven[delayed.chip.relay] = 0
    delayed.set_reset_cause(cold=False)
    assert delayed.chip.latch
    program = started(delayed)
    assert_at_rest(delayed, program, "watchdog")
    run(delayed, program, 1000)
    go_live(delayed, program)


@pytest.mark.parametrize("latch", [False, True])
def test_interlock_power_on_with_the_button_held(delayed: Port, latch: bool) -> None:
    delayed.chip.press(True)
    delayed.chip.advance(30)
    delayed.chip.latch = latch
    program = started(delayed)
    delayed.chip.press(False)
    run(delayed, program, 80)
    assert_at_rest(delayed, program, "boot")
    go_live(delayed, program)


def test_interlock_forgets_presses_while_no_press_connects(delayed: Port) -> None:
    board = delayed.start()
    board.retain(crash.STAY_CUT)
    delayed.set_reset_cause(cold=False)
    program = started(delayed)
    run(delayed, program, 1000)
    for _ in range(3):
        hold(delayed, program, 80)
        assert_at_rest(delayed, program, "watchdog")


@pytest.mark.parametrize("mode", ["toggle", "push_to_talk"])
def test_P4_a_press_that_toggles_the_latch_twice_is_no_fault(interlock: Port, mode: str) -> None:
    chip = interlock.chip
    program = started(interlock, mode=mode)
    chip.press(True)
    # Longer than the filter takes for bounce.
    run(interlock, program, 10)
    chip.press(False)
    run(interlock, program, 10)
    chip.press(True)
    run(interlock, program, 100)
    chip.press(False)
    run(interlock, program, 200)
    assert_at_rest(interlock, program, "boot")
    assert request(interlock, program, "status")["warnings"] == ["latch_clear"]
    assert request(interlock, program, "status")["faults"] == []
    chip.press(True)
    run(interlock, program, 100)
    if mode == "toggle":
        chip.press(False)
        run(interlock, program, 100)
    assert chip.relay_on
    assert request(interlock, program, "status")["warnings"] == []


@pytest.mark.parametrize("mode", ["toggle", "push_to_talk"])
@pytest.mark.parametrize("delay_ms", DELAYS_MS)
def test_P2_P3_storm_on_the_interlock(
    interlock: Port, monkeypatch: pytest.MonkeyPatch, mode: str, delay_ms: int
) -> None:
    """As `tests/host/sim/test_press_storm.py`; the interlock's filter can tell these presses."""
    monkeypatch.setitem(press_storm.KINDS, "stumble", 0)
    chip = interlock.chip
    chip.latch_delay_ms = delay_ms
    chip.latch_quiet_ms = press_storm.BOUNCE_MAX_US // 1000 + 2
    program = started(interlock, mode=mode)
    chance = Random(f"{mode} {delay_ms}")
    storm = press_storm.storm(mode, 100, chance, 1000 * chip.now, grid_us=1000)
    connections = press_storm.expected(mode, storm.edges)
    assert {*storm.kinds} == {"tap", "press", "hold"}
    assert len(connections) > 20
    coil: list[tuple[int, bool]] = []

    def record() -> None:
        if chip.relay_on is not (bool(coil) and coil[-1][1]):
            coil.append((1000 * chip.now, chip.relay_on))

    edges = list(storm.edges)
    while 1000 * chip.now < storm.end_us:
        while edges and edges[0].time_us <= 1000 * chip.now:
            chip.press(edges.pop(0).down)
            record()
        program.step()
        record()
        chip.advance(1)
        record()
    assert press_storm.disagreements(connections, coil, 2000) == []
    assert chip.latch is (connections[-1].until_us is None)


# The entry points.


@pytest.mark.parametrize("name", [*RP2040, *ESP32])
def test_board_txt_chooses_the_board(make_port: Callable[..., Port], name: str) -> None:
    port = make_port(name)
    Path("board.txt").write_text(f" {name}\r\n")

    def stop() -> None:
        if port.chip.now == 100:
            raise SystemExit

    port.chip.on_ms.append(stop)
    with pytest.raises(ChipReset):
        port.run_entry_point("main.py")
    assert port.chip.now == 100


@pytest.mark.parametrize(
    "word", [b"", b"\n", b"rp2350", b"esp32", b"rp2040 interlock", b"\xff\x00", b"rp2040" * 10]
)
def test_P1_a_wrong_board_name_ends_cut_and_at_the_prompt(
    make_port: Callable[..., Port], word: bytes
) -> None:
    port = make_port("rp2040")
    Path("board.txt").write_bytes(word)
    with pytest.raises(ImportError, match="no such board"):
        port.run_entry_point("main.py")
    assert port.chip.log == []
    assert port.mp.interrupt_char == 3


def test_board_txt_that_cannot_be_read_is_not_taken_for_none(
    make_port: Callable[..., Port],
) -> None:
    port = make_port("rp2040")
    Path("board.txt").mkdir()
    with pytest.raises(ChipReset):
        port.run_entry_point("main.py")
    assert port.chip.log == []


@pytest.mark.parametrize("name", [*RP2040, *ESP32])
def test_main_returns_to_the_prompt_only_from_maintenance(
    make_port: Callable[..., Port], name: str
) -> None:
    port = make_port(name)
    port.chip.press(True)
    port.run_entry_point("main.py")
    assert 10_000 <= port.chip.now < 11_000
    assert port.mp.interrupt_char == 3
    assert port.chip.watchdog_ms is None
    assert not port.chip.relay_on


@pytest.mark.parametrize("name", [*RP2040, *ESP32])
def test_a_crash_cuts_and_resets(make_port: Callable[..., Port], name: str) -> None:
    port = make_port(name)

    def die() -> None:
        if port.chip.now == 500:
            port.chip.press(True)
        if port.chip.now == 600:
            port.chip.press(False)
        if port.chip.now == 900:
            assert port.chip.relay_on
            raise KeyboardInterrupt

    port.chip.on_ms.append(die)
    with pytest.raises(ChipReset):
        port.run_entry_point("main.py")
    assert port.chip.now == 900
    assert not port.chip.relay_on


@pytest.mark.parametrize("name", [*RP2040, *ESP32])
def test_a_ctrl_c_before_the_first_line_resets(make_port: Callable[..., Port], name: str) -> None:
    port = make_port(name)

    def beaten(_char: int) -> None:
        raise KeyboardInterrupt

    port.fakes["micropython"].kbd_intr = beaten
    with pytest.raises(ChipReset):
        port.run_entry_point("main.py")
    port.run_entry_point("boot.py")


def test_an_installation_cut_short_can_be_repaired(make_port: Callable[..., Port]) -> None:
    port = make_port("rp2040")
    with pytest.raises(ImportError):
        port.run_entry_point("main.py", complete=False)
    assert port.mp.interrupt_char == 3
    assert not port.chip.relay_on


@pytest.mark.parametrize(
    ("held_ms", "cold", "closed", "setup"),
    [
        (0, True, True, False),
        (2500, True, True, False),
        (4000, True, True, True),
        (11_000, True, False, False),
        (11_000, False, True, False),
    ],
)
def test_circuitpython_decides_before_usb(
    make_port: Callable[..., Port], held_ms: int, cold: bool, closed: bool, setup: bool
) -> None:
    port = make_port("circuitpython")
    port.set_reset_cause(cold)
    port.chip.press(held_ms > 0)
    port.chip.on_ms.append(lambda: port.chip.press(port.chip.now < held_ms))
    port.run_entry_point("boot.py")
    assert (("enable", False, True) in port.cp.calls) is closed
    assert (("disable_usb_drive",) in port.cp.calls) is closed
    assert port.cp.supervisor.runtime.autoreload is not closed
    assert port.module.setup_asked() is setup
    if not cold:
        assert port.chip.now == 0


def test_circuitpython_setup(make_port: Callable[..., Port]) -> None:
    port = make_port("circuitpython")
    port.chip.press(True)
    port.chip.on_ms.append(lambda: port.chip.press(port.chip.now < 4000))
    port.run_entry_point("boot.py")
    answers = []

    def host() -> None:
        if port.chip.now == 5000:
            port.chip.to_chip = wire.frame({"id": 1, "op": "status"})
        if port.chip.now == 5500:
            answers.append(port.chip.to_host)
            raise KeyboardInterrupt

    port.chip.on_ms.append(host)
    with pytest.raises(ChipReset):
        port.run_entry_point("code.py")
    assert b'"service":"setup"' in answers[0]


def test_circuitpython_maintenance(
    make_port: Callable[..., Port], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = make_port("circuitpython")
    monkeypatch.setattr(port.cp.usb_cdc, "console", port.cp.usb_cdc.Serial())

    def ctrl_c() -> None:
        if port.chip.now == 5000:
            raise KeyboardInterrupt

    port.chip.on_ms.append(ctrl_c)
    with pytest.raises(KeyboardInterrupt):
        port.run_entry_point("code.py")
    assert not port.chip.relay_on
    assert {colour[:2] for colour in port.chip.shown} == {(0, 0)}
    blue = lamp.colour(lamp.MAINTENANCE, 0, lamp.PALETTES[0], 50)
    assert blue in port.chip.shown


def test_circuitpython_safe_mode_resets(make_port: Callable[..., Port]) -> None:
    port = make_port("circuitpython")
    with pytest.raises(ChipReset):
        port.run_entry_point("safemode.py")
