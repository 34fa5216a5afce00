"""What a program needs of `typing` while it runs, at a fraction of its time.

`typing`, and its `NamedTuple`, which compiles each annotation, took half the start-up of
`hardmute status`. So the modules that a command starts with take these names from here. Such a
module has `from __future__ import annotations`. For a type checker the names are `typing`'s own.
"""

from __future__ import annotations

from collections import namedtuple

# Type checkers take it as true, by its name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import (
        Any,
        BinaryIO,
        Literal,
        NamedTuple,
        NoReturn,
        Self,
        TextIO,
        TypeGuard,
        TypeVar,
        cast,
        get_args,
    )
else:
    # These are for annotations, which nothing evaluates.
    Any = BinaryIO = NoReturn = Self = TextIO = TypeGuard = object

    def TypeVar(name):  # noqa: N802 (as `typing` has it)
        """For annotations."""
        return name

    def cast(_kind, value):
        """``value``."""
        return value

    class Literal:
        """`Literal["a", "b"]` is a subclass of `str`. Its words are what `get_args` returns."""

        def __class_getitem__(cls, given):
            words = []
            for one in given if isinstance(given, tuple) else (given,):
                words += one.words if isinstance(one, type) else [one]
            return type("Literal", (str,), {"words": tuple(words)})

    def get_args(literal):
        """The words of a `Literal`."""
        return literal.words

    class _Fields(type):
        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body["__annotations__"]
            defaults = [body.pop(field) for field in fields if field in body]
            made = namedtuple(name, fields, defaults=defaults, module=body["__module__"])  # noqa: PYI024
            for key, value in body.items():
                # `namedtuple` has its own, or a class cannot change it.
                if key not in ("__classcell__", "__module__"):
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_Fields):
        """Base of classes with typed fields. Defaults must be those of the last fields."""


__all__ = [
    "TYPE_CHECKING",
    "Any",
    "BinaryIO",
    "Literal",
    "NamedTuple",
    "NoReturn",
    "Self",
    "TextIO",
    "TypeGuard",
    "TypeVar",
    "cast",
    "get_args",
]
