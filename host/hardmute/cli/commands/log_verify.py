"""`hardmute log verify`: the log as evidence. No board need be present."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

import hardmute
from hardmute import Branch, LogOutcome, Report, errors, words
from hardmute.cli import console
from hardmute.render.incidents import incident_json, incident_lines

_HEAD_BYTES = 32


def verify(args: Namespace) -> int:
    """`hardmute log verify`: 0 if everything fits, 5 if anything does not.

    A file from elsewhere, of which not all was checked, is 3.
    """
    secrets = hardmute.load_verify_keys(args.key)
    expected = None if args.expect_head is None else _head(args.expect_head)
    try:
        report, said = hardmute.check_log(secrets, file=args.file, expected=expected)
    except errors.NewerLogError as error:
        # Nothing is wrong with it, and nothing is known of it.
        console.complain(error)
        return errors.UNKNOWN
    if args.json:
        print(json.dumps(_as_json(report, said)))
    else:
        _print(report, said, expected)
    return said.code


def _head(given: str) -> bytes:
    try:
        head = bytes.fromhex(given)
    except ValueError:
        head = b""
    if len(head) != _HEAD_BYTES:
        raise errors.UsageError(
            "--expect-head takes the 64 hex digits that `log verify` has shown."
        )
    return head


def _as_json(report: Report, said: LogOutcome) -> dict[str, Any]:
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


def _print(report: Report, said: LogOutcome, expected: bytes | None) -> None:
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


def _print_branch(branch: Branch, *, pruned: bool) -> None:
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
