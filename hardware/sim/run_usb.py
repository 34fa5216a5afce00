"""Simulate the usb board: ``python run_usb.py FOLDER``, where tables and pictures go.

Exit code 1: a limit is missed. 2: ngspice or KiCad failed, or took too long.
"""

from __future__ import annotations

import sys
from pathlib import Path

import usb
import usb_faults
from circuit import Circuit, SpiceError
from results import Figure, write_table


def main() -> int:
    board = Path(__file__).parents[1] / "usb"
    folder = Path(sys.argv[1])
    figures: list[Figure] = []
    try:
        circuit = Circuit.of(board / "usb.kicad_sch")
        figures += usb.run(circuit, folder)
        figures += usb_faults.run(circuit, folder, board / "usb.kicad_pcb")
    except SpiceError as error:
        print(error, file=sys.stderr)
        return 2
    header = ["figure", "simulated", "unit", "limit", "met"]
    rows = [[f.name, f"{f.value:.4g}", f.unit, f.limit, f.met] for f in figures]
    write_table(folder / "summary.csv", header, rows)
    for row in rows:
        print(" | ".join(row))
    return 0 if all(figure.ok for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
