"""Frames and messages: any message, any bytes, and agreement with the JSON of the stdlib."""

import json
import zlib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from steady import STEADY
from test_wire import attempt, same

from muteboard import wire

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


scalar = st.none() | st.booleans() | st.integers(-(10**14) + 1, 10**15 - 1) | text


small = st.lists(scalar, max_size=4) | st.dictionaries(text, scalar, max_size=4)


message = st.dictionaries(text, scalar | small, max_size=5)


# Characters of JSON and of mischief, so that random lines are nearly right.
nearly_json = st.text("{}[]\":,\\ -0123456789eE.+tfnrulasdc/bx'", max_size=40)


def no_duplicates(pairs):
    keys = [key for key, _ in pairs]
    assert len(keys) == len(set(keys))
    return dict(pairs)


@STEADY
@given(message)
def test_any_allowed_message_survives_the_trip(value):
    line = attempt(wire.frame, value)
    if line == "too_long":
        assert len(wire.dumps(value)) > wire.MAX_LINE - 10
        return
    assert len(line) <= wire.MAX_LINE
    assert line.endswith(b"\n")
    assert all(0x20 <= byte <= 0x7E or byte == 9 for byte in line[:-1])
    assert same(wire.unframe(line[:-1], True), value)


@STEADY
@given(message)
def test_what_we_write_the_standard_library_reads(value):
    assert same(json.loads(wire.dumps(value)), value)


@STEADY
@given(st.binary(max_size=80), st.booleans())
def test_P5_arbitrary_bytes_raise_nothing_but_wire_error(data, need_crc):
    result = attempt(wire.unframe, data, need_crc)
    assert isinstance(result, dict) or result in ("bad_line", "bad_crc", "bad_json")


@STEADY
@given(st.text(max_size=40) | nearly_json)
def test_arbitrary_text_raises_nothing_but_wire_error(data):
    result = attempt(wire.loads, data)
    assert isinstance(result, dict) or result == "bad_json"


@STEADY
@given(
    nearly_json
    | nearly_json.map(lambda inner: '{"a":' + inner + "}")
    | nearly_json.map(lambda inner: '{"a":"' + inner + '"}')
    | message.map(lambda value: json.dumps(value, indent=None))
    | message.map(lambda value: json.dumps(value, separators=(" , ", " : ")))
)
@example('{"a":"\\ud83d\\ude00"}')
@example('{"a":-7,"b":[0,-1]}')
def test_the_standard_library_reads_the_same_in_what_we_accept(data):
    ours = attempt(wire.unframe, data.encode("ascii"), False)
    if isinstance(ours, str):
        return
    assert same(ours, json.loads(data, object_pairs_hook=no_duplicates))


@STEADY
@given(message)
def test_json_of_the_standard_library_is_accepted(value):
    assert same(wire.loads(json.dumps(value)), value)


@STEADY
@given(message, st.data())
def test_P5_any_single_changed_bit_is_noticed(value, data):
    line = bytearray(wire.dumps(value).encode())
    line += b"\t%08x" % zlib.crc32(line)
    index = data.draw(st.integers(0, len(line) - 1))
    line[index] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(wire.WireError):
        wire.unframe(bytes(line), True)


def cut_into_lines(chunks) -> list[bytes | str]:
    reader = wire.LineReader()
    lines: list[bytes | str] = []
    for chunk in chunks:
        at = 0
        while 0 <= at < len(chunk):
            at = reader.feed(chunk, at)
            if at >= 0:
                lines.append(attempt(reader.line))
    return lines


def expected_lines(data: bytes) -> list[bytes | str]:
    return [
        "too_long" if len(line) > wire.MAX_LINE - 1 else line.removesuffix(b"\r")
        for line in data.split(b"\n")[:-1]
    ]


pieces = st.binary(max_size=20) | st.sampled_from([b"\n", b"\r\n", b"\r", b"x" * 510, b"y" * 511])


@STEADY
@given(st.lists(pieces, max_size=12), st.lists(st.integers(1, 700), min_size=1, max_size=20))
@example([b"x" * 511, b"\n", b"y" * 511, b"z", b"\n", b"x" * 510, b"\r\n"], [1])
def test_any_chunking_gives_the_same_lines(parts, sizes):
    data = b"".join(parts)
    chunks = []
    at = 0
    while at < len(data):
        size = sizes[len(chunks) % len(sizes)]
        chunks.append(data[at : at + size])
        at += size
    assert cut_into_lines(chunks) == expected_lines(data)
