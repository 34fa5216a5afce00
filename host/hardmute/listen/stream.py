"""Plays and records at once, sample by sample. What is recorded stays in memory.

A library that copies both through one buffer may hand back what was played as what was recorded;
here each sample has its place, and a place that was never filled shows.
"""

from __future__ import annotations

import bisect
import contextlib
import time
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hardmute.errors import LocalError
from hardmute.listen import devices
from hardmute.listen.devices import Device

RATE = 48_000
# Long buffers: nothing here is in a hurry, and a busy machine drops nothing.
_LATENCY_S = 0.3
_METER_S = 0.1
_BEGIN_S = 0.7


class Duplex:
    """``played`` through ``speaker``, and what ``microphone`` hears, from `__enter__` on.

    ``rate`` in Hz. Raises `LocalError` where they cannot be opened.
    """

    def __init__(
        self, played: NDArray[np.float32], rate: int, microphone: Device, speaker: Device
    ) -> None:
        self._library = devices.sounddevice()
        self.played = played
        self._rate = rate
        self._recorded = np.full(len(played), np.nan, dtype=np.float32)
        # When so many samples had arrived: seconds of the monotonic clock, and their number.
        self._times: list[float] = []
        self._counts: list[int] = []
        self.count = 0
        # The system has said that it lost some.
        self.lost = False
        self._streams = contextlib.ExitStack()
        self._chosen = microphone, speaker

    def __enter__(self) -> Self:
        microphone, speaker = self._chosen
        with contextlib.ExitStack() as opening:
            opening.enter_context(devices.released(microphone))
            opening.enter_context(devices.routed(microphone, speaker))
            try:
                opening.enter_context(
                    self._library.Stream(
                        samplerate=self._rate,
                        device=(microphone.number, speaker.number),
                        channels=1,
                        dtype="float32",
                        latency=_LATENCY_S,
                        dither_off=True,
                        callback=self._pass_on,
                    )
                )
            except (self._library.PortAudioError, ValueError) as error:
                raise LocalError(
                    f"{microphone.name} and {speaker.name} cannot be opened together at "
                    f"{self._rate} Hz ({error}): close what uses them, or name others."
                ) from error
            self._streams = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._streams.__exit__(kind, error, trace)

    def _pass_on(
        self,
        heard: NDArray[np.float32],
        played: NDArray[np.float32],
        frames: int,
        _: Any,
        status: Any,
    ) -> None:
        """PortAudio's own thread calls this for every few samples."""
        start, stop = self.count, min(self.count + frames, len(self.played))
        played[:] = 0
        played[: stop - start, 0] = self.played[start:stop]
        self._recorded[start:stop] = heard[: stop - start, 0]
        # "Underflow" of the input is how a server begins: it has nothing yet. Later on it leaves a
        # gap, which the recording itself shows. Nor is it a loss if nothing is played at first.
        if start > _BEGIN_S * self._rate:
            self.lost = self.lost or status.input_overflow or status.output_underflow
        self._times.append(time.monotonic())
        self.count = stop
        self._counts.append(stop)

    def count_at(self, moment: float) -> int:
        """How many samples had arrived at ``moment`` of the monotonic clock."""
        index = bisect.bisect_right(self._times, moment)
        return self._counts[index - 1] if index else 0

    @property
    def full(self) -> bool:
        return self.count == len(self.played)

    def level_dbfs(self) -> float:
        """Power of what was heard last, relative to a full-scale peak of 1."""
        recent = self._recorded[max(0, self.count - round(_METER_S * self._rate)) : self.count]
        power = float(np.mean(recent**2)) if len(recent) else 0.0
        return 10 * float(np.log10(max(power, 1e-12)))

    def recorded(self) -> NDArray[np.float32]:
        """What was heard until now; NaN where nothing was delivered."""
        return self._recorded[: self.count].copy()
