"""Faults for the machine to find: each leaves out a rule of docs/evidence.md, or a part of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import pytest

from hardmute.evidence import (
    anchors,
    batches,
    chain,
    interval,
    macs,
    proof,
    receipt,
    reconstruction,
    verifier,
)
from hardmute.evidence.entries import Entry
from hardmute.evidence.interval import Interval
from hardmute.evidence.reconstruction import AttestedState, Part
from hardmute.store import excerpt


class Fault(NamedTuple):
    """``what`` of ``module`` is replaced by ``by``, and the rule is not kept any more.

    ``story``: one in which it is found, to begin with.
    """

    rule: str
    module: Any
    what: str
    by: Any
    story: int = 0

    def seed(self, patch: pytest.MonkeyPatch) -> None:
        patch.setattr(self.module, self.what, self.by)


def nothing(*_: Any, **__: Any) -> None:
    return None


def always(*_: Any, **__: Any) -> bool:
    return True


def never(*_: Any, **__: Any) -> bool:
    return False


def nowhere(*_: Any, **__: Any) -> Iterator[Any]:
    return iter(())


def without(real: Callable[..., str | None], words: str) -> Callable[..., str | None]:
    """``real``, which says what is wrong, but for what it says in these words."""

    def said(*args: Any, **kwargs: Any) -> str | None:
        problem = real(*args, **kwargs)
        return None if problem is not None and words in problem else problem

    return said


class _Unlinked(chain.Chain):
    """Takes any record for the next one."""

    def take(self, piece: chain.Piece) -> str | None:
        self.head = None
        return super().take(piece)


def _only_twice(self: verifier.Verifier, entry: Entry) -> str | None:
    """A3 alone: the nonce is new; what it commits to is not asked."""
    before = self._nonces.setdefault(entry.body["statement"]["nonce"], entry.row)
    if before != entry.row:
        return "answers twice"
    self._bound.add(entry.row)
    return None


def _none_wrong(*_: Any) -> list[int]:
    return []


class _Forgets(dict[str, int]):
    """Has seen no nonce before."""

    # The real one has a default that may be None, which nobody uses here.
    def setdefault(self, _nonce: str, row: int = 0) -> int:  # type: ignore[override]
        return row


def _with_forgetting(self: verifier.Verifier, entry: Entry) -> str | None:
    self._nonces = _Forgets()
    return _UNASKED(self, entry)


_UNASKED = verifier.Verifier._unasked
_UNSIGNED = verifier.Verifier._unsigned
_REPORT = verifier.Verifier.report
_BEGIN = verifier.Keyring.begin


def _signed_without_key(
    self: verifier.Verifier, entry: Entry, found: Any, pairing: int, epoch: int
) -> str | None:
    problem = _UNSIGNED(self, entry, found, pairing, epoch)
    if problem is None:
        found.without_key.discard(pairing)
        self.keyring.fitting.add((entry.board or "", pairing))
        self._signed.add(entry.row)
    return problem


def _never_open(self: verifier.Verifier) -> verifier.Report:
    return _REPORT(self)._replace(checkpoint_open=False)


def _of_any_key_id(
    self: verifier.Keyring, board: str, pairing: int, key_id: int, without_key: set[int]
) -> None:
    _BEGIN(self, board, pairing, key_id, without_key)
    without_key.discard(pairing)


def _as_it_says(state: str, _commanded: bool, _sensed: bool) -> str:
    return state


_EVENT = reconstruction._event
_INTERVAL = proof._interval


def _never_lost(entry: Any) -> Any:
    return _EVENT(entry)._replace(lost=False)


def _signed_if_named(
    macs: Any, board: str, _body: bytes, secrets: Any, _ring: Any
) -> set[tuple[str, int]]:
    return {(board, pairing) for pairing in macs if (board, pairing) in secrets}


def _sharp(part: Part) -> Interval | None:
    """T6 left out: of a live time, what is certain alone."""
    shown = _INTERVAL(part)
    if shown is None or shown.state not in ("live", "fault"):
        return shown
    return shown._replace(start_ms=part.start.latest, end_ms=part.end.earliest)


def _item(item: Any, _recorded: Any) -> Any:
    return item


def _at_once(*_: Any) -> int:
    return 0


def _nearest(log: Any, _board: str, marks: Sequence[AttestedState], start: int, end: int) -> Any:
    """Rows by time, as if no clock had ever been set back."""
    before = [mark.row for mark in marks if mark.received_ms <= start]
    after = [mark.row for mark in marks if mark.sent_ms >= end]
    first = max(before, default=log.first_row())
    return first, max(first, min(after, default=log.head()[0])), None


_MISFIT = chain._misfit
FAULTS = (
    Fault("R1: a record links to the one before", verifier, "Chain", _Unlinked, 4),
    Fault("R4: the epoch follows", chain, "_misfit", without(_MISFIT, "is of epoch"), 1),
    Fault("R6 and A6: MACs are right", macs, "wrong", _none_wrong),
    Fault("E1 and E2: place and hash", batches, "unlinked", nothing),
    Fault("A2: the nonce fits", verifier.Verifier, "_unasked", _only_twice),
    Fault("A3: each nonce once", verifier.Verifier, "_unasked", _with_forgetting),
    Fault("A4: of a record before it", verifier.Verifier, "_misplaced", nothing),
    Fault("A5: of that record's epoch", verifier, "_goes_with", always),
    Fault("A7: computed with the attest key", verifier.Verifier, "has_recomputed", always, 2),
    Fault("A8: committed to what is known", verifier.Verifier, "binds_time", always),
    Fault("K1: the key id", verifier.Keyring, "begin", _of_any_key_id, 25),
    Fault("K2: no key, no evidence", verifier.Verifier, "_unsigned", _signed_without_key),
    Fault("an open checkpoint is not known", verifier.Verifier, "report", _never_open),
    Fault("T12: the place of what T11 rests on", excerpt, "_unlinked", nowhere, 15),
    Fault("C4: the entries show what is claimed", receipt, "_bears_out", always),
    Fault("C3: the receipt's signature", receipt, "_signed_by", _signed_if_named),
    Fault("T2: commanded cut, contacts open", reconstruction, "_borne_out", _as_it_says, 6),
    Fault("T3: an attestation ends nothing", reconstruction, "_said", _item),
    Fault("T4: no overrun", reconstruction, "_event", _never_lost, 8),
    Fault("T5: the clocks agree", reconstruction, "clocks_agree", always),
    Fault("T6", proof, "_interval", _sharp, 15),
    Fault("T7: known less well than it is long", proof, "_is_vague", never, 26),
    Fault("T8: what is not attested is unknown", reconstruction, "_unproven", nowhere, 30),
    Fault("T9: how long it was", reconstruction, "_ran_ms", _at_once, 30),
    Fault("T10: the gravest", interval, "GRAVEST", ("muted", "fault", "live", "unknown"), 15),
    Fault("T11: what is read", excerpt, "_rows", _nearest),
    Fault("T13: by how much the clock was set", anchors, "_set_between", _at_once, 45),
)
