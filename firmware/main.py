"""MicroPython's program: choose the board and run.

The machine says what it is, and which boards it can be: `muteboard.boards.MACHINES`. Of these the
board is the one that the file board.txt names in one word; without that file, the one that is
named like the chip. No board is recognised by its wiring.

The `try` comes first: MicroPython turns Ctrl-C on just before the first instruction, and one that
beats `kbd_intr` restarts the chip.

It returns to the prompt only where that needs hands on the board: in maintenance, on a machine
that is not supported, and after an installation that was cut short or names no board (the line is
cut then, and the lamp dark).
"""

try:
    import micropython

    micropython.kbd_intr(-1)

    from muteboard import boards

    # Before a pin or a register is touched: on another chip they are something else.
    name = boards.chosen()
    # The board first, because it cuts the line: a restart may have left it connected.
    if name == b"rp2040":
        from muteboard.boards import rp2040 as chip
    elif name == b"rp2040_interlock":
        from muteboard.boards import rp2040_interlock as chip
    elif name == b"esp32_interlock":
        from muteboard.boards import esp32_interlock as chip
    else:
        from muteboard.boards import esp32 as chip

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
