"""A device that a swapped board could be: it has the id and the journal of one that is paired.

It answers `attest` in every way. Its port is in memory, and so is its time.
"""

from __future__ import annotations

import binascii
import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_device import HELLO, ScriptedPort

from conftest import use_clock
from evidence_maker import BOARD, Clock, MadeBoard, Story, hold
from hardmute.device import discovery
from hardmute.device.client import Session
from hardmute.device.discovery import Port
from hardmute.device.holder import Turn
from hardmute.evidence.observation import Observation
from hardmute.model.clock import SYSTEM, HostClock
from hardmute.store import keys
from hardmute.store.log import Log
from hardmute.sync import visit
from muteboard import attest, wire

DEVICE = "/dev/fake"
ATTESTS = (
    "ok",
    "busy",
    "storage",
    "bad_arg",
    "something_new",
    "unsupported",
    "not_paired",
    "silence",
    "malformed",
    "wrong_mac",
)


class Device:
    """What is at the port: the journal and state of ``made``; it answers ``attest`` as told.

    ``lie``: what is changed in a status. ``signed``: of what it has signed rightly, the states.
    """

    def __init__(self, made: MadeBoard, attests: str = "ok") -> None:
        self.made = made
        self.attests = attests
        self.lie: Callable[[dict[str, Any]], dict[str, Any]] = dict
        self.hello: dict[str, Any] = {
            **HELLO, "board": BOARD, "contacts": 1, "journal": True,
        }  # fmt: skip
        self.signed: list[str] = []
        self.asked: list[str] = []
        # What a watch gets after the state as it is: what is done before each event.
        self.happens: list[Callable[[], object]] = []
        # The host's clock when the board was switched on, and the board's as it was left.
        self._begun = visit.SYSTEM.now_s() - made.clock.ms / 1000
        self._left_ms = made.clock.ms
        # How far a test has put the board's clock on, and so the host's.
        self._ahead_ms = 0

    def clock(self, host: HostClock) -> HostClock:
        return HostClock(
            lambda: host.wall_ms() + self._ahead_ms,
            lambda: host.run_us() + 1000 * self._ahead_ms,
            host.run,
        )

    def goes_on(self) -> None:
        """The board's clock goes on as the host's does."""
        clock = self.made.clock
        self._ahead_ms += clock.ms - self._left_ms
        clock.ms = self._left_ms = round(1000 * (visit.SYSTEM.now_s() - self._begun))

    def script(self, line: bytes) -> list[tuple[float, bytes]]:
        self.goes_on()
        request = wire.unframe(line, need_crc=False)
        self.asked.append(request["op"])
        said = self.answer(request)
        if said is None:
            return []
        return [(0.0, wire.frame({"id": request["id"], "ok": "error" not in said, **said}))]

    def answer(self, request: dict[str, Any]) -> dict[str, Any] | None:
        op = request["op"]
        if op == "hello":
            return self.hello
        if op == "status":
            return self.status()
        if op == "attest":
            return self.attest(request["nonce"])
        if op == "journal":
            return self.page(request["from"])
        if op == "config":
            return {"config": {"mode": "toggle"}}
        if op == "mute" and self.made.state == "live":
            self.made.mute("host")
        return {}

    def status(self) -> dict[str, Any]:
        statement, _, _ = self.made.attest(bytes(attest.MAC))
        for key in ("nonce", "board", "epoch"):
            del statement[key]
        state = self.made.state
        said = {
            **statement,
            "remute_in_ms": 60_000 if state == "live" else None,
            "faults": ["closed:1"] if state == "fault" else [],
            "warnings": [],
            "simulated": False,
        }
        return self.lie(said)

    def attest(self, nonce: str) -> dict[str, Any] | None:
        how = self.attests
        if how in wire.ERRORS or how == "something_new":
            return {"error": how}
        if how == "silence":
            return None
        if how == "malformed":
            return {"state": "muted"}
        statement, mac, journal_mac = self.made.attest(bytes.fromhex(nonce))
        if how == "ok":
            self.signed.append(self.made.state)
        else:
            assert how == "wrong_mac"
            mac = "00" * attest.MAC
        return {**statement, "mac": mac, "journal_mac": journal_mac}

    def page(self, start: int) -> dict[str, Any]:
        first, data = self.made.journal.page(start)
        records = binascii.b2a_base64(data)[:-1].decode()
        return {"first": 1, "from": first, "last": self.made.journal.seq, "records": records}

    def session(self, timeout: float = 3.0) -> Session:
        port = ScriptedPort(self.script)
        return Session(port, DEVICE, timeout, clock=port.clock)


@contextlib.contextmanager
def plugged_in(device: Device) -> Iterator[None]:
    """``device`` is the only one that `discovery` finds. A watch ends when nothing happens."""

    @contextlib.contextmanager
    def open_board(
        _named: str | None,
        timeout: float,
        _log: Log | None,
        _turn: Turn = "usual",
        *_: object,
        **_more: object,
    ) -> Iterator[Any]:
        session = device.session(timeout)
        yield session, session.hello()

    def watch(session: Session) -> Iterator[Any]:
        yield session.status()
        for happens in device.happens:
            happens()
            yield session.status()
        raise KeyboardInterrupt

    def serial_ports(*, bridges: bool) -> list[Port]:  # noqa: ARG001 (the real signature)
        return [Port(DEVICE, None, None)]

    def sleep(seconds: float) -> None:
        # A watch that has lost the board would wait.
        if seconds:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        patch.setattr(discovery, "open_board", open_board)
        patch.setattr(discovery, "serial_ports", serial_ports)
        patch.setattr(Session, "watch", watch)
        patch.setattr(visit, "VERIFY_PAUSE_S", 0.0)
        use_clock(patch, device.clock(visit.SYSTEM))
        yield


def is_paired(home: Path, how: str) -> Device:
    """This host is paired with a board in one of `PAIRINGS`, and the board is at the port."""
    if how in ("key", "none"):
        made = MadeBoard(Clock())
        made.boot()
        made.pair()
        made.clock.pass_ms(60_000)
    else:
        story = Story(home / "log.sqlite3")
        story.attest()
        story.board.live_for(5000)
        story.pass_minutes(1)
        story.attest()
        made = story.board
        if how == "ended":
            story.host.log.add(unpaired(story.now))
        story.host.log.close()
    if "key" in how:
        log = Log(home / "log.sqlite3")
        hold(log, BOARD, keys.attest_key_of(1, made.secrets[BOARD, 1]))
        log.close()
    if how == "unreadable key":
        file = home / "keys" / f"{BOARD}.json"
        file.unlink()
        file.mkdir()
    return Device(made)


def unpaired(at_ms: int) -> Observation:
    return Observation(at_ms, BOARD, DEVICE, False, "unpair", "unknown", None, "not_attested")


def clock_of(now_s: Callable[[], float]) -> HostClock:
    return HostClock(lambda: round(now_s() * 1000), lambda: round(now_s() * 1e6), SYSTEM.run)
