"""Playing and recording at once, on a stand-in for the sound library."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, Self

import numpy as np
import pytest

from hardmute.listen import stream as streams
from hardmute.listen.devices import Device
from hardmute.listen.stream import Duplex
from hardmute.listen.timing import HeardMoment
from hardmute.model.clock import SYSTEM
from hardmute.model.errors import LocalError

RATE = 1000
MICROPHONE = Device("input", "mic", "Microphone", 3, None, None, muted=False, default=True)
SPEAKER = Device("output", "speaker", "Speaker", 5, None, None, muted=False, default=True)
PLAYED = np.arange(1, 2 * RATE + 1, dtype=np.float32)
FINE = SimpleNamespace(input_overflow=False, output_underflow=False)


class Stream:
    """One direction of one device; `deliver` is what PortAudio's thread does."""

    def __init__(self, open_now: list[Self], device: int, callback: Callable[..., None]) -> None:
        self.device = device
        self.callback = callback
        self._open_now = open_now

    def __enter__(self) -> Self:
        self._open_now.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        self._open_now.remove(self)

    def deliver(self, samples: Any, status: SimpleNamespace = FINE) -> list[float]:
        buffer = np.array(samples, dtype=np.float32).reshape(-1, 1)
        self.callback(buffer, len(buffer), None, status)
        return [float(sample) for sample in buffer[:, 0]]


class Library(ModuleType):
    """The sound library, with one device in each direction; ``refused`` cannot be opened."""

    class PortAudioError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("sounddevice")
        self.open_now: list[Stream] = []
        self.refused: int | None = None

    def _stream(self, *, device: int, callback: Callable[..., None], **options: Any) -> Stream:
        assert (options["samplerate"], options["channels"]) == (RATE, 1)
        if device == self.refused:
            raise self.PortAudioError("device busy")
        return Stream(self.open_now, device, callback)

    InputStream = OutputStream = _stream


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    made = Library()
    monkeypatch.setitem(sys.modules, "sounddevice", made)
    return made


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """This host's clock, in seconds."""
    now = [5.0]
    clock = SYSTEM._replace(run_us=lambda: round(1e6 * now[0]))
    monkeypatch.setattr(streams, "SYSTEM", clock)
    return now


@pytest.fixture
def sound(library: Library) -> Iterator[Duplex]:
    with Duplex(PLAYED, RATE, MICROPHONE, SPEAKER) as opened:
        assert len(library.open_now) == 2
        yield opened


def ends(library: Library) -> tuple[Stream, Stream]:
    microphone, speaker = library.open_now
    assert (microphone.device, speaker.device) == (MICROPHONE.number, SPEAKER.number)
    return microphone, speaker


def test_what_is_heard_counts_from_the_first_played_sample(
    sound: Duplex, library: Library
) -> None:
    """So a delay is not negative, whichever side begins, but for what a sound server swallows."""
    microphone, speaker = ends(library)
    microphone.deliver([0.5] * 7)
    assert sound.count == 0
    assert speaker.deliver([9.0] * 4) == [1, 2, 3, 4]
    microphone.deliver([0.1, 0.2])
    assert speaker.deliver([9.0] * 2) == [5, 6]
    microphone.deliver([0.3])
    assert sound.recorded() == pytest.approx([0.1, 0.2, 0.3])
    assert not sound.lost


def test_all_is_played_once_and_then_silence(sound: Duplex, library: Library) -> None:
    microphone, speaker = ends(library)
    assert speaker.deliver([9.0] * (len(PLAYED) + 3)) == [*PLAYED, 0, 0, 0]
    assert speaker.deliver([9.0] * 3) == [0, 0, 0]
    microphone.deliver([0.1] * (len(PLAYED) - 1))
    assert not sound.full
    microphone.deliver([0.2] * 5)
    assert (sound.full, sound.count) == (True, len(PLAYED))


@pytest.mark.parametrize("end", [0, 1])
def test_P5_a_loss_that_the_system_tells_of_is_told(
    sound: Duplex, library: Library, end: int
) -> None:
    """But for the first moments, in which the devices start and nothing is judged."""
    dropped = SimpleNamespace(input_overflow=end == 0, output_underflow=end == 1)
    both = ends(library)
    for stream in reversed(both):
        stream.deliver([0.0] * 100)
    both[end].deliver([0.0], dropped)
    assert not sound.lost
    for stream in both:
        stream.deliver([0.0] * RATE)
    both[end].deliver([0.0], dropped)
    assert sound.lost
    both[end].deliver([0.0])
    assert sound.lost


def test_a_number_that_is_none_is_a_loss(sound: Duplex, library: Library) -> None:
    microphone, speaker = ends(library)
    speaker.deliver([0.0])
    microphone.deliver([0.1] * RATE)
    microphone.deliver([float("nan"), float("inf")])
    assert sound.lost
    assert np.isfinite(sound.recorded()).all()


def test_how_far_both_were_at_a_moment(
    sound: Duplex, library: Library, clock: list[float]
) -> None:
    microphone, speaker = ends(library)
    for clock[0], given, arrived in ((10.0, 6, 0), (10.5, 3, 4), (11.0, 0, 4)):
        if given:
            speaker.deliver([9.0] * given)
        if arrived:
            microphone.deliver([0.1] * arrived)
    assert [sound.at(moment) for moment in (9.9, 10.0, 10.4, 10.5, 10.9, 11.0, 99.0)] == [
        HeardMoment(0, 0),
        *[HeardMoment(6, 0)] * 2,
        *[HeardMoment(9, 4)] * 2,
        *[HeardMoment(9, 8)] * 2,
    ]


@pytest.mark.parametrize("refused", [MICROPHONE, SPEAKER])
def test_a_device_that_cannot_be_opened_leaves_none_open(
    library: Library, refused: Device
) -> None:
    library.refused = refused.number
    with pytest.raises(LocalError, match="device busy"):
        Duplex(PLAYED, RATE, MICROPHONE, SPEAKER).__enter__()
    assert library.open_now == []


def test_an_error_closes_both(library: Library) -> None:
    with pytest.raises(KeyboardInterrupt), Duplex(PLAYED, RATE, MICROPHONE, SPEAKER):
        raise KeyboardInterrupt
    assert library.open_now == []
