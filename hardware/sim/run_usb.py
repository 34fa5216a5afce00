"""Simulate the usb board: ``python run_usb.py FOLDER``, where tables and pictures go.

Exit code 1: a limit is missed. 2: ngspice or KiCad failed, or took too long.
"""

from __future__ import annotations

import sys
from pathlib import Path

import usb
import usb_faults
from study import simulate


def main() -> int:
    schematic = Path(__file__).parents[1] / "usb" / "usb.kicad_sch"
    return simulate(schematic, Path(sys.argv[1]), (usb.run, usb_faults.run))


if __name__ == "__main__":
    sys.exit(main())
