"""What the tests of a monitor's sinks share: a time that the test moves, and what boards say."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from datetime import datetime

from hardmute.evidence.observation import Observation
from hardmute.model.answers import Verdict
from hardmute.model.clock import HostClock
from hardmute.monitor.feed import Told

BOARD = "5eedbeef"


async def turns(count: int = 20) -> None:
    """Let all that can go on go on."""
    for _ in range(count):
        await asyncio.sleep(0)


class Time:
    """A host's clocks that stand still until they are moved. Begins at ``local``, local time."""

    def __init__(self, local: datetime) -> None:
        self._wall_ms = round(local.timestamp() * 1000)
        self.passed_s = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self.clock = HostClock(self.wall_ms, lambda: round(self.passed_s * 1e6), lambda: "one run")

    def wall_ms(self) -> int:
        return self._wall_ms + round(self.passed_s * 1000)

    async def sleep(self, seconds: float) -> None:
        done = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.passed_s + seconds, next(self._order), done))
        await done

    async def move(self, seconds: float) -> None:
        """Let ``seconds`` pass, and all that happens in them happen."""
        await turns()
        until_s = self.passed_s + seconds
        while self._sleepers and self._sleepers[0][0] <= until_s:
            self.passed_s, _, done = heapq.heappop(self._sleepers)
            if not done.done():
                done.set_result(None)
            await turns()
        self.passed_s = until_s

    def told(
        self,
        verdict: Verdict,
        *,
        since_s: float = 0.0,
        board: str = BOARD,
        label: str | None = "Desk",
        incident: str | None = None,
        reason: str | None = None,
    ) -> Told:
        """That ``board`` has been so for ``since_s``, as it is now."""
        known = verdict != "unknown"
        observation = Observation(
            at_ms=self.wall_ms(),
            board=board,
            device="/dev/ttyACM0",
            simulated=False,
            source="watch",
            verdict=verdict,
            proof="sensed" if verdict == "muted" else None,
            reason=reason if known else reason or "unplugged",
            state=verdict if verdict != "unknown" else None,
            command="cut" if verdict == "muted" else "connected",
            cause="button" if known else None,
            since_ms=round(since_s * 1000) if known else None,
            uptime_ms=3_600_000 if known else None,
        )
        return Told(board, label, observation, incident)
