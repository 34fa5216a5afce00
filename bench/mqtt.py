"""How soon a subscriber at the broker knows, and what a broker costs the monitor."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import time
from pathlib import Path

from tests.mqtt_peers import (
    NAME,
    Mosquitto,
    Subscriber,
    afresh,
    bridge,
    monitor_process,
    shown,
    until,
)
from tests.served_page import BOARD, RecordedBoard, wait_for

from bench.figure import Figure
from bench.host import own_home
from bench.monitor import memory_mb

_PRESSES = 40
_BACK = 5
_STATE = f"hardmute/{NAME}/{BOARD}/state"
_VERDICTS = {"ON": "live", "OFF": "muted"}
_PAGE = 'page = true\npage_address = "127.0.0.1:0"\n'


def mqtt() -> list[Figure]:
    """MQTT: from the event on the port to a subscriber, and until all is right at a new broker."""
    arrives = "event on the port -> MQTT subscriber"
    if shutil.which("mosquitto") is None:
        return [Figure(f"{arrives} (mosquitto is missing)", None, "ms")]
    with own_home():
        home = Path(os.environ["HARDMUTE_HOME"])
        board, broker = RecordedBoard(), Mosquitto(home)
        try:
            arrived, echoed = _arrived(board, broker)
            back = _back(board, broker)
            with monitor_process(broker, board.board, more=_PAGE) as process:
                until(broker.port, BOARD, "verdict", lambda found: found != "unavailable")
                memory = memory_mb(process.pid)
        finally:
            broker.kill()
            board.close()
    return [
        Figure("mosquitto echoes (control), median", 1000 * statistics.median(echoed), "ms"),
        Figure("mosquitto echoes (control), worst", 1000 * max(echoed), "ms"),
        Figure(f"{arrives}, median", 1000 * statistics.median(arrived), "ms", "≤ 5"),
        Figure(f"{arrives}, worst", 1000 * max(arrived), "ms", "≤ control + 50"),
        Figure("broker is back -> all entities right, worst", max(back), "s", "≤ 5"),
        Figure("memory of a monitor with page and MQTT", memory, "MiB", "≤ 60"),
    ]


def _arrived(board: RecordedBoard, broker: Mosquitto) -> tuple[list[float], list[float]]:
    sent = board.watch_port()
    arrived: list[float] = []
    echoed: list[float] = []
    with (
        bridge(broker.chosen, board.board),
        Subscriber(broker.port, _STATE) as home,
        Subscriber(broker.port, "echo/#") as control,
    ):
        until(broker.port, BOARD, "live", lambda found: found == "OFF")
        for number in range(_PRESSES):
            echoed.append(_echo(control, number))
            verdict = ("live", "muted")[number % 2]
            count = len(home.got)
            sent.clear()
            board.act("press")

            def at_s(verdict: str = verdict, count: int = count) -> float | None:
                for one in home.got[count:]:
                    if one.topic == _STATE and json.loads(one.payload)["verdict"] == verdict:
                        return one.at_s
                return None

            wait_for(lambda at_s=at_s: at_s() is not None)
            arrived.append((at_s() or 0) - sent[verdict])
    return arrived, echoed


def _echo(control: Subscriber, number: int) -> float:
    topic = f"echo/{number}"
    begin = time.perf_counter()
    control.publish(topic, b"")
    wait_for(lambda: any(one.topic == topic for one in control.got))
    return next(one.at_s for one in control.got if one.topic == topic) - begin


def _back(board: RecordedBoard, broker: Mosquitto) -> list[float]:
    """The broker is killed, and starts without memory; the board has changed since."""
    times: list[float] = []
    with bridge(broker.chosen, board.board) as told:
        until(broker.port, BOARD, "live", lambda found: found == "OFF")
        for number in range(_BACK):
            broker.kill()
            wait_for(lambda: told.sink.trouble is not None)
            board.act("press")
            value = ("ON", "OFF")[number % 2]
            broker.start()
            begin = time.perf_counter()
            wait_for(lambda value=value: _is_right(broker, value))
            times.append(time.perf_counter() - begin)
    return times


def _is_right(broker: Mosquitto, live: str) -> bool:
    retained = afresh(broker.port)
    shows = {entity: shown(retained, BOARD, entity) for entity in ("live", "verdict", "problem")}
    return shows == {"live": live, "verdict": _VERDICTS[live], "problem": "OFF"}
