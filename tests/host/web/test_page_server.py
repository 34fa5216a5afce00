"""What the page's server says: each answer as its document has it, and nothing old as known."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from conftest import Cli, StartSim
from evidence_maker import BOARD as TOLD
from evidence_maker import START_MS, Story
from hardmute.model import errors
from hardmute.monitor.monitor import Monitor
from hardmute.monitor.settings import PageSettings
from hardmute.store.log import Log
from hardmute.web import api
from hardmute.web.boards import Boards
from served_page import BOARD, Answer, Client, RecordedBoard, Served, page_process, wait_for

BASE = f"/api/boards/{BOARD}"


@pytest.fixture
def told(story: Story) -> Iterator[Client]:
    """One with a session, where the log tells the story of a board that is not there."""
    story.host.log.close()
    made = Served(TOLD)
    yield made.client()
    made.close()


# The document.


def require(document: dict[str, Any], method: str, path: str, said: Answer) -> None:
    """Require that an answer is one that the document has for an operation."""
    answer = document["paths"][path][method.lower()]["responses"][str(said.status)]
    kind = said.headers["content-type"].partition(";")[0]
    schema = answer["content"][kind]["schema"]
    text = said.body.decode()
    if kind == "text/event-stream":
        assert text.startswith("data: ")
        text = text[6:]
    value = json.loads(text) if kind != "text/html" and schema != {"type": "string"} else text
    whole = {**schema, "components": document["components"]}
    jsonschema.Draft202012Validator(whole).validate(value)


def test_each_operation_answers_as_its_document_says(told: Client) -> None:
    document = told.ask("GET", "/api/openapi.json").json
    hour = f"from={START_MS}&to={START_MS + 3_600_000}"
    asked = {
        ("GET", "/"): ["/"],
        ("GET", "/api/openapi.json"): ["/api/openapi.json"],
        ("GET", "/api/boards"): ["/api/boards"],
        ("GET", "/api/events"): ["/api/events"],
        ("GET", "/metrics"): ["/metrics"],
        ("POST", "/api/session"): ["/api/session"],
        ("POST", "/api/boards/{board}/mute"): ["/mute"],
        ("GET", "/api/boards/{board}/log"): [
            f"/log?since={START_MS}&until={START_MS + 3_600_000}",
            f"/log?since={START_MS}",
            "/log?since=x",
            "/log",
            f"/log?since={START_MS}&until=3",
        ],
        ("GET", "/api/boards/{board}/proof"): [
            f"/proof?{hour}",
            "/proof?from=1&to=99999999999999",
        ],
        ("GET", "/api/boards/{board}/receipt"): [
            f"/receipt?{hour}",
            f"/receipt?{hour}&format=json",
            f"/receipt?{hour}&format=pdf",
            f"/receipt?from={START_MS}",
        ],
    }
    routes = {(method.upper(), path) for path, one in document["paths"].items() for method in one}
    assert routes == asked.keys()
    statuses = set[int]()
    for (method, path), places in asked.items():
        for place in places:
            whole = place if "{board}" not in path else f"/api/boards/{TOLD}{place}"
            said = told.ask(method, whole, body="{}" if method == "POST" else None)
            require(document, method, path, said)
            statuses.add(said.status)
            stranger = Client(told.url).ask(method, whole)
            if stranger.status != 200:
                require(document, method, path, stranger)
            nobody = told.ask(method, whole, Host="evil.example")
            require(document, method, path, nobody)
        if "{board}" in path:
            place = places[0]
            require(document, method, path, told.ask(method, f"/api/boards/nobody{place}"))
    assert {200, 400, 409} <= statuses
    for method, path in (("GET", "/api/"), ("GET", "/api"), ("DELETE", "/api/boards")):
        said = told.ask(method, path)
        assert said.status in (404, 405)
        assert said.json["error"]


# The truth.


def test_P5_what_is_not_known_is_told_as_unknown(board: RecordedBoard, served: Served) -> None:
    client = served.client()
    seen = client.until("muted")
    assert seen["heard_ms"] is not None
    assert seen["proof"] == "sensed"
    # A board that hangs is heard no more; the server says so by itself.
    board.hang(on=True)
    lost = client.until("unknown")
    assert (lost["heard_ms"], lost["proof"], lost["mutes_at_ms"]) == (None, None, None)
    since_ms = lost["since_ms"]
    # However often it is looked for since.
    assert client.until("unknown")["since_ms"] == since_ms
    board.hang(on=False)
    assert client.until("muted")["since_ms"] < since_ms


def test_a_fault_is_told_as_one(board: RecordedBoard, served: Served) -> None:
    client = served.client()
    board.act("press")
    assert client.until("live")["mutes_at_ms"] is not None
    board.act("weld", 1)
    board.act("press")
    assert client.until("fault")["heard_ms"] is not None


def test_P5_a_board_that_nobody_has_met_is_unknown(home: Path) -> None:
    assert home.exists()
    served = Served("e6614c311b8a4f2d")
    try:
        (one,) = served.client().ask("GET", "/api/boards").json["boards"]
        assert one["verdict"] == "unknown"
        assert one["heard_ms"] is None
    finally:
        served.close()


def test_a_stream_says_each_2_s_that_it_is_there(served: Served) -> None:
    events = served.client().events()
    first, second, third = (next(events) for _ in range(3))
    assert first["now_ms"] <= second["now_ms"] < third["now_ms"]
    assert first["run"] == third["run"]


def test_a_stream_for_nobody_is_not_begun(served: Served) -> None:
    said = served.client().ask("HEAD", "/api/events")
    assert (said.status, said.body) == (200, b"")


def test_many_who_ask_to_mute_cut_once(board: RecordedBoard, served: Served) -> None:
    client = served.client()
    board.act("press")
    client.until("live")
    said: list[int] = []
    asking = [
        threading.Thread(target=lambda: said.append(client.ask("POST", f"{BASE}/mute").status))
        for _ in range(8)
    ]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert set(said) == {200}
    assert board.coil == [True, False]


def test_a_mute_that_fails_is_told(board: RecordedBoard, served: Served) -> None:
    client = served.client()
    client.until("muted")
    board.act("weld", 1)
    board.act("press")
    said = client.ask("POST", f"{BASE}/mute")
    assert said.status == 409
    assert "press its button" in said.json["error"]


# What was.


def test_the_log_of_a_board_is_told(told: Client) -> None:
    said = told.ask(
        "GET", f"/api/boards/{TOLD}/log?since={START_MS}&until={START_MS + 7_200_000}"
    ).json
    assert said["live_ms"] >= 10_000
    assert {one["state"] for one in said["intervals"]} >= {"live", "muted"}
    assert said["paired"] is True
    assert said["signed_at_ms"] is not None
    assert len(said["head"]) == 64


def test_an_interval_is_proven_and_receipted(told: Client, cli: Cli, tmp_path: Path) -> None:
    start, half = START_MS + 1000, START_MS + 1_700_000
    base = f"/api/boards/{TOLD}"
    proof = told.ask("GET", f"{base}/proof?from={start}&to={half}").json
    prove = cli("prove", "--from", iso(start), "--to", iso(half), "--json").json
    assert proof["verdict"] == prove["verdict"]
    assert [one["state"] for one in proof["intervals"]] == [
        one["state"] for one in prove["intervals"]
    ]
    for form in ("html", "json"):
        said = told.ask("GET", f"{base}/receipt?from={start}&to={half}&format={form}")
        assert said.headers["content-disposition"] == (
            f'attachment; filename="receipt-2025-11-24.{form}"'
        )
        # A page of others' making runs nothing here.
        assert "sandbox" in said.headers["content-security-policy"]
        file = tmp_path / f"receipt.{form}"
        file.write_bytes(said.body)
        checked = cli("prove", "--check", file, "--json")
        assert checked.code == errors.UNKNOWN
        assert checked.json["claim"]["verdict"] == proof["verdict"]


def iso(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


# How it starts and ends.


def test_a_port_that_is_taken_is_told_and_tried_again(board: RecordedBoard) -> None:
    first = Served(board.board)
    port = int(first.stranger.host.partition(":")[2])
    second = Served(board.board, chosen=PageSettings(serve=True, address=("127.0.0.1", port)))
    try:
        trouble = second.sink.trouble
        assert trouble is not None
        assert f"port {port} of 127.0.0.1" in trouble
        first.close()
        wait_for(lambda: second.sink.trouble is None and second.sink.entrance())
        second.url = first.url
        second.client().until("muted")
    finally:
        second.close()


def certificate(folder: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "desk.example")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem, own = folder / "page.pem", folder / "page.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    own.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return str(pem), str(own)


class TlsClient(Client):
    def connection(self) -> Any:
        import http.client

        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        port = int(self.host.partition(":")[2])
        return http.client.HTTPSConnection("127.0.0.1", port, timeout=60, context=context)


def test_a_remote_page_has_tls(board: RecordedBoard, tmp_path: Path) -> None:
    pem, key = certificate(tmp_path)
    chosen = PageSettings(True, ("0.0.0.0", 0), ("desk.example",), pem, key)  # noqa: S104 (with TLS)
    served = Served(board.board, chosen=chosen)
    try:
        stranger = TlsClient(served.stranger.url)
        assert stranger.url.startswith("https://desk.example:")
        body = json.dumps({"code": served.code()})
        said = stranger.ask("POST", "/api/session", body=body)
        assert "secure" in said.headers["set-cookie"].lower()
        assert "strict-transport-security" in said.headers
        # Without TLS there is nothing.
        plain = Client(f"http://127.0.0.1:{stranger.host.partition(':')[2]}/")
        with pytest.raises(OSError, match=r"\S"):
            plain.ask("GET", "/")
    finally:
        served.close()


def test_a_certificate_that_cannot_be_used_is_told(board: RecordedBoard, tmp_path: Path) -> None:
    (tmp_path / "page.pem").write_text("nonsense")
    file = str(tmp_path / "page.pem")
    served = Served(board.board, chosen=PageSettings(True, ("127.0.0.1", 0), (), file, file))
    try:
        assert served.sink.trouble is not None
        assert "certificate" in served.sink.trouble
    finally:
        served.close()


def test_100_streams_end_with_the_monitor(start_sim: StartSim, home: Path) -> None:
    """uvicorn by itself would wait for them for ever; and the last row is logged."""
    sim = start_sim()
    with page_process(home, sim.board) as process:
        client = process.client()
        client.until("muted")
        streams = [client.events() for _ in range(100)]
        for stream in streams:
            next(stream)
        sim.act("press")
        client.until("live")
        process.send(signal.SIGTERM)
        assert process.process.wait(60) == errors.OK
        for stream in streams:
            for _ in stream:
                pass
    log = Log(home / "log.sqlite3")
    *_, last = log.observations(sim.board, 0, 1 << 52)
    log.close()
    assert last.verdict == "live"


def test_a_code_is_in_no_command_line(start_sim: StartSim, home: Path, tmp_path: Path) -> None:
    """Other users of a computer can read the command lines of its processes."""
    opened = tmp_path / "opened"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\necho "$@" > {opened}.new && mv {opened}.new {opened}\n')
    program.chmod(0o755)
    sim = start_sim()
    with page_process(home, sim.board) as process:
        url, _ = process.entrance()
        ended = subprocess.run(
            [sys.executable, "-m", "hardmute", "page"],
            env={**os.environ, "BROWSER": f"{program} %s"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert url in ended.stdout
        wait_for(opened.exists)
        place = opened.read_text().strip()
        assert "code" not in place
        file = Path(place.removeprefix("file://"))
        assert file.stat().st_mode & 0o777 == 0o600
        page = file.read_text()
        code = page.partition("#code=")[2][:14]
        Client(url).enter(code)


def test_there_is_no_page_that_nobody_asked_for(start_sim: StartSim, home: Path, cli: Cli) -> None:
    said = cli("page")
    assert (said.code, said.out) == (errors.LOCAL, "")
    assert said.err == "No monitor of yours runs: start one with `hardmute monitor --page`.\n"
    sim = start_sim()
    process = subprocess.Popen(
        [sys.executable, "-m", "hardmute", "monitor", "--json", "-d", sim.board],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert "page = true" in cli("page").err
            # Settings are read again while it runs.
            (home / "monitor.toml").write_text('page = true\npage_address = "127.0.0.1:0"\n')
            process.send_signal(signal.SIGHUP)
            wait_for(lambda: cli("page", "--print").code == errors.OK)
            assert "the monitor serves its page at http://127.0.0.1:" in cli("doctor").out
        finally:
            process.terminate()


def test_a_stream_that_nobody_takes_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would keep what it has for a reader that is gone, for as long as the monitor runs."""
    assert api._PATIENCE_S == 5
    monkeypatch.setattr(api, "_PATIENCE_S", 0.05)
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def receive() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    async def run() -> int:
        boards = Boards(Monitor())
        await asyncio.wait_for(api._Stream(boards)({"type": "http"}, receive, send), 60)
        return boards.readers

    assert asyncio.run(run()) == 0
    # The answer is not ended as a whole one is: uvicorn closes its connection.
    assert sent[-1]["more_body"] is True
    assert len(sent) == 2
