"""Simulate the inline board: ``python run.py FOLDER``, where tables and pictures go.

Exit code 1: a limit is missed. 2: ngspice or KiCad failed, or took too long.
"""

from __future__ import annotations

import sys
from pathlib import Path

import faults
import moments
import plugs
import small_signal
from study import simulate


def main() -> int:
    schematic = Path(__file__).parents[1] / "inline" / "inline.kicad_sch"
    studies = (small_signal.run, plugs.run, moments.run, faults.run)
    return simulate(schematic, Path(sys.argv[1]), studies)


if __name__ == "__main__":
    sys.exit(main())
