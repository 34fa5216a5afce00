"""A board in memory that keeps the contract of ``muteboard.boards``, and a host at its port."""

import json

from world import World

from muteboard import wire
from muteboard.app import App
from muteboard.crash import SIZE


class ChipReset(BaseException):
    """`FakeBoard.reset` does not return."""


class FakeBoard:
    """One power-on of a board. `after_reset` and `after_power_cycle` give the next ones.

    ``failing``: names of methods that raise (a bug, a broken peripheral, a full disk).
    ``calls``: what was called since it was last cleared, in order.
    """

    contacts: int
    settle_ms = 10
    port = "fake"
    simulated = True
    journaled = True

    def __init__(
        self,
        contacts: int = 1,
        held: bool = False,
        blobs: dict[str, bytes] | None = None,
        cause: str = "cold",
        retained: bytes = b"\xa5" * SIZE,
        tick_bits: int = 30,
        first_tick: int = 0,
    ):
        self.contacts = contacts
        self.world = World(contacts)
        self.world.press(held)
        self.world.take_edges()
        settings = {"mode": "toggle", "max_live_s": 3600, "palette": "default", "brightness": 50}
        default = {"config": json.dumps(settings).encode()}
        self.blobs = default if blobs is None else blobs
        # Segments of the journal, and the keys: what lies on the flash.
        self.segments: dict[int, bytes] = {}
        self.keys: bytes | None = None
        self.failing: dict[str, BaseException] = {}
        # What happens once, right after a part has been called.
        self.after: dict[str, object] = {}
        self.calls: list[str] = []
        self.feeds = 0
        self.lamp: tuple[int, int, int] | None = None
        # What the host sent and the board has not read; what the board wrote and the host has
        # not read; how many bytes the port takes in one `write`.
        self.received = b""
        self.sent = bytearray()
        self.room: int | None = None
        self.cut_level: bool | None = None
        # An interlock whose latch the presses do not set.
        self.refusing = False
        self._cause = cause
        self._retained = retained
        self._ticks_period = 1 << tick_bits
        self._first_tick = first_tick

    def after_reset(self) -> "FakeBoard":
        """The same board after a watchdog or program reset; the button is at rest."""
        return self._with_flash(
            FakeBoard(self.contacts, blobs=self.blobs, cause="watchdog", retained=self._retained)
        )

    def after_power_cycle(self, held: bool = False) -> "FakeBoard":
        return self._with_flash(FakeBoard(self.contacts, held, blobs=self.blobs))

    def _with_flash(self, board: "FakeBoard") -> "FakeBoard":
        board.segments, board.keys = self.segments, self.keys
        return board

    @property
    def connected(self) -> bool:
        """Whether the microphone is: the relay's word, not the firmware's."""
        return self.world.sense() == (1 << self.contacts) - 1

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if name in self.failing:
            raise self.failing[name]

    # The contract.

    def cut(self) -> None:
        # Never raises.
        self.calls.append("cut")
        self.world.set_coil(False)

    def connect(self, cut_level: bool) -> bool:
        self._call("connect")
        self.cut_level = cut_level
        self.world.set_coil(not self.refusing)
        return not self.refusing

    def disarm(self) -> None:
        self._call("disarm")
        assert not self.world.coil

    def sense(self) -> int:
        self._call("sense")
        return self.world.sense()

    def _called(self, name: str) -> None:
        action = self.after.pop(name, None)
        if action is not None:
            action()

    def button_down(self) -> bool:
        self._call("button_down")
        down = self.world.down
        self._called("button_down")
        return down

    def take_missed(self) -> list[tuple[int, bool, int]]:
        self._call("take_missed")
        return [(self._ticks(at), down, edge) for at, down, edge in self.world.take_changes()]

    def take_edges(self) -> int:
        self._call("take_edges")
        edges = self.world.take_edges()
        self._called("take_edges")
        return edges

    def show(self, rgb: tuple[int, int, int]) -> None:
        self._call("show")
        self.lamp = rgb

    def ticks_ms(self) -> int:
        self._call("ticks_ms")
        return self._ticks(self.world.now)

    def _ticks(self, at: int) -> int:
        return (self._first_tick + at) % self._ticks_period

    @property
    def first_edge(self) -> int:
        return self._ticks(self.world.first_edge)

    @property
    def last_edge(self) -> int:
        return self._ticks(self.world.last_edge)

    def ticks_diff(self, new: int, old: int) -> int:
        half = self._ticks_period // 2
        return (new - old + half) % self._ticks_period - half

    def idle(self, ms: int) -> None:
        self._call("idle")
        for _ in range(ms):
            self.world.advance(1)
            if self.received or self.world.has_edges:
                return

    def read_available(self) -> bytes:
        self._call("read_available")
        data, self.received = self.received[:64], self.received[64:]
        self._called("read_available")
        return data

    def write(self, data: bytes | memoryview) -> int:
        self._call("write")
        count = len(data) if self.room is None else min(self.room, len(data))
        self.sent += data[:count]
        return count

    def feed_watchdog(self) -> None:
        self._call("feed_watchdog")
        self.feeds += 1

    def reset_cause(self) -> str:
        return self._cause

    def retained(self) -> bytes:
        return self._retained

    def retain(self, data: bytes) -> None:
        self._call("retain")
        assert len(data) == SIZE
        self._retained = data

    def load(self, name: str) -> bytes | None:
        return self.blobs.get(name)

    def store(self, name: str, data: bytes) -> None:
        self._call("store")
        self.blobs[name] = data

    def unique_id(self) -> bytes:
        return bytes.fromhex("e6614c311b8a4f2d")

    def entropy(self, count: int) -> bytes:
        return bytes(range(1, count + 1))

    def journal_segments(self) -> list[int]:
        return sorted(self.segments)

    def journal_size(self, segment: int) -> int:
        return len(self.segments[segment])

    def journal_read(self, segment: int, at: int, count: int) -> bytes:
        self._call("journal_read")
        return self.segments[segment][at : at + count]

    def journal_append(self, segment: int, data: bytes | bytearray) -> None:
        self._call("journal_append")
        self._watch_button()
        self.segments[segment] = self.segments.get(segment, b"") + bytes(data)
        self._called("journal_append")

    def journal_drop(self, segment: int) -> None:
        self._call("journal_drop")
        self._watch_button()
        del self.segments[segment]

    def load_keys(self) -> bytes | None:
        return self.keys

    def store_keys(self, data: bytes) -> None:
        self._call("store_keys")
        self._watch_button()
        self.keys = data

    def _watch_button(self) -> None:
        if self.world.changes is None:
            self.world.changes = []

    def maintenance(self) -> None:
        self._call("maintenance")

    def reset(self) -> None:
        self.calls.append("reset")
        raise ChipReset


class Bench:
    """A board that runs the firmware, a hand at its button, and a host at its serial port."""

    def __init__(self, board: FakeBoard | None = None, run_ms: int = 50):
        self.board = FakeBoard() if board is None else board
        self.app = App(self.board)
        self._next_id = 1
        self.run(run_ms)

    @property
    def now(self) -> int:
        return self.board.world.now

    def run(self, ms: int, interval: int = 1) -> None:
        """The superloop for ``ms``, one pass every ``interval``."""
        for _ in range(0, ms, interval):
            self.app.step()
            self.board.world.advance(interval)

    def crash(self, part: str, error: BaseException) -> None:
        """`App.run` as a real board calls it, with one part broken; ends with the chip's reset."""
        self.board.failing[part] = error
        try:
            self.app.run()
        except ChipReset:
            return
        raise AssertionError("the program ended without a reset")

    def tap(self, ms: int = 100) -> None:
        self.board.world.press(True)
        self.run(ms)
        self.board.world.press(False)
        self.run(50)

    def go_live(self) -> None:
        self.tap()
        assert self.board.connected
        assert self.app.controller.state == "live"

    def send(self, data: bytes) -> None:
        self.board.received += data

    def heard(self) -> list[dict]:
        """The frames since the last call, each with a valid CRC; a half one stays."""
        *lines, rest = bytes(self.board.sent).split(b"\n")
        self.board.sent = bytearray(rest)
        return [wire.unframe(line, True) for line in lines]

    def ask(self, op: str, **fields) -> dict:
        """A request and its answer; other frames in between are dropped."""
        self._next_id += 1
        self.send(wire.frame(dict(fields, id=self._next_id, op=op)))
        for _ in range(100):
            self.run(1)
            for message in self.heard():
                if message.get("id") == self._next_id:
                    return message
        raise AssertionError(f"no answer to {op}")

    def type(self, line: str) -> dict:
        """What a person types, and the one answer that comes back (an event may follow)."""
        self.send(line.encode() + b"\n")
        self.run(30)
        answer, *others = self.heard()
        assert all("event" in other for other in others)
        return answer
