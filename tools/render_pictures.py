"""Make the README's pictures out of a run of the demo: `docs/demo.svg` and `docs/timeline.svg`.

.venv/bin/python tools/render_pictures.py
"""

import os
import pty
import sys
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

    command = [sys.executable, "-m", "hardmute", "demo", "--svg", str(DOCS / "timeline.svg")]
    code = os.waitstatus_to_exitcode(pty.spawn(command, read))
    if code != 0:
        return code
    console = Console(record=True, width=COLUMNS, file=Path(os.devnull).open("w"))  # noqa: SIM115
    said = shown.decode().replace("\r\n", "\n").replace(str(DOCS), "docs")
    console.print(Text.from_ansi(f"$ make demo\n{said}"), soft_wrap=True)
    console.save_svg(str(DOCS / "demo.svg"), title="make demo")
    return 0


if __name__ == "__main__":
    sys.exit(main())
