"""The real firmware on a real MicroPython, on an emulated RP2040 (extra ``emulator``)."""
