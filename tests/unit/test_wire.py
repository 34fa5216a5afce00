"""Frames and messages: golden vectors, hostile input, and agreement with the stdlib's JSON."""

import binascii

import pytest
from golden import load, raw

from muteboard import controller, wire

VECTORS = load("wire.json")


def code_of(line: bytes, need_crc: bool = False) -> str:
    with pytest.raises(wire.WireError) as caught:
        wire.unframe(line, need_crc)
    return caught.value.code


def attempt(function, *arguments):
    """What the call returns, or the code of the `WireError` that it raises. Others pass."""
    try:
        return function(*arguments)
    except wire.WireError as error:
        return error.code


def same(ours, theirs) -> bool:
    """Equal in type as well as in value: 1, True and 1.0 are three things."""
    if type(ours) is not type(theirs):
        return False
    if isinstance(ours, dict):
        return set(ours) == set(theirs) and all(same(ours[k], theirs[k]) for k in ours)
    if isinstance(ours, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


# Golden vectors


@pytest.mark.parametrize("vector", VECTORS["good"], ids=lambda vector: vector["name"])
def test_good_vector(vector):
    line = vector["line"].encode()
    body, check = line[:-1].split(b"\t")
    assert check == b"%08x" % binascii.crc32(body)
    assert len(line) <= wire.MAX_LINE
    assert same(wire.unframe(line[:-1], True), vector["message"])
    assert wire.frame(vector["message"]) == line


@pytest.mark.parametrize("vector", VECTORS["accepted"], ids=lambda vector: vector["name"])
def test_accepted_vector_is_read_but_never_written(vector):
    reader = wire.LineReader()
    data = vector["line"].encode()
    assert reader.feed(data) == len(data)
    assert same(wire.unframe(reader.line(), vector["need_crc"]), vector["message"])
    assert wire.frame(vector["message"]) != data


@pytest.mark.parametrize("vector", VECTORS["bad"], ids=lambda vector: vector["name"])
def test_P5_bad_vector(vector):
    data = raw(vector["line"])
    reader = wire.LineReader()
    assert reader.feed(data) == len(data)
    with pytest.raises(wire.WireError) as caught:
        wire.unframe(reader.line(), vector["need_crc"])
    assert caught.value.code == vector["error"]


def test_every_wire_error_has_a_bad_vector():
    codes = {vector["error"] for vector in VECTORS["bad"]}
    assert codes == {"too_long", "bad_line", "bad_crc", "bad_json"}
    assert codes <= set(wire.ERRORS)


# Round trip


def test_frame_of_exactly_512_bytes_fits_and_one_more_does_not():
    room = wire.MAX_LINE - len(wire.frame({"a": ""}))
    assert len(wire.frame({"a": "x" * room})) == wire.MAX_LINE
    with pytest.raises(wire.WireError, match="too_long"):
        wire.frame({"a": "x" * (room + 1)})


@pytest.mark.parametrize(
    "value",
    [
        1.5,
        10**15,
        -(10**14),
        b"bytes",
        {1, 2},
        "\ud800",
        "\udc00x",
        {"a": {"b": 1}},
        [[1]],
        {"a": [1]},
        [{"a": 1}],
    ],
)
def test_value_that_the_wire_does_not_carry_is_refused(value):
    with pytest.raises(wire.WireError, match="bad_json"):
        wire.dumps({"a": value})


def test_largest_status_event_fits_in_a_frame():
    # As it is built by `App`, with eight contacts that all failed, and 300 years of uptime.
    mute = controller.Controller(8, "toggle", 28_800_000, 10, "watchdog")
    for now in range(1, 100):
        mute.step(now, False, 0, 0xFF)
    century = 10**13 - 1
    event = {
        "event": "state",
        "watch": wire.ID_LIMIT - 1,
        "state": mute.state,
        "command": "connected",
        "sense": [1] * 8,
        "cause": "watchdog",
        "since_ms": century,
        "uptime_ms": century,
        "boot": 999_999_999,
        "changes": century,
        "live_ms": century,
        "remute_in_ms": 28_800_000,
        "faults": mute.faults,
        "warnings": ["config_invalid", "boot_not_counted", "crash_loop", "stuck"],
        "service": "maintenance",
        "simulated": False,
    }
    assert mute.faults == [f"closed:{contact}" for contact in range(1, 9)]
    assert len(wire.frame(event)) <= wire.MAX_LINE


# Hostile input


@pytest.mark.parametrize(
    "body",
    [
        "",
        " ",
        "7",
        "[]",
        '"a"',
        "null",
        "{",
        "}",
        "{}{}",
        "{} x",
        '{"a"}',
        '{"a":}',
        '{"a":1,}',
        '{,"a":1}',
        '{"a":1 "b":2}',
        '{"a",1}',
        "{'a':1}",
        "{a:1}",
        "{1:1}",
        '{"a":[1,]}',
        '{"a":[,1]}',
        '{"a":[1 2]}',
        '{"a":[1}',
        # duplicate keys, also by escape, also inside
        '{"a":1,"a":1}',
        '{"a":1,"\\u0061":2}',
        '{"o":{"a":1,"a":2}}',
        # floats and other numbers
        '{"a":1.0}',
        '{"a":1e3}',
        '{"a":.5}',
        '{"a":+1}',
        '{"a":00}',
        '{"a":01}',
        '{"a":-0}',
        '{"a":-01}',
        '{"a":-}',
        '{"a":--1}',
        '{"a":0x10}',
        '{"a":1_0}',
        '{"a":1000000000000000}',
        '{"a":-100000000000000}',
        '{"a":NaN}',
        '{"a":Infinity}',
        # depth
        '{"a":{"b":{}}}',
        '{"a":{"b":[]}}',
        '{"a":[[]]}',
        '{"a":[{}]}',
        '{"a":' + "[" * 200,
        '{"a":' * 80,
        # words
        '{"a":True}',
        '{"a":nul}',
        '{"a":truefalse}',
        '{"a":undefined}',
        # strings
        '{"a":"}',
        '{"a":"\\"}',
        '{"a":"\\x41"}',
        '{"a":"\\u12"}',
        '{"a":"\\u12g4"}',
        '{"a":"\\u 123"}',
        '{"a":"\\u+123"}',
        '{"a":"\\ud800"}',
        '{"a":"\\ud800x"}',
        '{"a":"\\ud800\\n"}',
        '{"a":"\\ud800\\u0041"}',
        '{"a":"\\ud800\\ud800"}',
        '{"a":"\\udc00"}',
        '{"a":"\\',
        '{"a":"\\ud800\\',
        '{"a":"\\u',
    ],
)
def test_body_that_is_not_our_json(body):
    assert code_of(body.encode()) == "bad_json"


@pytest.mark.parametrize(
    "byte", [b"\x00", b"\x08", b"\x0a", b"\x0d", b"\x1b", b"\x7f", b"\x80", b"\xc3\xa9", b"\xff"]
)
def test_line_with_anything_but_printable_ascii(byte):
    assert code_of(b'{"a":"' + byte + b'"}') == "bad_line"


@pytest.mark.parametrize(
    "trailer",
    [
        "\t",
        "\t00000000",
        "\td4e6b63",
        "\t2d4e6b6",
        "\t02d4e6b63",
        "\t2D4E6B63",
        "\t0x2d4e6b63",
        "\t 2d4e6b63",
        "\t2d4e6b63 ",
        "\t2d4e6b63\t",
        "\t2d4e6b63\t2d4e6b63",
        " \t2d4e6b63",
    ],
)
def test_P5_check_is_eight_lower_case_digits_over_what_is_before(trailer):
    body = b'{"id":7,"op":"status"}'
    assert binascii.crc32(body) == 0x2D4E6B63
    for need_crc in (False, True):
        assert code_of(body + trailer.encode(), need_crc) == "bad_crc"
        assert wire.unframe(body + b"\t2d4e6b63", need_crc) == {"id": 7, "op": "status"}


# Lines


def test_a_megabyte_line_is_one_error_and_stays_in_the_buffer():
    reader = wire.LineReader()
    buffer = reader._buffer
    for _ in range(1_000_000 // 64):
        assert reader.feed(b"x" * 64) == -1
    assert reader.feed(b'x\n{"id":1}\n') == 2
    with pytest.raises(wire.WireError, match="too_long"):
        reader.line()
    assert reader.feed(b'x\n{"id":1}\n', 2) == 11
    assert reader.line() == b'{"id":1}'
    assert reader._buffer is buffer
    assert len(buffer) == wire.MAX_LINE
