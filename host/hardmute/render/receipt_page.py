"""A receipt as one page that prints, for somebody who is no engineer; the receipt is inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape
from string import Template
from typing import TYPE_CHECKING, Any

from hardmute.evidence.entries import canonical
from hardmute.evidence.receipt import PAGE_CLOSE, PAGE_OPEN, escaped, last_line
from hardmute.model import words
from hardmute.render.bands import BANDS

if TYPE_CHECKING:
    from hardmute.evidence.interval import Interval
    from hardmute.evidence.proof import Proof

_PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Microphone receipt$of_title</title>
<style>
:root { color-scheme: light dark; --ink: #111; --soft: #444; --line: #ccc; --paper: #fff; }
@media screen and (prefers-color-scheme: dark) {
  :root { --ink: #eee; --soft: #bbb; --line: #555; --paper: #16181c; }
}
body { font: 16px/1.5 system-ui, sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem;
  color: var(--ink); background: var(--paper); }
h1, p, dd { overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.2rem; margin: 2rem 0 0; }
.title { font-size: 1.2rem; margin: .25rem 0; }
.verdict { font-size: 1.3rem; font-weight: 600; border-left: .5rem solid $colour;
  padding: .5rem 1rem; margin: 1rem 0; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; }
dt { color: var(--soft); }
dd { margin: 0; }
table { border-collapse: collapse; width: 100%; margin-top: 1rem; }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid var(--line);
  vertical-align: top; white-space: nowrap; }
td:last-child { white-space: normal; overflow-wrap: anywhere; }
.picture { display: block; width: 100%; height: 4rem; }
.swatch { width: 1.6rem; height: 1rem; vertical-align: middle; }
.ends { display: flex; justify-content: space-between; gap: 1rem; margin: 0; }
.ends span + span { text-align: right; }
.legend span { margin-right: 1rem; white-space: nowrap; }
code { font-size: .9rem; }
.small { font-size: .85rem; color: var(--soft); }
@media screen and (max-width: 40rem) {
  dl, table, tbody, tr, td { display: block; }
  thead { display: none; }
  dd { margin-bottom: .5rem; }
  tr { border-bottom: 1px solid var(--line); padding: .5rem 0; }
  td { border: 0; padding: 0; white-space: normal; overflow-wrap: anywhere; }
  td:empty { display: none; }
  td::before { content: attr(data-name) ": "; color: var(--soft); }
}
@media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
</style>
</head>
<body>
<h1>$question</h1>
$title<p class="verdict">$verdict</p>
<p>$totals</p>
<dl>
<dt>From</dt><dd>$start</dd>
<dt>To</dt><dd>$end, by the clock of the computer that asked ($zone)</dd>
<dt>Board</dt><dd>$board</dd>
<dt>Made</dt><dd>$made, by $made_by</dd>
</dl>
$picture
$table
<h2>What this rests on</h2>
<p>The board cuts the line with a relay, senses that it is cut, and writes down every change. It
writes down that it will connect the line before it does. $rests</p>
$limits<p>Times are the computer's: nobody but its owner vouches for its clock. The board's
signatures convince those who trust the holders of the verify key: with that key they could also be
made.</p>
<h2>Who can check it</h2>
$who
<p class="small">SHA-256 of the receipt: $digest</p>
$open$receipt$close
</body>
</html>
""")
_LIMITS = """<p>It speaks of the line that runs through this board's relay, and of no other
microphone. Whether yours runs through it, <code>hardmute verify --listen</code> tells.</p>
"""
_SIMULATED = "A simulated board, which cuts no real microphone."
# For a real board, and for a simulated one.
_VERDICTS = {
    "muted": (
        "Yes: the microphone's line was cut all the time.",
        "Its line was cut all the time.",
    ),
    "live": (
        "No: the microphone's line was connected for a part of the time.",
        "Its line was connected for a part of the time.",
    ),
    "fault": (
        "A fault: for a part of the time the microphone's line cannot be called cut.",
        "For a part of the time its line was in a fault.",
    ),
    "unknown": (
        "Not known for the whole time: see below for the parts that are proven.",
        "Not known for the whole time: see below for the parts that are proven.",
    ),
}
# In the order in which they are drawn: a short "live" is never painted over.
_STATES = {"muted": "cut", "unknown": "not known", "fault": "FAULT", "live": "CONNECTED"}
_TOTALS = {"muted": "cut, proven", "live": "connected", "fault": "fault", "unknown": "not known"}
_HATCHES = {
    "": "",
    "///": "M-3 3L3 -3M0 12L12 0M9 15L15 9",
    "xxx": "M0 0L12 12M0 12L12 0",
    "|||": "M3 0V12M9 0V12",
}
# The picture's width and height, the least width of what it shows, and the width of a hatching.
_WIDTH, _HEIGHT, _LEAST, _HATCH = 1000, 100, 3, 12


def page(content: Mapping[str, Any], proof: Proof) -> str:
    """The page for the receipt ``content`` of ``proof``."""
    title = content["title"]
    real, simulated = _VERDICTS[proof.verdict]
    label = f"{content['label']} ({proof.board})" if content["label"] else proof.board
    body = _PAGE.substitute(
        of_title=f": {escape(title)}" if title else "",
        question="Was the line cut?" if proof.simulated else "Was the microphone off?",
        title=f'<p class="title">{escape(title)}</p>\n' if title else "",
        colour=BANDS[proof.verdict][0],
        verdict=f"{_SIMULATED} {simulated}" if proof.simulated else real,
        totals=_totals(proof.intervals),
        start=words.local_time(proof.from_ms),
        end=words.local_time(proof.to_ms),
        zone=escape(_zone(proof)),
        board=escape(label),
        made=words.local_time(content["made_ms"]),
        made_by=escape(content["made_by"]),
        picture=_picture(proof),
        table=_table(proof.intervals),
        rests=_rests(proof),
        limits="" if proof.simulated else _LIMITS,
        who=_who(content, proof),
        digest=content["sha256"],
        open=PAGE_OPEN.decode(),
        receipt=escaped(canonical(content)),
        close=PAGE_CLOSE.decode(),
    )
    return body + last_line(body.encode()).decode()


def _totals(intervals: Sequence[Interval]) -> str:
    """How long it was what."""
    parts: list[str] = []
    for state, called in _TOTALS.items():
        ms = sum(one.length_ms for one in intervals if one.state == state)
        if ms:
            parts.append(f"{called}: <strong>{words.duration(ms)}</strong>")
    told = "; ".join(parts)
    return f"{told[0].upper()}{told[1:]}."


def _table(intervals: Sequence[Interval]) -> str:
    """The intervals, without the columns that would be empty."""
    columns = {
        "From": [words.local_time(one.start_ms) for one in intervals],
        "For": [words.duration(one.length_ms) for one in intervals],
        "Line": [_STATES[one.state] for one in intervals],
        "Known to": [words.edges(one.plus_minus_ms).strip() for one in intervals],
        "Why": [one.note or words.CAUSES.get(one.cause or "", "") for one in intervals],
    }
    shown = {name: cells for name, cells in columns.items() if any(cells)}
    head = "".join(f"<th>{name}</th>" for name in shown)
    rows = "\n".join(
        "<tr>"
        + "".join(
            f'<td data-name="{name}">{escape(cell)}</td>' if cell else "<td></td>"
            for name, cell in zip(shown, row, strict=True)
        )
        + "</tr>"
        for row in zip(*shown.values(), strict=True)
    )
    return f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _rests(proof: Proof) -> str:
    heard = "".join(
        f" The microphone itself was listened to {one.told} than while it was on."
        for one in proof.heard
    )
    absent = "".join(f" USB: {one.told}." for one in proof.absent)
    return _rests_on_signatures(proof) + escape(heard + absent)


def _rests_on_signatures(proof: Proof) -> str:
    if not proof.signatures:
        return "The board has signed nothing of that time."
    if not proof.fitting:
        return (
            "The computer checked the board's answers when it got them. The board's own signatures"
            " are in this file, to be checked with the verify key."
        )
    checked = f"{proof.signed} signatures of the board were checked when this was made."
    if not proof.without_key:
        return f"All {checked}"
    which = ", ".join(map(str, proof.without_key))
    return f"{checked} There was no key for pairing {which}: what it signed counts for nothing."


def _who(content: Mapping[str, Any], proof: Proof) -> str:
    """Who can check the receipt, with which key, and what that shows."""
    check = (
        "<p>On a computer with hardmute, with this file and the key file:<br>\n"
        "<code>hardmute prove --check FILE --key KEYFILE</code><br>\n"
        "Go by what it says then: the words and the picture above are not signed, what is inside"
        " is. Without the key it checks nothing but that this file agrees with itself.</p>"
    )
    if content["macs"]:
        whose = _pairings(content, content["macs"])
        return (
            f"<p>Everybody who has the verify key of {whose}. This file is signed with that"
            f" key.</p>\n{check}"
        )
    if not proof.signatures:
        return "<p>Nobody: the board has signed nothing of that time.</p>"
    pairings = dict.fromkeys(map(str, (*proof.fitting, *proof.without_key)))
    return (
        f"<p>Everybody who has the verify key of {_pairings(content, pairings)}. <strong>This file"
        " is not signed</strong>: a check shows what the board signed, but not when.</p>\n"
        f"{check}\n<p>Its owner can sign it, on the computer that made it:<br>\n"
        "<code>hardmute prove --sign FILE --key KEYFILE --receipt NEW</code></p>"
    )


def _pairings(content: Mapping[str, Any], which: Mapping[str, object]) -> str:
    known = content["key_ids"]
    return " or ".join(
        f"pairing {escape(pairing)}"
        + (f" (key id <code>{escape(known[pairing])}</code>)" if pairing in known else "")
        for pairing in which
    )


def _zone(proof: Proof) -> str:
    """The names of the local time that the page tells, which may be two."""
    ends = (proof.from_ms, proof.to_ms)
    names = (datetime.fromtimestamp(end / 1000).astimezone().tzname() for end in ends)
    return ", ".join(dict.fromkeys(name or "local time" for name in names))


def _picture(proof: Proof) -> str:
    """The intervals as bands, as long as the page is wide, and what the bands mean."""
    shown = [state for state in _STATES if state in {one.state for one in proof.intervals}]
    span = proof.to_ms - proof.from_ms
    bands: list[str] = []
    for state in shown:
        half = BANDS[state][2] * _HEIGHT
        for one in proof.intervals:
            if one.state == state:
                x = (one.start_ms - proof.from_ms) * _WIDTH / span
                width = max(_LEAST, (one.length_ms) * _WIDTH / span)
                x = min(x, _WIDTH - width)
                # The hatching of a narrow one would hide its colour.
                fill = f"url(#{state})" if width > 2 * _HATCH else BANDS[state][0]
                bands.append(
                    f'<rect x="{x:.1f}" y="{_HEIGHT / 2 - half:g}" width="{width:.1f}"'
                    f' height="{2 * half:g}" fill="{fill}"/>'
                )
    legend = "\n".join(
        '<span><svg class="swatch" aria-hidden="true"><rect width="100%" height="100%"'
        f' fill="url(#{state})"/></svg> {_STATES[state]}</span>'
        for state in shown
    )
    drawn = "\n".join(bands)
    return (
        f'<svg class="picture" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none"'
        ' role="img" aria-label="the line, from beginning to end; the table says the same">\n'
        f"<defs>{''.join(map(_pattern, shown))}</defs>\n{drawn}\n</svg>\n"
        f'<p class="ends small"><span>{words.local_time(proof.from_ms)}</span>'
        f"<span>{words.local_time(proof.to_ms)}</span></p>\n"
        f'<p class="legend small">{legend}</p>'
    )


def _pattern(state: str) -> str:
    colour, hatch, _ = BANDS[state]
    return (
        f'<pattern id="{state}" width="{_HATCH}" height="{_HATCH}" patternUnits="userSpaceOnUse">'
        f'<rect width="{_HATCH}" height="{_HATCH}" fill="{colour}"/>'
        f'<path d="{_HATCHES[hatch]}" stroke="#000" stroke-width="1.5"/></pattern>'
    )
