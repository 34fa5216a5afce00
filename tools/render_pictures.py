"""Make the README's pictures out of a run of the demo: `docs/demo.svg` and `docs/timeline.svg`.

.venv/bin/python tools/render_pictures.py
"""

import os
import pty
import re
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).parent.parent / "docs"
COLUMNS = 80


def main() -> int:
    os.environ |= {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    shown = bytearray()

    def read(fd: int) -> bytes:
        data = os.read(fd, 4096)
        shown.extend(data)
        return data

    with tempfile.TemporaryDirectory() as folder:
        timeline = Path(folder) / "timeline.svg"
        command = [sys.executable, "-m", "hardmute", "demo", "--svg", str(timeline)]
        code = os.waitstatus_to_exitcode(pty.spawn(command, read))
        if code != 0:
            return code
        (DOCS / "timeline.svg").write_bytes(timeline.read_bytes())
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115
    said = shown.decode().replace(folder, "docs")
    # The steps alone, without their commands and the log, so that the picture fits one screen.
    steps = "\n".join(line for line in said.splitlines() if "✓" in line)
    console.print(Text.from_ansi(f"$ make demo\n{steps}"), soft_wrap=True)
    picture = console.export_svg(title="make demo")
    # Rich asks another site for its font.
    picture = re.sub(r"@font-face {.*?}\s*", "", picture, flags=re.DOTALL)
    (DOCS / "demo.svg").write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
