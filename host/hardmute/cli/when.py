"""Points in time, as a person gives them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from hardmute import clock, errors, words

_TIME = re.compile(r"\d\d:\d\d(:\d\d)?")


def parse_time(given: str) -> int:
    """A point in time, in ms since the epoch: ISO 8601, a time of today, so long ago as ``90m``
    says, or ``now``. Raises `UsageError` for what is none, and for a local time without an offset
    that occurs twice, or never, as clocks are changed.
    """
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    try:
        if given == "now":
            return clock.now_ms()
        if _TIME.fullmatch(given):
            given = f"{words.local_time(clock.now_ms())[:10]}T{given}"
        if given[-1:] in units and given[:-1].isdecimal():
            ago = timedelta(**{units[given[-1]]: int(given[:-1])})
            return clock.now_ms() - int(ago.total_seconds() * 1000)
        moment = datetime.fromisoformat(given)
        if moment.tzinfo is None and words.is_twice(moment):
            raise _unclear(moment)
        return int(moment.astimezone().timestamp() * 1000)
    except (ValueError, OverflowError, OSError):
        raise errors.UsageError(
            f"{given!r} is no time: give 2026-11-23, 2026-11-23T14:00, 14:00 for today, 90m, 12h"
            " or 7d for ago, or now."
        ) from None


def _unclear(moment: datetime) -> errors.UsageError:
    """That a local time occurs twice, or never: both of them differ in the offset."""
    given = moment.isoformat()
    first, second = (given + words.offset_of(moment.replace(fold=fold)) for fold in (0, 1))
    # A time that never was is read as one that was.
    occurs = datetime.fromtimestamp(moment.timestamp()) == moment  # noqa: DTZ006 (local)
    often, way = ("twice", "back") if occurs else ("never", "forward")
    return errors.UsageError(
        f"{given} occurs {often}, because clocks are set {way} then: give {first} or {second}."
    )
