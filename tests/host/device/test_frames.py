"""The host's shortcut through frames says what `wire.unframe` says, of whatever comes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardmute.device import frames
from muteboard import wire

BODIES = (
    b"{}",
    b'{"a":1}',
    b'{"a":1,"a":2}',
    b'{"a":[1,"b",null],"c":true}',
    b'{"a":{"b":1}}',
    b'{"a":[[1]]}',
    b'{"a":[1,]}',
    b'{"a":01}',
    b'{"a":-0}',
    b'{"a":0,"b":-1}',
    b'{"a":123456789012345,"b":-12345678901234}',
    b'{"a":1234567890123456}',
    b'{"a":-123456789012345}',
    b'{"a":1.5}',
    b'{"a":1e5}',
    b'{"a":NaN}',
    b'{"a":"\\u00e9"}',
    b'{"a":"\\ud800"}',
    b'{"a" : 1}',
    b' {"a":1}',
    b'{"a":1} ',
    b'{"a":"\x7f"}',
    b'{"a":"\x1f"}',
    b'{"a":"\xc3\xa9"}',
    b'{"a":tru}',
    b'{"a":1}\n',
    b'{"a":"b\n"}',
    b"[1]",
    b"1",
    b"",
)
SCALARS = st.none() | st.booleans() | st.integers(-(10**14) + 1, 10**15 - 1) | st.text(max_size=6)
MESSAGES = st.dictionaries(
    st.text(max_size=6), SCALARS | st.lists(SCALARS, max_size=3), max_size=6
)


def said(line: bytes, unframe: Any) -> Any:
    try:
        # A bool is equal to an integer.
        return repr(unframe(line))
    except wire.WireError as error:
        return error.code


def same(line: bytes) -> None:
    assert said(line, frames.unframe) == said(line, lambda one: wire.unframe(one, need_crc=True))


def sealed(body: bytes) -> bytes:
    return b"%s\t%08x" % (body, wire.crc32(body))


@pytest.mark.parametrize("body", BODIES)
def test_P5_a_body_is_what_the_wire_says(body: bytes) -> None:
    same(sealed(body))
    same(sealed(body).upper())
    same(body)
    same(body + b"\t")
    same(sealed(body) + b" ")
    same(sealed(body) + b"\t")


@given(MESSAGES, st.integers(0, 600), st.sampled_from(sorted(b' ",:[]{}\\-019atfn.eE\t\x00\xff')))
def test_P5_a_frame_is_what_the_wire_says(message: dict[str, Any], at: int, byte: int) -> None:
    try:
        line = wire.frame(message)[:-1]
    except wire.WireError:
        # It holds half of a pair, or is too long.
        return
    same(line)
    body = bytearray(line.rpartition(b"\t")[0])
    body[at % len(body)] = byte
    same(sealed(bytes(body)))
    body.insert(at % len(body), byte)
    same(sealed(bytes(body)))
