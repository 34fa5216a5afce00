"""The serial session, on a board in memory: every op, every error, and hosts that misbehave."""

import pytest
from fakeboard import Bench, FakeBoard

from muteboard import wire

OPS = ("hello", "status", "watch", "mute", "config")


def events(bench: Bench) -> list[dict]:
    return [message for message in bench.heard() if "event" in message]


# Requests and answers


def test_hello_says_who_and_which_protocol():
    bench = Bench(FakeBoard(contacts=2))
    assert bench.type('{"id":1,"op":"hello"}') == {
        "id": 1,
        "ok": True,
        "product": "hardmute",
        "proto": [1, 2],
        "firmware": bench.ask("hello")["firmware"],
        "board": "e6614c311b8a4f2d",
        "port": "fake",
        "contacts": 2,
        "simulated": True,
        "journal": True,
    }


def test_status_of_a_board_at_rest():
    bench = Bench(run_ms=1000)
    answer = bench.type('{"id":2,"op":"status"}')
    assert 1000 <= answer["uptime_ms"] <= 1030
    assert answer == {
        "id": 2,
        "ok": True,
        "state": "muted",
        "command": "cut",
        "sense": [0],
        "cause": "boot",
        "since_ms": answer["uptime_ms"],
        "uptime_ms": answer["uptime_ms"],
        "boot": 1,
        "changes": 0,
        "live_ms": 0,
        "remute_in_ms": None,
        "faults": [],
        "warnings": [],
        "service": "none",
        "simulated": True,
        "seq": 1,
        "head": answer["head"],
        "pairing": 0,
    }


def test_status_of_a_live_board():
    bench = Bench()
    bench.go_live()
    bench.run(1000)
    status = bench.ask("status")
    assert (status["state"], status["command"], status["cause"]) == ("live", "connected", "button")
    assert status["sense"] == [1]
    assert status["changes"] == 1
    assert 1000 < status["live_ms"] == status["since_ms"] < 1100
    # The live time runs from the command, a relay's travel before the contact closed.
    assert 3_600_000 - 1100 < status["remute_in_ms"] < 3_600_000 - status["live_ms"]


def test_P4_status_of_a_fault_names_the_contact():
    bench = Bench(FakeBoard(contacts=3))
    bench.go_live()
    bench.board.world.welded.add(1)
    bench.tap()
    status = bench.ask("status")
    assert (status["state"], status["command"], status["cause"]) == ("fault", "cut", "fault")
    assert status["sense"] == [0, 1, 0]
    assert status["faults"] == ["closed:2"]


def test_P2_mute_cuts_at_once_and_says_whether_it_did():
    bench = Bench()
    assert bench.ask("mute")["changed"] is False
    bench.go_live()
    assert bench.ask("mute")["changed"] is True
    assert bench.board.world.coil is False
    status = bench.ask("status")
    assert (status["state"], status["cause"], status["changes"]) == ("muted", "host", 2)
    assert bench.ask("mute")["changed"] is False
    assert bench.ask("status")["changes"] == 2


def test_config_is_readable_at_any_time():
    assert Bench().ask("config")["config"] == {
        "mode": "toggle",
        "max_live_s": 3600,
        "palette": "default",
        "brightness": 50,
    }


@pytest.mark.parametrize("op", OPS)
def test_request_typed_by_hand_needs_no_crc(op):
    answer = Bench().type('  { "op":"' + op + '", "id" : 5, "unknown": [1] }  \r')
    assert (answer["id"], answer["ok"]) == (5, True)


@pytest.mark.parametrize("request_id", [0, 1, wire.ID_LIMIT - 1])
def test_answer_carries_the_id(request_id):
    assert Bench().type(f'{{"id":{request_id},"op":"status"}}')["id"] == request_id


# Errors


@pytest.mark.parametrize(
    ("line", "error", "request_id"),
    [
        ("x" * 600, "too_long", None),
        ('{"id":1,"op":"sta\x7ftus"}', "bad_line", None),
        ('{"id":1,"op":"status"}\t00000000', "bad_crc", None),
        ('{"id":1,"op":"status"', "bad_json", None),
        ("status", "bad_json", None),
        ("{}", "bad_request", None),
        ('{"op":"status"}', "bad_request", None),
        ('{"id":null,"op":"status"}', "bad_request", None),
        ('{"id":true,"op":"status"}', "bad_request", None),
        ('{"id":"1","op":"status"}', "bad_request", None),
        ('{"id":-1,"op":"status"}', "bad_request", None),
        ('{"id":1073741824,"op":"status"}', "bad_request", None),
        ('{"id":1}', "bad_request", 1),
        ('{"id":1,"op":7}', "bad_request", 1),
        ('{"id":1,"op":["mute"]}', "bad_request", 1),
        ('{"id":1,"op":""}', "bad_op", 1),
        ('{"id":1,"op":"unmute"}', "bad_op", 1),
        ('{"id":1,"op":"Status"}', "bad_op", 1),
        ('{"id":1,"op":"attest"}', "bad_arg", 1),
        ('{"id":1,"op":"journal"}', "bad_arg", 1),
        ('{"id":1,"op":"pair"}', "setup_required", 1),
        ('{"id":1,"op":"config","set":{}}', "setup_required", 1),
        ('{"id":1,"op":"config","set":7}', "setup_required", 1),
    ],
)
def test_P5_every_bad_request_has_its_error(line, error, request_id):
    bench = Bench()
    assert bench.type(line) == {"id": request_id, "ok": False, "error": error}
    assert bench.ask("status")["ok"]


def test_newline_abandons_a_half_line():
    bench = Bench()
    bench.send(b'{"id":1,"op":"mu')
    bench.run(1000)
    assert bench.heard() == []
    bench.send(b"\n")
    bench.run(5)
    assert [answer["error"] for answer in bench.heard()] == ["bad_json"]
    bench.send(b"\n\r\n\n")
    bench.run(10)
    assert bench.heard() == []
    assert bench.ask("hello")["ok"]


def test_request_may_arrive_a_byte_at_a_time():
    bench = Bench()
    for byte in wire.frame({"id": 3, "op": "status"}):
        assert bench.heard() == []
        bench.send(bytes([byte]))
        bench.run(1)
    assert [answer["id"] for answer in bench.heard()] == [3]


def test_requests_in_one_packet_are_answered_in_order():
    bench = Bench()
    bench.send(b"".join(wire.frame({"id": number, "op": "hello"}) for number in range(20)))
    bench.run(60)
    assert [answer["id"] for answer in bench.heard()] == list(range(20))


# Writing


def test_P3_host_that_floods_and_never_reads_delays_only_itself():
    bench = Bench()
    bench.go_live()
    bench.board.room = 0
    flood = wire.frame({"id": 9, "op": "status"}) * 100
    bench.send(flood)
    bench.run(100)
    unread = len(bench.board.received)
    assert unread >= len(flood) - 64
    feeds = bench.board.feeds
    bench.run(2000)
    # One frame is outstanding, nothing more is read, and the loop goes round.
    assert len(bench.board.received) == unread
    assert bench.board.feeds - feeds == 2000
    bench.board.world.press(True)
    bench.run(1)
    assert bench.board.world.coil is False
    bench.board.world.press(False)
    bench.run(50)
    assert bench.app.controller.state == "muted"
    bench.board.room = None
    bench.run(500)
    assert len(bench.heard()) == 100


@pytest.mark.parametrize("junk", [b"x", b"\x00\xff\x1b[31m", b'{"a":"\\', b"\r", b"\t"])
def test_P2_P3_megabyte_without_newline_is_one_error(junk):
    bench = Bench()
    bench.go_live()
    megabyte = (junk * (1_000_000 // len(junk) + 1))[:1_000_000]
    chunk = 64
    step = bench.app.step
    for at in range(0, len(megabyte), chunk):
        bench.board.received = megabyte[at : at + chunk]
        step()
    assert bench.heard() == []
    assert bench.board.connected
    bench.send(b'\n{"id":4,"op":"status"}\n')
    bench.run(10)
    error, answer = bench.heard()
    assert error == {"id": None, "ok": False, "error": "too_long"}
    assert (answer["id"], answer["state"]) == (4, "live")


# Watching


def test_watch_sends_an_event_at_once_then_at_least_one_a_second():
    bench = Bench()
    bench.send(wire.frame({"id": 77, "op": "watch"}))
    bench.run(5)
    answer, first = bench.heard()
    assert answer == {"id": 77, "ok": True}
    assert (first["event"], first["watch"], first["state"]) == ("state", 77, "muted")
    assert "id" not in first
    times = [first["uptime_ms"]]
    bench.run(10_000)
    times += [event["uptime_ms"] for event in events(bench)]
    assert len(times) == 11
    assert all(times[at + 1] - times[at] <= 1000 for at in range(10))


def test_event_has_the_fields_of_a_status():
    bench = Bench()
    status = bench.ask("status")
    bench.ask("watch")
    bench.run(1000)
    event = events(bench)[-1]
    assert set(event) - {"event", "watch"} == set(status) - {"id", "ok"}


def test_P5_a_change_is_told_at_once_when_the_contacts_settled():
    bench = Bench()
    bench.ask("watch")
    bench.run(10)
    bench.heard()
    bench.go_live()
    (live,) = events(bench)
    assert (live["state"], live["sense"], live["since_ms"]) == ("live", [1], 0)
    bench.tap()
    (muted,) = events(bench)
    assert (muted["state"], muted["sense"], muted["since_ms"]) == ("muted", [0], 0)


def test_P5_events_go_on_under_a_flood_of_requests():
    bench = Bench()
    bench.ask("watch")
    seen = []
    for _ in range(3000):
        if len(bench.board.received) < 64:
            bench.send(wire.frame({"id": 5, "op": "hello"}).replace(b"hello", b"nonsense") * 4)
        bench.run(1)
        seen += events(bench)
    assert len(seen) >= 3


def test_events_coalesce_while_the_host_does_not_read():
    bench = Bench()
    bench.ask("watch")
    bench.run(10)
    bench.heard()
    bench.board.room = 0
    for _ in range(5):
        bench.go_live()
        bench.tap()
    bench.run(5000)
    bench.board.room = None
    bench.run(5)
    stale, newest = events(bench)
    # The frame that was under way when the host stopped, and then the present.
    assert stale["changes"] == 1
    assert (newest["changes"], newest["state"]) == (10, "muted")
    assert newest["uptime_ms"] >= bench.now - 10


def test_hello_ends_the_watch_and_watch_again_takes_the_new_id():
    bench = Bench()
    first = bench.ask("watch")["id"]
    second = bench.ask("watch")["id"]
    bench.run(2500)
    assert {event["watch"] for event in events(bench)} == {second}
    assert first != second
    bench.ask("hello")
    bench.go_live()
    bench.run(5000)
    assert events(bench) == []


# Settling


@pytest.mark.parametrize("weld", [False, True])
def test_P4_answers_are_withheld_while_the_contacts_settle(weld):
    bench = Bench()
    bench.go_live()
    bench.board.world.release_ms = 8
    if weld:
        bench.board.world.welded.add(0)
    bench.board.world.press(True)
    bench.send(wire.frame({"id": 6, "op": "status"}))
    bench.run(1)
    assert bench.board.world.coil is False
    bench.run(7)
    assert bench.heard() == []
    bench.run(8)
    (answer,) = bench.heard()
    assert answer["state"] == ("fault" if weld else "muted")
    assert answer["sense"] == [int(weld)]


def test_P4_status_right_after_mute_waits_for_the_contacts():
    bench = Bench()
    bench.go_live()
    bench.send(wire.frame({"id": 1, "op": "mute"}) + wire.frame({"id": 2, "op": "status"}))
    bench.run(30)
    muted, status = bench.heard()
    assert muted == {"id": 1, "ok": True, "changed": True}
    assert (status["state"], status["sense"], status["cause"]) == ("muted", [0], "host")
