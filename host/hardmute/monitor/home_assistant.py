"""What a broker is told of the boards, and how Home Assistant is to read it.

docs/home-assistant.md has the topics and the entities. Nothing here is a way to connect a line.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import muteboard
from hardmute.evidence.observation import Observation
from hardmute.model.answers import PROOF_LEVELS, Cause, State, Verdict
from hardmute.model.clock import iso_time
from hardmute.model.typed import get_args
from hardmute.render.observations import why

# What the line is known to be. Each other verdict makes an entity unavailable.
_STATES = get_args(State)
_LIVE: dict[Verdict, str | None] = {"muted": "OFF", "live": "ON", "fault": "ON", "unknown": None}
HERE, GONE = "online", "offline"
MUTE = "mute"
# The time that a reader is ahead of the board at most, by two clocks that are right.
_AHEAD_MS = 5_000
# Who hears of a press that is older takes it for one of now.
_JUST_MS = 5_000


class Stamp(NamedTuple):
    """How old a state may get on its way, in seconds.

    ``board_s``: before it is published. ``broker_s``: at the broker. ``reader_s``: at a reader
    that gets nothing newer. At the sum of them nobody shows it any more.
    """

    board_s: int = 3
    broker_s: int = 6
    reader_s: int = 6

    @property
    def read_ms(self) -> int:
        """How old it may be when it is read, in ms, by the clock of the reader."""
        return 1000 * (self.board_s + self.broker_s)


class Topics(NamedTuple):
    """The topics of the monitor that is called ``name`` at the broker."""

    name: str
    discovery: str

    @property
    def bridge(self) -> str:
        return f"hardmute/{self.name}/bridge"

    @property
    def birth(self) -> str:
        """Where Home Assistant says that it has started."""
        return f"{self.discovery}/status"

    @property
    def commands(self) -> str:
        """A filter for all commands. There is one command: to mute."""
        return self.of("+", MUTE)

    def of(self, board: str, what: str) -> str:
        return f"hardmute/{self.name}/{board}/{what}"

    def board_of(self, command: str) -> str | None:
        """The board that a topic of `commands` is about; None for another topic."""
        board = command.removeprefix(f"hardmute/{self.name}/").removesuffix(f"/{MUTE}")
        return board if command == self.of(board, MUTE) and "/" not in board else None

    def device(self, board: str) -> str:
        """Where Home Assistant reads of which entities the board has."""
        return f"{self.discovery}/device/{self._id(board)}/config"

    def _id(self, board: str) -> str:
        return f"hardmute_{self.name}_{board}"

    def config(
        self, board: str, label: str | None, firmware: str | None, *, simulated: bool, stamp: Stamp
    ) -> bytes:
        """The device of a board, for Home Assistant (device discovery, since 2024.12)."""
        state = self.of(board, "state")
        names = ", ".join(f"'{one}'" for one in _STATES)
        age = "(now().timestamp() * 1000 - value_json.at_ms)"
        known = (
            f"{{{{ '{HERE}' if value_json.verdict in [{names}]"
            f" and -{_AHEAD_MS} < {age} < {stamp.read_ms} else '{GONE}' }}}}"
        )
        every = {
            "availability": [
                {"topic": self.bridge},
                {"topic": state, "value_template": known},
            ],
            "availability_mode": "all",
            "qos": 1,
        }
        read = {"state_topic": state, "expire_after": stamp.reader_s}
        entities: dict[str, dict[str, Any]] = {
            "live": {
                "platform": "binary_sensor",
                "name": "Live",
                "icon": "mdi:microphone",
                **read,
            },
            "problem": {
                "platform": "binary_sensor",
                "name": "Problem",
                "device_class": "problem",
                **read,
            },
            "verdict": _enum("State", _STATES) | read,
            "proof": _enum("Proof", PROOF_LEVELS) | {"entity_category": "diagnostic", **read},
            "proof_age": {
                "platform": "sensor",
                "name": "Proof age",
                "device_class": "duration",
                "unit_of_measurement": "s",
                "entity_category": "diagnostic",
                # It changes all the time, and Home Assistant records each change.
                "enabled_by_default": False,
                **read,
            },
            "cause": _enum("Cause", get_args(Cause)) | read,
            "live_today": {
                "platform": "sensor",
                "name": "Live today",
                "device_class": "duration",
                "unit_of_measurement": "min",
                **read,
            },
            "press": {
                "platform": "event",
                "name": "Press",
                "device_class": "button",
                "event_types": list(_STATES),
                "state_topic": self.of(board, "press"),
            },
            "mute": {
                "platform": "button",
                "name": "Mute now",
                "icon": "mdi:microphone-off",
                "command_topic": self.of(board, MUTE),
                "payload_press": MUTE,
                "retain": False,
            },
        }
        for key, entity in entities.items():
            if "expire_after" in entity:
                # The value of an `enum` has to be one of its options, or none.
                value = f"value_json.{key}"
                if key == "verdict":
                    value += " if value_json.verdict != 'unknown' else None"
                entity["value_template"] = f"{{{{ {value} }}}}"
            entity |= {"unique_id": f"{self._id(board)}_{key}", **every}
        return _json(
            device={
                "identifiers": [self._id(board)],
                "name": label or f"hardmute {board}",
                "manufacturer": "hardmute",
                "model": "simulated microphone mute" if simulated else "microphone mute",
                "serial_number": board,
                **({} if firmware is None else {"sw_version": firmware}),
            },
            origin={"name": "hardmute", "sw_version": muteboard.__version__},
            components=entities,
        )


def _enum(name: str, options: tuple[str, ...]) -> dict[str, Any]:
    return {"platform": "sensor", "name": name, "device_class": "enum", "options": list(options)}


def state(
    known: Observation, incident: str | None, live_today_ms: int | None, age_ms: int
) -> bytes:
    """What is known of a board now, for its state topic. ``age_ms``: since the board said so.

    What is unknown has no value but its verdict.
    """
    is_known = known.verdict in _STATES
    problem = "ON" if incident is not None or known.verdict == "fault" else "OFF"
    return _json(
        verdict=known.verdict,
        live=_LIVE[known.verdict],
        problem=problem if is_known else None,
        proof=known.proof if is_known else None,
        proof_age=age_ms // 1000 if is_known else None,
        cause=known.cause if is_known else None,
        live_today=None if live_today_ms is None else live_today_ms // 60_000,
        why=why(known),
        incident=incident,
        simulated=known.simulated,
        at=iso_time(known.at_ms),
        at_ms=known.at_ms,
    )


def press(known: Observation) -> bytes:
    """That somebody has pressed the button, and what the line has been since."""
    return _json(event_type=known.verdict, at=iso_time(known.at_ms), at_ms=known.at_ms)


def is_press(known: Observation | None, new: Observation) -> bool:
    """Whether a press made ``new`` just now. ``known``: the last of before that was known."""
    return (
        known is not None
        and new.verdict in _STATES
        and new.cause == "button"
        and (new.since_ms or 0) <= _JUST_MS
        and known.boot == new.boot
        and known.changes != new.changes
    )


def _json(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()
