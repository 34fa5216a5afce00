"""A microphone that no computer owns: the probe as a file, and what was recorded elsewhere."""

from __future__ import annotations

import json
import math
import os
from argparse import Namespace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hardmute import UsageError, errors
from hardmute.cli.outcome import draw, print_outcome, verdict_code
from hardmute.listen import path, probe, signals, timing, wav
from hardmute.listen.detector import judge
from hardmute.listen.outcome import Outcome, Phases
from hardmute.listen.path import Source

# The file: live, a beep, time to press, muted, a beep, time to press, live.
_LIVE_S, _PRESS_S = 5.0, 4.0
_BEEP_S, _BEEP_HZ = 0.3, 500.0
_RATE = 48_000
_SEED = 16
# What of the first live phase is looked for in a recording that began at any time.
_SOUGHT_S = (2.0, 3.0)
_BEFORE_S = 0.2


def write_probe(file: Path, seconds: float) -> None:
    """Write a fresh probe, of which ``seconds`` are to be muted, into a new WAV ``file``."""
    total = 2 * (_LIVE_S + _PRESS_S) + seconds
    made = probe.noise(os.urandom(_SEED), round(total * _RATE), _RATE)
    tone = np.sin(2 * np.pi * _BEEP_HZ * np.arange(round(_BEEP_S * _RATE)) / _RATE)
    # In place of the noise, where nothing is listened to, and no louder.
    tone = signals.tapered(tone, len(tone) // 4) * 10 ** (probe.LEVEL_DBFS / 20)
    for at_s in (_LIVE_S, _LIVE_S + _PRESS_S + seconds):
        start = round(at_s * _RATE)
        made[start : start + len(tone)] = tone.astype(np.float32)
    wav.write(file, made, _RATE)


def verify(args: Namespace) -> int:
    """`hardmute verify --listen --recording FILE --probe FILE`."""
    if args.recording is None or args.probe is None:
        raise UsageError("A recording made elsewhere needs both: --recording FILE --probe FILE.")
    outcome = _judge(args.recording, args.probe, args.min_db, args.confidence)
    draw(outcome, args.svg)
    if args.json:
        print(json.dumps({**outcome._asdict(), "most_db": _finite(outcome.most_db)}))
    else:
        print_outcome(outcome, args.min_db, args.confidence)
    return verdict_code(outcome, None)


def _finite(db: float | None) -> float | None:
    return None if db is None or math.isinf(db) else db


def _judge(recording: Path, played: Path, required_db: float, confidence: float) -> Outcome:
    made, made_rate = wav.read(played)
    recorded, rate = wav.read(recording)
    seconds = len(made) / made_rate - 2 * (_LIVE_S + _PRESS_S)
    if seconds < 1:
        raise UsageError(f"{played} is no probe as `hardmute audio probe` writes it.")
    if made_rate != rate:
        step = made_rate / rate
        made = signals.delayed(made, 0, step, round(len(made) / step))
    begin = _found(made, recorded, rate)
    if begin is None:
        return Outcome("inconclusive", "inaudible")
    # As if both had begun at once, the sound being a little late.
    shift = begin - round(_BEFORE_S * rate)
    recorded = recorded[shift:] if shift >= 0 else np.concatenate([np.zeros(-shift), recorded])
    return judge(
        made,
        recorded,
        rate,
        _phases(seconds, rate),
        required_db=required_db,
        confidence=confidence,
    )


def _phases(seconds: float, rate: int) -> Phases:
    late = _BEFORE_S + timing.FILL_S
    cut = _LIVE_S + _PRESS_S
    back = cut + seconds + _PRESS_S
    pairs = [
        (late, _LIVE_S),
        (cut + late, cut + seconds),
        (back + late, back + _LIVE_S),
    ]
    before, muted, after = ((round(one * rate), round(other * rate)) for one, other in pairs)
    return Phases(before, muted, after)


def _found(made: NDArray[np.float64], recorded: NDArray[np.float64], rate: int) -> int | None:
    """Where in the recording the probe begins; None where it is not heard."""
    source = Source(made, rate)
    start, stop = (source.count(at_s) for at_s in _SOUGHT_S)
    sought = source.stretched(path.Timing(0, 0), start, stop)
    heard = signals.in_band(recorded, rate)
    size = signals.fast_length(len(heard) + len(sought))
    cross = np.fft.rfft(heard, size) * np.conj(np.fft.rfft(sought, size))
    found = np.abs(signals.analytic(cross, size))[: len(heard)]
    at = int(np.argmax(found))
    if not len(heard) or found[at] < 6 * np.median(found):
        return None
    return (at - start) * signals.decimation(rate)


def write(args: Namespace) -> int:
    """`hardmute audio probe FILE.wav`."""
    write_probe(args.file, args.seconds)
    total = 2 * (_LIVE_S + _PRESS_S) + args.seconds
    print(f"{args.file}: {total:g} s of soft noise. Play it near the microphone, which records:")
    print("  begin live; press at the first beep (mute), and again at the second (live)")
    print(f"  hardmute verify --listen --recording FILE.wav --probe {args.file}")
    return errors.OK
