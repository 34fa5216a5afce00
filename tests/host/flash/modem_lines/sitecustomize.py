"""Gives the pseudo-terminal of `rom_loader` the lines DTR and RTS, in the process of esptool.

A pseudo-terminal has none, and refuses the requests that set them. Python imports this file
before any program, where its folder is in PYTHONPATH. Nothing of esptool is changed.
"""

import fcntl
import os
import socket
import struct
import termios
from typing import Any

_REQUESTS = (termios.TIOCMBIS, termios.TIOCMBIC, termios.TIOCMSET, termios.TIOCMGET)
_real_ioctl = fcntl.ioctl


def _ioctl(fd: Any, request: int, argument: Any = 0, mutate_flag: bool = True) -> Any:
    number = fd if isinstance(fd, int) else fd.fileno()
    if request not in _REQUESTS or not os.ttyname(number).startswith("/dev/pts/"):
        return _real_ioctl(fd, request, argument, mutate_flag)
    with socket.socket(socket.AF_UNIX) as board:
        try:
            board.connect(os.environ["ROM_LOADER_LINES"])
        except OSError:
            # Unplugged: what a driver says then.
            raise OSError(5, "Input/output error") from None
        board.sendall(struct.pack("=q4s", request, argument))
        return board.recv(4)


fcntl.ioctl = _ioctl
