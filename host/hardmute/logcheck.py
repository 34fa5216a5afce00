"""`hardmute log verify`, `export` and `prune`: the log as evidence, with no board present."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hardmute import errors, paths, text, verifier
from hardmute.entries import Entry, export_line, read_export
from hardmute.keys import load_verify_keys
from hardmute.log import Log, iso_time
from hardmute.logview import parse_time


def verify(args: Namespace) -> int:
    """`hardmute log verify`: 0 if everything fits, 5 if anything does not."""
    secrets = load_verify_keys(args.key)
    known = _expected_head(args.expect_head)
    seen_head = [False]
    report = verifier.verify(lambda: _watched(_entries(args.file), known, seen_head), secrets)
    missing = known is not None and not seen_head[0]
    if args.json:
        print(json.dumps(_as_json(report, missing)))
    else:
        _print(report, missing)
    return errors.TAMPERED if report.findings or missing else errors.OK


def export(args: Namespace) -> int:
    """`hardmute log export FILE.jsonl`."""
    log = Log(paths.log_file())
    try:
        with args.export.open("x", encoding="ascii", newline="\n") as stream:
            row = 0
            for entry in log.entries():
                stream.write(f"{export_line(entry)}\n")
                row = entry.row
    except FileExistsError as error:
        raise errors.UsageError(f"{args.export} is there already: name a new file.") from error
    except OSError as error:
        raise errors.LocalError(
            f"{args.export} cannot be written ({error.strerror or error})."
        ) from error
    finally:
        log.close()
    print(f"{args.export}: up to entry {row}")
    return errors.OK


def prune(args: Namespace) -> int:
    """`hardmute log prune --before T`."""
    before_ms = parse_time(args.before)
    log = Log(paths.log_file())
    try:
        checkpoint = log.prune(before_ms)
    finally:
        log.close()
    if checkpoint is None:
        print(f"Nothing in the log is older than {text.local_time(before_ms)}.")
    else:
        print(
            f"Removed up to entry {checkpoint.body['row']}; the rest verifies from a checkpoint."
        )
    return errors.OK


def _entries(file: Path | None) -> Iterator[Entry]:
    if file is not None:
        yield from read_export(file)
        return
    log = Log(paths.log_file())
    try:
        yield from log.entries()
    finally:
        log.close()


def _expected_head(given: str | None) -> bytes | None:
    if given is None:
        return None
    try:
        head = bytes.fromhex(given)
    except ValueError:
        head = b""
    if len(head) != 32:
        raise errors.UsageError(
            "--expect-head takes the 64 hex digits that `log verify` has shown."
        )
    return head


def _watched(entries: Iterator[Entry], head: bytes | None, seen: list[bool]) -> Iterator[Entry]:
    for entry in entries:
        if entry.hash == head:
            seen[0] = True
        yield entry


def _as_json(report: verifier.Report, missing: bool) -> dict[str, Any]:
    return {
        "intact": not report.findings and not missing,
        "entries": report.entries,
        "first_row": report.first_row,
        "head_row": report.head_row,
        "head": report.head.hex(),
        "expected_head_missing": missing,
        "findings": [finding._asdict() for finding in report.findings],
        "branches": [branch._asdict() for branch in report.branches],
        "incidents": [
            {"row": entry.row, "at": iso_time(entry.at_ms), "board": entry.board, **entry.body}
            for entry in report.incidents
        ],
        "unbound_attestations": report.unbound,
    }


def _print(report: verifier.Report, missing: bool) -> None:
    if report.findings:
        first = report.findings[0]
        print(f"TAMPERED  entry {first.row} {first.text}")
        if len(report.findings) > 1:
            text.detail(f"and {len(report.findings) - 1} more; --json lists them")
    elif missing:
        print("TAMPERED  the expected head is not there: this log ends earlier, or is another one")
    else:
        print(f"INTACT    entries {report.first_row} to {report.head_row}")
    for branch in report.branches:
        _print_branch(branch)
    if report.unbound:
        text.detail(f"{report.unbound} attestations are bound to entries that were pruned")
    for entry in report.incidents:
        said = text.printable(str(entry.body.get("text", "")))
        text.detail(f"incident at {text.local_time(entry.at_ms)}, board {entry.board}: {said}")
    print(f"head {report.head_row} {report.head.hex()}")
    text.detail("note the head: an older copy of this log is found only with --expect-head")


def _print_branch(branch: verifier.Branch) -> None:
    name = f"board {branch.board}" + (f", journal {branch.number}" if branch.number > 1 else "")
    text.detail(
        f"{name}: records {branch.first_seq} to {branch.last_seq}, "
        f"{branch.attestations} attestations"
    )
    checked = branch.records + branch.attestations
    if branch.pairings_without_key:
        which = ", ".join(map(str, branch.pairings_without_key))
        text.detail(f"  {branch.macs} of {checked} signatures checked; no key for pairing {which}")
    else:
        text.detail(f"  {branch.macs} signatures checked")
