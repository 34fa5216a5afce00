"""What Home Assistant is told of a board: each entity can say that nobody knows."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from hardmute.model.errors import LocalError
from hardmute.monitor import broker, home_assistant
from hardmute.monitor.home_assistant import Stamp, Topics
from hardmute.monitor.settings import Broker, MqttSettings
from monitor_time import Time

TOPICS = Topics("desk", "homeassistant")
TIME = Time(datetime(2026, 11, 30, 12).astimezone())
# Those of Home Assistant's that can expire. A press is not retained, and a button has no state.
WITH_EXPIRY = {"binary_sensor", "sensor"}


def config() -> dict[str, Any]:
    written = TOPICS.config("5eedbeef", "Desk", "0.1.0", simulated=False, stamp=Stamp())
    return json.loads(written)


def test_the_device_has_what_discovery_requires() -> None:
    told = config()
    assert told["origin"]["name"] == "hardmute"
    assert told["device"]["identifiers"] == ["hardmute_desk_5eedbeef"]
    assert told["device"]["name"] == "Desk"
    entities = told["components"].values()
    assert all(one["platform"] for one in entities)
    assert len({one["unique_id"] for one in entities}) == len(entities) == 9
    kinds = {key: one["platform"] for key, one in told["components"].items()}
    assert (kinds["live"], kinds["press"], kinds["mute"]) == ("binary_sensor", "event", "button")


def test_P5_no_entity_lacks_expiry_or_availability() -> None:
    for name, one in config()["components"].items():
        assert one["availability_mode"] == "all", name
        bridge, board = one["availability"]
        assert bridge == {"topic": "hardmute/desk/bridge"}
        assert board["topic"] == "hardmute/desk/5eedbeef/state"
        if one["platform"] in WITH_EXPIRY:
            assert one["expire_after"] == 6, name


def test_P5_a_state_is_shown_for_15_s_at_most() -> None:
    stamp = Stamp()
    assert stamp.board_s + stamp.broker_s + stamp.reader_s <= 15
    assert stamp.read_ms / 1000 + stamp.reader_s <= 15


@pytest.mark.parametrize(
    ("verdict", "live", "problem"),
    [
        ("muted", "OFF", "OFF"),
        ("live", "ON", "OFF"),
        ("fault", "ON", "ON"),
        ("unknown", None, None),
    ],
)
def test_P5_muted_is_the_only_off(verdict: Any, live: str | None, problem: str | None) -> None:
    known = TIME.told(verdict).observation
    said = json.loads(home_assistant.state(known, None, 125_000, 400))
    assert (said["verdict"], said["live"], said["problem"]) == (verdict, live, problem)
    assert said["at_ms"] == known.at_ms
    if verdict == "unknown":
        assert {said[key] for key in ("proof", "proof_age", "cause")} == {None}


def test_evidence_that_does_not_hold_is_a_problem() -> None:
    known = TIME.told("muted").observation
    assert json.loads(home_assistant.state(known, "It went back.", None, 0))["problem"] == "ON"


def test_only_a_press_of_now_is_an_event() -> None:
    before = TIME.told("muted").observation._replace(boot=3, changes=7)
    press = TIME.told("live", since_s=0.1).observation._replace(boot=3, changes=8)
    assert home_assistant.is_press(before, press)
    assert not home_assistant.is_press(None, press)
    for other in (
        press._replace(cause="timer"),
        press._replace(changes=7),
        # It may be from before the board was unplugged, or from a time when nobody listened.
        press._replace(boot=4),
        press._replace(since_ms=6000),
        TIME.told("unknown").observation,
    ):
        assert not home_assistant.is_press(before, other)


def test_a_command_is_for_one_board() -> None:
    assert TOPICS.commands == "hardmute/desk/+/mute"
    assert TOPICS.board_of("hardmute/desk/5eedbeef/mute") == "5eedbeef"
    for other in ("hardmute/desk/mute", "hardmute/desk/a/b/mute", "hardmute/x/5eedbeef/mute"):
        assert TOPICS.board_of(other) is None


def refused(chosen: MqttSettings) -> str:
    with pytest.raises(LocalError) as error:
        asyncio.run(broker.reach(chosen, None, 1.0))
    return str(error.value)


def test_the_password_file_is_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "password"
    chosen = MqttSettings(Broker("127.0.0.1", 1, tls=False), "desk", "me", str(file))
    assert "(No such file" in refused(chosen) or "cannot be read: No such file" in refused(chosen)
    file.write_text("hunter2\n")
    file.chmod(0o644)
    assert "others can read mqtt_password_file: run chmod 600 on it" in refused(chosen)
    file.chmod(0o600)
    said = refused(chosen)
    assert "Connection refused" in said
    assert "hunter2" not in said
    file.write_text("\n")
    assert "mqtt_password_file is empty" in refused(chosen)
    os.truncate(file, 0)
    file.write_bytes(b"\xff")
    assert "mqtt_password_file is not UTF-8" in refused(chosen)


def test_an_authority_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    chosen = MqttSettings(Broker("127.0.0.1", 1, tls=True), "desk", ca_file=str(file))
    assert f"mqtt_ca_file {file} cannot be used" in refused(chosen)
    file.write_text("no certificate")
    assert f"mqtt_ca_file {file} cannot be used" in refused(chosen)
