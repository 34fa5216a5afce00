# What the checks of host and fakes need to know of MicroPython: muteboard's integer constants, and
# how a fake calls an interrupt handler.
# The firmware itself is checked against each port's real stubs (tools/check_types.py).
from collections.abc import Callable
from typing import TypeVar

_Value = TypeVar("_Value")

def const(value: _Value, /) -> _Value: ...
def schedule(func: Callable[[_Value], None], arg: _Value, /) -> None: ...
