"""`hardmute prove`: was the line cut from T to T? And receipts of the answer."""

from __future__ import annotations

import hashlib
import hmac
import json
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import muteboard
from hardmute import errors, heard, paths, text, verifier
from hardmute.discovery import known_board
from hardmute.entries import GENESIS, Entry, canonical, entry_of, export_line
from hardmute.heard import Heard
from hardmute.history import COARSE_MS, ONE_SIDED, Part, attested, parts
from hardmute.keys import load_verify_keys
from hardmute.log import Log, iso_time, now_ms
from hardmute.logview import edges, parse_time
from muteboard import attest

EVIDENCE = ("record", "attestation", "incident", heard.KIND)
_KIND = "receipt"
_VERSION = 1
_SEVERITY = {"muted": errors.OK, "live": errors.LIVE, "fault": errors.FAULT}
# Of two that are said of one time.
_GRAVEST = ("fault", "live", "unknown", "muted")
_LARGEST = 256 << 20


class Proven(NamedTuple):
    """The line was ``state`` in [start, end), ms since the epoch; ends known to plus_minus_ms.

    ``muted`` is claimed for what is certain only: live and fault take the uncertain edges.
    """

    start_ms: int
    end_ms: int
    state: str
    cause: str | None
    plus_minus_ms: int
    note: str | None


class Proof(NamedTuple):
    """What the evidence shows of ``board`` in [from, to)."""

    board: str
    from_ms: int
    to_ms: int
    intervals: list[Proven]
    # Signatures checked with the verify key; how many there were; what is wrong.
    signed: int
    signatures: int
    findings: list[verifier.Finding]
    # Known to be no real board.
    simulated: bool = False
    # When, within what is proven muted, the microphone itself was heard to be cut.
    heard: list[Heard] = []  # noqa: RUF012 (a tuple's default; nobody changes it)

    @property
    def verdict(self) -> str:
        """``muted``: throughout. Otherwise the gravest of what else there is."""
        if self.findings:
            return "tampered"
        states = {interval.state for interval in self.intervals}
        return next(state for state in ("fault", "unknown", "live", "muted") if state in states)

    @property
    def exit_code(self) -> int:
        if self.findings:
            return errors.TAMPERED
        return _SEVERITY.get(self.verdict, errors.UNKNOWN)


def examine(
    board: str,
    from_ms: int,
    to_ms: int,
    entries: Sequence[Entry],
    secrets: verifier.Keys,
    log_hash: Callable[[int], bytes | None],
) -> Proof:
    """What ``entries`` (the board's evidence around the interval, in order) show.

    ``log_hash``: the hash of an entry by its row, None if it is not to be had.
    """
    checked = verifier.Excerpt(board, secrets, log_hash)
    for entry in entries:
        checked.take(entry)
    intervals: list[Proven] = []
    listened: list[Heard] = []
    if not checked.findings:
        trusted = [entry for entry in entries if _counts(entry, checked)]
        listened = heard.within(entries, from_ms, to_ms)
        intervals = cover(parts(trusted), from_ms, to_ms, listened)
    return Proof(
        board,
        from_ms,
        to_ms,
        intervals,
        checked.macs,
        checked.signatures,
        checked.findings,
        heard=_borne_out(listened, intervals),
    )


def _borne_out(listened: list[Heard], intervals: list[Proven]) -> list[Heard]:
    """What was heard to be cut while it was proven to be muted: proof level `heard`."""
    return [
        one
        for one in listened
        if one.verdict == "muted"
        and any(
            interval.state == "muted"
            and interval.start_ms <= one.from_ms
            and one.to_ms <= interval.end_ms
            for interval in intervals
        )
    ]


def _counts(entry: Entry, checked: verifier.Excerpt) -> bool:
    """Whether an attestation was checked: now with the verify key, or then with the attest key."""
    if entry.kind != "attestation":
        return True
    return entry.row in checked.signed_rows or attested(entry).checked


def cover(
    found: Iterable[Part], from_ms: int, to_ms: int, listened: Iterable[Heard] = ()
) -> list[Proven]:
    """The intervals that fill [from, to), unknown where nothing is proven.

    A leak that was heard while the board said muted is a fault.
    """
    drawn = [
        Proven(one.from_ms, one.to_ms, "fault", None, 0, one.told)
        for one in listened
        if one.is_leak
    ]
    notes: list[tuple[int, int, str]] = []
    for part in found:
        interval = _interval(part)
        if interval is not None:
            drawn.append(interval)
            continue
        drawn += _doubtful(part)
        notes.append((part.start.earliest, part.end.latest, _told(part)))
    result: list[Proven] = []
    at = from_ms
    for interval in _gravest(drawn):
        start, end = max(interval.start_ms, from_ms), min(interval.end_ms, to_ms)
        if start >= end or interval.state == "unknown":
            continue
        if start > at:
            result.append(_unknown(at, start, notes))
        result.append(interval._replace(start_ms=start, end_ms=end))
        at = end
    if at < to_ms:
        result.append(_unknown(at, to_ms, notes))
    return result


def _gravest(drawn: list[Proven]) -> Iterator[Proven]:
    """Of intervals that may overlap, where the host's clock went back, the gravest; in order."""
    pending = sorted(
        (interval for interval in drawn if interval.start_ms < interval.end_ms),
        key=lambda interval: interval.start_ms,
        reverse=True,
    )
    points = sorted({point for one in pending for point in (one.start_ms, one.end_ms)})
    begun: list[tuple[int, int, Proven]] = []
    last: Proven | None = None
    for start, end in pairwise(points):
        while pending and pending[-1].start_ms <= start:
            interval = pending.pop()
            heappush(begun, (_GRAVEST.index(interval.state), len(pending), interval))
        while begun and begun[0][2].end_ms <= start:
            heappop(begun)
        shown = begun[0][2]._replace(start_ms=start, end_ms=end) if begun else None
        if last is not None and shown is not None and _continues(last, shown):
            last = last._replace(end_ms=end)
            continue
        if last is not None:
            yield last
        last = shown
    if last is not None:
        yield last


def _continues(last: Proven, shown: Proven) -> bool:
    return shown == last._replace(start_ms=shown.start_ms, end_ms=shown.end_ms) and (
        last.end_ms == shown.start_ms
    )


def _doubtful(part: Part) -> Iterator[Proven]:
    """The times at which a part that proves nothing was, as far as they are known.

    Where the host's clock was set back, they were times before as well: neither is proven.
    """
    if part.start.uncertainty_ms <= COARSE_MS:
        end = part.start.earliest + part.length_ms
        yield Proven(part.start.latest, end, "unknown", None, 0, None)
    if part.end.uncertainty_ms <= COARSE_MS:
        start = part.end.latest - part.length_ms
        yield Proven(start, part.end.earliest, "unknown", None, 0, None)


def _interval(part: Part) -> Proven | None:
    """The interval that a part proves; None if it proves none."""
    edge_ms = max(part.start.uncertainty_ms, part.end.uncertainty_ms)
    if part.state == "muted":
        if not part.bracketed:
            return None
        return Proven(part.start.latest, part.end.earliest, "muted", part.cause, edge_ms, None)
    if part.state == "unknown" or (edge_ms > COARSE_MS and not part.bracketed):
        return None
    return Proven(
        part.start.earliest,
        part.end.latest,
        part.state,
        part.cause,
        edge_ms,
        None if part.bracketed else f"by the journal, {part.note}",
    )


def _told(part: Part) -> str:
    if part.state == "muted":
        return f"muted by the journal, but {part.note}"
    if part.state == "unknown":
        return part.note or ""
    return f"{part.state} for {text.duration(part.length_ms)} at some time in it"


def _unknown(start_ms: int, end_ms: int, notes: list[tuple[int, int, str]]) -> Proven:
    said = dict.fromkeys(
        note for earliest, latest, note in notes if earliest < end_ms and latest > start_ms
    )
    return Proven(start_ms, end_ms, "unknown", None, 0, "; ".join(said) or ONE_SIDED)


# The command.


def prove(args: Namespace) -> int:
    """`hardmute prove`, and with ``--check`` of a receipt."""
    secrets = load_verify_keys(args.key)
    if args.check is not None:
        return _check(args.check, secrets, as_json=args.json)
    if args.start is None or args.end is None:
        raise errors.UsageError("Say which time: --from T --to T (or --check a receipt).")
    from_ms, to_ms = parse_time(args.start), parse_time(args.end)
    if not from_ms < to_ms:
        raise errors.UsageError("--from must be before --to.")
    if to_ms > now_ms():
        raise errors.UsageError("--to must not be in the future.")
    log = Log(paths.log_file())
    try:
        board = _board(args.device, log)
        # Without any, nothing is of any time.
        attests = log.newest(board, "attestation") is not None
        first, last = log.attestations_around(board, from_ms, to_ms) if attests else (1, 0)
        entries = list(log.entries(board, EVIDENCE, first, last))
        simulated = board not in log.real_boards()
        proof = examine(board, from_ms, to_ms, entries, secrets, log.hash_at)
        proof = proof._replace(simulated=simulated)
        if args.receipt is not None:
            _write_receipt(args.receipt, proof, entries, secrets, log.hash_at)
    finally:
        log.close()
    _print(proof, as_json=args.json)
    if args.receipt is not None and not args.json:
        text.detail(f"receipt: {args.receipt}")
    return proof.exit_code


def _board(named: str | None, log: Log) -> str:
    if named is not None:
        board = known_board(named, log)
        if board is None:
            raise errors.UsageError(f"The log knows no board {named!r}.")
        return board
    known = log.real_boards()
    if len(known) != 1:
        raise errors.UsageError(
            "The log knows no board that is not simulated: name one with --device."
            if not known
            else f"The log knows several boards; name one with --device: {', '.join(known)}."
        )
    return known[0]


def _print(proof: Proof, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_as_json(proof)))
        return
    span = f"{text.local_time(proof.from_ms)} to {text.local_time(proof.to_ms)}"
    if proof.findings:
        first = proof.findings[0]
        text.headline("unknown", f"board {proof.board}: entry {first.row} {first.text}")
        text.detail("the evidence does not hold, so nothing is proven; `hardmute log verify`")
        return
    if proof.verdict == "muted":
        text.headline("muted", f"throughout, {span}, board {proof.board}")
    else:
        text.headline(
            proof.verdict, f"not shown to be muted throughout, {span}, board {proof.board}"
        )
        for interval in proof.intervals:
            _print_interval(interval)
    for one in proof.heard:
        text.detail(f"heard, {one.told}")
    if proof.simulated:
        text.detail("a simulated board: no real microphone was cut by it")
    text.detail(_rests_on(proof))


def _print_interval(interval: Proven) -> None:
    cause = text.CAUSES.get(interval.cause or "", "")
    text.detail(
        f"{interval.state:8}{text.local_time(interval.start_ms)} for "
        f"{text.duration(interval.end_ms - interval.start_ms)}{edges(interval.plus_minus_ms)}  "
        f"{interval.note or cause}"
    )


def _rests_on(proof: Proof) -> str:
    if not proof.signatures:
        return (
            "rests on nothing: this board has signed nothing of that time; `hardmute pair"
            " --verify-key FILE` lets it"
        )
    if proof.signatures and proof.signed == proof.signatures:
        return (
            f"rests on {proof.signed} signatures of the board, all checked with the verify key; "
            "and on the clock of the host that asked"
        )
    return (
        "rests on what the host that asked checked at the time with the attest key, on its log "
        "and clock; with --key also on the board's own signatures"
    )


def _as_json(proof: Proof) -> dict[str, Any]:
    return {
        "board": proof.board,
        "simulated": proof.simulated,
        "from": iso_time(proof.from_ms),
        "to": iso_time(proof.to_ms),
        "verdict": proof.verdict,
        "intervals": [
            {
                **interval._asdict(),
                "start": iso_time(interval.start_ms),
                "end": iso_time(interval.end_ms),
            }
            for interval in proof.intervals
        ],
        "heard": [
            {**one._asdict(), "start": iso_time(one.from_ms), "end": iso_time(one.to_ms)}
            for one in proof.heard
        ],
        "signatures": proof.signatures,
        "signatures_checked": proof.signed,
        "findings": [finding._asdict() for finding in proof.findings],
        "rests_on": _rests_on(proof),
    }


# Receipts.


def receipt(
    proof: Proof,
    entries: Sequence[Entry],
    secrets: verifier.Keys,
    log_hash: Callable[[int], bytes | None],
) -> dict[str, Any]:
    """The receipt of ``proof``: what it claims, and all that the claim rests on."""
    rows = {
        row
        for entry in entries
        if entry.kind == "attestation" and isinstance(row := entry.body.get("log_row"), int)
    }
    hashes = {str(row): found.hex() for row in sorted(rows) if row and (found := log_hash(row))}
    content: dict[str, Any] = {
        "hardmute": _KIND,
        "version": _VERSION,
        "made_by": f"hardmute {muteboard.__version__}",
        "made_ms": now_ms(),
        "board": proof.board,
        "simulated": proof.simulated,
        "from_ms": proof.from_ms,
        "to_ms": proof.to_ms,
        "verdict": proof.verdict,
        "intervals": [interval._asdict() for interval in proof.intervals],
        "entries": [json.loads(export_line(entry)) for entry in entries],
        "hashes": hashes,
    }
    body = canonical(content).encode()
    content["macs"] = {
        str(pairing): _receipt_mac(secret, body)
        for (board, pairing), secret in sorted(secrets.items())
        if board == proof.board
    }
    content["sha256"] = hashlib.sha256(canonical(content).encode()).hexdigest()
    return content


def _receipt_mac(secret: bytes, body: bytes) -> str:
    key = hmac.digest(secret, b"hardmute receipt", "sha256")
    return hmac.digest(key, body, "sha256")[: attest.MAC].hex()


def check_receipt(content: dict[str, Any], secrets: verifier.Keys) -> tuple[Proof, bool]:
    """Prove again what a receipt claims, from it alone. Whether it is signed with a key given.

    Raises `EvidenceError` where it is not as it was made, or does not bear out its claim.
    """
    try:
        content = dict(content)
        digest = content.pop("sha256")
        if hashlib.sha256(canonical(content).encode()).hexdigest() != digest:
            raise errors.EvidenceError("The receipt was altered: its own hash does not fit.")
        macs = dict(content.pop("macs"))
        body = canonical(content).encode()
        board = content["board"]
        signed = False
        for pairing, mac in macs.items():
            secret = secrets.get((board, int(pairing)))
            if secret is not None:
                if not hmac.compare_digest(_receipt_mac(secret, body), mac):
                    raise errors.EvidenceError("The receipt was altered: its signature is wrong.")
                signed = True
        hashes = {int(row): bytes.fromhex(found) for row, found in content["hashes"].items()}
        hashes[0] = GENESIS
        entries = [entry_of(fields) for fields in content["entries"]]
        proof = examine(board, content["from_ms"], content["to_ms"], entries, secrets, hashes.get)
        proof = proof._replace(simulated=content["simulated"] is True)
        claimed = [Proven(**interval) for interval in content["intervals"]]
        verdict = content["verdict"]
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise errors.EvidenceError("This is no receipt that hardmute has made.") from error
    if not proof.findings and (proof.intervals, proof.verdict) != (claimed, verdict):
        raise errors.EvidenceError(
            "The receipt does not bear out what it claims: its evidence shows something else."
        )
    return proof, signed


def _write_receipt(
    file: Path,
    proof: Proof,
    entries: Sequence[Entry],
    secrets: verifier.Keys,
    log_hash: Callable[[int], bytes | None],
) -> None:
    if proof.findings:
        raise errors.EvidenceError(
            f"Entry {proof.findings[0].row} of the log {proof.findings[0].text}: "
            "there is nothing to give a receipt for."
        )
    content = receipt(proof, entries, secrets, log_hash)
    if file.suffix.lower() == ".html":
        from hardmute.receipt_page import page

        written = page(content, proof)
    elif file.suffix.lower() == ".json":
        written = canonical(content) + "\n"
    else:
        raise errors.UsageError("A receipt is FILE.json or FILE.html.")
    try:
        with file.open("x", encoding="utf-8", newline="\n") as stream:
            stream.write(written)
    except FileExistsError as error:
        raise errors.UsageError(f"{file} is there already: name a new file.") from error
    except OSError as error:
        raise errors.LocalError(
            f"{file} cannot be written ({error.strerror or error})."
        ) from error


def read_receipt(file: Path) -> dict[str, Any]:
    """The receipt in a JSON or HTML file. Raises `EvidenceError` for what is none."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_LARGEST)
    except OSError as error:
        raise errors.UsageError(f"{file} cannot be read ({error.strerror or error}).") from error
    try:
        said = data.decode()
        if file.suffix.lower() == ".html":
            from hardmute.receipt_page import embedded

            said = embedded(said)
        content = json.loads(said)
        intact = canonical(content) in (said.removesuffix("\n"), said.replace("\\u003c", "<"))
    except (ValueError, RecursionError):
        content, intact = None, False
    if intact and isinstance(content, dict):
        known = cast("dict[str, Any]", content)
        if known.get("hardmute") == _KIND and known.get("version") == _VERSION:
            return known
    raise errors.EvidenceError(f"{file} is no receipt as this hardmute makes it.")


def _check(file: Path, secrets: verifier.Keys, *, as_json: bool) -> int:
    proof, signed = check_receipt(read_receipt(file), secrets)
    _print(proof, as_json=as_json)
    if not as_json:
        if signed:
            text.detail("the receipt itself is signed with the verify key")
        elif not secrets:
            text.detail("without --key this shows only that the receipt agrees with itself")
        else:
            text.detail("the receipt was made without this verify key; its evidence was checked")
        if file.suffix.lower() == ".html":
            text.detail("go by this: what the page itself says to a reader is not signed")
    return proof.exit_code
