"""Which releases of MicroPython the firmware supports, and which it was run on."""

from __future__ import annotations

OLDEST = (1, 25)
# The newest one of which this project has held an official image, and run the firmware on it: in
# an emulator, as firmware/README.md says. It is the one that is recommended.
NEWEST_RUN = (1, 25, 0)


def numbers(version: str) -> tuple[int, ...]:
    """The release in what MicroPython says of itself: "v1.26.0-preview.5" is (1, 26, 0)."""
    parts = version.removeprefix("v").partition("-")[0].split(".")[:3]
    return tuple(int(part) for part in parts if part.isdecimal())


def doubt(release: tuple[int, ...]) -> tuple[str, ...]:
    """What is to be said of this release before it is used: that nobody has run it."""
    if release <= NEWEST_RUN:
        return ()
    newest, this = (".".join(map(str, one)) for one in (NEWEST_RUN, release))
    return (
        (
            f"MicroPython {this} is newer than {newest}, the newest that this firmware was run"
            f" on: it may not work. Unless you need it, use {newest}."
        ),
    )
