"""boot.py of the locked image: what is on the flash is data, and nothing of it a module."""

import sys

# MicroPython would look at the root and in /lib first.
sys.path[:] = [".frozen"]
