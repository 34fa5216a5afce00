"""Metrics before Debian's Prometheus: promtool on our rules, and a server that asks a monitor.

.ci/run installs it (package prometheus). Where it is missing these tests fail.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from hardmute.web import entrance
from served_page import BOARD, RecordedBoard, Served, wait_for

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docs" / "prometheus" / "hardmute.rules.yml"
PAGE = (ROOT / "docs" / "metrics.md").read_text("utf-8")


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    # A short path: that of a Unix socket ends at about 100 bytes.
    with tempfile.TemporaryDirectory(prefix="hm-") as name:
        monkeypatch.setenv("HARDMUTE_HOME", name)
        yield Path(name)


def promtool(*words: object, said: bytes | None = None) -> str:
    ended = subprocess.run(
        ["promtool", *map(str, words)],
        input=said,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout.decode()
    return ended.stdout.decode()


def config(folder: Path, port: int) -> Path:
    """That of docs/metrics.md, with the names of this test."""
    (text,) = re.findall(r"(?s)```yaml\n(.*?)```", PAGE)
    shutil.copy(RULES, folder / RULES.name)
    token = folder / "hardmute.token"
    token.write_text(entrance.kept_token())
    for its, ours in (
        ("/etc/prometheus/hardmute.token", str(token)),
        ("127.0.0.1:8437", f"127.0.0.1:{port}"),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
    ):
        assert text.count(its) == 1
        text = text.replace(its, ours)
    file = folder / "prometheus.yml"
    file.write_text(f"global:\n  evaluation_interval: 1s\n{text}")
    return file


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def test_P5_the_rules_tell_of_what_is_not_known() -> None:
    promtool("check", "rules", RULES)
    assert "SUCCESS" in promtool(
        "test", "rules", Path(__file__).parent / "hardmute_rules_test.yml"
    )


def test_promtool_takes_what_is_told(served: Served, board: RecordedBoard, tmp_path: Path) -> None:
    assert board.board == BOARD
    promtool("check", "metrics", said=served.metrics.text())
    promtool("check", "config", config(tmp_path, 8437))


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[Callable[[str], list[dict[str, str]]]]:
    """A Prometheus that asks ``port``; what it answers to a query: labels, and the value."""
    own = free_port()
    command = [
        "prometheus",
        f"--config.file={config(folder, port)}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{own}",
        "--log.level=error",
    ]
    with (folder / "errors").open("wb") as errors, subprocess.Popen(command, stderr=errors) as it:

        def query(words: str) -> list[dict[str, str]]:
            asked = urllib.parse.urlencode({"query": words})
            url = f"http://127.0.0.1:{own}/api/v1/query?{asked}"
            with urllib.request.urlopen(url, timeout=60) as answer:
                found = json.load(answer)["data"]["result"]
            return [{**one["metric"], "value": one["value"][1]} for one in found]

        def answers() -> bool:
            assert it.poll() is None, (folder / "errors").read_text()
            try:
                query("vector(1)")
            except (OSError, ValueError, KeyError):
                return False
            return True

        try:
            wait_for(answers)
            yield query
        finally:
            it.kill()


def test_P5_prometheus_reads_no_muted_that_is_old(
    home: Path, board: RecordedBoard, tmp_path: Path
) -> None:
    """A board that is pulled is unknown; of a monitor that is killed nothing is left."""
    port = free_port()
    (home / "monitor.toml").write_text(f'metrics = true\npage_address = "127.0.0.1:{port}"\n')
    command = [sys.executable, "-m", "hardmute", "monitor", "--json", "-d", board.board]
    with ExitStack() as stack:
        monitor = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
        stack.callback(monitor.kill)
        query = stack.enter_context(prometheus(tmp_path, port))

        def states(name: str = "hardmute:state") -> list[str]:
            return [one["state"] for one in query(f"{name} == 1")]

        def alerts() -> set[str]:
            """Those that have begun: most wait for a while before they are sent."""
            return {one["alertname"] for one in query("ALERTS")}

        for name in ("hardmute_state", "hardmute:state"):
            wait_for(lambda name=name: states(name) == ["muted"])
        board.act("press")
        wait_for(lambda: states() == ["live"])
        board.act("unplug")
        wait_for(lambda: states() == ["unknown"])
        board.act("replug")
        wait_for(lambda: states() != ["unknown"])
        monitor.kill()
        wait_for(lambda: [one["value"] for one in query("up")] == ["0"])
        wait_for(lambda: query("hardmute_state") == query("hardmute:state") == [])
        wait_for(lambda: {"HardmuteAbsent", "HardmuteDown"} <= alerts())
