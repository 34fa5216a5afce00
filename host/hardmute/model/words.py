"""Words for people: durations, times, and what the log's short words mean."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import datetime

from hardmute.model.reasons import Code, Note
from hardmute.model.typed import NamedTuple

CAUSES = {
    "boot": "power-on",
    "button": "button",
    "host": "host",
    "timer": "timer",
    "stuck": "button stuck",
    "fault": "fault",
    "watchdog": "watchdog reset",
}

# Why a state could not be had (the log's short words), for a person.
REASONS = {
    "cancelled": "nobody waited for its answer",
    "fake_id": "its USB serial number is another one",
    "late": "what it said had waited before it was read",
    "malformed_answer": "malformed answer",
    "monitor_hangs": "the monitor did not answer",
    "no_answer": "no answer",
    "no_board": "no board connected",
    "no_permission": "no permission to open the port",
    "no_port": "the port was not there",
    "not_attested": 'the board said "muted" but did not sign it',
    "not_connected": "not connected",
    "not_fresh": "its answers were not fresh",
    "not_hardmute": "another device answered",
    "not_in_service": "its service mode was not opened",
    "not_told_apart": "its port cannot be told from others",
    "one_id": "another board had the same id",
    "port_held": "another hardmute held the port",
    "port_in_use": "another program held the port",
    "protocol_version": "it spoke another protocol version",
    "refused": "it refused to answer",
    "restarted": "restarted while it was asked",
    "silent": "silent for 3 s",
    "unplugged": "unplugged",
    "wrong_board": "another board was there",
}

# Why it is not known whether the USB device behind a board is gone.
USB = {
    "changed": "the state changed while this host looked",
    "no_list": "the list of USB devices cannot be read here",
    "no_place": "the port or hub where it was is gone",
    "not_back": "it did not come back when the line was live: run `hardmute usb --learn` again",
    "place_taken": "another device is at its port",
    "same_kind": "a device of its kind is at another port, and no serial number tells them apart",
    "unsteady": "the list of USB devices kept changing, or this computer was suspended: ask again",
}

# Why a time is told as it is, where that needs no facts; also as doubts in other notes.
NOTES: dict[Code, str] = {
    "clock_went_back": "the host's clock went back",
    "clock_went_forward": "the host's clock went forward",
    "clocks_disagree": "the clocks of board and host disagree",
    "no_attest_key": "this host has no key to check what the board signed",
    "not_asked": "not asked",
    "not_borne_out": "the board said muted, but a contact was closed",
    "not_paired": "the board was not paired with this host: it signed nothing",
    "off_or_restarted": "the board was off or restarted",
    "one_sided": "not attested on both sides",
    "pruned": "what showed it was pruned from this log",
    "records_lost": "the board could not write all records",
    "records_missing": "records are missing",
}

_ASK_AGAIN = "Ask again."
_OTHER_BOARD = (
    "It may be another board. If you reset it or put other firmware on it: pair again, or run"
    " `hardmute unpair` on this host."
)


class Unsigned(NamedTuple):
    """Why a board that this host is paired with did not sign what it says, and what to do."""

    word: str
    advice: str


# The short word in the log and in JSON: the board's own error, or what this host found.
UNSIGNED = {
    "bad_head": Unsigned("its journal ends elsewhere", _OTHER_BOARD),
    "bad_mac": Unsigned("wrong signature", _OTHER_BOARD),
    "bad_op": Unsigned("its firmware cannot", _OTHER_BOARD),
    "busy": Unsigned("busy", _ASK_AGAIN),
    "changed": Unsigned("its state changed", _ASK_AGAIN),
    "contradicted": Unsigned("it signed something else", _OTHER_BOARD),
    "malformed_answer": Unsigned("malformed answer", _OTHER_BOARD),
    "no_answer": Unsigned("no answer", _ASK_AGAIN),
    "no_key": Unsigned(
        "this host has no key to check it with",
        "This host is paired with the board and cannot use its key: restore the key, pair again,"
        " or run `hardmute unpair`.",
    ),
    "not_fresh": Unsigned("too slow", _ASK_AGAIN),
    "not_paired": Unsigned("it says that it is not paired", _OTHER_BOARD),
    "pairing_unknown": Unsigned(
        "this host cannot tell whether it is paired with the board",
        "A log of this host cannot be read, and there is no key file. Repair the log, or restore"
        " the key. If this host never was paired with the board, run `hardmute unpair`.",
    ),
    "storage": Unsigned(
        "storage failed",
        "Its flash is full or damaged: unplug the board and plug it in again. If that does not"
        " help, run `hardmute doctor`.",
    ),
    "unpaired": Unsigned("this host has ended its pairing", _ASK_AGAIN),
    "unsupported": Unsigned("it keeps no journal", _OTHER_BOARD),
}


def unsigned(code: str | None) -> Unsigned:
    """The words for a code of `UNSIGNED`, or of an error that this version does not know."""
    code = code or "unknown_error"
    return UNSIGNED.get(code) or Unsigned(
        code.replace("_", " "), f"{_ASK_AGAIN} If that does not help: it may be another board."
    )


def claimed(code: str | None) -> str:
    """That a "muted" counts for nothing, in a clause."""
    return f'the board says "muted" but did not sign it ({unsigned(code).word})'


def note(told: Note) -> str:
    """A reason, in a clause. It may have words from an export: see `printable`."""
    match told:
        case Note("said", _, (text,)):
            return str(text)
        case Note("unreached", _, (str(reason),)):
            return REASONS.get(reason, "unreachable")
        case Note("by_journal", doubt) if doubt is not None:
            return f"by the journal, {NOTES[doubt]}"
        case Note("muted_but", doubt) if doubt is not None:
            return f"muted by the journal, but {NOTES[doubt]}"
        case Note("at_some_time", _, (state, int(ms))):
            return f"{state} for {duration(ms)} at some time in it"
        case Note("unseen_changes", _, (int(count), int(ms))):
            changes = "1 unseen change" if count == 1 else f"{count} unseen changes"
            return f"{changes}, live for {duration(ms)} of it"
        case Note("changes_at_once", _, (count, reason)):
            return f"{count} changes at once" + (f", {reason}" if reason else "")
        case Note("no_key", _, pairings):
            return no_key(pairings)
        case _:
            return NOTES[told.code]


def no_key(pairings: Iterable[object]) -> str:
    """That of these pairings no verify key was given, in a clause."""
    return f"no key given for pairing {', '.join(map(str, pairings))}"


def duration(ms: int) -> str:
    """A length of time in the units that matter: ``42.5 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if 0 < ms < 100:
        return "< 0.1 s"
    seconds = ms / 1000
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds:02d} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours:02d} h"


def local_time(at_ms: int) -> str:
    """Host time in the local zone, to the second; with its offset where the hour occurs twice."""
    said = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ms / 1000))
    try:
        local = datetime.fromtimestamp(at_ms / 1000)  # noqa: DTZ006 (its fold is asked for)
        return said + offset_of(local) if is_twice(local) else said
    except (ValueError, OverflowError, OSError):
        # A year that a calendar has, and Python's does not.
        return said


def is_twice(local: datetime) -> bool:
    """Whether a local time without an offset occurs twice, as clocks are set back.

    Raises `ValueError`, `OverflowError` or `OSError` for a time that the platform cannot show.
    """
    return local.timestamp() != local.replace(fold=1 - local.fold).timestamp()


def offset_of(local: datetime) -> str:
    """The offset of a local time from UTC: ``+02:00``. Raises as `is_twice`."""
    return local.astimezone().isoformat()[-6:]


def printable(text: str) -> str:
    """``text`` without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else "�" for char in text)


def edges(plus_minus_ms: int) -> str:
    """How far the ends of an interval may be off, to stand after its length."""
    return f" ±{duration(max(100, plus_minus_ms))}" if plus_minus_ms else ""
