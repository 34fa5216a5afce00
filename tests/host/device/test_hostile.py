"""P5: what a device says is untrusted. Whatever it sends, or does not, ends in a sentence and the
right exit code, in "unknown" where nothing can be known, and in "muted" never.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import select
import sqlite3
import struct
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fake_device import (
    BOARD,
    ESCAPES,
    HELLO,
    LIVE,
    MISSING,
    MUTED,
    Board,
    Device,
    Last,
    Script,
    ScriptedPort,
    TcpDevice,
    changed,
    on,
    pty_device,
    sealed,
    stable_name,
    tcp_device,
)
from hypothesis import example, given
from hypothesis import strategies as st
from serial.urlhandler import protocol_socket

from conftest import check_sentence, plug_in
from hardmute.device import discovery
from hardmute.device.client import STREAM_SILENCE_S, Session
from hardmute.device.pace import Pace
from hardmute.evidence.observation import Observation, seen
from hardmute.model.answers import Status, conclude, parse_status
from hardmute.model.clock import HostClock
from hardmute.model.errors import FAULT, INTERRUPTED, OK, UNKNOWN, USAGE, UnreachableError
from hardmute.model.errors import LIVE as LIVE_CODE
from hardmute.store.log import Log
from hardmute.sync.contact import Contact, Meeting
from hardmute.sync.recorder import Recorder
from muteboard import journal, wire

RP2040 = (0x2E8A, 0x0005)
EARLIER = seen(
    parse_status(MUTED),
    conclude(parse_status(MUTED)),
    board=BOARD,
    device="/dev/earlier",
    source="status",
    at_ms=1_700_000_000_000,
)

Attach = Callable[..., Device]


@pytest.fixture
def attach() -> Iterator[Attach]:
    """Connect a scripted device: ``attach(script)``; it goes with the test."""
    with ExitStack() as stack:

        def connect(script: Script | None = None, where: Any = pty_device) -> Device:
            return stack.enter_context(where(script))

        yield connect


@pytest.fixture
def earlier(home: Path) -> Observation:
    """A row that was in the log before, and must be there after."""
    log = Log(home / "log.sqlite3")
    log.add(EARLIER)
    log.close()
    return EARLIER


def rows(home: Path) -> list[tuple[str | None, str, str | None]]:
    """Board, verdict and reason of all that is in the log."""
    database = sqlite3.connect(home / "log.sqlite3")
    try:
        return database.execute(
            "SELECT board, body ->> 'verdict', body ->> 'reason' FROM entry"
            " WHERE kind = 'observation' ORDER BY row"
        ).fetchall()
    finally:
        database.close()


def check_unknown(result: Any, home: Path, reason: str) -> None:
    """The whole contract for a board of which nothing is known (with `earlier`)."""
    assert result.code == UNKNOWN
    check_sentence(result.err)
    assert result.out.startswith("UNKNOWN  ")
    assert "muted" not in result.out.lower()
    before, now = rows(home)
    assert before == (BOARD, "muted", None)
    assert now[1:] == ("unknown", reason)


# What the device does in the place of an answer, the command, and the reason that is logged.


def _half_then_gone(_request: dict[str, Any], _answer: dict[str, Any], frame: bytes) -> bytes:
    return Last(frame[: len(frame) // 2])


def _second_time_replayed() -> Board:
    first: list[bytes] = []

    def answer(_request: dict[str, Any], _answer: dict[str, Any], frame: bytes) -> bytes:
        first.append(frame)
        return first[0]

    return on("status", answer)


def _reframed(**changes: object) -> Callable[..., bytes]:
    def answer(_request: dict[str, Any], good: dict[str, Any], _frame: bytes) -> bytes:
        return wire.frame(changed(good, **changes))

    return answer


MISBEHAVIOUR = {
    "never answers": (lambda: lambda _line: b"", "status", "no_answer"),
    "never answers status": (lambda: on("status", lambda *_: b""), "status", "no_answer"),
    "closes at once": (lambda: lambda _line: None, "status", "unplugged"),
    "closes at status": (lambda: on("status", lambda *_: None), "status", "unplugged"),
    "unplugged mid-answer": (lambda: on("status", _half_then_gone), "status", "unplugged"),
    "unplugged mid-hello": (lambda: on("hello", _half_then_gone), "status", "unplugged"),
    "echoes": (lambda: lambda line: line + b"\r\n", "status", "no_answer"),
    "prompts": (lambda: lambda _line: b"login: \x1b[0m\r\n", "status", "no_answer"),
    "REPL": (
        lambda: lambda line: b">>> " + line + b"\r\n{'id': 1}\r\n>>> ",
        "status",
        "no_answer",
    ),
    "NMEA": (lambda: lambda _line: b"$GPGGA,123519,4807.038,N*47\r\n", "status", "no_answer"),
    "binary": (lambda: lambda _line: bytes(range(256)) * 8, "status", "no_answer"),
    "bad CRC": (
        lambda: on(
            "status", lambda _r, _a, f: f[:-2] + (b"0" if f[-2:-1] != b"0" else b"1") + b"\n"
        ),
        "status",
        "no_answer",
    ),
    "CRC in capitals": (
        lambda: on("status", lambda _r, _a, f: f[:-9] + b"ABCDEF01\n"),
        "status",
        "no_answer",
    ),
    "no CRC": (lambda: on("status", lambda _r, _a, f: f[:-10] + b"\n"), "status", "no_answer"),
    "a bit flipped": (
        lambda: on("status", lambda _r, _a, f: f.replace(b"cut", b"cuu")),
        "status",
        "no_answer",
    ),
    "another id": (
        lambda: on("status", lambda r, a, _f: wire.frame({**a, "id": r["id"] ^ 1})),
        "status",
        "no_answer",
    ),
    "no id": (lambda: on("status", _reframed(id=MISSING)), "status", "no_answer"),
    "id is null": (lambda: on("status", _reframed(id=None)), "status", "no_answer"),
    "id is true": (lambda: on("status", _reframed(id=True)), "status", "no_answer"),
    "id is text": (
        lambda: on("status", lambda r, a, _f: wire.frame({**a, "id": str(r["id"])})),
        "status",
        "no_answer",
    ),
    "an event in its place": (
        lambda: on("status", _reframed(event="state")),
        "status",
        "no_answer",
    ),
    "the old answer again": (_second_time_replayed, "verify", "no_answer"),
    "one key twice": (
        lambda: on("status", lambda _r, _a, f: sealed(b'{"state":"muted",' + f[1:-10])),
        "status",
        "no_answer",
    ),
    "says no": (lambda: on("status", _reframed(ok=False, error="bad_op")), "status", "refused"),
    "says no to hello": (lambda: on("hello", _reframed(ok=False)), "status", "refused"),
    "says no to mute": (lambda: on("mute", _reframed(ok=False, error=ESCAPES)), "mute", "refused"),
    "ok is 1": (lambda: on("status", _reframed(ok=1)), "status", "refused"),
    "clock stands still": (Board, "verify", "not_fresh"),
    "another product": (
        lambda: on("hello", _reframed(product="hardmutt")),
        "status",
        "not_hardmute",
    ),
    "no product": (lambda: on("hello", _reframed(product=MISSING)), "status", "not_hardmute"),
    "newer protocol": (lambda: on("hello", _reframed(proto=[2, 0])), "status", "protocol_version"),
    "older protocol": (lambda: on("hello", _reframed(proto=[0, 9])), "status", "protocol_version"),
    "huge protocol": (
        lambda: on("hello", _reframed(proto=[10**14, 0])),
        "status",
        "protocol_version",
    ),
    "id is a path": (
        lambda: on("hello", _reframed(board="../../../etc/passwd")),
        "status",
        "malformed_answer",
    ),
    "a contact withheld": (
        lambda: on("status", _reframed(sense=[0])),
        "status",
        "malformed_answer",
    ),
    "simulated after all": (
        lambda: on("status", _reframed(simulated=True)),
        "status",
        "malformed_answer",
    ),
}


def patience(reason: str) -> tuple[str, str]:
    """A time-out: where one is not waited for, an answer has the time of a busy machine."""
    return "--timeout", "0.2" if reason == "no_answer" else "30"


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize("case", MISBEHAVIOUR)
def test_P5_a_device_that_misbehaves_is_unknown(
    case: str, cli: Any, attach: Attach, home: Path
) -> None:
    make, command, reason = MISBEHAVIOUR[case]
    device = attach(make())
    check_unknown(cli("-d", device.address, command, *patience(reason)), home, reason)


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize("case", ["never answers", "closes at status", "unplugged mid-answer"])
def test_P5_the_same_over_tcp(case: str, cli: Any, attach: Attach, home: Path) -> None:
    make, command, reason = MISBEHAVIOUR[case]
    device = attach(make(), tcp_device)
    check_unknown(cli("-d", device.address, command, *patience(reason)), home, reason)


@pytest.mark.usefixtures("earlier")
def test_P5_a_device_that_takes_no_data_is_unknown(cli: Any, home: Path) -> None:
    master, slave = os.openpty()
    try:
        tty.setraw(slave)
        termios.tcflow(slave, termios.TCOOFF)
        result = cli("-d", os.ttyname(slave), "status", "--timeout", "0.1")
        check_unknown(result, home, "no_answer")
        assert "takes no data" in result.err
    finally:
        os.close(slave)
        os.close(master)


@pytest.mark.usefixtures("earlier")
def test_P5_a_line_of_10_mb_is_skipped(cli: Any, attach: Attach, home: Path) -> None:
    device = attach(on("status", lambda _r, _a, _f: b"muted" * 2_000_000 + b"\n"), tcp_device)
    result = cli("-d", device.address, "status", "--timeout", "8")
    check_unknown(result, home, "no_answer")
    assert "too_long" in result.err


def test_P5_an_answer_after_a_line_of_10_mb_counts(cli: Any, attach: Attach) -> None:
    device = attach(on("status", lambda _r, _a, f: b"x" * 10_000_000 + b"\n" + f), tcp_device)
    assert cli("-d", device.address, "status", "--timeout", "30").code == OK


class Flood(TcpDevice):
    """Sends for as long as a host is there, whatever that says."""

    def talk(self) -> bool:
        while True:
            read, ready, _ = select.select([self.wake], [self.fd], [])
            if read:
                return False
            if ready:
                try:
                    os.write(self.fd, b"x" * 65536)
                except BlockingIOError:
                    continue
                except OSError:
                    return self.host_left()


@pytest.mark.usefixtures("earlier")
def test_P5_a_flood_ends_at_the_deadline(cli: Any, home: Path) -> None:
    device = Flood(Board())
    device.start()
    try:
        result = cli("-d", device.address, "status", "--timeout", "0.2")
    finally:
        device.stop()
    check_unknown(result, home, "no_answer")


def test_P5_a_socket_is_not_read_empty_before_it_counts_as_open(
    cli: Any, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pyserial does, with no deadline: against a fast enough flood it would never end."""

    def endless(_port: protocol_socket.Serial) -> None:
        raise AssertionError

    monkeypatch.setattr(protocol_socket.Serial, "reset_input_buffer", endless)
    device = attach(Board(), tcp_device)
    assert cli("-d", device.address, "status").code == OK


class FloodPort(ScriptedPort):
    """Endless input; waiting for some takes 0.3 s a time."""

    step_s = 0.3

    def __init__(self, data: bytes) -> None:
        super().__init__(lambda _line: [])
        self._endless = itertools.cycle(data)

    @property
    def in_waiting(self) -> int:
        return 4096

    def read(self, size: int = 1, /) -> bytes:
        assert self.timeout is not None
        self.now += min(self.step_s, self.timeout)
        return bytes(itertools.islice(self._endless, size))


@pytest.mark.parametrize(
    "data",
    [
        b"x",
        b"\n",
        b"x\n",
        b"\r\n",
        wire.frame({"id": 1, "ok": True, **MUTED}),
        wire.frame({"event": "state", "watch": 1, **MUTED}),
        sealed(b'{"id":1'),
    ],
    ids=["no newline", "newlines", "short lines", "CRLF", "answers", "events", "half objects"],
)
def test_P5_no_flood_outlasts_the_deadline(data: bytes) -> None:
    port = FloodPort(data)
    session = Session(port, "/dev/flood", 3.0, new_id=lambda: 77, clock=port.clock)
    for request in (session.hello, session.status, lambda: next(iter(session.watch()))):
        began = port.now
        with pytest.raises(UnreachableError) as caught:
            request()
        assert caught.value.reason == "no_answer"
        assert port.now - began == pytest.approx(3.0)


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize("field", MUTED)
def test_P5_a_missing_field_of_status_at_the_command_line(
    field: str, cli: Any, attach: Attach, home: Path
) -> None:
    device = attach(Board(status=changed(MUTED, **{field: MISSING})))
    check_unknown(cli("-d", device.address, "status"), home, "malformed_answer")


# What fits no schema is unknown; what fits and contradicts itself is a fault (P4).


@pytest.mark.parametrize(
    ("message", "changes", "code"),
    [
        (MUTED, {}, OK),
        (LIVE, {}, LIVE_CODE),
        (MUTED, {"sense": [1, 0]}, FAULT),
        (MUTED, {"sense": [0, 1]}, FAULT),
        (MUTED, {"sense": [1, 1]}, FAULT),
        (MUTED, {"command": "connected"}, FAULT),
        (MUTED, {"faults": ["closed:1"]}, FAULT),
        (MUTED, {"remute_in_ms": 1000}, FAULT),
        (LIVE, {"sense": [1, 0]}, FAULT),
        (LIVE, {"sense": [0, 0]}, FAULT),
        (LIVE, {"command": "cut"}, FAULT),
        (LIVE, {"faults": ["open:2"]}, FAULT),
        (MUTED, {"state": "fault", "cause": "fault", "faults": ["closed:2"]}, FAULT),
        (MUTED, {"state": "fault", "cause": "fault"}, FAULT),
        (LIVE, {"state": "fault"}, FAULT),
    ],
    ids=str,
)
def test_P4_a_contradiction_is_a_fault(
    message: dict[str, Any],
    changes: dict[str, Any],
    code: int,
    cli: Any,
    attach: Attach,
    home: Path,
) -> None:
    device = attach(Board(status={**message, **changes}))
    result = cli("-d", device.address, "status")
    assert (result.code, result.err) == (code, "")
    verdict = {OK: "muted", LIVE_CODE: "live", FAULT: "fault"}[code]
    assert result.out.startswith(verdict.upper() + "  ")
    assert rows(home)[0][:2] == (BOARD, verdict)


def test_P4_a_board_without_a_sense_contact_proves_nothing(cli: Any, attach: Attach) -> None:
    board = Board(hello={**HELLO, "contacts": 0}, status={**MUTED, "sense": []})
    assert cli("-d", attach(board).address, "status").code == UNKNOWN


def consistent(message: dict[str, Any]) -> bool:
    """Whether a board of two contacts may say so and be believed: an oracle of its own."""

    def number(key: str, limit: int) -> bool:
        return type(message[key]) is int and 0 <= message[key] <= limit

    def word(value: object) -> bool:
        return type(value) is str and bool(
            re.fullmatch(r"[A-Za-z0-9_.:+-]{1,32}", value, re.ASCII)
        )

    return (
        set(MUTED) <= set(message)
        and message["state"] == "muted"
        and message["command"] == "cut"
        and type(message["sense"]) is list
        and [type(bit) for bit in message["sense"]] == [int, int]
        and message["sense"] == [0, 0]
        and type(message["cause"]) is str
        and message["cause"] in wire.CAUSES
        and all(number(key, 10**12) for key in ("since_ms", "uptime_ms", "live_ms"))
        and max(message["since_ms"], message["live_ms"]) <= message["uptime_ms"]
        and all(number(key, 10**15) for key in ("boot", "changes"))
        and message["remute_in_ms"] is None
        and message["faults"] == []
        and type(message["warnings"]) is list
        and len(message["warnings"]) <= 16
        and all(map(word, message["warnings"]))
        and type(message["service"]) is str
        and message["service"] in wire.SERVICES
        and message["simulated"] is False
    )


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 3),
    st.integers(-(10**14) + 1, 10**15 - 1),
    st.text(max_size=8),
    st.sampled_from([*wire.STATES, *wire.COMMANDS, *wire.CAUSES, *wire.SERVICES, ESCAPES]),
)
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.just([0, 0]), st.just(MISSING))
MUTATIONS = st.dictionaries(st.sampled_from(sorted(MUTED)), VALUES, max_size=4)


@given(base=st.sampled_from([MUTED, LIVE]), mutation=MUTATIONS)
@example(base=MUTED, mutation={})
@example(base=LIVE, mutation={"state": "muted"})
@example(base=MUTED, mutation={"sense": [False, False]})
@example(base=MUTED, mutation={"faults": ["closed:1"]})
def test_P5_muted_only_if_the_answer_is_exactly_consistent(
    base: dict[str, Any], mutation: dict[str, object]
) -> None:
    message = changed(base, **mutation)

    def script(line: bytes) -> list[tuple[float, bytes]]:
        request = wire.unframe(line, need_crc=False)
        body = HELLO if request["op"] == "hello" else message
        return [(0.001, wire.frame({"id": request["id"], "ok": True, **body}))]

    port = ScriptedPort(script)
    session = Session(port, "/dev/fake", 3.0, clock=port.clock)
    session.hello()
    try:
        verdict = conclude(session.status()).verdict
    except UnreachableError as error:
        verdict = "unknown"
        check_sentence(f"{error}\n")
    except wire.WireError:
        # Lone surrogates cannot be framed, so no board can send them.
        return
    assert (verdict == "muted") == consistent(message)


@given(st.binary(max_size=600))
def test_P5_arbitrary_bytes_are_no_answer(data: bytes) -> None:
    port = ScriptedPort(lambda _line: [(0.001, data)])
    session = Session(port, "/dev/fake", 3.0, clock=port.clock)
    with pytest.raises(UnreachableError):
        session.hello()


# Terminal escapes.


def check_harmless(result: Any) -> None:
    for line in (result.out + result.err).splitlines():
        assert line.isprintable(), line
    assert "Traceback" not in result.err


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "json"])
@pytest.mark.parametrize(
    ("op", "field"),
    [("hello", field) for field in HELLO] + [("status", field) for field in MUTED],
)
def test_P5_terminal_escapes_never_reach_the_terminal(
    op: str, field: str, options: tuple[str, ...], cli: Any, attach: Attach
) -> None:
    good = HELLO if op == "hello" else MUTED
    value = [ESCAPES] if isinstance(good[field], list) else ESCAPES
    device = attach(on(op, _reframed(**{field: value})))
    result = cli("-d", device.address, "status", *options)
    assert result.code == UNKNOWN
    check_harmless(result)
    check_sentence(result.err)


def test_P5_terminal_escapes_in_settings_are_shown_as_harmless(cli: Any, attach: Attach) -> None:
    device = attach(on("config", _reframed(config={ESCAPES: ESCAPES, "mode": ESCAPES})))
    for options in ((), ("--json",)):
        result = cli("-d", device.address, "config", "get", *options)
        assert (result.code, result.err) == (OK, "")
        check_harmless(result)


def test_P5_raw_control_bytes_are_no_frame(cli: Any, attach: Attach) -> None:
    device = attach(on("hello", lambda _r, _a, f: sealed(f[:-10].replace(b"fake", b"\x1b[2J"))))
    result = cli("-d", device.address, "status", "--timeout", "0.2")
    assert result.code == UNKNOWN
    check_harmless(result)


def test_P5_a_usb_serial_number_with_escapes_is_quoted(
    cli: Any, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = attach()
    plug_in(monkeypatch, discovery.Port(device.address, ESCAPES, RP2040))
    for command in ("status", "list"):
        result = cli(command, "--json")
        check_harmless(result)
        assert "muted" not in result.out


# Who it says it is.


@pytest.mark.usefixtures("earlier")
@pytest.mark.parametrize("by_link", [False, True], ids=["port", "link"])
@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
def test_P5_a_fake_id_is_unknown(
    named: bool,
    by_link: bool,
    cli: Any,
    attach: Attach,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = attach()
    plug_in(monkeypatch, discovery.Port(device.address, "E660583883724A32", RP2040))
    name = stable_name(home, device) if by_link else device.address
    result = cli(*(("-d", name) if named else ()), "status")
    check_unknown(result, home, "fake_id")
    assert BOARD in result.err
    assert "E660583883724A32" in result.err


@pytest.mark.parametrize(
    ("serial", "ids"),
    [
        (BOARD.upper(), RP2040),
        (None, RP2040),
        ("anything", (0x239A, 0x80F4)),
        ("anything", (0x303A, 0x4001)),
    ],
)
def test_an_id_that_no_usb_serial_number_contradicts_is_taken(
    serial: str | None,
    ids: tuple[int, int],
    cli: Any,
    attach: Attach,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    device = attach()
    plug_in(monkeypatch, discovery.Port(device.address, serial, ids))
    assert cli("status").code == OK
    assert cli("-d", BOARD, "status").code == OK


def test_two_ports_that_claim_one_id_are_not_guessed_between(
    cli: Any, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = [attach(), attach(Board(status=LIVE))]
    plug_in(monkeypatch, *(discovery.Port(one.address, None, RP2040) for one in devices))
    result = cli("-d", BOARD, "status")
    assert result.code == USAGE
    assert result.out == ""
    assert all(one.address in result.err for one in devices)
    assert "not what it says" in result.err


def test_two_boards_and_none_named_are_listed(
    cli: Any, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "beef" * 4
    devices = [attach(), attach(Board(hello={**HELLO, "board": other}))]
    plug_in(monkeypatch, *(discovery.Port(one.address, None, RP2040) for one in devices))
    result = cli("status")
    assert (result.code, result.out) == (USAGE, "")
    for text in (BOARD, other, devices[0].address, devices[1].address):
        assert text in result.err


def test_a_board_that_was_exchanged_is_unknown(
    cli: Any, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = iter([BOARD, "beef" * 4])
    device = attach(on("hello", lambda _r, a, _f: wire.frame({**a, "board": next(names)})))
    plug_in(monkeypatch, discovery.Port(device.address, None, RP2040))
    result = cli("-d", BOARD, "status")
    assert result.code == UNKNOWN
    check_sentence(result.err)
    assert "exchanged" in result.err


@pytest.mark.parametrize("case", ["never answers", "says no to hello", "says no", "no product"])
def test_one_hostile_port_does_not_hide_the_others(
    case: str, cli: Any, attach: Attach, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = attach(), attach(MISBEHAVIOUR[case][0]())
    plug_in(monkeypatch, *(discovery.Port(one.address, None, RP2040) for one in (bad, good)))
    result = cli("list", "--json", "--timeout", "3")
    assert result.code == OK
    verdicts = {row["device"]: row["verdict"] for row in result.json["boards"]}
    assert verdicts == {good.address: "muted", bad.address: "unknown"}


# Old answers.


def test_P5_a_late_answer_does_not_satisfy_the_next_request(cli: Any, attach: Attach) -> None:
    late: list[bytes] = []
    state = [MUTED]

    def script(line: bytes) -> bytes:
        if not line:
            return b""
        request = wire.unframe(line, need_crc=False)
        body = HELLO if request["op"] == "hello" else state[0]
        answer = wire.frame({"id": request["id"], "ok": True, **body})
        if request["op"] == "status" and not late:
            late.append(answer)
            return b""
        return b"".join(late) + answer

    device = attach(script)
    assert cli("-d", device.address, "status", "--timeout", "2").code == UNKNOWN
    state[0] = LIVE
    # Each answer now comes behind the "muted" of the request that nobody waits for any more.
    result = cli("-d", device.address, "status", "--json")
    assert (result.code, result.json["verdict"]) == (LIVE_CODE, "live")


def test_P5_a_late_answer_does_not_satisfy_the_same_session() -> None:
    answers: list[bytes] = []

    def script(line: bytes) -> list[tuple[float, bytes]]:
        request = wire.unframe(line, need_crc=False)
        body = MUTED if not answers else LIVE
        answers.append(wire.frame({"id": request["id"], "ok": True, **body}))
        return [(3.5 if len(answers) == 1 else 0.6, answers[-1])]

    port = ScriptedPort(script)
    session = Session(port, "/dev/fake", 3.0, clock=port.clock)
    with pytest.raises(UnreachableError):
        session.status()
    assert session.status().state == "live"


def test_P5_an_answer_cannot_be_foretold() -> None:
    board = Board()

    def script(line: bytes) -> list[tuple[float, bytes]]:
        return [(0.0, board(line) or b"")]

    for _ in range(2):
        port = ScriptedPort(script)
        session = Session(port, "/dev/fake", 3.0, clock=port.clock)
        session.hello()
        for _ in range(50):
            session.status()
    ids = [request["id"] for request in board.requests]
    assert len(set(ids)) == len(ids)
    assert all(0 <= one < wire.ID_LIMIT for one in ids)
    # 102 numbers below 2**30 that all fit into 2**24 would be no accident.
    assert max(ids) > 1 << 24


# Streams.


def stream(*events: tuple[float, dict[str, Any]]) -> tuple[ScriptedPort, Iterator[Status]]:
    """A watch whose request has id 77, and the events that come, each after so many seconds."""

    def script(line: bytes) -> list[tuple[float, bytes]]:
        request = wire.unframe(line, need_crc=False)
        answer = wire.frame({"id": request["id"], "ok": True})
        return [(0.0, answer), *((wait, wire.frame(event)) for wait, event in events)]

    port = ScriptedPort(script)
    session = Session(port, "/dev/fake", 3.0, new_id=lambda: 77, clock=port.clock)
    return port, session.watch()


EVENT = {"event": "state", "watch": 77, **MUTED}


def test_P5_silence_over_3_s_in_a_stream_is_unknown() -> None:
    port, events = stream((0.1, EVENT), (2.9, EVENT), (3.1, EVENT))
    assert next(events).state == "muted"
    assert next(events).state == "muted"
    began = port.now
    with pytest.raises(UnreachableError) as caught:
        next(events)
    assert caught.value.reason == "silent"
    assert port.now - began == pytest.approx(STREAM_SILENCE_S)
    check_sentence(f"{caught.value}\n")


@pytest.mark.parametrize(
    "event",
    [
        {**EVENT, "watch": 78},
        {**EVENT, "watch": None},
        {**EVENT, "watch": True},
        changed(EVENT, watch=MISSING),
        {**EVENT, "event": "states"},
        changed(EVENT, event=MISSING),
        {"id": 77, "ok": True, **MUTED},
        {"id": 77, "ok": True},
    ],
    ids=["other", "null", "true", "none", "other event", "no event", "answer", "bare answer"],
)
def test_P5_what_belongs_to_another_watch_is_ignored(event: dict[str, Any]) -> None:
    port, events = stream((0.1, EVENT), *[(0.5, event)] * 20)
    next(events)
    began = port.now
    with pytest.raises(UnreachableError) as caught:
        next(events)
    assert caught.value.reason == "silent"
    assert port.now - began == pytest.approx(STREAM_SILENCE_S)


@pytest.mark.parametrize("field", MUTED)
def test_P5_a_malformed_event_is_unknown(field: str) -> None:
    _, events = stream((0.1, EVENT), (0.1, changed(EVENT, **{field: MISSING})))
    next(events)
    with pytest.raises(UnreachableError) as caught:
        next(events)
    assert caught.value.reason == "malformed_answer"


def test_P5_watch_of_a_board_that_goes_away_says_unknown(
    cli: Any, attach: Attach, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the command line: one event, then the board is gone; Ctrl-C ends it."""

    def events(request: dict[str, Any], _answer: dict[str, Any], frame: bytes) -> bytes:
        return Last(frame + wire.frame({"event": "state", "watch": request["id"], **MUTED}))

    device = attach(on("watch", events), tcp_device)
    sleep = time.sleep

    def interrupted(seconds: float) -> None:
        # The shortest pause between two attempts; pyserial sleeps as well, for less.
        if seconds >= 0.5:
            raise KeyboardInterrupt
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", interrupted)
    result = cli("-d", device.address, "watch", "--json")
    assert result.code == INTERRUPTED
    verdicts = [json.loads(line)["verdict"] for line in result.out.splitlines()]
    assert verdicts == ["muted", "unknown"]
    assert [row[1] for row in rows(home)] == verdicts


# How long a device may hold a contact, and what it may write into the log.


class Historian:
    """A board that was never paired, with a made-up journal of ``last`` records.

    A page of it takes ``page_s``; the device knows ``made`` of the records.
    """

    def __init__(self, page_s: float, last: int, made: int) -> None:
        self._page_s, self._last = page_s, last
        self._records: list[bytes] = []
        head = bytes(16)
        for seq in range(1, made + 1):
            event = journal.BOOT if seq == 1 else journal.STUCK
            fields = struct.pack("<IIIHHIIIBBBB", seq, 1, seq, 0, 0, 0, 0, 0, event, 0, 0, 0)
            self._records.append(fields + head + bytes(16))
            head = journal.head_of(self._records[-1])
        hello = changed(HELLO, journal=True)
        status = changed(MUTED, seq=last, head="00" * 16, pairing=0)
        self._board = Board(hello=hello, status=status)

    def __call__(self, line: bytes) -> list[tuple[float, bytes]]:
        answers = [self._answer(part) for part in line.split(b"\n") if part]
        return [answer for answer in answers if answer[1]]

    def _answer(self, line: bytes) -> tuple[float, bytes]:
        request = wire.unframe(line, need_crc=False)
        if request["op"] == "attest":
            refusal = {"id": request["id"], "ok": False, "error": "not_paired"}
            return 0.01, wire.frame(refusal)
        if request["op"] != "journal":
            return 0.01, self._board(line) or b""
        start = request["from"]
        page = b"".join(self._records[start - 1 : start - 1 + journal.PAGE])
        answer = {"first": 1, "from": start, "last": self._last}
        answer |= {"id": request["id"], "ok": True, "records": base64.b64encode(page).decode()}
        return self._page_s, wire.frame(answer)


def meet_historian(historian: Historian, timeout: float) -> tuple[Meeting, float, float]:
    """A contact. What it comes to, and the seconds until that and until the contact's end."""
    port = ScriptedPort(historian)
    session = Session(port, "/dev/history", timeout, clock=port.clock)
    clock = HostClock(
        lambda: int(port.now * 1000), lambda: round(port.now * 1e6), lambda: "this run"
    )
    began = port.now
    contact = Contact(session, session.hello(), Recorder(), clock=clock)
    met = contact.meet()
    told = port.now
    contact.finish()
    return met, told - began, port.now - began


def records_in(home: Path) -> int:
    log = Log(home / "log.sqlite3")
    try:
        return sum(1 for _ in log.entries(kinds=["record"]))
    finally:
        log.close()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("timeout", [0.7, 1.0, 3.0])
@pytest.mark.parametrize("page_s", [0.3, 0.6, 60.0])
def test_P5_a_slow_journal_holds_no_state_back(
    capsys: pytest.CaptureFixture[str], timeout: float, page_s: float
) -> None:
    met, told_s, took_s = meet_historian(Historian(page_s, 140_000, made=2_000), timeout)
    assert met.conclusion.verdict == "muted"
    assert told_s <= 2.0
    assert took_s <= 3 * timeout + 0.01
    *_, said = capsys.readouterr().err.splitlines()
    assert "history" in said


def test_P6_history_that_took_too_long_is_fetched_the_next_time(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    historian = Historian(0.9, 100, made=100)
    counts: list[int] = []
    for _ in range(6):
        met, *_ = meet_historian(historian, 1.0)
        assert met.conclusion.verdict == "muted"
        counts.append(records_in(home))
    assert counts == sorted(counts)
    assert 0 < counts[0] < counts[-1] == 100
    assert "records of the board's history are not fetched yet" in capsys.readouterr().err


@pytest.mark.usefixtures("capsys")
def test_P5_a_contact_stores_as_many_records_as_a_board_keeps(home: Path) -> None:
    most = journal.SEGMENTS * journal.SEGMENT
    met, _, took_s = meet_historian(Historian(0.0001, 140_000, made=most + 400), 3.0)
    assert met.conclusion.verdict == "muted"
    assert took_s <= 9.0
    assert records_in(home) == most


@pytest.mark.parametrize(
    "data",
    [b"\n", b"x\n", b"x", b"x" * 600 + b"\n", wire.frame({"event": "state", "watch": 5})],
    ids=["newlines", "short lines", "one line", "long lines", "frames"],
)
def test_what_a_flood_has_a_monitor_read_is_bounded(data: bytes) -> None:
    """So that it delays no other board: CPU time is by the byte and by the line."""
    port = FloodPort(data)
    heard: list[int] = []

    class Counting(Pace):
        def take(self, data: bytes) -> None:
            heard.append(len(data) + 100 * data.count(b"\n"))
            super().take(data)

    def clock() -> float:
        return port.now

    def sleep(seconds: float) -> None:
        assert 0 < seconds <= 0.25
        port.now += seconds

    # It costs no time to have what a flood has sent.
    port.step_s = 0.0
    session = Session(port, "/dev/fake", 3.0, clock=clock, pace=Counting(clock, sleep))
    begun = port.now
    for _ in range(3):
        with pytest.raises(UnreachableError):
            session.hello()
    seconds = port.now - begun
    assert seconds >= 9
    # And what came with the last read.
    assert sum(heard) <= 256 * 1024 + 64 * 1024 * seconds + max(heard)
