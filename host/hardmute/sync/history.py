"""What was: timelines and proofs from a log, this host's own or another's export."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from hardmute.evidence.entries import Entry, Row
from hardmute.evidence.interval import Interval
from hardmute.evidence.observation import NO_ROW
from hardmute.evidence.proof import EVIDENCE, Proof, examine, examine_export
from hardmute.evidence.receipt import About, make_receipt
from hardmute.evidence.timeline import BoardTimeline
from hardmute.evidence.verifier import Keys, verified
from hardmute.model import errors, words
from hardmute.model.clock import now_ms
from hardmute.model.reasons import Doubt, Note, in_words
from hardmute.store import keys as key_files
from hardmute.store.excerpt import excerpt
from hardmute.store.export import exported
from hardmute.store.log import ExportedLog, Log
from hardmute.sync.timelines import read_timelines
from hardmute.system import paths


class Examined(NamedTuple):
    """What a log shows of an interval, and by what.

    ``entries``: all that the proof rests on. ``key_ids``: by pairing, the key id in hex.
    ``log_hash``: the hash of any entry of the log by its row; None if it is not to be had.
    """

    proof: Proof
    entries: list[Entry]
    key_ids: dict[int, str]
    log_hash: Callable[[int], bytes | None]


def open_log(file: Path | None = None) -> Log:
    """This host's log; or that in ``file``: an SQLite log, or an export (``.jsonl``).

    It is only read. Close it with `Log.close`; it belongs to the thread that opened it. Raises
    `LogError` if it cannot be read, `LogDamagedError` if it is not as hardmute wrote it, and
    `EvidenceError` for an export that does not agree with itself.
    """
    if file is not None and file.suffix == ".jsonl":
        return exported(file)
    return Log(file or paths.log_place(), read_only=True)


def own_log() -> Log:
    """This host's log, also to be written: labels, `Log.prune`. It is made if there is none.

    Otherwise as `open_log`; a damaged one is put aside.
    """
    return Log(paths.log_file())


def timelines(
    log: Log, start: datetime, end: datetime, *, board: str | None = None
) -> list[BoardTimeline]:
    """What the log says of ``board``, or of each, in [start, end): what its line was, and since
    when, and what nobody knows. This is what `hardmute log` shows; `prove` is what proves.

    ``start`` and ``end`` have a time zone. ``board``: an id. Raises `UsageError` for other times.
    """
    return read_timelines(log, board, *_interval(start, end))


def prove(
    log: Log, board: str, start: datetime, end: datetime, *, keys: Iterable[Path] = ()
) -> Proof:
    """What is proven of ``board`` (an id) in [start, end), as `hardmute prove` tells.

    ``keys``: files of verify keys. Without any, this host's own log is checked with its attest
    keys, which are read; of an export nothing is proven then: all is ``unknown``.
    `Proof.verdict` is ``muted`` only if the line was provenly cut throughout. It is ``tampered``
    if the log was altered. Times are those of the host that wrote the log.

    Raises `UsageError` if the times have no zone or are in the future, or a key is of another
    pairing; `LogError` and `LogDamagedError` as `open_log`.
    """
    from_ms, to_ms = _interval(start, end)
    if to_ms > now_ms():
        raise errors.UsageError("The end of the interval must not be in the future.")
    secrets = key_files.load_verify_keys(keys)
    if isinstance(log, ExportedLog):
        return examined_export(list(log.rows(0, NO_ROW)), board, from_ms, to_ms, secrets)
    shown = examined(log, board, from_ms, to_ms, secrets)
    return with_reasons(log, shown, keyed=bool(secrets))


def examined(log: Log, board: str, from_ms: int, to_ms: int, secrets: Keys) -> Examined:
    """What this host's own log shows of [from, to), ms since the epoch. Raises as `prove`."""
    newest = log.newest(board, "attestation")
    if newest is not None and newest.at_ms > now_ms():
        raise errors.UsageError(
            "The host's clock was set back since the board last attested, at "
            f"{words.local_time(newest.at_ms)}: run `hardmute status` first, then prove."
        )
    found = excerpt(log, board, from_ms, to_ms)
    try:
        entries = [] if found.findings else found.entries(EVIDENCE)
    except (ValueError, TypeError, RecursionError):
        # Hardmute has not written one of them: `examine` says which.
        entries = []
    held = key_files.attest_keys(board, () if secrets else log.pairings(board))
    proof = examine(found, from_ms, to_ms, secrets, held)
    proof = proof._replace(simulated=board not in log.real_boards())
    return Examined(proof, entries, found.key_ids(), found.log_hash)


def with_reasons(log: Log, shown: Examined, *, keyed: bool) -> Proof:
    """The proof with the true reason wherever no attestation stands on both sides, or did once.

    ``keyed``: whether a verify key was given.
    """
    proof = shown.proof
    marks = [entry.body for entry in shown.entries if entry.kind == "attestation"]
    first_row = log.first_row()
    pruned_ms = log.pruned_before() if first_row > 1 else proof.from_ms
    if first_row > 1 and marks:
        # Nor does that count whose nonce commits to an entry that was pruned.
        bound = (body["received_ms"] for body in marks if body["log_row"] >= first_row - 1)
        pruned_ms = max(pruned_ms, next(bound, proof.to_ms))
    reason: Doubt = "one_sided"
    if not marks and log.paired(proof.board) is None:
        reason = "not_paired"
    elif marks and not keyed and not proof.counted:
        reason = "no_attest_key"

    def told(interval: Interval) -> Interval:
        if not interval.notes or interval.state != "unknown":
            return interval
        pruned = interval.start_ms < pruned_ms
        true: Doubt = "pruned" if pruned else reason
        notes = [
            note._replace(
                code=true if note.code == "one_sided" else note.code,
                doubt=true if note.doubt == "one_sided" else note.doubt,
            )
            for note in interval.notes
        ]
        if pruned and not any("pruned" in (note.code, note.doubt) for note in notes):
            notes.append(Note("pruned"))
        return interval._replace(notes=tuple(notes))

    return proof._replace(intervals=[told(interval) for interval in proof.intervals])


def receipt_of(
    log: Log, shown: Examined, secrets: Keys, title: str | None = None
) -> dict[str, Any]:
    """The receipt of what was ``shown``. Raises `EvidenceError` if the log was altered."""
    if shown.proof.findings:
        first = shown.proof.findings[0]
        raise errors.EvidenceError(
            f"Entry {first.row} of the log {first.text}: there is nothing to give a receipt for."
        )
    about = About(title, log.label(shown.proof.board), shown.key_ids)
    return make_receipt(shown.proof, shown.entries, secrets, shown.log_hash, about)


def examined_export(
    rows: Sequence[Row], board: str, from_ms: int, to_ms: int, secrets: Keys
) -> Proof:
    """What the ``rows`` of an export show of [from, to), ms since the epoch. Raises as `prove`."""
    proof = examine_export(verified(lambda: rows, secrets), rows, board, from_ms, to_ms, secrets)
    if not secrets and not proof.findings:
        why = in_words("the export agrees with itself; nothing was checked")
        unknown = Interval(from_ms, to_ms, "unknown", notes=(why,))
        proof = proof._replace(intervals=[unknown], heard=[], absent=[])
    simulated = any(
        row[3] == board and row[2] == "observation" and '"simulated":true' in row[4]
        for row in rows
    )
    return proof._replace(simulated=simulated, unchecked=not proof.fitting)


def _interval(start: datetime, end: datetime) -> tuple[int, int]:
    if start.tzinfo is None or end.tzinfo is None:
        raise errors.UsageError("Give times with a time zone: datetime.now(UTC), for example.")
    from_ms, to_ms = (int(moment.timestamp() * 1000) for moment in (start, end))
    if not from_ms < to_ms:
        raise errors.UsageError("The interval must begin before it ends.")
    return from_ms, to_ms
