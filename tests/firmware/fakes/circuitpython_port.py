"""CircuitPython's modules, as far as the board file uses them."""

import types
from typing import Any

from .chip import Chip, ChipReset

_TICKS = 1 << 29


class Enumeration:
    """A value whose name says what it is, as CircuitPython's are."""

    def __init__(self, name: str):
        self.name = name

    def __repr__(self) -> str:
        return self.name


class Modules:
    """One set of modules around one chip."""

    def __init__(self, chip: Chip, board_id: str = "raspberry_pi_pico", sleep_memory: int = 64):
        self.chip = chip
        self.nvm = bytearray(b"\xff" * 64)
        self.calls: list[tuple[Any, ...]] = []
        self.digitalio = _digitalio(chip)
        self.keypad = _keypad(chip)
        self.board = _board(board_id)
        self.microcontroller = _microcontroller(self)
        self.neopixel = _neopixel(chip)
        self.storage = _storage(self)
        self.supervisor = _supervisor(chip)
        self.usb_cdc = _usb_cdc(self)
        self.watchdog = _watchdog()
        self.alarm = types.ModuleType("alarm")
        self.alarm.__dict__.update(sleep_memory=bytearray(sleep_memory))
        self.time = _time(chip)
        self.micropython = types.ModuleType("micropython")

        def const(expr: int) -> int:
            return expr

        self.micropython.__dict__.update(const=const)


def _board(board_id: str) -> types.ModuleType:
    module = types.ModuleType("board")
    names = [f"GP{pin}" for pin in range(30)] + [f"IO{pin}" for pin in range(49)]
    module.__dict__.update({name: name for name in names}, board_id=board_id)
    return module


def _digitalio(chip: Chip) -> types.ModuleType:
    module = types.ModuleType("digitalio")

    class Pull:
        UP, DOWN = Enumeration("up"), Enumeration("down")

    class DigitalInOut:
        def __init__(self, pin: str):
            assert pin not in _in_use(chip), "pin in use"
            _in_use(chip).add(pin)
            self.pin = pin
            self.output = False

        def deinit(self) -> None:
            _in_use(chip).discard(self.pin)

        def switch_to_output(self, value: bool = False) -> None:
            self.output = True
            chip.drive(self.pin, int(value))

        def switch_to_input(self, pull: Enumeration | None = None) -> None:
            self.output = False
            chip.pulls[self.pin] = pull.name if pull else None

        @property
        def value(self) -> bool:
            return bool(chip.level(self.pin))

        @value.setter
        def value(self, value: bool) -> None:
            assert self.output
            chip.drive(self.pin, int(value))

    module.__dict__.update(DigitalInOut=DigitalInOut, Pull=Pull)
    return module


def _in_use(chip: Chip) -> set[str]:
    used: set[str] = chip.__dict__.setdefault("in_use", set())
    return used


def _keypad(chip: Chip) -> types.ModuleType:
    module = types.ModuleType("keypad")

    class Event:
        def __init__(
            self, key_number: int = 0, pressed: bool = True, timestamp: int | None = None
        ):
            self.key_number, self.pressed, self.timestamp = key_number, pressed, timestamp

    class EventQueue:
        def __init__(self, size: int):
            self.size = size
            self.queue: list[bool] = []
            self.overflowed = False

        def add(self, pressed: bool) -> None:
            if len(self.queue) >= self.size:
                self.overflowed = True
            else:
                self.queue.append(pressed)

        def get_into(self, event: Event) -> bool:
            if not self.queue:
                return False
            event.pressed = self.queue.pop(0)
            return True

        def clear(self) -> None:
            self.queue = []
            self.overflowed = False

    class Keys:
        def __init__(
            self,
            pins: tuple[str, ...],
            *,
            value_when_pressed: bool,
            pull: bool = True,
            interval: float = 0.020,
            max_events: int = 64,
            debounce_threshold: int = 1,
        ):
            (self.pin,) = pins
            assert self.pin not in _in_use(chip), "pin in use"
            assert 0.001 <= interval <= 0.002
            assert debounce_threshold == 1
            _in_use(chip).add(self.pin)
            chip.pulls[self.pin] = ("down" if value_when_pressed else "up") if pull else None
            self.value_when_pressed = value_when_pressed
            self.events = EventQueue(max_events)
            self.pressed = False
            chip.on_ms.append(self.scan)

        def scan(self) -> None:
            pressed = bool(chip.level(self.pin)) == self.value_when_pressed
            if pressed != self.pressed:
                self.pressed = pressed
                self.events.add(pressed)

        def reset(self) -> None:
            self.pressed = False

    module.__dict__.update(Event=Event, EventQueue=EventQueue, Keys=Keys)
    return module


def _microcontroller(modules: Modules) -> types.ModuleType:
    chip = modules.chip
    module = types.ModuleType("microcontroller")

    class ResetReason:
        POWER_ON = Enumeration("POWER_ON")
        BROWNOUT = Enumeration("BROWNOUT")
        SOFTWARE = Enumeration("SOFTWARE")
        RESET_PIN = Enumeration("RESET_PIN")
        WATCHDOG = Enumeration("WATCHDOG")
        UNKNOWN = Enumeration("UNKNOWN")

    class Processor:
        def __init__(self) -> None:
            self.reset_reason = ResetReason.POWER_ON
            self.uid = bytearray(b"\xe6\x60\x58\x38\x83\x12\x34\x56")

    class WatchDogTimer:
        def __init__(self) -> None:
            self.timeout = 0.0
            self._mode: Enumeration | None = None

        @property
        def mode(self) -> Enumeration | None:
            return self._mode

        @mode.setter
        def mode(self, mode: Enumeration | None) -> None:
            assert self.timeout > 0, "a mode without a timeout"
            self._mode = mode
            chip.watchdog_ms = int(self.timeout * 1000)
            chip.feed()

        def feed(self) -> None:
            chip.feed()

    def reset() -> None:
        raise ChipReset

    module.__dict__.update(
        ResetReason=ResetReason, cpu=Processor(), nvm=modules.nvm, watchdog=WatchDogTimer(),
        reset=reset,
    )  # fmt: skip
    return module


def _neopixel(chip: Chip) -> types.ModuleType:
    module = types.ModuleType("neopixel")

    class NeoPixel:
        def __init__(
            self,
            pin: str,
            n: int,
            *,
            bpp: int = 3,
            brightness: float = 1.0,
            auto_write: bool = True,
            pixel_order: str | None = None,
        ):
            assert (n, bpp, brightness, auto_write, pixel_order) == (1, 3, 1.0, False, None)
            assert pin == chip.lamp
            self.pixel = (0, 0, 0)

        def __setitem__(self, index: int, colour: tuple[int, int, int]) -> None:
            assert index == 0
            self.pixel = colour

        def show(self) -> None:
            chip.shown.append(self.pixel)

    module.__dict__.update(NeoPixel=NeoPixel)
    return module


def _storage(modules: Modules) -> types.ModuleType:
    module = types.ModuleType("storage")

    def disable_usb_drive() -> None:
        modules.calls.append(("disable_usb_drive",))

    def remount(mount_path: str, readonly: bool = False) -> None:
        modules.calls.append(("remount", mount_path, readonly))

    module.__dict__.update(disable_usb_drive=disable_usb_drive, remount=remount)
    return module


def _supervisor(chip: Chip) -> types.ModuleType:
    module = types.ModuleType("supervisor")

    class RunReason:
        STARTUP = Enumeration("STARTUP")
        SUPERVISOR_RELOAD = Enumeration("SUPERVISOR_RELOAD")

    class Runtime:
        def __init__(self) -> None:
            self.run_reason = RunReason.STARTUP
            self.autoreload = True

    def ticks_ms() -> int:
        return (chip.ticks_start + chip.now) % _TICKS

    module.__dict__.update(RunReason=RunReason, runtime=Runtime(), ticks_ms=ticks_ms)
    return module


def _usb_cdc(modules: Modules) -> types.ModuleType:
    chip = modules.chip
    module = types.ModuleType("usb_cdc")

    class Serial:
        def __init__(self) -> None:
            self.timeout: float | None = None
            self.write_timeout: float | None = None
            self.connected = True

        @property
        def in_waiting(self) -> int:
            return len(chip.to_chip)

        def read(self, size: int = -1) -> bytes:
            assert self.timeout == 0, "would wait for the host"
            return chip.take(size)

        def write(self, buf: bytes | memoryview) -> int:
            assert self.write_timeout == 0, "would wait for the host"
            return chip.give(bytes(buf))

    def enable(*, console: bool = True, data: bool = False) -> None:
        modules.calls.append(("enable", console, data))

    # As in normal running: boot.py has closed the console.
    module.__dict__.update(data=Serial(), console=None, enable=enable, Serial=Serial)
    return module


def _watchdog() -> types.ModuleType:
    module = types.ModuleType("watchdog")

    class WatchDogMode:
        RAISE, RESET = Enumeration("RAISE"), Enumeration("RESET")

    module.__dict__.update(WatchDogMode=WatchDogMode)
    return module


def _time(chip: Chip) -> types.ModuleType:
    module = types.ModuleType("time")

    def sleep(seconds: float) -> None:
        chip.advance(max(1, round(seconds * 1000)))

    def monotonic() -> float:
        return chip.now / 1000

    module.__dict__.update(sleep=sleep, monotonic=monotonic)
    return module
