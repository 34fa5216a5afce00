"""Run every benchmark, print the table, and write the figures as JSON."""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import board, host

BENCHMARKS = (host.cold_start, host.round_trip, host.log_rows, board.flood_memory)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    args = parser.parse_args()
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Figure", "Value", "Unit", "Aim"):
        table.add_column(title, justify="right" if title == "Value" else "left")
    figures = []
    for benchmark in BENCHMARKS:
        console.print(f"[dim]{(benchmark.__doc__ or '').splitlines()[0]}[/]")
        figures += benchmark()
    for figure in figures:
        table.add_row(figure.name, f"{figure.value:,.4g}", figure.unit, figure.aim or "")
    console.print(table)
    if args.json is not None:
        machine = {"python": platform.python_version(), "machine": platform.platform()}
        record = {"machine": machine, "figures": [figure._asdict() for figure in figures]}
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
