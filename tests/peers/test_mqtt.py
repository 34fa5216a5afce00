"""The monitor at Debian's mosquitto: what Home Assistant is shown, and what a broker cannot do."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from certificate import make_certificate
from hardmute.model.errors import LocalError
from hardmute.monitor.broker import reach
from hardmute.monitor.home_assistant import Stamp
from hardmute.monitor.mqtt import MqttTimes
from hardmute.monitor.settings import Broker, MqttSettings
from mqtt_peers import (
    NAME,
    Mosquitto,
    Subscriber,
    afresh,
    bridge,
    monitor_process,
    shown,
    until,
)
from muteboard import wire
from served_page import BOARD, RecordedBoard, wait_for

STATE = f"hardmute/{NAME}/{BOARD}/state"
MUTE = f"hardmute/{NAME}/{BOARD}/mute"
DEVICE = f"homeassistant/device/hardmute_{NAME}_{BOARD}/config"
# Everything sooner, so that a stop that is too long takes seconds.
SOON = MqttTimes(still=0.5, answer=0.5, again=0.2, stamp=Stamp(3, 2, 2))


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RecordedBoard]:
    monkeypatch.setenv("HARDMUTE_HOME", str(tmp_path))
    made = RecordedBoard()
    yield made
    made.close()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Mosquitto]:
    made = Mosquitto(tmp_path)
    yield made
    made.kill()


def test_P5_entities_are_as_the_board_is(broker: Mosquitto, board: RecordedBoard) -> None:
    def is_shown(**values: str) -> None:
        for entity, value in values.items():
            until(broker.port, BOARD, entity, lambda found, value=value: found == value)

    with bridge(broker.chosen, board.board):
        is_shown(live="OFF", verdict="muted", proof="sensed", problem="OFF", live_today="0")
        board.act("press")
        is_shown(live="ON", verdict="live", cause="button", problem="OFF")
        # The contact stays closed.
        board.act("weld")
        board.act("press")
        is_shown(live="ON", verdict="fault", problem="ON")
        board.act("unplug")
        is_shown(live="unavailable", verdict="unavailable", problem="unavailable")
        assert json.loads(afresh(broker.port)[STATE])["verdict"] == "unknown"


def test_only_the_press_is_not_retained(broker: Mosquitto, board: RecordedBoard) -> None:
    with bridge(broker.chosen, board.board), Subscriber(broker.port) as home:
        until(broker.port, BOARD, "live", lambda found: found == "OFF")
        for verdict in ("live", "muted"):
            board.act("press")
            wait_for(lambda verdict=verdict: verdict in presses(home))
        assert presses(home) == ["live", "muted"]
        assert set(afresh(broker.port)) == {DEVICE, STATE, f"hardmute/{NAME}/bridge"}


def presses(home: Subscriber) -> list[str]:
    found = [json.loads(one.payload) for one in home.got if one.topic.endswith("/press")]
    return [one["event_type"] for one in found]


def test_home_assistant_mutes(broker: Mosquitto, board: RecordedBoard) -> None:
    with bridge(broker.chosen, board.board), Subscriber(broker.port) as home:
        board.act("press")
        until(broker.port, BOARD, "live", lambda found: found == "ON")
        home.publish(MUTE, b"mute")
        until(broker.port, BOARD, "live", lambda found: found == "OFF")
        assert board.coil == [True, False]
        assert shown(afresh(broker.port), BOARD, "cause") in ("host", "unavailable")


def test_a_retained_mute_cuts_nothing(
    broker: Mosquitto, board: RecordedBoard, caplog: pytest.LogCaptureFixture
) -> None:
    board.act("press")
    wait_for(lambda: board.coil == [True])
    with Subscriber(broker.port) as home:
        home.publish(MUTE, b"mute", retain=True)
    # Each connection is one at which the broker gives it.
    for _ in range(2):
        caplog.clear()
        with bridge(broker.chosen, board.board):
            until(broker.port, BOARD, "live", lambda found: found == "ON")
            wait_for(lambda: f"A command is retained at the broker's topic {MUTE}" in caplog.text)
    assert board.coil == [True]


def test_everything_again_when_home_assistant_starts(
    broker: Mosquitto, board: RecordedBoard
) -> None:
    with bridge(broker.chosen, board.board), Subscriber(broker.port) as home:
        until(broker.port, BOARD, "live", lambda found: found == "OFF")
        home.sync()
        count = len(home.got)
        home.publish("homeassistant/status", b"online")
        wanted = {DEVICE, STATE, f"hardmute/{NAME}/bridge"}
        wait_for(lambda: wanted <= {one.topic for one in home.got[count:]})


def payloads() -> list[bytes]:
    """Every request, answer and event of docs/protocol.md, and what else could mean "connect"."""
    vectors = json.loads((Path(__file__).parents[1] / "vectors" / "wire.json").read_text())
    lines = [line.encode() for line in texts(vectors) if line.startswith("{")]
    ops = ("hello", "status", "watch", "mute", "attest", "journal", "config", "pair")
    requests = [bytes(wire.frame({"id": 7, "op": op})) for op in ops]
    words = ("unmute", "live", "connect", "ON", "OFF", "PRESS", "press", "online", "offline", "")
    return [*dict.fromkeys([*lines, *requests, *map(str.encode, words)])]


def texts(found: object) -> Iterator[str]:
    if isinstance(found, str):
        yield found
    elif isinstance(found, dict):
        for one in found.values():
            yield from texts(one)
    elif isinstance(found, list):
        for one in found:
            yield from texts(one)


def test_P2_no_topic_connects_the_line(broker: Mosquitto, board: RecordedBoard) -> None:
    chance = Random(20)
    letters = "abcdefghijklmnopqrstuvwxyz_/"
    levels = ["".join(chance.choices(letters, k=chance.randint(1, 24))) for _ in range(1000)]
    ends = ("", f"/{BOARD}", f"/{BOARD}/mute", "/mute", "/set")
    random = [
        f"hardmute/{chance.choice([NAME, BOARD])}/{one}{chance.choice(ends)}" for one in levels
    ]
    every = payloads()
    assert len(every) > 30
    with bridge(broker.chosen, board.board) as told:
        with Subscriber(broker.port) as home:
            board.act("press")
            until(broker.port, BOARD, "live", lambda found: found == "ON")
            home.publish(MUTE, b"mute")
            until(broker.port, BOARD, "live", lambda found: found == "OFF")
            seen = {one.topic for one in home.sync()}
        assert {DEVICE, STATE, MUTE, f"hardmute/{NAME}/{BOARD}/press"} <= seen
        before = list(board.coil)
        with Subscriber(broker.port, "none") as writer:
            for topic in sorted(seen):
                for number, payload in enumerate(every):
                    writer.publish(topic, payload, retain=number % 8 == 0)
            for topic in random:
                for payload in every:
                    writer.write(topic, payload)

            def is_mended() -> bool:
                # In such a flood this may be dropped as well.
                writer.publish("homeassistant/status", b"online")
                return shown(afresh(broker.port), BOARD, "live") == "OFF"

            # The monitor has read what was written before.
            wait_for(is_mended)
        assert board.coil == before
        assert told.told[-1][0] in ("muted", "unknown")
        # And it works.
        board.act("press")
        until(broker.port, BOARD, "live", lambda found: found == "ON")


SECRET = "hunter2 and more"  # noqa: S105


def test_tls_and_a_password(
    board: RecordedBoard,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    make_certificate(key, certificate)
    users, password = tmp_path / "users", tmp_path / "password"
    subprocess.run(["mosquitto_passwd", "-c", "-b", users, "hardmute", SECRET], check=True)
    password.write_text(f"{SECRET}\n")
    password.chmod(0o600)
    lines = (f"certfile {certificate}", f"keyfile {key}", f"password_file {users}")
    broker = Mosquitto(tmp_path, *lines)
    at = Broker("localhost", broker.port, tls=True)
    good = MqttSettings(at, NAME, "hardmute", str(password), str(certificate))
    try:
        # The environment goes before the file.
        for chosen, secret, said in (
            (replace(good, ca_file=None), None, "CERTIFICATE_VERIFY_FAILED"),
            (replace(good, broker=at._replace(host="127.0.0.1")), None, "mismatch"),
            (good, "hunter2 and less", "Not authorized"),
            (replace(good, user="nobody"), None, "Not authorized"),
        ):
            with pytest.raises(LocalError) as refused:
                asyncio.run(reach(chosen, secret, 5.0))
            assert said in str(refused.value)
            assert "hunter2" not in str(refused.value)
        asyncio.run(reach(good, None, 5.0))
        asyncio.run(reach(replace(good, password_file=None), SECRET, 5.0))
        with bridge(good, board.board) as told:
            wait_for(lambda: told.sink._told_s)
    finally:
        broker.kill()
    assert "hunter2" not in "".join([*capfd.readouterr(), caplog.text])


class Referee:
    """Subscribes afresh, and never may be shown a "muted" that is older than ``limit_s``."""

    def __init__(self, port: int, limit_s: float) -> None:
        self._port = port
        self._limit_s = limit_s

    def look(self) -> str:
        retained = afresh(self._port)
        now_s = time.time()
        found = shown(retained, BOARD, "live", now_s)
        if found == "OFF":
            assert now_s - json.loads(retained[STATE])["at_ms"] / 1000 <= self._limit_s
        return found

    def until(self, value: str) -> None:
        wait_for(lambda: self.look() == value)


# Of a state that is shown no more: how old it is.
LIMIT_S = 5.0
BRIEF = MqttTimes(still=0.5, answer=0.5, again=0.2, stamp=Stamp(3, 1, 1))


def test_P5_broker_killed_and_back_without_memory(broker: Mosquitto, board: RecordedBoard) -> None:
    referee = Referee(broker.port, LIMIT_S)
    with bridge(broker.chosen, board.board, times=BRIEF):
        referee.until("OFF")
        broker.kill()
        board.act("press")
        broker.start()
        referee.until("ON")
        # There is no entity without all that is known of it.
        assert set(afresh(broker.port)) >= {DEVICE, STATE, f"hardmute/{NAME}/bridge"}


def test_P5_broker_stopped_for_too_long(broker: Mosquitto, board: RecordedBoard) -> None:
    """What waits in the broker's socket is old when it reads it, and it takes it for new."""
    referee = Referee(broker.port, LIMIT_S)
    with bridge(broker.chosen, board.board, times=BRIEF) as told, Subscriber(broker.port) as home:
        board.act("press")
        referee.until("ON")
        broker.send(signal.SIGSTOP)
        # What the broker will find, unless something else was on its way: of a board that is live.
        board.act("press")
        wait_for(lambda: told.told[-1][0] == "muted")
        wait_for(lambda: told.sink.trouble is not None)
        board.act("press")
        wait_for(lambda: told.told[-1][0] == "live")
        time.sleep(LIMIT_S)
        has = {one.topic: one.payload for one in home.got}
        count = len(home.got)
        resumed_s = time.time()
        broker.send(signal.SIGCONT)
        referee.until("ON")
        wait_for(lambda: told.sink.trouble is None)
        # Nor is it shown for a moment to one who was there all the time.
        home.sync()
        for one in home.got[count:]:
            has[one.topic] = one.payload
            assert shown(has, BOARD, "live", resumed_s) != "OFF"


def test_a_stopped_broker_holds_one_state_and_no_press(
    broker: Mosquitto, board: RecordedBoard
) -> None:
    with bridge(broker.chosen, board.board, times=BRIEF) as told, Subscriber(broker.port) as home:
        until(broker.port, BOARD, "live", lambda found: found == "OFF")
        broker.send(signal.SIGSTOP)
        wait_for(lambda: told.sink.trouble is not None)
        for verdict in ("live", "muted") * 3:
            board.act("press")
            # The rest of the monitor waits for no broker.
            wait_for(lambda verdict=verdict: told.told[-1][0] == verdict)
        resumed_ms = 1000 * time.time()
        count = len(home.got)
        broker.send(signal.SIGCONT)
        wait_for(lambda: told.sink.trouble is None)
        until(broker.port, BOARD, "live", lambda found: found == "OFF")
        home.sync()
        states = [json.loads(one.payload) for one in home.got[count:] if one.topic == STATE]
        old = [one for one in states if one["at_ms"] < resumed_ms - 3000]
        assert len(old) <= 1
        assert presses(home) == []


def test_P5_a_board_that_is_pulled_is_unavailable(broker: Mosquitto, board: RecordedBoard) -> None:
    referee = Referee(broker.port, LIMIT_S)
    with bridge(broker.chosen, board.board, times=BRIEF):
        referee.until("OFF")
        board.act("unplug")
        referee.until("unavailable")
        board.act("replug")
        referee.until("OFF")
        # It hangs, and says nothing.
        board.hang(on=True)
        referee.until("unavailable")
        board.hang(on=False)
        referee.until("OFF")


def test_P5_a_monitor_that_is_killed_or_stopped(broker: Mosquitto, board: RecordedBoard) -> None:
    referee = Referee(broker.port, 15.0)
    for number, again in (
        (signal.SIGKILL, True),
        (signal.SIGSTOP, False),
        (signal.SIGTERM, False),
    ):
        with monitor_process(broker, board.board) as process:
            referee.until("OFF")
            process.send_signal(number)
            referee.until("unavailable")
            if number == signal.SIGTERM:
                wait_for(lambda process=process: process.poll() is not None)
                assert process.returncode == 0
        if again:
            broker.kill()
            broker.start()
            assert referee.look() == "unavailable"
