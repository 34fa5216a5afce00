"""`hardmute prove`: was the line cut from T to T? And receipts of the answer."""

from __future__ import annotations

import hashlib
import hmac
import json
from argparse import Namespace
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple, cast

import muteboard
from hardmute import errors, heard, paths, text, verifier
from hardmute.discovery import known_board
from hardmute.entries import (
    FIRST_MS,
    GENESIS,
    LAST_MS,
    Entry,
    canonical,
    entry_of,
    export_line,
)
from hardmute.excerpt import excerpt
from hardmute.heard import Heard
from hardmute.history import COARSE_MS, NOT_BORNE_OUT, ONE_SIDED, Part, Reading, checked_here, read
from hardmute.keys import load_verify_keys, require_fit
from hardmute.log import Log, iso_time, now_ms
from hardmute.logview import edges, parse_time
from hardmute.report import is_board_id
from muteboard import attest

EVIDENCE = ("record", "attestation", "incident", heard.KIND)
_KIND = "receipt"
_VERSION = 1
_SIMULATED = "a simulated board: no real microphone was cut by it"
_SEVERITY = {"muted": errors.OK, "live": errors.LIVE, "fault": errors.FAULT}
# Of two that are said of one time (docs/evidence.md, "Proving an interval", rule 8).
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
    # Pairings under which something is signed: those that a key given fits, and the others.
    fitting: tuple[int, ...] = ()
    without_key: tuple[int, ...] = ()

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


# Which attestations count.
_Counts = Callable[[Entry], bool]
# What to say of a time from earliest to latest that is unknown.
_Note = tuple[int, int, str]


def examine(
    board: str,
    from_ms: int,
    to_ms: int,
    entries: Sequence[Entry],
    secrets: verifier.Keys,
    log_hash: Callable[[int], bytes | None],
    *,
    own: bool = False,
    misplaced: Sequence[verifier.Finding] = (),
) -> Proof:
    """What ``entries`` (the board's evidence around the interval, in order) show.

    Attestations count that are signed, by a key given. Without any none counts; but of this host's
    ``own`` log those do that it checked when they came.

    ``log_hash``: the hash of an entry by its row, None if it is not to be had. ``misplaced``: what
    is wrong with their place in the log.
    Raises `UsageError` if the keys given are those of other pairings.
    """
    checked = _checked(board, entries, secrets, log_hash)
    checked.findings[:0] = misplaced
    if checked.signatures and not checked.findings:
        ring = checked.keyring
        require_fit(secrets, ring.ids, ring.fitting, "the evidence of that time")
    counts = checked_here if own and not secrets else checked.has_signed
    return _shown(checked, entries, from_ms, to_ms, counts, keyed=bool(secrets))


def _checked(
    board: str,
    entries: Iterable[Entry],
    secrets: verifier.Keys,
    log_hash: Callable[[int], bytes | None],
) -> verifier.Excerpt:
    checked = verifier.Excerpt(board, secrets, log_hash)
    for entry in entries:
        checked.take(entry)
    return checked


def _shown(
    checked: verifier.Excerpt,
    entries: Sequence[Entry],
    from_ms: int,
    to_ms: int,
    counts: _Counts,
    *,
    keyed: bool,
) -> Proof:
    """What the entries show if those attestations count. ``keyed``: by keys, others had none."""
    intervals: list[Proven] = []
    listened: list[Heard] = []
    if not checked.findings:
        trusted = [
            entry
            for entry in entries
            if entry.kind != "attestation" or (counts(entry) and checked.binds_time(entry))
        ]
        listened = heard.within(entries, from_ms, to_ms)
        notes = _without_key(entries, counts) if keyed else ()
        intervals = cover(read(trusted), from_ms, to_ms, listened, notes)
    return Proof(
        checked.board,
        from_ms,
        to_ms,
        intervals,
        len(checked.signed_rows),
        checked.signatures,
        checked.findings,
        heard=_borne_out(listened, intervals),
        fitting=_numbers(checked.keyring.fitting),
        without_key=checked.without_key,
    )


def _numbers(pairings: Iterable[tuple[str, int]]) -> tuple[int, ...]:
    return tuple(sorted(pairing for _, pairing in pairings))


def _without_key(entries: Iterable[Entry], counts: _Counts) -> Iterator[_Note]:
    """Of the times that attestations would bear out for which no key was given: that."""
    marks = [entry for entry in entries if entry.kind == "attestation"]
    groups = [
        (pairing, list(found))
        for pairing, found in groupby(
            marks, lambda entry: None if counts(entry) else entry.body["statement"]["pairing"]
        )
    ]
    earliest = FIRST_MS
    for index, (pairing, found) in enumerate(groups):
        after = groups[index + 1][1][0].body["sent_ms"] if groups[index + 1 :] else LAST_MS
        if pairing is not None:
            yield earliest, after, _no_key((pairing,))
        earliest = found[-1].body["received_ms"]


def _counts_for_nothing(proof: Proof) -> str:
    return f"{_no_key(proof.without_key)}: what is signed under it counts for nothing"


def _no_key(pairings: Iterable[int]) -> str:
    return f"no key given for pairing {', '.join(map(str, pairings))}"


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


def cover(
    found: Reading,
    from_ms: int,
    to_ms: int,
    listened: Iterable[Heard] = (),
    reasons: Iterable[_Note] = (),
) -> list[Proven]:
    """The intervals that fill [from, to), unknown where nothing is proven, for these ``reasons``.

    A leak that was heard while the board said muted is a fault.
    """
    drawn = [
        Proven(one.from_ms, one.to_ms, "fault", None, 0, one.told)
        for one in listened
        if one.is_leak
    ]
    notes: list[_Note] = list(reasons)
    for part in found.parts:
        interval = _interval(part)
        if interval is not None:
            drawn.append(interval)
        if interval is None or interval.state == "unknown":
            notes.append((part.start.earliest, part.end.latest, _told(part)))
    drawn += [
        Proven(time.earliest, time.latest, "unknown", None, 0, None) for time in found.unproven
    ]
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


def _interval(part: Part) -> Proven | None:
    """The interval that a part shows; None if it shows none, and lies in a time unproven."""
    edge_ms = max(part.start.uncertainty_ms, part.end.uncertainty_ms)
    start_ms, end_ms, state, note = part.start.earliest, part.end.latest, part.state, None
    if part.bracketed and state == "muted":
        start_ms, end_ms = part.start.latest, part.end.earliest
    elif not part.bracketed:
        if state not in ("live", "fault") or edge_ms > COARSE_MS:
            return None
        note = f"by the journal, {part.note}"
    if state in ("live", "fault") and _is_vague(part):
        state, note = "unknown", None
    return Proven(start_ms, end_ms, state, part.cause, edge_ms, note)


def _is_vague(part: Part) -> bool:
    """Whether an end of a part is less well known than the part is long (rule 6)."""
    return any(time.latest - time.earliest > part.length_ms for time in (part.start, part.end))


def _told(part: Part) -> str:
    if part.state == "muted":
        return f"muted by the journal, but {part.note}"
    if part.state == "unknown":
        return part.note or NOT_BORNE_OUT
    return f"{part.state} for {text.duration(part.length_ms)} at some time in it"


def _unknown(start_ms: int, end_ms: int, notes: list[_Note]) -> Proven:
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
        newest = log.newest(board, "attestation")
        if newest is not None and newest.at_ms > now_ms():
            raise errors.UsageError(
                "The host's clock was set back since the board last attested, at "
                f"{text.local_time(newest.at_ms)}: run `hardmute status` first, then prove."
            )
        entries, misplaced = excerpt(log, board, EVIDENCE, from_ms, to_ms)
        simulated = board not in log.real_boards()
        proof = examine(
            board,
            from_ms,
            to_ms,
            entries,
            secrets,
            log.hash_at,
            own=True,
            misplaced=misplaced,
        )
        proof = proof._replace(simulated=simulated)
        if args.receipt is not None:
            if not secrets:
                text.complain(
                    "Without --key the receipt is not signed: a check of it shows what the board"
                    " signed, but not when."
                )
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
            text.detail(_line(interval))
    for one in proof.heard:
        text.detail(f"heard, {one.told}")
    if proof.simulated:
        text.detail(_SIMULATED)
    text.detail(_rests_on(proof))


def _line(interval: Proven) -> str:
    cause = text.CAUSES.get(interval.cause or "", "")
    return (
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
    if proof.without_key and proof.fitting:
        return (
            f"rests on {proof.signed} of {proof.signatures} signatures of the board, checked with "
            "the verify key, and on the clock of the host that asked; "
            f"{_counts_for_nothing(proof)}"
        )
    if proof.fitting:
        return (
            f"rests on {proof.signed} signatures of the board, all checked with the verify key; "
            "and on the clock of the host that asked"
        )
    return (
        "rests on what this host checked at the time with the attest key, on its log "
        "and clock; with --key also on the board's own signatures"
    )


def _as_json(proof: Proof) -> dict[str, Any]:
    return {
        "board": proof.board,
        "simulated": proof.simulated,
        "from": iso_time(proof.from_ms),
        "to": iso_time(proof.to_ms),
        **_shown_json(proof),
        "signatures": proof.signatures,
        "signatures_checked": proof.signed,
        "pairings_without_key": proof.without_key,
        "findings": [finding._asdict() for finding in proof.findings],
        "rests_on": _rests_on(proof),
    }


def _shown_json(proof: Proof) -> dict[str, Any]:
    return {
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
        if board == proof.board and (pairing in proof.fitting or not proof.fitting)
    }
    content["sha256"] = hashlib.sha256(canonical(content).encode()).hexdigest()
    return content


def _receipt_mac(secret: bytes, body: bytes) -> str:
    key = hmac.digest(secret, b"hardmute receipt", "sha256")
    return hmac.digest(key, body, "sha256")[: attest.MAC].hex()


class Checked(NamedTuple):
    """A receipt that was checked. ``proof``: what is known.

    That is nothing where the receipt is not signed with a key given, for nobody vouches for its
    times then. ``claim`` is what it shows in that case, if its times are right, and without a key
    its signatures as well; None in the other.
    """

    proof: Proof
    claim: Proof | None


def check_receipt(content: dict[str, Any], secrets: verifier.Keys) -> Checked:
    """Prove again what a receipt claims, from it alone.

    Raises `EvidenceError` where it is not as it was made, or does not bear out its claim, and
    `UsageError` if the keys given are those of other pairings.
    """
    try:
        content = dict(content)
        digest = content.pop("sha256")
        if hashlib.sha256(canonical(content).encode()).hexdigest() != digest:
            raise errors.EvidenceError("The receipt was altered: its own hash does not fit.")
        macs = {int(pairing): mac for pairing, mac in dict(content.pop("macs")).items()}
        body = canonical(content).encode()
        board, from_ms, to_ms = _span_of(content)
        hashes = {int(row): bytes.fromhex(found) for row, found in content["hashes"].items()}
        hashes[0] = GENESIS
        entries = [entry_of(fields) for fields in content["entries"]]
        checked = _checked(board, entries, secrets, hashes.get)
        signed = _signed_by(macs, board, body, secrets, checked.keyring)
        counts = _claimed(macs, secrets, checked)
        claim = _shown(checked, entries, from_ms, to_ms, counts, keyed=bool(macs))
        claimed = [Proven(**interval) for interval in content["intervals"]]
        agrees = (claim.intervals, claim.verdict) == (claimed, content["verdict"])
        shown = claim
        if secrets:
            shown = _shown(checked, entries, from_ms, to_ms, checked.has_signed, keyed=True)
        shown = shown._replace(simulated=content["simulated"] is True)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise errors.EvidenceError("This is no receipt that hardmute has made.") from error
    if shown.findings:
        return Checked(shown, None)
    ids = {**dict.fromkeys((board, pairing) for pairing in macs), **checked.keyring.ids}
    fitting = signed | checked.keyring.fitting
    if ids:
        require_fit(secrets, ids, fitting, "the receipt")
    if not agrees:
        raise errors.EvidenceError(
            "The receipt does not bear out what it claims: its evidence shows something else."
        )
    shown = shown._replace(fitting=_numbers(fitting))
    if signed:
        return Checked(shown, None)
    unknown = [Proven(from_ms, to_ms, "unknown", None, 0, _why_unknown(shown, secrets))]
    return Checked(shown._replace(intervals=unknown, heard=[]), shown)


def _span_of(content: dict[str, Any]) -> tuple[str, int, int]:
    """Board, beginning and end of what a receipt is for. Raises `ValueError` or its like."""
    board, from_ms, to_ms = (content[key] for key in ("board", "from_ms", "to_ms"))
    times = type(from_ms) is type(to_ms) is int and FIRST_MS <= from_ms < to_ms <= LAST_MS
    if not (times and is_board_id(board)):
        raise ValueError
    return board, from_ms, to_ms


def _signed_by(
    macs: Mapping[int, str],
    board: str,
    body: bytes,
    secrets: verifier.Keys,
    ring: verifier.Keyring,
) -> set[tuple[str, int]]:
    """The pairings with whose keys, of those given, the receipt itself is signed.

    Raises `EvidenceError` if it should be and is not.
    """
    found: set[tuple[str, int]] = set()
    for pairing, mac in macs.items():
        owner = board, pairing
        secret = secrets.get(owner)
        if secret is None:
            continue
        if hmac.compare_digest(_receipt_mac(secret, body), mac):
            found.add(owner)
        elif owner in ring.fitting or ring.ids.get(owner) in (None, attest.key_id(secret).hex()):
            raise errors.EvidenceError("The receipt was altered: its signature is wrong.")
    return found


def _claimed(macs: Collection[int], secrets: verifier.Keys, checked: verifier.Excerpt) -> _Counts:
    """Which attestations counted where the receipt was made, as it says itself."""
    if not macs:
        return checked_here

    def counts(entry: Entry) -> bool:
        pairing = entry.body["statement"]["pairing"]
        known = (checked.board, pairing) in secrets
        return pairing in macs and (checked.has_signed(entry) or not known)

    return counts


def _why_unknown(shown: Proof, secrets: verifier.Keys) -> str:
    """Why nothing is known from a receipt that no key given has signed, whatever it shows."""
    if not secrets:
        return "the receipt agrees with itself; nothing was checked"
    if not shown.signed:
        return "nothing in the receipt is signed"
    return (
        "the board's signatures are right, but the receipt is not signed with the key given:"
        " its times were not checked"
    )


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
    proof, claim = check_receipt(read_receipt(file), secrets)
    if as_json:
        told = _as_json(proof)
        if claim is not None:
            told |= {"rests_on": proof.intervals[0].note, "claim": _shown_json(claim)}
        print(json.dumps(told))
        return proof.exit_code
    if claim is not None:
        _print_claim(claim, proof.intervals[0].note or "")
    else:
        _print(proof, as_json=False)
        if not proof.findings:
            text.detail("the receipt itself is signed with the verify key")
    if file.suffix.lower() == ".html":
        text.detail("go by this: what the page itself says to a reader is not signed")
    return proof.exit_code


def _print_claim(claim: Proof, why: str) -> None:
    """What a receipt claims, and ``why`` that is not known."""
    text.headline("unknown", why)
    span = f"{text.local_time(claim.from_ms)} to {text.local_time(claim.to_ms)}"
    text.detail(f"it claims, {span}, board {claim.board}:")
    for interval in claim.intervals:
        text.detail(f"claimed {_line(interval)}")
    for one in claim.heard:
        text.detail(f"claimed heard, {one.told}")
    if claim.simulated:
        text.detail(_SIMULATED)
    if claim.fitting and claim.without_key:
        text.detail(_counts_for_nothing(claim))
    if claim.fitting:
        text.detail("ask for a receipt that was made with `hardmute prove --key`: it is signed")
    elif claim.signatures:
        text.detail("to check it, give the board's verify key: --key FILE")
