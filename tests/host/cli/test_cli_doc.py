"""docs/cli.md: every command and option, as the parser has them."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
TOOL: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "cli_reference.py"))


def test_the_page_has_every_command_and_option() -> None:
    """If this fails, run ``python tools/cli_reference.py``."""
    written = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert written == TOOL["page_with"](TOOL["reference"]())


def test_every_argument_has_a_help() -> None:
    assert "|  |" not in TOOL["reference"]()
