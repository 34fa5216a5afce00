"""The runner of the MicroPython tests cannot pass by accident.

Run by `make test` under CPython, and by `make test-micropython` under the real interpreter, which
is then in $MICROPYTHON.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

INTERPRETER = os.environ.get("MICROPYTHON") or sys.executable
RUNNER = Path(__file__).parents[1] / "interpreter" / "run.py"
GOOD = "def test_good():\n    assert True\n"


def run(folder: Path, files: dict[str, str], *options: str) -> tuple[int, list[str]]:
    """Exit code and lines of output of a run of the test files given."""
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    command = [INTERPRETER, str(RUNNER), *options, str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.stderr == ""
    return result.returncode, result.stdout.splitlines()


def test_good_tests_pass_and_are_counted(tmp_path: Path) -> None:
    code, lines = run(tmp_path / "t", {"test_a.py": GOOD, "test_b.py": GOOD, "helper.py": "1/0"})
    assert (code, lines[-1]) == (0, "2 passed, 0 failed, 0 need CPython and were not run here")


# What is wrong, after `import pytest`, and what the runner says of it.
BAD = {
    "def test_bad():\n assert 1 == 2": "AssertionError",
    "def test_bad():\n raise SystemExit(0)": "SystemExit",
    "def test_bad(fixture):\n pass": "TypeError",
    "import nowhere\ndef test_bad():\n pass": "cannot be imported",
    "raise SystemExit(0)\ndef test_bad():\n pass": "cannot be imported",
    "def test_bad(:": "cannot be imported",
    "": "has 0 tests, found 0",
    "def check_bad():\n assert False": "has 0 tests, found 0",
    # Written twice: the first one is never run.
    "def test_bad():\n assert False\ndef test_bad():\n pass": "has 2 tests, found 1",
    "def test_bad():\n pass\ndel test_bad": "has 1 tests, found 0",
    "@pytest.mark.parametrize('x', [])\ndef test_bad(x):\n pass": "has no cases",
    "@pytest.mark.parametrize('x', [1, 2])\ndef test_bad(x):\n assert x == 1": "'x': 2",
    "@pytest.mark.parametrize('y', [1])\ndef test_bad(x):\n pass": "TypeError",
    # What the shim lacks is an error and not ignored.
    "def test_bad():\n pytest.skip('later')": "AttributeError",
    "@pytest.mark.skip\ndef test_bad():\n pass": "cannot be imported",
    "def test_bad():\n with pytest.raises(ValueError):\n  pass": "nothing was raised",
    "def test_bad():\n with pytest.raises(ValueError):\n  raise KeyError": "KeyError",
    "def test_bad():\n with pytest.raises(KeyError, match='x'):\n  raise KeyError('y')": "y",
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_file_fails_the_run_and_is_told(text: str, tmp_path: Path) -> None:
    bad = f"import pytest\n{text}\n"
    code, lines = run(tmp_path / "t", {"test_a.py": GOOD, "test_bad.py": bad})
    assert code == 1
    assert re.match(r"[12] passed, 1 failed, ", lines[-1])
    told = "\n".join(lines)
    assert "FAILED" in told
    assert "bad" in told
    assert BAD[text] in told


def test_a_folder_without_tests_fails(tmp_path: Path) -> None:
    code, lines = run(tmp_path / "t", {"helper.py": GOOD})
    assert code == 1
    assert lines[-1].startswith("0 passed, 1 failed, ")


def test_no_folder_fails(tmp_path: Path) -> None:
    code, lines = run(tmp_path / "t", {"test_a.py": GOOD}, "--not-here")
    assert code == 1
    assert lines[-1].startswith("0 passed, 1 failed, 1 need CPython")


def test_what_is_not_run_is_counted(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    run(elsewhere, {"test_c.py": GOOD, "test_d.py": GOOD})
    code, lines = run(tmp_path / "t", {"test_a.py": GOOD}, "--not-here", str(elsewhere))
    assert (code, lines[-1]) == (0, "1 passed, 0 failed, 2 need CPython and were not run here")


def test_a_leak_fails(tmp_path: Path) -> None:
    """Only MicroPython says how much of its heap is in use."""
    leaky = "kept = []\n\ndef test_bad():\n    kept.append([0] * 8)\n"
    code, lines = run(tmp_path / "t", {"test_bad.py": leaky})
    told = "\n".join(lines)
    if sys.executable == INTERPRETER:
        assert code == 0
    else:
        assert code == 1
        assert re.search(r"leaks \d+ bytes in each run", told)
