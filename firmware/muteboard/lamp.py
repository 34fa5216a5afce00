"""What the lamp shows: a state and a time in, a colour out. Pure.

Every pattern differs from every other in rhythm as well as in colour, so that a person who does
not see the colours still reads the lamp (P7). No setting changes a rhythm, and no pattern is ever
dark while the board runs.
"""

from muteboard import const

# Patterns: the three states, the last minute of live, a stuck button, and the two service modes.
MUTED = "muted"
LIVE = "live"
WARNING = "warning"
FAULT = "fault"
STUCK = "stuck"
SETUP = "setup"
MAINTENANCE = "maintenance"

# Brightness in percent. The floor keeps the dimmest moment of every pattern visible.
MIN_BRIGHTNESS = const(10)
MAX_BRIGHTNESS = const(100)
# The dimmest moment of a pattern, in percent of its brightness: at the floor of 10 %, a channel
# at 255 still gets 10 of 255.
_DIM = const(40)

PALETTES = ("default", "colour_blind")

# RGB of (muted, live, warning, fault's second colour). The second palette avoids the red-green
# pair, after Okabe and Ito, "Color Universal Design" (2008): vermilion, sky blue, yellow. The
# yellow is pale: to an eye without red or green cones, vermilion is a darker saturated yellow.
_COLOURS = {
    "default": ((255, 0, 0), (0, 255, 0), (255, 110, 0), (255, 255, 255)),
    "colour_blind": ((255, 60, 0), (40, 150, 255), (255, 220, 130), (255, 255, 255)),
}
_BLUE = (0, 0, 255)

# A step of a rhythm lasts 125 ms, so eight are a second. "#" full, "-" dim, "x" second colour.
_STEP_MS = const(125)
_RHYTHM = {
    MUTED: "#",
    STUCK: "#-------",
    WARNING: "#-#-####",
    FAULT: "#x",
    SETUP: "#######-",
    MAINTENANCE: "##--",
}
_BREATH_MS = const(4000)
_BREATH_STEP_MS = const(40)
_STEADY_MS = const(1000)


def pattern(state: str, service: str, warning: bool, stuck: bool) -> str:
    """The pattern for a board in ``state``. A fault or a live line outranks everything."""
    if state == FAULT:
        return FAULT
    if state == LIVE:
        return WARNING if warning else LIVE
    if service != "none":
        return service
    return STUCK if stuck else MUTED


def lasts_ms(shown: str, now: int) -> int:
    """For how long `colour` stays what it is at ``now``; the breathing goes in steps."""
    if shown == LIVE:
        return _BREATH_STEP_MS
    if len(_RHYTHM[shown]) == 1:
        return _STEADY_MS
    return _STEP_MS - now % _STEP_MS


def colour(shown: str, now: int, palette: str, brightness: int) -> tuple[int, int, int]:
    """The lamp's (red, green, blue), each 0 to 255, for a pattern at uptime ``now`` in ms.

    ``palette``: one of `PALETTES`. ``brightness``: percent; clamped to the allowed range.
    """
    muted, live, warning, second = _COLOURS[palette]
    level = 100
    if shown == LIVE:
        rgb = live
        phase = now % _BREATH_MS
        half = _BREATH_MS // 2
        level = _DIM + (100 - _DIM) * (phase if phase < half else _BREATH_MS - phase) // half
    else:
        rgb = warning if shown == WARNING else muted
        if shown == SETUP or shown == MAINTENANCE:
            rgb = _BLUE
        rhythm = _RHYTHM[shown]
        step = rhythm[now // _STEP_MS % len(rhythm)]
        if step == "-":
            level = _DIM
        elif step == "x":
            rgb = second
    level *= min(MAX_BRIGHTNESS, max(MIN_BRIGHTNESS, brightness))
    return (rgb[0] * level // 10_000, rgb[1] * level // 10_000, rgb[2] * level // 10_000)
