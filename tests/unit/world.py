"""The physical world of the unit tests: a button, a relay, contacts; and hands to work them.

Everything is a function of a millisecond counter that only a test advances.
"""

from muteboard.button import EDGE_DOWN, EDGE_UP
from muteboard.controller import CONNECTED, Controller


class World:
    """A button (with bounce), and a relay with ``contacts`` poles in series on the line."""

    def __init__(self, contacts: int = 1, operate_ms: int = 4, release_ms: int = 3):
        self.contacts = contacts
        self.operate_ms = operate_ms
        self.release_ms = release_ms
        self.now = 0
        self.down = False
        # Contacts (from 0) that stay closed, and that stay open, whatever the coil does.
        self.welded: set[int] = set()
        self.dead: set[int] = set()
        self.coil = False
        self._pulled = False
        self._coil_at = 0
        self._edges = 0
        # When the first and the last of the edges were that are not taken yet; and of those taken.
        self._first_edge = self._last_edge = 0
        self.first_edge = self.last_edge = 0
        # While edges are seen one by one: each as (time, level, edge); None: they are not.
        self.changes: list[tuple[int, bool, int]] | None = None
        self._plan: list[tuple[int, bool]] = []

    def plan(self, at: int, down: bool) -> None:
        """The button's contact will be ``down`` from time ``at``. Call in order of time."""
        self._plan.append((at, down))

    def press(self, down: bool) -> None:
        """The button's contact changes now."""
        self._press(self.now, down)

    def _press(self, at: int, down: bool) -> None:
        if down != self.down:
            self.down = down
            edge = EDGE_DOWN if down else EDGE_UP
            if self.changes is not None:
                self.changes.append((at, down, edge))
                return
            if not self._edges:
                self._first_edge = at
            self._last_edge = at
            self._edges |= edge

    def advance(self, ms: int) -> None:
        self.now += ms
        while self._plan and self._plan[0][0] <= self.now:
            self._press(*self._plan.pop(0))
        travel = self.operate_ms if self.coil else self.release_ms
        if self.now - self._coil_at >= travel:
            self._pulled = self.coil

    @property
    def has_edges(self) -> bool:
        return self._edges != 0 or bool(self.changes)

    def take_changes(self) -> list[tuple[int, bool, int]]:
        """See edges as a whole from now on, and tell those that were seen one by one."""
        changes, self.changes = self.changes or [], None
        return changes

    def take_edges(self) -> int:
        edges, self._edges = self._edges, 0
        self.first_edge, self.last_edge = self._first_edge, self._last_edge
        return edges

    def set_coil(self, on: bool) -> None:
        if on != self.coil:
            self.coil = on
            self._coil_at = self.now

    def sense(self) -> int:
        bits = 0
        for contact in range(self.contacts):
            closed = self._pulled and contact not in self.dead
            bits |= (closed or contact in self.welded) << contact
        return bits


class Rig:
    """A controller wired to a world, polled as a test says."""

    def __init__(
        self,
        mode: str = "toggle",
        contacts: int = 1,
        max_live_ms: int = 3_600_000,
        settle_ms: int = 10,
        cause: str = "boot",
        **relay: int,
    ):
        self.world = World(contacts, **relay)
        self.mute = Controller(contacts, mode, max_live_ms, settle_ms, cause)
        # Every command change, as (time, command).
        self.commands: list[tuple[int, str]] = []
        # Past the debounce of the button's first level.
        self.run(50)

    @property
    def now(self) -> int:
        return self.world.now

    def step(self, ms: int = 1) -> None:
        """Let ``ms`` pass, then poll once."""
        self.world.advance(ms)
        before = self.mute.command
        world = self.world
        self.mute.step(world.now, world.down, world.take_edges(), world.sense())
        self._apply(before)

    def run(self, ms: int) -> None:
        for _ in range(ms):
            self.step()

    def until(self, time: int) -> None:
        """Poll at exactly ``time``, with sparse polls before it."""
        while self.now < time:
            self.step(min(250, time - self.now))

    def host_mute(self) -> bool:
        before = self.mute.command
        changed = self.mute.mute(self.now)
        self._apply(before)
        return changed

    def button(self, down: bool) -> None:
        """Move the button; the next poll sees it."""
        self.world.press(down)

    def press(self, ms: int = 200) -> None:
        """A clean press: ``ms`` from the poll that sees it down to the poll that sees it up.

        Ends with that poll; 30 ms of release are still to come.
        """
        self.button(True)
        self.step()
        self.run(ms - 1)
        self.button(False)
        self.step()

    def tap(self, ms: int = 200) -> None:
        """A press, and the time for its consequences."""
        self.press(ms)
        self.run(50)

    def go_live(self) -> None:
        """As the mode asks; in push-to-talk the button is then still down."""
        if self.mute.mode == "toggle":
            self.tap()
        else:
            self.button(True)
            self.run(50)
        assert (self.mute.state, self.mute.command) == ("live", CONNECTED)

    def _apply(self, before: str) -> None:
        command = self.mute.command
        if command != before:
            self.commands.append((self.now, command))
        self.world.set_coil(command == CONNECTED)
