"""Run every benchmark, print the table, and write the figures as JSON."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench import board, chip, desktop, host, listen, metrics, monitor, mqtt, os_mute, page
from hardmute.model.errors import HardmuteError

BENCHMARKS = (
    host.cold_start,
    host.round_trip,
    host.muting,
    host.log_rows,
    host.storing,
    host.verification,
    host.proving,
    host.receipts,
    board.flood_memory,
    monitor.monitor,
    monitor.hostile,
    monitor.monitor_costs,
    page.page_shown,
    page.page_costs,
    mqtt.mqtt,
    metrics.scrape,
    metrics.served,
    desktop.notification,
    listen.provable,
    listen.detection,
    listen.calibration,
    os_mute.os_mute,
    chip.chip_figures,
    chip.idle_cost,
    chip.journal_figures,
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    args = parser.parse_args()
    try:
        # Before minutes of other benchmarks.
        chip.images()
    except HardmuteError as error:
        sys.exit(str(error))
    console = Console()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("Figure", "Value", "Unit", "Aim"):
        table.add_column(title, justify="right" if title == "Value" else "left")
    figures = []
    for benchmark in BENCHMARKS:
        console.print(f"[dim]{(benchmark.__doc__ or '').splitlines()[0]}[/]")
        figures += benchmark()
    for figure in figures:
        value = "never" if figure.value is None else f"{figure.value:,.4g}"
        unit = "" if figure.value is None else figure.unit
        table.add_row(figure.name, value, unit, figure.aim or "")
    console.print(table)
    console.print(f"\n{chip.LIMITS}", markup=False, highlight=False)
    if args.json is not None:
        machine = {"python": platform.python_version(), "machine": platform.platform()}
        record = {"machine": machine, "limits": chip.LIMITS}
        record["figures"] = [figure._asdict() for figure in figures]
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
