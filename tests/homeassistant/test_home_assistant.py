"""A real Home Assistant, with the monitor and Debian's mosquitto. `make test-homeassistant`.

Home Assistant is not in the gate: it is 819 MB, and takes half a minute to start.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mqtt_peers import Mosquitto, monitor_process, until
from served_page import BOARD, RecordedBoard, wait_for

HERE = Path(__file__).parent
START_S = 180.0
# A state is shown for so long at most after the board said it.
LIMIT_S = 15.0
LIVE = f"binary_sensor.hardmute_{BOARD}_live"
ENTITIES = [
    LIVE,
    f"binary_sensor.hardmute_{BOARD}_problem",
    f"button.hardmute_{BOARD}_mute_now",
    f"event.hardmute_{BOARD}_press",
    f"sensor.hardmute_{BOARD}_cause",
    f"sensor.hardmute_{BOARD}_live_today",
    f"sensor.hardmute_{BOARD}_proof",
    f"sensor.hardmute_{BOARD}_state",
]
ENTRY = {
    "created_at": "2026-01-01T00:00:00+00:00",
    "modified_at": "2026-01-01T00:00:00+00:00",
    "data": {"broker": "127.0.0.1"},
    "disabled_by": None,
    "discovery_keys": {},
    "domain": "mqtt",
    "entry_id": "01JHARDMUTE0000000000000000",
    "version": 1,
    "minor_version": 2,
    "options": {"discovery": True},
    "pref_disable_new_entities": False,
    "pref_disable_polling": False,
    "source": "user",
    "subentries": [],
    "title": "broker",
    "unique_id": None,
}


class HomeAssistant:
    """Home Assistant with nothing but MQTT. It keeps what it knows in ``folder``."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        (folder / ".storage").mkdir(parents=True)
        shutil.copytree(HERE / "tell", folder / "custom_components" / "tell")
        (folder / "configuration.yaml").write_text(
            f"http:\n  server_host: 127.0.0.1\n  server_port: {port}\ntell:\n"
        )
        entry = {**ENTRY, "data": {"broker": "127.0.0.1", "port": broker.port}}
        stored = {
            "version": 1,
            "minor_version": 5,
            "key": "core.config_entries",
            "data": {"entries": [entry]},
        }
        (folder / ".storage" / "core.config_entries").write_text(json.dumps(stored))

    def told(self) -> list[tuple[str, str, float]]:
        """Each state that an entity has had, in order."""
        file = self._folder / "told"
        lines = file.read_text().splitlines() if file.exists() else []
        return [tuple(json.loads(line)) for line in lines]

    def is_now(self, entity: str, value: str) -> bool:
        states = [state for one, state, _ in self.told() if one == entity]
        return states[-1:] == [value]

    def wait(self, entity: str, value: str) -> None:
        wait_for(lambda: self.is_now(entity, value))

    def press(self, entity: str) -> None:
        (self._folder / "asked.new").write_text(entity)
        (self._folder / "asked.new").rename(self._folder / "asked")

    @contextmanager
    def running(self) -> Iterator[None]:
        """From when it has started until it has ended, and kept what it knew."""
        hass = os.environ["HARDMUTE_HASS"]
        begun = len([one for one in self.told() if one[0] == "started"])
        with (self._folder / "log").open("ab") as log:
            process = subprocess.Popen(
                [hass, "--skip-pip", "-c", str(self._folder)], stdout=log, stderr=log
            )
        try:
            wait_for(
                lambda: len([one for one in self.told() if one[0] == "started"]) > begun, START_S
            )
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            finally:
                process.kill()

    def warnings(self) -> list[str]:
        """What it did not like of our devices."""
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        return [line for line in lines if "components.mqtt" in line and "WARNING" in line]


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


@pytest.fixture
def home(tmp_path: Path, broker: Mosquitto) -> HomeAssistant:
    return HomeAssistant(tmp_path / "hass", broker)


def test_entities_and_the_mute_button(
    broker: Mosquitto, board: RecordedBoard, home: HomeAssistant
) -> None:
    with home.running(), monitor_process(broker, board.board):
        home.wait(LIVE, "off")
        assert sorted({one for one, _, _ in home.told() if BOARD in one}) == ENTITIES
        board.act("press")
        home.wait(LIVE, "on")
        home.wait(f"sensor.hardmute_{BOARD}_cause", "button")
        pressed = [one for one in home.told() if one[0] == f"event.hardmute_{BOARD}_press"]
        assert pressed[-1][1] not in ("unknown", "unavailable")
        home.press(f"button.hardmute_{BOARD}_mute_now")
        home.wait(LIVE, "off")
        home.wait(f"sensor.hardmute_{BOARD}_cause", "host")
        board.act("weld")
        board.act("press")
        board.act("press")
        home.wait(f"sensor.hardmute_{BOARD}_state", "fault")
        assert home.is_now(LIVE, "on")
        home.wait(f"binary_sensor.hardmute_{BOARD}_problem", "on")
        board.act("unplug")
        home.wait(LIVE, "unavailable")
    assert home.warnings() == []


def test_P5_no_retained_muted_outlives_its_board(
    broker: Mosquitto, board: RecordedBoard, home: HomeAssistant
) -> None:
    """A retained state came back when Home Assistant started, 17 s after the last message."""
    with home.running(), monitor_process(broker, board.board) as monitor:
        home.wait(LIVE, "off")
        # It tells nobody that it is gone.
        monitor.send_signal(signal.SIGSTOP)
        home.wait(LIVE, "unavailable")
    count = len(home.told())
    with monitor_process(broker, board.board) as monitor:
        until(broker.port, BOARD, "verdict", lambda found: found == "muted")
        monitor.send_signal(signal.SIGSTOP)
        time.sleep(17)
        with home.running():
            time.sleep(10)
    assert "off" not in states(home, count)


def test_P5_no_entity_comes_back_from_memory(
    broker: Mosquitto, board: RecordedBoard, home: HomeAssistant
) -> None:
    """With the broker restarted empty, an entity was muted again 10 s later."""
    with home.running():
        with monitor_process(broker, board.board):
            home.wait(LIVE, "off")
        home.wait(LIVE, "unavailable")
        count = len(home.told())
        broker.kill()
        broker.start()
        time.sleep(LIMIT_S)
        assert "off" not in states(home, count)
    # Nor when Home Assistant starts again, which keeps states.
    with home.running():
        time.sleep(LIMIT_S)
        assert "off" not in states(home, count)
        with monitor_process(broker, board.board):
            home.wait(LIVE, "off")


def states(home: HomeAssistant, count: int) -> set[str]:
    return {state for one, state, _ in home.told()[count:] if one == LIVE}
