"""Whether a log is as it was written: what `hardmute log verify` checks. No board is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hardmute.evidence import verifier
from hardmute.evidence.entries import Entry, read_export
from hardmute.evidence.key_fit import require_fit
from hardmute.model import errors
from hardmute.store import readers
from hardmute.store.log import Log
from hardmute.system import paths

_OPEN = "it agrees with itself; but no board has signed that its beginning was pruned"


class LogOutcome(NamedTuple):
    """The exit code of a check. ``missing``: the expected head is not there.

    ``unchecked``: in a clause, what nothing was given to check with; None if there is no such.
    ``elsewhere``: the incidents of boards that are in a pairing which this host has not made, and
    no key given fits.
    """

    code: int
    missing: bool = False
    unchecked: str | None = None
    elsewhere: Sequence[Entry] = ()


def check_log(
    secrets: verifier.Keys, *, file: Path | None = None, expected: bytes | None = None
) -> tuple[verifier.Report, LogOutcome]:
    """Check this host's log, or the export in ``file``, with ``secrets`` of verify keys.

    ``expected``: a head that was noted; it must be there. Raises `NewerLogError`, and
    `UsageError` if the keys given are those of other pairings.
    """
    if file is not None:
        checked = verifier.verified(lambda: read_export(file), secrets)
    else:
        log = Log(paths.log_file())
        try:
            with log.snapshot():
                checked = readers.verified(log, secrets)
        finally:
            log.close()
    return checked.report(), log_outcome(checked, secrets, expected, own=file is None)


def log_outcome(
    checked: verifier.Verifier, secrets: verifier.Keys, expected: bytes | None, *, own: bool
) -> LogOutcome:
    """What to say of a log, this host's ``own`` or from elsewhere, if its head was ``expected``.

    Raises `UsageError` if the keys given are those of other pairings.
    """
    report = checked.report()
    # Of all that was pruned, the last hash is known.
    known_row = None if expected is None else checked.row_of(expected)
    missing = expected is not None and known_row is None
    fitting = checked.keyring.fitting
    elsewhere = [
        entry
        for entry in report.elsewhere
        if own and (entry.board, entry.body.get("pairing")) not in fitting
    ]
    if report.findings or missing or elsewhere:
        return LogOutcome(errors.TAMPERED, missing, elsewhere=elsewhere)
    require_fit(secrets, checked.keyring.ids, checked.keyring.fitting, "the log")
    unchecked = None if own else _unchecked(report, secrets, known_row)
    return LogOutcome(errors.OK if unchecked is None else errors.UNKNOWN, unchecked=unchecked)


def _unchecked(
    report: verifier.Report, secrets: verifier.Keys, known_row: int | None
) -> str | None:
    """Of a log from elsewhere, known to be as it was up to entry ``known_row``.

    See `LogOutcome`.
    """
    if known_row == report.head_row:
        return None
    if secrets:
        if any(branch.pairings_without_key for branch in report.branches):
            return "it agrees with itself; a part of it was not checked"
        return _OPEN if report.checkpoint_open else None
    if known_row:
        return f"up to entry {known_row} it is as it was; nothing after that was checked"
    return "it agrees with itself; nothing was checked"
