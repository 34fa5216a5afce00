"""A test's name is read in a line of a report: no more than 60 characters."""

import ast
from pathlib import Path

TESTS = Path(__file__).parents[1]
LONGEST = 60


def test_no_test_has_a_name_that_is_too_long() -> None:
    too_long = [
        f"{file.relative_to(TESTS)}: {node.name}"
        for file in sorted(TESTS.rglob("test_*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and len(node.name) > LONGEST
    ]
    assert too_long == []
