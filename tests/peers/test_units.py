"""systemd's own word on the unit of `hardmute service`: Debian's systemd (.ci/run installs it).

Nothing is started; where systemd-analyze is missing these tests fail.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hardmute.monitor import units

# In tenths. It counts what only root's units can do as well: 9.6 is a unit with no such line.
EXPOSURE = 64


def analyze(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    runtime = tmp_path / "run"
    runtime.mkdir(exist_ok=True)
    return subprocess.run(
        ["systemd-analyze", "--user", "--no-pager", *words],
        env={**os.environ, "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(runtime)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )


def written(tmp_path: Path, python: str, home: str) -> Path:
    service = units.service("linux", python, tmp_path, {"HARDMUTE_HOME": home})
    file = tmp_path / service.file.name
    file.write_bytes(service.text.encode(service.encoding))
    return file


@pytest.mark.parametrize("folder", ["plain", "a b", "100 % %h %%", "$HOME ${x}", "Büro; #1"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, folder: str) -> None:
    python = tmp_path / folder / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    file = written(tmp_path, str(python), f"/home/me/{folder} \"'\\")
    ran = analyze(tmp_path, "verify", str(file))
    assert (ran.returncode, ran.stdout) == (0, "")


def test_systemd_finds_what_is_wrong(tmp_path: Path) -> None:
    """So that silence means something."""
    file = written(tmp_path, str(tmp_path / "nobody" / "python"), "/")
    ran = analyze(tmp_path, "verify", str(file))
    assert ran.returncode != 0
    assert "is not executable" in ran.stdout


def test_the_unit_is_in_a_sandbox(tmp_path: Path) -> None:
    file = written(tmp_path, sys.executable, "/")
    ran = analyze(tmp_path, "security", "--offline=true", f"--threshold={EXPOSURE}", str(file))
    assert ran.returncode == 0, ran.stdout
