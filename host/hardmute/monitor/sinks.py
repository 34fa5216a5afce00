"""All that shows boards to somebody or acts on them, as the settings say."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable

from hardmute.model import notices
from hardmute.model.clock import HostClock
from hardmute.monitor import os_mute
from hardmute.monitor.desktop import of_this_session
from hardmute.monitor.feed import Feed, Mute, Sink, Told
from hardmute.monitor.hooks import HookSink
from hardmute.monitor.notify import Notifications
from hardmute.monitor.os_mute import OsMuteSink
from hardmute.monitor.settings import Settings

# After how many seconds a sink that has failed inside is started again.
_TRY_AGAIN_S = 5.0


class Sinks:
    """Hooks, notifications and the mute of the system, each beside the others.

    One that fails costs the others nothing. ``ring``: makes a sound at the terminal. ``more``:
    sinks of rooms above this one.
    """

    def __init__(
        self,
        feed: Feed,
        mute: Mute,
        clock: HostClock,
        ring: Callable[[], object],
        more: Callable[[Settings], list[Sink]] = lambda _: [],
    ) -> None:
        self._feed = feed
        self._mute = mute
        self._clock = clock
        self._ring = ring
        self._more = more
        self._running: dict[asyncio.Task[None], Sink] = {}

    @property
    def troubles(self) -> list[str]:
        """Why something of it does not work now, one sentence each."""
        return [sink.trouble for sink in self._running.values() if sink.trouble is not None]

    async def use(self, settings: Settings) -> None:
        """Work by these settings from now on."""
        await self.end()
        for sink in self._made(settings):
            self._running[asyncio.create_task(self._run(sink))] = sink

    async def end(self) -> None:
        """End all of them; each cleans up."""
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._running.clear()

    def _made(self, settings: Settings) -> list[Sink]:
        hooks = HookSink(settings.hooks, clock=self._clock)

        def alert(told: Told) -> None:
            self._ring()
            hooks.remind(told)

        screen = of_this_session if settings.notify else None
        made: list[Sink] = [
            hooks,
            # Without notifications lines are cut in the quiet hours all the same.
            Notifications(settings.remind, alert, screen=screen, clock=self._clock),
        ]
        chosen = settings.os_mute
        if chosen.follow or chosen.lead or os_mute.is_owed():
            made.append(OsMuteSink(chosen))
        return made + self._more(settings)

    async def _run(self, sink: Sink) -> None:
        while True:
            try:
                await sink.run(self._feed, self._mute)
            except Exception as error:  # noqa: BLE001 (the boards are followed all the same)
                sys.audit("hardmute.failed_inside", repr(error))
                name = type(sink).__name__
                notices.tell(f"hardmute failed inside ({name}: {error!r}): it tries again.")
            await asyncio.sleep(_TRY_AGAIN_S)
