"""Each rule of docs/evidence.md is kept in one function of the host tool, which names it."""

import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Not an erratum of a chip, such as RP2350-E9.
RULE = re.compile(r"(?<![-\w])[REAKTC][1-9][0-9]?\b")


def functions(tree):
    """(first line, last line, name) of each function, outer ones first."""
    found = [
        (node.lineno, node.end_lineno, node.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    return sorted(found)


def comments_of(text):
    """(line, words) of each comment and docstring."""
    last = None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        begins = last in (None, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.NL)
        if token.type == tokenize.COMMENT or (token.type == tokenize.STRING and begins):
            yield token.start[0], token.string
        if token.type != tokenize.COMMENT:
            last = token.type


def keepers():
    """By rule: the functions whose comments name it."""
    found = {}
    for file in sorted((ROOT / "host/hardmute").rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if not RULE.search(text):
            continue
        places = functions(ast.parse(text))
        for line, words in comments_of(text):
            around = [name for start, end, name in places if start <= line <= end]
            for rule in RULE.findall(words):
                where = f"{file.name}: {around[-1] if around else 'the module'}"
                found.setdefault(rule, set()).add(where)
    return found


def test_each_rule_of_the_page_is_in_one_function():
    page = (ROOT / "docs/evidence.md").read_text(encoding="utf-8")
    rules = re.findall(r"\*\*([REAKTC][1-9][0-9]?)\*\*", page)
    assert len(rules) == len(set(rules)) > 30
    found = keepers()
    assert sorted(found) == sorted(rules)
    assert {rule: sorted(where) for rule, where in found.items() if len(where) != 1} == {}


def test_the_page_speaks_of_no_rule_that_it_does_not_have():
    page = (ROOT / "docs/evidence.md").read_text(encoding="utf-8")
    rules = set(re.findall(r"\*\*([REAKTC][1-9][0-9]?)\*\*", page))
    prose = re.sub(r"```.*?```|`[^`]*`", "", page, flags=re.DOTALL)
    assert set(RULE.findall(prose)) == rules
