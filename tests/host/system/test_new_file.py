"""Files that commands write: new, for their owner only, whole or not there, through no link."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evidence_maker import Story, at
from hardmute.model.errors import LocalError, UsageError
from hardmute.store import keys
from hardmute.system.new_file import new_file

_SPAN = ("--from", at(2), "--to", at(30))
_COMMANDS: dict[str, tuple[str, ...]] = {
    "csv": ("log", "--since", at(0), "--until", at(60), "--csv"),
    "svg": ("log", "plot", "--since", at(0), "--until", at(60)),
    "jsonl": ("log", "export"),
    "json": ("prove", *_SPAN, "--receipt"),
    "html": ("prove", *_SPAN, "--receipt"),
    "wav": ("audio", "probe", "--seconds", "1"),
}


@pytest.fixture(params=_COMMANDS)
def write(request: pytest.FixtureRequest, cli: Any, story: Story) -> Callable[[Path], Any]:
    """Have one of the commands write a file; the file's name ends as it must."""
    assert story.board.boots

    def run(file: Path) -> Any:
        return cli(*_COMMANDS[request.param], file.with_suffix(f".{request.param}"))

    # A function has no such attribute until it is given one.
    run.suffix = f".{request.param}"  # type: ignore[attr-defined]
    return run


def test_a_file_is_for_its_owner_only(write: Any, tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        assert write(tmp_path / "new").code == 0
    finally:
        os.umask(umask)
    file = (tmp_path / "new").with_suffix(write.suffix)
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.stat().st_size > 0


def test_no_file_is_overwritten(write: Any, tmp_path: Path) -> None:
    file = (tmp_path / "old").with_suffix(write.suffix)
    file.write_text("mine")
    result = write(tmp_path / "old")
    assert (result.code, result.err.splitlines()[-1]) == (
        2,
        f"{file} is there already: name a new file.",
    )
    assert file.read_text() == "mine"


def test_no_link_is_followed(write: Any, tmp_path: Path) -> None:
    target = tmp_path / "target"
    (tmp_path / "link").with_suffix(write.suffix).symlink_to(target)
    assert write(tmp_path / "link").code == 2
    assert not target.exists()


def test_a_full_disk_leaves_no_half_file(
    write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (tmp_path / "new").with_suffix(write.suffix)

    def full(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == file.stat().st_ino:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        result = write(tmp_path / "new")
    assert result.code == 6
    assert f"{file} cannot be written (No space left on device)." in result.err
    assert not file.exists()
    assert write(tmp_path / "new").code == 0


def test_a_verify_key_is_such_a_file(tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    keys.save_verify_key(file, "aaaaaaaa", 1, bytes(32))
    assert file.stat().st_mode & 0o777 == 0o600
    for taken in (file, tmp_path / "link"):
        if taken is not file:
            taken.symlink_to(tmp_path / "target")
        with pytest.raises(UsageError, match="name a new file"):
            keys.save_verify_key(taken, "aaaaaaaa", 1, bytes(32))
    assert not (tmp_path / "target").exists()


def test_what_fails_in_between_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "new"
    with pytest.raises(TypeError), new_file(file) as stream:
        # The second fails, as it must.
        stream.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert not file.exists()
    with pytest.raises(LocalError, match="cannot be written"):
        new_file(tmp_path / "none" / "x").__enter__()
