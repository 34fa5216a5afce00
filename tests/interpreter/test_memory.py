"""The heap on a real MicroPython: nothing grows, and the path of a cut allocates nothing.

Only here: CPython cannot say what MicroPython allocates.
"""

import gc

import micropython
import pytest
from fakeboard import Bench, FakeBoard
from fakes.devkit import DevKit

from muteboard import button, wire

# Each test takes long and measures the heap itself: one run is enough.
RUN_ONCE = True

PRESSES = 100_000
REQUESTS = 1_000_000
ROUNDS = 10
# Growth that is no leak: the collector takes any word on the C stack for a pointer, so a few
# blocks of 32 bytes may outlive their use by chance. One lost in 1000 presses would be 3200 bytes.
CHANCE = 1024


class Board(FakeBoard):
    """Keeps no records: a board's flash is no heap."""

    def journal_append(self, segment: int, data: bytes | bytearray) -> None:
        super().journal_append(segment, data)
        self.segments[segment] = b""


def in_use(bench: Bench) -> int:
    """Bytes of heap in use, without what the fake has noted down."""
    bench.board.calls = []
    bench.board.sent = bytearray()
    gc.collect()
    return gc.mem_alloc()


def polls(bench: Bench, *waits: int) -> None:
    """A pass of the superloop, then one after each of these times."""
    bench.app.step()
    for ms in waits:
        bench.board.world.advance(ms)
        bench.app.step()
    bench.board.calls.clear()


def press(bench: Bench) -> None:
    """As few passes as a press can have: its edges, its debouncing, the relay's travel."""
    bench.board.world.press(True)
    polls(bench, 31)
    bench.board.world.press(False)
    polls(bench, 31, 10)


def test_no_growth_over_100_000_presses():
    bench = Bench(Board())
    for _ in range(100):
        press(bench)
    before = in_use(bench)
    for _ in range(ROUNDS):
        for _ in range(PRESSES // ROUNDS):
            press(bench)
        assert in_use(bench) <= before + CHANCE
    # Each of them counted: live and muted in turn.
    assert bench.app.controller.changes == PRESSES + 100


LINES = (
    wire.frame({"id": 1, "op": "status"}),
    wire.frame({"id": 2, "op": "hello"}),
    b'{"id":3,"op":"mute"}\n',
    wire.frame({"id": 4, "op": "config"}),
    wire.frame({"id": 5, "op": "config", "set": {"mode": "push_to_talk"}}),
    wire.frame({"id": 6, "op": "watch"}),
    wire.frame({"id": 7, "op": "unmute"}),
    b'{"id":8,"op":"status"}\t00000000\n',
    b'{"id":9,"op":[[[[\n',
    b"\xff\x00 not ascii\n",
    b"x" * 600 + b"\n",
    b"\r\n",
)
# What they are answered with: all but the bare newline are.
ANSWERS = len(LINES) - 1


def test_no_growth_over_1_000_000_requests():
    bench = Bench(Board())
    everything = b"".join(LINES)
    board = bench.board

    def ask_everything() -> int:
        """Send each line, let the board answer, and count the answers."""
        board.received = everything
        while board.received:
            board.world.advance(1)
            bench.app.step()
            board.calls.clear()
        # What was read is not answered yet; and contacts that `mute` moved have to settle.
        polls(bench, 5, 5, 5, 5)
        answers = board.sent.count(b'"ok":')
        board.sent = bytearray()
        return answers

    for _ in range(100):
        ask_everything()
    before = in_use(bench)
    rounds = REQUESTS // len(LINES) // ROUNDS + 1
    for _ in range(ROUNDS):
        for number in range(rounds):
            if number % 100 == 0:
                # Now and then `mute` has something to do. A press right after would be consumed.
                polls(bench, 1000)
                press(bench)
                assert board.connected
            assert ask_everything() == ANSWERS
        assert in_use(bench) <= before + CHANCE
    assert rounds * ROUNDS * len(LINES) >= REQUESTS


@pytest.mark.parametrize("short", [False, True])
@pytest.mark.parametrize("cut_level", [True, False])
def test_P3_the_esp32s_interrupt_cuts_without_allocating(cut_level, short):
    kit = DevKit()
    board = kit.board()
    chip = kit.chip
    chip.press(not cut_level)
    board.take_edges()
    board.connect(cut_level)
    assert chip.relay_on
    handler, pin = kit.modules.handlers[chip.button]
    chip.recording = False
    # The contact moves; its interrupt is called here, with the heap locked, and not by the fake.
    if not short:
        chip.down = cut_level
    micropython.heap_lock()
    try:
        handler(pin)
        board.cut()
    finally:
        micropython.heap_unlock()
    assert not chip.relay_on
    assert board.take_edges() & (button.EDGE_DOWN if cut_level else button.EDGE_UP)


@pytest.mark.parametrize("mode", ["toggle", "push_to_talk"])
def test_P3_the_superloops_decision_to_cut_allocates_nothing(mode):
    bench = Bench(FakeBoard(blobs={"config": wire.dumps({"mode": mode}).encode()}))
    world = bench.board.world
    world.press(True)
    bench.run(100)
    world.press(mode == "push_to_talk")
    bench.run(100)
    mute = bench.app.controller
    assert mute.command == "connected"
    down = mode == "toggle"
    edge = button.EDGE_DOWN if down else button.EDGE_UP
    now = bench.now
    sense = world.sense()
    micropython.heap_lock()
    try:
        mute.step(now, down, edge, sense)
    finally:
        micropython.heap_unlock()
    assert mute.command == "cut"


def test_the_locked_heap_notices_an_allocation():
    expected = pytest.raises(MemoryError)
    micropython.heap_lock()
    try:
        with expected:
            bytearray(10)
    finally:
        micropython.heap_unlock()
