"""Why a time is told as it is: as values. `words.note` makes text of them."""

from __future__ import annotations

from hardmute.model.typed import Literal, NamedTuple

# Why the journal of a board alone does not prove a time.
Doubt = Literal[
    "clocks_disagree",
    "no_attest_key",
    "not_borne_out",
    "not_paired",
    "off_or_restarted",
    "one_sided",
    "pruned",
    "records_lost",
    "records_missing",
]
# With a doubt: what else the journal says. With facts: see `words.note`.
Code = Literal[
    Doubt,
    "at_some_time",
    "by_journal",
    "changes_at_once",
    "clock_went_back",
    "clock_went_forward",
    "muted_but",
    "no_key",
    "not_asked",
    "said",
    "unreached",
    "unseen_changes",
]


class Note(NamedTuple):
    """A reason: ``code``, the ``doubt`` that belongs to it, and the ``facts`` in its words."""

    code: Code
    doubt: Doubt | None = None
    facts: tuple[int | str | None, ...] = ()


def in_words(text: str) -> Note:
    """A reason in words that somebody else has made."""
    return Note("said", facts=(text,))
