"""Most instructions of the emulated chip, in C: some ten times faster than rp2040py alone.

rp2040py takes 0.2 us for an instruction, wherever its time goes. thumb.c does those that only
compute, or touch memory without side effects; rp2040py does the others, and all that is not the
CPU. What the chip does is the same to the bit with and without; tests/emulator/test_thumb.py
compares.

It is optional, for it needs a C compiler, ``cc``. Only `build` starts that, and only make calls
`build`: ``hardmute sim`` uses what it finds in the cache.
"""

# This file stands in for parts of rp2040py, so it knows how that does them.
# pyright: reportIncompatibleVariableOverride=false

from __future__ import annotations

import ctypes
import functools
import hashlib
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from rp2040py.cortex_m0_core import CortexM0Core
from rp2040py.execute_batch import execute_batch
from rp2040py.peripherals.pio import RPPIO
from rp2040py.peripherals.state_machine import StateMachine
from rp2040py.rp2040 import RP2040
from rp2040py.simulator import Simulator
from rp2040py.sio import RPSIO
from rp2040py.utils.timer32 import Timer32, TimerMode

from hardmute.model.errors import LocalError
from hardmute.sim.rp2040.silicon import CYCLE_NS, FREQUENCY
from hardmute.system import paths

_SOURCE = Path(__file__).with_name("thumb.c")
_OPTIONS = ("-O2", "-ffp-contract=off", "-shared", "-fPIC")
# As long as nothing else is due.
_FOR_EVER = 1 << 40
# In which the state machines of rp2040py count cycles.
_FRACTION = 256
_SIDESET_COUNT = 29
_SYSTICK_TOP = 0xFFFFFF
_WORD = 0xFFFFFFFF


class _Parked(ctypes.Structure):
    """As `struct parked` in thumb.c."""

    _fields_ = [(name, ctypes.c_int64) for name in ("due", "divider", "steps", "drops")]


class _Machine(ctypes.Structure):
    """As `struct machine` in thumb.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("r", "boot_rom", "flash", "ram", "dpram")),
        *(
            (name, ctypes.c_uint32)
            for name in ("extra", "flags", "primask", "unmasked", "dividend", "divisor")
        ),
        *((name, ctypes.c_uint32) for name in ("quotient", "remainder", "csr", "locks", "last")),
        ("parked_count", ctypes.c_uint32),
        ("parked", _Parked * 8),
        *((name, ctypes.c_double) for name in ("now_ns", "base_ns", "base_count")),
        ("counting", ctypes.c_uint32),
    ]


def place() -> Path:
    """Where the compiled thumb.c is, or would be."""
    made_of = [_SOURCE.read_bytes(), " ".join(_OPTIONS).encode()]
    made_of.append(f"{sys.platform} {platform.machine()} {sys.maxsize}".encode())
    digest = hashlib.sha256(b"\0".join(made_of)).hexdigest()
    return paths.cache_dir("thumb") / digest[:16] / "thumb.so"


def build() -> Path:
    """Compile thumb.c, unless that has been done. `LocalError` where it cannot be."""
    library = place()
    if library.exists():
        return library
    compiler = shutil.which("cc")
    if compiler is None or sys.byteorder != "little":
        raise LocalError("The emulated Pico is slow here: install a C compiler, cc.")
    library.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=library.parent)
    os.close(handle)
    command = [compiler, *_OPTIONS, "-o", partial, str(_SOURCE), "-lm"]
    ran = subprocess.run(command, capture_output=True, text=True)  # noqa: S603 - our own source
    if ran.returncode:
        Path(partial).unlink()
        raise LocalError(f"{compiler} cannot compile {_SOURCE}: {ran.stderr.strip()}.")
    return Path(partial).replace(library)


@functools.cache
def library() -> Any:
    """`thumb_run`, or None where thumb.c has not been compiled."""
    try:
        found = ctypes.PyDLL(str(place()))
    except OSError:
        return None
    found.thumb_run.argtypes = [ctypes.c_void_p, ctypes.c_int64, ctypes.c_int]
    found.thumb_run.restype = ctypes.c_int64
    return found.thumb_run


def runner(simulator: Simulator) -> Callable[[], None]:
    """What runs the chip of ``simulator``, which has not run yet, until it is stopped."""
    run = library()
    core = simulator.rp2040.core
    if run is None or type(core).__module__ != "rp2040py.native._cortex_m0_core":
        return functools.partial(execute_batch, simulator, 1)
    return functools.partial(_run, simulator, run, attach(simulator.rp2040))


def attach(mcu: RP2040) -> _Machine:
    """Have thumb.c know the registers and memories of ``mcu``."""
    machine = _Machine()
    buffers = (mcu.core.registers, mcu.bootrom, mcu.flash, mcu.sram, mcu.usb_dpram)
    for name, buffer in zip(("r", "boot_rom", "flash", "ram", "dpram"), buffers, strict=True):
        # They are never replaced.
        view = memoryview(cast("bytearray", buffer)).cast("B")
        at = ctypes.addressof(ctypes.c_char.from_buffer(view))
        setattr(machine, name, at)
    mcu.sio = _Sio(mcu, machine)
    systick = mcu.ppb.systick_timer
    rate = systick.frequency / systick.prescaler
    assert (systick.top, systick.mode, rate) == (_SYSTICK_TOP, TimerMode.DECREMENT, FREQUENCY)
    before = vars(systick)
    # Others hold on to it.
    systick.__class__ = _SysTick
    cast("_SysTick", systick).machine = machine
    for name in ("_base_value", "_base_nanos", "_enabled"):
        setattr(systick, name, before.pop(name))
    return machine


def _shared(name: str, kind: Callable[[Any], Any] = lambda value: int(value) & _WORD) -> Any:
    """An attribute that is in ``machine``, where it is of that kind."""

    def write(one: _Sio | _SysTick, value: float) -> None:
        setattr(one.machine, name, kind(value))

    return property(lambda one: kind(getattr(one.machine, name)), write)


class _Sio(RPSIO):
    """The SIO, with the registers in ``machine`` of which thumb.c knows."""

    div_dividend = _shared("dividend")
    div_divisor = _shared("divisor")
    div_quotient = _shared("quotient")
    div_remainder = _shared("remainder")
    div_csr = _shared("csr")
    spin_lock = _shared("locks")

    def __init__(self, mcu: RP2040, machine: _Machine) -> None:
        self.machine = machine
        super().__init__(mcu)


class _SysTick(Timer32):
    """The SysTick, of whose count thumb.c knows."""

    machine: _Machine

    _base_value = _shared("base_count", int)
    _base_nanos = _shared("base_ns", float)
    _enabled = _shared("counting", bool)


def execute(core: CortexM0Core, run: Any, machine: _Machine, budget: int) -> int:
    """Have thumb.c execute instructions for ``budget`` cycles, and fewer where it cannot go on.

    The cycles that it took. `CortexM0Core.interrupts_updated` then says whether it stopped because
    an exception may be due.
    """
    pending = (
        core.pending_interrupts & core.enabled_interrupts
        or core.pending_systick
        or core.pending_pend_sv
        or core.pending_svcall
        or core.pending_nmi
    )
    machine.now_ns = core.rp2040.clock.nanos
    machine.flags = core.apsr
    machine.primask = core.pm
    cycles: int = run(ctypes.addressof(machine), budget, bool(pending))
    core.apsr = machine.flags
    core.pm = bool(machine.primask)
    core.cycles += cycles + machine.extra
    machine.extra = 0
    core.interrupts_updated = bool(machine.unmasked)
    return cycles


def _is_parked(pio: RPPIO, machine: StateMachine) -> bool:
    """Whether a step of ``machine``, which runs, does nothing: it jumps to where it is."""
    return (
        pio.instructions[machine.pc] == machine.pc
        # It has done so before.
        and not machine.update_pc
        and not machine.due_rearmed
        and not machine.exec_valid
        and machine.pin_ctrl >> _SIDESET_COUNT == 0
        and pio.pin_values == pio.old_pin_values
        and pio.pin_directions == pio.old_pin_directions
    )


def _run(simulator: Simulator, run: Any, machine: _Machine) -> None:
    """As `execute_batch` with single ticks, but for that it ends only when the simulator stops."""
    mcu, clock = simulator.rp2040, simulator.clock
    core, pios = mcu.core, mcu.pio

    def passes(ns: float, cycles: int) -> None:
        clock.tick(ns)
        for pio in pios:
            if not pio.stopped:
                pio.advance(cycles)

    while not simulator.stopped:
        if core.waiting:
            idle_ns = clock.nanos_to_next_alarm
            passes(idle_ns, int(idle_ns / CYCLE_NS) or 1)
            continue
        if not core.interrupts_updated:
            # Until an alarm or a state machine is due: no sooner need they be told of the time.
            budget = _FOR_EVER
            if clock.has_scheduled_alarm:
                budget = math.ceil(clock.nanos_to_next_alarm / CYCLE_NS)
            parked: list[tuple[RPPIO, StateMachine, _Parked]] = []
            for pio in pios:
                if pio.stopped or pio.next_due_fp >= pio.cycle_fp + budget * _FRACTION:
                    continue
                for stepping in pio.machines:
                    if not stepping.enabled or stepping.waiting:
                        continue
                    due = stepping.next_due_fp - pio.cycle_fp
                    if _is_parked(pio, stepping):
                        entry = machine.parked[len(parked)]
                        entry.due, entry.divider = due, stepping.div_fp
                        entry.steps = entry.drops = 0
                        parked.append((pio, stepping, entry))
                    else:
                        budget = min(budget, -(-due // _FRACTION))
            machine.parked_count = len(parked)
            cycles = execute(core, run, machine, budget)
            last = machine.last
            if cycles > last:
                clock.tick((cycles - last) * CYCLE_NS)
                for pio, stepping, entry in parked:
                    stepping.cycles += entry.steps
                    stepping.next_due_fp = pio.cycle_fp + entry.due
                    pio.backlog_drops += entry.drops
                for pio in pios:
                    if not pio.stopped:
                        pio.cycle_fp += (cycles - last) * _FRACTION
                        pio.recompute_due()
            if last:
                passes(last * CYCLE_NS, last)
            if core.interrupts_updated or cycles >= budget > 0:
                continue
        cycles = core.execute_instruction()
        passes(cycles * CYCLE_NS, cycles)
