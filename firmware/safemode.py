"""CircuitPython runs this instead of boot.py and code.py after a crash of its own, or a watchdog
reset. Safe mode would open console and drive, so it restarts; the line stays cut meanwhile.
"""

import microcontroller

microcontroller.reset()
