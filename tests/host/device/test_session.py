"""A session: answers to `journal`, `attest`, `pair` and `unpair`, and refusals of them.

Each field of them: test_answers.py.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import pytest
from fake_device import MUTED, ScriptedPort

from hardmute.device.client import Session
from hardmute.model.errors import RefusedError, UnreachableError
from muteboard import wire


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
    with pytest.raises(UnreachableError) as caught:
        list(session(Pages(9)).journal(1, 20))
    assert caught.value.reason == "malformed_answer"


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
