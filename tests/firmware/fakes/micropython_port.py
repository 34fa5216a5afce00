"""MicroPython's modules as the board files see them, around one `Chip`. Also run on MicroPython.

Real functions with the signatures of the ports' stubs (tests/firmware/test_fakes.py); what a port
does not have is not there. `rp2` is in a file of its own, which needs CPython.
"""

# Standard, because the fakes hold objects of classes that they make. MicroPython's own module has
# no source, and `vfs` is only there.
# pyright: standard, reportMissingModuleSource=false, reportMissingImports=false

import hashlib

from .chip import Chip, ChipReset
from .flash import NorFlash, block_device

try:
    from vfs import VfsLfs2
except ImportError:
    from .littlefs_vfs import VfsLfs2
try:
    # On MicroPython soft interrupts are the interpreter's own: between two bytecodes.
    from micropython import schedule
except ImportError:
    schedule = None

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_TICKS = 1 << 30
_MACHINES = {
    "rp2": "Raspberry Pi Pico with RP2040",
    "esp32": "Generic ESP32 module with ESP32",
}
# MICROPY_SCHEDULER_DEPTH of ports/esp32: an edge that finds the queue full is lost.
_SCHEDULER_DEPTH = 8


class Module:
    """Stands in `sys.modules`. A name that it was not given is an AttributeError, as it should."""

    def __init__(self, names: "dict[str, Any]"):
        for name, value in names.items():
            setattr(self, name, value)


class Modules:
    """One set of modules around one chip. ``port``: ``rp2`` or ``esp32``, as `sys.platform`.

    ``before_access``: called before each use of a pin, the only moments at which the world can
    interfere with a program in a way that it can tell.
    """

    def __init__(self, chip: Chip, port: str, flash: "NorFlash | None" = None):
        self.chip = chip
        self.port = port
        self.interrupt_char = 3
        self.reset_cause = 1
        self.memory: dict[int, int] = {}
        self.rtc_memory = b""
        # What holds the file system, and whatever else the firmware puts there.
        self.flash = NorFlash() if flash is None else flash
        self.mounted: VfsLfs2 | None = None
        # Draws on the chip's source of random bytes.
        self.random = 0
        self.soft_irqs: list[tuple[Callable[[Any], None], Any]] = []
        self.lost_irqs = 0
        # The handlers in use, by pin.
        self.handlers: dict[object, tuple[Callable[[Any], None], Any]] = {}
        self.timers: list[Any] = []
        self.exception_buffer = 0
        self.before_access: Callable[[], None] | None = None
        self.machine = _machine(self)
        self.vfs = _vfs(self)
        self.micropython = _micropython(self)
        # Bytes between two collections.
        self.garbage: int | None = None
        self.gc = _gc(self)
        self.time = _time(chip)
        self.select = _select(chip)
        self.sys = _sys(chip, port)
        self.os = _os(self)
        if port == "esp32":
            self.esp32 = _esp32(self)
        chip.on_ms.append(self.run_soft_irqs)

    def restart(self) -> None:
        """Forget what the interpreter had in its memory of the file system."""
        self.mounted = None

    @property
    def files(self) -> VfsLfs2:
        """The file system, mounted, and made if there is none: as _boot.py of the ports does."""
        if self.mounted is None:
            # _boot.py of the ports.
            progsize = 256 if self.port == "rp2" else 32
            device = block_device(self.flash)()
            try:
                self.mounted = VfsLfs2(device, progsize=progsize)
            except OSError:
                VfsLfs2.mkfs(device, progsize=progsize)
                self.mounted = VfsLfs2(device, progsize=progsize)
        return self.mounted

    def open(self, file: str, mode: str) -> "Any":
        """The builtin."""
        return self.files.open(file, mode)

    def schedule(self, handler: "Callable[[Any], None]", argument: "Any") -> None:
        """As an interrupt does it: the interpreter will call, and a full queue loses the call."""
        if schedule is not None:
            try:
                schedule(handler, argument)
            except RuntimeError:
                self.lost_irqs += 1
        elif len(self.soft_irqs) < _SCHEDULER_DEPTH:
            self.soft_irqs.append((handler, argument))
        else:
            self.lost_irqs += 1

    def run_soft_irqs(self) -> None:
        """What the interpreter does between two bytecodes; MicroPython has done so by now."""
        for _ in range(_SCHEDULER_DEPTH):
            if self.soft_irqs:
                handler, argument = self.soft_irqs.pop(0)
                handler(argument)

    def access(self) -> None:
        if self.before_access is not None:
            self.before_access()
        self.run_soft_irqs()


def _machine(modules: Modules) -> Module:
    chip = modules.chip
    hard_irqs = modules.port == "rp2"

    class IrqObject:
        def __init__(self) -> None:
            self.seen = 0

        def flags(self) -> int:
            return self.seen

    class PinBase:
        IN = 0
        OUT = 1 if hard_irqs else 3
        OPEN_DRAIN = 2 if hard_irqs else 7
        PULL_UP = 1 if hard_irqs else 2
        PULL_DOWN = 2 if hard_irqs else 1
        IRQ_FALLING = 4 if hard_irqs else 2
        IRQ_RISING = 8 if hard_irqs else 1

        def __init__(self, id: int, mode: int = -1, pull: int = -1, *, value: "int | None" = None):  # noqa: A002 - the real name
            self.id = id
            self.irq_object = IrqObject()
            self.init(mode, pull, value=value)

        def init(self, mode: int = -1, pull: int = -1, *, value: "int | None" = None) -> None:
            if pull != -1:
                assert pull in (Pin.PULL_UP, Pin.PULL_DOWN)
                chip.pulls[self.id] = "up" if pull == Pin.PULL_UP else "down"
            if value is not None:
                modules.access()
                chip.drive(self.id, value)
            if mode == Pin.OPEN_DRAIN:
                chip.open_drain.add(self.id)
            if mode in (Pin.OUT, Pin.OPEN_DRAIN):
                assert value is not None, "an output without a level"

        def value(self, x: "int | None" = None) -> "int | None":
            modules.access()
            if x is None:
                return chip.level(self.id)
            chip.drive(self.id, x)
            return None

        def _listen(self, trigger: int, seen: "Callable[[int], None]") -> None:
            def edge(falling: bool, rising: bool) -> None:
                flags = (Pin.IRQ_FALLING if falling else 0) | (Pin.IRQ_RISING if rising else 0)
                if flags & trigger:
                    seen(flags & trigger)

            chip.on_edge.append(edge)
            # The worst case: an edge before this call has returned.
            edge(True, True)

    class SoftIrqPin(PinBase):
        def irq(
            self, handler: "Callable[[PinBase], None] | None" = None, trigger: int = 3
        ) -> IrqObject:
            # ports/esp32/machine_pin.c has no ``hard``, whatever the stub says.
            if handler is not None:
                modules.handlers[self.id] = (handler, self)
                self._listen(trigger, lambda _flags: modules.schedule(handler, self))
            return self.irq_object

    class HardIrqPin(PinBase):
        def irq(
            self,
            handler: "Callable[[PinBase], None] | None" = None,
            trigger: int = 12,
            *,
            hard: bool = False,
        ) -> IrqObject:
            if handler is not None:
                assert hard

                def call(flags: int) -> None:
                    self.irq_object.seen = flags
                    handler(self)

                self._listen(trigger, call)
            return self.irq_object

    Pin = HardIrqPin if hard_irqs else SoftIrqPin  # noqa: N806 - the real name

    class WDT:
        def __init__(self, *, id: int = 0, timeout: int = 5000):  # noqa: A002 - the real name
            # The most of ports/rp2; that of ports/esp32 is far above it.
            assert (id, 0 < timeout <= 8388) == (0, True)
            chip.feed()
            chip.watchdog_ms = timeout

        def feed(self) -> None:
            chip.feed()

    class Timer:
        PERIODIC = 1

        def __init__(self, id: int):  # noqa: A002 - the real name
            assert id == (-1 if hard_irqs else 0)

        def init(
            self,
            *,
            mode: int = PERIODIC,
            period: "int | None" = None,
            callback: "Callable[[Timer], None] | None" = None,
        ) -> None:
            assert mode == Timer.PERIODIC
            assert period is not None
            self.period = period
            self.callback = callback
            modules.timers.append(self)

    def bitstream(pin: PinBase, encoding: int, timing: "tuple[int, ...]", data: bytearray) -> None:
        assert encoding == 0
        # What a WS2812B takes, in ns (its datasheet, "Data transfer time").
        nominal = (400, 850, 800, 450)
        assert len(timing) == len(nominal)
        assert all(abs(timing[i] - nominal[i]) <= 150 for i in range(len(nominal)))
        assert pin.id == chip.lamp
        green, red, blue = data
        chip.shown.append((red, green, blue))

    def reset_cause() -> int:
        return modules.reset_cause

    def unique_id() -> bytes:
        return b"\xe6\x60\x58\x38\x83\x12\x34\x56"

    def reset() -> "Any":
        raise ChipReset

    # Nothing here happens between two lines of the program but what a test asks for.
    def disable_irq() -> bool:
        return True

    def enable_irq(state: bool = True) -> None:
        assert state is True

    names = {
        "Pin": Pin,
        "WDT": WDT,
        "Timer": Timer,
        "bitstream": bitstream,
        "reset_cause": reset_cause,
        "unique_id": unique_id,
        "reset": reset,
        "PWRON_RESET": 1,
        "WDT_RESET": 3,
    }
    if hard_irqs:
        names["mem32"] = _Memory(modules)
        names["mem16"] = _Packets(chip)
        names["disable_irq"] = disable_irq
        names["enable_irq"] = enable_irq
    else:
        names["RTC"] = _rtc(modules)
    return Module(names)


def _vfs(modules: Modules) -> Module:
    def mount(fsobj: VfsLfs2, mount_point: str) -> None:
        assert (mount_point, modules.mounted) == ("/", None)
        modules.mounted = fsobj

    def umount(mount_point: str) -> None:
        assert mount_point == "/"
        modules.mounted = None

    return Module({"VfsLfs2": VfsLfs2, "mount": mount, "umount": umount})


def _rtc(modules: Modules) -> type:
    class RTC:
        def memory(self, data: "bytes | None" = None) -> "bytes | None":
            if data is None:
                return modules.rtc_memory
            modules.rtc_memory = bytes(data)
            return None

    return RTC


class _Memory:
    def __init__(self, modules: Modules):
        self._words = modules.memory
        self._chip = modules.chip

    def __getitem__(self, at: int) -> int:
        if at == 0x5011_0048:
            self._chip.frame += self._chip.bus_active
            return self._chip.frame & 0x7FF
        # As the port: a word from 2**31 on comes out negative.
        word = self._words.get(at, 0)
        return word - (1 << 32) if word >> 31 else word

    def __setitem__(self, at: int, value: int) -> None:
        assert at % 4 == 0
        self._words[at] = value & 0xFFFFFFFF


class _Packets:
    """USB buffer control of the serial port: the length and the PID of the last packet."""

    def __init__(self, chip: Chip):
        self._chip = chip

    def __getitem__(self, at: int) -> int:
        assert at == 0x5010_0090
        return 1 | (self._chip.packets & 1) << 13 if self._chip.packets else 0


def _gc(modules: Modules) -> Module:
    def threshold(amount: int) -> None:
        modules.garbage = amount

    return Module({"threshold": threshold})


def _micropython(modules: Modules) -> Module:
    def const(expr: int) -> int:
        return expr

    def kbd_intr(chr: int) -> None:  # noqa: A002 - the real name
        modules.interrupt_char = chr

    def alloc_emergency_exception_buf(size: int) -> None:
        modules.exception_buffer = size

    return Module(
        {
            "const": const,
            "kbd_intr": kbd_intr,
            "alloc_emergency_exception_buf": alloc_emergency_exception_buf,
        }
    )


def _time(chip: Chip) -> Module:
    spent = [0]

    def ticks_add(ticks: int, delta: int) -> int:
        return (ticks + delta) % _TICKS

    def ticks_ms() -> int:
        return (chip.ticks_start + chip.now) % _TICKS

    def ticks_us() -> int:
        # A program that waits for time to pass must see some pass.
        spent[0] += 100
        return (chip.now * 1000 + spent[0]) % _TICKS

    def ticks_diff(ticks1: int, ticks2: int) -> int:
        return (ticks1 - ticks2 + _TICKS // 2) % _TICKS - _TICKS // 2

    def sleep_ms(ms: int) -> None:
        chip.advance(ms)

    return Module(
        {
            "ticks_ms": ticks_ms,
            "ticks_add": ticks_add,
            "ticks_us": ticks_us,
            "ticks_diff": ticks_diff,
            "sleep_ms": sleep_ms,
        }
    )


class _Stdin:
    def __init__(self, chip: Chip):
        self.chip = chip
        self.buffer = self

    def ioctl(self, request: int, events: int) -> int:
        assert request == 3
        return events if self.chip.to_chip else 0

    def readinto(self, data: bytearray) -> int:
        assert len(data) <= len(self.chip.to_chip), "would wait for the host"
        data[:] = self.chip.take(len(data))
        return len(data)


class _Stdout:
    def __init__(self, chip: Chip):
        self.chip = chip
        self.buffer = self

    def ioctl(self, request: int, events: int) -> int:
        assert request == 3
        return events if self.chip.room > 0 else 0

    def write(self, data: "bytes | memoryview") -> int:
        assert len(data) <= self.chip.room, "would wait for the host"
        count = self.chip.give(bytes(data))
        if self.chip.collects:
            self.chip.packets += 1
            self.chip.room += 64
        return count


def _select(chip: Chip) -> Module:
    class poll:  # noqa: N801 - the real name
        def __init__(self) -> None:
            self.registered: list[tuple[Any, int]] = []

        def register(self, obj: "Any", eventmask: int = 5) -> None:
            self.registered.append((obj, eventmask))

        def ipoll(self, timeout: int = -1) -> "Iterator[tuple[object, int]]":
            assert timeout >= 0, "would wait for ever"
            end = chip.now + timeout
            if timeout and self._ready():
                # A program that finds something each time goes round without a pause, but not
                # without time.
                chip.advance(1)
            while not self._ready() and chip.now < end:
                chip.advance(1)
            return iter(self._ready())

        def _ready(self) -> "list[tuple[object, int]]":
            return [entry for entry in self.registered if entry[0].ioctl(3, entry[1])]

    return Module({"poll": poll, "POLLIN": 1, "POLLOUT": 4})


def _sys(chip: Chip, port: str) -> Module:
    return Module(
        {
            "implementation": Module({"_machine": _MACHINES[port]}),
            "platform": port,
            "stdin": _Stdin(chip),
            "stdout": _Stdout(chip),
        }
    )


def _os(modules: Modules) -> Module:
    def listdir(dir: str = "") -> "list[str]":  # noqa: A002 - the real name
        return [entry[0] for entry in modules.files.ilistdir("/" + dir)]

    def mkdir(path: str) -> None:
        modules.files.mkdir(path)

    def remove(path: str) -> None:
        modules.files.remove(path)

    def rename(old_path: str, new_path: str) -> None:
        modules.files.rename(old_path, new_path)

    def stat(path: str) -> "tuple[int, ...]":
        return modules.files.stat(path)

    def urandom(n: int) -> bytes:
        assert n <= 32
        modules.random += 1
        return hashlib.sha256(b"%d" % modules.random).digest()[:n]

    return Module(
        {
            "listdir": listdir,
            "mkdir": mkdir,
            "remove": remove,
            "rename": rename,
            "stat": stat,
            "urandom": urandom,
        }
    )


def _esp32(modules: Modules) -> Module:
    class Partition(block_device(modules.flash)):
        TYPE_DATA = 1

        # The real one has all its parameters optional (esp32_partition.c), and a block size.
        @staticmethod
        def find(type: int, *, label: str) -> "list[Any]":  # noqa: A002 - the real name
            return [Partition()] if (type, label) == (1, "vfs") else []

    return Module({"Partition": Partition})
