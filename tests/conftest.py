"""The CPU that each test takes, with the processes that it starts: the most expensive are listed.

CPU and not wall time, for a test must fit a laptop that does other things as well. A test over
`LIMIT_S` is pointed out and does not fail: a machine whose cores are shared counts more CPU for
the same work.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

import forked
from failed_inside import failed_inside, failures_of_processes  # noqa: F401 (autouse)

if TYPE_CHECKING:
    from served_page import RecordedBoard, Served

# Hypothesis' deadline is wall time, of which a busy machine takes any amount.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
# Where nothing is to be written beside the sources, each process that a test starts would compile
# all of hardmute again.
if sys.dont_write_bytecode:
    sys.dont_write_bytecode = False
    # make has chosen a place, where pip has compiled what it installed.
    sys.pycache_prefix = sys.pycache_prefix or str(Path(__file__).parents[1] / "build/bytecode")
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix
# Before numpy comes: its threads wait for each other in loops, on cores that others need.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Where there is room in memory: a log waits at each row for the disk.
_MEMORY = Path("/dev/shm")  # noqa: S108 (pytest and the tests make fresh folders below it)
if (
    "TMPDIR" not in os.environ
    and os.access(_MEMORY, os.W_OK)
    and shutil.disk_usage(_MEMORY).free > 1 << 30
    and not os.statvfs(_MEMORY).f_flag & os.ST_NOEXEC
):
    os.environ["TMPDIR"] = str(_MEMORY)
    tempfile.tempdir = None
LIMIT_S = 10.0
_cpu_s: dict[str, float] = {}
# Of whole processes: those that run tests, with what they import, and the one that hands them out.
_processes_s: list[float] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cpu", type=int, default=10, metavar="N", help="list the N tests that took the most CPU"
    )


def _spent_s() -> float:
    """User and system time of this process, and of its children that have ended."""
    return sum(os.times()[:4]) + forked.spent_s()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    before = _spent_s()
    try:
        return (yield)
    finally:
        _cpu_s[item.nodeid] = _spent_s() - before


def pytest_sessionfinish(session: pytest.Session) -> None:
    forked.end()
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["cpu"] = (_spent_s(), _cpu_s)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker of pytest-xdist has ended."""
    whole, tests = getattr(node, "workeroutput", {}).get("cpu", (0.0, {}))
    _processes_s.append(whole)
    _cpu_s.update(tests)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    # The workers are children of this process, which has waited for them or not.
    own = os.times()
    total = own.user + own.system + (sum(_processes_s) or own.children_user + own.children_system)
    terminalreporter.section(f"CPU: {total:.0f} s in all")
    most = sorted(_cpu_s.items(), key=lambda one: -one[1])
    for name, spent in most[: config.getoption("cpu")]:
        over = f"  over {LIMIT_S:.0f} s" if spent > LIMIT_S else ""
        terminalreporter.write_line(f"{spent:7.2f} s  {name}{over}")


# What the tests of the page and the metrics share; no other test is to load a web server.


@pytest.fixture
def board(home: Path) -> Iterator[RecordedBoard]:  # noqa: ARG001 (for its effect)
    from served_page import RecordedBoard

    made = RecordedBoard()
    yield made
    made.close()


@pytest.fixture
def served(board: RecordedBoard) -> Iterator[Served]:
    from served_page import Served

    made = Served(board.board)
    yield made
    made.close()
