"""Simulate the inline board: ``python run.py FOLDER``, where tables and pictures go.

Exit code 1: a limit is missed. 2: ngspice or KiCad failed, or took too long.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import faults
import moments
import plugs
import small_signal
from study import simulate


def main() -> int:
    board = Path(__file__).parents[1] / "inline"
    of_the_layout = partial(faults.run, board=board / "inline.kicad_pcb")
    studies = (small_signal.run, plugs.run, moments.run, of_the_layout)
    return simulate(board / "inline.kicad_sch", Path(sys.argv[1]), studies)


if __name__ == "__main__":
    sys.exit(main())
