"""`hardmute verify --listen`: is the microphone cut? Asked of the microphone itself."""

from __future__ import annotations

import contextlib
import json
import os
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any, NamedTuple

from hardmute import NOT_ATTESTED, SYSTEM, Host, Identity, clock, errors, words
from hardmute.cli import console
from hardmute.cli.commands import recording
from hardmute.cli.outcome import draw, print_outcome, verdict_code
from hardmute.cli.screen import Terminal
from hardmute.device import discovery
from hardmute.device.client import Session
from hardmute.evidence import listening
from hardmute.listen import devices, evidence, probe, timing, walk
from hardmute.listen.detector import judge
from hardmute.listen.devices import Device
from hardmute.listen.evidence import When
from hardmute.listen.outcome import CannotTellError, Outcome
from hardmute.listen.stream import RATE, Duplex
from hardmute.listen.walk import BoardFollower, HeardWalk, Walk
from hardmute.sync import visit
from hardmute.sync.contact import Contact, Meeting

# Between the warning and the sound.
_WARNING_S = 2.0
# What two presses take, about, and what is left out around them.
_PRESSES_S = 10.0
_SEED = 16


class _Listened(NamedTuple):
    """What came of it: the entry for the log; what the board said meanwhile, and what it says now,
    or why that cannot be known.
    """

    body: dict[str, Any]
    outcome: Outcome
    state: str | None
    now: Meeting | errors.UnreachableError


def verify(args: Namespace) -> int:
    """`hardmute verify --listen`."""
    if args.recording is not None or args.probe is not None:
        return recording.verify(args)
    listed = devices.devices()
    host = Host()
    try:
        with discovery.open_board(args.device, args.timeout, host.log, "listen") as found:
            session, identity = found
            chosen = _devices(args, listed, identity.board)
            listened = _listen(args, session, identity, host, *chosen)
            if isinstance(listened.now, Meeting):
                observation = visit.record_seen(
                    host, listened.now, identity, session, args.command
                )
            else:
                console.complain(listened.now)
                observation = visit.record_unseen(host, identity.board, listened.now, args.command)
    except errors.UnreachableError as error:
        visit.record_unseen(host, args.device, error, args.command)
        raise
    draw(listened.outcome, args.svg)
    if args.json:
        print(json.dumps({**listened.body, "board": identity.board, "now": observation.as_json()}))
    else:
        _print(listened.outcome, listened.state, args)
        if identity.simulated:
            console.detail("a simulated board: no real microphone is cut by it")
        told = f" (proof level: {observation.proof})" if observation.proof else ""
        if observation.reason == NOT_ATTESTED:
            told = f": {words.claimed(observation.unsigned)}"
        console.detail(f"now the board is {observation.verdict}{told}")
    # What was heard is asked for by its own exit code.
    require = "sensed" if args.require == "heard" else args.require
    return errors.worst(
        verdict_code(listened.outcome, listened.state),
        observation.exit_code(require),
        host.exit_code,
    )


def _devices(args: Namespace, listed: list[Device], board: str) -> tuple[Device, Device]:
    """Microphone and speaker: as named, as remembered for this board, or the usual ones."""
    before = devices.remembered(board)
    named = {kind: getattr(args, kind) for kind in ("input", "output")}
    microphone, speaker = (
        devices.choose(listed, kind, name if name is not None else before.get(kind))
        for kind, name in named.items()
    )
    if any(named.values()):
        devices.remember(board, {"input": microphone.name, "output": speaker.name})
    return microphone, speaker


def _listen(
    args: Namespace,
    session: Session,
    identity: Identity,
    host: Host,
    microphone: Device,
    speaker: Device,
) -> _Listened:
    say = host.note if args.json else _say
    contact = Contact(session, identity, host)
    visit.record_seen(host, contact.meet(), identity, session, args.command)
    contact.finish()
    played = probe.noise(os.urandom(_SEED), round(walk.longest_s(args.seconds) * RATE), RATE)
    sound = Duplex(played, RATE, microphone, speaker)
    screen = Terminal(sound.level_dbfs, quiet=args.json)
    _warn(say, microphone, speaker, args.seconds)
    follower = BoardFollower(session)
    walked: HeardWalk | None = None
    try:
        _wait_until_live(follower, say)
        say("The noise begins.")
        time.sleep(_WARNING_S)
        with sound, screen.shown():
            walked = Walk(follower, contact, sound, RATE, screen).through(args.seconds)
        outcome = _judge(args, sound, walked)
    except CannotTellError as reason:
        outcome = Outcome("inconclusive", reason.reason)
    finally:
        # Nobody is left live, whatever has happened; nor in the middle of a stream of events.
        # Where somebody else wants the port there is no answer, and the line is cut all the same.
        for last in (session.hello, session.mute):
            with contextlib.suppress(errors.UnreachableError):
                last()
    # As the host concludes it: a board that says muted may contradict itself, or not sign it.
    state = None if walked is None else walked.muted.conclusion.verdict
    body = evidence.body(
        outcome,
        state=state,
        when=None if walked is None else _when(follower, walked),
        required_db=args.min_db,
        confidence=args.confidence,
        microphone=microphone,
        speaker=speaker,
        rate=RATE,
        versions=devices.versions(),
        simulated=identity.simulated,
    )
    host.store(lambda log: log.append(listening.KIND, identity.board, body))
    return _Listened(body, outcome, state, _meet_muted(args, session, contact))


def _judge(args: Namespace, sound: Duplex, walked: HeardWalk) -> Outcome:
    if sound.lost:
        return Outcome("inconclusive", "lost_samples")
    return judge(
        sound.played,
        walked.recorded,
        RATE,
        walked.phases,
        required_db=args.min_db,
        confidence=args.confidence,
    )


def _when(follower: BoardFollower, walked: HeardWalk) -> When:
    """When what counts of the muted phase was recorded, by the host's wall time as it is now."""
    offset = clock.now_ms() - 1000 * SYSTEM.now_s()
    start, stop = walked.phases.muted
    from_ms = walked.cut_ms + round(1000 * timing.EDGE_S)
    to_ms = from_ms + max(0, round(1000 * (stop - start) / RATE))
    return When(
        round(offset + 1000 * follower.moment(from_ms)),
        round(offset + 1000 * follower.moment(to_ms)),
        walked.muted.status.boot,
        from_ms,
        to_ms,
    )


def _meet_muted(
    args: Namespace, session: Session, contact: Contact
) -> Meeting | errors.UnreachableError:
    """Meet the board once it has cut the line, or has had the time to.

    If it is paired it attests to a log that has what was heard in it.
    """
    deadline = SYSTEM.now_s() + args.timeout
    try:
        while session.status().state == "live" and SYSTEM.now_s() < deadline:
            pass
        return contact.meet()
    except errors.UnreachableError as error:
        # What was heard is told all the same.
        return error


def _say(said: str) -> None:
    print(said, flush=True)


def _warn(say: Callable[[str], None], microphone: Device, speaker: Device, seconds: float) -> None:
    say(f"Microphone: {microphone.title}. Speaker: {speaker.title}.")
    for device in (microphone, speaker):
        if device.virtual is not None:
            say(f"{device.title} is no hardware ({device.virtual}): it may hear something else.")
    about = round(seconds + 2 * walk.LIVE_S + _PRESSES_S)
    level = f"{probe.LEVEL_DBFS:.0f} dBFS"
    say(f"For about {about} s it plays a soft noise ({level}): headphones off.")


def _wait_until_live(follower: BoardFollower, say: Callable[[str], None]) -> None:
    if follower.is_in("live"):
        return
    say("Press the button: to begin with, the microphone must be live.")
    patience = follower.patience()
    while not follower.is_in("live"):
        patience()
        follower.follow()


def _print(outcome: Outcome, state: str | None, args: Namespace) -> None:
    print_outcome(outcome, args.min_db, args.confidence)
    if outcome.verdict == "live" and state in ("muted", "unknown"):
        console.detail(
            "and the board says that it is muted: either it does not cut this microphone"
        )
        console.detail("(README: which microphone is cut?), or it is not the one behind the board")
    if state == "fault":
        console.detail("the board itself says fault: its contacts contradict the command")
    if state == "unknown":
        console.detail('while it was to be muted, the board said "muted" but did not sign it')
