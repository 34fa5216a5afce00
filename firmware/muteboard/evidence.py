"""What the board tells its journal, when that is written, and what a host may ask of it.

Writing takes the flash's time, which nobody can bound by a second. So it waits until the line is
cut, where the watchdog may wait as well, and until no press is under way. The record of an unmute
does not wait.
"""

import binascii

from muteboard import attest, const, controller, journal, wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from muteboard.boards import Board

# Warnings of a status: events cannot be written, and until they can be no press connects.
FAILED = "journal_failed"
# After a press nothing is written for this time, but what has waited for that one is.
_QUIET_MS = const(500)
_PATIENCE_MS = const(30_000)
_BUTTON_MOVED = const(1)
_SETUP = const(1)
_MAINTENANCE = const(2)
_MAX_SEQ = const(0xFFFFFFFF)
# Pairings that are made while setup is open; changes of settings do not count towards them.
_MOST_PAIRINGS = const(32)


class Evidence:
    """The journal of ``board``, if it keeps one, beside its controller ``mute``.

    ``opened``: False leaves journal and keys alone, as those of a board in a crash loop must be.
    """

    def __init__(self, board: "Board", mute: "controller.Controller", opened: bool = True):
        self._board = board
        self._mute = mute
        # None: the board keeps none, it is to be left alone, or what is stored cannot be read.
        self._journal: journal.Journal | None = None
        # The state by the newest record.
        self._told = controller.MUTED
        # The line has been live since the newest unmute.
        self._was_live = False
        self._stuck = False
        # The start of the program has been written down.
        self._started = False
        # When a press was last under way, and since when something waits to be written.
        self._pressed_at = -_QUIET_MS
        self._waits_since = 0
        # What is stored cannot be read.
        self._unreadable = False
        self._pairings_left = _MOST_PAIRINGS
        if board.journaled and opened:
            try:
                # It says that it is one that can.
                self._journal = journal.Journal(board)  # pyright: ignore[reportArgumentType]
            except (OSError, ValueError):
                self._unreadable = True

    @property
    def failed(self) -> bool:
        """Whether events that must be written cannot be."""
        return self._unreadable if self._journal is None else self._journal.failed

    @property
    def last_boot(self) -> int:
        """The number of the last start in the journal; 0 if there is none."""
        return 0 if self._journal is None else self._journal.last_boot

    def start(self, boot: int) -> None:
        """This is start number ``boot``."""
        if self._journal is not None:
            self._journal.boot = boot
            self._record(0, journal.BOOT, 0)

    # What happens.

    def watch(self, now: int) -> None:
        """Note what the controller's last step has changed. To be called after each."""
        mute = self._mute
        if mute.stuck != self._stuck:
            self._stuck = mute.stuck
            if mute.stuck:
                self._record(now, journal.STUCK, 0)
        if mute.command != controller.CUT:
            if mute.state == controller.LIVE:
                self._was_live = True
        elif mute.settled and mute.state != self._told:
            self._tell(now)

    def _tell(self, now: int) -> None:
        mute = self._mute
        was_unmute = self._told == controller.LIVE
        self._told = mute.state
        if mute.state == controller.FAULT:
            self._record(now, journal.FAULT, _contacts(mute.faults))
        elif was_unmute and not self._was_live:
            self._record(now, journal.REFUSED, 0 if mute.latch_clear else _BUTTON_MOVED)
        else:
            self._record(now, journal.MUTED, 0)

    def unmute(self, now: int) -> bool:
        """Make durable that the line is about to be connected. If False it must not be."""
        if self._journal is None:
            return not self._board.journaled
        self._told = controller.LIVE
        self._was_live = False
        # With no room left for it, the next press may find some.
        recorded = self._record(now, journal.UNMUTE, 0)
        return self._journal.flush(now) and recorded

    def configured(self, now: int, stored: bytes) -> None:
        """The settings have become what ``stored`` says."""
        self._record(now, journal.CONFIG, wire.crc32(stored))

    def service(self, now: int, service: str) -> None:
        """A service mode has been opened."""
        self._record(now, journal.SERVICE, _SETUP if service == "setup" else _MAINTENANCE)

    def _record(self, now: int, event: int, data: int) -> bool:
        if self._journal is None:
            return False
        return self._journal.record(now, event, data, *self._fields(event == journal.UNMUTE))

    def _fields(self, unmute: bool) -> "tuple[int, int, int, int]":
        """Presses, cause, state and sense as in a record; of an ``unmute``, as they will be."""
        mute = self._mute
        state = wire.STATES.index(controller.LIVE if unmute else mute.state)
        if mute.command != controller.CUT:
            state |= journal.COMMANDED
        cause = wire.CAUSES.index("button" if unmute else mute.cause)
        return mute.button.presses, cause, state, mute.sense

    # Writing.

    def step(self, now: int) -> None:
        """Write what waits, if this is the moment for it."""
        log = self._journal
        if log is None:
            return
        if self._started and self._mute.button.first_edge is not None:
            self._pressed_at = now
        if not log.pending:
            self._started = True
            self._waits_since = now
        elif self._may_write() and self._is_quiet(now) and (not log.failed or log.retry_due(now)):
            log.flush(now)

    def _is_quiet(self, now: int) -> bool:
        # An interrupt that comes while the flash is erased is late by up to 45 ms: a press that
        # begins and ends within that would look like a bounce. So two quick presses come first.
        if self._mute.button.due_in_ms(now) is not None:
            return False
        return now - self._pressed_at >= _QUIET_MS or now - self._waits_since >= _PATIENCE_MS

    def expire(self, now: int) -> None:
        """Give up the journal key after its time. To be called now and then.

        Not while the line is live: nothing could be attested until it is cut.
        """
        if self._journal is not None and self._may_write():
            self._journal.expire(now)

    def _may_write(self) -> bool:
        return self._mute.command == controller.CUT

    def _opened(self) -> "journal.Journal":
        """The journal. Raises `WireError` if there is none."""
        if self._journal is None:
            raise wire.WireError("storage" if self._board.journaled else "unsupported")
        return self._journal

    def _make_durable(self, now: int) -> None:
        """Write all that has happened. Raises `WireError` if that cannot be now."""
        log = self._opened()
        if log.pending and not (self._may_write() and log.flush(now)):
            raise wire.WireError("busy")

    # What a host asks.

    def status(self) -> dict:
        """What a status says of the journal."""
        log = self._journal
        if log is None:
            return {}
        return {"seq": log.seq, "head": _hex(log.head), "pairing": log.pairing}

    def attest(self, now: int, nonce, status: dict) -> dict:
        """The signed statement: ``status`` with the host's ``nonce`` and the journal's head."""
        if _bytes(nonce, attest.MAC) is None:
            raise wire.WireError("bad_arg")
        log = self._opened()
        # Also where nothing can be signed: whoever asks fetches the journal next.
        self._make_durable(now)
        if not log.pairing:
            raise wire.WireError("not_paired")
        statement = {"nonce": nonce, "board": _hex(self._board.unique_id()), "epoch": log.epoch}
        for key in _STATED:
            statement[key] = status[key]
        statement.update(self.status())
        mac, journal_mac = log.sign(wire.dumps(statement).encode())
        statement["mac"] = _hex(mac)
        statement["journal_mac"] = _hex(journal_mac)
        return statement

    def page(self, start) -> dict:
        """Records from number ``start`` on."""
        if isinstance(start, bool) or not isinstance(start, int) or not 0 < start <= _MAX_SEQ:
            raise wire.WireError("bad_arg")
        log = self._opened()
        try:
            first, data = log.page(start)
        except OSError:
            raise wire.WireError("storage") from None
        answer = {
            "first": log.first,
            "from": first,
            "last": log.seq,
            "records": binascii.b2a_base64(data)[:-1].decode(),
        }
        if start < log.first:
            answer["gone"] = [start, log.first - 1]
        return answer

    def pair(self, now: int, host, end) -> dict:
        """Pair with a host that contributes ``host``; or, with ``end``, end the pairing."""
        theirs = _bytes(host, attest.KEY)
        if (end is not True or host is not None) and (end is not None or theirs is None):
            raise wire.WireError("bad_arg")
        log = self._opened()
        if theirs is None:
            self._make_durable(now)
            if not log.unpair(now):
                raise wire.WireError("storage")
            return {"pairing": log.pairing}
        if not self._pairings_left:
            raise wire.WireError("setup_used_up")
        self._make_durable(now)
        # One that fails may have made records too.
        self._pairings_left -= 1
        ours = log.pair(now, theirs)
        if ours is None:
            raise wire.WireError("storage")
        return {
            "board_bytes": _hex(ours),
            "pairing": log.pairing,
            "key_id": _hex(log.key_id),
        }


_STATED = (
    "boot",
    "cause",
    "changes",
    "command",
    "live_ms",
    "sense",
    "service",
    "since_ms",
    "state",
    "uptime_ms",
)


def _hex(data: bytes) -> str:
    return binascii.hexlify(data).decode()


def _bytes(text, size: int) -> "bytes | None":
    """``size`` bytes out of lower-case hex digits; None if ``text`` is anything else."""
    if not isinstance(text, str) or len(text) != 2 * size:
        return None
    try:
        data = binascii.unhexlify(text)
    except ValueError:
        return None
    return data if _hex(data) == text else None


def _contacts(faults: "list[str]") -> int:
    """Bit n: contact n + 1 is closed; bit n + 8: it is open; by the controller's names."""
    bits = 0
    for name in faults:
        kind, _, contact = name.partition(":")
        bits |= 1 << int(contact) - (1 if kind == "closed" else -7)
    return bits
