"""Which microphones and speakers there are, and which of them are no hardware."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, cast

import muteboard
from hardmute.model import words
from hardmute.model.errors import LocalError, MissingExtraError, UsageError
from hardmute.system import paths

_NO_PORTAUDIO = (
    "PortAudio is missing, which plays and records: on Debian and Ubuntu `sudo apt-get install "
    "libportaudio2`, with PulseAudio or PipeWire also libasound2-plugins."
)
# What PortAudio calls the way to a sound server; behind it are that server's own devices.
_SERVER = "pulse"
_ENVIRONMENT = {"input": "PULSE_SOURCE", "output": "PULSE_SINK"}
# Where no system says what a device is: programs that offer one call it so.
_VIRTUAL_NAMES = (
    "blackhole",
    "cable output",
    "loopback",
    "monitor of",
    "soundflower",
    "stereo mix",
    "virtual",
    "voicemeeter",
)
_LONGEST_NAME = 120


class Device(NamedTuple):
    """A microphone (``input``) or speaker (``output``), ``number`` being PortAudio's.

    ``node``: its name at the sound server, where there is one. ``virtual``: what it is instead of
    hardware, None for hardware. ``muted``: by the system. Names are whatever a device says.
    """

    kind: str
    name: str
    title: str
    number: int
    node: str | None
    virtual: str | None
    muted: bool
    default: bool


def sounddevice() -> ModuleType:
    """The library that plays and records. Raises `LocalError` where it cannot be had."""
    try:
        import_module("numpy")
        return import_module("sounddevice")
    except ImportError as error:
        raise MissingExtraError("Listening needs more than is installed", "listen") from error
    except OSError as error:
        raise LocalError(_NO_PORTAUDIO) from error


def versions() -> dict[str, str]:
    """Of all that takes part in playing, recording and judging."""
    library = sounddevice()
    return {
        "hardmute": muteboard.__version__,
        "numpy": import_module("numpy").__version__,
        "portaudio": _shown(library.get_portaudio_version()[1]),
        "python": platform.python_version(),
        "sounddevice": _shown(library.__version__),
        "system": platform.system(),
    }


def devices() -> list[Device]:
    """All of them, inputs first. Raises `LocalError`."""
    library = sounddevice()
    try:
        found: list[dict[str, Any]] = [dict(one) for one in library.query_devices()]
        usual = [int(index) for index in library.default.device]
    except library.PortAudioError as error:
        raise LocalError(f"The sound devices cannot be listed ({error}).") from error
    server = next((one for one in found if one["name"] == _SERVER), None)
    listed = _of_server(int(server["index"])) if server is not None else []
    if listed:
        return listed
    for kind, channels, default in (
        ("input", "max_input_channels", usual[0]),
        ("output", "max_output_channels", usual[1]),
    ):
        listed += [
            Device(
                kind,
                _shown(one["name"]),
                _shown(library.query_hostapis(one["hostapi"])["name"]),
                int(one["index"]),
                None,
                _virtual_by_name(str(one["name"])),
                muted=False,
                default=one["index"] == default,
            )
            for one in found
            if one[channels] > 0
        ]
    return listed


def _of_server(index: int) -> list[Device]:
    """The devices of PulseAudio, or of PipeWire in its place; none where it does not answer."""
    server = _Server()
    return server.devices(index)


class _Server:
    """The sound server of a Linux session."""

    def __init__(self) -> None:
        self._library: Any = None
        if sys.platform == "linux":
            with contextlib.suppress(ImportError, OSError):
                self._library = import_module("pulsectl")

    @contextlib.contextmanager
    def _opened(self) -> Generator[Any]:
        """A connection; None where nothing answers."""
        if self._library is None:
            yield None
            return
        try:
            connection = self._library.Pulse("hardmute", connect=False)
            connection.connect(autospawn=False)
        except self._library.PulseError:
            yield None
            return
        with connection:
            yield connection

    def devices(self, index: int) -> list[Device]:
        with self._opened() as server:
            if server is None:
                return []
            said = server.server_info()
            return [
                Device(
                    kind,
                    _shown(one.name),
                    _shown(one.description),
                    index,
                    str(one.name),
                    _virtual_by_class(cast("dict[str, str]", one.proplist)),
                    muted=bool(one.mute),
                    default=one.name == usual,
                )
                for kind, all_of_it, usual in (
                    ("input", server.source_list(), said.default_source_name),
                    ("output", server.sink_list(), said.default_sink_name),
                )
                for one in all_of_it
            ]

    def set_mute(self, source: str, *, muted: bool) -> None:
        """Mute or unmute an input in software."""
        with self._opened() as server:
            if server is None:
                return
            with contextlib.suppress(self._library.PulseError):
                server.source_mute(server.get_source_by_name(source).index, muted)


def _virtual_by_class(properties: dict[str, str]) -> str | None:
    kind = properties.get("device.class")
    if kind in ("monitor", "filter"):
        return kind
    return None if "device.api" in properties or "device.bus" in properties else "virtual"


def _virtual_by_name(name: str) -> str | None:
    return "virtual" if any(word in name.casefold() for word in _VIRTUAL_NAMES) else None


def _shown(name: object) -> str:
    return words.printable(str(name))[:_LONGEST_NAME]


@contextlib.contextmanager
def released(device: Device) -> Generator[None]:
    """Within it the system does not mute ``device``; afterwards it does again if it did."""
    if not device.muted or device.node is None:
        yield
        return
    server = _Server()
    server.set_mute(device.node, muted=False)
    try:
        yield
    finally:
        server.set_mute(device.node, muted=True)


@contextlib.contextmanager
def routed(*chosen: Device) -> Generator[None]:
    """Within it the sound server connects what is opened to ``chosen``, not to its defaults."""
    before = {name: os.environ.get(name) for name in _ENVIRONMENT.values()}
    for device in chosen:
        if device.node is not None:
            os.environ[_ENVIRONMENT[device.kind]] = device.node
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def none_of(what: str) -> str:
    """That this computer has none of it, and what to do."""
    return (
        f"This computer has no {what} that you may use: plug in a sound card, or run this as the"
        " user who is logged in at its desktop."
    )


def choose(listed: list[Device], kind: str, named: str | None) -> Device:
    """The device of ``kind`` that is ``named``, in full or by a part; None: the usual one.

    Raises `UsageError`, and `LocalError` where this computer has none of that ``kind``.
    """
    of_kind = [device for device in listed if device.kind == kind]
    if not of_kind:
        raise LocalError(none_of("microphone" if kind == "input" else "speaker"))
    if named is None:
        usual = [device for device in of_kind if device.default]
        if not usual:
            raise UsageError(
                f"There is no usual {kind}: name one with --{kind} (`hardmute audio`)."
            )
        return usual[0]
    exact = [device for device in of_kind if named in (device.name, device.title)]
    part = named.casefold()
    fits = exact or [
        device
        for device in of_kind
        if part in device.name.casefold() or part in device.title.casefold()
    ]
    if len(fits) == 1:
        return fits[0]
    shown = words.printable(named)
    if fits:
        raise UsageError(
            f"{shown!r} may be {len(fits)} devices: give the name as `hardmute audio` does."
        )
    raise UsageError(f"{shown!r} is no {kind}; `hardmute audio` lists them.")


# What was chosen for a board, by kind.

Choice = dict[str, str]


def remembered(board: str) -> Choice:
    """The names that were chosen for ``board``; none where none were."""
    chosen = _all_choices().get(board, {})
    return {kind: chosen[kind] for kind in _ENVIRONMENT if isinstance(chosen.get(kind), str)}


def remember(board: str, choice: Choice) -> None:
    """Keep ``choice`` for ``board``. Raises `LocalError`."""
    everything = _all_choices()
    everything[board] = {**remembered(board), **choice}
    try:
        file = Path(paths.private(paths.data_dir()), "audio.json")
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(everything, indent=1) + "\n", encoding="utf-8")
        partial.replace(file)
    except OSError as error:
        raise LocalError(f"The choice cannot be stored ({error.strerror or error}).") from error


def _all_choices() -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads(Path(paths.data_dir(), "audio.json").read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return {
                board: choice
                for board, choice in cast("dict[str, Any]", found).items()
                if isinstance(choice, dict)
            }
    return {}
