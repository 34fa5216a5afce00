"""muteboard: the firmware of hardmute, the microphone mute that its owner can prove.

The same files run on MicroPython, CircuitPython and CPython. Only ``muteboard.boards`` knows pins.
"""

__version__ = "0.1.0"

# MicroPython's compiler folds `NAME = const(...)` by the word alone, wherever it came from
# (py/parse.c, MicroPython 1.25).
try:
    from micropython import const
except ImportError:

    def const(__value):
        return __value
