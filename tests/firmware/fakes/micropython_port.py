"""MicroPython's `machine`, `micropython`, `rp2`, and its own parts of `select`, `time`, `sys`."""

import types
from collections.abc import Callable, Iterator
from typing import Any

from .chip import Chip, ChipReset

_TICKS = 1 << 30


class Modules:
    """One set of modules around one chip. ``hard_irqs``: whether the port has them (rp2)."""

    def __init__(self, chip: Chip, hard_irqs: bool):
        self.chip = chip
        self.interrupt_char = 3
        self.reset_cause = 1
        self.memory: dict[int, int] = {}
        self.rtc_memory = b""
        self.soft_irqs: list[Callable[[], None]] = []
        self.timers: list[Any] = []
        self.state_machines: list[Any] = []
        self.exception_buffer = 0
        self.machine = _machine(self, hard_irqs)
        self.micropython = _micropython(self)
        self.rp2 = _rp2(self)
        self.time = _time(chip)
        self.select, self.sys = _stdio(chip)
        chip.on_ms.append(self.run_soft_irqs)

    def run_soft_irqs(self) -> None:
        """What the interpreter does between two bytecodes."""
        while self.soft_irqs:
            self.soft_irqs.pop(0)()


def _machine(modules: Modules, hard_irqs: bool) -> types.ModuleType:
    chip = modules.chip
    module = types.ModuleType("machine")

    class IrqObject:
        def __init__(self) -> None:
            self.seen = 0

        def flags(self) -> int:
            return self.seen

    class Pin:
        IN, OUT, OPEN_DRAIN = 0, 1, 2
        PULL_UP, PULL_DOWN = 1, 2
        IRQ_FALLING, IRQ_RISING = 4, 8

        def __init__(self, id: int, mode: int = -1, pull: int = -1, *, value: int | None = None):  # noqa: A002 - the real name
            self.id = id
            self.irq_object = IrqObject()
            self.init(mode, pull, value=value)

        def init(self, mode: int = -1, pull: int = -1, *, value: int | None = None) -> None:
            if pull != -1:
                chip.pulls[self.id] = "up" if pull == Pin.PULL_UP else "down"
            if value is not None:
                chip.drive(self.id, value)
            if mode == Pin.OPEN_DRAIN:
                chip.open_drain.add(self.id)
            if mode in (Pin.OUT, Pin.OPEN_DRAIN):
                assert value is not None, "an output without a level"

        def value(self, x: int | None = None) -> int | None:
            if x is None:
                return chip.level(self.id)
            chip.drive(self.id, x)
            return None

        def irq(
            self,
            handler: "Callable[[Pin], None] | None" = None,
            trigger: int = 0,
            *,
            hard: bool = False,
        ) -> IrqObject:
            irq = self.irq_object
            if handler is None:
                return irq
            assert hard == hard_irqs

            def edge(falling: bool, rising: bool) -> None:
                seen = (falling and Pin.IRQ_FALLING) | (rising and Pin.IRQ_RISING)
                if not seen & trigger:
                    return
                if hard:
                    irq.seen = seen & trigger
                    handler(self)
                else:
                    modules.soft_irqs.append(lambda: handler(self))

            chip.on_edge.append(edge)
            # The worst case: an edge before this call has returned.
            edge(True, True)
            return irq

    class WDT:
        def __init__(self, id: int = 0, timeout: int = 5000):  # noqa: A002 - the real name
            assert id == 0
            chip.watchdog_ms = timeout
            chip.feed()

        def feed(self) -> None:
            chip.feed()

    class Timer:
        PERIODIC = 1

        def __init__(self, id: int, **settings: Any):  # noqa: A002 - the real name
            assert id in (-1, 0)
            if settings:
                self.init(**settings)

        def init(self, *, mode: int, period: int, callback: Callable[["Timer"], None]) -> None:
            assert mode == Timer.PERIODIC
            self.period = period
            self.callback = callback
            modules.timers.append(self)

    class RTC:
        def memory(self, data: bytes | None = None) -> bytes | None:
            if data is None:
                return modules.rtc_memory
            modules.rtc_memory = bytes(data)
            return None

    class Memory:
        def __getitem__(self, at: int) -> int:
            # As the port: a word from 2**31 on comes out negative.
            word = modules.memory.get(at, 0)
            return word - (1 << 32) if word >> 31 else word

        def __setitem__(self, at: int, value: int) -> None:
            assert at % 4 == 0
            modules.memory[at] = value & 0xFFFFFFFF

    class Packets:
        """USB buffer control of the serial port: the length and the PID of the last packet."""

        def __getitem__(self, at: int) -> int:
            assert at == 0x5010_0090
            return 1 | (chip.packets & 1) << 13 if chip.packets else 0

    def bitstream(pin: Pin, encoding: int, timing: tuple[int, ...], data: bytearray) -> None:
        assert encoding == 0
        assert timing == (400, 850, 800, 450)
        assert pin.id == chip.lamp
        green, red, blue = data
        chip.shown.append((red, green, blue))

    def reset_cause() -> int:
        return modules.reset_cause

    def unique_id() -> bytes:
        return b"\xe6\x60\x58\x38\x83\x12\x34\x56"

    def reset() -> None:
        raise ChipReset

    module.__dict__.update(
        Pin=Pin, WDT=WDT, Timer=Timer, RTC=RTC, mem32=Memory(), bitstream=bitstream,
        mem16=Packets(), reset_cause=reset_cause, unique_id=unique_id, reset=reset,
        PWRON_RESET=1, WDT_RESET=3,
    )  # fmt: skip
    return module


def _micropython(modules: Modules) -> types.ModuleType:
    module = types.ModuleType("micropython")

    def const(value: int) -> int:
        return value

    def kbd_intr(chr: int) -> None:  # noqa: A002 - the real name
        modules.interrupt_char = chr

    def alloc_emergency_exception_buf(size: int) -> None:
        modules.exception_buffer = size

    module.__dict__.update(
        const=const, kbd_intr=kbd_intr, alloc_emergency_exception_buf=alloc_emergency_exception_buf
    )
    return module


def _rp2(modules: Modules) -> types.ModuleType:
    chip = modules.chip
    module = types.ModuleType("rp2")
    pull_noblock = 0x8080

    class PIO:
        OUT_LOW, OUT_HIGH = 2, 3

    def asm_pio(*, set_init: int) -> Callable[[Callable[[], None]], list[tuple[Any, ...]]]:
        assert set_init == PIO.OUT_LOW, "handing over the pad would connect"

        def assemble(function: Callable[[], None]) -> list[tuple[Any, ...]]:
            program: list[tuple[Any, ...]] = []

            def record(name: str) -> Callable[..., None]:
                return lambda *args: program.append((name, *args))

            words: dict[str, Any] = {name: record(name) for name in _PIO_INSTRUCTIONS}
            words.update(block="block", pins="pins", pin="pin", rel=lambda number: number)
            # As the port does: the program's names are only there while it is assembled.
            types.FunctionType(function.__code__, words)()
            return program

        return assemble

    def asm_pio_encode(instr: str, sideset_count: int, sideset_opt: bool = False) -> int:
        assert (instr, sideset_count, sideset_opt) == ("pull(noblock)", 0, False)
        return pull_noblock

    class StateMachine:
        def __init__(self, id: int, program: list[tuple[Any, ...]], **settings: Any):  # noqa: A002 - the real name
            assert 0 <= id < 8
            modules.state_machines.append(self)
            self.fifo: list[int] = []
            self.running = False
            self.stepping = False
            self.handler: Callable[[StateMachine], None] | None = None
            chip.on_edge.append(lambda _falling, _rising: self.run())
            self.init(program, **settings)

        def init(
            self,
            program: list[tuple[Any, ...]],
            freq: int = -1,
            *,
            in_base: Any = None,
            set_base: Any = None,
        ) -> None:
            assert freq == -1
            self.running = False
            self.fifo = []
            self.program, self.at = program, 0
            self.in_base, self.set_base = in_base, set_base
            chip.drive(set_base.id, 0)

        def active(self, value: int | None = None) -> bool:
            if value is not None:
                self.running = bool(value)
                self.run()
            return self.running

        def put(self, value: int, shift: int = 0) -> None:
            assert len(self.fifo) < 4, "would wait for ever"
            self.fifo.append(value << shift)
            self.run()

        def exec(self, instr: int) -> None:
            assert instr == pull_noblock
            self.fifo = self.fifo[1:]

        def tx_fifo(self) -> int:
            return len(self.fifo)

        def irq(
            self,
            handler: "Callable[[StateMachine], None] | None" = None,
            trigger: int = 1,
            hard: bool = False,
        ) -> None:
            assert trigger == 1
            assert hard
            self.handler = handler

        def run(self) -> None:
            # An edge that an instruction causes is seen by the next one.
            if not self.stepping:
                self.stepping = True
                self.step()
                self.stepping = False

        def step(self) -> None:
            while self.running:
                name, *args = self.program[self.at]
                if name == "pull":
                    if not self.fifo:
                        return
                    self.fifo.pop(0)
                elif name == "set":
                    chip.drive(self.set_base.id, args[1])
                elif name == "wait":
                    if chip.level(self.in_base.id) != args[0]:
                        return
                elif name == "irq" and self.handler is not None:
                    self.handler(self)
                elif name == "jmp" and self.program[self.at - 1] == ("label", args[0]):
                    # Spins here for ever.
                    return
                self.at += 1

    module.__dict__.update(
        PIO=PIO, asm_pio=asm_pio, asm_pio_encode=asm_pio_encode, StateMachine=StateMachine
    )
    return module


_PIO_INSTRUCTIONS = ("pull", "set", "wait", "irq", "label", "jmp")


def _time(chip: Chip) -> types.ModuleType:
    module = types.ModuleType("time")

    def ticks_ms() -> int:
        return (chip.ticks_start + chip.now) % _TICKS

    def ticks_diff(new: int, old: int) -> int:
        return (new - old + _TICKS // 2) % _TICKS - _TICKS // 2

    def sleep_ms(ms: int) -> None:
        chip.advance(ms)

    module.__dict__.update(ticks_ms=ticks_ms, ticks_diff=ticks_diff, sleep_ms=sleep_ms)
    return module


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

    def write(self, data: bytes | memoryview) -> int:
        assert len(data) <= self.chip.room, "would wait for the host"
        count = self.chip.give(bytes(data))
        if self.chip.collects:
            self.chip.packets += 1
            self.chip.room += 64
        return count


def _stdio(chip: Chip) -> tuple[types.ModuleType, types.ModuleType]:
    select = types.ModuleType("select")

    class Poll:
        def __init__(self) -> None:
            self.registered: list[tuple[Any, int]] = []

        def register(self, obj: Any, eventmask: int) -> None:
            self.registered.append((obj, eventmask))

        def ipoll(self, timeout: int) -> Iterator[tuple[object, int]]:
            end = chip.now + timeout
            while not self.ready() and chip.now < end:
                chip.advance(1)
            return iter(self.ready())

        def ready(self) -> list[tuple[object, int]]:
            return [entry for entry in self.registered if entry[0].ioctl(3, entry[1])]

    def poll() -> Poll:
        return Poll()

    select.__dict__.update(poll=poll, POLLIN=1, POLLOUT=4)
    sys = types.ModuleType("sys")
    sys.__dict__.update(stdin=_Stdin(chip), stdout=_Stdout(chip))
    return select, sys
