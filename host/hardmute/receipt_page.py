"""A receipt as one page that prints, for somebody who is no engineer; the receipt is inside."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Sequence
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

from hardmute import text
from hardmute.entries import canonical
from hardmute.logview import BoardTimeline, edges
from hardmute.timeline import Interval

if TYPE_CHECKING:
    from hardmute.proof import Proof, Proven

_OPEN = '<script type="application/json" id="receipt">\n'
_CLOSE = "\n</script>"
# The last line: a page that was altered, by whatever accident, is not taken for a receipt.
_HASH_MARK = "<!-- SHA-256 of all above: "
_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Microphone receipt</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem;
  color: #111; background: #fff; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
.verdict { font-size: 1.3rem; font-weight: 600; border-left: .5rem solid $colour;
  padding: .5rem 1rem; margin: 1rem 0; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #ccc;
  vertical-align: top; }
td:nth-child(-n+4) { white-space: nowrap; }
svg { width: 100%; height: auto; }
small, .small { font-size: .85rem; color: #333; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
</style>
</head>
<body>
<h1>Was the microphone off?</h1>
<p class="small">A receipt by $made_by, made $made</p>
<p class="verdict">$simulated$verdict</p>
<p>$totals</p>
<p>From <strong>$start</strong> to <strong>$end</strong>, by the clock of the computer that asked
($zone). Board <strong>$board</strong>.</p>
$picture
<table>
<thead><tr><th>From</th><th>For</th><th>Microphone</th><th>Known to</th><th>Why</th></tr>
</thead>
<tbody>
$rows
</tbody>
</table>
<h2>What this rests on</h2>
<p>The board cuts the microphone's line with a relay, senses that it is cut, and writes down every
change; that it will connect the line, before it does. $rests</p>
<p>It speaks of the line that runs through this board's relay, and of no other microphone. Whether
yours runs through it, <code>hardmute verify --listen</code> tells. Times are the
computer's: nobody but its owner vouches for its clock. The board's signatures convince those who
trust whoever holds the verify key, for with it they could also be made.</p>
<h2>To check it</h2>
<p>On a computer with hardmute, with this file and the verify key:<br>
<code>hardmute prove --check FILE --key KEYFILE</code><br>
Go by what it says then: the words and the picture above are not signed, what is inside is.
Without the key it checks nothing but that this file agrees with itself.</p>
<p class="small">SHA-256 of the receipt: $digest</p>
$open$receipt$close
</body>
</html>
""")
_WORDS = {
    "muted": "Yes: the microphone's line was cut all the time.",
    "live": "No: the microphone was connected for a part of the time.",
    "fault": "A fault: for a part of the time the microphone cannot be called off.",
    "unknown": "Not known for the whole time: see below for the parts that are proven.",
}
_STATES = {"muted": "off", "live": "ON", "fault": "FAULT", "unknown": "not known"}
_TOTALS = {"muted": "off, proven", "live": "ON", "fault": "in a fault", "unknown": "not known"}


def page(content: dict[str, Any], proof: Proof) -> str:
    """The page for the receipt ``content`` of ``proof``."""
    from datetime import datetime

    from hardmute.plot import BANDS

    zone = datetime.now().astimezone().tzname() or "local time"
    body = _PAGE.substitute(
        colour=BANDS[proof.verdict][0],
        made_by=escape(content["made_by"]),
        made=text.local_time(content["made_ms"]),
        simulated="A simulated board, which cuts no real microphone. " if proof.simulated else "",
        verdict=_WORDS[proof.verdict],
        totals=_totals(proof.intervals),
        start=text.local_time(proof.from_ms),
        end=text.local_time(proof.to_ms),
        zone=escape(zone),
        board=escape(proof.board) + (", a simulated one" if proof.simulated else ""),
        picture=_picture(proof),
        rows="\n".join(_row(interval) for interval in proof.intervals),
        rests=_rests(proof),
        digest=content["sha256"],
        open=_OPEN,
        receipt=canonical(content).replace("<", "\\u003c"),
        close=_CLOSE,
    )
    return _hashed(body)


def embedded(page: str) -> str:
    """The receipt in a page, as JSON. Raises `ValueError` if the page is not as it was made."""
    body, mark, _ = page.rpartition(_HASH_MARK)
    start, end = body.find(_OPEN), body.rfind(_CLOSE)
    if not mark or page != _hashed(body) or start < 0 or end < start:
        raise ValueError
    return body[start + len(_OPEN) : end]


def _hashed(body: str) -> str:
    return f"{body}{_HASH_MARK}{hashlib.sha256(body.encode()).hexdigest()} -->\n"


def _totals(intervals: Sequence[Proven]) -> str:
    """How long it was what."""
    parts: list[str] = []
    for state, words in _TOTALS.items():
        ms = sum(one.end_ms - one.start_ms for one in intervals if one.state == state)
        if ms:
            parts.append(f"{words}: <strong>{text.duration(ms)}</strong>")
    return "The microphone was " + "; ".join(parts) + "."


def _row(interval: Proven) -> str:
    cells = (
        text.local_time(interval.start_ms),
        text.duration(interval.end_ms - interval.start_ms),
        _STATES[interval.state],
        edges(interval.plus_minus_ms).strip(),
        interval.note or text.CAUSES.get(interval.cause or "", ""),
    )
    return "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _rests(proof: Proof) -> str:
    heard = "".join(
        f" The microphone itself was listened to {one.told} than while it was on."
        for one in proof.heard
    )
    return _rests_on_signatures(proof) + escape(heard)


def _rests_on_signatures(proof: Proof) -> str:
    if not proof.signatures:
        return "The board has signed nothing of that time."
    if not proof.fitting:
        return (
            "The computer checked the board's answers when it got them; the board's own signatures"
            " are in this file, to be checked with the verify key. This receipt itself is not"
            " signed: a check of it shows what the board signed, but not when."
        )
    checked = f"{proof.signed} signatures of the board were checked when this was made."
    if not proof.without_key:
        return f"All {checked}"
    which = ", ".join(map(str, proof.without_key))
    return f"{checked} There was no key for pairing {which}: what it signed counts for nothing."


def _picture(proof: Proof) -> str:
    from hardmute.plot import write_svg

    intervals = [
        Interval(
            one.start_ms,
            one.end_ms,
            one.state,
            one.cause,
            None,
            one.note,
            one.end_ms - one.start_ms if one.state == "live" else 0,
        )
        for one in proof.intervals
    ]
    drawn = io.BytesIO()
    write_svg([BoardTimeline(proof.board, None, False, intervals)], drawn)
    # Inside a page an SVG has no declaration of its own.
    return re.sub(r"^.*?(?=<svg)", "", drawn.getvalue().decode(), flags=re.DOTALL)
