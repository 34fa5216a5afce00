"""MicroPython's `rp2`: PIO and flash. Needs CPython: it assembles by function."""

# Standard, because the fakes hold objects of classes that they make.
# pyright: standard

import types
from collections.abc import Callable
from typing import Any

from .flash import block_device
from .micropython_port import Module, Modules

_PIO_INSTRUCTIONS = ("pull", "set", "wait", "irq", "jmp", "in_")
_PIO_WORDS = ("block", "noblock", "pins", "pin", "null", "x", "x_dec")
# Of the FIFO that is joined to receive.
_RX = 8
_ALL_ONES = 0xFFFF_FFFF


class _Program:
    """What one function assembles to: instructions as [name, arguments, cycles]."""

    def __init__(self, function: Callable[[], None]):
        self.code: list[list[Any]] = []
        self.labels: dict[str, int] = {}
        self.start = 0
        self.end = -1
        words: dict[str, Any] = {name: self._record(name) for name in _PIO_INSTRUCTIONS}
        words |= {word: word for word in _PIO_WORDS}
        words["rel"] = lambda number: number
        words["label"] = lambda name: self.labels.setdefault(name, len(self.code))
        words["wrap_target"] = lambda: setattr(self, "start", len(self.code))
        words["wrap"] = lambda: setattr(self, "end", len(self.code))
        # As the port does: the program's names are only there while it is assembled.
        types.FunctionType(function.__code__, words)()

    def _record(self, name: str) -> "Callable[..., _Delayable]":
        def record(*args: Any) -> _Delayable:
            self.code.append([name, args, 1])
            return _Delayable(self.code[-1])

        return record

    def __getitem__(self, at: int) -> list[Any]:
        return self.code[at]


class _Delayable:
    """What an instruction is while it is assembled: ``[cycles]`` behind it makes it longer."""

    def __init__(self, instruction: list[Any]):
        self._instruction = instruction

    def __getitem__(self, delay: int) -> None:
        self._instruction[2] += delay


def make_rp2(modules: Modules, state_machines: list[Any]) -> Module:
    """`rp2` for these modules. State machines that are made go to ``state_machines``."""
    chip = modules.chip

    class PIO:
        OUT_LOW, OUT_HIGH = 2, 3
        SHIFT_LEFT, SHIFT_RIGHT = 0, 1
        JOIN_NONE, JOIN_TX, JOIN_RX = 0, 1, 2

    def asm_pio(
        *,
        set_init: int | None = None,
        in_shiftdir: int = 0,
        autopush: bool = False,
        push_thresh: int = 32,
        fifo_join: int = 0,
    ) -> Callable[[Callable[[], None]], list[_Program]]:
        assert set_init in (None, PIO.OUT_LOW), "handing over the pad would connect"
        # One that receives is to receive so.
        assert (in_shiftdir, push_thresh) == (PIO.SHIFT_LEFT, 32)
        assert autopush == (fifo_join == PIO.JOIN_RX)
        # The port's program has more fields: the board file uses the first only.
        return lambda function: [_Program(function)]

    class StateMachine:
        def __init__(
            self,
            id: int,  # noqa: A002 - the real name
            program: list[_Program],
            *,
            freq: int = -1,
            in_base: Any = None,
            set_base: Any = None,
            jmp_pin: Any = None,
        ):
            assert 0 <= id < 8
            state_machines.append(self)
            self.running = False
            self.stepping = False
            self.handler: Callable[[StateMachine], None] | None = None
            self.received: list[int] = []
            # With its own clock it runs by the millisecond; else until it waits.
            self.freq = freq
            if freq < 0:
                chip.on_edge.append(lambda _falling, _rising: self._run())
            else:
                chip.on_ms.append(self._run)
            self.init(program, freq=freq, in_base=in_base, set_base=set_base, jmp_pin=jmp_pin)

        def init(
            self,
            program: list[_Program],
            *,
            freq: int = -1,
            in_base: Any = None,
            set_base: Any = None,
            jmp_pin: Any = None,
        ) -> None:
            assert freq == self.freq
            self.program = program[0]
            self.fifo: list[int] = []
            self.in_base, self.set_base, self.jmp_pin = in_base, set_base, jmp_pin
            self.active(0)
            self.restart()
            if set_base is not None:
                chip.drive(set_base.id, 0)

        def restart(self) -> None:
            self.at = self.x = self.isr = self.bits = self.credit = 0

        def active(self, value: int | None = None) -> bool:
            if value is not None:
                self.running = bool(value)
                if self.freq < 0:
                    self._run()
            return self.running

        def put(self, value: int, shift: int = 0) -> None:
            assert len(self.fifo) < 4, "would wait for ever"
            self.fifo.append(value << shift)
            self._run()

        def get(self) -> int:
            return self.received.pop(0)

        def exec(self, instr: list[Any]) -> None:
            name, args, _ = instr
            if name == "pull":
                assert args == ("noblock",)
                self.fifo = self.fifo[1:]
            else:
                assert (name, args) == ("in_", ("null", 1))
                assert self._shift_in(0, 1)

        def tx_fifo(self) -> int:
            return len(self.fifo)

        def rx_fifo(self) -> int:
            return len(self.received)

        def irq(
            self,
            handler: "Callable[[StateMachine], None] | None" = None,
            trigger: int = 1,
            hard: bool = False,
        ) -> None:
            assert trigger == 1
            assert hard
            self.handler = handler

        def _shift_in(self, value: int, count: int) -> bool:
            """False if there is no room for the word that this completes."""
            assert self.bits + count <= 32
            if self.bits + count == 32 and len(self.received) == _RX:
                return False
            self.isr = self.isr << count | value & (1 << count) - 1
            self.bits += count
            if self.bits == 32:
                self.received.append(self.isr & _ALL_ONES)
                self.isr = self.bits = 0
            return True

        def _run(self) -> None:
            # An edge that an instruction causes is seen by the next one.
            if self.stepping or not self.running:
                return
            self.stepping = True
            self.credit += self.freq // 1000
            while self.running and (self.freq < 0 or self.credit > 0) and self._step():
                pass
            self.stepping = False

        def _step(self) -> bool:
            """One instruction. False if it waits, or would be the same for ever."""
            name, args, cycles = self.program.code[self.at]
            following = self.at + 1
            if following == self.program.end:
                following = self.program.start
            if name == "pull":
                if not self.fifo:
                    return False
                self.fifo.pop(0)
            elif name == "set" and args[0] == "x":
                self.x = args[1]
            elif name == "set":
                chip.drive(self.set_base.id, args[1])
            elif name == "wait":
                if chip.level(self.in_base.id) != args[0]:
                    return False
            elif name == "irq" and self.handler is not None:
                self.handler(self)
            elif name == "in_":
                if not self._shift_in({"null": 0, "x": self.x}[args[0]], args[1]):
                    return False
            elif name == "jmp" and self._jumps(args[:-1]):
                following = self.program.labels[args[-1]]
            if following == self.at and len(args) == 1:
                return False
            self.at = following
            self.credit -= cycles
            return True

        def _jumps(self, condition: tuple[str, ...]) -> bool:
            if condition == ("pin",):
                return bool(chip.level(self.jmp_pin.id))
            if condition == ("x_dec",):
                self.x = self.x - 1 & _ALL_ONES
                return self.x != _ALL_ONES
            return True

    class Flash(block_device(modules.flash)):
        def __init__(self) -> None:
            pass

    return Module(
        {
            "PIO": PIO,
            "Flash": Flash,
            "asm_pio": asm_pio,
            "StateMachine": StateMachine,
        }
    )
