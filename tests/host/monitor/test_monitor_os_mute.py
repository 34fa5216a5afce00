"""What the mute of the system does without a sound server: its record, and what is missing.

tests/audio/test_os_mute.py has the rest, on a real one.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hardmute.model.errors import LocalError
from hardmute.monitor import os_mute, settings
from hardmute.monitor.feed import Feed


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HARDMUTE_HOME", str(tmp_path))
    return tmp_path / "os-mute.json"


def names(file: Path) -> frozenset[str]:
    record = os_mute.Record(file)
    record.read()
    return record.names


def test_a_record_is_read_as_it_was_written(file: Path) -> None:
    told = frozenset({"alsa_input.usb-1", 'a "name"\n', "Mikrofon \u00e4 \U0001f399"})
    os_mute.Record(file).write(told)
    assert os_mute.is_owed()
    assert file.stat().st_mode & 0o777 == 0o600
    assert names(file) == told
    record = os_mute.Record(file)
    record.read()
    record.write(frozenset())
    assert not os_mute.is_owed()
    assert names(file) == frozenset()


def written(content: bytes) -> Callable[[Path], object]:
    return lambda file: file.write_bytes(content)


DAMAGED: dict[str, Callable[[Path], object]] = {
    "empty": written(b""),
    "half": written(b'{"version": 1, "sources": ["mi'),
    "a list": written(b'["mic"]'),
    "a newer version": written(b'{"version": 2, "sources": ["mic"]}'),
    "more": written(b'{"version": 1, "sources": ["mic"], "more": 1}'),
    "no list": written(b'{"version": 1, "sources": "mic"}'),
    "no sources": written(b'{"version": 1}'),
    "no names": written(b'{"version": 1, "sources": [["mic"]]}'),
    "twice": written(b'{"version": 1, "sources": ["mic", "mic"]}'),
    "not ASCII": written('{"version": 1, "sources": ["\u00e4"]}'.encode()),
    "not UTF-8": written(b"\xff\xfe"),
    "deep": written(b"[" * 20_000),
    "large": written(
        json.dumps({"version": 1, "sources": [f"{n:010}" for n in range(5000)]}).encode()
    ),
    "a link": lambda file: (
        file.with_name("other").write_text('{"version": 1, "sources": ["mic"]}'),
        file.symlink_to("other"),
    ),
    "a pipe": os.mkfifo if sys.platform != "win32" else written(b""),
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_record_that_is_not_ours_is_refused_and_removed(
    file: Path, damage: Callable[[Path], object]
) -> None:
    damage(file)
    record = os_mute.Record(file)
    with pytest.raises(LocalError, match=r"was damaged.*sound settings\.$"):
        record.read()
    assert record.names == frozenset()
    assert not os_mute.is_owed()


def test_a_record_that_could_not_be_read_again_is_not_written(file: Path) -> None:
    record = os_mute.Record(file)
    record.write(frozenset({"mic"}))
    with pytest.raises(LocalError, match="too many names"):
        record.write(frozenset(f"{n:0100}" for n in range(1000)))
    assert record.names == names(file) == {"mic"}


def test_what_is_missing_is_told(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The monitor goes on without it."""
    monkeypatch.setitem(sys.modules, "pulsectl_asyncio", None)

    async def cut(_: str) -> None:
        raise AssertionError

    told: list[str] = []

    async def trouble() -> str | None:
        sink = os_mute.OsMuteSink(settings.OsMute(follow=True, lead=True), told.append)
        assert sink.trouble is None
        work = asyncio.create_task(sink.run(Feed(), cut))
        await asyncio.sleep(0)
        assert not work.done()
        said = sink.trouble
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return said

    said = str(asyncio.run(trouble()))
    assert told == [said]
    assert said.startswith("hardmute can mute" if sys.platform != "linux" else "The OS mute needs")
    assert not file.exists()
    os_mute.Record(file).write(frozenset({"mic"}))
    with pytest.raises(LocalError):
        asyncio.run(os_mute.release())
    assert names(file) == {"mic"}
