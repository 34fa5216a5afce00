"""What surrounds the chip: a supply, a finger, a button that bounces, relays that take time and
can weld, a lamp; on some boards an interlock.

Event-driven and deterministic: time is an integer of microseconds that only `Physics.advance`
moves, and chance comes from the random generator that the caller gives. The chip, simulated or
emulated, drives the coil and the lamp, and reads `button_down` and `closed`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from random import Random

# Omron G6K datasheet (K106): operate and release time 3 ms at the most; bounce is not specified,
# 1 ms is assumed.
OPERATE_US = 3_000
RELEASE_US = 3_000
CONTACT_BOUNCE_US = 1_000
# Tactile switches bounce for 5 to 10 ms (Ganssle, "A Guide to Debouncing", 2004: 1.6 ms on
# average, 6.2 ms at the most over 18 types).
BUTTON_BOUNCE_MS = 5
PRESS_MS = 120
# The interlock's filter, idealised: from an edge of the button to the latch; and for how long the
# edges that follow it are taken for its bounce. Assumed, not measured.
LATCH_DELAY_US = 1_000
LATCH_QUIET_US = 5_000


class Relay:
    """One relay: an armature that follows its coil late, and a contact that may be welded."""

    def __init__(self) -> None:
        self.closed = False
        self.welded = False
        self.generation = 0


class Physics:
    """The world around one board with ``contacts`` relays in series.

    ``interlock``: each press toggles a latch, and the coil is energised only while that is set.
    """

    def __init__(self, contacts: int, random: Random, *, interlock: bool = False) -> None:
        self.now_us = 0
        self.relays = [Relay() for _ in range(contacts)]
        self.powered = False
        self.coil = False
        self.interlock = interlock
        self.latch = False
        self.latch_delay_us = LATCH_DELAY_US
        # What the lamp shows: red, green, blue, each 0 to 255.
        self.lamp: tuple[int, int, int] = (0, 0, 0)
        self.button_down = False
        self.stuck = False
        # Called at the very moment that the button's electrical level changes.
        self.on_button: Callable[[bool], None] | None = None
        # Called when a contact moves.
        self.on_contact: Callable[[], None] | None = None
        # Called when the latch changes.
        self.on_latch: Callable[[], None] | None = None
        # Called when something has been planned, for whoever advances time event by event.
        self.on_planned: Callable[[], None] | None = None
        self._finger_down = False
        # What the chip asks for: the coil, or with an interlock the permission for it.
        self._driven = False
        self._clearing = False
        # The button as it is behind the interlock's filter.
        self._filtered_down: bool = False
        self._quiet_until_us = -1
        self._random = random
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0

    # Time.

    def at(self, time_us: int, action: Callable[[], None]) -> None:
        """Do ``action`` at ``time_us``; actions at one time keep their order."""
        self._count += 1
        heapq.heappush(self._events, (max(time_us, self.now_us), self._count, action))
        if self.on_planned is not None:
            self.on_planned()

    @property
    def next_us(self) -> int | None:
        """When something happens next by itself; None if nothing is planned."""
        return self._events[0][0] if self._events else None

    def advance(self, to_us: int) -> None:
        """Let time pass until ``to_us``."""
        while self._events and self._events[0][0] <= to_us:
            self.now_us, _, action = heapq.heappop(self._events)
            action()
        self.now_us = max(self.now_us, to_us)

    # The supply.

    def power_on(self) -> None:
        """The interlock's supervisor holds the latch clear while the supply rises."""
        self.powered = True
        self._filtered_down = self.button_down

    def power_off(self) -> None:
        """Without a supply the coil lets go, whatever drives it, and the lamp is dark."""
        self.drive(coil=False)
        self._set_latch(False)
        self.powered = False
        self.lamp = (0, 0, 0)

    # The finger.

    def press(self, hold_ms: float = PRESS_MS, bounce_ms: float = BUTTON_BOUNCE_MS) -> int:
        """Press now, release after ``hold_ms``. Returns when the contact is quiet again, in us."""
        up_us = self.now_us + max(1, round(hold_ms * 1000))
        bounce_us = min(round(bounce_ms * 1000), up_us - self.now_us)
        self._touch(self.now_us, down=True, bounce_us=bounce_us)
        self._touch(up_us, down=False, bounce_us=round(bounce_ms * 1000))
        return up_us + round(bounce_ms * 1000)

    def stick(self) -> None:
        """The button goes down and stays down, whatever the finger does."""
        self.stuck = True
        self._set_button()

    def unstick(self) -> None:
        self.stuck = False
        self._set_button()

    def _touch(self, start_us: int, *, down: bool, bounce_us: int) -> None:
        """The contact makes (or breaks) at ``start_us`` and chatters for ``bounce_us``."""
        times = [start_us]
        if bounce_us:
            count = 2 * self._random.randint(1, 4)
            times += sorted(start_us + self._random.randint(1, bounce_us) for _ in range(count))
        level = down
        for time_us in times:
            self.at(time_us, lambda level=level: self._finger(down=level))
            level = not level

    def _finger(self, *, down: bool) -> None:
        self._finger_down = down
        self._set_button()

    def _set_button(self) -> None:
        level = self._finger_down or self.stuck
        if level != self.button_down:
            self.button_down = level
            if self.on_button is not None:
                self.on_button(level)
            self._filter_button()

    # The interlock.

    def _filter_button(self) -> None:
        """The first edge counts; bounce does not; then the level counts again."""
        if not self.interlock or self.now_us <= self._quiet_until_us:
            return
        if self.button_down != self._filtered_down:
            self._filtered_down = self.button_down
            self._quiet_until_us = self.now_us + LATCH_QUIET_US
            self.at(self._quiet_until_us + 1, self._filter_button)
            if self._filtered_down:
                self.at(self.now_us + self.latch_delay_us, self._clock_latch)

    def _clock_latch(self) -> None:
        if self.powered and not self._clearing:
            self._set_latch(not self.latch)

    def clear(self, *, asserted: bool) -> None:
        """Pull the latch's CLEAR, or let it go. While it is pulled no press sets the latch."""
        self._clearing = asserted
        if asserted:
            self._set_latch(False)

    def _set_latch(self, level: bool) -> None:
        if level != self.latch:
            self.latch = level
            self._energise()
            if self.on_latch is not None:
                self.on_latch()

    # The relays.

    def drive(self, *, coil: bool) -> None:
        """Energise or release the coils, which share one driver; with an interlock, allow it."""
        self._driven = coil
        self._energise()

    def _energise(self) -> None:
        coil = self._driven and self.powered and (self.latch or not self.interlock)
        if coil == self.coil:
            return
        self.coil = coil
        for relay in self.relays:
            relay.generation += 1
            travel_us = OPERATE_US if coil else RELEASE_US
            steps = [(self.now_us + travel_us, coil)]
            if coil:
                third = CONTACT_BOUNCE_US // 3
                steps += [(steps[0][0] + third, False), (steps[0][0] + 2 * third, True)]
            for time_us, closed in steps:
                self.at(time_us, self._mover(relay, closed=closed))

    def _mover(self, relay: Relay, *, closed: bool) -> Callable[[], None]:
        generation = relay.generation

        def move() -> None:
            # A newer command stops an armature that is still on its way.
            if relay.generation == generation:
                relay.closed = closed or relay.welded
                self._contact_moved()

        return move

    def weld(self, index: int) -> None:
        """The contact of relay ``index`` fuses, in the closed position."""
        relay = self.relays[index]
        relay.welded = relay.closed = True
        self._contact_moved()

    def unweld(self, index: int) -> None:
        """Break the weld open; the contact goes where the coil has it."""
        relay = self.relays[index]
        relay.welded = False
        relay.closed = self.coil
        self._contact_moved()

    def _contact_moved(self) -> None:
        if self.on_contact is not None:
            self.on_contact()

    def closed(self, index: int) -> bool:
        """Whether the contact of relay ``index`` is closed."""
        return self.relays[index].closed

    @property
    def connected(self) -> bool:
        """Whether sound gets through: every contact in the line is closed."""
        return all(relay.closed for relay in self.relays)
