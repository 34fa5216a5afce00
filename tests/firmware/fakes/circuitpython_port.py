"""CircuitPython's modules, as far as the board file uses them.

`board`, `digitalio`, `micropython`, `neopixel` and the pins of `microcontroller` are Adafruit's
own (see `blinka`). The rest exists nowhere outside a microcontroller and is faked here, with the
real signatures: `tests/firmware/test_circuitpython.py` holds them against circuitpython-stubs.
What is no part of the real modules begins with an underscore.
"""

import types
from typing import Any

from . import blinka
from .chip import Chip, ChipReset

_TICKS = 1 << 29
# `ticks_ms` at power-on: it wraps for the first time after 65 s.
_TICKS_START = _TICKS - 65_000
# WatchDogTimer takes no longer timeout on the RP2040.
_WATCHDOG_MAX_S = 8.388


class Enumeration:
    """A value whose name says what it is, as CircuitPython's are."""

    def __init__(self, name: str):
        self._name = name

    def __repr__(self) -> str:
        return self._name


class Modules:
    """One set of modules around one chip, as a program finds them in normal running.

    ``sleep_memory``: its size. ``retains``: whether it survives a reset, as on the RP2040, and on
    Espressif's chips from CircuitPython 10.3 on.
    """

    def __init__(
        self,
        chip: Chip,
        board_id: str = "raspberry_pi_pico",
        sleep_memory: int = 64,
        retains: bool = True,
    ):
        self.chip = chip
        self._retains = retains
        chip.ticks_start = _TICKS_START
        self.calls: list[tuple[Any, ...]] = []
        # USB's devices are settled once boot.py is over.
        self.usb_up = True
        self.drive_visible = False
        self.watchdog = _watchdog(chip)
        self.supervisor = _supervisor(chip)
        # What a host finds on the bus beside the serial ports and the drive.
        self.gadgets = {"usb_hid", "usb_midi"}
        self.usb_cdc = _usb_cdc(self)
        self.usb_hid = _gadget(self, "usb_hid")
        self.usb_midi = _gadget(self, "usb_midi")
        self.storage = _storage(self)
        self.alarm = _alarm(sleep_memory)
        self.time = _time(chip)
        self._on_chip = _microcontroller(self.watchdog)
        libraries, self.pins = blinka.load(chip, board_id, self._on_chip)
        self.board = libraries["board"]
        self.digitalio = libraries["digitalio"]
        self.microcontroller = libraries["microcontroller"]
        self.micropython = libraries["micropython"]
        self.neopixel = libraries["neopixel"]
        self._scanners: list[Any] = []
        self.keypad = _keypad(chip, self.digitalio, self._scanners)
        self.close_console()

    def close_console(self) -> None:
        """As boot.py leaves USB in normal running."""
        self.usb_cdc.console, self.usb_cdc.data = None, self.usb_cdc.Serial()

    def before_program(self, *, boot: bool) -> None:
        """As boot.py or another program finds pins and USB."""
        self.end_program()
        self.usb_up = not boot
        if boot:
            # Nothing is settled, and the defaults are open.
            self.drive_visible = True
            self.gadgets = {"usb_hid", "usb_midi"}
            self.usb_cdc.console, self.usb_cdc.data = self.usb_cdc.Serial(), None
            self.supervisor.runtime.autoreload = True

    def end_program(self) -> None:
        """Between two programs: pins and scanners are let go."""
        for scanner in list(self._scanners):
            scanner.deinit()
        self.pins.release_all()

    def restart(self, reason: str) -> None:
        """The chip starts anew, with ``reason`` as its reset reason; boot.py is next."""
        self.end_program()
        chip = self.chip
        chip.ticks_start = (_TICKS_START - chip.now) % _TICKS
        chip.watchdog_ms = None
        self._on_chip["watchdog"]._mode = None
        self.microcontroller.cpu.reset_reason = getattr(self.microcontroller.ResetReason, reason)
        self.supervisor.runtime.run_reason = self.supervisor.RunReason.STARTUP
        if reason == "POWER_ON" or not self._retains:
            memory = self.alarm.sleep_memory
            memory[0 : len(memory)] = bytes(len(memory))

    def reload(self) -> None:
        """code.py starts anew, by Ctrl-D at the prompt: the chip has not been reset."""
        self.end_program()
        self.supervisor.runtime.run_reason = self.supervisor.RunReason.REPL_RELOAD


class _ByteArray:
    """What `nvm.ByteArray` and `alarm.SleepMemory` have in common."""

    def __init__(self) -> None:
        self._data = bytearray()

    def __bool__(self) -> bool:
        return bool(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, index: slice) -> bytearray:
        return self._data[index]

    def __setitem__(self, index: slice, value: bytes) -> None:
        if len(self._data[index]) != len(value):
            raise ValueError("Slice and value different lengths.")
        self._data[index] = value


def _alarm(size: int) -> types.ModuleType:
    module = types.ModuleType("alarm")

    class SleepMemory(_ByteArray):
        pass

    sleep_memory = SleepMemory()
    sleep_memory._data = bytearray(size)
    module.__dict__.update(SleepMemory=SleepMemory, sleep_memory=sleep_memory)
    return module


def _keypad(chip: Chip, digitalio: types.ModuleType, scanners: list[Any]) -> types.ModuleType:
    module = types.ModuleType("keypad")

    class Event:
        def __init__(
            self, key_number: int = 0, pressed: bool = True, timestamp: int | None = None
        ):
            self._set(key_number, pressed, chip.now if timestamp is None else timestamp)

        def _set(self, key_number: int, pressed: bool, timestamp: int) -> None:
            self._key_number, self._pressed, self._timestamp = key_number, pressed, timestamp

        @property
        def key_number(self) -> int:
            return self._key_number

        @property
        def pressed(self) -> bool:
            return self._pressed

        @property
        def released(self) -> bool:
            return not self._pressed

        @property
        def timestamp(self) -> int:
            return self._timestamp

    class EventQueue:
        _size: int

        def __init__(self) -> None:
            self._events: list[tuple[int, bool, int]] = []
            self._overflowed = False

        def _add(self, key_number: int, pressed: bool) -> None:
            if len(self._events) >= self._size:
                self._overflowed = True
            else:
                self._events.append((key_number, pressed, chip.now))

        @property
        def overflowed(self) -> bool:
            return self._overflowed

        def __bool__(self) -> bool:
            return bool(self._events)

        def __len__(self) -> int:
            return len(self._events)

        def get_into(self, event: Event) -> bool:
            if not self._events:
                return False
            event._set(*self._events.pop(0))
            return True

        def clear(self) -> None:
            self._events = []
            self._overflowed = False

    class Keys:
        def __init__(
            self,
            pins: tuple[blinka.BoardPin, ...],
            *,
            value_when_pressed: bool,
            pull: bool = True,
            interval: float = 0.020,
            max_events: int = 64,
            debounce_threshold: int = 1,
        ):
            assert interval == 0.001, "this fake scans each millisecond"
            assert debounce_threshold == 1, "this fake reports each change"
            direction = digitalio.Pull.DOWN if value_when_pressed else digitalio.Pull.UP
            self._pins = []
            for pin in pins:
                self._pins.append(digitalio.DigitalInOut(pin))
                self._pins[-1].switch_to_input(direction if pull else None)
            self._value_when_pressed = value_when_pressed
            self._events = EventQueue()
            self._events._size = max_events
            self.reset()
            chip.on_ms.append(self._scan)
            scanners.append(self)

        @property
        def events(self) -> EventQueue:
            return self._events

        @property
        def key_count(self) -> int:
            return len(self._pins)

        def _scan(self) -> None:
            for number, pin in enumerate(self._pins):
                pressed = pin.value == self._value_when_pressed
                if pressed != self._pressed[number]:
                    self._pressed[number] = pressed
                    self._events._add(number, pressed)

        def reset(self) -> None:
            self._pressed = [False] * len(self._pins)

        def deinit(self) -> None:
            chip.on_ms.remove(self._scan)
            scanners.remove(self)
            for pin in self._pins:
                pin.deinit()

    module.__dict__.update(Event=Event, EventQueue=EventQueue, Keys=Keys)
    return module


def _microcontroller(watchdog: types.ModuleType) -> dict[str, Any]:
    """What `microcontroller` has besides pins."""

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

    def reset() -> None:
        raise ChipReset

    class ByteArray(_ByteArray):
        """`nvm.ByteArray`."""

    nvm = ByteArray()
    nvm._data = bytearray(b"\xff" * 64)
    return {
        "ResetReason": ResetReason,
        "Processor": Processor,
        "cpu": Processor(),
        "nvm": nvm,
        "watchdog": watchdog.WatchDogTimer(),
        "reset": reset,
    }


def _storage(modules: Modules) -> types.ModuleType:
    module = types.ModuleType("storage")

    def disable_usb_drive() -> None:
        if modules.usb_up:
            raise RuntimeError("Cannot change USB devices now")
        modules.drive_visible = False
        modules.calls.append(("disable_usb_drive",))

    def remount(
        mount_path: str,
        readonly: bool = False,
        *,
        disable_concurrent_write_protection: bool = False,
    ) -> None:
        assert not disable_concurrent_write_protection
        if modules.usb_up and modules.drive_visible:
            raise RuntimeError("Cannot remount path when visible via USB.")
        modules.calls.append(("remount", mount_path, readonly))

    module.__dict__.update(disable_usb_drive=disable_usb_drive, remount=remount)
    return module


def _supervisor(chip: Chip) -> types.ModuleType:
    module = types.ModuleType("supervisor")

    class RunReason:
        STARTUP = Enumeration("STARTUP")
        AUTO_RELOAD = Enumeration("AUTO_RELOAD")
        SUPERVISOR_RELOAD = Enumeration("SUPERVISOR_RELOAD")
        REPL_RELOAD = Enumeration("REPL_RELOAD")

    class Runtime:
        def __init__(self) -> None:
            self.run_reason = RunReason.STARTUP
            self.autoreload = True

    def ticks_ms() -> int:
        return (chip.ticks_start + chip.now) % _TICKS

    module.__dict__.update(
        RunReason=RunReason, Runtime=Runtime, runtime=Runtime(), ticks_ms=ticks_ms
    )
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
            return chip.take(len(chip.to_chip) if size == -1 else size)

        def write(self, buf: bytes | memoryview) -> int:
            assert self.write_timeout == 0, "would wait for the host"
            return chip.give(bytes(buf))

    def enable(*, console: bool = True, data: bool = False) -> None:
        if modules.usb_up:
            raise RuntimeError("Cannot change USB devices now")
        module.__dict__.update(
            console=Serial() if console else None, data=Serial() if data else None
        )
        modules.calls.append(("enable", console, data))

    module.__dict__.update(data=None, console=None, enable=enable, Serial=Serial)
    return module


def _gadget(modules: Modules, name: str) -> types.ModuleType:
    """`usb_hid` or `usb_midi`."""
    module = types.ModuleType(name)

    def disable() -> None:
        if modules.usb_up:
            raise RuntimeError("Cannot change USB devices now")
        modules.gadgets.discard(name)

    module.__dict__.update(disable=disable)
    return module


def _watchdog(chip: Chip) -> types.ModuleType:
    module = types.ModuleType("watchdog")

    class WatchDogMode:
        RAISE, RESET = Enumeration("RAISE"), Enumeration("RESET")

    class WatchDogTimer:
        def __init__(self) -> None:
            self._timeout = 0.0
            self._mode: Enumeration | None = None

        @property
        def timeout(self) -> float:
            return self._timeout

        @timeout.setter
        def timeout(self, timeout: float) -> None:
            if not 0 < timeout <= _WATCHDOG_MAX_S:
                raise ValueError("timeout")
            self._timeout = timeout
            if self._mode is not None:
                self._start()

        @property
        def mode(self) -> Enumeration | None:
            return self._mode

        @mode.setter
        def mode(self, mode: Enumeration | None) -> None:
            if self._mode is WatchDogMode.RESET and mode is not self._mode:
                raise TypeError("mode cannot be changed once set to WatchDogMode.RESET")
            assert mode is WatchDogMode.RESET, "an exception would not cut"
            assert self._timeout > 0, "a mode without a timeout"
            self._mode = mode
            self._start()

        def _start(self) -> None:
            chip.feed()
            chip.watchdog_ms = int(self._timeout * 1000)

        def feed(self) -> None:
            if self._mode is None:
                raise ValueError("WatchDogTimer is not currently running")
            chip.feed()

    module.__dict__.update(WatchDogMode=WatchDogMode, WatchDogTimer=WatchDogTimer)
    return module


def _time(chip: Chip) -> types.ModuleType:
    module = types.ModuleType("time")

    def sleep(seconds: float) -> None:
        chip.advance(max(1, round(seconds * 1000)))

    def monotonic() -> float:
        return chip.now / 1000

    module.__dict__.update(sleep=sleep, monotonic=monotonic)
    return module
