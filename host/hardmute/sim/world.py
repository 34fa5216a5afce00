"""The physical world's own channel to a simulated board: no USB byte may press a button.

A client sends a list of words, such as ``["weld", "press", "look"]``; the world acts them out in
order and answers once the last one has had its effect.
"""

from __future__ import annotations

import colorsys
import json
import queue
import threading
from collections.abc import Generator
from multiprocessing.connection import Client, Connection, Listener
from typing import Any, NamedTuple

from hardmute.model.errors import UnreachableError, UsageError
from hardmute.sim.engine import Engine
from hardmute.sim.physics import BUTTON_BOUNCE_MS
from hardmute.sim.usb import Cable
from hardmute.sim.usb_microphone import UsbMicrophone

HELP = """\
press              press the button for 120 ms, with 5 ms of contact bounce
hold SECONDS       press it for that long
bounce MS          how long the contact bounces in the presses that follow
weld [N]           weld the contact of relay N (1 is the first)
unweld [N]         break the weld
stick / unstick    the button jams in the down position / comes free
unplug / replug    the USB cable
power-off          the supply
power-on [--hold SECONDS]
                   the supply, with the button held
hang               the program on the board stops running
bypass / unbypass  the USB microphone is plugged into the computer itself / behind the board again
look               print what is physically so, whatever the firmware says"""

_MAX_REQUEST = 4096
# After a press the finger stays away this long, so that its effect can be seen.
AFTERWARDS_US = 100_000
# The firmware runs once the lamp is lit. A board that never gets there is left alone after this.
START_LIMIT_US = 5_000_000
DARK = (0, 0, 0)
_LOOK_US = 1_000


class _Job(NamedTuple):
    words: list[str]
    answer: queue.SimpleQueue[dict[str, Any]]


class World:
    """Acts on ``board``, ``cable`` and the USB ``microphone`` behind the board; `step` is called
    between two slices of simulated time.
    """

    def __init__(
        self, board: Engine, cable: Cable, microphone: UsbMicrophone | None = None
    ) -> None:
        self._board = board
        self._cable = cable
        self._microphone = microphone
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._job: _Job | None = None
        self._acting: Generator[int, None, dict[str, Any]] | None = None
        self._resume_us = 0

    def submit(self, words: list[str]) -> dict[str, Any]:
        """Act out ``words`` and wait for the end. Called from another thread."""
        answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._jobs.put(_Job(words, answer))
        return answer.get()

    def step(self) -> None:
        """Go on with what is being acted out, if its time has come."""
        if self._microphone is not None:
            physics = self._board.physics
            self._microphone.follow(physics.now_us, powered=physics.connected)
        if self._acting is None:
            try:
                self._job = self._jobs.get_nowait()
            except queue.Empty:
                return
            self._acting = self._act(list(self._job.words))
            self._resume_us = 0
        if self._board.physics.now_us < self._resume_us:
            return
        try:
            self._resume_us = next(self._acting)
        except StopIteration as end:
            self._finish(end.value)
        except UsageError as error:
            self._finish({"error": str(error)})

    def _finish(self, result: dict[str, Any]) -> None:
        assert self._job is not None
        self._job.answer.put(result)
        self._job = self._acting = None

    def _act(self, words: list[str]) -> Generator[int, None, dict[str, Any]]:
        """Act out the words, yielding the time, in us, before which nothing more happens."""
        board, physics = self._board, self._board.physics
        bounce_ms = float(BUTTON_BOUNCE_MS)
        seen: dict[str, Any] = {}
        while words:
            word = words.pop(0)
            if word == "press":
                yield physics.press(bounce_ms=bounce_ms) + AFTERWARDS_US
            elif word == "hold":
                hold_ms = 1000 * _number(words, "hold SECONDS")
                yield physics.press(hold_ms, bounce_ms) + AFTERWARDS_US
            elif word == "bounce":
                bounce_ms = _number(words, "bounce MS")
            elif word in ("weld", "unweld"):
                index = self._contact(words)
                physics.weld(index) if word == "weld" else physics.unweld(index)
                yield physics.now_us + AFTERWARDS_US
            elif word in ("stick", "unstick"):
                physics.stick() if word == "stick" else physics.unstick()
                yield physics.now_us + AFTERWARDS_US
            elif word == "unplug":
                self._unplug()
            elif word == "replug":
                self._plug()
            elif word == "power-off":
                board.power_off()
                self._unplug()
                yield physics.now_us + AFTERWARDS_US
            elif word == "power-on":
                yield from self._power_on(words)
            elif word == "hang":
                board.hang()
            elif word in ("bypass", "unbypass") and self._microphone is not None:
                self._microphone.bypassed = word == "bypass"
                yield physics.now_us + AFTERWARDS_US
            elif word == "look":
                seen = self.look()
            else:
                raise UsageError(f"The world knows no {word!r}; it knows:\n{HELP}")
        return seen

    def _power_on(self, words: list[str]) -> Generator[int, None, None]:
        physics = self._board.physics
        end_us = physics.now_us
        if words[:1] == ["--hold"]:
            words.pop(0)
            hold_ms = 1000 * _number(words, "power-on --hold SECONDS")
            end_us = physics.press(hold_ms, bounce_ms=0)
            physics.advance(physics.now_us)
        self._board.power_on()
        self._plug()
        while physics.lamp == DARK and physics.now_us < end_us + START_LIMIT_US:
            yield physics.now_us + _LOOK_US
        yield max(end_us, physics.now_us) + AFTERWARDS_US

    def _plug(self) -> None:
        self._board.plug()
        self._cable.plug()

    def _unplug(self) -> None:
        self._board.unplug()
        self._cable.unplug()

    def _contact(self, words: list[str]) -> int:
        number = int(words.pop(0)) if words and words[0].isdecimal() else 1
        if not 1 <= number <= self._board.contacts:
            raise UsageError(
                f"This board has {self._board.contacts} contact(s); {number} is none of them."
            )
        return number - 1

    def look(self) -> dict[str, Any]:
        """What is physically so: button, coil, contacts, sense lines, line, lamp, power, latch."""
        physics = self._board.physics
        seen: dict[str, Any] = {
            "button": "down" if physics.button_down else "up",
            "coil": "energised" if physics.coil else "released",
            "contacts": ["closed" if relay.closed else "open" for relay in physics.relays],
            "sense": [int(relay.closed) for relay in physics.relays],
            "line": "connected" if physics.connected else "cut",
            "lamp": {"rgb": list(physics.lamp), "colour": colour_name(physics.lamp)},
            "power": "on" if physics.powered else "off",
        }
        if physics.interlock:
            seen["latch"] = "set" if physics.latch else "clear"
        return seen


def colour_name(rgb: tuple[int, int, int]) -> str:
    """What a person would call the lamp's colour."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in rgb))
    if value < 1 / 255:
        return "off"
    if saturation < 0.25:
        return "white"
    for limit, name in (
        (18, "red"),
        (70, "amber"),
        (170, "green"),
        (265, "blue"),
        (345, "purple"),
    ):
        if hue * 360 <= limit:
            return name
    return "red"


def _number(words: list[str], usage: str) -> float:
    try:
        value = float(words.pop(0))
    except (IndexError, ValueError):
        raise UsageError(f"Give a number: {usage}.") from None
    if not 0 <= value <= 86_400_000:
        raise UsageError(f"{value} is out of range for {usage}.")
    return value


class WorldServer:
    """Serves a `World` on its own socket, in its own thread."""

    def __init__(self, world: World, address: str) -> None:
        self._world = world
        self._listener = Listener(address)
        self.address = str(self._listener.address)
        threading.Thread(target=self._serve, name="world", daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except OSError:
                return
            threading.Thread(
                target=self._talk, args=(connection,), name="world client", daemon=True
            ).start()

    def _talk(self, connection: Connection) -> None:
        try:
            with connection:
                words = json.loads(connection.recv_bytes(_MAX_REQUEST))
                answer = self._world.submit([str(word) for word in words])
                connection.send_bytes(json.dumps(answer).encode())
        except (OSError, EOFError, ValueError, TypeError):
            return


def act(address: str, words: list[str]) -> dict[str, Any]:
    """Have the world at ``address`` act out ``words``; returns what ``look`` saw, if asked."""
    try:
        with Client(address) as connection:
            connection.send_bytes(json.dumps(words).encode())
            answer = json.loads(connection.recv_bytes())
    except (OSError, EOFError):
        raise UnreachableError(
            f"No simulated board listens at {address}; `hardmute sim` prints its world's address.",
            "no_world",
        ) from None
    if "error" in answer:
        raise UsageError(answer["error"])
    return answer
