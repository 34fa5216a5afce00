"""A notification service of the tests' own, by dbus-fast, on a real bus.

It keeps the Desktop Notifications Specification 1.2, and writes down each call. As a program:
``python service.py ADDRESS`` prints each call as a line of JSON, and can be killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any, NamedTuple

from dbus_fast import Message, MessageType, NameFlag, RequestNameReply
from dbus_fast.aio import MessageBus

NAME = "org.freedesktop.Notifications"
PATH = "/org/freedesktop/Notifications"
DISMISSED, CLOSED_BY_CALL, EXPIRED = 2, 3, 1


class Shown(NamedTuple):
    title: str
    body: str
    actions: list[str]
    hints: dict[str, Any]


class Service:
    """``calls``: (method, number, title). ``open``: what it shows, by number.

    ``holds``: it answers nothing from now on, until `release`. ``refuses``: it answers errors.
    """

    def __init__(self, address: str, *capabilities: str) -> None:
        self._address = address
        self._capabilities = list(capabilities) or ["actions", "body", "body-markup"]
        self._last = 0
        self._held: list[Message] = []
        self.calls: list[tuple[str, int, str]] = []
        self.open: dict[int, Shown] = {}
        self.holds = False
        self.refuses = False
        # Titles of notes of which there were two at once.
        self.twice: list[str] = []

    async def start(self, flags: NameFlag = NameFlag.REPLACE_EXISTING) -> Service:
        self._bus = await MessageBus(bus_address=self._address).connect()
        self._bus.add_message_handler(self._hear)
        got = await self._bus.request_name(NAME, flags | NameFlag.ALLOW_REPLACEMENT)
        assert got in (RequestNameReply.PRIMARY_OWNER, RequestNameReply.IN_QUEUE)
        return self

    async def crash(self) -> None:
        """Its connection ends, as that of a process that is killed."""
        self._bus.disconnect()
        with contextlib.suppress(EOFError):
            await self._bus.wait_for_disconnect()
        self.open.clear()

    def release(self) -> None:
        """Do what it was asked to do while it held."""
        self.holds = False
        held, self._held = self._held, []
        for message in held:
            answer = self._answer(message)
            assert isinstance(answer, Message)
            self._bus.send(answer)

    def press(self, number: int, key: str = "mute") -> None:
        self._signal("ActionInvoked", "us", number, key)

    def close(self, number: int, reason: int = DISMISSED) -> None:
        del self.open[number]
        self._signal("NotificationClosed", "uu", number, reason)

    def _signal(self, member: str, signature: str, *body: object) -> None:
        self._bus.send(Message.new_signal(PATH, NAME, member, signature, list(body)))

    def _hear(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL or message.interface != NAME:
            return None
        if self.holds:
            self._held.append(message)
            return True
        return self._answer(message)

    def _answer(self, message: Message) -> Message | bool:
        if message.member == "GetCapabilities":
            return Message.new_method_return(message, "as", [self._capabilities])
        if message.member == "GetServerInformation":
            return Message.new_method_return(message, "ssss", ["tests", "hardmute", "1", "1.2"])
        if self.refuses:
            return Message.new_error(message, f"{NAME}.Error.Full", "no more")
        if message.member == "CloseNotification":
            number = message.body[0]
            self._record("Close", number, "")
            if self.open.pop(number, None) is not None:
                self._signal("NotificationClosed", "uu", number, CLOSED_BY_CALL)
            return Message.new_method_return(message)
        _, number, _, title, body, actions, hints, timeout = message.body
        assert message.member == "Notify"
        assert timeout == 0
        self._record("Notify", number, title)
        if number not in self.open:
            self._last += 1
            number = self._last
        self.open[number] = Shown(title, body, actions, {k: v.value for k, v in hints.items()})
        boards = [one.title.split(":")[0] for one in self.open.values()]
        self.twice += {board for board in boards if boards.count(board) > 1}
        return Message.new_method_return(message, "u", [number])

    def _record(self, method: str, number: int, title: str) -> None:
        self.calls.append((method, number, title))


class _Printing(Service):
    def _record(self, method: str, number: int, title: str) -> None:
        print(json.dumps([method, number, title]), flush=True)


async def _main(address: str) -> None:
    await _Printing(address).start()
    print(json.dumps("ready"), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
