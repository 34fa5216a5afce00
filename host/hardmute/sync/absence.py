"""Has the operating system still the USB device behind a board? Proof level `absent`.

What was learned of it is the newest entry `usb` of the board, and each such entry repeats it.
It says nothing but what this host's operating system says (docs/threat-model.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Generic, NamedTuple, TypeVar

from hardmute.device import simulators
from hardmute.device.client import Session
from hardmute.evidence import absence
from hardmute.evidence.absence import Looked, UsbDevice
from hardmute.model import errors, words
from hardmute.model.answers import Identity, State, Status
from hardmute.model.clock import SYSTEM
from hardmute.store.log import Log
from hardmute.sync.contact import Contact, Meeting
from hardmute.sync.recorder import Recorder
from hardmute.sync.visit import Ask, ask_twice, pause
from hardmute.system.usb_tree import UsbTree, usb_tree

# What is seen counts once it has been the same for so long, in seconds: a device is gone so soon
# after a cut, and one that is only set up again, as after a suspend, is not gone.
STEADY_S = 2.0
# Looks that are further apart begin anew: this computer was busy, or slept.
_GAP_S = 1.0
_LOOK_S = 0.2
_LIMIT_S = 6.0
# A device may take so long to be set up once the line is live.
_COMES_BACK_S = 10.0
_PRESS_S = 60.0

_T = TypeVar("_T")
Read = Callable[[], UsbTree | None]
Say = Callable[[str], None]


class Steady(NamedTuple, Generic[_T]):
    """``what`` was so at each look from ``from_ms`` to ``to_ms``, the host's wall time."""

    what: _T
    from_ms: int
    to_ms: int


class UsbBehind(NamedTuple):
    """What is behind ``board``. ``now``: ``absent``, ``present``, or why that is not known; None:
    nothing was learned. ``back``: it was there when the line was live last.

    ``others``: the audio capture devices of this computer that are not behind it.
    """

    board: str
    devices: tuple[UsbDevice, ...]
    back: bool
    now: str | None
    others: tuple[str, ...]


class NotLearnedError(errors.HardmuteError):
    """What came and went with the line does not show a device behind the board."""

    exit_code = errors.UNKNOWN


class StaysError(NotLearnedError):
    """A device that came when the line was live stayed when it was cut."""

    exit_code = errors.FAULT


def learned(log: Log | None, board: str) -> Looked | None:
    """What was learned to be behind ``board``, and what was seen of it last; None: nothing."""
    entry = None if log is None else log.newest(board, absence.KIND)
    if entry is None:
        return None
    try:
        found = absence.read(entry)
    except (KeyError, ValueError):
        # `prove` says what is wrong with it.
        return None
    return found if found.devices else None


def reader(identity: Identity) -> Read:
    """What lists the USB devices of the host that the microphone of this board is plugged into."""
    if not identity.simulated:
        return usb_tree
    usb = next((one.usb for one in simulators.running() if one.board == identity.board), None)
    return (lambda: None) if usb is None else partial(usb_tree, Path(usb))


def find(devices: tuple[UsbDevice, ...], tree: UsbTree | None) -> str:
    """``present`` if one of them is there, whatever brings it; ``absent`` if none can be; or why
    that is not known (`words.USB`).
    """
    if tree is None:
        return "no_list"
    found = [_find(device, tree) for device in devices]
    unknown = [one for one in found if one not in ("absent", "present")]
    return "present" if "present" in found else (unknown or ["absent"])[0]


def _find(device: UsbDevice, tree: UsbTree) -> str:
    alike = [one for one in tree.devices if one.kind == device.kind]
    if device.serial is None:
        is_there = any(one.place == device.place for one in alike)
        may_be = bool(alike)
    else:
        is_there = any(one.serial == device.serial for one in alike)
        # Its number may not have been read yet.
        may_be = any(one.serial is None for one in alike)
    if is_there:
        return "present"
    if may_be:
        return "same_kind"
    places = {one.place for one in tree.devices}
    if device.place in places:
        return "place_taken"
    if device.controller not in tree.controllers or device.hub not in (None, *places):
        return "no_place"
    return "absent"


def steadily(look: Callable[[], _T]) -> Steady[_T] | None:
    """What ``look`` said for `STEADY_S` on end; None if nothing was so long the same."""
    begun_s = last_s = since_s = SYSTEM.now_s()
    what, from_ms = look(), SYSTEM.now().wall_ms
    while last_s - begun_s < _LIMIT_S:
        time.sleep(_LOOK_S)
        now = look()
        now_s, now_ms = SYSTEM.now_s(), SYSTEM.now().wall_ms
        if now != what or now_s - last_s > _GAP_S:
            what, from_ms, since_s = now, now_ms, now_s
        last_s = now_s
        if now_s - since_s >= STEADY_S:
            return Steady(what, from_ms, now_ms)
    return None


def ask_and_look(recorder: Recorder) -> Ask:
    """As `ask_twice`; between the two the host's USB devices are looked at, if one was learned.

    What was seen is logged before the board is asked again: what it signs then is of a log that
    has it.
    """

    def ask(session: Session, contact: Contact) -> Meeting:
        seen: Looked | None = None
        before: Status | None = None

        def between(first: Meeting) -> None:
            nonlocal seen, before
            before = first.status
            known = recorder.use(lambda log: learned(log, contact.identity.board))
            if known is None or first.conclusion.verdict == "fault":
                pause(first)
            else:
                seen = _look(recorder, session, contact.identity, known, first.status)

        met = ask_twice(session, contact, between)
        is_of_now = before is not None and _same(met.status, before)
        return met._replace(seen=seen if is_of_now else None)

    return ask


def _look(
    recorder: Recorder, session: Session, identity: Identity, known: Looked, first: Status
) -> Looked | None:
    """Look at the host's devices while the board stays as it was at ``first``; log what was seen.

    None: nothing that tells anything.
    """
    read = reader(identity)
    status = first

    def look() -> str:
        nonlocal status
        found = find(known.devices, read())
        # So each look at the list lies between two answers of the board.
        status = session.status()
        return found if _same(status, first) else "changed"

    steady = steadily(look)
    what = "unsteady" if steady is None else steady.what
    if not _same(status, first):
        what = "changed"
    state: State | None = first.state if what in ("absent", "present") else None
    verdict, back = _showed(what, first.state, status.since_ms, known.back)
    if verdict is None:
        return None
    reason = None if state is not None else what
    if verdict == "unknown" and state is not None:
        reason, state = "not_back", None
    now_ms = SYSTEM.now().wall_ms
    _, from_ms, to_ms = steady or Steady(what, now_ms, now_ms)
    body = absence.body(
        verdict, known.devices, reason=reason, state=state, from_ms=from_ms, to_ms=to_ms, back=back
    )
    entry = recorder.use(lambda log: log.append(absence.KIND, identity.board, body))
    return None if entry is None else absence.read(entry)


def _showed(
    what: str, state: State, since_ms: int, back: bool
) -> tuple[absence.Showed | None, bool]:
    """What that shows; and whether the device was there when the line was live last."""
    if state == "live":
        if what == "present":
            return "back", True
        gone = what == "absent" and since_ms >= 1000 * _COMES_BACK_S
        return ("missing", False) if gone else (None, back)
    if what == "present":
        return "present", back
    # One that does not come back is elsewhere, whatever the board cuts.
    return ("absent" if what == "absent" and back else "unknown"), back


def _same(status: Status, first: Status) -> bool:
    now, then = (
        (one.boot, one.changes, one.state, one.command, one.sense) for one in (status, first)
    )
    return now == then


def learn(recorder: Recorder, session: Session, contact: Contact, say: Say) -> Looked:
    """Learn which device comes when the line is live and goes when it is cut; somebody presses.

    The line is cut at the end, whatever happened. Raises `NotLearnedError` and `UnreachableError`.
    """
    identity = contact.identity
    read = reader(identity)
    try:
        _cut(session)
        before = _listed(read)
        say("Press the button: the line must be live for some seconds.")
        _wait_until_live(session)
        new, came = _came(read, before.what)
        if session.status().state != "live":
            raise NotLearnedError("The line was cut too early: nothing was learned. Try again.")
    finally:
        session.mute()
    _cut(session)
    gone = steadily(lambda: find(new, read()))
    if gone is not None and gone.what == "present":
        raise StaysError(
            f"{_titles(new)} came when the line was live and stayed when it was cut: this board"
            " does not cut it. Nothing was learned."
        )
    if gone is None or gone.what != "absent":
        why = words.USB["unsteady" if gone is None else gone.what]
        raise NotLearnedError(f"After the cut: {why}. Nothing was learned.")
    body = absence.body("learned", new, from_ms=came.from_ms, to_ms=came.to_ms, back=True)
    return _kept(recorder, identity.board, body)


def behind(recorder: Recorder, identity: Identity) -> UsbBehind:
    """What was learned to be behind the board, and what the host's list of devices shows now."""
    known = recorder.use(lambda log: learned(log, identity.board))
    devices = () if known is None else known.devices
    tree = reader(identity)()
    others: tuple[str, ...] = ()
    if tree is not None:
        told = [one.title for one in tree.devices if one.records and not _is_of(one, devices)]
        others = (*told, *tree.others)
    now = None if known is None else find(devices, tree)
    return UsbBehind(identity.board, devices, known is not None and known.back, now, others)


def _is_of(one: UsbDevice, devices: tuple[UsbDevice, ...]) -> bool:
    return any((one.kind, one.serial) == (device.kind, device.serial) for device in devices)


def forget(recorder: Recorder, board: str) -> None:
    """Look for no device behind ``board`` any more. Raises `LogError`."""
    now_ms = SYSTEM.now().wall_ms
    body = absence.body("learned", (), from_ms=now_ms, to_ms=now_ms, back=False)
    _kept(recorder, board, body)


def _kept(recorder: Recorder, board: str, body: dict[str, object]) -> Looked:
    entry = recorder.use(lambda log: log.append(absence.KIND, board, body))
    if entry is None:
        raise errors.LogError("The log cannot be used, so nothing was learned.")
    return absence.read(entry)


def _cut(session: Session) -> None:
    session.mute()
    deadline = SYSTEM.now_s() + session.timeout
    while session.status().state != "muted":
        if SYSTEM.now_s() > deadline:
            raise NotLearnedError(
                "The board does not say that it is muted: nothing was learned. Run `hardmute"
                " status`."
            )


def _listed(read: Read) -> Steady[UsbTree]:
    steady = steadily(read)
    if steady is None or steady.what is None:
        why = words.USB["unsteady" if steady is None else "no_list"]
        raise NotLearnedError(f"Nothing was learned: {why}.")
    return Steady(steady.what, steady.from_ms, steady.to_ms)


def _wait_until_live(session: Session) -> None:
    deadline = SYSTEM.now_s() + _PRESS_S
    while session.status().state != "live":
        if SYSTEM.now_s() > deadline:
            raise NotLearnedError(f"Nobody pressed the button within {_PRESS_S:.0f} s.")
        time.sleep(_LOOK_S)


def _came(read: Read, before: UsbTree) -> tuple[tuple[UsbDevice, ...], Steady[UsbTree]]:
    """The device that came, and those below it; and when they were there."""
    deadline = SYSTEM.now_s() + _COMES_BACK_S
    while True:
        now = _listed(read)
        new = tuple(one for one in now.what.devices if one not in before.devices)
        if new:
            break
        if SYSTEM.now_s() > deadline:
            raise NotLearnedError(
                "No USB device came when the line was live: nothing was learned. Does the"
                " microphone's cable run through the board?"
            )
    top = min(new, key=lambda one: len(one.port))
    if len(new) > absence.MOST_DEVICES or any(
        one.controller != top.controller or not f"{one.port}.".startswith(f"{top.port}.")
        for one in new
    ):
        raise NotLearnedError(
            f"Several USB devices came: {_titles(new)}. Leave the others as they are, and try"
            " again."
        )
    return tuple(_told_apart(one, now.what) for one in new), now


def _told_apart(device: UsbDevice, tree: UsbTree) -> UsbDevice:
    """``device``, without a serial number that another one of its kind has as well."""
    twins = [one for one in tree.devices if (one.kind, one.serial) == (device.kind, device.serial)]
    return device if len(twins) == 1 else device._replace(serial=None)


def _titles(devices: tuple[UsbDevice, ...]) -> str:
    return words.printable(", ".join(one.title for one in devices))
