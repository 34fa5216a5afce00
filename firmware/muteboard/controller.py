"""The mute itself, as a pure state machine: time and inputs in, outputs out.

No I/O, no clock, no hardware imports. Times are milliseconds of uptime, a plain integer that
never wraps. A contact bit of 1 means closed. docs/design.md, "The press" and "Cut, sense, fault".
"""

from muteboard import button as _button
from muteboard import const

MUTED = "muted"
LIVE = "live"
FAULT = "fault"

CUT = "cut"
CONNECTED = "connected"

TOGGLE = "toggle"
PUSH_TO_TALK = "push_to_talk"

# A press that starts this soon after a cut that the button did not cause was meant as "mute".
_SURPRISE_MS = const(1000)
# The last part of the live time, shown by the lamp.
WARNING_MS = const(60_000)
# As good as never, for `Controller.due_in_ms`.
_NOTHING_DUE_MS = const(1000)
# Contradicting polls raise the doubt by 2, agreeing ones lower it by 1: two in a row are a fault,
# one alone is noise, and a contact that chatters gets there as well.
_DOUBT_STEP = const(2)
_DOUBT_FAULT = const(4)


class Controller:
    """One microphone line with ``contacts`` cuts in series and one button.

    ``settle_ms``: how long the contacts may take to follow a command.
    ``cause``: why the board started, ``boot`` or ``watchdog``.
    """

    def __init__(self, contacts: int, mode: str, max_live_ms: int, settle_ms: int, cause: str):
        self.mode = mode
        self.max_live_ms = max_live_ms
        # While locked no press connects: setup, maintenance, a crash loop.
        self.locked = False
        # What the relay is told to do. The owner of the hardware applies it after every call.
        self.command = CUT
        # The board's word, and why and when it became that.
        self.state = MUTED
        self.cause = cause
        self.since = 0
        # State changes since boot.
        self.changes = 0
        # Grows whenever the command, the state, its cause, `faults`, `stuck` or `latch_clear`
        # change.
        self.revision = 0
        # Contacts that contradicted the command, as "closed:1" or "open:2"; only in a fault.
        self.faults: list[str] = []
        self.stuck = False
        # The board's interlock refused the last press that was to connect.
        self.latch_clear = False
        self.sense = 0
        # Whether the contacts have followed the command. Until then nobody is told the word.
        self.settled = True
        self.button = _button.Button(0)
        self._all_closed = (1 << contacts) - 1
        self._contacts = contacts
        self._settle_ms = settle_ms
        self._command_since = 0
        self._cut_cause = cause
        # When something other than the button last cut. After a crash the restart itself was that.
        self._surprise_at: int | None = 0 if cause == "watchdog" else None
        self._doubt = 0
        self._live_ms = 0
        self._last_step = 0

    def due_in_ms(self, now: int) -> int:
        """How long nothing changes here (1 or more) but by an edge or a contact on its own."""
        if not self.settled or 0 < self._doubt < _DOUBT_FAULT:
            return 1
        due = self.button.due_in_ms(now)
        if due is None:
            due = _NOTHING_DUE_MS
        if self.command != CUT:
            due = min(due, max(1, self._command_since + self.max_live_ms - now))
        return due

    def live_ms(self, now: int) -> int:
        """Total live time since boot, in ms."""
        return self._live_ms + (now - self.since if self.state == LIVE else 0)

    def remute_in_ms(self, now: int) -> int | None:
        """Time left until the board mutes itself, in ms; None while the line is cut."""
        if self.command == CUT:
            return None
        return max(0, self._command_since + self.max_live_ms - now)

    def warning(self, now: int) -> bool:
        """Whether the live time is in its last minute."""
        left = self.remute_in_ms(now)
        return left is not None and left <= WARNING_MS

    def mute(self, now: int) -> bool:
        """The host's wish. True if this cut the line; there is no opposite."""
        if self.command == CUT:
            return False
        self._cut(now, "host")
        self.button.consume()
        # The contacts are yet to be looked at.
        self.settled = self.state == FAULT
        return True

    def delayed(self, now: int) -> None:
        """The relay will be told only now what `step` has just commanded."""
        self._command_since = now

    def refused(self, now: int, latch_clear: bool) -> None:
        """The board has not connected, as `step` just commanded: the press was in vain.

        ``latch_clear``: because of its interlock.
        """
        self.command = CUT
        self.revision += 1
        self._command_since = now
        self.latch_clear = latch_clear

    def step(self, now: int, down: bool, edges: int, sense: int) -> None:
        """Advance to ``now``. ``edges``: button edges since the last step, of any speed."""
        gesture = self._watch(now, down, edges)
        self._watch_contacts(now, sense)
        self._decide(now, gesture)
        self.settled = sense == self._expected() or self.state == FAULT

    def replay(self, at: int, down: bool, edges: int, sense: int) -> None:
        """What the button did at ``at``, which is past. The contacts were not looked at then.

        The next `step` is one of now.
        """
        gesture = self._watch(at, down, edges)
        self.sense = sense
        self._decide(at, gesture)

    def _watch(self, now: int, down: bool, edges: int) -> int:
        if self.command == CONNECTED:
            self._watch_live(now, down, edges)
        gesture = self._watch_button(now, down, edges)
        self._last_step = now
        return gesture

    def _decide(self, now: int, gesture: int) -> None:
        if gesture and gesture == self._deciding_gesture() and not self.button.consumed:
            self._pressed(now)

    def _watch_live(self, now: int, down: bool, edges: int) -> None:
        if self._cuts(down, edges):
            self._cut(now, "button")
            self.button.consume()
        elif now - self._command_since >= self.max_live_ms:
            self._cut(now, "timer")
            self.button.consume()

    def _watch_button(self, now: int, down: bool, edges: int) -> int:
        idle = self.button.first_edge is None
        gesture = self.button.step(now, down, edges)
        if self.button.first_edge is not None:
            if idle and (self._has_cut(now) or self._meant_as_mute()):
                self.button.consume()
            self._watch_stuck(now)
        elif self.stuck:
            self._watch_stuck(now)
        return gesture

    def _has_cut(self, now: int) -> bool:
        # The press that begins now has cut: that was all of it.
        return self.command == CUT and self._command_since == now

    def _cuts(self, down: bool, edges: int) -> bool:
        if self.mode == TOGGLE:
            return down or bool(edges & _button.EDGE_DOWN)
        return not down or bool(edges & _button.EDGE_UP)

    def _meant_as_mute(self) -> bool:
        # The first edge fell between the last step and this one; the earlier bound decides.
        return self._surprise_at is not None and self._last_step - self._surprise_at < _SURPRISE_MS

    def _deciding_gesture(self) -> int:
        return _button.RELEASED if self.mode == TOGGLE else _button.PRESSED

    def _pressed(self, now: int) -> None:
        """An unconsumed press has been completed as the mode asks."""
        if self.mode == TOGGLE and self.button.length > _button.PRESS_MAX_MS:
            return
        if self.sense != 0:
            return
        if self.state == FAULT:
            self.faults = []
            self._doubt = 0
            self._enter(now, MUTED, "button")
            self.button.consume()
        elif self.command == CUT and not self.locked:
            self.command = CONNECTED
            self.revision += 1
            self._command_since = now
            self._doubt = 0

    def _cut(self, now: int, cause: str) -> None:
        if self.command == CUT:
            return
        self.command = CUT
        self.revision += 1
        self._command_since = now
        self._cut_cause = cause
        self._doubt = 0
        if cause != "button":
            self._surprise_at = now

    def _watch_stuck(self, now: int) -> None:
        stuck = self.mode == TOGGLE and self.button.held_ms(now) > _button.STUCK_MS
        # In toggle a button that is down has already cut; what is left is to say why it stays so.
        if stuck and not self.stuck and self.state == MUTED:
            self.cause = "stuck"
        if stuck != self.stuck:
            self.stuck = stuck
            self.revision += 1

    def _watch_contacts(self, now: int, sense: int) -> None:
        self.sense = sense
        expected = self._expected()
        if sense == expected:
            if self._doubt:
                self._doubt -= 1
            if self.state == FAULT:
                return
            if self.command == CONNECTED:
                if self.state != LIVE:
                    self.latch_clear = False
                    self._enter(now, LIVE, "button")
            elif self.state != MUTED:
                self._enter(now, MUTED, self._cut_cause)
        elif now - self._command_since > self._settle_ms:
            self._doubt = min(_DOUBT_FAULT, self._doubt + _DOUBT_STEP)
            if self._doubt == _DOUBT_FAULT:
                self._name_faults(expected)
                if self.state != FAULT:
                    self._cut(now, "fault")
                    self.button.consume()
                    self._enter(now, FAULT, "fault")

    def _expected(self) -> int:
        return 0 if self.command == CUT else self._all_closed

    def _name_faults(self, expected: int) -> None:
        for contact in range(self._contacts):
            bit = self.sense >> contact & 1
            if bit != expected >> contact & 1:
                name = "%s:%d" % ("closed" if bit else "open", contact + 1)
                other = "%s:%d" % ("open" if bit else "closed", contact + 1)
                if other in self.faults:
                    # One name a contact, the latest, so that a status always fits in a frame.
                    self.faults.remove(other)
                if name not in self.faults:
                    self.faults.append(name)
                    self.revision += 1

    def _enter(self, now: int, state: str, cause: str) -> None:
        self._live_ms = self.live_ms(now)
        self.state = state
        self.cause = cause
        self.since = now
        self.changes += 1
        self.revision += 1
