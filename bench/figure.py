"""What a benchmark yields."""

from __future__ import annotations

from typing import NamedTuple


class Figure(NamedTuple):
    """One number, its unit, and what the project aims at, if anything.

    ``value``: None (``null`` in JSON) for what never happens; the table says "never".
    """

    name: str
    value: float | None
    unit: str
    aim: str | None = None
