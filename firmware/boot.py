"""Runs before main.py (MicroPython) or code.py (CircuitPython)."""

try:
    import micropython

    # No Ctrl-C from the first line on. MicroPython turns it on anew for each file that it runs, so
    # main.py does the same.
    kbd_intr = getattr(micropython, "kbd_intr", None)
    if kbd_intr:
        kbd_intr(-1)
    else:
        # CircuitPython. A file that is missing leaves console and drive open, to be repaired.
        from muteboard.boards import circuitpython

        circuitpython.boot()
except KeyboardInterrupt:
    # Beat `kbd_intr` to it. Raised, it would keep main.py from running.
    pass
