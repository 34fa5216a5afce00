"""CircuitPython 9 or later, on a Pico (RP2040) or an ESP32-S2 or ESP32-S3 development board.

`muteboard.boards` lists them. On any other board `boot` raises `ImportError`, which leaves console
and drive open.

| | Pico | ESP32-S2/S3 | polarity |
|---|---|---|---|
| button to GND | GP18 | IO4 | low = down, pull-up |
| relay driver | GP20 | IO6 | high = connected |
| sense, pole B: COM here, NC to GND | GP19 | IO5 | high = closed, pull-up |
| lamp, WS2812 data | GP21 | IO7 | - |

Pico: as in `rp2040`. ESP32-S2/S3: neighbours on both DevKitC boards and on the Saola; none is a
strapping pin (S2: 0, 45, 46; S3: 0, 3, 45, 46) or a USB pin (19, 20, which the S3 drives high
twice at power-up, as its datasheet is quoted; 18 is avoided with them). That the others glitch at
most low, which leaves the relay at rest, is recalled and was not looked up. But CircuitPython
itself resets free pins of an Espressif chip to a weak pull-up
(ports/espressif/common-hal/microcontroller/Pin.c), and leaves those of the RP2040 floating: the
driver's own pull-down (firmware/README.md) is what keeps the relay at rest until this file runs.

The sense pin is tied low by the *closed* rest contact, so only a relay that has come to rest reads
as cut: a wire that fell off reads as closed, which is a fault and never "muted".

CircuitPython has no interrupts for Python. A press is caught in the background, however short
(from 1 ms), but the relay drops only when the program next comes by here: every call looks, and
`idle` does so every millisecond. That is not "at once" as on the other ports, and a hung program
cuts only by the watchdog. Its file system, FAT, is not safe against power loss either: a cut in
the middle of a write may cost any file, and a journal that power can tear proves nothing. So there
is none, the boot counter is in `nvm`, and the settings are worth no more than their defaults.
"""

import os
import time

import board
import digitalio
import keypad
import microcontroller
import neopixel
import storage
import supervisor
import usb_cdc
from micropython import const
from watchdog import WatchDogMode

from muteboard import boards, button, crash, lamp

try:
    from alarm import sleep_memory
except ImportError:
    sleep_memory = None

# Button, relay, sense (one pin per cut in series), lamp.
_PICO = ("GP18", "GP20", ("GP19",), "GP21")
_ESPRESSIF = ("IO4", "IO6", ("IO5",), "IO7")

_SETTLE_MS = const(10)
# Scan period and length of the queue: 64 ms of the worst bounce before it overflows.
_SCAN_S = 0.001
_MAX_EVENTS = const(64)
_WATCHDOG_S = const(1)
# The same while a file is written and the line is cut: FAT erases a block for each of several
# sectors, and a block may take 400 ms. The most on an RP2040 is 8.
_STORAGE_WATCHDOG_S = const(8)
_CHUNK = const(64)
_TICKS_PERIOD = const(1 << 29)
_TICKS_HALF = const(1 << 28)
_FLASH_S = 0.125
_FLASH_PERCENT = const(50)

# How long the button is held at power-on: as in `muteboard.app`, which cannot see it here,
# because USB's devices are settled before it runs.
_SETUP_S = const(3)
_MAINTENANCE_S = const(10)
_POLL_S = 0.02

_ENOSPC = const(28)
_CONFIG = "config.json"
_CONFIG_NEW = "config.new"
# nvm: mark, what this power-on opened, length of the boot counter, its digits. Written in one
# piece, because each assignment is a flash write.
_NVM_MARK = b"hm"
_NVM_MODE = const(2)
_NVM_LENGTH = const(3)
_NVM_DIGITS = const(4)
_NVM_SIZE = const(16)
_NORMAL = const(0)
_SETUP = const(1)
_MAINTENANCE = const(2)


def pins() -> tuple:
    """The names in `board` of (button, relay, senses, lamp). `ImportError` on any other board."""
    if board.board_id in boards.PICOS:
        return _PICO
    if board.board_id in boards.DEVKITS:
        return _ESPRESSIF
    raise ImportError(boards.refusal(board.board_id, boards.CIRCUITPYTHON))


def boot() -> None:
    """What boot.py does: close console and drive, unless the button opens maintenance.

    CircuitPython also is a keyboard, a mouse and a MIDI instrument; this board never is.

    Until this is over there is no USB, and the program has not started, so the line is cut.
    """
    # Raises on a board that is not supported, before anything is closed.
    pins()
    for name in ("usb_hid", "usb_midi"):
        try:
            device = __import__(name)
        except ImportError:
            # Left out of CircuitPython for this board.
            continue
        device.disable()
    held = _held_at_power_on()
    if _cold():
        # Stays through every other restart, so that the line does (`Board.retained`).
        mode = _SETUP if held >= _SETUP_S else _NORMAL
        _set_mode(_MAINTENANCE if held >= _MAINTENANCE_S else mode)
    if held >= _MAINTENANCE_S:
        return
    supervisor.runtime.autoreload = False
    usb_cdc.enable(console=False, data=True)
    storage.disable_usb_drive()
    storage.remount("/", readonly=False)


def reset() -> None:
    """Restart the chip."""
    microcontroller.reset()


def maintenance_open() -> bool:
    """Whether boot.py has left the console open."""
    return usb_cdc.console is not None


def setup_asked() -> bool:
    """Whether the button was held for setup at this power-on."""
    return _cold() and _nvm()[_NVM_MODE] == _SETUP


def _held_at_power_on() -> float:
    """For how many seconds the button stayed down from power-on, at most `_MAINTENANCE_S`."""
    if not _cold():
        return 0
    start = time.monotonic()
    held = 0
    key = _input(getattr(board, pins()[0]))
    while not key.value and held < _MAINTENANCE_S:
        time.sleep(_POLL_S)
        held = time.monotonic() - start
    key.deinit()
    return held


def _cold() -> bool:
    reason = microcontroller.cpu.reset_reason
    power = microcontroller.ResetReason
    return reason in (power.POWER_ON, power.BROWNOUT, power.RESET_PIN)


def _input(pin) -> digitalio.DigitalInOut:
    result = digitalio.DigitalInOut(pin)
    result.switch_to_input(digitalio.Pull.UP)
    return result


def _nvm() -> bytes:
    """What nvm holds, or a fresh start of it."""
    if microcontroller.nvm:
        stored = bytes(microcontroller.nvm[0:_NVM_SIZE])
        if stored.startswith(_NVM_MARK):
            return stored
    return _NVM_MARK + bytes(_NVM_SIZE - len(_NVM_MARK))


def _set_nvm(data: bytes) -> None:
    if microcontroller.nvm and data != _nvm():
        microcontroller.nvm[0:_NVM_SIZE] = data


def _set_mode(mode: int) -> None:
    stored = _nvm()
    _set_nvm(stored[:_NVM_MODE] + bytes((mode,)) + stored[_NVM_MODE + 1 :])


class Board:
    settle_ms = _SETTLE_MS
    port = "circuitpython"
    simulated = False
    journaled = False

    def __init__(self):
        names = pins()
        # Before anything that could fail or take time.
        self._relay = digitalio.DigitalInOut(getattr(board, names[1]))
        self._relay.switch_to_output(False)
        self._armed = False
        self._cut_level = True
        self._sense = [_input(getattr(board, name)) for name in names[2]]
        self.contacts = len(self._sense)
        self._keys = keypad.Keys(
            (getattr(board, names[0]),),
            value_when_pressed=False,
            pull=True,
            interval=_SCAN_S,
            max_events=_MAX_EVENTS,
        )
        self._event = keypad.Event()
        self._down = False
        self._edges = 0
        # Ticks of the first edge that is not taken yet, and of the last; and of those taken.
        self._first_at = self._last_at = supervisor.ticks_ms()
        self.first_edge = self.last_edge = self._last_at
        self._lamp = neopixel.NeoPixel(getattr(board, names[3]), 1, auto_write=False)
        self._fed = False
        self._serial = usb_cdc.data
        if self._serial is not None:
            self._serial.timeout = 0
            self._serial.write_timeout = 0
        # A key that is held already shows up at the first scan.
        time.sleep(5 * _SCAN_S)
        self._watch_button()

    def _watch_button(self) -> None:
        """Take what the scanner saw, and cut if any of it says so."""
        events = self._keys.events
        seen = 0
        if events.overflowed:
            # What was dropped is unknown, so is the level: the scanner starts anew, from "up".
            events.clear()
            self._keys.reset()
            self._down = False
            seen = button.EDGE_DOWN | button.EDGE_UP
        while events.get_into(self._event):
            self._down = self._event.pressed
            seen |= button.EDGE_DOWN if self._down else button.EDGE_UP
        if self._armed:
            cuts = button.EDGE_DOWN if self._cut_level else button.EDGE_UP
            if seen & cuts or self._down == self._cut_level:
                self.cut()
        if seen:
            self._last_at = supervisor.ticks_ms()
            if not self._edges:
                self._first_at = self._last_at
        self._edges |= seen

    def cut(self) -> None:
        self._relay.value = False
        self._armed = False

    def connect(self, cut_level: bool) -> bool:
        self._watch_button()
        self._cut_level = cut_level
        self._armed = True
        if self._down != cut_level:
            self._relay.value = True
        self._watch_button()
        return True

    def disarm(self) -> None:
        self._watch_button()

    def sense(self) -> int:
        self._watch_button()
        bits = 0
        for contact in range(self.contacts):
            bits |= self._sense[contact].value << contact
        return bits

    def button_down(self) -> bool:
        self._watch_button()
        return self._down

    def take_missed(self) -> tuple[()]:
        return ()

    def take_edges(self) -> int:
        self._watch_button()
        edges = self._edges
        self._edges = 0
        self.first_edge, self.last_edge = self._first_at, self._last_at
        return edges

    def show(self, rgb: tuple[int, int, int]) -> None:
        self._watch_button()
        self._lamp[0] = rgb
        self._lamp.show()
        self._watch_button()

    def ticks_ms(self) -> int:
        self._watch_button()
        return supervisor.ticks_ms()

    def ticks_diff(self, new: int, old: int) -> int:
        return (new - old + _TICKS_HALF) % _TICKS_PERIOD - _TICKS_HALF

    def idle(self, ms: int) -> None:
        # Nothing wakes it, and the relay drops only when it looks.
        self._watch_button()
        for _ in range(ms):
            if self._edges or (self._serial is not None and self._serial.in_waiting):
                return
            time.sleep(_SCAN_S)
            self._watch_button()

    def read_available(self) -> bytes:
        self._watch_button()
        if self._serial is None:
            return b""
        return self._serial.read(min(_CHUNK, self._serial.in_waiting))

    def write(self, data: bytes | memoryview) -> int:
        self._watch_button()
        if self._serial is None or not self._serial.connected:
            # Nobody has the port open. Kept, this would greet the next host as if it were news.
            return len(data)
        return self._serial.write(data[:_CHUNK])

    def feed_watchdog(self) -> None:
        self._watch_button()
        watchdog = microcontroller.watchdog
        if watchdog is None:
            return
        if not self._fed:
            self._fed = True
            watchdog.timeout = _WATCHDOG_S
            watchdog.mode = WatchDogMode.RESET
        watchdog.feed()

    def _feed_for(self, timeout_s: int) -> None:
        # As in `micropython_board`.
        watchdog = microcontroller.watchdog
        if watchdog is not None and self._fed and not self._armed:
            watchdog.timeout = timeout_s
            watchdog.feed()

    def reset_cause(self) -> str:
        # A reload of the program leaves the chip's reset reason alone.
        if _cold() and supervisor.runtime.run_reason == supervisor.RunReason.STARTUP:
            return "cold"
        return "watchdog"

    def retained(self) -> bytes:
        # Espressif chips clear the sleep memory at a reset before CircuitPython 10.3. Crashes are
        # not counted then, but what cuts until power has been off must not depend on it.
        if _nvm()[_NVM_MODE] != _NORMAL:
            return crash.STAY_CUT
        if not sleep_memory:
            return b""
        return bytes(sleep_memory[0 : crash.SIZE])

    def retain(self, data: bytes) -> None:
        if sleep_memory:
            sleep_memory[0 : crash.SIZE] = data

    def load(self, name: str) -> bytes | None:
        if name == "boot":
            stored = _nvm()
            return stored[_NVM_DIGITS : _NVM_DIGITS + stored[_NVM_LENGTH]] or None
        # `store` was cut short between its last two steps if only the new file is there.
        for path in (_CONFIG, _CONFIG_NEW):
            try:
                with open(path, "rb") as file:
                    return file.read()
            except OSError:
                pass
        return None

    def store(self, name: str, data: bytes) -> None:
        if name == "boot":
            if not microcontroller.nvm or _NVM_DIGITS + len(data) > _NVM_SIZE:
                raise OSError(_ENOSPC)
            stored = _nvm()[:_NVM_LENGTH] + bytes((len(data),)) + data
            _set_nvm(stored + bytes(_NVM_SIZE - len(stored)))
            return
        self._feed_for(_STORAGE_WATCHDOG_S)
        try:
            self._store_config(data)
        finally:
            self._feed_for(_WATCHDOG_S)

    def _store_config(self, data: bytes) -> None:
        with open(_CONFIG_NEW, "wb") as file:
            file.write(data)
        os.sync()
        # FAT does not rename onto a file that exists.
        try:
            os.remove(_CONFIG)
        except OSError:
            pass
        os.rename(_CONFIG_NEW, _CONFIG)
        os.sync()

    def unique_id(self) -> bytes:
        return bytes(microcontroller.cpu.uid)

    def entropy(self, count: int) -> bytes:
        return os.urandom(count)

    def maintenance(self) -> None:
        """Flash the lamp until Ctrl-C. What is open is what `boot` left open."""
        self.cut()
        self.retain(crash.STAY_CUT)
        while True:
            now = supervisor.ticks_ms()
            self.show(lamp.colour(lamp.MAINTENANCE, now, lamp.PALETTES[0], _FLASH_PERCENT))
            time.sleep(_FLASH_S)

    def reset(self) -> None:
        microcontroller.reset()
