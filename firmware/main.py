"""MicroPython's program: choose the board and run.

The `try` comes first: MicroPython turns Ctrl-C on just before the first instruction, and one that
beats `kbd_intr` restarts the chip.

It returns to the prompt only where that needs hands on the board: in maintenance, and after an
installation that was cut short (the line is cut then, and the lamp dark).
"""

try:
    import micropython

    micropython.kbd_intr(-1)

    import sys

    # The board first, because it cuts the line: a restart may have left it connected.
    if sys.platform == "rp2":
        from muteboard.boards import rp2040 as chip
    elif sys.platform == "esp32":
        from muteboard.boards import esp32 as chip
    else:
        raise ImportError("no board file for " + sys.platform)  # noqa: TRY301 - handled below

    # Global, because the lamp's timer in maintenance needs the board after this file has ended.
    board = chip.Board()

    from muteboard.app import App

    App(board).run()
except (ImportError, SyntaxError):
    import micropython

    micropython.kbd_intr(3)
    raise
except BaseException:  # noqa: BLE001 - whatever it is, it must not end at the prompt
    import machine

    machine.reset()
