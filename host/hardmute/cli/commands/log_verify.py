"""`hardmute log verify`: the log as evidence. No board need be present."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, NamedTuple

from hardmute.cli import console
from hardmute.evidence import verifier
from hardmute.evidence.entries import GENESIS, Entry, read_export
from hardmute.evidence.key_fit import require_fit
from hardmute.model import errors, words
from hardmute.render.incidents import incident_json, incident_lines
from hardmute.store import readers
from hardmute.store.keys import load_verify_keys
from hardmute.store.log import Log
from hardmute.system import paths


def verify(args: Namespace) -> int:
    """`hardmute log verify`: 0 if everything fits, 5 if anything does not.

    A file from elsewhere, of which not all was checked, is 3.
    """
    secrets = load_verify_keys(args.key)
    expected = None if args.expect_head is None else _head(args.expect_head)
    if args.file is not None:
        checked = verifier.verified(lambda: read_export(args.file), secrets)
    else:
        try:
            log = Log(paths.log_file())
        except errors.NewerLogError as error:
            # Nothing is wrong with it, and nothing is known of it.
            console.complain(error)
            return errors.UNKNOWN
        try:
            with log.snapshot():
                checked = readers.verified(log, secrets)
        finally:
            log.close()
    report = checked.report()
    said = outcome(checked, secrets, expected, own=args.file is None)
    if args.json:
        print(json.dumps(_as_json(report, said)))
    else:
        _print(report, said, expected)
    return said.code


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


def outcome(
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


def _head(given: str) -> bytes:
    try:
        head = bytes.fromhex(given)
    except ValueError:
        head = b""
    if len(head) != len(GENESIS):
        raise errors.UsageError(
            "--expect-head takes the 64 hex digits that `log verify` has shown."
        )
    return head


def _as_json(report: verifier.Report, said: LogOutcome) -> dict[str, Any]:
    return {
        # Null: not known.
        "intact": said.code == errors.OK if said.unchecked is None else None,
        "unchecked": said.unchecked,
        "entries": report.entries,
        "first_row": report.first_row,
        "head_row": report.head_row,
        "head": report.head.hex(),
        "expected_head_missing": said.missing,
        "findings": [finding._asdict() for finding in report.findings],
        "branches": [branch._asdict() for branch in report.branches],
        "incidents": [incident_json(entry) for entry in report.incidents],
        "pruned_up_to": report.first_row - 1,
        "checkpoint_open": report.checkpoint_open,
        "unbound_attestations": report.unbound,
    }


def _print(report: verifier.Report, said: LogOutcome, expected: bytes | None) -> None:
    if report.findings:
        first = report.findings[0]
        console.say(f"TAMPERED  entry {first.row} {first.text}")
        if len(report.findings) > 1:
            console.detail(f"and {len(report.findings) - 1} more; --json lists them")
    elif said.elsewhere:
        entry = said.elsewhere[0]
        why = words.printable(entry.body["text"])
        console.say(f"TAMPERED  entry {entry.row}: board {entry.board}: {why}")
    elif said.missing:
        print("TAMPERED  the expected head is not there: this log ends earlier, or is another one")
    elif said.unchecked is not None:
        console.say(f"UNKNOWN   {said.unchecked}")
        console.detail(
            "give the boards' verify keys (--key), or a head that was noted (--expect-head)"
        )
    elif report.entries == 0:
        print("INTACT    no entries")
    else:
        print(f"INTACT    entries {report.first_row} to {report.head_row}")
    if report.checkpoint is not None:
        console.detail(
            f"entries 1 to {report.first_row - 1} were pruned, as entry {report.checkpoint.row}"
            f" of {words.local_time(report.checkpoint.at_ms)} says"
        )
    for branch in report.branches:
        _print_branch(branch, pruned=report.first_row > 1)
    if report.unbound:
        console.detail(f"{report.unbound} attestations are bound to entries that were pruned")
    for line in incident_lines(report.incidents):
        console.detail(line)
    print(f"head {report.head_row} {report.head.hex()}")
    if expected is None:
        console.detail("note the head: an older copy of this log is found only with --expect-head")
    elif not said.missing:
        console.detail("the expected head is there")


def _print_branch(branch: verifier.Branch, *, pruned: bool) -> None:
    name = f"board {words.printable(branch.board)}" + (
        f", journal {branch.number}" if branch.number > 1 else ""
    )
    records = (
        f"records {branch.first_seq} to {branch.last_seq}" if branch.records else "no records"
    )
    attestations = (
        "1 attestation" if branch.attestations == 1 else f"{branch.attestations} attestations"
    )
    console.detail(f"{name}: {records}, {attestations}")
    if not branch.signatures:
        if pruned:
            console.detail("  none of what is left is signed; what was pruned may have been")
        else:
            console.detail("  none of it is signed: the board was not paired")
        return
    records_signed = branch.signatures - branch.attestations
    signed = f"{records_signed} of the records and all attestations are signed"
    if branch.pairings_without_key:
        which = ", ".join(map(str, branch.pairings_without_key))
        console.detail(
            f"  {signed}: {branch.macs} of {branch.signatures} signatures checked;"
            f" no key given for pairing {which}: the rest may be by anybody who has had this log"
        )
    else:
        console.detail(f"  {signed}: all {branch.signatures} signatures checked")
