"""P5: each field of each answer of a board, one at a time, in the ways in which it can be wrong.

What follows from an answer that does not count is in test_hostile.py.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from fake_device import ESCAPES, HELLO, MISSING, MUTED, changed

from conftest import check_sentence
from hardmute.model.answers import (
    parse_attested,
    parse_identity,
    parse_page,
    parse_paired,
    parse_status,
)
from hardmute.model.errors import UnreachableError
from muteboard import journal

SIGNED_HELLO: dict[str, Any] = {**HELLO, "journal": True}
IDENTITY = parse_identity(SIGNED_HELLO)
END: dict[str, Any] = {"seq": 7, "head": "ab" * 16, "pairing": 1}
STATUS: dict[str, Any] = {**MUTED, **END}
ATTESTED: dict[str, Any] = {
    **STATUS,
    "board": HELLO["board"],
    "epoch": 0,
    "nonce": "00" * 16,
    "mac": "cd" * 16,
    "journal_mac": "ef" * 16,
}
for _key in ("faults", "remute_in_ms", "simulated", "warnings"):
    del ATTESTED[_key]
RECORDS = [bytes([number]) * journal.SIZE for number in range(4)]
PAGE: dict[str, Any] = {
    "first": 3,
    "from": 5,
    "last": 9,
    "records": base64.b64encode(b"".join(RECORDS)).decode(),
}
PAIRED: dict[str, Any] = {"board_bytes": "01" * 32, "key_id": "02" * 4, "pairing": 1}

# Wrong in any field of that kind. "no such word" has spaces: wrong even where any word will do.
_WORD = [MISSING, None, 7, True, [], ["muted"], "", "no such word", ESCAPES, "\u212a", "x" * 99]
_COUNT = [MISSING, None, "1", True, [1], -1, "x" * 99, ESCAPES]
_TIME = [*_COUNT, 10**14]
_FLAG = [MISSING, None, 0, 1, "false", []]
_LIST = [MISSING, None, 0, "muted", [0, [0]], ["\x1b[2J"], [""], [None], [True], ["x"] * 17]
_BITS = [MISSING, None, 0, "00", [0], [0, 0, 0], [0, 2], [0, -1], [0, "0"], [False, False]]
_BOARD = [MISSING, None, 1, "", "abc", "ABCDEF", "/dev/null", "..", "x" * 65, "0" * 65, ESCAPES]
_PROTO = [MISSING, None, 1, "1.0", [], [1], [True, 0], ["1", 0], [1, None], [-1, 0], [2, 0]]


def _hex(size: int) -> list[object]:
    right = "ab" * size
    return [MISSING, None, 7, "", right[2:], right + "ab", right.upper(), "xy" * size, f" {right}"]


# In `status` and in `attest`.
_STATE: dict[str, list[object]] = {
    "state": [*_WORD, "unknown", "MUTED", "muted "],
    "command": _WORD,
    "sense": _BITS,
    "cause": [*_WORD, "owner"],
    "since_ms": [*_TIME, 60001],
    "uptime_ms": [*_TIME, 0],
    "boot": _COUNT,
    "changes": _COUNT,
    "live_ms": [*_TIME, 60001],
    "service": _WORD,
}


class Answer(NamedTuple):
    """A good answer, what reads it, and what is wrong in each field."""

    good: dict[str, Any]
    parse: Callable[[dict[str, Any]], object]
    wrong: dict[str, list[object]]


ANSWERS = {
    "hello": Answer(
        SIGNED_HELLO,
        parse_identity,
        {
            "product": [MISSING, None, 1, "hardmute ", "HARDMUTE", ["hardmute"]],
            "proto": _PROTO,
            "board": _BOARD,
            "firmware": _WORD,
            "port": _WORD,
            "contacts": [*_COUNT, 9, 10**14],
            "simulated": _FLAG,
            # A board that keeps none does not say so.
            "journal": _FLAG[1:],
        },
    ),
    "status": Answer(
        STATUS,
        lambda answer: parse_status(answer, IDENTITY),
        {
            **_STATE,
            "remute_in_ms": [value for value in _TIME if value is not None],
            "faults": _LIST,
            "warnings": _LIST,
            "simulated": [*_FLAG, True],
            "seq": [*_COUNT, 2**32],
            # There may be no room for it.
            "head": _hex(16)[1:],
            "pairing": [*_COUNT, 2**16],
        },
    ),
    "attest": Answer(
        ATTESTED,
        lambda answer: parse_attested(answer, IDENTITY),
        {
            **_STATE,
            "board": _BOARD,
            "epoch": [*_COUNT, 2**32],
            "seq": [*_COUNT, 0, 2**32],
            "head": _hex(16),
            "pairing": [*_COUNT, 0, 2**16],
            "nonce": _hex(16),
            "mac": _hex(16),
            "journal_mac": _hex(16),
        },
    ),
    "journal": Answer(
        PAGE,
        lambda answer: parse_page(answer, 5),
        {
            "first": [*_COUNT, 0, 6, 11],
            "from": [*_COUNT, 0, 4, 6, 10],
            "last": [*_COUNT, 7, 2**32],
            "records": [
                MISSING,
                None,
                7,
                "",
                "A",
                "A" * 85,
                base64.b64encode(RECORDS[0][1:]).decode(),
                base64.b64encode(bytes(5 * journal.SIZE)).decode(),
                PAGE["records"] + "\n",
                "\u20ac" * 88,
            ],
        },
    ),
    "pair": Answer(
        PAIRED,
        parse_paired,
        {"board_bytes": _hex(32), "key_id": _hex(4), "pairing": [*_COUNT, 0, 2**16]},
    ),
}


@pytest.mark.parametrize("op", ANSWERS)
def test_the_table_knows_every_field(op: str) -> None:
    assert ANSWERS[op].wrong.keys() == ANSWERS[op].good.keys()


def test_what_is_made_wrong_was_good() -> None:
    end = (7, bytes.fromhex("ab" * 16), 1)
    assert IDENTITY.journal
    assert not parse_identity(HELLO).journal
    status = parse_status(STATUS, IDENTITY)
    assert {*MUTED, "journal"} == {*status._fields}
    assert status.journal == end
    assert parse_attested(ATTESTED, IDENTITY).end == end
    assert parse_page(PAGE, 5) == (3, 5, 9, tuple(RECORDS))
    assert parse_paired(PAIRED) == (bytes([1] * 32), bytes([2] * 4), 1)


@pytest.mark.parametrize(
    ("op", "field", "value"),
    [
        (op, field, value)
        for op, answer in ANSWERS.items()
        for field, values in answer.wrong.items()
        for value in values
    ],
)
def test_P5_a_wrong_field_is_unknown(op: str, field: str, value: object) -> None:
    good, parse, _ = ANSWERS[op]
    with pytest.raises(UnreachableError) as caught:
        parse(changed(good, **{field: value}))
    # What speaks of another product or protocol is told apart.
    assert caught.value.reason == "malformed_answer" or field in ("product", "proto")
    check_sentence(f"{caught.value}\n")


def test_a_status_may_have_no_room_for_the_head() -> None:
    assert parse_status(changed(STATUS, head=MISSING), IDENTITY).journal == (7, None, 1)


def test_pages_go_on_where_the_oldest_is() -> None:
    page = parse_page({**PAGE, "first": 5, "gone": [2, 4]}, 2)
    assert (page.first, page.start) == (5, 5)
    assert parse_page({"first": 1, "from": 1, "last": 0, "records": ""}, 1).records == ()
