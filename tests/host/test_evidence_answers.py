"""P5: the answers to `attest`, `journal` and `pair` are untrusted, each field of them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from fake_device import HELLO, MISSING, MUTED, ScriptedPort, changed

from hardmute.device.client import Session
from hardmute.model.answers import (
    parse_attested,
    parse_identity,
    parse_page,
    parse_paired,
    parse_status,
)
from hardmute.model.errors import RefusedError, UnreachableError
from muteboard import journal, wire

END: dict[str, Any] = {"seq": 7, "head": "ab" * 16, "pairing": 1}
ATTESTED: dict[str, Any] = {
    **{
        key: MUTED[key]
        for key in (
            "boot",
            "cause",
            "changes",
            "command",
            "live_ms",
            "sense",
            "service",
            "since_ms",
            "state",
            "uptime_ms",
        )
    },
    **END,
    "board": HELLO["board"],
    "epoch": 0,
    "nonce": "00" * 16,
    "mac": "cd" * 16,
    "journal_mac": "ef" * 16,
}
RECORDS = [bytes([number]) * journal.SIZE for number in range(4)]
PAGE: dict[str, Any] = {
    "first": 3,
    "from": 5,
    "last": 9,
    "records": base64.b64encode(b"".join(RECORDS)).decode(),
}
PAIRED: dict[str, Any] = {"board_bytes": "01" * 32, "key_id": "02" * 4, "pairing": 1}

_WORD = [MISSING, None, 7, True, [], "", "no such word"]
_COUNT = [MISSING, None, "1", True, [1], -1]
_TIME = [*_COUNT, 10**14]


def _hex(size: int) -> list[object]:
    right = "ab" * size
    return [MISSING, None, 7, "", right[2:], right + "ab", right.upper(), "xy" * size, f" {right}"]


ATTESTED_FIELDS: dict[str, list[object]] = {
    "board": [MISSING, None, 1, "", "abc", "ABCDEF", "0" * 65],
    "boot": _COUNT,
    "cause": _WORD,
    "changes": _COUNT,
    "command": _WORD,
    "epoch": [*_COUNT, 2**32],
    "head": _hex(16),
    "journal_mac": _hex(16),
    "live_ms": [*_TIME, 60_001],
    "mac": _hex(16),
    "nonce": _hex(16),
    "pairing": [*_COUNT, 0, 2**16],
    "sense": [MISSING, None, "00", [0], [0, 0, 0], [0, 2], [False, False]],
    "seq": [*_COUNT, 0, 2**32],
    "service": _WORD,
    "since_ms": [*_TIME, 60_001],
    "state": [*_WORD, "unknown"],
    "uptime_ms": [*_TIME, 0],
}
PAGE_FIELDS: dict[str, list[object]] = {
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
}
PAIRED_FIELDS: dict[str, list[object]] = {
    "board_bytes": _hex(32),
    "key_id": _hex(4),
    "pairing": [*_COUNT, 0, 2**16],
}
STATUS_FIELDS: dict[str, list[object]] = {
    "seq": [None, "1", True, [1], -1, 2**32],
    "head": [None, *_hex(16)[2:]],
    "pairing": [*_COUNT, 2**16],
}


def fields_of(table: dict[str, list[object]]) -> list[tuple[str, object]]:
    return [(field, value) for field, values in table.items() for value in values]


def malformed(parse: Callable[[], object]) -> None:
    with pytest.raises(UnreachableError) as caught:
        parse()
    assert caught.value.reason == "malformed_answer"


def test_the_tables_know_every_field() -> None:
    assert ATTESTED_FIELDS.keys() == ATTESTED.keys()
    assert PAGE_FIELDS.keys() == PAGE.keys()
    assert PAIRED_FIELDS.keys() == PAIRED.keys()
    assert STATUS_FIELDS.keys() == END.keys()


@pytest.mark.parametrize(("field", "value"), fields_of(ATTESTED_FIELDS))
def test_P5_a_wrong_field_in_attest(field: str, value: object) -> None:
    identity = parse_identity(HELLO)
    assert parse_attested(ATTESTED, identity).end == (7, bytes.fromhex("ab" * 16), 1)
    malformed(lambda: parse_attested(changed(ATTESTED, **{field: value}), identity))


@pytest.mark.parametrize(("field", "value"), fields_of(PAGE_FIELDS))
def test_P5_a_wrong_field_in_journal(field: str, value: object) -> None:
    assert parse_page(PAGE, 5) == (3, 5, 9, tuple(RECORDS))
    malformed(lambda: parse_page(changed(PAGE, **{field: value}), 5))


@pytest.mark.parametrize(("field", "value"), fields_of(PAIRED_FIELDS))
def test_P5_a_wrong_field_in_pair(field: str, value: object) -> None:
    assert parse_paired(PAIRED).pairing == 1
    malformed(lambda: parse_paired(changed(PAIRED, **{field: value})))


@pytest.mark.parametrize(("field", "value"), fields_of(STATUS_FIELDS))
def test_P5_a_wrong_field_of_the_journal_in_status(field: str, value: object) -> None:
    status = {**MUTED, **END}
    assert parse_status(status).journal == (7, bytes.fromhex("ab" * 16), 1)
    malformed(lambda: parse_status(changed(status, **{field: value})))


def test_a_status_may_have_no_room_for_the_head() -> None:
    end = parse_status({**MUTED, **changed(END, head=MISSING)}).journal
    assert end == (7, None, 1)


def test_pages_go_on_where_the_oldest_is() -> None:
    page = parse_page({**PAGE, "first": 5, "gone": [2, 4]}, 2)
    assert (page.first, page.start) == (5, 5)
    assert parse_page({"first": 1, "from": 1, "last": 0, "records": ""}, 1).records == ()


@pytest.mark.parametrize("value", [None, 1, "true"])
def test_P5_a_wrong_journal_in_hello(value: object) -> None:
    assert not parse_identity(HELLO).journal
    assert parse_identity({**HELLO, "journal": True}).journal
    malformed(lambda: parse_identity({**HELLO, "journal": value}))


# The session.


class Pages:
    """A board whose journal has records ``first`` to ``last``, in segments of ``segment``."""

    def __init__(self, last: int, segment: int = 512, first: int = 1) -> None:
        self.last, self.segment, self.first = last, segment, first
        self.asked: list[int] = []

    def __call__(self, line: bytes) -> list[tuple[float, bytes]]:
        request = wire.unframe(line, need_crc=False)
        self.asked.append(request["from"])
        start = max(request["from"], self.first)
        end = min(self.last, start + 3, start - start % self.segment + self.segment - 1)
        records = b"".join(number.to_bytes(4) * 16 for number in range(start, end + 1))
        answer = {
            "id": request["id"],
            "ok": True,
            "first": self.first,
            "from": start,
            "last": self.last,
            "records": base64.b64encode(records).decode(),
        }
        return [(0.001, wire.frame(answer))]


def session(script: Callable[[bytes], list[tuple[float, bytes]]]) -> Session:
    port = ScriptedPort(script)
    return Session(port, "/dev/fake", 3.0, clock=port.clock)


@pytest.mark.parametrize("segment", [4, 7, 10, 512])
@pytest.mark.parametrize(("start", "first"), [(1, 1), (6, 1), (1, 9), (37, 37), (38, 1)])
def test_pages_follow_each_other_whatever_their_length(
    segment: int, start: int, first: int
) -> None:
    board = Pages(37, segment, first)
    seen = [
        int.from_bytes(record[:4])
        for page in session(board).journal(start, 37)
        for record in page.records
    ]
    assert seen == list(range(max(start, first), 38))
    assert max(board.asked, default=0) <= 37


def test_P5_a_journal_that_ends_before_its_end() -> None:
    malformed(lambda: list(session(Pages(9)).journal(1, 20)))


def test_requests_under_way_fit_the_boards_buffer() -> None:
    sent: list[bytes] = []

    def silent(line: bytes) -> list[tuple[float, bytes]]:
        sent.append(line + b"\n")
        return []

    port = ScriptedPort(silent)
    asked = Session(port, "/dev/fake", 3.0, new_id=lambda: wire.ID_LIMIT - 1, clock=port.clock)
    with pytest.raises(UnreachableError):
        next(asked.journal(2**32 - 20, 2**32 - 1))
    assert len(sent) > 1
    assert len(b"".join(sent)) <= 256


def test_state_events_wait_while_something_else_is_asked() -> None:
    """A change is not lost because a contact was under way when it came."""
    watch_id = 0

    def script(line: bytes) -> list[tuple[float, bytes]]:
        nonlocal watch_id
        request = wire.unframe(line, need_crc=False)
        if request["op"] == "watch":
            watch_id = request["id"]
            event = {**MUTED, "event": "state", "watch": watch_id}
            return [
                (0.0, wire.frame({"id": watch_id, "ok": True})),
                (0.0, wire.frame({**event, "changes": 1})),
            ]
        event = {**MUTED, "event": "state", "watch": watch_id}
        return [
            (0.0, wire.frame({**event, "changes": 2})),
            (0.0, wire.frame({**event, "watch": watch_id ^ 1, "changes": 66})),
            (0.0, wire.frame({"id": request["id"], "ok": True, **MUTED})),
            (0.0, wire.frame({**event, "changes": 3})),
        ]

    asked = session(script)
    events = asked.watch()
    assert next(events).changes == 1
    asked.status()
    assert [next(events).changes for _ in range(2)] == [2, 3]


@pytest.mark.parametrize("code", ["busy", "not_paired", "unsupported", "setup_required"])
def test_refusals_have_words(code: str) -> None:
    def refuse(line: bytes) -> list[tuple[float, bytes]]:
        request = wire.unframe(line, need_crc=False)
        return [(0.0, wire.frame({"id": request["id"], "ok": False, "error": code}))]

    for ask in (
        lambda: session(refuse).attest(bytes(16)),
        lambda: session(refuse).pair(bytes(32)),
        lambda: session(refuse).unpair(),
    ):
        with pytest.raises(RefusedError) as caught:
            ask()
        assert caught.value.code == code
        assert "refused" not in str(caught.value)
