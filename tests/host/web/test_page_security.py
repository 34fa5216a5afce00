"""Who gets in: rebinding, other sites and ports, guessing. And no route connects a line."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import random
import re
import string
from importlib import resources
from pathlib import Path

import pytest

from hardmute.model.clock import SYSTEM, HostClock
from hardmute.web.entrance import CODE_S, SESSION_S, Codes, Sessions
from served_page import BOARD, Client, RecordedBoard, Served, wait_for

PAGE = resources.files("hardmute.web").joinpath("page.html").read_text("utf-8")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "LIVE")
READS = ("/api/boards", "/api/events", f"/api/boards/{BOARD}/log?since=0")


class Hours:
    """A clock that the test moves, in seconds."""

    def __init__(self) -> None:
        self.s = 1e9
        self.clock = HostClock(lambda: int(self.s * 1000), lambda: int(self.s * 1e6), SYSTEM.run)


# No route connects.


def test_P2_no_route_of_the_page_connects(board: RecordedBoard, served: Served) -> None:
    """Each route with each method and a session, words that other programs have for it, and
    nonsense: the relay does what the button does, and nothing else.
    """
    client = served.client()
    document = client.ask("GET", "/api/openapi.json").json
    paths = [path.replace("{board}", BOARD) for path in document["paths"]]
    words = ("unmute", "connect", "live", "toggle", "press", "state", "mute/off", "../unmute")
    paths += [f"/api/boards/{BOARD}/{word}" for word in words]
    chance = random.Random(20)
    letters = string.ascii_letters + "/%?"
    paths += ["/api/" + "".join(chance.choices(letters, k=12)) for _ in range(30)]
    bodies = ('{"muted": false}', '{"state": "live"}', '{"op": "unmute"}')
    for path in paths:
        for method in METHODS:
            query = "" if "?" in path else "?muted=false&from=0&to=1&since=0"
            client.ask(method, path + query, body=chance.choice(bodies))
    assert board.coil == []
    # It could have seen one: the button's.
    board.act("press")
    client.until("live")
    assert board.coil == [True]
    assert client.ask("POST", f"/api/boards/{BOARD}/mute").status == 200
    client.until("muted")
    assert board.coil == [True, False]


def test_a_page_mutes(board: RecordedBoard, served: Served) -> None:
    client = served.client()
    board.act("press")
    client.until("live")
    said = client.ask("POST", f"/api/boards/{BOARD}/mute")
    assert (said.status, said.json) == (200, {"board": BOARD, "muted": True})
    assert board.act("look")["line"] == "cut"


# Who asks.


def test_nothing_is_told_without_a_session(served: Served) -> None:
    stranger, client = served.stranger, served.client()
    cookie, key = client.session["Cookie"], client.session["X-Hardmute-Key"]
    for path in READS:
        assert client.ask("GET", path).status == 200, path
        for half in ({}, {"Cookie": cookie}, {"X_Hardmute_Key": key}):
            said = stranger.ask("GET", path, **half)
            assert said.status == 401, (path, half)
            assert BOARD not in said.body.decode()
    assert stranger.ask("POST", f"/api/boards/{BOARD}/mute").status == 401
    # The page itself has nothing to tell.
    assert stranger.ask("GET", "/").body.decode() == PAGE


HOSTS = ("evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.2:{port}", "", "localhost")


@pytest.mark.parametrize("host", HOSTS)
def test_rebinding_a_name_to_this_host_is_refused(served: Served, host: str) -> None:
    """A page of evil.example, whose name was changed to mean 127.0.0.1, is of the same origin."""
    client = served.client()
    host = host.format(port=client.host.partition(":")[2])
    for path in ("/", *READS, "/api/openapi.json"):
        assert client.ask("GET", path, Host=host, Origin=f"http://{host}").status == 421
    assert client.ask("GET", "/api/boards", without=("Host",)).status in (400, 421)
    assert client.ask("POST", "/api/session", body="{}", Host=host).status == 421


def test_other_sites_are_refused(board: RecordedBoard, served: Served) -> None:
    client = served.client()
    board.act("press")
    client.until("live")
    mute = f"/api/boards/{BOARD}/mute"
    other_port = "http://127.0.0.1:1"
    for origin in ("http://evil.example", "null", other_port, f"https://{client.host}", ""):
        assert client.ask("POST", mute, Origin=origin).status == 403
        assert client.ask("GET", "/api/boards", Origin=origin).status == 403
        body = json.dumps({"code": served.code()})
        assert client.ask("POST", "/api/session", body=body, Origin=origin).status == 403
    # A form of another site may send no origin; another port is of the same site.
    assert client.ask("POST", mute, without=("Origin",)).status == 403
    for site in ("cross-site", "same-site"):
        assert client.ask("GET", "/api/boards", Sec_Fetch_Site=site).status == 403
        assert client.ask("POST", mute, Sec_Fetch_Site=site).status == 403
    assert board.act("look")["line"] == "connected"
    # And nobody is told that he may ask across sites.
    said = client.ask("OPTIONS", mute, Access_Control_Request_Method="POST")
    assert not [name for name in said.headers if name.startswith("access-control")]


def test_a_code_is_good_once(served: Served) -> None:
    stranger, code = served.stranger, served.code()
    stranger.enter(code)
    again = stranger.ask("POST", "/api/session", body=json.dumps({"code": code}))
    assert again.status == 403
    assert "hardmute page" in again.json["error"]
    # Only the newest is.
    old, new = served.code(), served.code()
    assert stranger.ask("POST", "/api/session", body=json.dumps({"code": old})).status == 403
    stranger.enter(new.lower().replace("-", " "))


@pytest.mark.parametrize(
    "body", ["", "{}", "[]", "null", '{"code": 3}', '{"code": "\\u00e9"}', "[" * 900, "x" * 5000]
)
def test_what_is_no_code_is_refused(served: Served, body: str) -> None:
    assert served.stranger.ask("POST", "/api/session", body=body).status == 400


def test_guessing_a_code_ends_it(served: Served) -> None:
    stranger, code = served.stranger, served.code()
    for _ in range(5):
        wrong = json.dumps({"code": "AAAA-AAAA-AAAA"})
        assert stranger.ask("POST", "/api/session", body=wrong).status == 403
    right = json.dumps({"code": code})
    assert stranger.ask("POST", "/api/session", body=right).status == 403
    stranger.enter(served.code())


def test_a_code_ends_after_a_minute() -> None:
    hours = Hours()
    codes = Codes(hours.clock)
    assert not codes.take("")
    code = codes.make()
    assert re.fullmatch("([2-9A-HJ-NP-Z]{4}-){2}[2-9A-HJ-NP-Z]{4}", code)
    hours.s += CODE_S - 1
    assert codes.take(code)
    code = codes.make()
    hours.s += CODE_S + 1
    assert not codes.take(code)


def test_a_session_cannot_be_made_up(tmp_path: Path) -> None:
    hours = Hours()
    file = tmp_path / "secret"
    sessions = Sessions(file, hours.clock)
    begun, other = sessions.begin(), sessions.begin()
    assert file.stat().st_mode & 0o777 == 0o600
    assert sessions.holds(*begun)
    # The halves of two sessions; what is altered; what is none.
    assert not sessions.holds(begun.cookie, other.key)
    made_s, _, rest = begun.cookie.partition(".")
    later = f"{int(made_s, 16) + 3600:x}.{rest}"
    for cookie in (later, begun.cookie[:-1], "", ".", "..", "é.é.é", f"zz.{rest}"):
        assert not sessions.holds(cookie, begun.key)
    for key in ("", begun.key[:-1], begun.cookie):
        assert not sessions.holds(begun.cookie, key)
    # It outlasts the monitor, and ends with the file, or after 30 days.
    assert Sessions(file, hours.clock).holds(*begun)
    hours.s += SESSION_S + 1
    assert not sessions.holds(*begun)
    fresh = sessions.begin()
    file.unlink()
    assert not Sessions(file, hours.clock).holds(*fresh)


def test_a_secret_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_bytes(bytes(32))
    file.chmod(0o644)
    begun = Sessions(file).begin()
    assert not Sessions(file).holds(*begun)
    (tmp_path / "linked").symlink_to(file)
    begun = Sessions(tmp_path / "linked").begin()
    assert not Sessions(tmp_path / "linked").holds(*begun)


# What browsers are told.


def test_the_cookie_is_for_this_page_alone(served: Served) -> None:
    stranger = served.stranger
    body = json.dumps({"code": served.code()})
    said = stranger.ask("POST", "/api/session", body=body).headers["set-cookie"].lower()
    assert {"httponly", "samesite=strict", "path=/api/"} <= set(said.split("; "))
    assert "domain" not in said
    # Another monitor at another port of this host has another one.
    assert said.startswith(f"hardmute-{stranger.host.partition(':')[2]}=")


def test_each_answer_is_bounded_by_headers(served: Served) -> None:
    client = served.client()
    for path in ("/", "/nothing", *READS):
        said = client.ask("GET", path).headers
        assert said["cache-control"] == "no-store"
        assert said["x-content-type-options"] == "nosniff"
        assert said["referrer-policy"] == "no-referrer"
        assert said["cross-origin-resource-policy"] == "same-origin"
        assert "default-src 'none'" in said["content-security-policy"]
        assert "frame-ancestors 'none'" in said["content-security-policy"]
        assert "server" not in said
    policy = client.ask("GET", "/").headers["content-security-policy"]
    assert "unsafe" not in policy
    for tag, source in (("script", "script-src"), ("style", "style-src")):
        (inside,) = re.findall(f"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in policy


def test_the_page_is_one_small_file_of_its_own() -> None:
    assert len(PAGE.encode()) <= 60_000
    # Nothing of others, and nothing that a policy would have to allow.
    others = r"""(?:src|href)=["'](?!data:,|#)|https?://|//[a-z]+\.|@import|url\("""
    assert not re.findall(others, PAGE)
    assert not re.findall(r"\son[a-z]+=|style=|innerHTML|eval\(|new Function", PAGE)


def test_many_connections_leave_the_monitor_its_files(served: Served) -> None:
    client = served.client()
    idle = [client.connection() for _ in range(450)]
    try:
        for one in idle:
            one.connect()
        # Those beyond what is kept are closed at once; who asks gets an answer when one goes.
        assert _is_closed(idle[-1])
        for one in idle[:100]:
            one.close()
        wait_for(lambda: _is_answered(client))
    finally:
        for one in idle:
            one.close()


def _is_closed(connection: http.client.HTTPConnection) -> bool:
    try:
        return connection.sock.recv(1) == b""
    except ConnectionResetError:
        return True


def _is_answered(client: Client) -> bool:
    try:
        return client.ask("GET", "/api/boards").status == 200
    except OSError:
        return False
