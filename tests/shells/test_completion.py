"""Completion in real shells, installed as docs/cli.md says. Needs bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
_PATIENCE_S = 60.0

Complete = Callable[[str], set[str]]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home, with ``hardmute`` on the path."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "ZDOTDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "verify-key.json").touch()
    return tmp_path


def install(shell: str) -> None:
    """Run the line of the page for that shell."""
    pattern = rf"^    (.*hardmute completion {shell} .*)$"
    (line,) = re.findall(pattern, PAGE.read_text("utf-8"), re.MULTILINE)
    subprocess.run(["sh", "-c", line], check=True)


def in_fish(line: str) -> set[str]:
    done = subprocess.run(
        ["fish", "-c", 'complete -C "$argv"', line], check=True, capture_output=True, text=True
    )
    return {offer.split("\t")[0] for offer in done.stdout.splitlines()}


def in_bash(line: str) -> set[str]:
    script = """
    . ~/.local/share/bash-completion/completions/hardmute
    COMP_WORDS=($1); COMP_LINE=$1; COMP_POINT=${#1}
    [[ $1 == *" " ]] && COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    complete=$(complete -p hardmute | sed "s/.*-F \\([^ ]*\\).*/\\1/")
    $complete hardmute "${COMP_WORDS[COMP_CWORD]}" ""
    printf '%s\n' "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "-c", script, "bash", line], check=True, capture_output=True, text=True
    )
    return set(done.stdout.split())


def in_zsh(line: str) -> set[str]:
    """What zsh lists when Tab is pressed twice: by itself it has no other way to say it."""
    process, terminal = pty.fork()
    if process == 0:
        environment = {**os.environ, "TERM": "dumb", "PS1": "ready ", "COLUMNS": "200"}
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
    try:
        os.write(
            terminal,
            b"unsetopt beep menu_complete auto_menu; fpath=(~/.zfunc $fpath)\n"
            b"autoload -Uz compinit && compinit -u && echo set up\n",
        )
        _read_until(terminal, rb"\nset up\r\n.*ready ")
        # Behind them the line is emptied, and another one run: zsh answers in that order.
        os.write(terminal, line.encode() + b"\t\t\x15echo o''ver\n")
        shown = _read_until(terminal, rb"\nover\r\n")
    finally:
        os.close(terminal)
        os.waitpid(process, 0)
    return set(re.findall(r"[\w.-]+", shown.decode(errors="replace")))


def _read_until(terminal: int, pattern: bytes) -> bytes:
    """What comes until ``pattern`` has."""
    shown = b""
    deadline = time.monotonic() + _PATIENCE_S
    while not re.search(pattern, shown, re.DOTALL):
        if time.monotonic() >= deadline:
            pytest.fail(f"the shell has only said {shown!r}")
        if select.select([terminal], [], [], 0.5)[0]:
            shown += os.read(terminal, 65_536)
    return shown


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
@pytest.mark.usefixtures("home")
def test_completion_works_as_documented(shell: str) -> None:
    complete: Complete = {"bash": in_bash, "zsh": in_zsh, "fish": in_fish}[shell]
    install(shell)
    for line, offered in (
        ("hardmute ", {"status", "watch", "mute", "prove", "completion"}),
        ("hardmute -d desk st", {"status"}),
        ("hardmute log ", {"plot", "verify", "export", "prune"}),
        ("hardmute verify --require ", {"reported", "sensed", "attested", "absent", "heard"}),
        ("hardmute completion ", {"bash", "zsh", "fish", "tcsh"}),
        ("hardmute log verify --key ver", {"verify-key.json"}),
    ):
        assert offered <= complete(line), line
    assert "unpair" not in complete("hardmute st")
