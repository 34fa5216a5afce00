"""WAV files: the probe to be played elsewhere, and what was recorded there."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardmute.listen.probe import Samples
from hardmute.model.errors import UsageError
from hardmute.system.new_file import new_file

# An hour at 96 kHz, 32 bits.
_LARGEST = 1_400_000_000
_LEAST_RATE = 12_000


def write(file: Path, samples: Samples, rate: int) -> None:
    """Write ``samples`` (full scale 1) as 16 bits. Raises as `new_file`."""
    whole = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2")
    with new_file(file) as stream, wave.open(stream, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate)
        out.writeframes(whole.tobytes())


def read(file: Path) -> tuple[NDArray[np.float64], int]:
    """Samples (full scale 1) and their rate. Raises `UsageError` for what cannot be used."""
    try:
        if file.stat().st_size > _LARGEST:
            raise UsageError(f"{file} is too long: give the part that has the probe in it.")
        with wave.open(str(file), "rb") as found:
            width, rate, channels = (
                found.getsampwidth(),
                found.getframerate(),
                found.getnchannels(),
            )
            data = found.readframes(found.getnframes())
    except OSError as error:
        raise UsageError(f"{file} cannot be read ({error.strerror or error}).") from error
    except (wave.Error, EOFError) as error:
        raise UsageError(f"{file} is no WAV file with PCM samples ({error}).") from error
    if channels != 1:
        raise UsageError(
            f"{file} has {channels} channels, and any may leak: give each in a file of its own."
        )
    if rate < _LEAST_RATE:
        raise UsageError(f"{file} has {rate} samples a second; it takes {_LEAST_RATE} or more.")
    return _to_float(data, width), rate


def _to_float(data: bytes, width: int) -> NDArray[np.float64]:
    if width == 1:
        return (np.frombuffer(data, "u1").astype(np.float64) - 128) / 128
    if width == 3:
        raw = np.frombuffer(data[: len(data) // 3 * 3], "u1").reshape(-1, 3)
        wide = np.zeros((len(raw), 4), dtype="u1")
        wide[:, 1:] = raw
        return wide.view("<i4")[:, 0] / 2.0**31
    whole = np.frombuffer(data[: len(data) // width * width], f"<i{width}")
    return whole / 2.0 ** (8 * width - 1)
