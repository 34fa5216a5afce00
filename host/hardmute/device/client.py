"""A session with one board over its serial port: requests, answers, state events.

Whatever goes wrong, the caller learns "unknown" (`UnreachableError`), never an old answer (P5):
answers count only with a right CRC and the random id of the request that waits for them.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator

import serial

from hardmute.device import frames, simulators
from hardmute.device.holder import BORROWS, PortHolder, Turn, asked_for
from hardmute.device.pace import Pace
from hardmute.model.answers import (
    Attested,
    Identity,
    Page,
    Paired,
    Status,
    parse_attested,
    parse_identity,
    parse_page,
    parse_paired,
    parse_status,
)
from hardmute.model.clock import SYSTEM
from hardmute.model.errors import PortWantedError, RefusedError, UnreachableError, UsageError
from hardmute.model.typed import TYPE_CHECKING, Any, cast
from hardmute.system import monitor_socket
from muteboard import journal, wire

# RP2040 and native USB ports ignore it; the ESP32 DevKitC's bridge needs it. Not 1200, which
# asks some bootloaders to take over.
BAUD = 115_200
# What a port that vanishes raises. pyserial raises TypeError when the port is closed under a
# pending read, and lets termios.error through, which is no OSError.
if sys.platform == "win32":
    _PORT_ERRORS = (OSError, TypeError)
else:
    import termios

    from hardmute.device.terminal import TerminalPort

    _PORT_ERRORS = (OSError, TypeError, termios.error)
# P5: a stream that is silent for longer is unknown.
STREAM_SILENCE_S = 3.0
# How often a session that gives its port to a `mute` looks whether one asks for it, in seconds.
_GLANCE_S = 0.1
# How addresses of RFC 2217 servers begin: serial ports of other computers, with their settings.
_REMOTE = "rfc2217://"
# Requests for the journal that are under way at once: of at most 60 bytes each, they fit the 256
# that a board buffers.
_PIPELINE = 4
# What a line begins with where MicroPython reads it instead of the firmware.
_PROMPT = b">>> "
# State events that wait while something else is asked. A board sends one at each change, so that
# this is reached by none that keeps to its own settling times.
_MAX_EVENTS = 64
# Where two state events are alike in these, the later one tells all that the first one did.
_CHANGING = (
    "watch",
    "state",
    "command",
    "sense",
    "cause",
    "boot",
    "changes",
    "faults",
    "warnings",
)

# Why nothing answers a hello as hardmute does, on a port that is there and can be asked.
_NOT_OURS = ("no_answer", "not_hardmute", "malformed_answer", "refused")

# At MicroPython's prompt; the first newline ends what was half typed there. The prompt echoes it,
# with quotes between the words that the answer has none between.
_ASK_PROMPT = b"\r\nprint('hardmute', __import__('machine').unique_id().hex())\r\n"
_PROMPT_ID = rb"\nhardmute ([0-9a-f]{4,64})\r\n"

_REFUSALS = {
    "bad_op": "The board's firmware does not know this request: update it.",
    "bad_arg": "The board refused a value as out of range.",
    "setup_required": "The board changes settings only in setup: unplug it, hold its button while "
    "you plug it in again, for 3 s, until the lamp turns blue, and then repeat this command.",
    "storage": "The board could not store that, or read it: its flash is full or damaged.",
    "unsupported": "This board keeps no journal, so it can be neither paired nor asked for one.",
    "not_paired": "The board is not paired: `hardmute pair --verify-key FILE` does that.",
    "setup_used_up": "The board takes no more changes of this kind in this setup. Unplug it, hold "
    "its button while you plug it in again, for 3 s, until the lamp turns blue. Then repeat this "
    "command.",
    "busy": "The board cannot write down now what has happened: ask again.",
}


def _random_id() -> int:
    # The `secrets` module would cost a fifth of the start-up time for the same bytes.
    return int.from_bytes(os.urandom(4)) % wire.ID_LIMIT


if TYPE_CHECKING:
    from typing import Protocol

    from hardmute.device.borrow import Borrowed

    class OpenPort(Protocol):
        """What a session needs of an open pyserial port."""

        timeout: float | None
        write_timeout: float | None

        @property
        def in_waiting(self) -> int: ...
        def read(self, size: int = 1, /) -> bytes: ...
        def write(self, b: bytes, /) -> int | None: ...
        def reset_output_buffer(self) -> None: ...
        def close(self) -> None: ...


class Session:
    """Requests to one board, each answered within ``timeout`` seconds or not at all.

    ``is_wanted``: whether somebody else is to have the port; the session then ends with
    `PortWantedError`, while it waits. It is asked each ``glance_s`` seconds, and after `wake`.
    ``pace``: how much is read; without one, all that comes. ``new_id`` gives request ids;
    ``clock`` is in seconds, and goes on while the host sleeps.
    """

    def __init__(
        self,
        port: OpenPort,
        device: str,
        timeout: float,
        *,
        simulated: bool = False,
        is_wanted: Callable[[], bool] | None = None,
        glance_s: float = _GLANCE_S,
        pace: Pace | None = None,
        new_id: Callable[[], int] = _random_id,
        clock: Callable[[], float] = SYSTEM.now_s,
    ) -> None:
        self.device = device
        self._port = port
        # A simulated board is known to be behind the port. On an emulated chip the firmware has
        # no way to know.
        self._simulated = simulated
        self._is_wanted = is_wanted
        self._glance_s = glance_s
        self._pace = pace
        self._timeout = timeout
        self._new_id = new_id
        self._clock = clock
        self._reader = wire.LineReader()
        self._lines = self._read_lines()
        self._deadline = 0.0
        # When all that is asked for ends, whatever its own time-out (`within`).
        self._limit: float = math.inf
        # When the last `hello` began.
        self._begun = clock()
        self._last_error: str | None = None
        self._prompted = False
        # Whether anything has come since the last `hello` began.
        self._heard = False
        # What ``hello`` said, and every status must bear out.
        self._identity: Identity | None = None
        # The id of the watch under way, and its events that came while an answer was awaited.
        self._watch: int | None = None
        self._events: deque[dict[str, Any]] = deque(maxlen=_MAX_EVENTS)
        # Whether ``is_wanted`` is to be asked, where it is asked only after `wake`.
        self._is_woken = True

    def hello(self) -> Identity:
        """Start a session. The board's identity, checked; ends an earlier watch."""
        # The newline ends whatever half line an earlier program left behind. No CRC: should the
        # port belong to somebody else's interpreter, it sees a harmless literal.
        request_id = self._new_id()
        # An earlier answer may have been given up in the middle.
        self._reader = wire.LineReader()
        self._lines = self._read_lines()
        self._watch = None
        self._events.clear()
        self._heard = False
        self._begun = self._clock()
        self._write(b"\n" + wire.dumps({"id": request_id, "op": "hello"}).encode() + b"\n")
        with _refusal_is_unknown(self.device):
            identity = parse_identity(self._await_answer(request_id, "hello"))
        self._identity = identity
        return identity._replace(simulated=True) if self._simulated else identity

    @property
    def timeout(self) -> float:
        """Seconds that an answer may take."""
        return self._timeout

    @property
    def begun_s(self) -> float:
        """How long ago the last `hello` began, in seconds."""
        return self._clock() - self._begun

    @property
    def left_s(self) -> float:
        """How long what is asked for now may take in all, in seconds; see `within`."""
        return self._limit - self._clock()

    @property
    def fd(self) -> int | None:
        """The open terminal that can be lent to another process; None for any other port."""
        return getattr(self._port, "fd", None)

    def wake(self) -> None:
        """Ask ``is_wanted`` now, where a port can be woken; in any thread."""
        self._is_woken = True
        if cancel := getattr(self._port, "cancel_read", None):
            # It may be closed just now.
            with contextlib.suppress(*_PORT_ERRORS):
                cancel()

    @contextlib.contextmanager
    def within(self, seconds: float) -> Generator[None]:
        """All that is asked for in here takes ``seconds`` together at the most.

        Limits may be nested: the one that ends first counts.
        """
        before = self._limit
        self._limit = min(before, self._clock() + seconds)
        try:
            yield
        finally:
            self._limit = before

    @property
    def heard(self) -> bool:
        """Whether anything, of whatever meaning, has come since the last `hello` began."""
        return self._heard

    def ask_prompt(self) -> str | None:
        """The id that MicroPython's prompt prints; None where none answers within the time-out."""
        self._write(_ASK_PROMPT)
        self._deadline = self._clock() + self._timeout
        heard = b""
        while (data := self._read()) is not None:
            # As much as a prompt says; a flood is no prompt.
            heard = (heard + data)[-4096:]
            if found := re.search(_PROMPT_ID, heard):
                return found[1].decode()
        return None

    def status(self) -> Status:
        """The board's state now."""
        with _refusal_is_unknown(self.device):
            return self._status(self.request("status"))

    def mute(self) -> bool:
        """Cut the line. True if it was connected. The caller still has to see it sensed."""
        with _refusal_is_unknown(self.device):
            return self.request("mute").get("changed") is True

    def config(self, changes: dict[str, object] | None = None) -> dict[str, Any]:
        """The board's settings, after ``changes`` (setup only; raises `RefusedError`)."""
        answer = self.request("config") if changes is None else self.request("config", set=changes)
        settings = answer.get("config")
        if not isinstance(settings, dict):
            raise UnreachableError("The board's answer has no settings in it.", "malformed_answer")
        return cast("dict[str, Any]", settings)

    def attest(self, nonce: bytes) -> Attested:
        """The board's signed statement; nothing but its form is checked.

        Raises `RefusedError`: ``not_paired``, ``busy``, ``unsupported``.
        """
        return parse_attested(self.request("attest", nonce=nonce.hex()), self._identity)

    def journal(self, start: int, last: int) -> Iterator[Page]:
        """The journal from number ``start`` to ``last``, page by page, each beginning where the
        one before ended; or, where records have been dropped, further on.

        Raises `UnreachableError` for a journal that ends before ``last``.
        """
        asked: deque[tuple[int, int]] = deque()
        due = start
        while start <= last:
            while len(asked) < _PIPELINE and due <= last:
                request_id = self._new_id()
                self._write(wire.frame({"id": request_id, "op": "journal", "from": due}))
                asked.append((request_id, due))
                due += journal.PAGE
            page = self._page(*asked.popleft())
            if not page.records:
                raise UnreachableError(
                    "The board's answer has no records in it, though there were some.",
                    "malformed_answer",
                )
            yield page
            start = page.start + len(page.records)
            if asked and asked[0][1] != start:
                # The page was short, as at the end of a segment, or further on.
                while asked:
                    self._page(*asked.popleft())
            if not asked:
                due = start

    def _page(self, request_id: int, start: int) -> Page:
        with _refusal_is_unknown(self.device):
            return parse_page(self._await_answer(request_id, "journal"), start)

    def pair(self, host_bytes: bytes) -> Paired:
        """Pair the board with this host (setup only; raises `RefusedError`)."""
        return parse_paired(self.request("pair", host=host_bytes.hex()))

    def unpair(self) -> None:
        """End the board's pairing (setup only; raises `RefusedError`)."""
        self.request("pair", end=True)

    def watch(self) -> Iterator[Status]:
        """State events as they come. Raises `UnreachableError` after 3 s without one.

        Other requests may be made between two of them.
        """
        request_id = self._new_id()
        self._watch = request_id
        self._write(wire.frame({"id": request_id, "op": "watch"}))
        with _refusal_is_unknown(self.device):
            self._await_answer(request_id, "watch")
        while True:
            self._deadline = self._clock() + STREAM_SILENCE_S
            while not self._events:
                message = self._next_message() or self._waiting_message()
                if message is None:
                    raise UnreachableError(
                        f"{self.device} has been silent for {STREAM_SILENCE_S:.0f} s.", "silent"
                    )
                self._keep_event(message)
            yield self._status(self._events.popleft())

    def events_until(self, answered: Status) -> Iterator[Status]:
        """The state events that are waiting, and that came before ``answered`` did."""
        while self._events:
            event = self._status(self._events[0])
            if (event.boot, event.uptime_ms) > (answered.boot, answered.uptime_ms):
                return
            self._events.popleft()
            yield event

    def _waiting_message(self) -> dict[str, Any] | None:
        """What has come while this program was stopped, and not the board."""
        try:
            if not self._port.in_waiting:
                return None
        except _PORT_ERRORS as error:
            raise _lost(self.device) from error
        self._deadline = self._clock() + _GLANCE_S
        return self._next_message()

    def _keep_event(self, message: dict[str, Any]) -> None:
        watch = message.get("watch")
        if message.get("event") != "state" or self._watch is None or watch != self._watch:
            return
        last = self._events[-1] if self._events else None
        if last and all(message.get(key) == last.get(key) for key in _CHANGING):
            # Nothing has changed since: the later one says so.
            self._events.pop()
        self._events.append(message)

    def _status(self, answer: dict[str, Any]) -> Status:
        status = parse_status(answer, self._identity)
        return status._replace(simulated=True) if self._simulated else status

    def request(self, op: str, **fields: object) -> dict[str, Any]:
        """The answer to any request. Raises `RefusedError` when the board says no."""
        request_id = self._new_id()
        self._write(wire.frame({"id": request_id, "op": op, **fields}))
        return self._await_answer(request_id, op)

    def _await_answer(self, request_id: int, op: str) -> dict[str, Any]:
        self._deadline = min(self._clock() + self._timeout, self._limit)
        self._last_error = None
        self._prompted = False
        while True:
            answer = self._next_message()
            if answer is None:
                raise UnreachableError(self._no_answer(), "no_answer")
            self._keep_event(answer)
            answered = answer.get("id")
            # A bool equals 0 or 1 in Python; an id is an integer.
            if isinstance(answered, bool) or answered != request_id or "event" in answer:
                continue
            if answer.get("ok") is True:
                return answer
            code = answer.get("error")
            code = code if isinstance(code, str) and code in wire.ERRORS else "unknown_error"
            raise RefusedError(_REFUSALS.get(code, f"The board refused {op!r} ({code})."), code)

    def _no_answer(self) -> str:
        if self._prompted:
            return (
                f"{self.device} is at MicroPython's prompt: in maintenance, or its files are not"
                " complete, which `hardmute flash` mends."
            )
        if self._last_error:
            return (
                f"{self.device} answers, but nothing that counts as a hardmute frame "
                f"({self._last_error}): is it another device, or a bad cable?"
            )
        return (
            f"{self.device} did not answer within {self._timeout:g} s: "
            "is it a hardmute board, its firmware running, and not in maintenance?"
        )

    def _next_message(self) -> dict[str, Any] | None:
        """The next good frame, or None when the deadline has passed."""
        for line in self._lines:
            if line is None:
                return None
            self._prompted = self._prompted or line.startswith(_PROMPT)
            try:
                return frames.unframe(line)
            except wire.WireError as error:
                self._last_error = error.code
                if self._clock() >= self._deadline:
                    return None
        return None

    def _read_lines(self) -> Generator[bytes | None, None, None]:
        """Lines as they arrive; None each time the deadline passes."""
        while True:
            data = self._read()
            if data is None:
                yield None
                continue
            at = 0
            while (at := self._reader.feed(data, at)) >= 0:
                try:
                    line = self._reader.line()
                except wire.WireError as error:
                    self._last_error = error.code
                else:
                    if line:
                        yield line

    def _read(self) -> bytes | None:
        while (left := self._deadline - self._clock()) > 0:
            if self._is_wanted is not None:
                if self._is_woken or self._glance_s < math.inf:
                    self._is_woken = False
                    if self._is_wanted():
                        raise PortWantedError(self.device)
                left = min(left, self._glance_s)
            if self._pace is not None and self._pace.rest(left):
                continue
            try:
                # pyserial asks the system for all of a port's settings each time.
                if self._port.timeout != left:
                    self._port.timeout = left
                data = self._port.read(1)
                if data and self._port.in_waiting:
                    self._port.timeout = 0
                    data += self._port.read(4096)
            except _PORT_ERRORS as error:
                raise _lost(self.device) from error
            if data:
                self._heard = True
                if self._pace is not None:
                    self._pace.take(data)
                return data
        return None

    def _write(self, data: bytes) -> None:
        try:
            # 0 would not wait, and say that all was written.
            self._port.write_timeout = max(0.001, min(self._timeout, self.left_s))
            self._port.write(data)
        except serial.SerialTimeoutException as error:
            # Closing would wait for what is still queued, for up to 30 s on Linux.
            with contextlib.suppress(*_PORT_ERRORS):
                self._port.reset_output_buffer()
            raise UnreachableError(
                f"{self.device} takes no data: its firmware hangs, or the device is another one.",
                "no_answer",
            ) from error
        except _PORT_ERRORS as error:
            raise _lost(self.device) from error


@contextlib.contextmanager
def _refusal_is_unknown(device: str) -> Generator[None]:
    """Nothing refuses to say its state, or to mute, and still counts as a board (P5)."""
    try:
        yield
    except RefusedError as error:
        raise UnreachableError(
            f"{device} refuses what every hardmute board answers ({error.code}): "
            "is it another device?",
            "refused",
        ) from error


def _lost(device: str) -> UnreachableError:
    return UnreachableError(
        f"{device} went away while it was asked: check the cable.", "unplugged"
    )


@contextlib.contextmanager
def connect(
    device: str, timeout: float, turn: Turn = "usual", is_over: Callable[[], bool] | None = None
) -> Generator[tuple[Session, Identity]]:
    """Open ``device`` (a port or a pyserial URL), hold it, and say hello.

    ``turn``: why; the session gives the port to those that go first (`holder.Turn`).
    ``is_over``: whether nobody waits for the answer any more; it ends in `PortWantedError` then.

    DTR and RTS stay asserted, before and after: both low or both high leaves an ESP32 DevKitC
    running (one alone resets it), and RP2040 talks only to a host that asserts DTR. A port that
    turns out to be something else gets back the terminal settings that it had.
    Raises `UnreachableError`.
    """
    with _opened(device, timeout, turn, is_over) as (session, terminal):
        identity = session.hello()
        terminal.keep_lines_on_close()
        yield session, identity


def board_at_prompt(
    device: str, timeout: float, is_over: Callable[[], bool] | None = None
) -> str | None:
    """The id of the board whose MicroPython prompt is at ``device``, as in maintenance.

    None where no prompt answers. What is sent is one line that prints the chip's id: firmware that
    runs refuses it. ``is_over``, and raises, as `connect`.
    """
    with _opened(device, timeout, is_over=is_over) as (session, terminal):
        board = session.ask_prompt()
        if board is not None:
            terminal.keep_lines_on_close()
        return board


def firmware_or_prompt(
    device: str, timeout: float, is_over: Callable[[], bool] | None = None
) -> Identity | str | None:
    """The board that says hello at ``device``, or the id of the one whose prompt is there.

    None where neither answers. A silent port takes one time-out: a prompt echoes a hello.
    ``is_over``, and raises, as `connect`.
    """
    with _opened(device, timeout, is_over=is_over) as (session, terminal):
        found: Identity | str | None = None
        try:
            found = session.hello()
        except UnreachableError as error:
            if error.reason not in _NOT_OURS:
                raise
            if session.heard:
                found = session.ask_prompt()
        if found is not None:
            terminal.keep_lines_on_close()
        return found


# Sessions of this process that glance at nothing by themselves, by `PortHolder.name`.
_WOKEN: dict[str, Session] = {}


def wake_wanted(folder: str) -> None:
    """Have each session with the turn "monitor" end whose port somebody asks for.

    To be called several times a second. ``folder``: as `holder.folder` gives it.
    """
    for name in asked_for(folder) & _WOKEN.keys():
        if session := _WOKEN.get(name):
            session.wake()


@contextlib.contextmanager
def _opened(
    device: str, timeout: float, turn: Turn = "usual", is_over: Callable[[], bool] | None = None
) -> Generator[tuple[Session, _Terminal]]:
    hangs = False
    if turn in BORROWS and sys.platform != "win32" and monitor_socket.is_there():
        from hardmute.device.borrow import borrow

        try:
            borrowed = borrow(device, turn, timeout, is_over)
        except monitor_socket.HangsError:
            if turn != "mute":
                raise
            borrowed, hangs = None, True
        if borrowed is not None:
            with contextlib.closing(borrowed):
                yield _borrowing(borrowed, device, timeout, is_over), _Terminal(-1)
            return
    with (
        PortHolder(device, timeout, turn, hangs=hangs) as holder,
        _terminal(device) as terminal,
    ):

        def is_wanted() -> bool:
            over = is_over is not None and is_over()
            return over or (holder.gives_way and holder.is_wanted())

        port = _open(device, timeout, shared=holder.is_shared)
        wakes = turn == "monitor" and hasattr(port, "cancel_read")
        try:
            session = Session(
                port,
                device,
                timeout,
                simulated=simulators.is_simulated(device),
                is_wanted=is_wanted if holder.gives_way or is_over is not None else None,
                # Ten glances a second, of each of many boards, cost more than all else.
                glance_s=math.inf if wakes else _GLANCE_S,
                # Other boards are followed beside this one.
                pace=Pace() if turn == "monitor" else None,
            )
            if wakes:
                _WOKEN[holder.name] = session
            yield session, terminal
        finally:
            _WOKEN.pop(holder.name, None)
            terminal.restore_unless_kept()
            with contextlib.suppress(*_PORT_ERRORS):
                port.close()


def _borrowing(
    borrowed: Borrowed, device: str, timeout: float, is_over: Callable[[], bool] | None
) -> Session:
    """A session at a port that the monitor has lent."""

    def is_wanted() -> bool:
        return (is_over is not None and is_over()) or borrowed.is_wanted()

    return Session(
        borrowed.port,
        device,
        timeout,
        simulated=simulators.is_simulated(device),
        is_wanted=is_wanted,
    )


def _open(device: str, timeout: float, *, shared: bool = False) -> OpenPort:
    """``shared``: though another process, which hangs, has it open."""
    remote = device.lower().startswith(_REMOTE)
    settings: dict[str, Any] = {} if remote else {"write_timeout": timeout}
    try:
        port = serial.serial_for_url(
            _remote_url(device, timeout) if remote else device,
            baudrate=BAUD,
            timeout=timeout,
            exclusive=not shared,
            do_not_open=True,
            **settings,
        )
        if "://" in device:
            # pyserial would read a socket empty before it counts as open: a flood never ends.
            # A session trusts nothing that came before its own request anyway.
            port.reset_input_buffer = _leave
        if remote:
            # Nothing was written yet that a server could throw away.
            port.reset_output_buffer = _leave
        port.open()
    except serial.SerialException as error:
        raise _cannot_open(device, error) from error
    except (*_PORT_ERRORS, ValueError, LookupError, re.error) as error:
        if remote:
            # Of an address that means nothing pyserial says so in its own exception.
            raise _no_server(device) from error
        if isinstance(error, _PORT_ERRORS):
            raise UnreachableError(
                f"{device} went away while it was opened: check the cable.", "unplugged"
            ) from error
        # The text of a `LookupError` is pyserial's mistake, and says nothing.
        why = "" if isinstance(error, LookupError) else f" ({error})"
        raise UsageError(f"{device} is not a port that can be opened{why}.") from error
    if remote:
        # pyserial would settle all of the port's settings with the server again, each time that
        # the session sets a timeout, and refuses one for writing (github.com/pyserial/pyserial/
        # issues/376 and 412).
        settled: Any = port
        settled._reconfigure_port = _leave  # noqa: SLF001 (each kind of port has its own)
    if os.name == "posix" and "://" not in device:
        # The lock on the open file is that of each number that it has.
        fd = os.dup(port.fileno())
        port.close()
        return TerminalPort(fd)
    # A cast, because pyserial's properties are not the attributes that they behave like.
    return cast("OpenPort", port)


def _leave() -> None:
    pass


def _remote_url(device: str, timeout: float) -> str:
    """The address of an RFC 2217 server, each of whose answers may take ``timeout`` seconds.

    It is asked for DTR, then RTS, and need not say that they are set: servers on ports without
    these lines do not (ser2net 4.3, sredird). A board that they keep silent does not answer.
    """
    patience = "" if "timeout=" in device else f"&timeout={timeout}"
    return f"{device}{'&' if '?' in device else '?'}ign_set_control{patience}"


def _no_server(device: str) -> UnreachableError:
    return UnreachableError(
        f"{device} does not answer as an RFC 2217 server, or its port cannot be opened: see what"
        " the server says. Without RFC 2217, name a socket:// address.",
        "no_port",
    )


def _cannot_open(device: str, error: serial.SerialException) -> UnreachableError | UsageError:
    number = error.errno
    # The operating system's own word, where pyserial only wraps it.
    within = error.__context__
    if number is None and isinstance(within, OSError):
        number = within.errno
    if number == errno.EACCES:
        return UnreachableError(_permission_advice(device), "no_permission")
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in str(error):
        return UnreachableError(
            f"{device} is in use by another program: close it (a serial monitor, ModemManager).",
            "port_in_use",
        )
    if "://" in device:
        return _no_address(device, within)
    if number == errno.EISDIR or _is_no_terminal(within):
        # It will never be a port, whatever is plugged in.
        return UsageError(f"{device} is not a serial port; `hardmute list` shows what is there.")
    return UnreachableError(f"{device} cannot be opened: is the board plugged in?", "no_port")


def _no_address(device: str, within: BaseException | None) -> UnreachableError | UsageError:
    """Why an address cannot be opened, by the exception ``within`` pyserial's own."""
    if isinstance(within, (serial.SerialException, ValueError, LookupError, TypeError)):
        return UsageError(f"{device} cannot be opened as an address: give HOST:PORT in it.")
    if within is None and device.lower().startswith(_REMOTE):
        return _no_server(device)
    return UnreachableError(f"Nothing answers at {device}: is the board there?", "no_port")


def _is_no_terminal(error: BaseException | None) -> bool:
    if sys.platform == "win32":
        return False
    return isinstance(error, termios.error) and error.args[0] in (errno.ENOTTY, errno.EINVAL)


def _permission_advice(device: str) -> str:
    advice = "run this as a user who may open it."
    if sys.platform == "linux":
        from hardmute.device import permission

        advice = permission.advice(permission.group_of(device))
    return f"You have no permission to open {device}: {advice}"


class _Terminal:
    """The terminal settings of a port, as found. Does nothing where there are none to keep."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._found: list[Any] | None = None
        if fd >= 0 and sys.platform != "win32":
            with contextlib.suppress(termios.error):
                self._found = termios.tcgetattr(fd)

    def keep_lines_on_close(self) -> None:
        """The port is a board's: clear HUPCL, so that closing does not drop DTR and RTS."""
        if self._found is not None and sys.platform != "win32":
            # A port that has gone since then has no lines left to keep.
            with contextlib.suppress(termios.error):
                attributes = termios.tcgetattr(self._fd)
                attributes[2] &= ~termios.HUPCL
                termios.tcsetattr(self._fd, termios.TCSANOW, attributes)
            self._found = None

    def restore_unless_kept(self) -> None:
        """The port is not a board's: give it back as it was."""
        if self._found is not None and sys.platform != "win32":
            with contextlib.suppress(termios.error):
                termios.tcsetattr(self._fd, termios.TCSANOW, self._found)


@contextlib.contextmanager
def _terminal(device: str) -> Generator[_Terminal]:
    if os.name == "nt" or "://" in device:
        yield _Terminal(-1)
        return
    try:
        fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError:
        # Opening it for real says why.
        fd = -1
    try:
        yield _Terminal(fd)
    finally:
        if fd >= 0:
            os.close(fd)
