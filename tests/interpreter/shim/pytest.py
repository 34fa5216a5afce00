"""The part of pytest that the portable tests use, for MicroPython. What is not here is an error.

MicroPython's functions take no attributes, so a parametrised test is an object of `Cases`.
"""

import re


class Cases:
    """A test function with the values of its parameters. Decorators add more of them."""

    def __init__(self, function, names, rows):
        if isinstance(function, Cases):
            self.function = function.function
            self.arguments = [
                merged(outer, inner)
                for outer in named(names, rows)
                for inner in function.arguments
            ]
        else:
            self.function = function
            self.arguments = named(names, rows)


def named(names, rows) -> list[dict]:
    """The keyword arguments of each case."""
    if isinstance(names, str):
        return [{names: row} for row in rows]
    result = []
    for row in rows:
        assert len(row) == len(names), (names, row)
        result.append({names[at]: row[at] for at in range(len(names))})
    return result


def merged(one: dict, other: dict) -> dict:
    both = dict(one)
    both.update(other)
    assert len(both) == len(one) + len(other), "a parameter is given twice"
    return both


class mark:  # noqa: N801 - pytest's name
    @staticmethod
    def parametrize(argnames, argvalues, ids=None):  # noqa: ARG004 - pytest's name; cases are shown by value
        rows = list(argvalues)
        return lambda function: Cases(function, argnames, rows)


class raises:  # noqa: N801 - pytest's name
    """The block must raise ``expected_exception``, with ``match`` found in its text."""

    def __init__(self, expected_exception, match=None):
        self._expected = expected_exception
        self._match = match
        self.value = None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, _traceback):
        assert kind is not None, "nothing was raised"
        if not issubclass(kind, self._expected):
            return False
        self.value = value
        if self._match is not None:
            assert re.search(self._match, str(value)), str(value)
        return True
