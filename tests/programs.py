"""The programs of docs/python.md, by their headings."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


def programs() -> dict[str, str]:
    """Each program by the heading that it stands under."""
    found: dict[str, str] = {}
    for section in PAGE.read_text("utf-8").split("\n## ")[1:]:
        title, _, text = section.partition("\n")
        _, begins, program = text.partition("```python\n")
        if begins:
            found[title] = program[: program.index("```")]
    return found
