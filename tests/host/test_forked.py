"""A fork of `forked` does what ``python -m hardmute`` does. POSIX only."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import forked
from conftest import END_DEADLINE_S


@pytest.mark.parametrize("words", [["--version"], ["status", "--json"], ["status", "--no-such"]])
def test_a_fork_ends_and_prints_as_a_process(
    home: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.chdir(home)
    real = subprocess.run(
        [sys.executable, "-m", "hardmute", *words],
        capture_output=True,
        text=True,
        timeout=END_DEADLINE_S,
        check=False,
    )
    fork = forked.start(words, stderr=subprocess.PIPE)
    out, err = fork.communicate(END_DEADLINE_S)
    # The time at which a state was not known.
    assert [out.partition('"at_ms"')[0], err] == [real.stdout.partition('"at_ms"')[0], real.stderr]
    assert fork.returncode == real.returncode


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_ends_a_fork_as_a_process(home: Path, number: int) -> None:
    command = [sys.executable, "-m", "hardmute", "sim"]
    codes: list[int] = []
    for one in (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True),
        forked.start(["sim"], env={**os.environ, "HARDMUTE_HOME": str(home)}),
    ):
        assert one.stdout is not None
        with one.stdout:
            assert '"device"' in one.stdout.readline()
            assert one.poll() is None
            one.send_signal(number)
            codes.append(one.wait(END_DEADLINE_S))
    assert codes[0] == codes[1]
