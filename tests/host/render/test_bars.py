"""What status bars are given: each in its own format, whatever a board is called."""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import Cli, Sim, StartSim
from hardmute.cli import parser
from hardmute.evidence.observation import Observation, unseen
from hardmute.model import words
from hardmute.model.answers import NOT_ATTESTED, VERDICTS, Verdict
from hardmute.render import bars
from hardmute.render.bands import BANDS
from hardmute.store.log import Log

DOC = (Path(__file__).parents[3] / "docs" / "bars.md").read_text("utf-8")
ODD = [
    "Meeting room 2",
    "<b>muted</b> & co",
    "\"quoted\" 'label'",
    "100 % %{F#f00}red%{F-} %output% %d",
    "#[fg=red]#{pane_id} #(date) ##",
    "a | color=red",
    "--- ~~~",
    ":mic: {} }{ \\n \\",
    "Büro Überall",
]
LABELS = st.one_of(
    st.sampled_from(ODD),
    st.text(st.sampled_from("ab<>&\"'%{}#[](),|:\\-~ \x1b\n\u202e"), max_size=9),
)
BOARDS = st.lists(
    st.builds(
        bars.shown_of,
        LABELS,
        st.sampled_from(VERDICTS),
        st.sampled_from([None, *words.REASONS]),
        simulated=st.booleans(),
    ),
    max_size=3,
)


def observed(verdict: Verdict, reason: str | None = None) -> Observation:
    nothing = unseen(
        "no_answer", board="deadbeef", device="x", simulated=False, source="watch", at_ms=0
    )
    return nothing._replace(verdict=verdict, reason=reason)


def shown(verdict: Verdict, label: str = "Desk", reason: str | None = None) -> bars.BarItem:
    return bars.shown(label, observed(verdict, reason))


def read_polybar(line: str) -> list[tuple[str, str]]:
    """(colour, text) as polybar draws it; no other tag may be in it."""
    parts = re.findall(r"%\{F(#\w+)\}(.*?)%\{F-\}", line)
    assert ", ".join(f"%{{F{colour}}}{text}%{{F-}}" for colour, text in parts) == line
    assert all("%{" not in text for _, text in parts)
    return parts


def read_tmux(line: str) -> list[tuple[str, str]]:
    """(colour, text) as tmux draws it: two # are one, and no other # may be in it."""
    parts = re.findall(r"#\[fg=(#\w+)\]((?:[^#]|##)*)#\[default\]", line)
    made = ", ".join(f"#[fg={colour}]{text}#[default]" for colour, text in parts)
    assert made == line
    return [(colour, text.replace("##", "#")) for colour, text in parts]


def test_the_words_of_each_state() -> None:
    assert bars.line("plain", [shown("muted")]) == "MUTED Desk"
    assert bars.line("plain", [shown("live")]) == "LIVE Desk"
    assert bars.line("plain", [shown("fault", reason="a weld")]) == "FAULT Desk (may be live)"
    assert (
        bars.line("plain", [shown("unknown", reason="silent")]) == "UNKNOWN Desk (silent for 3 s)"
    )
    assert bars.line("plain", [shown("unknown", reason="new_word")]) == "UNKNOWN Desk"
    simulated = observed("live")._replace(simulated=True)
    assert bars.line("plain", [bars.shown("Desk", simulated)]) == "LIVE Desk (simulated)"


def test_several_boards_are_one_line_with_the_gravest_first() -> None:
    boards = [shown("muted", "A"), shown("unknown", "B"), shown("live", "C"), shown("fault", "D")]
    for ordered in (boards, boards[::-1]):
        line = bars.line("plain", ordered)
        assert line == "FAULT D (may be live), LIVE C, UNKNOWN B, MUTED A"
        assert json.loads(bars.line("waybar", ordered))["class"] == "fault"
    assert json.loads(bars.line("waybar", boards[:2]))["class"] == "unknown"
    assert bars.line("swiftbar", boards[:2]).splitlines() == [
        "~~~",
        "UNKNOWN B, MUTED A | color=#bbbbbb emojize=false symbolize=false",
        "---",
        "UNKNOWN B | color=#bbbbbb emojize=false symbolize=false",
        "MUTED A | color=#d55e00 emojize=false symbolize=false",
    ]


@pytest.mark.parametrize("form", bars.FORMATS)
def test_P5_nothing_but_muted_is_shown_like_muted(form: bars.Format) -> None:
    def looks(label: str) -> Iterator[str]:
        """The line of each state that a bar can be asked to show, without the label."""
        yield bars.line(form, [])
        for verdict in ("live", "fault", "unknown"):
            for reason in (None, NOT_ATTESTED, *words.REASONS):
                yield bars.line(form, [shown(verdict, label, reason)])

    muted = bars.line(form, [shown("muted")])
    assert "MUTED" in muted
    for line in looks("Desk"):
        assert "muted" not in line.lower()
        if form != "plain" and form != "waybar":
            assert BANDS["muted"][0] in muted
            assert BANDS["muted"][0] not in line
        if form == "waybar":
            assert json.loads(line)["class"] != "muted"
            assert json.loads(line)["alt"] != "muted"


@given(BOARDS)
def test_each_format_can_be_read_as_its_bar_reads_it(boards: list[bars.BarItem]) -> None:
    lines = {form: bars.line(form, boards) for form in bars.FORMATS}
    plain = lines["plain"]
    order = ("fault", "live", "unknown", "muted")
    expected = sorted(
        boards or [bars.BarItem("no board", "unknown", "")],
        key=lambda one: order.index(one.verdict),
    )
    assert plain.isprintable()
    for one in boards:
        assert f"{one.verdict.upper()} {words.printable(one.label)}" in plain

    waybar = json.loads(lines["waybar"])
    assert waybar["class"] == waybar["alt"] == expected[0].verdict
    for part in ("text", "tooltip"):
        # Pango's markup is read as XML; and there is no element in it.
        root = ElementTree.fromstring(f"<markup>{waybar[part]}</markup>")  # noqa: S314 (ours)
        assert len(root) == 0
        assert root.text == unescape(waybar[part])
    assert unescape(waybar["text"]) == plain
    assert unescape(waybar["tooltip"]).split("\n") == [one.text for one in expected]

    assert lines["i3"].startswith(",")
    blocks = json.loads(lines["i3"][1:])
    assert [block["full_text"] for block in blocks] == [one.text for one in expected]
    assert {block["markup"] for block in blocks} == {"none"}
    assert [block["urgent"] for block in blocks] == [one.verdict == "fault" for one in expected]

    drawn = [(BANDS[one.verdict][0], one.text) for one in expected]
    assert read_tmux(lines["tmux"]) == drawn
    assert read_polybar(lines["polybar"]) == [
        (colour, text.replace("%{", "%[")) for colour, text in drawn
    ]

    menu = lines["swiftbar"].split("\n")
    assert menu[0] == "~~~"
    assert len(menu) == (2 if len(expected) == 1 else 3 + len(expected))
    for row, colour in zip(menu[3:] or menu[1:], [colour for colour, _ in drawn], strict=True):
        text, bar, parameters = row.partition("|")
        assert bar
        assert re.match("MUTED |LIVE |FAULT |UNKNOWN ", text)
        assert parameters == f" color={colour} emojize=false symbolize=false"

    for form in ("waybar", "i3", "polybar", "tmux", "plain"):
        assert "\n" not in lines[form]


def test_i3bar_gets_one_endless_array() -> None:
    head, *rest = bars.begin("i3").split("\n")
    assert json.loads(head) == {"version": 1}
    rows = json.loads("\n".join([*rest, bars.line("i3", [shown("live")]), "]"]))
    assert [[block["full_text"] for block in row] for row in rows] == [
        [],
        ["UNKNOWN no board"],
        ["LIVE Desk"],
    ]


@pytest.mark.parametrize("form", bars.FORMATS)
def test_a_bar_is_told_first_that_nothing_is_known(form: bars.Format) -> None:
    assert bars.begin(form).endswith(bars.line(form, []))
    assert "UNKNOWN no board" in bars.begin(form)


def test_the_command_line_and_the_page_have_each_format() -> None:
    commands = next(
        action.choices
        for action in parser.build_parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    action = next(one for one in commands["watch"]._actions if one.dest == "format")
    assert tuple(action.choices or ()) == bars.FORMATS
    assert set(re.findall(r"--format (\w+)", DOC)) == set(bars.FORMATS)
    # The lines to paste are lines that hardmute understands.
    for words_of in re.findall(r"hardmute ((?:watch|status) [-\w ]+)", DOC):
        parser.parse(words_of.split())


def test_P5_a_bar_follows_the_board_and_ends_with_unknown(sim: Sim, cli: Cli) -> None:
    assert cli("-d", sim.board, "name", "a <b> & #1").code == 0
    with subprocess.Popen(
        [sys.executable, "-m", "hardmute", "watch", "-d", sim.board, "--format", "waybar"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        lines = map(json.loads, process.stdout)
        shown = [next(lines)]
        # On a busy machine an answer may come too late: then "unknown" is between.
        shown.append(next(one for one in lines if one["class"] != "unknown"))
        sim.act("press")
        shown.append(next(one for one in lines if one["class"] == "live"))
        process.terminate()
        shown.append(list(lines)[-1])
        assert process.wait(60) == 130
    assert [(one["class"], one["text"]) for one in shown] == [
        ("unknown", "UNKNOWN no board"),
        ("muted", "MUTED a &lt;b&gt; &amp; #1 (simulated)"),
        ("live", "LIVE a &lt;b&gt; &amp; #1 (simulated)"),
        ("unknown", "UNKNOWN no board"),
    ]


def test_status_in_one_short_line(start_sim: StartSim, cli: Cli) -> None:
    sim, other = start_sim(), start_sim()
    told = cli("status", "-d", sim.board, "--short")
    assert (told.code, told.out) == (0, f"MUTED {sim.board} (simulated)\n")
    cli("name", "-d", sim.board, "Desk")
    other.act("press")
    both = ("status", "-d", "Desk", "-d", other.board, "--short")
    told = cli(*both)
    assert (told.code, told.out) == (
        1,
        f"LIVE {other.board} (simulated), MUTED Desk (simulated)\n",
    )
    other.act("unplug")
    told = cli(*both)
    assert told.code == 3
    assert told.out.startswith(f"UNKNOWN {other.board} (")
    assert told.out.endswith(", MUTED Desk (simulated)\n")
    told = cli("status", "-d", "Desk", "-d", "nobody", "--short")
    assert (told.code, told.out) == (3, "UNKNOWN nobody, MUTED Desk (simulated)\n")
    assert cli("status", "--short", "--json").code == 2


@contextlib.contextmanager
def hardmute_runs(*words: str) -> Iterator[tuple[subprocess.Popen[str], Iterator[str]]]:
    """A command, and the lines that it prints."""
    with subprocess.Popen(
        [sys.executable, "-m", "hardmute", *words], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process, (line.rstrip("\n") for line in process.stdout)
        finally:
            process.terminate()


@pytest.mark.parametrize("by", ["itself", "itself, all", "the monitor", "the monitor, all"])
def test_P5_several_boards_are_followed_in_one_line(
    start_sim: StartSim, cli: Cli, home: Path, by: str
) -> None:
    desk, other = start_sim(), start_sim()
    for sim, label in ((desk, "Desk"), (other, "Room")):
        assert cli("name", "-d", sim.board, label).code == 0
    both = ("-d", "Desk", "-d", other.board)
    with contextlib.ExitStack() as monitor:
        if "monitor" in by:
            _, said = monitor.enter_context(hardmute_runs("monitor", *both))
            for _ in range(2):
                next(said)
        named = ("--all",) if "all" in by else both
        with hardmute_runs("watch", "--format", "plain", *named) as (process, lines):
            assert next(lines) == "UNKNOWN no board"
            all_lines: list[str] = []
            for act, wanted in (
                ("press", "LIVE Room (simulated), MUTED Desk (simulated)"),
                ("unplug", "UNKNOWN Room ("),
            ):
                # On a busy machine an answer may come too late: then "unknown" is between.
                for line in lines:
                    all_lines.append(line)
                    if line.count("MUTED") == 2:
                        break
                other.act(act)
                all_lines.append(next(line for line in lines if line.startswith(wanted)))
                if act == "press":
                    other.act("press")
            process.terminate()
            assert [*lines][-1] == "UNKNOWN no board"
            assert process.wait(60) == 130
    # No board is left out before it has answered.
    names = {"Desk", "Room"} if "all" in by else {"Desk", other.board, "Room"}
    for line in all_lines:
        found = sum(name in line for name in names)
        assert found == 2 or line == "UNKNOWN no board"
    log = Log(home / "log.sqlite3", read_only=True)
    rows = list(log.observations(other.board, 0, 1 << 52))
    log.close()
    assert {"live", "muted", "unknown"} <= {row.verdict for row in rows}


@pytest.mark.usefixtures("home")
def test_only_a_bar_is_shown_several_boards(cli: Cli) -> None:
    told = cli("watch", "-d", "one", "-d", "other")
    assert (told.code, told.out) == (2, "")
    assert "--format" in told.err
    told = cli("watch", "--all", "-d", "one", "--format", "plain")
    assert told.code == 2
    assert "--device" in told.err
