"""The bus of the tests.

Where dbus-daemon is missing these tests fail, they are not skipped (.ci/run installs it).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from session_bus import Bus


@pytest.fixture
def no_bus() -> Iterator[Bus]:
    """A bus that does not run yet."""
    # Not `tmp_path`: the path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="hm-") as name:
        bus = Bus(Path(name).resolve())
        try:
            yield bus
        finally:
            bus.kill()


@pytest.fixture
def bus(no_bus: Bus) -> Bus:
    no_bus.start()
    return no_bus


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What people were told, and no bus of this machine."""
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    told: list[str] = []
    monkeypatch.setattr("hardmute.model.notices._show", told.append)
    return told
