"""JSON from files that anybody may have made, read at a cost that the file's size bounds.

A small text can take much memory: ``[],[],[]`` takes thirty times its own size. What hardmute
writes is never so dense. So a look at the bytes refuses such a text before it is parsed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from hardmute.model.typed import Any, NoReturn

# A text up to this size is parsed whatever it holds.
_SMALL = 1 << 13
# More than 64 bits are never needed.
_LONGEST_NUMBER = 20
# What begins a value, or parts it from the next, and how many bytes of memory the value may take.
_WEIGHTS = {"{": 184, "[": 64, ",": 60}
# A receipt of 10,752 records weighs 3.2 to 3.5 times its size by these numbers, and with the
# shortest numbers and names that there can be 3.8 times.
_MOST_WEIGHT = 4.2
_WINDOW = 1 << 16
# Members of an object that is not a list of hashes; and different names of members in all. The
# most that hardmute writes are 25 and 90.
_MOST_MEMBERS = 64
_MOST_NAMES = 512
_LONGEST_WORD = 16
# A hash, and with its row number and its marks.
_HASH = 64
_HASH_MEMBER = 70
# One character beyond U+FFFF has all others of its string take four bytes each.
_WIDE = r"\\ud[89ab]"
_MOST_WIDE = 256
_LONGEST_WIDE = 4096


def parse(text: str, made: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """The value that ``text`` is, which must be in ASCII. ``made``: what stands for an object.

    Raises `ValueError` or `RecursionError` for what is not JSON, has a fraction or a number beyond
    64 bits, or would take much more time or memory than a text of hardmute of that size.
    """
    if not text.isascii():
        raise ValueError
    if len(text) <= _SMALL:
        return (_DECODER if made is None else _decoder(_object_reader(made))).decode(text)
    _require_light(text)
    return _decoder(_object_reader(made or _itself)).decode(text)


def _no_fraction(_text: str) -> NoReturn:
    """hardmute writes none: two programs could write the same one differently."""
    raise ValueError


def _integer(text: str) -> int:
    # The time for longer ones rises with the square of their length.
    if len(text) > _LONGEST_NUMBER:
        raise ValueError
    return int(text)


def _decoder(read: Callable[[list[tuple[str, Any]]], Any] | None) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=read,
        parse_int=_integer,
        parse_float=_no_fraction,
        parse_constant=_no_fraction,
    )


_DECODER = _decoder(None)


def _require_light(text: str) -> None:
    weight = sum(text.count(mark) * each for mark, each in _WEIGHTS.items())
    if weight > _MOST_WEIGHT * len(text) + _SMALL:
        raise ValueError
    for at in range(0, len(text), _WINDOW):
        part = text[at : at + _WINDOW]
        # Of an object that is so long only hashes are the members.
        if "{" not in part and part.count('":') * _HASH_MEMBER > len(part):
            raise ValueError
    for count, found in enumerate(re.finditer(_WIDE, text)):
        at = found.start()
        begins = text.rfind('"', max(0, at - _LONGEST_WIDE), at) >= 0
        if count >= _MOST_WIDE or not begins or text.find('"', at, at + _LONGEST_WIDE) < 0:
            raise ValueError


def _itself(value: dict[str, Any]) -> dict[str, Any]:
    return value


def _object_reader(
    as_made: Callable[[dict[str, Any]], Any],
) -> Callable[[list[tuple[str, Any]]], Any]:
    names: set[str] = set()
    # Words that occur again and again take memory once.
    words: dict[str, str] = {}

    def read(pairs: list[tuple[str, Any]]) -> Any:
        made = dict(pairs)
        if len(made) > _MOST_MEMBERS:
            # A name takes as much memory as a value, unless it was there before.
            if any(type(value) is not str or len(value) != _HASH for value in made.values()):
                raise ValueError
            return made
        for name, value in pairs:
            if type(value) is str and len(value) <= _LONGEST_WORD:
                if len(words) < _MOST_NAMES:
                    words.setdefault(value, value)
                made[name] = words.get(value, value)
        names.update(made)
        if len(names) > _MOST_NAMES:
            raise ValueError
        return as_made(made)

    return read
