"""Runs before main.py (MicroPython) or code.py (CircuitPython)."""

try:
    import micropython

    # No Ctrl-C from the first line on. MicroPython turns it on anew for each file that it runs, so
    # main.py does the same.
    kbd_intr = getattr(micropython, "kbd_intr", None)
    if kbd_intr:
        kbd_intr(-1)
        import sys

        if sys.platform == "esp32":
            # This chip may come out of a reset with the line connected.
            try:
                from muteboard.boards import esp32_cut  # noqa: F401 - what it does as it starts
            except Exception:  # noqa: BLE001, S110 - main.py finds the same, and says it
                pass
    else:
        # CircuitPython. A file that is missing leaves console and drive open, to be repaired.
        from muteboard.boards import circuitpython

        circuitpython.boot()
except KeyboardInterrupt:
    # Beat `kbd_intr` to it. Raised, it would keep main.py from running.
    pass
