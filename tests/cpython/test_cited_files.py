"""What comments and pages refer to is there: files, headings, links."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "firmware", "hardware", "host", "tests", "tools")
SOURCES = [file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [
    file
    for file in sorted(ROOT.rglob("*.md"))
    if not {"build", "dist", "node_modules"} & {*file.relative_to(ROOT).parts}
    and not any(part.startswith(".") for part in file.relative_to(ROOT).parts)
]
# In MicroPython's own repository.
ELSEWHERE = {"ports/esp32/boards/deploy.md"}
PAGE = re.compile(r"[\w./-]*[\w-]\.md\b")
SECTION = re.compile(r"(docs/[\w-]+\.md), (\"[^\"]+\"(?: and \"[^\"]+\")*)")
LINK = re.compile(r"\]\(([^)#\s]+)?(?:#([^)\s]+))?\)")


def said(file: Path) -> str:
    """The comments and docstrings of a file, each as one line."""
    source = file.read_text("utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    words = [token.string.lstrip("#! ") for token in tokens if token.type == tokenize.COMMENT]
    documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    words += [ast.get_docstring(node) or "" for node in nodes]
    return " ".join(" ".join(words).split())


def headings(page: Path) -> list[str]:
    return re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings(page))
    return {heading.replace(" ", "-") for heading in kept}


def broken_links(page: Path) -> Iterator[str]:
    for path, anchor in LINK.findall(page.read_text("utf-8")):
        if "://" in path:
            continue
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            yield f"{path}#{anchor}"


def test_no_comment_cites_a_page_or_a_section_that_is_not_there() -> None:
    wrong: list[str] = []
    for file in SOURCES:
        if ".md" not in file.read_text("utf-8"):
            continue
        text = said(file)
        pages = set(PAGE.findall(text)) - ELSEWHERE
        bases = (ROOT, file.parent)
        wrong += [
            f"{file}: {page}" for page in pages if not any((at / page).exists() for at in bases)
        ]
        for page, sections in SECTION.findall(text):
            there = headings(ROOT / page)
            named = re.findall(r'"([^"]+)"', sections)
            wrong += [f"{file}: {page}, {name}" for name in named if name not in there]
    assert wrong == []


def test_no_page_has_a_link_to_nothing() -> None:
    wrong = {page: list(broken_links(page)) for page in PAGES}
    assert {page: links for page, links in wrong.items() if links} == {}
