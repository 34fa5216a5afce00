"""What the log says of the USB device behind a board (docs/evidence.md): entries "usb"."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple, cast, get_args

from hardmute.evidence.entries import Entry
from hardmute.model import words
from hardmute.model.answers import ProofLevel, State

KIND = "usb"
# A hub behind a board, and what is plugged into it.
MOST_DEVICES = 8

# What the operating system showed: the device went and came with the line (`learned`); muted and
# gone, muted and there, nobody knows; live and there, live and gone.
Showed = Literal["learned", "absent", "present", "unknown", "back", "missing"]
_STATES: tuple[Showed, ...] = get_args(Showed)


class UsbDevice(NamedTuple):
    """A device as the operating system lists it: what tells it, and where it is.

    ``controller``: of the host. ``port``: from there, hub by hub, such as ``1.4``. ``records``:
    it is an audio capture device.
    """

    vendor: int
    product: int
    serial: str | None
    controller: str
    port: str
    name: str
    records: bool

    @property
    def kind(self) -> tuple[int, int]:
        return self.vendor, self.product

    @property
    def place(self) -> tuple[str, str]:
        return self.controller, self.port

    @property
    def hub(self) -> tuple[str, str] | None:
        """Where the hub is that it is plugged into; None: it is at the host itself."""
        before, dot, _ = self.port.rpartition(".")
        return (self.controller, before) if dot else None

    @property
    def title(self) -> str:
        """For a person."""
        return f"{self.name} ({self.vendor:04x}:{self.product:04x})"


class Looked(NamedTuple):
    """The operating system's list was looked at in [from, to), host's wall time in ms.

    ``state``: what the board said before and after, None if that was not the same.
    ``devices``: what was learned. ``back``: it was there when the line was live last.
    """

    row: int
    from_ms: int
    to_ms: int
    verdict: Showed
    reason: str | None
    state: State | None
    devices: tuple[UsbDevice, ...]
    back: bool

    @property
    def proof(self) -> ProofLevel:
        """How well it shows that the line was cut, if it does."""
        return "absent"

    @property
    def is_leak(self) -> bool:
        """The device was there while its board said that it was muted."""
        return self.verdict == "present" and self.state == "muted"

    @property
    def bears_out(self) -> bool:
        """It was gone while its board said that it was muted."""
        return self.verdict == "absent" and self.state == "muted"

    @property
    def word(self) -> str:
        """In one short word: what was seen, or why that is not known."""
        return self.reason or self.verdict

    @property
    def told(self) -> str:
        """In a clause, for a person."""
        named = words.printable(", ".join(device.title for device in self.devices))
        what = {
            "learned": "learned",
            "absent": "gone from this computer's USB",
            "present": "still on this computer's USB",
            "unknown": f"not known whether it is gone: {words.USB.get(self.reason or '', '?')}",
            "back": "there while live",
            "missing": "not there while live",
        }[self.verdict]
        return f"{named}, {words.local_time(self.from_ms)}: {what}"


def body(
    verdict: Showed,
    devices: Iterable[UsbDevice],
    *,
    reason: str | None = None,
    state: State | None = None,
    from_ms: int,
    to_ms: int,
    back: bool,
) -> dict[str, Any]:
    """The body of a log's entry."""
    return {
        "verdict": verdict,
        "reason": reason,
        "state": state,
        "from_ms": from_ms,
        "to_ms": to_ms,
        "devices": [device._asdict() for device in devices],
        "back": back,
    }


def read(entry: Entry) -> Looked:
    """What an entry of this kind says. Raises `ValueError` or `KeyError` for others."""
    said = entry.body
    devices: object = said["devices"]
    if not isinstance(devices, list) or len(cast("list[object]", devices)) > MOST_DEVICES:
        raise ValueError
    found = Looked(
        entry.row,
        said["from_ms"],
        said["to_ms"],
        said["verdict"],
        said["reason"],
        said["state"],
        tuple(_device(one) for one in cast("list[object]", devices)),
        said["back"],
    )
    if (
        type(found.from_ms) is not int
        or type(found.to_ms) is not int
        or type(found.verdict) is not str
        or found.verdict not in _STATES
        or not (found.state is None or type(found.state) is str)
        or not (found.reason is None or type(found.reason) is str)
        or type(found.back) is not bool
    ):
        raise ValueError
    return found


def _device(said: object) -> UsbDevice:
    if not isinstance(said, dict) or set(cast("dict[str, Any]", said)) != {*UsbDevice._fields}:
        raise ValueError
    found = UsbDevice(**cast("dict[str, Any]", said))
    numbers, texts = (found.vendor, found.product), (found.controller, found.port, found.name)
    if (
        not all(type(one) is int and 0 <= one <= 0xFFFF for one in numbers)
        or not all(type(one) is str for one in texts)
        or not (found.serial is None or type(found.serial) is str)
        or type(found.records) is not bool
    ):
        raise ValueError
    return found


def within(entries: Iterable[Entry], from_ms: int, to_ms: int) -> list[Looked]:
    """What was seen in [from, to)."""
    return [
        said
        for entry in entries
        if entry.kind == KIND and from_ms <= (said := read(entry)).from_ms <= said.to_ms <= to_ms
    ]
