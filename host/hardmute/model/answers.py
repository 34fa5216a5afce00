"""What a board said about itself, checked; and what the host concludes from it.

Device strings are untrusted: every field has a type, a range and an alphabet, and an answer that
breaks one of them is no answer.
"""

from __future__ import annotations

import binascii

from hardmute.model.errors import UnreachableError
from hardmute.model.typed import Any, Literal, NamedTuple, TypeGuard, cast, get_args
from muteboard import attest, journal, wire

# The board's own words (`muteboard.wire`).
State = Literal["muted", "live", "fault"]
Cause = Literal["boot", "button", "host", "timer", "stuck", "fault", "watchdog"]
# What the host concludes of a line, and how a verdict of "muted" is borne out, weakest first
# (docs/design.md, "Words").
Verdict = Literal["muted", "live", "fault", "unknown"]
ProofLevel = Literal["reported", "sensed", "attested", "absent", "heard"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
PROOF_LEVELS: tuple[ProofLevel, ...] = get_args(ProofLevel)
# The reason for which a "muted" of a board that this host is paired with is `unknown`.
NOT_ATTESTED = "not_attested"

# Warnings of a board that keeps a journal and does not open it now.
_NO_JOURNAL = frozenset({"crash_loop", "journal_failed"})

_HEX = frozenset("0123456789abcdef")
_WORD_CHARS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.:+-")
_MAX_INT = 10**15
# Times reach 31 years back and stay within what every platform's calendar can show.
_MAX_MS = 10**12
_MAX_CONTACTS = 8
_MAX_WORDS = 16
# A record's fields (docs/evidence.md).
_MAX_SEQ = 2**32 - 1
_MAX_PAIRING = 2**16 - 1


class Identity(NamedTuple):
    """A board's answer to ``hello``."""

    board: str
    firmware: str
    port: str
    contacts: int
    simulated: bool
    # Whether it keeps a journal.
    journal: bool = False


class JournalEnd(NamedTuple):
    """Where a board's journal ends: number and head of its last record; ``pairing`` 0: none."""

    seq: int
    # Left out of a status that is too long.
    head: bytes | None
    pairing: int


class Status(NamedTuple):
    """A board's answer to ``status``, or a state event. Times in ms (docs/protocol.md)."""

    state: State
    command: str
    sense: tuple[int, ...]
    cause: Cause
    since_ms: int
    uptime_ms: int
    boot: int
    changes: int
    live_ms: int
    remute_in_ms: int | None
    faults: tuple[str, ...]
    warnings: tuple[str, ...]
    service: str
    simulated: bool
    # Of a board that keeps a journal.
    journal: JournalEnd | None = None


class Attested(NamedTuple):
    """A board's answer to ``attest``: the statement, and MACs over it that are not checked yet.

    ``statement``: as on the wire, with what this version does not know. The rest is out of it.
    """

    statement: dict[str, Any]
    mac: bytes
    journal_mac: bytes
    nonce: bytes
    board: str
    epoch: int
    # No faults, warnings or time to re-mute are in it.
    status: Status
    end: JournalEnd


class Page(NamedTuple):
    """A board's answer to ``journal``: ``records`` from number ``start`` on, of 64 bytes each.

    ``first`` and ``last``: numbers of the oldest and the newest that the board has; ``last`` is 0
    if there is none.
    """

    first: int
    start: int
    last: int
    records: tuple[bytes, ...]


class Paired(NamedTuple):
    """A board's answer to ``pair``."""

    board_bytes: bytes
    key_id: bytes
    pairing: int


class Conclusion(NamedTuple):
    """The host's verdict, the level of its proof, and why it is not a better one."""

    verdict: Verdict
    proof: ProofLevel | None
    reason: str | None


def is_board_id(text: str) -> bool:
    """Whether ``text`` has the form of a board id: 4 to 64 lower-case hex digits."""
    return 4 <= len(text) <= 64 and _HEX.issuperset(text)


def parse_identity(answer: dict[str, Any]) -> Identity:
    """Check a ``hello`` answer. Raises `UnreachableError`."""
    fields = _Fields(answer)
    if answer.get("product") != wire.PRODUCT:
        raise UnreachableError("What answers there is not a hardmute board.", "not_hardmute")
    proto = fields.integers("proto")
    if len(proto) < 2:
        raise _malformed("proto")
    if proto[0] != wire.PROTO_MAJOR:
        raise UnreachableError(
            f"The board speaks protocol {proto[0]} and this hardmute speaks {wire.PROTO_MAJOR}: "
            + (
                "update hardmute."
                if proto[0] > wire.PROTO_MAJOR
                else "update the board's firmware."
            ),
            "protocol_version",
        )
    board = answer.get("board")
    if not isinstance(board, str) or not is_board_id(board):
        raise _malformed("board")
    return Identity(
        board=board,
        firmware=fields.word("firmware"),
        port=fields.word("port"),
        contacts=fields.integer("contacts", low=0, high=_MAX_CONTACTS),
        simulated=fields.boolean("simulated"),
        # Boards of protocol 1.0 have none and do not say so.
        journal="journal" in answer and fields.boolean("journal"),
    )


def parse_status(answer: dict[str, Any], identity: Identity | None = None) -> Status:
    """Check a ``status`` answer or a state event, also against what ``hello`` said.

    Raises `UnreachableError`.
    """
    fields = _Fields(answer)
    remute = answer.get("remute_in_ms")
    status = Status(
        **_stated(fields),
        remute_in_ms=None if remute is None else fields.integer("remute_in_ms", high=_MAX_MS),
        faults=fields.words("faults"),
        warnings=fields.words("warnings"),
        simulated=fields.boolean("simulated"),
        journal=_journal_end(fields) if "seq" in answer else None,
    )
    if "remute_in_ms" not in answer:
        raise _malformed("remute_in_ms")
    _check_times(status)
    if identity is not None:
        _check_contacts(status, identity)
        if status.simulated != identity.simulated:
            raise _malformed("simulated")
        if identity.journal and status.journal is None and not _NO_JOURNAL & {*status.warnings}:
            raise _malformed("seq")
    return status


def _stated(fields: _Fields) -> dict[str, Any]:
    """What both answers say of the state."""
    return {
        "state": fields.choice("state", wire.STATES),
        "command": fields.choice("command", wire.COMMANDS),
        "sense": fields.bits("sense"),
        "cause": fields.choice("cause", wire.CAUSES),
        "since_ms": fields.integer("since_ms", high=_MAX_MS),
        "uptime_ms": fields.integer("uptime_ms", high=_MAX_MS),
        "boot": fields.integer("boot"),
        "changes": fields.integer("changes"),
        "live_ms": fields.integer("live_ms", high=_MAX_MS),
        "service": fields.choice("service", wire.SERVICES),
    }


def parse_attested(answer: dict[str, Any], identity: Identity | None = None) -> Attested:
    """Check the form of an ``attest`` answer. Raises `UnreachableError`.

    Whether it answers our nonce, for the right board, under the right key, is not asked here.
    """
    fields = _Fields(answer)
    status = Status(
        **_stated(fields),
        remute_in_ms=None,
        faults=(),
        warnings=(),
        simulated=identity is not None and identity.simulated,
    )
    _check_times(status)
    if identity is not None:
        _check_contacts(status, identity)
    board = answer.get("board")
    if not isinstance(board, str) or not is_board_id(board):
        raise _malformed("board")
    end = _journal_end(fields)
    if end.head is None:
        raise _malformed("head")
    if end.pairing == 0:
        raise _malformed("pairing")
    if end.seq == 0:
        # A pairing begins with a record of it.
        raise _malformed("seq")
    unsigned = ("id", "ok", "mac", "journal_mac")
    return Attested(
        statement={key: value for key, value in answer.items() if key not in unsigned},
        mac=fields.hex("mac", attest.MAC),
        journal_mac=fields.hex("journal_mac", attest.MAC),
        nonce=fields.hex("nonce", attest.MAC),
        board=board,
        epoch=fields.integer("epoch", high=_MAX_SEQ),
        status=status,
        end=end,
    )


def parse_page(answer: dict[str, Any], asked: int) -> Page:
    """Check the form of the answer to ``journal`` from number ``asked`` on.

    What the records say is not looked at. Raises `UnreachableError`.
    """
    fields = _Fields(answer)
    last = fields.integer("last", high=_MAX_SEQ)
    first = fields.integer("first", low=1, high=last + 1)
    start = fields.integer("from", low=1, high=last + 1)
    records = fields.records("records")
    if records and start != max(asked, first):
        raise _malformed("from")
    if not records and max(asked, first) <= last:
        raise _malformed("records")
    if start + len(records) > last + 1:
        raise _malformed("records")
    return Page(first, start, last, records)


def parse_paired(answer: dict[str, Any]) -> Paired:
    """Check the form of the answer to ``pair``. Raises `UnreachableError`."""
    fields = _Fields(answer)
    return Paired(
        board_bytes=fields.hex("board_bytes", attest.KEY),
        key_id=fields.hex("key_id", attest.KEY_ID),
        pairing=fields.integer("pairing", low=1, high=_MAX_PAIRING),
    )


def _journal_end(fields: _Fields) -> JournalEnd:
    return JournalEnd(
        seq=fields.integer("seq", high=_MAX_SEQ),
        head=fields.hex("head", attest.MAC) if fields.has("head") else None,
        pairing=fields.integer("pairing", high=_MAX_PAIRING),
    )


def _check_times(status: Status) -> None:
    for key in ("since_ms", "live_ms"):
        if getattr(status, key) > status.uptime_ms:
            raise _malformed(key)


def _check_contacts(status: Status, identity: Identity) -> None:
    if len(status.sense) != identity.contacts:
        # A contact that is not reported might be closed (P4).
        raise _malformed("sense")


def conclude(status: Status, *, attested: bool = False, unsigned: str | None = None) -> Conclusion:
    """What the host makes of one fresh status (P4: a contradiction is never "muted").

    ``attested``: the board has signed it, for this host and just now. ``unsigned``: why it has
    not, if this host is paired with it: then "muted" counts for nothing, "live" and "fault" do.
    """
    sensed: ProofLevel = "attested" if attested else "sensed"
    closed = sum(status.sense)
    if status.state == "fault":
        return Conclusion(
            "fault", None, ", ".join(map(fault_text, status.faults)) or "unnamed fault"
        )
    if status.state == "muted":
        if closed:
            return Conclusion("fault", None, "the board says muted while a contact reads closed")
        if status.command != "cut" or status.faults or status.remute_in_ms is not None:
            return Conclusion("fault", None, "the board says muted, and contradicts itself")
        if unsigned is not None:
            return Conclusion("unknown", None, NOT_ATTESTED)
        return Conclusion("muted", sensed if status.sense else "reported", None)
    if closed < len(status.sense) or status.command != "connected" or status.faults:
        return Conclusion(
            "fault", None, "the board says live, but its contacts do not bear it out"
        )
    return Conclusion("live", sensed if status.sense else "reported", None)


def weakest(*proofs: ProofLevel | None) -> ProofLevel | None:
    """The weakest of these proof levels; None, no proof, is weaker than any."""
    return min(proofs, key=lambda proof: -1 if proof is None else PROOF_LEVELS.index(proof))


def fault_text(fault: str) -> str:
    """A fault name such as ``closed:1``, for a person."""
    kind, _, contact = fault.partition(":")
    if kind == "closed":
        return f"contact {contact} read closed although the line was commanded cut"
    if kind == "open":
        return f"contact {contact} read open although the line was commanded connected"
    return fault


WARNING_TEXTS = {
    "config_missing": "no settings are stored on the board; it runs with the safe defaults",
    "config_invalid": "the board's settings are damaged; it runs with the safe defaults",
    "boot_not_counted": "the board could not store its boot count",
    "crash_loop": "the firmware crashed three times in a minute; the line stays cut until the "
    "board has been without power",
    "stays_cut": "the board was restarted in setup or maintenance; the line stays cut until the "
    "board has been without power",
    "stuck": "the button has been down for more than 10 s; is something lying on it?",
    "latch_clear": "the last press did not set the interlock's latch, so the line stayed cut; "
    "press again, and if that does not help the button bounces or the latch is not wired",
}


def warning_text(warning: str) -> str:
    """A warning name, for a person."""
    return WARNING_TEXTS.get(warning, warning)


def _malformed(field: str) -> UnreachableError:
    return UnreachableError(
        f"The board's answer is malformed (field {field!r}), so its state is unknown: "
        "reflash the board if this stays.",
        "malformed_answer",
    )


def _is_word(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 1 <= len(value) <= 32 and _WORD_CHARS.issuperset(value)


class _Fields:
    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer

    def has(self, key: str) -> bool:
        return key in self._answer

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self._answer.get(key)
        if not isinstance(value, str) or value not in allowed:
            raise _malformed(key)
        return value

    def word(self, key: str) -> str:
        value = self._answer.get(key)
        if not _is_word(value):
            raise _malformed(key)
        return value

    def words(self, key: str) -> tuple[str, ...]:
        values = self._list(key, _MAX_WORDS)
        if values and not all(map(_is_word, values)):
            raise _malformed(key)
        return tuple(values)

    def _list(self, key: str, longest: int) -> list[Any]:
        values = self._answer.get(key)
        if not isinstance(values, list) or len(cast("list[Any]", values)) > longest:
            raise _malformed(key)
        return cast("list[Any]", values)

    def integer(self, key: str, low: int = 0, high: int = _MAX_INT) -> int:
        value = self._answer.get(key)
        # A bool is an int in Python, and never one on the wire.
        if type(value) is not int or not low <= value <= high:
            raise _malformed(key)
        return value

    def boolean(self, key: str) -> bool:
        value = self._answer.get(key)
        if not isinstance(value, bool):
            raise _malformed(key)
        return value

    def integers(self, key: str, limit: int = _MAX_WORDS) -> tuple[int, ...]:
        values = self._list(key, limit)
        if any(type(value) is not int for value in values):
            raise _malformed(key)
        return tuple(values)

    def hex(self, key: str, size: int) -> bytes:
        """``size`` bytes out of lower-case hex digits."""
        value = self._answer.get(key)
        if not isinstance(value, str) or len(value) != 2 * size or not _HEX.issuperset(value):
            raise _malformed(key)
        return bytes.fromhex(value)

    def records(self, key: str) -> tuple[bytes, ...]:
        """Whole records out of base64."""
        value = self._answer.get(key)
        if not isinstance(value, str):
            raise _malformed(key)
        try:
            data = binascii.a2b_base64(value.encode(), strict_mode=True)
        except ValueError:
            raise _malformed(key) from None
        size = journal.SIZE
        if len(data) % size or len(data) > journal.PAGE * size:
            raise _malformed(key)
        return tuple(data[at : at + size] for at in range(0, len(data), size))

    def bits(self, key: str) -> tuple[int, ...]:
        values = self.integers(key, _MAX_CONTACTS)
        if values and not 0 <= min(values) <= max(values) <= 1:
            raise _malformed(key)
        return values
