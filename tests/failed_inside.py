"""A test in which hardmute fails inside has failed, whatever became of what it printed.

`hardmute.cli.main` raises an auditing event then. In this process a hook hears it; in those that
a test starts, ``sitecustomize.py`` in the folder `HOOK` does, which Python imports first.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HOOK = Path(__file__).parent / "failed_inside_hook"
# Where the processes write it.
VARIABLE = "HARDMUTE_TEST_FAILURES"

_failures: list[str] = []


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    if event == "hardmute.failed_inside":
        _failures.append(str(arguments[0]))


sys.addaudithook(_hear)


@pytest.fixture(scope="session", autouse=True)
def failures_of_processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that says how processes of the tests have failed inside."""
    file = tmp_path_factory.mktemp("failures") / "failures"
    with pytest.MonkeyPatch.context() as patch:
        before = os.environ.get("PYTHONPATH")
        patch.setenv("PYTHONPATH", os.pathsep.join([str(HOOK), *([before] if before else [])]))
        patch.setenv(VARIABLE, str(file))
        yield file


@pytest.fixture(autouse=True)
def failed_inside(failures_of_processes: Path) -> Iterator[list[str]]:
    """What has failed inside here; a test that wants it so clears it."""
    _failures.clear()
    yield _failures
    if failures_of_processes.exists():
        _failures.extend(failures_of_processes.read_text("utf-8").splitlines())
        failures_of_processes.unlink()
    assert _failures == [], f"hardmute failed inside: {_failures}"
