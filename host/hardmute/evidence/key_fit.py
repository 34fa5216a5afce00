"""Whether the verify keys given are those of the evidence."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from hardmute.model.errors import UsageError
from hardmute.model.words import printable
from muteboard import attest

if TYPE_CHECKING:
    from hardmute.evidence.verifier import Keys


def require_fit(
    secrets: Keys,
    ids: Mapping[tuple[str, int], str | None],
    fitting: Collection[object],
    what: str,
) -> None:
    """Raise `UsageError` for secrets that are those of other pairings. Rule K3.

    That is all of them if none is ``fitting``; and one of a pairing in ``ids``, those under which
    ``what`` is signed, that has another key id. (Others may be for other logs.) It names whose
    keys they are, and whose ``what`` is. ``ids``: key ids, None where that is not known.
    """
    strangers = [
        owner for owner in secrets if owner not in fitting and (owner in ids or not fitting)
    ]
    if not strangers:
        return
    given = {owner: attest.key_id(secrets[owner]).hex() for owner in strangers}
    whose = (
        f"{what} is of {_named(ids, given)}: give the verify key of that pairing"
        if ids
        else f"nothing in {what} is signed: leave --key out"
    )
    raise UsageError(
        f"The key{'s' * (len(given) > 1)} given {'is' if len(given) == 1 else 'are'} of"
        f" {_named(given, ids)}, but {whose}."
    )


def require_ids(secrets: Keys, ids: Mapping[tuple[str, int], str], what: str) -> None:
    """Raise `UsageError` for secrets whose key id is another than that of their pairing in
    ``ids``: the board had that number before it was reflashed.
    """
    others = {
        owner: secret
        for owner, secret in secrets.items()
        if ids.get(owner, "") not in ("", attest.key_id(secret).hex())
    }
    require_fit(others, ids, (), what)


def _named(ids: Mapping[tuple[str, int], str | None], others: Collection[tuple[str, int]]) -> str:
    """The pairings for a person; those that are among the ``others`` too by their key id."""
    return " and ".join(
        f"pairing {pairing} of board {printable(board)}"
        + (f" (key id {ids[board, pairing]})" if (board, pairing) in others else "")
        for board, pairing in sorted(ids)
    )
