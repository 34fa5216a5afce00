"""What a proof says: as text, and as JSON."""

from __future__ import annotations

from typing import Any

from hardmute.evidence.interval import Interval
from hardmute.evidence.proof import Proof, counts_for_nothing, shown_json
from hardmute.model import words
from hardmute.model.clock import iso_time
from hardmute.model.reasons import Code

_GIVE_KEY = "give the verify key of that pairing: --key FILE"
# What to do about a reason.
_STEPS: dict[Code, str] = {
    "one_sided": (
        "have the board sign before and after the time that matters: run `hardmute verify` then,"
        " or keep `hardmute watch` running"
    ),
    "not_paired": "pair it, for the times to come: `hardmute pair --verify-key FILE`",
    "pruned": "check an export or a receipt that was made before `hardmute log prune`",
    "no_attest_key": _GIVE_KEY,
    "no_key": _GIVE_KEY,
    "clocks_disagree": "keep the host's clock right: `hardmute doctor` checks it",
    "not_borne_out": "have the contacts checked: `hardmute doctor`",
    "off_or_restarted": "keep the board powered; after a restart run `hardmute status`",
    "records_lost": "have the board's flash checked: `hardmute doctor`",
    "records_missing": "see what is missing: `hardmute log verify`",
    "at_some_time": "meet the board more often: keep `hardmute watch` running",
}


def proof_steps(told: Proof) -> list[str]:
    """What to do about the reasons in it, each once."""
    reasons = [
        {reason for note in one.notes for reason in (note.code, note.doubt)}
        for one in told.intervals
        if one.state == "unknown"
    ]
    return list(
        dict.fromkeys(
            step for known in reasons for reason, step in _STEPS.items() if reason in known
        )
    )


def proof_line(interval: Interval) -> str:
    cause = words.CAUSES.get(interval.cause or "", "")
    return (
        f"{interval.state:8}{words.local_time(interval.start_ms)} for "
        f"{words.duration(interval.length_ms)}"
        f"{words.edges(interval.plus_minus_ms)}  {interval.note or cause}"
    )


def rests_on(proof: Proof) -> str:
    if not proof.signatures:
        return "rests on nothing: the log has nothing of that time that the board signed"
    if proof.unchecked:
        return "rests on nothing: no signature was checked; only --key can check the board's own"
    if proof.without_key and proof.fitting:
        return (
            f"rests on {proof.signed} of {proof.signatures} signatures of the board, checked with "
            "the verify key, and on the clock of the host that asked; "
            f"{counts_for_nothing(proof)}"
        )
    if proof.fitting:
        return (
            f"rests on {proof.signed} signatures of the board, all checked with the verify key; "
            "and on the clock of the host that asked"
        )
    if not proof.counted:
        return "rests on nothing: no signature of the board could be checked here without --key"
    return (
        "rests on what this host checks with its attest key, on its log and clock; "
        "with --key also on the board's own signatures"
    )


def proof_json(proof: Proof) -> dict[str, Any]:
    return {
        "board": proof.board,
        "simulated": proof.simulated,
        "from": iso_time(proof.from_ms),
        "to": iso_time(proof.to_ms),
        **claim_json(proof),
        "signatures": proof.signatures,
        "signatures_checked": proof.signed,
        "pairings_without_key": proof.without_key,
        "findings": [finding._asdict() for finding in proof.findings],
        "rests_on": rests_on(proof),
    }


def claim_json(proof: Proof) -> dict[str, Any]:
    return {
        "verdict": proof.verdict,
        "intervals": [
            {
                **shown_json(interval),
                "start": iso_time(interval.start_ms),
                "end": iso_time(interval.end_ms),
            }
            for interval in proof.intervals
        ],
        "heard": [
            {**one._asdict(), "start": iso_time(one.from_ms), "end": iso_time(one.to_ms)}
            for one in proof.heard
        ],
        "absent": [
            {
                **one._asdict(),
                "devices": [device._asdict() for device in one.devices],
                "start": iso_time(one.from_ms),
                "end": iso_time(one.to_ms),
            }
            for one in proof.absent
        ],
    }
