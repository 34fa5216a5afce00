"""Programs that are run and a webhook that is called as boards change: real processes, and a real
web server that can fail, hang and lie.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import socket
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

import hardmute
from certificate import make_certificate
from hardmute.evidence.observation import Observation
from hardmute.monitor import hooks
from hardmute.monitor.feed import Feed
from hardmute.monitor.hooks import SIGNATURE, HookSink
from hardmute.monitor.settings import Hooks
from monitor_time import BOARD, Time, turns

_LATE_S = 60.0
# It writes what it was told into a file, and then sleeps or not.
PROGRAM = """\
import json, os, sys, time
told = json.load(sys.stdin)
with open(sys.argv[1], "a") as out:
    out.write(json.dumps([sys.argv[2], told["board"], told["verdict"]]) + "\\n")
if sys.argv[2] == "hang":
    child = os.fork()
    with open(sys.argv[1] + ".pid", "a") as out:
        out.write(f"{os.getpid()}\\n")
    time.sleep(1000)
"""


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    monkeypatch.setattr("hardmute.model.notices._show", told.append)
    return told


class Rig:
    def __init__(self, settings: Hooks) -> None:
        self.time = Time(datetime(2026, 11, 30, 12))  # noqa: DTZ001 (local time)
        self.feed = Feed()
        self.sink = HookSink(settings, clock=self.time.clock)

    def tell(self, *words: Any, **more: Any) -> None:
        self.feed.tell(self.time.told(*words, **more))


async def _never(board: str) -> None:
    raise AssertionError(board)


@asynccontextmanager
async def running(settings: Hooks) -> AsyncIterator[Rig]:
    rig = Rig(settings)
    task = asyncio.create_task(rig.sink.run(rig.feed, _never))
    try:
        yield rig
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=_LATE_S)
        assert task.done()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(_LATE_S):
        while not condition():
            await asyncio.sleep(0.005)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(scenario)


class Programs:
    """Programs that write down what they are told."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "heard"
        self._program = folder / "program.py"
        self._program.write_text(PROGRAM)

    def line(self, name: str) -> tuple[str, ...]:
        return sys.executable, "-I", str(self._program), str(self._file), name

    @property
    def heard(self) -> list[list[str]]:
        if not self._file.exists():
            return []
        return [json.loads(line) for line in self._file.read_text().splitlines()]

    def alive(self) -> list[int]:
        """Which of those that hang are there, with their children."""
        pids = Path(f"{self._file}.pid")
        groups = {int(line) for line in pids.read_text().split()} if pids.exists() else set[int]()
        return [group for group in groups if _has_members(group)]


def _has_members(group: int) -> bool:
    for process in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = process.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                return True
    return False


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


def test_each_event_has_its_program(programs: Programs) -> None:
    async def scenario() -> None:
        events = ("live", "muted", "fault", "unknown", "incident")
        settings = Hooks(**{f"on_{event}": programs.line(event) for event in events})
        async with running(settings) as rig:
            expected: list[list[str]] = []
            for event in ("muted", "live", "fault", "unknown"):
                rig.tell(event)
                expected.append([event, BOARD, event])
                await until(lambda: programs.heard == expected)
            # The same again is no event; an incident is one, once.
            rig.tell("unknown", reason="silent")
            rig.tell("muted", incident="records are missing")
            expected += [["muted", BOARD, "muted"], ["incident", BOARD, "muted"]]
            await until(lambda: sorted(programs.heard) == sorted(expected))
            rig.tell("live", incident="records are missing")
            expected.append(["live", BOARD, "live"])
            await until(lambda: sorted(programs.heard) == sorted(expected))
            # As a reminder: both.
            told = rig.feed.of(BOARD)
            assert told is not None
            rig.sink.remind(told)
            expected += [["live", BOARD, "live"], ["incident", BOARD, "live"]]
            await until(lambda: sorted(programs.heard) == sorted(expected))
            assert rig.sink.trouble is None

    run(scenario())


def test_a_hook_gets_the_whole_event_and_no_shell(tmp_path: Path) -> None:
    async def scenario() -> None:
        out = tmp_path / "out"
        copy = "import shutil, sys; shutil.copyfileobj(sys.stdin, open(sys.argv[1], 'w'))"
        program = (sys.executable, "-I", "-c", copy, str(out), "$(touch no); `touch no`")
        async with running(Hooks(on_live=program)) as rig:
            rig.tell("live", label='Desk"; touch no', since_s=2.5)
            await until(lambda: out.exists() and out.read_text().endswith("}"))
            told = json.loads(out.read_text())
        assert set(told) == {
            *Observation._fields,
            *("at", "event", "label", "incident", "reminder", "sent_at"),
        }
        assert (told["event"], told["verdict"], told["since_ms"]) == ("live", "live", 2500)
        assert (told["board"], told["label"]) == (BOARD, 'Desk"; touch no')
        assert (told["incident"], told["reminder"]) == (None, False)

    run(scenario())


def test_one_that_hangs_delays_nothing_and_is_killed(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    kills: list[int] = []
    kill = hooks._kill

    def counted(process: asyncio.subprocess.Process) -> None:
        kills.append(process.pid)
        kill(process)

    def may_take(*, least_s: float = 600.0, longest_s: float = 600.0) -> None:
        """A program that is to be heard gets all the time that a busy machine needs to run it."""
        monkeypatch.setattr(hooks, "_LEAST_S", least_s)
        monkeypatch.setattr(hooks, "_LONGEST_S", longest_s)

    monkeypatch.setattr(hooks, "_kill", counted)
    may_take()

    async def scenario() -> None:
        settings = Hooks(on_live=programs.line("hang"), on_muted=programs.line("muted"))
        async with running(settings) as rig:
            rig.tell("live")
            await until(lambda: len(programs.alive()) == 1)
            # Another board does not wait for it.
            rig.tell("muted", board="0002")
            await until(lambda: ["muted", "0002", "muted"] in programs.heard)
            assert kills == []
            # Nor does the newest state of its own board, more than a moment.
            may_take(least_s=0.0)
            rig.tell("muted")
            await until(lambda: ["muted", BOARD, "muted"] in programs.heard)
            assert len(kills) == 1
            # What it had started may be dying just now.
            await until(lambda: programs.alive() == [])
            trouble = "The program of on_live was stopped after"
            assert (rig.sink.trouble or "").startswith(trouble)
            # One with no newer state: after its time.
            may_take(longest_s=0.5)
            rig.tell("live")
            await until(lambda: len(kills) == 2)
            await until(lambda: programs.alive() == [])
            # And as the monitor ends.
            may_take()
            rig.tell("muted")
            await until(lambda: programs.heard.count(["muted", BOARD, "muted"]) == 2)
            rig.tell("live")
            await until(lambda: len(programs.alive()) == 1)
        assert len(kills) == 3
        await until(lambda: programs.alive() == [])
        assert len(said) == 1

    run(scenario())


def test_P5_the_last_program_to_run_is_of_the_newest_state(programs: Programs) -> None:
    async def scenario() -> None:
        settings = Hooks(on_live=programs.line("live"), on_muted=programs.line("muted"))
        async with running(settings) as rig:
            for _ in range(20):
                rig.tell("muted")
                await asyncio.sleep(0.003)
                rig.tell("live")
                await asyncio.sleep(0.003)
            lane = rig.sink._lanes[BOARD, False]
            last = ["live", BOARD, "live"]
            await until(lambda: lane.next is None and programs.heard[-1:] == [last])
            # Those in between may be left out.
            assert len(programs.heard) < 40

    run(scenario())


@pytest.mark.parametrize(
    ("program", "trouble"),
    [
        (
            ("/no/such/program",),
            "The program of on_live cannot be run (there is no such program): correct on_live.",
        ),
        (("/etc/passwd",), "The program of on_live cannot be run (there is no such program)"),
        (("false",), "The program of on_live ended with 1."),
        (("sh", "-c", "kill -9 $$"), "The program of on_live ended with -9."),
    ],
)
def test_a_hook_that_does_not_work_is_one_sentence_once(
    program: tuple[str, ...], trouble: str, said: list[str]
) -> None:
    async def scenario() -> None:
        async with running(Hooks(on_live=program)) as rig:
            for _ in range(3):
                rig.tell("live")
                await until(lambda: rig.sink.trouble is not None)
                rig.tell("muted")
                await asyncio.sleep(0.05)
            assert (rig.sink.trouble or "").startswith(trouble)
            assert len(said) == 1

    run(scenario())


def test_it_is_known_before_it_is_needed_until_it_works(tmp_path: Path) -> None:
    async def scenario() -> None:
        program = tmp_path / "program"
        async with running(Hooks(on_live=(str(program),))) as rig:
            await until(lambda: rig.sink.trouble is not None)
            program.write_text("#!/bin/sh\ncat >/dev/null\n")
            program.chmod(0o700)
            rig.tell("live")
            await until(lambda: rig.sink.trouble is None)

    run(scenario())


# The webhook.


class Server:
    """A web server. ``answers``: how it answers each request; afterwards with 204.

    A number is a status; ``hang`` answers nothing; ``drip`` answers a byte now and then, for ever;
    ``close`` hangs up.
    """

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.got: list[tuple[bytes, dict[str, str]]] = []
        self.open = 0
        self.when_got: Callable[[], None] = lambda: None

    @asynccontextmanager
    async def run(self, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        async with server:
            port = server.sockets[0].getsockname()[1]
            try:
                yield f"{'https' if context else 'http'}://localhost:{port}/hook?board=1"
            finally:
                # A connection that has just come is served: asyncio would leave it open, and tell
                # of it in another test. None comes after it.
                asyncio.get_running_loop().remove_reader(server.sockets[0].fileno())
                await turns()
                await until(lambda: self.open == 0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:-2])
            body = await reader.readexactly(int(headers["content-length"]))
            assert head[0] == "POST /hook?board=1 HTTP/1.1"
            self.got.append((body, headers))
            self.when_got()
            answer = self.answers.pop(0) if self.answers else 204
            if answer == "hang":
                await reader.read()
            elif answer == "drip":
                while not reader.at_eof():
                    writer.write(b"H")
                    await writer.drain()
                    await asyncio.sleep(0.02)
            elif answer != "close":
                writer.write(f"HTTP/1.1 {answer} X\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(one["board"], one["event"]) for one in (json.loads(body) for body, _ in self.got)]


@pytest.fixture
def secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(hooks, "_PAUSES_S", (0.02, 0.05, 0.2))
    file = tmp_path / "secret"
    file.write_text("a long random line\n")
    return str(file)


def test_a_webhook_gets_each_event_signed(secret: str) -> None:
    async def scenario() -> None:
        server = Server()
        async with server.run() as url, running(Hooks(url=url, secret_file=secret)) as rig:
            rig.tell("muted")
            await until(lambda: len(server.got) == 1)
            rig.tell("live", incident="records are missing")
            await until(lambda: len(server.got) == 3)
            assert server.events == [(BOARD, "muted"), (BOARD, "live"), (BOARD, "incident")]
            for body, headers in server.got:
                mac = hmac.new(b"a long random line", body, hashlib.sha256).hexdigest()
                assert headers[SIGNATURE.lower()] == f"sha256={mac}"
                assert json.loads(body)["sent_at"] == json.loads(body)["at"]
            assert rig.sink.trouble is None

    run(scenario())


@pytest.mark.parametrize("failure", [500, 302, 404, "close", "hang", "drip"])
def test_P5_a_webhook_that_fails_gets_the_newest_later(
    failure: int | str, secret: str, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    # An attempt ends by its time where the server does not end it; any other has all the time.
    may_take_s = {"hang": 0.3, "drip": 0.3}.get(str(failure), _LATE_S)
    monkeypatch.setattr(hooks, "_ATTEMPT_S", may_take_s)

    async def scenario() -> None:
        server = Server(*[failure] * 3)
        async with server.run() as url, running(Hooks(url=url, secret_file=secret)) as rig:

            def when_got() -> None:
                if len(server.got) == 1:
                    # The state that was just tried is not news any more.
                    rig.tell("live")
                elif len(server.got) == 3:
                    monkeypatch.setattr(hooks, "_ATTEMPT_S", _LATE_S)

            server.when_got = when_got
            rig.tell("muted")
            await until(lambda: len(server.got) == 1)
            rig.tell("fault", board="0002")
            await until(lambda: rig.sink.trouble is not None)
            await until(lambda: {(BOARD, "live"), ("0002", "fault")} <= set(server.events[3:]))
            await until(lambda: rig.sink.trouble is None)
            assert (BOARD, "muted") not in server.events[1:]
            assert len(said) == 1
            assert said[0].startswith("The webhook at localhost does not take events (")
            # No thread of it is left that waits.
            await until(lambda: server.open == 0)

    run(scenario())


def test_P5_an_attempt_that_was_given_up_sends_nothing_later(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a name takes long to be looked up, its thread goes on."""
    monkeypatch.setattr(hooks, "_ATTEMPT_S", 0.05)
    connect = http.client.HTTPConnection.connect
    late: list[threading.Thread] = []
    goes_on = threading.Event()

    def slow_at_first(connection: http.client.HTTPConnection) -> None:
        if not late:
            late.append(threading.current_thread())
            goes_on.wait(_LATE_S)
        connect(connection)

    monkeypatch.setattr(http.client.HTTPConnection, "connect", slow_at_first)

    async def scenario() -> None:
        server = Server()
        async with server.run() as url, running(Hooks(url=url, secret_file=secret)) as rig:
            rig.tell("muted")
            await until(lambda: bool(late) and rig.sink.trouble is not None)
            monkeypatch.setattr(hooks, "_ATTEMPT_S", _LATE_S)
            rig.tell("live")
            await until(lambda: (BOARD, "live") in server.events)
            goes_on.set()
            await until(lambda: not late[0].is_alive())
            assert server.events[-1] == (BOARD, "live")

    run(scenario())


def test_a_webhook_that_is_away_delays_no_program(secret: str, programs: Programs) -> None:
    async def scenario() -> None:
        server = Server()
        # Nobody listens at its port yet, and nobody else can.
        bound = socket.socket()
        bound.bind(("127.0.0.1", 0))
        url = f"http://localhost:{bound.getsockname()[1]}/hook?board=1"
        settings = Hooks(url=url, secret_file=secret, on_live=programs.line("live"))
        async with running(settings) as rig:
            rig.tell("live")
            await until(lambda: programs.heard == [["live", BOARD, "live"]])
            await until(lambda: "does not take events" in (rig.sink.trouble or ""))
            back = await asyncio.start_server(server._serve, sock=bound)
            async with back:
                await until(lambda: server.events == [(BOARD, "live")])
                await until(lambda: rig.sink.trouble is None)

    run(scenario())


def test_a_webhook_with_a_certificate_of_nobody_gets_nothing(secret: str, tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make_certificate(key, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def scenario() -> None:
        server = Server()
        async with server.run(context) as url:
            async with running(Hooks(url=url, secret_file=secret)) as rig:
                rig.tell("live")
                await until(lambda: "certificate verify failed" in (rig.sink.trouble or ""))
                assert server.got == []
            # Where the system trusts it, it gets its event.
            os.environ["SSL_CERT_FILE"] = str(certificate)
            try:
                async with running(Hooks(url=url, secret_file=secret)) as rig:
                    rig.tell("live")
                    await until(lambda: server.events == [(BOARD, "live")])
            finally:
                del os.environ["SSL_CERT_FILE"]

    run(scenario())


@pytest.mark.parametrize(
    ("url", "secret_file", "trouble"),
    [
        ("ftp://host/", "secret", "webhook must be http"),
        ("https:///path", "secret", "webhook must be http"),
        ("http://host:port/", "secret", "webhook must be http"),
        ("http://me:word@host/", "secret", "webhook must be http"),
        ("http://host/", None, "webhook needs webhook_secret_file"),
        ("http://host/", "missing", "webhook_secret_file cannot be read (No such file"),
        ("http://host/", "empty", "webhook_secret_file is empty"),
    ],
)
def test_a_webhook_that_is_set_wrongly_is_one_sentence(
    url: str, secret_file: str | None, trouble: str, tmp_path: Path, said: list[str]
) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "empty").write_text("\n")
    file = secret_file and str(tmp_path / secret_file)

    async def scenario() -> None:
        async with running(Hooks(url=url, secret_file=file)) as rig:
            rig.tell("live")
            await until(lambda: bool(said))
            assert said[0] == rig.sink.trouble
            assert said[0].startswith(trouble)

    run(scenario())


def test_the_page_s_fields_and_its_check_of_a_signature(secret: str) -> None:
    page = (Path(hardmute.__file__).parents[2] / "docs" / "hooks.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    found: dict[str, Any] = {"hmac": hmac, "hashlib": hashlib}
    exec(code, found)  # noqa: S102 (the page's own example)
    named = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)

    async def scenario() -> None:
        server = Server()
        async with server.run() as url, running(Hooks(url=url, secret_file=secret)) as rig:
            rig.tell("live")
            await until(lambda: bool(server.got))
        ((body, headers),) = server.got
        signature, key = headers[SIGNATURE.lower()], b"a long random line"
        assert found["is_genuine"](body, signature, key)
        assert not found["is_genuine"](body + b" ", signature, key)
        of_status = {*Observation._fields, "at"} - {"board"}
        assert set(json.loads(body)) - of_status == set(named)

    run(scenario())
