# What the host's type check needs to know of MicroPython: muteboard's integer constants.
# The firmware itself is checked against each port's real stubs (tools/check_types.py).
from typing import TypeVar

_Value = TypeVar("_Value")

def const(value: _Value, /) -> _Value: ...
