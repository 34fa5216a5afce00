"""MicroPython's `rp2`: PIO and flash. Needs CPython: it assembles by function."""

# Standard, because the fakes hold objects of classes that they make.
# pyright: standard

import types
from collections.abc import Callable
from typing import Any

from .flash import block_device
from .micropython_port import Module, Modules

_PIO_INSTRUCTIONS = ("pull", "set", "wait", "irq", "label", "jmp")


def make_rp2(modules: Modules, state_machines: list[Any]) -> Module:
    """`rp2` for these modules. State machines that are made go to ``state_machines``."""
    chip = modules.chip

    class PIO:
        OUT_LOW, OUT_HIGH = 2, 3

    def asm_pio(*, set_init: int) -> Callable[[Callable[[], None]], list[list[tuple[Any, ...]]]]:
        assert set_init == PIO.OUT_LOW, "handing over the pad would connect"

        def assemble(function: Callable[[], None]) -> list[list[tuple[Any, ...]]]:
            program: list[tuple[Any, ...]] = []

            def record(name: str) -> Callable[..., None]:
                return lambda *args: program.append((name, *args))

            words: dict[str, Any] = {name: record(name) for name in _PIO_INSTRUCTIONS}
            words.update(
                block="block", noblock="noblock", pins="pins", pin="pin", rel=lambda number: number
            )
            # As the port does: the program's names are only there while it is assembled.
            types.FunctionType(function.__code__, words)()
            # The port's program has more fields: the board file uses the first only.
            return [program]

        return assemble

    class StateMachine:
        def __init__(
            self,
            id: int,  # noqa: A002 - the real name
            program: list[list[tuple[Any, ...]]],
            *,
            in_base: Any = None,
            set_base: Any = None,
        ):
            assert 0 <= id < 8
            state_machines.append(self)
            self.fifo: list[int] = []
            self.running = False
            self.stepping = False
            self.handler: Callable[[StateMachine], None] | None = None
            chip.on_edge.append(lambda _falling, _rising: self._run())
            self.init(program, in_base=in_base, set_base=set_base)

        def init(
            self,
            program: list[list[tuple[Any, ...]]],
            *,
            in_base: Any = None,
            set_base: Any = None,
        ) -> None:
            self.running = False
            self.fifo = []
            self.program, self.at = program[0], 0
            self.in_base, self.set_base = in_base, set_base
            chip.drive(set_base.id, 0)

        def active(self, value: int | None = None) -> bool:
            if value is not None:
                self.running = bool(value)
                self._run()
            return self.running

        def put(self, value: int, shift: int = 0) -> None:
            assert len(self.fifo) < 4, "would wait for ever"
            self.fifo.append(value << shift)
            self._run()

        def exec(self, instr: tuple[Any, ...]) -> None:
            assert instr == ("pull", "noblock")
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

        def _run(self) -> None:
            # An edge that an instruction causes is seen by the next one.
            if not self.stepping:
                self.stepping = True
                self._step()
                self.stepping = False

        def _step(self) -> None:
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
