"""The board's settings: a small JSON file, validated as a whole.

A missing or broken file means the defaults and a warning, never a board that does not start.
"""

from muteboard import controller, lamp, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

MISSING = "config_missing"
INVALID = "config_invalid"
# Changes that are taken while setup is open: each makes a record, which may drop an old one.
MOST_CHANGES = 32

DEFAULTS: "dict[str, Any]" = {
    "mode": controller.TOGGLE,
    # Seconds until a live board mutes itself.
    "max_live_s": 3600,
    "palette": "default",
    # Percent.
    "brightness": 50,
}
_RANGES = {
    "max_live_s": (10, 28_800),
    "brightness": (lamp.MIN_BRIGHTNESS, lamp.MAX_BRIGHTNESS),
}
_CHOICES = {
    "mode": (controller.TOGGLE, controller.PUSH_TO_TALK),
    "palette": lamp.PALETTES,
}


def valid(key: str, value: object) -> bool:
    """Whether ``value`` is allowed for ``key``; an unknown key has no allowed value."""
    if key in _CHOICES:
        return isinstance(value, str) and value in _CHOICES[key]
    if key in _RANGES:
        low, high = _RANGES[key]
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
    return False


def allowed(key: str) -> str:
    """What ``key`` may be, for a person."""
    if key in _CHOICES:
        return " or ".join(_CHOICES[key])
    return "%d to %d" % _RANGES[key]


def changed(settings: "dict[str, Any]", changes: "dict[str, Any]") -> "dict[str, Any] | None":
    """A copy of ``settings`` with ``changes`` applied, or None if one of them is not allowed."""
    result = dict(settings)
    for key, value in changes.items():
        if not valid(key, value):
            return None
        result[key] = value
    return result


def parse(data: bytes | None) -> "tuple[dict[str, Any], str | None]":
    """The settings in ``data`` (None: no file), and the warning that they deserve, if any."""
    if data is None:
        return dict(DEFAULTS), MISSING
    try:
        settings = changed(DEFAULTS, wire.loads(" ".join(data.decode().split())))
    except (wire.WireError, UnicodeError):
        settings = None
    if settings is None:
        return dict(DEFAULTS), INVALID
    return settings, None


def dump(settings: "dict[str, Any]") -> bytes:
    """The file for ``settings``."""
    return (wire.dumps(settings) + "\n").encode()
