"""Each test runs in a fork of a Pico that has been started once: tens of milliseconds, no traces.

The fork is taken here and not by each test, so that a test is plain code, and so that one that
crashes or never ends takes nothing with it.
"""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from _pytest.runner import runtestprotocol

from hardmute.flash import runtime
from hardmute.model.errors import HardmuteError
from workbench import Bench, Repl, locked_image


@functools.cache
def image() -> Path:
    """MicroPython for the Pico: the official image, or the one that HARDMUTE_MICROPYTHON names.

    Without it nothing here can be tested, and that is a failure.
    """
    given = os.environ.get("HARDMUTE_MICROPYTHON")
    try:
        return runtime.find(Path(given) if given else None)
    except HardmuteError as error:
        pytest.exit(str(error), returncode=1)


@functools.cache
def _started() -> Bench:
    return Bench.with_firmware(image()).start()


@functools.cache
def _prompt() -> Repl:
    repl = Repl(image()).start()
    repl.run("from muteboard.boards.rp2040 import Board\nboard = Board()")
    return repl


@functools.cache
def _interlock_started() -> Bench:
    return Bench.with_firmware(image(), interlock=True, max_live_s=10).start()


@functools.cache
def _interlock_prompt() -> Repl:
    return Repl(image(), interlock=True).start()


@functools.cache
def _locked() -> Path:
    try:
        return locked_image()
    except HardmuteError as error:
        pytest.exit(str(error), returncode=1)


@functools.cache
def _locked_started() -> Bench:
    bench = Bench(_locked(), {})
    bench.erase_files()
    return bench.start()


@pytest.fixture
def locked() -> Bench:
    """A board that was new when the locked image came, started."""
    return _locked_started()


@pytest.fixture
def fresh_locked() -> Callable[..., Bench]:
    """For a test that wants one from before power-on, with files of its own."""
    return functools.partial(Bench, _locked())


@pytest.fixture
def interlock() -> Bench:
    """A started board with the interlock; it mutes itself after 10 s."""
    return _interlock_started()


@pytest.fixture
def interlock_repl() -> Repl:
    """The same board with no program, at MicroPython's prompt."""
    return _interlock_prompt()


@pytest.fixture
def bench() -> Bench:
    """A started board with the default settings, muted, its host connected."""
    return _started()


@pytest.fixture
def live(bench: Bench) -> Bench:
    """The same, after a press."""
    bench.go_live()
    bench.watch_relay()
    return bench


@pytest.fixture
def repl() -> Repl:
    """The board file alone at MicroPython's prompt, as ``board``."""
    return _prompt()


@pytest.fixture
def fresh() -> type[Bench]:
    """For a test that wants a Pico of its own, from before power-on. It costs a start."""
    return functools.partial(Bench.with_firmware, image())  # type: ignore[return-value]


def pytest_runtest_protocol(item: pytest.Item) -> bool:
    # Started before the fork, so that each fork has it.
    names = getattr(item, "fixturenames", ())
    if "bench" in names:
        _started()
    if "repl" in names:
        _prompt()
    if "locked" in names:
        _locked_started()
    if "interlock" in names:
        _interlock_started()
    if "interlock_repl" in names:
        _interlock_prompt()
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports(item):
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _reports(item: pytest.Item) -> list[pytest.TestReport]:
    """Run ``item`` in a fork; what it reports."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            with os.fdopen(writing, "w") as pipe:
                for report in runtestprotocol(item, log=False, nextitem=None):
                    serial = item.config.hook.pytest_report_to_serializable(
                        config=item.config, report=report
                    )
                    pipe.write(json.dumps(serial) + "\n")
        finally:
            os._exit(0)
    os.close(writing)
    reports: list[pytest.TestReport] = []
    problem = "its process ended early"
    try:
        with os.fdopen(reading) as pipe:
            for line in pipe:
                report = item.config.hook.pytest_report_from_serializable(
                    config=item.config, data=json.loads(line)
                )
                reports.append(report)
    except pytest.fail.Exception as timeout:
        problem = str(timeout)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    if [report.when for report in reports] != ["setup", "call", "teardown"] and not (
        reports and reports[0].outcome != "passed"
    ):
        reports.append(
            pytest.TestReport(
                item.nodeid, item.location, dict(item.keywords), "failed", problem, "call"
            )
        )
    return reports
