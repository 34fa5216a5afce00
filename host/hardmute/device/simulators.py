"""Which simulated boards run now: one small file each, in the runtime folder.

A simulated board is only ever used when it is named, so nothing here is a default.
"""

from __future__ import annotations

import contextlib
import json
import os

from hardmute.device.holder import port_key
from hardmute.model.typed import TYPE_CHECKING, NamedTuple
from hardmute.system import paths

if TYPE_CHECKING:
    from pathlib import Path


class SimulatedEntry(NamedTuple):
    """A running simulated board: its id, serial port, world address, and process.

    ``clock``: of an emulated chip, the file with its time (`emulated_clock`). ``usb``: the folder
    that is, for this board alone, what sysfs tells of a host's USB.
    """

    board: str
    device: str
    world: str
    pid: int
    clock: str | None = None
    usb: str | None = None


def register(entry: SimulatedEntry) -> Path:
    """Announce ``entry``; the caller removes the returned file at its end."""
    from pathlib import Path

    file = Path(folder()) / f"{entry.board}.json"
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(entry._asdict()))
    partial.replace(file)
    return file


def folder() -> str:
    """Where they are announced."""
    return paths.runtime_dir("simulated")


def running() -> list[SimulatedEntry]:
    """The simulated boards that run now. What a dead process left behind is removed."""
    entries: list[SimulatedEntry] = []
    place = folder()
    names: list[str] = []
    with contextlib.suppress(OSError):
        names = sorted(name for name in os.listdir(place) if name.endswith(".json"))
    for name in names:
        file = os.path.join(place, name)
        try:
            with open(file, encoding="utf-8") as stream:
                fields = json.load(stream)
            entry = SimulatedEntry(
                str(fields["board"]),
                str(fields["device"]),
                str(fields["world"]),
                int(fields["pid"]),
                str(fields["clock"]) if fields.get("clock") else None,
                str(fields["usb"]) if fields.get("usb") else None,
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if process_runs(entry.pid):
            entries.append(entry)
        else:
            for suffix in (".json", ".tty", ".world", ".clock"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(file.removesuffix(".json") + suffix)
            import shutil

            shutil.rmtree(file.removesuffix(".json") + ".usb", ignore_errors=True)
    return entries


def is_simulated(device: str) -> bool:
    """Whether a simulated board is behind ``device``, whatever its firmware thinks it runs on."""
    key = port_key(device)
    return any(key == port_key(entry.device) for entry in running())


def process_runs(pid: int) -> bool:
    """Whether a process with this id exists."""
    if os.name == "nt":
        import ctypes

        query_limited_information = 0x1000
        kernel32 = ctypes.windll.kernel32  # type: ignore[attr-defined]
        handle = kernel32.OpenProcess(query_limited_information, False, pid)
        if handle:
            kernel32.CloseHandle(handle)
        return bool(handle)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
