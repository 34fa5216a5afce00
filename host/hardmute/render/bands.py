"""How pictures show a state: told apart by colour, by hatching and by height."""

# (colour, hatch, half height). Okabe and Ito's palette: told apart with any colour vision.
BANDS = {
    "muted": ("#d55e00", "", 0.12),
    "live": ("#009e73", "///", 0.38),
    "fault": ("#cc79a7", "xxx", 0.38),
    "unknown": ("#bbbbbb", "|||", 0.25),
}
