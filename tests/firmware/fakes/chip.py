"""A chip and what is wired to it, at the level of pins, milliseconds and bytes."""

# Standard, because the fakes hold objects of classes that they make.
# pyright: standard

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class ChipReset(BaseException):
    """The chip was restarted: what does not return on a board is raised here."""


class Chip:
    """Pins by name or number, the button, relay and contacts on them, a clock, a serial port."""

    def __init__(self, button: object, relay: object, senses: "tuple[object, ...]", lamp: object):
        self.button, self.relay, self.senses, self.lamp = button, relay, senses, lamp
        self.now = 0
        self.ticks_start = 0
        # What happened, in order: ("drive", pin, level) and whatever the fakes add. Not kept while
        # `recording` is off: adding to a list allocates.
        self.recording = True
        self.log: list[tuple[object, ...]] = []
        self.driven: dict[object, int] = {}
        self.pulls: dict[object, str | None] = {}
        self.down = False
        # Contacts that a weld keeps closed, or a fallen wire makes read closed.
        self.stuck_closed: set[object] = set()
        self.travel_ms = 3
        # The interlock's CLEAR and latch pins; None on a board without. From an edge of the button
        # to the latch, and how long what follows an edge is its bounce.
        self.interlock: tuple[object, object] | None = None
        self.latch = False
        # None: it has a resistor.
        self.latch_pull: str | None = "down"
        self.latch_delay_ms = 0
        self.latch_quiet_ms = 5
        self.open_drain: set[object] = set()
        self._filtered_down = False
        self._filtered_at = -100
        self._clock_at = -1
        self._relay_at = -100
        self._pulled = False
        # Called with (falling, rising) on each edge of the button, and once per millisecond.
        self.on_edge: list[Callable[[bool, bool], None]] = []
        self.on_ms: list[Callable[[], None]] = []
        # Called before a pin is driven: a chance to press the button at the worst moment.
        self.before_drive: Callable[[object, int], None] | None = None
        # Serial port.
        self.to_chip = b""
        self.to_host = b""
        self.room = 1 << 20
        # How many packets the USB controller has taken over from what was written, and whether
        # it takes the next one.
        self.packets = 0
        self.collects = False
        # The host sends starts of frame: one for each look at their number.
        self.bus_active = True
        self.frame = 0
        # Watchdog: its timeout in ms once it runs.
        self.watchdog_ms: int | None = None
        self._fed_at = 0
        self.feeds = 0
        self.shown: list[tuple[int, int, int]] = []

    def drive(self, pin: object, level: int) -> None:
        if self.before_drive is not None:
            self.before_drive(pin, level)
        if pin == self.relay and self.driven.get(pin) != level:
            self._settle()
            self._relay_at = self.now
        self.driven[pin] = level
        if self.interlock is not None:
            self._clock_latch()
        if self.recording:
            self.log.append(("drive", pin, level))

    @property
    def allowed(self) -> bool:
        """What the chip asks for: the relay, or with an interlock the permission for it."""
        return bool(self.driven.get(self.relay))

    @property
    def relay_on(self) -> bool:
        return self.allowed and (self.latch or self.interlock is None)

    def _filter_button(self) -> None:
        """What the interlock sees of the button: the first edge, and the level after a bounce."""
        if self.down != self._filtered_down and self.now - self._filtered_at > self.latch_quiet_ms:
            self._filtered_down = self.down
            self._filtered_at = self.now
            if self.down:
                self._clock_at = self.now + self.latch_delay_ms
        self._clock_latch()

    def _clock_latch(self) -> None:
        level = self.latch
        if 0 <= self._clock_at <= self.now:
            self._clock_at = -1
            level = not level
        if self.interlock is not None and self.driven.get(self.interlock[0]) == 0:
            level = False
        if level != self.latch:
            if self.allowed:
                self._settle()
                self._relay_at = self.now
            self.latch = level

    def _settle(self) -> None:
        if self.now - self._relay_at >= self.travel_ms:
            self._pulled = self.relay_on

    def level(self, pin: object) -> int:
        """What the pin reads."""
        if pin == self.button:
            assert self.pulls.get(pin) == "up", "a button to ground needs a pull-up"
            return 0 if self.down else 1
        if pin in self.senses:
            assert self.pulls.get(pin) == "up", "a rest contact to ground needs a pull-up"
            self._settle()
            return 1 if self._pulled or pin in self.stuck_closed else 0
        if self.interlock is not None and pin == self.interlock[1]:
            assert self.pulls.get(pin) == self.latch_pull, "a fallen wire must read clear"
            return int(self.latch)
        return self.driven.get(pin, 0)

    def press(self, down: bool) -> None:
        if down != self.down:
            self.down = down
            if self.interlock is not None:
                self._filter_button()
            for hook in list(self.on_edge):
                hook(down, not down)

    def advance(self, ms: int) -> None:
        for _ in range(ms):
            self.now += 1
            if self.interlock is not None:
                self._filter_button()
            for hook in list(self.on_ms):
                hook()

    def feed(self) -> None:
        if self.bitten:
            raise ChipReset
        self._fed_at = self.now
        self.feeds += 1

    @property
    def bitten(self) -> bool:
        """Whether the watchdog has run out."""
        return self.watchdog_ms is not None and self.now - self._fed_at > self.watchdog_ms

    def take(self, count: int) -> bytes:
        data, self.to_chip = self.to_chip[:count], self.to_chip[count:]
        return data

    def give(self, data: bytes) -> int:
        """What fits goes to the host."""
        count = min(len(data), self.room)
        self.to_host += data[:count]
        self.room -= count
        return count
