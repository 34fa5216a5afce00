"""The golden vectors in tests/vectors, on any interpreter."""

import json


def load(name: str) -> dict:
    """The contents of a JSON file in tests/vectors."""
    unit = __file__.rsplit("/", 1)[0]
    with open(unit + "/../vectors/" + name, encoding="utf-8") as file:
        return json.load(file)


def raw(line: str) -> bytes:
    """A line with one character a byte, so that a vector can hold any byte."""
    return bytes([ord(char) for char in line])
