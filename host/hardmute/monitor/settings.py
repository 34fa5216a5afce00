"""What the owner has set for the monitor. docs/monitor.md has each key."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import time


@dataclass(frozen=True)
class Remind:
    """When people are reminded of a live microphone. Times in seconds.

    ``after_s``: again after so long, and then each time so long. ``unused_s``: if no program has
    recorded for so long. ``quiet``: at the beginning of these hours (local time) lines are cut.
    """

    after_s: float = 600.0
    unused_s: float | None = 300.0
    quiet: tuple[time, time] | None = None


@dataclass(frozen=True)
class Hooks:
    """What is run or called at a change. A program is a command line without a shell.

    ``url``: gets each event as JSON, signed (HMAC-SHA-256) with the content of ``secret_file``.
    """

    on_live: tuple[str, ...] = ()
    on_muted: tuple[str, ...] = ()
    on_fault: tuple[str, ...] = ()
    on_unknown: tuple[str, ...] = ()
    on_incident: tuple[str, ...] = ()
    url: str | None = None
    secret_file: str | None = None


@dataclass(frozen=True)
class OsMute:
    """The operating system's own mute. It never connects a line.

    ``follow``: mute the sources of sound while all lines are cut. ``lead``: cut all lines when
    somebody mutes the default source.
    """

    follow: bool = False
    lead: bool = False


@dataclass(frozen=True)
class Settings:
    """All of it. ``boards``: ids, labels or ports to follow; none: each real board."""

    boards: tuple[str, ...] = ()
    notify: bool = True
    remind: Remind = field(default_factory=Remind)
    hooks: Hooks = field(default_factory=Hooks)
    os_mute: OsMute = field(default_factory=OsMute)
