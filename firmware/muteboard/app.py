"""The superloop that ties the parts together, and what happens when one of them fails.

MicroPython puts the frame of a function with more than 11 words of locals and stack on the heap
(py/objfun.c, VM_MAX_STATE_ON_STACK), where finding room takes the longer the more garbage lies
about. What runs on every pass is therefore kept in small functions, here and in the other files.
"""

import binascii

import muteboard
from muteboard import config, const, controller, crash, evidence, lamp, link, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from muteboard.boards import Board

# Button held at a cold start for this long opens the service modes.
SETUP_MS = const(3000)
MAINTENANCE_MS = const(10_000)
# Longest pause between two passes: a weld, and a contact on its own, are found by looking.
_IDLE_MS = const(50)
_RETAIN_MS = const(1000)
_MAX_BOOTS = const(999_999_999)
# No board lives to count so far: from here on are numbers of starts that are not counted.
_UNCOUNTED = const(500_000_000)
# With more faults or warnings than this a status has no room for the journal's head, and with more
# faults none for more warnings.
_MANY = const(3)


class App:
    """The firmware on one board. `run` it, or `step` it with the board's own time.

    ``setup``: the board file has already seen the button held for setup at power-on.
    """

    def __init__(self, board: "Board", setup: bool = False):
        board.cut()
        self._board = board
        self._ticks = board.ticks_ms()
        # Milliseconds since the program started; never wraps.
        self._uptime = 0
        cold = board.reset_cause() == "cold"
        self._crashes = crash.CrashGuard(board.retained(), not cold)
        # Before all that may fail: a crash in here counts as well.
        board.retain(self._crashes.record(0))
        self._settings, config_warning = config.parse(board.load("config"))
        self._warnings: list[str] = []
        if config_warning:
            self._warnings.append(config_warning)
        if self._crashes.tripped:
            self._warnings.append("crash_loop")
        if self._crashes.stay_cut:
            self._warnings.append("stays_cut")
        self.controller = controller.Controller(
            board.contacts,
            self._settings["mode"],
            self._settings["max_live_s"] * 1000,
            board.settle_ms,
            "boot" if cold else "watchdog",
        )
        # In a crash loop what is stored is left alone: it may be what the crashes come from, and
        # each start would take its share of the journal.
        tripped = self._crashes.tripped
        self.evidence = evidence.Evidence(board, self.controller, not tripped)
        if tripped:
            self._boot = _uncounted_boot(board)
        else:
            self._boot = _next_boot(board, self.evidence.last_boot)
            if not _store_boot(board, self._boot):
                self._warnings.append("boot_not_counted")
        self.evidence.start(self._boot)
        self.service = "setup" if setup else "none"
        # Setup is opened by hand and once in a start, so that this is what one opening takes.
        self._changes_left = config.MOST_CHANGES
        # Button held since power-on: until it is released the watchdog waits, because maintenance
        # must be able to stop the program, and so the line stays cut.
        self._hold = cold and board.button_down()
        self._lock()
        # Until when the lamp needs no other colour.
        self._lamp_until = 0
        self._rgb: tuple[int, int, int] | None = None
        self._retained_at = -_RETAIN_MS
        # The controller's revision that lamp and link know.
        self._known = -1
        self._link = link.Link(board, self)

    def run(self) -> None:
        """Run until maintenance is opened. Any exception cuts the line and resets the chip."""
        for ms in self.passes():
            try:
                self._board.idle(ms)
            except BaseException:  # as in `passes`: an interrupt arrives here as well
                self._crash()

    def passes(self):
        """The program, as a generator that yields after each pass of the superloop.

        What it yields is the `idle_ms` until the next pass.
        """
        try:
            # Before the lamp says its first word.
            if not self._hold:
                self._board.feed_watchdog()
            while self.service != "maintenance":
                self.step()
                yield self.idle_ms()
            self._board.maintenance()
        except GeneratorExit:
            raise
        except BaseException:  # a crash of any kind must end cut
            self._crash()

    def _crash(self) -> None:
        # The reset is the report: the next start says ``watchdog``.
        self._board.cut()
        self._board.reset()

    def step(self) -> None:
        """One pass of the superloop: inputs, decision, relay, then lamp, link and watchdog."""
        board = self._board
        now = self._step_controller(self._now())
        if self._hold:
            self._watch_hold(now)

        if self.controller.revision != self._known:
            self._known = self.controller.revision
            self._changed()
        # Between two words the lamp stays: it changes once the contacts bear the new one out.
        if self.controller.settled and now >= self._lamp_until:
            self._update_lamp(now)
        self._link.step(now, self.controller.settled)
        self.evidence.step(now)
        if now - self._retained_at >= _RETAIN_MS:
            self._retained_at = now
            in_service = self.service != "none"
            board.retain(crash.STAY_CUT if in_service else self._crashes.record(now))
            self.evidence.expire(now)
        if not self._hold:
            board.feed_watchdog()

    def _now(self) -> int:
        ticks = self._board.ticks_ms()
        self._uptime += self._board.ticks_diff(ticks, self._ticks)
        self._ticks = ticks
        return self._uptime

    def _step_controller(self, now: int) -> int:
        """Inputs, decision, relay. Returns the time, which writing an unmute takes some of."""
        mute = self.controller
        was_cut = mute.command == controller.CUT
        now = self._look(now)
        if was_cut and mute.command != controller.CUT:
            now = self._connect(now)
        if mute.command == controller.CUT:
            self._board.cut()
            if mute.button.first_edge is None:
                self._board.disarm()
        self.evidence.watch(now)
        return now

    def _look(self, now: int) -> int:
        """Inputs and decision. Returns the time, which is later if there were edges."""
        board = self._board
        missed = board.take_missed()
        # Edges before the level: one that comes in between is then seen again, at once. The other
        # way round it would be gone, and the level that it led to found only after an idle.
        edges = board.take_edges()
        if missed or edges:
            # Garbage may have been collected meanwhile, which takes ms. An edge that came in these
            # would be too early by them, and the press that it ended too short to count.
            now = self._now()
        for ticks, down, edge in missed:
            at = self._when(now, ticks)
            self._replay_until(at)
            self.controller.replay(at, down, edge, board.sense())
        down = board.button_down()
        if edges:
            self._date_edges(now)
        elif down != self.controller.button.level:
            # Its edge came in between, and may end a press that nobody has looked at for 30 ms.
            self._replay_until(now)
        self.controller.step(now, down, edges, board.sense())
        return now

    def _date_edges(self, now: int) -> None:
        first = self._when(now, self._board.first_edge)
        self._replay_until(first)
        # Ticks are whole: after the last edge comes the next of them, so that nothing counts as
        # stable sooner than it is.
        last = min(now, self._when(now, self._board.last_edge) + 1)
        self.controller.button.date_edges(first, last)

    def _replay_until(self, at: int) -> None:
        """Until its edge at ``at`` the button was as before: long enough to count, perhaps."""
        mute = self.controller
        if mute.button.first_edge is not None:
            mute.replay(at - 1, mute.button.level, 0, self._board.sense())

    def _connect(self, now: int) -> int:
        """Connect, as the controller has just decided. Returns the time."""
        mute = self.controller
        if not self.evidence.unmute(now):
            mute.refused(now, False)
            return now
        now = self._now()
        mute.delayed(now)
        # What came while the record was written was no press that could cut.
        now = self._look(now)
        if mute.command != controller.CUT and not self._board.connect(
            mute.mode == controller.TOGGLE
        ):
            mute.refused(now, True)
        return now

    def _when(self, now: int, ticks: int) -> int:
        """When ``ticks`` were, ``now`` at the latest."""
        return now - max(0, self._board.ticks_diff(self._ticks, ticks))

    def idle_ms(self) -> int:
        """How long the board may idle after the last `step`: until something is due.

        Contacts that move or are in doubt are looked at every millisecond; bytes that are on their
        way do not wait at all.
        """
        now = self._uptime
        # The lamp may be waiting for the contacts.
        lamp_due = max(1, self._lamp_until - now)
        mute_due = self.controller.due_in_ms(now)
        return min(_IDLE_MS, lamp_due, mute_due, self._link.due_in_ms(now))

    # What the link asks for.

    def hello(self) -> dict:
        """The board's answer to ``hello``."""
        return {
            "product": wire.PRODUCT,
            "proto": [wire.PROTO_MAJOR, wire.PROTO_MINOR],
            "firmware": muteboard.__version__,
            "board": binascii.hexlify(self._board.unique_id()).decode(),
            "port": self._board.port,
            "contacts": self._board.contacts,
            "simulated": self._board.simulated,
            "journal": self._board.journaled,
        }

    def status(self, now: int) -> dict:
        """The board's answer to ``status``, and the body of a state event."""
        mute = self.controller
        warnings = list(self._warnings)
        if mute.stuck:
            warnings.append("stuck")
        if mute.latch_clear:
            warnings.append("latch_clear")
        if self.evidence.failed:
            warnings.append(evidence.FAILED)
        answer = {
            "state": mute.state,
            "command": mute.command,
            "sense": [mute.sense >> contact & 1 for contact in range(self._board.contacts)],
            "cause": mute.cause,
            "since_ms": now - mute.since,
            "uptime_ms": now,
            "boot": self._boot,
            "changes": mute.changes,
            "live_ms": mute.live_ms(now),
            "remute_in_ms": mute.remute_in_ms(now),
            "faults": mute.faults,
            "warnings": warnings,
            "service": self.service,
            "simulated": self._board.simulated,
        }
        answer.update(self.evidence.status())
        if len(mute.faults) > _MANY or len(warnings) > _MANY:
            answer.pop("head", None)
            if len(mute.faults) > _MANY:
                answer["warnings"] = warnings[-_MANY:]
        return answer

    def mute(self) -> bool:
        """The host's ``mute``: cut now. True if the line was connected."""
        # A press that has cut meanwhile comes first: put down to the host, it would make the next
        # press count for nothing.
        now = self._step_controller(self._now())
        changed = self.controller.mute(now)
        self._board.cut()
        return changed

    def config(self, now: int, changes) -> dict:
        """The settings; with ``changes``, after storing them (only in setup)."""
        if changes is not None:
            if self.service != "setup":
                raise wire.WireError("setup_required")
            settings = (
                config.changed(self._settings, changes) if isinstance(changes, dict) else None
            )
            if settings is None:
                raise wire.WireError("bad_arg")
            if settings != self._settings or not self._config_stored():
                self._configure(now, settings)
        return {"config": self._settings}

    def _config_stored(self) -> bool:
        return config.MISSING not in self._warnings and config.INVALID not in self._warnings

    def _configure(self, now: int, settings: dict) -> None:
        """Store ``settings``, use them and record that."""
        if not self._changes_left:
            raise wire.WireError("setup_used_up")
        stored = config.dump(settings)
        try:
            self._board.store("config", stored)
        except OSError:
            raise wire.WireError("storage") from None
        self._changes_left -= 1
        self._settings = settings
        self.evidence.configured(now, stored)
        self.controller.mode = settings["mode"]
        self.controller.max_live_ms = settings["max_live_s"] * 1000
        self._lamp_until = 0
        for warning in (config.MISSING, config.INVALID):
            if warning in self._warnings:
                self._warnings.remove(warning)

    def attest(self, now: int, nonce) -> dict:
        """A signed statement of the state and of the journal, which is durable by then."""
        return self.evidence.attest(now, nonce, self.status(now))

    def journal(self, start) -> dict:
        """A page of the journal."""
        return self.evidence.page(start)

    def pair(self, now: int, host, end) -> dict:
        """Pair with a host, or end that (only in setup)."""
        if self.service != "setup":
            raise wire.WireError("setup_required")
        return self.evidence.pair(now, host, end)

    def _lock(self) -> None:
        self.controller.locked = (
            self._hold or self.service != "none" or self._crashes.tripped or self._crashes.stay_cut
        )

    def _changed(self) -> None:
        self._lamp_until = 0
        self._link.state_changed()

    def _watch_hold(self, now: int) -> None:
        before = self.service
        if self.controller.button.first_edge is None:
            # Released and stable: the press that began before power-on is over.
            self._hold = False
        elif self.controller.button.held_ms(now) >= MAINTENANCE_MS:
            self.service = "maintenance"
        elif self.controller.button.held_ms(now) >= SETUP_MS:
            self.service = "setup"
        if self.service != before:
            self.evidence.service(now, self.service)
            self._changed()
        self._lock()

    def _update_lamp(self, now: int) -> None:
        mute = self.controller
        shown = lamp.pattern(mute.state, self.service, mute.warning(now), mute.stuck)
        self._lamp_until = now + lamp.lasts_ms(shown, now)
        rgb = lamp.colour(shown, now, self._settings["palette"], self._settings["brightness"])
        if rgb != self._rgb:
            self._rgb = rgb
            self._board.show(rgb)


def _next_boot(board, least: int) -> int:
    """This boot's number, above ``least``."""
    try:
        count = int((board.load("boot") or b"0").decode())
    except (ValueError, UnicodeError):
        count = 0
    if not 0 <= count < _MAX_BOOTS:
        # No board lives to see it. The journal's boots must not fall: that passes for tampering.
        count = 0
    return max(count, least) + 1


def _uncounted_boot(board) -> int:
    """The number of a start that is not stored: one that no other start has, not even the next.

    A host takes what has the same number for one run of the program.
    """
    return _UNCOUNTED + int.from_bytes(board.entropy(4), "little") % _UNCOUNTED


def _store_boot(board, boot: int) -> bool:
    """Whether it could be stored that ``boot`` is in use."""
    try:
        board.store("boot", str(boot).encode())
    except OSError:
        return False
    return True
