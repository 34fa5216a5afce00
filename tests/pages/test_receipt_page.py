"""The receipt's page in a real browser: narrow and wide, light and dark.

Needs `chromium-headless-shell` (Debian), as `make test-pages` says.
"""

from __future__ import annotations

import html
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from evidence_maker import BOARD, Story, at
from hardmute.cli.main import main
from hardmute.store import keys

WIDTHS = (420, 1000)
SCHEMES = {"light": 1, "dark": 0}
CSP = re.compile(r'<meta http-equiv="Content-Security-Policy".*?>', re.DOTALL)
# What a reader meets: how far the page can be scrolled to the side, and of each text its size, its
# colour, and the colour behind it.
MEASURE = """<script>
const texts = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const parent = walk.currentNode.parentElement, style = getComputedStyle(parent);
  const box = parent.getBoundingClientRect();
  if (!walk.currentNode.data.trim() || !box.width || parent.tagName == "SCRIPT") continue;
  texts.push({ said: walk.currentNode.data.trim(), px: parseFloat(style.fontSize),
    ink: style.color, right: box.right });
}
const measured = { inner: innerWidth, scroll: document.documentElement.scrollWidth, texts,
  paper: getComputedStyle(document.body).backgroundColor };
document.documentElement.innerHTML = "<pre>" + JSON.stringify(measured).replace(/&/g, "&amp;")
  .replace(/</g, "&lt;") + "</pre>";
</script>
</body>"""


def measured(page: Path, width: int, scheme: str) -> dict[str, Any]:
    """What the browser makes of a copy of ``page`` that may run a script."""
    copy = page.with_name("measured.html")
    text, count = CSP.subn("", page.read_text(encoding="utf-8"))
    assert count == 1
    copy.write_text(text.replace("</body>", MEASURE), encoding="utf-8")
    shown = subprocess.run(
        [
            "chromium-headless-shell",
            # Tests may run as root, in a container that grants no namespaces.
            "--no-sandbox",
            f"--user-data-dir={page.with_name('profile')}",
            f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
            f"--window-size={width},800",
            "--dump-dom",
            copy.as_uri(),
        ],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ).stdout
    found = re.search("<pre>(.*)</pre>", shown, re.DOTALL)
    assert found is not None, shown
    return json.loads(html.unescape(found[1]))


def luminance(colour: str) -> float:
    """WCAG 2's relative luminance of ``rgb(r, g, b)``."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A signed one with all that there can be, and one of a time of which nothing is known."""
    monkeypatch.setenv("HARDMUTE_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    story = Story(tmp_path / "home" / "log.sqlite3")
    story.attest()
    story.pass_minutes(30)
    story.attest()
    story.board.live_for(10_000)
    story.pass_minutes(30)
    story.attest()
    story.host.log.set_label(BOARD, "W" * 40)
    story.host.log.close()
    key = tmp_path / "key.json"
    keys.save_verify_key(key, BOARD, 1, story.board.secrets[BOARD, 1])
    signed, unknown = tmp_path / "signed.html", tmp_path / "unknown.html"
    span = ("prove", "--from", at(0.5), "--to", at(60), "--receipt", str(signed))
    assert main([*span, "--key", str(key), "--title", "W" * 80]) == 3
    assert main(["prove", "--from", at(0.1), "--to", at(0.5), "--receipt", str(unknown)]) == 3
    return [signed, unknown]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_a_receipt_is_readable(pages: list[Path], width: int, scheme: str) -> None:
    for page in pages:
        found = measured(page, width, scheme)
        assert found["inner"] == width
        assert found["scroll"] <= width, "no scrolling to the side"
        assert (luminance(found["paper"]) < 0.1) == (scheme == "dark")
        assert len(found["texts"]) > 20
        for text in found["texts"]:
            assert text["right"] <= width, text
            assert text["px"] >= 12, text
            assert contrast(text["ink"], found["paper"]) >= 4.5, text
