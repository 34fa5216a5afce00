"""Boards in one line for status bars, each with its own rules for text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import Literal, NamedTuple, get_args

from hardmute.evidence.observation import Observation
from hardmute.model import words
from hardmute.model.answers import NOT_ATTESTED, Verdict
from hardmute.render.bands import BANDS

Format = Literal["waybar", "i3", "polybar", "tmux", "swiftbar", "plain"]
FORMATS: tuple[Format, ...] = get_args(Format)
# The first of these that a board has is what a bar shows of them all.
_GRAVEST_FIRST: tuple[Verdict, ...] = ("fault", "live", "unknown", "muted")


class BarItem(NamedTuple):
    """What a bar shows of a board. ``label``: what people call it. ``note``: why, or empty."""

    label: str
    verdict: Verdict
    note: str

    @property
    def text(self) -> str:
        """Verdict first: a bar that is too narrow cuts off the end."""
        note = f" ({self.note})" if self.note else ""
        return words.printable(f"{self.verdict.upper()} {self.label}{note}")


_NOBODY = BarItem("no board", "unknown", "")


def shown(label: str, observation: Observation) -> BarItem:
    """What a bar shows of an observation."""
    return shown_of(
        label, observation.verdict, observation.reason, simulated=observation.simulated
    )


def shown_of(label: str, verdict: Verdict, reason: str | None, *, simulated: bool) -> BarItem:
    """What a bar shows of an observation with these fields."""
    if verdict == "fault":
        why = "may be live"
    elif reason == NOT_ATTESTED:
        # No "muted", not even the board's own.
        why = "not signed"
    else:
        why = words.REASONS.get(reason or "", "")
    return BarItem(
        label, verdict, ", ".join(filter(None, (why, "simulated" if simulated else "")))
    )


def begin(form: Format) -> str:
    """What a bar is told before the first line: that no board is known yet."""
    head = '{"version": 1}\n[\n[]\n' if form == "i3" else ""
    return head + line(form, [])


def line(form: Format, boards: Sequence[BarItem]) -> str:
    """The boards for a bar, without a newline at the end. No boards: unknown."""
    ordered = sorted(boards or [_NOBODY], key=lambda one: _GRAVEST_FIRST.index(one.verdict))
    gravest = ordered[0].verdict
    match form:
        case "waybar":
            # Markup of Pango in both, as waybar has it by default.
            return json.dumps(
                {
                    "text": escape(_joined(ordered)),
                    "tooltip": escape("\n".join(one.text for one in ordered)),
                    "class": gravest,
                    "alt": gravest,
                }
            )
        case "i3":
            return f",{json.dumps([_block(one) for one in ordered])}"
        case "polybar":
            # It has no way to write this beginning of a tag.
            return ", ".join(
                f"%{{F{_colour(one)}}}{one.text.replace('%{', '%[')}%{{F-}}" for one in ordered
            )
        case "tmux":
            return ", ".join(
                f"#[fg={_colour(one)}]{one.text.replace('#', '##')}#[default]" for one in ordered
            )
        case "swiftbar":
            rows = ["~~~", _menu_row(_joined(ordered), ordered[0])]
            if len(ordered) > 1:
                rows += ["---", *(_menu_row(one.text, one) for one in ordered)]
            return "\n".join(rows)
        case "plain":
            return _joined(ordered)


def _joined(boards: Sequence[BarItem]) -> str:
    return ", ".join(one.text for one in boards)


def _colour(one: BarItem) -> str:
    return BANDS[one.verdict][0]


def _block(one: BarItem) -> dict[str, object]:
    """A block of i3bar's protocol."""
    return {
        "name": "hardmute",
        "instance": one.label,
        "full_text": one.text,
        "color": _colour(one),
        "urgent": one.verdict == "fault",
        "markup": "none",
    }


def _menu_row(text: str, one: BarItem) -> str:
    # A bar ends the text, and cannot be written.
    said = text.replace("|", "/")
    return f"{said} | color={_colour(one)} emojize=false symbolize=false"
