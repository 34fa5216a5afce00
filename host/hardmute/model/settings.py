"""A board's settings as a person gives them on the command line."""

from __future__ import annotations

import contextlib

from hardmute.model.errors import UsageError
from muteboard import config


def parse_settings(pairs: list[str]) -> dict[str, object]:
    """``KEY=VALUE`` words as board settings. Raises `UsageError`."""
    settings: dict[str, object] = {}
    for pair in pairs:
        key, _, text = pair.partition("=")
        value: object = text
        with contextlib.suppress(ValueError):
            value = int(text)
        if key not in config.DEFAULTS:
            names = ", ".join(config.DEFAULTS)
            raise UsageError(f"A board has no setting {key!r}; it has {names}.")
        if not config.valid(key, value):
            raise UsageError(f"{key} must be {config.allowed(key)}, not {text!r}.")
        settings[key] = value
    return settings
