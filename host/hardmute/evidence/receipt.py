"""Receipts of a proof: to write, to read, to check (docs/evidence.md, "Proving an interval")."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, cast

import muteboard
from hardmute.evidence import verifier
from hardmute.evidence.batches import CHUNK
from hardmute.evidence.entries import (
    FIRST_MS,
    LAST_MS,
    Entry,
    canonical,
    entry_in,
    export_line,
    stored,
)
from hardmute.evidence.interval import Interval
from hardmute.evidence.key_fit import require_fit, require_ids
from hardmute.evidence.proof import EVIDENCE, Proof, numbers, shown_by, shown_json
from hardmute.model import errors, strict_json
from hardmute.model.answers import is_board_id
from hardmute.model.clock import now_ms
from hardmute.model.reasons import in_words
from muteboard import attest

_KIND = "receipt"
_VERSION = 2
# Half more than an honest receipt of 10,752 records, the most that a board keeps: where the board
# attested after each record, as for `watch`, it measures 13.3 MB, and 16.0 MB as a page.
LARGEST = 24 << 20
_SLICE = 1 << 20
# What stands around a receipt in a page.
PAGE_OPEN = b'<script type="application/json" id="receipt">\n'
PAGE_CLOSE = b"\n</script>"
# The last line: a page that was altered, by whatever accident, is not taken for a receipt.
_HASH_MARK = b"<!-- SHA-256 of all above: "


class About(NamedTuple):
    """What a receipt says beside the proof: a title, the board's label, and of which key each
    pairing is, as far as that is known: its key id, in hex.
    """

    title: str | None = None
    label: str | None = None
    key_ids: Mapping[int, str] = MappingProxyType({})


NOTHING_ABOUT = About()


def make_receipt(
    proof: Proof,
    entries: Sequence[Entry],
    secrets: verifier.Keys,
    log_hash: Callable[[int], bytes | None],
    about: About = NOTHING_ABOUT,
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
        "intervals": [*map(shown_json, proof.intervals)],
        "entries": [json.loads(export_line(entry)) for entry in entries],
        "hashes": hashes,
        "counted": proof.counted,
        "title": about.title,
        "label": about.label,
    }
    signing = {
        pairing: secret
        for (board, pairing), secret in sorted(secrets.items())
        if board == proof.board and (pairing in proof.fitting or not proof.fitting)
    }
    key_ids = {**about.key_ids, **{of: attest.key_id(key).hex() for of, key in signing.items()}}
    content["key_ids"] = {str(pairing): key_id for pairing, key_id in key_ids.items()}
    # They are of all but themselves.
    macs = {str(pairing): _receipt_mac(secret, content) for pairing, secret in signing.items()}
    content["macs"] = macs
    content["sha256"] = _digest(_parts(content)).hex()
    return content


def _receipt_mac(secret: bytes, content: Mapping[str, Any]) -> str:
    made = hmac.new(hmac.digest(secret, b"hardmute receipt", "sha256"), digestmod="sha256")
    for part in _parts(content):
        made.update(part.encode())
    return made.digest()[: attest.MAC].hex()


def _parts(content: Mapping[str, Any]) -> Iterator[str]:
    """A receipt as canonical JSON: in parts, for as a whole it may be as long as `LARGEST`."""
    mark = "{"
    for key in sorted(content):
        value = content[key]
        yield f"{mark}{canonical(key)}:"
        if key == "entries" and isinstance(value, list):
            for index, one in enumerate(cast("list[object]", value)):
                yield "," if index else "["
                yield export_line(one) if isinstance(one, Entry) else canonical(one)
            yield "]" if value else "[]"
        else:
            yield canonical(value)
        mark = ","
    yield "}"


class Checked(NamedTuple):
    """A receipt that was checked. ``proof``: what is known.

    That is nothing where the receipt is not signed with a key given, for nobody vouches for its
    times then. ``claim`` is what it shows in that case, if its times are right, and without a key
    its signatures as well; None in the other.
    """

    proof: Proof
    claim: Proof | None


def check_receipt(content: dict[str, Any], secrets: verifier.Keys) -> Checked:
    """Prove again what a receipt claims, from it alone. Its entries may be `Entry` or objects.

    Raises `EvidenceError` where it is not as it was made, or does not bear out its claim, and
    `UsageError` if the keys given are those of other pairings.
    """
    try:
        content = dict(content)
        digest = content.pop("sha256")
        if _digest(_parts(content)).hex() != digest:
            raise errors.EvidenceError("The receipt was altered: its own hash does not fit.")
        macs = {int(pairing): mac for pairing, mac in dict(content.pop("macs")).items()}
        board, from_ms, to_ms = _span_of(content)
        key_ids = _key_ids_of(content, board)
        require_ids(secrets, key_ids, "the receipt")
        hashes = {int(row): bytes.fromhex(found) for row, found in content["hashes"].items()}
        entries = list(_entries_of(board, content["entries"]))
        checked = verifier.Verifier(
            secrets, log_hash=hashes.get, board=board, is_part=True, gapless=False
        )
        for at in range(0, len(entries), CHUNK):
            checked.take(map(stored, entries[at : at + CHUNK]))
            if checked.report().findings:
                # One is enough, and to find each in a long forgery takes long.
                break
        signed = _signed_by(macs, board, content, secrets, checked.keyring)
        counted = set(content["counted"])

        def is_right(entry: Entry) -> bool:
            return checked.has_signed(entry.row)

        def counts(entry: Entry) -> bool:
            # What a key given fits, and has not signed, is a finding by now.
            return entry.row in counted

        claim = shown_by(board, checked, entries, from_ms, to_ms, counts, keyed=bool(macs))
        agrees = _bears_out(claim, content)
        shown = claim
        if secrets:
            shown = shown_by(board, checked, entries, from_ms, to_ms, is_right, keyed=True)
        shown = shown._replace(simulated=content["simulated"] is True)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise errors.EvidenceError("This is no receipt that hardmute has made.") from error
    if shown.findings:
        return Checked(shown, None)
    ids = {**dict.fromkeys((board, pairing) for pairing in macs), **checked.keyring.ids}
    ids = {owner: key_id or key_ids.get(owner) for owner, key_id in ids.items()}
    fitting = signed | checked.keyring.fitting
    if ids:
        require_fit(secrets, ids, fitting, "the receipt")
    if not agrees:
        raise errors.EvidenceError(
            "The receipt does not bear out what it claims: its evidence shows something else."
        )
    shown = shown._replace(fitting=numbers(fitting))
    if signed:
        return Checked(shown, None)
    why = in_words(_why_unknown(shown, secrets))
    unknown = [Interval(from_ms, to_ms, "unknown", notes=(why,))]
    return Checked(shown._replace(intervals=unknown, heard=[], absent=[]), shown)


def _span_of(content: dict[str, Any]) -> tuple[str, int, int]:
    """Board, beginning and end of what a receipt is for: C1. Raises `ValueError` or its like."""
    board, from_ms, to_ms = (content[key] for key in ("board", "from_ms", "to_ms"))
    times = type(from_ms) is type(to_ms) is int and FIRST_MS <= from_ms < to_ms <= LAST_MS
    if not (times and is_board_id(board)):
        raise ValueError
    return board, from_ms, to_ms


def _key_ids_of(content: Mapping[str, Any], board: str) -> dict[tuple[str, int], str]:
    """The key ids in a receipt. Raises `ValueError` or its like."""
    key_ids = {
        (board, int(pairing)): bytes.fromhex(key_id).hex()
        for pairing, key_id in content["key_ids"].items()
    }
    named = (content[key] for key in ("title", "label"))
    if not all(name is None or type(name) is str for name in named):
        raise ValueError
    return key_ids


def _signed_by(
    macs: Mapping[int, str],
    board: str,
    content: Mapping[str, Any],
    secrets: verifier.Keys,
    ring: verifier.Keyring,
) -> set[tuple[str, int]]:
    """The pairings with whose keys, of those given, the receipt itself is signed. Rule C3.

    Raises `EvidenceError` if it should be and is not.
    """
    found: set[tuple[str, int]] = set()
    for pairing, mac in macs.items():
        owner = board, pairing
        secret = secrets.get(owner)
        if secret is None:
            continue
        if hmac.compare_digest(_receipt_mac(secret, content), mac):
            found.add(owner)
        elif owner in ring.fitting or ring.ids.get(owner) in (None, attest.key_id(secret).hex()):
            raise errors.EvidenceError("The receipt was altered: its signature is wrong.")
    return found


def _entries_of(board: str, found: list[object]) -> Iterator[Entry]:
    """The entries in a receipt of ``board``. Rule C2. Raises `ValueError` or its like."""
    for one in found:
        entry = one if isinstance(one, Entry) else entry_in(one)
        if entry.board != board or entry.kind not in EVIDENCE:
            raise ValueError
        yield entry


def _entry_if_one(made: dict[str, Any]) -> Entry | dict[str, Any]:
    """The entry in an object. It takes less memory than the object."""
    if "hash" not in made:
        return made
    try:
        return entry_in(made)
    except (TypeError, ValueError):
        return made


def _bears_out(claim: Proof, content: Mapping[str, Any]) -> bool:
    """Whether what the entries of a receipt show is what it claims. Rule C4."""
    said = content["intervals"], content["verdict"]
    return said == ([*map(shown_json, claim.intervals)], claim.verdict)


def _why_unknown(shown: Proof, secrets: verifier.Keys) -> str:
    """Why nothing is known from a receipt that no key given has signed, whatever it shows.

    Rule C5.
    """
    if not secrets:
        return "the receipt agrees with itself; nothing was checked"
    if not shown.signed:
        return "nothing in the receipt is signed"
    return (
        "the board's signatures are right, but the receipt is not signed with the key given:"
        " its times were not checked"
    )


class ReceiptText(NamedTuple):
    """A receipt as it stands in a file. ``in_page``: with each ``<`` escaped."""

    json: list[str]
    in_page: bool


def text_in(data: bytes) -> ReceiptText:
    """The receipt in a file with this ``data``. Raises `ValueError` for what is none."""
    if len(data) > LARGEST:
        raise ValueError
    in_page = not data.startswith(b"{")
    if in_page:
        data = embedded(data)
    return ReceiptText([data.removesuffix(b"\n").decode("ascii")], in_page)


def parsed(text: ReceiptText, file: object) -> dict[str, Any]:
    """The receipt that is ``text``, of which it takes the JSON out.

    Raises `ValueError` or `RecursionError` for what is none.
    """
    said = text.json.pop()
    digest = _digest(said[at : at + _SLICE] for at in range(0, len(said), _SLICE))
    content = strict_json.parse(said, _entry_if_one)
    del said
    known = cast("dict[str, Any]", content) if isinstance(content, dict) else {}
    version = known.get("version")
    if known.get("hardmute") != _KIND or type(version) is not int or version < 1:
        raise ValueError
    if version < _VERSION:
        raise errors.OldReceiptError(file)
    if version > _VERSION:
        raise errors.NewerError(file, version)
    # Only one text stands for a receipt.
    again = _parts(known)
    if _digest(map(escaped, again) if text.in_page else again) != digest:
        raise ValueError
    return known


def embedded(page: bytes) -> bytes:
    """The receipt in a page, as JSON. Raises `ValueError` if the page is not as it was made."""
    end = page.rfind(_HASH_MARK)
    body = memoryview(page)[: max(0, end)]
    start, stop = page.find(PAGE_OPEN), page.rfind(PAGE_CLOSE)
    if end < 0 or page[end:] != last_line(body) or start < 0 or stop < start:
        raise ValueError
    return page[start + len(PAGE_OPEN) : stop]


def last_line(body: bytes | memoryview) -> bytes:
    """The last line of a page whose other lines are ``body``."""
    return b"%s%s -->\n" % (_HASH_MARK, hashlib.sha256(body).hexdigest().encode())


def escaped(receipt: str) -> str:
    """A receipt as it stands in a page: nothing in it ends the element that it is in."""
    return receipt.replace("<", "\\u003c")


def _digest(parts: Iterable[str]) -> bytes:
    found = hashlib.sha256()
    for part in parts:
        found.update(part.encode())
    return found.digest()
