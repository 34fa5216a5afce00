"""The programs of docs/python.md, by their headings. As a program: writes each into a folder, for
the type checker.
"""

from __future__ import annotations

import sys
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


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(programs().values(), 1):
        (folder / f"program_{number}.py").write_text(text, "utf-8")
