"""Debounce and gestures of the one button. Pure: time and levels in, gestures out.

Times are milliseconds of uptime (a plain integer that never wraps).
"""

from muteboard import const

# Bits of `Board.take_edges`.
EDGE_DOWN = const(1)
EDGE_UP = const(2)

# A level counts once it has been stable for this long. Tactile switches bounce for 5 to 10 ms;
# 20 ms must be survived.
DEBOUNCE_MS = const(30)
# Longest press that toggles, from the first edge down to the last edge up.
PRESS_MAX_MS = const(1500)
# A button down for longer than this is stuck.
STUCK_MS = const(10_000)

NOTHING = const(0)
# The press is 30 ms of stable contact old.
PRESSED = const(1)
# The press is over: 30 ms of stable release.
RELEASED = const(2)


class Button:
    """Follows one press at a time, from its first edge to 30 ms of stable release.

    It starts as if a press that does not count were under way: a button that is held at power-on,
    or whose contact is noisy then, means nothing until it has been seen released.
    """

    def __init__(self, now: int):
        # First edge of the press under way; None between presses.
        self.first_edge: int | None = now
        # The press under way was used up, by a cut or by a rule: it ends without a gesture.
        self.consumed = True
        # The press under way has had 30 ms of stable contact.
        self.down = False
        # Length of the last finished press, first edge down to last edge up.
        self.length = 0
        # Presses so far that had 30 ms of stable contact.
        self.presses = 0
        # As `step` was told last.
        self.level = True
        self._stable_since = now
        # When the first and the last of the edges were that `step` is told next; None: not known.
        self._first: int | None = None
        self._last: int | None = None

    def consume(self) -> None:
        """The press under way, if there is one, means nothing any more."""
        if self.first_edge is not None:
            self.consumed = True

    def held_ms(self, now: int) -> int:
        """Length of the press under way so far; 0 between presses and before it is debounced."""
        if self.down and self.first_edge is not None:
            return now - self.first_edge
        return 0

    def due_in_ms(self, now: int) -> int | None:
        """How long a press under way stays what it is, 1 or more; None: until the next edge."""
        if self.first_edge is None or (self.level and self.down):
            return None
        return max(1, DEBOUNCE_MS - (now - self._stable_since))

    def date_edges(self, first: int, last: int) -> None:
        """Say when the first and the last of the edges were that `step` is told next."""
        self._first = first
        self._last = last

    def step(self, now: int, level: bool, edges: int) -> int:
        """Take the ``level`` (True: down) and the ``edges`` seen since the last step.

        Edges that `date_edges` has not dated are taken to be of now. Returns `NOTHING`, `PRESSED`
        or `RELEASED`; the caller asks `consumed` whether it counts.
        """
        if level != self.level or edges:
            self._moved(now, level, edges)
        if self.first_edge is None:
            return NOTHING
        if now - self._stable_since < DEBOUNCE_MS:
            return NOTHING
        if level:
            if self.down:
                return NOTHING
            self.down = True
            self.presses += 1
            return PRESSED
        self.length = self._stable_since - self.first_edge
        finished = self.down
        self.first_edge = None
        self.down = False
        return RELEASED if finished else NOTHING

    def _moved(self, now: int, level: bool, edges: int) -> None:
        # An edge between two equal levels is contact bounce too: the wait starts again.
        if self.first_edge is None:
            if not level and not edges & EDGE_DOWN:
                return
            self.first_edge = now if self._first is None else self._first
            self.consumed = False
            self.down = False
        self.level = level
        self._stable_since = now if self._last is None else self._last
        self._first = self._last = None
