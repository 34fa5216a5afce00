"""Notifications on a real bus, with a notification service of the tests' own, with none, and with
one that hangs, crashes and comes back.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from hardmute.monitor import desktop
from hardmute.monitor.desktop import Desktop, Events
from hardmute.monitor.feed import Feed, Told
from hardmute.monitor.notify import Notifications
from hardmute.monitor.settings import Remind
from monitor_time import BOARD, Time
from service import DISMISSED, EXPIRED, Service
from session_bus import Bus

LIVE = "Desk: the microphone is live"
_LATE_S = 60.0


class Rig:
    """A sink on a real bus. Its clocks are moved by the test; the bus has its own time."""

    def __init__(self, address: str, memory: Path | None = None) -> None:
        self.time = Time(datetime(2026, 11, 30, 12))  # noqa: DTZ001 (local time)
        self.feed = Feed()
        self.alerts: list[Told] = []
        self.mutes: list[str] = []
        self.presses: list[str] = []
        # Clear it, and a mute takes until it is set.
        self.mutes_end = asyncio.Event()
        self.mutes_end.set()

        def screen(events: Events) -> Desktop:
            self.desktop = Desktop(events, address, memory)
            return self.desktop

        class Counted(Notifications):
            def pressed(sink, tag: str) -> None:  # noqa: N805 (self is the rig)
                super().pressed(tag)
                self.presses.append(tag)

        self.sink = Counted(
            Remind(unused_s=None),
            self.alerts.append,
            screen=screen,
            clock=self.time.clock,
            sleep=self.time.sleep,
        )

    async def mute(self, board: str) -> None:
        self.mutes.append(board)
        await self.mutes_end.wait()
        self.tell("muted", board=board)

    def tell(self, *words: Any, **more: Any) -> None:
        self.feed.tell(self.time.told(*words, **more))

    def is_settled(self) -> bool:
        """Whether nothing is under way, and what is shown is what is to be shown."""
        return all(
            card.asked is None
            and (card.dismissed or (card.sent if card.number else None) == card.note)
            for card in self.desktop._cards.values()
        )

    async def settle(self) -> None:
        await self.time.move(0)
        await until(self.is_settled)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LATE_S):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(address: str, memory: Path | None = None) -> AsyncIterator[Rig]:
    rig = Rig(address, memory)
    task = asyncio.create_task(rig.sink.run(rig.feed, rig.mute))
    try:
        yield rig
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def serving(address: str, *capabilities: str) -> AsyncIterator[Service]:
    service = await Service(address, *capabilities).start()
    try:
        yield service
    finally:
        await service.crash()


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


@pytest.fixture(autouse=True)
def calls(monkeypatch: pytest.MonkeyPatch) -> int:
    """How many calls there may be at once: here hours pass at once."""
    before = desktop._CALLS
    monkeypatch.setattr(desktop, "_CALLS", 1 << 30)
    # Nor is a service silent, or the end over, because this machine is busy.
    for name in ("_ANSWER_S", "_END_S"):
        monkeypatch.setattr(desktop, name, _LATE_S)
    return before


def test_P8_the_exact_calls_for_a_line_live_and_cut_again(bus: Bus) -> None:
    async def scenario() -> None:
        async with serving(bus.address) as service:
            async with running(bus.address) as rig:
                rig.tell("muted")
                rig.tell("live")
                await until(lambda: bool(service.open))
                await rig.settle()
                assert rig.sink.trouble is None
                (shown,) = service.open.values()
                assert shown.actions == ["mute", "Mute"]
                assert shown.hints == {"urgency": 2, "resident": True, "category": "device"}
                await rig.time.move(61)
                await rig.settle()
                await rig.time.move(540)
                await rig.settle()
                rig.tell("unknown")
                await rig.settle()
                rig.tell("muted")
                await rig.settle()
                assert service.open == {}
            unknown = "Desk: state unknown, the microphone may be live"
            assert [call for call in service.calls if call[2] != LIVE or call[1] != 1] == [
                ("Notify", 0, LIVE),
                # Ten minutes later it comes up again; so does what is worse.
                ("Close", 1, ""),
                ("Notify", 0, LIVE),
                ("Close", 2, ""),
                ("Notify", 0, unknown),
                ("Close", 3, ""),
            ]
            # Each minute it is the same one, with other words.
            assert service.calls[1] == ("Notify", 1, LIVE)
            assert service.twice == []
            assert rig.alerts == []

    run(scenario())


def test_mute_on_the_notification_cuts_once(bus: Bus) -> None:
    async def scenario() -> None:
        async with serving(bus.address) as service, running(bus.address) as rig:
            rig.tell("live")
            rig.tell("live", board="0002", label="Room")
            await until(lambda: len(service.open) == 2)
            await rig.settle()
            (number,) = (key for key, one in service.open.items() if one.title == LIVE)
            # Another key, a notification of somebody else, and then ours.
            service.press(number, "default")
            service.press(99)
            rig.mutes_end.clear()
            service.press(number)
            service.press(number)
            await until(lambda: len(rig.presses) == 2)
            rig.mutes_end.set()
            await until(lambda: len(service.open) == 1)
            await rig.settle()
            assert rig.mutes == [BOARD]
            assert [one.title for one in service.open.values()] == ["Room: the microphone is live"]

    run(scenario())


def test_mute_works_where_the_service_closes_what_was_pressed(bus: Bus) -> None:
    async def scenario() -> None:
        async with serving(bus.address) as service, running(bus.address) as rig:
            rig.tell("live")
            await until(lambda: bool(service.open))
            await rig.settle()
            service.press(1)
            service.close(1, DISMISSED)
            await until(lambda: bool(rig.mutes))
            await rig.settle()
            # That it is closed may be asked for before it is known.
            assert service.calls in (
                [("Notify", 0, LIVE)],
                [("Notify", 0, LIVE), ("Close", 1, "")],
            )

    run(scenario())


def test_P8_what_somebody_dismissed_comes_back_as_a_reminder(bus: Bus) -> None:
    async def scenario() -> None:
        async with serving(bus.address) as service, running(bus.address) as rig:
            rig.tell("live")
            await until(lambda: bool(service.open))
            await rig.settle()
            service.close(1, DISMISSED)
            await until(lambda: rig.desktop._cards[BOARD].dismissed)
            await rig.time.move(300)
            await rig.settle()
            assert service.calls == [("Notify", 0, LIVE)]
            await rig.time.move(301)
            await rig.settle()
            assert list(service.open) == [2]
            # What the service closed by itself comes back with its next words.
            service.close(2, EXPIRED)
            await until(lambda: not rig.desktop._cards[BOARD].number)
            await rig.time.move(61)
            await until(lambda: list(service.open) == [3])

    run(scenario())


def test_words_are_no_markup(bus: Bus) -> None:
    async def scenario() -> None:
        incident = "<b>&\x1b[1m"
        async with serving(bus.address) as service, running(bus.address) as rig:
            rig.tell("live", label="<i>Desk</i>", incident=incident)
            await until(lambda: bool(service.open))
            (shown,) = service.open.values()
            assert shown.title == "<i>Desk</i>: the microphone is live"
            assert shown.body.endswith("Evidence: &lt;b&gt;&amp;�[1m")
        async with serving(bus.address, "body") as service, running(bus.address) as rig:
            rig.tell("live", incident=incident)
            await until(lambda: bool(service.open))
            (shown,) = service.open.values()
            # A service that knows no markup shows what it gets; one without buttons gets none.
            assert shown.body.endswith("Evidence: <b>&�[1m")
            assert shown.actions == []

    run(scenario())


def test_with_nobody_there_it_is_known_and_told_elsewhere(bus: Bus, said: list[str]) -> None:
    async def scenario() -> None:
        async with running(bus.address) as rig:
            rig.tell("live")
            await until(lambda: bool(rig.alerts))
            assert rig.sink.trouble == desktop._NO_SERVICE
            assert said == [desktop._NO_SERVICE, f"{LIVE}: For less than 1 min: button."]
            await rig.time.move(601)
            assert len(rig.alerts) == 2
            # It recovers by itself once there is one.
            async with serving(bus.address) as service:
                await until(lambda: bool(service.open))
                await rig.settle()
                assert rig.sink.trouble is None
                assert service.calls == [("Notify", 0, LIVE)]
                assert len(said) == 3

    run(scenario())


def test_without_a_bus_it_is_known(
    no_bus: Bus, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desktop, "_BACKOFF_S", (0.01,))

    async def scenario() -> None:
        async with running(no_bus.address) as rig:
            rig.tell("live")
            await until(lambda: bool(rig.alerts))
            assert rig.sink.trouble == desktop._BUS_DOWN
            no_bus.start()
            async with serving(no_bus.address) as service:
                await until(lambda: bool(service.open))
                no_bus.kill()
                await until(lambda: rig.sink.trouble == desktop._BUS_DOWN)
                no_bus.start()
            async with serving(no_bus.address) as service:
                await until(lambda: bool(service.open))
                await rig.settle()
                assert rig.sink.trouble is None
                assert service.calls == [("Notify", 0, LIVE)]
        assert said.count(desktop._BUS_DOWN) == 2

    run(scenario())


def test_no_address_of_a_bus_is_one_sentence() -> None:
    async def scenario() -> None:
        async with running("") as rig:
            await until(lambda: rig.sink.trouble is not None)
            assert rig.sink.trouble == desktop._NO_BUS

    run(scenario())


def test_a_service_that_crashes_and_comes_back_shows_it_again(bus: Bus) -> None:
    async def scenario() -> None:
        async with running(bus.address) as rig:
            first = await Service(bus.address).start()
            rig.tell("live")
            await until(lambda: bool(first.open))
            await rig.settle()
            await first.crash()
            await until(lambda: rig.sink.trouble == desktop._NO_SERVICE)
            async with serving(bus.address) as second:
                await until(lambda: bool(second.open))
                await rig.settle()
                assert second.calls == [("Notify", 0, LIVE)]
                rig.tell("muted")
                await rig.settle()
                assert second.open == {}
        # What was seen once does not ring.
        assert rig.alerts == []

    run(scenario())


def test_a_service_that_is_replaced_keeps_nothing_open(bus: Bus) -> None:
    async def scenario() -> None:
        async with running(bus.address) as rig:
            first = await Service(bus.address).start()
            rig.tell("live")
            await until(lambda: bool(first.open))
            await rig.settle()
            # While it is asked for a second one, it is slow, and another one takes its name.
            first.holds = True
            rig.tell("live", board="0002", label="Room")
            await until(lambda: bool(first._held))
            async with serving(bus.address) as second:
                await until(lambda: len(second.open) == 2)
                first.release()
                await until(lambda: not first.open)
                await rig.settle()
                assert second.twice == []
                assert len(second.open) == 2
                await first.crash()

    run(scenario())


def test_a_service_that_hangs_is_known_and_shows_none_twice(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desktop, "_ANSWER_S", 0.5)

    async def scenario() -> None:
        async with serving(bus.address) as service, running(bus.address) as rig:
            await until(lambda: rig.desktop._session is not None and rig.desktop._session.ready)
            service.holds = True
            rig.tell("live")
            await until(lambda: rig.sink.trouble == desktop._SILENT)
            assert len(rig.alerts) == 1
            await rig.time.move(601)
            rig.tell("fault")
            await rig.time.move(1)
            service.release()
            await rig.settle()
            assert rig.sink.trouble is None
            (shown,) = service.open.values()
            assert shown.title == "Desk: fault, the microphone may be live"
            assert service.twice == []

    run(scenario())


def test_a_board_that_flaps_cannot_flood_a_desktop(
    bus: Bus, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(desktop, "_CALLS", calls)

    async def scenario() -> None:
        async with serving(bus.address) as service, running(bus.address) as rig:
            begin = asyncio.get_running_loop().time()
            for _ in range(300):
                rig.tell("live")
                await asyncio.sleep(0.001)
                rig.tell("unknown")
                await asyncio.sleep(0.001)
            rig.tell("fault")
            await rig.settle()
            took_s = asyncio.get_running_loop().time() - begin
            (shown,) = service.open.values()
            assert shown.title == "Desk: fault, the microphone may be live"
            notes = [call for call in service.calls if call[0] == "Notify"]
            assert len(notes) <= calls + took_s + 1

    run(scenario())


def test_many_boards_at_once_are_all_shown_and_all_closed(bus: Bus) -> None:
    """A bus refuses more than 128 calls of one connection that wait for an answer."""

    async def scenario() -> None:
        async with serving(bus.address) as service:
            async with running(bus.address) as rig:
                for number in range(300):
                    rig.tell("live", board=f"{number:04x}", label=f"Desk {number}")
                await until(lambda: len(service.open) == 300)
                await rig.settle()
                assert rig.sink.trouble is None
            assert service.open == {}
            assert len(service.calls) == 600

    run(scenario())


def test_an_error_is_believed(bus: Bus) -> None:
    async def scenario() -> None:
        async with serving(bus.address) as service, running(bus.address) as rig:
            service.refuses = True
            rig.tell("live")
            await until(lambda: bool(rig.alerts))
            assert rig.sink.trouble == desktop._REFUSED

    run(scenario())


def test_doctor_says_whether_somebody_would_see_a_notification(bus: Bus, tmp_path: Path) -> None:
    async def checked() -> tuple[str, str]:
        own = {"DBUS_SESSION_BUS_ADDRESS": bus.address, "HARDMUTE_HOME": str(tmp_path)}
        doctor = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "hardmute", "doctor", "--json"),
            env={**os.environ, **own},
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await doctor.communicate()
        (found,) = (one for one in json.loads(out)["checks"] if one["name"] == "notifications")
        return found["result"], found["text"]

    async def scenario() -> None:
        assert await checked() == ("warn", desktop._NO_SERVICE)
        async with serving(bus.address) as service:
            said = "tests 1 shows the notifications of `hardmute monitor`"
            assert await checked() == ("pass", said)
            assert service.calls == []
        bus.kill()
        assert await checked() == ("warn", desktop._BUS_DOWN)

    run(scenario())


def test_a_connection_that_is_lost_leaves_no_second_one(bus: Bus) -> None:
    async def scenario() -> None:
        async with serving(bus.address) as service, running(bus.address) as rig:
            rig.tell("live")
            await until(lambda: bool(service.open))
            await rig.settle()
            before = rig.desktop._session
            assert before is not None
            before.bus._sock.shutdown(socket.SHUT_RDWR)
            await until(lambda: rig.desktop._session not in (None, before))
            rig.tell("fault")
            await rig.settle()
            await until(lambda: len(service.calls) > 1)
            await rig.settle()
            (shown,) = service.open.values()
            assert shown.title == "Desk: fault, the microphone may be live"
            assert service.twice == []

    run(scenario())


MONITOR = """\
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[1:3]
from test_desktop import Rig, until
async def main():
    rig = Rig(sys.argv[3], Path(sys.argv[4]))
    rig.tell("live")
    rig.tell("fault", board="0002", label="Room")
    asyncio.create_task(rig.sink.run(rig.feed, rig.mute))
    await until(lambda: len(rig.desktop._cards) == 2)
    await rig.settle()
    print("ready", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""


def test_what_a_killed_monitor_left_is_taken_over(bus: Bus, tmp_path: Path) -> None:
    async def scenario() -> None:
        here = Path(__file__).parent
        memory = tmp_path / "notifications.json"
        async with serving(bus.address) as service:
            killed = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", MONITOR, str(here), str(here.parent)),
                *(bus.address, str(memory)),
                stdout=asyncio.subprocess.PIPE,
            )
            assert killed.stdout is not None
            assert await killed.stdout.readline() == b"ready\n"
            assert len(service.open) == 2
            killed.kill()
            await killed.wait()
            async with running(bus.address, memory) as rig:
                rig.tell("live")
                await until(lambda: len(service.open) == 1)
                await rig.settle()
                assert [one.title for one in service.open.values()] == [LIVE]
                assert service.twice == []
            assert service.open == {}
        # Another service's numbers are no business of ours; nor is what is no file of ours.
        for text in (
            memory.read_text(),
            "[]",
            '{"numbers": {"x": "y"}}',
            '{"numbers": [1]}',
            "{",
            "",
        ):
            memory.write_text(text)
            async with serving(bus.address) as service, running(bus.address, memory) as rig:
                rig.tell("live")
                await until(lambda: bool(service.open))
                assert service.calls == [("Notify", 0, LIVE)]

    run(scenario())


def test_P5_nothing_stays_that_nobody_updates(bus: Bus) -> None:
    async def scenario() -> None:
        async with serving(bus.address) as service:
            async with running(bus.address) as rig:
                rig.tell("live")
                rig.tell("live", board="0002", label="Room")
                await until(lambda: len(service.open) == 2)
            assert service.open == {}

    run(scenario())


def test_a_service_that_is_killed_and_started_again(no_bus: Bus) -> None:
    """The bus starts it where it is needed, as a desktop's does."""
    calls = Path(no_bus.address.partition("=")[2]).with_name("calls")
    program = Path(__file__).with_name("service.py")
    script = calls.with_name("service.sh")
    script.write_text(
        f'#!/bin/sh\necho "$$" > {calls}.pid\n'
        f'exec {sys.executable} {program} "{no_bus.address}" >> {calls}\n'
    )
    script.chmod(0o700)
    no_bus.activates(str(script))
    no_bus.start()

    def heard() -> list[str]:
        return calls.read_text().splitlines() if calls.exists() else []

    async def scenario() -> None:
        async with running(no_bus.address) as rig:
            rig.tell("live")
            shown = f'["Notify", 0, "{LIVE}"]'
            await until(lambda: heard() == ['"ready"', shown])
            await rig.settle()
            kill = await asyncio.create_subprocess_exec(
                "kill", "-9", Path(f"{calls}.pid").read_text().strip()
            )
            await kill.wait()
            await until(lambda: rig.sink.trouble == desktop._NO_SERVICE)
            # What starts it next is anybody who needs it: here its own program.
            again = await asyncio.create_subprocess_exec(script)
            await until(lambda: heard() == ['"ready"', shown] * 2)
            rig.tell("muted")
            await rig.settle()
            assert heard()[-1] == '["Close", 1, ""]'
            again.kill()
            await again.wait()

    run(scenario())


@pytest.mark.parametrize("seed", range(8))
def test_never_two_for_one_board_whatever_happens_when(bus: Bus, seed: int) -> None:
    """Boards change, people press and dismiss, services hang, crash and are replaced."""
    chance = Random(seed)
    boards = {"0001": "Desk", "0002": "Room", "0003": "Hall"}

    async def scenario() -> None:
        services = [await Service(bus.address).start()]
        async with running(bus.address) as rig:
            now = dict.fromkeys(boards, "muted")
            for _ in range(150):
                service = services[-1]
                board = chance.choice(list(boards))
                match chance.randrange(12):
                    case 0 | 1 | 2 | 3:
                        now[board] = chance.choice(["muted", "live", "fault", "unknown"])
                        rig.tell(now[board], board=board, label=boards[board])
                    case 4 if service.open and not service.holds:
                        service.press(chance.choice(list(service.open)))
                    case 5 if service.open and not service.holds:
                        reason = chance.choice([DISMISSED, EXPIRED])
                        service.close(chance.choice(list(service.open)), reason)
                    case 6:
                        await rig.time.move(chance.choice([1, 61, 601]))
                    case 7:
                        service.holds = True
                    case 8 if service.holds:
                        service.release()
                    case 9:
                        await service.crash()
                        services[-1] = await Service(bus.address).start()
                        services[-1].twice = service.twice
                    case 10 if len(services) < 4:
                        services.append(await Service(bus.address).start())
                    case _:
                        await asyncio.sleep(chance.choice([0, 0, 0.001, 0.005]))
            for service in services:
                service.release()
            for board, label in boards.items():
                rig.tell("muted", board=board, label=label)
            await rig.settle()
            for board, label in boards.items():
                rig.tell("live", board=board, label=label)
            await rig.settle()
            await until(lambda: len(services[-1].open) == len(boards))
            titles = sorted(one.title for one in services[-1].open.values())
            assert titles == sorted(f"{one}: the microphone is live" for one in boards.values())
            # Those that were replaced have nothing left.
            await until(lambda: not any(service.open for service in services[:-1]))
        assert [service.twice for service in services] == [[]] * len(services)
        for service in services:
            await service.crash()

    run(scenario())
