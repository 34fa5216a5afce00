"""What a benchmark yields."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One number, its unit, and what the project aims at, if anything."""

    name: str
    value: float
    unit: str
    aim: str | None = None
