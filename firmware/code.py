"""CircuitPython's program: choose the board and run.

It returns to the prompt only where boot.py has left the console open: in maintenance, and after an
installation that was cut short (the line is cut then, and the lamp dark).
"""

from muteboard.app import App
from muteboard.boards import circuitpython

try:
    board = circuitpython.Board()
    if circuitpython.maintenance_open():
        board.maintenance()
    App(board, circuitpython.setup_asked()).run()
except BaseException:
    if circuitpython.maintenance_open():
        raise
    circuitpython.reset()
