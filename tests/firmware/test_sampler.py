"""What the RP2040's board file knows of the button after it has written (P2, P3).

A write takes no time here: time passes between its end and the next look. Pin interrupts come at
once, as after the write on the chip; the edges that they have counted must not be told twice.
"""

from __future__ import annotations

from typing import Any

import pytest
from board_port import Port
from fakes.flash import NorFlash

from muteboard import journal
from muteboard.button import EDGE_DOWN, EDGE_UP

BOTH = EDGE_DOWN | EDGE_UP
# One look in two milliseconds, and one that is under way.
PERIOD_MS = 2


@pytest.fixture(params=["rp2040", "rp2040_interlock"])
def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Port:
    monkeypatch.chdir(tmp_path)
    return Port(request.param, monkeypatch, flash=NorFlash())


@pytest.fixture
def board(port: Port) -> Any:
    board = port.start()
    port.chip.advance(100)
    board.take_edges()
    return board


def press_at(port: Port, *changes_ms: int) -> None:
    """The button moves at each of these, ms from now; then 10 ms more."""
    start = port.chip.now
    for at in changes_ms:
        port.chip.advance(start + at - port.chip.now)
        port.chip.press(not port.chip.down)
    port.chip.advance(10)


def missed(port: Port, board: Any, start: int) -> list[tuple[int, bool, int]]:
    """As the board tells it, in ms from ``start``."""
    ticks = (port.chip.ticks_start + start) % (1 << 30)
    return [(at - ticks, down, edges) for at, down, edges in board.take_missed()]


def near(told: list[tuple[int, bool, int]], wanted: list[tuple[int, bool, int]]) -> bool:
    """Whether these are the changes. A look during which the pin moved says so before the change:
    both edges, at the level that it had.
    """
    changes = [each for each in told if each[2] != BOTH]
    return (
        [each[1:] for each in changes] == [each[1:] for each in wanted]
        and all(
            0 <= said[0] - true[0] <= PERIOD_MS for said, true in zip(changes, wanted, strict=True)
        )
        and all(
            any(abs(each[0] - true[0]) <= PERIOD_MS for true in wanted)
            for each in told
            if each[2] == BOTH
        )
    )


def test_without_a_write_nothing_is_missed(port: Port, board: Any) -> None:
    press_at(port, 10, 50)
    assert board.take_missed() == ()
    assert board.take_edges() == BOTH


def test_a_press_during_a_write_is_dated_and_told_once(port: Port, board: Any) -> None:
    start = port.chip.now
    board.journal_append(1, b"record")
    press_at(port, 10, 50)
    told = missed(port, board, start)
    assert near(told, [(10, True, EDGE_DOWN), (50, False, EDGE_UP)]), told
    assert board.take_edges() == 0
    assert board.take_missed() == ()


@pytest.mark.parametrize("write", ["journal_append", "journal_drop", "store_keys"])
def test_each_kind_of_write_is_watched(port: Port, board: Any, write: str) -> None:
    board.journal_append(1, b"record")
    board.take_missed()
    arguments = {
        "journal_append": (1, b"more"),
        "journal_drop": (1,),
        "store_keys": (bytes(journal.KEYS_SIZE),),
    }
    start = port.chip.now
    getattr(board, write)(*arguments[write])
    press_at(port, 20)
    assert near(missed(port, board, start), [(20, True, EDGE_DOWN)])


def test_a_second_write_goes_on_with_the_first_one_s_watch(port: Port, board: Any) -> None:
    start = port.chip.now
    board.journal_append(1, b"record")
    press_at(port, 5)
    board.journal_append(1, b"record")
    press_at(port, 30)
    told = missed(port, board, start)
    assert near(told, [(5, True, EDGE_DOWN), (45, False, EDGE_UP)]), told


def test_edges_from_before_the_write_come_first(port: Port, board: Any) -> None:
    start = port.chip.now
    press_at(port, 0, 3, 5)
    board.journal_append(1, b"record")
    press_at(port, 40)
    told = missed(port, board, start)
    assert told[:2] == [(0, True, BOTH), (5, True, BOTH)]
    assert near(told[2:], [(55, False, EDGE_UP)]), told
    assert board.take_edges() == 0


def test_P3_what_is_too_short_to_be_seen_is_an_edge_all_the_same(port: Port, board: Any) -> None:
    """It may have cut."""
    board.journal_append(1, b"record")
    port.chip.advance(10)
    port.chip.press(True)
    port.chip.press(False)
    port.chip.advance(20)
    start = port.chip.now
    assert missed(port, board, start) == [(0, False, BOTH)]
    assert board.take_edges() == 0


def test_P3_an_edge_after_the_watch_is_full_counts_all_the_same(port: Port, board: Any) -> None:
    start = port.chip.now
    board.journal_append(1, b"record")
    press_at(port, 300)
    assert missed(port, board, start) == [(310, True, EDGE_DOWN)]


def test_what_comes_after_the_write_is_the_interrupt_s_again(port: Port, board: Any) -> None:
    board.journal_append(1, b"record")
    port.chip.advance(20)
    assert list(board.take_missed()) == []
    at = port.chip.now + 10
    press_at(port, 10)
    assert board.take_edges() == EDGE_DOWN
    assert board.first_edge == (port.chip.ticks_start + at) % (1 << 30)


def test_the_next_write_begins_with_no_memory_of_the_one_before(port: Port, board: Any) -> None:
    board.journal_append(1, b"record")
    press_at(port, 7, 60)
    board.take_missed()
    for length in (3, 31, 32, 33, 64, 200):
        start = port.chip.now
        board.journal_append(1, b"record")
        press_at(port, length, length + 31)
        told = missed(port, board, start)
        assert near(told, [(length, True, EDGE_DOWN), (length + 31, False, EDGE_UP)]), told
