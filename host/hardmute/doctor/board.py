"""What the board itself says: nothing that it is asked here changes or records anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import muteboard
from hardmute.device import discovery
from hardmute.device.client import Session
from hardmute.doctor.finding import Finding, failed, passed, skipped, warned
from hardmute.doctor.machine import Machine
from hardmute.evidence import anchors
from hardmute.model import errors, words
from hardmute.model.answers import Attested, Identity, Status, conclude, warning_text
from hardmute.store import keys
from hardmute.store.log import Log, paired_by
from hardmute.sync.contact import bears_out, contradiction, foreign
from hardmute.system import paths
from muteboard import attest

# What an answer takes at most, in ms.
_ANSWER_MS = 2_000
_ADVICE = {
    "no_answer": "Look at its lamp. Dark: it may be blank, or lack files (`hardmute flash`)."
    " Flashing blue: it is in maintenance; unplug it and plug it in again. Red or green: another"
    " kind of device may be at this port; `hardmute list` shows the others.",
    "no_port": "Plug the board in, with a cable that carries data; `hardmute list` shows where"
    " boards are.",
    "not_connected": "Plug the board in, with a cable that carries data; `hardmute list` shows"
    " which are there.",
    "no_board": "See usb.",
    "no_permission": "See permission.",
    "port_held": "See port_holder.",
    "port_in_use": "See port_holder. If that names nobody, the program is another user's: sudo"
    " fuser -v, and the port, names it.",
}


def check(
    named: str | None, timeout: float, machine: Machine, log: Log | None
) -> Iterator[Finding]:
    """The checks of the board that is ``named``: see `discovery.open_board`, also for errors.

    ``timeout``: for each answer, in seconds.
    """
    names = ("firmware", "state", "pairing", "board_clock")
    log_file = paths.log_place()
    try:
        with discovery.open_board(named, timeout, log) as (session, identity):
            held = keys.held(
                identity.board,
                lambda: paired_by(log_file, identity.board),
                lambda: None if log is None else log.pairings(identity.board),
            )
            said = _ask(session, identity.board, machine, held.key)
            if held.paired and not said.borne_out:
                # It may be busy, or something may have happened in between.
                said = _ask(session, identity.board, machine, held.key)
    except errors.UnreachableError as error:
        advice = _ADVICE.get(error.reason, "")
        yield failed("board", words.printable(str(error)), advice, error.exit_code)
        for name in names:
            yield skipped(name, "the board was not asked")
        return
    simulated = ", a simulated one," if identity.simulated else ""
    yield passed("board", f"board {identity.board}{simulated} answers at {session.device}")
    yield _firmware(identity)
    yield _state(said, owed=held.paired)
    yield _pairing(identity, said, held)
    yield _clock(identity.board, said.status, log, said.at_ms)


class _Said(NamedTuple):
    """What the board signs, or what is wrong with that, None if this host has no key to check it
    with; its status right after, and when that came by the host's clock.
    """

    signed: Attested | Finding | None
    status: Status
    at_ms: int

    @property
    def borne_out(self) -> bool:
        signed = self.signed
        return isinstance(signed, Attested) and bears_out(self.status, signed.status)


def _ask(session: Session, board: str, machine: Machine, key: bytes | None) -> _Said:
    return _Said(_signed(session, board, key), session.status(), machine.now_ms())


def _signed(session: Session, board: str, key: bytes | None) -> Attested | Finding | None:
    if key is None:
        return None
    asked = os.urandom(attest.MAC)
    try:
        answer = session.attest(asked)
    except errors.RefusedError as error:
        return warned("pairing", f"the board signs nothing now: {error}", "Run `hardmute status`.")
    except errors.UnreachableError as error:
        return failed("pairing", str(error), "Run `hardmute status`.", error.exit_code)
    problem = foreign(answer, asked, board, key)
    if problem is not None:
        return failed("pairing", problem, 'See docs/evidence.md, "Keys".', errors.TAMPERED)
    return answer


def _firmware(identity: Identity) -> Finding:
    ours = muteboard.__version__
    if identity.firmware == ours:
        return passed("firmware", f"the board says that it runs {ours}, as this hardmute has it")
    return warned(
        "firmware",
        f"the board says that it runs {identity.firmware}, and this hardmute has {ours}",
        "Update the older of the two: `hardmute flash` for the board.",
    )


def _state(said: _Said, *, owed: bool) -> Finding:
    """``owed``: this host is paired with the board."""
    status, signed = said.status, said.signed
    if isinstance(signed, Attested) and not said.borne_out:
        wrong = contradiction(status, signed)
        if wrong is not None:
            return failed("state", wrong, "Run `hardmute status`.", errors.FAULT)
    unsigned = "pairing" if owed and not said.borne_out else None
    verdict, proof, reason = conclude(status, attested=said.borne_out, unsigned=unsigned)
    if verdict == "fault":
        return failed(
            "state",
            f"fault: {reason}",
            'Check relay and sense wires (firmware/README.md, "A check after each step"). Once all'
            " contacts read open, one press of the button ends the fault.",
            errors.FAULT,
        )
    if verdict == "unknown":
        return failed(
            "state",
            'unknown: the board says "muted" but did not sign it',
            "See pairing.",
            errors.UNKNOWN,
        )
    told = [warning_text(warning) for warning in status.warnings]
    if status.service != "none":
        told.append(f"the board is in {status.service}, and its line stays cut until then")
    if told:
        return warned(
            "state",
            f"{verdict}; {'; '.join(told)}",
            "Unplug the board and plug it in again; if that stays, `hardmute flash` it anew.",
        )
    return passed("state", f"{verdict} ({proof}), and the board warns of nothing")


def _pairing(identity: Identity, said: _Said, held: keys.Held) -> Finding:
    if held.trouble is not None:
        trouble = held.trouble
        return failed("pairing", str(trouble), "Restore it, or pair again.", trouble.exit_code)
    key, status = held.key, said.status
    pairing = status.journal.pairing if status.journal is not None else 0
    if key is not None and not pairing:
        return failed(
            "pairing",
            "this host has a key of the board, and the board says that it is not paired",
            "It was reflashed, or exchanged for another one. If that was you: `hardmute unpair`,"
            ' then `hardmute pair --verify-key FILE` (docs/evidence.md, "Keys").',
            errors.TAMPERED,
        )
    if key is None and held.paired:
        return failed(
            "pairing",
            "this host is paired with the board, and its key is gone",
            "Restore the key from a backup, or pair again (`hardmute pair --verify-key FILE`)."
            " `hardmute unpair` ends the pairing on this host.",
            errors.UNKNOWN,
        )
    if key is None and pairing:
        return warned(
            "pairing",
            "the board is paired, and this host has no key to have its word proved with",
            "Restore the key from a backup, or pair again (`hardmute pair --verify-key FILE`).",
        )
    if isinstance(said.signed, Finding):
        return said.signed
    if said.signed is None:
        what = "is not paired" if identity.journal else "keeps no journal, so it cannot be paired"
        return passed("pairing", f"the board {what}; its word is `sensed` at most")
    return passed("pairing", f"the board has signed with the key of this host, pairing {pairing}")


def _clock(board: str, status: Status, log: Log | None, now_ms: int) -> Finding:
    """Has the host's clock gone on as the board's has?"""
    name = "board_clock"
    if log is None:
        return skipped(name, "there is no log to compare with")
    if "boot_not_counted" in status.warnings:
        return skipped(name, "the board does not count its starts")
    offsets: list[tuple[int, int]] = []
    here = anchors.Anchor(status.uptime_ms, now_ms - _ANSWER_MS, now_ms)
    try:
        near = list(log.observations(board, now_ms, now_ms))
    except errors.HardmuteError:
        return skipped(name, "the log cannot be read")
    for seen in near:
        if seen.boot != status.boot:
            continue
        on = anchors.advance(seen.anchor._replace(run=None), here)
        if on.board_ms >= 0:
            offset = 0 if on.agrees else on.passed_ms - on.board_ms
            offsets.append((offset, seen.at_ms))
    if not offsets:
        return skipped(name, "this host has not met the board since the board was started")
    offset, since_ms = max(offsets, key=lambda each: abs(each[0]))
    if not offset:
        return passed(name, "this host's clock has gone on as the board's has")
    way = "forward" if offset > 0 else "back"
    return warned(
        name,
        f"by the board's clock, this host's was set {way} by {words.duration(abs(offset))} since"
        f" {words.local_time(since_ms)}",
        "If the host's clock is right now, nothing need be done: the log has both times. If not,"
        " set it (Linux: sudo timedatectl set-ntp true).",
    )
