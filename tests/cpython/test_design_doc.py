"""The numbers and words of docs/design.md are those of the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from hardmute.model import errors
from hardmute.model.answers import PROOF_LEVELS, VERDICTS
from muteboard import app, button, config, controller, wire

DOC = " ".join(
    (Path(__file__).parents[2] / "docs" / "design.md").read_text(encoding="utf-8").split()
)


def listed(words: tuple[str, ...]) -> str:
    return ", ".join(f"`{word}`" for word in words)


@pytest.mark.parametrize("words", [wire.CAUSES, wire.STATES, PROOF_LEVELS])
def test_words_stand_in_the_order_of_the_code(words: tuple[str, ...]) -> None:
    assert listed(words) in DOC


def test_the_verdicts() -> None:
    assert f"{listed(VERDICTS[:-1])} or `{VERDICTS[-1]}`" in DOC


def test_each_exit_code_has_its_row() -> None:
    codes = {getattr(errors, name) for name in dir(errors) if name.isupper() and name[0] != "_"}
    assert {int(code) for code in re.findall(r"\| (\d+) \| ", DOC)} == codes
    order = sorted(codes - {errors.OK, errors.USAGE, errors.INTERRUPTED}, key=_gravity)
    assert f"the first of {', '.join(map(str, order))} counts" in DOC


def _gravity(code: int) -> int:
    """How many of the codes are graver."""
    others = (errors.LIVE, errors.UNKNOWN, errors.FAULT, errors.TAMPERED, errors.LOCAL)
    return sum(errors.worst(code, other) != code for other in others)


@pytest.mark.parametrize(
    "said",
    [
        f"a press of {button.DEBOUNCE_MS} ms to {button.PRESS_MAX_MS / 1000} s connects the line",
        f"down for more than {button.STUCK_MS // 1000} s is `stuck`",
        f"if it begins within {controller._SURPRISE_MS // 1000} s",
        f"{app.SETUP_MS // 1000} s open setup, {app.MAINTENANCE_MS // 1000} s open maintenance",
        f"{config.DEFAULTS['max_live_s'] // 60} min by default, 10 s to 8 h",
    ],
)
def test_numbers(said: str) -> None:
    assert said in DOC


def test_the_live_time_has_these_limits() -> None:
    assert config.allowed("max_live_s") == f"10 to {8 * 3600}"
