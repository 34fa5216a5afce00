"""P7: the lamp's patterns can be told apart, by rhythm alone and by colour, at every setting."""

import pytest

from muteboard import lamp

TYPE_CHECKING = False

PATTERNS = (
    lamp.MUTED,
    lamp.LIVE,
    lamp.WARNING,
    lamp.FAULT,
    lamp.STUCK,
    lamp.SETUP,
    lamp.MAINTENANCE,
)
# All patterns repeat in 4 s; 64 samples of 62.5 ms catch every step of 125 ms twice.
PERIOD_MS = 4000
SAMPLES = 64
# Every step where rounding matters, and some of the rest.
BRIGHTNESSES = tuple(range(lamp.MIN_BRIGHTNESS, 20)) + tuple(range(20, lamp.MAX_BRIGHTNESS + 1, 8))

if TYPE_CHECKING:
    Rgb = tuple[float, float, float]


def pairs(words) -> list[tuple[str, str]]:
    """Each two different ones, once."""
    return [(one, other) for at, one in enumerate(words) for other in words[:at]]


palettes = pytest.mark.parametrize("palette", lamp.PALETTES)

# How people without green (deuteranopia) and without red cones (protanopia) see linear RGB:
# G. M. Machado, M. M. Oliveira, L. A. F. Fernandes, "A Physiologically-based Model for Simulation
# of Color Vision Deficiency", IEEE TVCG 15(6), 2009, severity 1.0. A WS2812 is linear.
EYES = {
    "three kinds of cones": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
}
# Linear sRGB to CIE XYZ (IEC 61966-2-1).
XYZ = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))


def times(matrix, rgb: "Rgb") -> "Rgb":
    x, y, z = (sum(m * c for m, c in zip(row, rgb)) for row in matrix)
    return (max(0, x), max(0, y), max(0, z))


def luminance(rgb: "Rgb") -> float:
    return times(XYZ, rgb)[1]


def hue(rgb: "Rgb", eye) -> tuple[float, float]:
    """CIE 1976 u', v': the colour without its brightness. About 0.004 is just noticeable."""
    x, y, z = times(XYZ, times(eye, rgb))
    whole = x + 15 * y + 3 * z
    return (4 * x / whole, 9 * y / whole)


def distance(a, b) -> float:
    return sum((x - y) ** 2 for x, y in zip(a, b)) ** 0.5


def shown(pattern: str, palette: str = "default", brightness: int = 100) -> "list[Rgb]":
    moments = (PERIOD_MS * sample // SAMPLES for sample in range(SAMPLES))
    return [lamp.colour(pattern, moment, palette, brightness) for moment in moments]


def rhythm(pattern: str, palette: str, brightness: int) -> list[float]:
    """Luminance over a period, as a part of its own maximum: an eye has no other reference."""
    levels = [luminance(rgb) for rgb in shown(pattern, palette, brightness)]
    return [level / max(levels) for level in levels]


def unlikeness(a: list[float], b: list[float]) -> float:
    """Root mean square of the difference, in the phase where it is least."""
    return min(distance(a, b[shift:] + b[:shift]) for shift in range(SAMPLES)) / SAMPLES**0.5


def test_every_pattern_repeats_within_the_sampled_period():
    for pattern in PATTERNS:
        for moment in range(0, PERIOD_MS, 7):
            now = lamp.colour(pattern, moment, "default", 100)
            assert now == lamp.colour(pattern, moment + PERIOD_MS, "default", 100)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_colour_lasts_as_long_as_it_says(pattern):
    for moment in range(0, PERIOD_MS, 7):
        lasts = lamp.lasts_ms(pattern, moment)
        assert lasts > 0
        now, last, after = (
            lamp.colour(pattern, moment + ms, "default", 100) for ms in (0, lasts - 1, lasts)
        )
        if pattern == lamp.LIVE:
            # Breathing goes in steps too small to see.
            assert lasts <= 40
            assert distance(now, after) < 8
        else:
            assert now == last


@palettes
@pytest.mark.parametrize("brightness", [lamp.MIN_BRIGHTNESS, 50, lamp.MAX_BRIGHTNESS])
@pytest.mark.parametrize(("one", "other"), pairs(PATTERNS))
def test_P7_rhythm_alone_tells_any_two_patterns_apart(one, other, palette, brightness):
    assert unlikeness(rhythm(one, palette, brightness), rhythm(other, palette, brightness)) > 0.15


@palettes
@pytest.mark.parametrize("pattern", PATTERNS)
def test_P7_settings_change_no_rhythm(pattern, palette):
    full = rhythm(pattern, palette, 100)
    for brightness in BRIGHTNESSES:
        # What is left is the rounding of a dim lamp to whole steps of 255.
        assert distance(full, rhythm(pattern, palette, brightness)) / SAMPLES**0.5 < 0.06


@palettes
@pytest.mark.parametrize("pattern", PATTERNS)
def test_P7_never_dark(pattern, palette):
    for brightness in (-5, 0, 1, 101, 10_000) + BRIGHTNESSES:
        for rgb in shown(pattern, palette, brightness):
            assert max(rgb) >= 10
            assert all(0 <= channel <= 255 for channel in rgb)


@palettes
def test_P7_brightness_out_of_range_is_clamped(palette):
    for pattern in PATTERNS:
        assert shown(pattern, palette, 0) == shown(pattern, palette, lamp.MIN_BRIGHTNESS)
        assert shown(pattern, palette, 500) == shown(pattern, palette, lamp.MAX_BRIGHTNESS)


# What each pattern looks like, without its rhythm. A fault alternates between two colours.
LOOKS = (lamp.MUTED, lamp.LIVE, lamp.WARNING, lamp.SETUP)


@palettes
@pytest.mark.parametrize(("one", "other"), pairs(LOOKS) + pairs(tuple(reversed(LOOKS))))
def test_P7_no_brightness_makes_one_colour_look_like_another(one, other, palette):
    eye = EYES["three kinds of cones"]
    target = hue(shown(one, palette)[0], eye)
    wrong = hue(shown(other, palette)[0], eye)
    for brightness in BRIGHTNESSES:
        for rgb in shown(one, palette, brightness):
            seen = hue(rgb, eye)
            assert distance(seen, wrong) > 0.05
            assert distance(seen, target) < distance(seen, wrong) / 2


@pytest.mark.parametrize("vision", EYES)
@pytest.mark.parametrize(("one", "other"), pairs((lamp.MUTED, lamp.LIVE, lamp.WARNING)))
def test_P7_colour_blind_palette_tells_muted_live_and_warning(one, other, vision):
    eye = EYES[vision]
    for brightness in BRIGHTNESSES:
        for a in set(shown(one, "colour_blind", brightness)):
            for b in set(shown(other, "colour_blind", brightness)):
                # Ten times what is just noticeable, whatever the brightness of either.
                assert distance(hue(a, eye), hue(b, eye)) > 0.04


@palettes
def test_P7_fault_and_only_fault_alternates_between_two_colours(palette):
    eye = EYES["three kinds of cones"]
    for pattern in PATTERNS:
        hues = [hue(rgb, eye) for rgb in shown(pattern, palette)]
        spread = max(distance(a, b) for a in hues for b in hues)
        assert (spread > 0.05) == (pattern == lamp.FAULT)


@palettes
def test_words_of_the_design(palette):
    assert len(set(shown(lamp.MUTED, palette))) == 1
    assert len(set(shown(lamp.LIVE, palette))) > 10
    red, green, blue = shown(lamp.MUTED, palette)[0]
    assert red > 2 * max(green, blue)
    for pattern in (lamp.SETUP, lamp.MAINTENANCE):
        assert all(rgb[:2] == (0, 0) for rgb in shown(pattern, palette))
    if palette == "default":
        assert all(rgb[0] == rgb[2] == 0 for rgb in shown(lamp.LIVE, palette))


@pytest.mark.parametrize("warning", [False, True])
@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize("service", ["none", "setup", "maintenance"])
def test_P7_fault_and_live_outrank_everything(service, stuck, warning):
    assert lamp.pattern("fault", service, warning, stuck) == lamp.FAULT
    live = lamp.WARNING if warning else lamp.LIVE
    assert lamp.pattern("live", service, warning, stuck) == live
    muted = {"setup": lamp.SETUP, "maintenance": lamp.MAINTENANCE}.get(
        service, lamp.STUCK if stuck else lamp.MUTED
    )
    assert lamp.pattern("muted", service, warning, stuck) == muted
