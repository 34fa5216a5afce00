"""The notifications of a Linux desktop, by its own service: one for each thing, or it is known
that nobody sees them.

It talks to ``org.freedesktop.Notifications`` on the session bus (Desktop Notifications
Specification 1.2) and believes an id or an error, and nothing else. A service that ends, hangs or
is replaced, and a bus that dies, are noticed; what is to be shown is shown again by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

from hardmute.model import notices, words
from hardmute.model.allowance import Allowance
from hardmute.model.errors import LocalError, MissingExtraError
from hardmute.system import paths

if TYPE_CHECKING:
    from dbus_fast.aio import MessageBus
    from dbus_fast.message import Message

SERVICE = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
_BUS = "org.freedesktop.DBus"
_BUS_PATH = "/org/freedesktop/DBus"
# What is sent goes to this very service; what comes must be from it.
_MATCHES = (
    f"type='signal',sender='{_BUS}',interface='{_BUS}',member='NameOwnerChanged',arg0='{SERVICE}'",
    f"type='signal',sender='{SERVICE}',interface='{SERVICE}',path='{PATH}'",
)
_NO_BUS = (
    "No notification can be shown: this process has no session bus (DBUS_SESSION_BUS_ADDRESS is "
    "not set). Start it from your desktop."
)
_BUS_DOWN = "No notification can be shown: the session bus does not answer. Log in again."
_NO_SERVICE = (
    "No notification can be shown: no notification service runs in this session. Install one, "
    "such as dunst."
)
_SILENT = "No notification can be shown: the notification service does not answer. Restart it."
_REFUSED = "No notification can be shown: the notification service refused it. Restart it."
_OTHER_SYSTEM = "Notifications are built for Linux only: use hooks on this system."
# Seconds: for an answer; before a bus or a service is tried again; to close all at the end.
_ANSWER_S = 5.0
_BACKOFF_S = (1.0, 2.0, 5.0, 10.0)
_AGAIN_S = 30.0
_END_S = 2.0
# A bus refuses what goes over 128 unanswered calls of a connection.
_AT_ONCE = 64
# Of each notification: so many calls at once, and then one a second.
_CALLS = 6
# Why a notification was closed, by the specification: somebody dismissed it; we closed it.
_DISMISSED = 2
_CRITICAL = 2
_LONGEST_NAME = 40


class ScreenNote(NamedTuple):
    """What a notification says, in plain text. ``action``: the words on its button, if any."""

    title: str
    body: str
    action: str | None = None


class NoteScreen(Protocol):
    """Where notes are shown. A ``tag`` is what a note is about: there is one note for each."""

    @property
    def trouble(self) -> str | None:
        """Why no note can be shown now, in one sentence; None while they can."""
        ...

    def show(self, tag: str, note: ScreenNote | None, *, again: bool = False) -> None:
        """From now on show ``note``; None: nothing. ``again``: also if somebody dismissed it, and
        so that it comes up again.
        """
        ...

    async def run(self) -> None:
        """Work until this is cancelled; then close all notes."""
        ...


class Events(Protocol):
    """What becomes of notes."""

    def pressed(self, tag: str) -> None:
        """Somebody pressed the button of this note."""
        ...

    def shown(self, tag: str) -> None:
        """The service has this note."""
        ...

    def lost(self, tag: str) -> None:
        """Nobody can see this note now."""
        ...


@dataclass
class _Card:
    """One note at the service. ``number``: the service's id of it, 0 while there is none."""

    allowance: Allowance
    note: ScreenNote | None = None
    again: bool = False
    number: int = 0
    sent: ScreenNote | None = None
    dismissed: bool = False
    # The call under way: its serial, and what it asks for.
    serial: int = 0
    asked: Literal["notify", "close"] | None = None
    late: asyncio.TimerHandle | None = None
    # Seconds of the loop: after an error not before then. It is tried again by itself.
    not_before: float = 0.0
    later: asyncio.TimerHandle | None = None

    def forget(self) -> None:
        """The service is another one now, and has no such note."""
        self.number, self.not_before = 0, 0.0
        self.settled()

    def settled(self) -> None:
        """No call is under way any more."""
        self.serial, self.asked = 0, None
        if self.late is not None:
            self.late.cancel()
            self.late = None


@dataclass
class _Session:
    """One connection to the bus. ``owner``: the service, by its name that is never used again.

    ``ready``: it has answered. ``abandoned``: calls of notes to a service that was replaced.
    """

    # A `MessageBus`, whose types are not complete.
    bus: Any
    bus_id: str = ""
    owner: str = ""
    ready: bool = False
    markup: bool = False
    buttons: bool = False
    abandoned: set[int] = field(default_factory=set[int])
    # Serials of questions: which bus it is, who the service is, whether it could be started, and
    # what it can do.
    identity: int = 0
    # Calls of notes that are under way.
    under_way: int = 0
    named: int = 0
    started: int = 0
    asked: int = 0


class _Open(NamedTuple):
    """What is open at a service: which bus it is on, its name there, and each tag's number."""

    bus: str = ""
    owner: str = ""
    numbers: Mapping[str, int] = MappingProxyType({})


def _recalled(memory: Path | None) -> _Open:
    """What a process before this one left open."""
    if memory is not None:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            found = _Open(**json.loads(memory.read_text(encoding="utf-8")))
            if all(type(one) is int and 0 < one < 1 << 32 for one in found.numbers.values()):
                return found
    return _Open()


def of_this_session(events: Events) -> Desktop:
    """The desktop of this session."""
    return Desktop(events, memory=Path(paths.runtime_dir("monitor"), "notifications.json"))


class Desktop:
    """The `NoteScreen` of a Linux desktop.

    ``address``: of the bus; None: this session's. ``memory``: the file that knows what is open,
    for the next process if this one is killed; None: nobody else knows.
    """

    def __init__(
        self, events: Events, address: str | None = None, memory: Path | None = None
    ) -> None:
        self._events = events
        self._address = address
        self._memory = memory
        self._open = _recalled(memory)
        self._cards: dict[str, _Card] = {}
        self._session: _Session | None = None
        self._trouble: str | None = None

    @property
    def trouble(self) -> str | None:
        return self._trouble

    def show(self, tag: str, note: ScreenNote | None, *, again: bool = False) -> None:
        card = self._card(tag)
        card.note = note
        if note is None:
            card.again = card.dismissed = False
        elif again:
            card.again, card.dismissed = card.number != 0 or card.asked is not None, False
        self._step(card)
        if self._trouble is not None and card.asked is None:
            self._lose(tag, card)

    def _card(self, tag: str) -> _Card:
        card = self._cards.get(tag)
        if card is None:
            clock = asyncio.get_running_loop().time
            card = self._cards[tag] = _Card(Allowance(_CALLS, clock))
        return card

    async def run(self) -> None:
        if sys.platform != "linux":
            self._fail(_OTHER_SYSTEM)
            await asyncio.Event().wait()
        failures = 0
        while True:
            try:
                async with asyncio.timeout(_ANSWER_S):
                    bus = await connect(self._address)
            except MissingExtraError as error:
                self._fail(str(error))
                await asyncio.Event().wait()
                raise
            except LocalError as error:
                self._fail(str(error))
            except TimeoutError:
                self._fail(_BUS_DOWN)
            else:
                failures = 0
                await self._attend(bus)
                self._fail(_BUS_DOWN)
            await asyncio.sleep(_BACKOFF_S[min(failures, len(_BACKOFF_S) - 1)])
            failures += 1

    async def _attend(self, bus: MessageBus) -> None:
        """Show notes until the bus has gone."""
        self._session = session = _Session(bus)
        bus.add_message_handler(self._hear)
        try:
            # Answers come in the order of the questions.
            session.identity = self._call(_BUS, _BUS_PATH, _BUS, "GetId", "")
            for match in _MATCHES:
                self._call(_BUS, _BUS_PATH, _BUS, "AddMatch", "s", match)
            gone = asyncio.ensure_future(_gone(bus))
            try:
                while not gone.done():
                    self._watch_over(session)
                    if not session.owner:
                        session.named = self._call(
                            _BUS, _BUS_PATH, _BUS, "GetNameOwner", "s", SERVICE
                        )
                    elif not session.ready:
                        self._meet(session)
                    for card in self._cards.values():
                        self._step(card)
                    await asyncio.wait([gone], timeout=_AGAIN_S)
            finally:
                gone.cancel()
        finally:
            try:
                await self._end(session)
            finally:
                self._session = None
                for card in self._cards.values():
                    card.forget()

    async def _end(self, session: _Session) -> None:
        """Close all notes: what nobody updates any more must not stay."""
        bus = session.bus
        if bus.connected:
            cards = list(self._cards.values())
            for card in cards:
                card.note = None
                self._step(card)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_S):
                    while session.ready and any(one.number or one.asked for one in cards):
                        await asyncio.sleep(0.01)
        bus.disconnect()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_END_S):
                await _gone(bus)

    # What is sent.

    def _call(
        self,
        to: str,
        path: str,
        interface: str,
        member: str,
        signature: str,
        *body: object,
        answer: bool = True,
    ) -> int:
        """Send a call, and return its serial."""
        assert self._session is not None
        from dbus_fast import Message, MessageFlag

        message = Message(
            destination=to,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            flags=MessageFlag.NONE if answer else MessageFlag.NO_REPLY_EXPECTED,
        )
        sent: asyncio.Future[None] = self._session.bus.send(message)
        # Where it cannot be sent, the bus has gone, which is noticed elsewhere.
        sent.add_done_callback(_see)
        return int(message.serial)

    def _step(self, card: _Card) -> None:
        """Send what brings the service closer to what is to be shown; one call at a time."""
        session = self._session
        if session is None or not session.ready or card.asked is not None:
            return
        if session.under_way >= _AT_ONCE:
            # The next answer steps on.
            return
        loop = asyncio.get_running_loop()
        if card.number and (card.note is None or card.again):
            card.asked = "close"
            member, signature, body = "CloseNotification", "u", [card.number]
        elif card.note is None or card.dismissed or (card.number and card.note == card.sent):
            return
        else:
            card.allowance.refill()
            if loop.time() < card.not_before or not card.allowance.take():
                if card.later is None:
                    card.later = loop.call_later(1.0, self._step_later, card)
                return
            card.asked, card.sent, card.again = "notify", card.note, False
            member, signature = "Notify", "susssasa{sv}i"
            body = self._words(session, card.note, card.number)
        session.under_way += 1
        card.serial = self._call(session.owner, PATH, SERVICE, member, signature, *body)
        card.late = loop.call_later(_ANSWER_S, self._fail, _SILENT)

    def _step_later(self, card: _Card) -> None:
        card.later = None
        self._step(card)

    @staticmethod
    def _words(session: _Session, note: ScreenNote, replaces: int) -> list[object]:
        from dbus_fast import Variant

        body = html.escape(note.body, quote=False) if session.markup else note.body
        actions = ["mute", note.action] if note.action and session.buttons else []
        hints = {
            # It stays until it is closed, also once its button was pressed.
            "urgency": Variant("y", _CRITICAL),
            "resident": Variant("b", True),
            "category": Variant("s", "device"),
        }
        icon = "audio-input-microphone"
        return ["hardmute", replaces, icon, note.title, body, actions, hints, 0]

    # What is heard, in the order in which it was sent.

    def _hear(self, message: Message) -> None:
        session = self._session
        if session is None:
            return
        kind = message.message_type.name
        if kind == "SIGNAL":
            self._signal(session, message)
        elif kind in ("METHOD_RETURN", "ERROR"):
            fine = kind == "METHOD_RETURN"
            serial = message.reply_serial
            if serial in session.abandoned:
                session.abandoned.discard(serial)
                if fine and message.signature == "u":
                    # The service that was replaced shows it still.
                    self._close(str(message.sender), message.body[0])
            elif serial == session.identity and fine:
                session.bus_id = str(message.body[0])
            elif serial == session.asked:
                self._met(session, message if fine else None)
            elif serial == session.named and not session.owner:
                if fine:
                    self._owned(session, str(message.body[0]))
                else:
                    # Where one is installed that the bus can start, it starts it.
                    session.started = self._call(
                        _BUS, _BUS_PATH, _BUS, "StartServiceByName", "su", SERVICE, 0
                    )
            elif serial == session.started and not session.owner and not fine:
                self._fail(_NO_SERVICE)
            else:
                for tag, card in self._cards.items():
                    if card.serial == serial:
                        self._answered(session, tag, card, message if fine else None)
                        break

    def _signal(self, session: _Session, message: Message) -> None:
        if message.member == "NameOwnerChanged" and message.sender == _BUS:
            name, _, owner = message.body
            if name == SERVICE and owner != session.owner:
                self._owned(session, str(owner))
        elif message.sender == session.owner and message.path == PATH:
            heard = (message.interface, message.member, message.signature)
            by_number = {card.number: tag for tag, card in self._cards.items() if card.number}
            tag = by_number.get(message.body[0]) if message.body else None
            if tag is None:
                return
            if heard == (SERVICE, "ActionInvoked", "us") and message.body[1] == "mute":
                self._events.pressed(tag)
            elif heard == (SERVICE, "NotificationClosed", "uu"):
                card = self._cards[tag]
                card.number = 0
                # One that the service itself closed is shown again with its next words.
                by_hand = message.body[1] == _DISMISSED
                card.dismissed = by_hand and card.asked is None and not card.again
                card.sent = None
                self._remember(session)

    def _owned(self, session: _Session, owner: str) -> None:
        """The service is another one now, or none."""
        before, session.owner, session.ready = session.owner, owner, False
        session.under_way = 0
        for card in self._cards.values():
            if card.asked == "notify":
                session.abandoned.add(card.serial)
            if card.number and before and owner:
                self._close(before, card.number)
            card.forget()
        if owner:
            self._watch_over(session)
            self._meet(session)
        else:
            self._fail(_NO_SERVICE)

    def _close(self, service: str, number: int) -> None:
        self._call(service, PATH, SERVICE, "CloseNotification", "u", number, answer=False)

    def _meet(self, session: _Session) -> None:
        """Ask a service what it can do. Only one that answers gets notes."""
        session.asked = self._call(session.owner, PATH, SERVICE, "GetCapabilities", "")

    def _watch_over(self, session: _Session) -> None:
        def late() -> None:
            if self._session is session and not session.ready and self._trouble is None:
                self._fail(_SILENT)

        asyncio.get_running_loop().call_later(_ANSWER_S, late)

    def _met(self, session: _Session, answer: Message | None) -> None:
        session.asked = 0
        if answer is None or answer.sender != session.owner or answer.signature != "as":
            self._fail(_SILENT)
            return
        session.markup = "body-markup" in answer.body[0]
        session.buttons = "actions" in answer.body[0]
        session.ready = True
        self._trouble = None
        self._recall(session)
        for card in self._cards.values():
            self._step(card)

    def _remember(self, session: _Session) -> None:
        """Note what is open, and where."""
        numbers = {tag: card.number for tag, card in self._cards.items() if card.number}
        self._open = _Open(session.bus_id, session.owner, numbers)
        if self._memory is not None:
            partial = self._memory.with_suffix(".partial")
            # What cannot be noted is closed by this process alone.
            with contextlib.suppress(OSError):
                partial.write_text(json.dumps(self._open._asdict()), encoding="utf-8")
                partial.replace(self._memory)

    def _recall(self, session: _Session) -> None:
        """Take over what is open at this very service since a connection before."""
        if (self._open.bus, self._open.owner) != (session.bus_id, session.owner):
            return
        for tag, number in self._open.numbers.items():
            card = self._card(tag)
            if not card.number and card.asked is None:
                card.number, card.sent = number, None

    def _answered(self, session: _Session, tag: str, card: _Card, answer: Message | None) -> None:
        asked = card.asked
        card.settled()
        session.under_way -= 1
        if asked == "close":
            # Either way: an error says that there is no such note any more.
            card.number = 0
        elif answer is not None and answer.signature == "u" and answer.body[0]:
            card.number, card.dismissed = answer.body[0], False
            self._trouble = None
            self._events.shown(tag)
        else:
            card.not_before = asyncio.get_running_loop().time() + _AGAIN_S
            self._fail(_REFUSED)
        self._remember(session)
        self._step(card)
        if session.under_way == _AT_ONCE - 1:
            for other in self._cards.values():
                self._step(other)

    def _fail(self, trouble: str) -> None:
        """Nobody can see what is not shown now."""
        if trouble != self._trouble:
            notices.tell(trouble)
        self._trouble = trouble
        for tag, card in self._cards.items():
            self._lose(tag, card)

    def _lose(self, tag: str, card: _Card) -> None:
        if card.note is not None and (not card.number or card.asked is not None):
            self._events.lost(tag)


def session_bus() -> str | None:
    """The address of this session's bus; None where there is none."""
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if not address and folder and Path(folder, "bus").exists():
        return f"unix:path={folder}/bus"
    return address or None


async def receiver(address: str | None = None) -> str:
    """The name and the version of the service that shows notifications here. It shows nothing.

    Takes 5 s at most. Raises `LocalError` where nobody would see one now, and why.
    """
    try:
        async with asyncio.timeout(_ANSWER_S):
            bus = await connect(address)
            try:
                return await _asked(bus)
            finally:
                bus.disconnect()
                await _gone(bus)
    except TimeoutError as error:
        raise LocalError(_SILENT) from error


async def _asked(bus: MessageBus) -> str:
    from dbus_fast import Message, MessageType

    # Where one is installed that the bus can start, this starts it.
    question = Message(
        destination=SERVICE, path=PATH, interface=SERVICE, member="GetServerInformation"
    )
    try:
        answer = await bus.call(question)
    except (OSError, EOFError) as error:
        raise LocalError(_BUS_DOWN) from error
    if answer.message_type is not MessageType.METHOD_RETURN or answer.signature != "ssss":
        raise LocalError(_NO_SERVICE)
    name, _, version, _ = (words.printable(str(one))[:_LONGEST_NAME] for one in answer.body)
    return f"{name} {version}".strip()


async def connect(address: str | None = None) -> MessageBus:
    """A connection to this session's bus, or to the one at ``address``.

    Raises `LocalError`, and `MissingExtraError` where the extra ``notify`` is not installed.
    """
    address = session_bus() if address is None else address
    try:
        from dbus_fast import DBusFastError
        from dbus_fast.aio import MessageBus
    except ImportError as error:
        lacks = "Notifications need more than is installed"
        raise MissingExtraError(lacks, "notify") from error
    if not address:
        raise LocalError(_NO_BUS)
    try:
        return await MessageBus(bus_address=address).connect()
    except (OSError, EOFError, ValueError, DBusFastError) as error:
        raise LocalError(_BUS_DOWN) from error


async def _gone(bus: MessageBus) -> None:
    """Wait until the connection has ended, however it does."""
    with contextlib.suppress(OSError, EOFError, ValueError):
        await bus.wait_for_disconnect()


def _see(done: asyncio.Future[None]) -> None:
    if not done.cancelled():
        done.exception()
