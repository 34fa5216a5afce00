"""Whether a program records, by a real sound server: what reminds of a line that nobody uses."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import time
from collections.abc import Iterator

import pytest

from conftest import pactl
from hardmute.monitor.recording import SoundServer


@contextlib.contextmanager
def recording(*options: str) -> Iterator[None]:
    process = subprocess.Popen(["parec", *options], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while '"parec"' not in pactl("list", "source-outputs").stdout:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield
    finally:
        process.kill()
        process.wait()
        while '"parec"' in pactl("list", "source-outputs").stdout:
            time.sleep(0.05)


def somebody_records() -> bool | None:
    return asyncio.run(SoundServer()())


def test_who_records(monkeypatch: pytest.MonkeyPatch) -> None:
    # The room's microphone is the monitor of a null sink, and so is no hardware: a source of its
    # own, which a program could take for a microphone.
    loaded = pactl("load-module", "module-null-source", "source_name=own")
    try:
        assert somebody_records() is False
        with recording("--device=own"):
            assert somebody_records() is True
        # What a speaker plays is no microphone.
        with recording("--device=speaker.monitor"):
            assert somebody_records() is False
        assert somebody_records() is False
    finally:
        pactl("unload-module", loaded.stdout.strip())
    monkeypatch.setenv("PULSE_SERVER", "unix:/nonexistent")
    assert somebody_records() is None
