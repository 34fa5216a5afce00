"""The serial session: any bytes from the host, any room in the port."""

import tracemalloc

from fakeboard import Bench
from hypothesis import given
from hypothesis import strategies as st
from steady import STEADY
from test_link import OPS

from muteboard import wire


def test_P3_flood_of_a_host_that_never_reads_takes_no_memory():
    bench = Bench()
    bench.board.room = 0
    bench.send(wire.frame({"id": 9, "op": "status"}) * 100)
    bench.run(100)
    tracemalloc.start()
    try:
        bench.board.calls.clear()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            bench.run(100)
            bench.board.calls.clear()
        assert tracemalloc.get_traced_memory()[0] - before < 4096
    finally:
        tracemalloc.stop()


@STEADY
@given(st.lists(st.integers(0, 9), min_size=1, max_size=30).filter(any))
def test_frames_are_whole_however_little_the_port_takes(rooms):
    bench = Bench()
    bench.send(b"".join(wire.frame({"id": number, "op": "status"}) for number in range(2)))
    for turn in range(2000):
        bench.board.room = rooms[turn % len(rooms)]
        bench.run(1)
        if bench.board.sent.count(b"\n") == 2:
            break
    assert [answer["id"] for answer in bench.heard()] == [0, 1]


@STEADY
@given(
    st.lists(
        st.binary(max_size=100)
        | st.sampled_from([*OPS, "unmute", "connect", "press"]).map(
            lambda op: wire.frame({"id": 1, "op": op, "set": {"mode": "push_to_talk"}})
        )
        | st.dictionaries(st.sampled_from(["id", "op", "set", "state", "command"]), st.integers())
        .filter(lambda value: all(abs(number) < 10**14 for number in value.values()))
        .map(wire.frame),
        max_size=10,
    ),
    st.integers(0, 64),
)
def test_P2_no_bytes_from_the_host_connect_the_line(messages, room):
    bench = Bench()
    bench.board.room = room
    bench.board.calls.clear()
    bench.send(b"\n".join(messages) + b"\n")
    bench.run(60)
    assert "connect" not in bench.board.calls
    assert not bench.board.world.coil
    # Nor do they keep the owner from doing so.
    bench.tap()
    assert bench.board.connected
