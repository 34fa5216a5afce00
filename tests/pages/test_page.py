"""The monitor's page in a real browser: what it shows, and that it shows nothing old as known.

Needs `chromium-headless-shell` (Debian) and axe-core, as `make test-pages` says. The pictures that
it makes are in build/pages: look at them.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from browser import Browser, Tab, browser

from hardmute.cli.main import main
from hardmute.evidence.observation import Observation
from hardmute.model.answers import Cause, State
from hardmute.store.log import Log
from served_page import BOARD, RecordedBoard, Served, page_process, wait_for

ROOT = Path(__file__).parents[2]
AXE = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = ROOT / "build" / "pages"
MUTED, LIVE, UNKNOWN = (
    (f'document.querySelector(".card[data-state={one}]") !== null')
    for one in ("muted", "live", "unknown")
)
# The page's clocks, which the test moves; and each state that it has shown, with its title.
INSIDE = """
window.skipped = [0, 0];
window.slept = 0;
{
  const now = Date.now.bind(Date), run = performance.now.bind(performance);
  let before = run();
  // A computer that slept has lost time that one of its clocks tells of.
  const look = () => { if (run() - before > 1500) skipped[0] += slept; before = run(); };
  const Real = Date;
  Date = class extends Real { constructor(...given) {
    if (given.length) super(...given); else super(Date.now());
  } };
  Date.now = () => { look(); return now() + skipped[0]; };
  performance.now = () => { look(); return run() + skipped[1]; };
  window.shown = [];
  new MutationObserver(() => {
    const card = document.querySelector(".card[data-state]");
    const said = [card?.dataset.state, document.title.split(" ")[0]].join(" ");
    if (card && shown.at(-1) !== said) shown.push(said);
  }).observe(document, { subtree: true, childList: true, attributes: true, characterData: true });
}
"""


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    with tempfile.TemporaryDirectory(prefix="hm-", dir="/tmp") as name:
        monkeypatch.setenv("HARDMUTE_HOME", name)
        yield Path(name)


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Browser]:
    with browser(tmp_path / "profile") as made:
        yield made


def opened(
    chromium: Browser,
    url: str,
    code: str | None = None,
    *,
    width: int = 1000,
    scheme: str = "light",
) -> Tab:
    """A tab with the page; a ``code`` begins a session for all tabs."""
    tab = chromium.open("about:blank", width=width, scheme=scheme)
    tab.call("Network.enable")
    tab.call("Page.addScriptToEvaluateOnNewDocument", source=INSIDE)
    tab.call("Page.navigate", url=url if code is None else f"{url}#code={code}")
    tab.wait('document.readyState == "complete" && window.shown !== undefined')
    return tab


def signed_in(chromium: Browser, served: Served, **options: Any) -> Tab:
    return opened(chromium, served.stranger.url, served.code(), **options)


# What it shows.


def test_a_press_changes_the_page_and_the_page_mutes(
    board: RecordedBoard, served: Served, chromium: Browser
) -> None:
    tab = signed_in(chromium, served)
    tab.wait(MUTED)
    assert tab.run('document.querySelector(".mute").disabled')
    board.act("press")
    tab.wait(LIVE)
    assert tab.run("document.title") == f"Live - {BOARD} - hardmute"
    said = tab.run("document.body.innerText")
    for word in ("Live", "The line is connected.", "button", "sensed", "Mutes itself"):
        assert word in said
    tab.run('document.querySelector(".mute").click()')
    tab.wait(MUTED)
    assert board.coil == [True, False]
    assert tab.complaints == []


def test_a_fault_is_never_shown_as_muted(
    board: RecordedBoard, served: Served, chromium: Browser
) -> None:
    tab = signed_in(chromium, served)
    board.act("press")
    tab.wait(LIVE)
    tab.run("shown.length = 0")
    board.act("weld", 1, "press")
    tab.wait('document.querySelector(".card[data-state=fault]") !== null')
    assert tab.run("document.title").startswith("Fault")
    assert "The microphone may be live." in tab.run("document.body.innerText")
    assert tab.run('document.querySelector(".mute").disabled') is False
    # Its welded contact keeps the line connected: this cannot cut it, and says so.
    tab.run('document.querySelector(".mute").click()')
    alert = 'document.querySelector(".card[data-state] .alert").textContent'
    tab.wait(f'{alert}.includes("press its button")')
    # Where a busy machine is late it may have been unknown.
    assert set(tab.run("shown")) <= {"live Live", "fault Fault", "unknown Unknown"}


def test_the_code_is_gone_from_the_address(served: Served, chromium: Browser) -> None:
    code = served.code()
    tab = opened(chromium, served.stranger.url, code)
    tab.wait(MUTED)
    assert tab.run("location.href") == served.stranger.url
    # Nor is it where one gets by going back.
    history = tab.call("Page.getNavigationHistory")["entries"]
    assert not [entry["url"] for entry in history if code in entry["url"]]
    # The next tab needs none.
    opened(chromium, served.stranger.url).wait(MUTED)


def test_without_a_session_a_code_is_asked_for(served: Served, chromium: Browser) -> None:
    tab = opened(chromium, served.stranger.url)
    tab.wait('!document.querySelector("#enter").hidden')
    assert tab.run("document.title").startswith("Unknown")
    enter = """
      document.querySelector("#code").value = {!r};
      document.querySelector("#enter").requestSubmit()"""
    tab.run(enter.format("AAAA-AAAA-AAAA"))
    tab.wait('document.querySelector("#enter .alert").textContent.includes("hardmute page")')
    tab.run(enter.format(served.code()))
    tab.wait(MUTED)
    assert tab.run('document.querySelector("#enter").hidden')


def test_nothing_but_this_server_is_asked(served: Served, chromium: Browser) -> None:
    tab = signed_in(chromium, served)
    tab.wait(MUTED)
    tab.run('document.querySelectorAll("details").forEach(one => { one.open = true })')
    tab.wait('document.querySelectorAll(".days tr").length == 30')
    asked = [
        event["params"]["request"]["url"]
        for event in chromium.events
        if event["method"] == "Network.requestWillBeSent"
    ]
    assert len(asked) > 3
    own = (served.stranger.url, "data:", "about:blank")
    assert [url for url in asked if not url.startswith(own)] == []
    assert tab.complaints == []


# One stream for all tabs, and none that nobody sees.


def streams(chromium: Browser, *tabs: Tab) -> int:
    """How many streams these tabs have open now."""
    for tab in tabs:
        tab.run("0")
    begun, ended = set[str](), set[str]()
    sessions = {tab.session for tab in tabs}
    for event in chromium.events:
        if event.get("sessionId") not in sessions:
            continue
        said = event.get("params", {})
        if event["method"] == "Network.requestWillBeSent":
            if said["request"]["url"].endswith("/api/events"):
                begun.add(said["requestId"])
        elif event["method"] in ("Network.loadingFinished", "Network.loadingFailed"):
            ended.add(said["requestId"])
    return len(begun - ended)


def test_P5_eight_tabs_share_one_stream(
    board: RecordedBoard, served: Served, chromium: Browser
) -> None:
    tabs = [signed_in(chromium, served)]
    tabs[0].wait(MUTED)
    tabs += [opened(chromium, served.stranger.url) for _ in range(7)]
    for tab in tabs:
        tab.wait(MUTED)
    wait_for(lambda: streams(chromium, *tabs) == 1)
    board.act("press")
    for tab in tabs:
        tab.wait(LIVE)
    # The one that reads goes; another reads on.
    tabs[0].call("Page.navigate", url="about:blank")
    board.act("press")
    for tab in tabs[1:]:
        tab.wait(MUTED)
    board.act("press")
    for tab in tabs[1:]:
        tab.wait(LIVE)
    wait_for(lambda: streams(chromium, *tabs[1:]) == 1)
    # All of them can still ask: a browser opens six connections.
    tabs[-1].run('document.querySelector(".mute").click()')
    for tab in tabs[1:]:
        tab.wait(MUTED)


def test_P5_a_tab_that_hangs_does_not_blind_others(
    board: RecordedBoard, served: Served, chromium: Browser
) -> None:
    first = signed_in(chromium, served)
    first.wait(MUTED)
    wait_for(lambda: streams(chromium, first) == 1)
    second = opened(chromium, served.stranger.url)
    second.wait(MUTED)
    first.call("Page.setWebLifecycleState", state="frozen")
    # Another one reads the stream before what was said gets old, or soon after it.
    wait_for(lambda: streams(chromium, second) >= 1)
    board.act("press")
    second.wait(LIVE)


SHOWN = """[document.querySelector(".card[data-state]").dataset.state,
  document.title.split(" ")[0]].join(" ")"""
HIDE = f"""
Object.defineProperty(document, "visibilityState", {{ configurable: true, get: () => "%s" }});
document.dispatchEvent(new Event("visibilitychange"));
{SHOWN}
"""


def test_P5_a_tab_that_nobody_sees_shows_unknown(
    board: RecordedBoard, served: Served, chromium: Browser
) -> None:
    """Its title and its picture are seen in the list of tabs."""
    tab = signed_in(chromium, served)
    tab.wait(MUTED)
    wait_for(lambda: streams(chromium, tab) == 1)
    assert tab.run(HIDE % "hidden") == "unknown Unknown"
    wait_for(lambda: streams(chromium, tab) == 0)
    board.act("press")
    served.client().until("live")
    # When it is seen again it says so first of all, and then what is.
    assert tab.run(HIDE % "visible") == "unknown Unknown"
    tab.wait(LIVE)
    assert tab.run("shown").count("muted Muted") == 1


def test_P5_pageshow_begins_with_unknown(served: Served, chromium: Browser) -> None:
    """A page that comes back from the browser's history was kept as it was."""
    tab = signed_in(chromium, served)
    tab.wait(MUTED)
    at_once = """
      dispatchEvent(new PageTransitionEvent("pageshow"));
      {}"""
    assert tab.run(at_once.format(SHOWN)) == "unknown Unknown"
    tab.wait(MUTED)


# By the page's own clocks.


@pytest.mark.parametrize("clock", [0, 1], ids=["wall clock", "running clock"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_P5_a_silent_server_is_unknown_in_5_s(
    home: Path, board: RecordedBoard, chromium: Browser, number: int, clock: int
) -> None:
    with page_process(home, board.board) as process:
        tab = opened(chromium, *process.entrance())
        tab.wait(MUTED)
        process.send(number)
        # One of its clocks tells of the five seconds, the other one stands still.
        tab.run(f"skipped[{clock}] += 5000")
        tab.wait(UNKNOWN)
        said = tab.run("document.body.innerText")
        assert "Unknown, since " in said
        assert "no news from the monitor" in said
        assert "The microphone may be live." in said
        assert tab.run("document.title").startswith("Unknown")


def test_P5_a_server_that_stalls_is_unknown_in_5_s(
    home: Path, board: RecordedBoard, chromium: Browser
) -> None:
    """Its connections stay open and it says nothing: five seconds of the page's own time."""
    with page_process(home, board.board) as process:
        tab = opened(chromium, *process.entrance())
        tab.wait(MUTED)
        wait_for(lambda: streams(chromium, tab) == 1)
        process.send(signal.SIGSTOP)
        # From here on the page's time is the browser's to give, and each timer runs in it.
        tab.call("Emulation.setVirtualTimePolicy", policy="advance", budget=5000)
        wait_for(lambda: tab.has_seen("Emulation.virtualTimeBudgetExpired"))
        assert tab.run(SHOWN) == "unknown Unknown"
        said = tab.run("document.body.innerText")
        assert "Unknown, since " in said
        assert "The monitor is silent." in said or "No answer from the monitor." in said
        # It was muted until then, and nothing else.
        assert set(tab.run("shown")) <= {"muted Muted", "unknown Unknown"}


def test_P5_a_server_that_comes_back_is_believed(
    home: Path, board: RecordedBoard, chromium: Browser
) -> None:
    with page_process(home, board.board) as process:
        tab = opened(chromium, *process.entrance())
        tab.wait(MUTED)
        process.send(signal.SIGSTOP)
        tab.run("skipped[0] += 5000")
        tab.wait(UNKNOWN)
        process.send(signal.SIGCONT)
        tab.wait(MUTED)


@pytest.mark.parametrize("slept_ms", [60_000, 0], ids=["a minute", "as long as it takes"])
def test_P5_a_browser_that_was_stopped_is_not_fooled(
    home: Path, board: RecordedBoard, chromium: Browser, slept_ms: int
) -> None:
    """What was said while it was stopped waits in its connection: "muted", which is not so."""
    with page_process(home, board.board) as process:
        tab = opened(chromium, *process.entrance())
        tab.wait(MUTED)
        wait_for(lambda: streams(chromium, tab) == 1)
        tab.run(f"slept = {slept_ms}")
        said = process.client().events()
        chromium.freeze()
        # At least the events of six seconds are in its connection then, and nothing newer.
        for _ in range(4):
            assert next(said)["boards"][0]["verdict"] == "muted"
        process.send(signal.SIGSTOP)
        board.act("press")
        chromium.thaw()
        tab.wait(UNKNOWN)
        # Nor does it change its mind, for as long as nobody says anything new.
        tab.run("shown.length = 0; new Promise(done => setTimeout(done, 1000))")
        assert set(tab.run("shown")) <= {"unknown Unknown"}
        process.send(signal.SIGCONT)
        tab.wait(LIVE)


# What was.


def test_the_log_is_filtered_and_an_interval_proven(
    board: RecordedBoard, served: Served, chromium: Browser, tmp_path: Path
) -> None:
    client = served.client()
    client.until("muted")
    for word in ("live", "muted") * 2:
        board.act("press")
        client.until(word)
    tab = signed_in(chromium, served)
    tab.wait(MUTED)
    chromium.call(
        "Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path / "downloads")
    )
    tab.run("""document.querySelector(".past").open = true""")
    tab.wait('document.querySelectorAll(".log tbody tr").length >= 4')
    tab.run("""{
      const only = document.querySelector(".only");
      only.value = "live";
      only.dispatchEvent(new Event("input"));
    }""")
    states = 'Array.from(document.querySelectorAll(".log [data-name=State]"), x => x.textContent)'
    assert set(tab.run(states)) == {"Live"}
    tab.run('document.querySelector(".log tbody button").click()')
    tab.wait('document.querySelectorAll(".proof button").length == 2')
    # It is not paired, so nothing is proven.
    assert "Not proven for all of the time." in tab.run("document.body.innerText")
    tab.run('document.querySelector(".proof button").click()')
    wait_for(lambda: list((tmp_path / "downloads").glob("receipt-*.html")))
    (file,) = (tmp_path / "downloads").glob("receipt-*.html")
    wait_for(lambda: main(["prove", "--check", str(file)]) == 3)
    assert tab.complaints == []


# What a screen reader is told: Chromium's own tree of it. Nobody has listened to one here.


class Told(NamedTuple):
    role: str
    name: str
    properties: dict[str, Any]
    # All that is written in it.
    text: str


def told(tab: Tab) -> list[Told]:
    """The accessibility tree of the page, without what it leaves out."""
    nodes = {one["nodeId"]: one for one in tab.call("Accessibility.getFullAXTree")["nodes"]}

    def text(node: dict[str, Any]) -> str:
        if node.get("role", {}).get("value") == "StaticText":
            return node["name"]["value"]
        inside = (nodes[one] for one in node.get("childIds", ()) if one in nodes)
        return " ".join(filter(None, map(text, inside)))

    return [
        Told(
            one["role"]["value"],
            one.get("name", {}).get("value", ""),
            {each["name"]: each["value"].get("value") for each in one.get("properties", ())},
            text(one),
        )
        for one in nodes.values()
        if not one["ignored"]
    ]


def of_role(found: list[Told], role: str) -> list[Told]:
    return [one for one in found if one.role == role]


def test_P5_a_screen_reader_is_told_each_state(
    board: RecordedBoard, served: Served, chromium: Browser
) -> None:
    tab = signed_in(chromium, served)
    tab.wait(MUTED)
    for state, act in (("muted", ()), ("live", ("press",)), ("fault", ("weld", 1, "press"))):
        if act:
            board.act(*act)
        # Said without being asked for: of the regions that speak by themselves this is the first.
        wait_for(lambda state=state: of_role(told(tab), "status")[0].text == f"{BOARD}: {state}")
        tab.wait(f'document.querySelector(".card[data-state={state}]") !== null')
        (said,) = (one for one in told(tab) if one.name == f"Mute {BOARD}")
        assert said.role == "button"
    board.hang(on=True)
    wait_for(lambda: of_role(told(tab), "status")[0].text == f"{BOARD}: unknown")
    found = told(tab)
    assert of_role(found, "status")[0].properties["live"] == "polite"
    assert of_role(found, "RootWebArea")[0].name.startswith("Unknown")
    # What fails is said at once.
    assert {one.properties["live"] for one in of_role(found, "alert")} == {"assertive"}
    levels = [(one.properties["level"], one.name) for one in of_role(found, "heading")]
    assert levels == [(1, "hardmute"), (2, f"{BOARD}, simulated"), (3, "Today")]
    board.hang(on=False)


def test_a_screen_reader_has_a_name_for_each_control(
    board: RecordedBoard, served: Served, chromium: Browser
) -> None:
    asks = opened(chromium, served.stranger.url)
    asks.wait('!document.querySelector("#enter").hidden')
    (code,) = of_role(told(asks), "textbox")
    assert (code.name, code.properties["required"]) == ("Code", True)
    client = served.client()
    client.until("muted")
    for word in ("live", "muted"):
        board.act("press")
        client.until(word)
    tab = signed_in(chromium, served)
    tab.wait(MUTED)
    closed = of_role(told(tab), "DisclosureTriangle")
    expected = ["30 days", "Log", "Prove an interval", "Evidence"]
    assert [(one.name, one.properties["expanded"]) for one in closed] == [
        (name, False) for name in expected
    ]
    tab.run('document.querySelectorAll("details").forEach(one => { one.open = true })')
    tab.wait('document.querySelectorAll(".log tbody tr").length >= 2')
    found = told(tab)
    controls = [one for one in found if one.properties.get("focusable")]
    assert [one for one in controls if not one.name.strip()] == []
    names = {one.name for one in controls}
    assert {"Days", "State", "Why", "From", "To", "Prove"} <= names
    # A button of a row says which row it is of.
    rows = [one.name for one in of_role(found, "button") if "interval from" in one.name]
    assert len(rows) >= 2
    assert {one.name for one in of_role(found, "columnheader")} >= {"From", "State", "For", "Why"}
    # What is drawn is told in words: also of each day.
    drawn = [one.name for one in of_role(found, "image")]
    assert drawn[0].startswith("Today: ")
    assert all(":" in name for name in drawn)


# How it looks.


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [380, 1000])
def test_the_page_can_be_read_by_all(
    board: RecordedBoard, served: Served, chromium: Browser, width: int, scheme: str
) -> None:
    """axe-core finds nothing, in no state, with all that can be opened open."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    asks = opened(chromium, served.stranger.url, width=width, scheme=scheme)
    asks.wait('!document.querySelector("#enter").hidden')
    require_accessible(asks, width)
    asks.picture(PICTURES / f"code-{width}-{scheme}.png")
    tab = signed_in(chromium, served, width=width, scheme=scheme)
    tab.wait(MUTED)
    tab.run('document.querySelectorAll("details").forEach(one => { one.open = true })')
    tab.wait('document.querySelectorAll(".days tr").length == 30')
    states = [("muted", ()), ("live", ("press",)), ("fault", ("weld", 1, "press"))]
    for state, words in states:
        if words:
            board.act(*words)
        tab.wait(f'document.querySelector(".card[data-state={state}]") !== null')
        require_accessible(tab, width)
        tab.picture(PICTURES / f"{state}-{width}-{scheme}.png")
    board.hang(on=True)
    tab.wait(UNKNOWN)
    require_accessible(tab, width)
    tab.picture(PICTURES / f"unknown-{width}-{scheme}.png")
    board.hang(on=False)


# What the board on a desk was on a day: until which hour, and why it became so.
DAY: tuple[tuple[float, State, Cause], ...] = (
    *((9.1, "muted", "boot"), (9.9, "live", "button"), (11.0, "muted", "button")),
    *((11.4, "live", "button"), (12.4, "muted", "timer"), (13.5, "muted", "timer")),
    *((14.2, "live", "button"), (14.6, "muted", "button"), (16.0, "live", "button")),
    (16.6, "muted", "button"),
)
NOON_MS = int(datetime(2026, 11, 18, 12).timestamp() * 1000)  # noqa: DTZ001 (of this computer)


def test_the_page_of_a_working_day(home: Path, chromium: Browser) -> None:
    """The picture of the page in README.md (`make picture`)."""
    log = Log(home / "log.sqlite3")
    begin, live_h = 7.5, 0.0
    for changes, (until, state, cause) in enumerate(DAY):
        for hour in (begin, until - 0.001):
            up_ms = round((hour - 7.4) * HOUR_MS)
            was_live = live_h + (hour - begin if state == "live" else 0)
            log.add(
                Observation(
                    **(SEEN | {"state": state, "verdict": state, "cause": cause}),
                    command="cut" if state == "muted" else "connected",
                    sense=(int(state == "live"),),
                    at_ms=NOON_MS + round((hour - 12) * HOUR_MS),
                    since_ms=round((hour - begin) * HOUR_MS),
                    uptime_ms=up_ms,
                    changes=changes,
                    live_ms=round(was_live * HOUR_MS),
                    remute_in_ms=HOUR_MS if state == "live" else None,
                )
            )
        live_h += until - begin if state == "live" else 0
        begin = until
    log.set_label(BOARD, "Desk")
    log.close()
    PICTURES.mkdir(parents=True, exist_ok=True)
    board = RecordedBoard()
    served = Served(board.board)
    try:
        tab = opened(chromium, served.url)
        # The day of the story, a little after its end.
        early_ms = round(time.time() * 1000) - NOON_MS - round(4.6 * HOUR_MS)
        tab.run(f"skipped[0] = -{early_ms}")
        tab.run(f"enter({served.code()!r})")
        tab.wait(MUTED)
        board.act("press")
        tab.wait(LIVE)
        tab.wait('document.querySelectorAll(".strip.today i.live").length >= 4')
        tab.picture(PICTURES / "working-day.png", 630)
    finally:
        served.close()
        board.close()
    assert "Live" in tab.run("document.body.innerText")


HOUR_MS = 3_600_000
SEEN: dict[str, Any] = {
    "board": BOARD,
    "device": "/dev/ttyACM0",
    "simulated": True,
    "source": "monitor",
    "proof": "sensed",
    "reason": None,
    "boot": 1,
    "faults": (),
    "warnings": (),
    "service": "none",
    "took_ms": 0,
}


def require_accessible(tab: Tab, width: int) -> None:
    assert AXE.exists(), "run `make test-pages`, which installs axe-core"
    tab.run(f"{AXE.read_text('utf-8')};0")
    found = tab.run(
        "axe.run({ resultTypes: ['violations'] }).then(one => one.violations.map("
        "two => [two.id, two.nodes.map(node => node.html + node.failureSummary)]))"
    )
    assert found == []
    assert tab.run("document.documentElement.scrollWidth") <= width
