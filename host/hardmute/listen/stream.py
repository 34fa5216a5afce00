"""Plays and records at once, sample by sample. What is recorded stays in memory.

Speaker and microphone are a stream each. One stream for both ends by itself on Linux now and then:
PortAudio asks how late the one side is while it waits for the other, and takes the sound server's
"not known yet" for a failure (alsa-plugins issue 65).
"""

from __future__ import annotations

import bisect
import contextlib
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hardmute.listen import devices
from hardmute.listen.devices import Device
from hardmute.listen.timing import HeardMoment
from hardmute.model.clock import SYSTEM
from hardmute.model.errors import LocalError

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
        self._recorded = np.zeros(len(played), dtype=np.float32)
        self._given, self._arrived = _Count(), _Count()
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
                for stream, device, callback in (
                    (self._library.InputStream, microphone, self._take),
                    (self._library.OutputStream, speaker, self._give),
                ):
                    opening.enter_context(
                        stream(
                            samplerate=self._rate,
                            device=device.number,
                            channels=1,
                            dtype="float32",
                            latency=_LATENCY_S,
                            dither_off=True,
                            callback=callback,
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

    # PortAudio's own threads call these two for every few samples.

    def _give(self, played: NDArray[np.float32], frames: int, _: Any, status: Any) -> None:
        start = self._given.now
        stop = min(start + frames, len(self.played))
        self._given.becomes(stop)
        played[:] = 0
        played[: stop - start, 0] = self.played[start:stop]
        # It is no loss if nothing is played at first.
        if start > _BEGIN_S * self._rate:
            self.lost = self.lost or status.output_underflow

    def _take(self, heard: NDArray[np.float32], frames: int, _: Any, status: Any) -> None:
        if not self._given.now:
            return
        start = self._arrived.now
        stop = min(start + frames, len(self.played))
        self._recorded[start:stop] = np.nan_to_num(heard[: stop - start, 0])
        if start > _BEGIN_S * self._rate:
            self.lost = self.lost or status.input_overflow or not np.isfinite(heard).all()
        self._arrived.becomes(stop)

    @property
    def count(self) -> int:
        """How many samples have arrived."""
        return self._arrived.now

    def at(self, moment: float) -> HeardMoment:
        """How far playing and recording were at ``moment`` of `HostClock.now_s`."""
        return HeardMoment(self._given.at(moment), self._arrived.at(moment))

    @property
    def full(self) -> bool:
        return self.count == len(self.played)

    def level_dbfs(self) -> float:
        """Power of what was heard last, relative to a full-scale peak of 1."""
        recent = self._recorded[max(0, self.count - round(_METER_S * self._rate)) : self.count]
        power = float(np.mean(recent**2)) if len(recent) else 0.0
        return 10 * float(np.log10(max(power, 1e-12)))

    def recorded(self) -> NDArray[np.float32]:
        """What was heard until now, from when the first sample was given to the speaker."""
        return self._recorded[: self.count].copy()


class _Count:
    """A number of samples that grows, and when it did (`HostClock.now_s`)."""

    def __init__(self) -> None:
        self._times: list[float] = []
        self._counts: list[int] = [0]

    @property
    def now(self) -> int:
        return self._counts[-1]

    def becomes(self, count: int) -> None:
        # In this order: a time without its count would be read as one that is missing.
        self._counts.append(count)
        self._times.append(SYSTEM.now_s())

    def at(self, moment: float) -> int:
        return self._counts[bisect.bisect_right(self._times, moment)]
