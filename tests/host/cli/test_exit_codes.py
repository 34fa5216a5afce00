"""However a command starts and ends: no exception is Python's exit code 1, which means "live".

POSIX only: closed file descriptors, `/dev/full`, signals.
"""

from __future__ import annotations

import ast
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from fake_device import BOARD, LIVE, MUTED, Board, on, tcp_device

import hardmute
from conftest import Cli, Logged, Sim
from hardmute.cli import parser as command_line
from hardmute.cli.main import main
from hardmute.device import client
from hardmute.model.errors import INTERRUPTED, LOCAL, OK, UNKNOWN, USAGE
from hardmute.model.errors import LIVE as LIVE_CODE

STREAMS = ("stdin", "stdout", "stderr")
NOWHERE = "/dev/hardmute-is-not-here"


def as_process(
    redirected: str, *words: str, buffered: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run ``hardmute`` with the standard streams redirected as a shell writes it."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "" if buffered else "1"}
    command = ["sh", "-c", f'exec "$@" {redirected}', "sh", sys.executable, "-m", "hardmute"]
    return subprocess.run(
        [*command, *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )


# Characters.


@pytest.mark.parametrize("encoding", ["cp1252", "cp437", "cp932", "ascii", "latin-1", "utf-8"])
def test_every_code_page_shows_everything(
    encoding: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    with tcp_device(Board()) as device:
        for words in (["status"], ["name", "会議室 é"]):
            assert cli("-d", device.address, *words).code == OK
        for words in (["status"], ["verify"], ["list"], ["log"], ["log", "verify"], ["doctor"]):
            raw = io.BytesIO()
            with monkeypatch.context() as patch:
                for name in ("stdout", "stderr"):
                    patch.setattr(sys, name, io.TextIOWrapper(raw, encoding=encoding))
                code = main(["-d", device.address, *words] if words != ["list"] else words)
                sys.stdout.flush()
                shown = raw.getvalue().decode(encoding)
            assert code == cli(*(["-d", device.address] if words != ["list"] else []), *words).code
            if words == ["log"]:
                # The picture is one, and not a row of escapes.
                assert r"\u25" not in shown
                assert any(glyph * 9 in shown for glyph in "-─")
            if words == ["status"]:
                assert ("会議室" if encoding == "utf-8" else BOARD) in shown


def test_a_name_that_is_no_text_is_told(cli: Cli) -> None:
    assert cli("-d", "/dev/\udcff", "status").code == UNKNOWN


# Streams that are not there, or cannot be written.


@pytest.mark.parametrize(
    "missing",
    [gone for count in (1, 2, 3) for gone in combinations(STREAMS, count)],
    ids="-".join,
)
@pytest.mark.parametrize("how", ["none", "closed"])
def test_P5_the_exit_code_is_the_state_without_standard_streams(
    missing: tuple[str, ...], how: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert home
    closed = io.StringIO()
    closed.close()
    for status, code in ((MUTED, OK), (LIVE, LIVE_CODE)):
        with tcp_device(Board(status=status)) as device:
            for words in (["status"], ["status", "--json"]):
                with monkeypatch.context() as patch:
                    for name in missing:
                        patch.setattr(sys, name, None if how == "none" else closed)
                    assert main(["-d", device.address, *words]) == code
                    for name in missing:
                        getattr(sys, name).close()
    for words, code in ((["--help"], OK), (["nonsense"], USAGE), (["log"], OK), (["list"], OK)):
        with monkeypatch.context() as patch:
            for name in missing:
                patch.setattr(sys, name, None if how == "none" else closed)
            assert main(words) == code
            for name in missing:
                getattr(sys, name).close()


@pytest.mark.parametrize(
    ("redirected", "words", "code"),
    [
        (">&-", ["status"], OK),
        ("<&- >&- 2>&-", ["status"], OK),
        (">/dev/full", ["status"], LOCAL),
        (">/dev/full", ["log"], LOCAL),
        (">/dev/full", ["watch"], LOCAL),
        (">/dev/full", ["--help"], LOCAL),
        ("2>/dev/full", ["-d", NOWHERE, "status"], UNKNOWN),
        (">/dev/full 2>&1", ["-d", NOWHERE, "status"], UNKNOWN),
        ("2>/dev/full", ["nonsense"], USAGE),
        ("2>/dev/full", ["-v", "config", "get"], UNKNOWN),
    ],
)
def test_P5_a_failed_write_never_gives_the_exit_code_of_live(
    redirected: str, words: list[str], code: int, sim: Sim, cli: Cli
) -> None:
    assert cli("-d", sim.board, "status").code == OK
    named = [] if words[0] in ("-d", "-v", "--help", "nonsense") else ["-d", sim.board]
    ended = as_process(redirected, *named, *words)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    if redirected == ">/dev/full":
        assert ended.stderr.startswith("Standard output cannot be written: ")
    # What is open as descriptor 1 or 2 is not the log.
    assert cli("log", "verify").code in (OK, UNKNOWN)


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize(("words", "code"), [([], LOCAL), (["press"], LIVE_CODE), (["weld"], 4)])
def test_P5_the_exit_code_tells_the_state_that_cannot_be_printed(
    words: list[str], code: int, buffered: bool, sim: Sim
) -> None:
    if words:
        sim.act(*words)
    ended = as_process(">/dev/full", "status", "-d", sim.board, buffered=buffered)
    assert ended.returncode == code
    assert ended.stderr.startswith("Standard output cannot be written: ")
    ended = as_process(">/dev/full", "watch", "-d", sim.board, buffered=buffered)
    assert (ended.returncode, ended.stderr.count("\n")) == (LOCAL, 1)


def test_an_import_that_fails_is_a_local_failure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, failed_inside: list[str]
) -> None:
    monkeypatch.setitem(sys.modules, "hardmute.cli.parser", None)
    monkeypatch.delattr("hardmute.cli.parser")
    assert main(["status"]) == LOCAL
    assert "failed inside" in capsys.readouterr().err
    failed_inside.clear()


@pytest.mark.parametrize("error", [SystemExit(1), SystemExit("text"), RecursionError("deep")])
def test_whatever_ends_a_command_it_is_not_the_exit_code_of_live(
    error: BaseException, cli: Cli, monkeypatch: pytest.MonkeyPatch, failed_inside: list[str]
) -> None:
    def run(_args: object) -> int:
        raise error

    monkeypatch.setattr(command_line, "resolve", lambda _run: run)
    assert cli("status").code == LOCAL
    failed_inside.clear()


# Signals.


@pytest.fixture
def handlers() -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda one: one.name)
@pytest.mark.usefixtures("handlers")
def test_P6_watch_logs_its_last_word_whatever_ends_it(
    number: signal.Signals, cli: Cli, logged: Logged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that is closed says so twice: to the session, and through its shell."""
    events = iter([{}, {"uptime_ms": 60_100}, {"uptime_ms": 60_200}])

    def watch(session: client.Session) -> Iterator[Any]:
        status = session.status()
        for change in events:
            yield status._replace(**change)
        for _ in range(2):
            os.kill(os.getpid(), number)

    monkeypatch.setattr(client.Session, "watch", watch)
    with tcp_device(on("hello", _terminal_is_gone(number))) as device:
        told = cli("-d", device.address, "watch")
    assert told.code == INTERRUPTED
    assert logged(BOARD)[-1].uptime_ms == 60_200


def _terminal_is_gone(number: signal.Signals) -> Callable[[Any, Any, bytes], bytes]:
    """The second signal comes while the board is asked for the last time."""
    asked = 0

    def answer(_request: Any, _answer: Any, frame: bytes) -> bytes:
        nonlocal asked
        asked += 1
        if asked == 2:
            os.kill(os.getpid(), number)
        return frame

    return answer


@pytest.mark.usefixtures("handlers")
def test_watch_that_is_to_ignore_a_closed_terminal_ignores_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def watch(session: client.Session) -> Iterator[Any]:
        yield session.status()
        os.kill(os.getpid(), signal.SIGHUP)
        yield session.status()
        raise KeyboardInterrupt

    monkeypatch.setattr(client.Session, "watch", watch)
    with tcp_device(Board()) as device:
        assert cli("-d", device.address, "watch").code == INTERRUPTED
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


# The source.


def test_only_outermost_excepts_take_whatever_comes() -> None:
    """That of a command; and of a thread, a sink or a page of the monitor, which outlives it."""
    found = [
        file.name
        for file in sorted(Path(hardmute.__file__).parent.rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if _is_blanket(node)
    ]
    assert found == ["main.py", "aside.py", "sinks.py", "station.py", "api.py"]


def _is_blanket(node: ast.AST) -> bool:
    if isinstance(node, ast.ExceptHandler):
        # To clean up, and then to go on with whatever it was, hides nothing.
        last = node.body[-1]
        goes_on = isinstance(last, ast.Raise) and last.exc is None
        return not goes_on and (node.type is None or _names_all(node.type))
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name | ast.Attribute)
        and ast.unparse(node.func).endswith("suppress")
        and any(map(_names_all, node.args))
    )


def _names_all(caught: ast.AST) -> bool:
    names = {name.id for name in ast.walk(caught) if isinstance(name, ast.Name)}
    return bool(names & {"Exception", "BaseException"})
